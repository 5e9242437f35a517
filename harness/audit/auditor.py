# SPDX-License-Identifier: GPL-2.0-or-later
"""Audits one case: plays it as it is, then once for every lie, and says which lies nobody noticed.

Each lie is told to a replay of the first run; only where the case then does something else than it did, the target
itself has to play. The two agree wherever the replay comes to an end (see `replay`).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import pytest

from ..lower.case import Case
from ..lower.injector import Injector
from ..lower.verdict import Finding, Step, TimingCheck, Verdict
from ..targets.base import Target, phantom_neighbour
from ..wire.clock import SECOND
from ..wire.codec import decode
from ..wire.errors import UsageError
from ..wire.frame import Frame
from ..wire.ip import dissect
from ..wire.notation import render
from ..wire.segment import Flow, Segment
from . import answers, lies
from .freedom import Declared, declared, freedom_for
from .liar import Answer, Deed, LyingLink, LyingUpper
from .replay import Diverged, Player, ReplayClock, ReplayLink, ReplayUpper
from .stage import Played, Stage
from .tape import Tape, TapedInjector, TapedLink, TapedUpper

_UNFIT: Final = (Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.NOT_APPLICABLE)
_TICKS: Final = 2
_TOGETHER_NS: Final = 1_000_000
"""Two frames that come within this time may come in the other order."""
_ETHERNET: Final = 14
_FLOWS: Final = 8
"""Of so many connections at most the state is kept at each instant."""
FINGERPRINT: Final = "fingerprint"

Class = tuple[Any, ...]
Thing = tuple[Class, list[Deed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user wants of an audit: `lie` alone (`seq+1@3`), or every lie, of `all` segments or a choice."""

    lie: str = ""
    all: bool = False


class Booth:
    """A target with the liars and the tape between it and the cases."""

    def __init__(self, target: Target) -> None:
        target.injector.clock.unregister(target.link)
        self._link = TapedLink(target.link, target.clock.now)
        self._truth = target.upper
        self._upper = TapedUpper(target.upper, target.clock.now)
        self.link = LyingLink(self._link, target.clock)
        self.upper = LyingUpper(self._upper)
        self.neighbour = phantom_neighbour()
        self._injector = TapedInjector(self.link.held_until, link=self.link, clock=target.clock,
                                       neighbour=self.neighbour)
        self.target = replace(target, link=self.link, upper=self.upper, injector=self._injector)

    def play(self, stage: Stage, deed: Deed | None = None) -> tuple[Played, bool]:
        """Let the target play, and tell this lie; also says whether there was an occasion to."""
        return self._play(stage, deed, None), self.link.told or self.upper.told

    def record(self, stage: Stage) -> tuple[Played, Recording]:
        """Let the target play without a lie, and keep all that was said."""
        ports = copy.copy(self.target.ports)
        tape = Tape()
        played = self._play(stage, None, tape)
        return played, Recording(booth=self, tape=tape, ports=ports, played=played, frames=list(self.link.frames),
                                 answers=list(self.upper.answers))

    def _play(self, stage: Stage, deed: Deed | None, tape: Tape | None) -> Played:
        def begin(case: Case) -> None:
            self.link.begin(case, deed)
            self.upper.begin(case, deed)
            self._tape(tape)
            self._injector.states = lambda: self._states(case)
            if tape is not None:
                tape.begin_ns = case.clock.now()

        def end(case: Case) -> None:
            if tape is not None:
                case.injector.stamp()
                tape.end_ns, tape.lateness_ns = case.clock.now(), case.clock.lateness_ns
            self._tape(None)
            self.link.end()
            self.upper.end()
            case.close()

        return stage.play(self.target, begin=begin, end=end)

    def _states(self, case: Case) -> dict[Flow, str]:
        flows = case.flows
        return {flow: self._truth.state(flow) for flow in flows} if len(flows) <= _FLOWS else {}

    def _tape(self, tape: Tape | None) -> None:
        self._link.tape = self._upper.tape = self._injector.tape = tape


@dataclass(kw_only=True)
class Recording:
    """A run without a lie, which can be played again with one."""

    booth: Booth
    tape: Tape
    ports: Any
    played: Played
    frames: list[Frame]
    answers: list[Answer]

    def play(self, stage: Stage, deed: Deed | None = None) -> Played:
        """Play the tape, and tell this lie. Raises Diverged."""
        original = self.booth.target
        player = Player(self.tape)
        tape_link, tape_upper = ReplayLink(player, original.link), ReplayUpper(player)
        clock = ReplayClock(player, tape_link, tape_upper, kind=original.clock.kind)
        link, upper = LyingLink(tape_link, clock), LyingUpper(tape_upper)
        injector = Injector(link=link, clock=clock, neighbour=self.booth.neighbour)
        target = replace(original, link=link, upper=upper, clock=clock, injector=injector, ports=copy.copy(self.ports))

        cases: list[Case] = []

        def begin(case: Case) -> None:
            cases.append(case)
            link.begin(case, deed)
            upper.begin(case, deed)

        try:
            return stage.play(target, begin=begin, end=lambda case: None)
        except Diverged:
            # What has been found stays found, whatever comes.
            played = stage.judged(cases[0], target, None)
            if _ruled(_essence(played)[1] - _essence(self.played)[1]):
                return played
            raise


class Auditor:
    """Audits items against one target."""

    def __init__(self, target: Target, wishes: Wishes) -> None:
        self._booth = Booth(target)
        self.target = self._booth.target
        self._wishes = wishes

    def audit(self, item: pytest.Item) -> dict[str, Any]:
        """What the lies about this item came to, as plain data. Raises UsageError for a lie that there is not."""
        stage = Stage(item)
        played, recording = self._booth.record(stage)
        if played.judgement.verdict in _UNFIT:
            return {"left_out": f"{played.judgement.verdict.value}: {played.judgement.reason}"}
        telling = _Telling(recording, self.target.profile.timer("response_s"))
        chosen, skipped = self._choose(telling)
        return self._run(item, stage, recording, telling, chosen, skipped)

    def _choose(self, telling: _Telling) -> tuple[list[Deed], int]:
        things = list(telling.things())
        everything = [deed for _, deeds in things for deed in deeds]
        if self._wishes.lie:
            found = [deed for deed in everything if deed.name == self._wishes.lie]
            if not found:
                raise UsageError(f"--lie {self._wishes.lie}: cannot be told of this case; allowed: "
                                 f"{', '.join(deed.name for deed in everything)}")
            return found, 0
        if self._wishes.all:
            return everything, 0
        chosen = [deed for deeds in _first_middle_last(things) for deed in deeds]
        return chosen, len(everything) - len(chosen)

    def _run(self, item: pytest.Item, stage: Stage, recording: Recording, telling: _Telling, chosen: Sequence[Deed],
             skipped: int) -> dict[str, Any]:
        frees = declared(item, known_lies())
        base = _essence(recording.played)
        counts: Counter[str] = Counter()
        fields: dict[str, Counter[str]] = {}
        survivors = []
        freedoms: Counter[str] = Counter()
        live = 0
        for deed in chosen:
            played, was_live, told = self._tell(stage, recording, deed)
            live += was_live
            outcome = _outcome(base, played) if told else "error"
            if outcome in ("survived", "error") and (why := _free(deed, telling, frees)) and outcome == "survived":
                outcome = "free"
                freedoms[why] += 1
            counts[outcome] += 1
            fields.setdefault(deed.lie.field, Counter())[outcome] += 1
            if outcome in ("survived", "error") or self._wishes.lie:
                survivors.append(_survivor(deed, outcome, played, telling))
        return {"lies": len(chosen), "skipped": skipped, "live": live, "counts": dict(counts),
                "fields": {name: dict(count) for name, count in fields.items()}, "free": dict(freedoms),
                "survivors": survivors}

    def _tell(self, stage: Stage, recording: Recording, deed: Deed) -> tuple[Played, bool, bool]:
        """The play with this lie, whether it was the target's own, and whether the lie was told in it."""
        try:
            return recording.play(stage, deed), False, True
        except Diverged:
            played, told = self._booth.play(stage, deed)
            return played, True, told


class _Telling:
    """What the target said in a recorded run, and the lies that can be told about it."""

    def __init__(self, recording: Recording, response_s: float) -> None:
        self._recording = recording
        self._response_ns = round(response_s * SECOND)
        self.segments = [_segment(frame) for frame in recording.frames]
        self._steps = _steps(recording)
        self.texts = [step.text if step is not None else "a packet" if segment is None else render(segment)
                      for step, segment in zip(self._steps, self.segments, strict=True)]

    def things(self) -> Iterator[Thing]:
        """Each thing that was said: its class, and the lies about it."""
        for at, frame in enumerate(self._recording.frames, 1):
            yield self._class_of_frame(at), list(self._of_frame(at, frame))
        for answer in self._recording.answers:
            if deeds := list(self._of_answer(answer)):
                yield ("answer", answer.method, _kind_of(answer.answer), answer.waited), deeds

    def what(self, deed: Deed) -> str:
        """In words: what the lie is about."""
        if isinstance(deed.lie, lies.Lie):
            return self.texts[deed.at - 1]
        answer = self._recording.answers[deed.at - 1]
        return f"{answer.method}() -> {'has not returned' if answer.answer is None else answer.answer}"

    def _class_of_frame(self, at: int) -> Class:
        segment = self.segments[at - 1]
        if segment is None:
            return ("frame", self.texts[at - 1])
        kinds = tuple(option.kind for option in segment.options or ())
        step = self._steps[at - 1]
        return ("segment", segment.flags, kinds, len(segment.payload or b""), step.mark if step is not None else "")

    def _of_frame(self, at: int, frame: Frame) -> Iterator[Deed]:
        for lie in lies.lies_of(frame):
            yield Deed(lie=lie, at=at)
        check = self._check(at, frame)
        if check is None:
            yield Deed(lie=lies.LATE, at=at, shift_ns=self._response_ns + self._response_ns // 2)
        else:
            margin_ns = self._margin_ns(check)
            yield Deed(lie=lies.LATE, at=at, shift_ns=check.latest_ns - check.got_ns + margin_ns)
            if check.earliest_ns - margin_ns > self._recording.tape.begin_ns:
                yield Deed(lie=lies.EARLY, at=at, shift_ns=check.got_ns - check.earliest_ns + margin_ns)
        if self._is_followed(frame):
            yield Deed(lie=lies.BEHIND, at=at)

    def _margin_ns(self, check: TimingCheck) -> int:
        """So far outside its window a lie puts a frame: each run has its own phase of the tick and the timer wheel."""
        timing = self._recording.booth.target.timing
        return _TICKS * timing.tick_ns + timing.tolerance_ns + max(0, check.latest_ns - check.due_ns)

    def _check(self, at: int, frame: Frame) -> TimingCheck | None:
        return next((check for check in self._recording.played.story.checks
                     if check.got_ns == frame.stamp_ns and check.what == self.texts[at - 1]), None)

    def _is_followed(self, frame: Frame) -> bool:
        """True if the next frame of the same connection came before we did anything else."""
        entries = self._recording.tape.entries
        at = next((at for at, entry in enumerate(entries) if getattr(entry, "event", None) is frame), len(entries))
        follower = getattr(entries[at + 1], "event", None) if at + 1 < len(entries) else None
        return any(follower is other and _flow(other) == _flow(frame)
                   and other.stamp_ns - frame.stamp_ns <= _TOGETHER_NS for other in self._recording.frames)

    def _of_answer(self, answer: Answer) -> Iterator[Deed]:
        for lie in answers.lies_of(answer.method, answer.answer, waited=answer.waited):
            yield Deed(lie=lie, at=answer.at)


def known_lies() -> frozenset[str]:
    """The names of the lies of the tables, and those of the options that a SYN of today has."""
    tables = (*lies.HEADER, *lies.NETWORK, *lies.INVENTIONS, *lies.ICMP, lies.DROP, lies.TWICE, lies.LATE, lies.EARLY,
              lies.BEHIND)
    told = (*(lie for table in answers.LIES.values() for lie in table), answers.TOO_EARLY)
    return frozenset((*(lie.name for lie in tables), *(lie.name for lie in told), *lies.option_names()))


def _first_middle_last(things: Sequence[Thing]) -> Iterator[list[Deed]]:
    """The lies about the first, a middle and the last thing of each class."""
    classes: dict[Class, list[list[Deed]]] = {}
    for kind, deeds in things:
        classes.setdefault(kind, []).append(deeds)
    for alike in classes.values():
        for at in sorted({0, len(alike) // 2, len(alike) - 1}):
            yield alike[at]


def _essence(played: Played) -> tuple[Verdict, frozenset[Any]]:
    return played.judgement.verdict, frozenset(map(_known_by, played.judgement.findings))


def _known_by(finding: Finding) -> Any:
    """What makes two findings of two runs the same; the ledger has looked at the wording of those it knows."""
    if finding.deviation is not None:
        return finding.requirement, finding.source, finding.fields, finding.deviation
    return finding.requirement, finding.source, finding.fields, finding.expected, finding.got


def _outcome(base: tuple[Verdict, frozenset[Any]], played: Played) -> str:
    """What became of a lie: noticed, fingerprint, inconclusive, error or survived."""
    verdict, findings = _essence(played)
    if verdict is Verdict.ERROR:
        return "error"
    if _ruled(findings - base[1]) and verdict is not Verdict.NOT_APPLICABLE:
        return "noticed"
    if verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE):
        # Whoever runs the case sees that it came to nothing, and not why.
        return "inconclusive"
    changed = findings ^ base[1]
    if verdict is not base[0] or _ruled(changed):
        return "noticed"
    return "fingerprint" if changed else "survived"


def _ruled(changed: Iterable[Any]) -> bool:
    """True if there is more among these findings than what is not as the profile pins it."""
    return any(source != FINGERPRINT for _, source, *_ in changed)


def _free(deed: Deed, telling: _Telling, frees: Sequence[Declared]) -> str:
    """Why a lie may pass, "" if it may not."""
    for free in frees:
        if free.lie == deed.lie.name:
            return f"{free.lie}: {free.why} (declared by the case)"
    if not isinstance(deed.lie, lies.Lie):
        return ""
    freedom = freedom_for(deed.lie.name, telling.segments[deed.at - 1])
    return f"{deed.lie.name}: {freedom.reason} ({freedom.requirement})" if freedom else ""


def _survivor(deed: Deed, outcome: str, played: Played, telling: _Telling) -> dict[str, Any]:
    return {"lie": deed.name, "field": deed.lie.field, "outcome": outcome, "about": telling.what(deed),
            "verdict": played.judgement.verdict.value, "reason": played.judgement.reason,
            "steps": [asdict(step) for step in sorted(played.story.steps, key=lambda step: step.at_ns)],
            "findings": [asdict(finding) for finding in played.judgement.findings]}


def _segment(frame: Frame) -> Segment | None:
    packet = dissect(frame.data[_ETHERNET:])
    return None if packet is None else decode(packet, stamp_ns=frame.stamp_ns)


def _flow(frame: Frame) -> bytes:
    """What tells connections apart: addresses and ports, as far as there are ports."""
    packet = dissect(frame.data[_ETHERNET:])
    return b"" if packet is None else packet.source + packet.destination + packet.payload[:4]


def _steps(recording: Recording) -> list[Step | None]:
    """The step of the story that each frame has made; by its stamp where the case has struck out some of them."""
    told = [step for step in recording.played.story.steps if step.side == "target"]
    if len(told) == len(recording.frames):
        return list(told)
    return [next((step for step in told if step.at_ns == frame.stamp_ns), None) for frame in recording.frames]


def _kind_of(answer: Any) -> Any:
    error = getattr(answer, "error", None)
    if error is None:
        return type(answer).__name__
    return error, type(answer.value).__name__, answer.value == b""
