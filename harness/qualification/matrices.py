# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual matrix`: from results files to the page, its JSON and its Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..campaign import writable
from ..report.drafts import draft_of
from ..report.matrix import Matrix, build, read
from ..report.matrix_document import Changes, as_document, changes, load_old
from ..report.matrix_page import Written, write_matrix
from ..report.matrix_text import lines, markdown
from ..suite import collect, suite
from ..wire.errors import UsageError
from . import bundle
from .provenance import tool

DONE: Final = 0
WORSE: Final = 1
NOTHING_COMPARED: Final = 4
STANDARD_OUTPUT: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for; `json` and `markdown` name files, `-` for the standard output."""

    results: tuple[Path, ...]
    output: Path
    old: Path | None = None
    json: str | None = None
    markdown: str | None = None
    fail_on_worse: bool = False


def make(order: Order, say: Callable[[str], object]) -> int:
    """Write what was asked for; returns the exit status. `UsageError` before anything is written."""
    _check(order)
    old = None if order.old is None else load_old(_matrix_of(order.old))
    matrix = build(read(_results_of(order.results)), suite=rules_by_case())
    document = as_document(matrix, tool=tool())
    found: Changes | None = None
    if old is not None and order.old is not None:
        found = changes(old, document, name=str(order.old))
        document = as_document(matrix, tool=tool(), changes=found)
    page = write_matrix(matrix, order.output, changes=found, made_by=tool())
    silent = STANDARD_OUTPUT in (order.json, order.markdown)
    if order.json:
        _write(order.json, json.dumps(document, ensure_ascii=False, indent=1) + "\n", say)
    if order.markdown:
        _write(order.markdown, markdown(matrix, document, changes=found), say)
    if not silent:
        _tell(matrix, found, page, say)
    if found is not None and not found.compared:
        return NOTHING_COMPARED
    return WORSE if order.fail_on_worse and found is not None and any(shift.worse for shift in found.shifts) else DONE


def rules_by_case() -> dict[str, tuple[str, ...]]:
    """The requirements of each case of the suite; nothing where this installation carries none."""
    try:
        root = suite()
    except UsageError:
        return {}
    return {entry.id: entry.requirements for entry in collect([str(root)])}


def _results_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The results files that are named, those of a bundle in its place."""
    for path in paths:
        if not bundle.is_bundle(path):
            yield path
            continue
        found = [path / target["results"] for target in bundle.load(path)["targets"] if target["results"]]
        if not found:
            raise UsageError(f"{path}: a bundle without results, since none of its targets could be tested")
        yield from found


def _matrix_of(path: Path) -> Path:
    return path / bundle.MATRIX if bundle.is_bundle(path) else path


def _check(order: Order) -> None:
    if order.fail_on_worse and order.old is None:
        raise UsageError("--fail-on-worse: goes with --diff OLD.json, which says what it was")
    if order.json == order.markdown == STANDARD_OUTPUT:
        raise UsageError("--json - and --markdown -: one of them; the standard output takes one document")
    places: dict[Path, str] = {}
    for option, file in (("--output", order.output), ("--json", order.json), ("--markdown", order.markdown)):
        if file is None or file == STANDARD_OUTPUT:
            continue
        place = Path(file).resolve()
        if place in places:
            raise UsageError(f"{option} {file}: {places[place]} goes there already")
        if any(place == path.resolve() for path in (*order.results, *([order.old] if order.old else []))):
            raise UsageError(f"{option} {file}: is one of the results that are read; name another file")
        places[place] = option
        writable(option, Path(file))


def _write(file: str, text: str, say: Callable[[str], object]) -> None:
    octets = text.encode("utf-8", "replace")  # half of a surrogate pair, which JSON can have, is no UTF-8
    if file == STANDARD_OUTPUT:
        say(octets.decode().removesuffix("\n"))
        return
    with draft_of(Path(file)) as draft:
        draft.write_bytes(octets)


def _tell(matrix: Matrix, found: Changes | None, page: Written, say: Callable[[str], object]) -> None:
    for line in lines(matrix):
        say(line)
    for note in matrix.notes:
        say(note)
    if found is not None:
        worse = sum(len(shift.families) for shift in found.shifts if shift.worse)
        better = sum(len(shift.families) for shift in found.shifts if not shift.worse)
        say(f"Since {found.old}: {worse} worse, {better} better of {found.compared} cases that ran in both")
    away = f", {page.left_away} of {page.exchanges + page.left_away} exchanges left away" if page.left_away else ""
    say(f"Matrix  {page.path} ({page.size / 1000:.0f} kB{away})")
