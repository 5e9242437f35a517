# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays a case again and again, without what pytest does around a test.

A case is a function and the fixtures that it asks for. Those of the session are there already; those of the test are
made anew for each play, in pytest's order, from the functions that pytest itself found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest

from ..item import case_of, family_of, ledger_name, what_ended
from ..lower.case import Case
from ..lower.verdict import Story
from ..targets.base import Target
from ..targets.judgement import Judgement, judge
from ..wire.errors import HarnessError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One play: what it came to, and its story up to there."""

    judgement: Judgement
    story: Story


class _Request:
    """As much of pytest's `request` as a fixture of a case may want."""

    def __init__(self, item: pytest.Item, value: Callable[[str], Any]) -> None:
        self.node = item
        self.config = item.config
        self.fixturenames: list[str] = list(getattr(item, "fixturenames", ()))
        self.getfixturevalue = value


class Stage:
    """Where one item is played. Raises UsageError for a fixture that cannot be made without pytest."""

    def __init__(self, item: pytest.Item) -> None:
        self._item: Any = item
        self._definitions: dict[str, Any] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
        self._parameters: dict[str, Any] = dict(getattr(getattr(item, "callspec", None), "params", {}))

    def play(self, target: Target, *, begin: Callable[[Case], None], end: Callable[[Case], None]) -> Played:
        """Play the case against this target, and judge it.

        `begin` is called when the case has begun, `end` when it has come to its end and nothing is cleaned up yet.
        """
        case = case_of(self._item, target)
        begin(case)
        values: dict[str, Any] = {"case": case, "target": target}
        ends: list[Generator[Any, Any, Any]] = []
        try:
            error = what_ended(self._item, case, target, self._play(values, ends))
        finally:
            for generator in reversed(ends):
                next(generator, None)
        try:
            end(case)
        except HarnessError as raised:
            error = raised
        return self.judged(case, target, error)

    def _play(self, values: dict[str, Any], ends: list[Generator[Any, Any, Any]]) -> BaseException | None:
        """Make the fixtures and call the function; returns what it raised."""
        try:
            arguments = {name: self._value(name, values, ends) for name in self._names()}
            self._item.obj(**{name: arguments[name] for name in self._item._fixtureinfo.argnames})
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as raised:
            return raised
        return None

    def judged(self, case: Case, target: Target, error: BaseException | None) -> Played:
        """What the case comes to that has ended with this exception or none."""
        story = case.story
        judgement = judge(story.findings, error, ledger=target.profile.ledger, case_id=ledger_name(self._item),
                          family=family_of(self._item), version=target.version, proof=story.proof)
        return Played(judgement=judgement, story=story)

    def _names(self) -> list[str]:
        return [name for name in getattr(self._item, "fixturenames", ()) if name != "request"]

    def _value(self, name: str, values: dict[str, Any], ends: list[Generator[Any, Any, Any]]) -> Any:
        if name in values:
            return values[name]
        if name == "request":
            return _Request(self._item, lambda other: self._value(other, values, ends))
        if name in self._parameters:
            return self._parameters[name]
        definition = self._definitions[name][-1] if name in self._definitions else None
        if definition is None:
            raise UsageError(f"{self._item.nodeid}: fixture {name!r} cannot be made for an audit")
        if definition.scope != "function" and definition.cached_result is not None:
            values[name] = definition.cached_result[0]
            return values[name]
        arguments = {other: self._value(other, values, ends) for other in definition.argnames}
        made = definition.func(**arguments)
        if inspect.isgenerator(made):
            ends.append(made)
            made = next(made)
        values[name] = made
        return made
