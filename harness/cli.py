# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line `tcpqual`: what it takes, and which part of the harness does it.

Nothing of the harness is imported before a command needs it, so that help and completion are there at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from . import __version__
from .probing.commands import profile
from .qualification.commands import bundle, diff, matrix, qualify
from .targets.stacks.commands import target
from .targets.vm.commands import vm
from .upper.agent_command import agent
from .upper.testability.commands import testability_server
from .virtualtime.commands import kernel
from .wire.errors import HarnessError, UsageError
from .words import CommandGroup

if TYPE_CHECKING:
    from .suite import Entry

USAGE: Final = 2
HARNESS: Final = 3
_INTERRUPTED: Final = 130
_AUDIT_LIMIT_S: Final = 1800.0
"""How long the guests of an audit may take, which play each case some hundred times."""

_TARGET_HELP: Final = ("The stack under test: NAME[:VARIANT] (linux, linux:no-cookies, uml:6.12, vm:6.1, "
                       "decoy:blackhole ...) or a profile file that ends in .toml.")


def _complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from .targets.decoys import DECOYS
    from .targets.kernels import kernels
    from .targets.profile import profile_names
    from .targets.vm.images import images

    known = [name for name in profile_names() if name != "decoy"] + [f"decoy:{name}" for name in DECOYS]
    if incomplete.startswith("model:"):
        from .targets.model.defects import names

        known += [f"model:{name}" for name in names()]
    known += [f"uml:{kernel.name}" for kernel in kernels()] + [f"vm:{image.name}" for image in images()]
    return [name for name in known if name.startswith(incomplete)]


def _complete_case(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from .suite import names, suite

    return [name for name in names(suite()) if name.startswith(incomplete)]


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
             invoke_without_command=True)
@click.version_option(__version__, "--version", "-V", prog_name="tcpqual", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Qualify a TCP stack: play segments against it, and say which rules of the RFCs it keeps."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# -- run and audit ----------------------------------------------------------------------------------------------------


_Command = Callable[..., Any]
_COMMON: Final[tuple[Callable[[_Command], _Command], ...]] = (
    click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=_complete_case),
    click.option("--target", metavar="SPEC", default="linux", show_default=True, help=_TARGET_HELP,
                 shell_complete=_complete_target),
    click.option("--defect", metavar="NAME", default="",
                 help="The target `model` with this mistake of `tcpqual list --defects`."),
    click.option("--family", type=click.Choice(["ipv4", "ipv6", "both"]), default="both", show_default=True,
                 help="IP family in which the cases run."),
    click.option("-k", "expression", metavar="EXPR", default="", help="Only cases whose names match, as in pytest."),
    click.option("-n", "workers", metavar="WORKERS", type=click.IntRange(0, 256),
                 help="Worker processes, 0 for none. [default: 8 where time is real, of an audit one a processor; 0 "
                      "where it is not]"),
    click.option("--seed", type=int, default=0, show_default=True,
                 help="Chooses our initial sequence numbers, and in guests the kernel's random numbers."),
    click.option("--virtual-time", is_flag=True,
                 help="Run inside a kernel whose clock skips idle time, with default timers: --target uml:NAME, "
                      "or gated:NAME for vm:NAME."),
    click.option("--kernel", metavar="NAME", default="",
                 help="Which kernel of `tcpqual kernel list`. [default: the newest of Debian's]"),
    click.option("--shards", metavar="N", type=click.IntRange(1, 64),
                 help="Guests that share the cases. [default: one a processor, 8 with --real-clock]"),
)
"""What says which cases are played, against what, and by how many: the fields of a `Campaign`."""


def _common(command: _Command) -> _Command:
    for add in reversed(_COMMON):
        command = add(command)
    return command


def _wall_limit(default_s: float) -> Callable[[_Command], _Command]:
    return click.option("--wall-limit", metavar="S", type=click.FloatRange(1),
                        help=f"End a run in guests after so many seconds. [default: {default_s:g}]")


@cli.command(short_help="Run cases against a target.")
@_common
@_wall_limit(600)
@click.option("--strict", is_flag=True, help="A SHOULD that is not kept fails the run.")
@click.option("--slow", is_flag=True, help="Also run the cases that wait over 5 s; those of hours only in guests.")
@click.option("--real-clock", is_flag=True, help="Let that kernel keep real time, with short timers.")
@click.option("--results", metavar="FILE", default="reports/results.json", show_default=True,
              help="Where the results go. The page, JUnit, Allure and the captures stand beside it.")
@click.option("--ci", is_flag=True,
              help="Also write what CI services show: summary.md, code-quality.json; on GitHub annotations and the "
                   "step's summary.")
@click.option("--attach", is_flag=True, help="Attach ladder and capture to every Allure result, passed ones too.")
@click.option("--allure/--no-allure", default=True, show_default=True, help="Write Allure results.")
def run(strict: bool, slow: bool, ci: bool, attach: bool, allure: bool, **chosen: Any) -> int:
    """Run cases against a target, show the verdicts, write the reports.

    PATH is a case as results name it (handshake/passive::syn_draws_syn_ack), a topic, a topic/module, a file or a
    folder; without one all cases run.

    Exit status: 0 conformant, 1 not, 2 usage, 3 error of the harness or target, 4 nothing verified.
    """
    from .campaign import Campaign

    campaign = Campaign(**chosen)
    folder = Path(campaign.results).parent
    words = [f"--junitxml={folder / 'junit.xml'}"]
    flags = (("--strict-should", strict), ("--slow", slow), ("--ci", ci), ("--attach", attach))
    words += [word for word, wanted in flags if wanted]
    if allure:
        words += [f"--alluredir={folder / 'allure-results'}", "--clean-alluredir"]
    return campaign.play(words)


@cli.command(short_help="Show which lies of a target cases do not notice.")
@_common
@_wall_limit(_AUDIT_LIMIT_S)
@click.option("--lie", metavar="LIE@N", default="",
              help="This lie alone, with its exchange: seq+1@3, the target's third segment; errno@a2, its second "
                   "answer to a call.")
@click.option("--all", "every", is_flag=True,
              help="Lies about every segment, not only the first, a middle and the last of those alike.")
@click.option("--results", metavar="FILE",
              help="Where the results go. [default: reports/audit/results.json, of one lie reports/audit/lie]")
@click.option("--html", metavar="FILE",
              help="Where the audit's page goes. [default: audit.html beside the results, of one lie none]")
@click.option("--fail-under", metavar="PERCENT", type=click.FloatRange(0, 100),
              help="Fail if fewer of the lies are noticed.")
def audit(lie: str, every: bool, results: str | None, html: str | None, fail_under: float | None,
          **chosen: Any) -> int:
    """Play each case once for every lie of the target, and show the lies that nobody notices.

    A lie is one thing that the target said, changed on its way to the injector. PATH is as in `tcpqual run`.

    Exit status: 0, or with --lie noticed; 1 below --fail-under, or with --lie not noticed; 2 usage; 3 error of the
    harness or target; 4 nothing audited, or with --lie inconclusive.
    """
    from .auditing import audit as play
    from .campaign import Campaign

    if lie and (every or fail_under is not None):
        raise UsageError("--lie: one lie alone; --all and --fail-under do not go with it")
    # One lie that is told again leaves the results of the whole audit alone.
    chosen["results"] = results or ("reports/audit/lie/results.json" if lie else "reports/audit/results.json")
    # An audit computes more than it waits.
    campaign = Campaign(guest_limit=_AUDIT_LIMIT_S, most_workers=len(os.sched_getaffinity(0)), **chosen)
    return play(campaign, lie=lie, every=every, html=html, fail_under=fail_under)


# -- looking things up ------------------------------------------------------------------------------------------------


@cli.command("list", short_help="List the cases, or the requirements.")
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=_complete_case)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--requirements", is_flag=True, help="List the requirements instead, and how many cases check each.")
@click.option("--uncovered", is_flag=True, help="Only requirements that no case checks.")
@click.option("--defects", is_flag=True, help="List the mistakes that the target `model` can be run with.")
def list_(paths: tuple[str, ...], as_json: bool, requirements: bool, uncovered: bool, defects: bool) -> int:
    """List the cases with their requirements, the requirements, or the model's defects."""
    if defects:
        if paths or requirements or uncovered:
            raise UsageError("--defects: lists all of them; no PATH and no other list goes with it")
        return _list_defects(as_json)
    if uncovered and not requirements:
        raise UsageError("--uncovered: goes with --requirements")
    if requirements:
        if paths:
            raise UsageError(f"{paths[0]}: --requirements lists those of all cases; no PATH goes with it")
        return _list_requirements(as_json, uncovered)
    from .suite import collect, node_ids, suite

    nodes = [node for path in paths for node in node_ids(path, ("ipv4", "ipv6"))] or [str(suite())]
    entries = collect(nodes)
    if as_json:
        click.echo(json.dumps([_as_dict(entry) for entry in entries], indent=1, ensure_ascii=False))
        return 0
    width = max((len(entry.id) for entry in entries), default=0)
    for entry in entries:
        marks = [*entry.behaviours, *(word for word, on in (("slow", entry.slow), ("flood", entry.flood)) if on)]
        tail = f"  ({', '.join(marks)})" if marks else ""
        click.echo(f"{entry.id:<{width}}  {' '.join(entry.requirements)}{tail}")
    return 0


def _as_dict(entry: Entry) -> dict[str, Any]:
    from dataclasses import asdict

    values = asdict(entry)
    for name in ("text", "source"):
        del values[name]
    return values


def _list_requirements(as_json: bool, uncovered: bool) -> int:
    from .requirements.catalogue import load

    cases = _cases_by_requirement()
    chosen = [known for known in load().all() if not uncovered or known.id not in cases]
    if as_json:
        click.echo(json.dumps([{"id": known.id, "rfc": known.rfc, "section": known.section, "level": str(known.level),
                                "rule": known.rule, "testability": known.testability, "url": known.url,
                                "cases": cases.get(known.id, [])} for known in chosen], indent=1, ensure_ascii=False))
        return 0
    width = max((len(known.id) for known in chosen), default=0)
    for known in chosen:
        count = len(cases.get(known.id, ()))
        click.echo(f"{known.id:<{width}}  {known.level:<10}  {count:>3} case{'s' if count != 1 else ' '}  {known.rule}")
    return 0


def _list_defects(as_json: bool) -> int:
    from .targets.model.defects import DEFECTS

    if as_json:
        click.echo(json.dumps([{"name": defect.name, "summary": defect.summary, "case": defect.case,
                                "requirements": list(defect.requirements)} for defect in DEFECTS], indent=1,
                              ensure_ascii=False))
        return 0
    width = max(len(defect.name) for defect in DEFECTS)
    for defect in DEFECTS:
        click.echo(f"{defect.name:<{width}}  {defect.summary} ({', '.join(defect.requirements)})")
    return 0


def _cases_by_requirement() -> dict[str, list[str]]:
    from .suite import collect, suite

    found: dict[str, list[str]] = {}
    for entry in collect([str(suite())]):
        for requirement in entry.requirements:
            found.setdefault(requirement, []).append(entry.id)
    return found


@cli.command(short_help="Show a requirement or a case.")
@click.argument("name", metavar="ID", shell_complete=_complete_case)
def show(name: str) -> int:
    """Show a requirement (RFC9293-MUST-23) with the cases that check it, or a case with its exchange."""
    if "::" in name or "/" in name:
        return _show_case(name)
    from .requirements.catalogue import load

    requirement = load().get(name)
    title = load().title(requirement.rfc)
    click.echo(f"{requirement.id}  {requirement.level}{' (our reading)' if requirement.derived else ''}\n")
    click.echo(_wrapped(requirement.rule))
    click.echo(f"\nRFC {requirement.rfc}{f' ({title})' if title else ''}, section {requirement.section}\n"
               f"{requirement.url}\ntestable by {_TESTABLE[requirement.testability]}")
    cases = _cases_by_requirement().get(requirement.id, [])
    click.echo("\nchecked by\n" + "\n".join(f"  {case}" for case in cases) if cases else "\nno case checks it yet")
    return 0


_TESTABLE: Final = {"wire": "our end of the wire", "wire+api": "our end of the wire and the target's socket API",
                    "api": "the target's socket API", "internal": "nothing that can be seen from outside"}


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 100)


def _show_case(name: str) -> int:
    from .requirements.catalogue import load
    from .suite import collect, node_ids

    if "::" not in name:
        raise UsageError(f"{name}: a module; `tcpqual list {name}` names its cases")
    entry = collect(node_ids(name.partition("[")[0], ()))[0]
    click.echo(f"{entry.id}\n\n{entry.text}\n")
    for label, values in (("behaviour", entry.behaviours), ("TC8", entry.tc8), ("needs", entry.needs),
                          ("variants", entry.variants)):
        if values:
            click.echo(f"{label}: {', '.join(values)}")
    for identifier in entry.requirements:
        requirement = load().get(identifier)
        click.echo(f"{requirement.id}  {requirement.level}  {requirement.rule}")
    click.echo(f"\n{os.path.relpath(entry.file)}:{entry.line}\n\n{entry.source}")
    return 0


cli.add_command(diff)
cli.add_command(matrix)
cli.add_command(qualify)
cli.add_command(bundle)


# -- the machine ------------------------------------------------------------------------------------------------------


cli.add_command(kernel)
cli.add_command(vm)
cli.add_command(target)
cli.add_command(profile)
cli.add_command(agent)
cli.add_command(testability_server)


@cli.command(short_help="Say what this machine lacks for a run.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> int:
    """Say what this machine lacks for a run, and how to mend it.

    Exit status: 0 if the default target can be run, 3 if not.
    """
    from . import doctor as machine

    found = machine.examine()
    click.echo(machine.as_json(found) if as_json else machine.as_text(found))
    return 0 if machine.can_run(found) else HARNESS


@cli.command(short_help="Open one connection, show every segment.")
@click.argument("host", metavar="HOST")
@click.argument("port", metavar="PORT", type=click.IntRange(1, 65535))
@click.option("--interface", metavar="IF", help="Leave by this interface of the machine; needs --source.")
@click.option("--source", metavar="ADDR", help="Speak from this address, which nobody may have.")
@click.option("--listen", is_flag=True, help="Let the lab's target listen on PORT, and echo what it is sent.")
@click.option("--seq", metavar="N", type=click.IntRange(0, 2**32 - 1),
              help="Initial sequence number. [default: random]")
@click.option("--window", metavar="N", type=click.IntRange(0, 65535), default=65535, show_default=True,
              help="Receive window.")
@click.option("--mss", metavar="N", type=click.IntRange(0, 65535),
              help="MSS option, 0 for none. [default: what the link allows]")
@click.option("--wait", "wait_s", metavar="S", type=click.FloatRange(0, 86400), default=0.2, show_default=True,
              help="Seconds between the handshake and the close.")
@click.option("--send", "text", metavar="TEXT", default="", help=r"Send this once connected; \r, \n and \xHH as in C.")
@click.option("--close", type=click.Choice(["fin", "rst", "none"]), default="fin", show_default=True,
              help="How our end is closed.")
@click.option("--capture", metavar="FILE", default="reports/connect.pcapng", show_default=True,
              help="Where the capture goes.")
def connect(**options: Any) -> int:
    """Open one TCP connection by hand-made segments, and show every segment of it.

    HOST is the lab's own target (target, target6, 192.0.2.1 or 2001:db8::1), or with --interface and --source any host
    that can be reached by that interface.

    Exit status: 0 the connection opened, 1 it was refused, 2 usage, 3 no answer.
    """
    from .connect import connect as play
    from .way import Options
    from .wire.netns import get_rights

    if not options["interface"]:
        get_rights()
    return play(Options(**options), click.echo)


@cli.command(short_help="Measure how fast the harness is here.")
@click.option("--json", "file", metavar="FILE", help="Also write the figures to this file, - for the standard output.")
@click.option("--agree", "runs", metavar="N", type=click.IntRange(1, 100),
              help="Also compare the verdicts of `-n 16` with those of `-n 0`, N times.")
def bench(file: str | None, runs: int | None) -> int:
    """Measure link, flood, cases and plugin on this machine, each against its bound.

    Exit status: 0 if every bound is reached, 1 if not.
    """
    from . import bench as figures
    from .wire.netns import get_rights

    get_rights()
    return figures.bench(file, runs or 0, click.echo)


@cli.command(short_help="Print a shell's completion script.")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for bash, zsh or fish.

    For bash: eval "$(tcpqual completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(cli, {}, "tcpqual", "_TCPQUAL_COMPLETE")
    click.echo(made.source_template % made.source_vars())
    return 0


# -- the way in -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """`tcpqual`: an error is a line on the standard error, whoever made it."""
    sys.exit(status_of(lambda: cli.main(args=None if arguments is None else list(arguments), prog_name="tcpqual",
                                        standalone_mode=False)))


def status_of(call: Callable[[], Any]) -> int:
    """The exit status of a command."""
    try:
        status = call()
    except click.ClickException as error:
        return _say(USAGE, error.format_message())
    except UsageError as error:
        return _say(USAGE, str(error))
    except HarnessError as error:
        return _say(HARNESS, str(error))
    except (click.Abort, KeyboardInterrupt):
        return _say(_INTERRUPTED, "interrupted")
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return int(status or 0)


def _say(status: int, message: str) -> int:
    for line in message.splitlines():
        click.echo(f"tcpqual: {line}", err=True)
    return status
