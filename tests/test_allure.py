# SPDX-License-Identifier: GPL-2.0-or-later
"""What Allure is told, seen in the files that allure-pytest writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_samples import RULES, RUN, TARGET

from harness.report.allure import severity, wanted, write_environment
from harness.report.rules import cite

CONFTEST = """
import pytest
from harness.report import allure
from report_samples import RULES, failed, record

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not allure.wanted(item.config):
        return (yield)
    case = failed(capture="trace.pcapng") if item.name == "test_bad" else record()
    allure.label(case, RULES)
    try:
        return (yield)
    finally:
        allure.attach(case, rules=RULES, always=item.name == "test_asked")
"""
CASES = """
def test_good(): pass
def test_asked(): pass
def test_bad(): assert False
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The results of a run of three tests, by name of the test."""
    pytest.importorskip("allure_pytest")
    folder = tmp_path_factory.mktemp("allure")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(CASES)
    (folder / "trace.pcapng").write_bytes(b"\n\r\r\n")
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "allure_pytest", "-p", "no:cacheprovider", "--alluredir=out"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    results = [json.loads(path.read_text()) for path in (folder / "out").glob("*-result.json")]
    return {result["fullName"].rpartition("#")[2]: {**result, "folder": folder / "out"} for result in results}


def labels(result: dict[str, Any], name: str) -> list[str]:
    return [label["value"] for label in result["labels"] if label["name"] == name]


def test_labels_follow_the_requirements(written: dict[str, dict[str, Any]]) -> None:
    good = written["test_good"]
    assert labels(good, "epic") == ["RFC 9293"]
    assert labels(good, "feature") == ["RFC 9293, section 3.7.1"]
    assert labels(good, "story") == ["RFC9293-MUST-14: Endpoints send and understand the MSS option."]
    assert labels(good, "severity") == ["critical"]
    assert {"B-01", "TCP_BASICS_01", "ipv4"} <= set(labels(good, "tag"))
    assert good["links"][0]["url"] == "https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1"
    assert good["name"] == "A SYN draws a SYN,ACK one past it (ipv4)"


def test_steps_are_written_in_the_notation(written: dict[str, dict[str, Any]]) -> None:
    names = [step["name"] for step in written["test_good"]["steps"]]
    assert names[0] == "0.000 ms  api  listen(port 8080) -> ok"
    assert names[2] == "0.043 ms  <-  S. 0:0(0) ack 1 win 65160 <mss 1460>"
    bad = [(step["name"][-10:], step["status"]) for step in written["test_bad"]["steps"]]
    assert bad[2] == ("[mismatch]", "failed")
    assert bad[1][1] == "passed"


def test_attachments_only_on_failure_or_when_asked_for(written: dict[str, dict[str, Any]]) -> None:
    def names(test: str) -> list[str]:
        return [attachment["name"] for attachment in written[test].get("attachments", [])]

    assert names("test_good") == []
    assert names("test_asked") == ["pass", "ladder"]
    assert names("test_bad") == ["fail", "ladder", "capture"]
    source = written["test_bad"]["attachments"][2]["source"]
    assert source.endswith(".pcapng")
    assert (written["test_bad"]["folder"] / source).read_bytes() == b"\n\r\r\n"


def test_the_strongest_rule_gives_the_severity() -> None:
    must, should, unknown = (cite(id, RULES) for id in ("RFC9293-MUST-14", "RFC6298-MIN", "RFC1-X"))
    assert [severity([should, must]), severity([should]), severity([unknown]), severity([])] == [
        "critical", "normal", "normal", "normal"]


def test_the_environment_is_written_as_properties(tmp_path: Path) -> None:
    path = write_environment(tmp_path / "new", {**TARGET, "note": "größe\n2"}, {**RUN, "list": [1]})
    assert path.name == "environment.properties"
    assert path.read_text() == ("clock=real\nkernel=Linux 6.12.9\nseed=7\ntarget.kind=kernel\ntarget.name=linux\n"
                                "target.note=gr\\u00f6\\u00dfe\ntarget.profile=linux\ntarget.version=6.12.9\n"
                                "tool=tcpqual 0.1.0\n")


@pytest.mark.parametrize("directory", ["out", None])
def test_allure_is_wanted_only_with_its_option(directory: str | None) -> None:
    class Config:
        def getoption(self, name: str, default: object = None) -> object:
            return directory if name == "allure_report_dir" else default

    assert wanted(Config()) is bool(directory)
