# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual diff`: two results, or two bundles target by target."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from ..report.difference import DIFFERENT, NOTHING_COMPARED, SAME, Difference, difference, print_difference
from ..wire.errors import UsageError
from . import bundle

_WORST_FIRST: Final = (DIFFERENT, NOTHING_COMPARED, SAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for, as `difference` and `Difference.status` take it."""

    left: Path
    right: Path
    exact: bool
    findings: bool
    missing: bool
    as_json: bool


def compare(order: Order, stream: TextIO) -> int:
    """Print where two results or two bundles differ; returns the exit status.

    `UsageError` if one of them cannot be read, or only one is a bundle.
    """
    kinds = [bundle.is_bundle(side) for side in (order.left, order.right)]
    if not any(kinds):
        found = _difference(_results(order.left), _results(order.right), order)
        if order.as_json:
            stream.write(found.as_json(findings=order.findings, missing=order.missing) + "\n")
        else:
            print_difference(found, stream, findings=order.findings, missing=order.missing)
        return found.status(findings=order.findings, missing=order.missing)
    if not all(kinds):
        other = order.right if kinds[0] else order.left
        raise UsageError(f"{other}: no bundle, and the other is one; compare two bundles, or two results")
    return _bundles(order, stream)


def _difference(left: Path, right: Path, order: Order) -> Difference:
    try:
        return difference(left, right, exact=order.exact)
    except RecursionError:  # in fields that nobody knows, and --exact compares all
        raise UsageError(f"--exact: {left} and {right}: lists or objects too deep in each other") from None


def _results(path: Path) -> Path:
    return path / "results.json" if path.is_dir() else path


def _bundles(order: Order, stream: TextIO) -> int:
    """Targets are paired by what they are called on the command line; what one bundle alone has is named."""
    sides = [{one["target"]: one["results"] for one in bundle.load(folder)["targets"]}
             for folder in (order.left, order.right)]
    both = [target for target in sides[0] if target in sides[1]]
    alone = [[target for target in sides[side] if target not in sides[1 - side]] for side in (0, 1)]
    untested = [target for target in both if not (sides[0][target] and sides[1][target])]
    found = {target: _difference(order.left / sides[0][target], order.right / sides[1][target], order)
             for target in both if target not in untested}
    # Of a target that one bundle has no results of, nothing can be said to be the same.
    lost = [target for target in untested if bool(sides[0][target]) != bool(sides[1][target])]
    statuses = [one.status(findings=order.findings, missing=order.missing) for one in found.values()]
    status = DIFFERENT if lost or (any(alone) and (order.missing or order.exact)) else \
        min(statuses, key=_WORST_FIRST.index, default=NOTHING_COMPARED)
    if order.as_json:
        stream.write(_json(found, alone, untested, status) + "\n")
        return status
    _print(order, found, stream.write, lambda one: print_difference(one, stream, findings=order.findings,
                                                                    missing=order.missing))
    for letter, targets in zip("AB", alone, strict=True):
        if targets:
            stream.write(f"Only in {letter}: {', '.join(targets)}\n")
    for target in untested:
        there = [letter for letter, side in zip("AB", sides, strict=True) if side[target]]
        stream.write(f"{target}: {'results in ' + there[0] + ' alone' if there else 'no results in either'}\n")
    differing = sum(one == DIFFERENT for one in statuses)
    stream.write(f"{differing} of {len(found)} target{'s' if len(found) != 1 else ''} that both have results of "
                 f"{'differs' if differing == 1 else 'differ'} (exit status {status})\n")
    return status


def _print(order: Order, found: dict[str, Difference], write: Callable[[str], object],
           show: Callable[[Difference], object]) -> None:
    for target, one in found.items():
        write(f"== {target}\n")
        show(one)
        write("\n")


def _json(found: dict[str, Difference], alone: list[list[str]], untested: list[str], status: int) -> str:
    document: dict[str, Any] = {"targets": {target: asdict(one) for target, one in found.items()},
                                "only_a": alone[0], "only_b": alone[1], "untested": untested, "status": status}
    return json.dumps(document, indent=1, ensure_ascii=False)
