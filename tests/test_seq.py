# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence number arithmetic: the wrap is no special place."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.wire import seq

numbers = st.integers(0, seq.MODULUS - 1)
distances = st.integers(-(1 << 31) + 1, (1 << 31) - 1)
HALF = 1 << 31


@given(numbers, distances)
def test_diff_undoes_add(number: int, distance: int) -> None:
    later = seq.add(number, distance)
    assert 0 <= later < seq.MODULUS
    assert seq.diff(later, number) == distance


@given(numbers, distances)
def test_order_follows_the_distance_wherever_it_starts(number: int, distance: int) -> None:
    later = seq.add(number, distance)
    assert seq.lt(number, later) == (distance > 0)
    assert seq.le(number, later) == (distance >= 0)
    assert seq.lt(later, number) == (distance < 0)
    assert seq.latest(number, later) == seq.latest(later, number) == (later if distance >= 0 else number)


@given(numbers, numbers)
def test_exactly_one_of_before_same_after(left: int, right: int) -> None:
    assume(seq.diff(left, right) != -HALF)
    assert [seq.lt(left, right), left == right, seq.lt(right, left)].count(True) == 1


@given(numbers, numbers, numbers)
def test_moving_both_numbers_changes_no_distance(left: int, right: int, by: int) -> None:
    assert seq.diff(seq.add(left, by), seq.add(right, by)) == seq.diff(left, right)


@given(numbers, st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_window_holds_its_octets_and_no_other(start: int, size: int, offset: int) -> None:
    assert seq.in_window(seq.add(start, offset), start, size) == (offset < size)
    assert not seq.in_window(seq.add(start, -1 - offset), start, size)


@pytest.mark.parametrize(("later", "earlier", "distance"), [
    (0, 0xFFFF_FFFF, 1),
    (0xFFFF_FFFF, 0, -1),
    (100, 0xFFFF_FFFF, 101),
    (0x8000_0000, 0, -HALF),
    (0, 0x8000_0000, -HALF),
    (0x7FFF_FFFF, 0, HALF - 1),
])
def test_distances_across_the_wrap(later: int, earlier: int, distance: int) -> None:
    assert seq.diff(later, earlier) == distance


def test_a_window_across_the_wrap() -> None:
    start = 0xFFFF_FFF0
    assert [seq.in_window(number, start, 32) for number in (start - 1, start, 0xFFFF_FFFF, 0, 15, 16)] == [
        False, True, True, True, True, False]
    assert not seq.in_window(start, start, 0)
