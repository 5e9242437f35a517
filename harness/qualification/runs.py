# SPDX-License-Identifier: GPL-2.0-or-later
"""The run of one target of a qualification: a process of its own, so that whatever becomes of it, the others go on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..report.results import HARNESS, journal_of, recover, write
from ..wire.errors import UsageError

_PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final = ctypes.CDLL(None).prctl  # looked up here: behind a fork as little as possible is done
LOOK_S: Final = 1.0
_GRACE_S: Final = 20.0
_LAST_LINES: Final = 15
_INTERRUPTED: Final = "interrupted"
_STATUSES: Final = (0, 1, 2, 3, 4)
_CONCLUSIVE: Final = (0, 1, 4)
_PACKAGE_ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be run: the target, the folder for everything it leaves, further words for `tcpqual run`."""

    target: str
    folder: Path
    words: Sequence[str]
    wall_limit_s: float

    @property
    def results(self) -> Path:
        """Where the results go."""
        return self.folder / "results.json"

    @property
    def command(self) -> list[str]:
        """The words behind `tcpqual`."""
        return ["run", "--target", self.target, "--no-allure", *self.words, "--results", str(self.results)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it. `error` is "" if the run came to its end; `results` is None if there is nothing at all.

    `interrupted`: by the user, who wants no further one.
    """

    plan: Plan
    status: int
    wall_s: float
    error: str
    results: Path | None
    interrupted: bool = False

    @property
    def command(self) -> str:
        """What repeats it."""
        return shlex.join(["tcpqual", *self.plan.command])


class Running:
    """A run that has begun; `wait` until it has an outcome."""

    def __init__(self, plan: Plan) -> None:
        plan.folder.mkdir(parents=True, exist_ok=True)
        self.plan = plan
        self._began = time.monotonic()
        with (plan.folder / "run.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness", *plan.command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env=_environment(), preexec_fn=_die_with_us)

    @property
    def cases(self) -> int:
        """How many cases have been played."""
        return _cases(journal_of(self.plan.results))

    def wait(self, within_s: float) -> Outcome | None:
        """What became of it, None if it goes on; it is ended behind the limit of its plan."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
            return self._outcome("")
        if time.monotonic() > self._began + self.plan.wall_limit_s:
            _end(self._process, signal.SIGINT)
            return self._outcome(f"ended after {self.plan.wall_limit_s:g} s, the limit for one target")
        return None

    def interrupted(self) -> Outcome:
        """The user has interrupted it: it has heard of that too, and still writes its results."""
        _end(self._process, None)
        return self._outcome(_INTERRUPTED)

    def end(self) -> None:
        """Something else went wrong: end it."""
        _end(self._process, signal.SIGTERM)

    def _outcome(self, cut: str) -> Outcome:
        return _outcome(self.plan, self._process.returncode, time.monotonic() - self._began, cut)


def _environment() -> dict[str, str]:
    """Ours, and the very package that we are, wherever the user stands."""
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_PACKAGE_ROOT), *([known] if known else [])])}


def _die_with_us() -> None:
    """The run ends with the qualification, even if that is killed."""
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes], word: signal.Signals | None) -> None:
    """Ask it to end (after an interrupt, with which a run still writes its results); then ask no more."""
    if word is not None:
        process.send_signal(word)
    try:
        process.wait(_GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _cases(journal: Path) -> int:
    """How many lines the journal has behind its head."""
    try:
        return max(0, journal.read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def _outcome(plan: Plan, status: int, wall_s: float, cut: str) -> Outcome:
    results = _saved(plan)
    error = cut
    if not cut and (results is None or status not in _CONCLUSIVE):
        error = _last_lines(plan) or f"the run ended with {status}"
    return Outcome(plan=plan, status=status if status in _STATUSES and not cut else HARNESS,
                   wall_s=round(wall_s, 1), error=error, results=results, interrupted=cut == _INTERRUPTED)


def _saved(plan: Plan) -> Path | None:
    """The results, made of the journal where the run was cut short; None if there is neither."""
    if plan.results.is_file():
        return plan.results
    journal = journal_of(plan.results)
    try:
        document: dict[str, Any] = recover(journal)
    except UsageError:
        return None
    write(document, plan.results)
    return plan.results


def _last_lines(plan: Plan) -> str:
    text = (plan.folder / "run.log").read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LAST_LINES:])
