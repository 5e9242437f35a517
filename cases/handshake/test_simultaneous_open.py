# SPDX-License-Identifier: GPL-2.0-or-later
"""B-07: both ends open at the same time: SYN meets SYN, and one connection comes of it (RFC 9293, 3.5, figure 7)."""

from __future__ import annotations

import pytest

from harness.authoring import ACK, RST, SYN, Segment, covers, free, needs, syn_sent

pytestmark = needs("active_open")

OURS = "<mss 1460,wscale 0>"
ACKNOWLEDGED = ". 1:1(0) ack 1"


def crossed(peer, upper):
    """Our SYN has crossed the target's and is answered. Next from us 1, from the target 1."""
    connection, connecting = syn_sent(peer, upper)
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 {OURS}")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.expect_state("SYN-RECEIVED")
    return connection, connecting


@covers("RFC9293-MUST-10", "SA-SYNSENT-07", behaviour="B-07")
def test_syn_meets_syn(peer, upper):
    """A SYN in SYN-SENT draws SYN,ACK with the same number as the target's SYN; connect() still waits.

    No profile can leave this out: simultaneous opening is a MUST.
    """
    _, connecting = syn_sent(peer, upper)
    peer.send(f"S 0:0(0) win 65535 {OURS}")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.expect_state("SYN-RECEIVED")
    connecting.expect_open()


@free("drop", "late", why="RFC 9293, 3.5, figure 7 has no answer to the second SYN,ACK; 3.10.7.4 has an ACK")
@covers("RFC9293-MUST-10", "SA-SYNSENT-07", "SA-SYNRCVD-09", behaviour="B-07", tc8="TCP_BASICS_17")
@needs("simultaneous_open")
def test_four_segments_one_connection(peer, upper):
    """SYN, SYN, SYN,ACK, SYN,ACK: ESTABLISHED on both ends, one connection, which carries data both ways."""
    connection, connecting = syn_sent(peer, upper)
    peer.send(f"S 0:0(0) win 65535 {OURS}")
    peer.expect("S. 0:0(0) ack 1 <...>", rule="SA-SYNSENT-07")
    peer.send(f"S. 0:0(0) ack 1 win 65535 {OURS}")
    peer.expect_silence(allow=[ACKNOWLEDGED])
    peer.expect_state("ESTABLISHED")
    connecting.expect("done")
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")
    peer.send(". 1:101(100) ack 101")
    peer.expect(". 101:101(0) ack 101")
    connection.expect_data(100)


@covers("SA-SYNRCVD-01", "RFC9293-MUST-10", behaviour="B-07")
@needs("simultaneous_open")
def test_plain_ack_completes(peer, upper):
    """Our half may also be completed by a plain ACK of the target's SYN."""
    connection, connecting = crossed(peer, upper)
    peer.send(". 1:1(0) ack 1")
    peer.expect_silence()
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")


@covers("SA-SYNSENT-08", "RFC9293-U-SYNDATA", "RFC9293-MUST-10", behaviour="B-07")
@needs("simultaneous_open")
def test_crossing_syn_with_data(peer, upper):
    """Data on the crossing SYN waits: acknowledged at once or when it comes again, and delivered once."""
    connection, connecting = syn_sent(peer, upper)
    peer.send(f"S 0:100(100) win 65535 {OURS}")
    peer.expect_one_of(["S. 0:0(0) ack 1 <...>", "S. 0:0(0) ack 101 <...>"])
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connecting.expect("done")
    connection.expect_data(100, rule="RFC9293-U-SYNDATA")
    connection.expect_no_data(rule="RFC9293-U-SYNDATA")


@covers("SA-SYNSENT-09", "RFC9293-MUST-10", behaviour="B-07")
@needs("simultaneous_open")
def test_crossing_syn_with_fin(peer, upper):
    """SYN,FIN is answered as a SYN, or dropped: the SYN that follows draws the SYN,ACK; connect() still waits."""
    answer = "S. 0:0(0) ack 1 <...>"
    _, connecting = syn_sent(peer, upper)
    fused = peer.send(f"SF 0:0(0) win 65535 {OURS}")
    peer.expect_silence(allow=[answer])
    answered = peer.last is not fused
    peer.send(f"S 0:0(0) win 65535 {OURS}")
    peer.expect_one_of([answer, ACKNOWLEDGED] if answered else [answer])
    peer.expect_silence()
    peer.expect_state("SYN-RECEIVED")
    connecting.expect_open()


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-SYN-CHALLENGE", "SA-SYNRCVD-07", behaviour=("B-07", "B-26"))
@needs("simultaneous_open")
def test_another_syn_is_challenged(case, peer, upper):
    """A second SYN inside the window draws a challenge ACK; the crossed opening goes on.

    RFC 793 had a reset; who still does may begin anew at once, with a SYN.
    """
    _, connecting = crossed(peer, upper)
    peer.send("S 1:1(0) win 65535 <mss 1460>")
    answer = peer.expect_one_of([ACKNOWLEDGED, Segment(flags=RST | ACK), Segment(flags=RST)])
    if answer.has(RST):
        peer.expect_silence(allow=[Segment(flags=SYN)])
        raise case.mismatch(expected=ACKNOWLEDGED, got="a reset", fields=("flags",))
    peer.expect_state("SYN-RECEIVED")
    peer.send(". 1:1(0) ack 1")
    connecting.expect("done")


@covers("RFC9293-MUST-11", "SA-SYNRCVD-13", behaviour="B-07")
@needs("simultaneous_open")
def test_reset_ends_the_attempt(peer, upper):
    """SYN-RECEIVED out of an active opening has no LISTEN to return to: RST ends it and connect(); nothing is left."""
    _, connecting = crossed(peer, upper)
    peer.send("R 1:1(0)")
    peer.expect_state("CLOSED")
    connecting.expect("ECONNREFUSED|ECONNRESET")
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)")


@covers("SA-SYNRCVD-13", behaviour="B-07")
@needs("simultaneous_open")
def test_reset_is_told_as_refusal(peer, upper):
    """The application is told of that reset as "connection refused", since it is its own attempt that ends."""
    _, connecting = crossed(peer, upper)
    peer.send("R 1:1(0)")
    peer.expect_silence()
    connecting.expect("ECONNREFUSED")


@covers("RFC9293-U-RST-NONSYNC", "SA-SYNRCVD-02", "SA-SYNRCVD-03", behaviour="B-07")
@pytest.mark.parametrize(("wrong", "row"), [(0, "SA-SYNRCVD-02"), (2, "SA-SYNRCVD-03")], ids=["old", "future"])
@needs("simultaneous_open")
def test_wrong_acknowledgement(peer, upper, wrong, row):
    """A wrong acknowledgement draws RST with seq = its ack (RFC 5961: or an ACK); the crossed opening goes on."""
    _, connecting = crossed(peer, upper)
    peer.send(f". 1:1(0) ack {wrong}")
    peer.case.sentinel()
    connecting.expect_open(rule=row)
    peer.expect_state("SYN-RECEIVED", rule=row)
    peer.expect_one_of([f"R {wrong}:{wrong}(0)", ACKNOWLEDGED], rule=row)
    peer.send(". 1:1(0) ack 1")
    connecting.expect("done", rule=row)


@needs("window_scaling")
@covers("RFC7323-WS-3", "RFC9293-SHLD-14", "SA-SYNSENT-07", behaviour="B-07")
@needs("simultaneous_open")
def test_no_scale_unless_both_offered(case, peer, upper):
    """Our crossing SYN offers no window scale: the target's windows count octets, as that of its SYN,ACK does."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    answer = peer.expect("S. 0:0(0) ack 1 <...>", rule="SA-SYNSENT-07")
    peer.send(". 1:1(0) ack 1")
    connecting.expect("done", rule="SA-SYNSENT-07")
    peer.expect_state("ESTABLISHED", rule="SA-SYNSENT-07")
    connection.send(10)
    said = peer.expect(". 1:11(10) ack 1", rule="SA-SYNSENT-07")
    if not said.window or said.window < answer.window // 2:
        raise case.mismatch(expected=f"win {answer.window}, since nothing has been received", got=f"win {said.window}",
                            fields=("window",))
