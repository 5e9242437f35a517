# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that has no room is asked again and again until it has (RFC 9293, 3.8.6.1; RFC 6429)."""

from __future__ import annotations

from harness.authoring import after, covers, default_timers, established, seconds_between, slow
from harness.targets.schedule import first_gap_s, next_probe_s

PROBES = [". 100:100(0) ack 1", ". 101:102(1) ack 1"]
"""An old number that has to be answered, or the next octet of data: RFC 9293 leaves both open."""
FULL = ". 1:1(0) ack 101 win 0"
REST = "P. 101:201(100) ack 1"
HOURS_S = 3 * 3600.0


def filled(peer, listener):
    """A hundred octets of the application have filled our window, which is closed now, and a hundred more wait."""
    with peer.case.preamble():
        connection = established(peer, listener, third=". 1:1(0) ack 1 win 100")
        connection.send(100)
        peer.expect("P. 1:101(100) ack 1")
        peer.count_repeats()
        peer.send(FULL)
        connection.send(100)
    return connection


def expect_probe(peer, profile, gap_s):
    """The next probe, `gap_s` having been the wait before it (0 for the first); returns its own wait.

    It is answered with a window of zero. That it comes is a MUST, when it does is advice.
    """
    case, began = peer.case, peer.last
    least, latest = next_probe_s(profile, gap_s) if gap_s else first_gap_s(profile)
    # Who asked too soon once may take its whole time-out for the next one: advice is not kept, but nothing is missing.
    patience = 2 * max(latest, first_gap_s(profile)[1])
    probe = peer.expect_one_of(PROBES, within_s=patience)
    peer.send(FULL)
    check = case.check_time("probe", after(least, latest), began, probe)
    waited = seconds_between(began, probe)
    rule = "RFC9293-SHLD-30" if gap_s else "RFC9293-SHLD-29"
    if not check.kept and rule not in {finding.requirement for finding in case.story.findings}:
        case.advise(expected=f"a probe after {least:.3f} to {latest:.3f} s", got=f"after {waited:.3f} s", rule=rule)
    return waited


@covers("RFC9293-MUST-36", "RFC9293-SHLD-29", "RFC9293-SHLD-30")
def test_first_probe_comes_after_a_time_out(peer, listener, profile):
    """Our window is closed, and data waits: about one time-out later we are asked, which the next wait bears out."""
    filled(peer, listener)
    gap = expect_probe(peer, profile, 0.0)
    expect_probe(peer, profile, gap)


@default_timers("data_retries")
@covers("RFC9293-MUST-36", "RFC9293-SHLD-29", "RFC9293-SHLD-30")
def test_probes_come_less_and_less_often(peer, listener, profile):
    """Each wait for a probe is twice the one before, though all of them are answered."""
    filled(peer, listener)
    gap = 0.0
    for _ in range(4):
        gap = expect_probe(peer, profile, gap)


@covers("RFC9293-MUST-36", "RFC9293-MUST-37", "RFC9293-SHLD-29", "RFC9293-SHLD-30")
def test_data_goes_on_when_the_window_opens(peer, listener, profile):
    """Two probes were told that there is no room; as soon as there is, the rest of the data comes."""
    connection = filled(peer, listener)
    gap = expect_probe(peer, profile, 0.0)
    expect_probe(peer, profile, gap)
    peer.send(". 1:1(0) ack 101 win 65535")
    peer.expect(REST)
    peer.send(". 1:1(0) ack 201")
    connection.expect_pending_error("")
    peer.expect_silence()


@covers("RFC9293-MUST-36", "RFC9293-SHLD-29", "RFC9293-SHLD-30")
def test_nothing_but_probes_enters_a_closed_window(peer, listener, profile):
    """More data from the application changes nothing: what comes are the probes, when they are due."""
    connection = filled(peer, listener)
    gap = expect_probe(peer, profile, 0.0)
    connection.send(1000)
    expect_probe(peer, profile, gap)


@slow(hours=3)
@default_timers("data_retries")
@covers("RFC9293-MUST-37", "RFC6429-NOCLOSE", "RFC9293-SHLD-29", "RFC9293-SHLD-30")
def test_answered_probes_keep_the_connection_for_hours(peer, listener, profile):
    """For three hours every probe is told that there is no room: the waits grow to their limit, and nobody gives up.

    Then the window opens, and what has waited all the time is sent.
    """
    connection = filled(peer, listener)
    began = peer.case.moment()
    gap = 0.0
    while seconds_between(began, peer.case.moment()) < HOURS_S:
        gap = expect_probe(peer, profile, gap)
    peer.expect_state("ESTABLISHED")
    connection.expect_pending_error("", rule="RFC6429-NOCLOSE")
    peer.send(". 1:1(0) ack 101 win 65535")
    peer.expect(REST)
    peer.send(". 1:1(0) ack 201")
    peer.expect_silence()
