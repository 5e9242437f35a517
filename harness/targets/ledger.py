# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger of a target's known deviations (DESIGN, rule 6).

An entry explains one thing: this rule, in this case or state, answered in this way, by these versions. Whatever
differs in any of these is a finding like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from .versions import VersionRange

TO_WRITE: Final = "TO WRITE"
"""With this begins what a drafted entry leaves to a person, and no profile takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One known deviation.

    `case` is a glob on the case's id (`close/time_wait::*`), `state` the connection's state; one of them is given, and
    what is given has to fit. `got` is a regular expression that has to fit the whole of what was got, in the notation.
    `family` ("ipv4", "ipv6") is "" for both. `more` is the same for a further segment that comes at once behind the
    deviation; without it nothing may. `reason` says what the target does instead, `evidence` how that is known.
    """

    requirement: str
    got: re.Pattern[str]
    versions: VersionRange
    reason: str
    evidence: str
    case: str = ""
    state: str = ""
    family: str = ""
    more: re.Pattern[str] | None = None

    def names(self, case_id: str, family: str, version: str) -> bool:
        """True if the entry is about this case by name, in this family and version."""
        return bool(self.case) and fnmatchcase(case_id, self.case) and self._covers(family, version)

    def explains(self, *, requirement: str, case_id: str, state: str, got: str, version: str,
                 family: str = "") -> bool:
        """True if the entry is about this very finding."""
        return (self.requirement == requirement
                and bool(self.case or self.state)
                and (not self.case or fnmatchcase(case_id, self.case))
                and (not self.state or self.state == state)
                and self._covers(family, version)
                and self.got.fullmatch(got) is not None)

    def _covers(self, family: str, version: str) -> bool:
        return self.family in ("", family) and version in self.versions


@dataclass(frozen=True, slots=True)
class Ledger:
    """The known deviations of one profile, in the order of its file."""

    deviations: tuple[Deviation, ...] = ()

    def match(self, *, requirement: str, case_id: str, state: str, got: str, version: str,
              family: str = "") -> Deviation | None:
        """The entry that explains a finding, None if it is not known.

        `case_id` is the stable id (`topic/module::case`), `got` what was got in the notation, `version` what the
        target calls itself (the kernel release). An entry for one family alone never explains a finding of unknown
        family.
        """
        for deviation in self.deviations:
            if deviation.explains(requirement=requirement, case_id=case_id, state=state, got=got, version=version,
                                  family=family):
                return deviation
        return None

    def end(self, case_id: str, family: str, version: str, error: str) -> Deviation | None:
        """The entry that knows of this error of the target's as the end of the case: its process dies, say."""
        return next((deviation for deviation in self.due(case_id, family, version)
                     if deviation.got.fullmatch(error) is not None), None)

    def due(self, case_id: str, family: str, version: str) -> list[Deviation]:
        """The entries that name this case: if it runs to the end without one of them, that is an unexpected pass.

        An entry that names a state alone is due nowhere, since no single case has to show it.
        """
        return [deviation for deviation in self.deviations if deviation.names(case_id, family, version)]

    def __iter__(self) -> Iterator[Deviation]:
        return iter(self.deviations)

    def __len__(self) -> int:
        return len(self.deviations)
