# SPDX-License-Identifier: GPL-2.0-or-later
"""What an audit has found, on a terminal or in a log: scores, the worst cases, what survived; or one lie alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from . import ladder
from .audit import MEANING, Audit, Freedom, Told, marked, percent
from .failure import finding_lines
from .record import FINGERPRINT, name, one_line, reason
from .results import BROKEN, CONFORMANT, HARNESS
from .summary import target_text
from .terminal import console

if TYPE_CHECKING:
    from rich.console import Console

_WORST: Final = 15
"""How many cases and requirements are listed; the page has them all."""
_LISTED: Final = 40
_WORDS: Final = {"noticed": "NOTICED", "fingerprint": "NOTICED, as a fingerprint", "inconclusive": "INCONCLUSIVE",
                 "free": "FREE", "survived": "SURVIVED", "error": "ERROR"}

Row = Sequence[str]


def print_audit(audit: Audit, stream: TextIO, *, reports: Iterable[Path | str] = (), fail_under: float | None = None,
                status: int = CONFORMANT) -> None:
    """Print the scores, the survivors by kind, the paths in `reports`, and what `status` means."""
    text = StringIO()
    out = console(stream, into=text)
    out.print()
    out.print(_target_line(audit.document), style="bold", soft_wrap=True)
    _print_outcomes(out, audit)
    _print_table(out, "Worst cases", ("score", "missed", "case"), [
        (percent(case.score.share), str(case.score.missed), case.id) for case in audit.cases if case.score.missed],
        most=_WORST)
    _print_table(out, "By field", ("score", "missed", "lies", "field"), [
        (percent(score.share), str(score.missed), str(score.lies), field) for field, score in audit.fields.items()])
    _print_table(out, "Worst requirements", ("score", "missed", "requirement"), [
        (percent(score.share), str(score.missed), requirement) for requirement, score in audit.requirements.items()
        if score.missed], most=_WORST)
    _print_kinds(out, audit)
    _print_table(out, "Free", ("lies", "kind", "why"), [
        (str(freedom.count), freedom.lie, freedom_text(freedom)) for freedom in audit.freedoms])
    _print_table(out, "Not audited", ("runs", "why"), [
        (str(count), why) for why, count in Counter(why for _, why in audit.left_out).most_common()])
    _print_table(out, "Errors, before any lie", ("case", "why"), [
        (name(record), reason(record)) for record in audit.errors])
    out.print()
    for number, path in enumerate(reports):
        out.print(f"{'' if number else 'Reports':<8}  {path}", soft_wrap=True)
    out.print(score_line(audit), soft_wrap=True)
    out.print(f"{_verdict(audit, fail_under, status)} (exit status {status})", soft_wrap=True,
              style="bold green" if status == CONFORMANT else "bold red")
    _write(stream, text.getvalue())


def print_lie(audit: Audit, stream: TextIO, *, status: int) -> None:
    """Print what became of one lie in each case run: what was said truly, what was found, the exchange."""
    blocks = [lie_page(told) for told in audit.told]
    if left_out := [*audit.left_out,
                    *((name(record), f"error: {reason(record)}") for record in audit.errors),
                    *(("", line) for line in audit.misused)]:
        blocks.append("\n".join(["Not told", *(f"  {': '.join(filter(None, pair))}" for pair in left_out)]))
    counts = ", ".join(f"{getattr(audit.score, outcome)} {outcome}" for outcome in MEANING
                       if getattr(audit.score, outcome))
    blocks.append(f"Told {_times(audit.score.lies)}{f': {counts}' if counts else ''} (exit status {status})")
    _write(stream, "".join(f"\n{block}\n" for block in blocks))


def lie_page(told: Told, *, width: int = ladder.WIDTH) -> str:
    """One lie: what became of it, the truth, the verdict with it, and the exchange with the changed line marked."""
    rows = [f"{_WORDS.get(told.outcome, told.outcome.upper())}  {told.lie}  {told.where}",
            f"    field     {told.field}",
            f"    truly     {told.about}",
            f"    verdict   {verdicts(told)}"]
    for finding in told.findings:
        word = "fingerprint, no rule is broken" if finding["source"] == FINGERPRINT else finding["requirement"]
        rows += ["", f"    {word}", *(f"      {line}" for line in finding_lines(finding, width=width - 6))]
    rows += ["", *(line.text for line in ladder.lines(marked(told), width=width))]
    return "\n".join(_visible(row).rstrip() for row in [*rows, "", f"repeat    {told.command}"])


def verdicts(told: Told) -> str:
    """The verdict with the lie and that without it."""
    if told.verdict == told.record["verdict"]:
        return f"{told.verdict}, as without the lie"
    why = one_line(str(told.reason or ""))
    return f"{told.verdict}; {told.record['verdict']} without the lie" + (f": {why}" if why else "")


def score_line(audit: Audit) -> str:
    """How many lies were told, and how many of those that are scored were noticed."""
    score = audit.score
    line = f"{score.caught:,} of {score.scored:,} lies noticed: {percent(score.share)}"
    if score.inconclusive:
        line += f"; {percent(score.with_inconclusive)} if {score.inconclusive:,} inconclusive ones counted as noticed"
    return line


def told_line(audit: Audit) -> str:
    """What was told, and what was not."""
    lies, runs, cases = audit.score.lies, len(audit.runs), len(audit.cases)
    line = f"{lies:,} {_plural(lies, 'lie')} about {runs:,} {_plural(runs, 'run')} of {cases:,} " \
           f"{_plural(cases, 'case')}"
    line += f", {audit.live:,} of them told to the target itself, the others to its recorded run" if lies else ""
    return line + (f"; {audit.skipped:,} more are alike and were left out (--all tells them)" if audit.skipped else "")


def freedom_text(freedom: Freedom) -> str:
    """Why a lie may pass, and who says so."""
    by = freedom.requirement or f"declared by {', '.join(freedom.cases)}"
    return f"{freedom.reason} ({by})"


def _print_outcomes(out: Console, audit: Audit) -> None:
    score = audit.score
    out.print(told_line(audit))
    rows = [(f"{getattr(score, outcome):,}", outcome, meaning + (
        f": {percent(score.share_free)} of all lies" if outcome == "free" and score.free else ""))
        for outcome, meaning in MEANING.items()]
    _print_table(out, "", ("lies", "outcome", ""), rows)


def _print_kinds(out: Console, audit: Audit) -> None:
    """The kinds that survived, most first, each with the command that tells one of them again."""
    if not audit.kinds:
        return
    out.print("\nSurvivors by kind of lie, and one of each", style="bold")
    wide = max(len(kind.name) for kind in audit.kinds)
    for kind in audit.kinds[:_LISTED]:
        cases = f"in {kind.cases} {_plural(kind.cases, 'case')}"
        out.print(f"{len(kind.survivors):>6}  {kind.name:<{wide}}  {cases}", soft_wrap=True)
        # Never wrapped: it is copied into a shell.
        out.print(f"        {kind.survivors[0].command}", soft_wrap=True, style="dim")
    if len(audit.kinds) > _LISTED:
        out.print(f"  and {len(audit.kinds) - _LISTED} more, in the audit's page")


def _print_table(out: Console, title: str, heads: Row, rows: Sequence[Row], *, most: int = _LISTED) -> None:
    """A table whose figures stand right and whose last column takes what room there is."""
    from rich.table import Table

    if not rows:
        return
    out.print(f"\n{title}" if title else "", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, head in enumerate(heads):
        figures = head in ("lies", "cases", "runs", "score", "missed")
        table.add_column(head, justify="right" if figures else "left", no_wrap=number < len(heads) - 1,
                         overflow="fold", min_width=6 if figures else None)
    for row in rows[:most]:
        table.add_row(*row)
    out.print(table)
    if len(rows) > most:
        out.print(f"  and {len(rows) - most} more, in the audit's page")


def _verdict(audit: Audit, fail_under: float | None, status: int) -> str:
    if status == HARNESS:
        many = f"{len(audit.errors)} {_plural(len(audit.errors), 'error')} of the harness or on the way to the target"
        return f"NO SCORE TO RELY ON: {many if audit.errors else 'the run did not come to its end'}"
    if status == BROKEN:
        return f"TOO FEW LIES NOTICED: {percent(audit.score.share)}, and --fail-under wants {fail_under:g} %"
    if status == CONFORMANT:
        return f"AUDITED: {len(audit.survivors):,} {_plural(len(audit.survivors), 'survivor')}"
    return "NOTHING AUDITED: no lie was told of which the score could be made"


def _target_line(document: Mapping[str, Any]) -> str:
    run = document["run"]
    facts = [f"{part} {one_line(str(run[part]))}" for part in ("clock", "seed") if run.get(part) not in (None, "")]
    return "  ".join([f"Audit of the cases against {target_text(document['target'])}", *facts])


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _visible(text: str) -> str:
    """Control characters as escapes: no text of a target moves a terminal's cursor."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _write(stream: TextIO, text: str) -> None:
    stream.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))
    stream.flush()
