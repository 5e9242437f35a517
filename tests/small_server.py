# SPDX-License-Identifier: GPL-2.0-or-later
"""A target of a page: takes connections, acknowledges, and sends a probe later; and items to play against it.

It is stepped and without rights, and whatever a case does it meets the same each time, but for the ports.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import THEIRS, Agenda, Scripted, ScriptedCall, ScriptedUpper, turned

from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.injector import Injector
from harness.lower.timing import after
from harness.targets.base import Target, phantom_neighbour, timing_of
from harness.targets.decoys import DecoyLink
from harness.targets.registry import parse_spec
from harness.wire import ip
from harness.wire import seq as arithmetic
from harness.wire.clock import SECOND, Outcome
from harness.wire.codec import encode
from harness.wire.frame import Frame
from harness.wire.segment import ACK, FIN, PSH, RST, SYN, Flow, Kind, Option, Segment

PROBE_S = 2.0
"""So long after the handshake comes a probe."""
WINDOW = 5000


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection of the server; its numbers are absolute."""

    flow: Flow
    expected: int
    next: int = arithmetic.add(THEIRS, 1)
    state: str = "SYN-RECEIVED"
    received: bytearray = field(default_factory=bytearray)
    ended: bool = False
    accepted: bool = False


class Call(ScriptedCall):
    """A call that ends as soon as there is something to say."""

    def __init__(self, name: str, outcome: Callable[[], Outcome | None]) -> None:
        self.name = name
        self._ready = outcome

    def poll(self) -> Outcome | None:
        outcome = self._ready()
        return None if outcome is None else replace(outcome, call=self)


class ServerLink(DecoyLink):
    """All that the server says comes this way, also what is no answer."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.clock, server.hear)
        self._server = server

    def recv_frame(self) -> Frame | None:
        self._server.work()
        return super().recv_frame() or self._server.agenda.poll()

    poll = recv_frame


class ServerUpper(ScriptedUpper):
    """The server's application."""

    def __init__(self, server: Server, agenda: Agenda) -> None:
        super().__init__(agenda)
        self._server = server

    def listen(self, address: bytes, port: int, *, backlog: int, options: Any) -> object:
        self._server.listening.add(port)
        return port

    def accept(self, handle: object) -> Any:
        def outcome() -> Outcome | None:
            for connection in self._server.connections.values():
                if connection.flow.target_port == handle and not connection.accepted and \
                        connection.state != "SYN-RECEIVED":
                    connection.accepted = True
                    return Outcome(call="accept", value=connection)
            return None

        return Call("accept", outcome)

    def recv(self, handle: object, size: int) -> Any:
        assert isinstance(handle, Connection)

        def outcome() -> Outcome | None:
            if handle.received:
                data, handle.received = bytes(handle.received[:size]), handle.received[size:]
                return Outcome(call="recv", value=data)
            return Outcome(call="recv", value=b"") if handle.ended else None

        return Call("recv", outcome)

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        assert isinstance(handle, Connection)
        self._server.tell(handle, Segment(flags=PSH | ACK, payload=data))
        return Outcome(call="send", value=len(data))

    def abort(self, handle: object) -> Outcome:
        if isinstance(handle, Connection):
            self._server.connections.pop(handle.flow, None)
        else:
            self._server.listening.discard(handle)
        return Outcome(call="abort")

    def state(self, flow: Flow) -> str:
        connection = self._server.connections.get(flow)
        return "CLOSED" if connection is None else connection.state

    def listening(self, address: bytes, port: int) -> bool:
        return port in self._server.listening

    def half_open(self, port: int) -> int:
        return sum(connection.state == "SYN-RECEIVED" and connection.flow.target_port == port
                   for connection in self._server.connections.values())


class Server(Scripted):
    """The server, and the target that it makes."""

    def __init__(self, *, family: str = "ipv4") -> None:
        super().__init__()
        self.family = family
        self.listening: set[int] = set()
        self.open_ports = self.listening
        self.connections: dict[Flow, Connection] = {}
        self.upper = ServerUpper(self, self.agenda)
        self.due: list[tuple[int, Connection]] = []
        self.clock.unregister(self.agenda)
        self.link = ServerLink(self)
        self.injector = Injector(link=self.link, clock=self.clock, neighbour=phantom_neighbour())

    def target(self, **changes: Any) -> Target:
        """The server as a target; `changes` are of its profile."""
        profile = replace(parse_spec("decoy:refuser"), **changes)
        return Target(name="server", kind="decoy", version="1", profile=profile, clock=self.clock, link=self.link,
                      upper=self.upper, timing=timing_of(profile, 0), injector=self.injector, ports=self.ports)

    def tell(self, connection: Connection, segment: Segment, after_s: float = 0.0) -> None:
        """A segment of a connection, its numbers filled in, so many seconds from now."""
        self.arrive(self._filled(connection, segment), after_s)

    def _filled(self, connection: Connection, segment: Segment) -> bytes:
        filled = replace(segment, ack=connection.expected, window=WINDOW,
                         seq=connection.next if segment.seq is None else segment.seq)
        connection.next = arithmetic.latest(connection.next, arithmetic.add(filled.seq or 0, segment.length))
        return encode(filled, turned(connection.flow))

    def hear(self, packet: ip.Packet, segment: Segment | None) -> list[bytes]:
        """What the server answers at once."""
        if segment is None or segment.destination_port not in self.listening:
            return self._answer(packet, segment)
        flow = Flow(local=packet.source, local_port=segment.source_port or 0, target=packet.destination,
                    target_port=segment.destination_port or 0)
        if segment.has(RST):
            self.connections.pop(flow, None)
            return []
        if segment.has(SYN):
            self.connections[flow] = Connection(flow=flow, expected=arithmetic.add(segment.seq or 0, 1))
            options = (Option.of(Kind.MSS, b"\x05\xb4"), Option.of(Kind.SACK_PERMITTED))
            syn = Segment(flags=SYN | ACK, seq=THEIRS, options=options)
            return [self._filled(self.connections[flow], syn)]
        return self._connected(flow, segment)

    def _connected(self, flow: Flow, segment: Segment) -> list[bytes]:
        connection = self.connections.get(flow)
        if connection is None or segment.seq != connection.expected:
            return []
        if connection.state == "SYN-RECEIVED":
            connection.state = "ESTABLISHED"
            self._probe(connection)
        connection.received += segment.payload or b""
        connection.expected = arithmetic.add(connection.expected, segment.length)
        if segment.has(FIN):
            connection.state, connection.ended = "CLOSE-WAIT", True
        return [self._filled(connection, Segment(flags=ACK))] if segment.length else []

    def _probe(self, connection: Connection) -> None:
        at_ns = self.clock.now() + round(PROBE_S * SECOND)
        self.due.append((at_ns, connection))
        self.agenda.stop_at(at_ns)

    def work(self) -> None:
        """Do what is due by now."""
        while self.due and self.due[0][0] <= self.clock.now():
            _, connection = self.due.pop(0)
            if self.connections.get(connection.flow) is connection:
                self.tell(connection, Segment(flags=ACK, seq=arithmetic.add(connection.next, -1)))


class Item:
    """As much of a pytest item as an audit wants: a function of a case, and what it covers."""

    def __init__(self, function: Callable[..., None], *markers: pytest.MarkDecorator, family: str = "ipv4") -> None:
        self.obj = function
        self.fixturenames = list(inspect.signature(function).parameters)
        self._fixtureinfo = SimpleNamespace(argnames=tuple(self.fixturenames), name2fixturedefs={})
        self.callspec = SimpleNamespace(params={"family": family}, id=family)
        self.config = SimpleNamespace(getoption=lambda name: 0)
        self.path = Path("cases/topic/test_module.py")
        self.name = self.originalname = self.nodeid = function.__name__
        self._markers = [marker.mark for marker in (*markers, pytest.mark.covers("RFC9293-MUST-2"))]

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [marker for marker in self._markers if marker.name == name]


def exchange(case: Case) -> None:
    """A handshake, data both ways, a probe at its time, the end: a case with some of everything."""
    application = Application(case)
    listener = application.listen()
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK>")
    peer.expect("S. 0:0(0) ack 1 win 5000 <mss 1460,sackOK>")
    handshake = peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101 win 5000")
    connection.expect_data(100)
    connection.send(50)
    peer.expect("P. 1:51(50) ack 101 win 5000")
    peer.send(". 101:101(0) ack 51")
    peer.expect_state("ESTABLISHED")
    peer.expect(". 50:50(0) ack 101 win 5000", after(PROBE_S, since=handshake))
    peer.send("F. 101:101(0) ack 51")
    peer.expect(". 51:51(0) ack 102 win 5000")
    connection.expect_end()
