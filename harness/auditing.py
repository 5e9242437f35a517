# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual audit`: plays cases with lies, tells what became of them, and finds the exit status."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Final

from .campaign import Campaign, writable
from .report.audit import Audit, audit_of, exit_status
from .report.results import HARNESS, USAGE, load
from .wire.errors import UsageError

_LIE: Final = re.compile(r"(?P<name>[^@\s]+)@a?[1-9][0-9]*")
_OTHER_OPTION: Final = re.compile(r"option[0-9]+\S*")
"""Lies about an option without a name of its own go by its number."""
_NEAR: Final = 3


def audit(campaign: Campaign, *, lie: str, every: bool, html: str | None, fail_under: float | None) -> int:
    """Audit the cases of a campaign, print what was found, write the page; returns the exit status.

    `lie` is one lie alone, "" for all of them; `every`: of each segment. `fail_under` is the least score in percent.
    Raises UsageError, before anything is played, for a lie that there is not, or a file that cannot be written.
    """
    _check_lie(lie)
    results = Path(campaign.results)
    page = Path(html) if html else None if lie else results.with_name("audit.html")
    if html:
        writable("--html", Path(html))
    words = ["--audit", *([f"--lie={lie}"] if lie else []), *(["--all-lies"] if every else [])]
    # What an earlier audit left would look like this one's if this one is broken off.
    ran = campaign.play(words, stale=[results, *([page] if page is not None else [])])
    if ran == USAGE or not results.exists():
        return ran
    document = load(results)
    found = audit_of(document)
    if found.misused and not (lie and found.told):
        raise UsageError(found.misused[0])
    status = HARNESS if ran == HARNESS else exit_status(found, fail_under=fail_under, one=bool(lie))
    reports = [results, results.with_name("report.html")]
    if page is not None:
        from .report.audit_page import write_audit_page

        reports.append(write_audit_page(document, page))
    _print(found, reports, lie=lie, fail_under=fail_under, status=status)
    return status


def _print(found: Audit, reports: list[Path], *, lie: str, fail_under: float | None, status: int) -> None:
    from .report.audit_summary import print_audit, print_lie

    if lie:
        print_lie(found, sys.stdout, status=status)
    else:
        print_audit(found, sys.stdout, reports=reports, fail_under=fail_under, status=status)


def _check_lie(lie: str) -> None:
    """Raise UsageError, in one line, if no case can be told such a lie."""
    if not lie:
        return
    match = _LIE.fullmatch(lie)
    if match is None:
        raise UsageError(f"--lie {lie}: allowed: LIE@N, about the target's N-th segment (seq+1@3), or LIE@aN, about "
                         "its N-th answer to a call (errno@a2)")
    from .audit.auditor import known_lies

    known, name = known_lies(), match["name"]
    if name not in known and not _OTHER_OPTION.fullmatch(name):
        near = difflib.get_close_matches(name, sorted(known), n=_NEAR)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
        raise UsageError(f"--lie {lie}: no such lie; {hint}")
