# SPDX-License-Identifier: GPL-2.0-or-later
"""The final summary on a terminal or in a log: matrix, what did not pass and why, the ledger, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from .behaviours import BEHAVIOURS, Cell, families, matrix, uncovered
from .record import FAILING, FINGERPRINT, WORST_FIRST, Record, one_line, reason, worst_first
from .results import BROKEN, CONFORMANT, HARNESS, USAGE, exit_status
from .terminal import SHORT, console, interactive, style

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_LISTED: Final = 40
"""How many lines a list may have before the rest is counted only; the report has them all."""


def print_summary(results: Mapping[str, Any], stream: TextIO, *, strict: bool = False,
                  reports: Iterable[Path | str] = (), status: int | None = None) -> None:
    """Print what a run found, the paths in `reports` and the final verdict.

    `status` is the exit status to announce where it is not the one that follows from the results.
    """
    text = StringIO()
    out = console(stream, into=text)
    cases = results["cases"]
    out.print()
    out.print(_target_line(results), style="bold", soft_wrap=True)
    if cases:
        _print_matrix(out, cases, interactive(stream))
    _print_cases(out, "To look at", [record for record in cases if record["verdict"] in FAILING])
    _print_cases(out, "Advice not kept", [record for record in cases if record["verdict"] == "advice"])
    _print_counts(out, "Known deviations, from the target's ledger", known(cases))
    _print_counts(out, "Not applicable", not_applicable(cases))
    _print_counts(out, "Left out", left_out(results))
    if line := fingerprint_line(cases):
        out.print(f"\n{line}", style="bold", soft_wrap=True)
    paths = [str(path) for path in reports]
    out.print()
    for number, path in enumerate(paths):
        out.print(f"{'' if number else 'Reports':<8}  {path}", soft_wrap=True)
    out.print(_count_line(results), soft_wrap=True)
    ends = exit_status(results, strict=strict) if status is None else status
    out.print(verdict_line(results, strict=strict, status=ends), soft_wrap=True,
              style="bold green" if ends == CONFORMANT else "bold red")
    stream.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
    stream.flush()


def verdict_line(results: Mapping[str, Any], *, strict: bool = False, status: int | None = None) -> str:
    """The last word on a run, with the exit status that says the same."""
    number = exit_status(results, strict=strict) if status is None else status
    return f"{_verdict(results['summary'], number, strict)} (exit status {number})"


def fingerprint_line(cases: Iterable[Record]) -> str:
    """How much is not as the profile pins it, in one line; "" if everything is."""
    found = [{finding["step"] for finding in record["findings"] or () if finding["source"] == FINGERPRINT}
             for record in cases]
    segments, met = sum(map(len, found)), sum(map(bool, found))
    if not met:
        return ""
    verb = "is" if segments == 1 else "are"
    return f"fingerprint: {_plural(segments, 'segment')} in {_plural(met, 'case')} {verb} not as the profile pins; " \
           "see the report"


def known(cases: Iterable[Record]) -> list[tuple[str, int]]:
    """The ledger's entries that were seen, `requirement: reason`, with how many cases met each."""
    counts: Counter[str] = Counter()
    for record in cases:
        entries = {f"{finding['requirement']}: {one_line(finding['deviation'])}"
                   for finding in record["findings"] or () if finding["deviation"] is not None}
        if not entries and record["verdict"] == "known-deviation":
            entries = {reason(record)}
        counts.update(entries)
    return sorted(counts.items())


def not_applicable(cases: Iterable[Record]) -> list[tuple[str, int]]:
    """Why cases do not apply to the target, and how many for each reason, most first."""
    return _most_first(Counter(reason(record) for record in cases if record["verdict"] == "not-applicable"))


def left_out(results: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Why cases were left out, and how many for each reason, most first."""
    return _most_first(Counter(one_line(entry["why"]) for entry in results["left_out"]))


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def target_text(target: Mapping[str, Any]) -> str:
    """`linux 6.12.1 (kernel), profile linux`, as far as it is known."""
    text = " ".join(str(target[part]) for part in ("name", "version") if target.get(part))
    if target.get("kind"):
        text += f" ({target['kind']})"
    profile = target.get("profile")
    profile = profile.get("name") if isinstance(profile, Mapping) else profile
    return one_line(text + (f", profile {profile}" if profile else "")) or "unnamed"


def _target_line(results: Mapping[str, Any]) -> str:
    run = results["run"]
    facts = [f"{part} {one_line(str(run[part]))}" for part in ("clock", "seed") if run.get(part) not in (None, "")]
    if run.get("interrupted"):
        facts.append("INTERRUPTED, recovered from its journal")
    return "  ".join([f"Target {target_text(results['target'])}", *facts])


def _print_matrix(out: Console, cases: Sequence[Record], boxed: bool) -> None:
    from rich import box
    from rich.table import Table

    kinds = families(cases)
    table = Table(box=box.SIMPLE_HEAD if boxed else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("behaviour", no_wrap=True)
    for kind in kinds:
        table.add_column(kind)
    for behaviour, row in matrix(cases).items():
        title = f"{behaviour}  {BEHAVIOURS.get(behaviour, '')}".rstrip()
        table.add_row(title, *(_cell(row.get(kind)) for kind in kinds))
    out.print()
    out.print(table)
    if missing := uncovered(cases):
        out.print(f"no case in this run: {' '.join(missing)}", style="dim")


def _cell(cell: Cell | None) -> Text:
    from rich.text import Text

    if not cell:
        return Text("-", style="dim")
    parts = [Text(f"{count} {SHORT[verdict]}", style=style(verdict)) for verdict, count in cell.items()]
    return Text(", ").join(parts)


def _print_cases(out: Console, title: str, cases: Sequence[Record]) -> None:
    """One entry for what happened in each family alike."""
    from rich.padding import Padding
    from rich.text import Text

    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for record in worst_first(cases):
        group = record["verdict"], record["id"], record["variant"] or "", reason(record)
        groups.setdefault(group, []).append(record["family"])
    if not groups:
        return
    out.print(f"\n{title}", style="bold")
    for (verdict, id, variant, why), kinds in list(groups.items())[:_LISTED]:
        where = " ".join([id, *kinds, *([f"[{variant}]"] if variant else [])])
        out.print(Text.assemble("  ", (SHORT[verdict], style(verdict)), f"  {where}"), soft_wrap=True)
        out.print(Padding(Text(why), (0, 0, 0, 8)))
    if len(groups) > _LISTED:
        out.print(f"  and {len(groups) - _LISTED} more, in the report")


def _print_counts(out: Console, title: str, counts: Sequence[tuple[str, int]]) -> None:
    from rich.table import Table

    if not counts:
        return
    out.print(f"\n{title}", style="bold")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", width=6)
    table.add_column(overflow="fold")
    for why, count in counts[:_LISTED]:
        table.add_row(str(count), why)
    out.print(table)
    if len(counts) > _LISTED:
        out.print(f"  and {len(counts) - _LISTED} more reasons, in the report")


def _count_line(results: Mapping[str, Any]) -> Text:
    from rich.text import Text

    summary = results["summary"]
    parts = [Text(f"{summary[verdict]} {SHORT[verdict]}", style=style(verdict)) for verdict in reversed(WORST_FIRST)
             if summary.get(verdict)]
    line = Text(f"{_plural(len(results['cases']), 'case')} in {results['wall_s']:.1f} s")
    if parts:
        line.append(": ").append_text(Text(", ").join(parts))
    if results["left_out"]:
        line.append(f"; {len(results['left_out'])} left out")
    return line


def _verdict(summary: Mapping[str, int], status: int, strict: bool) -> str:
    def count(verdict: str) -> int:
        return summary.get(verdict, 0)

    if status == CONFORMANT:
        extras = [_plural(count("known-deviation"), "known deviation")] if count("known-deviation") else []
        extras += [f"{_plural(count('advice'), 'SHOULD')} not kept"] if count("advice") else []
        return "CONFORMANT" + (f", with {' and '.join(extras)}" if extras else "")
    if status == BROKEN:
        parts = [_plural(count("fail"), "failure")] if count("fail") else []
        parts += [_plural(count("unexpected-pass"), "unexpected pass")] if count("unexpected-pass") else []
        parts += [f"{_plural(count('advice'), 'SHOULD')} not kept"] if strict and count("advice") else []
        return "NOT CONFORMANT" + (f": {', '.join(parts)}" if parts else "")
    if status == USAGE:
        return "NO VERDICT: the command or a module of cases is wrong, see above"
    if status == HARNESS:
        if not count("error"):
            return "NO VERDICT: the run did not come to its end"
        return f"NO VERDICT: {_plural(count('error'), 'error')} of the harness or on the way to the target"
    if count("inconclusive"):
        return f"NO VERDICT: {_plural(count('inconclusive'), 'case')} inconclusive"
    return "NOTHING VERIFIED: no case came to a verdict"


def _plural(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"
