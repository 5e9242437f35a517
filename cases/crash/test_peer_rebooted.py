# SPDX-License-Identifier: GPL-2.0-or-later
"""B-15: the peer has crashed and is back, and knows nothing of the connection (RFC 9293, 3.5.1, *half-open*)."""

from __future__ import annotations

import pytest

from harness.authoring import (
    OFFER,
    after,
    close_wait,
    covers,
    established,
    fin_wait_1,
    free,
    kept_alive,
    needs,
    seconds_between,
    syn_sent,
)
from harness.targets.schedule import doubled_s, first_gap_s, over_s, syn_gaps_s

DATA = "P. 1:101(100) ack 1"


@covers("RFC9293-U-HALFOPEN-DATA", "RFC9293-U-RST-EXACT", "RFC9293-MUST-12", "SA-ESTAB-05", behaviour="B-15")
def test_data_meets_a_rebooted_peer(peer, listener):
    """The target's data draws our reset, numbered by its acknowledgement: the application is told."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect(DATA)
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")
    peer.expect_silence()


@covers("RFC9293-U-HALFOPEN-DATA", "RFC9293-MUST-12", behaviour="B-15")
def test_repeated_data_meets_a_rebooted_peer(peer, listener, profile):
    """Two sendings meet nobody, the next our reset: that ends repeating, the application is told."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    last = peer.expect(DATA, after(*doubled_s(profile, seconds_between(sent, again))))
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")
    peer.expect_silence(for_s=doubled_s(profile, seconds_between(again, last))[1])


@covers("RFC9293-U-HALFOPEN-DATA", behaviour="B-15")
def test_nothing_can_be_sent_after_the_reset(peer, listener):
    """After the reset the application is told of it once; from then on the connection cannot be used."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect(DATA)
    peer.send("R 1:1(0)")
    peer.expect_state("CLOSED")
    connection.expect_pending_error("ECONNRESET")
    connection.expect_send_error("EPIPE")
    peer.expect_silence()


@covers("RFC9293-U-HALFOPEN-DATA", "SA-CLOSEWAIT-05", behaviour="B-15")
def test_reset_reaches_close_wait(peer, listener):
    """Our FIN had come before the crash; what the target sends in CLOSE-WAIT draws our reset: the state is gone."""
    connection = close_wait(peer, listener)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 2")
    peer.send("R 2:2(0)")
    peer.expect_state("CLOSED")
    peer.expect_silence()


@covers("RFC9293-U-HALFOPEN-DATA", "SA-FINWAIT1-05", behaviour="B-15")
def test_fin_meets_a_rebooted_peer(peer, listener):
    """The target closes, and its FIN draws our reset: there is nobody to wait for, and the state is gone."""
    fin_wait_1(peer, listener)
    peer.send("R 1:1(0)")
    peer.expect_state("CLOSED")
    peer.expect_silence()


@needs("keepalive")
@covers("RFC9293-U-HALFOPEN-DATA", "RFC9293-MUST-24", "RFC9293-MUST-12", behaviour=("B-15", "B-13"))
def test_probe_meets_a_rebooted_peer(peer, listener, profile):
    """The connection is idle; keepalive is what finds out: its probe draws our reset, and the application is told."""
    connection = kept_alive(peer, listener)
    garbage = profile.limit("keepalive_garbage_octets")
    peer.expect(f". 0:{garbage}({garbage}) ack 1", after(profile.timer("keepalive_time_s")),
                rule="RFC9293-MUST-24")
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")


def syn_of_a_rebooted_peer(peer, case, listener, number):
    """A SYN from our end of an established connection, and all that comes of it."""
    connection = established(peer, listener)
    peer.send(f"S {number}:{number}(0) win 65535 {OFFER}")
    peer.expect(". 1:1(0) ack 1")
    connection.expect_pending_error("")
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-U-HALFOPEN-SYN")
    peer.expect_state("CLOSED", rule="RFC9293-U-HALFOPEN-SYN")
    case.forget(peer)
    reborn = case.peer(local_port=peer.flow.local_port, target_port=listener.port, iss=(peer.iss + number) % 2**32)
    reborn.send(f"S 0:0(0) win 65535 {OFFER}")
    reborn.expect("S. 0:0(0) ack 1 <mss *>", rule="RFC9293-U-HALFOPEN-SYN")
    reborn.send(". 1:1(0) ack 1")
    listener.accept(reborn)


@covers("RFC9293-U-HALFOPEN-SYN", "RFC5961-4.2-SYN", "RFC5961-4.2-RST", "SA-ESTAB-02", behaviour="B-15")
@pytest.mark.parametrize("number", [1_000_000_000, -1_000_000_000], ids=["ahead", "behind"])
def test_syn_outside_the_window(peer, case, listener, number):
    """The SYN draws an acknowledgement by the old connection, that draws our reset, and then the SYN connects."""
    syn_of_a_rebooted_peer(peer, case, listener, number)


@needs("rfc5961_challenge_acks")
@covers("RFC5961-4.2-SYN", "RFC9293-U-HALFOPEN-SYN", "RFC5961-4.2-RST", "SA-ESTAB-01", behaviour="B-15")
@pytest.mark.parametrize("number", [1, 1000], ids=["next", "further"])
def test_syn_inside_the_window(peer, case, listener, number):
    """By chance the SYN is in the window: it draws the same acknowledgement, the same reset, and connects then."""
    syn_of_a_rebooted_peer(peer, case, listener, number)


@free("drop", "late", why="RFC 9293, 3.5.1 has the SYN sent again, and leaves it open whether at once or by the timer")
@covers("RFC9293-U-RST-NONSYNC", "RFC9293-U-SYNSENT-EARLYACK", "SA-SYNSENT-11", behaviour="B-15")
def test_rebooted_target_resets_our_old_connection(peer, upper, profile):
    """It is the target that came back: our end still acknowledges the old connection, and that draws a reset.

    The attempt lives on, and the next SYN connects (RFC 9293, figure 9).
    """
    _, connecting = syn_sent(peer, upper)
    peer.send(". 5000:5000(0) ack -1000")
    peer.expect("R -1000:-1000(0)")
    peer.expect_state("SYN-SENT")
    connecting.expect_open()
    peer.count_repeats()
    peer.expect("S 0:0(0) <...>", after(0.0, over_s(profile, syn_gaps_s(profile)[0]), since=peer.last))
    peer.send(f"S. 0:0(0) ack 1 win 65535 {OFFER}")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")
