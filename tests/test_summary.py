# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress and final summary: plain in a log, moving on a terminal, honest everywhere."""

from __future__ import annotations

import io
import threading

import pytest
from report_samples import deviating, document, every_verdict, failed, pinned, record

from harness.report.behaviours import BEHAVIOURS, matrix, uncovered
from harness.report.progress import Progress
from harness.report.summary import fingerprint_line, known, print_summary, target_text, verdict_line
from harness.report.terminal import interactive


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("COLORTERM", "truecolor")


def plain(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(("environ", "expected"), [
    ({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False), ({"TERM": "xterm", "CI": "true"}, False),
])
def test_only_a_terminal_that_somebody_watches_is_interactive(environ: dict[str, str], expected: bool) -> None:
    assert interactive(Terminal(), environ) is expected
    assert interactive(io.StringIO(), environ) is False
    closed = io.StringIO()
    closed.close()
    assert interactive(closed, environ) is False


def test_plain_progress_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with Progress(stream, 100, 2) as progress:
        for _ in range(99):
            progress.start("a case")
            progress.case(record())
        progress.case(failed(reason="it broke\x1b[2J"))
    lines = stream.getvalue().splitlines()
    assert plain(stream.getvalue())
    assert "FAIL  handshake/passive::syn_draws_syn_ack ipv4: it broke [2J" in lines
    assert 20 <= len(lines) <= 22
    assert lines[0].startswith("  5/100 ")
    assert lines[-1].startswith("100/100 ")
    assert lines[-1].endswith("99 pass, 1 FAIL")


def test_plain_progress_ends_with_the_last_count() -> None:
    stream = io.StringIO()
    progress = Progress(stream, 0)
    for _ in range(30):
        progress.case(record())
    progress.close()
    progress.close()
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["25", "30"]


@pytest.mark.usefixtures("watched")
def test_progress_on_a_terminal_moves_and_starts_no_thread() -> None:
    """A thread would keep the process from entering a user namespace of its own."""
    stream = Terminal()
    before = threading.active_count()
    with Progress(stream, 3, 4) as progress:
        progress.case(record())
        progress.case(failed())
        assert threading.active_count() == before
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "4 workers" in text
    assert "FAIL" in text
    assert "━" in text
    assert "\x1b[?25h" in text[-20:]  # the cursor is back


@pytest.mark.usefixtures("watched")
def test_progress_keeps_to_letters_that_the_terminal_has() -> None:
    stream = Terminal()
    stream.encoding = "latin-1"
    with Progress(stream, 2) as progress:
        progress.case(record())
    assert "#" * 12 in stream.getvalue()
    assert stream.getvalue().isascii()


@pytest.mark.usefixtures("watched")
def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured, bare = Terminal(), Terminal()
    print_summary(document(failed()), coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    print_summary(document(failed()), bare)
    with Progress(bare, 1) as progress:
        progress.case(failed())
    assert "31m" in coloured.getvalue()
    assert not any(f"{colour}m" in bare.getvalue() for colour in range(30, 38))


def summary_of(*records: dict[str, object], **options: object) -> str:
    stream = io.StringIO()
    print_summary(document(*records, left_out=3), stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_summary_in_a_log_says_everything_without_control_characters() -> None:
    text = summary_of(*every_verdict(), reports=["reports/results.json", "reports/index.html"])
    assert plain(text)
    assert text == "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    lines = text.splitlines()
    assert "Target linux 6.12.9 (kernel), profile linux  clock real  seed 7" in lines
    assert any(line.split() == ["behaviour", "ipv4", "ipv6"] for line in lines)
    row = next(line for line in lines if line.startswith("B-01"))
    assert row.split("  ")[1] == "Three-way handshake, target passive"
    assert row.count("pass") == 2 + 1
    assert "  FAIL  options/mss::limit ipv4 ipv6" in lines
    assert any(line.startswith("no case in this run: B-02 B-03") for line in lines)
    assert any("2  RFC6298-MIN: the minimum is 200 ms" in line for line in lines)
    assert any(line.split() == ["3", "marked", "slow;", "run", "with", "--slow"] for line in lines)
    assert "Reports   reports/results.json" in lines
    assert "          reports/index.html" in lines
    assert lines[-2] == ("12 cases in 41.2 s: 3 pass, 1 n/a, 2 known, 1 advice, 1 INCONCLUSIVE, 1 UNEXPECTED, 2 FAIL, "
                         "1 ERROR; 3 left out")
    assert lines[-1] == "NO VERDICT: 1 error of the harness or on the way to the target (exit status 3)"


def test_a_long_list_is_counted_not_printed() -> None:
    text = summary_of(*(failed(id=f"flood/many::case_{number}") for number in range(100)))
    assert "and 60 more, in the report" in text
    assert len(text.splitlines()) < 150


@pytest.mark.parametrize(("records", "strict", "says"), [
    ([record()], False, "CONFORMANT (exit status 0)"),
    ([record(), deviating()], False, "CONFORMANT, with 1 known deviation (exit status 0)"),
    ([record(verdict="advice"), deviating()], False,
     "CONFORMANT, with 1 known deviation and 1 SHOULD not kept (exit status 0)"),
    ([record(verdict="advice")], True, "NOT CONFORMANT: 1 SHOULD not kept (exit status 1)"),
    ([failed(), record(verdict="unexpected-pass"), record(verdict="unexpected-pass", family="ipv6")], False,
     "NOT CONFORMANT: 1 failure, 2 unexpected passes (exit status 1)"),
    ([record(verdict="inconclusive")], False, "NO VERDICT: 1 case inconclusive (exit status 4)"),
    ([record(verdict="not-applicable")], False, "NOTHING VERIFIED: no case came to a verdict (exit status 4)"),
    ([], False, "NOTHING VERIFIED: no case came to a verdict (exit status 4)"),
])
def test_the_last_word(records: list[dict[str, object]], strict: bool, says: str) -> None:
    assert verdict_line(document(*records), strict=strict) == says
    assert summary_of(*records, strict=strict).splitlines()[-1] == says


def test_a_status_from_elsewhere_is_announced() -> None:
    assert summary_of(record(), status=3).splitlines()[-1] == \
        "NO VERDICT: the run did not come to its end (exit status 3)"


def test_an_interrupted_run_says_so() -> None:
    stream = io.StringIO()
    print_summary(document(record(), run={"interrupted": True}), stream)
    assert "INTERRUPTED" in stream.getvalue()


def test_the_matrix_counts_a_case_in_each_behaviour_it_names() -> None:
    found = matrix([record(behaviours=["B-01", "B-23"]), failed(), record(behaviours=[])])
    assert found == {"B-01": {"ipv4": {"fail": 1, "pass": 1}}, "B-23": {"ipv4": {"pass": 1}},
                     "other": {"ipv4": {"pass": 1}}}
    assert list(found["B-01"]["ipv4"]) == ["fail", "pass"]
    assert uncovered([record()]) == list(BEHAVIOURS)[1:]


def test_a_deviation_without_a_finding_still_has_its_reason() -> None:
    assert known([deviating(findings=[], reason="the ledger says so")]) == [("the ledger says so", 1)]


@pytest.mark.parametrize(("target", "says"), [
    ({"name": "lwip", "version": "2.2.1", "kind": "pipe", "profile": {"name": "lwip"}},
     "lwip 2.2.1 (pipe), profile lwip"),
    ({"name": "device"}, "device"), ({}, "unnamed"),
])
def test_targets_are_named(target: dict[str, object], says: str) -> None:
    assert target_text(target) == says


def test_what_is_not_as_the_profile_pins_it_is_counted_in_a_line() -> None:
    assert fingerprint_line([record(), failed()]) == ""
    one = record(findings=[pinned()])
    assert fingerprint_line([one, record()]) == \
        "fingerprint: 1 segment in 1 case is not as the profile pins; see the report"
    two = failed(family="ipv6", findings=[pinned(), pinned(step=3), pinned(step=3)])
    assert fingerprint_line([one, two]) == \
        "fingerprint: 3 segments in 2 cases are not as the profile pins; see the report"
    stream = io.StringIO()
    print_summary(document(one), stream)
    assert "fingerprint: 1 segment in 1 case is not as the profile pins; see the report" in stream.getvalue()
    assert "CONFORMANT (exit status 0)" in stream.getvalue()
    print_summary(document(record()), stream := io.StringIO())
    assert "fingerprint" not in stream.getvalue()
