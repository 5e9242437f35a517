# SPDX-License-Identifier: GPL-2.0-or-later
"""lwIP, built from Debian's sources: its adapter keeps the protocol, and its cases come to what its profile says."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import doctor
from harness.targets.pipe.adapter import FAIL, check
from harness.targets.profile import load_profile
from harness.targets.stacks.recipe import recipe
from harness.targets.stacks.store import builds

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(doctor.missing("lwip") is not None, reason=str(doctor.missing("lwip")))

TOPICS = ("closed", "handshake/syn_sent", "close/time_wait", "acknowledgement", "icmp/udp_closed_port",
          "fragments/reassembly")
SETTLED = {"pass", "known-deviation", "not-applicable"}


def built() -> list[str]:
    """The targets of the versions that are built."""
    known = recipe("lwip")
    return ["lwip" if version == known.default else f"lwip:{version}" for version in known.releases
            if any(stack.current for stack in builds(known, version))]


def cases(target: str, folder: Path, workers: str) -> list[dict[str, Any]]:
    results = folder / "results.json"
    done = subprocess.run([sys.executable, "-m", "harness", "run", *TOPICS, "--target", target, "--no-allure", "-n",
                           workers, "--results", str(results)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    document = json.loads(results.read_text())
    assert document["target"]["version"] == recipe("lwip").default if target == "lwip" else target[5:]
    return list(document["cases"])


@pytest.mark.parametrize("target", built())
def test_adapter_keeps_the_protocol(target: str) -> None:
    lines = list(check(load_profile(target)))
    assert [str(line) for line in lines if line.mark == FAIL] == []
    assert len(lines) > 10


@pytest.mark.parametrize("target", built())
def test_cases_come_to_what_the_profile_says(target: str, tmp_path: Path) -> None:
    """Nothing fails but what the ledger knows, nothing is unlike the fingerprint; and by two workers it is the same.

    What workers do does not hang on the version, so that is tried with one.
    """
    first = cases(target, tmp_path / "1", "0")
    verdicts = [case["verdict"] for case in first]
    assert set(verdicts) == SETTLED
    assert verdicts.count("pass") > verdicts.count("known-deviation") > 0
    unlike = [finding for case in first for finding in case["findings"] if finding["source"] == "fingerprint"]
    assert unlike == []
    if target == "lwip":
        assert [(case["id"], case["verdict"], case["reason"]) for case in cases(target, tmp_path / "2", "2")] == [
            (case["id"], case["verdict"], case["reason"]) for case in first]


STARTS = """
import sys
from harness.targets.registry import make_target
target = make_target(sys.argv[1])
target.come_to_rest("a case")
print(target.link._conversation.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("target", built())
def test_process_ends_with_who_has_started_it(target: str) -> None:
    """Also one that does nothing any more, when its parent is killed."""
    with subprocess.Popen([sys.executable, "-c", STARTS, target], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        with open(gone):
            assert select.select([gone], [], [], 10)[0] == [gone]


def test_ledger_tells_the_versions_apart() -> None:
    """2.1.3 quotes a fragment wrongly, which 2.2.1 does not."""
    ledger = load_profile("lwip").ledger
    case = "fragments/reassembly::unfinished_datagram_times_out"
    assert [len(ledger.due(case, "ipv6", version)) for version in ("2.1.3", "2.2.1")] == [1, 0]
    assert ledger.due(case, "ipv4", "2.1.3") == []
