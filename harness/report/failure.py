# SPDX-License-Identifier: GPL-2.0-or-later
"""The failure page: what was demanded, what was seen, how it came about, and how to see it again.

Plain text without escape sequences, at most 100 columns, so that it serves as pytest's long representation and as the
text in JUnit and Allure. What a reader needs first stands first: the verdict, the rule, the two segments with the
difference marked; then the exchange that led there.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from . import ladder
from .compare import compare, unseen
from .record import FINGERPRINT, MEANING, Record, findings_of, name, one_line, reason
from .rules import Cited, Rules, cite

WIDTH: Final = 100
_INDENT: Final = "    "
_TITLES: Final = {
    "pass": "PASS", "fail": "FAIL", "advice": "ADVICE", "inconclusive": "INCONCLUSIVE",
    "not-applicable": "NOT APPLICABLE", "known-deviation": "KNOWN DEVIATION", "unexpected-pass": "UNEXPECTED PASS",
    "error": "ERROR",
}
_PROOF: Final = {"wire": "by what a probe segment draws", "api": "by the target's socket",
                 "remote": "by a command on the target"}
_SCALE: Final = 48
_LONG: Final = 80
_AROUND: Final = 12


def headline(record: Record) -> str:
    """The failure in one line: `FAIL handshake/passive::case ipv4: RFC9293-MUST-14: expected ..., got ...`."""
    return f"{title_of(record['verdict'])} {name(record)}: {reason(record)}"


def title_of(verdict: str) -> str:
    """A verdict as a heading."""
    return _TITLES.get(verdict, verdict.upper())


def page(record: Record, rules: Rules | None = None) -> str:
    """The whole page of one case, whatever its verdict; without `rules` the product's catalogue is asked.

    The exchange is drawn to its end: what came behind the first difference often says why.
    """
    blocks = [_head(record)]
    found = findings_of(record)
    for number, finding in enumerate(found):
        shown_before = {earlier["requirement"] for earlier in found[:number]}
        blocks.append(_finding(finding, record, rules, brief=finding["requirement"] in shown_before))
    if not found:
        blocks += [_rule(cite(id, rules)) for id in record["requirements"]]
    if record["steps"]:
        blocks.append(["Exchange (sequence numbers relative to each end's first, times to the first line)", "",
                       *_exchange(record["steps"], [finding["step"] for finding in found])])
    if checks := timing_lines(record):
        blocks.append(["Timing", *checks])
    if log := str(record.get("log") or "").rstrip():
        blocks.append(["Log", *(f"  {_visible(line)}" for line in log.splitlines())])
    blocks.append(_foot(record))
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block) + "\n"


def finding_lines(finding: Mapping[str, Any], *, width: int = WIDTH) -> list[str]:
    """Expected against got with the difference marked, and what no caret can show."""
    expected, got = (_visible(str(finding[side]), keep_lines=True) for side in ("expected", "got"))
    lines = compare(expected, got, finding["fields"], width=width)
    if hidden := unseen(expected, got, finding["fields"]):
        lines.append(f"{'':<10}differs: {', '.join(hidden)}")
    return lines


def timing_lines(record: Record) -> list[str]:
    """One block for each timing check: due, the window, what was seen, and a scale that shows where it lies."""
    timing = record.get("timing") or {}
    checks = timing.get("checks") or ()
    if not checks:
        return []
    lines = [f"{_INDENT}tolerance of this link, measured: {_ms(timing.get('tolerance_ns') or 0)}"]
    for check in checks:
        lines += [f"{_INDENT}{one_line(str(check['what']))}: {_judged(check)}",
                  f"{_INDENT}  due {_ms(check['due_ns'])}, allowed {_ms(check['earliest_ns'])} to "
                  f"{_ms(check['latest_ns'])}, got {_ms(check['got_ns'])}"]
        if scale := _scale(check):
            lines.append(f"{_INDENT}  {scale}")
    return lines


def kept(check: Mapping[str, Any]) -> bool:
    """True if what was timed came within its window."""
    got_ns = check["got_ns"]
    return got_ns is not None and bool(check["earliest_ns"] <= got_ns <= check["latest_ns"])


def _exchange(steps: Sequence[Mapping[str, Any]], points: Sequence[int]) -> list[str]:
    """The ladder; of a very long one the beginning, the end, and what lies around the findings."""
    drawn = ladder.lines(steps, width=WIDTH)
    if len(steps) <= _LONG:
        return [_visible(line.text) for line in drawn]
    around = [range(point - _AROUND, point + _AROUND) for point in points]
    shown = {step for part in (range(_AROUND), range(len(steps) - _AROUND, len(steps)), *around) for step in part}
    rows: list[str] = []
    gap = 0
    last: int | None = None
    for line in drawn:
        if line.step is None or line.step in shown:
            if gap:
                rows.append(f"{'':>9}  : {gap} more, left out here")
            rows.append(_visible(line.text))
            gap = 0
        elif line.step != last:
            gap += 1
        last = line.step
    return rows


def _head(record: Record) -> list[str]:
    lines = [f"{title_of(record['verdict'])}  {name(record)}"]
    lines += _wrapped(str(record["title"]), _INDENT)
    why = str(record.get("reason") or "").strip()
    lines += [line for part in why.splitlines() for line in _wrapped(_visible(part), _INDENT)]
    if record["verdict"] in ("inconclusive", "error", "unexpected-pass"):
        lines += _wrapped(f"({title_of(record['verdict']).lower()}: {MEANING[record['verdict']]})", _INDENT)
    return lines


def _finding(finding: Mapping[str, Any], record: Record, rules: Rules | None, *, brief: bool) -> list[str]:
    if finding["source"] == FINGERPRINT:
        lines = ["Fingerprint: not as the profile pins it; no rule is broken"]
    else:
        cited = cite(str(finding["requirement"]), rules)
        lines = [cited.id] if brief else _rule(cited, str(finding["level"]))
    lines.append("")
    lines += [f"{_INDENT}{line}" for line in finding_lines(finding, width=WIDTH - len(_INDENT))]
    if detail := str(finding["detail"] or "").strip():
        lines += [row for part in detail.splitlines() for row in _wrapped(_visible(part), _INDENT + " " * 10)]
    remarks = [("step", _where(finding, record["steps"]))]
    if finding["state"]:
        remarks.append(("state", f"the target is in {finding['state']}"))
    if finding["source"] == "oracle":
        remarks.append(("seen by", "the oracle, which watches every segment of every case"))
    if finding["deviation"] is not None:
        remarks.append(("known", f"in the target's ledger: {finding['deviation']}"))
    for label, text in remarks:
        lines += _labelled(label, text) if text else []
    return lines


def _rule(cited: Cited, level: str = "") -> list[str]:
    lines = ["  ".join(part for part in (cited.id, level or cited.level, cited.place) if part)]
    lines += _wrapped(cited.rule, _INDENT)
    return [*lines, f"{_INDENT}{cited.url}"] if cited.url else lines


def _where(finding: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    number = finding["step"]
    if not isinstance(number, int) or not 0 <= number < len(steps):
        return ""
    elapsed_ns = steps[number]["at_ns"] - steps[0]["at_ns"]
    return f"{number + 1} of {len(steps)}, {_ms(elapsed_ns)} after the first"


def _foot(record: Record) -> list[str]:
    rows = []
    if record["proof"]:
        rows.append(("proven", "; ".join(f"{proof} ({_PROOF[proof]})" if proof in _PROOF else proof
                                         for proof in record["proof"])))
    if record["capture"]:
        rows.append(("capture", str(record["capture"])))
        rows.append(("read it", f"tshark -r {shlex.quote(str(record['capture']))}"))
    if record["command"]:
        rows.append(("repeat", str(record["command"])))
    return [f"{label:<10}{_visible(text)}" for label, text in rows]  # never wrapped: these are copied into a shell


def _judged(check: Mapping[str, Any]) -> str:
    got_ns = check["got_ns"]
    if got_ns is None:
        return "never came"
    if kept(check):
        return "in time"
    if got_ns < check["earliest_ns"]:
        return f"{_ms(check['earliest_ns'] - got_ns)} TOO EARLY"
    return f"{_ms(got_ns - check['latest_ns'])} TOO LATE"


def _scale(check: Mapping[str, Any]) -> str:
    """`..[====|===]......x`: the window in brackets, `|` when it was due, `x` when it came."""
    got_ns = check["got_ns"]
    points: list[int] = [check["due_ns"], check["earliest_ns"], check["latest_ns"]]
    points += [] if got_ns is None else [got_ns]
    low, high = min(points), max(points)
    if high <= low:
        return ""
    pad = (high - low) // 10
    low, high = low - pad, high + pad

    def column(instant: int) -> int:
        return (instant - low) * (_SCALE - 1) // (high - low)

    first, last = column(check["earliest_ns"]), column(check["latest_ns"])
    cells = ["=" if first < at < last else "." for at in range(_SCALE)]
    cells[first], cells[last] = "[", "]"
    if first < column(check["due_ns"]) < last:
        cells[column(check["due_ns"])] = "|"
    if got_ns is not None:
        at = column(got_ns)
        if not kept(check):  # a miss too small for the scale still stands outside the brackets
            at = min(at, first - 1) if got_ns < check["earliest_ns"] else max(at, last + 1)
        elif first < last - 1:
            at = min(max(at, first + 1), last - 1)
        cells[at] = "x"
    return "".join(cells)


def _ms(value_ns: int | None) -> str:
    return "nothing" if value_ns is None else f"{value_ns / 1_000_000:.3f} ms"


def _labelled(label: str, text: str) -> list[str]:
    rows = _wrapped(_visible(text), _INDENT + " " * 10)
    return [f"{_INDENT}{label:<10}{rows[0].lstrip()}", *rows[1:]] if rows else []


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent,
                         break_on_hyphens=False)


def _visible(text: str, *, keep_lines: bool = False) -> str:
    """The text with control characters written as escapes: a page never moves a terminal's cursor."""
    return "".join(char if char.isprintable() or (keep_lines and char == "\n")
                   else "    " if char == "\t" else repr(char)[1:-1] for char in text)
