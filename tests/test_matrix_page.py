# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix's page as a file: complete without its script, self-contained, small, and safe with hostile text."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from matrix_samples import EVIL, change, hostile, many, place, three
from report_samples import deviating, failed, record, step
from test_page import Reader
from test_page import read as parse

from harness.report.matrix import build, read
from harness.report.matrix_data import pack
from harness.report.matrix_document import as_document, changes
from harness.report.matrix_page import SIZE_LIMIT, write_matrix


def unpacked(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>',
                      path.read_text(encoding="utf-8"))
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1]), -zlib.MAX_WBITS))
    return data


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_matrix(build(read(three(tmp_path))), tmp_path / "matrix.html").path


def test_nothing_is_fetched(page: Path) -> None:
    reader = parse(page)
    assert reader.all("src") == []
    assert "link" not in [tag for tag, _ in reader.tags]
    text = page.read_text(encoding="utf-8")
    for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert word not in text
    hosts = {href.split("/")[2] for href in reader.all("href") if href.startswith("http")}
    assert hosts == {"www.rfc-editor.org"}


def test_without_its_script_the_page_has_every_number_and_every_reason(page: Path) -> None:
    text = parse(page).text
    for words in ("mixed", "100 % 1 of 1 settled rules kept", "0 % 0 of 1 settled rules kept",
                  "RFC9293-MUST-14 MUST 3.7.1", "✗1/2", "no case", "RFC 9293, SEGMENT ARRIVES state by state",
                  "What is not a pass, and why", "LinkError: the interface went down", "RFC6298-MIN: expected 1000 ms",
                  "options/mss::limit ipv4 ipv6", "the case was stopped by another rule"):
        assert words in text


def test_every_requirement_is_a_row(page: Path, tmp_path: Path) -> None:
    rows = [attrs for tag, attrs in parse(page).tags if tag == "tr" and attrs.get("class", "").split(" ")[0] == "r"]
    assert len(rows) == len(build(read([tmp_path / "clean"])).rows)


def test_ids_are_unique_and_inner_links_name_a_cell_or_a_place(page: Path) -> None:
    reader = parse(page)
    ids = reader.all("id")
    assert len(ids) == len(set(ids))
    inner = {href for href in reader.all("href") if href.startswith("#")}
    assert "#open=RFC9293-MUST-14@broken" in inner
    assert all(href.startswith("#open=") for href in inner)


def test_what_changed_stands_first(tmp_path: Path) -> None:
    paths = three(tmp_path)
    old = as_document(build(read([place(tmp_path / "old", "broken", record(), version="0.9")])), tool="")
    matrix = build(read(paths))
    found = changes(old, as_document(matrix, tool=""), name="old.json")
    reader = parse(write_matrix(matrix, tmp_path / "matrix.html", changes=found).path)
    assert reader.text.index("What changed since old.json") < reader.text.index("Pass rate")
    assert "0 worse, 0 better" not in reader.text
    assert "No verdict differs in 1 cases" in reader.text
    worse = as_document(build(read([place(tmp_path / "older", "broken", failed())])), tool="")
    text = parse(write_matrix(matrix, tmp_path / "matrix.html", changes=changes(
        worse, as_document(matrix, tool=""), name="old.json")).path).text
    assert "0 worse, 1 better of 1 cases that ran in both" in text
    other = as_document(build(read([place(tmp_path / "oldest", "lwip", failed())])), tool="")
    text = parse(write_matrix(matrix, tmp_path / "matrix.html", changes=changes(
        other, as_document(matrix, tool=""), name="old.json")).path).text
    assert "No target is in both, so nothing was compared." in text


def test_behind_the_cells_are_reasons_exchanges_captures_and_commands(page: Path) -> None:
    data = unpacked(page)
    mixed, _, broken = data["targets"]
    number = next(at for at, case in enumerate(data["cases"]) if data["texts"][case[0]] == "options/mss::limit")
    detail = broken["details"][str(number)]
    assert data["texts"][detail["r"]].startswith("RFC9293-MUST-14: expected S.")
    assert "^^" in data["texts"][detail["f"][0][3]]
    assert next(data["texts"][text] for text in detail["x"][2::3]) == "listen(port 8080) -> ok"
    assert detail["x"][3:5] == [12, 0]
    assert detail["x"][7] == 1 + 8 * 4
    assert dict(map(tuple, detail["s"])) == {data["rules"].index("RFC9293-MUST-14"): "f",
                                             data["rules"].index("RFC9293-MUST-16"): "s"}
    assert mixed["captures"][number] == "l"
    assert mixed["root"] == "mixed/captures"
    assert broken["captures"][number] == "m"
    assert data["texts"][broken["commands"][number]] == \
        "tcpqual run --target linux --family \x00f -k syn_draws_syn_ack"


def test_passing_cases_have_no_exchange(page: Path) -> None:
    clean = unpacked(page)["targets"][1]
    assert clean["details"] == {}
    assert set(clean["verdicts"]) == {"p", "o"}


def test_captures_that_lie_elsewhere_are_named_and_not_linked(tmp_path: Path) -> None:
    paths = three(tmp_path / "results")
    data = unpacked(write_matrix(build(read(paths)), tmp_path / "pages.html").path)
    assert data["targets"][0]["root"] == "results/mixed/captures"
    (tmp_path / "pages").mkdir()
    data = unpacked(write_matrix(build(read(paths)), tmp_path / "pages" / "matrix.html").path)
    assert data["targets"][0]["root"] == str(tmp_path / "results" / "mixed" / "captures")
    assert set(data["targets"][0]["captures"]) <= {"n", "-"}


def test_a_capture_is_never_looked_for_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    path = place(tmp_path, "one", failed(capture=None))
    known = json.loads(path.read_text())
    known["cases"][0]["capture"] = "reports/captures/../../secret"
    path.write_text(json.dumps(known))
    assert unpacked(write_matrix(build(read([path])), tmp_path / "m.html").path)["targets"][0]["captures"] == "-"


def test_a_long_exchange_keeps_its_beginning_its_end_and_what_is_wrong(tmp_path: Path) -> None:
    steps = [step(number, "target", f"S {number}", "mismatch" if number == 200 else "") for number in range(400)]
    case = failed(steps=steps)
    case["findings"][0]["step"] = 200
    data = unpacked(write_matrix(build(read([place(tmp_path, "one", case)])), tmp_path / "m.html").path)
    texts = [data["texts"][text] for text in data["targets"][0]["details"]["0"]["x"][2::3]]
    assert "S 0" in texts
    assert "S 200" in texts
    assert "S 399" in texts
    assert "S 100" not in texts
    assert "176 more, left out here" in texts


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    path = place(tmp_path, "one", hostile(), name=EVIL, version=EVIL, kind=EVIL, profile=EVIL)
    change(path, tool=EVIL, clock=EVIL, kernel=EVIL)
    other = place(tmp_path, "two", hostile(), name=f"{EVIL}2")
    matrix = build(read([path, other]), suite={EVIL: (EVIL,)})
    document = as_document(matrix, tool=EVIL)
    old = as_document(build(read([place(tmp_path, "three", record(**{
        name: value for name, value in hostile().items() if name in ("id", "family", "variant")}), name=EVIL)])),
        tool="")
    file = write_matrix(matrix, tmp_path / "m.html", changes=changes(old, document, name=EVIL), made_by=EVIL).path
    reader = parse(file)
    assert "img" not in [tag for tag, _ in reader.tags]
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("onerror")]
    assert [tag for tag, _ in reader.tags].count("script") == 2
    assert reader.text.count("onerror") > 6
    assert EVIL in unpacked(file)["texts"]


def test_half_a_surrogate_pair_in_a_results_file_is_replaced(tmp_path: Path) -> None:
    path = place(tmp_path, "one", failed(reason="\ud800 half", title="\ud800", steps=[step(0, "note", "\udfff")]))
    assert "half" in parse(write_matrix(build(read([path])), tmp_path / "m.html").path).text


def test_ten_targets_with_much_behind_their_cells_stay_below_the_limit(tmp_path: Path) -> None:
    paths = [place(tmp_path, f"stack-{number}", *many(60, 70)) for number in range(10)]
    for number, path in enumerate(paths):  # no two targets alike, or they would compress to one
        path.write_text(path.read_text().replace('"text": ". ', f'"text": ". {number}'))
    matrix = build(read(paths))
    assert len(pack(matrix, tmp_path, limit=10**9).text) > SIZE_LIMIT / 3
    written = write_matrix(matrix, tmp_path / "m.html", limit=600_000)
    assert written.size <= 600_000
    assert written.size == (tmp_path / "m.html").stat().st_size
    assert 0 < written.exchanges < 600
    assert written.exchanges + written.left_away == 600
    assert f"of the others {written.left_away} stayed away to keep this page small" in parse(written.path).text


def test_where_there_is_little_room_failures_keep_their_exchanges(tmp_path: Path) -> None:
    noisy = [deviating(id=case["id"] + "_known", steps=case["steps"]) for case in many(100, 70)]
    path = place(tmp_path, "one", failed(), *noisy)
    packed = pack(build(read([path])), tmp_path, limit=60_000)
    assert packed.left_away > 0
    data = json.loads(zlib.decompress(base64.b64decode(packed.text), -zlib.MAX_WBITS))
    number = next(at for at, case in enumerate(data["cases"]) if data["texts"][case[0]] == failed()["id"])
    assert data["targets"][0]["details"][str(number)]["x"]


def test_verdicts_are_words_not_only_colours(page: Path) -> None:
    reader: Reader = parse(page)
    for words in ("✗ fail", "≈ known deviation", "? inconclusive", "⚡ error", "~ unsettled", "○ not run"):
        assert words in reader.text


def test_a_draft_never_stays(page: Path) -> None:
    assert [one.name for one in page.parent.iterdir() if one.name.startswith(".")] == []
