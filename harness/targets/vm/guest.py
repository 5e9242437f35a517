# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of a worker: booted when the target is made, and again after it has panicked or hung.

A boot is tried twice: an emulated processor that is starved fails in boot now and then, through no fault of the kernel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ...upper.streams import ByteStream, over_socket
from ...wire.errors import TargetError
from ..namespace import QUIET
from ..profile import Profile
from .clock import GuestClock
from .images import Image
from .initramfs import initramfs, orders_for
from .link import GuestLink
from .machine import END_S, Accelerator, Machine
from .programs import programs

BOOT_S: Final = 60.0
"""How long a boot may take: 2 s on an idle machine, 30 s were seen where ten booted on two busy processors."""
_ATTEMPTS: Final = 2
_AGENT: Final = ("/agent", "--stdio")
_GATE: Final = ("/gate", *_AGENT)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is booted: an image, and an archive that makes it a target."""

    image: Image
    archive: bytes

    @classmethod
    def of(cls, image: Image, profile: Profile, *, gated: bool = False) -> Recipe:
        """For the lab, with the sysctls of the profile. Raises UsageError or TargetError.

        `gated`: there is a gate between the harness and the agent.
        """
        made = programs()
        orders = orders_for(modules=image.modules, quiet=QUIET, sysctls=profile.sysctls(),
                            command=_GATE if gated else _AGENT)
        return cls(image=image, archive=initramfs(init=made.init, programs=(made.agent, made.gate),
                                                  modules=image.modules, orders=orders))

    def boot(self, accelerator: Accelerator, limit_s: float = BOOT_S) -> Machine:
        """A machine whose agent can be spoken to. Raises TargetError with its last words if it does not come so far."""
        machine = Machine(self.image, self.archive, accelerator)
        try:
            if machine.speaks(limit_s):
                return machine
            what = "ended in boot" if machine.ended(END_S) else f"did not boot within {limit_s:g} s"
            words = machine.last_words()
        except BaseException:
            machine.stop()
            raise
        machine.stop()
        raise TargetError(f"the guest {self.image.name} {what}; its console: {words}")


def booted(boot: Callable[[], T]) -> T:
    """What a boot comes to, which is tried twice. Raises TargetError."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(TargetError):
            return boot()
    return boot()


class Guest:
    """One guest after the other, for one link and one clock; `connect` begins the next one."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator, *, link: GuestLink, clock: GuestClock) -> None:
        self.machine: Machine | None = None
        self._recipe = recipe
        self._accelerator = accelerator
        self._link = link
        self._clock = clock

    def connect(self) -> ByteStream:
        """Boot a guest, the one before being ended; returns the stream to its agent. Raises TargetError."""
        self.close()
        self.machine = booted(lambda: self._recipe.boot(self._accelerator))
        self._link.attend(self.machine.link)
        self._clock.watch(self.machine.pid)
        stream = over_socket(self.machine.port, f"the guest {self._recipe.image.name}")
        return ByteStream(name=stream.name, source=stream.source, sink=stream.sink, close=lambda: None,
                          remarks=self.last_words)

    def last_words(self) -> str:
        """What the guest's console says at its end; a guest that hangs is made to say where."""
        return self.machine.last_words_at_end() if self.machine is not None else ""

    def close(self) -> None:
        """End the guest, if there is one."""
        if self.machine is None:
            return
        self._clock.unwatch()
        self._link.attend(None)
        self.machine.stop()
        self.machine = None
