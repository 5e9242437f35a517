# SPDX-License-Identifier: GPL-2.0-or-later
"""The liars: one between link and injector, one between a case and the upper tester. No case knows of them.

Both count what the target says in one run of a case, so that the n-th thing it says is the same in every run up to the
lie, and both keep it for whoever wants to know what can be lied about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from ..lower.case import Case
from ..upper.base import Call, UpperTester
from ..upper.relay import RelayUpper
from ..wire import ip
from ..wire.clock import Clock, Outcome
from ..wire.frame import Frame
from ..wire.link import Link, Network
from .answers import NEVER, AnswerLie
from .lies import Lie

_TRUE: Final = ("listen", "information")
"""A help for cases, which judge by nothing of it."""
_ETHERNET: Final = 14
_IP: Final = (b"\x08\x00", b"\x86\xdd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One lie about one thing: the `at`-th frame or answer of the case, counted from 1.

    `shift_ns` is by how much a frame's time is changed, for the lies about time.
    """

    lie: Lie | AnswerLie
    at: int
    shift_ns: int = 0

    @property
    def name(self) -> str:
        """What `--lie` takes: `seq+1@3` for a frame, `errno@a2` for an answer."""
        return f"{self.lie.name}@{'a' if isinstance(self.lie, AnswerLie) else ''}{self.at}"


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the upper tester answered: to a question at once, or as the outcome of a call that was begun.

    `answer` is None as long as a call has not ended; `waited`: it had not when it was first looked at.
    """

    at: int
    method: str
    answer: Any = None
    waited: bool = False


class LyingLink:
    """A link that passes on what comes, but for one lie."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self.mac, self.target_mac, self.mtu = link.mac, link.target_mac, link.mtu
        self.frames: list[Frame] = []
        self.told = False
        self._case: Case | None = None
        self._deed: Deed | None = None
        self._queue: deque[Frame] = deque()
        self._held: Frame | None = None
        self._behind: Frame | None = None

    def begin(self, case: Case, deed: Deed | None) -> None:
        """Count the frames of this case from now on, and tell this lie."""
        self._case = case
        self._deed = deed if deed is not None and isinstance(deed.lie, Lie) else None
        self.frames = []
        self.told = False

    def end(self) -> None:
        """Tell nothing but the truth from now on."""
        self._case = self._deed = self._held = self._behind = None
        self._queue.clear()

    def held_until(self) -> int | None:
        """When the frame is due that is held back, in nanoseconds; None if there is none."""
        return None if self._held is None else self._held.stamp_ns

    # -- what comes --------------------------------------------------------------------------------------------------

    def recv_frame(self) -> Frame | None:
        """The next frame, or what the lie makes of it."""
        while True:
            if self._queue:
                return self._queue.popleft()
            if self._held is not None and self._clock.now() >= self._held.stamp_ns:
                held, self._held = self._held, None
                return held
            frame = self._link.poll()
            if frame is None or self._case is None or not self._is_its(frame):
                return frame
            self.frames.append(frame)
            self._pass_on(frame)

    poll = recv_frame

    def _is_its(self, frame: Frame) -> bool:
        assert self._case is not None
        packet = ip.dissect(frame.data[_ETHERNET:]) if frame.data[12:14] in _IP else None
        return packet is not None and self._case.concerns(packet)

    def _pass_on(self, frame: Frame) -> None:
        if self._behind is not None:
            first, self._behind = self._behind, None
            self._queue.extend((replace(frame, stamp_ns=first.stamp_ns), replace(first, stamp_ns=frame.stamp_ns)))
        elif self._deed is not None and len(self.frames) == self._deed.at:
            self._lie(frame, self._deed)
        else:
            self._queue.append(frame)

    def _lie(self, frame: Frame, deed: Deed) -> None:
        assert self._case is not None
        assert isinstance(deed.lie, Lie)
        manner = deed.lie.manner
        octets = deed.lie.tell(frame)
        if manner in ("instead", "after") and octets is None:
            return self._queue.append(frame)
        self.told = True
        # At the frame's own instant, so that it stands before what is changed, in whatever order steps are sorted.
        self._case.step("note", f"the lie {deed.name} begins here", "changed").at_ns = frame.stamp_ns
        if manner == "instead" and octets is not None:
            self._queue.append(replace(frame, data=octets))
        elif manner == "after" and octets is not None:
            self._queue.extend((frame, replace(frame, data=octets)))
        elif manner == "twice":
            self._queue.extend((frame, frame))
        elif manner == "late":
            self._held = replace(frame, stamp_ns=frame.stamp_ns + deed.shift_ns)
            # An event that is nobody's: whoever waits has to wait anew, and no longer than until the frame is due.
            self._queue.append(replace(frame, data=b""))
        elif manner == "early":
            self._queue.append(replace(frame, stamp_ns=frame.stamp_ns - deed.shift_ns))
        elif manner == "behind":
            self._behind = frame
        return None

    # -- the rest is the link's --------------------------------------------------------------------------------------

    def send_bytes(self, frame: bytes) -> None:
        """Put a frame on the wire."""
        self._link.send_bytes(frame)

    def fileno(self) -> int:
        """The link's descriptor."""
        return self._link.fileno()

    def sent(self) -> list[Frame]:
        """What went out since the last call."""
        return self._link.sent()

    def lost(self) -> int:
        """Frames that the link could not keep."""
        return self._link.lost()

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Send a burst."""
        return self._link.burst(frames, frame_size)

    def ignore(self, networks: Collection[Network]) -> None:
        """Do not hear what is sent to addresses of these networks."""
        self._link.ignore(networks)

    def close(self) -> None:
        """Release the link."""
        self._link.close()


class LyingCall:
    """A call whose outcome may be a lie."""

    def __init__(self, upper: LyingUpper, call: Call, answer: Answer) -> None:
        self.name = call.name
        self.writable = getattr(call, "writable", False)
        self._upper = upper
        self._call = call
        self._answer = answer

    def fileno(self) -> int:
        """The call's descriptor."""
        return self._call.fileno()

    def poll(self) -> Outcome | None:
        """The outcome, or what the lie makes of it."""
        lie = self._upper.lie_about(self._answer)
        if lie is not None and lie.early:
            self._upper.tell()
            told: Outcome = lie.change(self.name)
            return replace(told, call=self)
        outcome = self._call.poll()
        if outcome is None:
            self._answer.waited = True
            return None
        # The name is what the lies need to know of the call; the call itself is ours.
        self._answer.answer = replace(outcome, call=self.name)
        told = outcome
        if lie is not None:
            changed = lie.change(self._answer.answer)
            if changed is not None:
                self._upper.tell()
                if changed is NEVER:
                    self._upper.silence(self)
                    return None
                told = changed
        return replace(told, call=self)


class LyingUpper(RelayUpper):
    """An upper tester that passes on what is answered, but for one lie."""

    def __init__(self, upper: UpperTester) -> None:
        self._upper = upper
        self.answers: list[Answer] = []
        self.told = False
        self._case: Case | None = None
        self._deed: Deed | None = None
        self._lasting: tuple[str, tuple[Any, ...], Any] | None = None

    def begin(self, case: Case, deed: Deed | None) -> None:
        """Count the answers from now on, and tell this lie."""
        self._case = case
        self._deed = deed if deed is not None and isinstance(deed.lie, AnswerLie) else None
        self._lasting = None
        self.answers = []
        self.told = False

    def end(self) -> None:
        """Tell nothing but the truth from now on."""
        self._case = self._deed = self._lasting = None

    def lie_about(self, answer: Answer) -> AnswerLie | None:
        """The lie that is to be told about this answer, if any."""
        deed = self._deed
        return deed.lie if deed is not None and deed.at == answer.at and isinstance(deed.lie, AnswerLie) else None

    def tell(self) -> None:
        """The lie is told now."""
        self.told = True
        if self._case is not None and self._deed is not None:
            self._case.step("note", f"the lie {self._deed.name} begins here", "changed")

    def silence(self, call: LyingCall) -> None:
        """Wait for this call no more: its descriptor stays ready, and to look at it again and again takes time."""
        if self._case is not None:
            self._case.stop(call)

    def _next(self, method: str) -> Answer:
        answer = Answer(at=len(self.answers) + 1, method=method)
        if self._case is not None:
            self.answers.append(answer)
        return answer

    def ask(self, method: str, *question: Any, **named: Any) -> Any:
        """The true answer, or what the lie makes of it."""
        true = getattr(self._upper, method)(*question, **named)
        if self._case is None or self._case.mismatched or method in _TRUE:
            return true
        answer = self._next(method)
        answer.answer = true
        lie = self.lie_about(answer)
        if lie is not None and (changed := lie.change(true)) is not None:
            self.tell()
            if lie.lasting:
                self._lasting = (method, question, true)
            return changed
        if self._lasting == (method, question, true) and self._deed is not None:
            return self._deed.lie.change(true)  # type: ignore[misc]
        return true

    def begin_call(self, method: str, *question: Any, **named: Any) -> tuple[Any, LyingCall]:
        """The call, whose outcome may be a lie."""
        begun = getattr(self._upper, method)(*question, **named)
        handle, call = begun if method == "connect" else (None, begun)
        return handle, LyingCall(self, call, self._next(method))
