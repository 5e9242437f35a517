# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cases a run plays: those of its families for which its time and its timers are made."""

from __future__ import annotations

import pytest

from .item import family_of
from .targets.base import FAMILIES
from .targets.profile import Profile
from .targets.registry import clock_of, most_hours


def chosen_families(config: pytest.Config) -> tuple[str, ...]:
    """The families that the command line wants."""
    chosen = config.getoption("family")
    return FAMILIES if chosen == "both" else (chosen,)


def why_left_out(item: pytest.Item, profile: Profile) -> str:
    """Why this case is not played, in a word for the user; "" if it is."""
    if family_of(item) not in chosen_families(item.config):
        return f"a rule of {family_of(item)} alone"
    if names := _shortened(item, profile):
        return f"needs default timers: {', '.join(names)} shortened"
    slow = item.get_closest_marker("slow")
    return "" if slow is None else _too_slow(slow, item.config, profile)


def _too_slow(slow: pytest.Mark, config: pytest.Config, profile: Profile) -> str:
    hours = slow.kwargs.get("hours", 0)
    if clock_of(profile) != "real":
        return f"takes {hours:g} h: run with --target uml:NAME" if hours > most_hours(profile) else ""
    if hours:
        return f"takes {hours:g} h: run with --virtual-time"
    return "" if config.getoption("slow") else "slow: run with --slow"


def _shortened(item: pytest.Item, profile: Profile) -> list[str]:
    """The values that the item needs the target's own defaults of, and that this run has shortened."""
    return [name for marker in item.iter_markers("default_timers") for name in marker.args if profile.shortened(name)]
