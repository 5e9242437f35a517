# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 of a guest: makes the system habitable, does the job, and switches the guest off.

It runs inside the guest, with this machine's file system as its read-only root. `/run` is its own, `/run/out` the
folder that the host shares with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import termios
import traceback
import tty
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

OUT: Final = Path("/run/out")
"""The folder that the host shares with the guest, as the guest sees it."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_POWER_OFF: Final = 0x4321FEDC
_PR_SET_TIMERSLACK: Final = 29
_BUSY: Final = 16
_SIOCSIFFLAGS: Final = 0x8914
_UP_AND_RUNNING: Final = 0x41
_FAULT: Final = 125
_MOUNTS: Final = (("proc", "/proc", "proc"), ("sysfs", "/sys", "sysfs"), ("devtmpfs", "/dev", "devtmpfs"),
                  ("tmpfs", "/dev/shm", "tmpfs"), ("devpts", "/dev/pts", "devpts"), ("tmpfs", "/run", "tmpfs"))
_HOUSEKEEPING_MS: Final = {"interval_probe_time_ms": 86_400_000, "base_reachable_time_ms": 172_800_000}
"""How often the kernel looks over its neighbours: each look wakes a guest that could skip the whole time between.

The lab's neighbours are permanent, so nobody misses it; and TCP has nothing to do with it.
"""
_MESSAGES: Final = "/dev/tty1"


class Channel:
    """Takes messages to the host: a line of JSON each, at its end before `send` returns."""

    def __init__(self) -> None:
        self._descriptor = os.open(_MESSAGES, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        tty.setraw(self._descriptor, termios.TCSANOW)

    def send(self, kind: str, **what: Any) -> None:
        """Send one message."""
        line = memoryview(json.dumps({"kind": kind, **what}, default=str).encode() + b"\n")
        while line:
            line = line[os.write(self._descriptor, line):]


def main() -> None:
    """Do the job in a process of its own, and end the guest with that process's exit status."""
    status = _FAULT
    try:
        out = _mount()
        job = json.loads((out / "job.json").read_text())
        _set_up(job)
        child = os.fork()
        if not child:
            _leave(_work(job))
        status = _reap(child)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            Path("/proc/exitcode").write_text(str(status))
        _LIBC.sync()
        _LIBC.reboot(_POWER_OFF)


def _mount() -> Path:
    for source, place, kind in _MOUNTS:
        if place.startswith("/dev/"):
            os.makedirs(place, exist_ok=True)
        _mount_one(source, place, kind)
    OUT.mkdir()
    # The working directory of the kernel as the host's process, whatever that is.
    _mount_one("none", str(OUT), "hostfs", "/proc/self/cwd")
    return OUT


def _mount_one(source: str, place: str, kind: str, data: str = "") -> None:
    if _LIBC.mount(source.encode(), place.encode(), kind.encode(), 0, data.encode() or None):
        number = ctypes.get_errno()
        if number != _BUSY:
            raise OSError(number, f"mount {place}: {os.strerror(number)}")


def _set_up(job: Mapping[str, Any]) -> None:
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(target, f"/dev/{name}")
    with socket.socket() as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
    for family in ("ipv4", "ipv6"):
        for name, value_ms in _HOUSEKEEPING_MS.items():
            Path(f"/proc/sys/net/{family}/neigh/default/{name}").write_text(str(value_ms))
    # A timer that may be late by its slack would be, and always by all of it.
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    os.environ.clear()
    os.environ.update({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run", "TMPDIR": "/run", "LANG": "C.UTF-8",
                       **job["environ"]})
    os.chdir(job["cwd"])


def _work(job: Mapping[str, Any]) -> int:
    if job["task"] == "shell":
        return _shell()
    if job["task"] == "nothing":
        return 0
    from .relay import play

    return play(job, Channel())


def _shell() -> int:
    """An interactive shell on the console."""
    os.setsid()
    descriptor = os.open("/dev/tty0", os.O_RDWR)
    for number in range(3):
        os.dup2(descriptor, number)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    shell = shutil.which("bash") or "/bin/sh"
    return subprocess.call([shell, "--norc", "-i"] if "bash" in shell else [shell, "-i"],
                           env={**os.environ, "TERM": "linux", "PS1": r"guest \w # ", "HISTFILE": ""})


def _leave(status: int) -> None:
    """End the child at once: what its interpreter would do on its way out belongs to process 1."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _reap(child: int) -> int:
    """Wait for the child, and for whatever lost its parent meanwhile."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF
