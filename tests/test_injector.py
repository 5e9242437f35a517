# SPDX-License-Identifier: GPL-2.0-or-later
"""The injector turns frames into segments, hands them to the case, and keeps the trace."""

from __future__ import annotations

import struct

import pytest
from scripted import Scripted, turned

from harness.lower import forge
from harness.lower.verdict import Mismatch
from harness.targets.base import PHANTOM, PHANTOM_MAC, TARGET, TARGET_MAC, packed
from harness.wire import ip
from harness.wire.clock import Outcome
from harness.wire.codec import encode
from harness.wire.errors import LinkError
from harness.wire.frame import Frame
from harness.wire.icmp import encode_icmp
from harness.wire.neighbour import reply_mac, solicit
from harness.wire.segment import SYN, Flow, Segment


@pytest.fixture
def target() -> Scripted:
    return Scripted()


def put(target: Scripted, frame: bytes) -> None:
    target.agenda.add(Frame(data=frame, stamp_ns=target.clock.now()))


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_address_resolution_is_answered_amid_a_case(target, family):
    made = target.case(family=family)
    put(target, solicit(mac=TARGET_MAC, source=packed(TARGET[family]), target=packed(PHANTOM[family])))
    made.finish()
    made.close()
    asked, answered = made.trace
    assert reply_mac(answered[0].data, packed(PHANTOM[family])) == PHANTOM_MAC
    assert asked[1] == "address resolution"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_nobody_answers_for_the_target(target, family):
    made = target.case(family=family)
    put(target, solicit(mac=TARGET_MAC, source=packed(PHANTOM[family]), target=packed(TARGET[family])))
    made.finish()
    made.close()
    assert len(made.trace) == 1


def test_what_came_before_a_case_is_forgotten(target):
    early = target.case().peer()
    target.say(early, "R 7:7(0)")
    made = target.case()
    made.finish()
    made.close()
    assert made.trace == []


def test_between_cases_what_comes_is_dropped(target):
    made = target.case()
    peer = made.peer()
    made.close()
    target.say(peer, "R 7:7(0)")
    target.injector.drain()
    assert target.injector.frames() == []


def test_lost_frames_are_an_error_of_the_link(target, monkeypatch):
    made = target.case()
    monkeypatch.setattr(target.link, "lost", lambda: 3)
    with pytest.raises(LinkError, match="the link lost 3 frames of this case"):
        made.close()
    monkeypatch.undo()
    following = target.case()
    following.close()
    assert following.trace == []


def test_the_trace_is_in_the_order_of_the_stamps_with_comments(target):
    made = target.case()
    peer = made.peer()
    peer.send("S 0:0(0) win 65535")
    target.say(peer, "R. 0:0(0) ack 1", after_s=0.5)
    peer.expect("R. 0:0(0) ack 1")
    peer.send(". 1:1(0) ack 1")
    frames = made.injector.frames()
    assert [frame.outgoing for frame, _ in frames] == [True, False, True]
    assert [text for _, text in frames] == [
        "S 0:0(0) win 65535", "R. 0:0(0) ack 1 win 1000", ". 1:1(0) ack 1 win 65535"]
    assert sorted(frame.stamp_ns for frame, _ in frames) == [frame.stamp_ns for frame, _ in frames]


def test_the_kernels_stamp_takes_the_place_of_ours(target, monkeypatch):
    made = target.case()
    peer = made.peer()
    sent = peer.send("S 0:0(0) win 65535")
    bare = made.injector.send_frame(b"\xff" * 14)
    monkeypatch.setattr(target.link, "sent", lambda: [
        Frame(data=b"what another program sent", stamp_ns=1, outgoing=True),
        Frame(data=sent.frame, stamp_ns=777, outgoing=True), Frame(data=bare.frame, stamp_ns=778, outgoing=True)])
    made.injector.stamp()
    assert sent.stamp_ns == sent.step.at_ns == 777
    assert bare.stamp_ns == 778
    assert [(frame.stamp_ns, text) for frame, text in made.injector.frames()] == [
        (777, "S 0:0(0) win 65535"), (778, "")]


def test_a_frame_that_the_tap_missed_keeps_our_stamp(target, monkeypatch):
    made = target.case()
    peer = made.peer()
    missed, seen = peer.send("S 0:0(0) win 65535"), peer.send("S 0:0(0) win 65534")
    monkeypatch.setattr(target.link, "sent", lambda: [Frame(data=seen.frame, stamp_ns=777, outgoing=True)])
    made.injector.stamp()
    assert (missed.stamp_ns, seen.stamp_ns) == (0, 777)


def test_a_stray_of_an_earlier_case_disturbs_nobody(target):
    old = target.case()
    peer = old.peer()
    old.close()
    following = target.case()
    target.say(peer, "F. 1:1(0) ack 1")
    following.finish()


def test_a_segment_to_a_port_of_ours_that_nobody_plays_is_unexpected(target):
    made = target.case()
    peer = made.peer()
    elsewhere = Flow(local=peer.flow.local, local_port=7, target=peer.flow.target, target_port=peer.flow.target_port)
    target.arrive(encode(Segment(flags=SYN, seq=5, ack=0, window=1), turned(elsewhere)))
    with pytest.raises(Mismatch, match=rf"got S 5:5\(0\) win 1  \(ports {peer.flow.target_port} > 7\)"):
        made.finish()
    assert made.story.steps[-1].mark == "unexpected"


def udp(target: Scripted, protocol: int, payload: bytes, fragment: bool = False) -> bytes:
    packet = bytearray(ip.ip_packet(packed(TARGET["ipv4"]), packed(PHANTOM["ipv4"]), protocol, payload))
    if fragment:
        packet[6] = 0x20
        packet[10:12] = bytes(2)
        packet[10:12] = ip.internet_checksum(bytes(packet[:20])).to_bytes(2, "big")
    return bytes(packet)


@pytest.mark.parametrize(("protocol", "size", "fragment", "said"), [
    (17, 8, False, "IP protocol 17, 8 octets"),
    (6, 8, False, "IP protocol 6, 8 octets"),
    (6, 40, True, "IP protocol 6, a fragment, 40 octets"),
])
def test_what_no_case_speaks_is_unexpected(target, protocol, size, fragment, said):
    made = target.case()
    target.arrive(udp(target, protocol, bytes(size), fragment))
    with pytest.raises(Mismatch, match=said):
        made.finish()


def test_what_is_no_ip_or_no_icmp_or_of_neighbour_discovery_is_nobodys(target):
    made = target.case(family="ipv6")
    put(target, bytes(12) + b"\x88\xcc" + bytes(40))
    put(target, b"\x00")
    target.arrive(udp(target, 1, b"\0"))
    report = encode_icmp(source=packed("fe80::1"), destination=packed("ff02::16"), type=143, code=0, body=bytes(4))
    target.arrive(report)
    made.finish()
    made.close()
    assert [comment for _, comment in made.trace] == [""] * 4


@pytest.mark.parametrize("ethertype", [b"\x08\x00", b"\x86\xdd"])
def test_what_claims_to_be_ip_and_is_not_is_unexpected(target, ethertype):
    made = target.case()
    put(target, bytes(12) + ethertype + bytes(40))
    with pytest.raises(Mismatch, match="malformed IP packet in 54 octets"):
        made.finish()


def error(quoted: bytes, kind: int = 3, code: int = 3) -> bytes:
    return encode_icmp(source=packed(TARGET["ipv4"]), destination=packed(PHANTOM["ipv4"]), type=kind, code=code,
                       body=quoted)


def test_icmp_is_expected_by_type_code_and_quote(target):
    made = target.case()
    peer = made.peer()
    packet = encode(Segment(flags=SYN, seq=peer.iss), peer.flow)
    target.arrive(error(packet), after_s=0.2)
    assert made.expect_icmp(3, 3, quoting=packet[:28]).code == 3
    assert made.story.proof == {"wire"}
    assert made.story.steps[-1].text == "ICMP type 3 code 3"
    made.finish()


def test_icmp_that_differs_names_what(target):
    made = target.case()
    peer = made.peer()
    packet = encode(Segment(flags=SYN, seq=peer.iss), peer.flow)
    wrong = bytearray(error(packet))
    wrong[-1] ^= 1
    target.arrive(bytes(wrong))
    with pytest.raises(Mismatch, match="expected ICMP type 11 code 1, got ICMP type 3 code 3"):
        made.expect_icmp(11, 1, quoting=b"nothing of it")
    assert made.story.findings[-1].fields == ("type", "code", "checksum", "quote")


def test_icmp_that_never_comes(target):
    made = target.case()
    with pytest.raises(Mismatch, match="expected ICMP type 3 code 3, got nothing"):
        made.expect_icmp(3, 3)
    assert made.story.steps[-1].mark == "missing"


def test_no_icmp_is_expected(target):
    made = target.case()
    peer = made.peer()
    made.expect_no_icmp()
    target.arrive(error(encode(Segment(flags=SYN, seq=peer.iss), peer.flow)))
    made.injector.drain()
    with pytest.raises(Mismatch, match="expected no ICMP message, got ICMP type 3 code 3"):
        made.expect_no_icmp()
    made.expect_no_icmp()


def test_icmp_that_nobody_expected(target):
    made = target.case()
    peer = made.peer()
    target.arrive(error(encode(Segment(flags=SYN, seq=peer.iss), peer.flow)))
    with pytest.raises(Mismatch, match="nothing more"):
        made.finish()


def test_icmp_about_an_earlier_case_is_a_stray(target):
    old = target.case().peer()
    made = target.case()
    target.arrive(error(encode(Segment(flags=SYN, seq=old.iss), old.flow)))
    udp_packet = ip.ip_packet(packed(PHANTOM["ipv4"]), packed(TARGET["ipv4"]), 17, struct.pack(">HHHH", 1, 2, 8, 0))
    target.arrive(error(udp_packet))
    made.finish()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_icmp_about_a_fragment_that_holds_no_ports_is_told_by_its_identification(target, family):
    """An empty first fragment, and one from the middle."""
    made = target.case(family=family)
    _, whole = forge.datagram(made.peer(), "P. 1:101(100) ack 1")
    source, destination = packed(TARGET[family]), packed(PHANTOM[family])
    kind, code = (11, 1) if family == "ipv4" else (3, 1)
    for number, ours in ((whole.identification + 1, False), (whole.identification, True)):
        other = forge.Datagram(packet=whole.packet, identification=number)
        for piece in (other.piece(0, 0, more=True), other.piece(8, 16)):
            target.arrive(encode_icmp(source=source, destination=destination, type=kind, code=code, body=piece))
            if ours:
                assert made.expect_icmp(kind, code).quoted_identification == number
    made.finish()


def test_icmpv6_is_called_so(target):
    made = target.case(family="ipv6")
    target.arrive(encode_icmp(source=packed(TARGET["ipv6"]), destination=packed(PHANTOM["ipv6"]), type=129, code=0))
    with pytest.raises(Mismatch, match="got ICMPv6 type 129 code 0"):
        made.finish()


def test_a_packet_of_no_peer(target):
    made = target.case()
    packet = udp(target, 17, bytes(8))
    made.send_packet(packet, "a datagram")
    made.close()
    assert [(frame.data[14:], text) for frame, text in made.trace] == [(packet, "a datagram")]
    assert made.story.steps[0].text == "a datagram"


def test_the_outcome_of_a_call_is_kept_until_it_is_asked_for(target):
    made = target.case()

    class Call:
        name = "recv"

        def fileno(self) -> int:
            return -1

        def poll(self) -> Outcome | None:
            return Outcome(call=self, value=b"x")

    call = Call()
    made.start(call)
    made.pause(0.5)
    outcome = made.outcome(call, target.clock.now())
    assert outcome is not None
    assert outcome.at_ns == target.clock.now()
    assert made.outcome(call, 0) == outcome
    made.stop(call)
    made.stop(call)
    made.close()
    assert target.injector.outcomes == {}


def test_closing_lets_go_of_the_link(target):
    target.injector.close()
    old = target.link
    put(target, bytes(14))
    assert old.recv_frame() is None
