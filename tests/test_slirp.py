# SPDX-License-Identifier: GPL-2.0-or-later
"""libslirp behind the pipe: its adapter keeps the protocol, and cases of a few topics come to their verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pipe_profiles import ROOT

from harness import doctor
from harness.targets.pipe.adapter import FAIL, check
from harness.targets.profile import load_profile

pytestmark = pytest.mark.skipif(doctor.missing("slirp") is not None, reason=str(doctor.missing("slirp")))

LIMIT_S = 120
TOPICS = ("header", "handshake", "close/merged", "fragments/overlap")


def test_adapter_keeps_the_protocol() -> None:
    lines = list(check(load_profile("slirp")))
    assert [str(line) for line in lines if line.mark == FAIL] == []
    assert "Ethernet frames" in str(lines[0])


def test_run(tmp_path: Path) -> None:
    """The same verdicts twice: what does not pass the ledger knows, and a death is among it."""
    seen = []
    for name in ("one", "two"):
        results = tmp_path / f"{name}.json"
        done = subprocess.run([sys.executable, "-m", "harness", "run", *TOPICS, "--target", "slirp", "--no-allure",
                               "--results", str(results)], cwd=ROOT, capture_output=True, text=True, check=False,
                              timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout[-2000:]
        cases = json.loads(results.read_text())["cases"]
        seen.append({(case["id"], case["family"], case["variant"]): (case["verdict"], case["reason"])
                     for case in cases})
    assert seen[0] == seen[1]
    verdicts = [verdict for verdict, _ in seen[0].values()]
    assert verdicts.count("pass") > 100
    assert ("known-deviation", "Dies of an IPv4 datagram whose last fragment comes first.") in seen[0].values()
