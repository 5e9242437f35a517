# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: SACK is agreed on in the two SYNs or not at all (RFC 2018, sections 2 to 4)."""

from __future__ import annotations

from harness.authoring import connected, covers, established, needs, syn_sent

OFFER = "<mss 1460,nop,nop,sackOK>"


@covers("RFC2018-PERM-1", "SA-LISTEN-01", behaviour="B-06")
@needs("sack")
def test_offer_is_answered(peer, listener):
    """A SYN with SACK-Permitted draws a SYN,ACK with it."""
    peer.send(f"S 0:0(0) win 65535 {OFFER}")
    peer.expect("S. 0:0(0) ack 1 <mss *,sackOK>")


@covers("RFC2018-PERM-1", "SA-LISTEN-01", behaviour="B-06")
def test_no_offer_is_not_answered(peer, listener):
    """A SYN without SACK-Permitted draws a SYN,ACK without it, though it offers all the rest."""
    peer.send("S 0:0(0) win 65535 <mss 1460,TS val 1000 ecr 0,nop,wscale 7>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,...>")
    if answer.option(4) is not None:
        raise peer.case.mismatch(expected="no SACK-Permitted", got="SACK-Permitted", fields=("options",))


@covers("RFC2018-PERM-2", behaviour="B-06")
@needs("sack")
def test_agreed_sack_is_used(peer, listener):
    """With both sides' consent, data beyond a hole is reported in a SACK block; once it is filled there is none."""
    connection = established(peer, listener, offer=OFFER)
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 1 <sack 101:201>")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(200)


@covers("RFC2018-PERM-2", behaviour="B-06")
def test_no_blocks_without_an_offer(peer, listener):
    """Without our SACK-Permitted a hole draws a duplicate acknowledgement without blocks."""
    connection = established(peer, listener)
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 1")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(200)


@covers("RFC2018-PERM-2", "RFC2018-PERM-1", behaviour="B-06")
def test_permission_outside_a_syn_permits_nothing(peer, listener):
    """SACK-Permitted in a later segment is no consent: no blocks afterwards."""
    established(peer, listener)
    peer.send("P. 1:11(10) ack 1 <nop,nop,sackOK>")
    peer.expect(". 1:1(0) ack 11")
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 11")
    peer.expect_silence()


@covers("RFC2018-PERM-1", behaviour="B-06")
@needs("active_open", "sack")
def test_syn_offers_it(peer, upper):
    """The SYN of an active opener that has SACK offers it."""
    _, connecting = upper.connect(peer)
    peer.expect("S 0:0(0) <mss *,sackOK,...>")
    connecting.expect_open()


@covers("RFC2018-PERM-2", behaviour="B-06")
@needs("active_open", "sack")
def test_active_opener_uses_it_if_answered(peer, upper):
    """Our SYN,ACK with SACK-Permitted makes the target report holes in blocks."""
    connected(peer, upper, offer=OFFER)
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 1 <sack 101:201>")


@covers("RFC2018-PERM-2", behaviour="B-06")
@needs("active_open")
def test_active_opener_does_without_if_not_answered(peer, upper):
    """Our SYN,ACK without SACK-Permitted: what the target offered is void."""
    connected(peer, upper)
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 1")
    peer.expect_silence()


@covers("RFC2018-PERM-1", behaviour="B-06")
@needs("active_open", "sack")
def test_third_segment_does_not_repeat_it(peer, upper):
    """SACK-Permitted stands in the SYN alone, not in the ACK that completes the handshake."""
    _, connecting = syn_sent(peer, upper)
    peer.send(f"S. 0:0(0) ack 1 win 65535 {OFFER}")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
