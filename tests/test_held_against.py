# SPDX-License-Identifier: GPL-2.0-or-later
"""What cases and oracle hold against a target has to bind it: nothing breaks a MAY."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import Scripted

from harness.lower import oracle
from harness.lower.verdict import Mismatch
from harness.requirements.catalogue import load

CASES = sorted((Path(__file__).parent.parent / "cases").glob("*/test_*.py"))


def strings(node: ast.AST) -> Iterator[str]:
    """Every string in an expression: `"A" if family == "ipv4" else "B"` has both rules."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def held_against(tree: ast.AST) -> Iterator[str]:
    """The rules of mismatches that a module of cases names: those of its steps, and the first one of each case."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name == "covers" and node.args:
            yield from strings(node.args[0])
        elif name != "advise":
            for keyword in node.keywords:
                if keyword.arg == "rule":
                    yield from strings(keyword.value)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_case_is_held_against_what_is_optional(path):
    named = {name for name in held_against(ast.parse(path.read_text("utf-8"))) if name.startswith(("RFC", "SA-"))}
    known = [load().get(name) for name in named if "{" not in name and not name.endswith("-")]
    assert not [rule.id for rule in known if rule.level.is_may]


def test_no_invariant_is_optional():
    text = Path(oracle.__file__).read_text("utf-8")
    named = {part for part in strings(ast.parse(text)) if part.startswith("RFC") and " " not in part}
    assert named
    assert not [name for name in named if load().get(name).level.is_may]


@pytest.mark.parametrize(("covered", "held"), [
    (("RFC9293-SHLD-14", "RFC9293-MUST-2"), "RFC9293-MUST-2"), (("RFC9293-SHLD-14",), "none"),
])
def test_what_nobody_expected_is_held_against_a_must(covered, held):
    target = Scripted()
    case = target.case(*covered)
    peer = case.peer()
    target.say(peer, ". 1:1(0) ack 1")
    case.pause(0.001)
    with pytest.raises(Mismatch) as caught:
        case.finish()
    assert (caught.value.finding.requirement, caught.value.finding.level) == (held, "MUST")


def test_each_different_segment_that_breaks_an_invariant_is_a_finding():
    case = Scripted().case("RFC9293-MUST-2")
    for got in ("one", "two", "one", *(str(number) for number in range(1000))):
        case.violation(requirement="RFC9293-SHLD-14", level="SHOULD NOT", expected="more", got=got, fields=("window",),
                       step=0)
    findings = [finding.got for finding in case.story.findings]
    assert findings[:3] == ["one", "two", "0"]
    assert len(findings) == 100


def test_the_way_to_where_a_case_begins_proves_nothing():
    case = Scripted().case("RFC9293-MUST-2")
    case.story.proof.add("api")
    with case.preamble():
        case.story.proof.add("wire")
    assert case.story.proof == {"api"}
