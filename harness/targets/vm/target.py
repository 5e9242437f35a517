# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest as a target: its link, the agent in it, and its clock, in real time or, behind a gate, in its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...lower.injector import Injector
from ...lower.timing import measure_tolerance
from ...upper.agent import Agent, AgentUpperTester
from ...upper.messages import Op, endpoint
from ..base import FAMILIES, Target, addresses, phantom_neighbour, timing_of
from ..profile import Profile
from . import GATED
from .accelerator import accelerator
from .clock import GuestClock
from .gated_guest import GatedClock, GatedGuest, GatedLink
from .guest import Guest, Recipe
from .image_profile import image_of
from .images import Image
from .link import GuestLink
from .roundtrip import measure_round_trip

_ANSWER_S: Final = 15.0
"""How long the agent may take to answer before the guest is taken to hang, in seconds of this machine's time."""
_NO_PORT: Final = 1


@dataclass(kw_only=True)
class GuestTarget(Target):
    """A target that begins each case with a guest that lives; `revive` sees to it. `guest` is the present one."""

    guest: Guest | GatedGuest
    revive: Callable[[], None]

    def come_to_rest(self, name: str) -> None:
        """Boot a fresh guest if the last case has ended the one before. Raises TargetError."""
        self.revive()
        super().come_to_rest(name)


def _prove_alive(agent: Agent) -> None:
    """Raises TargetError if the guest is no more, though nobody has noticed yet."""
    # A guest that is known to be dead has made an error of its case already, and that keeps its capture.
    if agent.failure is None:
        agent.ask(Op.LISTENING, 0, endpoint(addresses(FAMILIES[0]).target, _NO_PORT))


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> GuestTarget:
    """A guest of its own for this worker. Raises UsageError or TargetError if it cannot be booted."""
    image = image_of(profile, spec)
    guest, link, clock = _gated(image, profile) if profile.kind == GATED else _in_real_time(image, profile)
    try:
        agent = Agent(guest.connect, limit_s=_ANSWER_S)
        link.alive = lambda: _prove_alive(agent)
        injector = Injector(link=link, clock=clock, neighbour=phantom_neighbour())
        tolerance_ns = max(measure_tolerance(clock), measure_round_trip(injector))
    except BaseException:
        guest.close()
        raise
    upper = AgentUpperTester(agent)
    return GuestTarget(name=spec, kind=profile.kind, version=image.version, profile=profile, clock=clock, link=link,
                       upper=upper, injector=injector, timing=timing_of(profile, tolerance_ns), revive=upper.revive,
                       guest=guest, closers=[guest.close, upper.close_driver])


def _in_real_time(image: Image, profile: Profile) -> tuple[Guest, GuestLink, GuestClock]:
    recipe = Recipe.of(image, profile)
    clock = GuestClock()
    link = GuestLink(now=clock.now, instant=clock.instant, alive=lambda: None)
    means = accelerator(lambda means, limit_s: recipe.boot(means, limit_s).stop())
    return Guest(recipe, means, link=link, clock=clock), link, clock


def _gated(image: Image, profile: Profile) -> tuple[GatedGuest, GatedLink, GatedClock]:
    guest = GatedGuest(Recipe.of(image, profile, gated=True))
    return guest, guest.link, guest.clock


def version(profile: Profile, spec: str) -> str:
    """The version of the kernel that will be booted."""
    return image_of(profile, spec).version
