# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on a kernel that `tcpqual vm fetch` has fetched, as tests start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import doctor

ROOT = Path(__file__).parents[1]
VM = pytest.mark.skipif(doctor.missing("vm") is not None, reason=str(doctor.missing("vm")))
LIMIT_S = 300

CASES = '''# SPDX-License-Identifier: GPL-2.0-or-later
from harness.authoring import covers, slow

RULE = "RFC9293-U-RST-CLOSED-NOACK"


def refused(peer):
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")
'''
"""With this a module of cases of a test's own begins."""


def run(spec: str, results: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Run cases on that target: exit status, results, and what was said."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--target", spec, "--verdicts",
                           "--results", str(results), *words], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=LIMIT_S, env={**os.environ, "CI": "1"})
    assert results.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(results.read_text()), done.stdout


def run_own(spec: str, folder: Path, cases: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run cases of a test's own over IPv4, in a new folder below `folder`; of the results, the cases."""
    own = folder / "cases"
    own.mkdir()
    (own / "test_dying.py").write_text(CASES + cases)
    status, results, said = run(spec, folder / "results.json", str(own), "--family", "ipv4")
    return status, results["cases"], said
