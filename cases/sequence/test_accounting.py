# SPDX-License-Identifier: GPL-2.0-or-later
"""B-03: which segments use up sequence numbers, and how many (RFC 9293, 3.4)."""

from __future__ import annotations

import pytest

from harness.authoring import (
    ACK,
    SYN,
    Segment,
    close_wait,
    connected,
    covers,
    established,
    fin_wait_2,
    needs,
    seq,
    slow,
    syn_received,
)

SPACE = 2**32
SECOND = 1_000_000_000


@covers("RFC9293-U-WRAP", "SA-LISTEN-01", behaviour="B-03", tc8=("TCP_SEQUENCE_03", "TCP_SEQUENCE_04"))
@pytest.mark.parametrize(("number", "answered"), [(0, 1), (0xFFFFFFFF, 0), (0x7FFFFFFF, 0x80000000)],
                         ids=["zero", "last", "sign"])
def test_syn_uses_one_number(case, listener, number, answered):
    """A SYN without data is one number: x is acknowledged with x+1, and 4294967295 with 0."""
    peer = case.peer(target_port=listener.port, iss=number)
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect(Segment(flags=SYN | ACK, ack=answered, payload=b""))


@covers("SA-SYNRCVD-01", "SA-SYNSENT-01", behaviour="B-03")
def test_targets_syn_uses_one_number(peer, listener):
    """The target's SYN,ACK is one number too: its first octet of data is ISS+1."""
    connection = established(peer, listener)
    connection.send(10)
    peer.expect(". 1:11(10) ack 1")


@needs("active_open")
@covers("SA-SYNSENT-01", behaviour="B-03")
def test_active_syn_uses_one_number(peer, upper):
    """So is the SYN of its active opening: its first octet of data is ISS+1."""
    connection = connected(peer, upper)
    connection.send(10)
    peer.expect(". 1:11(10) ack 1")


@covers("RFC9293-U-FIN-INORDER", "SA-ESTAB-25", behaviour="B-03")
def test_fin_uses_one_number(peer, listener):
    """Our FIN without data is one number: at 1 it is acknowledged with 2."""
    established(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")


@covers("RFC9293-U-FIN-INORDER", "SA-ESTAB-26", behaviour="B-03")
def test_fin_after_data_uses_one_number(peer, listener):
    """A FIN behind 100 octets in one segment: acknowledged with 102, 100 octets and the end delivered."""
    connection = established(peer, listener)
    peer.send("F. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 102")
    connection.expect_data(100)
    connection.expect_end()


@needs("half_close")
@covers("SA-FINWAIT2-17", behaviour="B-03")
def test_targets_fin_uses_one_number(peer, listener):
    """The target's FIN is one number: what it sends after its FIN at 1 has the number 2."""
    fin_wait_2(peer, listener, half=True)
    peer.send(". 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")


@covers("RFC9293-U-FIN-ONCE", behaviour="B-03")
def test_targets_fin_follows_its_data(peer, listener):
    """The target's FIN stands behind its last octet: 100 octets from 1, the FIN at 101, and 102 acknowledges all."""
    connection = close_wait(peer, listener)
    connection.send(100)
    peer.expect(". 1:101(100) ack 2")
    peer.send(". 2:2(0) ack 101")
    connection.close()
    peer.expect("F. 101:101(0) ack 2")
    peer.send(". 2:2(0) ack 102")
    peer.expect_silence()
    peer.expect_state("CLOSED")


@covers("SA-ESTAB-13", "SA-ESTAB-17", behaviour="B-03", tc8=("TCP_FLAGS_PROCESSING_11", "TCP_ACKNOWLEDGEMENT_04"))
def test_our_pure_ack_uses_none(peer, listener):
    """Our ACKs without data use no number and draw no answer: the octet that follows still has the number 1."""
    connection = established(peer, listener)
    for _ in range(2):
        peer.send(". 1:1(0) ack 1")
    peer.expect_silence()
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101", rule="SA-ESTAB-17")
    connection.expect_data(100)


@covers("SA-ESTAB-17", behaviour="B-03", tc8="TCP_ACKNOWLEDGEMENT_03")
def test_targets_pure_ack_uses_none(peer, listener):
    """The target's ACKs without data use no number: its first octet after them still has the number 1."""
    connection = established(peer, listener)
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    peer.send(". 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 201")
    connection.send(10)
    peer.expect(". 1:11(10) ack 201")


@covers("SA-ESTAB-16", behaviour="B-03")
def test_hundred_octets_from_301(peer, listener):
    """The target's 100 octets from 301 on are followed by 401."""
    connection = established(peer, listener)
    connection.send(300)
    peer.expect(". 1:301(300) ack 1")
    peer.send(". 1:1(0) ack 301")
    connection.send(100)
    peer.expect(". 301:401(100) ack 1")
    peer.send(". 1:1(0) ack 401")
    connection.send(10)
    peer.expect(". 401:411(10) ack 1")


@covers("SA-ESTAB-17", "RFC9293-U-WRAP", behaviour="B-03", tc8=("TCP_SEQUENCE_05", "TCP_HEADER_02"))
def test_two_hundred_octets_from_501(peer, listener):
    """Our 200 octets from 501 on are acknowledged with 701, and the application is given all 700."""
    connection = established(peer, listener)
    peer.send(". 1:501(500) ack 1")
    peer.expect(". 1:1(0) ack 501")
    peer.send(". 501:701(200) ack 1")
    peer.expect(". 1:1(0) ack 701")
    connection.expect_data(700)


@covers("RFC9293-U-WRAP", behaviour="B-03")
@pytest.mark.parametrize("number", [0xFFFFFFFF, 0xFFFFFFFF - 50, 0xFFFFFFFF - 100, 0xFFFFFFFF - 101, 0x7FFFFFFF - 50],
                         ids=["behind-syn", "inside-data", "before-fin", "behind-fin", "sign"])
def test_across_the_wrap(case, listener, number):
    """Wherever 4294967295 is followed by 0: SYN, 100 octets and FIN are counted on."""
    peer = case.peer(target_port=listener.port, iss=number)
    connection = established(peer, listener)
    peer.send(". 1:101(100) ack 1")
    peer.expect(Segment(flags=ACK, seq=seq.add(peer.irs, 1), ack=(number + 101) % SPACE, payload=b"", options=()))
    connection.expect_data(100)
    peer.send("F. 101:101(0) ack 1")
    peer.expect(Segment(flags=ACK, seq=seq.add(peer.irs, 1), ack=(number + 102) % SPACE, payload=b"", options=()))
    connection.expect_end()


def opened_below_the_wrap(case, profile, listener, room):
    """A connection with the target's initial number at most `room` below 2**32, which its clock brings sometime.

    Each four-tuple has its own distance to the clock: of several, the first that comes there. It is asked again a
    moment before, since two clocks never run quite alike.
    """

    def asked(port):
        answer = half_opened(case, listener, port)[1]
        ticks = (SPACE - room // 2 - answer.seq) % SPACE
        return answer.stamp_ns + ticks * SECOND // profile.limit("isn_rate_per_s")

    with case.preamble():
        due = sorted((asked(port), port) for port in [case.our_port() for _ in range(32)])
        for instant, port in due[:8]:
            case.pause(max(0, instant - case.clock.now() - SECOND // 4) / SECOND)
            case.pause(max(0, asked(port) - case.clock.now()) / SECOND)
            peer, answer = half_opened(case, listener, port, keep_from=SPACE - room)
            if answer.seq >= SPACE - room:
                peer.send(". 1:1(0) ack 1")
                return peer, listener.accept(peer)
        raise case.mismatch(expected=f"an initial number within {room} of the wrap", got=f"{answer.seq} at last")


def half_opened(case, listener, port, keep_from=SPACE):
    """A SYN and its SYN,ACK; reset again unless the target's number is one to keep."""
    peer = case.peer(target_port=listener.port, local_port=port)
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    answer = peer.expect("S. 0:0(0) ack 1 <...>")
    if answer.seq < keep_from:
        peer.send("R 1:1(0)")
        case.forget(peer)
    return peer, answer


@slow
@covers("RFC9293-U-WRAP", behaviour="B-03")
def test_targets_numbers_across_the_wrap(case, profile, listener):
    """The target's own numbers pass 4294967295 in the middle of its data, and go on with 0."""
    if not profile.states("isn_rate_per_s"):
        pytest.skip("not applicable: the profile does not say how fast initial numbers grow")
    peer, connection = opened_below_the_wrap(case, profile, listener, room=60_000)
    for at in range(1, 70_001, 1000):
        connection.send(1000)
        peer.expect(f". {at}:{at + 1000}(1000) ack 1")
        peer.send(f". 1:1(0) ack {at + 1000}")


@covers("SA-SYNRCVD-16", "RFC9293-U-SYNDATA", behaviour=("B-01", "B-03"), tc8="TCP_ACKNOWLEDGEMENT_02")
def test_data_on_the_third_segment(peer, listener):
    """100 octets on the third segment: it opens, and the octets are acknowledged and delivered."""
    syn_received(peer, listener)
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection = listener.accept(peer)
    peer.expect_state("ESTABLISHED")
    connection.expect_data(100)


@covers("SA-SYNRCVD-20", "RFC9293-U-FIN-INORDER", behaviour="B-03")
def test_data_and_fin_on_the_third_segment(peer, listener):
    """100 octets and our FIN on the third segment: acknowledged with 102, delivered, and the stream has ended."""
    syn_received(peer, listener)
    peer.send("F. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 102")
    connection = listener.accept(peer)
    connection.expect_data(100)
    connection.expect_end()
    peer.expect_state("CLOSE-WAIT")
