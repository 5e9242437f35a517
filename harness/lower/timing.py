# SPDX-License-Identifier: GPL-2.0-or-later
"""When something is due, and how far from that instant it may come (DESIGN, rule 8).

A case says `after(T)`. The window comes from the stack (how it rounds its timers) and from the link (a tolerance that
is measured when the lab starts and written into the report); no case chooses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ..wire.clock import SECOND, Clock

_SAMPLES: Final = 16
_SAMPLE_NS: Final = 1_000_000
_WHEEL_SLOTS: Final = 63
_WHEEL_FACTOR: Final = 8


class Stamped(Protocol):
    """Whatever happened at an instant."""

    @property
    def stamp_ns(self) -> int | None:
        """When it happened, in nanoseconds of the target's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Due `due_s` seconds after `since` (None: after the last segment of the exchange, whoever sent it).

    With `latest_s` the window is given by the rule itself: any instant from due_s to latest_s will do.
    """

    due_s: float
    latest_s: float | None = None
    since: Stamped | None = None


def after(due_s: float, latest_s: float | None = None, *, since: Stamped | None = None) -> After:
    """Due that many seconds after `since`, or at any time from `due_s` to `latest_s` seconds."""
    return After(due_s=due_s, latest_s=latest_s, since=since)


def seconds_between(first: Stamped, second: Stamped) -> float:
    """How long after `first` the `second` happened, in seconds."""
    return ((second.stamp_ns or 0) - (first.stamp_ns or 0)) / SECOND


def wheel_lateness(ticks: float) -> int:
    """By how many ticks a timer of that many may be late on a timer wheel like Linux's.

    The wheel has levels of 64 slots; the slots of each level are eight times as long as those of the one below, and a
    timer fires at the end of its slot.
    """
    slot = 1
    # A tick more, since the wheel's own clock may be one behind when the timer is set.
    while ticks + 1 >= _WHEEL_SLOTS * slot:
        slot *= _WHEEL_FACTOR
    return slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How a target keeps time: `rounding` (a part of the timer's length that it may come late), `tick_ns`, and the
    `tolerance_ns` measured for the link.

    `wheel`: it has Linux's timer wheel, and the tick is known for certain; then that says how late it may come.
    """

    rounding: float
    tick_ns: int
    tolerance_ns: int
    wheel: bool = False

    def lateness_s(self, due_s: float) -> float:
        """By how many seconds a timer of that many may be late."""
        if not self.wheel or not due_s:
            return due_s * self.rounding
        tick_s = self.tick_ns / SECOND
        return wheel_lateness(due_s / tick_s) * tick_s

    def window(self, due: After, lateness_ns: int = 0) -> tuple[int, int]:
        """The earliest and the latest instant, in nanoseconds after the start.

        A timer counts whole ticks, the first of which may be nearly over when it is set: hence a tick on both sides.
        `lateness_ns` is what the machine was late meanwhile, if that is more than the tolerance; at the early side it
        counts twice, since the start may have been late and what is due may be twice a wait that was measured so.
        """
        due_ns = round(due.due_s * SECOND)
        latest_s = due.due_s + self.lateness_s(due.due_s) if due.latest_s is None else due.latest_s
        early_ns = self.tick_ns + max(self.tolerance_ns, 2 * lateness_ns)
        late_ns = self.tick_ns + max(self.tolerance_ns, lateness_ns)
        return max(0, due_ns - early_ns), round(latest_s * SECOND) + late_ns


def measure_tolerance(clock: Clock) -> int:
    """Twice the worst lateness of a short wait, in nanoseconds; 0 where the clock is exact."""
    worst = 0
    for _ in range(_SAMPLES):
        until = clock.now() + _SAMPLE_NS
        clock.wait(until)
        worst = max(worst, clock.now() - until)
    return 2 * worst
