# SPDX-License-Identifier: GPL-2.0-or-later
"""The target `uml:NAME`: a Linux kernel of the user's choice, run as a process whose clock skips idle time.

The cases run inside it, beside the stack that they test, and this module is looked at from both sides: on the host it
says what the kernel is, in the guest it says what the guest is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final

from ..wire.errors import UsageError
from .kernels import Kernel, find
from .profile import Profile, Value, load_profile
from .vm import GATED, is_gated, is_vm

KIND: Final = "uml"
GUEST: Final = "TCPQUAL_GUEST"
"""The environment variable by which a process in a guest knows where it is; `Surroundings` is its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where this process runs, if it is in a guest: `clock` is `skipping` or `real`, `hz` the kernel's ticks."""

    clock: str
    hz: int

    def __str__(self) -> str:
        return f"{self.clock} {self.hz}"


def surroundings() -> Surroundings | None:
    """The guest that this process runs in, None on a host."""
    clock, _, hz = os.environ.get(GUEST, "").partition(" ")
    return Surroundings(clock=clock, hz=int(hz)) if hz else None


def is_uml(spec: str) -> bool:
    """True if a target's spec is of this kind."""
    return spec.partition(":")[0] == KIND


def kernel_of(spec: str) -> Kernel:
    """The kernel that a spec names. Raises UsageError if there is none."""
    name = spec.split(":")[1] if ":" in spec else ""
    try:
        return find(name)
    except UsageError as error:
        raise UsageError(f"--target {spec}: {error}") from None


def uml_profile(spec: str, *, real_clock: bool) -> Profile:
    """Linux's profile with the kernel's release and tick; its default values hold, unless the clock is `real_clock`."""
    if spec.count(":") > 2:
        raise UsageError(f"--target {spec}: allowed: uml:NAME or uml:NAME:VARIANT")
    variant = spec.split(":")[2:]
    guest = surroundings()
    if guest is None:
        kernel = kernel_of(spec)
        release, hz = kernel.release, kernel.hz
    else:
        release, hz = os.uname().release, guest.hz
    profile = load_profile(":".join(["linux", *variant])).with_version(release)
    return replace(profile, kind=KIND, short=real_clock, timers={**profile.timers, "tick_s": Value(default=1 / hz)},
                   policies={**profile.policies, "timer_lateness": Value(default="wheel")})


def canonical(spec: str, *, virtual_time: bool, kernel: str) -> str:
    """The spec that a user means who gave `--virtual-time` and perhaps `--kernel` beside it.

    Linux's own spec and its variants become those of a guest, a virtual machine's one of a virtual machine with a gate;
    a guest without a name gets one. Raises UsageError.
    """
    name, *rest = spec.split(":")
    if kernel and not (virtual_time or name == KIND):
        raise UsageError("--kernel: goes with --virtual-time")
    if virtual_time and not kernel and (is_vm(spec) or is_gated(spec)):
        return ":".join([GATED, *rest])
    if virtual_time and name == "linux":
        return ":".join([KIND, kernel_of(f"{KIND}:{kernel}").name, *rest])
    if name != KIND:
        if virtual_time:
            raise UsageError(f"--virtual-time: goes with the target linux, uml:NAME or vm:NAME, not {spec}")
        return spec
    if surroundings() is not None:
        return spec
    if kernel and rest:
        raise UsageError(f"--kernel {kernel}: --target {spec} names a kernel already")
    return ":".join([KIND, kernel_of(f"{KIND}:{kernel}" if kernel else spec).name, *rest[1:]])
