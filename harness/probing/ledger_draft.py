# SPDX-License-Identifier: GPL-2.0-or-later
"""From the findings of a run to the ledger entries that would know them, but for what a person has to say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..report.record import FINGERPRINT, Record
from ..targets.ledger import TO_WRITE

_VERDICTS: Final = ("fail", "advice")
_VARYING: Final = (
    (re.compile(r"TS val \d+"), r"TS val \\d+"),
    (re.compile(r"ecr [1-9]\d*"), r"ecr \\d+"),
    (re.compile(r"after \d+\\\.\d+ s"), r"after \\d+\\.\\d+ s"),
)
"""What differs from run to run in what was got: the clock of time stamps, and measured times."""


def draft(results: Mapping[str, Any]) -> str:
    """The entries as TOML; "" if nothing failed. Reason and evidence are left to write, or no profile takes them."""
    cases: Sequence[Record] = results["cases"]
    return "\n".join(_entries(cases, str(results["target"].get("version") or "")))


def _entries(cases: Sequence[Record], version: str) -> Iterator[str]:
    ran: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    met: defaultdict[tuple[str, str, str, str], dict[tuple[str, str], Record]] = defaultdict(dict)
    for record in cases:
        place = record["family"], record["variant"]
        ran[record["id"]].add(place)
        if record["verdict"] not in _VERDICTS:
            continue
        for finding in record["findings"]:
            if finding["deviation"] is None and finding["source"] != FINGERPRINT:
                met[finding["requirement"], record["id"], _pattern(finding["got"]), finding["state"]][place] = record
    for (requirement, case, got, state), places in sorted(met.items()):
        for glob, family, record in _globs(case, places, ran[case]):
            yield _entry(requirement, glob, family, got, state, version, record)


def _globs(case: str, met: Mapping[tuple[str, str], Record],
           ran: set[tuple[str, str]]) -> Iterator[tuple[str, str, Record]]:
    """Case and family of as few entries as name just these runs: an entry that names another would expect it there."""
    variants = {variant for _, variant in ran}
    first = next(iter(met.values()))
    if met.keys() == ran:
        yield case if variants == {""} else f"{case}/*", "", first
        return
    for variant in sorted({variant for _, variant in met}):
        families = sorted(family for family, other in met if other == variant)
        both = families == sorted(family for family, other in ran if other == variant)
        name = f"{case}/{variant}" if variant else case
        for family in [""] if both else families:
            yield name, family, met[family or families[0], variant]


def _pattern(got: str) -> str:
    pattern = re.sub(r"([\\.*+?^$(){}\[\]|])", r"\\\1", got)
    for varying, instead in _VARYING:
        pattern = varying.sub(instead, pattern)
    return pattern


def _entry(requirement: str, case: str, family: str, got: str, state: str, version: str, record: Record) -> str:
    numbers = re.match(r"\d+(\.\d+)*", version)
    quoted = f"'{got}'" if "'" not in got else '"' + got.replace("\\", "\\\\").replace('"', '\\"') + '"'
    lines = ["[[deviation]]", f'requirement = "{requirement}"', f'case = "{case}"']
    lines += [f'state = "{state}"'] if state else []
    lines += [f'family = "{family}"'] if family else []
    lines += [f"got = {quoted}", f'versions = "{f"=={numbers[0]}" if numbers else "any"}"',
              f'reason = "{TO_WRITE}: what the target does instead, and the section of the RFC"',
              f'evidence = "{TO_WRITE}: how that is known"', f"# {record['command']}"]
    lines += [f"# {record['capture']}"] if record["capture"] else []
    return "\n".join(lines) + "\n"
