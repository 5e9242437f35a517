# SPDX-License-Identifier: GPL-2.0-or-later
"""The person in front of the machine: reads its screen and types."""

from __future__ import annotations

import ipaddress
import os
import time
from typing import Any, Final, Protocol

from ...wire.errors import TargetError
from ..base import PHANTOM, PREFIX, TARGET
from . import screen

_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 20.0


class Monitor(Protocol):
    """What takes QEMU's commands."""

    def command(self, name: str, **arguments: Any) -> Any:
        """Give a command (QMP). Raises TargetError."""


def script() -> bytes:
    """What iPXE runs: it takes the lab's address, and downloads from whatever port it is told."""
    mask = ipaddress.ip_network(f"{TARGET['ipv4']}/{PREFIX['ipv4']}", strict=False).netmask
    lines = ("#!ipxe", "ifopen net0", f"set net0/ip {TARGET['ipv4']}", f"set net0/netmask {mask}",
             f"set net0/gateway {PHANTOM['ipv4']}", ":again", "clear port ||", f"echo {screen.QUESTION}",
             "read port || goto again", "echo", f"imgfetch http://{PHANTOM['ipv4']}:${{port}}/x ||", "imgfree ||",
             "goto again", "")
    return "\n".join(lines).encode()


class Console:
    """Keyboard and screen of a machine."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        # QEMU writes what is on the screen into a file, and this one is in memory.
        self._memory = os.memfd_create("tcpqual-screen", os.MFD_CLOEXEC)
        self._path = f"/proc/{os.getpid()}/fd/{self._memory}"

    def read(self) -> bytes:
        """The memory of the screen. Raises TargetError."""
        self._monitor.command("pmemsave", val=screen.ADDRESS, size=screen.OCTETS, filename=self._path)
        return os.pread(self._memory, screen.OCTETS, 0)

    def asks(self) -> bool:
        """True if the script waits for a port. Raises TargetError."""
        return screen.asks(self.read())

    def await_question(self) -> None:
        """Wait until the script asks for a port. Raises TargetError if it does not."""
        until = time.monotonic() + _PATIENCE_S
        while not screen.asks(shown := self.read()):
            if time.monotonic() > until:
                last = " | ".join(screen.lines(shown)[-4:])
                raise TargetError(f"firmware: asks for no port within {_PATIENCE_S:g} s; its screen ends with: {last}")
            # Nothing tells when a screen changes, so it is looked at again and again.
            time.sleep(_LOOK_S)

    def answer(self, port: int) -> None:
        """Type a port number. Raises TargetError."""
        for key in (*str(port), "ret"):
            self._press(key)

    def call_off(self) -> None:
        """Type Ctrl-C. Raises TargetError."""
        self._press("ctrl", "c")

    def release(self) -> str:
        """The version that stands on the screen after the start, "" if it is there no more. Raises TargetError."""
        return screen.release(self.read())

    def failure(self, url: str) -> str | None:
        """The errno name of what ended the download of this URL, None if it goes on. Raises TargetError."""
        return screen.failure(self.read(), url)

    def _press(self, *keys: str) -> None:
        self._monitor.command("send-key", keys=[{"type": "qcode", "data": key} for key in keys], hold_time=1)

    def close(self) -> None:
        """Let go of the file in memory."""
        os.close(self._memory)
