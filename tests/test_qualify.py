# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual qualify`, `bundle verify`, and `diff` of bundles: real runs of the model, of which nothing needs rights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from harness.qualification import qualifying
from harness.qualification.bundle import Wrong, sum_of, verify, write_sums
from harness.qualification.provenance import profile_files
from harness.qualification.runs import Outcome, Plan, Running
from harness.report.results import load
from harness.targets.registry import parse_spec
from harness.wire.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
FEW = ("--cases", "closed/reset::syn_is_refused", "--cases", "closed/reset::reset_is_never_answered")
DEAD = '''extends = "model"
name = "dead"
kind = "pipe"
title = "a stack that does not start"
command = ["sh", "-c", "echo no such device >&2; exit 1"]
'''


def tcpqual(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *map(str, words)], cwd=cwd, capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "CI": "1"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A bundle of a good target, one that cannot be reached, and a bad one, in this order."""
    folder = tmp_path_factory.mktemp("qualify")
    (folder / "dead.toml").write_text(DEAD)
    done = tcpqual("qualify", "model", folder / "dead.toml", "model:reset-is-answered", "-o", folder / "ours", *FEW,
                   "--title", "ACME 3.2")
    return folder / "ours", done


@pytest.fixture
def copy(made: tuple[Path, object], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


def test_a_target_that_cannot_be_reached_does_not_lose_the_others(
        made: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    bundle, done = made
    assert done.stderr == ""
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[0] == "[1/3] model ..."
    assert lines[1].startswith("[1/3] model: conformant, ")
    assert lines[3].startswith(f"[2/3] {bundle.parent}/dead.toml: ENDED WITH 3, ")
    assert lines[5].startswith("[3/3] model:reset-is-answered: NOT CONFORMANT, ")
    known = json.loads((bundle / "bundle.json").read_text())
    assert [(one["folder"], one["status"]) for one in known["targets"]] == [
        ("targets/model", 0), ("targets/dead", 3), ("targets/model-reset-is-answered", 1)]
    assert known["targets"][1]["error"]
    assert known["title"] == "ACME 3.2"
    assert known["selection"] == "closed/reset::syn_is_refused closed/reset::reset_is_never_answered"


def test_everything_stands_in_the_bundle(made: tuple[Path, object]) -> None:
    bundle, _ = made
    for name in ("summary.html", "matrix.html", "matrix.json", "bundle.json", "SHA256SUMS"):
        assert (bundle / name).is_file()
    home = bundle / "targets" / "model"
    for name in ("results.json", "report.html", "junit.xml", "run.log"):
        assert (home / name).is_file()
    assert (home / "captures" / "closed" / "reset" / "syn_is_refused-ipv4.pcapng").is_file()
    assert (bundle / "targets" / "dead" / "profile" / "dead.toml").read_text() == DEAD
    assert (bundle / "targets" / "dead" / "profile" / "model.toml").is_file()
    assert "ACME 3.2" in (bundle / "summary.html").read_text()
    matrix = json.loads((bundle / "matrix.json").read_text())
    assert [one["label"] for one in matrix["targets"]] == ["model", "dead.toml", "model:reset-is-answered"]
    assert matrix["targets"][0]["results"] == "targets/model/results.json"
    run = load(home / "results.json")["run"]
    known = json.loads((bundle / "bundle.json").read_text())
    assert (run["catalogue"], run["suite"]) == (known["catalogue"]["digest"], known["suite"]["digest"])
    assert known["machine"]["python"].startswith("CPython ")
    assert known["packages"]["pytest"] == pytest.__version__


def test_the_sums_are_those_of_sha256sum(made: tuple[Path, object]) -> None:
    done = subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=made[0], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = tcpqual("bundle", "verify", made[0])
    assert done.returncode == 0
    assert done.stdout.endswith("files, none not as they were written\n")


def test_a_bundle_that_was_touched_is_known(copy: Path) -> None:
    (copy / "summary.html").write_text("all is well")
    (copy / "matrix.json").unlink()
    (copy / "targets" / "more").write_text("")
    done = tcpqual("bundle", "verify", copy)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == ["missing: matrix.json", "changed: summary.html", "stray: targets/more"]
    (copy / "SHA256SUMS").unlink()
    assert tcpqual("bundle", "verify", copy).returncode == 2
    assert "no bundle" in tcpqual("bundle", "verify", copy / "targets").stderr


def test_names_that_would_break_a_line_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\nb\\c").write_text("x")
    write_sums(tmp_path)
    assert verify(tmp_path) == (1, [])
    done = subprocess.run(["sha256sum", "-c", "--status", "SHA256SUMS"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    (tmp_path / "a\nb\\c").write_text("y")
    assert verify(tmp_path) == (1, [Wrong(file="a\nb\\c", what="changed")])
    (tmp_path / "SHA256SUMS").write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match="line 1: not a sum and a name"):
        verify(tmp_path)
    assert sum_of(tmp_path / "a\nb\\c") == "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa"


def test_two_bundles_are_compared_target_by_target(made: tuple[Path, object], copy: Path) -> None:
    assert tcpqual("diff", made[0], copy).returncode == 0
    results = copy / "targets" / "model" / "results.json"
    known = json.loads(results.read_text())
    known["cases"][0] |= {"verdict": "fail", "reason": "it broke"}
    results.write_text(json.dumps(known))
    done = tcpqual("diff", made[0], copy)
    assert done.returncode == 1
    assert "== model\n" in done.stdout
    assert "pass -> fail" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 of 3 targets that both have results of differs (exit status 1)"
    document = json.loads(tcpqual("diff", made[0], copy, "--json").stdout)
    assert document["targets"]["model"]["changed"][0]["reason"] == "it broke"
    assert document["status"] == 1


def test_a_matrix_is_made_of_bundles_too(made: tuple[Path, object], copy: Path, tmp_path: Path) -> None:
    done = tcpqual("matrix", made[0], copy / "targets" / "model", "-o", tmp_path / "m.html", "--diff", copy)
    assert done.returncode == 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[:4]] == [
        "model", "dead.toml", "model:reset-is-answered", "model (2)"]
    assert "0 worse, 0 better" in done.stdout
    known = json.loads((copy / "bundle.json").read_text())
    for target in known["targets"]:
        target["results"] = None
    (copy / "bundle.json").write_text(json.dumps(known))
    assert "a bundle without results" in tcpqual("matrix", copy, "-o", tmp_path / "n.html").stderr


def test_a_target_of_one_bundle_alone_is_named(made: tuple[Path, object], copy: Path) -> None:
    file = copy / "bundle.json"
    known = json.loads(file.read_text())
    known["targets"][0]["target"] = "other"
    file.write_text(json.dumps(known))
    done = tcpqual("diff", made[0], copy)
    assert done.returncode == 0
    assert "Only in A: model\nOnly in B: other\n" in done.stdout
    assert tcpqual("diff", made[0], copy, "--missing").returncode == 1
    known["targets"] = known["targets"][:1]
    file.write_text(json.dumps(known))
    assert tcpqual("diff", made[0], copy).returncode == 4
    known["targets"][0] |= {"target": "model", "results": None}
    file.write_text(json.dumps(known))
    done = tcpqual("diff", made[0], copy)
    assert "model: results in A alone" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(("words", "expected"), [
    (("qualify", "lunix", "-o", "NEW"), "'lunix': no such profile"),
    (("qualify", "model", "model", "-o", "NEW"), "model: named 2 times"),
    (("qualify", "model", "-o", "BUNDLE"), "a bundle is there already; name another folder, or --replace"),
    (("qualify", "model", "-o", "OTHER"), "is there, and no bundle"),
    (("qualify", "model", "-o", "OTHER", "--replace"), "is there, and no bundle"),
    (("qualify", "model"), "Missing option '-o'"),
    (("diff", "BUNDLE", "RESULTS"), "no bundle, and the other is one"),
])
def test_wrong_use_is_one_line_and_nothing_is_run(made: tuple[Path, object], tmp_path: Path, words: tuple[str, ...],
                                                  expected: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    names = {"NEW": tmp_path / "new", "BUNDLE": made[0], "OTHER": tmp_path / "other",
             "RESULTS": made[0] / "targets" / "model" / "results.json"}
    done = tcpqual(*(names.get(word, word) for word in words))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_a_bundle_is_replaced_where_that_is_wanted(copy: Path) -> None:
    (copy / "old").write_text("")
    done = tcpqual("qualify", "model", "-o", copy, "--cases", "closed/reset::syn_is_refused", "--family", "ipv4",
                   "--replace")
    assert done.returncode == 0
    assert not (copy / "old").exists()
    assert [one["target"] for one in json.loads((copy / "bundle.json").read_text())["targets"]] == ["model"]


def test_a_run_that_takes_too_long_is_ended_and_what_it_found_is_kept(tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text(DEAD.replace("echo no such device >&2; exit 1", "exec sleep 1000").replace(
        "title", "answer_limit_s = 600\ntitle"))
    run = Running(Plan(target=str(tmp_path / "slow.toml"), folder=tmp_path / "run", wall_limit_s=3,
                       words=("closed/reset::syn_is_refused", "--family", "ipv4")))
    outcome = run.wait(1)
    while outcome is None:
        outcome = run.wait(1)
    assert outcome.status == 3
    assert outcome.error == "ended after 3 s, the limit for one target"
    assert not outcome.interrupted


class Paced:
    """A run that takes so many looks as its target's name has letters, and writes down what ran beside it."""

    running: ClassVar[list[str]] = []
    beside: ClassVar[dict[str, set[str]]] = {}

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.cases = 7
        self._left = len(plan.target)
        self.running.append(plan.target)
        for one in self.running:
            self.beside.setdefault(one, set()).update(self.running)

    def wait(self, within_s: float) -> Outcome | None:
        self._left -= 1
        if self._left:
            return None
        self.running.remove(self.plan.target)
        return Outcome(plan=self.plan, status=0, wall_s=1.0, error="", results=None)


def test_devices_are_played_beside_the_rest_and_never_two_of_them(monkeypatch: pytest.MonkeyPatch,
                                                                  tmp_path: Path) -> None:
    monkeypatch.setattr(qualifying, "Running", Paced)
    monkeypatch.setattr(qualifying, "_keep", lambda plan, profile: None)
    kinds = {"linux": "namespace", "first-device": "remote", "model": "model", "device": "remote"}
    plans = [Plan(target=name, folder=tmp_path / name, words=(), wall_limit_s=9) for name in kinds]
    profiles: Any = {name: SimpleNamespace(kind=kind) for name, kind in kinds.items()}
    said: list[str] = []
    outcomes = qualifying._play(plans, profiles, said.append)
    assert [outcome.plan.target for outcome in outcomes] == list(kinds)
    assert Paced.beside["linux"] == {"linux", "first-device"}
    assert Paced.beside["model"] == {"model", "first-device"}
    assert Paced.beside["device"] == {"device"}
    assert said[:2] == ["[1/4] linux ...", "[2/4] first-device ..."]
    assert said[-1] == "[4/4] device: conformant, 1 s"


def test_an_interrupted_qualification_leaves_a_bundle_of_what_there_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "qualify", "model", "model:reset-is-answered", "-o",
               str(tmp_path / "cut")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        journal = tmp_path / "cut" / "targets" / "model" / "results.jsonl"
        assert process.stdout is not None
        assert process.stdout.readline() == "[1/2] model ...\n"
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out = process.stdout.read()
    assert process.returncode == 3
    assert "model: interrupted" in out
    assert "model:reset-is-answered: interrupted before its turn" in out
    known = json.loads((tmp_path / "cut" / "bundle.json").read_text())
    assert [one["results"] for one in known["targets"]] == ["targets/model/results.json", None]
    assert verify(tmp_path / "cut")[1] == []


def test_profiles_are_kept_with_what_they_extend(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.toml").write_text(DEAD)
    (tmp_path / "sub" / "base.toml").write_text('extends = "../base.toml"\nname = "mine"\nkind = "pipe"\n'
                                                'title = "mine"\ncommand = ["./mine"]\n')
    spec = str(tmp_path / "sub" / "base.toml")
    files = profile_files(spec, parse_spec(spec))
    assert list(files) == ["base.toml", "base-2.toml", "model.toml"]
    assert files["base-2.toml"] == DEAD
    assert list(profile_files("linux", parse_spec("linux"))) == ["linux.toml"]
