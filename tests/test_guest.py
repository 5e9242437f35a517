# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in guests: the same verdicts and reports as elsewhere, hours in seconds, and nothing lost or left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.report.difference import difference
from harness.report.results import load, recover
from harness.targets.kernels import find
from harness.virtualtime import guest as guests
from harness.virtualtime.guest import Guest
from harness.wire.errors import TargetError, UsageError

ROOT = Path(__file__).resolve().parent.parent

HEAD = '''
import ctypes, resource, threading, time
from harness.authoring import after, covers, default_timers, established, kept_alive, slow
rules = covers("RFC9293-U-RST-CLOSED-NOACK", behaviour="B-24")
'''
FINE = '''
@rules
def test_fine{number}(peer):
    """A closed port refuses."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")
'''
FAILS = '''
@rules
def test_fails(peer):
    """It is not so."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1")
'''
ADVISES = FAILS.replace("@rules", '@covers("RFC9293-SHLD-14")').replace("fails", "advises")
OPENS = '''
@rules
def test_opens(peer, listener):
    """Its numbers are the kernel's own."""
    established(peer, listener)
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
'''
LONG = '''
@slow
@default_timers("keepalive_time_s")
@covers("RFC9293-MUST-28")
def test_two_hours(peer, listener, profile):
    """The first probe comes after two hours."""
    kept_alive(peer, listener)
    peer.expect(". 0:0(0) ack 1", after(profile.timer("keepalive_time_s")))
'''
ASLEEP = '''
@rules
def test_sleeps(case, peer):
    """However long a wait is, it is a few waits of the process, and next to no system calls."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")
    waits, used = (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.monotonic())
    case.pause(30 * 86400)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - waits <= 6
    # Each system call takes a microsecond of the guest's time; what the pause took beyond its length is those.
    assert time.monotonic() - used - 30 * 86400 < 0.0005
'''
DIES = '''
@rules
def test_dies(peer):
    """The guest goes away."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    with open("/dev/kmsg", "w") as kernel:
        kernel.write("<0>Oops: a patch gone wrong")
    ctypes.CDLL(None).reboot({how})
'''
STUCK = '''
@rules
def test_stuck(peer):
    """It waits for what never comes."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    {what}
'''
LIVES = """
from harness.virtualtime import shards
shards._LIVES = {lives}
from harness.cli import main
main()
"""


class Suite:
    """A suite of cases in a folder of its own, played in guests."""

    def __init__(self, folder: Path, kernel: str) -> None:
        self.folder = folder
        self.results = folder / "out" / "results.json"
        self.kernel = kernel

    def cases(self, *bodies: str) -> None:
        path = self.folder / "cases" / "topic" / "test_module.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + "\n".join(bodies))

    def words(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "harness", "run", f"--target=uml:{self.kernel}", "--family=ipv4", "--shards=1",
                f"--results={self.results}", *options, str(self.folder / "cases")]

    def run(self, *options: str, lives: int = 0) -> subprocess.CompletedProcess[str]:
        """By the product's own command; `lives` is how many guests may die, 0 for as many as there are."""
        words = self.words(*options)
        if lives:
            words[1:3] = ["-c", LIVES.format(lives=lives)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)

    def pytest(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "harness.plugin", "-p", "no:cacheprovider", "-c", os.devnull,
             f"--rootdir={self.folder}", "--import-mode=importlib", "--family=ipv4", f"--results={self.results}",
             *options, str(self.folder / "cases")],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
            timeout=200)

    def verdicts(self) -> dict[str, str]:
        return {case["id"].partition("::")[2]: case["verdict"] for case in self.document()["cases"]}

    def document(self) -> dict[str, Any]:
        return load(self.results)


@pytest.fixture
def suite(tmp_path: Path, kernel: str) -> Suite:
    return Suite(tmp_path, kernel)


def fine(count: int) -> list[str]:
    return [FINE.format(number=number) for number in range(count)]


def guests_of(pid: int) -> set[int]:
    """The processes that a run has started, and those have started."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found |= {int(child), *guests_of(int(child))}
    return found


def running(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/exe").exists() and b"linux" in
            Path(f"/proc/{pid}/cmdline").read_bytes()}


# -- verdicts and reports ---------------------------------------------------------------------------------------------


def test_a_run_reaches_the_reports_of_the_host(suite: Suite) -> None:
    suite.cases(*fine(3), FAILS)
    done = suite.run("--shards=2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert suite.verdicts() == {"fine0": "pass", "fine1": "pass", "fine2": "pass", "fails": "fail"}
    document = suite.document()
    assert document["target"] == {"name": f"uml:{suite.kernel}", "kind": "uml", "profile": "linux",
                                  "version": find(suite.kernel).release, "build": find(suite.kernel).key}
    assert document["run"] | {"clock": "skipping", "shards": 2, "seed": 0} == document["run"]
    assert document["run"]["virtual_s"] > 0
    for case in document["cases"]:
        assert Path(case["capture"]).is_relative_to(suite.results.parent)
        assert Path(case["capture"]).stat().st_size > 200
    assert "R. 0:0(0) ack 1" in done.stdout
    assert "/run/out" not in done.stdout + suite.results.read_text()
    results = list((suite.results.parent / "allure-results").glob("*-result.json"))
    assert len(results) == 4
    attached = {one["source"] for path in results for one in json.loads(path.read_text()).get("attachments", ())}
    assert attached
    assert all((suite.results.parent / "allure-results" / name).exists() for name in attached)
    tree = ElementTree.parse(suite.results.parent / "junit.xml").getroot()
    assert (tree[0].get("tests"), tree[0].get("failures")) == ("4", "1")
    assert not list(suite.results.parent.rglob("*.tmp"))


def test_two_hours_take_seconds(suite: Suite) -> None:
    suite.cases(LONG)
    done = suite.run()
    assert done.returncode == 0, done.stdout
    (case,) = suite.document()["cases"]
    assert case["duration_s"] > 7000
    assert suite.document()["wall_s"] < 60
    assert suite.document()["left_out"] == []
    # The tolerance is what reading the clock costs, not what the machine does.
    assert case["timing"]["tolerance_ns"] < 100_000


def test_nothing_polls_while_it_waits(suite: Suite) -> None:
    suite.cases(ASLEEP)
    done = suite.run()
    assert done.returncode == 0, done.stdout


def test_a_run_repeats_to_the_octet_and_another_seed_changes_numbers_only(suite: Suite, tmp_path: Path) -> None:
    suite.cases(*fine(2), OPENS)
    places = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        suite.results = tmp_path / name / "results.json"
        assert suite.run("--shards=2", f"--seed={seed}").returncode == 0
        places.append(suite.results)
    assert difference(places[0], places[1], exact=True).status() == 0
    other = difference(places[0], places[2], exact=True)
    assert other.status() == 1
    assert not other.changed


def test_shards_and_real_time_give_the_same_verdicts(suite: Suite, tmp_path: Path) -> None:
    suite.cases(*fine(3), FAILS, OPENS)
    found = []
    for options in ("--shards=1",), ("--shards=2",), ("--shards=2", "--real-clock"):
        suite.run(*options)
        found.append(suite.verdicts())
    assert found[0] == found[1] == found[2]
    assert suite.document()["run"]["clock"] == "real"


def test_with_a_real_clock_default_timers_are_left_out(suite: Suite) -> None:
    suite.cases(*fine(1), LONG)
    assert suite.run("--real-clock").returncode == 0
    assert [entry["id"] for entry in suite.document()["left_out"]] == ["topic/module::two_hours"]


# -- plain pytest -----------------------------------------------------------------------------------------------------


def test_plain_pytest(suite: Suite) -> None:
    suite.cases(*fine(2), FAILS, ADVISES)
    done = suite.pytest("--virtual-time", f"--kernel={suite.kernel}", "-q", "--shards=1")
    assert done.returncode == 1
    assert "1 failed, 3 passed, 1 warning" in done.stdout
    assert "AdviceWarning" in done.stdout
    assert suite.verdicts()["advises"] == "advice"


def test_the_first_failure_can_end_it(suite: Suite) -> None:
    suite.cases(FAILS, *fine(40))
    done = suite.pytest("--virtual-time", f"--kernel={suite.kernel}", "-x", "--shards=1")
    assert "stopping after 1 failures" in done.stdout
    assert len(suite.document()["cases"]) < 41


@pytest.mark.parametrize(("options", "said"), [
    (("-k", "a b"), "Wrong expression passed to '-k': a b"),
    (("-n", "2"), "--numprocesses: a guest has one processor; allowed: --shards N, guests side by side"),
    (("--shards=-1",), "--shards and --wall-limit: allowed: more than 0"),
    (("--collect-only",), "--collect-only: goes with a target on this machine"),
])
def test_wrong_use_is_one_line(suite: Suite, options: Sequence[str], said: str) -> None:
    suite.cases(*fine(1))
    done = suite.pytest("--virtual-time", f"--kernel={suite.kernel}", "--shards=1", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stdout + done.stderr
    assert done.stderr.startswith(f"tcpqual: {said}")


def test_a_module_that_cannot_be_read(suite: Suite) -> None:
    suite.cases("import nothing_of_that_name")
    done = suite.run()
    assert done.returncode == 2
    assert "nothing_of_that_name" in done.stdout + done.stderr


# -- guests that go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["0x01234567", "0x4321fedc"], ids=["restarts", "switches-off"])
def test_a_guest_that_dies_takes_one_case_with_it(suite: Suite, how: str) -> None:
    suite.cases(*fine(2), DIES.format(how=how), FINE.format(number="_behind"))
    done = suite.run()
    assert done.returncode == 3
    assert suite.verdicts() == {"fine0": "pass", "fine1": "pass", "dies": "error", "fine_behind": "pass"}
    (lost,) = (case for case in suite.document()["cases"] if case["verdict"] == "error")
    assert lost["reason"].startswith("the guest kernel died (")
    assert "S 0:0(0) win 65535 <mss 1460>" in lost["log"]
    assert "Oops: a patch gone wrong" in lost["log"]
    assert "topic/module::dies" in done.stdout


def test_guests_that_die_again_and_again(suite: Suite) -> None:
    suite.cases(*(DIES.format(how="0x4321fedc").replace("test_dies", f"test_dies{number}") for number in range(5)))
    done = suite.run(lives=3)
    assert done.returncode == 3
    assert len(suite.document()["cases"]) == 3
    assert "guest 0: 3 guests have died; the 2 cases that are left were not run" in done.stderr
    assert [entry["why"] for entry in suite.document()["left_out"]] == 2 * ["not run: 3 guests have died before it"]


@pytest.mark.parametrize("what", ["threading.Event().wait()", "while True: pass"], ids=["idle", "spinning"])
def test_the_wall_limit_ends_a_stuck_guest(suite: Suite, what: str) -> None:
    suite.cases(*fine(1), STUCK.format(what=what), FINE.format(number="_behind"))
    began = time.monotonic()
    done = suite.run("--wall-limit=8")
    assert done.returncode == 3
    assert time.monotonic() - began < 30
    assert suite.verdicts() == {"fine0": "pass", "stuck": "error"}
    assert [entry["id"] for entry in suite.document()["left_out"]] == ["topic/module::fine_behind"]
    assert "the wall limit of 8 s is over (--wall-limit); it was in" in done.stderr
    assert "topic/module::stuck ipv4; last segments:" in done.stderr
    assert "injector  S 0:0(0) win 65535 <mss 1460>" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_run_leaves_no_process_and_keeps_its_journal(suite: Suite, number: int) -> None:
    suite.cases(*fine(1), STUCK.format(what="threading.Event().wait()"))
    journal = suite.results.with_suffix(".jsonl")
    with subprocess.Popen(suite.words(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        until(lambda: journal.exists() and "fine0" in journal.read_text())
        started = running(guests_of(process.pid))
        assert started
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    until(lambda: not running(started))
    assert [case["verdict"] for case in recover(journal)["cases"]] == ["pass"]
    if number == signal.SIGINT:
        assert process.returncode == 3
        assert "the run did not come to its end" in output
        assert not list(Path(guests.tempfile.gettempdir()).glob(f"{guests._PREFIX}{process.pid}-*"))


def until(done: Callable[[], object]) -> None:
    """Wait for something that happens outside of this process, for a minute at most."""
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")


def test_folders_of_killed_runs_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests.tempfile, "tempdir", str(tmp_path))
    for name in ("999999999-dead", f"{os.getpid()}-mine", "strange"):
        (tmp_path / f"{guests._PREFIX}{name}").mkdir()
    guests._clear()
    assert sorted(path.name.removeprefix(guests._PREFIX) for path in tmp_path.iterdir()) == \
        [f"{os.getpid()}-mine", "strange"]


def test_a_kernel_that_does_not_start(kernel: str, tmp_path: Path) -> None:
    from dataclasses import replace

    broken = replace(find(kernel), folder=tmp_path)
    (tmp_path / "linux").write_text("#!/bin/sh\necho 'Kernel panic - not today'\nexit 7\n")
    (tmp_path / "linux").chmod(0o755)
    said = r"does not start here: it ended with 7; its console:\nKernel panic - not today"
    with pytest.raises(TargetError, match=said):
        guests.check(broken)
    (tmp_path / "linux").chmod(0o644)
    with pytest.raises(TargetError, match="cannot be started: Permission denied"):
        guests.check(broken)
    guests.check(find(kernel))


def test_a_python_that_no_guest_can_start(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/a path/python")
    with pytest.raises(UsageError, match="a guest cannot start this Python; allowed: a path without blanks"):
        Guest(find(kernel), {"task": "nothing", "environ": {}}, seed=0)


def test_memory_lies_where_it_may_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guests._memory_folder()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="no folder for a guest's memory"):
        guests._memory_folder()
