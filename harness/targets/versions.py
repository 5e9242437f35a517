# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranges of a target's version, such as `>=5.0,<6.20` of a kernel release."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

Numbers = tuple[int, ...]

_COMPARISONS: Final[dict[str, Callable[[Numbers, Numbers], bool]]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}
_BOUND: Final = re.compile(r"(>=|<=|==|>|<)\s*(\d+(?:\.\d+)*)")

ALLOWED: Final = 'a range such as ">=5.0,<6.20", or "any"'


def numbers(version: str) -> Numbers:
    """The numbers a version begins with: 6, 18 and 44 of `6.18.44-cloud-amd64`; none if it begins with no digit."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions that meet every bound, which looks at as many numbers as it has itself: 6.18.44 meets `<=6.18`."""

    bounds: tuple[tuple[str, Numbers], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The range that is written so; `any` takes in targets that tell no version.

        Raises ValueError if it is not a range.
        """
        if text == "any":
            return cls()
        matches = [_BOUND.fullmatch(part.strip()) for part in text.split(",")]
        if not all(matches):
            raise ValueError(f"{text!r} is not {ALLOWED}")
        return cls(tuple((match[1], numbers(match[2])) for match in matches if match))

    def __contains__(self, version: str) -> bool:
        known = numbers(version)
        if not known:
            return not self.bounds
        return all(_COMPARISONS[sign](_cut(known, len(bound)), bound) for sign, bound in self.bounds)

    def __str__(self) -> str:
        return ",".join(sign + ".".join(map(str, bound)) for sign, bound in self.bounds) or "any"


def _cut(known: Numbers, length: int) -> Numbers:
    return (known + (0,) * length)[:length]
