# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that firmware runs in: booted when the target is made, and again after it has ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ...wire.errors import TargetError, UsageError
from ..qemu import OFFLOADS, Qemu, in_memory, path_of
from ..vm.clock import GuestClock
from ..vm.link import GuestLink
from .console import Console, script

IMAGES: Final = ("/boot/ipxe.lkrn", "/usr/lib/ipxe/ipxe.lkrn")
"""Where distributions put the image of iPXE that boots like a kernel."""

_MEMORY_MIB: Final = 128
"""With half as much iPXE does not find its script."""


def image() -> Path:
    """The image of iPXE. Raises UsageError if it is not installed."""
    found = next((path for path in map(Path, IMAGES) if path.exists()), None)
    if found is None:
        raise UsageError("--target ipxe: no iPXE here; it comes with: apt-get install ipxe")
    return found


class Firmware:
    """One machine after the other, for one link, one clock, one console."""

    def __init__(self, clock: GuestClock) -> None:
        self.link = GuestLink(now=clock.now, instant=clock.instant, alive=self.alive)
        self.console = Console(self)
        self._clock = clock
        self.machine: Qemu | None = None

    def boot(self) -> None:
        """Start a machine, the one before being ended, and wait until its script asks. Raises TargetError."""
        self._end()
        initrd = in_memory("script", script())
        try:
            self.machine = Qemu(["-machine", "pc", "-m", str(_MEMORY_MIB), "-vga", "std", "-kernel", str(image()),
                                 "-initrd", path_of(initrd)],
                                given=[initrd], card=[f"{name}=off" for name in OFFLOADS])
        finally:
            os.close(initrd)
        self.link.attend(self.machine.link)
        self._clock.watch(self.machine.pid)
        self.console.await_question()

    def alive(self) -> None:
        """Raises TargetError if the machine has ended."""
        if self.machine is None or self.machine.ended():
            words = "nothing" if self.machine is None else self.machine.last_words()
            raise TargetError(f"firmware: its machine has ended; it said: {words}")

    def command(self, name: str, **arguments: object) -> object:
        """Give the monitor of the present machine a command. Raises TargetError."""
        self.alive()
        assert self.machine is not None
        answer: object = self.machine.command(name, **arguments)
        return answer

    def _end(self) -> None:
        if self.machine is not None:
            self._clock.unwatch()
            self.link.attend(None)
            self.machine.stop()
            self.machine = None

    def close(self) -> None:
        """End the machine."""
        self._end()
        self.console.close()
