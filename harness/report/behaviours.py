# SPDX-License-Identifier: GPL-2.0-or-later
"""The founding behaviours by id, as matrix and summary name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .record import WORST_FIRST

BEHAVIOURS: Final = {
    "B-01": "Three-way handshake, target passive",
    "B-02": "Three-way handshake, target active",
    "B-03": "Sequence accounting",
    "B-04": "Header fields",
    "B-05": "Initial sequence numbers",
    "B-06": "SYN options",
    "B-07": "Simultaneous open",
    "B-08": "SYN retries",
    "B-09": "Half-open, third ACK withheld",
    "B-10": "SYN flood",
    "B-11": "Connection limit",
    "B-12": "Keepalive, target answers",
    "B-13": "Keepalive, target sends",
    "B-14": "Peer crashed",
    "B-15": "Peer crashed and came back",
    "B-16": "Peer unreachable",
    "B-17": "Normal close, target passive",
    "B-18": "Normal close, target active",
    "B-19": "Half close",
    "B-20": "FIN and ACK merged",
    "B-21": "Simultaneous close",
    "B-22": "TIME-WAIT",
    "B-23": "Every state reached and recognised",
    "B-24": "Reset on a closed port",
    "B-25": "Abort, and receipt of RST",
    "B-26": "Old duplicate SYN",
    "B-27": "UDP on a closed port",
    "B-28": "Forged fragments",
}
"""Those that cases check; B-29 to B-31 are commands, captures and profiles."""

OTHER: Final = "other"
"""The row of cases that name no behaviour."""

Cell = dict[str, int]
"""How many cases have each verdict; only verdicts that occur, worst first."""


def matrix(cases: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Cell]]:
    """Behaviour id -> family -> verdict counts, in order of id; a case counts in every behaviour it names."""
    counts: dict[str, dict[str, Cell]] = {}
    for record in cases:
        for behaviour in record["behaviours"] or (OTHER,):
            cell = counts.setdefault(behaviour, {}).setdefault(record["family"], {})
            cell[record["verdict"]] = cell.get(record["verdict"], 0) + 1
    return {
        behaviour: {family: dict(sorted(cell.items(), key=lambda item: WORST_FIRST.index(item[0])))
                    for family, cell in sorted(counts[behaviour].items())}
        for behaviour in sorted(counts, key=lambda name: (name == OTHER, name))
    }


def families(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """The families that occur, sorted."""
    return sorted({record["family"] for record in cases})


def uncovered(cases: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """The behaviours that no case of this run was about."""
    seen = {behaviour for record in cases for behaviour in record["behaviours"]}
    return [behaviour for behaviour in BEHAVIOURS if behaviour not in seen]
