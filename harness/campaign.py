# SPDX-License-Identifier: GPL-2.0-or-later
"""A test campaign, as ISO/IEC 9646 calls it: which cases a command plays, against which target, and by how many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .report.results import NOTHING_VERIFIED, USAGE
from .suite import count, node_ids, play, suite
from .targets.base import FAMILIES
from .targets.profile import Profile
from .targets.registry import check_workers, needs_guest, needs_namespaces, parse_spec, with_defect, workers_for
from .targets.uml import canonical
from .wire.errors import UsageError

_FEW: Final = 8
"""Runs of cases that are over before workers would have started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What the user has asked for, in the words of the command line; None and "" stand for what he left open.

    `wall_limit` is in seconds; `guest_limit` takes its place in guests where the user has named none.
    """

    paths: tuple[str, ...]
    target: str
    family: str
    expression: str
    workers: int | None
    seed: int
    virtual_time: bool
    kernel: str
    shards: int | None
    wall_limit: float | None
    results: str
    defect: str = ""
    real_clock: bool = False
    guest_limit: float | None = None
    most_workers: int | None = None

    def play(self, words: Sequence[str], *, stale: Sequence[Path] = ()) -> int:
        """Let pytest play the cases, with these words on its command line; returns the exit status.

        `stale` are files of an earlier run, which are taken away when this one begins. Raises UsageError, before
        anything is played, for what does not fit together.
        """
        target = canonical(with_defect(self.target, self.defect), virtual_time=self.virtual_time, kernel=self.kernel)
        profile = parse_spec(target, real_clock=self.real_clock)
        in_guests = needs_guest(profile)
        if self.real_clock and not in_guests:
            raise UsageError("--real-clock: goes with --virtual-time or --target uml:NAME; other targets have one "
                             "clock")
        families = FAMILIES if self.family == "both" else (self.family,)
        nodes = [node for path in self.paths for node in node_ids(path, families)] or [str(suite())]
        few = count(nodes, self.expression) * len(families) <= _FEW
        workers, shards = self._in_guests(few) if in_guests else self._here(few, profile)
        writable("--results", Path(self.results))
        if needs_namespaces(profile):
            from .wire.netns import get_rights

            get_rights()
        arguments = ["--verdicts", f"--target={target}", f"--family={self.family}", f"--seed={self.seed}",
                     f"--results={self.results}", f"--shards={shards}", f"--numprocesses={workers}", "--dist=worksteal"]
        arguments += ["-k", self.expression] if self.expression else []
        limit = self.wall_limit or (self.guest_limit if in_guests else None)
        arguments += [f"--wall-limit={limit}"] if limit else []
        arguments += ["--real-clock"] if self.real_clock else []
        for file in stale:
            file.unlink(missing_ok=True)
        status, began = play([*arguments, *words, *nodes])
        return status if began or status != NOTHING_VERIFIED else USAGE

    def _in_guests(self, few: bool) -> tuple[int, int]:
        """How many workers, which is none, and how many guests, 0 for one a processor."""
        if self.workers:
            raise UsageError("-n: a guest has one processor; allowed: --shards N, guests side by side")
        return 0, self.shards or (1 if few else 0)

    def _here(self, few: bool, profile: Profile) -> tuple[int, int]:
        """How many workers, and how many guests, which is none."""
        if self.shards or self.wall_limit:
            raise UsageError("--shards and --wall-limit: go with --virtual-time or --target uml:NAME, a run in guests")
        if self.workers is not None:
            check_workers(profile, self.workers)
            return self.workers, 0
        usual = workers_for(profile) if self.most_workers is None else min(self.most_workers, workers_for(profile))
        return 0 if few or usual == 1 else usual, 0


def writable(option: str, file: Path) -> None:
    """Make the folder of a file that this option names. Raises UsageError if nothing can be written there."""
    if file.is_dir():
        raise UsageError(f"{option} {file}: a folder; name a file")
    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {file}: cannot make {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {file}: cannot write to {folder}: permission denied")
