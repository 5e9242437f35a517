# SPDX-License-Identifier: GPL-2.0-or-later
"""B-15: the peer has crashed and is back, and knows nothing of the connection (RFC 9293, 3.5.1, *half-open*)."""

from __future__ import annotations

import pytest

from harness.authoring import OFFER, after, close_wait, covers, established, fin_wait_1, needs, syn_sent
from harness.targets.schedule import first_gap_s, syn_gaps_s

DATA = "P. 1:101(100) ack 1"


@covers("RFC9293-U-HALFOPEN-DATA", "RFC9293-U-RST-EXACT", "RFC9293-MUST-12", "SA-ESTAB-05", behaviour="B-15")
def test_data_meets_a_rebooted_peer(peer, listener):
    """The target's data draws our reset, numbered by its acknowledgement: the application is told, the state is gone."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect(DATA)
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")
    peer.expect_silence()


@covers("RFC9293-U-HALFOPEN-DATA", "RFC9293-MUST-12", behaviour="B-15")
def test_repeated_data_meets_a_rebooted_peer(peer, listener, profile):
    """The first sending meets nobody, the repetition our reset: the target stops repeating, the application is told."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    peer.expect(DATA, after(*first_gap_s(profile)))
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")
    peer.expect_silence(for_s=2 * first_gap_s(profile)[0])


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
    connection.expect_error
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
    connection = established(peer, listener)
    connection.set_option("SO_KEEPALIVE", 1)
    garbage = profile.limit("keepalive_garbage_octets")
    peer.expect(f". 0:{garbage}({garbage}) ack 1", after(profile.timer("keepalive_time_s")), payload=None,
                rule="RFC9293-MUST-24")
    peer.send("R 1:1(0)")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")
    peer.expect_state("CLOSED")


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-HALFOPEN-SYN", "RFC5961-4.2-SYN", "RFC5961-4.2-RST", "RFC9293-MUST-12", "SA-ESTAB-01", "SA-ESTAB-02",
        behaviour="B-15", tc8=())
@pytest.mark.parametrize("number", [1, 1000, 1_000_000_000, -1_000_000_000],
                         ids=["next", "in the window", "ahead", "behind"])
def test_syn_of_a_rebooted_peer(peer, case, listener, number):
    """Its SYN draws an acknowledgement from the old connection; that draws a reset, and then the same SYN connects."""
    connection = established(peer, listener)
    reborn = case.peer  # noqa
