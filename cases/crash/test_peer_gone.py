# SPDX-License-Identifier: GPL-2.0-or-later
"""B-14: the peer has crashed; nobody answers the target's data, until it gives the connection up (RFC 9293, 3.8.3)."""

from __future__ import annotations

from harness.authoring import after, covers, default_timers, established, fin_wait_1, needs, seconds_between, slow
from harness.targets.backoff import follow_backoff
from harness.targets.schedule import doubled_s, first_gap_s, over_s

DATA = "P. 1:101(100) ack 1"
FIN = "F. 1:1(0) ack 1"
LEAST_R2_S = 100.0
HOUR_S = 3600


def repeated_for(peer, text, profile, seconds, *, measured=False):
    """Expect what came last again, with doubled waits, as often as is certain so many seconds after its first sending.

    Returns how many more repetitions may have come by then. `measured`: earlier losses may have made the target take
    the way for a longer one, and its first time-out for as much as twice what it would be.
    """
    first = sent = peer.last
    (least, latest), elapsed = first_gap_s(profile), 0.0
    latest *= 2 if measured else 1
    while elapsed + latest + profile.timer("tick_s") < seconds:
        again = peer.expect(text, after(least, latest))
        (least, latest), elapsed = doubled_s(profile, seconds_between(sent, again)), seconds_between(first, again)
        sent = again
    peer.expect_silence()
    return 1 if elapsed + least < seconds else 0


def most_repetitions(profile, seconds):
    """How often data may come again in that time: as often as after the least time-out."""
    gap, elapsed, count = max(first_gap_s(profile)[0], profile.timer("tick_s")), 0.0, 0
    while (elapsed := elapsed + gap) < seconds:
        gap, count = 2 * gap, count + 1
    return count


@covers("RFC9293-MUST-20", "RFC9293-MUST-19", "RFC9293-U-RST-CLOSED-ACK", "SA-CLOSED-05", behaviour="B-14",
        tc8="TCP_RETRANSMISSION_TO_04")
def test_data_is_repeated_until_r2(peer, listener, profile):
    """Data is repeated with doubled waits until R2; then the application is told, and the connection is gone."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    end, more = follow_backoff(peer, DATA, profile)
    connection.expect_pending_error("")
    connection.expect_error("ETIMEDOUT", after(*end, since=peer.last))
    peer.expect_silence(allow=[DATA] * more)
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 101")
    peer.expect_gone("R 101:101(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@covers("RFC9293-MUST-20", behaviour="B-14")
def test_answer_before_r2_saves_the_connection(peer, listener, profile):
    """The last repetition before R2 is acknowledged: nobody is told of anything, and new data flows."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    peer.expect(DATA)
    follow_backoff(peer, DATA, profile)
    peer.send(". 1:1(0) ack 101")
    connection.expect_pending_error("")
    connection.send(50)
    peer.expect("P. 101:151(50) ack 1")
    peer.send(". 1:1(0) ack 151")
    peer.expect_state("ESTABLISHED")


@needs("user_timeout")
@covers("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-14")
def test_application_sets_r2(peer, listener, profile):
    """The application asks for two seconds: the connection ends then, or at the next time-out, and not at R2."""
    connection = established(peer, listener)
    connection.set_option("TCP_USER_TIMEOUT", 2000)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    more = repeated_for(peer, DATA, profile, 2.0)
    latest = 2.0 + first_gap_s(profile)[0]
    connection.expect_error("ETIMEDOUT", after(2.0, over_s(profile, latest), since=sent))
    peer.expect_silence(allow=[DATA] * more)
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 101")
    peer.expect_gone("R 101:101(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@slow(hours=1)
@needs("user_timeout")
@default_timers("data_retries", "rto_max_s")
@covers("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-14")
def test_application_sets_a_longer_r2(peer, listener, profile):
    """The application is ready to wait for an hour: R2 of the others passes, and the data is repeated until then."""
    connection = established(peer, listener)
    connection.set_option("TCP_USER_TIMEOUT", 1000 * HOUR_S)
    peer.count_repeats()
    connection.send(100)
    first = peer.expect(DATA)
    more = repeated_for(peer, DATA, profile, HOUR_S)
    # The last timer is late by its own length's rounding, and may count from the first repetition.
    last_s = profile.timer("rto_max_s")
    latest = HOUR_S + first_gap_s(profile)[1] + over_s(profile, last_s) - last_s
    connection.expect_error("ETIMEDOUT", after(HOUR_S, latest, since=first))
    peer.expect_silence(allow=[DATA] * more)
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 101")
    peer.expect_gone("R 101:101(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@slow
@needs("user_timeout")
@covers("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT", behaviour="B-14")
def test_acknowledgement_ends_the_users_time_out(peer, listener, profile):
    """The application sets four seconds; 2.5 are over when its data is acknowledged: the next has four again."""
    connection = established(peer, listener)
    connection.set_option("TCP_USER_TIMEOUT", 4000)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    more = repeated_for(peer, DATA, profile, 2.5)
    peer.expect_silence(for_s=2.5 - seconds_between(sent, peer.last), allow=[DATA] * more)
    peer.send(". 1:1(0) ack 101")
    connection.send(100)
    peer.expect("P. 101:201(100) ack 1")
    peer.send(". 1:1(0) ack 201")  # at its first sending: the back-off ends as well
    peer.expect_silence(for_s=2.0)
    connection.expect_pending_error("")
    connection.send(100)
    sent = peer.expect("P. 201:301(100) ack 1")
    more = repeated_for(peer, "P. 201:301(100) ack 1", profile, 4.0, measured=True)
    connection.expect_error("ETIMEDOUT", after(4.0, over_s(profile, 4.0 + first_gap_s(profile)[0]), since=sent))
    peer.expect_silence(allow=["P. 201:301(100) ack 1"] * more)
    peer.expect_state("CLOSED")


@slow
@needs("user_timeout")
@covers("RFC9293-U-UTIMEOUT", "RFC9293-MUST-21", behaviour="B-14")
def test_users_time_out_is_not_put_off_by_the_back_off(peer, listener, profile):
    """Earlier losses have made the time-out longer than the application's ten seconds, which end when they should."""
    connection = established(peer, listener)
    with peer.case.preamble():
        connection.set_option("TCP_USER_TIMEOUT", 100_000)
        peer.count_repeats()
        connection.send(100)
        sent = peer.expect(DATA)
        again = peer.expect(DATA, after(*first_gap_s(profile)))
        while seconds_between(sent, again) < 8.0:
            sent, again = again, peer.expect(DATA, after(*doubled_s(profile, seconds_between(sent, again))))
        peer.send(". 1:1(0) ack 101")
        connection.set_option("TCP_USER_TIMEOUT", 10_000)
    connection.send(100)
    first = peer.expect("P. 101:201(100) ack 1")
    peer.expect_silence()  # or one that came twice would pass for a repetition
    connection.expect_error("ETIMEDOUT", after(10.0, over_s(profile, 10.0 + first_gap_s(profile)[0]), since=first))
    # Whose back-off ended with the acknowledgement of a repetition, against the advice of RFC 6298, repeats sooner.
    peer.expect_silence(allow=["P. 101:201(100) ack 1"] * most_repetitions(profile, 10.0))
    peer.expect_state("CLOSED")


@covers("RFC9293-MUST-20", "RFC9293-U-RST-CLOSED-ACK", "SA-CLOSED-05", behaviour="B-14")
def test_closed_connection_is_given_up(peer, listener, profile):
    """The application closes, and the FIN is never acknowledged: it is repeated for as long as the profile says.

    Who gives up may say so with a reset.
    """
    fin_wait_1(peer, listener)
    peer.count_repeats()
    (least, latest), more = follow_backoff(peer, FIN, profile, orphan=True)
    nearly_over = 0.9 * least
    peer.expect_silence(for_s=nearly_over, allow=[FIN] * more)
    peer.expect_state("FIN-WAIT-1")
    peer.expect_silence(for_s=over_s(profile, latest) - nearly_over, allow=[*[FIN] * more, "R. 2:2(0) ack 1"])
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@slow
@default_timers("data_retries")
@covers("RFC9293-SHLD-11", "RFC9293-MUST-20", behaviour="B-14")
def test_r2_is_a_hundred_seconds_at_least(peer, listener, profile):
    """Nobody acknowledges for 100 s: the data has been repeated, and the connection is still there."""
    connection = established(peer, listener)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    more = repeated_for(peer, DATA, profile, LEAST_R2_S)
    peer.expect_silence(for_s=LEAST_R2_S - seconds_between(sent, peer.last), allow=[DATA] * more)
    peer.expect_state("ESTABLISHED")
    connection.expect_no_data()
