# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process, seen from outside: its network card, its monitor, and files in memory that it is given.

It needs no right, leaves nothing in the file system, and dies with this process. Nothing of it can be reached by
anybody else, and nothing else by it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..wire.errors import TargetError, UsageError
from .base import TARGET_MAC

QEMU: Final = "qemu-system-x86_64"
OFFLOADS: Final = ("csum", "guest_csum", "gso", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "host_tso4",
                   "host_tso6", "host_ecn", "host_ufo", "mrg_rxbuf")
"""What the network card must not offer: it would merge segments, or leave checksums undone."""
_BUFFER: Final = 1 << 20
_WAITING: Final = 64 << 10
"""So many octets may be on their way to a guest: what it has not taken after a flood, a case would wait behind."""
_ANSWER_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 1 << 16
_LINES: Final = 10


def program() -> str:
    """The path of QEMU. Raises UsageError if it is not installed."""
    found = shutil.which(QEMU)
    if found is None:
        raise UsageError(f"{QEMU}: not found; a virtual machine needs it: apt-get install qemu-system-x86")
    return found


def in_memory(name: str, octets: bytes = b"") -> int:
    """A file in memory with these octets, to be passed to QEMU; returns its descriptor."""
    descriptor = os.memfd_create(f"tcpqual-{name}", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(octets)
    return descriptor


def path_of(descriptor: int) -> str:
    """The path by which QEMU opens a descriptor that it has been given."""
    return f"/proc/self/fd/{descriptor}"


def pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Two ends of a link: ours, and the one that QEMU is given."""
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    # What does not fit waits on its side: a flood is slowed down, nothing is lost.
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return near, far


class Qemu:
    """One machine, started at once; `stop` must be called in the end. Raises UsageError or TargetError.

    `link` carries its Ethernet frames, a datagram each. `words` are QEMU's, `given` the descriptors that they speak of.
    """

    def __init__(self, words: Sequence[str], *, given: Sequence[int] = (), card: Sequence[str] = ()) -> None:
        self.link, far_link = pair(socket.SOCK_DGRAM)
        self._monitor, far_monitor = pair(socket.SOCK_STREAM)
        far = (far_link, far_monitor)
        device = ",".join((f"virtio-net-pci,netdev=link,mac={TARGET_MAC.hex(':')},romfile=", *card))
        arguments = [program(), "-nodefaults", "-no-user-config", "-display", "none",
                     "-netdev", f"dgram,id=link,local.type=fd,local.str={far_link.fileno()}", "-device", device,
                     "-chardev", f"socket,id=monitor,fd={far_monitor.fileno()}",
                     "-mon", "chardev=monitor,mode=control", *words]
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[*given, *(each.fileno() for each in far)], start_new_session=True,
                preexec_fn=_dies_with_parent())
        except OSError as error:
            raise TargetError(f"{arguments[0]}: cannot be started: {error.strerror}") from error
        finally:
            for each in far:
                each.close()
        self._said = b""
        self.events: list[dict[str, Any]] = []
        try:
            self.command("qmp_capabilities")
        except (TargetError, OSError):
            self._process.kill()
            self._process.wait()
            reason = self.last_words()
            Qemu.stop(self)
            raise TargetError(f"{QEMU}: does not start: {reason}") from None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self, within_s: float = 0) -> bool:
        """True if it runs no more, or ends in that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        return self._process.returncode is not None

    def last_words(self) -> str:
        """The last lines of what QEMU itself says, if it has ended."""
        if not self.ended() or self._process.stderr is None or self._process.stderr.closed:
            return "nothing"
        lines = self._process.stderr.read().decode(errors="replace").splitlines()[-_LINES:]
        return " | ".join(lines) or "nothing"

    def command(self, name: str, **arguments: Any) -> Any:
        """Give QEMU's monitor a command (QMP); returns its answer. Raises TargetError."""
        until = time.monotonic() + _ANSWER_S
        request = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        try:
            self._monitor.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise TargetError(f"{QEMU}: has ended: {self.last_words()}") from None
        while True:
            message = self.message(until)
            if message is None:
                raise TargetError(f"{QEMU}: no answer to {name}")
            if "event" in message:
                self.events.append(message)
            elif "return" in message:
                return message["return"]
            elif "error" in message:
                raise TargetError(f"{QEMU}: {name}: {message['error'].get('desc', 'refused')}")

    def message(self, until: float) -> dict[str, Any] | None:
        """What the monitor says next; None at its end, or if it says nothing by then (`time.monotonic`)."""
        while b"\n" not in self._said:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return None
            self._monitor.settimeout(left_s)
            try:
                octets = self._monitor.recv(_CHUNK)
            except OSError:
                return None
            if not octets:
                return None
            self._said += octets
        line, _, self._said = self._said.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def stop(self) -> None:
        """End it, and give back what it had. May be called again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for each in (self.link, self._monitor):
            each.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _dies_with_parent() -> Callable[[], None]:
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec there is no safe place to look for anything

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return bind
