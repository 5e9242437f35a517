# SPDX-License-Identifier: GPL-2.0-or-later
"""Where two results differ: case by case in the verdicts, or in everything, captures too (`exact`).

Cases are paired by id, family and variant. Only a case that ran in both can differ in its verdict. What one run alone
has is listed: as left out if the other run says so, else as missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from ..wire.errors import UsageError
from .record import WORST_FIRST, Record, key, one_line, reason, worse
from .results import load
from .terminal import console, style

if TYPE_CHECKING:
    from rich.console import Console

SAME: Final = 0
DIFFERENT: Final = 1
NOTHING_COMPARED: Final = 4

WALL_FIELDS: Final = ("wall_s",)
"""Every field that tells wall time, wherever it stands: no two runs have it alike."""

PLACE_FIELDS: Final = ("capture", "command")
"""Fields of a case that tell where its run wrote to. The capture's content is compared, not its path."""

_LISTED: Final = 40
"""How many lines a list beside the differences may have before the rest is counted only; `--json` has them all."""

_PLACES_LISTED: Final = 3
_SHOWN: Final = 48
_CONTEXT: Final = 16

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two results. `recovered` is true if it was made of a journal."""

    path: str
    target: str
    clock: str
    seed: str
    cases: int
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A field that differs, and its value on each side: JSON, cut to where the two part."""

    path: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A case with two verdicts. `worse` is the side (`a`, `b`) with the worse one, `reason` says why that one is."""

    id: str
    family: str
    variant: str
    a: str
    b: str
    worse: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """A case that ran in both and is not the same in these places."""

    id: str
    family: str
    variant: str
    verdict: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A case that ran on the side `ran` (`a`, `b`) only; `why` is the other's word on it, None if it has none."""

    id: str
    family: str
    variant: str
    ran: str
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All that two results differ in.

    `changed` is sorted worst first, the rest by case. `findings` has the cases with one verdict and other findings or
    another reason. `head` and `inexact` (what differs outside the cases, and in them) are empty unless `exact`.
    """

    a: Side
    b: Side
    compared: int
    exact: bool
    changed: tuple[Changed, ...]
    findings: tuple[Unlike, ...]
    left_out: tuple[Alone, ...]
    missing: tuple[Alone, ...]
    head: tuple[Place, ...]
    inexact: tuple[Unlike, ...]

    def status(self, *, findings: bool = False, missing: bool = False) -> int:
        """The exit status: 0 no difference, 1 differences, 4 if no case ran in both.

        `findings` and `missing` let these lists count as well. With `exact` whatever differs counts.
        """
        counted: list[Collection[object]] = [self.changed, self.head, self.inexact]
        counted += [self.findings] if findings else []
        counted += [self.missing] if missing or self.exact else []
        counted += [self.left_out] if self.exact else []
        if any(counted):
            return DIFFERENT
        return SAME if self.compared else NOTHING_COMPARED

    def as_json(self, *, findings: bool = False, missing: bool = False) -> str:
        """Everything as one JSON object, with the exit status as `status`."""
        return json.dumps(asdict(self) | {"status": self.status(findings=findings, missing=missing)}, indent=1,
                          ensure_ascii=False)


# -- comparing --------------------------------------------------------------------------------------------------------


def difference(a: Path, b: Path, *, exact: bool = False) -> Difference:
    """Compare two results files or journals.

    With `exact` the whole documents are compared, but for wall figures and the paths in them, and the captures octet
    by octet; each is looked for in the folder of its results file. Raises UsageError if a file cannot be read or is no
    result, and, with `exact`, if two results share one folder, since the captures there are the later run's alone.
    """
    if exact and a.resolve() != b.resolve() and a.resolve().parent == b.resolve().parent:
        raise UsageError(f"--exact: {a} and {b} stand in one folder, where the later run has written its captures "
                         f"over the earlier one's; give each run a folder of its own")
    documents = load(a), load(b)
    left, right = (_by_key(document["cases"]) for document in documents)
    both = [(left[name], right[name]) for name in sorted(left.keys() & right.keys())]
    alone = [*_alone("a", left.keys() - right.keys(), documents[1]),
             *_alone("b", right.keys() - left.keys(), documents[0])]
    return Difference(
        a=_side(a, documents[0]), b=_side(b, documents[1]), compared=len(both), exact=exact,
        changed=tuple(sorted((_changed(*pair) for pair in both if pair[0]["verdict"] != pair[1]["verdict"]),
                             key=_worst_first)),
        findings=_unlike(((one, other), places(_why(one), _why(other))) for one, other in both
                         if one["verdict"] == other["verdict"]),
        left_out=tuple(one for one in alone if one.why is not None),
        missing=tuple(one for one in alone if one.why is None),
        head=tuple(_head(*documents)) if exact else (),
        inexact=_unlike((pair, _exact(pair, a.parent, b.parent)) for pair in both) if exact else ())


def places(a: Any, b: Any, path: str = "") -> Iterator[Place]:
    """Each field in which two JSON values differ, in order, wall figures left aside.

    A list that is longer on one side is one place, behind those of the items that both have. 1, 1.0 and true differ.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys((*a, *b)):
            where = f"{path}.{name}" if path else str(name)
            if name in WALL_FIELDS:
                continue
            if name in a and name in b:
                yield from places(a[name], b[name], where)
            else:
                yield Place(path=where, a=_cut(a[name]) if name in a else "-", b=_cut(b[name]) if name in b else "-")
    elif isinstance(a, list) and isinstance(b, list):
        for number, (one, other) in enumerate(zip(a, b, strict=False)):
            yield from places(one, other, f"{path}[{number}]")
        if len(a) != len(b):
            yield Place(path=path, a=f"{len(a)} items", b=f"{len(b)} items")
    elif type(a) is not type(b) or a != b:
        yield _place(path, json.dumps(a), json.dumps(b))


def _by_key(cases: Iterable[Record]) -> dict[_Key, Record]:
    found: dict[_Key, Record] = {}
    for record in cases:
        name = key(record)
        found[name] = worse(found[name], record) if name in found else record
    return found


def _side(path: Path, document: Mapping[str, Any]) -> Side:
    target, run = document["target"], document["run"]
    name = one_line(" ".join(str(target[part]) for part in ("name", "version") if target.get(part)))
    clock, seed = ("" if run.get(part) is None else one_line(str(run[part])) for part in ("clock", "seed"))
    return Side(path=str(path), target=name or "unnamed", clock=clock, seed=seed, cases=len(document["cases"]),
                recovered=bool(run.get("interrupted")))


def _alone(ran: str, names: Iterable[_Key], other: Mapping[str, Any]) -> Iterator[Alone]:
    """What ran on one side only. Entries for what was left out name no variant, so they speak for all of a case."""
    words: dict[tuple[str, str], str] = {}
    for entry in other["left_out"]:
        words.setdefault((str(entry["id"]), str(entry["family"])), one_line(str(entry["why"])))
    for id, family, variant in sorted(names):
        yield Alone(id=id, family=family, variant=variant, ran=ran, why=words.get((id, family)))


def _changed(a: Record, b: Record) -> Changed:
    bad = worse(a, b)
    id, family, variant = key(a)
    return Changed(id=id, family=family, variant=variant, a=a["verdict"], b=b["verdict"], reason=reason(bad),
                   worse="a" if bad is a else "b")


def _worst_first(one: Changed) -> tuple[int, int, _Key]:
    """By the worse verdict, then by how far off the other is."""
    ranks = sorted(WORST_FIRST.index(verdict) for verdict in (one.a, one.b))
    return ranks[0], -ranks[1], (one.id, one.family, one.variant)


def _why(record: Record) -> dict[str, Any]:
    """What a verdict rests on. The step is not of it: where a finding stands in the exchange may depend on timing."""
    return {"reason": record["reason"], "findings": [
        _without(finding, "step") for finding in record["findings"]]}


def _without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: held for name, held in value.items() if name not in names}


def _unlike(pairs: Iterable[tuple[tuple[Record, Record], Iterable[Place]]]) -> tuple[Unlike, ...]:
    found = []
    for (record, _), where in pairs:
        if listed := tuple(where):
            id, family, variant = key(record)
            found.append(Unlike(id=id, family=family, variant=variant, verdict=record["verdict"], places=listed))
    return tuple(found)


def _head(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Place]:
    """What differs outside the cases. The order of what was left out says nothing."""
    yield from places(_without(a, "cases", "left_out"), _without(b, "cases", "left_out"))
    left, right = (Counter((str(entry["id"]), str(entry["family"]), str(entry["why"])) for entry in side["left_out"])
                   for side in (a, b))
    for id, family, why in sorted((left - right) + (right - left)):
        here = (id, family, why) in left - right
        yield Place(path=f"left_out {id} {family}", a=_cut(why) if here else "-", b="-" if here else _cut(why))


def _exact(pair: tuple[Record, Record], *folders: Path) -> Iterator[Place]:
    yield from places(_without(pair[0], *PLACE_FIELDS), _without(pair[1], *PLACE_FIELDS))
    files = [_capture(record, folder) for record, folder in zip(pair, folders, strict=True)]
    a, b = (_octets(file) for file in files)
    if isinstance(a, str) or isinstance(b, str):
        # A capture that is not there proves nothing, so two of them are no likeness; two cases without one are.
        if files != [None, None]:
            yield Place(path="capture", a=a if isinstance(a, str) else f"{len(a)} octets",
                        b=b if isinstance(b, str) else f"{len(b)} octets")
    elif a != b:
        at = next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
        yield Place(path=f"capture, octet {at}", a=_octet(a, at), b=_octet(b, at))


def _capture(record: Record, folder: Path) -> Path | None:
    """Where a case's capture stands: its path from `captures` on, beside the results file.

    What the path says before that holds for the place of the run alone; there another run may have written since.
    """
    if not record["capture"]:
        return None
    path = Path(str(record["capture"]))
    parts = path.parts
    if starts := [number for number, part in enumerate(parts[:-1]) if part == "captures"]:
        return folder.joinpath(*parts[starts[-1]:])
    return folder / (path.name if path.is_absolute() else path)


def _octets(file: Path | None) -> bytes | str:
    """The content of a capture, or a word for why there is none."""
    if file is None:
        return "none"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return f"not there: {file}"
    except OSError as error:
        return f"cannot be read: {file}: {error.strerror}"


def _octet(content: bytes, at: int) -> str:
    return f"0x{content[at]:02x} of {len(content)}" if at < len(content) else f"ends, {len(content)} octets"


def _place(path: str, a: str, b: str) -> Place:
    """Both texts cut to where they part, if one is long."""
    if max(len(a), len(b)) <= _SHOWN:
        return Place(path=path, a=a, b=b)
    first = next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    start = max(0, first - _CONTEXT)

    def cut(text: str) -> str:
        end = start + _SHOWN
        return ("..." if start else "") + text[start:end] + ("..." if len(text) > end else "")

    return Place(path=path, a=cut(a), b=cut(b))


def _cut(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


# -- saying it --------------------------------------------------------------------------------------------------------


def print_difference(found: Difference, stream: TextIO, *, findings: bool = False, missing: bool = False) -> None:
    """Print the two runs, what differs, worst first, what one run alone has, and the counts."""
    from rich.text import Text

    text = StringIO()
    out = console(stream, into=text)
    _print_sides(out, found)
    _print_changed(out, found.changed)
    if found.head:
        out.print("\nNot the same outside the cases", style="bold")
        _print_places(out, found.head, 2)
    _print_unlike(out, "Not the same to the octet", found.inexact)
    if not found.exact:
        _print_unlike(out, "Same verdict, other findings" + _aside(findings), found.findings)
    for other, ran in (("a", "b"), ("b", "a")):
        _print_alone(out, f"Left out in {other.upper()}{_aside(found.exact)}",
                     (one for one in found.left_out if one.ran == ran))
    for ran, other in (("a", "b"), ("b", "a")):
        _print_alone(out, f"Only in {ran.upper()}; {other.upper()} has no word on it{_aside(missing or found.exact)}",
                     (one for one in found.missing if one.ran == ran))
    status = found.status(findings=findings, missing=missing)
    out.print()
    out.print(Text(f"{_counts(found)} (exit status {status})", style="bold green" if status == SAME else "bold red"),
              soft_wrap=True)
    stream.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
    stream.flush()


def _aside(counted: bool) -> str:
    return "" if counted else " (no difference)"


def _print_sides(out: Console, found: Difference) -> None:
    rows = []
    for side in (found.a, found.b):
        facts = ["real time" if side.clock == "real" else side.clock, f"seed {side.seed}" if side.seed else "",
                 "RECOVERED from its journal" if side.recovered else ""]
        known = ", ".join(fact for fact in facts if fact)
        rows.append((side.target + (f" ({known})" if known else ""), _plural(side.cases, "case"), side.path))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for letter, (target, cases, path) in zip("AB", rows, strict=True):
        out.print(f"{letter}  {target:<{widths[0]}}  {cases:>{widths[1]}}  {path}", style="bold", soft_wrap=True)


def _print_changed(out: Console, changed: Sequence[Changed]) -> None:
    """One entry for what differs in each family alike."""
    from rich.padding import Padding
    from rich.text import Text

    groups: dict[tuple[str, ...], list[str]] = {}
    for one in changed:
        groups.setdefault((one.id, one.variant, one.a, one.b, one.worse, one.reason), []).append(one.family)
    if groups:
        out.print("\nDifferences, A -> B", style="bold")
    width = max((len(f"{a} -> {b}") for _, _, a, b, _, _ in groups), default=0)
    for (id, variant, a, b, bad, why), kinds in groups.items():
        blank = " " * (width - len(f"{a} -> {b}"))
        out.print(Text.assemble("  ", (a, style(a)), " -> ", (b, style(b)), f"{blank}  {_where(id, kinds, variant)}"),
                  soft_wrap=True)
        out.print(Padding(Text(f"{bad.upper()}: {why}"), (0, 0, 0, 8)))


def _print_unlike(out: Console, title: str, cases: Sequence[Unlike]) -> None:
    if cases:
        out.print(f"\n{title}", style="bold")
    for one in cases[:_LISTED]:
        out.print(f"  {one.verdict}  {_where(one.id, [one.family], one.variant)}", soft_wrap=True)
        _print_places(out, one.places, 8)
    _print_rest(out, len(cases))


def _print_places(out: Console, listed: Sequence[Place], indent: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    lines = [f"{place.path}: {place.a} | {place.b}" for place in listed[:_PLACES_LISTED]]
    if len(listed) > _PLACES_LISTED:
        lines.append(f"and {_plural(len(listed) - _PLACES_LISTED, 'more place')}")
    for line in lines:
        out.print(Padding(Text(line), (0, 0, 0, indent)))


def _print_alone(out: Console, title: str, cases: Iterable[Alone]) -> None:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in cases:
        groups.setdefault((one.id, one.variant, one.why or ""), []).append(one.family)
    if groups:
        out.print(f"\n{title}", style="bold")
    for (id, variant, why), kinds in list(groups.items())[:_LISTED]:
        out.print(f"  {_where(id, kinds, variant)}" + (f": {why}" if why else ""), soft_wrap=True)
    _print_rest(out, len(groups))


def _print_rest(out: Console, count: int) -> None:
    if count > _LISTED:
        out.print(f"  and {count - _LISTED} more; --json lists all")


def _where(id: str, kinds: Iterable[str], variant: str) -> str:
    return " ".join([id, *kinds, *([f"[{variant}]"] if variant else [])])


def _counts(found: Difference) -> str:
    """`2 of 40 cases differ (pass -> fail 2); 3 left out in A`."""
    if not found.compared:
        parts = ["NOTHING COMPARED: no case ran in both"]
    elif not found.changed:
        parts = [f"No verdict differs in {_plural(found.compared, 'case')} that ran in both"]
    else:
        kinds = Counter(f"{one.a} -> {one.b}" for one in found.changed)
        parts = [f"{len(found.changed)} of {_plural(found.compared, 'case')} that ran in both differ ("
                 + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) + ")"]
    if found.exact:
        parts.append(f"{len(found.inexact)} not the same to the octet")
    elif found.findings:
        parts.append(f"{len(found.findings)} with other findings")
    for cases, words in ((found.left_out, "left out in"), (found.missing, "missing in")):
        for ran, other in (("b", "A"), ("a", "B")):
            if count := sum(one.ran == ran for one in cases):
                parts.append(f"{count} {words} {other}")
    return "; ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
