# SPDX-License-Identifier: GPL-2.0-or-later
"""B-08: a SYN that nobody answers is repeated, and in the end the attempt fails (RFC 9293, 3.8.3; RFC 6298)."""

from __future__ import annotations

import pytest

from harness.authoring import OFFER, after, covers, default_timers, seconds_between, slow, syn_sent
from harness.targets.schedule import over_s, syn_gaps_s

DATA = "P. 1:101(100) ack 1"
LEAST_R2_S = 180.0
LEAST_INITIAL_RTO_S = 1.0
RTO_AFTER_LOST_SYN_S = 3.0


@covers("RFC9293-MUST-22", "RFC1122-SYNRETX", "RFC9293-U-RST-CLOSED-ACK", "SA-CLOSED-04", behaviour="B-08",
        tc8="TCP_RETRANSMISSION_TO_05")
def test_syn_is_repeated_until_connect_fails(peer, upper, profile):
    """As many SYNs of one number as the profile says, at its gaps; then connect() fails, and nothing is left."""
    _, connecting = syn_sent(peer, upper)
    peer.count_repeats()
    gaps = syn_gaps_s(profile)
    for gap in gaps[:-1]:
        peer.expect("S 0:0(0) <...>", after(gap))
    connecting.expect_open()
    connecting.expect("ETIMEDOUT", after(gaps[-1], since=peer.last))
    peer.expect_state("CLOSED")
    peer.send(f"S. 0:0(0) ack 1 win 65535 {OFFER}")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@covers("RFC9293-MUST-22", "SA-SYNSENT-01", behaviour="B-08")
def test_answer_to_a_repeated_syn_connects(peer, upper, profile):
    """The first SYN is lost, the second answered: connect() succeeds, and no third one comes."""
    _, connecting = syn_sent(peer, upper)
    peer.count_repeats()
    peer.expect("S 0:0(0) <...>", after(syn_gaps_s(profile)[0]))
    connecting.expect_open()
    peer.send(f"S. 0:0(0) ack 1 win 65535 {OFFER}")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")


@covers("RFC6298-INIT", "RFC8961-INIT", behaviour="B-08", tc8="TCP_RETRANSMISSION_TO_06")
@default_timers("initial_rto_s")
def test_first_wait_is_a_second_at_least(peer, upper, profile):
    """With nothing known of the path, the second SYN comes no sooner than one second after the first."""
    _, connecting = syn_sent(peer, upper)
    peer.count_repeats()
    latest = over_s(profile, max(LEAST_INITIAL_RTO_S, profile.timer("initial_rto_s")))
    peer.expect("S 0:0(0) <...>", after(LEAST_INITIAL_RTO_S, latest))
    connecting.expect_open()


@covers("RFC6298-SYN3", behaviour="B-08")
def test_data_waits_three_seconds_after_a_lost_syn(peer, upper, profile):
    """The SYN had to be repeated, so nothing is known of the path: data is repeated after 3 s, not after less."""
    if profile.timer("initial_rto_s") >= RTO_AFTER_LOST_SYN_S:
        pytest.skip("not applicable: the initial time-out is no shorter than 3 s")
    connection, connecting = syn_sent(peer, upper)
    with peer.case.preamble():
        peer.expect("S 0:0(0) <...>", within_s=2 * syn_gaps_s(profile)[0])
        connecting.expect_open()
        peer.send(f"S. 0:0(0) ack 1 win 65535 {OFFER}")
        peer.expect(". 1:1(0) ack 1")
        connecting.expect("done")
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    peer.expect(DATA, after(RTO_AFTER_LOST_SYN_S))


@slow
@default_timers("syn_retries", "syn_linear_timeouts", "initial_rto_s")
@covers("RFC9293-MUST-23", behaviour="B-08")
def test_connect_is_tried_for_three_minutes(peer, upper, profile):
    """R2 of a SYN is three minutes at least: until then connect() has not failed."""
    _, connecting = syn_sent(peer, upper)
    peer.count_repeats()
    first, more = peer.last, 0
    for gap in syn_gaps_s(profile)[:-1]:
        if seconds_between(first, peer.last) + over_s(profile, gap) > LEAST_R2_S:
            more = 1
            break
        peer.expect("S 0:0(0) <...>", after(gap))
    peer.expect_silence(for_s=LEAST_R2_S - seconds_between(first, peer.last), allow=["S 0:0(0) <...>"] * more)
    connecting.expect_open()
