# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit's report: what a score is, what the page and the summary hold, and with which status an audit ends."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_samples import RULES, document, finding, record, step

from harness.report.audit import Score, audit_of, exit_status, marked, percent
from harness.report.audit_page import write_audit_page
from harness.report.audit_summary import lie_page, print_audit, print_lie
from harness.report.difference import difference
from harness.report.results import load, write

ROOT = Path(__file__).resolve().parent.parent
VOID = {"meta", "link", "br", "img", "input", "hr"}
FREE = "ip-id: no rule says which identification comes next (RFC6864-4.1)"
DECLARED = "win+1: the window is not what this case is about (declared by the case)"
STEPS = [step(0, "injector", "S 0:0(0) win 65535"), step(30, "note", "the lie seq+1@1 begins here", "changed"),
         step(30, "target", "S. 1:1(0) ack 1 win 65160"), step(50, "injector", ". 1:1(0) ack 1 win 65535")]


def survivor(lie: str = "seq+1@1", **changes: Any) -> dict[str, Any]:
    return {"lie": lie, "field": "seq", "outcome": "survived", "about": "S. 0:0(0) ack 1 win 65160", "verdict": "pass",
            "reason": "", "steps": [dict(known) for known in STEPS], "findings": [], **changes}


def audited(*survivors: dict[str, Any], family: str = "ipv4", id: str = "handshake/passive::syn_draws_syn_ack",
            requirements: tuple[str, ...] = ("RFC9293-MUST-14",), skipped: int = 0,
            freedoms: dict[str, int] | None = None, variant: str = "", verdict: str = "pass",
            **counts: int) -> dict[str, Any]:
    """A record with an audit, all lies of which are about the sequence number."""
    named = f"'{id}[{variant}]'" if variant else id
    return record(
        id=id, family=family, variant=variant, requirements=list(requirements), verdict=verdict,
        command=f"tcpqual run {named} --target uml:6.12 --family {family} --seed 7 --slow",
        audit={"lies": sum(counts.values()), "skipped": skipped, "live": 2, "counts": dict(counts),
               "fields": {"seq": dict(counts)}, "free": freedoms or {}, "survivors": list(survivors)})


def sample() -> dict[str, Any]:
    """Two cases, one in both families, one with a variant; one that was not audited."""
    return document(
        audited(survivor(), survivor("seq-1@1"), noticed=6, fingerprint=2, survived=2, inconclusive=5, skipped=3),
        audited(survivor(), family="ipv6", noticed=8, survived=1, free=3, freedoms={FREE: 3}),
        audited(survivor("win=0@a2", field="window", outcome="error", verdict="error", reason="ValueError: <none>"),
                id="close/passive::fin", requirements=("RFC9293-MUST-2", "RFC9293-MUST-14"), variant="a b",
                noticed=18, error=1, free=1, freedoms={DECLARED: 1}),
        record(id="urgent/pointer::names_next", verdict="inconclusive",
               audit={"left_out": "inconclusive: it never got there"}),
        left_out=1)


class Reader(HTMLParser):
    """Checks that tags nest, and gathers what a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1:] == [tag], f"</{tag}> out of place"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def page_of(results: dict[str, Any], folder: Path) -> tuple[str, Reader]:
    text = write_audit_page(results, folder / "audit.html", rules=RULES).read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.stack == []
    return text, reader


# -- scores -----------------------------------------------------------------------------------------------------------


def test_the_score_leaves_out_what_is_inconclusive_and_what_is_free() -> None:
    score = Score.of({"noticed": 90, "fingerprint": 5, "inconclusive": 20, "free": 40, "survived": 3, "error": 2})
    assert (score.lies, score.scored, score.caught, score.missed) == (160, 100, 95, 5)
    assert percent(score.share) == "95.0 %"
    assert percent(score.with_inconclusive) == "95.8 %"
    assert percent(score.share_free) == "25.0 %"


def test_nothing_scored_is_no_score() -> None:
    score = Score.of({"free": 3})
    assert (score.share, score.with_inconclusive, percent(score.share)) == (None, None, "-")
    assert score.is_under(0)


def test_no_score_looks_better_than_it_is() -> None:
    score = Score(noticed=9699, survived=301)
    assert percent(score.share) == "96.9 %"
    assert score.is_under(97)
    assert percent(Score(noticed=99999, survived=1).share) == "99.9 %"


@pytest.mark.parametrize(("noticed", "survived", "limit", "under"), [
    (97, 3, 97, False), (969, 31, 97, True), (333, 667, 33.3, False), (999, 1, 99.9, False), (999, 1, 100, True),
    (0, 1, 0, False)])
def test_just_the_limit_is_enough(noticed: int, survived: int, limit: float, under: bool) -> None:
    assert Score(noticed=noticed, survived=survived).is_under(limit) is under


def test_scores_of_cases_fields_and_requirements() -> None:
    audit = audit_of(sample())
    assert [(case.id, len(case.runs), case.score.caught, case.score.missed) for case in audit.cases] == [
        ("handshake/passive::syn_draws_syn_ack", 2, 16, 3), ("close/passive::fin", 1, 18, 1)]
    assert {name: (score.caught, score.scored) for name, score in audit.requirements.items()} == {
        "RFC9293-MUST-14": (34, 38), "RFC9293-MUST-2": (18, 19)}
    assert {name: (score.caught, score.scored) for name, score in audit.fields.items()} == {"seq": (34, 38)}
    assert (audit.score.caught, audit.score.scored, audit.score.inconclusive, audit.skipped) == (34, 38, 5, 3)
    assert [(kind.name, len(kind.survivors), kind.cases) for kind in audit.kinds] == [
        ("seq+1", 2, 1), ("seq-1", 1, 1), ("win=0", 1, 1)]
    assert [(freedom.lie, freedom.count, freedom.requirement, freedom.cases) for freedom in audit.freedoms] == [
        ("ip-id", 3, "RFC6864-4.1", ("handshake/passive::syn_draws_syn_ack",)),
        ("win+1", 1, "", ("close/passive::fin",))]
    assert audit.left_out == (
        ("urgent/pointer::names_next ipv4", "inconclusive: it never got there"),
        ("timewait/long::case_0 ipv4", "marked slow; run with --slow"))


def test_a_survivor_has_the_command_that_tells_it_again() -> None:
    commands = [told.command for told in audit_of(sample()).survivors]
    assert commands[0] == "tcpqual audit 'close/passive::fin[a b]' --lie win=0@a2 --target uml:6.12 --family ipv4 " \
                          "--seed 7"
    assert commands[-1].startswith("tcpqual audit handshake/passive::syn_draws_syn_ack --lie seq+1@1 --target uml:6.12")


# -- exit status ------------------------------------------------------------------------------------------------------


def test_a_case_that_fails_without_a_lie_fails_no_audit() -> None:
    audit = audit_of(document(audited(noticed=9, survived=1, verdict="fail")))
    assert exit_status(audit) == 0
    assert exit_status(audit, fail_under=90) == 0
    assert exit_status(audit, fail_under=90.1) == 1


def test_an_error_without_a_lie_goes_before_the_score() -> None:
    audit = audit_of(document(audited(noticed=1, survived=9), record(id="a/b::c", verdict="error", reason="gone")))
    assert exit_status(audit, fail_under=50) == 3


@pytest.mark.parametrize("records", [[], [record(audit={"left_out": "not-applicable: no"})], [audited()]])
def test_nothing_audited(records: list[dict[str, Any]]) -> None:
    assert exit_status(audit_of(document(*records))) == 4


@pytest.mark.parametrize(("outcomes", "status"), [
    (["noticed"], 0), (["fingerprint"], 0), (["free"], 0), (["noticed", "survived"], 1), (["error", "inconclusive"], 1),
    (["noticed", "inconclusive"], 4)])
def test_one_lie_alone(outcomes: list[str], status: int) -> None:
    records = [audited(survivor(outcome=outcome), family=family, **{outcome: 1})
               for outcome, family in zip(outcomes, ("ipv4", "ipv6"), strict=False)]
    assert exit_status(audit_of(document(*records)), one=True) == status


# -- the changed line -------------------------------------------------------------------------------------------------


def marks(**changes: Any) -> list[str]:
    (told,) = audit_of(document(audited(survivor(**changes), survived=1))).survivors
    return [known["mark"] for known in marked(told)]


def test_the_segment_that_was_changed_is_marked() -> None:
    assert marks() == ["", "", "changed", ""]
    mismatched = [*STEPS[:2], {**STEPS[2], "mark": "mismatch"}]
    assert marks(steps=mismatched) == ["", "", "mismatch"]


def test_where_nothing_came_the_remark_is_marked() -> None:
    assert marks(lie="drop@1") == ["", "changed", "", ""]
    assert marks(steps=STEPS[:2]) == ["", "changed"]
    later = [*STEPS[:2], step(90, "target", "another segment")]
    assert marks(steps=later) == ["", "changed", ""]


def test_an_answer_that_was_changed_is_marked() -> None:
    steps = [step(0, "note", "the lie errno@a1 begins here", "changed"), step(9, "api", "connect() -> ETIMEDOUT")]
    assert marks(lie="errno@a1", steps=steps) == ["", "changed"]
    assert marks(lie="errno@a1", steps=[steps[0], STEPS[2]]) == ["changed", ""]


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_page_holds_each_survivor(tmp_path: Path) -> None:
    text, reader = page_of(sample(), tmp_path)
    for told in audit_of(sample()).survivors:
        assert told.command in reader.text
        assert told.lie in reader.text
    assert "ValueError: <none>" in reader.text
    changed = [line for line in reader.text.splitlines() if line.endswith("<- changed")]
    assert len(changed) == 3
    assert all("S. 1:1(0) ack 1" in line for line in changed[:2])
    assert "89.4 %" in reader.text
    assert "(8.5 % of all lies)" in reader.text
    assert "no rule says which identification comes next" in reader.text
    assert "the window is not what this case is about" in reader.text
    assert "inconclusive: it never got there" in reader.text
    assert RULES["RFC9293-MUST-14"].rule in reader.text
    assert "<script" not in text


def test_survivors_that_differ_in_the_family_alone_are_shown_once(tmp_path: Path) -> None:
    other = [{**known, "at_ns": known["at_ns"] + 77_000} for known in STEPS]
    results = document(audited(survivor(), survived=1), audited(survivor(steps=other), family="ipv6", survived=1),
                       audited(survivor(about="S. 0:0(0) ack 1 win 1"), variant="v", survived=1))
    _, reader = page_of(results, tmp_path)
    assert [tag for tag, _ in reader.tags].count("article") == 2
    assert reader.text.count("tcpqual audit ") == 3


def test_the_page_fetches_nothing_and_all_its_links_lead_somewhere(tmp_path: Path) -> None:
    text, reader = page_of(sample(), tmp_path)
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "img", "iframe", "object")
        target = attributes.get("href", "#outcomes")
        assert target[1:] in ids if target.startswith("#") else target.startswith("https://www.rfc-editor.org/")
    assert not re.search(r"url\(|@import", text)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[2J"
    results = document(audited(survivor(about=evil, reason=evil, verdict="fail"), survived=1, id=f"a/b::{evil}"))
    text, _ = page_of(results, tmp_path)
    assert "<script" not in text
    (told,) = audit_of(results).survivors
    assert "\x1b" not in lie_page(told)


def test_the_page_of_a_whole_suite_is_small(tmp_path: Path) -> None:
    steps = [step(number, side, f"P. {number}:{number + 100}(100) ack 1 win 64240 <nop,nop,TS val 1 ecr 2>")
             for number in range(0, 12, 2) for side in ("injector", "target")]
    records = [audited(*([survivor(f"seq+1@{number}", steps=steps)] if number % 4 == 0 else []), noticed=90, survived=1,
                       family=family, id=f"topic{number % 30}/module::a_case_with_a_name_of_some_length_{number}")
               for number in range(1000) for family in ("ipv4", "ipv6")]
    page_of(document(*records), tmp_path)
    assert (tmp_path / "audit.html").stat().st_size < 2_000_000


def shown(results: dict[str, Any], **options: Any) -> list[str]:
    stream = io.StringIO()
    print_audit(audit_of(results), stream, **options)
    assert all(char.isprintable() or char == "\n" for char in stream.getvalue())
    return stream.getvalue().splitlines()


def test_the_summary_in_a_log() -> None:
    lines = shown(sample(), reports=["reports/audit/results.json", "reports/audit/audit.html"], fail_under=90, status=1)
    assert any(line.split()[:2] == ["32", "noticed"] for line in lines)
    assert any(line.split() == ["84.2", "%", "3", "handshake/passive::syn_draws_syn_ack"] for line in lines)
    assert any(line.split() == ["2", "seq+1", "in", "1", "case"] for line in lines)
    assert any(line.strip().startswith("tcpqual audit handshake/passive::syn_draws_syn_ack --lie seq+1@1 ")
               for line in lines)
    assert any(line.split()[:2] == ["3", "ip-id"] and "RFC6864-4.1" in line for line in lines)
    assert any("inconclusive: it never got there" in line for line in lines)
    assert "Reports   reports/audit/results.json" in lines
    assert lines[-2] == "34 of 38 lies noticed: 89.4 %; 90.6 % if 5 inconclusive ones counted as noticed"
    assert lines[-1] == "TOO FEW LIES NOTICED: 89.4 %, and --fail-under wants 90 % (exit status 1)"


@pytest.mark.parametrize(("records", "status", "line"), [
    ([audited(noticed=3)], 0, "AUDITED: 0 survivors (exit status 0)"),
    ([audited(survivor(), survived=1)], 0, "AUDITED: 1 survivor (exit status 0)"),
    ([record(id="a/b::c", verdict="error", reason="gone")], 3,
     "NO SCORE TO RELY ON: 1 error of the harness or on the way to the target (exit status 3)"),
    ([audited(noticed=3)], 3, "NO SCORE TO RELY ON: the run did not come to its end (exit status 3)"),
    ([], 4, "NOTHING AUDITED: no lie was told of which the score could be made (exit status 4)"),
])
def test_the_last_word(records: list[dict[str, Any]], status: int, line: str) -> None:
    assert shown(document(*records), status=status)[-1] == line


def test_one_lie_is_told_with_its_exchange() -> None:
    found = finding(source="fingerprint", requirement="fingerprint", expected="win 2", got="win 1", fields=["window"])
    told = survivor(outcome="noticed", verdict="fail", reason="RFC9293-MUST-14: expected a, got b",
                    findings=[finding(), found])
    stream = io.StringIO()
    print_lie(audit_of(document(audited(told, noticed=1), record(id="x/y::z", audit={"left_out": "fail: no"}))), stream,
              status=0)
    lines = stream.getvalue().splitlines()
    assert "NOTICED  seq+1@1  handshake/passive::syn_draws_syn_ack ipv4" in lines
    assert "    truly     S. 0:0(0) ack 1 win 65160" in lines
    assert "    verdict   fail; pass without the lie: RFC9293-MUST-14: expected a, got b" in lines
    assert "    RFC9293-MUST-14" in lines
    assert "    fingerprint, no rule is broken" in lines
    assert sum(line.endswith("<- changed") for line in lines) == 1
    assert "  x/y::z ipv4: fail: no" in lines
    assert lines[-1] == "Told once: 1 noticed (exit status 0)"


def test_results_with_an_audit_can_be_compared(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "results.json", tmp_path / "b" / "results.json"
    for path, results in ((first, sample()), (second, document(*(
            {name: value for name, value in case.items() if name != "audit"} for case in sample()["cases"])))):
        path.parent.mkdir()
        write(results, path)
    assert difference(first, second, exact=False).status() == 0
    exact = difference(first, second, exact=True)
    assert any(place.path.startswith("audit") for unlike in exact.inexact for place in unlike.places)


# -- from end to end --------------------------------------------------------------------------------------------------

CASE = '''from harness.authoring import covers


@covers("RFC9293-U-RST-CLOSED-NOACK")
def test_refused(peer):
    """A closed port refuses."""
    peer.send("S 0:0(0) win 65535")
    peer.expect("R. 0:0(0) ack 1", seq=None)
'''


@pytest.fixture
def topic(tmp_path: Path) -> Path:
    """A case that looks at the acknowledgement, and away from the sequence number."""
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "test_module.py").write_text(CASE)
    return tmp_path


def audit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", "audit", "topic/test_module.py", "--target=decoy:refuser",
                           "--family=ipv4", *words], cwd=folder, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "CI": "1"})


def test_an_audit_from_end_to_end(topic: Path) -> None:
    done = audit(topic)
    assert (done.returncode, done.stderr) == (0, "")
    results = load(topic / "reports" / "audit" / "results.json")
    (case,) = results["cases"]
    lies = {told["lie"]: told["outcome"] for told in case["audit"]["survivors"]}
    assert lies["seq+1@1"] == "survived"
    assert "ack+1@1" not in lies
    counts = case["audit"]["counts"]
    assert counts["survived"] == len(lies) < counts["noticed"]
    assert sum(counts.values()) == case["audit"]["lies"]
    assert "CONFORMANT" not in done.stdout
    assert done.stdout.splitlines()[-1] == f"AUDITED: {len(lies)} survivors (exit status 0)"
    page = (topic / "reports" / "audit" / "audit.html").read_text()
    assert "tcpqual audit topic/module::refused --lie seq+1@1 --target decoy:refuser --family ipv4" in page


@pytest.mark.parametrize("workers", [0, 2])
def test_what_workers_found_comes_home(topic: Path, workers: int) -> None:
    done = audit(topic, "--family=both", "-n", str(workers))
    assert (done.returncode, done.stderr) == (0, "")
    found = audit_of(load(topic / "reports" / "audit" / "results.json"))
    assert [run.record["family"] for run in found.runs] == ["ipv4", "ipv6"]
    assert {told.record["family"] for told in found.survivors if told.lie == "seq+1@1"} == {"ipv4", "ipv6"}


def test_what_guests_found_comes_home(tmp_path: Path, kernel: str) -> None:
    done = subprocess.run([sys.executable, "-m", "harness", "audit", "closed/reset::syn_is_refused",
                           f"--target=uml:{kernel}", "--shards=2", f"--results={tmp_path / 'results.json'}"],
                          cwd=ROOT, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = audit_of(load(tmp_path / "results.json"))
    assert [run.record["family"] for run in found.runs] == ["ipv4", "ipv6"]
    assert found.score.noticed > 0
    assert (tmp_path / "audit.html").exists()


def test_fail_under(topic: Path) -> None:
    assert audit(topic, "--fail-under=50").returncode == 0
    share = audit_of(load(topic / "reports" / "audit" / "results.json")).score.share
    assert share is not None
    assert 0.5 < share < 1
    done = audit(topic, "--fail-under=100", "--html=out/page.html")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("and --fail-under wants 100 % (exit status 1)")
    assert (topic / "out" / "page.html").exists()


def test_one_lie_from_end_to_end(topic: Path) -> None:
    whole = topic / "reports" / "audit" / "results.json"
    audit(topic)
    before = whole.read_bytes()
    noticed, survived = audit(topic, "--lie=ack+1@1"), audit(topic, "--lie=seq+1@1")
    assert (noticed.returncode, survived.returncode) == (0, 1)
    assert "\nNOTICED  ack+1@1  topic/module::refused ipv4\n" in noticed.stdout
    assert "\nSURVIVED  seq+1@1  topic/module::refused ipv4\n" in survived.stdout
    assert sum("<- " in line for line in survived.stdout.splitlines()) == 1
    assert whole.read_bytes() == before
    assert not (topic / "reports" / "audit" / "lie" / "audit.html").exists()


def test_nothing_to_audit(topic: Path) -> None:
    done = audit(topic, "-k", "no_case_has_this_name")
    assert done.returncode == 4
    assert done.stdout.splitlines()[-1].startswith("NOTHING AUDITED")


def test_a_wrong_word_leaves_an_earlier_audit_alone(topic: Path) -> None:
    audit(topic)
    done = audit(topic, "--shards=2")
    assert (done.returncode, done.stdout) == (2, "")
    assert (topic / "reports" / "audit" / "results.json").exists()
    assert (topic / "reports" / "audit" / "audit.html").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_lie_that_cannot_be_told_is_wrong_use(topic: Path, workers: str) -> None:
    done = audit(topic, "--lie=seq+1@9", "--family=both", "-n", workers)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tcpqual: --lie seq+1@9: cannot be told of this case; allowed: ")


def test_a_lie_that_can_be_told_of_one_case_alone(topic: Path) -> None:
    done = audit(topic, "--lie=ip-checksum@1", "--family=both")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nNOTICED  ip-checksum@1  topic/module::refused ipv4\n" in done.stdout
    assert "\n  --lie ip-checksum@1: cannot be told of this case; allowed: " in done.stdout


@pytest.mark.parametrize(("freedom", "line", "workers"), [
    ('free("seq+1", why="no")', "free('seq+1') does not say why; allowed: a reason of at least 4 words", "0"),
    ('free("seq+1", why="no")', "free('seq+1') does not say why; allowed: a reason of at least 4 words", "2"),
    ('free(why="it is so for a reason")', "free() names no lie; allowed: ack, ", "0"),
    ('free("sqe", why="it is so for a reason")', "free('sqe'): no such lie; allowed: ack, ", "0")])
def test_an_unexplained_freedom_is_wrong_use(topic: Path, freedom: str, line: str, workers: str) -> None:
    (topic / "topic" / "test_module.py").write_text(
        CASE.replace("covers\n", "covers, free\n", 1).replace("def test", f"@{freedom}\ndef test"))
    done = audit(topic, "-n", workers)
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith("tcpqual: ")
    assert line in error


def test_a_freedom_with_a_reason_is_counted_apart(topic: Path) -> None:
    (topic / "topic" / "test_module.py").write_text(
        CASE.replace("covers\n", "covers, free\n", 1).replace(
            "def test", '@free("seq+1", "seq-1", why="this case is about the acknowledgement")\ndef test'))
    assert audit(topic, "-n", "0").returncode == 0
    found = audit_of(load(topic / "reports" / "audit" / "results.json"))
    assert [(freedom.lie, freedom.count) for freedom in found.freedoms if not freedom.requirement] == [
        ("seq+1", 1), ("seq-1", 1)]
    assert [told.lie for told in found.survivors if told.field == "seq"] == ["seq+2^31@1"]
