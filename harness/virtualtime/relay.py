# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest inside a guest: runs this guest's part of the cases, and tells the host what comes of them.

It is to the host what a worker of pytest-xdist is to its controller: the same command line, the same plugins, the
reports sent away instead of printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import warnings

    from ..lower.verdict import Step
    from .inside import Channel


class Relay:
    """A pytest plugin that sends to the host what a terminal and the reports want to know."""

    def __init__(self, job: Mapping[str, Any], channel: Channel) -> None:
        self._shard: int = job["shard"]
        self._shards: int = job["shards"]
        self._done = frozenset(job["done"])
        self._send = channel.send
        self._total = 0
        self._unsent: list[str] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, Any, Any]:
        """Keep this guest's part of what is left when all others have chosen."""
        result = yield
        self._total = len(items)
        items[:] = [item for item in items[self._shard::self._shards] if item.nodeid not in self._done]
        return result

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be collected ends the run."""
        if report.failed:
            self._send("collect_report", nodeid=report.nodeid, text=str(report.longrepr))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many cases there are, and which are this guest's."""
        from ..item import case_id, family_of, is_case

        self._send("collected", total=self._total,
                   cases=[(item.nodeid, case_id(item), family_of(item)) for item in session.items if is_case(item)])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Say which case begins, in the words in which it could be reported if the guest died in it."""
        from ..item import blank_record, is_case

        self._unsent.clear()
        self._send("started", nodeid=item.nodeid, location=item.location,
                   record=blank_record(item) if is_case(item) else None)

    def step(self, step: Step) -> None:
        """Tell the story as far as the segment that is sent now: it may be the one that kills the guest."""
        self._unsent.append(f"{step.at_ns / 1e9:13.6f}  {step.side:<8}  {step.text}")
        if step.side == "injector":
            self._send("steps", steps=self._unsent)
            self._unsent.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send a report."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._send("report", data=data)

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Say that a test is over."""
        self._send("finished", nodeid=nodeid, location=location)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str, nodeid: str) -> None:
        """Send a warning, but for the one that process 1 has imported this package before pytest."""
        if issubclass(warning_message.category, pytest.PytestAssertRewriteWarning):
            return
        self._send("warning", text=str(warning_message.message), category=warning_message.category.__name__,
                   file=warning_message.filename, line=warning_message.lineno, when=when, nodeid=nodeid)

    def pytest_internalerror(self, excrepr: object) -> None:
        """Send what went wrong in pytest or a plugin."""
        self._send("internal_error", text=str(excrepr))

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Nobody reads a terminal here; its options have to be understood all the same."""
        self._config = config
        config.pluginmanager.unregister(name="terminalreporter")

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_main(self) -> Generator[None, Any, Any]:
        """Send what the user has got wrong."""
        try:
            return (yield)
        except pytest.UsageError as error:
            self._send("usage", text=str(error))
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
        """The last message: how the session ended."""
        result = yield
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        self._send("end", status=int(exitstatus), left_out=output.get("tcpqual_left_out", ()),
                   virtual_s=time.monotonic())
        return result


def play(job: Mapping[str, Any], channel: Channel) -> int:
    """Run pytest as the job says; returns its exit status."""
    from _pytest.config import _prepareconfig

    os.environ["PYTEST_XDIST_WORKER"] = f"gw{job['shard']}"
    channel.send("hello", release=os.uname().release)
    relay = Relay(job, channel)
    try:
        config = _prepareconfig(list(job["arguments"]), None)
    except pytest.UsageError as error:
        channel.send("usage", text=str(error))
        return int(pytest.ExitCode.USAGE_ERROR)
    # What pytest's own plugins and others ask for to know that somebody else writes the reports.
    config.workerinput = {"workerid": f"guest{job['shard']}", "shard": job["shard"]}  # type: ignore[attr-defined]
    config.workeroutput = {}  # type: ignore[attr-defined]
    config.pluginmanager.register(relay, RELAY)
    return int(config.hook.pytest_cmdline_main(config=config))


RELAY = "tcpqual-relay"


def steps_of(config: pytest.Config) -> Any:
    """Where the steps of a case go while it is played, None outside a guest."""
    relay = config.pluginmanager.get_plugin(RELAY)
    return None if relay is None else relay.step


