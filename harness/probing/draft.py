# SPDX-License-Identifier: GPL-2.0-or-later
"""From what the probes saw to the text of a profile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ..targets.vocabulary import ENDLESS, FEATURES, LIMITS, PINS, POLICIES, TABLES, TIMERS, names
from .nagle import TABLE as NAGLE
from .subject import Seen

_FINGERPRINT: Final = "fingerprint"
_TABLES: Final = (*TABLES, _FINGERPRINT)
_ASSUMED: Final[dict[str, dict[str, Any]]] = {
    TIMERS: {"response_s": 1.0, "tick_s": 0.01, "timer_rounding": 0.125},
    POLICIES: {"timer_lateness": "part", "data_give_up": "count"},
}
"""What every run needs, and no probe measures."""
_WIDTH: Final = 48


def draft(head: Iterable[tuple[str, Any]], seen: Iterable[Seen]) -> str:
    """The profile: its head, then each table with what was seen, and how, and as comments what was not."""
    found: dict[tuple[str, str], Seen] = {}
    for each in seen:
        known = found.get((each.table, each.name))
        if known is None or known.value is None:
            found[each.table, each.name] = each
    lines = ["# A first profile, as `tcpqual profile new` measured it. Hold it against the stack's manual: what a",
             "# probe sees once is not what its makers promise. Names and units: `tcpqual profile terms`.", ""]
    lines += [f"{key} = {_toml(value)}" for key, value in head]
    for table in _TABLES:
        lines += ["", f"[{table}]", *_table(table, found)]
    lines += _of_the_way(found)
    return "\n".join(lines) + "\n"


def _of_the_way(found: dict[tuple[str, str], Seen]) -> Iterator[str]:
    """What belongs to the way to the target and not to the stack: for the file that has that way."""
    if told := [seen for (table, _), seen in found.items() if table == NAGLE]:
        yield from ("", f"# For the table [{NAGLE}] of the target's file:")
    for seen in told:
        yield f"# {seen.name}: not seen: {seen.how}" if seen.value is None else \
            f"{f'# {seen.name} = {_toml(seen.value)}':<{_WIDTH}}# {seen.how}"


def _table(table: str, found: dict[tuple[str, str], Seen]) -> Iterator[str]:
    ordered = tuple(term.name for term in PINS) if table == _FINGERPRINT else names(table)
    for name in ordered:
        seen = found.get((table, name))
        if seen is not None and seen.value is not None:
            line = f"{name} = {_toml(seen.value)}"
            if len(line) > _WIDTH:
                yield f"# {seen.how}"
                yield line
            else:
                yield f"{line:<{_WIDTH}}# {seen.how}"
        elif name in _ASSUMED.get(table, {}):
            yield f"{f'{name} = {_toml(_ASSUMED[table][name])}':<{_WIDTH}}# assumed, not measured"
        elif seen is not None:
            yield f"# {name}: not seen: {seen.how}"
        elif table in (FEATURES, TIMERS, LIMITS, POLICIES):
            yield f"# {name}: not measured"


def _toml(value: Any) -> str:
    """A value as TOML; JSON's text, numbers and lists are TOML's too."""
    if value == ENDLESS:
        return "inf"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
