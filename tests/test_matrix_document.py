# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix as JSON and as Markdown, and where a later one differs from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from matrix_samples import EVIL, hostile, place, three
from report_samples import deviating, failed, record

from harness.report.matrix import build, read
from harness.report.matrix_document import as_document, changes, load_old
from harness.report.matrix_text import lines, markdown
from harness.wire.errors import UsageError


def doc(*paths: Path) -> dict[str, Any]:
    """Through JSON, as a file would be."""
    document: dict[str, Any] = json.loads(json.dumps(as_document(build(read(paths)), tool="tcpqual 0")))
    return document


def test_the_document_has_both_numbers_every_cell_and_what_is_not_a_pass(tmp_path: Path) -> None:
    document = doc(*three(tmp_path))
    assert (document["schema"], document["kind"]) == (1, "tcpqual-matrix")
    broken = document["targets"][2]
    assert (broken["label"], broken["kept"], broken["settled"], broken["status"]) == ("broken", 0, 1, 1)
    assert broken["total"] == len(document["requirements"])
    assert sum(broken["states"].values()) == broken["total"]
    mss = next(rule for rule in document["requirements"] if rule["id"] == "RFC9293-MUST-14")
    assert mss["cells"][2] == {"state": "fail", "counts": {"fail": 1, "pass": 1}}
    assert (mss["level"], mss["section"]) == ("MUST", "3.7.1")
    case = next(case for case in document["cases"] if case["id"] == "options/mss::limit" and case["family"] == "ipv4")
    assert case["verdicts"] == ["fail", None, "fail"]
    why = [entry for entry in document["not_pass"] if entry["target"] == "broken"]
    assert [(entry["verdict"], entry["requirements"]) for entry in why] == [("fail", ["RFC9293-MUST-14"])]
    assert next(entry["verdict"] for entry in document["not_pass"] if entry["target"] == "mixed") == "error"


def test_what_changed_is_worst_first_with_the_reason_of_the_worse(tmp_path: Path) -> None:
    before = doc(place(tmp_path / "a", "linux", record(), record(family="ipv6"), deviating(), record(id="a/b::gone")))
    after = doc(place(tmp_path / "b", "linux", failed(), failed(family="ipv6"),
                      record(id="retransmission/timer::floor"), record(id="a/b::new"), version="6.13"))
    found = changes(before, after, name="old")
    worse, better = found.shifts
    assert (worse.was, worse.now, worse.families, worse.worse) == ("pass", "fail", ("ipv4", "ipv6"), True)
    assert worse.reason.startswith("RFC9293-MUST-14: expected S.")
    assert (better.was, better.now, better.worse) == ("known-deviation", "pass", False)
    assert better.reason == "RFC6298-MIN: expected 1000 ms, got 200 ms"
    pair = found.pairs[0]
    assert (pair.was_version, pair.now_version, pair.compared, pair.only_was, pair.only_now) == \
        ("6.12.9", "6.13", 3, 1, 1)
    assert ("RFC9293-MUST-14", "pass", "fail") in [(rule.requirement, rule.was, rule.now) for rule in found.rules]


def test_nothing_changed(tmp_path: Path) -> None:
    document = doc(*three(tmp_path))
    found = changes(document, document, name="itself")
    assert (found.shifts, found.rules, found.gone, found.new) == ((), (), (), ())
    assert found.compared == 16


def test_targets_are_paired_by_name_then_by_version_and_clock(tmp_path: Path) -> None:
    old = doc(place(tmp_path / "a", "linux", record(), version="6.1"),
              place(tmp_path / "b", "linux", record(), version="6.12"), place(tmp_path / "c", "lwip", record()))
    new = doc(place(tmp_path / "d", "linux", record(), version="6.12"),
              place(tmp_path / "e", "linux", record(), version="6.18"), place(tmp_path / "f", "gvisor", record()))
    found = changes(old, new, name="old")
    assert [(pair.was_version, pair.now_version) for pair in found.pairs] == [("6.12", "6.12"), ("6.1", "6.18")]
    assert (found.gone, found.new) == (("lwip",), ("gvisor",))
    assert changes(doc(tmp_path / "c" / "lwip"), doc(tmp_path / "f" / "gvisor"), name="old").compared == 0


def test_the_old_one_may_be_a_matrix_or_a_results_file(tmp_path: Path) -> None:
    paths = three(tmp_path)
    written = tmp_path / "matrix.json"
    written.write_text(json.dumps(doc(*paths)))
    assert load_old(written) == doc(*paths)
    assert load_old(paths[0])["targets"][0]["label"] == "mixed"
    assert load_old(paths[0].parent)["targets"][0]["label"] == "mixed"


@pytest.mark.parametrize(("text", "expected"), [
    ("{", "not JSON"), ("[]", "allowed: an object"), ("{}", "schema null"),
    ('{"kind": "tcpqual-matrix", "schema": 2}', "schema 2; this tcpqual reads schema 1"),
    ('{"kind": "tcpqual-matrix", "schema": 1}', "targets: missing"),
    ('{"kind": "tcpqual-matrix", "schema": 1, "targets": [{}], "requirements": [], "cases": [], "not_pass": []}',
     r"targets\[0\].label: missing"),
    ('{"kind": "tcpqual-matrix", "schema": 1, "targets": [], "requirements": [], "not_pass": [], "cases": [{"id": "a",'
     ' "family": "ipv4", "variant": "", "requirements": [], "verdicts": ["pass"]}]}', "1 verdicts for 0 targets"),
])
def test_what_is_neither_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=expected) as error:
        load_old(file)
    assert "\n" not in str(error.value)


def test_an_unknown_state_is_refused(tmp_path: Path) -> None:
    document = doc(*three(tmp_path))
    document["cases"][0]["verdicts"][0] = "maybe"
    file = tmp_path / "old.json"
    file.write_text(json.dumps(document))
    with pytest.raises(UsageError, match='unknown state "maybe"'):
        load_old(file)
    with pytest.raises(UsageError, match="no such file"):
        load_old(tmp_path / "nothing.json")


def test_the_summary_counts_and_names_what_is_not_a_pass(tmp_path: Path) -> None:
    matrix = build(read(three(tmp_path)))
    text = markdown(matrix, as_document(matrix, tool=""))
    total = len(matrix.rows)
    assert f"| clean |  | 100 % (1 of 1) | 0.1 % (1 of {total}) |" in text
    assert "**fail** `options/mss::limit` ipv4: RFC9293-MUST-14: expected S." in text
    assert "<details><summary>mixed: 1 known deviation</summary>" in text
    assert "clean: not a pass" not in text
    assert list(lines(matrix))[1].startswith("clean   1 of 1 settled rules kept (100 %)")


def test_the_summary_tells_what_changed(tmp_path: Path) -> None:
    before = doc(place(tmp_path / "a", "linux", record()))
    matrix = build(read([place(tmp_path / "b", "linux", failed())]))
    document = as_document(matrix, tool="")
    text = markdown(matrix, document, changes=changes(before, document, name="main"))
    assert "### What changed since main" in text
    assert "**1 worse, 0 better** of 1 cases" in text
    assert "- linux: **pass → fail** `handshake/passive::syn_draws_syn_ack` ipv4: RFC9293-MUST-14" in text
    nothing = changes(doc(place(tmp_path / "c", "lwip", record())), document, name="main")
    assert "**Nothing was compared** with main" in markdown(matrix, document, changes=nothing)


def test_the_summary_stays_short(tmp_path: Path) -> None:
    cases = [failed(id=f"a/b::case_{number}", reason="x" * 5000) for number in range(500)]
    matrix = build(read([place(tmp_path, "one", *cases)]))
    text = markdown(matrix, as_document(matrix, tool=""))
    assert len(text) < 20_000
    assert "- and 480 more" in text


def test_hostile_text_is_text_in_markdown(tmp_path: Path) -> None:
    matrix = build(read([place(tmp_path, "one", hostile(), name=EVIL, version=EVIL)]))
    text = markdown(matrix, as_document(matrix, tool=""))
    outside = re.sub(r"`[^`\n]*`", "", text.replace("\\`", ""))
    assert "<img" not in outside
    assert not re.search(r"(?<!\\)\|[^|\n]*onerror[^|\n]*(?<!\\)\|[^|\n]*\{\{", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
