# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix in short, as Markdown for the summary of a CI job: the numbers, what changed, and what is not a pass."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .matrix import LOUD, STATES, Matrix, coverage_line, percent, rate_line
from .matrix_document import Changes, Shift
from .record import one_line

_LISTED: Final = 20
"""Lines of a list; the page and the JSON have all."""

_SHOWN: Final = 300


def markdown(matrix: Matrix, document: Mapping[str, Any], *, changes: Changes | None = None) -> str:
    """The summary. `document` is the same matrix as `as_document` has it."""
    parts = [_numbers(matrix), *([_changes(changes)] if changes is not None else []),
             *(f"> {_text(note)}" for note in matrix.notes), *_not_pass(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def lines(matrix: Matrix) -> Iterator[str]:
    """Two numbers for each target, as a terminal shows them."""
    width = max(len(column.label) for column in matrix.columns)
    for number, column in enumerate(matrix.columns):
        tally = matrix.tally(number)
        yield f"{column.label:<{width}}  {rate_line(tally)}, {coverage_line(tally)}"


def _numbers(matrix: Matrix) -> str:
    tallies = [matrix.tally(number) for number in range(len(matrix.columns))]
    seen = [state for state in STATES if state not in ("pass", "no-case") and
            any(tally.states.get(state) for tally in tallies)]
    head = ["Target", "Version", "Pass rate", "Coverage", *(state.replace("-", " ") for state in seen)]
    rows = [[column.label, column.text("version"),
             f"{percent(tally.pass_rate)} ({tally.kept} of {tally.settled})",
             f"{percent(tally.coverage)} ({tally.settled} of {tally.total})",
             *(str(tally.states.get(state, 0)) for state in seen)]
            for column, tally in zip(matrix.columns, tallies, strict=True)]
    return "\n".join(["### TCP qualification", "", "Requirements kept of those that the cases settled, and settled of "
                      "all there are:", "", *_table(head, rows)])


def _changes(changes: Changes) -> str:
    if not changes.compared:
        return f"**Nothing was compared** with {_text(changes.old)}: no case ran in both."
    title = f"### What changed since {_text(changes.old)}"
    if not changes.shifts:
        return f"{title}\n\nNo verdict differs in {changes.compared} cases that ran in both."
    worse = sum(len(shift.families) for shift in changes.shifts if shift.worse)
    better = sum(len(shift.families) for shift in changes.shifts if not shift.worse)
    items = [_shift(shift) for shift in changes.shifts]
    return "\n".join([title, "", f"**{worse} worse, {better} better** of {changes.compared} cases that ran in both.",
                      "", *_listed(items)])


def _shift(shift: Shift) -> str:
    return f"- {_text(shift.target)}: **{shift.was} → {shift.now}** " \
           f"{_name(shift.id, shift.variant, shift.families)}: {_text(shift.reason)}"


def _not_pass(document: Mapping[str, Any]) -> Iterator[str]:
    """For each target what must be looked at; its known deviations folded up."""
    for target in document["targets"]:
        groups: dict[tuple[str, str, str, str], list[str]] = {}
        for entry in document["not_pass"]:
            if entry["target"] == target["label"]:
                what = entry["verdict"], entry["id"], entry["variant"], entry["reason"]
                groups.setdefault(what, []).append(entry["family"])
        loud = [f"- **{verdict}** {_name(id, variant, families)}: {_text(why)}"
                for (verdict, id, variant, why), families in groups.items() if verdict in LOUD]
        known: dict[str, int] = {}
        for (verdict, _, _, why), families in groups.items():
            if verdict not in LOUD:
                known[why] = known.get(why, 0) + len(families)
        if loud:
            yield "\n".join([f"### {_text(target['label'])}: not a pass", "", *_listed(loud)])
        if known:
            items = [f"- {_text(why)} ({count} case{'s' if count > 1 else ''})" for why, count in known.items()]
            yield "\n".join([f"<details><summary>{html.escape(target['label'])}: {len(known)} known deviation"
                             f"{'s' if len(known) > 1 else ''}</summary>", "", *_listed(items), "", "</details>"])


def _listed(items: Sequence[str]) -> list[str]:
    rest = len(items) - _LISTED
    return [*items[:_LISTED], *([f"- and {rest} more"] if rest > 0 else [])]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(map(_text, row))} |" for row in (head, )] + \
        ["|" + "---|" * len(head)] + [f"| {' | '.join(map(_text, row))} |" for row in rows]


def _name(id: str, variant: str, families: Iterable[str]) -> str:
    """A case as code, which no Markdown is read in."""
    text = one_line(f"{id} [{variant}]" if variant else id).replace("`", "'").replace("|", "/")
    return f"`{text}` {_text(' '.join(families))}"


def _text(text: str) -> str:
    """Text that stays text: no markup, no table's column, not too long."""
    line = one_line(text)
    line = line if len(line) <= _SHOWN else line[:_SHOWN] + " ..."
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(line, quote=False))
