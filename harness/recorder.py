# SPDX-License-Identifier: GPL-2.0-or-later
"""The controller's side of a run: gathers the case records, shows them, writes the reports, finds the exit status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from .report import allure
from .report import results as results_file
from .report.failure import page
from .report.progress import Progress
from .report.record import FAILING
from .report.results import HARNESS, NOTHING_VERIFIED, USAGE, Results
from .wire.errors import UsageError

_PAGES: Final = 10
"""How many failure pages are printed; the report has them all."""

_PYTEST_STATUS: Final = {
    pytest.ExitCode.USAGE_ERROR: USAGE,
    pytest.ExitCode.INTERNAL_ERROR: HARNESS,
}


class Recorder:
    """Gathers what the workers (or this very process) report about cases."""

    def __init__(self, config: pytest.Config, *, path: Path, target: Mapping[str, Any], run: Mapping[str, Any],
                 strict: bool, console: bool, cases: bool) -> None:
        self._config = config
        self._path = path
        self._page = path.with_name("report.html")
        self._target = target
        self.run = dict(run)
        self._strict = strict
        self._console = console
        self._cases = cases
        self._results: Results | None = None
        self._progress: Progress | None = None
        self._left_out: list[tuple[str, str, str]] = []
        self._faults: list[str] = []
        self._uncollected: dict[str, str] = {}
        self._interrupted = False
        self._ended = 0
        self._published: list[Path] = []
        self._began = time.monotonic()
        self.document: dict[str, Any] | None = None

    # -- gathering ---------------------------------------------------------------------------------------------------

    @property
    def results(self) -> Results:
        """The collector; made with the first case, so that a run of other tests leaves no report."""
        if self._results is None:
            # An earlier run's page would stand beside this run's journal if this one is killed.
            self._page.unlink(missing_ok=True)
            self._results = Results(self._path, self._target, self.run)
        return self._results

    def leave_out(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Cases that were collected and are not run: id, family, why."""
        self._left_out.extend((str(case), str(family), str(why)) for case, family, why in entries)

    def fault(self, text: str) -> None:
        """Something went wrong that is no case's: it is shown in the end, and the run cannot end well."""
        self._faults.append(text)

    def expect(self, total: int) -> None:
        """Say how many cases there are."""
        if self._console and self._progress is None:
            workers = int(getattr(self._config.option, "numprocesses", None) or 0)
            self._progress = Progress(sys.stdout, total, workers)
        if self._progress is not None:
            self._progress.total = total

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the record that a case's report carries."""
        record = getattr(report, "tcpqual", None)
        if record is None:
            return
        self.results.add(record)
        if self._progress is not None:
            self._progress.case(record)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what went wrong while collecting, since pytest's own terminal may be off."""
        if report.failed:
            # Each worker says it.
            self._uncollected[report.nodeid] = str(report.longrepr)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """The first worker that has collected says how many cases there are."""
        self.expect(len(ids))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers, the session itself does."""
        if session.items:
            self.expect(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended: take what it left out, or that it died."""
        output = getattr(node, "workeroutput", None) or {}
        self.leave_out(output.get("tcpqual_left_out", ()))
        if error:
            self._faults.append(f"worker {node.gateway.id} died: {error}")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that the user ended the run; pytest itself ends it when something cannot be collected."""
        # Both pytest and xdist have a class of that name for it.
        self._interrupted = type(excinfo.value).__name__ != "Interrupted"

    # -- the end -----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the results and set the exit status, if this was a run of cases."""
        if self._progress is not None:
            self._progress.close()
        if self._results is None and not self._console and not self._found_nothing(exitstatus):
            return
        results = self.results
        for entry in dict.fromkeys(self._left_out):
            results.leave_out(*entry)
        self.document = results.finish(round(time.monotonic() - self._began, 3))
        if allure.wanted(self._config):
            allure.write_environment(Path(self._config.getoption("allure_report_dir")), self._target, self.run)
        session.exitstatus = self._ended = self._status(int(exitstatus))
        from .report.page import write_page

        write_page(self.document, self._page, strict=self._strict)
        if self._config.getoption("ci"):
            self._publish(self.document)

    def _publish(self, document: dict[str, Any]) -> None:
        """Tell the CI service. That it takes nothing is no reason to lose a run's verdict, so it is only said."""
        from .report.ci import publish

        try:
            self._published = publish(document, self._path.parent, os.environ, sys.stdout, strict=self._strict,
                                      status=self._ended)
        except UsageError as error:
            self.fault(str(error))

    def _found_nothing(self, exitstatus: int) -> bool:
        """True if this was to be a run of cases, and there was none to play."""
        if self._config.getoption("collectonly"):
            return False
        return bool(self._left_out) or (self._cases and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED)

    def _status(self, exitstatus: int) -> int:
        if exitstatus in _PYTEST_STATUS:
            return _PYTEST_STATUS[pytest.ExitCode(exitstatus)]
        if self._interrupted:
            return HARNESS
        if self._uncollected or exitstatus == pytest.ExitCode.INTERRUPTED:
            return USAGE
        assert self.document is not None
        status = results_file.exit_status(self.document, strict=self._strict)
        if self._faults and status != USAGE:
            return HARNESS
        if status in (0, NOTHING_VERIFIED) and exitstatus == pytest.ExitCode.TESTS_FAILED and self._stranger_failed():
            return HARNESS
        return status

    def _stranger_failed(self) -> bool:
        """True if something failed that is in no case record: a fixture's end, a test that is no case."""
        assert self.document is not None
        verdicts = self.document["summary"]
        return not (verdicts.get("inconclusive") or (self._strict and verdicts.get("advice")))

    def pytest_unconfigure(self) -> None:
        """Print the pages and the summary, in place of pytest's own."""
        if not self._console:
            return
        for fault in (*self._uncollected.values(), *self._faults):
            print(fault, file=sys.stderr)
        # What an audit has found is told by the command that asked for it.
        if self.document is not None and not self._config.getoption("audit") and (
                self._ended != USAGE or self.document["cases"]):
            self._print()

    def _print(self) -> None:
        from .report.summary import print_summary

        assert self.document is not None
        red = [record for record in self.document["cases"] if record["verdict"] in FAILING]
        for record in red[:_PAGES]:
            print(f"\n{page(record)}")
        if len(red) > _PAGES:
            print(f"\nThe pages of {len(red) - _PAGES} more are in {self._page}.")
        print_summary(self.document, sys.stdout, strict=self._strict, status=self._ended,
                      reports=[self._path, self._page, *self._published])


def one_line_of(error: BaseException) -> str:
    """An error as one line for people."""
    return " ".join(str(error).split())
