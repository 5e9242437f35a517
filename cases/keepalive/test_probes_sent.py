# SPDX-License-Identifier: GPL-2.0-or-later
"""B-13: the target asks an idle peer whether it is still there, if its application wants so (RFC 9293, 3.8.4)."""

from __future__ import annotations

from harness.authoring import after, covers, default_timers, established, kept_alive, needs, seconds_between, slow
from harness.targets.schedule import doubled_s, first_gap_s, keepalive_schedule, over_s, repetitions

DATA = "P. 1:101(100) ack 1"
TWO_HOURS_S = 7200.0


def probe(profile, at=1):
    """The probe of a target whose next number is `at`; we have sent nothing but our SYN."""
    garbage = profile.limit("keepalive_garbage_octets")
    return f". {at - 1}:{at - 1 + garbage}({garbage}) ack 1"


@needs("keepalive")
@covers("RFC9293-MUST-25", behaviour="B-13")
def test_keepalive_is_off_by_default(peer, listener, profile):
    """The application has said nothing of keepalive: the idle time passes, and no probe comes."""
    established(peer, listener)
    peer.expect_silence(for_s=over_s(profile, profile.timer("keepalive_time_s")))
    peer.expect_state("ESTABLISHED")


@needs("keepalive")
@covers("RFC9293-MUST-27", "RFC9293-MAY-5", behaviour="B-13")
def test_first_probe_comes_after_the_idle_time(peer, listener, profile):
    """Keepalive is on, and nothing is said: after the profile's idle time, a probe with the number before the next."""
    kept_alive(peer, listener)
    peer.expect(probe(profile), after(profile.timer("keepalive_time_s")))
    peer.send(". 1:1(0) ack 1")
    peer.expect_silence()


@needs("keepalive")
@covers("RFC9293-SHLD-12", behaviour="B-13")
def test_probe_carries_no_data(peer, listener, profile):
    """After data each probe has the number of the last octet, and is empty."""
    connection = kept_alive(peer, listener)
    with peer.case.preamble():
        connection.send(100)
        peer.expect("P. 1:101(100) ack 1")
        peer.send(". 1:1(0) ack 101")
    peer.expect(". 100:100(0) ack 1", after(profile.timer("keepalive_time_s")))
    for _ in keepalive_schedule(profile).probes_s[1:]:
        peer.expect(". 100:100(0) ack 1", after(profile.timer("keepalive_interval_s")))


@needs("keepalive")
@covers("RFC9293-MUST-29", "RFC9293-MUST-24", behaviour="B-13")
def test_answer_resets_the_timer(peer, listener, profile):
    """One probe is lost, a later one answered: the connection lives, and the next comes after a whole idle time."""
    connection = kept_alive(peer, listener)
    probes = keepalive_schedule(profile).probes_s
    peer.expect(probe(profile), after(probes[0]))
    for _ in probes[1:]:
        peer.expect(probe(profile), after(profile.timer("keepalive_interval_s")))
    peer.send(". 1:1(0) ack 1")
    peer.expect(probe(profile), after(profile.timer("keepalive_time_s")))
    peer.send(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")
    connection.expect_pending_error("")


@needs("keepalive")
@covers("RFC9293-MUST-26", behaviour="B-13")
def test_our_data_puts_the_probe_off(peer, listener, profile):
    """An octet of ours comes when most of the idle time is over: that is when the idle time begins anew."""
    kept_alive(peer, listener)
    idle = profile.timer("keepalive_time_s")
    peer.expect_silence(for_s=0.6 * idle)
    heard = peer.send("P. 1:2(1) ack 1")
    peer.expect(". 1:1(0) ack 2")
    peer.expect(probe(profile), after(idle, since=heard), ack=(peer.iss + 2) % 2**32)
    for _ in keepalive_schedule(profile).probes_s[1:]:
        peer.expect(probe(profile), after(profile.timer("keepalive_interval_s")), ack=(peer.iss + 2) % 2**32)
    peer.send(". 2:2(0) ack 1")
    peer.expect_silence()


@needs("keepalive")
@covers("RFC9293-MUST-26", behaviour="B-13")
def test_unacknowledged_data_keeps_probes_back(peer, listener, profile):
    """Data is outstanding: it is repeated until after the idle time, and no probe comes between."""
    connection = kept_alive(peer, listener)
    peer.count_repeats()
    connection.send(100)
    first = sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    sure, _ = repetitions(profile, seconds_between(sent, again))
    for _ in range(sure - 1):
        gap = seconds_between(sent, again)
        sent, again = again, peer.expect(DATA, after(*doubled_s(profile, gap)))
        if seconds_between(first, again) > profile.timer("keepalive_time_s"):
            break
    peer.send(". 1:1(0) ack 101")
    peer.expect_silence()


@needs("keepalive", "keepalive_settings")
@covers("RFC9293-MUST-26", behaviour="B-13")
def test_repetition_keeps_probes_back(peer, listener, profile):
    """The same with an idle time of a second, which is over while the data is still repeated."""
    connection = established(peer, listener)
    connection.set_option("TCP_KEEPIDLE", 1)
    connection.set_option("SO_KEEPALIVE", 1)
    peer.count_repeats()
    connection.send(100)
    sent = peer.expect(DATA)
    again = peer.expect(DATA, after(*first_gap_s(profile)))
    sure, _ = repetitions(profile, seconds_between(sent, again))
    for _ in range(min(sure, 5) - 1):
        gap = seconds_between(sent, again)
        sent, again = again, peer.expect(DATA, after(*doubled_s(profile, gap)))
    peer.send(". 1:1(0) ack 101")
    peer.expect_silence()


@needs("keepalive")
@covers("RFC9293-MUST-29", "RFC9293-MUST-24", "RFC9293-U-RST-CLOSED-ACK", "SA-CLOSED-05", behaviour="B-13")
def test_connection_is_given_up_without_answers(peer, listener, profile):
    """No probe is answered: as many as the profile says, at its interval; then the application is told."""
    connection = kept_alive(peer, listener)
    schedule = keepalive_schedule(profile)
    interval = profile.timer("keepalive_interval_s")
    peer.expect(probe(profile), after(schedule.probes_s[0]))
    for _ in schedule.probes_s[1:]:
        peer.expect(probe(profile), after(interval))
    connection.expect_pending_error("")
    connection.expect_error("ETIMEDOUT", after(interval, since=peer.last))
    if profile.feature("keepalive_reset"):
        peer.expect_one_of(["R. 1:1(0) ack 1", "R 1:1(0)"])
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@needs("keepalive")
@covers("RFC9293-MUST-24", behaviour="B-13")
def test_keepalive_is_each_connections_own(peer, case, listener, profile):
    """Of two connections of one application, only the one with keepalive is probed."""
    other = case.peer(target_port=listener.port)
    established(other, listener)
    kept_alive(peer, listener)
    peer.expect(probe(profile), after(profile.timer("keepalive_time_s")))
    peer.send(". 1:1(0) ack 1")
    other.expect_silence()


@needs("keepalive")
@covers("RFC9293-MUST-24", behaviour="B-13")
def test_keepalive_is_switched_off_again(peer, listener, profile):
    """The application takes keepalive back: the idle time passes, and no probe comes."""
    connection = kept_alive(peer, listener)
    connection.set_option("SO_KEEPALIVE", 0)
    peer.expect_silence(for_s=over_s(profile, profile.timer("keepalive_time_s")))


@needs("keepalive", "keepalive_settings")
@covers("RFC9293-MUST-27", behaviour="B-13")
def test_application_sets_the_idle_time(peer, listener):
    """The application asks for two seconds: the first probe comes then, whatever the idle time of the others is."""
    connection = established(peer, listener)
    connection.set_option("TCP_KEEPIDLE", 2)
    connection.set_option("SO_KEEPALIVE", 1)
    peer.expect(". 0:0(0) ack 1", after(2.0))
    peer.send(". 1:1(0) ack 1")


@slow
@needs("keepalive")
@default_timers("keepalive_time_s")
@covers("RFC9293-MUST-28", behaviour="B-13")
def test_default_idle_time_is_two_hours_at_least(peer, listener, profile):
    """Keepalive is on, and nobody has set its times: the first probe comes after two hours, or later."""
    kept_alive(peer, listener)
    idle = max(TWO_HOURS_S, profile.timer("keepalive_time_s"))
    peer.expect(probe(profile), after(TWO_HOURS_S, over_s(profile, idle)))
