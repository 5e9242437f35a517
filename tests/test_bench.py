# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurements: that they measure, and what is made of them. How fast a machine is, is no test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import bench, doctor
from harness.bench import Figure

LAB = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))

FAST = Figure(name="flood", value=120.4, unit="x faster", bound=100, least=True, detail="2/s, not 1/s")
SLOW = Figure(name="case", value=3.25, unit="ms", bound=3, least=False, detail="4.00 ms less 0.75 ms")


def test_bounds() -> None:
    assert FAST.reached
    assert not SLOW.reached
    assert Figure(name="", value=3, unit="", bound=3, least=False, detail="").reached
    assert not Figure(name="", value=99.9, unit="", bound=100, least=True, detail="").reached


def test_table() -> None:
    lines = bench.table([FAST, SLOW]).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "figure measured bound made of", "flood 120 x faster ≥ 100 ok 2/s, not 1/s",
        "case 3.25 ms ≤ 3 NOT REACHED 4.00 ms less 0.75 ms"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_PROBES", 50), ("_SCAPY_PROBES", 2), ("_SYNS", 2000), ("_SCAPY_SYNS", 50), ("_VOLLEYS", 1),
                        ("_FEW_CASES", 1), ("_MANY_CASES", 31), ("_REPEATS", 1)):
        monkeypatch.setattr(bench, name, value)


@LAB
@pytest.mark.usefixtures("few")
def test_all_figures(tmp_path: Path) -> None:
    said: list[str] = []
    status = bench.bench(str(tmp_path / "made" / "bench.json"), 0, said.append)
    document = json.loads((tmp_path / "made" / "bench.json").read_text())
    figures = document["figures"]
    assert [figure["bound"] for figure in figures] == [1000, 2, 100, 3, 150]
    assert all(figure["value"] > 0 for figure in figures if figure["unit"] != "ms")
    assert status == (0 if all(figure["reached"] for figure in figures) else 1)
    assert len(said) == 1
    assert all(figure["name"] in said[0] for figure in figures)


def test_json_on_the_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def one() -> Iterator[Figure]:
        yield FAST

    def none() -> Iterator[Figure]:
        yield from ()

    for name, made in (("_wire", one), ("_case", none), ("_plugin", none)):
        monkeypatch.setattr(bench, name, made)
    said: list[str] = []
    assert bench.bench("-", 0, said.append) == 0
    assert json.loads(said[0])["figures"][0]["reached"] is True


def test_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {"a": ("pass", ""), "b": ("pass", "")}
    crowded = iter((alone, {"a": ("pass", ""), "b": ("fail", "late")}, alone))
    monkeypatch.setattr(bench, "_verdicts", lambda folder, workers: next(crowded) if workers else alone)
    (figure,) = bench._agreement(3)
    assert (figure.value, figure.reached) == (1, False)
    assert figure.detail == "2 cases, 3 runs; b: pass, then fail (late)"
    assert not list(bench._agreement(0))


def test_verdicts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode = 2
        stderr = "tcpqual: no"

    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: Done())
    with pytest.raises(bench.TargetError, match="the run ended with 2: tcpqual: no"):
        bench._verdicts(tmp_path, 0)
    cases = [{"id": "a/b::c", "family": "ipv4", "variant": "", "verdict": "pass", "reason": "so"}]
    (tmp_path / "results.json").write_text(json.dumps({"cases": cases}))
    assert bench._verdicts(tmp_path, 0) == {"a/b::c ipv4": ("pass", "so")}
