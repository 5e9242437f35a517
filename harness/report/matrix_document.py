# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix as plain data, `matrix.json`, and where a later one differs from it.

Under one schema number fields are added, never changed or taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..wire.errors import UsageError
from .matrix import NO_RULE, NOT_PASS, STATES, Column, Matrix, build, rules_of, settle
from .record import MEANING, reason
from .results import exit_status, load, summarise
from .shape import Matrix as Shape
from .shape import check, parse, shown

SCHEMA: Final = 1
KIND: Final = "tcpqual-matrix"

_TARGET_FIELDS: Final = ("name", "kind", "version", "profile", "build")
_RUN_FIELDS: Final = ("tool", "clock", "seed", "kernel", "catalogue", "suite")

_Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A case whose verdict on a target is not what it was, in these families alike.

    `reason` is that of the worse verdict, `worse` says whether that is the new one.
    """

    target: str
    id: str
    variant: str
    families: tuple[str, ...]
    was: str
    now: str
    worse: bool
    reason: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleShift:
    """A requirement that a target's cases settle otherwise than they did."""

    target: str
    requirement: str
    was: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A target that both have: its columns' labels and versions, and how many cases ran in both and in one alone."""

    was: str
    now: str
    was_version: str
    now_version: str
    compared: int
    only_was: int
    only_now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Where a matrix differs from an earlier one, worst first."""

    old: str
    pairs: tuple[Pair, ...]
    shifts: tuple[Shift, ...]
    rules: tuple[RuleShift, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def compared(self) -> int:
        """How many cases ran in both, all targets together."""
        return sum(pair.compared for pair in self.pairs)


# -- the document -----------------------------------------------------------------------------------------------------


def as_document(matrix: Matrix, *, tool: str, changes: Changes | None = None,
                base: Path | None = None) -> dict[str, Any]:
    """The matrix as `matrix.json` has it; `tool` is what made it, `changes` what differs from an earlier one.

    Results below the folder `base` are named from there.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA, "kind": KIND, "tool": tool, "notes": list(matrix.notes),
        "targets": [_target(matrix, number, base) for number in range(len(matrix.columns))],
        "requirements": [{"id": row.rule.id, "group": row.group, "rfc": row.rule.rfc, "section": row.rule.section,
                          "level": row.rule.level, "rule": row.rule.rule, "url": row.rule.url, "cases": row.cases,
                          "cells": [{"state": cell.state, "counts": dict(cell.counts)} for cell in row.cells]}
                         for row in matrix.rows],
        "cases": [{"id": place[0], "family": place[1], "variant": place[2], "requirements": list(rules),
                   "verdicts": [column.records[place]["verdict"] if place in column.records else None
                                for column in matrix.columns]} for place, rules in matrix.cases.items()],
        "not_pass": [entry for column in matrix.columns for entry in _not_pass(column)],
    }
    return document | ({"changes": asdict(changes)} if changes is not None else {})


def _target(matrix: Matrix, number: int, base: Path | None) -> dict[str, Any]:
    column, tally = matrix.columns[number], matrix.tally(number)
    records = list(column.records.values())
    path = column.path.relative_to(base) if base is not None and column.path.is_relative_to(base) else column.path
    return {"label": column.label, **{name: column.target.get(name, "") for name in _TARGET_FIELDS},
            **{name: column.run.get(name, "") for name in _RUN_FIELDS},
            "interrupted": bool(column.run.get("interrupted")), "results": path.as_posix(),
            "wall_s": column.wall_s, "cases": {name: count for name, count in summarise(records).items() if count},
            "left_out": len(column.left_out), "status": exit_status(summarise(records)), "kept": tally.kept,
            "settled": tally.settled, "total": tally.total, "states": dict(tally.states)}


def _not_pass(column: Column) -> Iterable[dict[str, Any]]:
    """What a reader wants to see, worst first: the case, why, and which rules it leaves broken."""
    found = [record for record in column.records.values() if record["verdict"] in NOT_PASS]
    for record in sorted(found, key=lambda record: STATES.index(record["verdict"])):
        broken = [rule for rule in rules_of(record) if rule != NO_RULE and settle(record, rule) in NOT_PASS]
        yield {"target": column.label, "id": record["id"], "family": record["family"],
               "variant": record["variant"] or "", "verdict": record["verdict"], "reason": reason(record),
               "requirements": broken}


def load_old(path: Path) -> dict[str, Any]:
    """What a matrix is compared with: a `matrix.json`, or a results file, which is a matrix of one column.

    `UsageError`, one line, if it is neither.
    """
    if path.suffix == ".jsonl" or path.is_dir():
        return _of_results(path)
    try:
        document = parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        return _of_results(path)
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{path}: matrix of schema {shown(document.get('schema'))}; this tcpqual reads schema "
                         f"{SCHEMA}")
    check(document, Shape, str(path))
    _check_rows(document, path)
    return document


def _of_results(path: Path) -> dict[str, Any]:
    file = path / "results.json" if path.is_dir() else path
    return as_document(build([(file, load(file))]), tool="")


def _check_rows(document: Mapping[str, Any], path: Path) -> None:
    """What no shape says: every row has a cell a target, and each cell is one that there is."""
    for part, name in (("requirements", "cells"), ("cases", "verdicts")):
        for number, entry in enumerate(document[part]):
            where = f"{path}: {part}[{number}]"
            if len(entry[name]) != len(document["targets"]):
                raise UsageError(f"{where}: {len(entry[name])} {name} for {len(document['targets'])} targets")
            known = [cell["state"] for cell in entry["cells"]] if name == "cells" else \
                [verdict for verdict in entry["verdicts"] if verdict is not None]
            if unknown := [state for state in known if state not in STATES]:
                raise UsageError(f"{where}: unknown state {shown(unknown[0])}; allowed: {' '.join(STATES)}")


# -- what changed -----------------------------------------------------------------------------------------------------


def changes(old: Mapping[str, Any], new: Mapping[str, Any], *, name: str) -> Changes:
    """Where `new` differs from `old`, both documents; `name` is what the old one is called.

    Targets are paired by name, those of one name by version and clock where that is possible and else in their
    order. Only a case that ran in both can differ.
    """
    pairs = _pairs(old["targets"], new["targets"])
    left, right = ({(case["id"], case["family"], case["variant"]): case for case in side["cases"]}
                   for side in (old, new))
    reasons = [{(entry["target"], entry["id"], entry["family"], entry["variant"]): entry["reason"]
                for entry in side["not_pass"]} for side in (old, new)]
    known: list[Pair] = []
    shifts: dict[tuple[Any, ...], list[str]] = {}
    rules: list[RuleShift] = []
    for before, after in pairs:
        was, now = old["targets"][before], new["targets"][after]
        ran = {place for place, case in left.items() if case["verdicts"][before]}, \
            {place for place, case in right.items() if case["verdicts"][after]}
        known.append(Pair(was=was["label"], now=now["label"], was_version=was["version"], now_version=now["version"],
                          compared=len(ran[0] & ran[1]), only_was=len(ran[0] - ran[1]), only_now=len(ran[1] - ran[0])))
        for place in sorted(ran[0] & ran[1]):
            one, other = left[place]["verdicts"][before], right[place]["verdicts"][after]
            if one == other:
                continue
            worse = STATES.index(other) < STATES.index(one)
            why = reasons[worse].get(((now if worse else was)["label"], *place), MEANING.get(other if worse else one))
            about = tuple(right[place]["requirements"])
            shifts.setdefault((now["label"], place[0], place[2], one, other, worse, why, about), []).append(place[1])
        rules += _rule_shifts(old, new, before, after, now["label"])
    paired = [{pair[side] for pair in pairs} for side in (0, 1)]
    return Changes(
        old=name, pairs=tuple(known), rules=tuple(sorted(rules, key=_rule_order)),
        shifts=tuple(sorted((Shift(target=target, id=id, variant=variant, families=tuple(families), was=was, now=now,
                                   worse=worse, reason=why, requirements=about)
                             for (target, id, variant, was, now, worse, why, about), families in shifts.items()),
                            key=_order)),
        gone=tuple(one["label"] for number, one in enumerate(old["targets"]) if number not in paired[0]),
        new=tuple(one["label"] for number, one in enumerate(new["targets"]) if number not in paired[1]))


def _rule_shifts(old: Mapping[str, Any], new: Mapping[str, Any], before: int, after: int,
                 label: str) -> Iterable[RuleShift]:
    earlier = {row["id"]: row["cells"][before]["state"] for row in old["requirements"]}
    for row in new["requirements"]:
        now = row["cells"][after]["state"]
        was = earlier.get(row["id"], now)
        if was != now:
            yield RuleShift(target=label, requirement=row["id"], was=was, now=now)


def _pairs(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Which target of the old is which of the new: each at most once."""
    free = list(range(len(old)))
    found: dict[int, int] = {}
    for fields in (("name", "version", "clock"), ("name", "version"), ("name", "clock"), ("name",)):
        for number, target in enumerate(new):
            if number in found:
                continue
            like = next((one for one in free
                         if all(old[one].get(field) == target.get(field) for field in fields)), None)
            if like is not None:
                found[number] = like
                free.remove(like)
    return [(found[number], number) for number in sorted(found)]


def _order(shift: Shift) -> tuple[Any, ...]:
    return (not shift.worse, STATES.index(shift.now if shift.worse else shift.was), shift.target, shift.id,
            shift.variant)


def _rule_order(shift: RuleShift) -> tuple[bool, int, str, str]:
    now, was = STATES.index(shift.now), STATES.index(shift.was)
    return now > was, min(now, was), shift.target, shift.requirement
