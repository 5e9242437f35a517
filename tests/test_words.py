# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands say: tables, sizes and dates."""

from __future__ import annotations

import pytest

from harness.words import minute, size, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(table([("name", "HZ", "source"), ("6.1", "1000", ""), ("a kernel", "250", "a package 1")])) == [
        "name      HZ    source", "6.1       1000", "a kernel  250   a package 1"]


@pytest.mark.parametrize(("octets", "said"), [(0, "0 octets"), (1023, "1023 octets"), (1024, "1.0 KiB"),
                                              (1536 << 10, "1.5 MiB"), (3 << 30, "3.0 GiB")])
def test_sizes(octets: int, said: str) -> None:
    assert size(octets) == said


def test_dates_are_told_to_the_minute() -> None:
    assert minute("2026-11-21T15:07:44+00:00") == "2026-11-21 15:07"
