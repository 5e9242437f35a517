# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands behind the cells of the matrix, packed so that a page with ten targets stays small.

Each case is told once for all targets, texts are numbered, exchanges are stored as steps and drawn by the page, and the
whole is deflated. Of a passing case there is its verdict, where its capture lies and how to repeat it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from . import ladder
from .failure import finding_lines, timing_lines
from .matrix import NOT_PASS, STATES, Column, Key, Matrix, rules_of, settle
from .record import FINGERPRINT, Record, findings_of, one_line, reason

LETTERS: Final = dict(zip(STATES, "efuiakpsnox", strict=True))
"""One letter for each state, as the packed data and the page's styles have it."""

_SIDES: Final = ("injector", "target", "api", "note", "gap")
_MARKS: Final = ("", "unexpected", "missing", "allowed", "mismatch", "changed")
_LONG: Final = 80
_AROUND: Final = 12
_LOG_LINES: Final = 40
_FINDING_WIDTH: Final = 92
_TAKEN_OUT: Final = "\x00"


@dataclass(slots=True)
class Strings:
    """Texts by number."""

    texts: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        """The number of a text."""
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self.texts)
            self.texts.append(text)
        return place


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The data as the page has it, and how many exchanges had to stay away so that it is not too large."""

    text: str
    exchanges: int
    left_away: int


def pack(matrix: Matrix, folder: Path, *, limit: int) -> Packed:
    """Everything behind the cells for a page that will be in `folder`, in at most about `limit` characters.

    Where it would be more, exchanges stay away: those of known deviations before those of failures, long ones before
    short ones. `limit` does not cut anything else.
    """
    order = _by_weight(matrix)
    packed = _packed(matrix, folder, {place for place, _ in order})
    if len(packed) <= limit or not order:
        return Packed(text=packed, exchanges=len(order), left_away=0)
    least, most = 0, len(order)  # so many fit, so many do not
    best = _packed(matrix, folder, set())
    while most - least > max(1, len(order) // 50):
        middle = (least + most) // 2
        text = _packed(matrix, folder, {place for place, _ in order[:middle]})
        if len(text) <= limit:
            least, best = middle, text
        else:
            most = middle
    return Packed(text=best, exchanges=least, left_away=len(order) - least)


def _packed(matrix: Matrix, folder: Path, drawn: set[tuple[int, Key]]) -> str:
    text = json.dumps(_data(matrix, folder, drawn), ensure_ascii=False, separators=(",", ":"))
    # A name out of a results file may have half of a surrogate pair, which is no UTF-8.
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(text.encode("utf-8", "replace")) + deflate.flush()).decode()


def _by_weight(matrix: Matrix) -> list[tuple[tuple[int, Key], int]]:
    """Every exchange that could be shown, the most wanted first."""
    found = [((number, place), record) for number, column in enumerate(matrix.columns)
             for place, record in column.records.items() if record["verdict"] in NOT_PASS and record["steps"]]
    found.sort(key=lambda entry: (STATES.index(entry[1]["verdict"]), len(entry[1]["steps"])))
    return [(place, len(record["steps"])) for place, record in found]


def _data(matrix: Matrix, folder: Path, drawn: set[tuple[int, Key]]) -> dict[str, Any]:
    strings = Strings()
    rules = {row.rule.id: number for number, row in enumerate(matrix.rows)}
    places = list(matrix.cases)
    titles = _titles(matrix)
    return {
        "letters": dict(LETTERS.items()),
        "rules": list(rules),
        "cases": [[strings.add(place[0]), place[1], strings.add(place[2]), strings.add(titles.get(place, "")),
                   [rules[id] for id in matrix.cases[place] or ()]] for place in places],
        "idle": _idle(matrix, rules, strings),
        "targets": [_target(column, places, rules, strings, folder,
                            lambda place, number=number: (number, place) in drawn)  # type: ignore[misc]
                    for number, column in enumerate(matrix.columns)],
        "texts": strings.texts,
    }


def _titles(matrix: Matrix) -> dict[Key, str]:
    return {place: one_line(str(record["title"])) for column in reversed(matrix.columns)
            for place, record in column.records.items()}


def _idle(matrix: Matrix, rules: Mapping[str, int], strings: Strings) -> list[list[Any]]:
    """Cases of the suite that ran nowhere, with their rules."""
    ran = {place[0] for place in matrix.cases}
    return [[strings.add(id), [rules[rule] for rule in about if rule in rules]]
            for id, about in sorted(matrix.suite.items()) if id not in ran]


def _target(column: Column, places: Sequence[Key], rules: Mapping[str, int], strings: Strings, folder: Path,
            drawn: Callable[[Key], bool]) -> dict[str, Any]:
    letters, captures = [], []
    commands: list[int] = []
    tails: dict[int, int] = {}
    details: dict[int, Any] = {}
    base = column.path.parent / "captures"
    root = _relative(base, folder)
    for number, place in enumerate(places):
        record = column.records.get(place)
        letters.append(LETTERS[record["verdict"]] if record is not None else "o")
        if record is None:
            captures.append("-")
            commands.append(0)
            continue
        tail = capture_tail(record)
        captures.append(_capture_letter(base, tail, root))
        if tail:
            tails[number] = strings.add(tail)
        commands.append(strings.add(_template(record)))
        if record["verdict"] != "pass" or rules_of(record) != _covered(record):
            details[number] = _detail(record, rules, strings, drawn(place))
    return {
        "label": column.label, "verdicts": "".join(letters), "captures": "".join(captures), "root": root or str(base),
        "tails": _runs(tails, len(places)), "commands": commands, "details": details,
        "left": {id: strings.add(why) for id, why in column.left_out.items()},
    }


def _covered(record: Record) -> tuple[str, ...]:
    return tuple(map(str, record["requirements"]))


def _runs(tails: Mapping[int, int], count: int) -> list[int]:
    return [tails.get(number, -1) for number in range(count)]


def capture_tail(record: Record) -> str:
    """Where a record's capture lies below the folder `captures` of its run; "" if it is not said."""
    capture = str(record["capture"] or "").replace("\\", "/")
    _, found, tail = capture.rpartition("/captures/")
    if not found and capture.startswith("captures/"):
        return capture.removeprefix("captures/")
    return tail if found else Path(capture).name


def _capture_letter(base: Path, tail: str, root: str | None) -> str:
    """`l` linked, `n` named (it lies elsewhere), `m` missing, `-` the record names none."""
    if not tail or ".." in Path(tail).parts:
        return "-"
    try:
        there = (base / tail).is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        return "m"
    return "l" if root is not None else "n"


def _relative(base: Path, folder: Path) -> str | None:
    """The captures' folder as a link from the page; None if it does not lie below the page's folder."""
    relative = os.path.relpath(base.absolute(), folder.absolute())
    return None if relative.startswith("..") else quote(Path(relative).as_posix())


def _template(record: Record) -> str:
    """The command that repeats a case, with what names the case taken out, so that many cases have one text."""
    command = str(record["command"] or "")
    name = str(record["id"]) + (f"[{record['variant']}]" if record["variant"] else "")
    family = str(record["family"])
    short = command.replace(name, f"{_TAKEN_OUT}n", 1) if name else command
    if family:
        short = re.sub(rf"(--family ){re.escape(family)}\b", f"\\1{_TAKEN_OUT}f", short, count=1)
    return short


# -- what did not pass ------------------------------------------------------------------------------------------------


def _detail(record: Record, rules: Mapping[str, int], strings: Strings, drawn: bool) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "r": strings.add("" if record["verdict"] == "pass" else reason(record)),
        "s": [[rules[rule], LETTERS[settle(record, rule)]] for rule in rules_of(record) if rule in rules],
    }
    if found := findings_of(record):
        detail["f"] = [_finding(finding, strings) for finding in found]
    if record["verdict"] in NOT_PASS:
        detail["n"] = [int(record["segments"] or 0), ", ".join(map(str, record["proof"]))]
        if checks := timing_lines(record):
            detail["t"] = strings.add("\n".join(line[4:] for line in checks))
        if log := str(record.get("log") or "").rstrip():
            detail["l"] = strings.add("\n".join(log.splitlines()[-_LOG_LINES:]))
        if record["steps"]:
            detail["x"] = _steps(record, strings) if drawn else 0
    return detail


def _finding(finding: Mapping[str, Any], strings: Strings) -> list[Any]:
    pinned = finding["source"] == FINGERPRINT
    return [strings.add("" if pinned else str(finding["requirement"])), strings.add(str(finding["level"])),
            "p" if pinned else "o" if finding["source"] == "oracle" else "c",
            strings.add("\n".join(finding_lines(finding, width=_FINDING_WIDTH))),
            strings.add(str(finding["state"] or "")), strings.add(str(finding["detail"] or "")),
            -1 if finding["deviation"] is None else strings.add(str(finding["deviation"]))]


def _steps(record: Record, strings: Strings) -> list[int]:
    """The exchange, three numbers a step: microseconds since the first, who and how, text.

    Of a very long one there is the beginning, the end, and what lies around the findings.
    """
    steps = record["steps"]
    start_ns = steps[0]["at_ns"]
    points = [finding["step"] for finding in record["findings"] if isinstance(finding["step"], int)]
    shown = _shown(len(steps), points)
    flat: list[int] = []
    last = -1
    for number in shown:
        if number > last + 1:
            flat += [0, _SIDES.index("gap"), strings.add(f"{number - last - 1} more, left out here")]
        step, last = steps[number], number
        side = _SIDES.index(step["side"]) if step["side"] in _SIDES else _SIDES.index("note")
        mark = _MARKS.index(step["mark"]) if step["mark"] in _MARKS else 0
        flat += [(step["at_ns"] - start_ns) // 1000, side + 8 * mark,
                 strings.add(ladder.shorten_payload(" ".join(str(step["text"]).split())))]
    return flat


def _shown(count: int, points: Iterable[int]) -> Sequence[int]:
    if count <= _LONG:
        return range(count)
    around = [range(max(0, point - _AROUND), min(count, point + _AROUND)) for point in points]
    return sorted({step for part in (range(_AROUND), range(count - _AROUND, count), *around) for step in part})
