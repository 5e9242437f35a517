# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin: verdicts become pytest's outcomes, records and an exit status; other people's tests stay theirs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.report.results import load, recover
from harness.targets.profile import load_profile

ROOT = Path(__file__).resolve().parent.parent
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly")
SYN = 'peer.send("S 0:0(0) win 65535")'

HEAD = """
import pytest
from harness.authoring import covers, default_timers, families, needs, slow
from harness.wire.errors import LinkError, ScriptError
"""

PASS = f'''
@covers("RFC9293-U-RST-CLOSED-NOACK", behaviour="B-24", tc8="TCP_BASICS_04")
def test_passes(peer):
    """A closed port refuses.

    More about it.
    """
    {SYN}
    peer.expect("R. 0:0(0) ack 1")
'''
FAIL = f'''
@covers("RFC9293-MUST-2")
def test_fails(peer):
    """It is not so."""
    {SYN}
    peer.expect("S. 0:0(0) ack 1")
'''
ADVICE = FAIL.replace("MUST-2", "SHLD-14").replace("fails", "advises")
INCONCLUSIVE = f'''
@covers("RFC9293-MUST-2")
def test_proves_nothing(case, peer):
    """It begins elsewhere."""
    with case.preamble():
        {SYN}
        peer.expect("S. 0:0(0) ack 1")
'''
NOT_APPLICABLE = '''
@covers("RFC9293-MUST-2")
@needs("sack")
def test_needs_sack(peer):
    """The target has it not."""
    raise LinkError("never played")
'''
KNOWN = FAIL.replace("fails", "deviates")
UNEXPECTED = PASS.replace("passes", "surprises")
ERROR = '''
@covers("RFC9293-MUST-2")
def test_errs(peer):
    """The way to the target is broken."""
    raise LinkError("the link fell off the wall")
'''
SKIPS = '''
@covers("RFC9293-MUST-2")
def test_skips(peer):
    """Not here."""
    pytest.skip("not on a Friday")
'''

CONFTEST = """
import re
from dataclasses import replace

import pytest

from harness.targets.ledger import Deviation, Ledger
from harness.targets.versions import VersionRange


def deviation(case, requirement):
    return Deviation(requirement=requirement, got=re.compile("R.*"), versions=VersionRange.parse("any"), case=case,
                     reason="it always did", evidence="seen")


@pytest.fixture(scope="session")
def target(target):
    target.profile = replace(target.profile, features={**target.profile.features, "sack": False}, ledger=Ledger((
        deviation("topic/module::deviates", "RFC9293-MUST-2"),
        deviation("topic/module::surprises", "RFC9293-U-RST-CLOSED-NOACK"))))
    return target
"""
EACH = {"pass": PASS, "fail": FAIL, "advice": ADVICE, "inconclusive": INCONCLUSIVE, "not-applicable": NOT_APPLICABLE,
        "known-deviation": KNOWN, "unexpected-pass": UNEXPECTED, "error": ERROR}


class Suite:
    """A suite of cases in a folder of its own, played against a decoy."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.results = pytester.path / "out" / "results.json"
        pytester.makeini("[pytest]\njunit_family = xunit1\n")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for name in ("PYTEST_ADDOPTS", "CI", "GITHUB_ACTIONS", "BUILD_NUMBER"):
            monkeypatch.delenv(name, raising=False)
        self.write(CONFTEST, "cases/conftest.py")

    def write(self, text: str, name: str = "cases/topic/test_module.py") -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def cases(self, *bodies: str) -> None:
        self.write(HEAD + "\n".join(bodies))

    def words(self, options: Sequence[str], target: str = "decoy:refuser") -> list[str]:
        return ["-p", "harness.plugin", *QUIET, f"--results={self.results}", f"--target={target}", *options]

    def run(self, *options: str, target: str = "decoy:refuser") -> pytest.RunResult:
        """In this process, which is quicker."""
        return self.pytester.runpytest_inprocess(*self.words(options, target))

    def command(self, *options: str, target: str = "decoy:refuser") -> subprocess.CompletedProcess[str]:
        """In a process of its own, as people do."""
        return subprocess.run([sys.executable, "-m", "pytest", *self.words(options, target)], cwd=self.path,
                              capture_output=True, text=True, check=False, timeout=100)

    def document(self) -> dict[str, Any]:
        return load(self.results)

    def verdicts(self) -> list[str]:
        return [record["verdict"] for record in self.document()["cases"]]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    return Suite(pytester, monkeypatch)


# -- outcomes and exit status -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "outcomes", "status"), [
    ("pass", {"passed": 2}, 0),
    ("fail", {"failed": 2}, 1),
    ("advice", {"passed": 2, "warnings": 2}, 0),
    ("inconclusive", {"failed": 2}, 4),
    ("not-applicable", {"skipped": 2}, 4),
    ("known-deviation", {"xfailed": 2}, 0),
    ("unexpected-pass", {"failed": 2}, 1),
    ("error", {"errors": 2}, 3),
])
def test_each_verdict_has_its_outcome_and_its_status(suite, verdict, outcomes, status):
    suite.cases(EACH[verdict])
    result = suite.run("cases")
    result.assert_outcomes(**outcomes)
    assert result.ret == status
    assert suite.verdicts() == [verdict] * 2


def test_strict_makes_advice_fail(suite):
    suite.cases(ADVICE)
    result = suite.run("cases", "--strict-should")
    result.assert_outcomes(failed=2)
    assert result.ret == 1
    assert suite.verdicts() == ["advice"] * 2


def test_advice_is_shown_as_a_warning(suite):
    suite.cases(ADVICE)
    suite.run("cases").stdout.fnmatch_lines(["*AdviceWarning: RFC9293-SHLD-14: expected S. 0:0(0) ack 1, got R.*"])


@pytest.mark.parametrize(("verdicts", "status"), [
    (("error", "fail", "inconclusive", "pass"), 3),
    (("fail", "inconclusive", "pass"), 1),
    (("unexpected-pass", "inconclusive", "pass"), 1),
    (("inconclusive", "pass"), 4),
    (("pass", "not-applicable", "advice", "known-deviation"), 0),
    (("known-deviation",), 0),
])
def test_the_worst_goes_before(suite, verdicts, status):
    suite.cases(*(EACH[verdict] for verdict in verdicts))
    assert suite.run("cases").ret == status
    assert sorted(set(suite.verdicts())) == sorted(verdicts)


def test_usage_goes_before_everything(suite):
    suite.cases(FAIL, ERROR)
    suite.write("import no_such_module\n", "cases/topic/test_broken.py")
    result = suite.run("cases", "--continue-on-collection-errors")
    assert result.ret == 2
    assert "no_such_module" in result.stdout.str()


def test_a_run_in_which_all_is_skipped_verifies_nothing(suite):
    suite.cases(SKIPS)
    result = suite.run("cases")
    result.assert_outcomes(skipped=2)
    assert result.ret == 4
    assert {record["reason"] for record in suite.document()["cases"]} == {"not on a Friday"}


@pytest.mark.parametrize("options", [("-k", "nothing_like_it"), ("--deselect=cases/topic/test_module.py",)])
def test_a_run_of_nothing_verifies_nothing(suite, options):
    suite.cases(PASS)
    assert suite.run("cases", *options).ret == 4
    assert suite.verdicts() == []


def test_an_empty_suite_verifies_nothing(suite):
    (suite.path / "cases" / "topic").mkdir()
    assert suite.run("cases").ret == 4


def test_a_case_that_is_left_out_is_said_so(suite):
    suite.cases(PASS, PASS.replace("def test_passes", '@families("ipv4")\ndef test_old'))
    assert suite.run("cases", "--family=ipv6").ret == 0
    assert suite.document()["left_out"] == [
        {"id": "topic/module::old", "family": "ipv4", "why": "a rule of ipv4 alone"}]
    assert [(record["id"], record["family"]) for record in suite.document()["cases"]] == [
        ("topic/module::passes", "ipv6")]


def test_what_the_target_does_amid_a_fixture_is_no_error_of_ours(suite):
    suite.cases(f'''
@pytest.fixture
def opened(case, peer):
    with case.preamble():
        {SYN}
        peer.expect("S. 0:0(0) ack 1")

@pytest.fixture
def wrong(peer):
    {SYN}
    peer.expect("S. 0:0(0) ack 1")

@covers("RFC9293-MUST-2")
def test_begins_elsewhere(opened):
    """A fixture brings the target there."""

@covers("RFC9293-MUST-2")
def test_fails_early(wrong):
    """A fixture looks already."""
''')
    assert suite.run("cases", "-k", "elsewhere").ret == 4
    assert suite.verdicts() == ["inconclusive"] * 2
    assert suite.run("cases").ret == 1
    assert suite.verdicts() == ["inconclusive"] * 2 + ["fail"] * 2
    assert all(record["capture"] and record["steps"] for record in suite.document()["cases"])


def test_an_error_in_a_fixture_is_an_error(suite):
    suite.cases('''
@pytest.fixture
def broken(case):
    raise LinkError("no way")

@covers("RFC9293-MUST-2")
def test_never(broken):
    """It has no chance."""
''')
    result = suite.run("cases")
    result.assert_outcomes(errors=2)
    assert result.ret == 3
    assert [(record["verdict"], record["reason"]) for record in suite.document()["cases"]] == [("error", "no way")] * 2


def test_an_error_behind_a_case_is_the_harness(suite):
    suite.cases('''
@pytest.fixture
def untidy(case):
    yield
    raise KeyError("cups")

''' + PASS.replace("(peer)", "(untidy, peer)"))
    assert suite.run("cases").ret == 3


def test_frames_that_were_lost_make_an_error_of_a_pass(suite):
    suite.cases(PASS.replace("(peer)", "(peer, monkeypatch)").replace(
        "    " + SYN, '    monkeypatch.setattr(peer.case.injector.link, "lost", lambda: 2)\n    ' + SYN))
    assert suite.run("cases").ret == 3
    assert {record["reason"] for record in suite.document()["cases"]} == {
        "LinkError: the link lost 2 frames of this case: its buffer is too small for the load"}


def test_a_case_that_breaks_of_itself_shows_where(suite):
    suite.cases('''
@covers("RFC9293-MUST-2")
def test_typo(peer):
    """The author's."""
    peer.no_such_thing()
''')
    assert suite.run("cases").ret == 3
    record = suite.document()["cases"][0]
    assert record["reason"].startswith("AttributeError: 'Peer' object has no attribute 'no_such_thing'")
    assert record["log"].startswith("cases/topic/test_module.py:")
    assert "pluggy" not in record["log"]


def test_pytest_does_not_draw_what_the_page_shows(suite):
    """It would take longer than the case, many times over."""
    suite.write(CONFTEST + '''
@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(pytest.ExceptionInfo, "getrepr", lambda *words, **named: 1 / 0)
''', "cases/conftest.py")
    suite.cases(FAIL, INCONCLUSIVE, UNEXPECTED, ADVICE)
    suite.run("cases").assert_outcomes(failed=6, passed=2, warnings=2)


# -- usage ------------------------------------------------------------------------------------------------------------


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout
    return lines[0]


def test_an_unknown_target_is_one_line(suite):
    suite.cases(PASS)
    assert "decoy:nobody" in one_line(suite.command("cases", target="decoy:nobody"))
    said = one_line(suite.command("cases", target="lynux"))
    assert "'lynux': no such profile; there are decoy, " in said


def test_an_unknown_requirement_is_said_at_collection(suite):
    suite.cases(PASS.replace("RFC9293-U-RST-CLOSED-NOACK", "RFC9293-MUST-999"))
    done = suite.command("cases")
    assert done.returncode == 2
    assert "RFC9293-MUST-999" in done.stdout + done.stderr


def test_an_unknown_requirement_of_a_bare_marker_is_one_line(suite):
    suite.cases("@pytest.mark.covers('RFC9293-MUST-999')\ndef test_bare(peer):\n    pass\n")
    assert "RFC9293-MUST-999" in one_line(suite.command("cases"))


def test_a_malformed_profile_tells_all_that_is_wrong(suite):
    suite.cases(PASS)
    suite.write('name = "mine"\nkind = "rocket"\n[timers]\nresponse_s = "soon"\n[features]\nsacks = true\n',
                "mine.toml")
    done = suite.command("cases", target="mine.toml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("tcpqual: mine.toml") for line in lines)
    assert any("rocket" in line for line in lines)
    assert any("sacks" in line for line in lines)


def test_a_path_that_is_not_there_is_usage(suite):
    suite.cases(PASS)
    assert "cases/nowhere" in one_line(suite.command("cases/nowhere"))


def test_an_option_of_pytests_that_is_wrong_is_usage(suite):
    suite.cases(PASS)
    done = suite.command("cases", "--family=ipv5")
    assert done.returncode != 0
    assert "invalid choice: 'ipv5'" in done.stderr


# -- records ----------------------------------------------------------------------------------------------------------


def test_the_record_of_a_case(suite):
    suite.cases(PASS)
    suite.run("cases", "--family=ipv6", "--seed=7")
    document = suite.document()
    assert document["schema"] == 1
    assert document["target"] == {"name": "decoy:refuser", "kind": "decoy", "version": "", "profile": "decoy"}
    assert document["run"]["clock"] == "stepped"
    assert document["run"]["seed"] == 7
    assert document["run"]["tool"].startswith("tcpqual ")
    assert document["summary"]["pass"] == 1
    (record,) = document["cases"]
    assert (record["id"], record["title"], record["family"], record["variant"]) == (
        "topic/module::passes", "A closed port refuses.", "ipv6", "")
    assert record["requirements"] == ["RFC9293-U-RST-CLOSED-NOACK"]
    assert (record["behaviours"], record["tc8"], record["proof"]) == (["B-24"], ["TCP_BASICS_04"], ["wire"])
    assert [step["text"] for step in record["steps"]] == ["S 0:0(0) win 65535", "R. 0:0(0) ack 1 win 0"]
    assert record["segments"] == 2
    assert record["findings"] == []
    assert record["command"] == ("tcpqual run topic/module::passes --target decoy:refuser --family ipv6 --seed 7")
    assert Path(record["capture"]).read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert Path(record["capture"]).is_relative_to(suite.results.parent)


def test_the_finding_of_a_case(suite):
    suite.cases(FAIL)
    result = suite.run("cases", "--family=ipv4")
    (finding,) = suite.document()["cases"][0]["findings"]
    assert finding | {"state": "", "detail": ""} == {
        "requirement": "RFC9293-MUST-2", "level": "MUST", "source": "case", "expected": "S. 0:0(0) ack 1",
        "got": "R. 0:0(0) ack 1 win 0", "fields": ["flags"], "step": 1, "state": "", "detail": "", "deviation": None}
    result.stdout.fnmatch_lines(["*FAIL*topic/module::fails ipv4*", "*RFC9293-MUST-2*", "*expected*", "*got*"])


def test_variants_are_no_part_of_the_id(suite):
    suite.cases(PASS.replace("@covers", '@pytest.mark.parametrize("size", [1, 2], ids=["one", "two [x]"])\n@covers')
                .replace("(peer)", "(peer, size)"))
    suite.run("cases")
    records = suite.document()["cases"]
    assert {record["id"] for record in records} == {"topic/module::passes"}
    assert [(record["family"], record["variant"]) for record in records] == [
        ("ipv4", "one"), ("ipv4", "two [x]"), ("ipv6", "one"), ("ipv6", "two [x]")]
    assert records[0]["command"].startswith("tcpqual run 'topic/module::passes[one]' --target")
    assert len({record["capture"] for record in records}) == 4


def test_the_same_records_with_workers_as_without(suite):
    suite.cases(*EACH.values())
    assert suite.command("cases", "-n0").returncode == 3
    alone = suite.document()
    assert suite.command("cases", "-n2").returncode == 3
    spread = suite.document()

    def bare(document: dict[str, Any]) -> list[dict[str, Any]]:
        def timeless(record: dict[str, Any]) -> dict[str, Any]:
            steps = [{**step, "at_ns": 0} for step in record["steps"]]
            return {**record, "steps": steps, "duration_s": 0, "timing": None, "log": ""}
        return [timeless(record) for record in document["cases"]]

    assert bare(alone) == bare(spread)
    assert alone["summary"] == spread["summary"]


def test_a_worker_that_dies_is_an_error_of_the_harness(suite):
    suite.cases(PASS, '''
@covers("RFC9293-MUST-2")
def test_dies(peer):
    """The worker goes."""
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
''')
    assert suite.command("cases", "-n1", "--max-worker-restart=0").returncode == 3


SLEEPER = PASS + '''
@covers("RFC9293-MUST-2")
def test_sleeps(peer):
    """Long enough to be killed."""
    import os, pathlib, time
    with pathlib.Path(os.environ["PIDS"]).open("a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(50)
'''


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_for(condition: Any, within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_leaves_its_journal_and_no_process(suite, workers):
    suite.cases(SLEEPER)
    pids = suite.path / "pids"
    process = subprocess.Popen([sys.executable, "-m", "pytest", *suite.words(["cases", f"-n{workers}"])],
                               cwd=suite.path, env={**os.environ, "PIDS": str(pids)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    journal = suite.results.with_suffix(".jsonl")
    try:
        assert wait_for(lambda: pids.exists() and pids.read_text().endswith("\n") and journal.exists()
                        and '"case"' in journal.read_text())
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    players = [int(word) for word in pids.read_text().split()]
    assert wait_for(lambda: all(gone(pid) for pid in players))
    assert not suite.results.exists()
    document = recover(journal)
    assert document["run"]["interrupted"] is True
    assert "pass" in [record["verdict"] for record in document["cases"]]


# -- what is left out -------------------------------------------------------------------------------------------------

TIMES = f'''
@slow
@covers("RFC9293-MUST-2")
def test_long(peer):
    """It takes its time."""
    {SYN}
    peer.expect("R. 0:0(0) ack 1")

@default_timers("keepalive_time_s")
@covers("RFC9293-MUST-2")
def test_default(peer):
    """The target's own values."""
    {SYN}
    peer.expect("R. 0:0(0) ack 1")
'''


@pytest.mark.parametrize(("options", "left_out"), [
    ((), {("topic/module::long", "slow: run with --slow"),
          ("topic/module::default", "needs default timers: keepalive_time_s shortened")}),
    (("--slow",), {("topic/module::default", "needs default timers: keepalive_time_s shortened")}),
])
def test_in_real_time_slow_cases_are_left_out_and_said(suite, rights, options, left_out):
    suite.cases(PASS, TIMES)
    (suite.path / "cases" / "conftest.py").unlink()
    assert suite.run("cases", *options, target="linux").ret == 0
    document = suite.document()
    assert {(entry["id"], entry["why"]) for entry in document["left_out"]} == left_out
    assert len(document["left_out"]) == 2 * len(left_out)
    assert (document["target"]["kind"], document["run"]["clock"]) == ("namespace", "real")


def test_where_time_is_not_real_nothing_is_slow(suite):
    suite.cases(TIMES)
    assert suite.run("cases").ret == 0
    assert suite.document()["left_out"] == []
    assert len(suite.verdicts()) == 4


def test_what_workers_leave_out_is_said_once(suite, rights):
    suite.cases(PASS, TIMES)
    (suite.path / "cases" / "conftest.py").unlink()
    done = suite.command("cases", "-n2", target="linux")
    assert done.returncode == 0, done.stdout
    assert len(suite.document()["left_out"]) == 4


# -- other reports ----------------------------------------------------------------------------------------------------


def test_junit_carries_requirements_as_properties(suite):
    suite.cases(PASS, FAIL, KNOWN, ERROR)
    suite.run("cases", "--family=ipv4", "--junitxml=junit.xml")
    tree = ElementTree.parse(suite.path / "junit.xml")
    found = {case.get("name"): case for case in tree.iter("testcase")}
    properties = [(entry.get("name"), entry.get("value")) for entry in found["test_passes[ipv4]"].iter("property")]
    assert {("requirement", "RFC9293-U-RST-CLOSED-NOACK"), ("behaviour", "B-24"), ("tc8", "TCP_BASICS_04"),
            ("case", "topic/module::passes"), ("family", "ipv4"), ("verdict", "pass")} <= set(properties)
    assert found["test_fails[ipv4]"].find("failure") is not None
    assert found["test_errs[ipv4]"].find("error") is not None
    assert found["test_errs[ipv4]"].find("failure") is None
    assert found["test_deviates[ipv4]"].find("skipped") is not None
    assert dict(next(tree.iter("testsuite")).items())["errors"] == "1"


def allure_results(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    return {result["fullName"].rpartition("#")[2]: result for result in found}


def test_allure_gets_labels_steps_and_on_failure_attachments(suite):
    pytest.importorskip("allure_pytest")
    suite.cases(PASS, FAIL)
    done = suite.command("cases", "--family=ipv4", "--alluredir=allure")
    assert done.returncode == 1
    results = allure_results(suite.path / "allure")
    passed, failed = results["test_passes"], results["test_fails"]
    labels = {(label["name"], label["value"]) for label in passed["labels"]}
    assert ("epic", "RFC 9293") in labels
    assert ("severity", "critical") in labels
    assert {("tag", "B-24"), ("tag", "TCP_BASICS_04"), ("tag", "ipv4")} <= labels
    assert any(name == "story" and value.startswith("RFC9293-U-RST-CLOSED-NOACK") for name, value in labels)
    assert [step["name"].split("  ")[1:] for step in passed["steps"]] == [
        ["->", "S 0:0(0) win 65535"], ["<-", "R. 0:0(0) ack 1 win 0"]]
    assert "attachments" not in passed
    assert {entry["name"] for entry in failed["attachments"]} >= {"ladder", "capture"}
    environment = (suite.path / "allure" / "environment.properties").read_text()
    assert "target.name=decoy:refuser" in environment


def test_attachments_for_all_when_asked_for(suite):
    pytest.importorskip("allure_pytest")
    suite.cases(PASS)
    suite.command("cases", "--family=ipv4", "--alluredir=allure", "--attach")
    (passed,) = allure_results(suite.path / "allure").values()
    assert {entry["name"] for entry in passed["attachments"]} >= {"ladder", "capture"}


def test_the_page_and_the_summary_take_the_place_of_pytests_own(suite):
    suite.cases(PASS, FAIL)
    done = suite.command("cases", "--verdicts", "-p", "no:terminal")
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert "RFC9293-MUST-2" in done.stdout
    assert "test session starts" not in done.stdout
    assert (suite.results.parent / "report.html").exists()


# -- other people's tests ---------------------------------------------------------------------------------------------

STRANGERS = """
import pytest

@pytest.fixture
def case():
    return "my own"

@pytest.fixture
def peer(case):
    return case

def test_mine(case):
    assert case == "my own"

@pytest.mark.parametrize("family", ["Bach"])
def test_family(family, case, peer):
    assert family == "Bach"

def test_wrong():
    assert False
"""


@pytest.mark.parametrize(("options", "status"), [
    ((), 1), (("-k", "mine or family"), 0), (("-k", "nothing"), 5), (("nowhere",), 4), (("--no-such-option",), 4),
])
def test_other_peoples_runs_are_left_alone(suite, options, status):
    (suite.path / "cases" / "conftest.py").unlink()
    suite.write(STRANGERS, "test_strangers.py")
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "harness.plugin", *QUIET, *options], cwd=suite.path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "tcpqual:" not in done.stderr
    assert not list(suite.path.rglob("results.json*"))
    assert not (suite.path / "reports").exists()


def test_other_tests_beside_cases_keep_their_part_of_the_status(suite):
    suite.cases(PASS, "def test_no_case():\n    assert False\n")
    assert suite.run("cases").ret == 3
    assert suite.verdicts() == ["pass"] * 2


def test_a_fixture_that_builds_on_ours_still_makes_a_case(suite):
    suite.cases('''
@pytest.fixture
def case(case):
    case.note("built upon")
    return case
''' + PASS)
    assert suite.run("cases").ret == 0
    assert suite.document()["cases"][0]["steps"][0]["text"] == "built upon"


@pytest.mark.parametrize("target", ["decoy:refuser", "linux"])
def test_collecting_alone_makes_no_report(suite, rights, target):
    suite.cases(PASS, TIMES)
    result = suite.run("cases", "--collect-only", "-q", target=target)
    assert result.ret == 0
    assert not list(suite.path.rglob("results.json*"))


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_mentions_the_options(suite):
    text = suite.command("--help").stdout
    for option in ("--target=SPEC", "--family=", "--slow", "--strict-should", "--results=FILE", "--seed=N", "--attach"):
        assert option in text
    assert "TCP conformance (tcpqual)" in text


def test_the_markers_are_registered(suite):
    text = suite.command("--markers").stdout
    for name in ("covers", "families", "needs", "default_timers", "slow", "flood"):
        assert f"@pytest.mark.{name}" in text
    suite.cases(PASS, TIMES)
    assert suite.run("cases", "--strict-markers").ret == 0


def test_the_decoys_profile_claims_every_feature():
    assert all(load_profile("decoy").features.values())
