# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of a guest, linked statically: its first process, the agent, the gate. Built once, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...wire.errors import TargetError, UsageError
from .images import image_lock, images_folder

_COMPILER: Final = "gcc"
_FLAGS: Final = ("-std=gnu11", "-Os", "-s", "-static")
_INIT: Final = Path(__file__).with_name("init.c")
_GATE: Final = Path(__file__).with_name("gate.c")
_AGENT: Final = "tcpqual_agent.c"
_SAID: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where they are."""

    init: Path
    agent: Path
    gate: Path


def programs() -> Programs:
    """The programs, built if they are not. Raises UsageError if no compiler is there, TargetError if it refuses."""
    compiler = shutil.which(_COMPILER)
    if compiler is None:
        raise UsageError(f"{_COMPILER}: not found; a guest's agent is built with it: apt-get install gcc libc6-dev")
    sources = (_INIT, agent_source(), _GATE)
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + " ".join(_FLAGS).encode()).hexdigest()[:16]
    place = images_folder() / f".programs-{key}"
    made = Programs(init=place / "init", agent=place / "agent", gate=place / "gate")
    if all(program.is_file() for program in (made.init, made.agent, made.gate)):
        return made
    with image_lock("programs"), tempfile.TemporaryDirectory(prefix=".programs.", dir=images_folder()) as folder:
        if not place.is_dir():
            for source, program in zip(sources, (made.init, made.agent, made.gate), strict=True):
                _compile(compiler, source, Path(folder) / "new" / program.name)
            (Path(folder) / "new").rename(place)
            for old in images_folder().glob(".programs-*"):
                # A run that has begun with older ones has read them by now.
                if old != place:
                    shutil.rmtree(old, ignore_errors=True)
    return made


def agent_source() -> Path:
    """The agent's source: of the checkout, or of the installed harness. Raises TargetError if it has neither."""
    package = Path(__file__).parents[2]
    for folder in (package.parent / "sdk" / "c", package / "_sdk" / "c"):
        if (folder / _AGENT).is_file():
            return folder / _AGENT
    raise TargetError(f"{_AGENT}: is not in this installation; it stands in sdk/c of the source")


def _compile(compiler: str, source: Path, program: Path) -> None:
    program.parent.mkdir(exist_ok=True)
    done = subprocess.run([compiler, *_FLAGS, "-o", str(program), str(source)], capture_output=True, text=True,
                          check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        said = " | ".join(line.strip() for line in done.stderr.splitlines() if "error" in line or "cannot find" in line)
        raise TargetError(f"{source.name}: cannot be built for a guest: {said[:_SAID] or done.stderr[:_SAID]}; "
                          "needs a C library for static linking: apt-get install libc6-dev")
