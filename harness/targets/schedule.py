# SPDX-License-Identifier: GPL-2.0-or-later
"""When a target repeats itself and when it gives up, computed from its profile.

A schedule is the waits after each sending, in nominal seconds: (3, 6, 12) is a first SYN, a second 3 s later, a third
6 s after that, and the end 12 s later still, after 21 s. Timers may be late (`timer_rounding`, `tick_s`); the window
of `after(T)` allows for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from .profile import Profile

Range = tuple[float, float]
"""From when to when, in seconds; made for `after(*range)`, which adds the tolerance of the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """When probes go out and when the connection is given up, in seconds after the peer was last heard."""

    probes_s: tuple[float, ...]
    ends_s: float


def syn_gaps_s(profile: Profile) -> tuple[float, ...]:
    """The waits after each SYN of an active open that nobody answers (RFC 9293, 3.8.3); the last one ends it.

    The first `syn_linear_timeouts` repetitions come at the initial interval, on top of `syn_retries`. The end may be
    after a time of its own (`syn_sent_s`).
    """
    linear = profile.limit("syn_linear_timeouts") if profile.states("syn_linear_timeouts") else 0
    first_s = profile.timer("initial_rto_s")
    gaps = (first_s,) * linear + _doubling(profile, first_s, profile.limit("syn_retries") + 1)
    if _ends_at_a_tick(profile):
        return (*gaps[:-1], profile.timer("tick_s"))
    return _cut(profile, gaps, "syn_sent_s")


def synack_gaps_s(profile: Profile) -> tuple[float, ...]:
    """The waits after each SYN,ACK whose acknowledgement is withheld; the last one drops the half-open connection.

    That may be after a time of its own (`half_open_s`).
    """
    gaps = _doubling(profile, profile.timer("initial_rto_s"), profile.limit("synack_retries") + 1)
    return _cut(profile, gaps, "half_open_s")


def keepalive_schedule(profile: Profile) -> Keepalive:
    """What happens on an idle connection with keepalive on and a peer that is gone (RFC 9293, 3.8.4)."""
    idle_s, interval_s = profile.timer("keepalive_time_s"), profile.timer("keepalive_interval_s")
    count = profile.limit("keepalive_probes")
    return Keepalive(probes_s=tuple(idle_s + index * interval_s for index in range(count)),
                     ends_s=idle_s + count * interval_s)


def first_gap_s(profile: Profile) -> Range:
    """When data is first sent again where the way is short: the least time-out, or whatever is below the initial one.

    Until the profile states `rto_min_s`, any time at all may be the least (RFC 6298, 2.3 and 2.4).
    """
    least_s = profile.timer("rto_min_s") if profile.states("rto_min_s") else 0.0
    return least_s, _late_s(profile, max(least_s, profile.timer("initial_rto_s")))


def doubled_s(profile: Profile, gap_s: float) -> Range:
    """When the next repetition is due, a wait of `gap_s` having been measured before this one (RFC 6298, 5.5).

    That wait may itself have been late by the timer's rounding and a tick, or early by a tick.
    """
    least_s, most_s = _least_s(profile, gap_s), gap_s + profile.timer("tick_s")
    return min(2 * least_s, _greatest_s(profile)), _late_s(profile, min(2 * most_s, _greatest_s(profile)))


def repetitions(profile: Profile, gap_s: float, *, orphan: bool = False) -> tuple[int, int]:
    """How often unanswered data is sent again, at least and at most, `gap_s` having been measured as the first wait.

    They differ only where R2 is a time and the last repetition may fall on either side of it. `orphan`: the
    application has closed.
    """
    retries = _retries(profile, orphan)
    if profile.policy("data_give_up") == "count":
        return retries, retries
    return (_waits_until_r2(profile, _late_s(profile, gap_s), retries) - 1,
            _waits_until_r2(profile, _least_s(profile, gap_s), retries) - 1)


def given_up_s(profile: Profile, gap_s: float, *, elapsed_s: float, more: int = 0, orphan: bool = False) -> Range:
    """When the target gives up, counted from a repetition that came `gap_s` after the sending before.

    `elapsed_s` is how long before it the first repetition was, `more` how many may yet follow. Where R2 is a time, the
    end comes with the first time-out that finds it over.
    """
    if _ends_at_a_tick(profile):
        return profile.timer("tick_s"), profile.timer("tick_s")
    least_s, latest_s = doubled_s(profile, gap_s)
    wait_s = latest_s
    for _ in range(more):
        wait_s = _late_s(profile, min(2 * wait_s, _greatest_s(profile)))
        latest_s += wait_s
    if profile.policy("data_give_up") == "time":
        least_s = max(least_s, _r2_s(profile, _retries(profile, orphan)) - elapsed_s)
    return least_s, latest_s


def next_probe_s(profile: Profile, gap_s: float) -> Range:
    """When the next probe of a closed window is due, a wait of `gap_s` having been measured (RFC 9293, 3.8.6.1)."""
    if not profile.states("window_probe_max_s"):
        return doubled_s(profile, gap_s)
    most_s = profile.timer("window_probe_max_s")
    latest_s = min(2 * (gap_s + profile.timer("tick_s")), most_s)
    return min(2 * _least_s(profile, gap_s), most_s), _late_s(profile, latest_s)


def over_s(profile: Profile, *dues_s: float) -> float:
    """How long to wait until a timer of that length is over for certain, or several, one after the other."""
    return sum(_late_s(profile, due_s) + profile.timer("tick_s") for due_s in dues_s)


def _cut(profile: Profile, gaps: tuple[float, ...], whole: str) -> tuple[float, ...]:
    """The same with the last wait cut short by the time that all of them may take."""
    if not profile.states(whole):
        return gaps
    return (*gaps[:-1], min(gaps[-1], profile.timer(whole) - sum(gaps[:-1])))


def _doubling(profile: Profile, first_s: float, count: int) -> tuple[float, ...]:
    return tuple(min(first_s * 2.0 ** index, _greatest_s(profile)) for index in range(count))


def _greatest_s(profile: Profile) -> float:
    return profile.timer("rto_max_s") if profile.states("rto_max_s") else float("inf")


def _late_s(profile: Profile, due_s: float) -> float:
    return due_s + profile.timing().lateness_s(due_s)


def _least_s(profile: Profile, gap_s: float) -> float:
    """The shortest timer that a measured wait can have been."""
    timing = profile.timing()
    least_s = gap_s - timing.lateness_s(gap_s) if timing.wheel else gap_s / (1 + timing.rounding)
    return max(least_s - profile.timer("tick_s"), profile.timer("tick_s"))


def _ends_at_a_tick(profile: Profile) -> bool:
    return profile.states("last_repetition") and profile.policy("last_repetition") == "tick"


def _retries(profile: Profile, orphan: bool) -> int:
    return profile.limit("orphan_retries" if orphan and profile.states("orphan_retries") else "data_retries")


def _r2_s(profile: Profile, retries: int) -> float:
    """R2 as a time: what that many repetitions would take after the least time-out (Linux)."""
    return sum(_doubling(profile, profile.timer("rto_min_s"), retries + 1))


def _waits_until_r2(profile: Profile, rto_s: float, retries: int) -> int:
    """How many waits there are where R2 is a time.

    It runs from the first repetition, not from the first sending: so there is one repetition more than the number
    says. A real time-out is never quite the least one (there is a round trip, and a tick), which decides when both
    come close.
    """
    enough_s = _r2_s(profile, retries)
    waits, elapsed_s, wait_s = 1, 0.0, rto_s
    while elapsed_s < enough_s:
        wait_s = min(2 * wait_s, _greatest_s(profile))
        elapsed_s += wait_s
        waits += 1
    return waits
