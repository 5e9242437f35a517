# SPDX-License-Identifier: GPL-2.0-or-later
"""From a target spec (`NAME[:VARIANT]` or a profile file) to a target."""

from __future__ import annotations

from typing import Any

from ..wire.errors import UsageError
from .base import Target
from .decoys import DECOYS, make_decoy
from .namespace import kernel_release, make_linux
from .profile import Profile, load_profile


def parse_spec(spec: str) -> Profile:
    """The profile that a spec names. Raises UsageError saying what there is."""
    name, _, variant = spec.partition(":")
    if name == "decoy":
        if variant not in DECOYS:
            raise UsageError(f"--target {spec!r}: no such decoy; there are "
                             f"{', '.join(f'decoy:{known}' for known in DECOYS)}")
        return load_profile("decoy")
    profile = load_profile(spec)
    if not needs_namespaces(profile):
        raise UsageError(f"--target {spec!r}: its profile is of kind {profile.kind!r}, which this version cannot "
                         "reach; what can be run: profiles of kind 'namespace' (linux, its variants), and decoy:NAME")
    # Real time is too dear for default timers: the profile's short values hold, and its sysctls bring them about.
    return profile.with_short() if clock_of(profile) == "real" else profile


def clock_of(profile: Profile) -> str:
    """The kind of time that a target of this profile has: `real`, `stepped`."""
    return "stepped" if profile.kind == "decoy" else "real"


def needs_namespaces(profile: Profile) -> bool:
    """True if the target is made of namespaces, for which rights are needed."""
    return profile.kind == "namespace"


def make_target(spec: str, *, seed: int = 0, worker: int = 0) -> Target:
    """Make the target, for the `worker`-th of several. Raises UsageError, LinkError or TargetError."""
    profile = parse_spec(spec)
    if profile.kind == "decoy":
        return make_decoy(profile, spec.partition(":")[2], seed)
    return make_linux(profile, worker=worker)


def describe(spec: str) -> dict[str, Any]:
    """The target as results name it, without making it."""
    profile = parse_spec(spec)
    version = kernel_release() if needs_namespaces(profile) else ""
    return {"name": spec, "kind": profile.kind, "version": version, "profile": profile.name}
