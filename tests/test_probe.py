# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a target that cannot be asked, by what a probe draws: the model plays, and knows better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.lower import states
from harness.lower.application import Application, Pending
from harness.lower.case import Case
from harness.lower.peer import Peer
from harness.lower.probe import Account
from harness.lower.timing import after, seconds_between
from harness.lower.verdict import Mismatch
from harness.requirements.catalogue import load
from harness.targets.base import Target
from harness.targets.model.upper import ModelUpperTester
from harness.targets.registry import make_target
from harness.upper.base import NotApplicable, Unseen
from harness.wire.clock import Outcome
from harness.wire.segment import ACK, FIN, RST, SYN, Flow, Segment

WIRE, API = "RFC9293-MUST-2", "RFC9293-MUST-13"
"""A requirement that can be tested by the wire alone, and one that cannot."""

REACH = {"SYN-RECEIVED": states.syn_received, "ESTABLISHED": states.established, "CLOSE-WAIT": states.close_wait,
         "LAST-ACK": states.last_ack, "FIN-WAIT-1": states.fin_wait_1, "FIN-WAIT-2": states.fin_wait_2,
         "CLOSING": states.closing, "TIME-WAIT": states.time_wait}


class Mute(ModelUpperTester):
    """The model's upper tester, which does as it is told and tells nothing of it."""

    def state(self, flow: Flow) -> str:
        return ""

    def recv(self, handle: object, size: int) -> Any:
        raise Unseen("needs eyes")


@pytest.fixture
def target() -> Iterator[Target]:
    made = make_target("model")
    upper = made.upper
    made.upper = Mute.__new__(Mute)
    vars(made.upper).update(vars(upper))
    yield made
    made.close()


@pytest.fixture
def new_case(target: Target) -> Callable[..., tuple[Case, Peer, Any]]:
    def make(requirement: str = WIRE, family: str = "ipv4") -> tuple[Case, Peer, Any]:
        case = Case(name="probe", injector=target.injector, upper=target.upper, profile=target.profile,
                    timing=target.timing, addresses=target.ends[family], ports=target.ports,
                    requirements={requirement: load().get(requirement)})
        listener = Application(case).listen()
        return case, case.peer(target_port=listener.port), listener

    return make


def test_what_the_two_requirements_are() -> None:
    assert load().get(WIRE).testability == "wire"
    assert load().get(API).testability == "wire+api"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("state", REACH)
def test_each_state_shows(new_case: Any, state: str, family: str) -> None:
    case, peer, listener = new_case(family=family)
    REACH[state](peer, listener)
    peer.expect_state(state)
    assert case.story.proof == {"wire"}


@pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE-WAIT"])
def test_with_time_stamps_too(new_case: Any, state: str) -> None:
    """A probe without them would be dropped."""
    _, peer, _ = new_case()
    offer = "<mss 1460,TS val 1000 ecr 0>"
    peer.send(f"S 0:0(0) win 65535 {offer}")
    stamp = peer.expect("S. 0:0(0) ack 1 <...>").option(8)
    ecr = stamp.value >> 32
    peer.send(f". 1:1(0) ack 1 <TS val 1000 ecr {ecr}>")
    if state == "CLOSE-WAIT":
        peer.send(f"F. 1:1(0) ack 1 <TS val 1001 ecr {ecr}>")
        peer.expect(". 1:1(0) ack 2 <...>")
    peer.expect_state(state)


@pytest.mark.parametrize("state", ["FIN-WAIT-1", "LAST-ACK"])
def test_what_is_due_counts_from_what_came_before_the_probe(new_case: Any, state: str) -> None:
    """A slow machine probes long after the FIN, whose repetition is due by the FIN."""
    case, peer, listener = new_case()
    REACH[state](peer, listener)
    fin = peer.last
    case.pause(0.5)
    peer.expect_state(state)
    assert peer.last is fin
    again = peer.expect(Segment(flags=FIN | ACK, payload=b""), after(1.0))
    assert seconds_between(fin, again) == 1.0


def test_closed(new_case: Any) -> None:
    case, peer, listener = new_case()
    states.established(peer, listener)
    peer.send("R 1:1(0)")
    peer.expect_state("CLOSED")
    assert case.story.proof == {"wire"}


@pytest.mark.parametrize(("reached", "wanted", "got"), [
    ("ESTABLISHED", "CLOSE-WAIT", "state SYN-RECEIVED or ESTABLISHED, as the wire shows"),
    ("CLOSE-WAIT", "ESTABLISHED", "state CLOSE-WAIT, as the wire shows"),
    ("FIN-WAIT-2", "TIME-WAIT", "state FIN-WAIT-1 or FIN-WAIT-2, as the wire shows"),
    ("ESTABLISHED", "CLOSED", "nothing"),
])
def test_another_state_is_a_mismatch(new_case: Any, reached: str, wanted: str, got: str) -> None:
    _, peer, listener = new_case()
    REACH[reached](peer, listener)
    with pytest.raises(Mismatch) as caught:
        peer.expect_state(wanted)
    assert caught.value.finding.got == got


def test_a_connection_that_has_gone_is_no_state(new_case: Any) -> None:
    """What the probe draws then is said as the target would say it, as entries of a ledger have it."""
    _, peer, listener = new_case()
    states.established(peer, listener)
    peer.send("R 1:1(0)")
    with pytest.raises(Mismatch) as caught:
        peer.expect_state("ESTABLISHED")
    assert (caught.value.finding.got, caught.value.finding.state) == ("state CLOSED", "CLOSED")


def test_what_the_wire_does_not_tell_apart_is_not_applicable(new_case: Any) -> None:
    _, peer, listener = new_case()
    states.fin_wait_1(peer, listener)
    peer.send(". 1:1(0) ack 2")
    with pytest.raises(NotApplicable, match="FIN-WAIT-1, where the wire shows no more than FIN-WAIT-1 or FIN-WAIT-2"):
        peer.expect_state("FIN-WAIT-1")
    with pytest.raises(NotApplicable, match="needs to be told whether the state is SYN-SENT"):
        peer.expect_state("SYN-SENT")


def test_old_fin_is_not_taken(new_case: Any) -> None:
    """A FIN below the window never closed anything, though every later acknowledgement is above it."""
    _, peer, listener = new_case()
    states.established(peer, listener)
    peer.send("F. -1:-1(0) ack 1")
    peer.expect(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")


def test_case_does_without_a_look_where_the_wire_is_enough(new_case: Any) -> None:
    case, peer, listener = new_case(WIRE)
    connection = states.established(peer, listener)
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    assert [step.text for step in case.story.steps if step.side == "note"] == [
        "not looked at: what the application is given of 10 octets"]


def test_case_says_nothing_of_what_it_has_not_looked_at(new_case: Any) -> None:
    case, peer, listener = new_case(WIRE)
    case.requirements = {name: load().get(name) for name in (WIRE, API)}
    connection = states.established(peer, listener)
    assert case.story.unseen == set(), "the way to where a case begins claims nothing"
    connection.expect_no_data()
    assert case.story.unseen == {API}
    assert case.story.closed().unseen == {API}


def test_case_about_what_the_application_gets_does_not(new_case: Any) -> None:
    _, peer, listener = new_case(API)
    connection = states.established(peer, listener)
    with pytest.raises(Unseen, match="needs eyes"):
        connection.expect_no_data()


# -- what is told by more than one answer ----------------------------------------------------------------------------


def opening(case: Case) -> tuple[Peer, Any]:
    """A connection that the target opens; its SYN has come."""
    peer = case.peer()
    _, connecting = states.syn_sent(peer, Application(case))
    return peer, connecting


def test_an_attempt_under_way_shows_syn_sent(new_case: Any) -> None:
    case, _, _ = new_case()
    peer, _ = opening(case)
    peer.expect_state("SYN-SENT")
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match="connect"):
        peer.expect_state("SYN-SENT")
    assert peer.state() == "ESTABLISHED"


def test_an_attempt_whose_syns_have_crossed_shows_syn_received(new_case: Any) -> None:
    case, _, _ = new_case()
    peer, _ = opening(case)
    assert peer.state() == "SYN-SENT"
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.expect_state("SYN-RECEIVED")
    with pytest.raises(Mismatch) as caught:
        peer.expect_state("SYN-SENT")
    assert caught.value.finding.got == "state SYN-RECEIVED, as the wire shows"


def test_who_was_acknowledged_in_vain_repeats_his_syn_ack(new_case: Any) -> None:
    case, peer, listener = new_case()
    states.syn_received(peer, listener)
    peer.send(". 1:1(0) ack 5000")
    peer.expect("R 5000:5000(0)")
    peer.expect_state("SYN-RECEIVED")
    assert case.clock.now() > 900_000_000, "a repetition takes its time"


def test_who_is_established_does_not(new_case: Any) -> None:
    _, peer, listener = new_case()
    states.established(peer, listener)
    with pytest.raises(Mismatch) as caught:
        peer.expect_state("SYN-RECEIVED")
    assert caught.value.finding.got == "nothing"


def test_a_second_fin_changes_nothing(new_case: Any) -> None:
    _, peer, listener = new_case()
    states.close_wait(peer, listener)
    peer.send("F. 1001:1001(0) ack 1")
    peer.expect_silence(allow=[". 1:1(0) ack 2"])
    peer.expect_state("CLOSE-WAIT")


def test_a_fin_behind_a_closed_window_shows_nowhere(new_case: Any) -> None:
    _, peer, listener = new_case()
    with peer.case.preamble():
        peer.send("S 0:0(0) win 0 <mss 1460>")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.send(". 1:1(0) ack 1 win 0")
        connection = listener.accept(peer)
    connection.send(10)
    connection.close()
    with pytest.raises(NotApplicable, match="FIN-WAIT-1, where the target's FIN waits to be sent"):
        peer.expect_state("FIN-WAIT-1")


def test_the_state_behind_a_mismatch_is_probed(new_case: Any) -> None:
    """A ledger's entry may name it, and who was reset in silence says so when he is asked."""
    _, peer, listener = new_case()
    states.established(peer, listener)
    peer.send("R 1:1(0)")
    with pytest.raises(Mismatch) as caught:
        peer.expect(". 1:1(0) ack 1")
    assert (caught.value.finding.got, caught.value.finding.state) == ("nothing", "CLOSED")


def test_another_life_of_the_same_ends_begins_anew() -> None:
    account = Account()
    account.came(Segment(flags=SYN | ACK, seq=100, ack=11))
    account.sent(Segment(flags=ACK, seq=11, ack=101))
    account.came(Segment(flags=ACK | FIN, seq=101, ack=11))
    account.sent(Segment(flags=ACK | FIN, seq=11, ack=102))
    account.came(Segment(flags=ACK, seq=102, ack=12))
    assert account.state() == "TIME-WAIT"
    account.came(Segment(flags=SYN | ACK, seq=9000, ack=5001))
    assert account.state() == "SYN-RECEIVED"
    account.sent(Segment(flags=ACK, seq=5001, ack=9001))
    assert account.state() == "ESTABLISHED"
    account.came(Segment(flags=RST, seq=9001))
    assert account.state() == "CLOSED"


# -- other looks -----------------------------------------------------------------------------------------------------


def test_a_syn_shows_who_listens(new_case: Any, target: Target) -> None:
    _, _, listener = new_case()
    target.upper.listening = unseen  # type: ignore[method-assign]
    listener.expect_listening()
    listener.close()
    with pytest.raises(Mismatch) as caught:
        listener.expect_listening()
    assert "R. 0:0(0) ack 1" in caught.value.finding.got


def unseen(*_: Any, **__: Any) -> Any:
    raise Unseen("needs ears")


@pytest.mark.parametrize(("error", "cannot_tell", "wanted"), [("E_NOK", "", "ECONNRESET"), ("", "told late", "done")])
def test_an_outcome_that_says_too_little_is_unseen(new_case: Any, error: str, cannot_tell: str, wanted: str) -> None:
    case, _, _ = new_case()
    call = Vague(error, cannot_tell)
    with pytest.raises(Unseen, match=r"says not what is wrong|told late"):
        Pending(case, call).expect(wanted)


class Vague:
    """A call that ends with this error, or of which nobody tells how it does."""

    name = "recv"

    def __init__(self, error: str, cannot_tell: str) -> None:
        self.cannot_tell = cannot_tell
        self._error = error

    def fileno(self) -> int:
        return -1

    def poll(self) -> Outcome | None:
        return Outcome(call=self, error=self._error) if self._error else None
