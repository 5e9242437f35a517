# SPDX-License-Identifier: GPL-2.0-or-later
"""Results made by hand, and written where a run would leave them, for the tests of the matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report_samples import RUN, document, every_verdict, failed, finding, record

EVIL = "</script><img src=x onerror=alert(1)>\"'&amp;`|{{ 7*7 }}\u2028"


def place(folder: Path, home_name: str, /, *records: dict[str, Any], captures: bool = False, **target: Any) -> Path:
    """A results file of that target in a folder of its own; with `captures` those that its records name exist."""
    home = folder / home_name
    home.mkdir(parents=True, exist_ok=True)
    path = home / "results.json"
    named = {"name": home_name, "kind": "namespace", "version": "6.12.9", "profile": "linux", **target}
    for one in records:
        if one["capture"]:
            one["capture"] = f"{home}/captures/{Path(one['capture']).name}"
            if captures:
                (home / "captures").mkdir(exist_ok=True)
                Path(one["capture"]).write_bytes(b"")
    path.write_text(json.dumps(document(*records, target=named)), encoding="utf-8")
    return path


def change(path: Path, **run: Any) -> None:
    """Change what a results file says of its run."""
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"run": {**RUN, **run}}))


def three(folder: Path) -> list[Path]:
    """A target with one of each verdict, one that keeps everything, and one that fails once."""
    one = failed(id="options/mss::limit", requirements=["RFC9293-MUST-14", "RFC9293-MUST-16"])
    return [place(folder, "mixed", *every_verdict(), captures=True),
            place(folder, "clean", record(), record(family="ipv6"), kind="model", version=""),
            place(folder, "broken", one, record(), version="1.0")]


def hostile() -> dict[str, Any]:
    """A failing record each of whose texts tries to be something else."""
    return failed(id=EVIL, title=EVIL, variant=EVIL, reason=EVIL, log=EVIL, command=EVIL, family=EVIL, tc8=[EVIL],
                  capture=f"reports/captures/{EVIL}", requirements=[EVIL, "RFC9293-MUST-14"],
                  steps=[{"at_ns": 0, "side": "target", "text": EVIL, "mark": "mismatch"},
                         {"at_ns": 1, "side": EVIL, "text": EVIL, "mark": EVIL}],
                  findings=[finding(requirement=EVIL, level=EVIL, got=EVIL, expected=EVIL, detail=EVIL,
                                    deviation=EVIL, state=EVIL, step=7)])


def many(count: int, steps: int) -> Sequence[dict[str, Any]]:
    """Failing cases with long exchanges of which no two are alike, so that nothing compresses well."""
    import random

    chance = random.Random(7)
    return [failed(id=f"topic/module::case_{number}", steps=[
        {"at_ns": chance.randrange(10**12), "side": "target", "text": f". {chance.getrandbits(64):x}", "mark": ""}
        for _ in range(steps)]) for number in range(count)]
