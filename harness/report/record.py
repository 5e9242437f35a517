# SPDX-License-Identifier: GPL-2.0-or-later
"""The case record: what one case said, as plain data (schema 1).

The plugin makes a record a case, a worker hands it to the controller, and everything in this package is made from it.
A record goes through JSON unchanged. Under one schema number fields are added, never changed or taken away, so readers
ignore what they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, TypedDict

from ..wire.errors import UsageError

SCHEMA: Final = 1

VERDICTS: Final = ("pass", "fail", "advice", "inconclusive", "not-applicable", "known-deviation", "unexpected-pass",
                   "error")
"""Every verdict there is, in the order in which a summary counts them."""

WORST_FIRST: Final = ("error", "fail", "unexpected-pass", "inconclusive", "advice", "known-deviation",
                      "not-applicable", "pass")
"""The order in which a reader wants to see them."""

FAILING: Final = ("error", "fail", "unexpected-pass", "inconclusive")
"""Verdicts that pytest shows in red."""

MEANING: Final = {
    "pass": "the target does what the requirement says, and it was seen",
    "fail": "the target breaks a MUST",
    "advice": "the target does not keep a SHOULD",
    "inconclusive": "the target could not be brought to where the case begins, or nothing proved the path alive",
    "not-applicable": "the profile says that the target does not have this feature",
    "known-deviation": "the target breaks the rule in the way its ledger says",
    "unexpected-pass": "the ledger says that the target breaks the rule, and it does not",
    "error": "the harness, the way to the target or the target as a whole failed; this says nothing about the rule",
}

FINGERPRINT: Final = "fingerprint"
"""The source, and the requirement, of a finding that breaks no rule and makes no verdict."""

MARKS: Final = ("", "unexpected", "missing", "allowed", "mismatch")


class Finding(TypedDict):
    """One rule broken, or advice not kept; or something that is not as the profile pins it.

    `source` is `case`, `oracle` (the invariants that watch every segment) or `fingerprint` (what the profile pins where
    the RFCs leave it free; no rule is broken, and `requirement` says just that). `expected` and `got` are in the
    notation where they are segments, else words. `fields` names what differs (`flags seq ack window urgent length
    payload options`, or anything a segment has). `step` is an index into the record's steps; `deviation` the ledger's
    reason.
    """

    requirement: str
    level: str
    source: str
    expected: str
    got: str
    fields: list[str]
    step: int
    state: str
    detail: str
    deviation: str | None


class Step(TypedDict):
    """One line of the exchange. `at_ns` counts from when the lab began; `side` is who sent it.

    `side` is `injector` or `target` for segments, `api` for a call on the target's socket API and what it gave, `note`
    for a remark. `text` is notation or a sentence; `mark` is one of `MARKS`.
    """

    at_ns: int
    side: str
    text: str
    mark: str


class TimingCheck(TypedDict):
    """One instant that was asserted; all four are nanoseconds on one scale, `got_ns` None if it never came."""

    what: str
    due_ns: int
    earliest_ns: int
    latest_ns: int
    got_ns: int | None


class Timing(TypedDict):
    """The checks of a case, and the tolerance that was measured for the link and is part of every window."""

    tolerance_ns: int
    checks: list[TimingCheck]


class _Extra(TypedDict, total=False):
    log: str


class CaseRecord(_Extra):
    """One case in one family and variant.

    `id` is `topic/module::case`, without family or parameters. `proof` says how the state was proven: `wire`, `api`,
    `remote`. `capture` is a path or None; `command` repeats the case. `log`, which may be
    missing, is a traceback or the harness's own words.
    """

    id: str
    title: str
    behaviours: list[str]
    requirements: list[str]
    tc8: list[str]
    family: str
    variant: str
    verdict: str
    reason: str
    findings: list[Finding]
    steps: list[Step]
    proof: list[str]
    timing: Timing | None
    duration_s: float
    segments: int
    capture: str | None
    command: str


Record: TypeAlias = Mapping[str, Any]
"""How a record is taken: a `CaseRecord`, or the same out of JSON."""

_KEYS: Final = tuple(sorted(CaseRecord.__required_keys__))
_FINDING_KEYS: Final = tuple(sorted(Finding.__required_keys__))
_STEP_KEYS: Final = tuple(sorted(Step.__required_keys__))


def key(record: Record) -> tuple[str, str, str]:
    """What names a record among the records of a run: id, family, variant."""
    return str(record["id"]), str(record["family"]), str(record.get("variant") or "")


def name(record: Record) -> str:
    """The record's key in one line, as people read it."""
    variant = record.get("variant")
    return f"{record['id']} {record['family']}" + (f" [{variant}]" if variant else "")


def worse(left: Record, right: Record) -> Record:
    """The record with the worse verdict; the later one (`right`) of two equals."""
    return left if WORST_FIRST.index(left["verdict"]) < WORST_FIRST.index(right["verdict"]) else right


def worst_first(records: Iterable[Record]) -> list[Record]:
    """Records sorted as a reader wants them: by verdict, worst first, then by key."""
    return sorted(records, key=lambda record: (WORST_FIRST.index(record["verdict"]), key(record)))


def findings_of(record: Record) -> list[Mapping[str, Any]]:
    """The record's findings, those without a ledger entry first, then by the strength of the rule and by step.

    What is not as the profile pins it comes last.
    """
    strength = {"MUST": 0, "SHOULD": 1, "MAY": 2}
    return sorted(record["findings"] or (), key=lambda finding: (
        finding["source"] == FINGERPRINT, finding["deviation"] is not None,
        strength.get(str(finding["level"]).split(" ")[0], 1), finding["step"]))


def reason(record: Record) -> str:
    """Why the verdict is what it is, in one line without control characters."""
    text = str(record.get("reason") or "")
    found = [finding for finding in findings_of(record) if finding["source"] != FINGERPRINT]
    if not text and found:
        first = found[0]
        text = f"{first['requirement']}: expected {first['expected']}, got {first['got']}"
    return one_line(text or MEANING[record["verdict"]])


def one_line(text: str) -> str:
    """The text's first line that says something, with control characters made visible as spaces."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join("".join(char if char.isprintable() else " " for char in line).split())


def validate(record: Any, where: str) -> None:
    """Raise `UsageError`, one line, if the value is not a case record; `where` names the file and place."""
    if not isinstance(record, Mapping):
        raise UsageError(f"{where}: a {type(record).__name__} where a case record (an object) is due")
    _demand(record, _KEYS, where)
    where = f"{where} ({name(record)})"
    if record["verdict"] not in VERDICTS:
        raise UsageError(f"{where}: unknown verdict {record['verdict']!r}; allowed: {' '.join(VERDICTS)}")
    for part, keys in (("findings", _FINDING_KEYS), ("steps", _STEP_KEYS)):
        if not isinstance(record[part], list):
            raise UsageError(f"{where}: {part} is not a list")
        for number, item in enumerate(record[part]):
            if not isinstance(item, Mapping):
                raise UsageError(f"{where}, {part}[{number}]: not an object")
            _demand(item, keys, f"{where}, {part}[{number}]")


def _demand(value: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    if missing := [key for key in keys if key not in value]:
        raise UsageError(f"{where}: missing {', '.join(missing)}")
