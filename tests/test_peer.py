# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer sends what a case says, and holds what comes against what the case expects."""

from __future__ import annotations

import pytest
from scripted import THEIRS, Scripted, turned

from harness.lower import stream
from harness.lower.case import Case
from harness.lower.peer import Peer
from harness.lower.timing import after
from harness.lower.verdict import Inconclusive, Mismatch
from harness.wire import ip
from harness.wire import seq as arithmetic
from harness.wire.codec import decode, encode
from harness.wire.errors import ScriptError
from harness.wire.segment import ACK, FIN, PSH, RST, SYN, Flow, Kind, Option, Segment

MS = 0.001


@pytest.fixture
def target() -> Scripted:
    return Scripted()


@pytest.fixture
def case(target: Scripted) -> Case:
    return target.case("RFC9293-MUST-2", "RFC9293-SHLD-14")


@pytest.fixture
def peer(target: Scripted, case: Case) -> Peer:
    made = case.peer()
    target.serve(made)
    return made


def opened(target: Scripted, peer: Peer) -> None:
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    target.say(peer, "S. 0:0(0) ack 1 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <mss 1460>")
    peer.send(". 1:1(0) ack 1")


def out(target: Scripted, peer: Peer, number: int = -1) -> Segment:
    """What went out on the wire."""
    peer.case.injector.stamp()
    frames = [frame for frame, _ in peer.case.injector.frames() if frame.outgoing]
    packet = ip.dissect(frames[number].data[14:])
    assert packet is not None
    segment = decode(packet)
    assert segment is not None
    return segment


def finding(case: Case) -> tuple[str, str]:
    return case.story.findings[-1].expected, case.story.findings[-1].got


# -- sending ----------------------------------------------------------------------------------------------------------


def test_the_notation_is_relative_to_our_number_and_the_targets(target, peer):
    opened(target, peer)
    sent = out(target, peer)
    assert (sent.seq, sent.ack) == (arithmetic.add(peer.iss, 1), arithmetic.add(THEIRS, 1))
    assert [step.text for step in peer.case.story.steps] == [
        "S 0:0(0) win 65535 <mss 1460>", "S. 0:0(0) ack 1 win 1000 <mss 1460>", ". 1:1(0) ack 1 win 65535"]


def test_our_number_is_chosen_so_that_every_exchange_wraps(case):
    for _ in range(20):
        assert 0 < (1 << 32) - case.peer().iss <= 80


def test_numbers_that_wrap_are_still_small_in_the_story(target, peer):
    opened(target, peer)
    peer.send(". 1:201(200) ack 1")
    assert out(target, peer).seq == arithmetic.add(peer.iss, 1)
    assert peer.send_next == arithmetic.add(peer.iss, 201) < 1000
    target.say(peer, ". 1:101(100) ack 201")
    peer.expect(". 1:101(100) ack 201")
    assert peer.receive_next == arithmetic.add(THEIRS, 101) < 1000


def test_before_the_targets_syn_its_numbers_are_absolute(target, peer):
    peer.send(". 0:0(0) ack 7")
    assert out(target, peer).ack == 7
    target.say(peer, "R 7:7(0)")
    assert peer.expect("R 7:7(0)").seq == 7
    assert peer.irs is None


def test_a_syn_with_rst_gives_no_number(target, peer):
    target.say(peer, "SR 7:7(0)")
    peer.expect("SR 7:7(0)")
    assert peer.irs is None


def test_none_in_a_segment_means_the_default(target, peer):
    opened(target, peer)
    peer.window = 77
    peer.send(Segment(flags=ACK, payload=b"abc"))
    sent = out(target, peer)
    assert (sent.seq, sent.ack, sent.window) == (arithmetic.add(peer.iss, 1), arithmetic.add(THEIRS, 1), 77)
    peer.send(Segment(flags=FIN))
    sent = out(target, peer)
    assert (sent.seq, sent.ack) == (arithmetic.add(peer.iss, 4), 0)
    assert peer.send_next == arithmetic.add(peer.iss, 5)


def test_fields_override_the_notation(target, peer):
    peer.send("S 0:0(0) win 65535", window=5, ttl=9)
    sent = out(target, peer)
    assert (sent.window, sent.ttl) == (5, 9)


def test_a_payload_that_is_not_given_is_our_streams(target, peer):
    peer.send(". 11:21(10) ack 0")
    assert out(target, peer).payload == stream.octets("injector", 10, 10) == peer.stream(11, 21)
    peer.send('. 1:4(3) ack 0 "abc"')
    assert out(target, peer).payload == b"abc"


def test_a_resets_number_is_not_counted(target, peer):
    opened(target, peer)
    peer.send("R 500:500(0)")
    assert peer.send_next == arithmetic.add(peer.iss, 1)


def test_what_is_sent_must_be_whole(peer):
    with pytest.raises(ScriptError, match=r"`\.\.\.` .* nothing that can be sent"):
        peer.send("S 0:0(0) <mss 1460,...>")


def test_octets_of_ours_are_followed(target, peer):
    peer.send(encode(Segment(flags=SYN, seq=peer.iss), peer.flow))
    assert peer.case.story.steps[-1].text == "S 0:0(0) win 65535"
    assert peer.send_next == arithmetic.add(peer.iss, 1)


def test_octets_of_others_are_only_named(target, peer):
    other = Flow(local=peer.flow.local, local_port=9, target=peer.flow.target, target_port=9)
    peer.send(encode(Segment(flags=SYN, seq=1), other))
    assert peer.case.story.steps[-1].text == "IP packet, 40 octets"
    whole = bytearray(encode(Segment(flags=SYN, seq=1, payload=bytes(8)), peer.flow))
    whole[6] = 0x20  # more fragments
    whole[10:12] = bytes(2)
    whole[10:12] = ip.internet_checksum(bytes(whole[:20])).to_bytes(2, "big")
    peer.send(bytes(whole))
    assert peer.case.story.steps[-1].text == "IP fragment, 48 octets"
    peer.send(b"\x45")
    assert peer.case.story.steps[-1].text == "IP packet, 1 octets"
    assert peer.send_next == peer.iss


def test_scapys_packet_can_be_sent(target, peer):
    from scapy.layers.inet import IP, TCP

    flow = peer.flow
    packet = IP(src="192.0.2.2", dst="192.0.2.1") / TCP(sport=flow.local_port, dport=flow.target_port, seq=peer.iss,
                                                        flags="S")
    peer.send(packet)
    assert out(target, peer).has(SYN)
    assert peer.send_next == arithmetic.add(peer.iss, 1)


def test_a_segment_can_be_made_now_and_sent_in_another_form(target, peer):
    segment, packet = peer.packet("S 0:0(0) win 9", urgent=3)
    assert segment.urgent == 3
    assert peer.send_next == peer.iss
    transmission = peer.case.injector.send_packet(packet, segment=segment)
    peer.sent(segment, transmission)
    assert peer.send_next == arithmetic.add(peer.iss, 1)
    assert peer.last is transmission


# -- expecting --------------------------------------------------------------------------------------------------------


def test_what_is_expected_is_returned_and_proves(target, peer):
    opened(target, peer)
    target.say(peer, "P. 1:11(10) ack 1")
    assert peer.expect(". 1:11(10) ack 1").payload == stream.octets("target", 0, 10)
    assert peer.case.story.proof == {"wire"}
    peer.case.finish()


def test_what_nobody_expected_fails_the_case(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match=r"expected nothing more, got \. 1:1"):
        case.finish()
    assert case.story.steps[-1].mark == "unexpected"
    assert finding(case) == ("nothing more", ". 1:1(0) ack 1 win 1000")


def test_another_segment_than_expected_names_the_fields(target, case, peer):
    opened(target, peer)
    target.say(peer, "F. 2:2(0) ack 0")
    with pytest.raises(Mismatch):
        peer.expect(". 1:1(0) ack 1")
    assert case.story.findings[-1].fields == ("flags", "seq", "ack")
    assert case.story.steps[-1].mark == "mismatch"
    assert finding(case) == (". 1:1(0) ack 1", "F. 2:2(0) ack 0 win 1000")


def test_nothing_came(target, case, peer):
    opened(target, peer)
    began = target.clock.now()
    with pytest.raises(Mismatch):
        peer.expect(". 1:1(0) ack 1")
    assert target.clock.now() - began == 1_000_000_000
    assert finding(case) == (". 1:1(0) ack 1", "nothing")
    assert (case.story.steps[-1].mark, case.story.steps[-1].side) == ("missing", "note")


def test_within_s_bounds_the_wait(target, peer):
    target.say(peer, "R 7:7(0)", after_s=2.0)
    with pytest.raises(Mismatch, match="got nothing"):
        peer.expect("R 7:7(0)", within_s=1.9)
    peer.expect("R 7:7(0)", within_s=0.2)


def test_a_payload_must_be_the_stream_that_is_due(target, case, peer):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abcdef")
    target.say(peer, '. 1:4(3) ack 1 "abc"')
    peer.expect(". 1:4(3) ack 1")
    target.say(peer, 'P. 4:7(3) ack 1 "deF"')
    with pytest.raises(Mismatch):
        peer.expect(". 4:7(3) ack 1")
    assert case.story.findings[-1].fields == ("payload",)
    assert case.story.findings[-1].detail == "payload b'deF', due b'def'"


def test_the_last_of_what_was_sent_has_to_be_pushed(target, case, peer):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abcdef")
    target.say(peer, '. 4:7(3) ack 1 "def"')
    with pytest.raises(Mismatch):
        peer.expect(". 4:7(3) ack 1")
    assert case.story.findings[-1].fields == ("flags",)
    assert case.story.findings[-1].detail == (
        "the last octets that the application has sent come without PSH (RFC 9293, MUST-61)")


def test_it_is_not_for_a_push_that_other_flags_are_wrong(target, case, peer):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abcdef")
    target.say(peer, 'F. 4:7(3) ack 1 "def"')
    with pytest.raises(Mismatch):
        peer.expect(". 4:7(3) ack 1")
    assert (case.story.findings[-1].fields, case.story.findings[-1].detail) == (("flags",), "")


@pytest.mark.parametrize("flags", ["P.", "."])
def test_what_is_followed_by_more_may_be_pushed_or_not(target, case, peer, flags):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abcdef")
    target.say(peer, f'{flags} 1:4(3) ack 1 "abc"')
    peer.expect(". 1:4(3) ack 1")


def test_octets_beyond_what_the_application_sent_are_not_due(target, case, peer):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abc")
    target.say(peer, '. 1:5(4) ack 1 "abcd"')
    with pytest.raises(Mismatch):
        peer.expect(". 1:5(4) ack 1")


def test_octets_before_the_stream_have_nothing_due(target, case, peer):
    opened(target, peer)
    case.streams[peer.flow] = bytearray(b"abc")
    target.say(peer, '. 0:1(1) ack 1 "x"')
    peer.expect(". 0:1(1) ack 1")


def test_one_of_several_answers(target, case, peer):
    opened(target, peer)
    target.say(peer, "R 1:1(0)")
    assert peer.expect_one_of([". 1:1(0) ack 1", "R 1:1(0)"]).has(RST)
    target.say(peer, "R 9:9(0)")
    with pytest.raises(Mismatch):
        peer.expect_one_of([". 1:1(0) ack 1", "R 1:1(0)"])
    assert finding(case)[0] == ". 1:1(0) ack 1 or R 1:1(0)"
    assert case.story.findings[-1].fields == ("seq",)


def test_a_reset_of_the_right_form_proves_that_nothing_is_left(target, case, peer):
    opened(target, peer)
    peer.send(". 1:1(0) ack 1")
    target.say(peer, "R 1:1(0)")
    assert peer.expect_gone("R 1:1(0)").has(RST)
    case.finish()
    assert case.story.findings == []


@pytest.mark.parametrize(("said", "fields"), [
    ("R. 1:1(0) ack 1", ("flags",)), ("R 2:2(0)", ("seq",)), ("R 1:3(2)", ("length",))])
def test_a_reset_of_another_form_breaks_the_rule_of_its_form_and_the_case_goes_on(target, case, peer, said, fields):
    opened(target, peer)
    peer.send(". 1:1(0) ack 1")
    target.say(peer, said)
    peer.expect_gone("R 1:1(0)", rule="RFC9293-SHLD-14")
    peer.send(". 1:1(0) ack 1")
    target.say(peer, "R 1:1(0)")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-SHLD-14")
    found, = case.story.findings
    assert (found.requirement, found.level, found.source) == ("RFC9293-U-RST-CLOSED-ACK", "MUST", "oracle")
    assert (found.expected, found.state, found.fields) == ("R 1:1(0)", "CLOSED", fields)
    assert found.got.startswith(said)
    with pytest.raises(Mismatch):
        case.finish()


@pytest.mark.parametrize("said", [". 1:1(0) ack 1", ""])
def test_what_is_no_reset_breaks_the_rule_of_the_step(target, case, peer, said):
    opened(target, peer)
    peer.send(". 1:1(0) ack 1")
    if said:
        target.say(peer, said)
    with pytest.raises(Mismatch) as caught:
        peer.expect_gone("R 1:1(0)", rule="RFC9293-SHLD-14")
    assert (caught.value.finding.requirement, caught.value.finding.expected) == ("RFC9293-SHLD-14", "R 1:1(0)")


def test_the_rule_of_the_form_may_be_another(target, case, peer):
    opened(target, peer)
    peer.send(". 1:1(0) ack 1")
    target.say(peer, "R. 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", form="RFC9293-U-RST-NONSYNC")
    assert [found.requirement for found in case.story.findings] == ["RFC9293-U-RST-NONSYNC"]


def test_allowed_segments_may_come_before(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1")
    target.say(peer, ". 1:11(10) ack 1")
    target.say(peer, "F. 11:11(0) ack 1")
    peer.expect("F. 11:11(0) ack 1", allow=[". 1:1(0) ack 1", Segment(flags=ACK | PSH), ". 1:11(10) ack 1"])
    assert [step.mark for step in case.story.steps] == ["", "", "", "allowed", "allowed", ""]
    assert peer.receive_next == arithmetic.add(THEIRS, 12)


def test_only_the_allowed_ones(target, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1 win 5")
    target.say(peer, "F. 1:1(0) ack 1")
    with pytest.raises(Mismatch):
        peer.expect("F. 1:1(0) ack 1", allow=[". 1:1(0) ack 1 win 6"])


def test_none_is_the_wildcard(target, peer):
    opened(target, peer)
    for wild in ({"ack": None}, {"seq": None, "ack": None}, {"flags": None, "ack": None},
                 {"options": None, "ack": None}):
        target.say(peer, ". 1:1(0) ack 0")
        peer.expect(". 1:1(0) ack 1", **wild)
    target.say(peer, ". 1:4(3) ack 1")
    peer.expect(". 1:1(0) ack 1", payload=None)
    target.say(peer, ". 4:7(3) ack 1")
    peer.expect(Segment(flags=ACK))


def test_a_wildcard_may_also_demand(target, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1")
    with pytest.raises(Mismatch):
        peer.expect(". 1:1(0) ack 1", window=999)


def test_unknown_wildcards_are_the_authors_error(target, peer):
    target.say(peer, "R 7:7(0)")
    with pytest.raises(ScriptError, match=r"no field colour; fields: ack, .*window"):
        peer.expect("R 7:7(0)", colour=None)


def test_an_acknowledgement_has_to_be_named(target, peer):
    target.say(peer, "R. 7:7(0) ack 1")
    with pytest.raises(ScriptError, match="which acknowledgement"):
        peer.expect("R. 7:7(0)")
    target.say(peer, "R. 7:7(0) ack 1")
    peer.case.injector.drain()


def test_a_mismatch_is_held_against_the_rule_that_is_named(target, case, peer):
    with pytest.raises(Mismatch):
        peer.expect("R 7:7(0)", rule="RFC9293-SHLD-14")
    assert (case.story.findings[-1].requirement, case.story.findings[-1].level) == ("RFC9293-SHLD-14", "SHOULD NOT")
    with pytest.raises(Mismatch):
        peer.expect("R 7:7(0)")
    assert (case.story.findings[-1].requirement, case.story.findings[-1].level) == ("RFC9293-MUST-2", "MUST")
    with pytest.raises(ScriptError, match="not covered by this case; covered: RFC9293-MUST-2, RFC9293-SHLD-14"):
        peer.expect("R 7:7(0)", rule="RFC9293-MUST-3")


# -- time -------------------------------------------------------------------------------------------------------------


def test_what_comes_in_time_is_checked_and_written_down(target, case, peer):
    opened(target, peer)
    target.say(peer, "F. 1:1(0) ack 1", after_s=1.1)
    peer.expect("F. 1:1(0) ack 1", after(1.0))
    (check,) = case.story.checks
    assert check.kept
    assert check.got_ns - check.due_ns == 100_000_000
    assert (check.due_ns - check.earliest_ns, check.latest_ns - check.due_ns) == (10_000_000, 135_000_000)


@pytest.mark.parametrize(("came_s", "said"), [(0.9, "0.900"), (1.3, "1.300")])
def test_early_and_late_are_said_as_times(target, case, peer, came_s, said):
    opened(target, peer)
    target.say(peer, "F. 1:1(0) ack 1", after_s=came_s)
    with pytest.raises(Mismatch):
        peer.expect("F. 1:1(0) ack 1", after(1.0))
    assert case.story.findings[-1].fields == ("time",)
    assert finding(case) == ("F. 1:1(0) ack 1 win 1000 after 0.990 to 1.135 s",
                             f"F. 1:1(0) ack 1 win 1000 after {said} s")
    assert case.story.steps[-1].mark == "mismatch"


def test_what_never_comes_is_missing(target, case, peer):
    opened(target, peer)
    with pytest.raises(Mismatch):
        peer.expect("F. 1:1(0) ack 1", after(1.0))
    assert finding(case) == ("F. 1:1(0) ack 1 after 1 s", "nothing")


def test_time_counts_from_the_last_segment_of_either_side_or_from_what_is_named(target, case, peer):
    opened(target, peer)
    syn = case.moment()
    target.say(peer, ". 1:1(0) ack 1", after_s=0.5)
    target.say(peer, "F. 1:1(0) ack 1", after_s=1.5)
    target.say(peer, "F. 1:1(0) ack 1", after_s=3.0)
    peer.expect(". 1:1(0) ack 1")
    peer.expect("F. 1:1(0) ack 1", after(1.0))
    peer.count_repeats()
    peer.expect("F. 1:1(0) ack 1", after(3.0, since=syn))


def test_time_that_counts_from_nothing_is_the_authors_error(peer):
    with pytest.raises(ScriptError, match="nothing has happened yet"):
        peer.expect("R 7:7(0)", after(1.0))


# -- silence ----------------------------------------------------------------------------------------------------------


def test_silence_is_proven_by_a_sentinel(target, case, peer):
    opened(target, peer)
    peer.expect_silence()
    assert "sentinel" in case.story.proof
    assert case.story.steps[-1].text.startswith("R. 0:0(0) ack 1")
    case.finish()


def test_silence_that_is_broken(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match="expected silence, got"):
        peer.expect_silence()
    assert "sentinel" not in case.story.proof


def test_silence_of_the_dead_proves_nothing(target, case, peer):
    opened(target, peer)
    target.open_ports = None
    with pytest.raises(Inconclusive, match=r"expected R. 0:0\(0\) ack 1, got nothing"):
        peer.expect_silence()
    assert case.story.findings == []


def test_a_sentinel_that_is_answered_wrongly_proves_nothing(target, peer):
    opened(target, peer)
    target.open_ports = None
    target.reply = lambda segment: [Segment(flags=RST | ACK, seq=0, ack=segment.seq)]
    with pytest.raises(Inconclusive):
        peer.expect_silence()


def test_silence_for_a_time_waits_that_time(target, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1", after_s=4.0)
    peer.expect_silence(3.9)
    with pytest.raises(Mismatch):
        peer.expect_silence(0.2)


def test_silence_with_exceptions(target, case, peer):
    opened(target, peer)
    target.say(peer, "F. 1:1(0) ack 1")
    peer.expect_silence(allow=["F. 1:1(0) ack 1"])
    assert [step.mark for step in case.story.steps].count("allowed") == 1
    assert peer.receive_next == arithmetic.add(THEIRS, 2)


# -- repetitions ------------------------------------------------------------------------------------------------------


def repeated(target: Scripted, peer: Peer, first_s: float, again_s: float, text: str = ". 1:4(3) ack 1",
             **fields: object) -> None:
    opened(target, peer)
    target.say(peer, ". 1:4(3) ack 1", after_s=first_s)
    target.say(peer, text, after_s=again_s, **fields)
    peer.expect(". 1:4(3) ack 1")


def test_a_repetition_before_our_acknowledgement_has_left_is_set_aside(target, case, peer):
    repeated(target, peer, 0.0, 0.009)
    case.pause(0.010)
    peer.send(". 1:1(0) ack 4")
    target.say(peer, "F. 4:4(0) ack 1")
    peer.expect("F. 4:4(0) ack 1")
    case.finish()
    assert [step.mark for step in case.story.steps].count("allowed") == 1


def test_at_the_end_and_in_silence_too(target, case, peer):
    repeated(target, peer, 0.0, 0.009)
    case.pause(0.010)
    case.finish()
    target.say(peer, ". 1:4(3) ack 1", after_s=0.008)
    case.pause(0.010)
    peer.expect_silence()


def test_a_repetition_at_once_upon_another_is_unexpected(target, case, peer):
    repeated(target, peer, 0.0, 0.009)
    target.say(peer, ". 1:4(3) ack 1", after_s=0.010)
    case.pause(0.020)
    with pytest.raises(Mismatch, match="nothing more"):
        case.finish()


def test_a_repetition_after_we_acknowledged_is_unexpected(target, case, peer):
    repeated(target, peer, 0.0, 0.050)
    peer.send(". 1:1(0) ack 4")
    case.pause(0.060)
    with pytest.raises(Mismatch, match="nothing more"):
        case.finish()


@pytest.mark.parametrize("ours", ["S. 1000:1000(0) ack 4", ". 0:1(1) ack 4"])
def test_the_acknowledgement_of_what_has_to_be_dropped_does_not_count(target, case, peer, ours):
    """It acknowledges nothing, so the target goes on repeating."""
    repeated(target, peer, 0.0, 0.050)
    peer.send(ours)
    target.say(peer, ". 4:4(0) ack 1")
    peer.expect(". 4:4(0) ack 1")
    case.pause(0.060)
    case.finish()
    assert [step.mark for step in case.story.steps].count("allowed") == 1


@pytest.mark.parametrize("ours", [". 1:1(0) ack 4", ". 0:2(2) ack 4", "P. 1:2(1) ack 4"])
def test_the_acknowledgement_of_what_may_be_taken_counts(target, case, peer, ours):
    repeated(target, peer, 0.0, 0.050)
    peer.send(ours)
    case.pause(0.060)
    with pytest.raises(Mismatch, match="nothing more"):
        case.finish()


def test_an_acknowledgement_of_less_does_not_count(target, case, peer):
    repeated(target, peer, 0.0, 0.050)
    peer.send(". 1:1(0) ack 3")
    case.pause(0.060)
    case.finish()


def test_a_repetition_too_soon_is_unexpected(target, case, peer):
    repeated(target, peer, 0.0, 0.007)
    case.pause(0.010)
    with pytest.raises(Mismatch):
        case.finish()


def test_a_repetition_that_is_expected_counts(target, case, peer):
    repeated(target, peer, 0.0, 0.200)
    peer.expect(". 1:4(3) ack 1", after(0.2))
    case.finish()


def test_a_case_about_repetitions_counts_them_all(target, case, peer):
    repeated(target, peer, 0.0, 0.009)
    peer.count_repeats()
    case.pause(0.010)
    with pytest.raises(Mismatch):
        case.finish()


@pytest.mark.parametrize(("text", "fields"), [
    ('. 1:4(3) ack 1 "abX"', {}),
    (". 0:3(3) ack 1", {}),
    ("F. 1:3(2) ack 1", {}),
    ("S. -5:-5(0) ack 1", {}),
    (". -9:-6(3) ack 1", {}),
    (". 2:2(0) ack 1", {}),
    ("R 1:1(0)", {}),
    ("R. 1:3(2) ack 1", {}),
    (". 1:5(4) ack 1", {}),
])
def test_only_the_same_octets_again_are_a_repetition(target, case, peer, text, fields):
    repeated(target, peer, 0.0, 0.050, text, **fields)
    case.pause(0.060)
    with pytest.raises(Mismatch):
        case.finish()


def test_a_part_of_what_came_or_several_pieces_at_once_are_a_repetition(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:4(3) ack 1")
    target.say(peer, "F. 4:6(2) ack 1")
    peer.expect(". 1:4(3) ack 1")
    peer.expect("F. 4:6(2) ack 1")
    target.say(peer, ". 2:4(2) ack 1", after_s=0.020)
    target.say(peer, "F. 1:6(5) ack 1", after_s=0.030)
    case.pause(0.040)
    case.finish()


def test_a_pure_acknowledgement_is_no_first_telling(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 2:2(0) ack 1")
    target.say(peer, ". 1:4(3) ack 1", after_s=0.020)
    peer.expect(". 2:2(0) ack 1")
    peer.expect(". 1:4(3) ack 1")
    target.say(peer, ". 1:4(3) ack 1", after_s=0.002)
    case.pause(0.003)
    with pytest.raises(Mismatch):
        case.finish()


def test_a_syn_again_is_a_repetition(target, case, peer):
    peer.send("S 0:0(0) win 65535")
    target.say(peer, "S. 0:0(0) ack 1")
    peer.expect("S. 0:0(0) ack 1")
    target.say(peer, "S. 0:0(0) ack 1", after_s=0.020)
    case.pause(0.030)
    case.finish()


def test_what_never_came_cannot_be_repeated(target, case, peer):
    target.say(peer, "S 0:0(0)")
    peer.expect("S 0:0(0)")
    opened_elsewhere = case.peer()
    target.say(opened_elsewhere, ". -3:-2(1) ack 1", after_s=0.020)
    case.pause(0.030)
    with pytest.raises(Mismatch):
        case.finish()


# -- states and the end -----------------------------------------------------------------------------------------------


def test_the_state_is_what_the_target_says(target):
    target.script_upper().states = ["LISTEN"]
    case = target.case()
    peer = case.peer()
    target.serve(peer)
    with pytest.raises(Mismatch):
        peer.expect_state("ESTABLISHED")
    assert finding(case) == ("state ESTABLISHED", "state LISTEN")
    assert case.story.findings[-1].fields == ("state",)
    assert case.story.findings[-1].state == "LISTEN"
    peer.expect_state("LISTEN")
    assert "api" in case.story.proof


def test_a_state_that_is_not_there_yet_is_asked_for_again_behind_a_sentinel(target):
    upper = target.script_upper()
    case = target.case()
    peer = case.peer()
    target.serve(peer)
    upper.states = ["SYN-RECEIVED", "ESTABLISHED"]
    peer.expect_state("ESTABLISHED")
    assert [step.text.partition(" win")[0] for step in case.story.steps if step.side != "note"] == [
        "S 0:0(0)", "R. 0:0(0) ack 1", "state ESTABLISHED"]


class Timer(Scripted):
    """A target whose state ends after a second, or when the test says."""

    def __init__(self, ends_s: float) -> None:
        super().__init__()
        upper = self.script_upper()
        upper.state = lambda flow: "TIME-WAIT" if self.clock.now() < ends_s * 1e9 else "CLOSED"  # type: ignore


@pytest.mark.parametrize(("ends_s", "got"), [
    (0.98, "state CLOSED after 0.990 s"), (1.0, None), (1.134, None), (1.2, "state TIME-WAIT after 1.135 s"),
])
def test_a_state_lasts_as_long_as_it_should(ends_s, got):
    case = Timer(ends_s).case()
    peer = case.peer()
    due = after(1.0, since=case.moment())
    if got is None:
        peer.expect_to_last("TIME-WAIT", due)
        assert case.story.proof == {"api"}
        return
    with pytest.raises(Mismatch):
        peer.expect_to_last("TIME-WAIT", due)
    assert finding(case)[1] == got
    assert case.story.findings[-1].fields == ("state", "time")


def test_a_state_that_lasts_from_nothing_is_the_authors_error(peer):
    with pytest.raises(ScriptError, match="nothing has happened yet"):
        peer.expect_to_last("TIME-WAIT", after(1.0))


def test_a_mismatch_tells_the_state(target):
    target.script_upper().states = ["ESTABLISHED"]
    case = target.case()
    with pytest.raises(Mismatch):
        case.peer().expect("R 7:7(0)")
    assert case.story.findings[-1].state == "ESTABLISHED"


def test_in_the_preamble_a_mismatch_is_inconclusive(case, peer):
    with case.preamble():
        with pytest.raises(Inconclusive, match="could not be brought to where the case begins: expected R 7:7"):
            peer.expect("R 7:7(0)")
        with case.preamble():
            pass
        with pytest.raises(Inconclusive, match="expected a, got b"):
            case.mismatch(expected="a", got="b")
    with pytest.raises(Mismatch):
        peer.expect("R 7:7(0)")


def test_the_oracles_findings_surface_at_the_end(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1", reserved=1)
    peer.expect(". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match="RFC9293-U-RSV-TX: expected reserved bits zero"):
        case.finish()
    (found,) = case.story.findings
    assert (found.source, found.level, found.fields) == ("oracle", "MUST", ("reserved",))
    assert case.story.steps[found.step].text == ". 1:1(0) ack 1 win 1000"


def test_the_oracle_says_a_thing_once_and_a_must_goes_before_advice(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1 win 1")
    target.say(peer, ". 1:1(0) ack 1 win 1", reserved=1)
    target.say(peer, ". 1:1(0) ack 1 win 1", reserved=1)
    for _ in range(3):
        peer.expect(". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match="RFC9293-U-RSV-TX"):
        case.finish()
    assert [(found.requirement, found.level) for found in case.story.findings] == [
        ("RFC9293-SHLD-14", "SHOULD NOT"), ("RFC9293-U-RSV-TX", "MUST")]


def test_advice_alone_surfaces_too(target, case, peer):
    opened(target, peer)
    target.say(peer, ". 1:1(0) ack 1 win 1")
    peer.expect(". 1:1(0) ack 1")
    with pytest.raises(Mismatch, match="RFC9293-SHLD-14"):
        case.finish()


def test_what_is_left_of_a_connection_is_reset(target):
    upper = target.script_upper()
    for state, resets in (("ESTABLISHED", 1), ("CLOSED", 0), ("TIME-WAIT", 0)):
        case = target.case()
        peer = case.peer()
        target.serve(peer)
        peer.send("S 0:0(0) win 65535")
        target.say(peer, "S. 0:0(0) ack 1")
        peer.expect("S. 0:0(0) ack 1")
        upper.states = [state]
        case.close()
        sent = [decode(packet) for frame, _ in case.trace
                if frame.outgoing and (packet := ip.dissect(frame.data[14:])) is not None]
        assert sum(bool(segment and segment.has(RST)) for segment in sent) == resets


def resets_of(case):
    """The resets with which a case has cleaned up behind itself."""
    sent = [decode(packet) for frame, _ in case.trace
            if frame.outgoing and (packet := ip.dissect(frame.data[14:])) is not None]
    return [segment for segment in sent if segment is not None and segment.has(RST)]


def test_what_is_left_is_reset_at_the_number_that_the_target_has_acknowledged_too(target):
    target.script_upper().states = ["ESTABLISHED"]
    case = target.case()
    peer = case.peer()
    opened(target, peer)
    peer.send("P. 70001:70011(10) ack 1")
    case.close()
    assert [arithmetic.diff(reset.seq, peer.iss) for reset in resets_of(case)] == [70011, 1]


def test_what_is_left_in_syn_sent_is_reset_with_the_number_of_the_syn(target):
    target.script_upper().states = ["SYN-SENT"]
    case = target.case()
    peer = case.peer()
    target.serve(peer)
    target.say(peer, "S 0:0(0)")
    peer.expect("S 0:0(0)")
    case.close()
    (reset,) = resets_of(case)
    assert reset.has(ACK)
    assert reset.ack == arithmetic.add(peer.irs, 1)


def test_a_connection_that_never_was_is_not_reset(target, case, peer):
    peer.send("S 0:0(0) win 65535")
    case.close()
    assert len(case.trace) == 1


def test_both_families(target):
    for family, size in (("ipv4", 4), ("ipv6", 16)):
        case = target.case(family=family)
        peer = case.peer()
        assert len(peer.flow.local) == size
        opened(target, peer)
        case.finish()


def test_options_of_sack_are_relative_to_each_end(target, peer):
    opened(target, peer)
    peer.send(". 1:1(0) ack 1 <nop,nop,sack 11:21>")
    sent = out(target, peer).option(Kind.SACK)
    assert sent == Option.of(Kind.SACK, b"".join(
        arithmetic.add(THEIRS, edge).to_bytes(4, "big") for edge in (11, 21)))
    target.say(peer, ". 1:1(0) ack 1 <nop,nop,sack 5:9>")
    peer.expect(". 1:1(0) ack 1 <sack 5:9>")
    assert turned(turned(peer.flow)) == peer.flow
