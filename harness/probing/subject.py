# SPDX-License-Identifier: GPL-2.0-or-later
"""The target as probes see it: they demand nothing, and write down what they see."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from ..lower.application import Application, Connection, Listener
from ..lower.case import Case
from ..lower.fingerprint import NOTHING, Pins
from ..lower.peer import Peer
from ..targets.base import FAMILIES, Target
from ..targets.vocabulary import ENDLESS
from ..wire.clock import SECOND
from ..wire.segment import RST, Segment

FIRST_S: Final = 30.0
"""How long the first repetition of anything is waited for: several times what any stack takes."""

_FEW: Final = 3
"""So many gaps of one length are told one by one."""

_FOREVER_S: Final = 10_000.0
"""What goes on for so long is held to go on for ever: R2 need be no more than some minutes (RFC 9293, 3.8.3)."""

OFFER: Final = "<mss 1460>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One line of the profile to be: `how` says by what it was seen, or why it was not, which is value None."""

    table: str
    name: str
    value: Any = None
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """When something came again: gaps in seconds; `ended` if no further one was due any more, `reset` if by a reset."""

    gaps: tuple[float, ...] = ()
    ended: bool = False
    reset: bool = False

    def __str__(self) -> str:
        alike = [(f"{gap:g}", len(tuple(run))) for gap, run in groupby(self.gaps)]
        told = ", ".join(gap if count == 1 else f"{count} times {gap}" if count > _FEW else ", ".join([gap] * count)
                         for gap, count in alike)
        return told + (" s" if self.ended else " s, and perhaps more")


@dataclass(slots=True)
class Undescribed:
    """What a case wants to know of a profile, where there is none yet."""

    known: dict[str, float] = field(default_factory=lambda: {"response_s": 1.0, "probe_timeout_min_s": 0.0})

    def timer(self, name: str) -> float:
        """The time in seconds that is assumed."""
        return self.known[name]

    def limit(self, name: str) -> int:
        """The count that is assumed."""
        return round(self.known[name])

    def sentinel(self) -> str:
        """As most stacks prove that they are alive."""
        return "closed-port"

    def pins(self, *, ipv6: bool) -> Pins:
        """Nothing is pinned."""
        return NOTHING


class Subject:
    """A target under measurement. `longest_s` is how much of its time one probe may take, in seconds.

    `families` are those in which it can be reached: of a remote device, those that its file has addresses of.
    """

    def __init__(self, target: Target, *, longest_s: float) -> None:
        device = target.profile.remote
        self.target = target
        self.longest_s = longest_s
        self.families = FAMILIES if device is None else tuple(device.families)

    @property
    def real(self) -> bool:
        """True if a second of the target's time is one of ours."""
        return self.target.clock.kind == "real"

    @contextlib.contextmanager
    def case(self, name: str, family: str) -> Iterator[Case]:
        """A case in which nothing is demanded; it is cleaned up behind."""
        self.target.come_to_rest(name)
        case = Case(name=f"probe/{name}", injector=self.target.injector, upper=self.target.upper, profile=Undescribed(),
                    timing=self.target.timing, addresses=self.target.ends[family], ports=self.target.ports,
                    requirements={}, foresee=self.target.foresee, feed=self.target.feed)
        try:
            yield case
        finally:
            case.close()

    def tidy(self, seconds: float) -> float:
        """A measured time as a profile states it: where time is real, what is below 10 ms is noise."""
        return round(seconds, 2 if self.real else 3)

    @property
    def endless(self) -> float | None:
        """The value of what did not end while it was looked at: `inf` if that was for hours, else None, not known."""
        return ENDLESS if self.longest_s >= _FOREVER_S else None

    def count(self, series: Series) -> float | None:
        """How many repetitions there are; None if that could not be seen."""
        return len(series.gaps) if series.ended else self.endless if series.gaps else None

    def series(self, case: Case, peer: Peer, first: Segment) -> Series:
        """Wait for repetitions of a segment, until twice the last gap has brought none, or the time is over."""
        began = last = first.stamp_ns or case.clock.now()
        gaps: list[float] = []
        while True:
            patience = 2.5 * gaps[-1] + 1 if gaps else FIRST_S
            left = self.longest_s - (case.clock.now() - began) / SECOND
            segment = peer.observe(min(patience, left)) if left > 0 else None
            if segment is None:
                return Series(gaps=tuple(gaps), ended=patience <= left)
            if segment.has(RST):
                return Series(gaps=tuple(gaps), ended=True, reset=True)
            if segment.length:
                stamp = segment.stamp_ns or 0
                gaps.append(self.tidy((stamp - last) / SECOND))
                last = stamp


def accepted(case: Case, *, offer: str = OFFER) -> tuple[Peer, Listener, Connection]:
    """A connection that we opened and the application has accepted."""
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    with case.preamble():
        peer.send(f"S 0:0(0) win 65535 {offer}")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.send(". 1:1(0) ack 1")
        connection = listener.accept(peer)
    return peer, listener, connection
