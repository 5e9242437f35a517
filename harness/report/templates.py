# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages' templates."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def template(name: str) -> Template:
    """The template in the file of that name."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    """One for this process: it keeps what it has compiled, which takes longer than to render most pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(loader=PackageLoader(__package__ or "harness.report"), autoescape=True, trim_blocks=True,
                       lstrip_blocks=True, undefined=StrictUndefined)
