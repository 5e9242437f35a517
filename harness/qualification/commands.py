# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `matrix`, `qualify`, `bundle` and `diff`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..words import CommandGroup


@click.command(short_help="Lay results side by side, by requirement.")
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), default=Path("reports/matrix.html"),
              show_default=True, help="Where the page goes.")
@click.option("--diff", "old", metavar="OLD.json", type=click.Path(path_type=Path),
              help="Show first what changed since then: the JSON of a matrix, a results file, or a bundle.")
@click.option("--json", "json_file", metavar="FILE", help="Also as JSON, - for the standard output.")
@click.option("--markdown", "markdown_file", metavar="FILE",
              help="Also in short, as Markdown for a CI job's summary, - for the standard output.")
@click.option("--fail-on-worse", is_flag=True, help="Fail if a verdict is worse than in --diff.")
def matrix(results: tuple[Path, ...], output: Path, old: Path | None, json_file: str | None,
           markdown_file: str | None, fail_on_worse: bool) -> int:
    """Make one page of several results: a row for each requirement, a column for each target.

    RESULTS are results files, journals, folders with a results.json, or bundles.

    Exit status: 0 written; 1 with --fail-on-worse, if something is; 2 usage; 4 --diff, and no case ran in both.
    """
    from .matrices import Order, make

    return make(Order(results=results, output=output, old=old, json=json_file, markdown=markdown_file,
                      fail_on_worse=fail_on_worse), click.echo)


@click.command(short_help="Qualify several targets, and bundle it all.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("-o", "--output", metavar="FOLDER", type=click.Path(path_type=Path), required=True,
              help="The bundle, a folder that is not there yet.")
@click.option("--cases", "paths", metavar="PATH", multiple=True,
              help="Only these cases, as in `tcpqual run`; may be given several times. [default: the whole suite]")
@click.option("--family", type=click.Choice(["ipv4", "ipv6", "both"]), default="both", show_default=True,
              help="IP family in which the cases run.")
@click.option("-k", "expression", metavar="EXPR", default="", help="Only cases whose names match, as in pytest.")
@click.option("--seed", type=int, default=0, show_default=True, help="As in `tcpqual run`.")
@click.option("--slow", is_flag=True, help="Also run the cases that wait over 5 s of real time.")
@click.option("--strict", is_flag=True, help="A SHOULD that is not kept fails a target.")
@click.option("--wall-limit", "wall_limit_s", metavar="S", type=click.FloatRange(1), default=1800, show_default=True,
              help="End the run of a target after so many seconds.")
@click.option("--title", metavar="TEXT", default="", help="What the summary is headed with. [default: FOLDER's name]")
@click.option("--replace", is_flag=True, help="Take away the bundle that is there.")
def qualify(targets: tuple[str, ...], output: Path, paths: tuple[str, ...], family: str, expression: str, seed: int,
            slow: bool, strict: bool, wall_limit_s: float, title: str, replace: bool) -> int:
    """Run the suite on each TARGET (as --target of `tcpqual run` has it), and write one bundle.

    A bundle has a summary to hand on, the matrix, and for each target its results, captures, log and profile, with the
    sums of all files. A target that fails does not lose the others.

    Exit status: that of the targets' runs which comes first in 2, 3, 1, 4, 0.
    """
    from .qualifying import Order
    from .qualifying import qualify as play

    chosen = [*(["-k", expression] if expression else []), *(["--family", family] if family != "both" else []), *paths]
    words = [*chosen, *(["--seed", str(seed)] if seed else []), *(["--slow"] if slow else []),
             *(["--strict"] if strict else [])]
    return play(Order(targets=targets, output=output, words=tuple(words), selection=" ".join(chosen),
                      wall_limit_s=wall_limit_s, title=title, replace=replace), click.echo)


@click.group(cls=CommandGroup, short_help="Check what `tcpqual qualify` has written.")
def bundle() -> None:
    """Bundles, the folders that `tcpqual qualify` writes."""


@bundle.command(short_help="Are all files as they were written?")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
def verify(folder: Path) -> int:
    """Compare every file of a bundle with its sum: a line for each that is missing, changed, or was not there.

    Exit status: 0 all is as it was written, 1 it is not, 2 usage.
    """
    from .bundle import load
    from .bundle import verify as check

    load(folder)
    count, wrong = check(folder)
    for one in wrong:
        click.echo(f"{one.what}: {one.file!r}" if not one.file.isprintable() else f"{one.what}: {one.file}")
    click.echo(f"{count} files, {len(wrong) or 'none'} not as they were written")
    return 1 if wrong else 0


@click.command("diff", short_help="Show where two results or bundles differ.")
@click.argument("left", metavar="A", type=click.Path(path_type=Path))
@click.argument("right", metavar="B", type=click.Path(path_type=Path))
@click.option("--exact", is_flag=True, help="Compare everything, captures too, but for wall figures and paths.")
@click.option("--findings", is_flag=True, help="Other findings under the same verdict are a difference.")
@click.option("--missing", is_flag=True, help="A case or target that one lacks without a word is a difference.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def diff(left: Path, right: Path, exact: bool, findings: bool, missing: bool, as_json: bool) -> int:
    """Show where two results files, journals or bundles differ: verdict by verdict, or in everything.

    Exit status: 0 no difference, 1 differences, 2 usage, 4 no case ran in both.
    """
    from .comparison import Order, compare

    return compare(Order(left=left, right=right, exact=exact, findings=findings, missing=missing, as_json=as_json),
                   sys.stdout)
