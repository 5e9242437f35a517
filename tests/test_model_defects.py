# SPDX-License-Identifier: GPL-2.0-or-later
"""Every defect of the model is noticed: the case that it names fails, and for a rule that the defect breaks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.requirements.catalogue import load
from harness.targets.model import defects
from harness.targets.model.defects import DEFECTS, Parts, names, parts_of
from harness.wire.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
LEAST = 60
SHARE = 26
LIMIT_S = 300
SHARES = [names()[at:at + SHARE] for at in range(0, len(names()), SHARE)]


@pytest.mark.parametrize("share", SHARES, ids=[f"{share[0]}..{share[-1]}" for share in SHARES])
def test_each_is_noticed_by_the_case_that_it_names(share: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "tests/defect_runs.py", str(tmp_path), *share], cwd=ROOT,
                          capture_output=True, text=True, check=True, timeout=LIMIT_S)
    assert json.loads(done.stdout) == {}


def test_the_harness_is_that_of_the_same_checkout(tmp_path: Path) -> None:
    """Which is not the one that is installed, where somebody works in a second checkout."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise SystemExit('the harness beside it')\n")
    (tmp_path / "tests").mkdir()
    copied = shutil.copy(ROOT / "tests" / "defect_runs.py", tmp_path / "tests")
    done = subprocess.run([sys.executable, copied, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (1, "the harness beside it\n")


def test_there_are_many_and_no_two_of_one_name() -> None:
    assert len(names()) == len(set(names())) >= LEAST


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_each_says_what_it_is(defect: defects.Defect) -> None:
    for requirement in defect.requirements:
        load().get(requirement)
    assert defect.requirements
    assert defect.summary.endswith(".")
    assert defect.parts() != Parts()


def test_no_name_is_the_whole_model() -> None:
    assert parts_of("") == Parts()


def test_an_unknown_name_is_refused_with_what_is_meant() -> None:
    with pytest.raises(UsageError, match="did you mean syn-not-counted"):
        parts_of("syn-not-count")
