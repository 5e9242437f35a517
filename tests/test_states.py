# SPDX-License-Identifier: GPL-2.0-or-later
"""The constructors bring a target to each state, and blame nobody if it does not follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted import THEIRS, Scripted, ScriptedUpper

from harness.lower import states
from harness.lower.application import Application, Listener
from harness.lower.peer import Peer
from harness.lower.verdict import Inconclusive
from harness.wire import seq as arithmetic
from harness.wire.clock import Outcome
from harness.wire.segment import ACK, FIN, SYN, Flow, Segment


class Connecting:
    """A connect() that is done when the connection is."""

    name = "connect"

    def __init__(self, host: Host) -> None:
        self._host = host

    def fileno(self) -> int:
        return -1

    def poll(self) -> Outcome | None:
        return Outcome(call=self) if self._host.now == "ESTABLISHED" else None


class Host(ScriptedUpper):
    """A target that keeps the states of RFC 9293, figure 5, for one connection, and does no more than that."""

    def __init__(self, target: Scripted) -> None:
        super().__init__(target.agenda)
        self.target = target
        self.now = "CLOSED"
        self.next = THEIRS
        self.peer: Peer | None = None
        self.deaf_in = ""
        target.upper, target.reply = self, self.reply

    def fin(self, state: str) -> None:
        assert self.peer is not None
        if self.deaf_in == state:
            return
        self.now = state
        self.target.say(self.peer, "F. 1:1(0) ack 0", seq=self.next, ack=self.peer.send_next)
        self.next = arithmetic.add(self.next, 1)

    def reply(self, segment: Segment) -> list[Segment]:
        if self.deaf_in == self.now:
            return []
        before = self.now
        end = arithmetic.add(segment.seq or 0, segment.length)
        if segment.has(ACK) and segment.ack == self.next:
            self.now = {"SYN-RECEIVED": "ESTABLISHED", "FIN-WAIT-1": "FIN-WAIT-2"}.get(self.now, self.now)
        if segment.has(SYN):
            self.now = "SYN-RECEIVED" if before == "CLOSED" else "ESTABLISHED"
        if segment.has(FIN):
            self.now = {"ESTABLISHED": "CLOSE-WAIT", "FIN-WAIT-1": "CLOSING", "FIN-WAIT-2": "TIME-WAIT"}[self.now]
        if not segment.length:
            return []
        if self.now == "SYN-RECEIVED":
            self.next = arithmetic.add(THEIRS, 1)
            self.will("accept", "accepted")
            return [Segment(flags=SYN | ACK, seq=THEIRS, ack=end, window=1000)]
        return [Segment(flags=ACK, seq=self.next, ack=end, window=1000)]

    def connect(self, flow: Flow, *, options: Any) -> tuple[object, Any]:
        assert self.peer is not None
        self.now = "SYN-SENT"
        if self.deaf_in != "CLOSED":
            self.target.say(self.peer, "S 0:0(0)")
        self.next = arithmetic.add(THEIRS, 1)
        return "connecting", Connecting(self)

    def close(self, handle: object, *, linger_s: int | None = None) -> Any:
        self.fin("LAST-ACK" if self.now == "CLOSE-WAIT" else "FIN-WAIT-1")
        return super().close(handle)

    def shutdown(self, handle: object, half: Any) -> Any:
        self.fin("FIN-WAIT-1")
        return super().shutdown(handle, half)

    def state(self, flow: Flow) -> str:
        return self.now


class World:
    """A host, a case, a peer that speaks to it."""

    def __init__(self) -> None:
        self.target = Scripted()
        self.host = Host(self.target)
        self.made = self.target.case()
        self.application = Application(self.made)
        self.listener: Listener = self.application.listen()
        self.peer = self.host.peer = self.made.peer(target_port=self.listener.port)
        self.target.serve(self.peer)

    def numbers(self) -> tuple[int, int]:
        """What comes next, of ours and of the target's, relative."""
        return (arithmetic.diff(self.peer.send_next, self.peer.iss), arithmetic.diff(self.peer.receive_next, THEIRS))


@pytest.fixture
def world() -> World:
    return World()


WAYS: dict[str, tuple[Callable[[World], Any], str, tuple[int, int]]] = {
    "syn_received": (lambda w: states.syn_received(w.peer, w.listener), "SYN-RECEIVED", (1, 1)),
    "established": (lambda w: states.established(w.peer, w.listener), "ESTABLISHED", (1, 1)),
    "syn_sent": (lambda w: states.syn_sent(w.peer, w.application), "SYN-SENT", (0, 1)),
    "connected": (lambda w: states.connected(w.peer, w.application), "ESTABLISHED", (1, 1)),
    "close_wait": (lambda w: states.close_wait(w.peer, w.listener), "CLOSE-WAIT", (2, 1)),
    "last_ack": (lambda w: states.last_ack(w.peer, w.listener), "LAST-ACK", (2, 2)),
    "fin_wait_1": (lambda w: states.fin_wait_1(w.peer, w.listener), "FIN-WAIT-1", (1, 2)),
    "fin_wait_1_half": (lambda w: states.fin_wait_1(w.peer, w.listener, half=True), "FIN-WAIT-1", (1, 2)),
    "fin_wait_2": (lambda w: states.fin_wait_2(w.peer, w.listener), "FIN-WAIT-2", (1, 2)),
    "closing": (lambda w: states.closing(w.peer, w.listener), "CLOSING", (2, 2)),
    "time_wait": (lambda w: states.time_wait(w.peer, w.listener), "TIME-WAIT", (2, 2)),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_state_is_reached_with_the_numbers_that_are_promised(world, way):
    act, state, numbers = WAYS[way]
    act(world)
    assert world.host.now == state
    assert world.numbers() == numbers
    world.made.finish()
    assert world.made.story.proof == set(), "what only leads to the case proves nothing of it"


@pytest.mark.parametrize(("way", "deaf_in"), [
    ("syn_received", "CLOSED"), ("established", "SYN-RECEIVED"), ("syn_sent", "CLOSED"), ("connected", "SYN-SENT"),
    ("close_wait", "ESTABLISHED"), ("last_ack", "LAST-ACK"), ("fin_wait_1", "FIN-WAIT-1"),
    ("fin_wait_1_half", "FIN-WAIT-1"), ("fin_wait_2", "FIN-WAIT-1"), ("closing", "FIN-WAIT-1"),
    ("time_wait", "FIN-WAIT-2"),
])
def test_a_target_that_does_not_follow_makes_it_inconclusive(world, way, deaf_in):
    world.host.deaf_in = deaf_in
    with pytest.raises(Inconclusive, match="could not be brought to where the case begins"):
        WAYS[way][0](world)
    assert world.made.story.findings == []


def test_a_wrong_state_alone_is_enough(world, monkeypatch):
    monkeypatch.setattr(world.host, "state", lambda flow: "SYN-SENT")
    with pytest.raises(Inconclusive, match="expected state SYN-RECEIVED, got state SYN-SENT"):
        states.syn_received(world.peer, world.listener)
