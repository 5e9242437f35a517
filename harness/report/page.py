# SPDX-License-Identifier: GPL-2.0-or-later
"""One self-contained HTML page out of a results document: nothing is fetched, it can be mailed or archived as it is.

All text of the page is made here; the template only lays it out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from . import ladder
from .behaviours import BEHAVIOURS, OTHER, families, matrix, uncovered
from .drafts import draft_of
from .failure import finding_lines, timing_lines
from .record import FINGERPRINT, MEANING, WORST_FIRST, Record, findings_of, key, one_line, reason, worst_first
from .results import CONFORMANT, NOTHING_VERIFIED, exit_status, load
from .rules import Cited, Rules, cite, ids
from .summary import fingerprint_line, not_applicable, target_text, verdict_line
from .templates import template

TEMPLATE: Final = "report.html.j2"

_SYMBOLS: Final = {"pass": "✓", "fail": "✗", "advice": "!", "inconclusive": "?", "not-applicable": "–",
                   "known-deviation": "≈", "unexpected-pass": "±", "error": "⚡"}
_LINE_CLASSES: Final = {"unexpected": "bad", "missing": "bad", "mismatch": "bad", "allowed": "quiet"}


def write_page(results: Mapping[str, Any] | Path, path: Path, *, rules: Rules | None = None,
               strict: bool = False) -> Path:
    """Write the page of a results document, or of the file that holds one, to `path`; returns `path`.

    Captures are linked relative to the page where they lie beside or below it. `UsageError` if the file is no results
    file.
    """
    document = results if isinstance(results, Mapping) else load(results)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = template(TEMPLATE).render(context(document, path.parent, rules=rules, strict=strict))
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def context(results: Mapping[str, Any], folder: Path, *, rules: Rules | None = None,
            strict: bool = False) -> dict[str, Any]:
    """What the template is given; `folder` is where the page will be."""
    cases: Sequence[Record] = results["cases"]
    kinds = families(cases)
    status = exit_status(results, strict=strict)
    known = {id: cite(id, rules) for record in cases for id in ids(record)}
    return {
        "target": target_text(results["target"]),
        "verdict": verdict_line(results, strict=strict),
        "outcome": "good" if status == CONFORMANT else "unsure" if status == NOTHING_VERIFIED else "bad",
        "facts": _facts(results),
        "fingerprint": fingerprint_line(cases),
        "counts": [{"verdict": verdict, "count": results["summary"].get(verdict, 0), "meaning": MEANING[verdict]}
                   for verdict in reversed(WORST_FIRST) if results["summary"].get(verdict, 0)],
        "symbols": _SYMBOLS,
        "families": kinds,
        "rows": [{"id": behaviour, "title": BEHAVIOURS.get(behaviour, ""), "filter": "" if behaviour == OTHER
                  else behaviour, "cells": [row.get(kind, {}) for kind in kinds]}
                 for behaviour, row in matrix(cases).items()],
        "uncovered": [{"id": behaviour, "title": BEHAVIOURS[behaviour]} for behaviour in uncovered(cases)],
        "cases": [_case(record, known, folder) for record in worst_first(cases)],
        "ledger": _ledger(cases, known),
        "not_applicable": not_applicable(cases),
        "left_out": _left_out(results["left_out"]),
    }


def anchor(record: Record) -> str:
    """The fragment that leads to a case on the page."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(part for part in key(record) if part))


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    run, words = results["run"], {"tool": "Tool", "kernel": "Kernel", "clock": "Clock", "seed": "Seed"}
    facts = [(label, one_line(str(run[name]))) for name, label in words.items() if run.get(name) not in (None, "")]
    facts += [(name.replace("_", " ").capitalize(), one_line(str(value))) for name, value in run.items()
              if name not in words and isinstance(value, str | int | float) and not isinstance(value, bool)]
    segments = sum(record["segments"] or 0 for record in results["cases"])
    facts.append(("Run", f"{len(results['cases'])} cases, {segments} segments, {results['wall_s']:.1f} s"))
    if run.get("interrupted"):
        facts.append(("Interrupted", "the run did not end; this is what its journal held"))
    return facts


def _case(record: Record, known: Mapping[str, Cited], folder: Path) -> dict[str, Any]:
    cited = [known[id] for id in ids(record)]
    found = findings_of(record)
    words = [record["id"], record["title"], record["family"], record["variant"], *record["behaviours"], *record["tc8"],
             *(requirement.id for requirement in cited), reason(record),
             *([FINGERPRINT] if any(finding["source"] == FINGERPRINT for finding in found) else [])]
    return {
        "anchor": anchor(record),
        "id": record["id"],
        "title": record["title"],
        "family": record["family"],
        "variant": record["variant"] or "",
        "verdict": record["verdict"],
        "meaning": MEANING[record["verdict"]],
        "reason": "" if record["verdict"] == "pass" and not record["reason"] else reason(record),
        "behaviours": record["behaviours"],
        "tc8": record["tc8"],
        "requirements": cited,
        "findings": [_finding(finding) for finding in found],
        "ladder": _ladder(record["steps"]),
        "timing": "\n".join(line[4:] for line in timing_lines(record)),
        "log": str(record.get("log") or "").rstrip(),
        "proof": ", ".join(record["proof"]),
        "duration": f"{record['duration_s'] * 1000:.0f} ms",
        "segments": record["segments"],
        "capture": str(record["capture"] or ""),
        "capture_link": _link(record["capture"], folder),
        "command": record["command"],
        "text": " ".join(one_line(str(word)) for word in words if word).lower(),
    }


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    lines = finding_lines(finding)
    return {
        "requirement": finding["requirement"],
        "level": finding["level"],
        "oracle": finding["source"] == "oracle",
        "pinned": finding["source"] == FINGERPRINT,
        "lines": [("caret" if line.strip("^ ") == "" and "^" in line else "", line) for line in lines],
        "detail": finding["detail"] or "",
        "state": finding["state"] or "",
        "deviation": finding["deviation"],
    }


def _ladder(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(_LINE_CLASSES.get(line.mark, "head" if line.step is None else "quiet" if line.side == "note" else ""),
             line.text) for line in ladder.lines(steps)]


def _link(capture: str | None, folder: Path) -> str:
    """A link to the capture relative to the page, "" if it lies elsewhere."""
    if not capture:
        return ""
    relative = os.path.relpath(Path(capture).absolute(), folder.absolute())
    return "" if relative.startswith("..") else quote(Path(relative).as_posix())


def _ledger(cases: Iterable[Record], known: Mapping[str, Cited]) -> list[dict[str, Any]]:
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for record in cases:
        pairs = {(finding["requirement"], one_line(finding["deviation"])) for finding in record["findings"] or ()
                 if finding["deviation"] is not None}
        if not pairs and record["verdict"] == "known-deviation":
            pairs = {("", reason(record))}
        for requirement, why in pairs:
            entry = entries.setdefault((requirement, why), {"requirement": known.get(requirement), "why": why,
                                                            "cases": []})
            entry["cases"].append({"anchor": anchor(record), "id": record["id"], "family": record["family"]})
    return [entries[place] for place in sorted(entries)]


def _left_out(entries: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """By reason, and under each the cases with their families."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        kinds = reasons.setdefault(one_line(entry["why"]), {}).setdefault(entry["id"], [])
        if entry["family"]:
            kinds.append(entry["family"])
    return [{"why": why, "cases": sorted((id, " ".join(sorted(kinds))) for id, kinds in reasons[why].items())}
            for why in sorted(reasons)]

