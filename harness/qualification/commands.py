# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `tcpqual matrix`. Nothing but click is imported before it runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Lay results side by side, by requirement.")
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), default=Path("reports/matrix.html"),
              show_default=True, help="Where the page goes.")
@click.option("--diff", "old", metavar="OLD.json", type=click.Path(path_type=Path),
              help="Show first what changed since then: the JSON of a matrix, or a results file.")
@click.option("--json", "json_file", metavar="FILE", help="Also as JSON, - for the standard output.")
@click.option("--markdown", "markdown_file", metavar="FILE",
              help="Also in short, as Markdown for a CI job's summary, - for the standard output.")
@click.option("--fail-on-worse", is_flag=True, help="Fail if a verdict is worse than in --diff.")
def matrix(results: tuple[Path, ...], output: Path, old: Path | None, json_file: str | None,
           markdown_file: str | None, fail_on_worse: bool) -> int:
    """Make one page of several results: a row for each requirement, a column for each target.

    RESULTS are results files, journals, or folders with a results.json.

    Exit status: 0 written; 1 with --fail-on-worse, if something is; 2 usage; 4 --diff, and no case ran in both.
    """
    from .matrices import Order, make

    return make(Order(results=results, output=output, old=old, json=json_file, markdown=markdown_file,
                      fail_on_worse=fail_on_worse), click.echo)
