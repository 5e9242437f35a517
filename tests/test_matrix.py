# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix: what a cell says, what is counted, and what becomes of results that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matrix_samples import change, place, three
from report_samples import document, failed, finding, pinned, record

from harness.report.matrix import Matrix, Row, build, percent, rate_line, read, rules_of, settle
from harness.report.results import write
from harness.requirements.catalogue import load
from harness.wire.errors import UsageError

BOTH = ["RFC9293-MUST-14", "RFC9293-MUST-16"]


def row(matrix: Matrix, id: str) -> Row:
    return next(row for row in matrix.rows if row.rule.id == id)


def states(matrix: Matrix, id: str) -> list[str]:
    return [cell.state for cell in row(matrix, id).cells]


@pytest.mark.parametrize(("found", "expected"), [
    ([finding()], ("fail", "unsettled")),
    ([finding(deviation="known")], ("known-deviation", "unsettled")),
    ([finding(level="SHOULD")], ("advice", "unsettled")),
    ([finding(source="oracle")], ("fail", "pass")),
    ([finding(source="oracle", requirement="RFC9293-MUST-2")], ("pass", "pass")),
    ([finding(requirement="none")], ("fail", "fail")),
    ([finding(source="oracle"), finding(requirement="RFC9293-MUST-16")], ("fail", "fail")),
    ([], ("fail", "fail")),
    ([pinned()], ("fail", "fail")),
])
def test_a_case_that_one_rule_stops_says_nothing_about_the_others(found: list[dict[str, Any]],
                                                                  expected: tuple[str, str]) -> None:
    verdict = {"known-deviation": "known-deviation", "advice": "advice"}.get(expected[0], "fail")
    case = record(requirements=BOTH, verdict=verdict, findings=found)
    assert (settle(case, BOTH[0]), settle(case, BOTH[1])) == expected


@pytest.mark.parametrize("verdict", ["pass", "error", "inconclusive", "not-applicable", "unexpected-pass"])
def test_the_other_verdicts_are_those_of_every_rule(verdict: str) -> None:
    case = record(requirements=BOTH, verdict=verdict)
    assert {settle(case, rule) for rule in BOTH} == {verdict}


def test_a_rule_that_only_a_finding_names_has_a_cell_too(tmp_path: Path) -> None:
    case = failed(findings=[finding(source="oracle", requirement="RFC9293-MUST-2")], requirements=[BOTH[1]])
    assert rules_of(case) == (BOTH[1], "RFC9293-MUST-2")
    matrix = build(read([place(tmp_path, "one", case)]))
    assert states(matrix, "RFC9293-MUST-2") == ["fail"]
    assert states(matrix, BOTH[1]) == ["pass"]


def test_a_cell_is_its_worst_case_and_counts_them_all(tmp_path: Path) -> None:
    matrix = build(read(three(tmp_path)))
    mixed, clean, broken = row(matrix, "RFC9293-MUST-14").cells
    assert mixed.state == "error"
    assert mixed.counts["fail"] == 2
    assert list(mixed.counts)[:2] == ["error", "fail"]
    assert (clean.state, dict(clean.counts)) == ("pass", {"pass": 2})
    assert (broken.state, dict(broken.counts)) == ("fail", {"fail": 1, "pass": 1})
    assert states(matrix, "RFC9293-MUST-16") == ["not-run", "not-run", "unsettled"]


def test_every_rule_of_the_catalogue_is_a_row_and_those_without_a_case_say_so(tmp_path: Path) -> None:
    matrix = build(read(three(tmp_path)), suite={"a/b::c": ("RFC9293-MUST-1",)})
    assert sorted(row.rule.id for row in matrix.rows if row.rule.id.startswith("RFC")) == \
        sorted(known.id for known in load().all())
    assert len(matrix.rows) == len(load().all()) + len(load().rows())
    assert states(matrix, "RFC9293-MUST-1") == ["not-run"] * 3
    assert row(matrix, "RFC9293-MUST-1").cases == 1
    assert states(matrix, "RFC9293-MUST-3") == ["no-case"] * 3
    assert states(build(read(three(tmp_path))), "RFC9293-MUST-1") == ["no-case"] * 3


def test_rows_stand_by_document_and_section_as_in_a_book(tmp_path: Path) -> None:
    rows = build(read(three(tmp_path))).rows
    groups = list(dict.fromkeys(row.group for row in rows))
    assert groups[0].startswith("RFC 9293")
    assert groups[1] == "RFC 9293, SEGMENT ARRIVES state by state"
    numbers = [int(group.split(",")[0].removeprefix("RFC ")) for group in groups[2:]]
    assert numbers == sorted(numbers)
    main = [[int(part) if part.isdigit() else 99 for part in row.rule.section.split(".")]
            for row in rows if row.group == groups[0]]
    assert main == sorted(main)


def test_pass_rate_and_coverage_are_two_numbers(tmp_path: Path) -> None:
    matrix = build(read(three(tmp_path)))
    total = len(matrix.rows)
    tally = matrix.tally(2)
    assert (tally.kept, tally.settled, tally.total) == (0, 1, total)
    assert tally.pass_rate == 0
    assert tally.coverage == 1 / total
    clean = matrix.tally(1)
    assert (clean.kept, clean.settled, clean.pass_rate) == (1, 1, 1)
    assert rate_line(clean) == "1 of 1 settled rules kept (100 %)"
    assert matrix.tally(0).states["error"] == 1


def test_what_is_not_all_is_not_shown_as_all() -> None:
    assert [percent(share) for share in (None, 0.0, 1e-6, 0.5, 0.9999, 1.0)] == \
        ["-", "0 %", "0.1 %", "50 %", "99.9 %", "100 %"]


def test_the_same_target_twice_has_two_names(tmp_path: Path) -> None:
    paths = [place(tmp_path / "a", "linux", record()), place(tmp_path / "b", "linux", record(), version="6.1"),
             place(tmp_path / "c", "linux", record())]
    assert [column.label for column in build(read(paths)).columns] == ["linux 6.12.9", "linux 6.1", "linux 6.12.9 (2)"]
    change(paths[2], clock="skipping")
    assert [column.label for column in build(read(paths)).columns] == \
        ["linux 6.12.9 real", "linux 6.1", "linux 6.12.9 skipping"]


def test_a_number_never_takes_the_name_of_another_target(tmp_path: Path) -> None:
    paths = [place(tmp_path / "a", "x", record(), version=""), place(tmp_path / "b", "x", record(), version=""),
             place(tmp_path / "c", "x (2)", record(), version="")]
    labels = [column.label for column in build(read(paths)).columns]
    assert len(set(labels)) == 3


def test_one_file_given_twice_is_one_column_and_a_folder_is_its_results(tmp_path: Path) -> None:
    path = place(tmp_path, "linux", record())
    assert [found for found, _ in read([path, path.parent, tmp_path / "linux" / ".." / "linux"])] == [path]
    with pytest.raises(UsageError, match="no such file"):
        read([tmp_path])


def test_results_that_do_not_belong_together_are_laid_side_by_side_and_that_is_said(tmp_path: Path) -> None:
    paths = three(tmp_path)
    change(paths[0], tool="tcpqual 9.0", suite="abc")
    matrix = build(read(paths))
    assert any("different versions of the tool: tcpqual 9.0 (mixed); tcpqual 0.1.0 (clean, broken)." in note
               for note in matrix.notes)
    assert any("different suites of cases: abc (mixed); unknown (clean, broken)." in note for note in matrix.notes)
    assert build(read(paths[1:])).notes == ()


def test_a_rule_that_the_catalogue_has_not_is_a_row_all_the_same(tmp_path: Path) -> None:
    matrix = build(read([place(tmp_path, "one", record(requirements=["RFC99999-MUST-1"]), record(requirements=[],
                                                                                              id="a/b::c"))]))
    assert states(matrix, "RFC99999-MUST-1") == ["pass"]
    assert not row(matrix, "RFC99999-MUST-1").known
    assert states(matrix, "none") == ["pass"]
    assert any("1 requirement of the results is not in this tcpqual's catalogue: RFC99999-MUST-1." in note
               for note in matrix.notes)
    assert matrix.tally(0).settled == 1


def test_a_run_that_was_killed_counts_and_says_so(tmp_path: Path) -> None:
    head = {"schema": 1, "target": {"name": "linux"}, "run": {}}
    journal = tmp_path / "results.jsonl"
    journal.write_text("\n".join([json.dumps(head), json.dumps({"case": record()}), '{"case": {"id"']))
    matrix = build(read([journal]))
    assert matrix.tally(0).kept == 1
    assert any("the run did not end" in note for note in matrix.notes)


def test_a_run_without_a_case_is_a_column_and_that_is_said(tmp_path: Path) -> None:
    write(document(target={}), tmp_path / "results.json")
    matrix = build(read([tmp_path]))
    assert matrix.columns[0].label == "unnamed"
    assert "unnamed: no case ran." in matrix.notes
    assert matrix.tally(0).pass_rate is None


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="no results"):
        build([])
