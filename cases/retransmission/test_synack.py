# SPDX-License-Identifier: GPL-2.0-or-later
"""B-09: the third segment is withheld; SYN,ACK is repeated, and then the half-open entry is dropped (RFC 4987)."""

from __future__ import annotations

from harness.authoring import Kind, after, covers, needs, syn_received
from harness.targets.schedule import over_s, synack_gaps_s

SYN_ACK = "S. 0:0(0) ack 1 <...>"


@covers("RFC9293-MUST-20", "RFC4987-RETX", "RFC4987-TIMER", "RFC9293-U-RST-NONSYNC", "SA-LISTEN-07", behaviour="B-09")
def test_half_open_connection_is_dropped(peer, listener, profile):
    """SYN,ACK comes as often and as late as the profile says; then the entry is gone: our late ACK draws a reset."""
    syn_received(peer, listener)
    peer.count_repeats()
    gaps = synack_gaps_s(profile)
    for gap in gaps[:-1]:
        peer.expect(SYN_ACK, after(gap))
    nearly_over = 0.75 * gaps[-1]
    peer.expect_silence(for_s=nearly_over)
    peer.expect_state("SYN-RECEIVED")
    peer.expect_silence(for_s=over_s(profile, gaps[-1]) - nearly_over)
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 1")
    peer.expect("R 1:1(0)", rule="RFC9293-U-RST-NONSYNC")
    listener.expect_none()
    listener.expect_listening()


@covers("RFC9293-MUST-20", "RFC4987-RETX", "SA-SYNRCVD-01", behaviour="B-09")
def test_ack_of_a_repeated_syn_ack_connects(peer, listener, profile):
    """The first SYN,ACK is lost, the second acknowledged: the application gets its connection, and no third comes."""
    syn_received(peer, listener)
    peer.count_repeats()
    peer.expect(SYN_ACK, after(synack_gaps_s(profile)[0]))
    listener.expect_none()
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    peer.expect_state("ESTABLISHED")


@needs("sack", "timestamps", "window_scaling")
@covers("RFC7323-WS-5", "RFC4987-RETX", behaviour="B-09")
def test_repeated_syn_ack_agrees_to_the_same(peer, listener, profile):
    """What the first SYN,ACK agreed to, the second agrees to: window, MSS, SACK, time stamps and the same scale."""
    syn_received(peer, listener, offer="<mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>")
    peer.count_repeats()
    first = peer.last
    mss, scale = first.option(Kind.MSS).value, first.option(Kind.WINDOW_SCALE).value
    peer.expect(f"S. 0:0(0) ack 1 win {first.window} <mss {mss},sackOK,TS val * ecr 1,nop,wscale {scale}>",
                after(synack_gaps_s(profile)[0]))
