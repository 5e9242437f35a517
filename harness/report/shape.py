# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a document that was read out of JSON has the shape that its readers rely on.

A shape is a `TypedDict`; cattrs does the walking, and throws away what it makes. The hooks are stricter than its own
(true is no number, "6" neither). Keys that a shape does not have are left alone: documents grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, NotRequired, TypeAlias, TypedDict, get_origin, is_typeddict

from ..wire.errors import UsageError
from .record import CaseRecord, one_line

if TYPE_CHECKING:
    from cattrs import Converter

_LIMIT: Final = 1 << 63
"""A number has to fit 64 bits: what is larger is no time and no count."""

_SHOWN: Final = 40

_Hook: TypeAlias = Callable[[Any, Any], Any]


class TargetFacts(TypedDict, total=False):
    """What results say of the target."""

    name: str
    kind: str
    version: str
    profile: str
    build: str


class RunFacts(TypedDict, total=False):
    """What results say of the run."""

    tool: str
    clock: str
    kernel: str
    catalogue: str
    suite: str
    seed: int
    shards: int
    virtual_s: float
    interrupted: bool


class LeftOut(TypedDict):
    """A case that was not run, and why."""

    id: str
    family: str
    why: str


class Record(CaseRecord, total=False):
    """A case as a file has it."""

    unseen: list[str]
    audit: dict[str, Any]


class Results(TypedDict):
    """`results.json`."""

    schema: int
    target: TargetFacts
    summary: dict[str, int]
    wall_s: float
    run: RunFacts
    cases: list[Record]
    left_out: list[LeftOut]


class JournalLine(TypedDict, total=False):
    """A line of `results.jsonl`: its head, a case, or what was left out."""

    schema: int
    target: TargetFacts
    run: RunFacts
    case: Record
    left_out: LeftOut
    at_s: float


class Cell(TypedDict):
    """What one target's cases say about one requirement."""

    state: str


class MatrixTarget(TypedDict):
    """A column of `matrix.json`, as far as comparing needs it."""

    label: str
    name: str
    version: str
    clock: NotRequired[str]


class MatrixRule(TypedDict):
    """A requirement, and a cell for each column."""

    id: str
    cells: list[Cell]


class MatrixCase(TypedDict):
    """A case, and its verdict in each column; null where it did not run."""

    id: str
    family: str
    variant: str
    requirements: list[str]
    verdicts: list[str | None]


class NotPass(TypedDict):
    """A case that did not pass, and why."""

    target: str
    id: str
    family: str
    variant: str
    reason: str


class Matrix(TypedDict):
    """`matrix.json`."""

    targets: list[MatrixTarget]
    requirements: list[MatrixRule]
    cases: list[MatrixCase]
    not_pass: list[NotPass]


class BundleTarget(TypedDict):
    """A target of a bundle; `results` is null where it could not be tested."""

    target: str
    results: str | None


class Bundle(TypedDict):
    """`bundle.json`, as far as it is read again."""

    targets: list[BundleTarget]


class Misfit(Exception):
    """What a value is not."""


def parse(octets: bytes, where: str) -> Any:
    """The value that JSON text stands for. `UsageError`, one line, if it is none; `where` names it."""
    try:
        return json.loads(octets)
    except ValueError as error:
        raise UsageError(f"{where}: not JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: not JSON of ours: lists or objects too deep in each other") from None


def check(document: Any, shape: type, where: str) -> None:
    """Raise `UsageError`, one line, if the document has not this shape; `where` names the file.

    The line has the first fault: where it is, what stands there, what is allowed, and how many more there are.
    """
    from cattrs import BaseValidationError

    try:
        _converter().structure(document, shape)
    except (BaseValidationError, Misfit) as error:
        faults = list(_faults(error, ""))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UsageError(f"{where}: {one_line(faults[0])}{more}") from None


@cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.cols import is_mapping, list_structure_factory
    from cattrs.gen import make_mapping_structure_fn
    from cattrs.gen.typeddicts import make_dict_structure_fn

    converter = Converter(detailed_validation=True)
    for kind, hook in ((str, _text), (int, _whole), (float, _number), (bool, _truth)):
        converter.register_structure_hook(kind, hook)
    made_by: tuple[tuple[Callable[[Any], bool], Callable[..., _Hook], type, str], ...] = (
        (lambda kind: get_origin(kind) is list, list_structure_factory, list, "a list"),
        (is_mapping, make_mapping_structure_fn, dict, "an object"),
        (is_typeddict, make_dict_structure_fn, dict, "an object"))
    for suits, make, due, words in made_by:  # the last one that suits is taken, and a TypedDict is a mapping too
        converter.register_structure_hook_factory(suits, partial(_guarded, converter, make, due, words))
    return converter


def _guarded(converter: Converter, make: Callable[..., _Hook], due: type, words: str, kind: Any) -> _Hook:
    """The hook that `make` has for this kind, but for values of the JSON type that is due alone."""
    read = make(kind, converter)

    def hook(value: Any, kind: Any) -> Any:
        return read(value, kind) if isinstance(value, due) else _refuse(value, words)

    return hook


def _text(value: Any, _: Any) -> str:
    return value if isinstance(value, str) else _refuse(value, "a text")


def _whole(value: Any, _: Any) -> Any:
    if type(value) is not int or not -_LIMIT <= value < _LIMIT:
        _refuse(value, "a whole number of 64 bits")
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not -_LIMIT <= value < _LIMIT:
        _refuse(value, "a number")
    return float(value)


def _truth(value: Any, _: Any) -> bool:
    return value if isinstance(value, bool) else _refuse(value, "true or false")


def _refuse(value: Any, due: str) -> NoReturn:
    raise Misfit(f"{shown(value)} is not allowed; allowed: {due}")


def shown(value: Any) -> str:
    """A value out of JSON in a few characters of one line."""
    if isinstance(value, Mapping | list):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        return "a number of more than 64 bits"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _faults(error: BaseException, path: str) -> Iterator[str]:
    """One line for each, with the path to its place."""
    from cattrs import BaseValidationError

    if isinstance(error, BaseValidationError):
        for each in error.exceptions:
            yield from _faults(each, path + _place(each))
    elif isinstance(error, KeyError):
        yield f"{path.removeprefix('.')}: missing"
    else:
        yield f"{path.removeprefix('.') or 'top level'}: {error}"


def _place(error: BaseException) -> str:
    """Where cattrs was, as the note says that it leaves on an error."""
    from cattrs import AttributeValidationNote, IterableValidationNote

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""
