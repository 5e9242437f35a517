# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of our own that is driven by the testability protocol and by nothing else, over UDP and TCP, 1.1 and 1.2."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from remote_device import DEVICE, KNOWN, RemoteDevice

from harness import doctor

pytestmark = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))

WAYS = ("testability", "testability-tcp", "testability-1.1", "testability-tcp-1.1")
POLARITY = """
import sys
from harness.probing.nagle import polarity
from harness.probing.subject import Subject
from harness.targets.registry import make_target
target = make_target(sys.argv[1])
print(*(seen.value for seen in polarity(Subject(target, longest_s=1.0))))
target.close()
"""
PLENTY = ("handshake/passive", "close/states", "sequence")
"""A hundred cases that wait for nothing."""


@pytest.mark.parametrize("way", WAYS)
def test_opening_closing_and_aborting(device: RemoteDevice, way: str) -> None:
    """Nothing fails of what passes where the kernel itself is asked, and much applies."""
    status, found, said = device.verdicts(device.file(way), "handshake/active", *PLENTY, "abort/abort", "--family",
                                          "ipv4")
    assert status == 0, said
    assert found.keys() <= KNOWN
    assert len(found["pass"]) > (60 if way.endswith("1.1") else 80), said
    if way.endswith("1.1"):
        assert "the target's testability module has no TCP.SHUTDOWN" in said
    assert any("api" in case["proof"] for case in found["pass"])


@pytest.mark.parametrize("way", WAYS[:2])
def test_data_both_ways_over_ipv6(device: RemoteDevice, way: str) -> None:
    status, found, said = device.verdicts(device.file(way), "sequence", "options/mss", "fragments", "--family", "ipv6")
    assert status == 0, said
    assert found.keys() <= KNOWN
    assert len(found["pass"]) > 40, said


def test_check_says_who_is_there(device: RemoteDevice) -> None:
    done = device.tcpqual("target check", str(device.file("testability-tcp-1.1")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"AUTOSAR testability 1.1.0 at tcp {DEVICE['ipv4']} port " in done.stdout


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_module_that_is_not_there_is_a_line(device: RemoteDevice, way: str) -> None:
    file = device.file(way)
    device.stop_last()
    status, found, said = device.verdicts(file, "handshake/passive")
    assert (status, found) == (3, {}), said
    assert "remote.testability: testability module at" in said


def test_the_polarity_of_paramid_6_is_seen_on_the_wire(device: RemoteDevice) -> None:
    """Whatever the file says: the reference server switches Nagle's algorithm on with 1."""
    file = device.file("testability")
    file.write_text(file.read_text().replace(", nagle_on = 1", ""))
    done = device.run([sys.executable, "-c", POLARITY, str(file)], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


class During:
    """Does things while a run goes on: each when its journal says so."""

    def __init__(self, device: RemoteDevice, *steps: tuple[Callable[[str], bool], Callable[[], object]]) -> None:
        self._journal = device.folder / "run" / "results.jsonl"
        self._journal.unlink(missing_ok=True)
        self._steps = steps
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        for due, act in self._steps:
            while not due(self._journal.read_text() if self._journal.exists() else ""):
                if self._over.wait(0.01):
                    return
            act()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def after_cases(count: int) -> Callable[[str], bool]:
    return lambda journal: journal.count("\n") > count


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_module_that_is_started_anew_in_a_run_is_reached_again(device: RemoteDevice, way: str) -> None:
    """Over TCP that is seen in any case; over UDP in one that has sockets there."""
    file = device.file(way, answer_limit_s="0.5")
    with During(device, (after_cases(20), device.start_last_anew)):
        status, found, said = device.verdicts(file, *PLENTY, "--family", "ipv4")
    errors = found.pop("error", [])
    assert found.keys() <= KNOWN, said
    assert (way == "testability-tcp") <= len(errors) < 10, said
    assert status == (3 if errors else 0), said
    assert all("testability module" in case["reason"] for case in errors), said
    assert len(found["pass"]) > 60, said


CASES = '''# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

from harness.authoring import covers

RULE = "RFC9293-U-RST-CLOSED-NOACK"
HERE = Path(__file__).parent


def until_it_is_another():
    (HERE / "now").touch()
    (HERE / "done").read_text()  # a pipe, which has an end when somebody has written to it


@covers(RULE)
def test_1_passive(peer, listener):
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    until_it_is_another()
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)


@covers(RULE)
def test_2_active(peer, upper):
    upper.connect(peer)
    peer.expect("S 0:0(0) <...>")
    until_it_is_another()
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")


@covers(RULE)
def test_3_after(peer, listener):
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
'''


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_module_that_is_started_anew_while_a_case_only_waits_is_the_cases_error(device: RemoteDevice, way: str,
                                                                                  tmp_path: Path) -> None:
    """Its kernel ends the connections, which looks like the target's doing."""
    file = device.file(way)
    (tmp_path / "test_waiting.py").write_text(CASES)
    now, done = tmp_path / "now", tmp_path / "done"
    os.mkfifo(done)

    def start_anew() -> None:
        now.unlink()
        device.start_last_anew()
        done.write_text("")

    with During(device, *[(lambda journal: now.exists(), start_anew)] * 2):
        status, found, said = device.verdicts(file, str(tmp_path), "--family", "ipv4")
    assert status == 3, said
    assert [case["id"].rpartition("::")[2] for case in found.pop("error")] == ["1_passive", "2_active"], said
    assert [case["verdict"] for cases in found.values() for case in cases] == ["pass"], said


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_module_that_hangs_in_a_run_is_an_error_of_its_cases_alone(device: RemoteDevice, way: str) -> None:
    """Stopped until a case has ended in the verdict error, it answers nothing; the cases behind are as ever."""
    file = device.file(way, answer_limit_s="0.5")
    process = device.last
    with During(device, (after_cases(20), lambda: process.send_signal(signal.SIGSTOP)),
                (lambda journal: '"error"' in journal, lambda: process.send_signal(signal.SIGCONT))):
        status, found, said = device.verdicts(file, *PLENTY, "--family", "ipv4")
    process.send_signal(signal.SIGCONT)
    errors = found.pop("error", [])
    assert found.keys() <= KNOWN, said
    assert 0 < len(errors) < 10, said
    assert any("within 0.5 s" in case["reason"] for case in errors), said
    assert status == 3, said
    assert len(found["pass"]) > 60, said
