# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of our own that is driven by the agent over its network, and by ssh; nothing else runs there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from agents import CC
from remote_device import AGENT_PORT, DEVICE, SSH_PORT, RemoteDevice, remote_device

from harness import doctor
from harness.targets.remote.device import Ssh
from harness.targets.remote.ssh import command

pytestmark = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))

SSH = pytest.param("ssh", marks=[
    pytest.mark.skipif(doctor.missing("ssh") is not None, reason=str(doctor.missing("ssh"))),
    pytest.mark.skipif(doctor.missing("sshd") is not None, reason=str(doctor.missing("sshd")))])
AGENT_C = pytest.param("agent-c", marks=pytest.mark.skipif(CC is None, reason="no C compiler: apt-get install gcc"))


@pytest.mark.parametrize("upper", ["agent", AGENT_C, SSH])
def test_everything_applies(device: RemoteDevice, upper: str) -> None:
    """Who has an agent has all that a socket API can do: nothing of these topics is not applicable."""
    status, found, said = device.verdicts(device.file(upper), "closed", "handshake", "close/states", "sequence")
    assert status == 0, said
    assert set(found) == {"pass", "known-deviation"}, said
    assert len(found["pass"]) > 290


def test_version_is_what_the_agent_says(device: RemoteDevice) -> None:
    """Entries of a ledger hold for the device's kernel, though the file says nothing of it."""
    status, found, said = device.verdicts(device.file("agent", version=""), "handshake/simultaneous_open")
    assert status == 0, said
    assert found["known-deviation"]


def test_check_says_who_is_there(device: RemoteDevice) -> None:
    done = device.tcpqual("target check", str(device.file("agent", version="")))
    assert done.returncode == 0, done.stderr
    assert "upper tester: tcpqual-agent (Python)" in done.stdout
    assert done.stdout.splitlines()[-1] == "the device can be tested"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_wrong_key_is_a_line(device: RemoteDevice) -> None:
    file = device.file("agent")
    (device.folder / "other").write_text("another key than the agent's")
    file.write_text(file.read_text().replace('key = "key"', 'key = "other"'))
    status, found, said = device.verdicts(file, "closed")
    assert (status, found) == (3, {}), said
    assert f"{file}: remote.agent: agent at {DEVICE['ipv4']}:{AGENT_PORT}" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("change", "status", "wrong"), [
    ('key = "none"', 2, "remote.agent.key: "),
    (f'port = {AGENT_PORT + 9}, key = "key"', 3,
     f"remote.agent: agent at {DEVICE['ipv4']}:{AGENT_PORT + 9}: Connection refused; is it started there"),
])
def test_no_agent_and_no_key(device: RemoteDevice, change: str, status: int, wrong: str) -> None:
    file = device.file("agent")
    text = file.read_text().replace(f'port = {AGENT_PORT}, key = "key"', change if "port" in change else
                                    f"port = {AGENT_PORT}, {change}")
    file.write_text(text)
    found, cases, said = device.verdicts(file, "closed")
    assert (found, cases) == (status, {}), said
    assert wrong in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("old", "new", "wrong"), [
    ('"-i", "id"', '"-i", "nobody"', "Permission denied"),
    ("UserKnownHostsFile=known_hosts", "UserKnownHostsFile=/dev/null", "Host key verification failed"),
    (f'"-p", "{SSH_PORT}"', f'"-p", "{SSH_PORT + 1}"', "Connection refused"),
    (f'python = "{sys.executable}"', 'python = "pythoff"', "pythoff"),
], ids=["key", "host key", "port", "python"])
@pytest.mark.parametrize("upper", [SSH])
def test_ssh_asks_nothing_and_says_what_is_wrong(device: RemoteDevice, upper: str, old: str, new: str,
                                                 wrong: str) -> None:
    file = device.file(upper)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    status, found, said = device.verdicts(file, "closed")
    assert (status, found) == (3, {}), said
    assert f"{file}: remote.ssh: " in said
    assert wrong in said
    assert len(said.splitlines()) == 1


def test_ssh_is_given_what_the_file_says() -> None:
    line = command(Ssh(host="root@box", options=("-p", "22"), python="/opt/my python"), 7)
    assert line[:5] == ["ssh", "-T", "-a", "-x", "-o"]
    assert "BatchMode=yes" in line
    assert line[line.index("-p"):line.index("-p") + 2] == ["-p", "22"]
    assert line[-3:-1] == ["--", "root@box"]
    assert line[-1].startswith("'/opt/my python' -c ")
    assert line[-1].endswith(" --stdio")


def test_agent_that_dies_costs_its_case_alone(tmp_path: Path) -> None:
    """A device that starts its agent again goes on with the next case."""
    with remote_device(tmp_path, short=True) as made:
        file = made.file("agent")
        first = made.last

        def again() -> None:
            first.kill()
            first.wait()
            made.start_agent("agent")

        status, said = made.watched(
            [sys.executable, "-m", "harness", "run", "handshake", "close/states", "--family", "ipv4", "--target",
             str(file), "--results", str(tmp_path / "run" / "results.json"), "--no-allure"], (" pass", again))
    found = [case["verdict"] for case in json.loads((tmp_path / "run" / "results.json").read_text())["cases"]]
    assert status == 3, said
    assert 1 <= found.count("error") <= 2, said
    assert found.count("pass") > 100, said
