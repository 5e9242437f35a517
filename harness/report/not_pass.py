# SPDX-License-Identifier: GPL-2.0-or-later
"""What is not a pass, brought together by its reason: the rules that it breaks, and the cases that say so."""

from __future__ import annotations

from collections.abc import Iterable

from .matrix import NO_RULE, NOT_PASS, STATES, rules_of, settle
from .record import Record, key, one_line, reason


def by_reason(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """The records that are not a pass, by verdict and reason, worst first."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda record: (STATES.index(record["verdict"]), key(record))):
        if record["verdict"] in NOT_PASS:
            found.setdefault((record["verdict"], reason(record)), []).append(record)
    return found


def broken(records: Iterable[Record]) -> list[str]:
    """The rules that these cases leave unkept."""
    return list(dict.fromkeys(rule for record in records for rule in rules_of(record)
                              if rule != NO_RULE and settle(record, rule) in NOT_PASS))


def case_names(records: Iterable[Record], most: int) -> list[str]:
    """At most so many cases with their families, and how many more there are."""
    names: dict[str, dict[str, None]] = {}
    for record in records:
        variant = one_line(str(record["variant"] or ""))
        name = one_line(str(record["id"])) + (f" [{variant}]" if variant else "")
        names.setdefault(name, {})[one_line(str(record["family"]))] = None
    shown = [" ".join([name, *kinds]) for name, kinds in list(names.items())[:most]]
    return [*shown, f"and {len(names) - most} more"] if len(names) > most else shown
