# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts, findings, and the exceptions that end a case.

A case yields findings; its verdict is the worst of them (DESIGN, *Verdicts that can be trusted*). Only `Mismatch`
speaks about the target; errors of ours are in `harness.wire.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from .fingerprint import SOURCE

NOTHING_MORE: Final = "nothing more"
"""What a case expects at its end."""


class Verdict(Enum):
    """What a case says, worst last as far as they are comparable."""

    PASS = "pass"
    NOT_APPLICABLE = "not-applicable"
    KNOWN_DEVIATION = "known-deviation"
    ADVICE = "advice"
    INCONCLUSIVE = "inconclusive"
    UNEXPECTED_PASS = "unexpected-pass"
    FAIL = "fail"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule broken, or advice not kept, in one step; or something that is not as the profile pins it.

    `level` is the requirement's (MUST, SHOULD, MAY, ...); `source` is `case`, `oracle` or `fingerprint`, which breaks
    no rule: both its requirement and its level say so. `expected` and `got` are in the notation; `fields` are the names
    of what differs; `step` is an index into the case's steps; `deviation` is the ledger's reason if the target's
    profile knows of it.
    """

    requirement: str
    level: str
    source: str
    expected: str
    got: str
    fields: tuple[str, ...] = ()
    step: int = 0
    state: str = ""
    detail: str = ""
    deviation: str | None = None

    @property
    def binding(self) -> bool:
        """True unless it is about a MAY, or about no rule at all."""
        return self.source != SOURCE and not self.level.startswith("MAY")

    @property
    def verdict(self) -> Verdict:
        """What this finding alone makes of a case."""
        if self.source == SOURCE:
            return Verdict.PASS
        if self.deviation is not None:
            return Verdict.KNOWN_DEVIATION
        if self.level.startswith("MUST"):
            return Verdict.FAIL
        if self.level.startswith("SHOULD"):
            return Verdict.ADVICE
        return Verdict.PASS


_ORDER = list(Verdict)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict of a case that ran to its end with these findings."""
    return max((finding.verdict for finding in findings), key=_ORDER.index, default=Verdict.PASS)


class Mismatch(AssertionError):
    """The target did not do what the case demands; carries the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.requirement}: expected {finding.expected}, got {finding.got}")
        self.finding = finding


class Inconclusive(AssertionError):
    """The target could not be brought to where the case begins, or the path was not proven alive."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One line of a case's story.

    `side` is `injector`, `target`, `api` or `note`; `mark` is "" or `unexpected`, `missing`, `allowed`, `mismatch`.
    """

    at_ns: int
    side: str
    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingCheck:
    """One instant that was asserted: due, the window around it, and what was seen; all in nanoseconds."""

    what: str
    due_ns: int
    earliest_ns: int
    latest_ns: int
    got_ns: int

    @property
    def kept(self) -> bool:
        """True if the instant lies in its window."""
        return self.earliest_ns <= self.got_ns <= self.latest_ns


@dataclass(slots=True, kw_only=True)
class Story:
    """What a case has said and seen so far. `unseen` are requirements that it cannot claim, having not looked."""

    steps: list[Step] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    proof: set[str] = field(default_factory=set)
    checks: list[TimingCheck] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)

    def index(self, step: Step | None = None) -> int:
        """The place of a step in the story, the last one's by default and for a step that a case has struck out."""
        last = max(0, len(self.steps) - 1)
        return next((at for at, known in enumerate(self.steps) if known is step), last)

    def closed(self) -> Story:
        """A copy in the order in which things happened, to which nothing is added any more.

        A segment is written down when it is read off the wire, which may be after something that came later.
        """
        order = sorted(range(len(self.steps)), key=lambda at: self.steps[at].at_ns)
        place = {old: new for new, old in enumerate(order)}
        return Story(
            steps=[replace(self.steps[at]) for at in order],
            findings=[replace(finding, step=place.get(finding.step, 0)) for finding in self.findings],
            proof=set(self.proof), checks=list(self.checks), unseen=set(self.unseen))
