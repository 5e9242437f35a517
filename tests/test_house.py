# SPDX-License-Identifier: GPL-2.0-or-later
"""The house rules that no linter knows: what loading the plugin costs, and how the two commands refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAZY = ("jinja2", "pyroute2", "rich", "scapy")


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    program = f"import sys, harness.plugin; print(*(name for name in {LAZY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the two commands need before they make anything."""
    for name in ("qualify", "check", "tcpqual", "tools/tox.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def refusal(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("name", ["qualify", "check", "tcpqual"])
def test_missing_git_is_said_in_one_line(checkout: Path, name: str) -> None:
    tools = checkout / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    assert refusal([str(checkout / name)], PATH=str(tools)) == \
        f"{name}: needs git; on Debian or Ubuntu: apt-get install git"
    assert not (checkout / ".tox").exists()


def test_unknown_environment_is_said_in_one_line(checkout: Path) -> None:
    assert refusal([str(checkout / "check"), "lint", "tpye"]) == \
        "check: unknown tox environment 'tpye': lint, type, docs or tests"
