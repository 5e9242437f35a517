# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a profile that reads well: values that its features need, and ledger entries of no case."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from ..suite import names, suite
from ..targets.profile import Profile

_ALWAYS: Final = ("response_s", "tick_s", "timer_rounding", "initial_rto_s", "rto_min_s", "delayed_ack_max_s",
                  "time_wait_s", "data_retries")
_NEEDED: Final = {
    "active_open": ("syn_retries",),
    "passive_open": ("synack_retries",),
    "keepalive": ("keepalive_time_s", "keepalive_interval_s", "keepalive_probes", "keepalive_garbage_octets"),
    "half_close": ("fin_wait_2_s",),
    "rfc5961_challenge_acks": ("challenge_ack_interval_s",),
    "ip_reassembly": ("reassembly_ipv4_s",),
    "syn_attack_protection": ("syn_attack_timeout_s",),
}
"""By feature: the timers and limits that its cases ask for."""


def faults(profile: Profile) -> Iterator[str]:
    """One line for each fault."""
    if not any(profile.feature(family) for family in ("ipv4", "ipv6")):
        yield "features: neither ipv4 nor ipv6 is claimed; allowed: one of them, or both"
    for name in _ALWAYS:
        if not profile.states(name):
            yield f"{name}: not stated; every stack has it, and cases ask for it"
    for feature, values in _NEEDED.items():
        if profile.feature(feature):
            yield from (f"{name}: not stated, but features.{feature} is claimed and its cases ask for it"
                        for name in values if not profile.states(name))
    yield from _ledger(profile)


def _ledger(profile: Profile) -> Iterator[str]:
    cases = list(names(suite()))
    for number, entry in enumerate(profile.ledger, start=1):
        # What stands behind the case's own name are its parameters, which only a run knows.
        if entry.case and not any(fnmatchcase(case, _bare(entry.case)) for case in cases):
            yield f"deviation[{number}].case: {entry.case!r} fits no case of the suite"


def _bare(case: str) -> str:
    topic, separator, rest = case.partition("::")
    return topic + separator + rest.split("/")[0] if separator else case
