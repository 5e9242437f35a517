# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix as one self-contained HTML page: nothing is fetched, it can be mailed, archived and printed as it is.

Table, numbers, changes and the reasons of what is not a pass are in the HTML, so they are there without the script. The
script filters, and draws what is behind a cell from the packed data. Filters and the open cell stand in the URL's
fragment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from .drafts import draft_of
from .matrix import (
    NO_CASE,
    NO_RULE,
    NOT_RUN,
    STATE_MEANING,
    STATES,
    UNSETTLED,
    Cell,
    Column,
    Matrix,
    Row,
    coverage_line,
    groups_of,
    percent,
    rate_line,
)
from .matrix_data import LETTERS, Packed, pack
from .matrix_document import Changes, Shift
from .not_pass import broken, by_reason, case_names
from .templates import template

TEMPLATE: Final = "matrix.html.j2"

SIZE_LIMIT: Final = 1_000_000
"""Octets that a page takes at most, as far as leaving out exchanges can bring that about."""

SYMBOLS: Final = {"pass": "✓", "fail": "✗", "advice": "!", "inconclusive": "?", "not-applicable": "–",
                  "known-deviation": "≈", "unexpected-pass": "±", "error": "⚡", UNSETTLED: "~", NOT_RUN: "○",
                  NO_CASE: ""}

_LEAST_DATA: Final = 100_000
_REASONS: Final = 60
_CASES: Final = 6
_CHANGES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a page: its size in octets, and how many exchanges stayed away to keep it small."""

    path: Path
    size: int
    exchanges: int
    left_away: int


def write_matrix(matrix: Matrix, path: Path, *, changes: Changes | None = None, made_by: str = "tcpqual",
                 limit: int = SIZE_LIMIT) -> Written:
    """Write the page to `path`. Captures are linked relative to it where they lie below its folder.

    If the page would be larger than `limit` octets, exchanges stay away, and the page says how many.
    """
    page = template(TEMPLATE)
    known = context(matrix, path.parent, changes=changes, made_by=made_by)
    bare = page.render(known, data=Packed(text="", exchanges=0, left_away=0))
    data = pack(matrix, path.parent, limit=max(_LEAST_DATA, limit - len(bare.encode("utf-8", "replace")) - 200))
    # Half of a surrogate pair, which JSON can have, is no UTF-8.
    text = page.render(known, data=data).encode("utf-8", "replace")
    with draft_of(path) as draft:
        draft.write_bytes(text)
    return Written(path=path, size=len(text), exchanges=data.exchanges, left_away=data.left_away)


def context(matrix: Matrix, folder: Path, *, changes: Changes | None, made_by: str) -> dict[str, Any]:
    """What the template is given, but for the packed data; `folder` is where the page will be."""
    slugs = _slugs(matrix.columns)
    groups = groups_of(matrix.rows)
    return {
        "made_by": made_by, "notes": matrix.notes, "symbols": SYMBOLS, "letters": LETTERS,
        "targets": [_target(matrix, number, slug, folder) for number, slug in enumerate(slugs)],
        "rules": sum(row.rule.id != NO_RULE for row in matrix.rows),
        "uncovered": sum(not row.cases for row in matrix.rows if row.rule.id != NO_RULE),
        "groups": [{"key": _group_key(name), "name": name, "rows": [_row(row) for row in rows],
                    "with_case": sum(row.cases > 0 for row in rows)} for name, rows in groups.items()],
        "legend": [{"state": state, "meaning": STATE_MEANING[state]} for state in STATES],
        "not_pass": [{"label": column.label, "slug": slug, **_not_pass(column, slug)}
                     for column, slug in zip(matrix.columns, slugs, strict=True)],
        "changes": None if changes is None else _changes(changes, matrix, slugs),
    }


def _slugs(columns: Sequence[Column]) -> list[str]:
    """What the URL calls each target."""
    slugs: list[str] = []
    for column in columns:
        slug = whole = re.sub(r"[^A-Za-z0-9._:-]+", "-", column.label).strip("-") or "target"
        number = 2
        while slug in slugs:
            slug, number = f"{whole}-{number}", number + 1
        slugs.append(slug)
    return slugs


def _group_key(name: str) -> str:
    match = re.match(r"RFC (\d+)", name)
    if match is None:
        return "other"
    return match[1] + ("-table" if name.endswith("state by state") else "")


def fragment(requirement: str, slug: str) -> str:
    """The link to a cell."""
    return "#open=" + quote(f"{requirement}@{slug}", safe="@:")


def _target(matrix: Matrix, number: int, slug: str, folder: Path) -> dict[str, Any]:
    column, tally = matrix.columns[number], matrix.tally(number)
    verdicts = [record["verdict"] for record in column.records.values()]
    relative = os.path.relpath(column.path.absolute(), folder.absolute())
    return {
        "label": column.label, "slug": slug, "version": column.text("version"), "kind": column.text("kind"),
        "clock": column.text("clock"), "tool": column.text("tool"), "profile": column.text("profile"),
        "rate": percent(tally.pass_rate), "coverage": percent(tally.coverage),
        "rate_line": rate_line(tally), "coverage_line": coverage_line(tally), "kept": tally.kept,
        "settled": tally.settled, "total": tally.total,
        "states": [(state, count) for state, count in tally.states.items() if state not in (NO_CASE,)],
        "cases": len(verdicts), "wall_s": f"{column.wall_s:.1f}",
        "verdicts": [(state, verdicts.count(state)) for state in STATES if state in verdicts],
        "left_out": len(column.left_out), "path": str(column.path),
        "link": "" if relative.startswith("..") else quote(Path(relative).as_posix()),
    }


def _row(row: Row) -> dict[str, Any]:
    return {"rule": row.rule, "cases": row.cases, "cells": [_cell(cell) for cell in row.cells]}


def _cell(cell: Cell) -> tuple[str, str]:
    """A cell's class and text: `✓12`, `✗2/12`, `–`."""
    letter, symbol = LETTERS[cell.state], SYMBOLS[cell.state]
    if not cell.counts:
        return letter, symbol
    count = cell.counts[cell.state]
    return letter, f"{symbol}{count}" if count == cell.cases else f"{symbol}{count}/{cell.cases}"


# -- what is not a pass -----------------------------------------------------------------------------------------------


def _not_pass(column: Column, slug: str) -> dict[str, Any]:
    """The reasons, worst first, with the rules and the cases of each."""
    found = by_reason(column.records.values())
    reasons = [{"verdict": verdict, "reason": why, "count": len(records), "cases": case_names(records, _CASES),
                "rules": [(rule, fragment(rule, slug)) for rule in broken(records)]}
               for (verdict, why), records in list(found.items())[:_REASONS]]
    return {"reasons": reasons, "more": max(0, len(found) - _REASONS)}


# -- what changed -----------------------------------------------------------------------------------------------------


def _changes(changes: Changes, matrix: Matrix, slugs: Sequence[str]) -> dict[str, Any]:
    slug_of = {column.label: slug for column, slug in zip(matrix.columns, slugs, strict=True)}
    alike: dict[tuple[Any, ...], list[Shift]] = {}
    for shift in changes.shifts:
        alike.setdefault((shift.target, shift.id, shift.was, shift.now, shift.reason), []).append(shift)
    shown = [_shift(shifts, slug_of[shifts[0].target]) for shifts in alike.values()]
    return {
        "old": changes.old, "pairs": changes.pairs, "compared": changes.compared, "gone": changes.gone,
        "new": changes.new, "worse": sum(len(shift.families) for shift in changes.shifts if shift.worse),
        "better": sum(len(shift.families) for shift in changes.shifts if not shift.worse),
        "shifts": shown[:_CHANGES],
        "more": max(0, len(shown) - _CHANGES),
        "rules": [{"target": shift.target, "rule": shift.requirement, "was": shift.was, "now": shift.now,
                   "link": fragment(shift.requirement, slug_of[shift.target])} for shift in changes.rules[:_CHANGES]],
        "more_rules": max(0, len(changes.rules) - _CHANGES),
    }


def _shift(shifts: Sequence[Shift], slug: str) -> dict[str, Any]:
    """Variants of one case that changed alike."""
    first = shifts[0]
    rules = dict.fromkeys(rule for shift in shifts for rule in shift.requirements)
    return {"target": first.target, "id": first.id, "was": first.was, "now": first.now, "worse": first.worse,
            "variants": ", ".join(shift.variant for shift in shifts if shift.variant), "reason": first.reason,
            "families": " ".join(sorted({family for shift in shifts for family in shift.families})),
            "rules": [(rule, fragment(rule, slug)) for rule in rules]}
