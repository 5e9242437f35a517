# SPDX-License-Identifier: GPL-2.0-or-later
"""What CI services are told: the summary, the annotations, the code quality report."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from report_samples import finding, record

from harness.report import ci
from harness.report.results import summarise
from harness.wire.errors import UsageError


def results(*cases: dict[str, Any], left_out: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {"target": {"name": "box", "kind": "pipe", "version": "1.0", "profile": "box"}, "run": {}, "wall_s": 1.0,
            "cases": list(cases), "left_out": list(left_out), "summary": summarise(cases)}


def failed(**changes: Any) -> dict[str, Any]:
    return record(verdict="fail", findings=[finding()], **changes)


def test_a_good_run_says_so_in_three_lines_and_a_table() -> None:
    text = ci.summary(results(record(), record(family="ipv6")), status=0)
    assert text.startswith("## tcpqual: box 1.0 (pipe), profile box\n\n**CONFORMANT (exit status 0)**\n")
    assert "| pass |\n|---:|\n| 2 |" in text
    assert "To look at" not in text


def test_a_failure_has_a_row_for_both_families_and_its_page() -> None:
    text = ci.summary(results(failed(), failed(family="ipv6"), record(id="x/y::z")), status=1)
    rows = [line for line in text.splitlines() if line.startswith("| fail | <code>")]
    assert len(rows) == 1
    assert "ipv4, ipv6" in rows[0]
    assert "RFC9293-MUST-14: expected S. 0:0(0) ack 1 win \\* &lt;mss 1460,sackOK&gt;" in rows[0]
    assert text.count("<details>") == text.count("</details>") == 1
    assert "    expected  S. 0:0(0)" in text


def test_advice_counts_with_strict_alone() -> None:
    advice = record(verdict="advice", findings=[finding(level="SHOULD")])
    assert "### Advice not kept" in ci.summary(results(advice))
    strict = ci.summary(results(advice), strict=True)
    assert "### Advice not kept" not in strict
    assert "### To look at" in strict
    assert [line[:9] for line in ci.workflow_commands(results(advice))] == ["::warning"]
    assert [line[:7] for line in ci.workflow_commands(results(advice), strict=True)] == ["::error"]


def test_what_a_target_says_is_no_markup() -> None:
    evil = "<script>x</script> | `a` *b* [c](d) ```\n::error::no"
    text = ci.summary(results(failed(reason=evil, title="``` end", variant="<b>")))
    # Within the fence nothing is markup, and no line of what is inside closes it.
    outside = re.sub(r"^(`{4,})text\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<script>" in text
    assert "<script>" not in outside
    assert "<b>" not in outside
    row = next(line for line in text.splitlines() if line.startswith("| fail | <code>"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    fences = re.findall(r"^(`{3,})(?:text)?$", text, re.MULTILINE)
    assert len(fences) == 2
    assert len(set(fences)) == 1
    (line,) = ci.workflow_commands(results(failed(reason=evil)))
    assert "\n" not in line


def test_annotations_are_no_more_than_github_shows() -> None:
    lines = ci.workflow_commands(results(*(failed(id=f"a/b::c{number}") for number in range(30))))
    assert len(lines) == 10
    assert lines[-1] == "::warning title=tcpqual::21 more, in the summary of this step"
    assert lines[0].startswith("::error title=fail%3A a/b%3A%3Ac0::RFC9293-MUST-14: expected ")


def test_a_summary_stays_below_what_github_takes() -> None:
    many = [failed(id=f"a/b::c{number}", reason="x" * 20000) for number in range(99)]
    text = ci.summary(results(*many))
    assert len(text.encode()) < 1 << 20
    assert text.endswith("The rest is in the report.\n")
    assert text.count("<details>") == text.count("</details>")


def test_code_quality_keeps_its_fingerprints() -> None:
    first = ci.code_quality(results(failed(), failed(family="ipv6"), record()))
    again = ci.code_quality(results(failed(reason="otherwise"), failed(family="ipv6")))
    assert [issue["fingerprint"] for issue in first] == [issue["fingerprint"] for issue in again]
    assert len({issue["fingerprint"] for issue in first}) == 2
    assert first[0]["location"] == {"path": "cases/handshake/test_passive.py", "lines": {"begin": 1}}
    assert first[0]["severity"] == "major"


def test_files_stand_beside_the_results_and_github_is_told(tmp_path: Path) -> None:
    step, log = tmp_path / "step.md", StringIO()
    step.write_text("before\n")
    files = ci.publish(results(failed()), tmp_path, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step)}, log,
                       status=1)
    assert files == [tmp_path / "summary.md", tmp_path / "code-quality.json"]
    assert step.read_text() == "before\n" + (tmp_path / "summary.md").read_text()
    assert log.getvalue().startswith("::error title=")
    assert len(json.loads((tmp_path / "code-quality.json").read_text())) == 1


def test_elsewhere_the_log_stays_as_it_is(tmp_path: Path) -> None:
    log = StringIO()
    ci.publish(results(failed()), tmp_path, {}, log)
    assert log.getvalue() == ""


def test_a_summary_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"step\.md: cannot be written: No such file or directory"):
        ci.publish(results(), tmp_path, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "a/step.md")},
                   StringIO())
