# SPDX-License-Identifier: GPL-2.0-or-later
"""From a target spec (`NAME[:VARIANT]` or a profile file) to a target."""

from __future__ import annotations

from typing import Any

from ..wire.errors import UsageError
from .base import Target
from .decoys import DECOYS, make_decoy
from .namespace import kernel_release, make_linux
from .profile import Profile, load_profile
from .uml import is_uml, kernel_of, surroundings, uml_profile


def parse_spec(spec: str, *, real_clock: bool = False) -> Profile:
    """The profile that a spec names. Raises UsageError saying what there is.

    `real_clock`: a kernel that could skip idle time is to keep real time.
    """
    name, _, variant = spec.partition(":")
    if name == "decoy":
        if variant not in DECOYS:
            raise UsageError(f"--target {spec!r}: no such decoy; there are "
                             f"{', '.join(f'decoy:{known}' for known in DECOYS)}")
        return load_profile("decoy")
    if name == "model":
        from .model.defects import parts_of  # the model is for the runs that ask for it

        parts_of(variant)
        return load_profile("model")
    if is_uml(spec):
        return uml_profile(spec, real_clock=real_clock)
    profile = load_profile(spec)
    if profile.kind == "pipe":
        return profile
    if not needs_namespaces(profile):
        raise UsageError(f"--target {spec!r}: its profile is of kind {profile.kind!r}, which this version cannot "
                         "reach; what can be run: profiles of kind 'namespace' (linux, its variants) and 'pipe', "
                         "uml:NAME, model, and decoy:NAME")
    # Real time is too dear for default timers: the profile's short values hold, and its sysctls bring them about.
    return profile.with_short()


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
    if profile.kind == "uml":
        return "real" if profile.short else "skipping"
    return "stepped" if profile.kind in ("decoy", "model", "pipe") else "real"


def needs_namespaces(profile: Profile) -> bool:
    """True if the target is made of namespaces of this machine, for which rights are needed."""
    return profile.kind == "namespace"


def needs_guest(profile: Profile) -> bool:
    """True if the cases have to run in a guest, and this is none."""
    return profile.kind == "uml" and surroundings() is None


def make_target(spec: str, *, seed: int = 0, worker: int = 0, real_clock: bool = False) -> Target:
    """Make the target, for the `worker`-th of several. Raises UsageError, LinkError or TargetError."""
    profile = parse_spec(spec, real_clock=real_clock)
    if profile.kind == "decoy":
        return make_decoy(profile, spec.partition(":")[2], seed)
    if profile.kind == "model":
        from .model.target import make_model

        return make_model(profile, spec.partition(":")[2], seed)
    if profile.kind == "pipe":
        from .pipe.target import make_pipe

        return make_pipe(profile, spec, seed)
    return make_linux(profile, worker=worker, skipping=clock_of(profile) == "skipping")


def describe(spec: str, *, real_clock: bool = False) -> dict[str, Any]:
    """The target as results name it, without making it."""
    profile = parse_spec(spec, real_clock=real_clock)
    version = ""
    if needs_namespaces(profile):
        version = kernel_release()
    elif profile.kind == "uml":
        version = profile.version
    elif profile.kind == "pipe":
        from .pipe.target import version_of

        version = version_of(profile)
    target = {"name": spec, "kind": profile.kind, "version": version, "profile": profile.name}
    # Two builds of one tree have one name and often one release.
    return target | ({"build": kernel_of(spec).key} if needs_guest(profile) else {})
