# SPDX-License-Identifier: GPL-2.0-or-later
"""Several results side by side: a row for each requirement, a column for each target.

A cell has what the cases say that are about its requirement. A case that is stopped by one rule says nothing about
the others that it covers: there it is *unsettled*, neither a pass nor a failure. Two numbers stand for a column and are
never made one: how many of the rules that were settled are kept, and how many rules were settled of all there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..requirements.catalogue import Catalogue
from ..requirements.catalogue import load as load_catalogue
from ..wire.errors import UsageError
from .record import FINGERPRINT, MEANING, Record, key, one_line, worse
from .results import load
from .rules import Cited, cite

UNSETTLED: Final = "unsettled"
NOT_RUN: Final = "not-run"
NO_CASE: Final = "no-case"

STATES: Final = ("error", "fail", "unexpected-pass", "inconclusive", "advice", "known-deviation", "pass", UNSETTLED,
                 "not-applicable", NOT_RUN, NO_CASE)
"""What a cell can be, worst first: the eight verdicts and three that no case has. A cell is its worst case."""

SETTLED: Final = ("fail", "unexpected-pass", "advice", "known-deviation", "pass")
"""States in which the target has shown whether it keeps the rule."""

NOT_PASS: Final = ("error", "fail", "unexpected-pass", "inconclusive", "advice", "known-deviation")
"""Verdicts whose cases a reader wants to see."""

LOUD: Final = tuple(verdict for verdict in NOT_PASS if verdict != "known-deviation")
"""Those that ask for something to be done; a known deviation is one that somebody has accepted."""

STATE_MEANING: Final = MEANING | {
    UNSETTLED: "the case was stopped by another rule, so it says nothing about this one",
    NOT_RUN: "the suite has cases about it, and none of them ran here",
    NO_CASE: "no case is about it yet",
}

NO_RULE: Final = "none"
"""The row of cases that name no rule, and the requirement of a finding that has none."""

_TABLE_PREFIX: Final = "SA-"
_MAIN_RFC: Final = 9293

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One target: its results, and what it is called on this page, which no other column is."""

    label: str
    path: Path
    target: Mapping[str, Any]
    run: Mapping[str, Any]
    wall_s: float
    records: Mapping[Key, Record]
    left_out: Mapping[str, str]
    """Why cases did not run: by id, the first reason."""

    def text(self, name: str) -> str:
        """A field of the target, else of the run, in one line; "" if there is none."""
        value = self.target.get(name) if self.target.get(name) not in (None, "") else self.run.get(name)
        return "" if value is None else one_line(str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one target's cases say about one requirement: the worst of it, and how many say what."""

    state: str
    counts: Mapping[str, int]

    @property
    def cases(self) -> int:
        """How many cases it is made of."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One requirement, the group it stands in, how many cases the suite has, and a cell for each column."""

    rule: Cited
    group: str
    cases: int
    cells: tuple[Cell, ...]
    known: bool
    """False if the catalogue does not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The two numbers of a column, and how many requirements are in which state."""

    kept: int
    settled: int
    total: int
    states: Mapping[str, int]

    @property
    def pass_rate(self) -> float | None:
        """Kept of settled, 0 to 1; None if nothing was settled."""
        return self.kept / self.settled if self.settled else None

    @property
    def coverage(self) -> float | None:
        """Settled of all requirements, 0 to 1."""
        return self.settled / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The whole of it. `cases` are all that ran anywhere, with the requirements that they cover; `suite` are all that
    are known, by id.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cases: Mapping[Key, tuple[str, ...]]
    suite: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def tally(self, column: int) -> Tally:
        """The numbers of a column; cases that name no rule count in no row's."""
        states = Counter(row.cells[column].state for row in self.rows if row.rule.id != NO_RULE)
        return Tally(kept=states["pass"], settled=sum(states[state] for state in SETTLED),
                     total=sum(states.values()), states={state: states[state] for state in STATES if states[state]})


# -- making it --------------------------------------------------------------------------------------------------------


def read(paths: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The results files (or journals, or folders with a results.json) of these names, each once.

    `UsageError` as `results.load` has it.
    """
    files = [path / "results.json" if path.is_dir() else path for path in paths]
    unique = {path.resolve(): path for path in reversed(files)}
    return [(path, load(path)) for path in reversed(unique.values())]


def build(results: Sequence[tuple[Path, Mapping[str, Any]]], *, suite: Mapping[str, Sequence[str]] | None = None,
          catalogue: Catalogue | None = None) -> Matrix:
    """The matrix of these results documents, in their order.

    `suite` has the requirements of each case there is, by id, so that a rule whose cases did not run is told from one
    without a case; without it only cases that ran somewhere are known.
    """
    catalogue = load_catalogue() if catalogue is None else catalogue
    columns = _label([_column(path, document) for path, document in results])
    if not columns:
        raise UsageError("no results: name at least one results file")
    about = _about(columns)
    known_cases = _suite(about, suite)
    having: Counter[str] = Counter(rule for rules in known_cases.values() for rule in rules)
    cells = [_cells(column) for column in columns]
    rows = tuple(
        Row(rule=rule, group=group, known=known, cases=having[rule.id],
            cells=tuple(found.get(rule.id) or Cell(state=NOT_RUN if having[rule.id] else NO_CASE, counts={})
                        for found in cells))
        for rule, group, known in _rules(catalogue, {*having, *(id for found in cells for id in found)}))
    return Matrix(columns=columns, rows=rows, cases=about, suite=known_cases, notes=tuple(_notes(columns, rows)))


def settle(record: Record, requirement: str) -> str:
    """What one case says about one requirement that it covers or has a finding about: a verdict, or `UNSETTLED`.

    A finding of the case itself ends it, so that the other rules it covers are not shown. One of the oracle does not.
    """
    verdict = str(record["verdict"])
    found = [finding for finding in record["findings"] if finding["source"] != FINGERPRINT]
    own = [_verdict_of(finding) for finding in found if finding["requirement"] == requirement]
    covered = requirement in record["requirements"]
    if own and (verdict not in ("error", "inconclusive", "not-applicable", "pass") or not covered):
        return min(own, key=STATES.index)
    if verdict not in ("fail", "advice", "known-deviation") or requirement == NO_RULE or not found:
        return verdict
    if any(finding["requirement"] == NO_RULE for finding in found):
        return verdict
    return UNSETTLED if any(finding["source"] == "case" for finding in found) else "pass"


def rules_of(record: Record) -> tuple[str, ...]:
    """The requirements that a record is about: those it covers, then those of its findings; `NO_RULE` if none."""
    found = [str(finding["requirement"]) for finding in record["findings"] if finding["source"] != FINGERPRINT]
    known = dict.fromkeys(id for id in (*map(str, record["requirements"]), *found) if id and id != NO_RULE)
    return tuple(known) or (NO_RULE,)


def _verdict_of(finding: Mapping[str, Any]) -> str:
    if finding["deviation"] is not None:
        return "known-deviation"
    level = str(finding["level"])
    return "fail" if level.startswith("MUST") else "advice" if level.startswith("SHOULD") else "pass"


def _column(path: Path, document: Mapping[str, Any]) -> Column:
    records: dict[Key, Record] = {}
    for record in document["cases"]:
        place = key(record)
        records[place] = worse(records[place], record) if place in records else record
    left_out: dict[str, str] = {}
    for entry in document["left_out"]:
        left_out.setdefault(str(entry["id"]), one_line(str(entry["why"])))
    target = document["target"]
    return Column(label=called(str(target.get("name") or "")), path=path, target=target,
                  run=document["run"], wall_s=float(document["wall_s"]), records=records, left_out=left_out)


def called(name: str) -> str:
    """A target's name; a profile file's is not where it stands."""
    text = one_line(name)
    path, is_file, variant = text.partition(".toml")
    return (path.rpartition("/")[2] + is_file + variant if is_file else text) or "unnamed"


def _label(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The same with labels of which no two are alike: what tells them apart is added, at last a number."""
    for name in ("version", "clock", "seed", "tool"):
        alike = Counter(column.label for column in columns)
        groups = {label: {column.text(name) for column in columns if column.label == label} for label in alike}
        columns = [replace(column, label=f"{column.label} {_WORD.get(name, '')}{column.text(name)}".rstrip())
                   if alike[column.label] > 1 and len(groups[column.label]) > 1 and column.text(name) else column
                   for column in columns]
    taken: set[str] = set()
    labelled = []
    for column in columns:
        label, number = column.label, 2
        while label in taken:
            label, number = f"{column.label} ({number})", number + 1
        taken.add(label)
        labelled.append(replace(column, label=label))
    return tuple(labelled)


_WORD: Final = {"seed": "seed "}


def _about(columns: Iterable[Column]) -> dict[Key, tuple[str, ...]]:
    """By case: the requirements that any column's record names as covered."""
    about: dict[Key, dict[str, None]] = {}
    for column in columns:
        for place, record in column.records.items():
            about.setdefault(place, {}).update(dict.fromkeys(map(str, record["requirements"])))
    return {place: tuple(about[place]) for place in sorted(about)}


def _suite(about: Mapping[Key, Sequence[str]], suite: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """By case id: its requirements, as the suite or as any record has them."""
    known = {id: dict.fromkeys(rules) for id, rules in (suite or {}).items()}
    for (id, _, _), rules in about.items():
        known.setdefault(id, {}).update(dict.fromkeys(rules))
    return {id: tuple(rules) for id, rules in known.items()}


def _cells(column: Column) -> dict[str, Cell]:
    counts: dict[str, Counter[str]] = {}
    for record in column.records.values():
        for rule in rules_of(record):
            counts.setdefault(rule, Counter())[settle(record, rule)] += 1
    return {rule: Cell(state=next(state for state in STATES if found[state]),
                       counts={state: found[state] for state in STATES if found[state]})
            for rule, found in counts.items()}


def _rules(catalogue: Catalogue, named: Iterable[str]) -> Iterable[tuple[Cited, str, bool]]:
    """Every requirement with its group: RFC 9293 and its table first, then the others by number and section."""
    groups: list[tuple[str, list[Cited], bool]] = []
    strangers = {id for id in named if id not in catalogue}
    table = [row.requirement for row in catalogue.rows()]
    for rfc in sorted(catalogue.rfcs(), key=lambda number: (number != _MAIN_RFC, number)):
        title = catalogue.title(rfc)
        rules = [rule for rule in catalogue.all() if rule.rfc == rfc]
        groups.append((f"RFC {rfc}" + (f", {title}" if title else ""), [_cited(rule) for rule in rules], True))
        if rfc == _MAIN_RFC:
            groups.append((f"RFC {rfc}, SEGMENT ARRIVES state by state", [_cited(rule) for rule in table], True))
    groups.append(("Not in this catalogue", [cite(id, {}) for id in sorted(strangers - {NO_RULE})], False))
    if NO_RULE in strangers:
        nothing = Cited(id=NO_RULE, rfc=0, section="", level="", rule="Cases that name no rule.", url="")
        groups.append(("Not in this catalogue", [nothing], False))
    for group, cited, known in groups:
        ordered = cited if group.endswith("state by state") else sorted(cited, key=lambda rule: _section(rule.section))
        for rule in ordered:
            yield rule, group, known


def _cited(rule: Any) -> Cited:
    return Cited(id=rule.id, rfc=rule.rfc, section=rule.section, level=str(rule.level), rule=rule.rule, url=rule.url)


def _section(section: str) -> tuple[tuple[int, int, str], ...]:
    """Sections as a book has them: 3.10 behind 3.9, appendices at the end."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.]", section))


def _notes(columns: Sequence[Column], rows: Sequence[Row]) -> Iterable[str]:
    """What keeps the columns from being compared just like that."""
    for name, words in (("tool", "by different versions of the tool"), ("suite", "with different suites of cases"),
                        ("catalogue", "with different catalogues of requirements")):
        made: dict[str, list[str]] = {}
        for column in columns:
            made.setdefault(column.text(name), []).append(column.label)
        if len(made) > 1:
            yield f"The results were made {words}: " + \
                "; ".join(f"{value or 'unknown'} ({', '.join(labels)})" for value, labels in made.items()) + "."
    for column in columns:
        if column.run.get("interrupted"):
            yield f"{column.label}: the run did not end; this is what its journal held."
        if not column.records:
            yield f"{column.label}: no case ran."
    strangers = [row.rule.id for row in rows if not row.known and row.rule.id != NO_RULE]
    if strangers:
        yield f"{len(strangers)} requirement{'s' if len(strangers) > 1 else ''} of the results " \
              f"{'are' if len(strangers) > 1 else 'is'} not in this tcpqual's catalogue: {', '.join(strangers[:5])}" \
              f"{' ...' if len(strangers) > 5 else ''}."


# -- numbers as people read them --------------------------------------------------------------------------------------


def percent(share: float | None) -> str:
    """`94.5 %`; what is not all is never shown as 100 %, what is not nothing never as 0 %."""
    if share is None:
        return "-"
    shown = round(share * 100, 1)
    if share < 1:
        shown = min(shown, 99.9)
    if share > 0:
        shown = max(shown, 0.1)
    return f"{shown:g} %"


def rate_line(tally: Tally) -> str:
    """`309 of 311 settled rules kept (99.4 %)`."""
    return f"{tally.kept} of {tally.settled} settled rules kept ({percent(tally.pass_rate)})"


def coverage_line(tally: Tally) -> str:
    """`311 of 871 rules settled (35.7 %)`."""
    return f"{tally.settled} of {tally.total} rules settled ({percent(tally.coverage)})"


def groups_of(rows: Sequence[Row], name: Callable[[Row], str] = lambda row: row.group) -> dict[str, list[Row]]:
    """Rows by group, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found
