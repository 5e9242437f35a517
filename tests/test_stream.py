# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import time

from harness.lower.stream import octets


def test_places_far_out_cost_nothing() -> None:
    began = time.monotonic()
    assert octets("injector", 3_000_000_000, 0) == b""
    assert len(octets("injector", 3_000_000_000, 100)) == 100
    assert time.monotonic() - began < 1


def test_a_part_is_what_stands_at_its_place() -> None:
    whole = octets("target", 0, 30_000)
    for start, count in ((0, 10), (93, 3), (8_830, 20), (8_836, 94), (20_000, 10_000)):
        assert octets("target", start, count) == whole[start:start + count]


def test_the_sides_speak_differently() -> None:
    ours, theirs = octets("injector", 0, 500), octets("target", 0, 500)
    assert all(one != other for one, other in zip(ours, theirs, strict=True))
