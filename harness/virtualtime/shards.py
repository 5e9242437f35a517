# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's side of a run in guests: starts them side by side, and gives pytest what they report.

Each guest plays its part of the cases, always the same part, so that a run repeats to the byte. A guest that dies
takes one case with it, and another goes on with what is left.
"""

from __future__ import annotations

import compileall
import os
import select
import shutil
import time
import warnings
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from ..targets.kernels import Kernel
from ..targets.uml import GUEST, Surroundings
from .guest import Guest
from .inside import OUT

_TICK_S: Final = 0.05
_STEPS: Final = 12
"""How much of a story is shown of a guest that was stopped or has died."""
_LIVES: Final = 10
"""Guests that may die, one after the other, on one part of the cases."""
_CAPTURES: Final = "reports/captures"
_ALLURE: Final = "allure"
_PASSED_ON: Final = ("PYTEST_", "TCPQUAL_", "PYTHONPATH", "COLUMNS")
_FILES: Final = ("--results", "--junitxml", "--junit-xml", "--alluredir")
"""Where the host writes to is none of a guest's business: pytest would look whether something is there."""


class Listener(Protocol):
    """Who gathers what a run has found."""

    run: dict[str, Any]

    def expect(self, total: int) -> None:
        """Take how many cases there are."""

    def leave_out(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Take cases that are not run: id, family, why."""

    def fault(self, text: str) -> None:
        """Take what went wrong and is no case's."""


class Shards:
    """A pytest plugin that plays the cases in guests.

    `count` guests share them. `wall_limit_s` is how many seconds of the host's time a run may take.
    """

    def __init__(self, config: pytest.Config, kernel: Kernel, *, count: int, seed: int, wall_limit_s: float,
                 clock: str, results: Path, recorder: Listener) -> None:
        self._config = config
        self._kernel = kernel
        self._count = count
        self._seed = seed
        self._wall_limit_s = wall_limit_s
        self._clock = clock
        self._results = results
        self._recorder = recorder
        self._shards: list[_Shard] = []
        self._virtual_s = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> bool:
        """Collect nothing here: the guests do."""
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Play all cases. Raises pytest.UsageError if a guest does not understand the command line."""
        if self._config.getoption("collectonly"):
            raise pytest.UsageError("--collect-only: goes with a target on this machine; no guest is started for it")
        until = time.monotonic() + self._wall_limit_s
        _compile()
        try:
            self._shards = [_Shard(number, self) for number in range(self._count)]
            while running := [shard for shard in self._shards if shard.guest is not None]:
                if time.monotonic() >= until:
                    self._stop_all(running)
                    break
                select.select([shard.guest.descriptor for shard in running if shard.guest], [], [], _TICK_S)
                for shard in running:
                    shard.listen()
                _heed(session)
        finally:
            for shard in self._shards:
                shard.stop()
        return True

    def _stop_all(self, running: Sequence[_Shard]) -> None:
        for shard in running:
            shard.listen()
            if shard.guest is not None:
                shard.give_up(f"the wall limit of {self._wall_limit_s:g} s is over (--wall-limit)")

    # -- what a shard needs ------------------------------------------------------------------------------------------

    def start(self, number: int, done: Sequence[str]) -> Guest:
        """A guest for one part of the cases, without those that are done."""
        job = {
            "task": "cases", "shard": number, "shards": self._count, "done": list(done),
            "cwd": str(self._config.invocation_params.dir), "arguments": self._arguments(),
            "environ": {**{name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)},
                        GUEST: str(Surroundings(clock=self._clock, hz=self._kernel.hz)),
                        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        }
        seed = zlib.crc32(f"{self._seed}/{number}/{self._count}".encode())
        return Guest(self._kernel, job, seed=seed, skipping=self._clock == "skipping")

    def _arguments(self) -> list[str]:
        words = list(_without(_FILES, [str(word) for word in self._config.invocation_params.args]))
        if self._allure is not None:
            words.append(f"--alluredir={OUT / _ALLURE}")
        return [*words, f"--target={self._config.getoption('target')}",
                f"--results={OUT / 'reports' / 'results.json'}"]

    @property
    def _allure(self) -> Path | None:
        folder = self._config.getoption("allure_report_dir", None)
        return Path(folder) if folder else None

    def bring_home(self, guest: Guest, whole: Collection[str]) -> set[str]:
        """Move these of the guest's Allure files to where the run's are; returns the names of those that are left."""
        source = guest.folder / _ALLURE
        if self._allure is None or not source.is_dir():
            return set()
        self._allure.mkdir(parents=True, exist_ok=True)
        for name in whole:
            shutil.move(source / name, self._allure / name)
        return {entry.name for entry in source.iterdir() if entry.suffix != ".tmp"}

    def take(self, guest: Guest, data: dict[str, Any]) -> None:
        """A report of a guest, as if the test had run here."""
        record = data.get("tcpqual")
        if record is not None and record["capture"]:
            self._take_capture(guest, record, data)
        if data["outcome"] == "skipped" and isinstance(data["longrepr"], list):
            # A skip's place and reason are a tuple to pytest's JUnit; JSON knows none.
            data["longrepr"] = tuple(data["longrepr"])
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        self._config.hook.pytest_runtest_logreport(report=report)

    def _take_capture(self, guest: Guest, record: dict[str, Any], data: dict[str, Any]) -> None:
        inside = record["capture"]
        relative = Path(inside).relative_to(OUT / _CAPTURES)
        there, here = guest.folder / _CAPTURES / relative, self._results.parent / "captures" / relative
        if there.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(there, here)
        record["capture"] = str(here)
        data["user_properties"] = [[name, str(here) if value == inside else value]
                                   for name, value in data["user_properties"]]
        if isinstance(data["longrepr"], str):
            data["longrepr"] = data["longrepr"].replace(inside, str(here))

    def collected(self, total: int) -> None:
        """A guest has collected: so many cases there are, in all guests together."""
        self._recorder.expect(total)
        if (session := self._config.pluginmanager.get_plugin("session")) is not None:
            session.testscollected = total

    def warn(self, message: Mapping[str, Any]) -> None:
        """A warning of a guest."""
        from ..item import AdviceWarning

        category = AdviceWarning if message["category"] == AdviceWarning.__name__ else UserWarning
        text = warnings.WarningMessage(category(message["text"]), category, message["file"], message["line"])
        self._config.hook.pytest_warning_recorded.call_historic(kwargs={
            "warning_message": text, "when": message["when"], "nodeid": message["nodeid"], "location": None})

    def uncollected(self, nodeid: str, text: str) -> None:
        """A module that a guest could not collect."""
        report = pytest.CollectReport(nodeid=nodeid, outcome="failed", longrepr=text, result=[])
        self._config.hook.pytest_collectreport(report=report)

    def lose(self, test: Mapping[str, Any], reason: str, log: str) -> None:
        """A guest was lost in this test."""
        report = pytest.TestReport(nodeid=test["nodeid"], location=tuple(test["location"]), keywords={},
                                   outcome="failed", longrepr=f"{reason}\n{log}", when="setup")
        if test["record"] is not None:
            report.tcpqual = test["record"] | {"verdict": "error", "reason": reason, "log": log}  # type: ignore[attr-defined]
        self._config.hook.pytest_runtest_logreport(report=report)

    def fault(self, text: str) -> None:
        """Something went wrong that is no case's."""
        self._recorder.fault(text)

    def end(self, message: Mapping[str, Any]) -> None:
        """A guest has come to the end of its part."""
        self._virtual_s += message["virtual_s"]
        self._recorder.run["virtual_s"] = round(self._virtual_s, 3)
        self.leave_out((case, family, why) for case, family, why in message["left_out"])

    def leave_out(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Cases that are not run: id, family, why."""
        self._recorder.leave_out(entries)


class _Shard:
    """One part of the cases, and the guest that plays it; `guest` is None once all are done."""

    def __init__(self, number: int, shards: Shards) -> None:
        self._number = number
        self._shards = shards
        self._done: list[str] = []
        self._cases: dict[str, tuple[str, str]] = {}
        self._test: dict[str, Any] | None = None
        self._steps: deque[str] = deque(maxlen=_STEPS)
        self._ended = False
        self._usage = ""
        self._lives = _LIVES
        self._boots = 0
        self._files: set[str] = set()
        self.guest: Guest | None = shards.start(number, ())

    def listen(self) -> None:
        """Deal with what the guest has said, and with its end."""
        assert self.guest is not None
        status = self.guest.ended()
        for message in self.guest.messages():
            self._take(message)
            if self._boots > 1:
                # Some releases start anew, in the same process, where others would switch themselves off.
                self._end("it started anew")
                return
        if status is not None:
            self._end(f"signal {-status}" if status < 0 else f"exit status {status}")

    def _take(self, message: dict[str, Any]) -> None:
        assert self.guest is not None
        kind = message["kind"]
        if kind == "hello":
            self._boots += 1
        elif kind == "started":
            self._test = message
            self._steps.clear()
        elif kind == "steps":
            self._steps.extend(message["steps"])
        elif kind == "report":
            self._shards.take(self.guest, message["data"])
        elif kind == "finished":
            self._done.append(message["nodeid"])
            self._test = None
            # What was there when an earlier case was over is whole; what is new may be of the next one already.
            self._files = self._shards.bring_home(self.guest, self._files)
        elif kind == "collected":
            self._cases = {nodeid: (case, family) for nodeid, case, family in message["cases"]}
            self._shards.collected(message["total"])
        elif kind == "collect_report":
            self._shards.uncollected(message["nodeid"], message["text"])
        elif kind == "warning":
            self._shards.warn(message)
        elif kind == "internal_error":
            self._shards.fault(f"{self._name}: {message['text']}")
        elif kind == "usage":
            self._usage = message["text"]
        elif kind == "end":
            self._ended = True
            self._shards.end(message)

    @property
    def _name(self) -> str:
        return f"guest {self._number}"

    def _end(self, how: str) -> None:
        assert self.guest is not None
        console = self.guest.console()
        self._shards.bring_home(self.guest, self._shards.bring_home(self.guest, self._files))
        self.stop()
        if self._usage:
            raise pytest.UsageError(self._usage)
        if self._ended:
            return
        died = f"the guest kernel died ({how})"
        if self._test is None:
            self._shards.fault("\n".join([f"{self._name}: {died}, in no case; its console:", *console]))
            self._leave_out_the_rest(died)
            return
        self._lose(died, console)
        self._lives -= 1
        if self._lives:
            self._boots, self._files = 0, set()
            self.guest = self._shards.start(self._number, self._done)
        else:
            left = self._leave_out_the_rest(f"not run: {_LIVES} guests have died before it")
            self._shards.fault(f"{self._name}: {_LIVES} guests have died; the {left} cases that are left were not run")

    def give_up(self, why: str) -> None:
        """Stop the guest before its end."""
        assert self.guest is not None
        console = self.guest.console()
        self.stop()
        name = _name_of(self._test) if self._test else "no case"
        self._shards.fault("\n".join([f"{self._name}: {why}; it was in {name}; last segments:", *self._steps]))
        if self._test is not None:
            self._lose(why, console)
        self._leave_out_the_rest(f"not run: {why}")

    def _leave_out_the_rest(self, why: str) -> int:
        """Say of each case that nobody will play now that it was not run; returns how many these are."""
        left = [case for nodeid, case in self._cases.items() if nodeid not in self._done]
        self._shards.leave_out((case, family, why) for case, family in left)
        return len(left)

    def _lose(self, why: str, console: Sequence[str]) -> None:
        assert self._test is not None
        log = "\n".join(["last segments:", *(self._steps or ["none"]), "console:", *(console or ["nothing"])])
        self._done.append(self._test["nodeid"])
        self._shards.lose(self._test, why, log)
        self._test = None

    def stop(self) -> None:
        """Take the guest away, and what it had written with it."""
        if self.guest is not None:
            self.guest.stop()
            self.guest = None


def _without(options: Collection[str], words: Iterable[str]) -> Iterator[str]:
    """A command line without these options, which all take a value."""
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            yield word


def _name_of(test: Mapping[str, Any]) -> str:
    record = test["record"]
    if record is None:
        return str(test["nodeid"])
    return f"{record['id']} {record['family']}" + (f" [{record['variant']}]" if record["variant"] else "")


def _compile() -> None:
    """Have our modules' bytecode written, as pip does: a guest can write none, and would pay for it in each run."""
    compileall.compile_dir(Path(__file__).resolve().parents[1], quiet=2)


def _heed(session: pytest.Session) -> None:
    """Stop where pytest says so (`-x`, `--maxfail`)."""
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
