# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `tcpqual profile ...`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..wire.errors import UsageError
from ..words import CommandGroup

if TYPE_CHECKING:
    from ..targets.base import Target
    from ..targets.profile import Profile

_REAL_S: Final = 30.0
_STEPPED_S: Final = 20_000.0


@click.group(cls=CommandGroup, short_help="Measure a target, and check what a profile says.")
def profile() -> None:
    """What a target claims (PICS) and its times and limits (PIXIT): a TOML file."""


@profile.command(short_help="Measure a target, and write a first profile of it.",
                 context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)
@click.option("--target", "spec", metavar="SPEC", default="", help="A target by its spec or its file.")
@click.option("--name", metavar="NAME", default="", help="What the profile is called. [default: from the target]")
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Write it there. [default: standard output]")
@click.option("--force", is_flag=True, help="Overwrite that file.")
@click.option("--longest-wait", "longest_s", metavar="S", type=click.FloatRange(1),
              help=f"How much of the target's time one probe may take. [default: {_REAL_S:g} where time is real, else "
                   f"{_STEPPED_S:g}]")
def new(command: tuple[str, ...], spec: str, name: str, output: Path | None, force: bool,
        longest_s: float | None) -> int:
    """Measure a target and write a first profile: options, windows, retries, time-outs, TIME-WAIT, keepalive.

    Give --target, or the COMMAND that starts a stack of your own which speaks the pipe protocol. What could not be
    seen stands there as a comment, with the reason.

    Exit status: 0 written, 2 usage, 3 the target cannot be reached.
    """
    from .draft import draft
    from .probes import probe
    from .subject import Subject

    if bool(command) == bool(spec):
        raise UsageError("profile new: give either --target SPEC or the command of a stack of your own")
    if output is not None and output.exists() and not force:
        raise UsageError(f"--output {output}: exists; allowed: another file, or --force")
    target = _target(spec, command)
    try:
        real = target.clock.kind == "real"
        subject = Subject(target, longest_s=longest_s or (_REAL_S if real else _STEPPED_S))
        seen = list(probe(subject, lambda what: click.echo(f"measuring: {what}", err=True)))
        text = draft(_head(target, spec, command, name, output), seen)
    finally:
        target.close()
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output}: {sum(each.value is not None for each in seen)} values seen; fill in what could not be, "
                   f"and check it with: tcpqual profile check {output}")
    return 0


def _target(spec: str, command: tuple[str, ...]) -> Target:
    """The target to measure. Raises UsageError, LinkError or TargetError."""
    from ..targets.profile import Profile, Value
    from ..targets.registry import make_target, needs_guest, needs_namespaces, parse_spec
    from ..targets.vocabulary import FEATURES, names

    if command:
        from ..targets.pipe.target import make

        timers = {"tick_s": Value(default=0.01), "timer_rounding": Value(default=0.0)}
        return make(Profile(name=Path(command[0]).name, kind="pipe", title="", file="", command=command,
                            features=dict.fromkeys(names(FEATURES), True), timers=timers), command[0])
    known = parse_spec(spec)
    if needs_guest(known):
        raise UsageError(f"--target {spec}: a kernel whose clock skips time cannot be measured from outside; allowed: "
                         "linux, vm:RELEASE, a pipe or a remote target")
    if needs_namespaces(known):
        from ..wire.netns import get_rights

        get_rights()
    return make_target(spec, unmeasured=True)


def _head(target: Target, spec: str, command: tuple[str, ...], name: str, output: Path | None) -> list[tuple[str, Any]]:
    """The first lines of the file."""
    import os
    import re

    title = target.profile.title if command else ""
    called = name or re.sub(r"[^a-z0-9._-]+", "-", Path(command[0] if command else spec).stem.lower()).strip("-.")
    head: list[tuple[str, Any]] = [("name", called or "my-stack"), ("kind", target.profile.kind),
                                   ("title", f"{title or called or spec} {target.version}".strip())]
    if target.profile.command:
        # As the user said it, from where he said it, wherever the file is put.
        started = Path(target.profile.file).parent / target.profile.cwd
        head += [("command", list(target.profile.command)),
                 ("cwd", str(started.resolve()) if output is None else os.path.relpath(started, output.parent))]
    return head


@profile.command(short_help="Is a profile's file right?")
@click.argument("files", nargs=-1, required=True, metavar="PROFILE...")
def check(files: tuple[str, ...]) -> int:
    """Check profiles: shape, names, values, the ledger, and what the claimed features need. A line for each fault.

    Exit status: 0 all are right, 1 one is not.
    """
    from ..targets.profile import load_profile
    from .soundness import faults

    wrong = 0
    for file in files:
        try:
            known = load_profile(file)
        except UsageError as error:
            found = str(error).splitlines()
        else:
            found = [f"{file}: {fault}" for fault in faults(known)]
        for line in found:
            click.echo(line)
        wrong += bool(found)
        if not found:
            click.echo(f"{file}: {_summary(known)}")
    return 1 if wrong else 0


def _summary(known: Profile) -> str:
    claimed = sum(known.features.values())
    stated = len(known.timers) + len(known.limits) + len(known.policies)
    return (f"{known.title}: {claimed} features claimed, {stated} values stated, {len(known.fingerprint)} pinned, "
            f"{len(known.ledger)} known deviations")


@profile.command("ledger", short_help="Draft ledger entries of what a run has found.")
@click.argument("results", metavar="RESULTS", type=click.Path(path_type=Path))
def ledger_(results: Path) -> int:
    """Draft a ledger entry for each failure and each advice not kept of a run, to be put into the profile.

    Reason and evidence are left for a person to write, and no profile is taken before: an entry says why.
    """
    from ..report.results import load
    from .ledger_draft import draft

    click.echo(draft(load(results)), nl=False)
    return 0


@profile.command(short_help="The names that a profile may have, with units.")
def terms() -> None:
    """List the names of a profile, what each means, and what the well-known settings are called here."""
    from ..targets.vocabulary import PINS, TERMS

    for term in TERMS:
        also = "; ".join(setting for setting, _ in term.settings)
        words = f" ({' or '.join(term.allowed)})" if term.allowed else " (or inf: never)" if term.endless else ""
        click.echo(f"{term.table:<12}{term.name:<28}{term.meaning}{words}" + (f" [{also}]" if also else ""))
    for pin in PINS:
        click.echo(f"{'fingerprint':<12}{pin.name:<28}{pin.meaning}")
