# SPDX-License-Identifier: GPL-2.0-or-later
"""The mistakes that the model can be made with, one at a time: what a suite is worth is what it notices of them.

A defect is a small plausible mistake at its natural place: one method of one part says or does something else, or one
step is missing from a row of SEGMENT ARRIVES. It names the requirements that it breaks and the case that shows it.
"""

from __future__ import annotations

from typing import Final

from ....wire.errors import UsageError
from . import closing, data, network, opening, options, reset, timing
from .defect import Defect, Parts

__all__ = ["DEFECTS", "Defect", "Parts", "names", "parts_of"]

DEFECTS: Final[tuple[Defect, ...]] = tuple(
    defect for module in (opening, reset, data, options, timing, closing, network) for defect in module.DEFECTS)
"""All of them."""


def names() -> tuple[str, ...]:
    """What they are called."""
    return tuple(defect.name for defect in DEFECTS)


def parts_of(name: str) -> Parts:
    """The parts of a model with the defect of that name, or with none ("").

    Raises UsageError if there is no such defect.
    """
    if not name:
        return Parts()
    for defect in DEFECTS:
        if defect.name == name:
            return defect.parts()
    import difflib  # only ever needed for a message

    near = difflib.get_close_matches(name, names(), n=3)
    raise UsageError(f"{name!r}: the model has no such defect; "
                     + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"))
