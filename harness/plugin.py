# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin: how a run begins, the fixtures, and how a case's exceptions become pytest's outcomes.

A case is a test that asks for one of the fixtures below (all of them lead to `case`). Each runs once a family. What
pytest sees: advice = passed with a warning, known deviation = xfailed, not applicable = skipped; unexpected pass, fail
and inconclusive = failed; error = error.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from . import __version__, garbage
from .item import (
    AdviceWarning,
    Run,
    blank_record,
    case_id,
    case_of,
    family_of,
    is_case,
    ledger_name,
    log_of,
    record_of,
    what_ended,
)
from .lower.application import Application, Listener
from .lower.case import Case
from .lower.peer import Peer
from .lower.verdict import Inconclusive, Mismatch, Verdict
from .options import MARKERS, add_options
from .process import check_writable, die_with_parent, enter_user_namespace_if_needed, kernel
from .recorder import Recorder, one_line_of
from .report.junit import properties
from .requirements.catalogue import load
from .selection import chosen_families, why_left_out
from .targets.base import FAMILIES, Target
from .targets.judgement import Judgement, judge
from .targets.profile import Profile
from .targets.registry import (
    check_workers,
    clock_of,
    describe,
    is_alone,
    make_target,
    needs_guest,
    needs_namespaces,
    parse_spec,
)
from .targets.uml import canonical
from .upper.base import Elsewhere, NotApplicable
from .virtualtime.relay import steps_of
from .wire.clock import Clock
from .wire.errors import HarnessError, LinkError, TargetError, UsageError

if TYPE_CHECKING:
    from .audit.auditor import Auditor

_RUN: Final = pytest.StashKey[Run]()
_TARGET: Final = pytest.StashKey[Target]()
_AUDITOR: Final[pytest.StashKey[Auditor]] = pytest.StashKey()
_LEFT_OUT: Final = pytest.StashKey[list[tuple[str, str, str]]]()

_REAL_TIME_SHARDS: Final = 8


# -- options and markers ----------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run of cases."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; on the controller, the recorder; get the rights that the target needs."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    config.stash[_LEFT_OUT] = []
    config.pluginmanager.register(garbage, "tcpqual-garbage")
    if hasattr(config, "workerinput"):
        die_with_parent()
        return
    with _usage():
        config.option.target = canonical(config.getoption("target"), virtual_time=config.getoption("virtual_time"),
                                         kernel=config.getoption("kernel"))
        profile = _profile(config)
        if _is_for_cases(config):
            check_writable(Path(config.getoption("results")))
            check_workers(profile, getattr(config.option, "numprocesses", None) or 0)
            if needs_namespaces(profile):
                enter_user_namespace_if_needed()
            if is_alone(profile) and not config.option.collectonly:
                _prove(config)
    real_clock = config.getoption("real_clock")
    run = {"tool": f"tcpqual {__version__}", "clock": clock_of(profile), "seed": config.getoption("seed"),
           "kernel": kernel()}
    if _is_for_cases(config):
        from .suite import digest

        run |= {"catalogue": load().digest(), "suite": digest()}
    recorder = Recorder(
        config, path=Path(config.getoption("results")),
        target=describe(config.getoption("target"), real_clock=real_clock), run=run,
        strict=config.getoption("strict_should"), console=config.getoption("verdicts"), cases=_is_for_cases(config))
    config.pluginmanager.register(recorder, "tcpqual-recorder")
    if needs_guest(profile) and _is_for_cases(config):
        with _usage():
            _play_in_guests(config, recorder, profile)


def _prove(config: pytest.Config) -> None:
    """Reach the target before any case is played: what is wrong is one line then, and no case has a verdict."""
    try:
        proven = make_target(config.getoption("target"), seed=config.getoption("seed"))
    except UsageError:
        raise
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from TargetError(str(error))
    if getattr(config.option, "numprocesses", None):
        proven.close()  # the worker reaches it for itself
    else:
        config.stash[_TARGET] = proven


def _profile(config: pytest.Config) -> Profile:
    """The profile of the target that the command line names."""
    return parse_spec(config.getoption("target"), real_clock=config.getoption("real_clock"))


def _play_in_guests(config: pytest.Config, recorder: Recorder, profile: Profile) -> None:
    """Let guests collect and run the cases in this process's place."""
    from .targets.uml import kernel_of
    from .virtualtime.shards import Shards

    if getattr(config.option, "numprocesses", None):
        raise UsageError("--numprocesses: a guest has one processor; allowed: --shards N, guests side by side")
    clock, count = clock_of(profile), config.getoption("shards")
    if count < 0 or config.getoption("wall_limit") <= 0:
        raise UsageError("--shards and --wall-limit: allowed: more than 0")
    count = count or (_REAL_TIME_SHARDS if clock == "real" else len(os.sched_getaffinity(0)))
    recorder.run |= {"shards": count}
    config.pluginmanager.register(Shards(
        config, kernel_of(config.getoption("target")), count=count, seed=config.getoption("seed"), clock=clock,
        wall_limit_s=config.getoption("wall_limit"), results=Path(config.getoption("results")), recorder=recorder,
    ), "tcpqual-shards")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """An error of usage, before any case, is one line and exit status 2; one of the way to the target is 3.

    What pytest says of a run that is not about cases is pytest's.
    """
    try:
        return (yield)
    except pytest.UsageError as error:
        if not isinstance(error.__cause__, HarnessError) and not _is_for_cases(config):
            raise
        return _stop(3 if isinstance(error.__cause__, TargetError) else 2, error)
    except UsageError as error:
        return _stop(2, error)
    except HarnessError as error:
        return _stop(3, error)


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """A wrong word of the user's, or a right that is missing, in the way in which pytest takes it."""
    try:
        yield
    except (UsageError, LinkError) as error:
        raise pytest.UsageError(str(error)) from error


def _stop(status: int, error: BaseException) -> int:
    import sys

    origin = error.__cause__ if isinstance(error.__cause__, UsageError) else error
    lines = str(origin).splitlines() if isinstance(origin, UsageError) else [one_line_of(origin)]
    for line in lines:
        print(f"tcpqual: {line}", file=sys.stderr)
    return status


def _is_for_cases(config: pytest.Config) -> bool:
    """True if the command line is about cases: only then the process may change its rights."""
    asked = ("--target", "--virtual-time")
    if config.getoption("verdicts") or any(str(word).startswith(asked) for word in config.invocation_params.args):
        return True
    return any("cases" in Path(str(word).split("::")[0]).parts for word in config.args)


# -- collection -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case runs in each family, but for a rule that one family alone has."""
    if "family" in metafunc.fixturenames and is_case(metafunc.definition):
        marker = metafunc.definition.get_closest_marker("families")
        known = marker.args if marker else FAMILIES
        chosen = chosen_families(metafunc.config)
        # What is not of a chosen family is left out when all is collected, where it can be said.
        metafunc.parametrize("family", [family for family in known if family in chosen] or known)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check what cases cover, and leave out, visibly, what this run's time and timers are not made for."""
    catalogue = load()
    left_out: dict[pytest.Item, str] = {}
    profile = _profile(config)
    for item in items:
        for marker in item.iter_markers("covers"):
            for requirement in marker.args:
                with _usage():
                    catalogue.get(requirement)
        if is_case(item) and (why := why_left_out(item, profile)):
            left_out[item] = why
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
        entries = [(case_id(item), family_of(item), why) for item, why in left_out.items()]
        config.stash[_LEFT_OUT] += entries
        if (recorder := config.pluginmanager.get_plugin("tcpqual-recorder")) is not None:
            recorder.leave_out(entries)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the lab; hand on what was left out."""
    config = session.config
    if (target := config.stash.get(_TARGET, None)) is not None:
        target.close()
    if hasattr(config, "workeroutput"):
        config.workeroutput["tcpqual_left_out"] = config.stash[_LEFT_OUT]


# -- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Target:
    """The stack under test, one lab a worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    made = pytestconfig.stash.get(_TARGET, None) or make_target(
        pytestconfig.getoption("target"), seed=pytestconfig.getoption("seed"), worker=worker,
        real_clock=pytestconfig.getoption("real_clock"))
    if pytestconfig.getoption("audit"):
        from .audit.auditor import Auditor, Wishes

        auditor = Auditor(made, Wishes(lie=pytestconfig.getoption("lie"), all=pytestconfig.getoption("all_lies")))
        pytestconfig.stash[_AUDITOR] = auditor
        made = auditor.target
    pytestconfig.stash[_TARGET] = made
    return made


@pytest.fixture
def case(request: pytest.FixtureRequest, target: Target, family: str) -> Iterator[Case]:
    """The case itself: peers, waiting, notes, proof of life."""
    item = request.node
    if not target.profile.feature(family):
        pytest.skip(f"not applicable: the profile {target.profile.name} has not {family}")
    for marker in item.iter_markers("needs"):
        for feature in marker.args:
            if not target.profile.feature(feature):
                pytest.skip(f"not applicable: the profile {target.profile.name} has not {feature}")
    made = case_of(item, target, steps_of(request.config))
    run = Run(item, made, target, family)
    item.stash[_RUN] = run
    yield made
    run.close()


@pytest.fixture
def upper(case: Case) -> Application:
    """The target's application: `listen`, `connect`."""
    return Application(case)


@pytest.fixture
def listener(upper: Application) -> Listener:
    """A socket of the target that listens on the port that `peer` speaks to."""
    return upper.listen()


@pytest.fixture
def peer(request: pytest.FixtureRequest, case: Case) -> Peer:
    """Our end of a connection; nobody listens at the other unless the case also asks for `listener`."""
    if "listener" in request.fixturenames:
        return case.peer(target_port=request.getfixturevalue("listener").port)
    return case.peer()


@pytest.fixture
def clock(target: Target) -> Clock:
    """The target's time; `case.pause` and `after` are what most cases need."""
    return target.clock


@pytest.fixture
def profile(target: Target) -> Any:
    """What the target claims: features, timers, limits."""
    return target.profile


@pytest.fixture
def capture(case: Case) -> Any:
    """The frames of this case so far: a function that returns them, in the order of the kernel's stamps."""
    return case.injector.frames


# -- playing ----------------------------------------------------------------------------------------------------------


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Where the target has two applications, a case that the first cannot serve is played with the other."""
    target = item.config.stash.get(_TARGET, None)
    if not is_case(item) or (target is not None and target.move is None):
        return None
    from .anew import play

    play(item, nextitem, elsewhere=lambda: _elsewhere(item))
    return True


def _elsewhere(item: pytest.Item) -> Target | None:
    """The target if another of its applications has to serve the case, whose first run is forgotten then."""
    run = item.stash.get(_RUN, None)
    if run is None or not run.elsewhere:
        return None
    del item.stash[_RUN]
    return run.target


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """What a target does while a fixture brings it to where the case begins is a part of the case, and judged so."""
    try:
        return (yield)
    except (Mismatch, Inconclusive, NotApplicable) as error:
        if item.stash.get(_RUN, None) is None:
            raise
        early = error

    def play() -> None:
        raise early

    item.runtest = play  # type: ignore[method-assign]
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run the case to its end, judge it, and say so in pytest's terms."""
    run = item.stash.get(_RUN, None)
    if run is None:
        return (yield)
    ended: BaseException | None = None
    try:
        yield
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as raised:
        ended = raised
    error = what_ended(item, run.case, run.target, ended)
    run.elsewhere = isinstance(error, Elsewhere)
    try:
        run.close()
    except HarnessError as raised:
        error = raised
    run.judgement = judge(run.case.story.findings, error, ledger=run.target.profile.ledger,
                          case_id=ledger_name(item), family=run.family, version=run.target.version,
                          proof=run.case.story.proof)
    run.record = record_of(run)
    if (auditor := item.config.stash.get(_AUDITOR, None)) is not None:
        run.record["audit"] = _audited(auditor, item)
    item.user_properties.extend(properties(run.record))
    _report_to_allure(item, run.record)
    return _announce(item, run.judgement, error)


def _audited(auditor: Auditor, item: pytest.Item) -> dict[str, Any]:
    try:
        return auditor.audit(item)
    except UsageError as error:
        # Nothing is wrong with the case: the command says so when all is over, wherever this is played.
        return {"misused": str(error)}


def _announce(item: pytest.Item, judgement: Judgement, error: BaseException | None) -> None:
    verdict, reason = judgement.verdict, judgement.reason
    if verdict is Verdict.ADVICE and not item.config.getoption("strict_should"):
        warnings.warn(AdviceWarning(reason), stacklevel=2)
    elif verdict is Verdict.KNOWN_DEVIATION:
        pytest.xfail(reason)
    elif verdict is Verdict.NOT_APPLICABLE:
        pytest.skip(reason)
    elif verdict is Verdict.UNEXPECTED_PASS:
        pytest.fail(reason, pytrace=False)
    elif verdict is not Verdict.PASS and error is not None:
        raise error


def _report_to_allure(item: pytest.Item, record: dict[str, Any]) -> None:
    from .report import allure

    if allure.wanted(item.config):
        allure.label(record, load())
        allure.attach(record, always=item.config.getoption("attach"), rules=load())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Put the case's record into its report, so that it reaches the controller; show the failure page."""
    run = item.stash.get(_RUN, None)
    if call.when == "call" and run is not None:
        # The page takes its place; and to draw the way to a failure costs pytest far more than a case takes.
        item.repr_failure = lambda excinfo, style=None: ""  # type: ignore[method-assign]
    report: pytest.TestReport = yield
    if not is_case(item) or call.when == "teardown" or (call.when == "setup" and report.passed):
        return report
    record = run.record if run is not None and run.record is not None else blank_record(item)
    if run is None or run.record is None:
        skipped = report.skipped and call.excinfo is not None
        record |= {"verdict": "not-applicable" if skipped else "error",
                   "reason": one_line_of(call.excinfo.value) if call.excinfo else ""}
    if record["verdict"] == "error" and call.excinfo is not None:
        record["log"] = log_of(call.excinfo)
    report.tcpqual = record  # type: ignore[attr-defined]
    if report.failed:
        from .report.failure import page

        report.longrepr = page(record, load())
        if record["verdict"] == "error":
            # pytest calls an error what fails outside the call itself; so does JUnit.
            report.when = "setup"
    return report
