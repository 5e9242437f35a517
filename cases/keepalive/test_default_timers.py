# SPDX-License-Identifier: GPL-2.0-or-later
"""B-13: keepalive with the times that the target has of its own, and a connection that lives without it.

What these cases wait for are hours and weeks: they are for targets whose time can be skipped.
"""

from __future__ import annotations

from harness.authoring import after, covers, default_timers, established, kept_alive, needs, slow
from harness.targets.schedule import keepalive_schedule

TWO_HOURS_S = 7200.0
DAY_S = 86400.0


@slow(hours=11)
@needs("keepalive")
@default_timers("keepalive_time_s", "keepalive_interval_s", "keepalive_probes")
@covers("RFC9293-MUST-28", "RFC9293-MUST-24", "RFC9293-MUST-29", "RFC9293-SHLD-12", "RFC9293-U-RST-CLOSED-ACK",
        behaviour="B-13")
def test_three_rounds_answered_then_none(peer, listener, profile):
    """Three idle times end with a probe that is answered; then we fall silent, and all its probes do not help.

    No idle time is shorter than two hours, each probe is empty and has the number before the next.
    """
    connection = kept_alive(peer, listener)
    idle = profile.timer("keepalive_time_s")
    for _ in range(3):
        peer.expect(". 0:0(0) ack 1", after(max(idle, TWO_HOURS_S)))
        peer.send(". 1:1(0) ack 1")
    probe = peer.expect(". 0:0(0) ack 1", after(max(idle, TWO_HOURS_S)))
    for _ in keepalive_schedule(profile).probes_s[1:]:
        probe = peer.expect(". 0:0(0) ack 1", after(profile.timer("keepalive_interval_s")), rule="RFC9293-MUST-29")
    connection.expect_pending_error("", rule="RFC9293-MUST-29")
    connection.expect_error("ETIMEDOUT", after(profile.timer("keepalive_interval_s"), since=probe),
                            rule="RFC9293-MUST-24")
    if profile.feature("keepalive_reset"):
        peer.expect_one_of(["R. 1:1(0) ack 1", "R 1:1(0)"], rule="RFC9293-MUST-24")
    peer.expect_state("CLOSED", rule="RFC9293-MUST-24")
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@slow(hours=720)
@covers("RFC9293-MUST-25", "RFC9293-U-WRAP", behaviour="B-13")
def test_idle_for_thirty_days(peer, listener):
    """Nobody has asked for keepalive: for thirty days nothing is sent, and then data flows both ways as before."""
    connection = established(peer, listener)
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)
    peer.expect_silence(for_s=30 * DAY_S)
    peer.expect_state("ESTABLISHED")
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(100)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 201")
    peer.send(". 201:201(0) ack 101")
    peer.expect_silence()
