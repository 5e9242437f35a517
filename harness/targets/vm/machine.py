# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine: one QEMU process, seen from outside. It needs no right, and leaves nothing in the file system.

Its network card and the port of its agent are sockets whose other ends are here; kernel archive and console are files
in memory. Nothing of it can be reached by anybody else, and nothing else by it.
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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ...wire.errors import TargetError, UsageError
from ..base import TARGET_MAC
from .images import Image
from .initramfs import PORT

QEMU: Final = "qemu-system-x86_64"
MEMORY_MIB: Final = 256
_OFFLOADS: Final = ("csum", "guest_csum", "gso", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "host_tso4",
                    "host_tso6", "host_ecn", "host_ufo", "mrg_rxbuf")
"""What the network card must not offer: it would merge segments, or leave checksums undone."""
_BUFFER: Final = 1 << 20
_WAITING: Final = 64 << 10
"""So many octets may be on their way to a guest: what it has not taken after a flood, a case would wait behind."""
_TROUBLE: Final = ("Kernel panic", "BUG:", "Oops", "watchdog:", "NMI", "tcpqual:")
_NOISE: Final = ("Kernel Offset", "---[ end Kernel panic", "Rebooting")
_LINES: Final = 10
_WIDEST: Final = 900
_ANSWER_S: Final = 5.0
_NMI_S: Final = 3.0
_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """How QEMU runs the guest's code: its words on the command line, and the kernel's that go with it."""

    name: str
    processor: str
    words: tuple[str, ...] = ()


KVM: Final = Accelerator(name="kvm", processor="host")
TCG: Final = Accelerator(
    name="tcg",
    # With a 16-octet compare and exchange kernels failed in boot, one in ten under load.
    processor="max,cx16=off",
    # The guest measures the processor's own counter at boot, and wrongly on a busy machine; this one's rate is known.
    words=("clocksource=hpet",))


class Machine:
    """One machine, started at once; `stop` must be called in the end. Raises UsageError or TargetError.

    `link` carries its Ethernet frames, a datagram each, `port` what the agent says. `words` go onto the kernel's
    command line.
    """

    def __init__(self, image: Image, archive: bytes, accelerator: Accelerator, *, words: tuple[str, ...] = ()) -> None:
        self.image = image
        self._archive = _in_memory("archive", archive)
        self._console = _in_memory("console")
        self.link, far_link = _pair(socket.SOCK_DGRAM)
        self.port, far_port = _pair(socket.SOCK_STREAM)
        self._monitor, far_monitor = _pair(socket.SOCK_STREAM)
        far = (far_link, far_port, far_monitor)
        arguments = [program(), *_arguments(image, accelerator, far_link.fileno(), far_port.fileno(),
                                            far_monitor.fileno()),
                     "-initrd", _path(self._archive), "-chardev", f"file,id=console,path={_path(self._console)}",
                     "-serial", "chardev:console", "-append", " ".join((*_WORDS, *accelerator.words, *words))]
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[self._archive, self._console, *(each.fileno() for each in far)], start_new_session=True,
                preexec_fn=_dies_with_parent())
        except OSError as error:
            raise TargetError(f"{arguments[0]}: cannot be started: {error.strerror}") from error
        finally:
            for each in far:
                each.close()
        self._said = b""
        self._events: list[dict[str, Any]] = []
        try:
            self.command("qmp_capabilities")
        except (TargetError, OSError):
            self._process.kill()
            self._process.wait()
            reason = self.last_words()
            self.stop()
            raise TargetError(f"{QEMU}: does not start: {reason}") from None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self, within_s: float = 0) -> bool:
        """True if it runs no more, or ends in that time: a kernel that panics ends its machine."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        return self._process.returncode is not None

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
        if not told and self.ended() and self._process.stderr is not None and not self._process.stderr.closed:
            told = self._process.stderr.read().decode(errors="replace").splitlines()[-_LINES:]
        return " | ".join(told)[:_WIDEST] or "nothing"

    def interrupt(self) -> None:
        """Have a kernel that hangs say where: a non-maskable interrupt makes it panic, which ends the machine."""
        with contextlib.suppress(TargetError, OSError):
            self.command("cont")
            self.command("inject-nmi")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_NMI_S)

    # -- QEMU's monitor ----------------------------------------------------------------------------------------------

    def command(self, name: str) -> Any:
        """Give QEMU's monitor a command (QMP); returns its answer. Raises TargetError."""
        until = time.monotonic() + _ANSWER_S
        self._monitor.sendall(json.dumps({"execute": name}).encode() + b"\n")
        while True:
            message = self._message(until)
            if message is None:
                raise TargetError(f"{QEMU}: no answer to {name}")
            if "event" in message:
                self._events.append(message)
            elif "return" in message:
                return message["return"]
            elif "error" in message:
                raise TargetError(f"{QEMU}: {name}: {message['error'].get('desc', 'refused')}")

    def speaks(self, limit_s: float) -> bool:
        """True as soon as the agent has opened its port; False if the machine has ended before, or the time is over."""
        until = time.monotonic() + limit_s
        while True:
            message = self._events.pop(0) if self._events else self._message(until)
            if message is None:
                return False
            if message.get("event") == "VSERPORT_CHANGE" and message["data"]["open"]:
                return True

    def _message(self, until: float) -> dict[str, Any] | None:
        """What the monitor says next; None at its end, or if it says nothing in time."""
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

    # -- the end -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End it, and give back what it had. May be called again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for each in (self.link, self.port, self._monitor):
            each.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        for descriptor in (self._archive, self._console):
            if descriptor >= 0:
                os.close(descriptor)
        self._archive = self._console = -1


_WORDS: Final = ("console=ttyS0", "quiet", "panic=-1", "oops=panic", "unknown_nmi_panic", "mitigations=off",
                 "net.ifnames=0")
"""The kernel's command line: what is wrong ends the machine, with its reason on the console."""


def program() -> str:
    """The path of QEMU. Raises UsageError if it is not installed."""
    found = shutil.which(QEMU)
    if found is None:
        raise UsageError(f"{QEMU}: not found; a virtual machine needs it: apt-get install qemu-system-x86")
    return found


def _arguments(image: Image, accelerator: Accelerator, link: int, port: int, monitor: int) -> list[str]:
    card = ",".join((f"virtio-net-pci,netdev=link,mac={TARGET_MAC.hex(':')},romfile=",
                     *(f"{name}=off" for name in _OFFLOADS)))
    return ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35",
            "-accel", accelerator.name, "-cpu", accelerator.processor, "-m", str(MEMORY_MIB),
            # For a machine that can have but one processor TCG leaves out the guest's memory barriers, on which its
            # drivers rely against devices that run in another thread.
            "-smp", "1,maxcpus=2",
            "-kernel", str(image.kernel),
            "-netdev", f"dgram,id=link,local.type=fd,local.str={link}", "-device", card,
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={port}",
            "-device", f"virtserialport,id=port,chardev=agent,name={PORT}",
            "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]


def _in_memory(name: str, octets: bytes = b"") -> int:
    descriptor = os.memfd_create(f"tcpqual-{name}", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(octets)
    return descriptor


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    # What does not fit waits on its side: a flood is slowed down, nothing is lost.
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return near, far


def _dies_with_parent() -> Callable[[], None]:
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec there is no safe place to look for anything

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return bind
