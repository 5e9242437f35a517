# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual matrix`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matrix_samples import place, three
from report_samples import failed, record

ROOT = Path(__file__).resolve().parent.parent


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", "matrix", *map(str, words)], cwd=ROOT, capture_output=True,
                          text=True, check=False)


def test_it_writes_the_page_the_json_and_the_summary(tmp_path: Path) -> None:
    done = run(*three(tmp_path), "-o", tmp_path / "out" / "m.html", "--json", tmp_path / "m.json", "--markdown",
               tmp_path / "m.md")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("clean   1 of 1 settled rules kept (100 %)")
    assert done.stdout.splitlines()[-1].startswith(f"Matrix  {tmp_path}/out/m.html (")
    document = json.loads((tmp_path / "m.json").read_text())
    assert [target["label"] for target in document["targets"]] == ["mixed", "clean", "broken"]
    # The suite of this checkout has cases about rules that none of these results is about.
    assert any(rule["cases"] and {cell["state"] for cell in rule["cells"]} == {"not-run"}
               for rule in document["requirements"])
    assert "TCP qualification" in (tmp_path / "m.md").read_text()


def test_it_compares_with_its_own_json_and_fails_if_asked(tmp_path: Path) -> None:
    good, bad = place(tmp_path / "a", "linux", record()), place(tmp_path / "b", "linux", failed())
    done = run(good, "-o", tmp_path / "m.html", "--json", tmp_path / "old.json")
    assert done.returncode == 0
    done = run(bad, "-o", tmp_path / "m.html", "--diff", tmp_path / "old.json", "--markdown", "-")
    assert done.returncode == 0
    assert "**1 worse, 0 better** of 1 cases" in done.stdout
    assert "Matrix  " not in done.stdout
    done = run(bad, "-o", tmp_path / "m.html", "--diff", tmp_path / "old.json", "--fail-on-worse")
    assert done.returncode == 1
    assert "1 worse, 0 better of 1 cases" in done.stdout
    other = place(tmp_path / "c", "lwip", record())
    assert run(other, "-o", tmp_path / "m.html", "--diff", tmp_path / "old.json").returncode == 4


@pytest.mark.parametrize(("words", "expected"), [
    ((), "Missing argument"), (("nothing.json",), "nothing.json: no such file"),
    (("GOOD", "--fail-on-worse"), "--fail-on-worse: goes with --diff"),
    (("GOOD", "--json", "-", "--markdown", "-"), "one of them"),
    (("GOOD", "-o", "GOOD"), "is one of the results"),
    (("GOOD", "--json", "OUT"), "--output goes there already"),
    (("GOOD", "--diff", "BAD"), "not JSON"),
])
def test_wrong_use_is_one_line_and_nothing_is_written(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    good, bad, out = place(tmp_path / "a", "linux", record()), tmp_path / "bad.json", tmp_path / "m.html"
    bad.write_text("{")
    before = good.read_text()
    names = {"GOOD": good, "BAD": bad, "OUT": out}
    more = () if "-o" in words else ("-o", out)
    done = run(*(names.get(word, word) for word in words), *more)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
    assert not out.exists()
    assert good.read_text() == before
