# SPDX-License-Identifier: GPL-2.0-or-later
"""A case against a target that is a function of the test: stepped time, no rights, no kernel."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.lower import stream
from harness.lower.case import Case
from harness.lower.ends import Ports
from harness.lower.fingerprint import NOTHING, Pins
from harness.lower.injector import Injector
from harness.lower.peer import Peer
from harness.lower.timing import Timing
from harness.requirements.catalogue import load
from harness.targets.base import PHANTOM_MAC, TARGET_MAC, addresses, phantom_neighbour
from harness.targets.decoys import ClaimingUpperTester, DecoyLink
from harness.wire import ip
from harness.wire import seq as arithmetic
from harness.wire.clock import SECOND, Outcome, SteppedClock
from harness.wire.codec import encode
from harness.wire.frame import Frame
from harness.wire.notation import parse
from harness.wire.segment import ACK, RST, Flow, Segment

Reply = Callable[[Segment], list[Segment]]

THEIRS = 0xFFFFFFF0
"""The initial number of a scripted target: it wraps soon."""


class Values:
    """A profile of two timers."""

    def timer(self, name: str) -> float:
        return {"response_s": 1.0, "probe_timeout_min_s": 0.008}[name]

    def limit(self, name: str) -> int:
        raise KeyError(name)

    def sentinel(self) -> str:
        return "closed-port"

    def pins(self, *, ipv6: bool) -> Pins:
        return NOTHING


def back(packet: ip.Packet, segment: Segment) -> Flow:
    """The flow from the target to the injector that answers a segment."""
    return Flow(local=packet.destination, local_port=segment.destination_port or 0,
                target=packet.source, target_port=segment.source_port or 0)


def turned(flow: Flow) -> Flow:
    """A flow as the target sees it."""
    return Flow(local=flow.target, local_port=flow.target_port, target=flow.local, target_port=flow.local_port)


def refused(segment: Segment) -> Segment:
    """The reset that a closed port owes to a SYN: what a sentinel wants."""
    return Segment(flags=RST | ACK, seq=0, ack=((segment.seq or 0) + segment.length) % (1 << 32), window=0)


def theirs(peer: Peer, text: str, **fields: Any) -> Segment:
    """A segment of the target in the notation, relative to `THEIRS` and to the peer's number; resets are absolute."""
    said = parse(text)
    base = THEIRS if peer.irs is not None or not said.flags & RST else 0
    payload = stream.octets("target", max(said.seq - 1, 0), said.length) if said.payload is None else said.payload
    segment = Segment(flags=said.flags, seq=arithmetic.add(base, said.seq),
                      ack=None if said.ack is None else arithmetic.add(peer.iss, said.ack),
                      window=1000 if said.window is None else said.window, urgent=said.urgent,
                      options=tuple(pattern.option(peer.iss) for pattern in said.options or ()), payload=payload)
    return replace(segment, **fields)


class Agenda:
    """Frames that come at their instants."""

    def __init__(self) -> None:
        self.clock = SteppedClock(self._advance)
        self.clock.register(self)
        self._frames: list[tuple[int, int, Frame]] = []
        self._instants: list[int] = []
        self._count = 0

    def add(self, frame: Frame) -> None:
        self._count += 1
        heapq.heappush(self._frames, (frame.stamp_ns, self._count, frame))
        self.stop_at(frame.stamp_ns)

    def stop_at(self, instant: int) -> None:
        heapq.heappush(self._instants, instant)

    def _advance(self, until: int) -> int:
        while self._instants and self._instants[0] <= self.clock.now():
            heapq.heappop(self._instants)
        return min(until, self._instants[0]) if self._instants else until

    def fileno(self) -> int:
        return -1

    def poll(self) -> Frame | None:
        if self._frames and self._frames[0][0] <= self.clock.now():
            return heapq.heappop(self._frames)[2]
        return None


class ScriptedCall:
    """A call that ends when the test says."""

    def __init__(self, name: str, clock: SteppedClock, at_ns: int | None, outcome: Outcome | None) -> None:
        self.name = name
        self._clock = clock
        self._at_ns = at_ns
        self._outcome = outcome

    def fileno(self) -> int:
        return -1

    def poll(self) -> Outcome | None:
        if self._outcome is None or self._at_ns is None or self._clock.now() < self._at_ns:
            return None
        return replace(self._outcome, call=self)


class ScriptedUpper(ClaimingUpperTester):
    """An application whose next outcomes the test gives with `will`; what is not given never ends, or succeeds."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._next: dict[str, list[tuple[int, Outcome]]] = {}
        self.states: list[str] = []
        self.asked: list[tuple[str, object]] = []
        self.listens = True
        self.error = ""

    def will(self, name: str, value: Any = None, error: str = "", after_s: float = 0.0) -> None:
        """The next call of that name ends so, so many seconds from now."""
        at_ns = self._agenda.clock.now() + round(after_s * SECOND)
        self._agenda.stop_at(at_ns)
        self._next.setdefault(name, []).append((at_ns, Outcome(call=name, value=value, error=error)))

    def _call(self, name: str) -> Any:
        at_ns, outcome = self._next[name].pop(0) if self._next.get(name) else (None, None)
        return ScriptedCall(name, self._agenda.clock, at_ns, outcome)

    def _now(self, name: str, asked: object = None, value: Any = None) -> Outcome:
        self.asked.append((name, asked))
        if self._next.get(name):
            return self._next[name].pop(0)[1]
        return Outcome(call=name, value=value)

    def listen(self, address: bytes, port: int, *, backlog: int, options: Any) -> object:
        self.asked.append(("listen", (port, backlog, dict(options))))
        return "listener"

    def connect(self, flow: Flow, *, options: Any) -> tuple[object, Any]:
        return "connecting", self._call("connect")

    def accept(self, handle: object) -> Any:
        return self._call("accept")

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        return self._now("send", (data, urgent), len(data))

    def recv(self, handle: object, size: int) -> Any:
        return self._call("recv")

    def shutdown(self, handle: object, half: Any) -> Outcome:
        return self._now("shutdown", half)

    def close(self, handle: object, *, linger_s: int | None = None) -> Any:
        self.asked.append(("close", linger_s))
        return self._call("close")

    def abort(self, handle: object) -> Outcome:
        return self._now("abort", handle)

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        return self._now("setsockopt", (name, value))

    def pending_error(self, handle: object) -> str:
        return self.error

    def state(self, flow: Flow) -> str:
        """The states in the order given, the last one for good; CLOSED without any."""
        return self.states.pop(0) if len(self.states) > 1 else (self.states or ["CLOSED"])[0]

    def listening(self, address: bytes, port: int) -> bool:
        return self.listens

    def half_open(self, port: int) -> int:
        return 3

    def information(self, handle: object) -> dict[str, Any]:
        return {"send_mss": 1460}


class Scripted:
    """A target whose answers are `reply(segment)`; ports that are not in `open_ports` refuse whatever comes.

    What is not an answer comes by `say` and `arrive`, at an instant of its own.
    """

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply: Reply = reply or (lambda segment: [])
        self.open_ports: set[int] | None = None
        self.agenda = Agenda()
        self.clock = self.agenda.clock
        self.link = DecoyLink(self.clock, self._answer)
        self.injector = Injector(link=self.link, clock=self.clock, neighbour=phantom_neighbour())
        self.upper: Any = ClaimingUpperTester()
        self.ports = Ports()

    def _answer(self, packet: ip.Packet, segment: Segment | None) -> list[bytes]:
        if segment is None:
            return []
        if self.open_ports is not None and segment.destination_port not in self.open_ports:
            return [] if segment.has(RST) else [encode(refused(segment), back(packet, segment))]
        return [encode(answer, back(packet, segment)) for answer in self.reply(segment)]

    def say(self, peer: Peer, text: str, after_s: float = 0.0, **fields: Any) -> Segment:
        """The target sends this on the peer's connection so many seconds from now; returns it."""
        segment = theirs(peer, text, **fields)
        self.arrive(encode(segment, turned(peer.flow)), after_s)
        return segment

    def arrive(self, packet: bytes, after_s: float = 0.0) -> None:
        """An IP packet of the target comes so many seconds from now."""
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        self.agenda.add(Frame(data=PHANTOM_MAC + TARGET_MAC + kind + packet,
                              stamp_ns=self.clock.now() + round(after_s * SECOND)))

    def serve(self, *peers: Peer) -> None:
        """From now on only these peers' ports are open: every other one refuses, as a sentinel wants."""
        self.open_ports = {peer.flow.target_port for peer in peers}

    def script_upper(self) -> ScriptedUpper:
        """An application of which the test says what it answers; for the cases to come."""
        self.upper = ScriptedUpper(self.agenda)
        return self.upper

    def case(self, *requirements: str, family: str = "ipv4", name: str = "topic/module::case") -> Case:
        """A case that covers these requirements."""
        catalogue = load()
        known = {identifier: catalogue.get(identifier) for identifier in requirements or ("RFC9293-MUST-2",)}
        return Case(name=name, injector=self.injector, upper=self.upper, profile=Values(),
                    timing=Timing(rounding=0.125, tick_ns=10_000_000, tolerance_ns=0), addresses=addresses(family),
                    ports=self.ports, requirements=known)
