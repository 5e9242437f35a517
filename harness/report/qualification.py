# SPDX-License-Identifier: GPL-2.0-or-later
"""The summary of a qualification, for whoever has to rely on it: one HTML page, made to be printed.

What was tested, with what and where; each deviation with its reason and evidence; what could not be tested, and why;
the verdict by requirement. It has no script and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from .drafts import draft_of
from .failure import finding_lines, page
from .matrix import (
    LOUD,
    NO_CASE,
    NO_RULE,
    NOT_RUN,
    SETTLED,
    STATE_MEANING,
    STATES,
    UNSETTLED,
    Column,
    Matrix,
    called,
    groups_of,
    percent,
)
from .matrix_data import capture_tail
from .matrix_page import SYMBOLS
from .not_pass import broken, by_reason, case_names
from .record import FINGERPRINT, Record, reason
from .results import CONFORMANT, summarise
from .rules import cite
from .summary import left_out, not_applicable, verdict_line
from .templates import template

TEMPLATE: Final = "qualification.html.j2"

_PAGES: Final = 15
"""So many cases of `LOUD` verdicts are shown with their whole exchange, the first of each reason."""
_CASES: Final = 8


def write_qualification(bundle: Mapping[str, Any], matrix: Matrix | None, path: Path) -> Path:
    """Write the page to `path`; returns `path`.

    `bundle` is what `bundle.json` has; `matrix` has a column for each of its targets that has results, and is None if
    none has.
    """
    text = template(TEMPLATE).render(context(bundle, matrix))
    with draft_of(path) as draft:
        draft.write_bytes(text.encode("utf-8", "replace"))
    return path


def context(bundle: Mapping[str, Any], matrix: Matrix | None) -> dict[str, Any]:
    """What the template is given."""
    targets = [_target(entry, matrix, _number(matrix, entry), strict=bundle["strict"]) for entry in bundle["targets"]]
    return {
        "bundle": bundle, "facts": _facts(bundle), "symbols": SYMBOLS, "targets": targets,
        "tested": [target for target in targets if target["tested"]],
        "failed": [target for target in targets if not target["tested"]],
        "notes": matrix.notes if matrix else (),
        "groups": _groups(matrix) if matrix else [],
        "uncovered": _uncovered(matrix) if matrix else [],
        "legend": [(state, STATE_MEANING[state]) for state in STATES if state != NO_CASE],
    }


def _number(matrix: Matrix | None, entry: Mapping[str, Any]) -> int | None:
    """The column of a target; its results stand in the folder that the entry names."""
    if matrix is None or not entry["results"]:
        return None
    parts = Path(entry["results"]).parts
    return next((number for number, column in enumerate(matrix.columns)
                 if column.path.resolve().parts[-len(parts):] == parts), None)


def _facts(bundle: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = bundle["machine"]
    return [
        ("Tool", bundle["tool"] + (f", commit {bundle['commit']}" if bundle["commit"] else "")),
        ("Catalogue", f"{bundle['catalogue']['digest']}: {bundle['catalogue']['requirements']} requirements of "
                      f"{bundle['catalogue']['rfcs']} RFCs"),
        ("Suite of cases", f"{bundle['suite']['digest']}: {bundle['suite']['cases']} cases"),
        ("Began", bundle["began"]), ("Ended", bundle["ended"]),
        ("Machine", ", ".join(str(machine[name]) for name in ("system", "processor", "processors", "memory")
                              if machine.get(name))),
        ("Python", machine["python"]),
        ("Selection", bundle["selection"] or "the whole suite"),
    ]


# -- one target -------------------------------------------------------------------------------------------------------


def _target(entry: Mapping[str, Any], matrix: Matrix | None, number: int | None, *, strict: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "spec": entry["target"], "label": called(entry["target"]), "clock": "", "seed": "",
        "folder": entry["folder"], "command": entry["command"], "status": entry["status"],
        "error": entry["error"], "wall_s": f"{entry['wall_s']:.0f}", "profiles": entry["profiles"],
        "tested": number is not None,
    }
    if matrix is None or number is None:
        return known
    column, tally = matrix.columns[number], matrix.tally(number)
    records = list(column.records.values())
    evidence = {(one["requirement"], one["reason"]): one["evidence"] for one in entry["ledger"]}
    return known | {
        "label": column.label, "version": column.text("version"), "kind": column.text("kind"),
        "clock": column.text("clock"), "seed": column.text("seed"), "profile": column.text("profile"),
        "verdict": verdict_line({"summary": summarise(records)}, strict=strict, status=entry["status"]),
        "good": entry["status"] == CONFORMANT,
        "interrupted": bool(column.run.get("interrupted")),
        "rate": percent(tally.pass_rate), "coverage": percent(tally.coverage), "kept": tally.kept,
        "settled": tally.settled, "total": tally.total,
        "states": [(state, count) for state, count in tally.states.items() if state != NO_CASE],
        "cases": len(records), "deviations": _deviations(records, evidence, entry["folder"]),
        "not_applicable": not_applicable(records),
        "left_out": left_out({"left_out": [{"why": why} for why in column.left_out.values()]}),
        "open": _open(matrix, column, number),
    }


def _deviations(records: Iterable[Record], evidence: Mapping[tuple[str, str], str],
                folder: str) -> list[dict[str, Any]]:
    """What is not a pass, by verdict and reason, worst first; the evidence is the ledger's, or the case's own page.

    `folder` is the target's, as the page names it.
    """
    shown: list[dict[str, Any]] = []
    drawn: set[str] = set()
    for (verdict, why), group in by_reason(records).items():
        rules = broken(group)
        first = group[0]
        # One whole exchange for each case; its variants differ in little.
        whole = verdict in LOUD and len(drawn) < _PAGES and first["id"] not in drawn
        drawn |= {first["id"]} if whole else set()
        said = [finding for finding in first["findings"] if finding["source"] != FINGERPRINT]
        shown.append({
            "verdict": verdict, "reason": why, "count": len(group), "cases": case_names(group, _CASES),
            "rules": [cite(rule) for rule in rules],
            "ledger": "; ".join(dict.fromkeys(evidence.get((rule, why), "") for rule in rules
                                              if evidence.get((rule, why)))),
            "lines": "\n\n".join("\n".join(finding_lines(finding, width=96)) for finding in said[:2]),
            "page": page(first) if whole else "",
            "captures": [f"{folder}/captures/{tail}" for tail in map(capture_tail, group) if tail][:1],
        })
    return shown


def _open(matrix: Matrix, column: Column, number: int) -> list[dict[str, Any]]:
    """Rules that have cases and were not settled on this target, by why."""
    why: dict[str, list[str]] = {}
    for row in matrix.rows:
        cell = row.cells[number]
        if row.rule.id == NO_RULE or cell.state in (*SETTLED, NO_CASE):
            continue
        why.setdefault(_why(cell.state, row.rule.id, matrix, column), []).append(row.rule.id)
    return [{"why": text, "rules": rules} for text, rules in sorted(why.items(), key=lambda item: -len(item[1]))]


def _why(state: str, rule: str, matrix: Matrix, column: Column) -> str:
    if state == UNSETTLED:
        return "the cases about it were stopped by other rules"
    if state == NOT_RUN:
        reasons = {column.left_out[id] for id, rules in matrix.suite.items() if rule in rules and id in column.left_out}
        return "; ".join(sorted(reasons)) or "its cases were not in this run"
    reasons = {reason(record) for record in column.records.values()
               if rule in record["requirements"] and record["verdict"] == state}
    first = sorted(reasons)[0] if reasons else STATE_MEANING[state]
    return f"{state.replace('-', ' ')}: {first}" + (f" (and {len(reasons) - 1} more reasons)"
                                                   if len(reasons) > 1 else "")


# -- all of them ------------------------------------------------------------------------------------------------------


def _groups(matrix: Matrix) -> list[dict[str, Any]]:
    """The verdict by requirement, of all that have a case."""
    shown = []
    for name, rows in groups_of(matrix.rows).items():
        told = [{"rule": row.rule, "cells": [(cell.state, _text(cell.state, cell.counts)) for cell in row.cells]}
                for row in rows if row.cases or any(cell.counts for cell in row.cells)]
        if told:
            shown.append({"name": name, "rows": told})
    return shown


def _text(state: str, counts: Mapping[str, int]) -> str:
    word = f"{SYMBOLS[state]} {state.replace('-', ' ')}".strip()
    return word + (f" {counts[state]}/{sum(counts.values())}" if counts and counts[state] != sum(counts.values())
                   else "")


def _uncovered(matrix: Matrix) -> list[tuple[str, list[str]]]:
    """Rules of which no case says anything, by document."""
    groups = groups_of([row for row in matrix.rows if not row.cases and row.rule.id != NO_RULE
                        and all(cell.state == NO_CASE for cell in row.cells)])
    return [(name, [row.rule.id for row in rows]) for name, rows in groups.items()]
