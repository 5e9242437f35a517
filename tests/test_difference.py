# SPDX-License-Identifier: GPL-2.0-or-later
"""Where two results differ: each kind of difference is seen, and nothing else is one."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_samples import RUN, TARGET, deviating, document, every_verdict, failed, finding, record

from harness import cli
from harness.report.difference import Difference, difference, places, print_difference
from harness.report.results import Results
from harness.wire.errors import UsageError

CAPTURE = b"\x0a\x0d\x0d\x0a" + bytes(60)
Change = Callable[[dict[str, Any]], object]


def put(folder: Path, whole: dict[str, Any], *, moved: bool = True) -> Path:
    """A results file with its captures beside it; each record names them as its own run wrote them."""
    whole = copy.deepcopy(whole)
    for case in whole["cases"]:
        name = f"{case['id'].replace('::', '/')}-{case['family']}-{case['variant']}.pcapng"
        file = folder / "captures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(CAPTURE)
        case["capture"] = f"/elsewhere/{folder.name}/captures/{name}" if moved else f"captures/{name}"
        case["command"] = f"tcpqual run --results {folder.name}/results.json {case['id']}"
    path = folder / "results.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole))
    return path


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any], *, exact: bool = False) -> Difference:
    return difference(put(folder / "a", a), put(folder / "b", b), exact=exact)


def changed(change: Change) -> dict[str, Any]:
    whole = copy.deepcopy(document(*every_verdict(), left_out=2))
    change(whole)
    return whole


def text(found: Difference, **options: bool) -> str:
    stream = io.StringIO()
    print_difference(found, stream, **options)
    return stream.getvalue()


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_two_runs_alike_have_no_difference(tmp_path: Path, exact: bool) -> None:
    whole = document(*every_verdict(), left_out=2)
    found = compared(tmp_path, whole, whole | {"wall_s": 2.5, "cases": whole["cases"][::-1],
                                               "left_out": whole["left_out"][::-1]}, exact=exact)
    assert (found.status(findings=True, missing=True), found.compared) == (0, 12)
    assert not any((found.changed, found.findings, found.left_out, found.missing, found.head, found.inexact))
    said = text(found).splitlines()
    assert said[0] == f"A  linux 6.12.9 (real time, seed 7)  12 cases  {tmp_path}/a/results.json"
    assert said[-1] == "No verdict differs in 12 cases that ran in both" + \
        ("; 0 not the same to the octet" if exact else "") + " (exit status 0)"


def test_verdicts_that_differ_stand_worst_first_with_the_worse_ones_reason(tmp_path: Path) -> None:
    a = document(record(), record(family="ipv6"), record(id="c/c::c"), record(id="d/d::d", variant="wrap"),
                 record(id="e/e::e", verdict="error", reason="LinkError: down"))
    b = document(failed(), failed(family="ipv6"), deviating(id="c/c::c"),
                 record(id="d/d::d", variant="wrap", verdict="error", reason="it\x1b[2J\nbroke"), record(id="e/e::e"))
    found = compared(tmp_path, a, b)
    assert found.status() == 1
    assert [(one.id, one.a, one.b, one.worse) for one in found.changed] == [
        ("d/d::d", "pass", "error", "b"), ("e/e::e", "error", "pass", "a"),
        ("handshake/passive::syn_draws_syn_ack", "pass", "fail", "b"),
        ("handshake/passive::syn_draws_syn_ack", "pass", "fail", "b"), ("c/c::c", "pass", "known-deviation", "b")]
    assert not found.findings
    said = text(found)
    assert "  pass -> error            d/d::d ipv4 [wrap]\n        B: it [2J\n" in said
    assert "  error -> pass            e/e::e ipv4\n        A: LinkError: down\n" in said
    assert "  pass -> fail             handshake/passive::syn_draws_syn_ack ipv4 ipv6\n        B: RFC9293" in said
    assert said.splitlines()[-1] == ("5 of 5 cases that ran in both differ (pass -> fail 2, pass -> error 1, "
                                     "error -> pass 1, pass -> known-deviation 1) (exit status 1)")


@pytest.mark.parametrize("verdict", ["fail", "advice", "inconclusive", "not-applicable", "known-deviation", "error"])
def test_every_change_of_a_verdict_counts(tmp_path: Path, verdict: str) -> None:
    for a, b in ((record(), record(verdict=verdict)), (record(verdict=verdict), record())):
        assert compared(tmp_path, document(a), document(b)).status() == 1


@pytest.mark.parametrize("change", [
    {"requirement": "RFC9293-MUST-2"}, {"got": "300 ms"}, {"expected": "1 s"}, {"source": "oracle"},
    {"state": "CLOSED"}, {"fields": ["ack"]}, {"deviation": "another entry"},
])
def test_other_findings_under_one_verdict_count_only_if_wished(tmp_path: Path, change: dict[str, Any]) -> None:
    found = compared(tmp_path, document(deviating()), document(deviating(findings=[
        finding(**(deviating()["findings"][0] | change))])))
    assert (found.status(), found.status(findings=True)) == (0, 1)
    ((name, _),) = change.items()
    assert [place.path.partition("[0]")[0] for place in found.findings[0].places] == ["findings"]
    assert f"findings[0].{name}" in found.findings[0].places[0].path
    assert "Same verdict, other findings (no difference)" in text(found)
    assert "Same verdict, other findings\n" in text(found, findings=True)
    assert "1 with other findings (exit status 1)" in text(found, findings=True)


def test_another_reason_is_another_finding_and_another_step_is_not(tmp_path: Path) -> None:
    one = record(verdict="inconclusive", reason="no answer")
    assert compared(tmp_path, document(one), document(one | {"reason": "a reset"})).findings
    assert not compared(tmp_path, document(failed()), document(failed(findings=[finding(step=9)]))).findings


def test_what_was_left_out_is_no_difference_and_what_is_missing_is_if_wished(tmp_path: Path) -> None:
    slow = {"id": "slow/slow::slow", "family": "ipv4", "why": "slow: run with --slow"}
    a = document(record(), record(id="old/old::old"))
    a["left_out"] = [slow, slow | {"id": "never/never::ran"}]
    b = document(record(), record(id="slow/slow::slow", variant="one"), record(id="slow/slow::slow", variant="two"),
                 record(id="slow/slow::slow", family="ipv6"))
    found = compared(tmp_path, a, b)
    assert [(one.id, one.variant, one.ran, one.why) for one in found.left_out] == [
        ("slow/slow::slow", "one", "b", slow["why"]), ("slow/slow::slow", "two", "b", slow["why"])]
    assert [(one.id, one.family, one.ran) for one in found.missing] == [
        ("old/old::old", "ipv4", "a"), ("slow/slow::slow", "ipv6", "b")]
    assert (found.status(), found.status(missing=True), found.compared) == (0, 1, 1)
    said = text(found)
    assert "Left out in A (no difference)\n  slow/slow::slow ipv4 [one]: slow: run with --slow\n" in said
    assert "Only in A; B has no word on it (no difference)\n  old/old::old ipv4\n" in said
    assert said.splitlines()[-1] == ("No verdict differs in 1 case that ran in both; 2 left out in A; "
                                     "1 missing in A; 1 missing in B (exit status 0)")
    assert "has no word on it\n" in text(found, missing=True)


def test_nothing_compared_is_not_called_alike(tmp_path: Path) -> None:
    found = compared(tmp_path, document(record()), document(record(family="ipv6")))
    assert found.status() == 4
    assert "NOTHING COMPARED: no case ran in both; 1 missing in A; 1 missing in B (exit status 4)" in text(found)


def test_long_lists_beside_the_differences_are_cut_and_the_differences_are_not(tmp_path: Path) -> None:
    many = [record(id=f"a/a::{number}") for number in range(50)]
    said = text(compared(tmp_path, document(*many), document(*(one | {"verdict": "error"} for one in many))))
    assert said.count("pass -> error  ") == 50
    said = text(compared(tmp_path, document(record(), *many), document(record())))
    assert "  a/a::44 ipv4\n  and 10 more; --json lists all\n" in said


# -- to the octet -----------------------------------------------------------------------------------------------------


def _drop_field(whole: dict[str, Any]) -> None:
    del whole["target"]["kind"]


@pytest.mark.parametrize(("change", "path"), [
    (lambda whole: whole["run"].update(seed=8), "seed"),
    (lambda whole: whole["target"].update(version="6.12.10"), "target.version"),
    (_drop_field, "target.kind"),
    (lambda whole: whole.update(more={"a": 1}), "more"),
    (lambda whole: whole["left_out"].pop(), "left_out timewait/long::case_1 ipv4"),
    (lambda whole: whole["left_out"][0].update(why="another"), "left_out timewait/long::case_0 ipv4"),
])
def test_exact_sees_what_differs_outside_the_cases(tmp_path: Path, change: Change, path: str) -> None:
    a, b = changed(lambda whole: None), changed(change)
    found = compared(tmp_path, a, b, exact=True)
    assert path in found.head[0].path
    assert found.status() == 1
    assert not found.inexact
    assert f"Not the same outside the cases\n  {found.head[0].path}: " in text(found)
    assert compared(tmp_path, a, b).status() == 0


@pytest.mark.parametrize(("change", "path"), [
    ({"duration_s": 0.005}, "duration_s"), ({"duration_s": 4}, "duration_s"), ({"title": "Another"}, "title"),
    ({"segments": 4}, "segments"),
    ({"timing": {"tolerance_ns": 1, "checks": []}}, "timing"), ({"proof": ["wire"]}, "proof"),
    ({"log": "more words"}, "log"), ({"tc8": ["TCP_BASICS_02"]}, "tc8[0]"), ({"newer": 1}, "newer"),
])
def test_exact_sees_each_field_of_a_case(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    a, b = document(record(), deviating()), document(record(**change), deviating())
    found = compared(tmp_path, a, b, exact=True)
    assert [(one.id, [place.path for place in one.places]) for one in found.inexact] == [(record()["id"], [path])]
    assert found.status() == 1
    assert compared(tmp_path, a, b).status(findings=True) == 0


@pytest.mark.parametrize("other", [1.0, True, "1", None])
def test_values_of_another_type_are_a_place(other: object) -> None:
    assert [place.path for place in places({"newer": [1]}, {"newer": [other]})] == ["newer[0]"]
    assert not list(places({"newer": [other]}, {"newer": [other]}))


def test_exact_says_the_first_places_cut_to_where_they_part(tmp_path: Path) -> None:
    def move(whole: dict[str, Any]) -> None:
        one = whole["cases"][0]
        for step in one["steps"]:
            step["at_ns"] += 1
        one["steps"][1]["text"] += ' "data"'

    found = compared(tmp_path, changed(lambda whole: None), changed(move), exact=True)
    (one,) = found.inexact
    assert [place.path for place in one.places] == [
        "steps[0].at_ns", "steps[1].at_ns", "steps[1].text", "steps[2].at_ns", "steps[3].at_ns"]
    assert (one.places[0].a, one.places[0].b) == ("5000000", "5000001")
    assert one.places[2].a == '...00,nop,wscale 7>"'
    assert one.places[2].b == r'...00,nop,wscale 7> \"data\""'
    said = text(found)
    assert "        steps[0].at_ns: 5000000 | 5000001\n" in said
    assert "        and 2 more places\n" in said
    assert "; 1 not the same to the octet" in said


@pytest.mark.parametrize(("content", "said"), [
    (CAPTURE[:40] + b"\x01" + CAPTURE[41:], ("capture, octet 40", "0x00 of 64", "0x01 of 64")),
    (CAPTURE[:-1], ("capture, octet 63", "0x00 of 64", "ends, 63 octets")),
    (CAPTURE + b"\0", ("capture, octet 64", "ends, 64 octets", "0x00 of 65")),
    (b"", ("capture, octet 0", "0x0a of 64", "ends, 0 octets")),
])
@pytest.mark.parametrize("moved", [False, True])
def test_exact_sees_one_octet_of_a_capture(tmp_path: Path, content: bytes, said: tuple[str, str, str],
                                           moved: bool) -> None:
    whole = document(*every_verdict())
    a, b = put(tmp_path / "a", whole), put(tmp_path / "b", whole, moved=moved)
    assert difference(a, b, exact=True).status() == 0
    (tmp_path / "b/captures/options/mss/limit-ipv6-.pcapng").write_bytes(content)
    found = difference(a, b, exact=True)
    ((one,),) = [one.places for one in found.inexact]
    assert (one.path, one.a, one.b) == said
    assert (found.inexact[0].id, found.inexact[0].family, found.status()) == ("options/mss::limit", "ipv6", 1)
    assert difference(a, b).status() == 0


def test_a_capture_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    a, b = (put(tmp_path / name, document(record())) for name in "ab")
    for folder in (b.parent, a.parent):
        (folder / "captures/handshake/passive/syn_draws_syn_ack-ipv4-.pcapng").unlink()
        found = difference(a, b, exact=True)
        assert found.inexact[0].places[0].b.startswith("not there: ")
        assert found.status() == 1


def test_cases_without_a_capture_are_alike_and_one_without_is_not(tmp_path: Path) -> None:
    def without(name: str) -> Path:
        path = tmp_path / name / "results.json"
        path.parent.mkdir()
        path.write_text(json.dumps(document(record(capture=None))))
        return path

    a, b = without("a"), without("b")
    assert difference(a, b, exact=True).status() == 0
    c = put(tmp_path / "c", document(record()))
    (one,) = difference(a, c, exact=True).inexact[0].places
    assert (one.path, one.a, one.b) == ("capture", "none", "64 octets")


def test_exact_counts_what_only_one_run_has(tmp_path: Path) -> None:
    a, b = document(record(), record(id="b/b::b")), document(record())
    assert compared(tmp_path, a, b, exact=True).missing
    assert compared(tmp_path, a, b, exact=True).status() == 1
    # Even if nothing else tells of it: the summary is made of the cases.
    assert compared(tmp_path, a, b | {"summary": a["summary"]}, exact=True).status() == 1


def test_exact_refuses_results_that_share_their_captures(tmp_path: Path) -> None:
    path = put(tmp_path / "a", document(record()))
    other = path.with_name("other.json")
    other.write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="stand in one folder"):
        difference(path, other, exact=True)
    (tmp_path / "link").symlink_to(path.parent)
    with pytest.raises(UsageError, match="stand in one folder"):
        difference(tmp_path / "link" / "other.json", path, exact=True)
    assert difference(path, other).status() == difference(path, path, exact=True).status() == 0


def test_wall_figures_are_left_aside_wherever_they_stand() -> None:
    a, b = ({"wall_s": wall_s, "run": {"wall_s": wall_s, "seed": 1}, "list": [{"wall_s": wall_s}]}
            for wall_s in (1, 2))
    assert not list(places(a, b))
    assert [place.path for place in places({"x": [1, 2]}, {"x": [1]})] == ["x"]


# -- the command ------------------------------------------------------------------------------------------------------


def tcpqual(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["diff", *map(str, words)])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


def test_the_command_ends_with_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = put(tmp_path / "a", document(record(), deviating())), put(tmp_path / "b", document(failed(), deviating()))
    assert tcpqual(capsys, a, a)[0] == 0
    assert tcpqual(capsys, a, a, "--exact")[0] == 0
    status, said, _ = tcpqual(capsys, a, b)
    assert status == 1
    assert "pass -> fail" in said
    assert "\x1b" not in said
    other = put(tmp_path / "c", document(record(), deviating(reason="another")))
    assert tcpqual(capsys, a, other)[0] == 0
    assert tcpqual(capsys, a, other, "--findings")[0] == 1
    fewer = put(tmp_path / "d", document(record()))
    assert tcpqual(capsys, a, fewer)[0] == 0
    assert tcpqual(capsys, a, fewer, "--missing")[0] == 1


def test_the_command_gives_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = put(tmp_path / "a", document(record())), put(tmp_path / "b", document(failed()))
    status, said, _ = tcpqual(capsys, a, b, "--json", "--exact")
    found = json.loads(said)
    assert (status, found["status"], found["compared"], found["exact"]) == (1, 1, 1, True)
    assert list(found) == ["a", "b", "compared", "exact", "changed", "findings", "left_out", "missing", "head",
                           "inexact", "status"]
    assert found["changed"][0]["b"] == "fail"
    assert "verdict" in [place["path"] for place in found["inexact"][0]["places"]]


def test_a_journal_is_taken_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = put(tmp_path, document(record()))
    results = Results(tmp_path / "run" / "results.json", TARGET, RUN)
    results.add(record())
    status, said, _ = tcpqual(capsys, whole, results.journal)
    assert status == 0
    assert "RECOVERED from its journal" in said


@pytest.mark.parametrize(("content", "line"), [
    (None, "no such file"), ("{", "not JSON"), ("[]", "top level: a list is not"), ('{"schema": 9}', "schema 9"),
])
def test_what_cannot_be_read_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None,
                                          line: str) -> None:
    good, bad = put(tmp_path / "a", document(record())), tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    for pair in ((good, bad), (bad, good)):
        status, said, error = tcpqual(capsys, *pair)
        assert (status, said) == (2, "")
        assert line in error
        assert len(error.splitlines()) == 1
