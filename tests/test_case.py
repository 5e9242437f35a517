# SPDX-License-Identifier: GPL-2.0-or-later
"""A case: its peers and ports, the rules that it is held against, waiting, and the end."""

from __future__ import annotations

import pytest
from scripted import Scripted

from harness.lower.case import Case
from harness.lower.ends import Ports
from harness.lower.fingerprint import Pins
from harness.lower.timing import after, seconds_between
from harness.lower.verdict import Mismatch
from harness.requirements.catalogue import load
from harness.targets.base import addresses
from harness.wire.errors import ScriptError


@pytest.fixture
def target() -> Scripted:
    return Scripted()


@pytest.fixture
def made(target: Scripted) -> Case:
    return target.case("RFC9293-MUST-2", "RFC9293-SHLD-14")


def test_ports_are_fresh_for_a_long_time():
    ports = Ports()
    taken = [ports.take() for _ in range(40000)]
    assert len(set(taken)) == 40000
    assert (min(taken), max(taken)) == (20000, 59999)
    assert ports.take() == taken[0]


def test_peers_have_fresh_ports_and_numbers_of_their_own(target, made):
    one, two = made.peer(), made.peer()
    assert len({one.flow.local_port, one.flow.target_port, two.flow.local_port, two.flow.target_port}) == 4
    assert one.iss != two.iss
    assert target.case().peer().flow != one.flow


def test_numbers_hang_on_the_name_and_the_seed(target):
    def numbers(name: str, seed: int) -> list[int]:
        made = Case(name=name, injector=target.injector, upper=target.upper, profile=target.case().profile,
                    timing=target.case().timing, addresses=addresses("ipv4"), ports=target.ports, requirements={},
                    seed=seed)
        return [made.peer().iss for _ in range(5)]

    assert numbers("a", 0) == numbers("a", 0)
    assert numbers("a", 0) != numbers("b", 0)
    assert numbers("a", 0) != numbers("a", 1)


def test_a_peer_may_be_given_all_of_it(made):
    peer = made.peer(target_port=7, local_port=8, local=bytes((198, 51, 100, 1)), iss=5)
    assert (peer.flow.target_port, peer.flow.local_port, peer.flow.local, peer.iss) == (
        7, 8, bytes((198, 51, 100, 1)), 5)


def test_two_peers_cannot_be_one(made):
    made.peer(target_port=7, local_port=8)
    with pytest.raises(ScriptError, match="peer 8 -> 7: exists in this case already"):
        made.peer(target_port=7, local_port=8)


def test_a_peer_that_is_forgotten_makes_room(target, made):
    peer = made.peer(target_port=7, local_port=8)
    made.forget(peer)
    again = made.peer(target_port=7, local_port=8)
    target.say(again, "R 7:7(0)")
    again.expect("R 7:7(0)")


def test_a_peer_with_something_unread_is_not_forgotten(target, made):
    peer = made.peer()
    target.say(peer, "R 7:7(0)")
    target.injector.drain()
    with pytest.raises(Mismatch, match="nothing more"):
        made.forget(peer)


def test_what_comes_for_a_forgotten_peer_is_unexpected(target, made):
    peer = made.peer()
    made.forget(peer)
    target.say(peer, "R 7:7(0)")
    with pytest.raises(Mismatch, match="nothing more"):
        made.finish()


def test_the_first_requirement_is_the_default(made):
    assert made.requirement(None) == ("RFC9293-MUST-2", "MUST")
    assert made.requirement("RFC9293-SHLD-14") == ("RFC9293-SHLD-14", "SHOULD NOT")
    assert made.level_of("RFC9293-MUST-3") == load().get("RFC9293-MUST-3").level.value


def test_a_case_without_requirements_is_held_against_none(target, made):
    made.requirements = {}
    assert made.requirement(None) == ("none", "MUST")


def test_a_pause_lets_the_targets_time_pass(target, made):
    peer = made.peer()
    target.say(peer, "R 7:7(0)", after_s=0.3)
    before = made.moment()
    made.pause(0.5)
    assert seconds_between(before, made.moment()) == 0.5
    peer.expect("R 7:7(0)")


def test_advice_does_not_end_a_case_but_counts(made):
    made.advise(expected="a", got="b", rule="RFC9293-SHLD-14")
    made.note("it went on")
    with pytest.raises(Mismatch, match="RFC9293-SHLD-14: expected a, got b"):
        made.finish()
    assert made.story.steps[-1].text == "it went on"


def test_times_are_checked_against_the_targets_timers(made):
    start = made.moment(0)
    assert made.check_time("x", after(1.0), start, made.moment(1_135_000_000)).kept
    assert not made.check_time("x", after(1.0), start, made.moment(1_135_000_001)).kept
    assert not made.check_time("x", after(1.0, 1.0), start, made.moment(1_010_000_001)).kept
    assert len(made.story.checks) == 3


def test_a_case_that_met_nothing_wrong_ends_well(made):
    made.peer()
    made.finish()
    made.close()
    assert made.story.findings == []
    assert made.trace == []


def test_every_socket_is_aborted_at_the_end(target):
    upper = target.script_upper()
    made = target.case()
    made.handles += ["one", "two"]
    made.close()
    assert upper.asked == [("abort", "one"), ("abort", "two")]


# -- behind a mismatch that is known ----------------------------------------------------------------------------------


def test_what_nobody_expected_is_found_behind_a_known_mismatch(target, made):
    peer = made.peer()
    target.say(peer, "R 7:7(0)")
    target.say(peer, "R 8:8(0)")
    with pytest.raises(Mismatch):
        peer.expect("R 9:9(0)")
    made.look_at_the_rest()
    assert [finding.got for finding in made.story.findings] == ["R 7:7(0) win 1000", "R 8:8(0) win 1000"]


def test_what_a_timer_may_have_brought_meanwhile_is_left_alone(target, made):
    peer = made.peer()
    target.say(peer, "R 7:7(0)")
    target.say(peer, "R 8:8(0)", after_s=0.04)
    with pytest.raises(Mismatch):
        peer.expect("R 9:9(0)")
    target.clock.wait(target.clock.now() + 40_000_000)
    made.look_at_the_rest()
    assert len(made.story.findings) == 1


def test_nothing_is_found_where_nothing_more_came(target, made):
    peer = made.peer()
    target.say(peer, "R 7:7(0)")
    with pytest.raises(Mismatch):
        peer.expect("R 9:9(0)")
    made.look_at_the_rest()
    assert len(made.story.findings) == 1


# -- how soon something comes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_us", "found"), [(900, 0), (1100, 1)])
def test_what_no_timer_brings_is_prompt(target, after_us, found):
    made = target.case()
    made.pins = Pins(prompt_us=1000)
    peer = made.peer()
    peer.send("S 0:0(0) win 65535")
    target.say(peer, "S. 5:5(0) ack 1", after_s=after_us / 1e6)
    peer.expect("S. 0:0(0) ack 1 <...>")
    assert [finding.detail for finding in made.story.findings] == ["pinned: prompt_us"] * found


def test_what_takes_up_no_number_or_has_a_time_may_come_when_it_does(target):
    made = target.case()
    made.pins = Pins(prompt_us=1000)
    peer = made.peer()
    peer.send("S 0:0(0) win 65535")
    target.say(peer, "R. 0:0(0) ack 1", after_s=0.5)
    peer.expect("R. 0:0(0) ack 1")
    target.say(peer, "S 5:5(0)", after_s=0.5)
    peer.expect("S 0:0(0) <...>", after(0.5))
    assert made.story.findings == []


def test_ports_of_the_two_ends_may_lie_apart() -> None:
    """A range wraps for both ends, and no number leaves it."""
    ports = Ports(within=(30000, 30009), begin=7, apart=5)
    assert [ports.take() for _ in range(3)] == [30008, 30009, 30000]
    assert [ports.take_ours() for _ in range(5)] == [30006, 30007, 30008, 30009, 30000]
    assert Ports().take() == 20001
    assert Ports().take_ours() == 20001


def test_a_port_of_ours_is_none_that_an_earlier_peer_has_had() -> None:
    """Also where the two ends' numbers lie a little apart: one port of the target's may be all that there is."""
    target = Scripted()
    target.ports = Ports(apart=3, listening=9)
    drawn = []
    for _ in range(20):
        made = target.case()
        drawn += [made.peer(target_port=9).flow.local_port, made.our_port(), made.our_port()]
        made.port()
        made.close()
    assert len(set(drawn)) == len(drawn)
