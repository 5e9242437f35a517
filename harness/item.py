# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pytest item is as a case: its id, family and variant, and the record of its run (schema 1)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import _pytest._code
import pluggy
import pytest

from .lower.case import Case
from .lower.verdict import Mismatch, Step
from .requirements.catalogue import load
from .targets.base import Target
from .targets.judgement import Judgement, entry_for
from .upper.base import NotApplicable
from .wire.capture import write_capture
from .wire.clock import SECOND
from .wire.errors import HarnessError

_FIXTURES: Final = "harness.plugin"
_UNSAFE: Final = re.compile(r"[^\w.,+=-]")


class AdviceWarning(UserWarning):
    """A SHOULD that the target does not keep."""


def is_case(item: pytest.Item) -> bool:
    """True if the item plays segments to a target: the `case` that it asks for, itself or by another, is ours.

    Other people's tests may have a fixture of that name. One that builds on ours still makes a case.
    """
    if "case" not in getattr(item, "fixturenames", ()):
        return False
    known: Any = getattr(item, "_fixtureinfo", None)
    for definition in reversed(known.name2fixturedefs.get("case", ()) if known is not None else ()):
        if definition.func.__module__ == _FIXTURES:
            return True
        if "case" not in definition.argnames:
            break
    return False


@lru_cache(maxsize=8)
def case_id(item: pytest.Item) -> str:
    """`topic/module::case`: stable, without family or parameters."""
    path = item.path.with_suffix("")
    name = getattr(item, "originalname", None) or item.name.split("[")[0]
    return f"{path.parent.name}/{path.name.removeprefix('test_')}::{name.removeprefix('test_')}"


def _parameters(item: pytest.Item) -> tuple[str, str]:
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return "", ""
    family, text = str(callspec.params.get("family", "")), str(callspec.id)
    return family, text.removeprefix(family).removeprefix("-")


def family_of(item: pytest.Item) -> str:
    """The family in which this item runs."""
    return _parameters(item)[0]


def variant(item: pytest.Item) -> str:
    """The item's parameters but for the family."""
    return _parameters(item)[1]


def ledger_name(item: pytest.Item) -> str:
    """What a ledger's `case` is compared with: the id, and the variant behind a slash."""
    return case_id(item) + (f"/{variant(item)}" if variant(item) else "")


def command(item: pytest.Item) -> str:
    """What repeats this case alone."""
    config = item.config
    name = case_id(item) + (f"[{variant(item)}]" if variant(item) else "")
    parts = ["tcpqual", "run", f"'{name}'" if variant(item) else name, "--target", str(config.getoption("target")),
             "--family", family_of(item)]
    if config.getoption("seed"):
        parts += ["--seed", str(config.getoption("seed"))]
    if config.getoption("real_clock"):
        parts.append("--real-clock")
    if item.get_closest_marker("slow"):
        parts.append("--slow")
    return " ".join(parts)


def case_of(item: pytest.Item, target: Target, observer: Callable[[Step], None] | None = None) -> Case:
    """The case that an item is, against this target; it begins at once."""
    catalogue = load()
    requirements = {name: catalogue.get(name) for marker in item.iter_markers("covers") for name in marker.args}
    seed = item.config.getoption("seed")
    name = f"{case_id(item)}/{variant(item)}"
    target.come_to_rest(f"{seed}/{name}")
    return Case(name=name, injector=target.injector, upper=target.upper, profile=target.profile, timing=target.timing,
                addresses=target.ends[family_of(item)], ports=target.ports, requirements=requirements, seed=seed,
                observer=observer, foresee=target.foresee, feed=target.feed)


def what_ended(item: pytest.Item, case: Case, target: Target, raised: BaseException | None) -> BaseException | None:
    """What a case has ended with, when its function has raised this or nothing; None for its own end.

    What nobody expected is looked at then, and also behind a mismatch that the ledger knows.
    """
    try:
        if raised is None:
            case.finish()
        elif isinstance(raised, Mismatch) and entry_for(
                raised.finding, target.profile.ledger, ledger_name(item), family_of(item), target.version) is not None:
            case.look_at_the_rest()
    except Exception as error:
        return error
    return NotApplicable(str(raised)) if isinstance(raised, pytest.skip.Exception) else raised


class Run:
    """One item on its way through the plugin: the case, and what becomes of it."""

    def __init__(self, item: pytest.Item, case: Case, target: Target, family: str) -> None:
        self.item = item
        self.case = case
        self.target = target
        self.family = family
        self.judgement: Judgement | None = None
        self.record: dict[str, Any] | None = None
        self.capture: Path | None = None
        self.elsewhere = False
        """True if another of the target's applications has to serve the case."""
        self._closed = False

    def close(self) -> None:
        """Clean up on the target and write the capture; once. Raises LinkError if frames were lost."""
        if self._closed:
            return
        self._closed = True
        try:
            self.case.close()
        finally:
            self._write_capture()

    def _write_capture(self) -> None:
        self.capture = Path(self.item.config.getoption("results")).parent / "captures" / capture_name(
            case_id(self.item), self.family, variant(self.item))
        write_capture(self.capture, self.case.trace, epoch_ns=getattr(self.case.clock, "epoch_ns", 0),
                      interface_name="injector", comment=f"{case_id(self.item)} {self.family}")


def capture_name(case: str, family: str, variant: str) -> str:
    """The file of a case's capture, below `captures`: no two cases, families or variants share one."""
    name = f"{case.replace('::', '/')}-{family}"
    if variant:
        name += "-" + _UNSAFE.sub("_", variant)
        if _UNSAFE.search(variant.replace(" ", "")):
            # Two variants may differ in nothing else than what no file name should have.
            name += f"-{zlib.crc32(variant.encode()):08x}"
    return f"{name}.pcapng"


def blank_record(item: pytest.Item) -> dict[str, Any]:
    """The record of a case of which nothing is known but its name."""
    markers = list(item.iter_markers("covers"))
    return {
        "id": case_id(item),
        "title": (getattr(item, "obj", None).__doc__ or "").strip().split("\n")[0],
        "behaviours": [name for marker in markers for name in marker.kwargs.get("behaviours", ())],
        "requirements": [name for marker in markers for name in marker.args],
        "tc8": [name for marker in markers for name in marker.kwargs.get("tc8", ())],
        "family": family_of(item), "variant": variant(item), "verdict": "error", "reason": "", "findings": [],
        "steps": [], "proof": [], "timing": {"tolerance_ns": 0, "checks": []}, "duration_s": 0.0,
        "segments": 0, "capture": None, "command": command(item),
    }


def record_of(run: Run) -> dict[str, Any]:
    """The record of a case that was judged."""
    case, story, judgement = run.case, run.case.story, run.judgement
    assert judgement is not None
    blank = blank_record(run.item)
    # Of what it has not looked at the case claims nothing; what it has found all the same stays.
    unseen = story.unseen - {finding.requirement for finding in judgement.findings}
    claimed = [name for name in blank["requirements"] if name not in unseen]
    return blank | {"requirements": claimed} | ({"unseen": sorted(unseen)} if unseen else {}) | {
        "verdict": judgement.verdict.value, "reason": judgement.reason,
        "findings": [asdict(finding) for finding in judgement.findings],
        "steps": [asdict(step) for step in story.steps], "proof": sorted(story.proof),
        "timing": {"tolerance_ns": case.tolerance_ns, "checks": [asdict(check) for check in story.checks]},
        "duration_s": round((case.clock.now() - case.began_ns) / SECOND, 6), "segments": len(case.trace),
        "capture": str(run.capture) if run.capture else None,
    }


def log_of(excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    """What an error of ours has to say: its line if it was foreseen, the way to it if not."""
    if isinstance(excinfo.value, HarnessError):
        return str(excinfo.value)
    return str(excinfo.getrepr(style="short", tbfilter=_own_part))


def _own_part(excinfo: pytest.ExceptionInfo[BaseException]) -> _pytest._code.Traceback:
    """The way to an error without what pytest and the plugin do to get there."""
    machinery = (Path(_pytest.__file__).parent, Path(pluggy.__file__).parent, Path(__file__).with_name("plugin.py"))
    own = excinfo.traceback.filter(lambda entry: not any(Path(entry.path).is_relative_to(part) for part in machinery))
    return own or excinfo.traceback
