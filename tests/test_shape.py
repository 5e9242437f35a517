# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever stands in a results file, a matrix or a bundle: it is read, or refused in one line that says where."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrix_samples import place, three
from report_samples import check, deviating, document, every_verdict, failed, pinned, record

from harness.probing.ledger_draft import draft
from harness.qualification import bundle, comparison, matrices
from harness.report.matrix import build, read
from harness.report.matrix_document import as_document
from harness.report.page import write_page
from harness.report.results import load
from harness.wire.errors import UsageError

SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

NUMBERS = st.integers() | st.sampled_from([10**400, -10**400, 1 << 63, -(1 << 63)]) | st.floats()
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8) | st.sampled_from(
    ["pass", "fail", "\x00", "/", "..", "captures/../..", "[/]", "{{7*7}}", "x" * 5000, "ipv4", "target"])
VALUES = st.recursive(st.none() | st.booleans() | NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6)


def results() -> dict[str, Any]:
    """Results that have everything: each verdict, findings of each source, instants, a log, cases left out."""
    timing = {"tolerance_ns": 1000, "checks": [check(3000), check(None)]}
    timed = record(id="retransmission/timer::first", timing=timing, verdict="fail", findings=[pinned()],
                   unseen=["RFC9293-MUST-2"], audit={"lies": 1})
    found: dict[str, Any] = json.loads(json.dumps(document(*every_verdict(), timed, left_out=2)))
    return found


RESULTS = results()
MATRIX: dict[str, Any] = {}
BUNDLE = {"schema": bundle.SCHEMA, "kind": bundle.KIND, "targets": [
    {"target": "model", "results": "results.json"}, {"target": "dead", "results": None}]}


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value, the whole one's too."""
    yield path
    for key, held in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from spots(held, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


@st.composite
def spoiled(draw: st.DrawFn, good: Any, most: int = 2) -> Any:
    """The document with values replaced by anything, by others of its own, or taken away."""
    bad = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, most))):
        paths = list(spots(bad))
        path = draw(st.sampled_from(paths))
        what = draw(st.sampled_from(["anything", "another", "nothing"]))
        if what == "nothing" and path:
            del at(bad, path[:-1])[path[-1]]
            continue
        new = draw(VALUES) if what != "another" else copy.deepcopy(at(bad, draw(st.sampled_from(paths))))
        if path:
            at(bad, path[:-1])[path[-1]] = new
        else:
            bad = new
    return bad


def taken(act: Any, *words: Any) -> bool:
    """True if it goes through, false if it is refused in one line; whatever else it raises is a failure."""
    try:
        act(*words)
    except UsageError as refused:
        words = str(refused)
    else:
        return True
    assert len(words.splitlines()) == 1, words
    return False


def differ(left: Path, right: Path, **words: bool) -> None:
    for as_json in (False, True):
        order = {"exact": False, "findings": True, "missing": True, **words}
        comparison.compare(comparison.Order(left=left, right=right, as_json=as_json, **order), Utf8())


class Utf8(StringIO):
    """A standard output that takes what UTF-8 has."""

    def write(self, text: str) -> int:
        text.encode()
        return super().write(text)


def lay(*files: Path, old: Path | None = None) -> None:
    folder = files[0].parent
    matrices.make(matrices.Order(results=files, output=folder / "m.html", old=old, json=str(folder / "m.json"),
                                 markdown=str(folder / "m.md")), lambda line: Utf8().write(line))


@pytest.fixture(autouse=True)
def _no_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "rules_by_case", dict)  # which cases there are is not what this is about


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shape")
    (folder / "good").mkdir()
    (folder / "good" / "results.json").write_text(json.dumps(RESULTS))
    return folder


@SOME
@given(bad=spoiled(RESULTS))
def test_spoiled_results_are_read_or_refused(home: Path, bad: Any) -> None:
    file, good = home / "results.json", home / "good" / "results.json"
    file.write_text(json.dumps(bad))
    if taken(load, file):
        assert taken(differ, good, file)
        differ(file, good, exact=True)
        lay(file, good)
        lay(good, old=file)
        write_page(load(file), home / "page.html")
        draft(load(file))


@SOME
@given(bad=spoiled(RESULTS))
def test_a_spoiled_journal_is_read_or_refused(home: Path, bad: Any) -> None:
    if not isinstance(bad, dict):
        return
    lines = [{name: bad[name] for name in ("schema", "target", "run") if name in bad},
             *({"case": case, "at_s": at_s} for case in RESULTS["cases"][:1] for at_s in [bad.get("wall_s")]),
             *({"case": case, "at_s": 1.5} for case in bad.get("cases") or () if isinstance(bad["cases"], list)),
             *({"left_out": entry} for entry in bad.get("left_out") or () if isinstance(bad["left_out"], list))]
    file = home / "results.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    if taken(load, file):
        differ(home / "good" / "results.json", file)


def matrix_of(home: Path) -> dict[str, Any]:
    """A small one: the rows of a few requirements say as much as those of all."""
    whole = as_document(build(read(three(home / "three"))), tool="")
    named = [row for row in whole["requirements"] if any(cell["counts"] for cell in row["cells"])]
    found: dict[str, Any] = json.loads(json.dumps({**whole, "requirements": named}))
    return found


@SOME
@given(data=st.data())
def test_a_spoiled_matrix_is_compared_with_or_refused(home: Path, data: st.DataObject) -> None:
    if not MATRIX:
        MATRIX.update(matrix_of(home))
    file = home / "old.json"
    file.write_text(json.dumps(data.draw(spoiled(MATRIX))))
    taken(partial(lay, old=file), home / "good" / "results.json")


@SOME
@given(bad=spoiled(BUNDLE, most=1))
def test_a_spoiled_bundle_is_read_or_refused(home: Path, bad: Any) -> None:
    folder, good = home / "spoiled", home / "bundle"
    for one, head in ((folder, bad), (good, BUNDLE)):
        one.mkdir(exist_ok=True)
        (one / "results.json").write_text(json.dumps(RESULTS))
        (one / bundle.HEAD).write_text(json.dumps(head))
    bundle.write_sums(folder)
    if taken(bundle.load, folder):
        assert bundle.verify(folder)[1] == []
    for left, right in ((folder, good), (good, folder)):
        taken(differ, left, right)
    taken(lay, folder)


@SOME
@given(cut=st.integers(0), octets=st.binary(max_size=3), end=st.booleans())
def test_results_that_were_cut_or_overwritten_are_refused_or_read(home: Path, cut: int, octets: bytes,
                                                                  end: bool) -> None:
    whole = json.dumps(RESULTS).encode()
    cut %= len(whole)
    file = home / "results.json"
    file.write_bytes(whole[:cut] + octets + (b"" if end else whole[cut + len(octets):]))
    if taken(load, file):
        assert not end or not whole[:cut]
        differ(home / "good" / "results.json", file)


@SOME
@given(cut=st.integers(0), octets=st.binary(max_size=3))
def test_sums_that_were_overwritten_are_found_out(home: Path, cut: int, octets: bytes) -> None:
    folder = home / "sums"
    folder.mkdir(exist_ok=True)
    (folder / bundle.HEAD).write_text(json.dumps(BUNDLE))
    (folder / "a\u2028b\x0b\x85c").write_text("a name with what ends a line elsewhere")
    whole = bundle.write_sums(folder).read_bytes()
    assert bundle.verify(folder) == (2, [])
    cut %= len(whole)
    changed = whole[:cut] + octets + whole[cut + len(octets):]
    (folder / bundle.SUMS).write_bytes(changed)
    if taken(bundle.verify, folder):
        assert bundle.verify(folder)[1] or changed.removesuffix(b"\n") == whole.removesuffix(b"\n")


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    bad = copy.deepcopy(RESULTS)
    at(bad, path[:-1])[path[-1]] = value
    return bad


@pytest.mark.parametrize(("bad", "says"), [
    (changed(("cases", 0, "segments"), "3"),
     'cases[0].segments: "3" is not allowed; allowed: a whole number of 64 bits'),
    (changed(("cases", 0, "segments"), True), "cases[0].segments: true is not allowed; allowed: a whole number"),
    (changed(("cases", 0, "steps", 1, "at_ns"), 10**30),
     "cases[0].steps[1].at_ns: a number of more than 64 bits is not allowed"),
    (changed(("cases", 0, "steps", 1), []), "cases[0].steps[1]: a list is not allowed; allowed: an object"),
    (changed(("cases", 0, "requirements"), "RFC9293-MUST-1"),
     'cases[0].requirements: "RFC9293-MUST-1" is not allowed; allowed: a list'),
    (changed(("cases", 0, "proof", 1), None), "cases[0].proof[1]: null is not allowed; allowed: a text"),
    (changed(("wall_s",), float("nan")), "wall_s: NaN is not allowed; allowed: a number"),
    (changed(("target", "name"), ["linux"]), "target.name: a list is not allowed; allowed: a text"),
    (changed(("run",), None), "run: null is not allowed; allowed: an object"),
    (changed(("summary", "pass"), 1.5), "summary.pass: 1.5 is not allowed; allowed: a whole number"),
    (changed(("left_out", 1), {"id": 3}), "left_out[1].id: 3 is not allowed; allowed: a text (and 2 more)"),
    (changed(("run", "interrupted"), 1), "run.interrupted: 1 is not allowed; allowed: true or false"),
    (changed(("schema",), True), "schema true; this tcpqual reads schema 1"),
    (changed(("schema",), 2), "schema 2; this tcpqual reads schema 1"),
])
def test_the_line_says_where_what_and_what_is_allowed(tmp_path: Path, bad: Any, says: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(bad))
    with pytest.raises(UsageError) as error:
        load(file)
    assert str(error.value).startswith(f"{file}: {says}")


def test_a_run_that_was_interrupted_is_read(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(changed(("run", "interrupted"), True)))
    assert load(file)["run"]["interrupted"] is True


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text("[" * 200_000)
    with pytest.raises(UsageError, match="too deep"):
        load(file)


@pytest.mark.parametrize("depth", [30, 800, 900, 950, 5000])
def test_what_is_too_deep_to_be_compared_is_refused(tmp_path: Path, depth: int) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        text = json.dumps({**RESULTS, "news": "HERE"}).replace('"HERE"', "[" * depth + f'"{side}"' + "]" * depth)
        (tmp_path / side / "results.json").write_text(text)
    taken(partial(differ, exact=True), tmp_path / "a" / "results.json", tmp_path / "b" / "results.json")


def test_what_is_not_known_is_left_alone(tmp_path: Path) -> None:
    file = place(tmp_path, "later", failed(), deviating())
    later = json.loads(file.read_text())
    later["news"] = later["cases"][0]["news"] = later["cases"][0]["steps"][0]["news"] = {"any": [1, None]}
    file.write_text(json.dumps(later))
    assert load(file) == later
