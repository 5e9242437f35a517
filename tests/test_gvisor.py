# SPDX-License-Identifier: GPL-2.0-or-later
"""gVisor's netstack behind the pipe, where it has been built: the adapter, a few topics, and that a run repeats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipe_profiles import ROOT

from harness import doctor
from harness.targets.pipe.adapter import OK, check
from harness.targets.profile import load_profile
from harness.targets.registry import make_target
from harness.targets.stacks.recipe import kit, recipe
from harness.upper.base import NotApplicable

BUILT = pytest.mark.skipif(doctor.missing("gvisor") is not None, reason=str(doctor.missing("gvisor")))
TOPICS = ("abort/abort", "close/states", "handshake/simultaneous_open", "flood/connection_limit", "icmp/soft_errors")
LIMIT_S = 120


def run(folder: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the records of a run of a few topics."""
    results = folder / "results.json"
    done = subprocess.run([sys.executable, "-m", "harness", "run", *TOPICS, "--target", "gvisor", "--no-allure",
                           "-n", "0", "--results", str(results), *words],
                          cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert results.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(results.read_text())["cases"]


def test_key_follows_the_kit_of_its_own_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = recipe("gvisor")
    before = known.key()
    kits = {"c": tmp_path / "c", "go": tmp_path / "go"}
    for language, folder in kits.items():
        folder.mkdir()
        for file in kit(language).glob("tcpqual_pipe.*"):
            (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("harness.targets.stacks.recipe.kit", kits.__getitem__)
    (kits["c"] / "tcpqual_pipe.h").write_text("another kit")
    assert known.key() == before
    (kits["go"] / "tcpqual_pipe.go").write_text("another kit")
    assert known.key() != before


def test_ledger_is_about_the_version_that_is_built() -> None:
    version = recipe("gvisor").default
    deviations = list(load_profile("gvisor").ledger)
    assert len(deviations) > 80
    assert all(version in deviation.versions for deviation in deviations)


@BUILT
def test_adapter_keeps_the_protocol() -> None:
    lines = list(check(load_profile("gvisor")))
    assert [str(line) for line in lines if line.mark != OK] == []


@BUILT
def test_run_repeats_to_the_octet(tmp_path: Path) -> None:
    """What a run says hangs on no goroutine's luck: the same segments at the same instants."""
    (first, told), (second, again) = run(tmp_path / "1"), run(tmp_path / "2")
    assert (first, second) == (0, 0)
    assert [(case["id"], case["variant"], case["family"], case["steps"]) for case in told] == \
        [(case["id"], case["variant"], case["family"], case["steps"]) for case in again]
    verdicts = {case["verdict"] for case in told}
    assert verdicts == {"pass", "known-deviation"}


@BUILT
def test_options_that_there_are_not() -> None:
    target: Any = make_target("gvisor")
    made = target.upper.made(bytes((192, 0, 2, 1)), {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_USER_TIMEOUT": 1000,
                                                     "SO_RCVBUF": 8192, "TCP_NODELAY": 1})
    with pytest.raises(NotApplicable, match="no socket option TCP_NONSENSE"):
        target.upper.set_option(made, "TCP_NONSENSE", 1)
    assert target.upper.set_option(made, "TCP_MAXSEG", 1).error == "EINVAL"
    target.close()
