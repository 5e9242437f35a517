# SPDX-License-Identifier: GPL-2.0-or-later
"""The target `gated:NAME`: an unmodified kernel in a virtual machine whose clock skips idle time."""

from __future__ import annotations

from ...lower.injector import Injector
from ...lower.timing import measure_tolerance
from ...upper.agent import Agent, AgentUpperTester
from ..base import phantom_neighbour, timing_of
from ..profile import Profile
from .gated_guest import GatedGuest
from .guest import Recipe
from .image_profile import image_of
from .roundtrip import measure_round_trip
from .target import ANSWER_S, GuestTarget, prove_alive


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> GuestTarget:
    """A guest of its own for this worker. Raises UsageError or TargetError if it cannot be booted."""
    image = image_of(profile, spec)
    guest = GatedGuest(Recipe.of(image, profile, gated=True))
    link, clock = guest.link, guest.clock
    try:
        agent = Agent(guest.connect, limit_s=ANSWER_S)
        link.alive = lambda: prove_alive(agent)
        injector = Injector(link=link, clock=clock, neighbour=phantom_neighbour())
        tolerance_ns = max(measure_tolerance(clock), measure_round_trip(injector))
    except BaseException:
        guest.close()
        raise
    upper = AgentUpperTester(agent)
    return GuestTarget(name=spec, kind=profile.kind, version=image.version, profile=profile, clock=clock, link=link,
                       upper=upper, injector=injector, timing=timing_of(profile, tolerance_ns), revive=upper.revive,
                       guest=guest, closers=[guest.close, upper.close_driver])


def version(profile: Profile, spec: str) -> str:
    """The version of the kernel that will be booted."""
    return image_of(profile, spec).version
