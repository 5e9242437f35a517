# SPDX-License-Identifier: GPL-2.0-or-later
"""What allure-pytest is told about a case: labels, steps in segment notation, attachments, the environment.

To be called while allure-pytest has the test open (`pytest_runtest_call`, behind the case). allure is imported on the
first use only, and `wanted` says whether there is any.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from . import failure, ladder
from .record import FAILING, Record, one_line
from .rules import Cited, Rules, cite

ENVIRONMENT: Final = "environment.properties"

_SEVERITY: Final = {"MUST": "critical", "SHOULD": "normal", "MAY": "minor"}
_RANK: Final = ("critical", "normal", "minor")
_SENDERS: Final = {"injector": "->", "target": "<-", "api": "api", "note": "#"}
_BAD: Final = ("unexpected", "missing", "mismatch")


class Config(Protocol):
    """As much of pytest's configuration as is needed."""

    def getoption(self, name: str, default: Any = None) -> Any:
        """The value of an option."""


class StepFailed(AssertionError):
    """Marks a step red; never raised."""


def wanted(config: Config) -> bool:
    """True if the run was given `--alluredir`."""
    return bool(config.getoption("allure_report_dir", None))


def label(case: Record, rules: Rules | None = None) -> None:
    """Set the labels of the test that runs: epic = RFC, feature = section, story = requirement, severity by level.

    Only what is known before a case runs is looked at: id, title, behaviours, requirements, tc8, family. Each section
    is linked; behaviours and TC8 ids become tags.
    """
    import allure

    cited = [cite(id, rules) for id in case["requirements"]]
    for epic in _unique(f"RFC {one.rfc}" for one in cited if one.rfc):
        allure.dynamic.epic(epic)
    for feature in _unique(one.place for one in cited if one.section):
        allure.dynamic.feature(feature)
    for one in cited:
        allure.dynamic.story(_story(one))
        if one.url:
            allure.dynamic.link(one.url, name=f"{one.id}: {one.place}")
    allure.dynamic.severity(severity(cited))
    allure.dynamic.tag(*_unique([*case["behaviours"], *case["tc8"], *([case["family"]] if case["family"] else [])]))
    allure.dynamic.title(f"{one_line(case['title']) or case['id']} ({case['family']})")


def severity(cited: list[Cited]) -> str:
    """The severity of the strongest rule: MUST critical, SHOULD normal, MAY minor; normal if none is known."""
    found = {_SEVERITY.get(one.level.split(" ")[0], "normal") for one in cited}
    return next((rank for rank in _RANK if rank in found), "normal")


def attach(record: Record, *, always: bool = False, rules: Rules | None = None) -> None:
    """Add the steps of a case that has run; failure page, ladder and capture too if it is red, or `always`."""
    import allure

    _add_steps(record)
    if not always and record["verdict"] not in FAILING:
        return
    text = allure.attachment_type.TEXT
    allure.attach(failure.page(record, rules), name=failure.title_of(record["verdict"]).lower(), attachment_type=text)
    if drawn := ladder.draw(record["steps"]):
        allure.attach(drawn, name="ladder", attachment_type=text)
    if record["capture"] and Path(record["capture"]).is_file():
        allure.attach.file(record["capture"], name="capture", extension="pcapng")


def write_environment(directory: Path, target: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    """Write what was tested by what into Allure's results folder, which is made if need be; returns the file."""
    values = {f"target.{name}": value for name, value in target.items()} | dict(run)
    path = Path(directory) / ENVIRONMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in sorted(values.items())
                            if isinstance(value, str | int | float)), encoding="ascii")
    return path


def _add_steps(record: Record) -> None:
    from allure_commons import plugin_manager

    steps = record["steps"]
    for step in steps:
        elapsed_ms = (step["at_ns"] - steps[0]["at_ns"]) / 1_000_000
        mark = f"  [{step['mark']}]" if step["mark"] else ""
        title = f"{elapsed_ms:.3f} ms  {_SENDERS.get(step['side'], step['side'])}  {one_line(step['text'])}{mark}"
        number = uuid.uuid4()
        plugin_manager.hook.start_step(uuid=number, title=title, params={})
        broken = StepFailed(step["mark"]) if step["mark"] in _BAD else None
        plugin_manager.hook.stop_step(uuid=number, title=title, exc_type=StepFailed if broken else None,
                                      exc_val=broken, exc_tb=None)


def _story(cited: Cited) -> str:
    return f"{cited.id}: {cited.rule}" if cited.rule else cited.id


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _escaped(value: str | int | float) -> str:
    """As Java's properties are written: Latin letters as they are, the rest by number."""
    text = one_line(str(value)).replace("\\", "\\\\")
    return "".join(char if char.isascii() else "".join(f"\\u{unit:04x}" for unit in _utf16(char)) for char in text)


def _utf16(char: str) -> list[int]:
    octets = char.encode("utf-16-be")
    return [int.from_bytes(octets[at:at + 2], "big") for at in range(0, len(octets), 2)]
