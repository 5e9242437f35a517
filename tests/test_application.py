# SPDX-License-Identifier: GPL-2.0-or-later
"""The target's application: what its calls come to is asserted, and every one is a line of the story."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Scripted, ScriptedUpper

from harness.lower import stream
from harness.lower.application import Application, Connection, Listener
from harness.lower.case import Case
from harness.lower.timing import after
from harness.lower.verdict import Inconclusive, Mismatch


class World:
    """A case with a scripted application, a listener and a connection."""

    def __init__(self) -> None:
        self.target = Scripted()
        self.upper: ScriptedUpper = self.target.script_upper()
        self.made: Case = self.target.case("RFC9293-MUST-2", "RFC9293-SHLD-14")
        self.peer = self.made.peer()
        self.target.serve(self.peer)
        self.application = Application(self.made)
        self.listener: Listener = self.application.listen(77, backlog=3, options={"TCP_NODELAY": 1})
        self.connection = Connection(self.made, "socket", self.peer)

    @property
    def line(self) -> str:
        return self.made.story.steps[-1].text

    def wrong(self, call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
        """Call what has to fail; returns what was expected and what was got."""
        with pytest.raises(Mismatch):
            call(*arguments, **named)
        found = self.made.story.findings[-1]
        return found.expected, found.got


@pytest.fixture
def world() -> World:
    return World()


# -- calls that wait --------------------------------------------------------------------------------------------------


def test_a_call_that_is_done(world):
    world.upper.will("recv", b"abc", after_s=0.5)
    assert world.connection.receive().expect("done") == b"abc"
    assert world.line == "recv() -> 3 octets"
    assert world.made.story.proof == {"api"}


def test_a_call_that_fails_as_it_should(world):
    world.upper.will("recv", error="ECONNRESET")
    world.connection.expect_error("ECONNREFUSED|ECONNRESET")
    assert world.line == "recv() -> ECONNRESET"


def test_a_call_that_fails_otherwise(world):
    world.upper.will("recv", error="EPIPE")
    assert world.wrong(world.connection.expect_error, "ECONNRESET") == ("recv() -> ECONNRESET", "recv() -> EPIPE")
    assert world.made.story.findings[-1].fields == ("outcome",)
    assert world.made.story.steps[-1].mark == "mismatch"


def test_a_call_that_succeeds_and_should_not(world):
    world.upper.will("recv", b"abc")
    assert world.wrong(world.connection.expect_error, "ECONNRESET")[1] == "recv() -> 3 octets"


def test_a_call_that_has_not_returned(world):
    assert world.wrong(world.connection.expect_error, "ECONNRESET") == (
        "recv() -> ECONNRESET", "recv() -> has not returned")


def test_the_wait_for_a_call_is_bounded(world):
    world.upper.will("recv", b"abc", after_s=3.0)
    pending = world.connection.receive()
    assert pending.outcome(within_s=2.9) is None
    assert pending.outcome(within_s=0.2) is not None


def test_a_mismatch_of_a_call_is_held_against_the_rule_that_is_named(world):
    world.wrong(world.connection.expect_error, "EPIPE", rule="RFC9293-SHLD-14")
    assert world.made.story.findings[-1].requirement == "RFC9293-SHLD-14"


def test_a_call_in_time(world):
    world.upper.will("recv", error="ETIMEDOUT", after_s=2.1)
    world.connection.expect_error("ETIMEDOUT", after(2.0))
    (check,) = world.made.story.checks
    assert check.kept
    assert check.what == "recv() -> ETIMEDOUT"


@pytest.mark.parametrize(("came_s", "said"), [(1.9, "1.900"), (2.5, "2.500")])
def test_a_call_early_or_late(world, came_s, said):
    world.upper.will("recv", error="ETIMEDOUT", after_s=came_s)
    assert world.wrong(world.connection.expect_error, "ETIMEDOUT", after(2.0)) == (
        "recv() -> ETIMEDOUT after 1.990 to 2.260 s", f"recv() -> ETIMEDOUT after {said} s")


def test_a_calls_time_may_count_from_elsewhere(world):
    start = world.made.moment()
    world.made.pause(1.0)
    world.upper.will("recv", b"", after_s=1.0)
    world.connection.receive().expect("done", after(2.0, since=start))


def test_a_call_that_must_stay_open(world):
    world.upper.will("recv", b"abc", after_s=1.0)
    pending = world.connection.receive()
    pending.expect_open()
    world.made.pause(1.1)
    assert world.wrong(pending.expect_open) == ("recv() has not returned", "recv() -> 3 octets")
    assert world.line == "recv() -> 3 octets"


def test_a_call_that_is_withdrawn_leaves_the_octets_to_the_next(world):
    world.connection.expect_no_data()
    world.upper.will("recv", b"abc")
    assert world.connection.receive().expect("done") == b"abc"


def test_data_that_should_not_be_there(world):
    world.upper.will("recv", b"abc")
    assert world.wrong(world.connection.expect_no_data)[1] == "recv() -> 3 octets"


# -- a connection -----------------------------------------------------------------------------------------------------


def test_the_application_sends_the_targets_stream(world):
    assert world.connection.send(5) == 5
    assert world.connection.send(b"xyz", urgent=True) == 3
    assert world.upper.asked[-2:] == [("send", (stream.octets("target", 0, 5), False)), ("send", (b"xyz", True))]
    assert world.made.streams[world.peer.flow] == stream.octets("target", 0, 5) + b"xyz"
    assert world.line == "send(3, urgent) -> 3"


def test_only_what_was_taken_is_due(world):
    world.upper.will("send", 2)
    assert world.connection.send(b"abcd") == 2
    assert world.made.streams[world.peer.flow] == b"ab"


def test_a_send_that_fails(world):
    world.upper.will("send", error="EPIPE")
    assert world.wrong(world.connection.send, 5) == ("send(5) -> done", "send(5) -> EPIPE")
    assert world.made.story.steps[-1].mark == "mismatch"


def test_a_send_that_has_to_fail(world):
    world.upper.will("send", error="EPIPE")
    world.connection.expect_send_error("EPIPE")
    assert world.wrong(world.connection.expect_send_error, "EPIPE") == ("send() -> EPIPE", "send() -> 1")


def test_the_data_are_ours_in_order_however_they_are_cut(world):
    for size, start in ((3, 0), (7, 3)):
        world.upper.will("recv", stream.octets("injector", start, size))
    world.connection.expect_data(10)
    world.upper.will("recv", stream.octets("injector", 10, 4))
    world.connection.expect_data(4)
    world.upper.will("recv", b"own")
    world.connection.expect_data(b"own")


@pytest.mark.parametrize(("octets", "said"), [
    (b"xyz", "3 octets, others than sent"), (stream.octets("injector", 0, 2), "2 octets"), (b"", "0 octets"),
])
def test_other_data_less_or_none(world, octets, said):
    world.upper.will("recv", octets)
    assert world.wrong(world.connection.expect_data, 3) == ("3 octets for the application", said)
    assert world.made.story.findings[-1].fields == ("payload",)


def test_data_that_end_in_an_error(world):
    world.upper.will("recv", stream.octets("injector", 0, 2))
    world.upper.will("recv", error="ECONNRESET")
    assert world.wrong(world.connection.expect_data, 3)[1] == "2 octets"


def test_the_end_of_the_stream(world):
    world.upper.will("recv", b"")
    world.connection.expect_end()
    assert world.line == "recv() -> end of stream"


@pytest.mark.parametrize(("outcome", "said"), [
    ({"value": b"abc"}, "recv() -> 3 octets"), ({"error": "EPIPE"}, "recv() -> EPIPE"),
    (None, "recv() has not returned"),
])
def test_no_end_of_the_stream(world, outcome, said):
    if outcome is not None:
        world.upper.will("recv", **outcome)
    assert world.wrong(world.connection.expect_end) == ("recv() -> end of stream", said)


def test_the_error_that_waits_on_the_socket(world):
    world.connection.expect_pending_error("")
    assert world.line == "SO_ERROR -> none"
    world.upper.error = "EHOSTUNREACH"
    world.connection.expect_pending_error("ENETUNREACH|EHOSTUNREACH")
    assert world.wrong(world.connection.expect_pending_error, "") == ("SO_ERROR none", "SO_ERROR EHOSTUNREACH")


def test_calls_that_are_over_at_once(world):
    world.connection.shutdown("read")
    assert world.line == "shutdown(read) -> done"
    world.connection.set_option("TCP_NODELAY", 1)
    assert world.line == "setsockopt(TCP_NODELAY, 1) -> done"
    world.connection.abort()
    assert world.line == "abort() -> done"
    world.upper.will("shutdown", error="ENOTCONN")
    assert world.wrong(world.connection.shutdown)[1] == "shutdown(write) -> ENOTCONN"
    assert world.connection.information() == {"send_mss": 1460}


def test_a_close_that_fails_need_not_be_asked_about(world):
    world.upper.will("close", error="EIO")
    world.connection.close()
    with pytest.raises(Mismatch, match=r"expected close\(\) -> done, got close\(\) -> EIO"):
        world.made.finish()


def test_close_may_linger(world):
    world.connection.close()
    assert world.line == "close()"
    world.upper.will("close", after_s=1.5)
    closing = world.connection.close(linger_s=2)
    assert world.line == "close(), linger 2 s"
    closing.expect("done", after(1.5))
    assert world.upper.asked[-2:] == [("close", None), ("close", 2)]


# -- listening and connecting -----------------------------------------------------------------------------------------


def test_a_listener(world):
    assert world.upper.asked[0] == ("listen", (77, 3, {"TCP_NODELAY": 1}))
    assert world.listener.port == 77
    assert world.listener.half_open == 3
    assert world.application.listen().port >= 20000
    world.listener.close()
    assert world.line == "close() of the listener on 77"
    assert world.made.handles[0] == "listener"


def test_accepting(world):
    world.upper.will("accept", "accepted")
    assert world.listener.accept(world.peer).handle == "accepted"
    assert "accepted" in world.made.handles
    assert world.wrong(world.listener.accept, world.peer) == ("accept() -> done", "accept() -> has not returned")


def test_nobody_to_accept(world):
    world.listener.expect_none()
    world.upper.will("accept", "accepted")
    assert world.wrong(world.listener.expect_none) == ("accept() has not returned", "accept() -> done")


def test_still_listening(world):
    world.listener.expect_listening()
    world.upper.listens = False
    assert world.wrong(world.listener.expect_listening) == ("state LISTEN", "no listener")


def test_connecting(world):
    world.upper.will("connect", error="ECONNREFUSED", after_s=0.1)
    connection, connecting = world.application.connect(world.peer, options={"TCP_NODELAY": 1})
    assert connection.handle == "connecting"
    connecting.expect("ECONNREFUSED")


def test_in_the_preamble_what_the_application_is_told_is_inconclusive(world):
    with world.made.preamble(), pytest.raises(Inconclusive):
        world.listener.accept(world.peer)
    assert world.made.story.findings == []
