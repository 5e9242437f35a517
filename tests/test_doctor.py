# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine has: each thing looked at, and one line to mend each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import doctor
from harness.doctor import Check
from harness.targets import namespace
from harness.wire import netns
from harness.wire.errors import LinkError, TargetError
from harness.wire.link import PacketLink

GOOD = Check(name="rights", outcome="ok", found="root")
LIMITED = Check(name="tshark", outcome="limited", found="not found", mend="apt-get install tshark")
MISSING = Check(name="packet socket", outcome="missing", found="not permitted", mend="run as root")


@pytest.fixture
def fresh() -> Iterator[None]:
    doctor._look.cache_clear()
    yield
    doctor._look.cache_clear()


def test_this_machine() -> None:
    checks = doctor.examine()
    names = [check.name for check in checks]
    assert names[:3] == ["python", "kernel", "rights"]
    assert len(set(names)) == len(names)
    for check in checks:
        assert bool(check.mend) == (check.outcome != "ok")
        assert "\n" not in check.found + check.mend
    if doctor.can_run(checks):
        assert {"ipv6", "veth and offloads", "sysctls", "sock_diag", "packet socket", "stamps", "buffer"} < set(names)


def test_as_text_and_json() -> None:
    assert doctor.as_text([GOOD, LIMITED]).splitlines() == [
        "rights  ok       root", "tshark  limited  not found", "                 apt-get install tshark", "",
        "A run with the default target is possible."]
    assert doctor.as_text([MISSING]).splitlines()[-1] == "A run with the default target is not possible."
    document = json.loads(doctor.as_json([GOOD, MISSING]))
    assert document["possible"] is False
    assert document["checks"][1] == {"name": "packet socket", "outcome": "missing", "found": "not permitted",
                                     "mend": "run as root"}


@pytest.mark.usefixtures("fresh")
def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_lab", lambda: [GOOD])
    monkeypatch.setattr(doctor, "_tools", lambda: [LIMITED])
    assert doctor.missing("rights") is None
    assert doctor.missing("lab") is None
    assert doctor.missing("tshark") == "tshark: not found; apt-get install tshark"
    with pytest.raises(KeyError):
        doctor.missing("luck")
    doctor._look.cache_clear()
    monkeypatch.setattr(doctor, "_lab", lambda: [MISSING])
    assert doctor.missing("lab") == "packet socket: not permitted; run as root"


@pytest.mark.usefixtures("fresh")
def test_what_is_quick_to_find_boots_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_lab", refuse(ZeroDivisionError()))
    monkeypatch.setattr(doctor, "_virtual_time", refuse(ZeroDivisionError()))
    monkeypatch.setattr(doctor, "_tools", lambda: [LIMITED])
    assert doctor.missing("python") is None
    assert doctor.missing("tshark") is not None


def test_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: "/bin/git" if name == "git" else None)
    found = {check.name: check.outcome for check in doctor._tools()}
    assert found == {"tshark": "limited", "chromium": "limited", "ssh": "limited", "sshd": "limited",
                     "allure": "limited", "git": "ok"}


def test_python_and_kernel_that_are_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_OLDEST_PYTHON", (99, 0))
    monkeypatch.setattr(doctor.platform, "system", lambda: "Plan9")
    assert doctor._python().outcome == "missing"
    assert doctor._kernel().outcome == "missing"


@pytest.mark.parametrize(("name", "value", "mend"), [
    ("user/max_user_namespaces", "0", "user namespaces are switched off: sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "user namespaces are for root alone"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor takes their rights away"),
    ("kernel/apparmor_restrict_unprivileged_userns", "0", "run as root; in a container, allow it namespaces"),
])
def test_how_to_allow_namespaces(tmp_path: Path, name: str, value: str, mend: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    said = doctor._how_to_allow_namespaces(tmp_path)
    assert said.startswith(mend)
    assert "run as root" in said


# Whatever is patched here is met in the child process, which is forked from this one.


def refuse(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def last() -> Check:
    return doctor._lab()[-1]


def test_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "can_make_namespaces", lambda: False)
    monkeypatch.setattr(netns, "enter_user_namespace", refuse(LinkError("user namespace: not permitted; run as root")))
    assert (last().name, last().outcome, last().found) == ("rights", "missing", "user namespace: not permitted")


LAB = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))


@LAB
def test_no_veth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace.Lab, "_build", refuse(LinkError("making the link: not supported")))
    assert (last().name, last().outcome) == ("veth and offloads", "missing")


@LAB
def test_a_sysctl_that_the_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = namespace.set_sysctls

    def only_the_labs_own(values: dict[str, str]) -> None:
        if "net.ipv4.tcp_syncookies" in values:
            raise TargetError("sysctl net.ipv4.tcp_syncookies = 1: none")
        real(values)

    monkeypatch.setattr(namespace, "set_sysctls", only_the_labs_own)
    assert (last().name, last().outcome) == ("sysctls", "missing")


@LAB
def test_a_target_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ANSWER_S", 0.05)
    monkeypatch.setattr(PacketLink, "recv_frame", lambda self: None)
    assert (last().name, last().outcome) == ("stamps", "missing")


@LAB
def test_stamps_of_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PacketLink, "sent", lambda self: [])
    checks = {check.name: check.outcome for check in doctor._lab()}
    assert (checks["stamps"], checks["buffer"]) == ("limited", "ok" if os.geteuid() == 0 else checks["buffer"])


@LAB
def test_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LOSSLESS_BYTES", 1 << 40)
    assert (last().name, last().outcome) == ("buffer", "limited")


def test_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_rights", refuse(ZeroDivisionError()))
    assert (last().name, last().outcome) == ("lab", "missing")
