# SPDX-License-Identifier: GPL-2.0-or-later
"""The replay: says of a case what the target would, and nothing as soon as the case leaves what is on the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_server import PROBE_S, Item, Server, exchange

from harness.audit import lies
from harness.audit.auditor import Auditor, Booth, Recording, Wishes
from harness.audit.liar import Deed
from harness.audit.replay import Diverged, Player, ReplayClock, ReplayLink, ReplayUpper
from harness.audit.stage import Played, Stage
from harness.audit.tape import Asked, Happened, Sent, Tape, TapedLink
from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.peer import Peer
from harness.lower.verdict import Verdict
from harness.wire.clock import Outcome
from harness.wire.frame import Frame
from harness.wire.segment import Flow

Function = Callable[[Case], None]
Act = Callable[[Case, Peer, Any], Any]


class Theatre:
    """A server, and a case that can be recorded and played again."""

    def __init__(self, function: Function, family: str = "ipv4") -> None:
        self.server = Server(family=family)
        self.booth = Booth(self.server.target())
        self.stage = Stage(Item(function, family=family))  # type: ignore[arg-type]

    def record(self) -> tuple[Played, Recording]:
        return self.booth.record(self.stage)


def connected(case: Case) -> tuple[Peer, Any]:
    """A connection of the server, and its socket."""
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.send(". 1:1(0) ack 1")
    return peer, listener.accept(peer)


def essence(played: Played) -> tuple[Any, ...]:
    judgement = played.judgement
    return judgement.verdict, judgement.reason, judgement.findings, played.story.proof, played.story.checks


# -- cases of every ending --------------------------------------------------------------------------------------------


def passes_over_nothing(case: Case) -> None:
    """Silence, a sentinel, and a probe that comes while nobody waits for it."""
    peer, _ = connected(case)
    case.pause(PROBE_S + 1)
    peer.expect_silence(allow=[". 0:0(0) ack 1"])


def fails(case: Case) -> None:
    peer, _ = connected(case)
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 12")


def misses(case: Case) -> None:
    connected(case)[0].expect("P. 1:11(10) ack 1")


def is_inconclusive(case: Case) -> None:
    peer, _ = connected(case)
    with case.preamble():
        peer.expect("P. 1:11(10) ack 1")


def skips(case: Case) -> None:
    connected(case)
    pytest.skip("not applicable: it is a Friday")


def goes_wrong(case: Case) -> None:
    connected(case)
    raise ValueError("a mistake of the author's")


def leaves_something(case: Case) -> None:
    peer, _ = connected(case)
    peer.send("P. 1:11(10) ack 1")
    case.pause(0.5)


def leaves_something_at_once(case: Case) -> None:
    """What nobody has waited for is there when the case ends."""
    connected(case)[0].send("P. 1:11(10) ack 1")


ENDINGS = [(exchange, Verdict.PASS), (passes_over_nothing, Verdict.PASS), (fails, Verdict.FAIL),
           (misses, Verdict.FAIL), (is_inconclusive, Verdict.INCONCLUSIVE), (skips, Verdict.NOT_APPLICABLE),
           (goes_wrong, Verdict.ERROR), (leaves_something, Verdict.FAIL),
           (leaves_something_at_once, Verdict.FAIL)]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize(("function", "verdict"), ENDINGS)
def test_a_replay_comes_to_what_the_recorded_run_came_to(function, verdict, family):
    theatre = Theatre(function, family)
    played, recording = theatre.record()
    assert played.judgement.verdict is verdict
    for _ in range(2):
        again = recording.play(theatre.stage)
        assert essence(again) == essence(played)
        assert [(step.side, step.text, step.mark) for step in again.story.closed().steps] == [
            (step.side, step.text, step.mark) for step in played.story.steps]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("function", [exchange, passes_over_nothing, fails, leaves_something,
                                      leaves_something_at_once])
def test_every_lie_comes_to_the_same_told_to_the_replay_and_told_live(function, family, monkeypatch):
    item: Any = Item(function, family=family)
    quick = Auditor(Server(family=family).target(), Wishes(all=True)).audit(item)

    def diverge(recording: Recording, stage: Stage, deed: Deed | None = None) -> Played:
        raise Diverged

    monkeypatch.setattr(Recording, "play", diverge)
    live = Auditor(Server(family=family).target(), Wishes(all=True)).audit(item)
    assert live["live"] == live["lies"]
    assert 0 < quick["live"] < quick["lies"] / 2, "else nothing would be compared"
    assert quick["lies"] == live["lies"]
    for name in ("counts", "fields", "free"):
        assert quick[name] == live[name]
    assert [(one["lie"], one["outcome"], one["about"], one["verdict"]) for one in quick["survivors"]] == [
        (one["lie"], one["outcome"], one["about"], one["verdict"]) for one in live["survivors"]]


def test_a_lie_is_told_to_the_replay_alone():
    """The recorded run is the truth, however often it is played."""
    theatre = Theatre(exchange)
    played, recording = theatre.record()
    sequence = next(lie for lie in lies.HEADER if lie.name == "seq+2^31")
    lied = recording.play(theatre.stage, Deed(lie=sequence, at=2))
    assert lied.judgement.verdict is Verdict.FAIL
    assert [step.text for step in lied.story.steps if step.mark == "changed"] == ["the lie seq+2^31@2 begins here"]
    assert essence(recording.play(theatre.stage)) == essence(played)


def test_the_target_has_no_part_in_a_replay():
    theatre = Theatre(exchange)
    _, recording = theatre.record()
    theatre.server.listening.clear()
    before = theatre.server.clock.now()
    assert recording.play(theatre.stage).judgement.verdict is Verdict.PASS
    assert theatre.server.clock.now() == before
    assert theatre.server.connections == {}


# -- where the case leaves the tape -----------------------------------------------------------------------------------


class Turn:
    """A case that does one thing when it is recorded, and another when it is played again."""

    def __init__(self, first: Act, then: Act) -> None:
        self._acts = [first, then]
        self.__name__ = "turn"

    def __call__(self, case: Case) -> None:
        peer, connection = connected(case)
        act = self._acts.pop(0)
        act(case, peer, connection)


def replayed(first: Act, then: Act) -> Played:
    theatre = Theatre(Turn(first, then))
    _, recording = theatre.record()
    return recording.play(theatre.stage)


def data(case: Case, peer: Peer, connection: Any) -> None:
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")


def nothing(case: Case, peer: Peer, connection: Any) -> None:
    """The end."""


def pauses(seconds: float) -> Act:
    return lambda case, peer, connection: case.pause(seconds)


def sends(text: str) -> Act:
    def act(case: Case, peer: Peer, connection: Any) -> None:
        peer.send(text)

    return act


def raises(case: Case, peer: Peer, connection: Any) -> None:
    raise case.mismatch(expected="another world", got="this one")


def in_turn(*acts: Act) -> Act:
    """One after the other."""
    def act(case: Case, peer: Peer, connection: Any) -> None:
        for each in acts:
            each(case, peer, connection)

    return act


OTHERWISE: dict[str, tuple[Act, Act]] = {
    "it sends where it did not": (nothing, data),
    "it sends something else": (data, sends("P. 1:12(11) ack 1")),
    "it sends before what came has come": (
        in_turn(data, sends(". 11:11(0) ack 1")), in_turn(sends("P. 1:11(10) ack 1"), sends(". 11:11(0) ack 1"))),
    "it waits on after the end": (pauses(0.5), pauses(0.6)),
    "it waits past where it sent": (in_turn(pauses(0.5), data), in_turn(pauses(0.6), data)),
    "it asks the application for what it did not": (
        nothing, lambda case, peer, connection: case.upper.pending_error(connection.handle)),
    "it asks another question": (
        lambda case, peer, connection: case.upper.half_open(peer.flow.target_port),
        lambda case, peer, connection: case.upper.listening(peer.flow.target, peer.flow.target_port)),
    "it begins a call that it did not": (nothing, lambda case, peer, connection: connection.receive()),
    "it has the application send other octets": (
        lambda case, peer, connection: case.upper.send(connection.handle, b"one"),
        lambda case, peer, connection: case.upper.send(connection.handle, b"two")),
    "it sets an option otherwise": (
        lambda case, peer, connection: connection.set_option("TCP_NODELAY", 1),
        lambda case, peer, connection: connection.set_option("TCP_NODELAY", 0)),
    "it looks for proof of life": (nothing, lambda case, peer, connection: case.sentinel()),
}


@pytest.mark.parametrize(("first", "then"), OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_not_on_the_tape_nobody_knows(first, then):
    with pytest.raises(Diverged):
        replayed(first, then)


ALIKE: dict[str, tuple[Act, Act]] = {
    "it does the same": (data, data),
    "it ends before": (in_turn(data, pauses(1)), in_turn(data, raises)),
    "it waits no longer than it did": (pauses(0.5), in_turn(pauses(0.2), pauses(0.3))),
    "it asks for a state right behind what came": (
        data, in_turn(data, lambda case, peer, connection: case.upper.state(peer.flow))),
}


@pytest.mark.parametrize(("first", "then"), ALIKE.values(), ids=ALIKE)
def test_what_is_on_the_tape_is_known(first, then):
    assert replayed(first, then).judgement.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)


def test_divergence_is_no_fault_that_anybody_takes_for_his():
    """A case, a fixture or the judgement would else make a verdict of it."""
    assert not issubclass(Diverged, Exception)


# -- what is written on the tape --------------------------------------------------------------------------------------


def test_what_was_sent_gets_the_stamp_of_the_tap():
    """Frames of the same octets too, in their order."""
    told = iter([[], [Frame(data=b"one", stamp_ns=7, outgoing=True), Frame(data=b"strange", stamp_ns=8)],
                 [Frame(data=b"two", stamp_ns=9), Frame(data=b"one", stamp_ns=10)]])
    under: Any = Server().link
    under.sent = lambda: next(told)
    link = TapedLink(under, lambda: 5)
    link.tape = Tape()
    for data_sent in (b"one", b"two", b"one"):
        link.send_bytes(data_sent)
    assert list(map(len, (link.sent(), link.sent(), link.sent()))) == [0, 2, 2]
    assert [(entry.data, entry.at_ns, entry.stamp_ns) for entry in link.tape.entries if isinstance(entry, Sent)] == [
        (b"one", 5, 7), (b"two", 5, 9), (b"one", 5, 10)]


def test_without_a_tape_nothing_is_written():
    theatre = Theatre(exchange)
    _, recording = theatre.record()
    entries = list(recording.tape.entries)
    theatre.booth.play(theatre.stage)
    assert recording.tape.entries == entries


def test_what_nobody_waited_for_is_marked():
    for function, marks in ((leaves_something, {False}), (leaves_something_at_once, {False, True})):
        _, recording = Theatre(function).record()
        assert {entry.drained for entry in recording.tape.entries if isinstance(entry, Happened)} == marks


# -- the tape itself --------------------------------------------------------------------------------------------------

FLOW = Flow(local=bytes(4), local_port=1, target=bytes(4), target_port=2)


class Reel:
    """A tape of the test's own, and what plays it."""

    def __init__(self, *entries: Asked | Happened | Sent, end_ns: int = 100) -> None:
        self.player = Player(Tape(entries=list(entries), begin_ns=5, end_ns=end_ns, lateness_ns=3))
        self.link = ReplayLink(self.player, Server().link)
        self.upper = ReplayUpper(self.player)
        self.clock = ReplayClock(self.player, self.link, self.upper, kind="skipping")
        self.clock.register(self.link)


def came(at_ns: int, *, drained: bool = False, **fields: Any) -> Happened:
    return Happened(at_ns=at_ns, event=Frame(data=b"frame", stamp_ns=at_ns), drained=drained, **fields)


def asked(at_ns: int, method: str, *question: Any, answer: Any = None, **named: Any) -> Asked:
    return Asked(at_ns=at_ns, question=(method, question, named), answer=answer)


def test_time_goes_to_what_comes_and_no_further():
    reel = Reel(came(20), came(60))
    assert reel.clock.now() == 5
    assert reel.clock.wait(19) is None
    assert reel.clock.now() == 19
    assert reel.clock.wait(90) == Frame(data=b"frame", stamp_ns=20)
    assert reel.clock.now() == 20
    assert reel.clock.wait(60) == Frame(data=b"frame", stamp_ns=60)
    assert reel.clock.wait(100) is None
    with pytest.raises(Diverged):
        reel.clock.wait(101)


def test_the_clock_is_what_it_was_and_as_late():
    reel = Reel()
    assert reel.clock.kind == "skipping"
    reel.clock.forget_lateness()
    assert reel.clock.lateness_ns == 3


def test_what_nobody_waited_for_comes_without_time():
    reel = Reel(came(20), came(21, drained=True), asked(22, "half_open", 7, answer=1))
    assert reel.clock.wait(0) is None, "the first was waited for"
    assert reel.clock.wait(50) is not None
    assert reel.clock.wait(0) == Frame(data=b"frame", stamp_ns=21)
    assert reel.clock.wait(0) is None
    assert reel.upper.half_open(7) == 1


def test_what_was_sent_has_the_stamp_of_then():
    reel = Reel(Sent(at_ns=10, data=b"one", stamp_ns=11), Sent(at_ns=20, data=b"two"))
    reel.link.send_bytes(b"one")
    reel.link.send_bytes(b"two")
    assert [(frame.data, frame.stamp_ns, frame.outgoing) for frame in reel.link.sent()] == [
        (b"one", 11, True), (b"two", 20, True)]
    assert reel.link.sent() == []
    with pytest.raises(Diverged):
        reel.link.send_bytes(b"three")


def test_a_burst_is_as_long_as_it_was():
    reel = Reel(Asked(at_ns=10, question=("burst", 8, 4), answer=2),
                Asked(at_ns=11, question=("burst", 8, 4), answer=1))
    assert reel.link.burst(bytes(8), 4) == 2
    with pytest.raises(Diverged):
        reel.link.burst(bytes(12), 4)


def test_the_outcome_of_a_call_comes_to_that_call():
    """Calls are told apart by their numbers, whatever order they end in."""
    outcome = Outcome(call=None, value=b"octets")
    reel = Reel(Asked(at_ns=6, question=("recv", ("one", 9), {}), answer=None, call=0),
                Asked(at_ns=7, question=("recv", ("two", 9), {}), answer=None, call=1),
                Happened(at_ns=30, event=outcome, drained=False, call=1))
    one, two = reel.upper.recv("one", 9), reel.upper.recv("two", 9)
    reel.clock.register(one)
    reel.clock.register(two)
    assert reel.clock.wait(50) == Outcome(call=two, value=b"octets")
    assert one.poll() is None


def test_a_connection_has_its_socket():
    reel = Reel(Asked(at_ns=6, question=("connect", (FLOW,), {"options": {}}), answer="socket", call=0))
    handle, call = reel.upper.connect(FLOW, options={})
    assert handle == "socket"
    assert call.name == "connect"


def test_who_finds_something_wrong_may_ask_for_the_state():
    """But not once anything has been done that might have changed it."""
    reel = Reel(came(20, states={FLOW: "ESTABLISHED"}), asked(21, "half_open", 7, answer=1), Sent(at_ns=22, data=b"x"))
    with pytest.raises(Diverged):
        reel.upper.state(FLOW)
    assert reel.clock.wait(20) is not None
    assert reel.upper.state(FLOW) == "ESTABLISHED"
    assert reel.upper.half_open(7) == 1
    assert reel.upper.state(FLOW) == "ESTABLISHED"
    reel.link.send_bytes(b"x")
    with pytest.raises(Diverged):
        reel.upper.state(FLOW)


def test_the_answer_on_the_tape_goes_before_what_was_kept():
    reel = Reel(came(20, states={FLOW: "ESTABLISHED"}), asked(21, "state", FLOW, answer="CLOSE-WAIT"))
    assert reel.clock.wait(20) is not None
    assert reel.upper.state(FLOW) == "CLOSE-WAIT"


def test_a_case_that_waits_for_ever_is_ended():
    reel = Reel()
    with pytest.raises(Diverged):
        list(map(reel.clock.wait, [0] * 1_000_000))
