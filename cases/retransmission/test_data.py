# SPDX-License-Identifier: GPL-2.0-or-later
"""B-14: when data is sent again, and how the waits grow (RFC 6298). Where it ends: crash/peer_gone."""

from __future__ import annotations

import pytest

from harness.authoring import OFFER, after, covers, default_timers, established, fin_wait_1, seconds_between, slow
from harness.targets.schedule import doubled_s, first_gap_s, over_s, repetitions
from harness.wire.clock import SECOND

DATA = "P. 1:101(100) ack 1"
FIN = "F. 1:1(0) ack 1"
LEAST_RTO_S = 1.0
LEAST_GREATEST_RTO_S = 60.0


def established_after(peer, listener, *, pause_s):
    """An established connection, and the round trip that its handshake took; our third segment waits that long."""
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 {OFFER}")
        answer = peer.expect("S. 0:0(0) ack 1 <...>")
        peer.case.pause(pause_s)
        third = peer.send(". 1:1(0) ack 1")
        connection = listener.accept(peer)
        peer.case.injector.stamp()
    peer.count_repeats()
    return connection, seconds_between(answer, third)


@covers("RFC6298-BACKOFF", "RFC9293-MUST-19", "RFC8961-BACKOFF", behaviour="B-14", tc8="TCP_RETRANSMISSION_TO_04")
def test_each_wait_is_twice_the_one_before(peer, listener, profile):
    """Nobody acknowledges: the same octets come again, after the least time-out first, then after doubled waits."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    sure, _ = repetitions(profile, seconds_between(sent, again))
    for _ in range(sure - 1):
        gap = seconds_between(sent, again)
        sent, again = again, peer.expect(DATA, after(*doubled_s(profile, gap)))
    peer.send(". 1:1(0) ack 101")
    peer.expect_silence()


@covers("RFC6298-MIN", behaviour="B-14")
@default_timers("rto_min_s")
def test_first_wait_is_a_second_at_least(peer, listener, profile):
    """However short the way, data is not sent again within a second."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    peer.expect(DATA, after(LEAST_RTO_S, max(LEAST_RTO_S, *first_gap_s(profile))))


@covers("RFC9293-MUST-18", "RFC6298-MIN", "RFC1122-RTOLOW", behaviour="B-14")
def test_least_time_out_is_the_profiles(peer, listener, profile):
    """The way is short: what decides is the least time-out that the profile states, and the round trip adds little."""
    if not profile.states("rto_min_s"):
        pytest.skip("not applicable: the profile states no least time-out")
    connection, round_trip = established_after(peer, listener, pause_s=0.0)
    least = profile.timer("rto_min_s")
    connection.send(100)
    peer.expect(DATA)
    peer.expect(DATA, after(max(least, 3 * round_trip), over_s(profile, least + 3 * round_trip)))


@covers("RFC6298-FIRST", "RFC9293-MUST-18", behaviour="B-14")
def test_first_wait_follows_the_round_trip(peer, listener, profile):
    """One round trip R was measured, the handshake's: the time-out is R and four times half of R, hence three R.

    The target's R is longer than ours by what it was late to take our ACK, which counts three times as well.
    """
    connection, round_trip = established_after(peer, listener, pause_s=0.6 * profile.timer("initial_rto_s"))
    connection.send(100)
    peer.expect(DATA)
    due = max(first_gap_s(profile)[0], 3 * round_trip)
    late = due + 3 * peer.case.tolerance_ns / SECOND
    peer.expect(DATA, after(due, late + profile.timing().lateness_s(late)))


@covers("RFC6298-KARN", "RFC6298-KEEP", "RFC9293-MUST-18", behaviour="B-14", tc8="TCP_RETRANSMISSION_TO_03")
def test_ack_of_a_repetition_measures_nothing(peer, listener, profile):
    """The repetition is acknowledged at once, which tells no round trip: new data still has the doubled wait."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    peer.send(". 1:1(0) ack 101")
    connection.send(100)
    peer.expect("P. 101:201(100) ack 1")
    peer.expect("P. 101:201(100) ack 1", after(*doubled_s(profile, seconds_between(sent, again))))


@covers("RFC6298-KARN", "RFC6298-KEEP", "RFC8961-AMBIG", "RFC8961-UNBACK", "RFC9293-MUST-18", behaviour="B-14")
def test_back_off_stays_until_something_is_measured(peer, listener, profile):
    """Several time-outs, and then the repetition is acknowledged: new data waits twice as long as the last one did.

    That is acknowledged when it was repeated, too, and measures nothing. What is acknowledged at its first sending
    does: from then on the wait is the first one again.
    """
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    sure, _ = repetitions(profile, seconds_between(sent, again))
    for _ in range(min(sure, 6) - 1):
        gap = seconds_between(sent, again)
        sent, again = again, peer.expect(DATA, after(*doubled_s(profile, gap)))
    peer.send(". 1:1(0) ack 101")
    connection.send(100)
    gap = seconds_between(sent, again)
    peer.expect("P. 101:201(100) ack 1")
    peer.expect("P. 101:201(100) ack 1", after(*doubled_s(profile, gap)), rule="RFC6298-KEEP")
    peer.send(". 1:1(0) ack 201")
    connection.send(100)
    peer.expect("P. 201:301(100) ack 1")
    peer.send(". 1:1(0) ack 301")
    connection.send(100)
    sent = peer.expect("P. 301:401(100) ack 1")
    again = peer.expect("P. 301:401(100) ack 1", after(*first_gap_s(profile)), rule="RFC8961-UNBACK")
    peer.expect("P. 301:401(100) ack 1", after(*doubled_s(profile, seconds_between(sent, again))),
                rule="RFC6298-KEEP")
    peer.send(". 1:1(0) ack 401")
    peer.expect_silence()


@covers("RFC6298-OLDEST", behaviour="B-14")
def test_oldest_segment_is_repeated_first(peer, listener, profile):
    """Of two full segments that nobody acknowledges, the first one comes again, alone, and then once more."""
    connection = established(peer, listener, offer="<mss 500>")
    peer.count_repeats()
    connection.send(1000)
    first = peer.expect(". 1:501(500) ack 1")
    peer.expect("P. 501:1001(500) ack 1")
    again = peer.expect(". 1:501(500) ack 1", after(*first_gap_s(profile), since=first))
    peer.expect(". 1:501(500) ack 1", after(*doubled_s(profile, seconds_between(first, again))))
    peer.send(". 1:1(0) ack 1001")
    peer.expect_silence()


@covers("RFC6298-TIMER-STOP", behaviour="B-14")
def test_nothing_is_repeated_once_acknowledged(peer, listener, profile):
    """All is acknowledged: the timer is off, and no time-out brings anything again."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    peer.send(". 1:1(0) ack 101")
    peer.expect_silence(for_s=first_gap_s(profile)[1])


@covers("RFC6298-TIMER-RESTART", "RFC6298-EARLY", behaviour="B-14")
def test_acknowledgement_restarts_the_timer(peer, listener, profile):
    """Part is acknowledged when half the time-out is over: the rest has a whole one from then on."""
    connection = established(peer, listener)
    connection.set_option("TCP_NODELAY", 1)
    peer.count_repeats()
    connection.send(100)
    connection.send(100)
    peer.expect(DATA)
    peer.expect("P. 101:201(100) ack 1")
    peer.case.pause(first_gap_s(profile)[0] / 2)
    acknowledged = peer.send(". 1:1(0) ack 101")
    again = peer.expect("P. 101:201(100) ack 1", after(*first_gap_s(profile)))
    peer.expect("P. 101:201(100) ack 1", after(*doubled_s(profile, seconds_between(acknowledged, again))))


@covers("RFC9293-U-FIN-RETX", "RFC6298-BACKOFF", behaviour="B-14")
def test_unacknowledged_fin_is_repeated(peer, listener, profile):
    """A FIN is kept and sent again like data, with doubled waits, until it is acknowledged."""
    fin_wait_1(peer, listener, half=True)
    peer.count_repeats()
    first = peer.last
    again = peer.expect(FIN, after(*first_gap_s(profile)))
    peer.expect(FIN, after(*doubled_s(profile, seconds_between(first, again))), rule="RFC6298-BACKOFF")
    peer.send(". 1:1(0) ack 2")
    peer.expect_state("FIN-WAIT-2")
    peer.expect_silence()


@slow
@default_timers("data_retries", "rto_max_s")
@covers("RFC8961-MAX", "RFC6298-MAX", behaviour="B-14")
def test_waits_grow_to_a_minute(peer, listener, profile):
    """If the waits stop growing at all, then at a minute or above."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent, gap = peer.expect(DATA), 0.0
    while gap < LEAST_GREATEST_RTO_S:
        least, latest = doubled_s(profile, gap) if gap else first_gap_s(profile)
        again = peer.expect(DATA, after(min(least, LEAST_GREATEST_RTO_S), over_s(profile, max(latest, LEAST_RTO_S))))
        sent, gap = again, seconds_between(sent, again)


@slow(hours=1)
@default_timers("data_retries", "rto_max_s")
@covers("RFC6298-BACKOFF", "RFC6298-MAX", "RFC9293-MUST-19", behaviour="B-14")
def test_waits_stop_growing_at_the_greatest_time_out(peer, listener, profile):
    """The waits double until they are the profile's greatest; three more are as long as that one, and no longer."""
    if not profile.states("rto_max_s"):
        pytest.skip("not applicable: the profile states no greatest time-out")
    connection = established(peer, listener)
    peer.count_repeats()
    greatest = profile.timer("rto_max_s")
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    while (gap := seconds_between(sent, again)) < greatest:
        sent, again = again, peer.expect(DATA, after(*doubled_s(profile, gap)))
    for _ in range(3):
        peer.expect(DATA, after(greatest))
    peer.send(". 1:1(0) ack 101")
    peer.expect_silence()
