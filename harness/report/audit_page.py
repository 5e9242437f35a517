# SPDX-License-Identifier: GPL-2.0-or-later
"""One self-contained HTML page out of an audited run: scores, survivors with their exchanges, freedoms.

It needs no script and fetches nothing. Survivors that differ in nothing but the family and the instants are shown once,
with the command of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import ladder
from .audit import MEANING, Audit, CaseScore, Score, Told, audit_of, marked, percent
from .audit_summary import score_line, told_line, verdicts
from .drafts import draft_of
from .failure import finding_lines
from .record import FINGERPRINT, name, one_line, reason
from .results import load
from .rules import Rules, cite
from .summary import target_text
from .templates import template

TEMPLATE: Final = "audit.html.j2"

_LINE_CLASSES: Final = {"changed": "bad", "unexpected": "bad", "missing": "bad", "mismatch": "bad", "allowed": "quiet"}
_LONG: Final = 60
_AROUND: Final = 12
"""Of an exchange of more steps than `_LONG`: so many at its beginning, its end, and around the changed line."""


def write_audit_page(results: Mapping[str, Any] | Path, path: Path, *, rules: Rules | None = None) -> Path:
    """Write the page of an audited run, or of the file that holds one, to `path`; returns `path`.

    `UsageError` if the file is no results file.
    """
    document = results if isinstance(results, Mapping) else load(results)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = template(TEMPLATE).render(audit_context(audit_of(document), rules=rules))
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def audit_context(audit: Audit, *, rules: Rules | None = None) -> dict[str, Any]:
    """What the template is given."""
    run = audit.document["run"]
    facts = [(word.capitalize(), one_line(str(run[word]))) for word in ("tool", "kernel", "clock", "seed")
             if run.get(word) not in (None, "")]
    if run.get("interrupted"):
        facts.append(("Interrupted", "the run did not end; this is what its journal held"))
    groups = _groups(audit.survivors)
    return {
        "target": target_text(audit.document["target"]),
        "score": percent(audit.score.share),
        "score_line": score_line(audit),
        "told_line": told_line(audit),
        "facts": [*facts, ("Run", f"{audit.document['wall_s']:.1f} s")],
        "outcomes": [{"name": outcome, "count": getattr(audit.score, outcome), "meaning": meaning}
                     for outcome, meaning in MEANING.items()],
        "share_free": percent(audit.score.share_free),
        "heads": tuple(MEANING),
        "fields": [(field, _row(score)) for field, score in audit.fields.items()],
        "kinds": [{"name": kind.name, "field": kind.field, "count": len(kind.survivors), "cases": kind.cases,
                   "links": _links(kind.survivors)} for kind in audit.kinds],
        "cases": [_case(case, bool(groups.get(case.id))) for case in audit.cases],
        "requirements": [(cite(id, rules), _row(score)) for id, score in audit.requirements.items()],
        "survivors": [{"id": case.id, "anchor": _anchor(case.id), "title": case.title,
                       "lies": [_lie(group) for group in groups[case.id]]}
                      for case in audit.cases if case.id in groups],
        "many": len(audit.survivors),
        "freedoms": [{"lie": freedom.lie, "count": freedom.count, "reason": freedom.reason,
                      "rule": cite(freedom.requirement, rules) if freedom.requirement else None,
                      "cases": freedom.cases} for freedom in audit.freedoms],
        "left_out": _reasons(audit.left_out),
        "errors": [(name(record), reason(record)) for record in audit.errors],
    }


def _anchor(id: str) -> str:
    """The fragment that leads to the survivors of a case."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", id)


def _row(score: Score) -> dict[str, Any]:
    return {"score": percent(score.share), "missed": score.missed, "lies": score.lies,
            "counts": [getattr(score, outcome) for outcome in MEANING]}


def _case(case: CaseScore, survivors: bool) -> dict[str, Any]:
    runs = [(" ".join(filter(None, (run.record["family"], run.record["variant"]))), run.record["verdict"],
             percent(run.score.share), run.score.missed) for run in case.runs]
    return {"id": case.id, "anchor": _anchor(case.id) if survivors else "", "row": _row(case.score), "runs": runs}


def _links(survivors: Iterable[Told]) -> list[tuple[str, str]]:
    """The cases in which they survived, and where the page has them."""
    return [(id, _anchor(id)) for id in sorted({told.record["id"] for told in survivors})]


def _groups(survivors: Iterable[Told]) -> dict[str, list[list[Told]]]:
    """By case, those together that differ only in where and when they were told."""
    groups: dict[str, dict[tuple[Any, ...], list[Told]]] = {}
    for told in survivors:
        drawn = tuple((step["side"], step["text"], step["mark"]) for step in told.steps)
        alike = told.lie, told.outcome, told.about, told.record["variant"], told.verdict, told.reason, drawn
        groups.setdefault(told.record["id"], {}).setdefault(alike, []).append(told)
    return {id: list(alike.values()) for id, alike in groups.items()}


def _lie(group: Sequence[Told]) -> dict[str, Any]:
    told = group[0]
    findings = [{"word": "fingerprint, no rule is broken" if finding["source"] == FINGERPRINT
                 else finding["requirement"], "text": "\n".join(finding_lines(finding))} for finding in told.findings]
    return {"lie": told.lie, "field": told.field, "outcome": told.outcome, "about": one_line(told.about),
            "families": " ".join(dict.fromkeys(one.record["family"] for one in group)),
            "variant": told.record["variant"] or "", "verdict": verdicts(told), "findings": findings,
            "ladder": _drawn(told), "commands": "\n".join(one.command for one in group)}


def _drawn(told: Told) -> list[tuple[str, str]]:
    """The ladder line by line with the class of each; of a very long one what lies around the lie."""
    steps = marked(told)
    point = next((at for at, step in enumerate(steps) if step["mark"] == "changed"), 0)
    shown = {at for part in (range(_AROUND), range(point - _AROUND, point + _AROUND),
                             range(len(steps) - _AROUND, len(steps))) for at in part}
    drawn: list[tuple[str, str]] = []
    gap: set[int] = set()
    for line in ladder.lines(steps):
        if len(steps) > _LONG and line.step is not None and line.step not in shown:
            gap.add(line.step)
            continue
        if gap:
            drawn.append(("quiet", f"{'':>9}  : {len(gap)} more, left out here"))
            gap.clear()
        quiet = "head" if line.step is None else "quiet" if line.side == "note" else ""
        drawn.append((_LINE_CLASSES.get(line.mark, quiet), line.text))
    return drawn


def _reasons(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Names by the reason they share."""
    reasons: dict[str, list[str]] = {}
    for who, why in pairs:
        reasons.setdefault(why, []).append(who)
    return sorted(reasons.items())
