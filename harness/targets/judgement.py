# SPDX-License-Identifier: GPL-2.0-or-later
"""From what a case has found to its verdict, with the target's ledger of known deviations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..lower.fingerprint import SOURCE
from ..lower.verdict import NOTHING_MORE, Finding, Inconclusive, Mismatch, Verdict, worst
from ..requirements import load
from ..upper.base import NotApplicable
from ..wire.errors import TargetError
from .ledger import Deviation, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A case's verdict, the reason in one line, and its findings with what the ledger says of them."""

    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]


_SEEN = frozenset(("wire", "sentinel", "remote"))
"""The proofs that a target's own segment gives; what its socket API says is not enough for a pass (DESIGN, rule 1)."""


def judge(findings: Sequence[Finding], error: BaseException | None, *, ledger: Ledger, case_id: str, family: str,
          version: str, proof: Collection[str]) -> Judgement:
    """The verdict of a case that ended with these findings, and with this exception or none.

    `proof` says how the story proves what it tells: a case in which nothing of the target was seen passes nothing.
    A ledger entry that names the case and was not met is an unexpected pass, if the case ran to its end without any
    other finding. A mismatch ends its case before all was looked at; held against a MAY alone it says that the target
    does not do what it need not, and that makes the case not applicable, never a pass. What the case leaves out does
    not excuse what it has found before, and neither does a target that could not be brought to where the case begins:
    a MUST that the oracle saw broken on the way is a failure. What is not as the profile pins it has no say in this.
    A target that dies is an error, unless the ledger knows that it dies in this case, and how.
    """
    known = explanations(findings, ledger, case_id, family, version)
    ruled = tuple(finding for finding in known if finding.source != SOURCE)
    verdict = worst(ruled)
    if isinstance(error, NotApplicable) and verdict is not Verdict.FAIL:
        return Judgement(verdict=Verdict.NOT_APPLICABLE, reason=str(error), findings=known)
    if isinstance(error, Inconclusive) and verdict is not Verdict.FAIL:
        return Judgement(verdict=Verdict.INCONCLUSIVE, reason=str(error), findings=known)
    if isinstance(error, TargetError) and (known_end := ledger.end(case_id, family, version, str(error))) is not None:
        ended = Finding(requirement=known_end.requirement, level=str(load().get(known_end.requirement).level),
                        source="case", expected="a target that lives", got=str(error), deviation=known_end.reason)
        decisive_end = ended if verdict in (Verdict.PASS, Verdict.KNOWN_DEVIATION) else _decisive(ruled, verdict)
        return Judgement(verdict=decisive_end.verdict, reason=_reason(decisive_end), findings=(*known, ended))
    if error is not None and not isinstance(error, (Mismatch, NotApplicable, Inconclusive)):
        return Judgement(verdict=Verdict.ERROR, reason=f"{type(error).__name__}: {error}", findings=known)
    if verdict is not Verdict.PASS:
        return Judgement(verdict=verdict, reason=_reason(_decisive(ruled, verdict)), findings=known)
    if not ruled and not _SEEN & set(proof):
        return Judgement(verdict=Verdict.INCONCLUSIVE, findings=known,
                         reason="the case demanded no segment of the target, so nothing was seen that could pass")
    if isinstance(error, Mismatch):
        return Judgement(verdict=Verdict.NOT_APPLICABLE, reason=_reason(error.finding), findings=known)
    due = ledger.due(case_id, family, version)
    if due and not ruled:
        return Judgement(verdict=Verdict.UNEXPECTED_PASS, findings=known,
                         reason=f"the ledger expects a deviation that did not happen: {due[0].reason}")
    return Judgement(verdict=verdict, reason=_reason(ruled[0]) if ruled else "", findings=known)


def _decisive(ruled: Sequence[Finding], verdict: Verdict) -> Finding:
    """What the case itself demanded says more than what the oracle noticed on the way."""
    return min((finding for finding in ruled if finding.verdict is verdict),
               key=lambda finding: finding.source != "case")


def explanations(findings: Sequence[Finding], ledger: Ledger, case_id: str, family: str,
                 version: str) -> tuple[Finding, ...]:
    """The findings with the ledger's reasons, as far as it knows of them.

    An entry knows one answer to one step, and what comes behind it at once if it says so: the same once more is another
    thing.
    """
    told: list[Finding] = []
    followed: list[Deviation] = []
    for finding in findings:
        known = entry_for(finding, ledger, case_id, family, version)
        if known is not None:
            followed.append(known)
        elif finding.expected == NOTHING_MORE:
            known = next((entry for entry in followed if entry.more and entry.more.fullmatch(finding.got)), None)
            if known is not None:
                followed.remove(known)
        told.append(finding if known is None else replace(finding, deviation=known.reason))
    return tuple(told)


def entry_for(finding: Finding, ledger: Ledger, case_id: str, family: str, version: str) -> Deviation | None:
    """What the ledger knows of this finding alone."""
    if finding.source == SOURCE or finding.expected == NOTHING_MORE:
        return None
    return ledger.match(requirement=finding.requirement, case_id=case_id, state=finding.state, got=finding.got,
                        version=version, family=family)


def _reason(finding: Finding) -> str:
    if finding.deviation is not None:
        return finding.deviation
    return f"{finding.requirement}: expected {finding.expected}, got {finding.got}"
