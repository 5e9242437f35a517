# SPDX-License-Identifier: GPL-2.0-or-later
"""The lies of an upper tester about what a socket call came to, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ..upper.base import STATES
from ..wire.clock import Outcome

NEVER: Final = object()
"""The answer that does not come."""

Change = Callable[[Any], Any]
"""Makes another answer of one: an `Outcome` of an `Outcome`, a plain value of a plain value; None if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLie:
    """One way to lie about the outcome of a call. `early`: it is told as soon as the call has begun.

    `lasting`: told as often as the same question has the same true answer.
    """

    name: str
    field: str
    change: Change
    early: bool = False
    lasting: bool = False


_OTHERS: Final = {"ECONNRESET": "ETIMEDOUT", "": "ECONNRESET"}


def _other_error(answer: Any) -> Any:
    if not isinstance(answer, Outcome) or not answer.error:
        return None
    return replace(answer, error=_OTHERS.get(answer.error, "ECONNRESET"))


def _failure(answer: Any) -> Any:
    if not isinstance(answer, Outcome) or answer.error:
        return None
    return replace(answer, error="ECONNRESET", value=None)


def _success(answer: Any) -> Any:
    if not isinstance(answer, Outcome) or not answer.error:
        return None
    return replace(answer, error="", value=b"x" if _name(answer) == "recv" else None)


def _octets(change: Callable[[bytes], bytes]) -> Change:
    def changed(answer: Any) -> Any:
        if not isinstance(answer, Outcome) or not isinstance(answer.value, bytes) or not answer.value:
            return None
        return replace(answer, value=change(answer.value))

    return changed


def _first_bit(octets: bytes) -> bytes:
    return bytes((octets[0] ^ 1,)) + octets[1:]


def _end_missing(answer: Any) -> Any:
    return NEVER if isinstance(answer, Outcome) and answer.value == b"" and not answer.error else None


def _state(change: Callable[[int], int]) -> Change:
    def changed(answer: Any) -> Any:
        return STATES[change(STATES.index(answer)) % len(STATES)] if answer in STATES else None

    return changed


def _closed(answer: Any) -> Any:
    return "CLOSED" if answer in STATES and answer != "CLOSED" else None


def _not(answer: Any) -> Any:
    return not answer if isinstance(answer, bool) else None


def _count(amount: int) -> Change:
    def changed(answer: Any) -> Any:
        return answer + amount if isinstance(answer, int) and not isinstance(answer, bool) else None

    return changed


def _pending(answer: Any) -> Any:
    if not isinstance(answer, str):
        return None
    return _OTHERS.get(answer, "ECONNRESET")


def _no_error(answer: Any) -> Any:
    return "" if isinstance(answer, str) and answer else None


def _too_early(answer: Any) -> Any:
    """Success before there is a reason for it."""
    return Outcome(call=None, value=b"x" if answer == "recv" else None)


def _name(outcome: Outcome) -> str:
    return str(getattr(outcome.call, "name", outcome.call))


_STATE: Final = (
    AnswerLie(name="state+1", field="state", change=_state(lambda at: at + 1), lasting=True),
    AnswerLie(name="state=closed", field="state", change=_closed, lasting=True),
)
_OUTCOME: Final = (
    AnswerLie(name="errno", field="outcome", change=_other_error),
    AnswerLie(name="failure", field="outcome", change=_failure),
    AnswerLie(name="success", field="outcome", change=_success),
)
LIES: Final[Mapping[str, tuple[AnswerLie, ...]]] = {
    "state": _STATE,
    "listening": (AnswerLie(name="listening", field="state", change=_not, lasting=True),),
    "half_open": (AnswerLie(name="count+1", field="state", change=_count(1)),
                  AnswerLie(name="count-1", field="state", change=_count(-1))),
    "pending_error": (AnswerLie(name="errno", field="outcome", change=_pending),
                      AnswerLie(name="success", field="outcome", change=_no_error)),
    "send": _OUTCOME,
    "shutdown": _OUTCOME,
    "abort": _OUTCOME,
    "set_option": _OUTCOME,
    "connect": _OUTCOME,
    "accept": _OUTCOME,
    "close": _OUTCOME,
    "recv": (*_OUTCOME,
             AnswerLie(name="read+1", field="data", change=_octets(lambda octets: octets + b"!")),
             AnswerLie(name="read-1", field="data", change=_octets(lambda octets: octets[:-1] or b"")),
             AnswerLie(name="read-bit", field="data", change=_octets(_first_bit)),
             AnswerLie(name="end-early", field="data", change=_octets(lambda octets: b"")),
             AnswerLie(name="end-missing", field="data", change=_end_missing)),
}
"""By the method of the upper tester that gave the answer."""

TOO_EARLY: Final = AnswerLie(name="too-early", field="outcome", change=_too_early, early=True)
"""Of calls that had to wait."""


def lies_of(method: str, answer: Any, *, waited: bool) -> Iterator[AnswerLie]:
    """Every lie that can be told of this answer; `waited`: the call did not end at once."""
    for lie in LIES.get(method, ()):
        changed = lie.change(answer)
        if changed is not None and changed != answer:
            yield lie
    if waited and method in ("connect", "recv", "close"):
        yield TOO_EARLY
