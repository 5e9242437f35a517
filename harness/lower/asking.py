# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection's state as the target itself tells it, now or for as long as it has to last (RFC 9293, 3.3.2).

For targets that cannot be asked there is `probe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..upper.base import NotApplicable
from ..wire.clock import SECOND
from ..wire.errors import ScriptError
from .timing import After

if TYPE_CHECKING:
    from .case import Case
    from .peer import Peer

_QUESTIONS: Final = (0.5, 0.75, 0.9)
"""At which parts of its time a state is asked for that has to last."""


def require_state(peer: Peer, got: str, state: str, rule: str | None) -> None:
    """The target has said that the connection is in the state `got`; it has to be in this one. Raises Mismatch.

    If it is not, a sentinel makes sure that the target has dealt with all we sent, and it is asked again.
    """
    case = peer.case
    if got != state:
        case.sentinel()
        got = case.upper.state(peer.flow)
    case.step("api", f"state {got}", "" if got == state else "mismatch")
    if got != state:
        raise case.mismatch(expected=f"state {state}", got=f"state {got}", rule=rule, fields=("state",),
                            state=str(got))
    case.story.proof.add("api")


def require_to_last(peer: Peer, state: str, due: After, rule: str | None) -> None:
    """The target has to say that the connection is in this state until `due`, and gone afterwards.

    It is asked some times before, when the state may end at the earliest, and when it has to be over. Raises Mismatch,
    NotApplicable of a target that cannot be asked.
    """
    case = peer.case
    start = due.since or peer.last
    if start is None:
        raise ScriptError("after(): nothing has happened yet on this connection; name what it counts from (since=)")
    if not case.upper.state(peer.flow):
        raise NotApplicable(f"needs to be told when the state {state} ends, which nothing on the wire shows")
    case.injector.stamp()
    began = start.stamp_ns or 0
    earliest, _ = _window(case, due)
    for instant in (*(round(part * due.due_s * SECOND) for part in _QUESTIONS), earliest):
        case.wait_until(began + instant)
        asked = case.clock.now() - began
        if _ask(peer, state) != state:
            if asked <= _window(case, due)[0]:
                raise _lasted(case, f"state {state} for {earliest / SECOND:.3f} s at least", asked, rule)
            case.story.steps[-1].mark = ""  # we asked so late that it may have ended
            break
    for _ in range(2):  # the second time for what the machine was late in the first
        case.wait_until(began + _window(case, due)[1])
    asked = case.clock.now() - began
    if _ask(peer, "CLOSED") != "CLOSED":
        raise _lasted(case, f"state CLOSED after {_window(case, due)[1] / SECOND:.3f} s", asked, rule)
    case.story.proof.add("api")


def _window(case: Case, due: After) -> tuple[int, int]:
    return case.timing.window(due, case.clock.lateness_ns)


def _ask(peer: Peer, wanted: str) -> str:
    got = peer.case.upper.state(peer.flow)
    same = got == wanted
    peer.case.step("api", f"state {got}", "" if same else "mismatch")
    return wanted if same else got


def _lasted(case: Case, expected: str, asked_ns: int, rule: str | None) -> Exception:
    step = case.story.steps[-1]
    return case.mismatch(expected=expected, got=f"{step.text} after {asked_ns / SECOND:.3f} s", rule=rule,
                         fields=("state", "time"), state=step.text.removeprefix("state "), step=step)
