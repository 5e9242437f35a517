# SPDX-License-Identifier: GPL-2.0-or-later
"""The clock of a guest in real time: its timers are late when its machine does not get to run, and that is measured.

The guest's processor is a thread of this machine's. While that waits for a processor, or emulates something else that
the guest does, the guest's timers wait too, through nobody's fault. The kernel counts both for each thread
(`schedstat` in proc(5)): the time that it ran, and the time that it was ready to run and did not.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from ...wire.clock import RealClock

_ENDS: Final = 2


class ThreadTimes:
    """What the threads of a process ran and waited, in nanoseconds; nothing where the kernel does not count it."""

    def __init__(self, pid: int) -> None:
        self._files: list[int] = []
        with contextlib.suppress(OSError):
            self._files = [os.open(path / "schedstat", os.O_RDONLY | os.O_CLOEXEC)
                           for path in Path(f"/proc/{pid}/task").iterdir()]

    def read(self) -> int:
        """The sum of both over all threads."""
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError, ValueError):
                ran, waited, _ = os.pread(file, 100, 0).split()
                total += int(ran) + int(waited)
        return total

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            os.close(file)
        self._files.clear()


class GuestClock(RealClock):
    """Real time, whose lateness is also that of a guest: for how long its machine was busy without a break.

    Whatever the guest is to do while its machine is busy it does when that is over, at the latest. A look is taken
    whenever a wait ends, so every 20 ms at least while nothing happens; a machine that ran or waited for half of the
    time between two looks counts as busy all along. What is timed has two ends, so the two longest such times count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: ThreadTimes | None = None
        self._seen_ns = self._looked_ns = 0
        self._present_ns = 0
        self._longest: list[int] = []

    def watch(self, pid: int) -> None:
        """Measure this process from now on, and no other."""
        self.unwatch()
        self._times = ThreadTimes(pid)
        self._seen_ns, self._looked_ns = self._times.read(), self.now()
        self.forget_lateness()

    def unwatch(self) -> None:
        """Measure none."""
        if self._times is not None:
            self._times.close()
            self._times = None

    @property
    def lateness_ns(self) -> int:
        """What our own waits, the machine's host and the guest's machine may have added to an instant."""
        self._look()
        return max(super().lateness_ns, sum(sorted((*self._longest, self._present_ns))[-_ENDS:]))

    def forget_lateness(self) -> None:
        """Begin to measure anew."""
        super().forget_lateness()
        self._look()
        self._present_ns = 0
        self._longest.clear()

    def _look(self) -> None:
        if self._times is None:
            return
        now_ns, total_ns = self.now(), self._times.read()
        busy_ns, passed_ns = total_ns - self._seen_ns, now_ns - self._looked_ns
        self._seen_ns, self._looked_ns = total_ns, now_ns
        if 2 * busy_ns < passed_ns:
            # There was a break: what was before is over, and what is new may go on.
            self._longest = sorted((*self._longest, self._present_ns))[-_ENDS:]
            self._present_ns = 0
        self._present_ns += busy_ns

    def _sleep(self, left: int) -> None:
        super()._sleep(left)
        self._look()
