# SPDX-License-Identifier: GPL-2.0-or-later
"""Full collections of garbage come between cases: a case that makes much garbage tells when one came."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

CASES = '''
import gc
import json
from pathlib import Path

import pytest

from harness.authoring import covers

SEEN = Path("seen")
GARBAGE = 8 * 700 * 10 * 10


def collected():
    return gc.get_stats()[2]["collections"]


@covers("RFC9293-MUST-2")
@pytest.mark.parametrize("number", range(4))
def test_makes_garbage(peer, listener, number):
    """So much that outlives young collections that Python would run full ones."""
    before, kept = collected(), []
    for _ in range(GARBAGE):
        kept.append([])
    with SEEN.open("a") as out:
        print(json.dumps([before, collected()]), file=out)
    peer.send("S 0:0(0) win 65535")
    peer.expect("S. 0:0(0) ack 1 <...>")
'''


def seen(pytester: pytest.Pytester, *words: str) -> list[list[int]]:
    """How many full collections there had been when each case began, and when it ended."""
    topic = pytester.path / "cases" / "topic"
    topic.mkdir(parents=True)
    (topic / "test_garbage.py").write_text(CASES)
    pytester.makeini("[pytest]\njunit_family = xunit1\n")
    ran = pytester.runpytest_subprocess("-p", "harness.plugin", "cases", "--target=model", "--family=ipv4", "-n0",
                                        f"--results={pytester.path / 'out' / 'results.json'}", *words)
    ran.assert_outcomes(passed=4)
    return [json.loads(line) for line in Path(pytester.path, "seen").read_text().splitlines()]


def test_none_comes_within_a_case_and_some_between_two(pytester: pytest.Pytester) -> None:
    counts = seen(pytester)
    assert all(before == after for before, after in counts)
    assert counts[0][0] < counts[-1][0]


def test_without_it_they_come_within_cases(pytester: pytest.Pytester) -> None:
    """What the other test sees is no accident."""
    assert any(before < after for before, after in seen(pytester, "-p", "no:tcpqual-garbage"))


def test_who_calls_pytest_goes_on_as_before(pytester: pytest.Pytester) -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    topic = pytester.mkdir("cases").joinpath("topic")
    topic.mkdir()
    (topic / "test_garbage.py").write_text(CASES.replace("GARBAGE = 8", "GARBAGE = 0"))
    ran = pytester.runpytest_inprocess("-p", "harness.plugin", "cases", "--target=model", "--family=ipv4", "-n0")
    ran.assert_outcomes(passed=4)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() <= frozen
