# SPDX-License-Identifier: GPL-2.0-or-later
"""B-01, B-26: the half-open connection: what completes it, what ends it, and what must leave it as it is."""

from __future__ import annotations

import pytest

from harness.authoring import ACK, RST, Segment, covers, free, needs, seq, syn_received

ACKNOWLEDGED = ". 1:1(0) ack 1"
"""The empty acknowledgement: SND.NXT, RCV.NXT."""


def completes(peer, listener, rule):
    """The half-open connection is as it was: the third segment opens it, and data flows."""
    peer.expect_state("SYN-RECEIVED", rule=rule)
    listener.expect_none(rule=rule)
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer, rule=rule)
    connection.send(10)
    peer.expect(". 1:11(10) ack 1", rule=rule)


@covers("RFC9293-U-RST-NONSYNC", "SA-SYNRCVD-02", "SA-SYNRCVD-03", "SA-SYNRCVD-22", "SA-SYNRCVD-11", behaviour="B-01",
        tc8="TCP_UNACCEPTABLE_03")
@pytest.mark.parametrize(("segment", "reset", "row"), [
    (". 1:1(0) ack 0", "R 0:0(0)", "SA-SYNRCVD-02"),
    (". 1:1(0) ack 2", "R 2:2(0)", "SA-SYNRCVD-03"),
    ("F. 1:1(0) ack 2", "R 2:2(0)", "SA-SYNRCVD-22"),
    ("S. 0:0(0) ack 2 win 65535 <mss 1460>", "R 2:2(0)", "SA-SYNRCVD-11"),
], ids=["old", "future", "fin", "syn-ack"])
def test_wrong_acknowledgement(peer, listener, segment, reset, row):
    """Anything but ISS+1 is not acknowledged: RST with seq = its ack (RFC 5961: or an ACK); it stays half open."""
    syn_received(peer, listener)
    peer.send(segment)
    peer.expect_one_of([reset, ACKNOWLEDGED], rule=row)
    completes(peer, listener, row)


@covers("RFC9293-U-ACCEPT", "SA-SYNRCVD-04", "SA-SYNRCVD-08", "SA-SYNRCVD-10", "SA-SYNRCVD-18",
        behaviour=("B-01", "B-26"), tc8="TCP_FLAGS_INVALID_07")
@pytest.mark.parametrize(("segment", "row"), [
    (". -100:-100(0) ack 1", "SA-SYNRCVD-04"),
    (". 70001:70001(0) ack 1", "SA-SYNRCVD-04"),
    ("F. -100:-100(0) ack 1", "SA-SYNRCVD-04"),
    ("S -100:-100(0) win 65535 <mss 1460>", "SA-SYNRCVD-08"),
    ("S. 0:0(0) ack 1 win 65535 <mss 1460>", "SA-SYNRCVD-10"),
    ('. -100:-99(1) ack 1 "x"', "SA-SYNRCVD-18"),
], ids=["ack-below", "ack-above", "fin", "syn", "syn-ack", "data"])
def test_outside_the_window(peer, listener, segment, row):
    """What lies outside the window draws an ACK that says what is expected; the connection stays half open."""
    syn_received(peer, listener)
    peer.send(segment)
    peer.expect(ACKNOWLEDGED, rule=row)
    completes(peer, listener, row)


@covers("SA-SYNRCVD-05", "RFC9293-U-ACCEPT", behaviour=("B-01", "B-26"))
def test_syn_again(peer, listener):
    """Our SYN comes twice: the same SYN,ACK again (or a bare ACK), and still one connection."""
    syn_received(peer, listener)
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect_one_of(["S. 0:0(0) ack 1 <mss *>", "S. 0:0(0) ack 1", ACKNOWLEDGED])
    completes(peer, listener, "SA-SYNRCVD-05")
    listener.expect_none()


@free("drop", "late", why="RFC 9293, 3.10.7.4 returns to LISTEN in silence; RFC 793 sent a reset, which says the same")
@covers("RFC9293-U-SYNRCVD-SYN", "SA-SYNRCVD-06", behaviour="B-26", tc8="TCP_FLAGS_PROCESSING_05")
def test_syn_inside_the_window(case, peer, listener):
    """A SYN inside the window: back to LISTEN, silently or with a reset (so an ACK is reset), or a challenge ACK."""
    syn_received(peer, listener)
    peer.send("S 1:1(0) win 65535 <mss 1460>")
    peer.send(". 1:1(0) ack 1")
    reset = Segment(flags=RST | ACK, seq=0, ack=seq.add(peer.iss, 2), payload=b"", options=())
    peer.expect_one_of(["R 1:1(0)", ACKNOWLEDGED], allow=[reset])
    other = case.peer(target_port=listener.port)
    other.send("S 0:0(0) win 65535 <mss 1460>")
    other.expect("S. 0:0(0) ack 1 <...>")


@covers("RFC9293-MUST-11", "RFC9293-U-SYNRCVD-RST", "SA-SYNRCVD-12", behaviour=("B-01", "B-26"),
        tc8=("TCP_UNACCEPTABLE_01", "TCP_FLAGS_PROCESSING_02"))
def test_reset_returns_to_listen(case, peer, listener):
    """RST at RCV.NXT takes a passive opening back to LISTEN: nobody is told, and the next SYN is answered."""
    syn_received(peer, listener)
    peer.send("R 1:1(0)")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    listener.expect_none()
    listener.expect_listening()
    case.forget(peer)
    again = case.peer(target_port=listener.port, local_port=peer.flow.local_port)
    again.send("S 0:0(0) win 65535 <mss 1460>")
    again.expect("S. 0:0(0) ack 1 <...>")


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-SYNRCVD-RST", "RFC5961-3.2-IN", "SA-SYNRCVD-14", behaviour="B-26")
def test_reset_inside_the_window_is_challenged(peer, listener):
    """RST inside the window, not at RCV.NXT: a challenge ACK, and the connection stays half open."""
    syn_received(peer, listener)
    peer.send("R 2:2(0)")
    peer.expect(ACKNOWLEDGED)
    completes(peer, listener, "RFC9293-U-SYNRCVD-RST")


@covers("RFC9293-U-RST-OOW", "SA-SYNRCVD-15", behaviour="B-26", tc8=("TCP_UNACCEPTABLE_02", "TCP_FLAGS_INVALID_15"))
@pytest.mark.parametrize("number", [-100, 70001], ids=["below", "above"])
def test_reset_outside_the_window_is_ignored(peer, listener, number):
    """RST outside the window changes nothing and draws nothing."""
    syn_received(peer, listener)
    peer.send(f"R {number}:{number}(0)")
    peer.expect_silence()
    completes(peer, listener, "RFC9293-U-RST-OOW")


@covers("RFC9293-U-ACK-LESS", "SA-SYNRCVD-19", "SA-SYNRCVD-21", "SA-SYNRCVD-24", behaviour="B-01")
@pytest.mark.parametrize(("segment", "row"), [
    ("P 1:101(100)", "SA-SYNRCVD-19"),
    ("F 1:1(0)", "SA-SYNRCVD-21"),
    ("- 1:1(0)", "SA-SYNRCVD-24"),
], ids=["data", "fin", "null"])
def test_without_ack_is_dropped(peer, listener, segment, row):
    """Whatever lacks the ACK bit is dropped: its data and FIN do not count."""
    syn_received(peer, listener)
    peer.send(segment)
    peer.expect_silence(rule=row)
    completes(peer, listener, row)


@covers("RFC9293-U-FIN-INORDER", "SA-SYNRCVD-20", behaviour="B-01")
def test_third_segment_with_fin(peer, listener):
    """The third segment brings our FIN too: it is acknowledged, and the connection opens into CLOSE-WAIT."""
    syn_received(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    connection = listener.accept(peer)
    peer.expect_state("CLOSE-WAIT")
    connection.expect_end()


@needs("urgent")
@covers("RFC9293-MUST-32", "SA-SYNRCVD-23", behaviour="B-01")
def test_third_segment_with_urgent_data(peer, listener):
    """Urgent data on the third segment is acknowledged, and the connection opens."""
    syn_received(peer, listener)
    peer.send("PU. 1:101(100) ack 1 urg 100")
    peer.expect(". 1:1(0) ack 101", rule="SA-SYNRCVD-23")
    listener.accept(peer)
    peer.expect_state("ESTABLISHED")


@covers("SA-SYNRCVD-17", "RFC5681-RX-OOO", "RFC9293-SHLD-31", "RFC9293-MAY-13", behaviour="B-01")
def test_third_segment_overtaken_by_data(case, peer, listener):
    """The second segment of data comes first: it should draw an ACK, and be kept until the first has come."""
    syn_received(peer, listener)
    overtaking = peer.send(". 101:201(100) ack 1")
    peer.expect_silence(allow=[ACKNOWLEDGED])
    if peer.last is overtaking:
        case.advise(expected=ACKNOWLEDGED, got="nothing", rule="RFC5681-RX-OOO")
    peer.send(". 1:101(100) ack 1")
    kept, thrown_away = ". 1:1(0) ack 201", ". 1:1(0) ack 101"
    answer = peer.expect_one_of([kept, thrown_away])
    if answer.ack == seq.add(peer.iss, 101):
        case.advise(expected=kept, got=thrown_away, rule="RFC9293-SHLD-31")
        peer.send(". 101:201(100) ack 1")
        peer.expect(kept)
    listener.accept(peer).expect_data(200)
