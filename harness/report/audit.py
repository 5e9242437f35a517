# SPDX-License-Identifier: GPL-2.0-or-later
"""What an audit has found, out of the records of a run: scores of cases, fields and requirements, and survivors.

Each record of an audited case has `audit`, as `docs/reference/results.md` describes it. A score is the share of the
lies that somebody noticed. Two outcomes are no part of it: `inconclusive`, since a case without a verdict has not said
that the target lies, and `free`, where no rule forbids what the lie made of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Final

from .record import Record, key, name, one_line, reason
from .results import BROKEN, CONFORMANT, HARNESS, NOTHING_VERIFIED

MEANING: Final = {
    "noticed": "the verdict or the findings changed",
    "fingerprint": "noticed by what the profile pins; no rule is broken",
    "inconclusive": "the case came to no verdict; no part of the score",
    "free": "no rule is against it, or the case says why it may be; no part of the score",
    "survived": "nobody noticed",
    "error": "the harness failed on it, which is no catch",
}
"""Every outcome of a lie."""

SURVIVING: Final = ("survived", "error")
"""The outcomes of a lie that nobody noticed."""

_FREEDOM: Final = re.compile(r"(?P<lie>.+?): (?P<reason>.*) \((?P<requirement>[^()]*)\)", re.DOTALL)
_DECLARED: Final = "declared by the case"
_DROP: Final = "drop"
_OF_RUN_ALONE: Final = ("--slow", "--real-clock")
"""Words of `tcpqual run` that `tcpqual audit` does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How many lies had which outcome."""

    noticed: int = 0
    fingerprint: int = 0
    inconclusive: int = 0
    free: int = 0
    survived: int = 0
    error: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Score:
        """The score of counts by outcome; an outcome that is not there counts 0."""
        return cls(**{outcome: counts.get(outcome, 0) for outcome in MEANING})

    @classmethod
    def sum(cls, scores: Iterable[Score]) -> Score:
        """All of them together."""
        known = list(scores)
        return cls(**{each.name: sum(getattr(score, each.name) for score in known) for each in fields(cls)})

    @property
    def lies(self) -> int:
        """How many lies were told."""
        return self.scored + self.inconclusive + self.free

    @property
    def caught(self) -> int:
        """How many of those that are scored were noticed."""
        return self.noticed + self.fingerprint

    @property
    def missed(self) -> int:
        """How many of those that are scored were not."""
        return self.survived + self.error

    @property
    def scored(self) -> int:
        """How many lies the score is about."""
        return self.caught + self.missed

    @property
    def share(self) -> Fraction | None:
        """The score, from 0 to 1; None if nothing is scored."""
        return Fraction(self.caught, self.scored) if self.scored else None

    @property
    def with_inconclusive(self) -> Fraction | None:
        """The score if what made a case inconclusive counted as noticed; None if there is nothing to score."""
        scored = self.scored + self.inconclusive
        return Fraction(self.caught + self.inconclusive, scored) if scored else None

    @property
    def share_free(self) -> Fraction | None:
        """Which share of all lies is free; None if none was told."""
        return Fraction(self.free, self.lies) if self.lies else None

    def is_under(self, percent: float) -> bool:
        """True if the score is less than this; nothing scored is less than anything."""
        return self.share is None or self.share * 100 < Fraction(str(percent))


def percent(share: Fraction | None) -> str:
    """`97.4 %`, rounded down, so that no score looks better than it is; `-` for none."""
    if share is None:
        return "-"
    tenths = share.numerator * 1000 // share.denominator
    return f"{tenths // 10}.{tenths % 10} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A lie with its exchange, told of one case run; `about` is what the target truly said.

    `findings` are those that the run without the lie has not.
    """

    record: Record
    lie: str
    field: str
    outcome: str
    about: str
    verdict: str
    reason: str
    steps: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]

    @property
    def kind(self) -> str:
        """The lie without its place: `seq+1`."""
        return self.lie.rpartition("@")[0]

    @property
    def where(self) -> str:
        """The case run that it was told of."""
        return name(self.record)

    @property
    def command(self) -> str:
        """What tells just this lie again."""
        return command(self.record, self.lie)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRun:
    """One case in one family and variant."""

    record: Record
    score: Score
    skipped: int
    live: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """One case, all its runs together."""

    id: str
    title: str
    score: Score
    runs: tuple[CaseRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The survivors of one kind of lie."""

    name: str
    field: str
    survivors: tuple[Told, ...]

    @property
    def cases(self) -> int:
        """How many cases did not notice it."""
        return len({told.record["id"] for told in self.survivors})


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """A kind of lie that was let pass, and why; `requirement` is "" where the cases themselves declare it."""

    lie: str
    reason: str
    requirement: str
    count: int
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All that an audit has found.

    `told` are the lies that the records tell of at length: those that survived, or with `--lie` just that one.
    `skipped` lies are alike others and were not told; of `live` ones the target itself had to play. `left_out` names
    runs that were not audited, and why; `errors` are those that ended in an error without a lie; `misused` is what was
    wrong in the words of the user.
    """

    document: Mapping[str, Any]
    score: Score
    skipped: int
    live: int
    runs: tuple[CaseRun, ...]
    cases: tuple[CaseScore, ...]
    fields: Mapping[str, Score]
    requirements: Mapping[str, Score]
    told: tuple[Told, ...]
    survivors: tuple[Told, ...]
    kinds: tuple[Kind, ...]
    freedoms: tuple[Freedom, ...]
    left_out: tuple[tuple[str, str], ...]
    errors: tuple[Record, ...]
    misused: tuple[str, ...]


def audit_of(document: Mapping[str, Any]) -> Audit:
    """What the records of a results document say of their audit; scores stand worst first."""
    records: Sequence[Record] = sorted(document["cases"], key=key)
    runs = tuple(_run(record) for record in records if "lies" in _of(record))
    told = tuple(told for run in runs for told in _told(run.record))
    survivors = tuple(one for one in told if one.outcome in SURVIVING)
    return Audit(
        document=document, score=Score.sum(run.score for run in runs), skipped=sum(run.skipped for run in runs),
        live=sum(run.live for run in runs), runs=runs, cases=_cases(runs), fields=_fields(runs),
        requirements=_requirements(runs), told=told, survivors=survivors, kinds=_kinds(survivors),
        freedoms=_freedoms(runs), left_out=(*_not_audited(records), *_not_run(document)),
        errors=tuple(record for record in records if record["verdict"] == "error"),
        misused=tuple(one_line(_of(record)["misused"]) for record in records if "misused" in _of(record)))


def exit_status(audit: Audit, *, fail_under: float | None = None, one: bool = False) -> int:
    """The status that an audit ends with; a case that fails without a lie fails no audit.

    3 if a case ended in an error, 4 if no lie was told, 1 if the score is under `fail_under`. With `one`, of one lie
    alone: 1 if it survived anywhere, 4 if not, but somewhere a case was inconclusive.
    """
    if audit.errors:
        return HARNESS
    if not audit.score.lies:
        return NOTHING_VERIFIED
    if one:
        return BROKEN if audit.survivors else NOTHING_VERIFIED if audit.score.inconclusive else CONFORMANT
    if fail_under is not None and audit.score.is_under(fail_under):
        return BROKEN if audit.score.scored else NOTHING_VERIFIED
    return CONFORMANT


def command(record: Record, lie: str) -> str:
    """What tells this lie about this case run again: the command that repeats the run, with the lie."""
    _, _, case, *rest = shlex.split(record["command"])
    return shlex.join(["tcpqual", "audit", case, "--lie", lie, *(word for word in rest if word not in _OF_RUN_ALONE)])


def marked(told: Told) -> list[dict[str, Any]]:
    """The steps of a lie, of which one is marked: the line that the lie has changed.

    Where that cannot be told, as of a segment that never came, it is the remark that the lie begins.
    """
    steps = [dict(step) for step in told.steps]
    at = next((at for at, step in enumerate(steps) if step["mark"] == "changed"), None)
    changed = None if at is None or at + 1 == len(steps) else steps[at + 1]
    if at is None or changed is None or told.kind == _DROP:
        return steps
    if "@a" in told.lie:
        found = changed["side"] == "api"
    else:
        # A segment that came only after the remark had been written is another one.
        found = changed["side"] == "target" and changed["at_ns"] <= steps[at]["at_ns"]
    if found:
        steps[at]["mark"] = ""
        changed["mark"] = changed["mark"] or "changed"
    return steps


def _of(record: Record) -> Mapping[str, Any]:
    return record.get("audit") or {}


def _not_audited(records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """The runs without a lie, but for those that have another place in the audit, and why."""
    for record in records:
        audit = _of(record)
        if record["verdict"] != "error" and "lies" not in audit and "misused" not in audit:
            yield name(record), one_line(str(audit.get("left_out") or f"{record['verdict']}: {reason(record)}"))


def _not_run(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in document["left_out"]:
        yield f"{entry['id']} {entry['family']}", one_line(entry["why"])


def _run(record: Record) -> CaseRun:
    audit = _of(record)
    return CaseRun(record=record, score=Score.of(audit["counts"]), skipped=audit["skipped"], live=audit["live"])


def _told(record: Record) -> Iterator[Told]:
    known = [_known_by(finding) for finding in record["findings"] or ()]
    for told in _of(record)["survivors"]:
        new = tuple(finding for finding in told["findings"] if _known_by(finding) not in known)
        yield Told(record=record, lie=told["lie"], field=told["field"], outcome=told["outcome"], about=told["about"],
                   verdict=told["verdict"], reason=told["reason"], steps=tuple(told["steps"]), findings=new)


def _known_by(finding: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(finding[part] for part in ("requirement", "source", "expected", "got"))


def _cases(runs: Iterable[CaseRun]) -> tuple[CaseScore, ...]:
    groups: dict[str, list[CaseRun]] = {}
    for run in runs:
        groups.setdefault(run.record["id"], []).append(run)
    cases = [CaseScore(id=id, title=group[0].record["title"], score=Score.sum(run.score for run in group),
                       runs=tuple(group)) for id, group in groups.items()]
    return tuple(sorted(cases, key=lambda case: (_place(case.score), case.id)))


def _fields(runs: Iterable[CaseRun]) -> dict[str, Score]:
    groups: dict[str, list[Score]] = {}
    for run in runs:
        for field, counts in _of(run.record)["fields"].items():
            groups.setdefault(field, []).append(Score.of(counts))
    return _worst_first(groups)


def _requirements(runs: Iterable[CaseRun]) -> dict[str, Score]:
    """A case counts in every requirement that it covers."""
    groups: dict[str, list[Score]] = {}
    for run in runs:
        for requirement in run.record["requirements"]:
            groups.setdefault(requirement, []).append(run.score)
    return _worst_first(groups)


def _worst_first(groups: Mapping[str, Iterable[Score]]) -> dict[str, Score]:
    scores = {group: Score.sum(parts) for group, parts in groups.items()}
    return dict(sorted(scores.items(), key=lambda item: (_place(item[1]), item[0])))


def _place(score: Score) -> tuple[Fraction, int]:
    """Where a score stands among others: the lowest first, of equals the one that missed more; the unscored last."""
    return (Fraction(2) if score.share is None else score.share), -score.missed


def _kinds(survivors: Iterable[Told]) -> tuple[Kind, ...]:
    groups: dict[tuple[str, str], list[Told]] = {}
    for told in survivors:
        groups.setdefault((told.kind, told.field), []).append(told)
    kinds = [Kind(name=name, field=field, survivors=tuple(group)) for (name, field), group in groups.items()]
    return tuple(sorted(kinds, key=lambda kind: (-len(kind.survivors), kind.name, kind.field)))


def _freedoms(runs: Iterable[CaseRun]) -> tuple[Freedom, ...]:
    groups: dict[str, list[tuple[int, str]]] = {}
    for run in runs:
        for text, count in _of(run.record)["free"].items():
            groups.setdefault(text, []).append((count, run.record["id"]))
    return tuple(sorted((_freedom(text, uses) for text, uses in groups.items()),
                        key=lambda freedom: (-freedom.count, freedom.lie, freedom.reason)))


def _freedom(text: str, uses: Sequence[tuple[int, str]]) -> Freedom:
    match = _FREEDOM.fullmatch(text)
    lie, why, requirement = match.group("lie", "reason", "requirement") if match else ("", text, "")
    return Freedom(lie=lie, reason=one_line(why), requirement="" if requirement == _DECLARED else requirement,
                   count=sum(count for count, _ in uses), cases=tuple(sorted({id for _, id in uses})))
