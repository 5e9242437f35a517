# SPDX-License-Identifier: GPL-2.0-or-later
"""The core's timers: one heap of instants, nanoseconds of the lab's clock. Time is told to it, never asked."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timer:
    """One timer of somebody; it does nothing until it is set."""

    def __init__(self, heap: Timers, action: Callable[[], None]) -> None:
        self.due_ns: int | None = None
        self.action = action
        self._heap = heap

    def set(self, due_ns: int) -> None:
        """Let it expire at that instant, and not at the one set before."""
        if due_ns != self.due_ns:
            self.due_ns = due_ns
            self._heap.add(due_ns, self)

    def stop(self) -> None:
        """Let it not expire."""
        self.due_ns = None

    @property
    def running(self) -> bool:
        """True if it is set and has not expired."""
        return self.due_ns is not None


class Timers:
    """All timers of a stack, in the order in which they expire; those of one instant in the order of their setting."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0

    def make(self, action: Callable[[], None]) -> Timer:
        """A timer that is not set."""
        return Timer(self, action)

    def add(self, due_ns: int, timer: Timer) -> None:
        """Take note of when a timer expires."""
        self._count += 1
        heapq.heappush(self._heap, (due_ns, self._count, timer))

    def next_ns(self) -> int | None:
        """When the next one expires, None if none is set."""
        while self._heap:
            due_ns, _, timer = self._heap[0]
            if timer.due_ns == due_ns:
                return due_ns
            heapq.heappop(self._heap)  # it was stopped, or set anew
        return None

    def expire(self, now_ns: int) -> None:
        """Do what is due."""
        while (due_ns := self.next_ns()) is not None and due_ns <= now_ns:
            _, _, timer = heapq.heappop(self._heap)
            timer.due_ns = None
            timer.action()
