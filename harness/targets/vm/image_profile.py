# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's kernel is measured by: Linux's profile, for the version of the image that it boots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from ...wire.errors import UsageError
from ..profile import Profile, Value, load_profile
from . import GATED, KIND, is_gated
from .images import Image, find, of_file

_OF_THIS_MACHINE: Final = ("timestamp_aligned", "prompt_us")
"""Pins that hold a kernel against our own clock, or an answer against the speed of a real processor."""


def profile_of_spec(spec: str) -> Profile:
    """The profile of `vm:NAME` or `vm:NAME:VARIANT`, or of a gated one, whose default values hold.

    Raises UsageError if there is no such image or variant.
    """
    kind = GATED if is_gated(spec) else KIND
    if spec.count(":") > 2:
        raise UsageError(f"--target {spec}: allowed: {kind}:NAME or {kind}:NAME:VARIANT")
    profile = replace(_of(load_profile(":".join(["linux", *spec.split(":")[2:]])), image_of_spec(spec)), kind=kind)
    return profile.with_defaults() if kind == GATED else profile


def profile_of_file(profile: Profile) -> Profile:
    """A user's own profile of this kind, for the kernel that it names. Raises UsageError."""
    return _of(profile, image_of_file(profile))


def image_of(profile: Profile, spec: str) -> Image:
    """The image that a target boots. Raises UsageError."""
    return image_of_file(profile) if profile.kernel else image_of_spec(spec)


def image_of_spec(spec: str) -> Image:
    """The image that `vm:NAME` means. Raises UsageError if there is none."""
    try:
        return find(spec.split(":")[1] if ":" in spec else "")
    except UsageError as error:
        raise UsageError(f"--target {spec}: {error}") from None


def image_of_file(profile: Profile) -> Image:
    """The image that the files of a profile make. Raises UsageError."""
    folder = Path(profile.file).parent
    try:
        return of_file(folder / profile.kernel, tuple(folder / name for name in profile.modules))
    except (UsageError, OSError) as error:
        raise UsageError(f"{profile.file}: kernel: {error}") from None


def _of(profile: Profile, image: Image) -> Profile:
    """Its short values hold, since the guest keeps real time; its tick is known, so its timer wheel is."""
    fingerprint = {name: pin for name, pin in profile.fingerprint.items() if name not in _OF_THIS_MACHINE}
    return replace(profile.with_short().with_version(image.version), fingerprint=fingerprint,
                   timers={**profile.timers, "tick_s": Value(default=1 / image.hz)},
                   policies={**profile.policies, "timer_lateness": Value(default="wheel")})
