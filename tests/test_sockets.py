# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper tester of this machine's kernel: calls that wait, calls that are over at once, and their errors."""

from __future__ import annotations

import select
import socket
from typing import Any

import pytest

from harness.lower import states
from harness.lower.application import Application, Connection
from harness.lower.case import Case
from harness.lower.peer import Peer
from harness.targets.base import Target
from harness.wire.clock import SECOND, Outcome
from harness.wire.errors import TargetError


class World:
    """An established connection on the kernel."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.application = Application(case)
        self.listener = self.application.listen(backlog=4)
        self.peer: Peer = case.peer(target_port=self.listener.port)
        self.connection: Connection = states.established(self.peer, self.listener)
        self.sock: Any = self.connection.handle


@pytest.fixture
def world(new_case) -> World:
    return World(new_case())


def outcome_of(target: Target, call: Any) -> Outcome | None:
    """What a call comes to within a second."""
    target.clock.register(call)
    try:
        until = target.clock.now() + SECOND
        while (event := target.clock.wait(until)) is not None:
            if isinstance(event, Outcome):
                return event
    finally:
        target.clock.unregister(call)
    return None


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_connection_that_is_accepted(new_case, family):
    case = new_case(family)
    peer = case.peer()
    connection = states.connected(peer, Application(case))
    assert connection.handle.getpeername()[1] == peer.flow.local_port
    case.finish()


def test_a_connection_attempt_that_waits(new_case):
    case = new_case()
    peer = case.peer()
    _, connecting = states.syn_sent(peer, Application(case))
    connecting.expect_open()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_connection_attempt_that_is_refused(new_case, family):
    case = new_case(family)
    peer = case.peer()
    _, connecting = states.syn_sent(peer, Application(case))
    peer.send("R. 0:0(0) ack 1")
    connecting.expect("ECONNREFUSED")


def test_a_connection_attempt_to_where_no_route_leads_ends_at_once(new_case):
    case = new_case()
    peer = case.peer(local=bytes((203, 0, 113, 9)))
    _, connecting = Application(case).connect(peer)
    connecting.expect("ENETUNREACH")


def test_a_port_that_is_taken(world, linux):
    with pytest.raises(TargetError, match=rf"bind to port {world.listener.port}: Address already in use"):
        world.application.listen(world.listener.port)


def test_options_are_set_before_the_connection(new_case):
    case = new_case()
    listener = Application(case).listen(options={"SO_RCVBUF": 4096})
    assert listener.handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 8192
    peer = case.peer()
    connection, _ = states.syn_sent(peer, Application(case), options={"SO_KEEPALIVE": 1})
    assert connection.handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_nobody_to_accept_is_pending(world):
    world.listener.expect_none()


def test_a_read_waits_for_data_and_then_for_the_end(world):
    pending = world.connection.receive()
    pending.expect_open()
    world.peer.send(". 1:4(3) ack 1")
    assert pending.expect("done") == world.peer.stream(1, 4)
    world.peer.expect(". 1:1(0) ack 4")
    world.connection.expect_no_data()
    world.peer.send("F. 4:4(0) ack 1")
    world.connection.expect_end()
    world.peer.expect(". 1:1(0) ack 5")
    world.case.finish()


def test_a_read_ends_with_the_reset(world):
    pending = world.connection.receive()
    world.peer.send("R 1:1(0)")
    pending.expect("ECONNRESET")


def test_an_error_waits_on_the_socket_and_is_told_once(world):
    world.peer.send("R 1:1(0)")
    world.peer.expect_silence()
    world.connection.expect_pending_error("ECONNRESET")
    world.connection.expect_pending_error("")


def test_data_goes_out(world):
    assert world.connection.send(1000) == 1000
    assert world.peer.expect("P. 1:1001(1000) ack 1").payload


def test_urgent_data_is_marked(world):
    world.connection.send(b"x", urgent=True)
    world.peer.expect_one_of(["PU. 1:2(1) ack 1 urg 1", "PU. 1:2(1) ack 1 urg 0"])


def test_no_room_is_no_error(world, linux):
    taken = 1
    while taken:
        outcome = linux.upper.send(world.sock, bytes(1 << 20))
        assert outcome.error == ""
        taken = outcome.value
    world.case.injector.drain()


def test_a_send_behind_a_reset_fails(world):
    world.peer.send("R 1:1(0)")
    world.peer.expect_silence()
    world.connection.expect_send_error("ECONNRESET|EPIPE")
    world.connection.expect_send_error("EPIPE")


@pytest.mark.parametrize(("half", "closes"), [("write", True), ("both", True), ("read", False)])
def test_shutdown(world, half, closes):
    world.connection.shutdown(half)
    if closes:
        world.peer.expect("F. 1:1(0) ack 1")
        world.connection.expect_send_error("EPIPE")
    else:
        world.peer.expect_silence()
        world.connection.expect_end()


def test_shutdown_of_what_is_not_connected(world, linux):
    assert linux.upper.shutdown(world.listener.handle, "write").error == ""
    with socket.socket() as sock:
        assert linux.upper.shutdown(sock, "both").error == "ENOTCONN"


def test_abort_resets_and_may_be_called_again(world):
    world.connection.send(10)
    world.peer.expect(". 1:11(10) ack 1")
    world.connection.abort()
    world.peer.expect("R. 11:11(0) ack 1")
    world.connection.abort()
    assert world.sock.fileno() == -1


def test_close_sends_fin(world):
    world.connection.close().expect("done")
    world.peer.expect("F. 1:1(0) ack 1")


def test_close_that_lingers_ends_when_all_is_acknowledged(world):
    world.connection.send(10)
    world.peer.expect(". 1:11(10) ack 1")
    closing = world.connection.close(linger_s=5)
    world.peer.expect("F. 11:11(0) ack 1")
    closing.expect_open()
    world.peer.send(". 1:1(0) ack 12")
    closing.expect("done")


def test_close_that_lingers_ends_with_its_time(world, linux):
    world.connection.send(10)
    world.peer.expect(". 1:11(10) ack 1")
    call = linux.upper.close(world.sock, linger_s=1)
    started = linux.clock.now()
    world.peer.count_repeats()
    linux.clock.register(call)
    while not isinstance(event := linux.clock.wait(started + 3 * SECOND), Outcome):
        assert event is not None
    linux.clock.unregister(call)
    assert 0.9 * SECOND < linux.clock.now() - started < 2 * SECOND
    linux.injector.begin(world.case)


def test_options_by_name(world, linux):
    world.connection.set_option("TCP_NODELAY", 1)
    assert world.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    world.connection.set_option("IP_RECVERR", 1)
    assert world.sock.getsockopt(socket.IPPROTO_IP, 11) == 1
    assert linux.upper.set_option(world.sock, "IPV6_RECVERR", 1).error == "ENOPROTOOPT"
    for name in ("TCP_NO_SUCH", "NODELAY", "AF_INET"):
        with pytest.raises(TargetError, match=f"socket option '{name}': unknown; a name such as SO_KEEPALIVE"):
            linux.upper.set_option(world.sock, name, 1)


def test_a_socket_with_an_unknown_option_is_not_even_made(world, linux, monkeypatch):
    monkeypatch.setattr(linux.upper, "_socket", lambda address: pytest.fail("a socket was made"))
    with pytest.raises(TargetError, match="socket option 'NOPE': unknown"):
        world.application.listen(options={"NOPE": 1})


def test_information(world):
    told = world.connection.information()
    assert told["send_mss"] == 1460
    assert told["unacked"] == told["probes"] == told["retransmits"] == 0
    world.connection.send(10)
    world.peer.expect(". 1:11(10) ack 1")
    assert world.connection.information()["unacked"] == 1


def test_a_handle_of_somebody_else_is_refused(linux):
    with pytest.raises(TargetError, match="'nothing' is no socket of this target"):
        linux.upper.send("nothing", b"x")


def test_a_call_on_a_socket_that_is_closed_meanwhile(world, linux):
    call = linux.upper.recv(world.sock, 10)
    assert call.fileno() == world.sock.fileno()
    world.sock.close()
    assert call.fileno() == -1
    outcome = call.poll()
    assert outcome is not None
    assert outcome.error == "EBADF"


def test_calls_that_wait_are_woken_by_the_descriptor(world, linux):
    call = linux.upper.recv(world.sock, 10)
    assert call.poll() is None
    world.peer.send(". 1:4(3) ack 1")
    assert select.select([call], [], [], 1.0)[0]
    outcome = outcome_of(linux, call)
    assert outcome is not None
    assert outcome.value == world.peer.stream(1, 4)


def test_a_lingering_close_that_fails_says_why(world, linux, monkeypatch):
    import os

    def fail(descriptor: int) -> None:
        real(descriptor)
        raise OSError(5, "Input/output error")

    real = os.close
    monkeypatch.setattr("harness.upper.sockets.os.close", fail)
    call = linux.upper.close(world.sock, linger_s=0)
    assert select.select([call], [], [], 5.0)[0]
    monkeypatch.undo()
    outcome = call.poll()
    assert outcome is not None
    assert outcome.error == "EIO"
    assert call.poll() is None
