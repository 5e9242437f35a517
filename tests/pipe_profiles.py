# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles of pipe targets for the tests: the model's own, with a command in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = (sys.executable, str(ROOT / "tests" / "pipe_model.py"))


def pipe_profile(folder: Path, command: Sequence[str] = MODEL, *words: str, name: str = "piped",
                 limit_s: float = 10.0) -> Path:
    """A profile file with that command, and words behind it."""
    text = (ROOT / "harness" / "targets" / "profiles" / "model.toml").read_text(encoding="utf-8")
    head = (f'name = "{name}"\nkind = "pipe"\ncommand = {json.dumps([*command, *words])}\n'
            f"answer_limit_s = {limit_s}\n")
    body = text.replace('name = "model"\n', "").replace('kind = "model"\n', head)
    file = folder / f"{name}.toml"
    file.write_text(body, encoding="utf-8")
    return file
