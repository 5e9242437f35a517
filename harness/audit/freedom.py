# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a lie is no lie: what no rule constrains, and what a case declares free.

A freedom is of one kind of lie, never of a whole field, has a reason, and names the requirement that leaves the choice
to the target. It is looked at only when nobody has noticed: what a case, the oracle or a pin notices needs no freedom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..wire.errors import UsageError
from ..wire.segment import RST, SYN, Segment

if TYPE_CHECKING:
    import pytest

_WORDS: Final = 4
"""A reason of fewer words explains nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """One kind of lie that may pass, about the segments for which `where` holds; None stands for other packets."""

    lies: tuple[str, ...]
    requirement: str
    reason: str
    where: Callable[[Segment | None], bool] = lambda segment: segment is not None


def _opens(segment: Segment | None) -> bool:
    return segment is not None and segment.has(SYN) and not segment.has(RST)


def _goes_on(segment: Segment | None) -> bool:
    return segment is not None and not segment.has(SYN) and not segment.has(RST)


def _carries_data(segment: Segment | None) -> bool:
    return segment is not None and bool(segment.payload)


def _no_segment(segment: Segment | None) -> bool:
    return segment is None


FREEDOMS: Final[tuple[Freedom, ...]] = (
    Freedom(lies=("ip-id",), requirement="RFC6864-ATOMIC-TX",
            reason="the identification of a datagram that nobody may cut says nothing"),
    Freedom(lies=("ip-id",), requirement="RFC6864-UNIQUE", where=_no_segment,
            reason="another identification does as well, as long as it is not used again"),
    Freedom(lies=("seq+1", "seq-1", "seq+2^31"), requirement="RFC9293-MUST-8", where=_opens,
            reason="any initial number will do, as long as no later segment tells that it was another"),
    Freedom(lies=("tsval-1",), requirement="RFC7323-TS-19", where=_opens,
            reason="the first time stamp of a connection may be any number"),
    Freedom(lies=("tsval-1",), requirement="RFC7323-TS-12", where=_goes_on,
            reason="the clock of time stamps is only roughly in proportion; a stamp that goes back is looked at"),
    Freedom(lies=("psh",), requirement="RFC9293-MAY-16", where=_carries_data,
            reason="data behind which more is waiting may be pushed or not; the last of it is looked at"),
    Freedom(lies=("win+1", "win-1", "win*2"), requirement="RFC9293-SHLD-14", where=_goes_on,
            reason="how much room there is the receiver alone knows; an edge that was offered is looked at"),
)
"""All there are; a case may declare more for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A freedom that a case declares for itself with `free(...)`."""

    lie: str
    why: str


def declared(item: pytest.Item, known: frozenset[str]) -> list[Declared]:
    """What the case declares free. Raises UsageError for a blanket or unexplained freedom."""
    found = []
    for marker in item.iter_markers("free"):
        why = str(marker.kwargs.get("why", ""))
        if not marker.args:
            raise UsageError(f"{item.nodeid}: free() names no lie; allowed: {', '.join(sorted(known))}")
        if len(why.split()) < _WORDS:
            raise UsageError(f"{item.nodeid}: free({marker.args[0]!r}) does not say why; allowed: a reason of at least "
                             f"{_WORDS} words")
        for name in marker.args:
            if name not in known:
                raise UsageError(f"{item.nodeid}: free({name!r}): no such lie; allowed: {', '.join(sorted(known))}")
            found.append(Declared(lie=str(name), why=why))
    return found


def freedom_for(name: str, segment: Segment | None) -> Freedom | None:
    """The freedom that covers this lie about this segment, None if there is none."""
    return next((freedom for freedom in FREEDOMS if name in freedom.lies and freedom.where(segment)), None)
