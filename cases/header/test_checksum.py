# SPDX-License-Identifier: GPL-2.0-or-later
"""B-04: the checksum is right in what the target sends, and what has a wrong one never arrived (RFC 9293, 3.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.authoring import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    Segment,
    after,
    covers,
    established,
    seconds_between,
    syn_received,
)
from harness.targets.schedule import doubled_s
from harness.wire.codec import decode, dissect, encode
from harness.wire.segment import Checksum

WRONG = {
    "one bit": lambda good: good ^ 0x0100,
    "complement": lambda good: good ^ 0xFFFF ^ (0x0001 if good in (0, 0xFFFF) else 0),
    "zero": lambda good: 0 if good not in (0, 0xFFFF) else 1,
}
ONE_BIT = WRONG["one bit"]


def good_checksum(flow, segment):
    """What the checksum field of this segment has to be."""
    return decode(dissect(encode(segment, flow))).checksum


def send_spoilt(peer, segment, spoil=ONE_BIT):
    """Send the segment with a wrong checksum, everything else being right."""
    whole = replace(segment, window=65535)
    good = good_checksum(peer.flow, whole)
    peer.case.note(f"the next segment's checksum is {spoil(good):#06x}, {good:#06x} would be right")
    peer.send(whole, checksum=spoil(good))


def numbers(peer, seq, ack):
    """Absolute numbers from relative ones."""
    return {"seq": (peer.iss + seq) % 2**32, "ack": (peer.irs + ack) % 2**32}


@covers("RFC9293-MUST-2", behaviour="B-04", tc8="TCP_CHECKSUM_03")
@pytest.mark.parametrize("size", [1, 2, 99, 1000])
def test_right_checksum_is_sent(peer, listener, size):
    """SYN,ACK, acknowledgement, data of odd and even length, FIN and the last ACK: each one verifies."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    seen = [peer.expect("S. 0:0(0) ack 1 <mss *>")]
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.send("P. 1:11(10) ack 1")
    seen.append(peer.expect(". 1:1(0) ack 11"))
    connection.expect_data(10)
    connection.send(size)
    seen.append(peer.expect(f"P. 1:{1 + size}({size}) ack 11"))
    peer.send(f". 11:11(0) ack {1 + size}")
    connection.close()
    seen.append(peer.expect(f"F. {1 + size}:{1 + size}(0) ack 11"))
    peer.send(f"F. 11:11(0) ack {2 + size}")
    seen.append(peer.expect(f". {2 + size}:{2 + size}(0) ack 12"))
    for segment in seen:
        if segment.verdict is not Checksum.GOOD:
            raise peer.case.mismatch(expected="the right checksum", got=f"{segment.checksum:#06x}",
                                     fields=("checksum",))


@covers("RFC9293-MUST-2", behaviour="B-04", tc8="TCP_CHECKSUM_03")
def test_right_checksum_is_sent_with_a_reset(peer):
    """The reset of a closed port, which is made from nothing but the segment that met it, verifies too."""
    peer.send("S 0:0(0) win 65535")
    reset = peer.expect("R. 0:0(0) ack 1")
    if reset.verdict is not Checksum.GOOD:
        raise peer.case.mismatch(expected="the right checksum", got=f"{reset.checksum:#06x}", fields=("checksum",))


@covers("RFC9293-MUST-3", behaviour="B-04")
@pytest.mark.parametrize("how", WRONG)
def test_syn_with_a_wrong_checksum_is_ignored(peer, listener, how):
    """No SYN,ACK and no reset; the same SYN with the right checksum is answered."""
    send_spoilt(peer, Segment(flags=SYN, seq=peer.iss), WRONG[how])
    peer.expect_silence()
    established(peer, listener)


@covers("RFC9293-MUST-3", behaviour="B-04")
def test_closed_port_does_not_answer_a_wrong_checksum(peer):
    """Not even a reset is due to a segment that never arrived."""
    send_spoilt(peer, Segment(flags=SYN, seq=peer.iss))
    peer.expect_silence()
    peer.send("S 0:0(0) win 65535")
    peer.expect("R. 0:0(0) ack 1")


@covers("RFC9293-MUST-3", behaviour="B-04")
def test_third_segment_with_a_wrong_checksum_does_not_connect(peer, listener):
    """The target stays in SYN-RECEIVED until the right one comes."""
    syn_received(peer, listener)
    send_spoilt(peer, Segment(flags=ACK, **numbers(peer, 1, 1)))
    peer.expect_silence()
    peer.expect_state("SYN-RECEIVED")
    listener.expect_none()
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    peer.expect_state("ESTABLISHED")


@covers("RFC9293-MUST-3", behaviour="B-04", tc8=("TCP_CHECKSUM_01", "TCP_CHECKSUM_02", "TCP_HEADER_09"))
@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("size", [10, 11])
def test_data_with_a_wrong_checksum_is_ignored(peer, listener, how, size):
    """Not acknowledged and not delivered; the right segment at the same place is both."""
    connection = established(peer, listener)
    send_spoilt(peer, Segment(flags=ACK | PSH, payload=b"x" * size, **numbers(peer, 1, 1)), WRONG[how])
    peer.expect_silence()
    connection.expect_no_data()
    peer.send(f"P. 1:{1 + size}({size}) ack 1")
    peer.expect(f". 1:1(0) ack {1 + size}")
    connection.expect_data(size)


@covers("RFC9293-MUST-3", behaviour="B-04")
@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK], ids=["reset", "reset with ack", "fin"])
def test_end_with_a_wrong_checksum_is_ignored(peer, listener, flags):
    """A spoilt reset or FIN ends nothing: the connection carries data on."""
    connection = established(peer, listener)
    send_spoilt(peer, Segment(flags=flags, **numbers(peer, 1, 1)))
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")
    connection.send(10)
    peer.expect("P. 1:11(10) ack 1")
    peer.send("P. 1:6(5) ack 11")
    peer.expect(". 11:11(0) ack 6")
    connection.expect_data(5)


@covers("RFC9293-MUST-3", behaviour="B-04")
def test_checksum_covers_the_pseudo_header(case, peer, listener):
    """A checksum that is right for the same octets from another address is wrong here."""
    peer_elsewhere = replace(peer.flow, local=peer.flow.local[:-1] + bytes((peer.flow.local[-1] ^ 0x40,)))
    syn = Segment(flags=SYN, seq=peer.iss, window=65535)
    peer.send(syn, checksum=good_checksum(peer_elsewhere, syn))
    peer.expect_silence()
    peer.send("S 0:0(0) win 65535")
    peer.expect("S. 0:0(0) ack 1 <mss *>")


@covers("RFC9293-MUST-3", "RFC6298-BACKOFF", behaviour="B-04")
def test_acknowledgement_with_a_wrong_checksum_acknowledges_nothing(peer, listener, profile):
    """Data whose acknowledgements are spoilt is sent again, and again after twice the time."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(10)
    data = peer.expect("P. 1:11(10) ack 1")
    spoilt = Segment(flags=ACK, **numbers(peer, 1, 11))
    send_spoilt(peer, spoilt)
    again = peer.expect("P. 1:11(10) ack 1", within_s=2 * profile.timer("initial_rto_s"))
    send_spoilt(peer, spoilt)
    twice = after(*doubled_s(profile, seconds_between(data, again)), since=again)
    peer.expect("P. 1:11(10) ack 1", twice, rule="RFC6298-BACKOFF")
    peer.send(". 1:1(0) ack 11")
    peer.expect_silence()
