# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware as a target: its machine, its link, and a clock that knows how late the machine may be."""

from __future__ import annotations

from dataclasses import dataclass

from ...lower.injector import Injector
from ...lower.timing import measure_tolerance
from ...wire.errors import TargetError
from ..base import Target, phantom_neighbour, timing_of
from ..profile import Profile
from ..vm.clock import GuestClock
from .machine import Firmware, image
from .upper import FirmwareUpperTester


@dataclass(kw_only=True)
class FirmwareTarget(Target):
    """A target whose script has to ask for a port before a case begins."""

    firmware: Firmware
    opener: FirmwareUpperTester

    def come_to_rest(self, name: str) -> None:
        """Call off what the last case has left; boot a machine if that has ended the last one. Raises TargetError."""
        try:
            self.opener.begin()
        except TargetError:
            self.firmware.boot()
        super().come_to_rest(name)


def version(profile: Profile, spec: str) -> str:
    """The version stands on its screen alone, so it is not known before. Raises UsageError if there is no image."""
    image()
    return ""


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> FirmwareTarget:
    """A machine of its own for this worker, which has booted. Raises UsageError or TargetError."""
    clock = GuestClock()
    firmware = Firmware(clock)
    try:
        firmware.boot()
        release = firmware.console.release()
        tolerance_ns = measure_tolerance(clock)
    except BaseException:
        firmware.close()
        raise
    upper = FirmwareUpperTester(firmware.console)
    injector = Injector(link=firmware.link, clock=clock, neighbour=phantom_neighbour())
    return FirmwareTarget(name=spec, kind=profile.kind, version=release, profile=profile, clock=clock,
                          link=firmware.link, upper=upper, injector=injector, timing=timing_of(profile, tolerance_ns),
                          foresee=upper.foresee, firmware=firmware, opener=upper, closers=[firmware.close])
