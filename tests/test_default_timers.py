# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases about a target's default values are left out where the run has shortened them, and it is said so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.targets.profile import load_profile

ROOT = Path(__file__).resolve().parent.parent
LINUX = load_profile("linux").with_version("6.18.44")

CASES = """
from harness.authoring import default_timers, slow

@default_timers("syn_retries", "keepalive_time_s", "rto_min_s")
def test_shortened(case):
    pass

@slow
@default_timers("syn_retries")
def test_shortened_and_slow(case):
    pass

@slow
@default_timers("rto_min_s")
def test_not_shortened_but_slow(case):
    pass

@default_timers("rto_min_s")
def test_with_the_default(case):
    pass
"""


def test_a_value_is_shortened_where_another_than_the_default_is_in_force() -> None:
    short = LINUX.with_short()
    assert short.shortened("syn_retries")
    assert short.shortened("tcp_keepalive_time")
    assert not LINUX.shortened("syn_retries")
    assert not short.shortened("rto_min_s")
    assert not short.shortened("data_give_up")
    assert not short.shortened("max_half_open")


def test_a_value_that_this_version_has_not_is_not_shortened() -> None:
    assert LINUX.with_short().shortened("syn_linear_timeouts")
    assert not LINUX.with_version("6.1.0").with_short().shortened("syn_linear_timeouts")


def _collected(pytester: pytest.Pytester, target: str, *words: str) -> tuple[str, dict[str, str]]:
    """What pytest says of the collection, and what the results say was left out."""
    pytester.makepyfile(test_marks=CASES)
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    results = pytester.path / "results.json"
    said = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--target", target, "--family", "ipv4", "--results",
                                         results, *words).stdout.str()
    entries = json.loads(results.read_bytes())["left_out"] if results.exists() else []
    return said, {entry["id"].partition("::")[2]: entry["why"] for entry in entries}


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own finds the harness even if it is not installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_short_values_leave_the_case_out(pytester: pytest.Pytester) -> None:
    said, left_out = _collected(pytester, "linux", "-k", "shortened")
    assert left_out == {
        "shortened": "needs default timers: syn_retries, keepalive_time_s shortened",
        "shortened_and_slow": "needs default timers: syn_retries shortened",
        "not_shortened_but_slow": "slow: run with --slow",
    }
    assert "4 deselected" in said


def test_default_values_do_not(pytester: pytest.Pytester) -> None:
    said, left_out = _collected(pytester, "decoy:blackhole", "--collect-only", "-q")
    assert left_out == {}
    assert "4 tests collected" in said
