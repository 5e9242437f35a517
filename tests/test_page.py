# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page: self-contained, well formed, complete, and safe with hostile text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_samples import RULES, check, deviating, document, every_verdict, failed, finding, pinned, record, step

from harness.report.page import write_page
from harness.wire.errors import UsageError

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Checks that tags nest, and gathers ids, links and text."""

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
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, attribute: str, tag: str = "") -> list[str]:
        return [attrs[attribute] for name, attrs in self.tags if attribute in attrs and tag in ("", name)]


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.stack == []
    return reader


@pytest.fixture
def full(tmp_path: Path) -> Reader:
    timed = failed(id="retransmission/syn::gaps", family="ipv6", capture=str(tmp_path / "captures" / "a b.pcapng"),
                   timing={"tolerance_ns": 900_000, "checks": [check(3501.0)]})
    return read(write_page(document(*every_verdict(), timed, left_out=4), tmp_path / "reports.html", rules=RULES))


def test_nothing_is_fetched(tmp_path: Path) -> None:
    path = write_page(document(*every_verdict()), tmp_path / "deep" / "index.html", rules=RULES)
    reader = read(path)
    assert reader.all("src") == []
    assert "link" not in [tag for tag, _ in reader.tags]
    text = path.read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text
    assert "fetch(" not in text
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]


def test_the_page_says_what_was_tested_and_what_came_of_it(full: Reader) -> None:
    for words in ("linux 6.12.9 (kernel), profile linux", "NO VERDICT: 1 error", "tcpqual 0.1.0", "Linux 6.12.9",
                  "B-01 Three-way handshake, target passive", "No case in this run: B-02", "13 cases"):
        assert words in full.text
    assert "light dark" in full.all("content")


def test_every_case_is_there_worst_first_with_its_evidence(full: Reader) -> None:
    verdicts = full.all("data-verdict", "details")
    assert len(verdicts) == 13
    assert verdicts[0] == "error"
    assert verdicts[-1] == "pass"
    for words in ("expected S. 0:0(0) ack 1 win * <mss 1460,sackOK>", "<- mismatch", "126.000 ms TOO LATE",
                  "target in SYN-RECEIVED", "Endpoints send and understand the MSS option.", "LinkError: <went> down",
                  "tcpqual run --target linux", "state proven by wire, api"):
        assert words in full.text
    assert "https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1" in full.all("href")


def test_captures_below_the_page_are_linked_and_others_named(full: Reader) -> None:
    assert "captures/a%20b.pcapng" in full.all("href")
    assert "reports/captures/handshake.pcapng" not in full.all("href")
    assert "reports/captures/handshake.pcapng" in full.text


def test_ledger_and_what_was_left_out_have_their_sections(full: Reader) -> None:
    assert "the minimum is 200 ms" in full.text
    assert "#retransmission-timer-floor-ipv4" in full.all("href")
    assert "marked slow; run with --slow timewait/long::case_0 ipv4" in full.text
    assert "the profile has no feature urgent" in full.text


def test_ids_are_unique_and_inner_links_lead_somewhere(full: Reader) -> None:
    ids = full.all("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in full.all("href") if href.startswith("#")} <= set(ids)


def test_verdicts_are_words_not_only_colours(full: Reader) -> None:
    for words in ("✗ 1 fail", "≈ 1 known deviation", "? 1 inconclusive", "⚡ 1 error"):
        assert words in full.text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'&amp;"
    hostile = failed(id=evil, title=evil, variant=evil, reason=evil, log=evil, command=evil, capture=evil, tc8=[evil],
                     steps=[step(0, "target", evil)], requirements=[evil],
                     findings=[finding(requirement=evil, got=evil, detail=evil, deviation=evil, state=evil)])
    reader = read(write_page(document(hostile, target={"name": evil}, left_out=1), tmp_path / "page.html", rules={}))
    assert "img" not in [tag for tag, _ in reader.tags]
    assert reader.text.count("onerror") > 8


def test_a_run_without_cases_still_has_a_page(tmp_path: Path) -> None:
    reader = read(write_page(document(), tmp_path / "page.html"))
    assert "NOTHING VERIFIED" in reader.text
    assert "No case was run." in reader.text
    assert "Nothing was left out." in reader.text


def test_the_page_is_made_of_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document(record(), deviating())))
    assert "CONFORMANT, with 1 known deviation" in read(write_page(path, tmp_path / "page.html")).text
    path.write_text("{}")
    with pytest.raises(UsageError, match="schema null"):
        write_page(path, tmp_path / "page.html")


def test_the_template_names_no_other_host() -> None:
    template = Path(__file__).parent.parent / "harness" / "report" / "templates" / "report.html.j2"
    assert re.findall(r"https?://", template.read_text(encoding="utf-8")) == []


def test_what_is_not_as_the_profile_pins_it_is_shown_and_found(tmp_path: Path) -> None:
    page = read(write_page(document(record(findings=[pinned()]), failed()), tmp_path / "report.html", rules=RULES))
    assert "Fingerprint: 1 segment in 1 case is not as the profile pins. Show them" in page.text
    assert "Fingerprint not as the profile pins it; no rule is broken" in page.text
    assert "expected ttl 64" in page.text
    assert "got ttl 63" in page.text
    assert "pinned: ttl" in page.text
    assert "FINGERPRINT" not in page.text
    assert [text.endswith(" fingerprint") for text in sorted(page.all("data-text"))].count(True) == 1
    assert "fingerprint" in page.all("data-find")
    page = read(write_page(document(failed()), tmp_path / "report.html", rules=RULES))
    assert "ingerprint" not in page.text
