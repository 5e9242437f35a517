# SPDX-License-Identifier: GPL-2.0-or-later
"""The tape of one run of a case: all that went between the injector and the target, in order.

Of most lies the target never hears: the case notices before it does anything else than it did in the run without a
lie. To know what a case makes of those it is enough to play the tape to it (`replay`), which costs no target and no
time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..lower.injector import Injector
from ..upper.base import Call, UpperTester
from ..upper.relay import RelayUpper
from ..wire.clock import Event, Outcome
from ..wire.frame import Frame
from ..wire.link import Link, Network
from ..wire.segment import Flow


@dataclass(slots=True, kw_only=True)
class Sent:
    """A frame that the injector sent; `stamp_ns` is what the tap said, 0 until it was read."""

    at_ns: int
    data: bytes
    stamp_ns: int = 0


@dataclass(slots=True, kw_only=True)
class Asked:
    """A question to the upper tester, or a call that was begun (`call` is its number), and the answer."""

    at_ns: int
    question: tuple[Any, ...]
    answer: Any
    call: int | None = None


@dataclass(slots=True, kw_only=True)
class Happened:
    """A frame of the target, or the outcome of call number `call`. `drained`: nobody waited for it.

    `states` is what the target said of its connections then: who finds something wrong asks.
    """

    at_ns: int
    event: Event
    drained: bool
    call: int | None = None
    states: Mapping[Flow, str] = field(default_factory=dict)


Entry = Sent | Asked | Happened


@dataclass(slots=True, kw_only=True)
class Tape:
    """One run. `end_ns` is when it ended, `lateness_ns` how late the machine was in it."""

    entries: list[Entry] = field(default_factory=list)
    begin_ns: int = 0
    end_ns: int = 0
    lateness_ns: int = 0
    calls: int = 0


class TapedLink:
    """A link that writes on the tape what is sent."""

    def __init__(self, link: Link, now: Callable[[], int]) -> None:
        self._link = link
        self._now = now
        self.mac, self.target_mac, self.mtu = link.mac, link.target_mac, link.mtu
        self.tape: Tape | None = None
        self._unstamped: list[Sent] = []

    def send_bytes(self, frame: bytes) -> None:
        """Put a frame on the wire."""
        if self.tape is not None:
            entry = Sent(at_ns=self._now(), data=frame)
            self.tape.entries.append(entry)
            self._unstamped.append(entry)
        self._link.send_bytes(frame)

    def sent(self) -> list[Frame]:
        """What went out since the last call."""
        frames = self._link.sent()
        for frame in frames:
            entry = next((known for known in self._unstamped if known.data == frame.data), None)
            if entry is not None:
                entry.stamp_ns = frame.stamp_ns
                self._unstamped.remove(entry)
        return frames

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Send a burst."""
        at_ns = self._now()
        count = self._link.burst(frames, frame_size)
        if self.tape is not None:
            self.tape.entries.append(Asked(at_ns=at_ns, question=("burst", len(frames), frame_size), answer=count))
        return count

    def recv_frame(self) -> Frame | None:
        """The next frame."""
        return self._link.poll()

    poll = recv_frame

    def fileno(self) -> int:
        """The link's descriptor."""
        return self._link.fileno()

    def lost(self) -> int:
        """Frames that the link could not keep."""
        return self._link.lost()

    def ignore(self, networks: Collection[Network]) -> None:
        """Do not hear what is sent to addresses of these networks."""
        self._link.ignore(networks)

    def close(self) -> None:
        """Release the link."""
        self._link.close()


class TapedCall:
    """A call with a number."""

    def __init__(self, call: Call, number: int) -> None:
        self.name = call.name
        self.writable = getattr(call, "writable", False)
        self.number = number
        self._call = call

    def fileno(self) -> int:
        """The call's descriptor."""
        return self._call.fileno()

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now."""
        outcome = self._call.poll()
        return None if outcome is None else replace(outcome, call=self)


class TapedUpper(RelayUpper):
    """An upper tester that writes on the tape what is asked and answered."""

    def __init__(self, upper: UpperTester, now: Callable[[], int]) -> None:
        self._upper = upper
        self._now = now
        self.tape: Tape | None = None

    def ask(self, method: str, *question: Any, **named: Any) -> Any:
        """The upper tester's answer."""
        at_ns = self._now()
        answer = getattr(self._upper, method)(*question, **named)
        if self.tape is not None:
            self.tape.entries.append(Asked(at_ns=at_ns, question=(method, question, named), answer=answer))
        return answer

    def begin_call(self, method: str, *question: Any, **named: Any) -> tuple[Any, TapedCall]:
        """The upper tester's call, with a number."""
        at_ns = self._now()
        answer = getattr(self._upper, method)(*question, **named)
        handle, call = answer if method == "connect" else (None, answer)
        number = 0 if self.tape is None else self.tape.calls
        if self.tape is not None:
            self.tape.calls += 1
            self.tape.entries.append(Asked(at_ns=at_ns, question=(method, question, named), answer=handle, call=number))
        return handle, TapedCall(call, number)


class TapedInjector(Injector):
    """An injector that writes on the tape what happened to it.

    `held_until` says when a frame that a liar holds back is due, None if there is none.
    """

    tape: Tape | None = None
    states: Callable[[], Mapping[Flow, str]] = dict

    def __init__(self, held_until: Callable[[], int | None], **made_of: Any) -> None:
        self._held_until = held_until
        super().__init__(**made_of)

    def next_event(self, until: int) -> Event | None:
        """The next event of the clock."""
        asked_ns = self.clock.now() if self.tape is not None else 0
        due = self._held_until()
        event = super().next_event(until if due is None else min(until, due))
        if event is None and due is not None and due < until:
            event = super().next_event(until)
        if self.tape is not None and event is not None:
            call = _number(event.call) if isinstance(event, Outcome) else None
            # What a lie makes of it is no part of the tape; no lie is told while one is made.
            self.tape.entries.append(Happened(at_ns=self.clock.now(), event=event, drained=until <= asked_ns,
                                              call=call, states=self.states()))
        return event


def _number(call: Any) -> int | None:
    """The number of a taped call, which a liar may stand before."""
    inner = getattr(call, "_call", call)
    number: int | None = getattr(inner, "number", None)
    return number
