# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual qualify`: the suite against each target, and one bundle of all that came of it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ..report.matrix import Matrix, build, read
from ..report.matrix_document import as_document
from ..report.matrix_page import write_matrix
from ..report.matrix_text import lines
from ..report.qualification import write_qualification
from ..report.results import BROKEN, CONFORMANT, HARNESS, NOTHING_VERIFIED, USAGE
from ..report.terminal import console, interactive
from ..targets.profile import Profile
from ..targets.registry import parse_spec
from ..targets.uml import canonical
from ..wire.errors import UsageError
from . import bundle, provenance
from .matrices import rules_by_case
from .runs import LOOK_S, Outcome, Plan, Running

_WORST_FIRST: Final = (USAGE, HARNESS, BROKEN, NOTHING_VERIFIED, CONFORMANT)
_PROFILE: Final = "profile"
_INTERRUPTED: Final = "interrupted before its turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for. `words` go to each `tcpqual run`; `selection` are those that choose cases."""

    targets: tuple[str, ...]
    output: Path
    words: tuple[str, ...]
    selection: str
    wall_limit_s: float
    replace: bool
    title: str = ""


def qualify(order: Order, say: Callable[[str], object]) -> int:
    """Run the suite on each target and write the bundle; returns the exit status.

    It is the first that fits any target of 2, 3, 1, 4, 0. `UsageError` before anything is run, for a target that there
    is not, or a folder that is in the way.
    """
    profiles = {target: parse_spec(target) for target in _targets(order.targets)}
    _make_room(order)
    began = _now()
    # A bundle that is cut short is known as one.
    _dump(order.output / bundle.HEAD, _head(order, profiles, (), {}, began))
    plans = list(_plans(order, profiles))
    outcomes = _play(plans, profiles, say)
    say("")
    rules = rules_by_case()
    found = read(outcome.results for outcome in outcomes if outcome.results is not None)
    matrix = build(found, suite=rules) if found else None
    head = _head(order, profiles, outcomes, rules, began)
    _write(order.output, head, matrix)
    for line in lines(matrix) if matrix else ():
        say(line)
    for outcome in outcomes:
        if outcome.error:
            say(f"{outcome.plan.target}: {outcome.error.splitlines()[-1]}")
    status = min((outcome.status for outcome in outcomes), key=_WORST_FIRST.index)
    say(f"Bundle  {order.output}/  summary.html matrix.html matrix.json {bundle.SUMS} (exit status {status})")
    return status


# -- before -----------------------------------------------------------------------------------------------------------


def _targets(named: Iterable[str]) -> list[str]:
    """The targets as results will name them, each once."""
    targets = [canonical(name, virtual_time=False, kernel="") for name in named]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"{target}: named {targets.count(target)} times; name each target once")
    return targets


def _make_room(order: Order) -> None:
    """An empty folder; only an earlier bundle is taken away, and only where that is wanted."""
    output = order.output
    try:
        if output.is_dir() and any(output.iterdir()):
            if not bundle.is_bundle(output):
                raise UsageError(f"--output {output}: is there, and no bundle; name a folder that is not there")
            if not order.replace:
                raise UsageError(f"--output {output}: a bundle is there already; name another folder, or --replace")
            shutil.rmtree(output)
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot make this folder: {error.strerror}") from None


def _plans(order: Order, profiles: Mapping[str, Profile]) -> Iterator[Plan]:
    taken: set[str] = set()
    for target in profiles:
        # A file is called what it is called, not where it stands.
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", target.rpartition("/")[2].replace(".toml", "")).strip("-.") or "target"
        folder, number = name, 2
        while folder in taken:
            folder, number = f"{name}-{number}", number + 1
        taken.add(folder)
        yield Plan(target=target, folder=order.output / bundle.TARGETS / folder, words=order.words,
                   wall_limit_s=order.wall_limit_s)


# -- the runs ---------------------------------------------------------------------------------------------------------


def _play(plans: Sequence[Plan], profiles: Mapping[str, Profile], say: Callable[[str], object]) -> list[Outcome]:
    """What became of each plan, in their order.

    One after the other, since timers are measured and most targets use all processors; but remote devices, whose one
    worker mostly waits, are played beside the rest, among themselves one after the other too: several files may name
    one device.
    """
    remote = [plan for plan in plans if profiles[plan.target].kind == "remote"]
    lanes = [lane for lane in ([plan for plan in plans if plan not in remote], remote) if lane]
    titles = {plan.target: f"[{number}/{len(plans)}] {plan.target}" for number, plan in enumerate(plans, 1)}
    running: list[Running] = []
    done: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        done[outcome.plan.target] = outcome
        say(f"{titles[outcome.plan.target]}: {_word(outcome)}, {outcome.wall_s:.0f} s")

    try:
        with _shown(say) as show:
            while lanes or running:
                for lane in [lane for lane in lanes if not any(run.plan in lane for run in running)]:
                    plan = next(plan for plan in lane if plan.target not in done)
                    _keep(plan, profiles[plan.target])
                    running.append(Running(plan))
                    show([f"{titles[plan.target]} ..."])
                for run in list(running):
                    if (outcome := run.wait(LOOK_S / len(running))) is not None:
                        running.remove(run)
                        note(outcome)
                show([f"{titles[run.plan.target]}: {run.cases} cases" for run in running])
                lanes = [lane for lane in lanes if any(plan.target not in done for plan in lane)]
    except KeyboardInterrupt:
        for run in running:
            note(run.interrupted())
    except BaseException:
        for run in running:
            run.end()
        raise
    for plan in plans:
        if plan.target not in done:
            _keep(plan, profiles[plan.target])
            done[plan.target] = Outcome(plan=plan, status=HARNESS, wall_s=0.0, error=_INTERRUPTED, results=None)
    return [done[plan.target] for plan in plans]


def _keep(plan: Plan, profile: Profile) -> None:
    """Write the profile down as it is when its run begins."""
    home = plan.folder / _PROFILE
    home.mkdir(parents=True, exist_ok=True)
    for name, text in provenance.profile_files(plan.target, profile).items():
        (home / name).write_text(text, encoding="utf-8")


@contextmanager
def _shown(say: Callable[[str], object]) -> Iterator[Callable[[Sequence[str]], object]]:
    """Progress: on a terminal a line that counts, elsewhere one that says what has begun."""
    if not interactive(sys.stdout):
        yield lambda words: [say(word) for word in words if word.endswith(" ...")]
        return
    with console(sys.stdout).status("") as status:
        yield lambda words: status.update("   ".join(words))


def _word(outcome: Outcome) -> str:
    words = {CONFORMANT: "conformant", BROKEN: "NOT CONFORMANT", NOTHING_VERIFIED: "NOTHING VERIFIED"}
    return words.get(outcome.status, f"ENDED WITH {outcome.status}")


# -- the bundle -------------------------------------------------------------------------------------------------------


def _head(order: Order, profiles: Mapping[str, Profile], outcomes: Sequence[Outcome],
          rules: Mapping[str, Sequence[str]], began: str) -> dict[str, Any]:
    """What `bundle.json` says."""
    return {
        "schema": bundle.SCHEMA, "kind": bundle.KIND, "title": order.title or order.output.resolve().name,
        "began": began, "ended": _now(), "tool": provenance.tool(), "commit": provenance.commit(),
        "catalogue": provenance.catalogue(), "suite": provenance.cases(len(rules)),
        "machine": provenance.machine(), "packages": provenance.packages(), "selection": order.selection,
        "strict": "--strict" in order.words,
        "targets": [_entry(order.output, profiles[outcome.plan.target], outcome) for outcome in outcomes],
    }


def _entry(output: Path, profile: Profile, outcome: Outcome) -> dict[str, Any]:
    folder = outcome.plan.folder
    return {
        "target": outcome.plan.target, "folder": folder.relative_to(output).as_posix(), "status": outcome.status,
        "error": outcome.error, "wall_s": outcome.wall_s, "command": outcome.command,
        "results": None if outcome.results is None else outcome.results.relative_to(output).as_posix(),
        "profiles": sorted(file.relative_to(output).as_posix() for file in (folder / _PROFILE).iterdir()),
        "ledger": provenance.ledger(profile),
    }


def _write(output: Path, head: Mapping[str, Any], matrix: Matrix | None) -> None:
    """The pages and documents; the sums last, which cover all else."""
    if matrix is not None:
        write_matrix(matrix, output / "matrix.html", made_by=head["tool"])
        _dump(output / bundle.MATRIX, as_document(matrix, tool=head["tool"], base=output))
    write_qualification(head, matrix, output / "summary.html")
    _dump(output / bundle.HEAD, head)
    bundle.write_sums(output)


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    path.write_bytes(text.encode("utf-8", "replace"))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
