# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CI service shows of a run: a step summary, annotations of the log, a code quality report.

`tcpqual run --ci` writes `summary.md` and `code-quality.json` beside the results wherever it runs. On GitHub Actions it
also prints annotations and adds the summary to the step's; GitLab takes the JUnit file and the code quality report as
the artefacts that its examples name.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from ..wire.errors import UsageError
from .failure import page
from .record import FAILING, WORST_FIRST, Record, one_line, reason, worst_first
from .summary import known, left_out, not_applicable, target_text, verdict_line

SUMMARY: Final = "summary.md"
CODE_QUALITY: Final = "code-quality.json"

_ANNOTATIONS: Final = 10
"""GitHub shows so many of a step, and drops the rest in silence."""

_PAGES: Final = 20
_ROWS: Final = 100
_MOST_OCTETS: Final = 900_000
"""GitHub refuses a step summary of more than 1 MiB, for all steps of a job together."""


def publish(results: Mapping[str, Any], folder: Path, environment: Mapping[str, str], stream: TextIO, *,
            strict: bool = False, status: int = 0) -> list[Path]:
    """Write the files beside the results, and tell the service that the environment speaks of.

    Returns the files. Raises UsageError if one cannot be written.
    """
    text = summary(results, strict=strict, status=status)
    files = {folder / SUMMARY: text,
             folder / CODE_QUALITY: json.dumps(code_quality(results, strict=strict), indent=1) + "\n"}
    for file, content in files.items():
        _write(file, content)
    if environment.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands(results, strict=strict):
            print(line, file=stream)
        if place := environment.get("GITHUB_STEP_SUMMARY"):
            _write(Path(place), text, append=True)
    return list(files)


def _write(file: Path, text: str, *, append: bool = False) -> None:
    try:
        with file.open("a" if append else "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError(f"--ci: {file}: cannot be written: {error.strerror}") from None


# -- the summary ------------------------------------------------------------------------------------------------------


def summary(results: Mapping[str, Any], *, strict: bool = False, status: int | None = None) -> str:
    """The run as Markdown: the verdict, the counts, what did not pass with its exchange, and why the rest has none."""
    counts = results["summary"]
    lines = [f"## tcpqual: {_cell(target_text(results['target']))}", "",
             f"**{_cell(verdict_line(results, strict=strict, status=status))}**", ""]
    shown = [verdict for verdict in reversed(WORST_FIRST) if counts.get(verdict)]
    if shown:
        lines += ["| " + " | ".join(shown) + " |", "|" + "---:|" * len(shown),
                  "| " + " | ".join(str(counts[verdict]) for verdict in shown) + " |", ""]
    lines += _table("To look at", _red(results, strict))
    lines += _pages(_red(results, strict))
    if not strict:
        lines += _table("Advice not kept", [record for record in results["cases"] if record["verdict"] == "advice"])
    for title, entries in (("Known deviations, from the target's ledger", known(results["cases"])),
                           ("Not applicable", not_applicable(results["cases"])), ("Left out", left_out(results))):
        lines += _counted(title, entries)
    return _limited(lines)


def _red(results: Mapping[str, Any], strict: bool) -> list[Record]:
    wanted = (*FAILING, "advice") if strict else FAILING
    return worst_first(record for record in results["cases"] if record["verdict"] in wanted)


def _table(title: str, records: Sequence[Record]) -> list[str]:
    """A row for each case; its families and variants stand in it together where they say the same."""
    if not records:
        return []
    rows: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in records:
        place = record["family"] + (f" {record['variant']}" if record["variant"] else "")
        rows[record["verdict"], record["id"], reason(record)].append(place)
    lines = [f"### {title}", "", "| verdict | case | in | what |", "|---|---|---|---|"]
    for (verdict, case, why), places in list(rows.items())[:_ROWS]:
        lines.append(f"| {verdict} | {_code(case)} | {_cell(', '.join(places))} | {_cell(why)} |")
    if len(rows) > _ROWS:
        lines.append(f"| | and {len(rows) - _ROWS} more, in the report | | |")
    return [*lines, ""]


def _pages(records: Sequence[Record]) -> list[str]:
    """The failure page of each case, of one family where both say the same."""
    lines: list[str] = []
    once = {(record["id"], record["variant"], record["verdict"]): record for record in reversed(records)}
    for record in worst_first(once.values())[:_PAGES]:
        name = _html(f"{record['id']} {record['family']} {record['variant']}".strip())
        text = page(record)
        fence = "`" * max(3, _longest_run(text) + 1)
        lines += ["<details>", f"<summary>{name}</summary>", "", f"{fence}text", text, fence, "", "</details>", ""]
    return lines


def _counted(title: str, entries: Sequence[tuple[str, int]]) -> list[str]:
    if not entries:
        return []
    total = sum(count for _, count in entries)
    return ["<details>", f"<summary>{title}: {total}</summary>", "", "| cases | why |", "|---:|---|",
            *(f"| {count} | {_cell(why)} |" for why, count in entries[:_ROWS]),
            *([f"| | and {len(entries) - _ROWS} more |"] if len(entries) > _ROWS else []), "", "</details>", ""]


def _limited(lines: Sequence[str]) -> str:
    """As many lines as the service takes; what is cut off says so. A table or a page is never left open."""
    text = "\n".join(lines) + "\n"
    if len(text.encode()) <= _MOST_OCTETS:
        return text
    kept, size, whole = [], 0, 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > _MOST_OCTETS:
            break
        kept.append(line)
        if line in ("", "</details>"):
            whole = len(kept)
    kept = kept[:whole]
    if kept.count("<details>") > kept.count("</details>"):
        kept = kept[:len(kept) - kept[::-1].index("<details>") - 1]
    return "\n".join(kept) + "\n\nThe rest is in the report.\n"


def _cell(text: str) -> str:
    """Text in a table's cell: one line in which nothing is markup."""
    escaped = _html(one_line(text)).replace("\\", "\\\\")
    for sign in "|*_`[]":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


def _code(text: str) -> str:
    return f"<code>{_html(one_line(text)).replace('|', '&#124;')}</code>"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _longest_run(text: str) -> int:
    longest = run = 0
    for letter in text:
        run = run + 1 if letter == "`" else 0
        longest = max(longest, run)
    return longest


# -- what the services read -------------------------------------------------------------------------------------------


def workflow_commands(results: Mapping[str, Any], *, strict: bool = False) -> list[str]:
    """GitHub's workflow commands, an error a case that failed and a warning for advice, worst first."""
    found = [(record, "error") for record in _red(results, strict)]
    if not strict:
        found += [(record, "warning") for record in results["cases"] if record["verdict"] == "advice"]
    lines: dict[tuple[str, str, str], Record] = {}
    for record, level in found:
        # One case in both families is one line.
        lines.setdefault((level, record["id"], reason(record)), record)
    texts = [_annotation(level, f"{record['verdict']}: {record['id']}", f"{reason(record)} ({record['command']})")
             for (level, _, _), record in lines.items()]
    if len(texts) <= _ANNOTATIONS:
        return texts
    more = len(texts) - _ANNOTATIONS + 1
    return [*texts[:_ANNOTATIONS - 1], f"::warning title=tcpqual::{more} more, in the summary of this step"]


def _annotation(level: str, title: str, text: str) -> str:
    return f"::{level} title={_property(title)}::{_message(text)}"


def _message(text: str) -> str:
    return one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def code_quality(results: Mapping[str, Any], *, strict: bool = False) -> list[dict[str, Any]]:
    """GitLab's code quality report: an issue a case that failed, whose fingerprint stays the same from run to run."""
    issues = []
    for record in _red(results, strict):
        topic, _, function = record["id"].partition("::")
        name = f"{record['id']}/{record['family']}/{record['variant']}"
        severity = "minor" if record["verdict"] == "advice" else "critical" if record["verdict"] == "error" else "major"
        folder, _, module = topic.partition("/")
        issues.append({
            "description": one_line(f"{record['verdict']}: {function} {record['family']}: {reason(record)}"),
            "check_name": next(iter(record["requirements"]), "tcpqual"), "severity": severity,
            "fingerprint": hashlib.sha256(name.encode()).hexdigest(),
            "location": {"path": f"cases/{folder}/test_{module}.py", "lines": {"begin": 1}},
        })
    return issues
