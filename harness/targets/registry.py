# SPDX-License-Identifier: GPL-2.0-or-later
"""From a target spec (`NAME[:VARIANT]` or a profile file) to a target.

Each kind of target is a module with two functions: `make(profile, spec, *, seed, worker)` makes the target for the
`worker`-th of several, `version(profile, spec)` says which version of its stack that will be, "" if it cannot be known
before. It is imported when the first target of its kind is made.
"""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from typing import Any, Final

from ..wire.errors import UsageError
from .base import Target
from .profile import Profile, load_profile
from .uml import is_uml, kernel_of, surroundings, uml_profile
from .vm import is_gated, is_vm


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the runs have to know of a kind of target.

    `module` is where it is made, `clock` its kind of time. `workers` are so many side by side if the user names no
    number, 0 for one a processor. `namespaces`: made of this machine's, for which rights are needed. `alone`: there is
    one of it, which no two workers can share. `hours` are so many of its time that a case may take, where that is
    not real.
    """

    module: str
    clock: str
    workers: int = 1
    namespaces: bool = False
    alone: bool = False
    hours: float = math.inf


_KINDS: Final = {
    # Cases in real time mostly wait, so more of them run at one time than there are processors.
    "namespace": Kind(module="namespace", clock="real", workers=8, namespaces=True),
    "uml": Kind(module="namespace", clock="skipping"),
    "decoy": Kind(module="decoys", clock="stepped"),
    "model": Kind(module="model.target", clock="stepped"),
    "firmware": Kind(module="firmware.target", clock="real"),
    "pipe": Kind(module="pipe.target", clock="stepped", workers=0),
    "remote": Kind(module="remote.target", clock="real", alone=True),
    # Each worker boots a guest of its own, and where its code is translated the guests are late by each other's work.
    "vm": Kind(module="vm.target", clock="real", workers=4),
    # An idle kernel's own timers have to be passed, so that a day costs about a minute.
    "gated": Kind(module="vm.target", clock="skipping", workers=0, hours=24),
}
"""The kinds that can be run. A profile of another kind is one to read."""


def parse_spec(spec: str, *, real_clock: bool = False) -> Profile:
    """The profile that a spec names. Raises UsageError saying what there is.

    `real_clock`: a kernel that could skip idle time is to keep real time.
    """
    name, _, variant = spec.partition(":")
    if name == "decoy":
        from .decoys import known

        known(variant)
        return load_profile("decoy")
    if name == "model":
        from .model.defects import parts_of  # the model is for the runs that ask for it

        parts_of(variant)
        return load_profile("model")
    if is_uml(spec):
        return uml_profile(spec, real_clock=real_clock)
    if is_vm(spec) or is_gated(spec):
        from .vm.image_profile import profile_of_spec

        return profile_of_spec(spec)
    profile = load_profile(spec)
    if profile.kind not in _KINDS:
        raise UsageError(f"--target {spec!r}: its profile is of kind {profile.kind!r}, which this version cannot "
                         "reach; what can be run: profiles of kind 'namespace' (linux, its variants), 'pipe', "
                         "'remote' and 'vm', uml:NAME, vm:NAME, gated:NAME, model, and decoy:NAME")
    if profile.kind == "remote" and profile.remote is None:
        raise UsageError(f"{profile.file}: remote: missing; a target of kind 'remote' needs the table, which says how "
                         "it is reached")
    if profile.kind == "vm":
        from .vm.image_profile import profile_of_file

        return profile_of_file(profile)
    if profile.stack:
        from .stacks.store import find

        find(profile.stack)  # or nothing can be started, which is to be said before anything is
    # Real time is too dear for default timers: the profile's short values hold, and its sysctls bring them about.
    return profile.with_short() if needs_namespaces(profile) else profile


def with_defect(spec: str, defect: str) -> str:
    """The spec of the model with that defect, where the user named the model or left the target open.

    Raises UsageError if he named another.
    """
    if not defect:
        return spec
    if spec not in ("model", "linux"):
        raise UsageError(f"--defect {defect}: goes with --target model, not {spec}")
    return f"model:{defect}"


def clock_of(profile: Profile) -> str:
    """The kind of time that a target of this profile has: `real`, `skipping`, `stepped`."""
    if profile.kind == "uml" and profile.short:
        return "real"
    return _KINDS[profile.kind].clock


def most_hours(profile: Profile) -> float:
    """How many hours of its own time a case may take on a target of this profile, whose time is not real."""
    return _KINDS[profile.kind].hours


def workers_for(profile: Profile) -> int:
    """How many workers play the suite if the user names no number."""
    return _KINDS[profile.kind].workers or len(os.sched_getaffinity(0))


def is_alone(profile: Profile) -> bool:
    """True if there is one of the target in the world, so that no two workers can share it."""
    return _KINDS[profile.kind].alone


def check_workers(profile: Profile, workers: int) -> None:
    """Raises UsageError if so many workers cannot share the target."""
    if _KINDS[profile.kind].alone and workers > 1:
        raise UsageError(f"-n {workers}: there is one {profile.name}, and one address of the injector's; allowed: "
                         "0 or 1 worker for a remote device")


def needs_namespaces(profile: Profile) -> bool:
    """True if the target is made of namespaces of this machine, for which rights are needed."""
    return _KINDS[profile.kind].namespaces


def needs_guest(profile: Profile) -> bool:
    """True if the cases have to run in a guest, and this is none."""
    return profile.kind == "uml" and surroundings() is None


def make_target(spec: str, *, seed: int = 0, worker: int = 0, real_clock: bool = False,
                unmeasured: bool = False) -> Target:
    """Make the target, for the `worker`-th of several; `unmeasured`: its profile need not say how its clock ticks.

    Raises UsageError, LinkError or TargetError.
    """
    profile = parse_spec(spec, real_clock=real_clock)
    profile = profile.assuming_a_clock() if unmeasured else profile
    made: Target = _module(profile).make(profile, spec, seed=seed, worker=worker)
    return made


def describe(spec: str, *, real_clock: bool = False) -> dict[str, Any]:
    """The target as results name it, without making it."""
    profile = parse_spec(spec, real_clock=real_clock)
    target = {"name": spec, "kind": profile.kind, "version": _module(profile).version(profile, spec),
              "profile": profile.name}
    # Two builds of one tree have one name and often one release.
    return target | ({"build": kernel_of(spec).key} if needs_guest(profile) else {})


def _module(profile: Profile) -> Any:
    return importlib.import_module(f".{_KINDS[profile.kind].module}", __package__)
