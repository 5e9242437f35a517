# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of a guest: a QEMU process with the guest's kernel, its archive, its console, its agent's port."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from typing import Final

from ...wire.errors import TargetError
from ..qemu import OFFLOADS, Qemu, in_memory, pair, path_of
from .images import Image
from .initramfs import PORT

MEMORY_MIB: Final = 256
_BUFFER: Final = 1 << 20
_TROUBLE: Final = ("Kernel panic", "BUG:", "Oops", "watchdog:", "NMI", "tcpqual:")
_NOISE: Final = ("Kernel Offset", "---[ end Kernel panic", "Rebooting")
_LINES: Final = 10
_WIDEST: Final = 900
_NMI_S: Final = 3.0
END_S: Final = 0.5
"""So long a machine may take to end when its agent has."""
_WORDS: Final = ("console=ttyS0", "quiet", "panic=-1", "oops=panic", "unknown_nmi_panic", "mitigations=off",
                 "net.ifnames=0")
"""The kernel's command line: what is wrong ends the machine, with its reason on the console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """How QEMU runs the guest's code: its `arguments` on the command line, and the kernel's `words` that go with it."""

    name: str
    processor: str
    words: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


KVM: Final = Accelerator(name="kvm", processor="host")
TCG: Final = Accelerator(
    name="tcg",
    # With a 16-octet compare and exchange kernels failed in boot, one in ten under load.
    processor="max,cx16=off",
    # The guest measures the processor's own counter at boot, and wrongly on a busy machine; this one's rate is known.
    words=("clocksource=hpet",))


class Machine(Qemu):
    """One guest's machine, started at once; `stop` must be called in the end. Raises UsageError or TargetError.

    `port` carries what the agent says. `words` go onto the kernel's command line.
    """

    def __init__(self, image: Image, archive: bytes, accelerator: Accelerator, *, words: tuple[str, ...] = ()) -> None:
        self.image = image
        self._archive = in_memory("archive", archive)
        self._console = in_memory("console")
        self.port, far_port = pair(socket.SOCK_STREAM)
        arguments = [
            "-no-reboot", "-machine", "q35", "-accel", accelerator.name, *accelerator.arguments,
            "-cpu", accelerator.processor, "-m", str(MEMORY_MIB), "-smp", "1,maxcpus=2", "-kernel", str(image.kernel),
            "-initrd", path_of(self._archive), "-append", " ".join((*_WORDS, *accelerator.words, *words)),
            "-chardev", f"file,id=console,path={path_of(self._console)}", "-serial", "chardev:console",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={far_port.fileno()}",
            "-device", f"virtserialport,id=port,chardev=agent,name={PORT}"]
        try:
            super().__init__(arguments, given=[self._archive, self._console, far_port.fileno()],
                             card=[f"{name}=off" for name in OFFLOADS])
        except BaseException:
            self._release()
            raise
        finally:
            far_port.close()

    # -- what it said ------------------------------------------------------------------------------------------------

    def console(self) -> list[str]:
        """What stands on its console, without the kernel's stamps."""
        text = os.pread(self._console, _BUFFER, 0).decode(errors="replace")
        lines = [line.partition("] ")[2] if line.startswith("[") else line for line in text.splitlines()]
        return [line.strip() for line in lines if line.strip()]

    def last_words(self) -> str:
        """The last lines of the console, from where the trouble begins if that can be told; QEMU's own otherwise."""
        lines = [line for line in self.console() if not any(word in line for word in _NOISE)]
        begins = next((at for at, line in enumerate(lines) if any(word in line for word in _TROUBLE)), None)
        told = lines[-_LINES:] if begins is None else lines[begins:begins + _LINES]
        return " | ".join(told)[:_WIDEST] or super().last_words()

    def interrupt(self) -> None:
        """Have a kernel that hangs say where: a non-maskable interrupt makes it panic, which ends the machine."""
        with contextlib.suppress(TargetError, OSError):
            self.command("cont")
            self.command("inject-nmi")
        self.ended(_NMI_S)

    def last_words_at_end(self) -> str:
        """What its console says at its end; a kernel that hangs is made to say where."""
        if not self.ended(END_S):
            self.interrupt()
        return self.last_words()

    def speaks(self, limit_s: float) -> bool:
        """True as soon as the agent has opened its port; False if the machine has ended before, or the time is over."""
        until = time.monotonic() + limit_s
        while True:
            message = self.events.pop(0) if self.events else self.message(until)
            if message is None:
                return False
            if message.get("event") == "VSERPORT_CHANGE" and message["data"]["open"]:
                return True

    # -- the end -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End it, and give back what it had. May be called again."""
        super().stop()
        self._release()

    def _release(self) -> None:
        self.port.close()
        for descriptor in (self._archive, self._console):
            if descriptor >= 0:
                os.close(descriptor)
        self._archive = self._console = -1
