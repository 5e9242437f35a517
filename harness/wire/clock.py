# SPDX-License-Identifier: GPL-2.0-or-later
"""The target's clock: the one place where the harness waits.

Instants are integer nanoseconds since the lab began. Whoever has events (the link, a pending socket call) registers as
a `Source`; `Clock.wait` returns the first event of any of them. A case never knows which clock it runs on: real time
here, a guest's or a stepped stack's elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from .frame import Frame

_READINGS: Final = 5
_UNDISTURBED_NS: Final = 20_000

SECOND: Final = 1_000_000_000
"""Nanoseconds in a second."""
_SLICE_NS: Final = 20_000_000
CLOCK_STEP_NS: Final = 256
"""The step in which the clock of a guest is read."""
_CALL_STEPS: Final = 4
_LAST_NS: Final = 15_000
_SLACK_PART: Final = 500
_SLACK_NS: Final = 200_000_000
_SHORT_NS: Final = 20_000
_ROUND_NS: Final = 16 * SECOND
"""Where the time of a guest is its own, its lab begins at a multiple of this; by then all has been imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call on the target's socket API ended.

    `error` is an errno name (`"ECONNREFUSED"`) or "" for success, then `value` is what the call returned (octets read,
    the accepted socket, ...). Octets of length 0 from a read mean the end of the stream.
    """

    call: Any
    value: Any = None
    error: str = ""
    at_ns: int = 0

    def __str__(self) -> str:
        if self.error:
            return self.error
        if isinstance(self.value, bytes):
            return f"{len(self.value)} octets" if self.value else "end of stream"
        return str(self.value) if isinstance(self.value, int) else "done"


def error_name(number: int) -> str:
    """The name of an errno value, `"E<number>"` where the platform knows none."""
    return errno.errorcode.get(number, f"E{number}")


Event = Frame | Outcome


@runtime_checkable
class Source(Protocol):
    """What a clock can wait for."""

    def fileno(self) -> int:
        """The descriptor that turns readable, or writable if `writable`, when there is an event; -1 for none."""

    def poll(self) -> Event | None:
        """The next event if there is one; never blocks."""


class Clock(Protocol):
    """Time as the target has it."""

    kind: str

    @property
    def lateness_ns(self) -> int:
        """What the machine may have added to an instant since `forget_lateness`, in nanoseconds."""

    def forget_lateness(self) -> None:
        """Begin to measure anew."""

    def now(self) -> int:
        """The present instant in nanoseconds."""

    def wait(self, until: int) -> Event | None:
        """The next event of any source, or None once `until` (an instant in nanoseconds) has come."""

    def register(self, source: Source) -> None:
        """Let waits return the events of this source."""

    def unregister(self, source: Source) -> None:
        """Forget a source; one that is not registered is no error."""


class StolenTime:
    """What the host of a virtual machine took away from its processors, as the kernel counts it (`steal` in proc(5)).

    A target's timer that falls into such a gap is late through nobody's fault, and on a processor where our own waits
    do not see it. On a real machine it is always 0.
    """

    def __init__(self) -> None:
        self._tick_ns = SECOND // os.sysconf("SC_CLK_TCK")
        self._descriptor = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._forgotten = self._ticks()

    def _ticks(self) -> int:
        first = os.pread(self._descriptor, 256, 0).split(b"\n", 1)[0].split()
        return int(first[8]) if len(first) > 8 else 0

    def since_ns(self) -> int:
        """Nanoseconds, of all processors together, since `forget`."""
        return (self._ticks() - self._forgotten) * self._tick_ns

    def forget(self) -> None:
        """Count from now on."""
        self._forgotten = self._ticks()

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _realtime_ahead() -> int:
    """How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, in nanoseconds.

    The process may lose the processor between two readings, so the wall clock is read between two of the other, again
    if that took long; the quickest counts.
    """
    quickest = ahead = 0
    for attempt in range(_READINGS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if attempt == 0 or after - before < quickest:
            quickest, ahead = after - before, wall - (before + after) // 2
        if quickest < _UNDISTURBED_NS:
            break
    return ahead


def _arrive(instant_ns: int) -> None:
    """Come to this instant of CLOCK_MONOTONIC in a guest, exactly, however the guest came to the present one.

    To wake up takes some steps of the clock more or less, as the kernel's other work falls. So the rest of the way is
    gone in system calls, whose price is known: four steps each, and one more where the clock is read.
    """
    left_ns = instant_ns - time.monotonic_ns()
    if left_ns > _LAST_NS:
        select.select((), (), (), (left_ns - _LAST_NS) / SECOND)
    steps = (instant_ns - time.monotonic_ns()) // CLOCK_STEP_NS
    for _ in range(steps % _CALL_STEPS):
        time.monotonic_ns()
        steps -= _CALL_STEPS + 1
    for _ in range(steps // _CALL_STEPS):
        os.getppid()


class _KernelClock:
    """What clocks of a kernel have in common: sources with descriptors, and a wait that blocks on these."""

    def __init__(self) -> None:
        # A kernel's own clocks step at whole units of its monotonic clock, and so at whole units of an instant.
        now, today = time.monotonic_ns(), time.time_ns()
        self._epoch = now - now % SECOND
        self.epoch_ns: int = today - now % SECOND
        self._sources: list[Source] = []
        self._descriptors: dict[int, list[tuple[Source, int]]] = {}

    def now(self) -> int:
        """Nanoseconds since the second in which the clock was made."""
        return time.monotonic_ns() - self._epoch

    def register(self, source: Source) -> None:
        """Poll this source in every wait from now on."""
        self._sources.append(source)
        if (descriptor := source.fileno()) >= 0:
            mask = select.POLLOUT if getattr(source, "writable", False) else select.POLLIN
            self._descriptors.setdefault(descriptor, []).append((source, mask))
            self._watch(descriptor)

    def unregister(self, source: Source) -> None:
        """Forget a source, even if its descriptor has been closed meanwhile."""
        if source not in self._sources:
            return
        self._sources.remove(source)
        for descriptor, users in list(self._descriptors.items()):
            left = [user for user in users if user[0] is not source]
            if len(left) != len(users):
                self._descriptors[descriptor] = left
                self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        # Several sources may wait on one descriptor: what is watched is all that any of them wants.
        wanted = 0
        for _, mask in self._descriptors[descriptor]:
            wanted |= mask
        if not wanted:
            del self._descriptors[descriptor]
        self._attend(descriptor, wanted)

    def _attend(self, descriptor: int, events: int) -> None:
        """Let `_sleep` end at these events of a descriptor; 0 for none any more."""
        raise NotImplementedError

    def _sleep(self, left: int) -> None:
        """Block until a descriptor is ready, for `left` nanoseconds at most; less is no error."""
        raise NotImplementedError

    def wait(self, until: int) -> Event | None:
        """The next event, or None at `until`."""
        while True:
            for source in self._sources:
                event = source.poll()
                if event is not None:
                    return event
            left = until - self.now()
            if left <= 0:
                return None
            self._sleep(left)


class RealClock(_KernelClock):
    """A kernel or device in real time, on a machine that others use as well."""

    kind = "real"

    def __init__(self) -> None:
        super().__init__()
        self._late_ns = 0
        self._stolen = StolenTime()
        self._select = select.poll()

    @property
    def lateness_ns(self) -> int:
        """The worst lateness of our own wake-ups, or what the machine's host took away meanwhile if that is more."""
        return max(self._late_ns, self._stolen.since_ns())

    def forget_lateness(self) -> None:
        """Begin to measure the lateness anew."""
        self._late_ns = 0
        self._stolen.forget()

    def instant(self, realtime_ns: int) -> int:
        """The instant of a kernel stamp (CLOCK_REALTIME), corrected for steps of the wall clock since the start."""
        return realtime_ns - _realtime_ahead() - self._epoch

    def _attend(self, descriptor: int, events: int) -> None:
        if events:
            self._select.register(descriptor, events)
        else:
            self._select.unregister(descriptor)

    def _sleep(self, left: int) -> None:
        """Sleep for a slice at most: each slice that ends by itself shows how late."""
        slice_ms = min(left, _SLICE_NS) // 1_000_000 + 1
        until = self.now() + slice_ms * 1_000_000
        if not self._select.poll(slice_ms):
            self._late_ns = max(self._late_ns, self.now() - until)


class SkippingClock(_KernelClock):
    """The clock of a guest kernel that skips the time in which nothing happens.

    Work costs no time there, so nothing is ever late; and however long a wait is, it is a few system calls, and ends at
    the very instant. The lab begins at a round instant, whatever the imports before it have cost.
    """

    kind = "skipping"
    lateness_ns = 0

    def __init__(self) -> None:
        self._ahead = _realtime_ahead()
        begins = (time.monotonic_ns() // _ROUND_NS + 1) * _ROUND_NS
        _arrive(begins)
        super().__init__()
        self._epoch = begins
        self.epoch_ns = begins + self._ahead
        self._readable: list[int] = []
        self._writable: list[int] = []

    def forget_lateness(self) -> None:
        """Skipped time is never late."""

    def arrive(self, instant: int) -> None:
        """Let time pass up to that very instant, whatever happens meanwhile; it is a multiple of CLOCK_STEP_NS."""
        _arrive(self._epoch + instant)

    def instant(self, realtime_ns: int) -> int:
        """The instant of a kernel stamp (CLOCK_REALTIME); nobody steps the wall clock of a guest."""
        return realtime_ns - self.epoch_ns

    def _attend(self, descriptor: int, events: int) -> None:
        for watched, mask in ((self._readable, select.POLLIN), (self._writable, select.POLLOUT)):
            if descriptor in watched:
                watched.remove(descriptor)
            if events & mask:
                watched.append(descriptor)

    def _sleep(self, left: int) -> None:
        # poll(2) counts in milliseconds, which is too coarse for an instant right before a tick. And the kernel allows
        # itself to end a wait late by a thousandth of it, 100 ms at most: so what is near the end is waited for anew.
        early = min(left // _SLACK_PART, _SLACK_NS) if left > _SHORT_NS else 0
        select.select(self._readable, self._writable, (), (left - early) / SECOND)


class SteppedClock:
    """Time that moves only when a wait says so, for stacks that run as code of ours.

    `advance(until)` lets the stack run up to that instant at most, and returns the instant where it stopped: `until`,
    or earlier if it has produced something. No wall time passes in a wait.
    """

    kind = "stepped"
    lateness_ns = 0

    def __init__(self, advance: Callable[[int], int] | None = None) -> None:
        self._now = 0
        self.epoch_ns: int = 0
        self._sources: list[Source] = []
        self._advance = advance or (lambda until: until)

    def forget_lateness(self) -> None:
        """Stepped time is never late."""

    def now(self) -> int:
        """The instant that the stack has been brought to."""
        return self._now

    def register(self, source: Source) -> None:
        """Poll this source in every wait from now on."""
        self._sources.append(source)

    def unregister(self, source: Source) -> None:
        """Forget a source."""
        if source in self._sources:
            self._sources.remove(source)

    def wait(self, until: int) -> Event | None:
        """The next event; with none, the stack's time moves towards `until`."""
        while True:
            for source in self._sources:
                event = source.poll()
                if event is not None:
                    if isinstance(event, Frame):
                        self._now = max(self._now, event.stamp_ns)
                    return event
            if self._now >= until:
                return None
            self._now = max(self._now, self._advance(until))
