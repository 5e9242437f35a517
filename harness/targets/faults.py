# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of a profile file: what a reader of values raises, and the lines that are made of it."""

from __future__ import annotations

from collections.abc import Iterator

from cattrs import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError, IterableValidationNote

from .vocabulary import suggestion


class Fault(Exception):
    """One thing that is wrong, and where, counted from what a hook was given."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where


class Faults(Exception):
    """Several of them."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def lines_of(error: BaseException, path: str = "") -> Iterator[str]:
    """One line for each fault, with the path to its key."""
    match error:
        case BaseValidationError():
            for each in error.exceptions:
                yield from lines_of(each, _noted(each, path))
        case ForbiddenExtraKeysError():
            known = tuple(getattr(error.cl, "__dataclass_fields__", ()))
            for key in sorted(error.extra_fields):
                yield f"{path_of(path, key)}: unknown key; {suggestion(key, known)}"
        case KeyError():
            yield f"{path}: missing"
        case Fault():
            yield f"{path_of(path, error.where) or 'top level'}: {error.what}"
        case Faults():
            for fault in error.faults:
                yield from lines_of(fault, path)
        case _:
            yield f"{path or 'top level'}: {error}"


def _noted(error: BaseException, path: str) -> str:
    """The path, extended by the note in which cattrs says where it was."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return path_of(path, note.name)
        if isinstance(note, IterableValidationNote):
            return path_of(path, str(note.index)) if isinstance(note.index, str) else f"{path}[{note.index + 1}]"
    return path


def path_of(*parts: str) -> str:
    """The path to a key, outermost first."""
    return ".".join(part for part in parts if part)
