# SPDX-License-Identifier: GPL-2.0-or-later
"""Which value of the testability protocol's paramId 6 switches the Nagle algorithm on: suppliers disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..lower.application import Connection
from ..lower.case import Case
from ..upper.base import NotApplicable
from ..wire import seq
from .subject import Seen, Subject, accepted

TABLE: Final = "remote.testability"
"""Where a target's file says it; a profile that was drafted has it as a comment."""

_HELD_S: Final = 0.15
"""So long a small segment is looked for: less than any repetition of the one before waits."""

Configure = Callable[[Case, Connection, int], None]


def polarity(subject: Subject) -> Iterator[Seen]:
    """`nagle_on` of a target that is driven by the testability protocol; nothing of another."""
    from ..upper.testability.upper import TpspUpperTester

    upper = subject.target.upper
    if not isinstance(upper, TpspUpperTester):
        return

    def configure(case: Case, connection: Connection, value: int) -> None:
        case.step("api", f"CONFIGURE_SOCKET paramId 6, value {value}")
        if error := upper.set_nagle(connection.handle, value).error:
            raise NotApplicable(f"paramId 6 is refused: {error}")

    yield nagle_on(subject, configure)


def nagle_on(subject: Subject, configure: Configure) -> Seen:
    """The value that holds small segments back, if the other one does not; `configure` sets one on a connection."""
    held = []
    for value in (0, 1):
        with subject.case(f"nagle-{value}", subject.families[0]) as case:
            held.append(_held(case, value, configure))
    if held[0] == held[1]:
        says = "waits for the acknowledgement of the first" if held[0] else "goes out at once"
        return Seen(table=TABLE, name="nagle_on", how=f"a second small segment {says} with either value of paramId 6")
    on = held.index(True)
    return Seen(table=TABLE, name="nagle_on", value=on, how=f"with paramId 6 = {on} a second small segment waits for "
                                                            f"the acknowledgement of the first, with {1 - on} not")


def _held(case: Case, value: int, configure: Configure) -> bool:
    """Whether a second small segment waits until the first is acknowledged (RFC 9293, 3.7.4)."""
    peer, _, connection = accepted(case)
    configure(case, connection, value)
    connection.send(10)
    with case.preamble():
        peer.expect("P. 1:11(10) ack 1")
    connection.send(10)
    second = peer.observe(_HELD_S)
    if second is not None:
        return second.seq != seq.add(peer.irs or 0, 11)
    peer.send(". 1:1(0) ack 11")
    with case.preamble():
        peer.expect("P. 11:21(10) ack 1")
    return True
