# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import socket
import time

import pytest

from harness.lower.timing import Timing, after, measure_tolerance
from harness.wire import clock as clocks
from harness.wire.clock import SECOND, Outcome, RealClock, SkippingClock, SteppedClock, error_name
from harness.wire.frame import Frame

MS = 1_000_000


def test_the_window_is_the_timers_rounding_and_a_tick_and_the_tolerance():
    timing = Timing(rounding=0.125, tick_ns=4 * MS, tolerance_ns=MS)
    assert timing.window(after(1.0)) == (995 * MS, 1130 * MS)


def test_a_rule_that_gives_both_ends_is_not_widened_by_rounding():
    timing = Timing(rounding=0.125, tick_ns=4 * MS, tolerance_ns=MS)
    assert timing.window(after(0.0, 0.5)) == (0, 505 * MS)


def test_a_stepped_clock_is_exact():
    assert measure_tolerance(SteppedClock()) == 0


def test_the_tolerance_of_real_time_is_measured():
    assert 0 < measure_tolerance(RealClock()) < 1_000 * MS


class Pipe:
    """A source on a descriptor; also counts how often it was asked."""

    def __init__(self, event: Outcome | None = None) -> None:
        self.ours, self.other = socket.socketpair()
        self.ours.setblocking(False)

    def fileno(self) -> int:
        return self.ours.fileno()

    def poll(self) -> Outcome | None:
        try:
            return Outcome(call=self, value=self.ours.recv(1))
        except BlockingIOError:
            return None


def test_a_real_wait_ends_with_the_event():
    clock, pipe = RealClock(), Pipe()
    clock.register(pipe)
    pipe.other.send(b"x")
    event = clock.wait(clock.now() + 10_000 * MS)
    assert isinstance(event, Outcome)
    assert event.value == b"x"


def test_a_real_wait_ends_at_its_instant():
    clock = RealClock()
    clock.register(Pipe())
    until = clock.now() + 20 * MS
    assert clock.wait(until) is None
    assert clock.now() >= until


def test_two_sources_may_share_a_descriptor():
    clock, pipe = RealClock(), Pipe()

    class Other:
        writable = True

        def fileno(self) -> int:
            return pipe.fileno()

        def poll(self) -> None:
            return None

    other = Other()
    clock.register(pipe)
    clock.register(other)
    clock.unregister(other)
    pipe.other.send(b"x")
    assert clock.wait(clock.now() + 10_000 * MS) is not None
    clock.unregister(pipe)
    assert clock.wait(0) is None


def test_a_source_can_be_forgotten_after_its_descriptor_is_closed():
    clock, pipe = RealClock(), Pipe()
    clock.register(pipe)
    pipe.ours.close()
    clock.unregister(pipe)
    clock.unregister(pipe)
    assert clock.wait(0) is None


def test_a_kernel_stamp_becomes_an_instant():
    clock = RealClock()
    before = clock.now()
    instant = clock.instant(time.time_ns())
    assert before - MS <= instant <= clock.now() + MS


def test_a_stamp_is_not_displaced_by_losing_the_processor(monkeypatch):
    clock = RealClock()
    now = time.time_ns()
    real, lost = time.monotonic_ns, [3]

    def preempted() -> int:
        read = real()
        if lost[0]:
            lost[0] -= 1
            time.sleep(0.005)
        return read

    undisturbed = clock.instant(now)
    monkeypatch.setattr(time, "monotonic_ns", preempted)
    assert abs(clock.instant(now) - undisturbed) < MS
    assert lost == [0]


class Queue:
    def __init__(self) -> None:
        self.events: list[Frame | Outcome] = []

    def fileno(self) -> int:
        return -1

    def poll(self) -> Frame | Outcome | None:
        return self.events.pop(0) if self.events else None


def test_stepped_time_moves_only_in_a_wait_and_only_as_far_as_the_stack_lets_it():
    queue = Queue()

    def advance(until: int) -> int:
        if until >= 70:
            queue.events.append(Frame(data=b"", stamp_ns=70))
            return 70
        return until

    clock = SteppedClock(advance)
    clock.register(queue)
    assert clock.wait(50) is None
    assert clock.now() == 50
    event = clock.wait(1000)
    assert isinstance(event, Frame)
    assert clock.now() == 70
    assert queue.poll() is None


def test_a_stepped_clock_forgets_sources():
    clock, queue = SteppedClock(), Queue()
    clock.register(queue)
    queue.events.append(Outcome(call="x"))
    clock.unregister(queue)
    clock.unregister(queue)
    assert clock.wait(80) is None
    assert clock.now() == 80


def test_stepped_time_follows_the_stamps():
    clock, queue = SteppedClock(), Queue()
    clock.register(queue)
    queue.events.append(Frame(data=b"", stamp_ns=5))
    queue.events.append(Outcome(call="x"))
    clock.wait(0)
    assert clock.now() == 5
    assert isinstance(clock.wait(0), Outcome)


def test_a_real_clock_takes_sources_without_a_descriptor():
    clock, queue = RealClock(), Queue()
    clock.register(queue)
    queue.events.append(Outcome(call="x"))
    assert clock.wait(0) is not None
    clock.unregister(queue)


@pytest.fixture
def skipping(monkeypatch) -> SkippingClock:
    """On a host such a clock works as well, only that nothing is skipped."""
    monkeypatch.setattr(clocks, "_ROUND_NS", MS)
    return SkippingClock()


def test_a_skipping_clock_begins_at_a_round_instant(skipping):
    assert 0 <= skipping.now() < 1_000 * MS
    assert (time.monotonic_ns() - skipping.now()) // 100_000 % 10 in (0, 9, 1, 2)
    assert (skipping.kind, skipping.lateness_ns) == ("skipping", 0)
    skipping.forget_lateness()


def test_a_skipping_wait_ends_with_the_event_or_at_its_instant(skipping):
    pipe = Pipe()
    skipping.register(pipe)
    until = skipping.now() + 20 * MS
    assert skipping.wait(until) is None
    assert skipping.now() >= until
    pipe.other.send(b"x")
    assert skipping.wait(skipping.now() + 10_000 * MS).value == b"x"
    skipping.unregister(pipe)
    pipe.other.send(b"x")
    assert skipping.wait(skipping.now() + MS) is None


def test_a_skipping_clock_waits_for_room_to_write(skipping):
    class Writer(Pipe):
        writable = True

        def poll(self) -> Outcome | None:
            return Outcome(call=self, value=self.ours.send(b"x"))

    writer = Writer()
    skipping.register(writer)
    assert skipping.wait(skipping.now() + 10_000 * MS).value == 1
    skipping.unregister(writer)


def test_a_long_skipping_wait_leaves_what_the_kernel_may_be_late_for_a_second_one(skipping, monkeypatch):
    waits: list[float] = []
    now = [0]
    monkeypatch.setattr(skipping, "now", lambda: now[0])

    def late(readable, writable, exceptional, seconds) -> None:
        waits.append(seconds)
        now[0] += round((seconds + min(seconds / 1000, 0.1)) * SECOND)

    monkeypatch.setattr(clocks.select, "select", late)
    skipping.wait(7200 * SECOND)
    assert 7200 * SECOND <= now[0] < 7200 * SECOND + 1000
    assert len(waits) < 8


def test_a_kernel_stamp_becomes_an_instant_of_a_skipping_clock(skipping):
    before = skipping.now()
    assert before - MS <= skipping.instant(time.time_ns()) <= skipping.now() + MS


@pytest.mark.parametrize(("outcome", "text"), [
    (Outcome(call=1), "done"),
    (Outcome(call=1, error="EPIPE"), "EPIPE"),
    (Outcome(call=1, value=b""), "end of stream"),
    (Outcome(call=1, value=b"ab"), "2 octets"),
    (Outcome(call=1, value=7), "7"),
    (Outcome(call=1, value=object()), "done"),
])
def test_an_outcome_reads_as_people_say_it(outcome, text):
    assert str(outcome) == text


def test_error_names():
    assert error_name(errno.ECONNREFUSED) == "ECONNREFUSED"
    assert error_name(99999) == "E99999"


def test_instants_are_whole_seconds_when_the_kernels_clock_is():
    """Units of the kernel's, such as the milliseconds of its time stamps, then begin with ours."""
    clock = RealClock()
    before = time.monotonic_ns()
    now = clock.now()
    ahead = (before - now) % SECOND
    assert ahead == 0 or SECOND - ahead <= time.monotonic_ns() - before
    assert abs(clock.epoch_ns + now - time.time_ns()) < SECOND
