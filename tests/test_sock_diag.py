# SPDX-License-Identifier: GPL-2.0-or-later
"""States by one look-up in the kernel, each against what the wire has brought about."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from harness.lower import states
from harness.lower.application import Application
from harness.targets.base import Target
from harness.upper.sock_diag import SockDiag
from harness.wire.errors import TargetError
from harness.wire.segment import Flow

WAYS: dict[str, Callable[..., Any]] = {
    "SYN-RECEIVED": states.syn_received, "ESTABLISHED": states.established, "CLOSE-WAIT": states.close_wait,
    "LAST-ACK": states.last_ack, "FIN-WAIT-1": states.fin_wait_1, "FIN-WAIT-2": states.fin_wait_2,
    "CLOSING": states.closing, "TIME-WAIT": states.time_wait,
}


@pytest.fixture
def diag(linux: Target) -> SockDiag:
    return linux.upper._diag  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("state", WAYS)
def test_every_state_is_told(new_case, diag, family, state):
    case = new_case(family)
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    WAYS[state](peer, listener)
    entry = diag.find(peer.flow)
    assert entry is not None
    assert (entry.state, entry.port) == (state, listener.port)
    case.finish()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_syn_sent(new_case, diag, family):
    case = new_case(family)
    peer = case.peer()
    states.syn_sent(peer, Application(case))
    entry = diag.find(peer.flow)
    assert entry is not None
    assert entry.state == "SYN-SENT"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_listener_is_what_a_syn_would_meet_and_nobody_is_none(new_case, linux, diag, family):
    case = new_case(family)
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    entry = diag.find(peer.flow)
    assert entry is not None
    assert (entry.state, entry.port) == ("LISTEN", listener.port)
    assert linux.upper.state(peer.flow) == "CLOSED"
    assert linux.upper.listening(case.addresses.target, listener.port)
    nobody = case.peer()
    assert diag.find(nobody.flow) is None
    assert linux.upper.state(nobody.flow) == "CLOSED"
    assert not linux.upper.listening(case.addresses.target, nobody.flow.target_port)


def test_queues_are_told(new_case, diag):
    case = new_case()
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    connection = states.established(peer, listener)
    peer.send(". 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
    connection.send(7)
    peer.expect(". 1:8(7) ack 11")
    entry = diag.find(peer.flow)
    assert entry is not None
    assert (entry.receive_queue, entry.send_queue) == (10, 7)
    assert entry.inode > 0


@pytest.mark.parametrize("count", [0, 1, 40])
def test_half_open_connections_are_counted(new_case, linux, count):
    case = new_case()
    listener = Application(case).listen(backlog=64)
    other = Application(case).listen()
    for _ in range(count):
        states.syn_received(case.peer(target_port=listener.port), listener)
    states.syn_received(case.peer(target_port=other.port), other)
    assert listener.half_open == count
    assert other.half_open == 1


def test_half_open_connections_of_both_families(new_case):
    counts = []
    for family in ("ipv4", "ipv6"):
        case = new_case(family)
        listener = Application(case).listen(7777)
        states.syn_received(case.peer(target_port=7777), listener)
        counts.append(listener.half_open)
    assert counts == [1, 2]


def test_an_established_connection_is_not_half_open(new_case):
    case = new_case()
    listener = Application(case).listen()
    states.established(case.peer(target_port=listener.port), listener)
    assert listener.half_open == 0


class Refusing:
    """A netlink socket whose kernel refuses."""

    def __init__(self, number: int) -> None:
        self._number = number

    def send(self, message: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        return struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -self._number)


def test_a_refusal_of_the_kernel_is_an_error_of_the_target(rights, monkeypatch):
    flow = Flow(local=bytes(4), local_port=1, target=bytes(4), target_port=2)
    diag = SockDiag()
    with diag._socket:
        monkeypatch.setattr(diag, "_socket", Refusing(errno.EPERM))
        with pytest.raises(TargetError, match="sock_diag: Operation not permitted"):
            diag.find(flow)
        assert diag.half_open(2) == 0
        monkeypatch.setattr(diag, "_socket", Refusing(errno.ENOENT))
        assert diag.find(flow) is None
        monkeypatch.undo()
    assert diag._socket.fileno() == -1
    diag.close()


def test_a_look_up_is_the_namespaces_own(linux):
    outside = SockDiag()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        flow = Flow(local=bytes((127, 0, 0, 1)), local_port=1, target=bytes((127, 0, 0, 1)), target_port=port)
        found = outside.find(flow)
        assert found is not None
        assert found.state == "LISTEN"
        assert linux.upper.state(flow) == "CLOSED"
        assert not linux.upper.listening(flow.target, port)
    outside.close()
