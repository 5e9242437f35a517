# SPDX-License-Identifier: GPL-2.0-or-later
"""What a defect is, and the parts of a model that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from ..connection import Connection
from ..listener import Listener
from ..network import Network
from ..reassembly import Reassembly
from ..stack import Stack

_PARTS: Final[Mapping[type, str]] = {Stack: "stack", Connection: "connection", Listener: "listener",
                                     Network: "network", Reassembly: "reassembly"}
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The classes that a model is made of."""

    stack: type[Stack] = Stack
    connection: type[Connection] = Connection
    listener: type[Listener] = Listener
    network: type[Network] = Network
    reassembly: type[Reassembly] = Reassembly


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One mistake: `attribute` of `part` is replaced by `value`.

    `case` is one that shows it (`topic/module::case`); its finding is held against one of the `requirements`.
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    case: str
    part: type
    attribute: str
    value: Any

    def parts(self) -> Parts:
        """A model with this mistake and no other."""
        value = property(self.value) if isinstance(getattr(self.part, self.attribute), property) else self.value
        wrong = type(self.part.__name__, (self.part,), {self.attribute: value})
        return replace(Parts(), **{_PARTS[self.part]: wrong})


class Mistakes:
    """Collects the defects of one module."""

    def __init__(self) -> None:
        self.found: list[Defect] = []

    def method(self, name: str, part: type, attribute: str, *, case: str,
               breaks: str | tuple[str, ...]) -> Callable[[Function], Function]:
        """Decorates what stands in the place of a method; its docstring says what is wrong."""
        def note(function: Function) -> Function:
            self.add(name, (function.__doc__ or "").strip(), part, attribute, function, case=case, breaks=breaks)
            return function

        return note

    def step(self, name: str, summary: str, state: str, step: str, *others: str, case: str,
             breaks: str | tuple[str, ...]) -> None:
        """One step of SEGMENT ARRIVES is missing in a state, or others stand in its place."""
        row = Stack.table[state]
        at = row.index(step)
        self.add(name, summary, Stack, "table", {**Stack.table, state: (*row[:at], *others, *row[at + 1:])}, case=case,
                 breaks=breaks)

    def add(self, name: str, summary: str, part: type, attribute: str, value: Any, *, case: str,
            breaks: str | tuple[str, ...]) -> None:
        """Any other replacement."""
        self.found.append(Defect(name=name, summary=summary, case=case, part=part, attribute=attribute, value=value,
                                 requirements=(breaks,) if isinstance(breaks, str) else breaks))
