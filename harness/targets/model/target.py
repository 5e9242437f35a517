# SPDX-License-Identifier: GPL-2.0-or-later
"""The model as a target: core, link, clock and upper tester put together."""

from __future__ import annotations

from typing import Final

from ... import __version__
from ...lower.injector import Injector
from ..base import TARGET, Target, packed, phantom_neighbour, timing_of
from ..profile import Profile
from .defects import parts_of
from .link import ModelLink
from .upper import ModelUpperTester
from .values import values_of

_MTU: Final = 1500


def version(profile: Profile, spec: str) -> str:
    """None: the model's is the harness's own."""
    return ""


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> Target:
    """The model, with one of its defects if the spec names it. Raises UsageError for a defect that there is not."""
    defect = spec.partition(":")[2]
    parts = parts_of(defect)
    stack = parts.stack(values_of(profile), [packed(address) for address in TARGET.values()], mtu=_MTU, seed=seed,
                        connection=parts.connection, listener=parts.listener)
    link = ModelLink(stack, parts.network(stack, parts.reassembly))
    injector = Injector(link=link, clock=link.clock, neighbour=phantom_neighbour())
    upper = ModelUpperTester(stack, now=link.clock.now, flush=link.flush)
    return Target(name=f"model:{defect}" if defect else "model", kind="model", version=__version__, profile=profile,
                  clock=link.clock, link=link, upper=upper, injector=injector, timing=timing_of(profile, 0))
