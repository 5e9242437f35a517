# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: every rule of every RFC that a case may name, and the table of RFC 9293's SEGMENT ARRIVES.

Each RFC is one file, read when one of its ids is first asked for: `get("RFC9293-MUST-23")` reads `rfc9293.toml` and
nothing else. The rows of the table (`SA-ESTAB-07`) are requirements too, but `all()` leaves them out: they say again,
state by state, what the rules of RFC 9293 say at large.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ..wire.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TESTABILITIES: Final = ("wire", "wire+api", "api", "internal")
"""What a test of the rule needs: our end of the wire; the target's socket API too; that alone; cannot be observed."""

_TABLE: Final = "segment_arrives.toml"
_ROW_RFC: Final = 9293
_ID: Final = re.compile(r"RFC(\d+)-\S+")
_FILE: Final = re.compile(r"rfc(\d+)\.toml")
_SECTION: Final = re.compile(r"(\d+|[A-Z])(\.\d+)*")


class Level(StrEnum):
    """How binding a rule is (RFC 2119); `<` and `>` compare that, so MUST NOT is as high as MUST."""

    MUST = "MUST"
    MUST_NOT = "MUST NOT"
    SHOULD = "SHOULD"
    SHOULD_NOT = "SHOULD NOT"
    MAY = "MAY"

    @property
    def is_must(self) -> bool:
        """True for MUST and MUST NOT: breaking it fails a case."""
        return self in (Level.MUST, Level.MUST_NOT)

    @property
    def is_should(self) -> bool:
        """True for SHOULD and SHOULD NOT: not keeping it is advice."""
        return self in (Level.SHOULD, Level.SHOULD_NOT)

    @property
    def is_may(self) -> bool:
        """True for MAY: information."""
        return self is Level.MAY

    @property
    def rank(self) -> int:
        """2, 1 or 0."""
        return 2 if self.is_must else int(self.is_should)

    def __lt__(self, other: str) -> bool:
        return self.rank < Level(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Level(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Level(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Level(other).rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One rule of one RFC.

    `derived` means that the level is our reading, since the text has no RFC 2119 keyword there. `timer_s` is roughly
    how long a test takes in real time with a stack's default timers.
    """

    id: str
    rfc: int
    level: Level
    section: str
    rule: str
    testability: str
    derived: bool = False
    timer_s: float | None = None

    @property
    def url(self) -> str:
        """The link to the section in the RFC Editor's pages."""
        part = "section" if self.section[0].isdigit() else "appendix"
        return f"https://www.rfc-editor.org/rfc/rfc{self.rfc}#{part}-{self.section}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of SEGMENT ARRIVES (RFC 9293, 3.10.7): what one segment draws in one state.

    `seq` and `ack` describe the arriving segment in words, `response` and `response_fields` the answer, "none" being
    silence; `requirements` are the rules behind it, `also_acceptable` what careful stacks do instead.
    """

    id: str
    state: str
    segment: str
    seq: str
    ack: str
    response: str
    next_state: str
    basis: str
    testability: str
    context: str = ""
    response_fields: str = ""
    requirements: tuple[str, ...] = ()
    also_acceptable: str = ""
    note: str = ""

    @property
    def sentence(self) -> str:
        """The row read aloud."""
        context = f" ({self.context})" if self.context else ""
        seq = "any seq" if self.seq == "any" else f"seq {self.seq}"
        ack = {"any": "any ack", "no ACK bit": "no ACK bit"}.get(self.ack, f"ack {self.ack}")
        answer = "nothing" if self.response == "none" else self.response
        fields = f" ({self.response_fields})" if self.response_fields else ""
        after = f"stays {self.state}" if self.next_state == self.state else f"becomes {self.next_state}"
        others = "silence" if self.also_acceptable == "none" else self.also_acceptable
        also = f" Also acceptable: {others}." if others else ""
        return f"In {self.state}{context}, {self.segment} with {seq} and {ack} draws {answer}{fields}; " \
               f"the state {after}.{also}"

    @property
    def requirement(self) -> Requirement:
        """The row as a rule of its own."""
        section = _SECTION.search(self.basis)
        return Requirement(id=self.id, rfc=_ROW_RFC, level=Level.MUST, section=section[0] if section else "3.10.7",
                           rule=self.sentence, testability=self.testability, derived=True)


class Catalogue:
    """The requirements of one folder of TOML files; `load()` gives the product's own.

    A file that is malformed raises `UsageError` when it is first read, one line for each fault in it.
    """

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._names: dict[int, str] | None = None
        self._read: dict[int, dict[str, Requirement]] = {}
        self._titles: dict[int, str] = {}
        self._rows: dict[str, Row] | None = None
        self._table: dict[str, Requirement] = {}

    def get(self, identifier: str) -> Requirement:
        """The requirement or table row of that id.

        Raises `UsageError` with the nearest ids if there is none.
        """
        found = self._find(identifier)
        if found is None:
            raise UsageError(f"{identifier!r}: no such requirement{self._nearest(identifier)}")
        return found

    def all(self) -> tuple[Requirement, ...]:
        """Every requirement of every RFC, by number of the RFC and then as its file has them; no table rows.

        Raises `UsageError` with the faults of all files, one a line.
        """
        faults: list[str] = []
        for rfc in self.rfcs():
            try:
                self._of(rfc)
            except UsageError as error:
                faults.append(str(error))
        if faults:
            raise UsageError("\n".join(faults))
        return tuple(requirement for rfc in self.rfcs() for requirement in self._of(rfc).values())

    def rows(self) -> tuple[Row, ...]:
        """The table of SEGMENT ARRIVES."""
        if self._rows is None:
            self._rows = _rows(self._folder)
            self._table = {row.id: row.requirement for row in self._rows.values()}
        return tuple(self._rows.values())

    def digest(self) -> str:
        """What tells this catalogue from another: the beginning of a hash of all its files."""
        files = sorted((file.name, file.read_bytes()) for file in self._folder.iterdir() if file.name.endswith(".toml"))
        return hash_of(files)

    def rfcs(self) -> tuple[int, ...]:
        """The numbers of the RFCs there are files of."""
        if self._names is None:
            matches = [(_FILE.fullmatch(file.name), file.name) for file in self._folder.iterdir()]
            self._names = dict(sorted((int(match[1]), name) for match, name in matches if match))
        return tuple(self._names)

    def title(self, rfc: int) -> str:
        """The title of an RFC, "" if there is no file of it."""
        self._of(rfc)
        return self._titles.get(rfc, "")

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str) and self._find(identifier) is not None

    def _find(self, identifier: str) -> Requirement | None:
        if identifier.startswith("SA-"):
            self.rows()
            return self._table.get(identifier)
        match = _ID.fullmatch(identifier)
        return self._of(int(match[1])).get(identifier) if match else None

    def _of(self, rfc: int) -> dict[str, Requirement]:
        if rfc not in self._read:
            if rfc not in self.rfcs():
                return {}
            self._titles[rfc], self._read[rfc] = _requirements(self._folder, rfc)
        return self._read[rfc]

    def _nearest(self, identifier: str) -> str:
        import difflib  # here alone, since it is only ever needed for a message

        ids = [requirement.id for requirement in self.all()] + [row.id for row in self.rows()]
        near = difflib.get_close_matches(identifier.upper(), ids, n=3)
        return f"; did you mean {' or '.join(near)}?" if near else "; `tcpqual list --requirements` names all"


def hash_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Twelve digits of the SHA-256 of these files, their names included."""
    import hashlib  # its own import costs more than most runs' catalogue

    whole = hashlib.sha256()
    for name, octets in files:
        whole.update(f"{name}\0{len(octets)}\0".encode())
        whole.update(octets)
    return whole.hexdigest()[:12]


@cache
def load() -> Catalogue:
    """The product's catalogue, the same one for the whole process."""
    from importlib.resources import files  # it costs more to import than one RFC's file costs to read

    return Catalogue(files(__package__))


class _Faults:
    """Everything that is wrong with one file, said at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.lines.append(f"{self.file}: {where}: {what}")

    def keys(self, where: str, table: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]],
             optional: Iterable[str] = ()) -> bool:
        """True if every key that is due is there, with a value of its kind, and none else."""
        before = len(self.lines)
        for key in kinds.keys() - table.keys() - set(optional):
            self.add(where, f"key {key} is missing")
        for key, value in table.items():
            if key not in kinds:
                self.add(where, f"unknown key {key}; allowed: {', '.join(kinds)}")
            elif not isinstance(value, kinds[key]) or (isinstance(value, bool) and kinds[key] is not bool):
                self.add(where, f"{key} is {value!r}, which is of the wrong kind")
        return len(self.lines) == before

    def choice(self, where: str, key: str, value: str, allowed: Iterable[str]) -> None:
        if value not in set(allowed):
            self.add(where, f"unknown {key} {value!r}; allowed: {', '.join(allowed)}")

    def check(self) -> None:
        if self.lines:
            raise UsageError("\n".join(self.lines))


_FILE_KEYS: Final = {"rfc": int, "title": str, "requirement": list}
_REQUIREMENT_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "id": str, "level": str, "section": str, "rule": str, "testability": str, "derived": bool, "timer_s": (int, float)}
_ROW_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "id": str, "state": str, "context": str, "segment": str, "seq": str, "ack": str, "response": str,
    "response_fields": str, "next_state": str, "basis": str, "requirements": list, "also_acceptable": str,
    "testability": str, "note": str}
_ROW_OPTIONAL: Final = ("context", "response_fields", "requirements", "also_acceptable", "note")


def _requirements(folder: Traversable, rfc: int) -> tuple[str, dict[str, Requirement]]:
    """Title and requirements of one RFC's file."""
    faults = _Faults(f"rfc{rfc}.toml")
    document = _document(folder, faults, _FILE_KEYS)
    if document["rfc"] != rfc:
        faults.add("rfc", f"{document['rfc']} is not the number in the file's name")
    found: dict[str, Requirement] = {}
    for entry, where in _entries(faults, document["requirement"], _REQUIREMENT_KEYS, ("derived", "timer_s")):
        faults.choice(where, "level", entry["level"], list(Level))
        faults.choice(where, "testability", entry["testability"], TESTABILITIES)
        if not where.startswith(f"RFC{rfc}-"):
            faults.add(where, f"the id does not begin with RFC{rfc}-")
        if not _SECTION.fullmatch(entry["section"]):
            faults.add(where, f"section is {entry['section']!r}; allowed: such as 3.4.1 or A.2")
        if not faults.lines:
            found[where] = Requirement(**{**entry, "level": Level(entry["level"])}, rfc=rfc)
    faults.check()
    return document["title"], found


def _rows(folder: Traversable) -> dict[str, Row]:
    """The rows of the table's file, by id."""
    faults = _Faults(_TABLE)
    document = _document(folder, faults, {"row": list})
    found: dict[str, Row] = {}
    for entry, where in _entries(faults, document["row"], _ROW_KEYS, _ROW_OPTIONAL):
        faults.choice(where, "testability", entry["testability"], TESTABILITIES)
        if not where.startswith("SA-"):
            faults.add(where, "the id does not begin with SA-")
        if not faults.lines:
            found[where] = Row(**{**entry, "requirements": tuple(entry.get("requirements", ()))})
    faults.check()
    return found


def _document(folder: Traversable, faults: _Faults, keys: Mapping[str, type]) -> dict[str, Any]:
    import tomllib

    try:
        document = tomllib.loads((folder / faults.file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{faults.file}: {error}") from None
    if not faults.keys("top level", document, keys):
        faults.check()
    return document


def _entries(faults: _Faults, entries: list[Any], keys: Mapping[str, type | tuple[type, ...]],
             optional: tuple[str, ...]) -> Iterable[tuple[dict[str, Any], str]]:
    """Each well-formed entry with its id; what is wrong with the others is a fault."""
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            faults.add(f"entry {number}", f"{entry!r} is no table")
            continue
        where = str(entry.get("id", f"entry {number}"))
        if where in seen:
            faults.add(where, "the id is there twice")
        seen.add(where)
        if faults.keys(where, entry, keys, optional):
            yield entry, where
