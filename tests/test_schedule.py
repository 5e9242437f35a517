# SPDX-License-Identifier: GPL-2.0-or-later
"""When targets repeat themselves and give up, as their profiles tell.

The figures of Linux are those that its kernel was seen to keep (6.18): the last SYN of a default connection attempt
after 67 s and its end after 131 s, R2 after 924.6 s, and the short values' ends after 3 s and a little.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.targets.profile import Profile, Value, load_profile
from harness.targets.schedule import (
    doubled_s,
    first_gap_s,
    given_up_s,
    keepalive_schedule,
    next_probe_s,
    over_s,
    repetitions,
    syn_gaps_s,
    synack_gaps_s,
)

LINUX = load_profile("linux").with_version("6.18.44")
SHORT = LINUX.with_short()
XP = load_profile("windows-xp")


def test_the_classic_stack_tries_at_0_3_and_9_s_and_ends_at_21() -> None:
    assert syn_gaps_s(XP) == synack_gaps_s(XP) == (3, 6, 12)
    assert sum(syn_gaps_s(XP)) == 21


def test_linux_begins_with_linear_gaps() -> None:
    assert syn_gaps_s(LINUX) == (1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64)
    assert sum(syn_gaps_s(LINUX)[:-1]) == 67
    assert sum(syn_gaps_s(LINUX)) == 131


def test_an_older_linux_does_not() -> None:
    older = LINUX.with_version("6.1.0-31-amd64")
    assert syn_gaps_s(older) == (1, 2, 4, 8, 16, 32, 64)
    assert syn_gaps_s(older.with_short()) == (1, 2)


def test_syn_acks_of_linux() -> None:
    assert synack_gaps_s(LINUX) == (1, 2, 4, 8, 16, 32)
    assert sum(synack_gaps_s(LINUX)) == 63


def test_short_values_end_soon() -> None:
    assert syn_gaps_s(SHORT) == synack_gaps_s(SHORT) == (1, 2)
    assert repetitions(SHORT, 0.2) == repetitions(SHORT, 0.2, orphan=True) == (3, 3)
    assert keepalive_schedule(SHORT).ends_s < 4


def _probes(profile: Profile) -> tuple[float, ...]:
    return keepalive_schedule(profile).probes_s


def test_keepalive() -> None:
    assert _probes(SHORT) == (1, 2)
    assert keepalive_schedule(SHORT).ends_s == 3
    assert _probes(LINUX) == (7200, 7275, 7350, 7425, 7500, 7575, 7650, 7725, 7800)
    assert keepalive_schedule(LINUX).ends_s == 7875
    assert _probes(XP) == (7200, 7201, 7202, 7203, 7204)
    assert keepalive_schedule(XP).ends_s == 7205


def test_the_first_wait_lies_between_the_least_time_out_and_the_initial_one() -> None:
    assert first_gap_s(LINUX) == pytest.approx((0.2, 1.125))
    assert first_gap_s(XP) == (0.3, 3)
    states_none = replace(XP, timers={name: value for name, value in XP.timers.items() if name != "rto_min_s"})
    assert first_gap_s(states_none) == (0, 3)
    assert first_gap_s(load_profile("embedded")) == (1, 3)


def test_a_measured_wait_is_doubled_with_room_for_its_own_lateness() -> None:
    assert doubled_s(LINUX, 0.225) == pytest.approx((0.38, 0.52875))
    assert doubled_s(XP, 1.0) == pytest.approx((1.8, 2.2))


def test_waits_do_not_grow_beyond_the_greatest_time_out() -> None:
    assert doubled_s(LINUX, 120) == pytest.approx((120, 135))


def test_repetitions_where_they_are_counted() -> None:
    assert repetitions(XP, 0.3) == repetitions(XP, 5.0) == (5, 5)
    assert repetitions(XP, 0.3, orphan=True) == (5, 5)


def test_repetitions_where_r2_is_a_time() -> None:
    assert repetitions(SHORT, 0.204) == (3, 3)
    assert repetitions(SHORT, 0.215) == (2, 3)  # 1.4 s may be over at the third time-out, or not yet
    assert repetitions(SHORT, 0.3) == (2, 2)
    assert repetitions(SHORT, 2.0) == (1, 1)
    assert repetitions(replace(SHORT, limits={**SHORT.limits, "orphan_retries": Value(default=1)}), 0.204,
                       orphan=True) == (2, 2)


@pytest.mark.parametrize(("retries", "times"), [(1, 2), (2, 3), (3, 4)])
def test_r2_as_a_time_runs_from_the_first_repetition(retries: int, times: int) -> None:
    """So there is one repetition more than the number says, where timers are hardly late."""
    profile = replace(LINUX, limits={**LINUX.limits, "data_retries": Value(default=retries)},
                      timers={**LINUX.timers, "timer_rounding": Value(default=0.0)})
    assert repetitions(profile, 0.21) == (times, times)


def test_r2_of_linux() -> None:
    assert given_up_s(LINUX, 120, elapsed_s=0)[0] == pytest.approx(924.6)
    assert repetitions(LINUX, 0.24) == (15, 15)
    assert repetitions(LINUX, 0.204, orphan=True) == (8, 9)


def test_a_counting_target_gives_up_one_doubled_wait_after_the_last_repetition() -> None:
    assert given_up_s(XP, 1.0, elapsed_s=5.0) == doubled_s(XP, 1.0)


def test_a_target_with_a_time_gives_up_no_sooner() -> None:
    """R2 is 1.4 s from the first repetition on; 0.6 s of it are over."""
    least, latest = given_up_s(SHORT, 0.4, elapsed_s=0.6)
    assert (least, latest) == pytest.approx((0.8, 0.9225))
    assert given_up_s(SHORT, 0.4, elapsed_s=0.6, more=1)[1] == pytest.approx(0.9225 * 3.25)
    assert given_up_s(SHORT, 0.8, elapsed_s=1.2)[0] == doubled_s(SHORT, 0.8)[0]


def test_a_half_open_connection_may_end_before_its_last_wait_is_over() -> None:
    lwip = load_profile("lwip")
    assert synack_gaps_s(lwip) == (3, 6, 11.5)
    longer = replace(lwip, timers={**lwip.timers, "half_open_s": Value(default=100)})
    assert synack_gaps_s(longer) == (3, 6, 12)
    slirp = load_profile("slirp")
    assert syn_gaps_s(slirp) == synack_gaps_s(slirp) == (6, 12, 12, 12, 12, 12, 9)


def test_an_end_at_the_tick_after_the_last_repetition() -> None:
    lwip = load_profile("lwip")
    assert syn_gaps_s(lwip)[-1] == 0.5
    assert given_up_s(lwip, 160, elapsed_s=300) == (0.5, 0.5)


def test_probes_of_a_closed_window_have_a_limit_of_their_own() -> None:
    lwip = load_profile("lwip")
    assert next_probe_s(lwip, 12) == doubled_s(lwip, 12)
    assert next_probe_s(lwip, 48) == (60, 60)
    assert next_probe_s(LINUX, 48) == doubled_s(LINUX, 48)
    slirp = load_profile("slirp")
    assert slirp.timer("rto_max_s") == 12
    assert next_probe_s(slirp, 16) == (31, 33)


def test_a_timer_is_over_for_certain_after_its_rounding_and_a_tick() -> None:
    assert over_s(LINUX, 2.0) == pytest.approx(2.26)
    assert over_s(XP, 2.0) == pytest.approx(2.1)
