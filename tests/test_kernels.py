# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that are kept in the user's cache: which there are, and which one is meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.targets.cache import folder
from harness.targets.kernels import RECORD, find, kernels
from harness.wire.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = "linux-source-6.12 6.12.117-1~deb12u1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tcpqual"


def keep(name: str, release: str, source: str = DEBIAN, **record: object) -> Path:
    place = folder() / "kernels" / name
    place.mkdir(parents=True)
    for part in ("linux", "randomness.so", "config"):
        (place / part).write_text("")
    values = {"name": name, "release": release, "hz": 250, "source": source, "key": "k", "built": "2026-01-01T00:00:00"}
    (place / RECORD).write_text(json.dumps({**values, "compiler": "gcc", **record}))
    return place


def test_the_cache_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == cache
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert folder() == Path.home() / ".cache" / "tcpqual"


def test_no_kernel() -> None:
    assert kernels() == []
    with pytest.raises(UsageError, match=r"^no kernel is built; build one with `tcpqual kernel build`$"):
        find()
    with pytest.raises(UsageError, match=r"^no such kernel '6.1'; none is built; build one with"):
        find("6.1")


def test_a_kernel_and_its_files() -> None:
    place = keep("6.12", "6.12.117")
    kernel = find("6.12")
    assert (kernel.name, kernel.release, kernel.hz, kernel.source, kernel.key) == ("6.12", "6.12.117", 250, DEBIAN, "k")
    assert kernel.folder == place
    assert [kernel.binary, kernel.randomness] == [place / "linux", place / "randomness.so"]
    assert kernel.of_debian


def test_a_half_kernel_is_none() -> None:
    (keep("unfinished", "6.1.1") / RECORD).unlink()
    (keep("gone", "6.1.1") / "linux").unlink()
    (keep("broken", "6.1.1") / RECORD).write_text('{"name": ')
    (keep("list", "6.1.1") / RECORD).write_text("[]")
    keep("wrong", "6.1.1", hz="250")
    keep("wrong-type", "6.1.1", built=None)
    keep("first", "6.1.1").rename(folder() / "kernels" / "renamed")
    assert kernels() == []


def test_the_newest_of_debians_is_meant() -> None:
    keep("6.12", "6.12.117")
    keep("6.1", "6.1.192", "linux-source-6.1 6.1.192-2")
    keep("mine", "6.18.0-rc1", "/home/me/linux")
    assert [kernel.name for kernel in kernels()] == ["6.1", "6.12", "mine"]
    assert find().name == "6.12"
    with pytest.raises(UsageError, match=r"^no such kernel '6.2'; there are 6.1, 6.12, mine; build one"):
        find("6.2")


def test_the_only_one_is_meant() -> None:
    keep("mine", "6.18.0", "/home/me/linux")
    assert find().name == "mine"
    keep("other", "6.18.0", "/home/me/other")
    with pytest.raises(UsageError, match=r"^more than one kernel is built: name mine or other$"):
        find()


def test_it_is_cheap_to_import() -> None:
    heavy = ("click", "subprocess", "pytest")
    program = f"import sys, harness.targets.kernels; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
