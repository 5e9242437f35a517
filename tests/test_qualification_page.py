# SPDX-License-Identifier: GPL-2.0-or-later
"""The summary of a qualification: what a customer is told, and what he is not spared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from matrix_samples import EVIL, hostile, place, three
from report_samples import deviating, failed, record
from test_page import Reader
from test_page import read as parse

from harness.doctor import missing
from harness.report.matrix import build, read
from harness.report.qualification import write_qualification


def head(*targets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "schema": 1, "kind": "tcpqual-bundle", "title": "ACME stack 3.2", "began": "2026-11-21 10:00:00 UTC",
        "ended": "2026-11-21 10:05:00 UTC", "tool": "tcpqual 0.1.0", "commit": "abc123",
        "catalogue": {"digest": "0123456789ab", "requirements": 871, "rfcs": 47},
        "suite": {"digest": "ba9876543210", "cases": 483}, "packages": {}, "selection": "", "strict": False,
        "machine": {"system": "Linux 6.1", "processor": "CPU", "processors": "2 processors", "memory": "24 GiB",
                    "python": "CPython 3.11"}, "targets": list(targets), **changes,
    }


def target(name: str, **changes: Any) -> dict[str, Any]:
    return {"target": name, "folder": f"targets/{name}", "status": 0, "error": "", "wall_s": 12.3,
            "command": f"tcpqual run --target {name}", "results": f"targets/{name}/results.json",
            "profiles": [f"targets/{name}/profile/linux.toml"], "ledger": [], **changes}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    three(tmp_path / "targets")
    matrix = build(read(tmp_path / "targets" / name for name in ("mixed", "clean", "broken")),
                   suite={"timer/long::hours": ("RFC9293-MUST-1",)})
    ledger = [{"requirement": "RFC6298-MIN", "reason": "RFC6298-MIN: expected 1000 ms, got 200 ms",
               "evidence": "measured on 6.18.44"}]
    entries = (target("mixed", ledger=ledger, status=3), target("clean"), target("broken", status=1),
               target("dead", results=None, status=3, error="first\nno such device"))
    return write_qualification(head(*entries), matrix, tmp_path / "summary.html")


def test_it_says_what_was_tested_with_what_and_what_came_of_it(page: Path) -> None:
    text = parse(page).text
    for words in ("ACME stack 3.2", "tcpqual 0.1.0, commit abc123", "0123456789ab: 871 requirements of 47 RFCs",
                  "ba9876543210: 483 cases", "Linux 6.1, CPU, 2 processors, 24 GiB", "the whole suite",
                  "CONFORMANT (exit status 0)", "NOT CONFORMANT: 1 failure (exit status 1)", "NO VERDICT: 1 error",
                  "100 % 1 of 1", "0 % 0 of 1", "tcpqual run --target clean"):
        assert words in text


def test_each_deviation_has_its_rule_its_reason_and_its_evidence(page: Path) -> None:
    reader: Reader = parse(page)
    for words in ("Fail: RFC9293-MUST-14: expected S. 0:0(0) ack 1", "MSS option is both sent and understood.",
                  "Exchange (sequence numbers relative", "<- mismatch", "Evidence. measured on 6.18.44",
                  "Known deviation: RFC6298-MIN: expected 1000 ms, got 200 ms",
                  "Error: LinkError: the interface went down", "RFC 9293, section 3.7.1"):
        assert words in reader.text
    assert "targets/mixed/captures/handshake.pcapng" in reader.all("href")


def test_what_could_not_be_tested_stands_there_with_its_reason(page: Path) -> None:
    text = parse(page).text
    for words in ("dead: not tested at all", "first no such device", "NOT TESTED (exit status 3)",
                  "its cases were not in this run", "RFC9293-MUST-1",
                  "the cases about it were stopped by other rules 1 RFC9293-MUST-16",
                  "not applicable: the profile has no feature urgent 1", "Rules that no case is about",
                  "RFC 7413, TCP Fast Open"):
        assert words in text
    assert text.count("None was seen.") == 1


def test_the_verdict_by_requirement_is_in_words(page: Path) -> None:
    text = parse(page).text
    assert "✗ fail 1/2" in text
    assert "✓ pass" in text
    assert "○ not run" in text


def test_it_fetches_nothing_and_needs_no_script(page: Path) -> None:
    reader = parse(page)
    assert "script" not in [tag for tag, _ in reader.tags]
    assert reader.all("src") == []
    assert {href.split("/")[2] for href in reader.all("href") if "://" in href} == {"www.rfc-editor.org"}


def test_without_any_results_it_still_says_so(tmp_path: Path) -> None:
    path = write_qualification(head(target("dead", results=None, status=2, error="no such device")), None,
                               tmp_path / "summary.html")
    text = parse(path).text
    assert "NOT TESTED (exit status 2) no such device" in text
    assert "Verdict by requirement" not in text


def test_where_advice_counts_the_verdict_is_that_of_the_run(tmp_path: Path) -> None:
    path = place(tmp_path / "targets", "one", record(verdict="advice"), record(family="ipv6"))
    matrix = build(read([path]))
    lax = parse(write_qualification(head(target("one")), matrix, tmp_path / "s.html")).text
    assert "CONFORMANT, with 1 SHOULD not kept (exit status 0)" in lax
    strict = parse(write_qualification(head(target("one", status=1), strict=True), matrix, tmp_path / "s.html")).text
    assert "NOT CONFORMANT: 1 SHOULD not kept (exit status 1)" in strict


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    place(tmp_path / "targets", "one", hostile(), deviating(reason=EVIL), name=EVIL, version=EVIL, kind=EVIL)
    entry = target("one", error=EVIL, command=EVIL, profiles=[EVIL], target=EVIL,
                   ledger=[{"requirement": "RFC6298-MIN", "reason": " ".join(EVIL.split()), "evidence": EVIL}])
    matrix = build(read([tmp_path / "targets" / "one"]), suite={EVIL: (EVIL,)})
    path = write_qualification(head(entry, title=EVIL, tool=EVIL, commit=EVIL, selection=EVIL), matrix,
                               tmp_path / "summary.html")
    reader = parse(path)
    assert not {"img", "script"} & {tag for tag, _ in reader.tags}
    assert reader.text.count("onerror") > 10
    assert [href for href in reader.all("href") if href.startswith("javascript")] == []


def test_one_case_has_its_whole_exchange_once(tmp_path: Path) -> None:
    cases = [failed(id="a/b::c", variant=str(number), reason=f"why {number}") for number in range(5)]
    place(tmp_path / "targets", "one", *cases)
    text = parse(write_qualification(head(target("one")), build(read([tmp_path / "targets" / "one"])),
                                     tmp_path / "s.html")).text
    assert text.count("Exchange (sequence numbers") == 1
    assert text.count("Fail: why") == 5


def test_on_screen_and_on_paper(page: Path, tmp_path: Path) -> None:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with Browser() as browser:
        for size in ((1200, 900), (390, 800)):
            browser.look(*size)
            browser.open(page)
            assert browser.run("document.documentElement.scrollWidth") == size[0]
        assert browser.pdf(tmp_path / "summary.pdf").stat().st_size > 10_000
        assert browser.complaints == []
        assert browser.requests == []


def test_a_run_that_broke_off_is_said_to_have(tmp_path: Path) -> None:
    path = place(tmp_path / "targets", "one", record())
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"run": {"interrupted": True}}))
    entry = target("one", status=3, error="ended after 5 s, the limit for one target")
    text = parse(write_qualification(head(entry), build(read([path])), tmp_path / "s.html")).text
    assert "The run did not end. ended after 5 s, the limit for one target" in text
