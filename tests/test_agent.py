# SPDX-License-Identifier: GPL-2.0-or-later
"""The agents, each by the same tests over real sockets: every command, wakes, keys, who takes whose place."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from agents import NAMES, over_pair

from harness.lower import states
from harness.lower.application import Application
from harness.lower.verdict import Mismatch
from harness.targets.base import Target
from harness.upper.agent import Agent, AgentUpperTester
from harness.upper.base import NotApplicable
from harness.upper.commands import NumberedSocket
from harness.upper.messages import LONGEST, Op
from harness.upper.streams import ByteStream
from harness.wire.clock import SECOND, Outcome, RealClock
from harness.wire.errors import TargetError
from harness.wire.netns import NetworkNamespace
from harness.wire.segment import Flow

ADDRESSES = {"ipv4": socket.inet_pton(socket.AF_INET, "127.0.0.1"),
             "ipv6": socket.inet_pton(socket.AF_INET6, "::1")}
LIMIT_S = 5.0
PORT = 7000


@pytest.fixture(scope="module")
def namespace(rights: None) -> Iterator[NetworkNamespace]:
    """A network of its own, with nothing but its loopback interface."""
    from pyroute2.iproute.linux import IPRoute

    made = NetworkNamespace()
    with made.entered(), IPRoute() as route:
        route.link("set", index=1, state="up")
    yield made
    made.close()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class World:
    """An agent in the namespace, its upper tester, and the tests' own sockets there."""

    def __init__(self, name: str, namespace: NetworkNamespace) -> None:
        self.name = name
        self.namespace = namespace
        self.clock = RealClock()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.agent = Agent(self.stream, limit_s=LIMIT_S)
        self.upper = AgentUpperTester(self.agent)
        self.sockets: list[socket.socket] = []

    def stream(self) -> ByteStream:
        return over_pair(self.name, inside=self.namespace.entered, processes=self.processes)

    def socket(self, family: str = "ipv4") -> socket.socket:
        with self.namespace.entered():
            made = socket.socket(socket.AF_INET6 if family == "ipv6" else socket.AF_INET)
        made.settimeout(LIMIT_S)
        self.sockets.append(made)
        return made

    def listening(self, port: int = PORT, family: str = "ipv4", backlog: int = 4) -> socket.socket:
        made = self.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host(family), port))
        made.listen(backlog)
        return made

    def outcome(self, call: Any, within_s: float = LIMIT_S) -> Outcome | None:
        """What a call comes to, waited for as a case does."""
        self.clock.register(call)
        try:
            event = self.clock.wait(self.clock.now() + round(within_s * SECOND))
        finally:
            self.clock.unregister(call)
        assert event is None or isinstance(event, Outcome)
        return event

    def pair(self, family: str = "ipv4", port: int = PORT) -> tuple[NumberedSocket, socket.socket, Flow]:
        """A connection that the agent has accepted: its socket, ours, and what it is called."""
        listener = self.upper.listen(ADDRESSES[family], port, backlog=4, options={})
        ours = self.socket(family)
        ours.connect((host(family), port))
        outcome = self.outcome(self.upper.accept(listener))
        assert outcome is not None
        assert isinstance(outcome.value, NumberedSocket)
        return outcome.value, ours, self.flow(ours.getsockname()[1], family, port)

    @staticmethod
    def flow(local_port: int, family: str = "ipv4", port: int = PORT) -> Flow:
        return Flow(local=ADDRESSES[family], local_port=local_port, target=ADDRESSES[family], target_port=port)

    def close(self) -> None:
        self.agent.close()
        for made in self.sockets:
            made.close()
        assert {process.wait(LIMIT_S) for process in self.processes} <= {0, -9}


def host(family: str) -> str:
    return "::1" if family == "ipv6" else "127.0.0.1"


@pytest.fixture
def world(name: str, namespace: NetworkNamespace) -> Iterator[World]:
    made = World(name, namespace)
    yield made
    made.close()


# -- commands --------------------------------------------------------------------------------------------------------


def test_hello(world: World) -> None:
    hello = world.agent.hello
    assert (hello.version, hello.sockets, hello.longest) == (1, 1024, LONGEST)
    assert all(hello.offers(op) for op in Op)
    assert hello.system == " ".join((os.uname().sysname, os.uname().release, os.uname().machine))
    assert hello.release == os.uname().release
    assert hello.name.startswith("tcpqual-agent")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_connection_that_is_accepted(world: World, family: str) -> None:
    sock, ours, flow = world.pair(family)
    assert world.upper.state(flow) == "ESTABLISHED"
    assert world.upper.listening(flow.target, PORT)
    assert world.upper.send(sock, b"to us").value == 5
    assert ours.recv(99) == b"to us"
    ours.sendall(b"to the agent")
    assert world.outcome(world.upper.recv(sock, 6)).value == b"to the"  # type: ignore[union-attr]
    assert world.outcome(world.upper.recv(sock, 99)).value == b" agent"  # type: ignore[union-attr]
    ours.shutdown(socket.SHUT_WR)
    assert world.outcome(world.upper.recv(sock, 99)).value == b""  # type: ignore[union-attr]
    assert world.upper.state(flow) == "CLOSE-WAIT"
    assert world.upper.shutdown(sock, "write").error == ""
    assert ours.recv(99) == b""
    assert world.upper.send(sock, b"x").error == "EPIPE"
    assert world.outcome(world.upper.close(sock)).error == ""  # type: ignore[union-attr]
    assert world.upper.recv(sock, 1).poll().error == "EBADF"  # type: ignore[union-attr]
    assert world.upper.abort(sock).error == world.upper.abort(sock).error == ""


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_connection_that_is_opened(world: World, family: str) -> None:
    listener = world.listening(7001, family)
    sock, call = world.upper.connect(world.flow(7001, family, 7002), options={"TCP_NODELAY": 1, "SO_RCVBUF": 4096})
    assert world.outcome(call).error == ""  # type: ignore[union-attr]
    accepted, (_, port, *_) = listener.accept()
    world.sockets.append(accepted)
    assert port == 7002
    assert world.upper.state(world.flow(7001, family, 7002)) == "ESTABLISHED"
    accepted.sendall(b"ours")
    assert world.outcome(world.upper.recv(sock, 99)).value == b"ours"  # type: ignore[union-attr]


def test_connection_that_is_refused(world: World) -> None:
    sock, call = world.upper.connect(world.flow(7003, port=7004), options={})
    assert world.outcome(call).error == "ECONNREFUSED"  # type: ignore[union-attr]
    assert world.upper.pending_error(sock) == ""


def test_connection_attempt_to_where_no_route_leads_ends_at_once(world: World) -> None:
    flow = Flow(local=bytes((203, 0, 113, 9)), local_port=7, target=ADDRESSES["ipv4"], target_port=7005)
    assert world.outcome(world.upper.connect(flow, options={})[1]).error in ("ENETUNREACH", "EINVAL")  # type: ignore[union-attr]


def test_port_that_is_taken_is_an_error_of_ours(world: World) -> None:
    world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=1, options={})
    with pytest.raises(TargetError, match=f"listen on port {PORT}: EADDRINUSE"):
        world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=1, options={})


def test_unknown_option_is_not_applicable(world: World) -> None:
    with pytest.raises(NotApplicable, match="has no socket option SO_NONSENSE"):
        world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=1, options={"SO_NONSENSE": 1})


@pytest.mark.parametrize("option", ["SO_KEEPALIVE", "SO_RCVBUF", "SO_SNDBUF", "TCP_NODELAY", "TCP_KEEPIDLE",
                                    "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT", "TCP_WINDOW_CLAMP",
                                    "TCP_MAXSEG", "IP_TTL", "IP_TOS", "IP_MTU_DISCOVER", "IP_RECVERR",
                                    "TCP_QUICKACK", "TCP_DEFER_ACCEPT", "TCP_SYNCNT", "TCP_CORK"])
def test_option_that_a_case_may_set(world: World, option: str) -> None:
    sock = world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=1, options={option: {"TCP_MAXSEG": 500}.get(option, 1)})
    assert world.upper.set_option(sock, "TCP_KEEPCNT", 0).error == "EINVAL"
    assert world.upper.set_option(sock, "TCP_KEEPCNT", 1 << 40).error == "EINVAL"


@pytest.mark.parametrize("option", ["IPV6_UNICAST_HOPS", "IPV6_TCLASS", "IPV6_RECVERR", "IPV6_MTU_DISCOVER"])
def test_option_of_ipv6(world: World, option: str) -> None:
    world.upper.listen(ADDRESSES["ipv6"], PORT, backlog=1, options={option: 1})


def test_reset_is_told_once(world: World) -> None:
    sock, ours, flow = world.pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ours.close()
    assert world.upper.pending_error(sock) == "ECONNRESET"
    assert world.upper.pending_error(sock) == ""
    assert world.upper.state(flow) == "CLOSED"


def test_read_ends_with_the_reset(world: World) -> None:
    sock, ours, _ = world.pair()
    call = world.upper.recv(sock, 9)
    assert world.outcome(call, 0) is None
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ours.close()
    assert world.outcome(call).error == "ECONNRESET"  # type: ignore[union-attr]


def test_abort_resets(world: World) -> None:
    sock, ours, flow = world.pair()
    assert world.upper.abort(sock).error == ""
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    assert world.upper.state(flow) == "CLOSED"
    assert world.upper.shutdown(sock, "both").error == "EBADF"


def test_no_room_is_no_error(world: World) -> None:
    sock, _, _ = world.pair()
    taken = [1]
    while taken[-1]:
        taken.append(world.upper.send(sock, bytes(3 << 20)).value)
    assert sum(taken) > 1 << 16
    assert max(taken) < LONGEST


def test_much_is_read(world: World) -> None:
    sock, ours, _ = world.pair()
    ours.setblocking(False)
    given = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            given += ours.send(bytes(1 << 16))
    got = 0
    while got < given:
        got += len(world.outcome(world.upper.recv(sock, 4 << 20)).value)  # type: ignore[union-attr]
    assert got == given


def test_urgent_data(world: World) -> None:
    sock, ours, _ = world.pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    assert world.upper.send(sock, b"not").value == 3
    assert world.upper.send(sock, b"!", urgent=True).value == 1
    assert ours.recv(9, socket.MSG_WAITALL) == b"not"  # a read ends before what is urgent
    assert ours.recv(9) == b"!"


def test_time_wait_is_seen(world: World) -> None:
    sock, ours, flow = world.pair()
    world.upper.close(sock)
    assert ours.recv(1) == b""
    assert world.upper.state(flow) in ("FIN-WAIT-1", "FIN-WAIT-2")
    ours.close()
    assert world.upper.state(flow) == "TIME-WAIT"


def test_states_that_nothing_is_in(world: World) -> None:
    assert world.upper.state(world.flow(1, port=2)) == "CLOSED"
    assert not world.upper.listening(ADDRESSES["ipv4"], 2)
    assert world.upper.half_open(2) == 0
    world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=1, options={})
    assert world.upper.state(world.flow(1)) == "CLOSED"
    assert world.upper.listening(ADDRESSES["ipv4"], PORT)
    assert not world.upper.listening(ADDRESSES["ipv6"], PORT)


def test_information(world: World) -> None:
    sock, _, _ = world.pair()
    told = world.upper.information(sock)
    assert told["rto_us"] >= 200_000
    assert set(told) == {"retransmits", "probes", "backoff", "options", "rto_us", "ato_us", "send_mss", "receive_mss",
                         "unacked", "sacked", "lost", "retrans"}


# -- calls that wait -------------------------------------------------------------------------------------------------


def test_accept_is_woken(world: World) -> None:
    listener = world.upper.listen(ADDRESSES["ipv4"], PORT, backlog=4, options={})
    call = world.upper.accept(listener)
    assert world.outcome(call, 0) is None
    ours = world.socket()
    ours.connect((host("ipv4"), PORT))
    outcome = world.outcome(call)
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.value, NumberedSocket)


def test_two_calls_are_woken_each_by_its_own(world: World) -> None:
    sock, ours, _ = world.pair()
    listener = world.upper.listen(ADDRESSES["ipv4"], 7010, backlog=4, options={})
    reading, accepting = world.upper.recv(sock, 9), world.upper.accept(listener)
    assert world.outcome(reading, 0) is None
    assert world.outcome(accepting, 0) is None
    other = world.socket()
    other.connect((host("ipv4"), 7010))
    ours.sendall(b"both")
    world.clock.register(accepting)
    first = world.outcome(reading)
    assert first is not None
    world.clock.unregister(first.call)
    second = world.outcome({reading: accepting, accepting: reading}[first.call])
    assert second is not None
    assert first.call is not second.call


def test_wake_that_comes_while_another_call_asks_is_not_lost(world: World) -> None:
    """The wake for the first is read by the second; the first has to be asked before anybody sleeps on it."""
    sock, ours, _ = world.pair()
    reading = world.upper.recv(sock, 9)
    assert world.outcome(reading, 0) is None
    world.clock.register(reading)
    ours.sendall(b"here")
    while not reading.woken:  # type: ignore[attr-defined]
        assert world.upper.pending_error(sock) == ""
    began = world.clock.now()
    assert world.outcome(world.upper.accept(world.upper.listen(ADDRESSES["ipv4"], 7011, backlog=1, options={})),
                         LIMIT_S).call is reading  # type: ignore[union-attr]
    assert world.clock.now() - began < SECOND


def test_call_that_nobody_awaits_any_more_disturbs_nobody(world: World) -> None:
    sock, ours, _ = world.pair()
    assert world.outcome(world.upper.recv(sock, 9), 0) is None
    ours.sendall(b"left")
    for _ in range(50):
        assert world.upper.pending_error(sock) == ""
    assert world.outcome(world.upper.recv(sock, 9)).value == b"left"  # type: ignore[union-attr]


def test_question_at_this_moment_needs_no_wake(world: World) -> None:
    sock, ours, _ = world.pair()
    call = world.upper.recv(sock, 9)
    assert world.outcome(call, 0) is None
    ours.sendall(b"now")
    assert call.settle().value == b"now"  # type: ignore[attr-defined]


def test_attempt_that_waits_is_woken(world: World) -> None:
    """A listener without room lets a SYN go; its repetition opens the connection, a second later."""
    listener = world.listening(7020, backlog=0)
    world.socket().connect((host("ipv4"), 7020))
    sock, call = world.upper.connect(world.flow(7020, port=7021), options={})
    assert world.outcome(call, 0) is None
    assert world.upper.state(world.flow(7020, port=7021)) == "SYN-SENT"
    for _ in range(2):
        world.sockets.append(listener.accept()[0])
    assert world.outcome(call).error == ""  # type: ignore[union-attr]
    assert world.upper.send(sock, b"open").value == 4


def test_close_that_lingers_waits_for_the_acknowledgement_and_nobody_else_does(world: World) -> None:
    sock, ours, _ = world.pair()
    while world.upper.send(sock, bytes(1 << 18)).value:
        pass
    call = world.upper.close(sock, linger_s=30)
    assert world.outcome(call, 0.05) is None
    assert world.upper.half_open(PORT) == 0
    ours.settimeout(LIMIT_S)
    while ours.recv(1 << 20):
        pass
    assert world.outcome(call).error == ""  # type: ignore[union-attr]


def test_close_that_lingers_ends_with_its_time_and_does_not_hold_other_sockets(world: World) -> None:
    sock, _, _ = world.pair()
    other, ours, _ = world.pair(port=7030)
    while world.upper.send(sock, bytes(1 << 18)).value:
        pass
    call = world.upper.close(sock, linger_s=1)
    assert world.outcome(call, 0) is None
    world.upper.close(other)
    assert ours.recv(1) == b""
    began = world.clock.now()
    assert world.outcome(call).error == ""  # type: ignore[union-attr]
    assert world.clock.now() - began > SECOND // 2
    assert world.upper.abort(sock).error == ""


def test_socket_that_lingers_may_be_aborted(world: World) -> None:
    sock, _, _ = world.pair()
    while world.upper.send(sock, bytes(1 << 18)).value:
        pass
    call = world.upper.close(sock, linger_s=1000)
    assert world.outcome(call, 0) is None
    assert world.upper.abort(sock).error == ""
    world.agent.revive()


def test_call_on_a_socket_that_is_closed_ends(world: World) -> None:
    sock, _, _ = world.pair()
    call = world.upper.recv(sock, 9)
    assert world.outcome(call, 0) is None
    world.upper.close(sock)
    assert world.outcome(call).error == "EBADF"  # type: ignore[union-attr]


# -- an agent that is gone -------------------------------------------------------------------------------------------


def test_next_case_works_after_a_restart(world: World) -> None:
    sock, _, _ = world.pair()
    waiting = world.upper.recv(sock, 9)
    assert world.outcome(waiting, 0) is None
    world.processes[-1].kill()
    with pytest.raises(TargetError, match=r"agent at the .* agent: is gone while it"):
        world.outcome(waiting)
    with pytest.raises(TargetError, match="is gone while it"):
        world.upper.half_open(PORT)
    assert world.upper.abort(sock).error == ""
    assert world.upper.state(world.flow(1)) == ""
    world.upper.revive()
    assert world.upper.state(world.flow(1)) == "CLOSED"
    with pytest.raises(TargetError, match="has begun anew since"):
        world.upper.recv(sock, 1)
    world.pair()


def test_silence_is_noticed(world: World) -> None:
    world.agent._conversation.limit_s = 0.2
    os.kill(world.processes[-1].pid, 19)
    with pytest.raises(TargetError, match=r"did not answer within 0.2 s while it was asked for HALF_OPEN"):
        world.upper.half_open(1)
    os.kill(world.processes[-1].pid, 18)
    world.upper.revive()
    assert world.upper.half_open(1) == 0


# -- in a lab --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sock_diag", "procfs"])
def driven(name: str, linux: Target, request: pytest.FixtureRequest) -> Iterator[Target]:
    """This machine's kernel as a target, driven by an agent that tells states by either way."""
    words = ("--procfs",) if request.param == "procfs" else ()
    inside = linux.upper._namespace.entered  # type: ignore[attr-defined]
    upper = AgentUpperTester(Agent(lambda: over_pair(name, *words, inside=inside)))
    yield replace(linux, upper=upper)
    upper.close_driver()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_states_that_segments_bring_about(driven: Target, new_case: Any, family: str) -> None:
    """Each is asserted on the way, and a mistake of the agent's would be a mismatch."""
    case = new_case(family, driven)
    application = Application(case)
    listener = application.listen()
    peer = case.peer(target_port=listener.port)
    assert listener.half_open == 0
    states.syn_received(peer, listener)
    assert listener.half_open == 1
    assert states.syn_sent(case.peer(), application)
    for reach in (states.established, states.close_wait, states.last_ack, states.fin_wait_1, states.fin_wait_2,
                  states.closing, states.time_wait):
        reach(case.peer(target_port=listener.port), listener)
    assert listener.half_open == 1
    listener.expect_listening()
    listener.close()
    assert not driven.upper.listening(case.addresses.target, listener.port)


def test_what_a_case_asks_at_its_deadline_the_agent_is_asked(driven: Target, new_case: Any) -> None:
    """A read that ends while its wake is still on the way is not taken for one that waits."""
    case = new_case(target=driven)
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    connection = states.established(peer, listener)
    pending = connection.receive()
    pending.expect_open()
    driven.upper.agent.hear = lambda: None  # type: ignore[attr-defined]
    peer.send(". 1:4(3) ack 1")
    peer.expect(". 1:1(0) ack 4")
    with pytest.raises(Mismatch, match="recv"):
        pending.expect_open()
