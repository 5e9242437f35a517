# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays the cases that are to notice defects of the model, many in one process: `defect_runs.py FOLDER NAME...`.

Prints a JSON object: for each defect that its case does not notice, what the case said instead.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

if __name__ == "__main__":
    # The harness of this checkout, whichever is installed.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.requirements.catalogue import load
from harness.targets.model.defects import DEFECTS, Defect

FAMILIES = ("ipv4", "ipv6")
BARE = ("-p", "no:unraisableexception", "-p", "harness.plugin")
"""Hundreds of runs in one process: none looks through all its objects, or for other plugins."""


def play(defect: Defect, family: str, folder: Path) -> list[dict[str, Any]]:
    """The records of the defect's case in one family; none if the case is of the other one alone."""
    topic, _, rest = defect.case.partition("/")
    module, _, name = rest.partition("::")
    results = folder / f"{defect.name}-{family}" / "results.json"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([f"cases/{topic}/test_{module}.py::test_{name}", "--target", f"model:{defect.name}", "--family",
                     family, "--results", str(results), "-p", "no:cacheprovider", "-q", *BARE])
    cases: list[dict[str, Any]] = json.loads(results.read_text())["cases"]
    return cases


def noticed(defect: Defect, record: dict[str, Any]) -> bool:
    """True if the case failed for a rule that the defect breaks, and covers it; advised if none of them is a MUST."""
    broken = {finding["requirement"] for finding in record["findings"]} & set(record["requirements"])
    due = ("fail",) if any(load().get(rule).level.is_must for rule in defect.requirements) else ("fail", "advice")
    return record["verdict"] in due and bool(broken & set(defect.requirements))


def main(folder: Path, names: set[str]) -> dict[str, list[str]]:
    """What was said of the defects that were not noticed."""
    missed: dict[str, list[str]] = {}
    for defect in DEFECTS:
        if defect.name not in names:
            continue
        said: list[str] = []
        for family in FAMILIES:
            records = play(defect, family, folder)
            if any(noticed(defect, record) for record in records):
                break
            said += [f"{family}: {record['verdict']} {record['reason']}" for record in records]
        else:
            missed[defect.name] = said
    return missed


if __name__ == "__main__":
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    print(json.dumps(main(Path(sys.argv[1]), set(sys.argv[2:]))))
