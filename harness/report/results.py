# SPDX-License-Identifier: GPL-2.0-or-later
"""`results.json`: what a run found, for people's tools; and the journal that loses nothing when a run is killed.

    {"schema": 1, "target": {name, kind, version, profile}, "summary": {verdict: count}, "wall_s",
     "run": {tool, clock, seed, kernel}, "cases": [case record], "left_out": [{"id", "family", "why"}]}

The journal (`results.jsonl`) is one JSON object a line: the head (`schema`, `target`, `run`), then `{"case": ...}` or
`{"left_out": ...}` with `at_s`, seconds since the run began. `recover` makes the same document of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ..wire.errors import UsageError
from .drafts import draft_of
from .record import SCHEMA, VERDICTS, Record, key, validate, worse
from .shape import JournalLine, check, parse, shown
from .shape import Results as Shape

CONFORMANT: Final = 0
BROKEN: Final = 1
USAGE: Final = 2
HARNESS: Final = 3
NOTHING_VERIFIED: Final = 4


class Results:
    """Collects the records of one run in a journal and writes `results.json` at the end.

    A results file that an earlier run left at `path` is taken away at once, so that a killed run never shows the
    verdicts of another. A case that is added twice (a rerun, a failing teardown) keeps its worse record.
    """

    def __init__(self, path: Path, target: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.journal = journal_of(self.path)
        self._target = dict(target)
        self._run = run
        self._cases: dict[tuple[str, str, str], Record] = {}
        self._left_out: dict[tuple[str, str, str], dict[str, str]] = {}
        self._began = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._file = self.journal.open("w", encoding="utf-8")
        self._write({"schema": SCHEMA, "target": self._target, "run": self._run})

    def add(self, record: Record) -> None:
        """Take one case's record; `UsageError` if it lacks a key or has an unknown verdict."""
        validate(record, "case record")
        self._write({"case": record, "at_s": self._at_s()})
        _keep(self._cases, record)

    def leave_out(self, id: str, family: str, why: str) -> None:
        """Say that a case was not run, and why."""
        entry = {"id": id, "family": family, "why": why}
        self._write({"left_out": entry, "at_s": self._at_s()})
        self._left_out[id, family, why] = entry

    @property
    def cases(self) -> list[Record]:
        """The records so far, sorted."""
        return [self._cases[key] for key in sorted(self._cases)]

    def document(self, wall_s: float) -> dict[str, Any]:
        """What `results.json` would hold now."""
        return _document(self._target, self._run, self._cases, self._left_out, wall_s)

    def finish(self, wall_s: float) -> dict[str, Any]:
        """Write `results.json` in one step, end the journal, and return the document. May be called once."""
        document = self.document(wall_s)
        write(document, self.path)
        self._file.close()
        return document

    def _at_s(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":")) + "\n")
        self._file.flush()


def journal_of(path: Path) -> Path:
    """Where the journal of a results file stands."""
    return path.with_suffix(".jsonl")


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write a document so that a reader sees the old file or the new one, never half of one."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=1, default=str)
        file.write("\n")


def load(path: Path) -> dict[str, Any]:
    """Read and check a results file (or, by its suffix `.jsonl`, a journal).

    `UsageError`, one line, if it is not there, not JSON, of another schema, or lacks something.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        return recover(path)
    document: dict[str, Any] = parse(_read(path), str(path))
    _check_schema(document, str(path))
    check(document, Shape, str(path))
    _check_verdicts(document["summary"], f"{path}: summary")
    for number, record in enumerate(document["cases"]):
        _check_verdicts([record["verdict"]], f"{path}: cases[{number}].verdict")
    return document


def recover(journal: Path) -> dict[str, Any]:
    """The document of a run that never finished, from its journal; `run` gets `"interrupted": true`.

    A last line that was cut short is left out. `wall_s` is when the last line was written.
    """
    journal = Path(journal)
    cases: dict[tuple[str, str, str], Record] = {}
    left_out: dict[tuple[str, str, str], dict[str, str]] = {}
    head: dict[str, Any] = {}
    wall_s = 0.0
    lines = _read(journal).split(b"\n")
    lines.pop()  # what stands behind the last line end: nothing, or a line cut short
    for number, line in enumerate(lines, 1):
        where = f"{journal}, line {number}"
        entry = parse(line, where)
        if number == 1:
            _check_schema(entry, where)
        check(entry, JournalLine, where)
        wall_s = float(entry.get("at_s", wall_s))
        if number == 1:
            head = entry
        elif "case" in entry:
            _check_verdicts([entry["case"]["verdict"]], f"{where}: case.verdict")
            _keep(cases, entry["case"])
        elif "left_out" in entry:
            left = entry["left_out"]
            left_out[left["id"], left["family"], left["why"]] = left
    if not head:
        raise UsageError(f"{journal}: the journal is empty; nothing to recover")
    return _document(head.get("target", {}), head.get("run", {}) | {"interrupted": True}, cases, left_out, wall_s)


def summarise(cases: Iterable[Record]) -> dict[str, int]:
    """How many cases have each verdict; a verdict nobody has counts 0."""
    counts = dict.fromkeys(VERDICTS, 0)
    for record in cases:
        counts[record["verdict"]] += 1
    return counts


def exit_status(results: Mapping[str, Any], *, strict: bool = False) -> int:
    """The status a run ends with, from a document or its summary.

    0 conformant (known deviations included; advice too unless strict), 1 a MUST broken or an unexpected pass, 3 a
    harness or target error, 4 nothing verified, or an inconclusive case without a failure. 3 goes before
    1, 1 before 4.
    """
    counts: Mapping[str, int] = results.get("summary", results)

    def any_of(*verdicts: str) -> bool:
        return any(counts.get(verdict, 0) for verdict in verdicts)

    if any_of("error"):
        return HARNESS
    if any_of("fail", "unexpected-pass") or (strict and any_of("advice")):
        return BROKEN
    if any_of("inconclusive") or not any_of("pass", "advice", "known-deviation"):
        return NOTHING_VERIFIED
    return CONFORMANT


def _document(target: Mapping[str, Any], run: Mapping[str, Any], cases: Mapping[tuple[str, str, str], Record],
              left_out: Mapping[tuple[str, str, str], dict[str, str]], wall_s: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "target": dict(target),
        "summary": summarise(cases.values()),
        "wall_s": round(wall_s, 3),
        "run": dict(run),
        "cases": [dict(cases[key]) for key in sorted(cases)],
        "left_out": [left_out[key] for key in sorted(left_out)],
    }


def _keep(cases: dict[tuple[str, str, str], Record], record: Record) -> None:
    """Put a record in its place; the worse of two wins, so that no rerun hides a failure."""
    place = key(record)
    cases[place] = worse(cases[place], record) if place in cases else record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        journal = journal_of(path)
        hint = f"; the run did not finish, but its journal is there: {journal}" \
            if path != journal and journal.exists() else ""
        raise UsageError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name out of a bundle may be none
        raise UsageError(f"{str(path)!r}: cannot be read: {error}") from None


def _check_schema(document: Any, where: str) -> None:
    """Before anything else: a document of another schema may have any shape."""
    if isinstance(document, dict) and not (type(document.get("schema")) is int and document["schema"] == SCHEMA):
        raise UsageError(f"{where}: schema {shown(document.get('schema'))}; this tcpqual reads schema {SCHEMA}")


def _check_verdicts(verdicts: Iterable[str], where: str) -> None:
    if unknown := sorted(set(verdicts) - set(VERDICTS)):
        raise UsageError(f"{where}: unknown verdict {shown(unknown[0])}; allowed: {' '.join(VERDICTS)}")
