# SPDX-License-Identifier: GPL-2.0-or-later
"""B-09: the third segment is withheld; SYN,ACK is repeated, and then the half-open entry is dropped (RFC 4987)."""

from __future__ import annotations

import pytest

from harness.authoring import Kind, after, covers, established, free, needs, syn_received
from harness.targets.schedule import over_s, synack_gaps_s

SYN_ACK = "S. 0:0(0) ack 1 <...>"
GIVEN_UP = "R. 1:1(0) ack 1"


def unanswered(peer, profile):
    """Let each SYN,ACK come, and the entry go; who gives up may say so with a reset."""
    peer.count_repeats()
    *gaps, last = synack_gaps_s(profile)
    for gap in gaps:
        peer.expect(SYN_ACK, after(gap))
    peer.expect_silence(for_s=over_s(profile, last), allow=[GIVEN_UP])
    peer.expect_state("CLOSED")


@free("invent-rst", why="RFC 9293, 3.8.3 has no word on whether who gives up a half-open connection resets it")
@covers("RFC9293-MUST-20", "RFC4987-RETX", "RFC4987-TIMER", "RFC9293-U-RST-NONSYNC", "SA-LISTEN-07", behaviour="B-09")
def test_half_open_connection_is_dropped(peer, listener, profile):
    """SYN,ACK comes as often and as late as the profile says; then the entry is gone: our late ACK draws a reset."""
    syn_received(peer, listener)
    peer.count_repeats()
    gaps = synack_gaps_s(profile)
    for gap in gaps[:-1]:
        peer.expect(SYN_ACK, after(gap))
    peer.expect_to_last("SYN-RECEIVED", after(gaps[-1]))
    peer.expect_silence(allow=[GIVEN_UP])
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-RST-NONSYNC", form="RFC9293-U-RST-NONSYNC")
    listener.expect_none()
    listener.expect_listening()


@covers("SA-LISTEN-07", "SA-LISTEN-06", "RFC9293-U-RST-NONSYNC", "RFC9293-U-RST-NO-RST", behaviour="B-09")
@pytest.mark.parametrize(("segment", "answer"), [
    (". 1:1(0) ack 1", "R 1:1(0)"),
    ("P. 1:101(100) ack 1", "R 1:1(0)"),
    ("F. 1:1(0) ack 1", "R 1:1(0)"),
    ("R 1:1(0)", ""),
], ids=["ack", "data", "fin", "rst"])
def test_what_comes_after_the_end_opens_nothing(case, peer, listener, profile, segment, answer):
    """The half-open entry is gone: what acknowledges it is reset, nobody is connected, and a new SYN connects."""
    with case.preamble():
        syn_received(peer, listener)
        unanswered(peer, profile)
    peer.send(segment)
    if answer:
        peer.expect(answer)
    peer.expect_silence()
    listener.expect_none()
    case.forget(peer)
    established(case.peer(target_port=listener.port, local_port=peer.flow.local_port), listener)


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
    with peer.case.preamble():
        peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>")
        first = peer.expect("S. 0:0(0) ack 1 <mss *,sackOK,TS val * ecr 1,nop,wscale *>")
    peer.count_repeats()
    mss, scale = first.option(Kind.MSS).value, first.option(Kind.WINDOW_SCALE).value
    peer.expect(f"S. 0:0(0) ack 1 win {first.window} <mss {mss},sackOK,TS val * ecr 1,nop,wscale {scale}>",
                after(synack_gaps_s(profile)[0]))
