# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix's page in a real browser: cells, filters, the URL, wide and narrow, light, dark and on paper."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from matrix_samples import EVIL, hostile, many, place, three
from report_samples import record

from harness.doctor import missing
from harness.report.matrix import build, read
from harness.report.matrix_document import as_document, changes
from harness.report.matrix_page import write_matrix

WIDE = (1500, 950)
NARROW = (390, 800)
READY = "document.documentElement.classList.contains('ready')"
CELL = "#open=RFC9293-MUST-14@broken"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A wide screen; in the end the page has complained of nothing and asked for nothing."""
    chromium.look(*WIDE)
    yield chromium
    assert chromium.complaints == []
    assert chromium.requests == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    return write_matrix(build(read(three(folder)), suite={"icmp/never::ran": ("RFC9293-MUST-1",)}),
                        folder / "matrix.html").path


def go(browser: Browser, page: Path, fragment: str = "") -> None:
    browser.open(page, fragment)
    browser.until(READY)


def shown(browser: Browser) -> list[str]:
    """The ids of the rows that can be seen."""
    ids: list[str] = browser.run("""Array.from(document.querySelectorAll("tr.r")).filter(function (row) {
      return row.getClientRects().length;
    }).map(function (row) { return row.cells[0].firstElementChild.textContent; })""")
    return ids


def text(browser: Browser, selector: str) -> str:
    found: str = browser.run(f"document.querySelector({json.dumps(selector)}).innerText")
    return found


def cell(rule: str, column: int) -> str:
    """Marks a cell for selectors, and gives the selector."""
    return f"""(function () {{
      var row = Array.from(document.querySelectorAll("tr.r")).find(function (one) {{
        return one.cells[0].firstElementChild.textContent === {json.dumps(rule)}; }});
      row.cells[{column + 1}].id = "wanted"; }}())"""


def test_a_cell_opens_the_cases_behind_it(browser: Browser, page: Path) -> None:
    go(browser, page)
    browser.run(cell("RFC9293-MUST-14", 2))
    browser.click("#wanted")
    panel = text(browser, ".panel")
    for words in ("RFC9293-MUST-14 on broken", "MUST", "options/mss::limit", "expected", "^^", "target in SYN-RECEIVED",
                  "injector", "listen(port 8080) -> ok", "↑ mismatch", "tcpqual run --target linux --family ipv4",
                  "handshake.pcapng was not beside the results"):
        assert words in panel
    assert browser.run("document.querySelectorAll('svg.ladder line').length") == 2 + 3
    assert browser.run("location.hash") == CELL
    assert browser.run("document.getElementById('wanted').getAttribute('aria-expanded')") == "true"
    browser.click("#wanted")
    assert browser.run("document.querySelector('.panel')") is None
    assert browser.run("location.hash") in ("", "#")


def test_a_passing_case_has_its_command_and_its_capture(browser: Browser, page: Path) -> None:
    go(browser, page, "#open=RFC9293-MUST-14@mixed")
    browser.run("""Array.from(document.querySelectorAll(".panel details")).forEach(function (item) {
      item.open = true; })""")
    browser.until("document.querySelectorAll('.panel a').length > 4")
    link = browser.run("Array.from(document.querySelectorAll('.panel a')).pop().getAttribute('href')")
    assert link == "mixed/captures/handshake.pcapng"
    assert (page.parent / link).is_file()


def test_an_open_cell_survives_reload_and_sharing(browser: Browser, page: Path) -> None:
    go(browser, page, CELL)
    assert "RFC9293-MUST-14 on broken" in text(browser, ".panel")
    browser.reload()
    browser.until(READY)
    assert "RFC9293-MUST-14 on broken" in text(browser, ".panel")
    assert browser.run("""(function () {
      var at = document.querySelector("td[aria-expanded=true]").getBoundingClientRect();
      return at.top >= 0 && at.bottom <= innerHeight; }())""")


def test_filters_come_from_the_url(browser: Browser, page: Path) -> None:
    go(browser, page, "#show=fail&targets=broken")
    assert shown(browser) == ["RFC9293-MUST-14"]
    assert text(browser, "#shown").startswith("1 of ")
    assert browser.run("document.getElementById('show').value") == "fail"
    heads = browser.run("""Array.from(document.querySelectorAll("#matrix thead th")).filter(function (head) {
      return head.getClientRects().length; }).length""")
    assert heads == 2
    assert text(browser, "#picked") == "1 of 3 targets"
    browser.reload()
    browser.until(READY)
    assert shown(browser) == ["RFC9293-MUST-14"]


@pytest.mark.parametrize(("fragment", "expected"), [
    ("#show=trouble", {"RFC9293-MUST-14", "RFC9293-SHLD-12", "RFC6298-MIN"}),
    ("#show=unsettled", {"RFC9293-MUST-16"}),
    ("#show=not-run&rfc=9293&targets=broken", {"RFC9293-MUST-1"}),
    ("#q=mss%20limit&show=trouble", {"RFC9293-MUST-14"}),
    ("#q=the+interface+went+down", {"RFC9293-MUST-14"}),
    ("#show=differs&targets=mixed,clean&level=MUST", {"RFC9293-MUST-14"}),
    ("#q=no-such-words", set()),
    ("#rfc=nothing&level=%22&show=%3Cimg%3E&targets=..&open=x@y", set()),
])
def test_each_filter(browser: Browser, page: Path, fragment: str, expected: set[str]) -> None:
    go(browser, page, fragment)
    assert set(shown(browser)) == expected
    assert browser.run("document.getElementById('none').hidden") == bool(expected)


def test_rules_without_a_case_stay_visible(browser: Browser, page: Path) -> None:
    go(browser, page)
    everything = shown(browser)
    assert "RFC9293-MUST-3" in everything
    go(browser, page, "#show=no-case&rfc=9293&level=SHOULD")
    some = shown(browser)
    assert some
    assert set(some) < set(everything)
    assert not {"RFC9293-MUST-14", "RFC9293-MUST-3"} & set(some)


def test_what_a_person_chooses_goes_into_the_url(browser: Browser, page: Path) -> None:
    go(browser, page)
    browser.click("#q")
    browser.call("Input.insertText", text="interface")
    browser.run("""(function () {
      var level = document.getElementById("level");
      level.value = "MUST";
      level.dispatchEvent(new Event("change")); }())""")
    browser.click("#picked")
    browser.click("input[value=clean]")
    assert browser.run("location.hash") == "#q=interface&level=MUST&targets=mixed,broken"
    assert shown(browser) == ["RFC9293-MUST-14"]
    browser.click("#clear")
    assert browser.run("location.hash") in ("", "#")
    assert len(shown(browser)) > 800


def test_the_keyboard_moves_opens_and_closes(browser: Browser, page: Path) -> None:
    go(browser, page, "#show=fail")
    browser.run(cell("RFC9293-MUST-14", 0))
    browser.run("document.getElementById('wanted').focus()")
    for _ in range(2):
        browser.press("ArrowRight", 39)
    browser.press("Enter", 13)
    assert "RFC9293-MUST-14 on broken" in text(browser, ".panel")
    browser.press("Escape", 27)
    assert browser.run("document.querySelector('.panel')") is None
    assert browser.run("document.activeElement.cellIndex") == 3


@pytest.mark.parametrize("fragment", ["", "#show=fail&targets=broken", "#q=the+interface+went+down"])
def test_the_tab_key_reaches_a_cell_that_can_be_seen(browser: Browser, page: Path, fragment: str) -> None:
    go(browser, page, fragment)
    assert browser.run("""Array.from(document.querySelectorAll("#matrix td[tabindex='0']")).map(function (cell) {
      return cell.getClientRects().length; })""") == [1]


def test_what_did_not_run_says_why(browser: Browser, page: Path) -> None:
    go(browser, page, "#open=RFC9293-MUST-1@clean")
    assert "None of its cases ran on this target." in text(browser, ".panel")
    assert "icmp/never::ran: not in this run" in text(browser, ".panel")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_nothing_runs_out_of_the_screen(browser: Browser, page: Path, size: tuple[int, int], dark: bool) -> None:
    browser.look(*size, dark=dark)
    go(browser, page, CELL)
    assert browser.run("document.documentElement.scrollWidth") == size[0]
    inside = browser.run("""(function () {
      var at = document.querySelector(".panel").getBoundingClientRect();
      return [at.left, at.right, innerWidth]; }())""")
    assert 0 <= inside[0] <= inside[1] <= inside[2]
    assert browser.run("""Array.from(document.querySelectorAll("svg.ladder text")).every(function (one) {
      var at = one.getBoundingClientRect(), around = one.ownerSVGElement.getBoundingClientRect();
      return at.left >= around.left - 1 && at.right <= around.right + 1; })""")


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_what_is_behind_it(browser: Browser, page: Path, dark: bool) -> None:
    """WCAG 2's contrast, 4.5 for text: of each badge and cell, and of the panel's words."""
    browser.look(*WIDE, dark=dark)
    go(browser, page, "#open=RFC9293-MUST-14@mixed")
    ratios: dict[str, float] = browser.run("""(function () {
      function numbers(text) { return text.match(/[0-9.]+/g).map(Number); }
      function light(rgb) {
        var part = rgb.slice(0, 3).map(function (one) {
          one /= 255;
          return one <= 0.03928 ? one / 12.92 : Math.pow((one + 0.055) / 1.055, 2.4);
        });
        return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
      }
      function behind(element) {
        for (; element; element = element.parentElement) {
          var colour = numbers(getComputedStyle(element).backgroundColor);
          if (colour.length < 4 || colour[3] > 0) { return colour; }
        }
        return [255, 255, 255];
      }
      var found = {};
      var words = ".badge, #matrix td, .soft, .panel p, .r th p, .r th b, a, .warn";
      document.querySelectorAll(words).forEach(function (one) {
        if (!one.getClientRects().length) { return; }
        var pair = [light(numbers(getComputedStyle(one).color)), light(behind(one))].sort();
        var ratio = (Math.max(pair[0], pair[1]) + 0.05) / (Math.min(pair[0], pair[1]) + 0.05);
        var name = one.tagName + "." + one.className;
        found[name] = Math.min(found[name] || 99, ratio);
      });
      return found; }())""")
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    assert len(ratios) > 10


def test_on_paper_tools_are_gone_and_the_table_is_whole(browser: Browser, page: Path, tmp_path: Path) -> None:
    go(browser, page, "#show=trouble")
    browser.look(*WIDE, medium="print")
    assert browser.run("getComputedStyle(document.getElementById('tools')).display") == "none"
    assert "filter: anything but a pass" in text(browser, "#filter")
    assert browser.run("getComputedStyle(document.getElementById('box')).overflow") == "visible"
    pages = re.findall(rb"/Type\s*/Page\b", browser.pdf(tmp_path / "matrix.pdf").read_bytes())
    assert 1 <= len(pages) <= 6


def test_hostile_text_does_nothing(browser: Browser, tmp_path: Path) -> None:
    matrix = build(read([place(tmp_path, "one", hostile(), name=EVIL), place(tmp_path, "two", record())]))
    old = as_document(build(read([place(tmp_path, "old", record(), name=EVIL)])), tool="")
    file = write_matrix(matrix, tmp_path / "m.html", changes=changes(old, as_document(matrix, tool=""), name=EVIL)).path
    go(browser, file, "#show=trouble")
    browser.run("""document.querySelectorAll("td.k, td.f, td.s").forEach(function (one) { one.click(); })""")
    assert EVIL.replace("\u2028", "")[:20] in text(browser, ".panel")
    assert browser.run("document.images.length") == 0


def test_a_large_page_is_soon_ready(browser: Browser, tmp_path: Path) -> None:
    paths = [place(tmp_path, f"stack-{number}", *many(150, 60)) for number in range(4)]
    written = write_matrix(build(read(paths)), tmp_path / "m.html")
    go(browser, written.path)
    taken_ms: Any = browser.run("performance.now()")
    assert taken_ms < 10_000


def test_the_browser_would_tell(chromium: Browser, tmp_path: Path) -> None:
    """The checks behind each test above see what they are to see."""
    file = tmp_path / "bad.html"
    file.write_text("<img src='missing.png'><script>console.error('x'); throw new Error('y');</script>")
    chromium.open(file)
    assert len(chromium.complaints) >= 2
    assert [url.rpartition("/")[2] for url in chromium.requests] == ["missing.png"]
