# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin adds to pytest's words: the options of a run of cases, and the markers of a case."""

from __future__ import annotations

from typing import Final

import pytest

from .targets.base import FAMILIES

WALL_LIMIT_S: Final = 600

MARKERS: Final = (
    "covers(*requirements, behaviours=(), tc8=()): the rules that a case checks (use harness.authoring.covers)",
    "families(*names): the rule is of these IP families alone",
    "needs(feature): not applicable to a target whose profile lacks the feature",
    "default_timers(*names): a rule about the target's own values of these timers and limits; left out where the "
    "profile's short ones are in force",
    "slow(hours=0): waits over 5 s of real time; left out unless --slow, or unless the target's time is not real; "
    "what takes hours is always left out in real time",
    "free(*lies, why): lies of an audit that this case need not notice, and why",
    "flood: sends many segments, bounded in count and time",
)
"""In the way in which `pytest --markers` shows them."""


def add_options(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("tcpqual", "TCP conformance (tcpqual)")
    group.addoption("--target", metavar="SPEC", default="linux",
                    help="the stack under test: NAME[:VARIANT] (linux, uml:6.12, decoy:blackhole ...) or a profile "
                         "file (default: linux, this machine's kernel in namespaces of the run's own)")
    group.addoption("--family", choices=(*FAMILIES, "both"), default="both",
                    help="IP family in which cases run (default: both)")
    group.addoption("--slow", action="store_true", help="also run cases that wait over 5 s of real time")
    group.addoption("--strict-should", action="store_true", help="a SHOULD that is not kept fails the run")
    group.addoption("--results", metavar="FILE", default="reports/results.json",
                    help="where the results go; captures and journal beside it (default: reports/results.json)")
    group.addoption("--seed", metavar="N", type=int, default=0,
                    help="chooses the injector's initial sequence numbers, and in guests the kernel's random numbers "
                         "(default: 0)")
    group.addoption("--verdicts", action="store_true",
                    help="show live verdicts, failure pages and the summary in place of pytest's own output")
    group.addoption("--ci", action="store_true",
                    help="also write what CI services show: summary.md, code-quality.json, on GitHub annotations")
    group.addoption("--virtual-time", action="store_true",
                    help="run inside a kernel whose clock skips idle time, with default timers (--target uml:NAME)")
    group.addoption("--kernel", metavar="NAME", default="",
                    help="which kernel of `tcpqual kernel list` --virtual-time takes (default: the newest of Debian's)")
    group.addoption("--real-clock", action="store_true",
                    help="let that kernel keep real time, with short timers: to compare the two")
    group.addoption("--shards", metavar="N", type=int, default=0,
                    help="guests that share the cases (default: one a processor, 8 with --real-clock)")
    group.addoption("--wall-limit", metavar="S", type=float, default=WALL_LIMIT_S,
                    help=f"end a run in guests after so many seconds of this machine's time (default: {WALL_LIMIT_S})")
    group.addoption("--audit", action="store_true",
                    help="play each case again for every lie of the target, and count what nobody notices")
    group.addoption("--lie", metavar="LIE@N", default="",
                    help="with --audit: this lie alone, such as seq+1@3, the target's third segment")
    group.addoption("--all-lies", action="store_true",
                    help="with --audit: lies about every segment, not only the first, a middle and the last of a kind")
    group.addoption("--attach", action="store_true",
                    help="attach ladder and capture to Allure for every case, not only for those that did not pass")
