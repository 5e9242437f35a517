# SPDX-License-Identifier: GPL-2.0-or-later
"""B-26: a SYN that is not of this connection: a stale one, or one of a peer that has forgotten (RFC 9293, 3.5)."""

from __future__ import annotations

import pytest

from harness.authoring import covers, established, needs


@covers("RFC9293-U-OLDSYN", "SA-LISTEN-01", "SA-SYNRCVD-12", behaviour="B-26", tc8="TCP_CONTROL_FLAGS_08")
def test_old_syn_then_the_real_one(case, peer, listener):
    """A stale SYN is answered, our RST returns the target to LISTEN, and the real SYN connects (figure 8)."""
    stale = peer
    stale.send("S 0:0(0) win 65535 <mss 1460>")
    stale.expect("S. 0:0(0) ack 1 <...>")
    stale.send("R 1:1(0)")
    stale.expect_silence()
    listener.expect_listening()
    listener.expect_none()
    case.forget(stale)
    real = case.peer(target_port=listener.port, local_port=stale.flow.local_port, iss=0)
    real.send("S 0:0(0) win 65535 <mss 1460>")
    real.expect("S. 0:0(0) ack 1 <...>")
    real.send(". 1:1(0) ack 1")
    connection = listener.accept(real)
    connection.send(10)
    real.expect(". 1:11(10) ack 1")


@covers("RFC9293-U-OLDSYN", "SA-LISTEN-06", behaviour="B-26", tc8="TCP_UNACCEPTABLE_07")
def test_old_syn_ack_at_a_listener(peer, listener):
    """A stale SYN,ACK draws a reset, and the real SYN of the same four-tuple connects."""
    peer.send("S. -5000:-5000(0) ack 300 win 65535 <mss 1460>")
    peer.expect("R 300:300(0)", rule="SA-LISTEN-06")
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    peer.expect_state("ESTABLISHED")


@needs("rfc5961_challenge_acks")
@covers("RFC5961-4.2-SYN", "RFC9293-U-SYN-CHALLENGE", "SA-ESTAB-01", behaviour="B-26")
@pytest.mark.parametrize("number", [1, 1000], ids=["next", "inside"])
def test_syn_inside_the_window_is_challenged(peer, listener, number):
    """A SYN inside the window of an open connection draws a challenge ACK, and the connection lives."""
    connection = established(peer, listener)
    peer.send(f"S {number}:{number}(0) win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)


@covers("RFC9293-U-HALFOPEN-SYN", "SA-ESTAB-02", "RFC5961-4.2-SYN", behaviour="B-26", tc8="TCP_UNACCEPTABLE_06")
@pytest.mark.parametrize("number", [0, -5000, 100_000], ids=["first", "below", "above"])
def test_syn_outside_the_window_is_acknowledged(peer, listener, number):
    """The SYN of this connection again, or one outside the window, draws an ACK, and the connection lives."""
    connection = established(peer, listener)
    peer.send(f"S {number}:{number}(0) win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1", rule="SA-ESTAB-02")
    peer.expect_state("ESTABLISHED")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)


@needs("rfc5961_challenge_acks")
@covers("RFC5961-4.2-SYN", "SA-ESTAB-03", "SA-ESTAB-04", behaviour="B-26")
@pytest.mark.parametrize(("number", "row"), [(1, "SA-ESTAB-03"), (0, "SA-ESTAB-04")], ids=["inside", "first"])
def test_syn_ack_is_challenged(peer, listener, number, row):
    """A SYN,ACK on an open connection, stale or forged, draws a challenge ACK, and the connection lives."""
    connection = established(peer, listener)
    peer.send(f"S. {number}:{number}(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1", rule=row)
    peer.expect_state("ESTABLISHED", rule=row)
    connection.send(10)
    peer.expect(". 1:11(10) ack 1", rule=row)


@covers("RFC9293-U-HALFOPEN-SYN", "RFC5961-4.2-RST", "SA-ESTAB-05", behaviour="B-26")
def test_forgotten_connection_gives_way(case, peer, listener):
    """A peer that crashed opens anew: ACK of the old connection, our RST ends it, and the SYN then connects."""
    old = established(peer, listener)
    peer.send("S 100000:100000(0) win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    peer.send("R 1:1(0)")
    old.expect_error("ECONNRESET", rule="RFC5961-4.2-RST")
    peer.expect_state("CLOSED", rule="RFC5961-4.2-RST")
    case.forget(peer)
    anew = case.peer(target_port=listener.port, local_port=peer.flow.local_port)
    anew.send("S 0:0(0) win 65535 <mss 1460>")
    anew.expect("S. 0:0(0) ack 1 <...>")
    anew.send(". 1:1(0) ack 1")
    listener.accept(anew)
