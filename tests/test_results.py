# SPDX-License-Identifier: GPL-2.0-or-later
"""results.json and its journal: shape, order, recovery, refusals, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_samples import RUN, TARGET, deviating, document, every_verdict, failed, record

from harness.report.junit import properties
from harness.report.record import VERDICTS, name, reason, worse, worst_first
from harness.report.results import Results, exit_status, journal_of, load, recover, summarise
from harness.wire.errors import UsageError


def collect(path: Path, *records: dict[str, Any]) -> Results:
    results = Results(path, TARGET, RUN)
    for one in records:
        results.add(one)
    return results


def test_the_document_has_the_shape_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    results = collect(path, *every_verdict())
    results.leave_out("timewait/long::case", "ipv4", "marked slow")
    done = results.finish(41.23456)
    assert list(done) == ["schema", "target", "summary", "wall_s", "run", "cases", "left_out"]
    assert list(done["summary"]) == list(VERDICTS)
    assert done["summary"]["pass"] == 3
    assert sum(done["summary"].values()) == len(done["cases"]) == 12
    assert done["wall_s"] == 41.235
    assert done["left_out"] == [{"id": "timewait/long::case", "family": "ipv4", "why": "marked slow"}]
    assert load(path) == json.loads(path.read_text()) == done


def test_cases_are_sorted_so_that_files_compare(tmp_path: Path) -> None:
    forth = collect(tmp_path / "a.json", *every_verdict()).finish(1.0)
    back = collect(tmp_path / "b.json", *reversed(every_verdict())).finish(1.0)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    keys = [(case["id"], case["family"], case["variant"]) for case in forth["cases"]]
    assert keys == sorted(keys)
    assert forth == back


def test_a_case_added_twice_keeps_the_worse_record(tmp_path: Path) -> None:
    done = collect(tmp_path / "r.json", record(), failed(), record(reason="a rerun")).finish(1.0)
    assert [case["verdict"] for case in done["cases"]] == ["fail"]
    assert worse(record(), record(reason="later"))["reason"] == "later"


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    collect(tmp_path / "results.json", record()).finish(1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.jsonl"]


def test_the_results_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    collect(path, record()).finish(1.0)
    unfinished = collect(path, failed())
    assert not path.exists()
    with pytest.raises(UsageError, match=r"did not finish, but its journal is there: \S+results\.jsonl"):
        load(path)
    unfinished.finish(1.0)


def test_a_killed_run_is_recovered_from_its_journal(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from report_samples import *\n"
        "from harness.report.results import Results\n"
        "results = Results(Path(sys.argv[1]), TARGET, RUN)\n"
        "results.add(record()); results.add(failed(id='b/b::b')); results.leave_out('c/c::c', 'ipv6', 'slow')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n")
    root = Path(__file__).parent
    path = tmp_path / "results.json"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False,
                   env={"PYTHONPATH": f"{root}:{root.parent}"})
    found = recover(journal_of(path))
    assert not path.exists()
    assert found["run"] == {**RUN, "interrupted": True}
    assert found["target"] == TARGET
    assert [case["verdict"] for case in found["cases"]] == ["fail", "pass"]
    assert found["summary"]["fail"] == 1
    assert len(found["left_out"]) == 1
    assert found["wall_s"] >= 0
    assert load(journal_of(path)) == found


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    results = collect(tmp_path / "r.json", record(title="längs"), deviating())
    whole = results.journal.read_bytes()
    for cut in (1, 2, len(whole.splitlines()[2])):
        results.journal.write_bytes(whole[:-cut])
        assert [case["verdict"] for case in recover(results.journal)["cases"]] == ["pass"]
    results.journal.write_bytes(b"")
    with pytest.raises(UsageError, match="the journal is empty"):
        recover(results.journal)
    results.finish(1.0)


def change(path: tuple[Any, ...], value: Any = None) -> dict[str, Any]:
    """A good document with one value replaced, or taken away if None."""
    good = json.loads(json.dumps(document(failed(), left_out=1)))
    place = good
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return good


@pytest.mark.parametrize(("broken", "says"), [
    (change(("schema",), 2), "schema 2; this tcpqual reads schema 1"),
    (change(("schema",)), "schema null; this tcpqual reads schema 1"),
    (change(("wall_s",)), "wall_s: missing"),
    (change(("cases",), {}), "cases: an object is not allowed; allowed: a list"),
    (change(("run",), []), "run: a list is not allowed; allowed: an object"),
    (change(("summary", "passed"), 3), 'summary: unknown verdict "passed"; allowed: pass fail'),
    (change(("cases", 0, "verdict"), "green"), r'cases\[0\].verdict: unknown verdict "green"; allowed: pass fail'),
    (change(("cases", 0, "steps")), r"cases\[0\].steps: missing"),
    (change(("cases", 0, "steps"), {}), "steps: an object is not allowed; allowed: a list"),
    (change(("cases", 0, "findings", 0, "got")), r"findings\[0\].got: missing"),
    (change(("cases", 0, "findings", 0), 3), r"findings\[0\]: 3 is not allowed; allowed: an object"),
    (change(("cases", 0), 7), r"cases\[0\]: 7 is not allowed; allowed: an object"),
    (change(("left_out", 0, "why")), r"left_out\[0\].why: missing"),
    ([], "top level: a list is not allowed; allowed: an object"),
])
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, broken: Any, says: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(broken))
    with pytest.raises(UsageError, match=says) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [
    (b"{", "not JSON"), (b"\xff\xfe\xfa", "not JSON"), (None, "no such file"),
])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        load(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


def test_a_malformed_record_is_refused_before_it_is_written(tmp_path: Path) -> None:
    results = collect(tmp_path / "r.json", record())
    with pytest.raises(UsageError, match="unknown verdict 'ok'"):
        results.add(record(verdict="ok", id="x/y::z"))
    assert len(results.journal.read_text().splitlines()) == 2
    assert [case["verdict"] for case in results.cases] == ["pass"]
    results.finish(1.0)


def test_what_json_does_not_know_is_written_as_text(tmp_path: Path) -> None:
    done = collect(tmp_path / "r.json", record(capture=Path("a.pcapng"))).finish(1.0)
    assert load(tmp_path / "r.json")["cases"][0]["capture"] == str(done["cases"][0]["capture"])


@pytest.mark.parametrize(("verdicts", "status"), [
    ((), 4),
    (("not-applicable",), 4),
    (("pass", "not-applicable"), 0),
    (("pass", "known-deviation", "advice"), 0),
    (("known-deviation",), 0),
    (("advice",), 0),
    (("pass", "fail"), 1),
    (("fail",), 1),
    (("unexpected-pass",), 1),
    (("pass", "inconclusive"), 4),
    (("inconclusive", "fail"), 1),
    (("error", "fail", "inconclusive"), 3),
    (("error", "pass"), 3),
])
def test_exit_status(verdicts: tuple[str, ...], status: int) -> None:
    summary = summarise(record(verdict=verdict) for verdict in verdicts)
    assert exit_status(summary) == exit_status({"summary": summary}) == status


def test_advice_counts_as_a_failure_only_when_strict() -> None:
    summary = summarise([record(), record(verdict="advice")])
    assert (exit_status(summary), exit_status(summary, strict=True)) == (0, 1)


def test_names_and_reasons_are_one_line() -> None:
    assert name(record(variant="wrap")) == "handshake/passive::syn_draws_syn_ack ipv4 [wrap]"
    assert reason(record(verdict="error", reason="\n\nfirst\x1b[2J\tline\nsecond")) == "first [2J line"
    assert reason(failed()).startswith("RFC9293-MUST-14: expected S. 0:0(0)")
    assert reason(record(verdict="inconclusive")).startswith("the target could not be brought")
    assert [one["verdict"] for one in worst_first([record(), deviating(), failed()])] == [
        "fail", "known-deviation", "pass"]


def test_junit_properties_name_what_the_case_is_about() -> None:
    found = properties(failed(variant="wrap", requirements=["RFC9293-MUST-14", "RFC9293-MUST-2"], reason="because"))
    assert found == [
        ("requirement", "RFC9293-MUST-14"), ("requirement", "RFC9293-MUST-2"), ("behaviour", "B-01"),
        ("tc8", "TCP_BASICS_01"), ("case", "handshake/passive::syn_draws_syn_ack"), ("family", "ipv4"),
        ("variant", "wrap"), ("verdict", "fail"), ("reason", "because"),
        ("capture", "reports/captures/handshake.pcapng")]
    assert ("verdict", "pass") in properties(record(capture=None))


def test_what_the_plugin_loads_is_cheap() -> None:
    program = ("import sys\n"
               "from harness.report import allure, failure, junit, ladder, page, progress, results, summary\n"
               "print(*sorted({name.split('.')[0] for name in sys.modules} & {'rich', 'jinja2', 'allure', "
               "'allure_commons', 'scapy', 'pyroute2'}))")
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent, capture_output=True,
                          text=True, check=True)
    assert done.stdout.split() == []
