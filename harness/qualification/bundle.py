# SPDX-License-Identifier: GPL-2.0-or-later
"""A bundle: the folder in which a qualification leaves everything, and the sums that tell whether it is still whole.

At its top are `summary.html`, `matrix.html`, `matrix.json`, `bundle.json` and `SHA256SUMS`, in `targets/NAME/` the
`results.json`, `report.html`, `junit.xml`, `run.log`, `captures/` and `profile/` of each target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..report.shape import Bundle, check, parse, shown
from ..wire.errors import UsageError

SCHEMA: Final = 1
KIND: Final = "tcpqual-bundle"
HEAD: Final = "bundle.json"
SUMS: Final = "SHA256SUMS"
MATRIX: Final = "matrix.json"
TARGETS: Final = "targets"

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A file that is not as the sums say: `missing`, `changed`, or `stray` (in no sum)."""

    file: str
    what: str


def is_bundle(folder: Path) -> bool:
    """True if the folder is a bundle, whole or not."""
    return (folder / HEAD).is_file()


def load(folder: Path) -> dict[str, Any]:
    """What `bundle.json` says. `UsageError`, one line, if the folder is no bundle, or one of another schema."""
    file = folder / HEAD
    try:
        document = parse(file.read_bytes(), str(file))
    except OSError as error:
        raise UsageError(f"{folder}: no bundle: {HEAD}: {error.strerror}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UsageError(f"{file}: not what `tcpqual qualify` writes")
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{file}: schema {shown(document.get('schema'))}; this tcpqual reads schema {SCHEMA}")
    check(document, Bundle, str(file))
    return document


def write_sums(folder: Path) -> Path:
    """Write the sum of every file below the folder, as `sha256sum` does; a name that it would escape is escaped."""
    path = folder / SUMS
    lines = [_line(sum_of(file), name) for name, file in _files(folder)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    return path


def verify(folder: Path) -> tuple[int, list[Wrong]]:
    """How many files the sums have, and what is not as they say.

    `UsageError` if there are no sums, or a line of them is none.
    """
    path = folder / SUMS
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    # A name may have what else ends a line in Unicode; here only a line feed does.
    lines = text.removesuffix("\n").split("\n") if text else []
    due = dict(_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1))
    there = dict(_files(folder))
    wrong = [Wrong(file=name, what="missing") for name in due if name not in there]
    wrong += [Wrong(file=name, what="stray") for name in there if name not in due]
    wrong += [Wrong(file=name, what="changed") for name, sum in due.items()
              if name in there and sum_of(there[name]) != sum]
    return len(due), sorted(wrong, key=lambda one: one.file)


def sum_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; `UsageError` if it cannot be read."""
    whole = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                whole.update(block)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below but the sums, by its name from there; what is no file of its own (a link) counts as one."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != SUMS:
            yield name, path


def _line(digits: str, name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != name else ''}{digits}  {escaped}"


def _parse(line: str, where: str) -> tuple[str, str]:
    escaped = line.startswith("\\")
    digits, found, name = line.removeprefix("\\").partition("  ")
    if not found or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise UsageError(f"{where}: not a sum and a name: {line[:40]!r}")
    if escaped:
        name = name.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
    return name, digits
