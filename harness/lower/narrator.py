# SPDX-License-Identifier: GPL-2.0-or-later
"""Who tells the story of a case: what has happened so far, and what is wrong with it by which rule."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..requirements.catalogue import Requirement, load
from ..upper.base import NotApplicable, Unseen
from ..wire.clock import SECOND
from ..wire.errors import ScriptError
from ..wire.segment import RST, Flow, Segment
from .fingerprint import LEVEL, SOURCE, Fingerprint, Pins, Unlike
from .injector import Injector
from .timing import After, Stamped, Timing
from .verdict import Finding, Inconclusive, Mismatch, Step, Story, TimingCheck

_VIOLATIONS: Final = 100
"""So many different segments that break one rule are enough to write down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant of the target's clock, in nanoseconds."""

    stamp_ns: int | None


class Narrator:
    """Writes the story of one case, line by line, and holds what comes against the rules that the case covers.

    `requirements` are those, the first one being what a mismatch is held against unless the step names another. `pins`
    are what the target is known by in this family. `observer` is told each step when it is written.
    """

    def __init__(self, *, injector: Injector, timing: Timing, requirements: Mapping[str, Requirement], pins: Pins,
                 observer: Callable[[Step], None] | None) -> None:
        self.injector = injector
        self.clock = injector.clock
        self.timing = timing
        self.requirements = requirements
        self.pins = pins
        self.changed: defaultdict[int, set[str]] = defaultdict(set)
        """By port of the target: the socket options that its application has set there; see `fingerprint.FREED`."""
        self.story = Story()
        self.mismatched = False
        self._observer = observer
        self._in_preamble = False
        self._stimulus_ns = 0

    # -- lines -------------------------------------------------------------------------------------------------------

    def step(self, side: str, text: str, mark: str = "") -> Step:
        """Write one line of the story, stamped now."""
        step = Step(at_ns=self.clock.now(), side=side, text=text, mark=mark)
        self.story.steps.append(step)
        if side in ("injector", "api"):
            self._stimulus_ns = step.at_ns
        if self._observer is not None:
            self._observer(step)
        return step

    def moment(self, at_ns: int | None = None) -> Stamped:
        """An instant to count from; the present one by default."""
        return Moment(stamp_ns=self.clock.now() if at_ns is None else at_ns)

    def note(self, text: str) -> None:
        """Write a remark."""
        self.step("note", text)

    # -- rules -------------------------------------------------------------------------------------------------------

    def requirement(self, rule: str | None) -> tuple[str, str]:
        """Id and level of the rule that a step is held against."""
        if rule is None:
            if not self.requirements:
                return "none", "MUST"
            rule = next(iter(self.requirements))
        known = self.requirements.get(rule)
        if known is None:
            raise ScriptError(f"rule {rule!r}: not covered by this case; covered: {', '.join(self.requirements)}")
        return rule, known.level.value

    def level_of(self, requirement: str) -> str:
        """The level of any requirement of the catalogue."""
        return load().get(requirement).level.value

    def closed_world(self) -> tuple[str, str]:
        """Id and level of the rule that a segment is held against which nobody expected: a MUST, whatever the case
        is about, since advice that is not kept excuses no other segment (DESIGN, rule 2).
        """
        binding = (name for name, rule in self.requirements.items() if rule.level.is_must)
        return next(binding, "none"), "MUST"

    def mismatch(self, *, expected: str, got: str, rule: str | None = None, fields: Sequence[str] = (),
                 state: str | Callable[[], str] = "", detail: str = "", step: Step | None = None,
                 stray: bool = False) -> Mismatch:
        """The finding that ends the case; raise it. `step` is the line it is about, the last one by default.

        `state` is the connection's, or how to ask for it, which is done when all else has been written down.

        `stray` is something that no step of the case speaks of: see `closed_world`.

        While the case is only being brought to where it begins, the same is an `Inconclusive` (DESIGN, rule 3).
        """
        requirement, level = self.closed_world() if stray else self.requirement(rule)
        if self._in_preamble:
            raise Inconclusive(f"the target could not be brought to where the case begins: expected {expected}, "
                               f"got {got}")
        finding = Finding(requirement=requirement, level=level, source="case", expected=expected, got=got,
                          fields=tuple(fields), step=self.story.index(step), detail=detail)
        self.story.findings.append(finding)
        self.mismatched = True
        finding = replace(finding, state=state if isinstance(state, str) else self._told(state))
        self.story.findings[-1] = finding
        return Mismatch(finding)

    @staticmethod
    def _told(state: Callable[[], str]) -> str:
        """The state if it can be had; that it cannot takes nothing off what has been found."""
        try:
            return state()
        except NotApplicable:
            return ""

    def advise(self, *, expected: str, got: str, rule: str) -> None:
        """Record a rule not kept without ending the case: what is found counts at the end."""
        requirement, level = self.requirement(rule)
        self.story.findings.append(Finding(requirement=requirement, level=level, source="case", expected=expected,
                                           got=got, step=max(0, len(self.story.steps) - 1)))

    def violation(self, *, requirement: str, level: str, expected: str, got: str, fields: Sequence[str],
                  step: int, state: str = "") -> None:
        """Record what the oracle found; it counts when the case ends."""
        alike = [known.got for known in self.story.findings
                 if known.requirement == requirement and known.source == "oracle"]
        # The ledger explains a segment, not a rule: the next one may break the same rule in a way that nobody knows.
        if got in alike or len(alike) == _VIOLATIONS:
            return
        self.story.findings.append(Finding(requirement=requirement, level=level, source="oracle", expected=expected,
                                           got=got, fields=tuple(fields), step=step, state=state))

    # -- pins --------------------------------------------------------------------------------------------------------

    def fingerprint(self, flow: Flow) -> Fingerprint:
        """What the profile pins, held against one connection."""
        return Fingerprint(self.pins, ipv6=flow.ipv6, changed=self.changed[flow.target_port],
                           tolerance_ns=lambda: self.tolerance_ns)

    def prompt(self, segment: Segment, step: Step) -> None:
        """Hold a segment for which no time is named against the pin of how soon such a one comes.

        What was lost and sent again comes later than what was sent at once. Where time is real, so does much else.
        """
        most_us = self.pins.prompt_us
        if most_us is None or not segment.length or segment.has(RST) or self.clock.kind == "real":
            return
        elapsed_ns = (segment.stamp_ns or 0) - self._stimulus_ns
        if elapsed_ns > most_us * 1000:
            self.unlike(Unlike(pin="prompt_us", expected=f"within {most_us} us", got=f"after {elapsed_ns // 1000} us",
                               fields=("time",)), step)

    def unlike(self, unlike: Unlike, step: Step | None = None) -> None:
        """Record that a step, the last by default, is not what the profile pins; for the verdict it counts nothing."""
        if sum(known.source == SOURCE for known in self.story.findings) < _VIOLATIONS:
            self.story.findings.append(Finding(
                requirement=SOURCE, level=LEVEL, source=SOURCE, expected=unlike.expected, got=unlike.got,
                fields=unlike.fields, step=self.story.index(step), detail=f"pinned: {unlike.pin}"))

    # -- where a look counts less ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def preamble(self) -> Iterator[None]:
        """What goes wrong inside says nothing about the case: the verdict is inconclusive. What goes right neither."""
        outer, self._in_preamble = self._in_preamble, True
        proof = set(self.story.proof)
        try:
            yield
        finally:
            self._in_preamble = outer
            self.story.proof = proof

    @contextlib.contextmanager
    def looking(self, at: str) -> Iterator[None]:
        """A look at what the target's application is told, of which the case may do without if it cannot be had.

        It may on the way to where it begins, which the wire shows too. Elsewhere it says nothing any more of the rules
        that cannot be tested by the wire alone; without any other it is not applicable.
        """
        try:
            yield
        except Unseen:
            if not self._in_preamble:
                beyond = {name for name, rule in self.requirements.items() if rule.testability != "wire"}
                if beyond and len(beyond) == len(self.requirements):
                    raise
                self.story.unseen |= beyond
            self.note(f"not looked at: {at}")

    @property
    def in_preamble(self) -> bool:
        """True while the case is only being brought to where it begins."""
        return self._in_preamble

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def tolerance_ns(self) -> int:
        """The tolerance measured at the start, or how late the machine has been in this case if that is more."""
        return max(self.timing.tolerance_ns, self.clock.lateness_ns)

    def check_time(self, what: str, due: After, start: Stamped, got: Stamped) -> TimingCheck:
        """Whether something came when it was due; the check is written into the report."""
        self.injector.stamp()
        earliest, latest = self.timing.window(due, self.clock.lateness_ns)
        start_ns = start.stamp_ns or 0
        check = TimingCheck(what=what, due_ns=start_ns + round(due.due_s * SECOND), earliest_ns=start_ns + earliest,
                            latest_ns=start_ns + latest, got_ns=got.stamp_ns or 0)
        self.story.checks.append(check)
        return check
