# SPDX-License-Identifier: GPL-2.0-or-later
"""What reports say about a requirement, whoever loaded it.

The catalogue's entries fit `Rule`. Of a requirement that it does not have, a report still names the id and links the
document, as far as the id tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from ..wire.errors import UsageError
from .record import FINGERPRINT, Record


class Rule(Protocol):
    """One rule of one RFC, as the catalogue has it."""

    @property
    def id(self) -> str:
        """`RFC9293-MUST-14`."""

    @property
    def rfc(self) -> int:
        """The number of the document."""

    @property
    def section(self) -> str:
        """Where it stands: `3.7.1`, or several in one string."""

    @property
    def level(self) -> str:
        """MUST, SHOULD, MAY or a longer wording of these."""

    @property
    def rule(self) -> str:
        """The rule in our words."""

    @property
    def url(self) -> str:
        """A link to the section."""


class Rules(Protocol):
    """Where rules are looked up: the catalogue, or a dictionary of them."""

    def get(self, identifier: str, /) -> Rule | None:
        """The rule of that id; None or `UsageError` if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A requirement as a report shows it; fields that nobody told are empty."""

    id: str
    rfc: int
    section: str
    level: str
    rule: str
    url: str

    @property
    def place(self) -> str:
        """`RFC 9293, section 3.7.1`, as far as it is known."""
        if not self.rfc:
            return ""
        return f"RFC {self.rfc}" + (f", section {self.section}" if self.section else "")


def cite(id: str, rules: Rules | None = None) -> Cited:
    """The requirement of that id, out of `rules` (None: the product's catalogue) or else out of the id itself."""
    try:
        rule = (_catalogue() if rules is None else rules).get(id)
    except UsageError:  # a results file may be older or newer than this catalogue
        rule = None
    if rule is not None:
        return Cited(id=rule.id, rfc=rule.rfc, section=rule.section, level=str(rule.level), rule=rule.rule,
                     url=rule.url)
    match = re.match(r"RFC(\d+)-", id)
    rfc = int(match[1]) if match else 0
    return Cited(id=id, rfc=rfc, section="", level="", rule="",
                 url=f"https://www.rfc-editor.org/rfc/rfc{rfc}" if rfc else "")


def ids(record: Record) -> list[str]:
    """The ids of the requirements that a record is about: those of its findings first, then those it covers."""
    broken = [finding["requirement"] for finding in record["findings"] or () if finding["source"] != FINGERPRINT]
    return list(dict.fromkeys(id for id in (*broken, *record["requirements"]) if id))


def _catalogue() -> Rules:
    from ..requirements.catalogue import load

    return load()
