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
from ..upper.base import Call, Half, UpperTester
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


class TapedUpper:
    """An upper tester that writes on the tape what is asked and answered."""

    def __init__(self, upper: UpperTester, now: Callable[[], int]) -> None:
        self._upper = upper
        self._now = now
        self.tape: Tape | None = None

    def _ask(self, method: str, *question: Any, **named: Any) -> Any:
        at_ns = self._now()
        answer = getattr(self._upper, method)(*question, **named)
        if self.tape is not None:
            self.tape.entries.append(Asked(at_ns=at_ns, question=(method, question, named), answer=answer))
        return answer

    def _begin(self, method: str, *question: Any, **named: Any) -> Any:
        at_ns = self._now()
        answer = getattr(self._upper, method)(*question, **named)
        handle, call = answer if method == "connect" else (None, answer)
        number = 0 if self.tape is None else self.tape.calls
        taped = TapedCall(call, number)
        if self.tape is not None:
            self.tape.calls += 1
            self.tape.entries.append(Asked(at_ns=at_ns, question=(method, question, named), answer=handle, call=number))
        return (handle, taped) if method == "connect" else taped

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """A listening socket."""
        return self._ask("listen", address, port, backlog=backlog, options=options)

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, TapedCall]:
        """A connection attempt."""
        begun: tuple[object, TapedCall] = self._begin("connect", flow, options=options)
        return begun

    def accept(self, handle: object) -> TapedCall:
        """The next connection of a listener."""
        call: TapedCall = self._begin("accept", handle)
        return call

    def recv(self, handle: object, size: int) -> TapedCall:
        """Octets of the connection."""
        call: TapedCall = self._begin("recv", handle, size)
        return call

    def close(self, handle: object, *, linger_s: int | None = None) -> TapedCall:
        """Close the socket."""
        call: TapedCall = self._begin("close", handle, linger_s=linger_s)
        return call

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over."""
        outcome: Outcome = self._ask("send", handle, data, urgent=urgent)
        return outcome

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half."""
        outcome: Outcome = self._ask("shutdown", handle, half)
        return outcome

    def abort(self, handle: object) -> Outcome:
        """Reset the connection."""
        outcome: Outcome = self._ask("abort", handle)
        return outcome

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set a socket option."""
        outcome: Outcome = self._ask("set_option", handle, name, value)
        return outcome

    def pending_error(self, handle: object) -> str:
        """The error that waits."""
        return str(self._ask("pending_error", handle))

    def state(self, flow: Flow) -> str:
        """The connection's state."""
        return str(self._ask("state", flow))

    def listening(self, address: bytes, port: int) -> bool:
        """Whether a socket listens there."""
        return bool(self._ask("listening", address, port))

    def half_open(self, port: int) -> int:
        """How many connections are half-open."""
        return int(self._ask("half_open", port))

    def information(self, handle: object) -> Mapping[str, Any]:
        """What the target tells of a connection's variables."""
        told: Mapping[str, Any] = self._ask("information", handle)
        return told


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
