# SPDX-License-Identifier: GPL-2.0-or-later
"""What a finding makes of a case."""

from __future__ import annotations

from typing import Any

import pytest

from harness.lower.verdict import Finding, Inconclusive, Mismatch, Story, TimingCheck, Verdict, worst
from harness.report.record import VERDICTS, WORST_FIRST
from harness.wire.errors import HarnessError


def finding(level: str = "MUST", **fields: Any) -> Finding:
    known: dict[str, Any] = {"requirement": "RFC9293-MUST-2", "source": "case", "expected": "a", "got": "b"}
    return Finding(level=level, **known | fields)


@pytest.mark.parametrize(("level", "verdict"), [
    ("MUST", Verdict.FAIL), ("MUST NOT", Verdict.FAIL), ("SHOULD", Verdict.ADVICE), ("SHOULD NOT", Verdict.ADVICE),
    ("MAY", Verdict.PASS),
])
def test_the_level_says_what_a_broken_rule_costs(level, verdict):
    assert finding(level).verdict is verdict
    assert finding(level, deviation="it is known").verdict is Verdict.KNOWN_DEVIATION


def test_the_verdict_is_the_worst_finding():
    assert worst([]) is Verdict.PASS
    assert worst([finding("MAY")]) is Verdict.PASS
    assert worst([finding("SHOULD"), finding("MUST", deviation="known")]) is Verdict.ADVICE
    assert worst([finding("SHOULD"), finding(), finding("MAY")]) is Verdict.FAIL


def test_reports_know_the_same_verdicts():
    assert sorted(verdict.value for verdict in Verdict) == sorted(VERDICTS) == sorted(WORST_FIRST)


def test_a_mismatch_says_its_finding():
    assert str(Mismatch(finding())) == "RFC9293-MUST-2: expected a, got b"


def test_what_speaks_of_the_target_is_no_error_of_ours():
    assert not issubclass(Mismatch, HarnessError)
    assert not issubclass(Inconclusive, HarnessError)
    assert not issubclass(Inconclusive, Mismatch)


@pytest.mark.parametrize(("got_ns", "kept"), [(9, False), (10, True), (30, True), (31, False)])
def test_a_time_is_kept_inside_its_window(got_ns, kept):
    assert TimingCheck(what="x", due_ns=20, earliest_ns=10, latest_ns=30, got_ns=got_ns).kept is kept


def test_stories_do_not_share_their_lines():
    Story().proof.add("wire")
    assert Story().proof == set()
