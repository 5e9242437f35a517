# SPDX-License-Identifier: GPL-2.0-or-later
"""B-02: the target waits for our SYN,ACK: what ends the attempt, and what must leave it as it is.

A target may repeat its SYN as soon as it has seen a wrong acknowledgement; that is its retransmission, not an answer.
Before that it has nothing to repeat.
"""

from __future__ import annotations

import pytest

from harness.authoring import covers, free, needs, syn_sent

pytestmark = needs("active_open")

SYN_AGAIN = "S 0:0(0) <...>"


def completes(peer, connecting, rule):
    """The attempt is as it was: our SYN,ACK draws the third segment, and connect() returns."""
    peer.expect_state("SYN-SENT", rule=rule)
    connecting.expect_open(rule=rule)
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1", allow=[SYN_AGAIN], rule=rule)
    connecting.expect("done", rule=rule)


@covers("RFC9293-U-RST-NONSYNC", "SA-SYNSENT-02", "SA-SYNSENT-03", "SA-SYNSENT-11", "SA-SYNSENT-12", "SA-SYNSENT-16",
        "RFC9293-U-SYNSENT-EARLYACK", behaviour=("B-02", "B-26"), tc8="TCP_UNACCEPTABLE_08")
@pytest.mark.parametrize(("segment", "reset", "row"), [
    ("S. 0:0(0) ack 0 win 65535 <mss 1460>", "R 0:0(0)", "SA-SYNSENT-02"),
    ("S. 0:0(0) ack 2 win 65535 <mss 1460>", "R 2:2(0)", "SA-SYNSENT-03"),
    (". 1:1(0) ack 0", "R 0:0(0)", "SA-SYNSENT-11"),
    (". 1:1(0) ack 2", "R 2:2(0)", "SA-SYNSENT-12"),
    ("F. 1:1(0) ack 0", "R 0:0(0)", "SA-SYNSENT-16"),
    ("F. 1:1(0) ack 2", "R 2:2(0)", "SA-SYNSENT-16"),
], ids=["syn-ack-old", "syn-ack-future", "ack-old", "ack-future", "fin-old", "fin-future"])
def test_wrong_acknowledgement_is_reset(peer, upper, segment, reset, row):
    """An acknowledgement of anything but the SYN draws RST with seq = its ack; the attempt goes on."""
    _, connecting = syn_sent(peer, upper)
    peer.expect_silence()
    peer.send(segment)
    peer.expect(reset, allow=[SYN_AGAIN], rule=row)
    completes(peer, connecting, row)


@covers("RFC9293-U-SYNSENT-EARLYACK", "SA-SYNSENT-10", "SA-SYNSENT-13", "SA-SYNSENT-15", "SA-SYNSENT-18",
        behaviour="B-02", tc8=("TCP_FLAGS_INVALID_06", "TCP_FLAGS_PROCESSING_08"))
@pytest.mark.parametrize(("segment", "row"), [
    (". 1:1(0) ack 1", "SA-SYNSENT-10"),
    (". 1:101(100) ack 1", "SA-SYNSENT-13"),
    ("F. 1:1(0) ack 1", "SA-SYNSENT-15"),
    ("U. 1:1(0) ack 1 urg 1", "SA-SYNSENT-18"),
], ids=["ack", "data", "fin", "urg"])
def test_right_acknowledgement_without_syn_is_dropped(peer, upper, segment, row):
    """The right acknowledgement opens nothing without a SYN: dropped in silence, the attempt goes on."""
    _, connecting = syn_sent(peer, upper)
    peer.expect_silence()
    peer.send(segment)
    peer.expect_silence(allow=[SYN_AGAIN], rule=row)
    completes(peer, connecting, row)


@covers("SA-SYNSENT-14", "SA-SYNSENT-17", "SA-SYNSENT-23", behaviour="B-02",
        tc8=("TCP_FLAGS_INVALID_06", "TCP_FLAGS_PROCESSING_08"))
@pytest.mark.parametrize(("segment", "row"), [
    ("P 1:101(100)", "SA-SYNSENT-14"),
    ("F 1:1(0)", "SA-SYNSENT-17"),
    ("- 1:1(0)", "SA-SYNSENT-23"),
], ids=["data", "fin", "null"])
def test_neither_syn_nor_ack_is_dropped(peer, upper, segment, row):
    """Without SYN, ACK and RST a segment is dropped in silence; the attempt goes on."""
    _, connecting = syn_sent(peer, upper)
    peer.expect_silence()
    peer.send(segment)
    peer.expect_silence(allow=[SYN_AGAIN], rule=row)
    completes(peer, connecting, row)


@free("errno", why="RFC 9293, 3.10.7.3 has the application told, and names of errors are the socket API's")
@covers("RFC9293-U-SYNSENT-RST", "RFC5961-3.2-SYNSENT", "SA-SYNSENT-19", "SA-SYNSENT-22", behaviour="B-02",
        tc8="TCP_FLAGS_INVALID_05")
@pytest.mark.parametrize(("segment", "row"), [
    ("R. 0:0(0) ack 1", "SA-SYNSENT-19"),
    ("R. 5000:5000(0) ack 1", "SA-SYNSENT-19"),
    ("SR. 0:0(0) ack 1 win 65535 <mss 1460>", "SA-SYNSENT-22"),
], ids=["rst-ack", "any-number", "syn-rst-ack"])
def test_reset_refuses(peer, upper, segment, row):
    """RST that acknowledges the SYN ends the attempt, whatever its number, and nothing is left.

    What RFC 9293, 3.10.7.3 calls "connection reset" most socket APIs call a refusal.
    """
    _, connecting = syn_sent(peer, upper)
    peer.send(segment)
    connecting.expect("ECONNREFUSED|ECONNRESET", rule=row)
    peer.expect_state("CLOSED", rule=row)
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", rule=row)


@covers("RFC9293-U-SYNSENT-RST", "RFC5961-3.2-SYNSENT", "SA-SYNSENT-20", "SA-SYNSENT-21", behaviour="B-02",
        tc8=("TCP_FLAGS_INVALID_03", "TCP_FLAGS_INVALID_04"))
@pytest.mark.parametrize(("segment", "row"), [
    ("R. 0:0(0) ack 0", "SA-SYNSENT-20"),
    ("R. 0:0(0) ack 2", "SA-SYNSENT-20"),
    ("R 0:0(0)", "SA-SYNSENT-21"),
], ids=["old-ack", "future-ack", "no-ack"])
def test_other_reset_is_ignored(peer, upper, segment, row):
    """RST that does not acknowledge the SYN is dropped in silence; the attempt goes on."""
    _, connecting = syn_sent(peer, upper)
    peer.expect_silence()
    peer.send(segment)
    peer.expect_silence(allow=[SYN_AGAIN], rule=row)
    completes(peer, connecting, row)
