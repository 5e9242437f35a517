# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: a kernel that runs as a process of this machine, seen from outside.

Its root is this machine's own file system, read-only; what it writes goes into a folder that it alone has. Nothing of
the host's is in its calendar, so it is given all it needs at the start, and it is only listened to: its console and its
messages are two files that grow. No right and no capability is needed.

The kernel mixes its command line and the numbers of `getrandom` into its own randomness. So the command line is always
the same, and the paths that differ between installations travel in the folder, the process's working directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..targets.kernels import Kernel
from ..wire.errors import TargetError, UsageError

MEMORY: Final = "512M"
_BEGINS_NS: Final = 1_700_000_000_000_000_000
"""What the guest's clock shows when it starts, in nanoseconds since 1970."""
_SHEBANG: Final = 250
_PREFIX: Final = "tcpqual-guest-"
_TAIL_LINES: Final = 15
_BOOT_S: Final = 30
_TROUBLE: Final = ("Kernel panic", "BUG:", "Oops", "WARNING:", "Traceback (most recent call last)")
_PR_SET_PDEATHSIG: Final = 1
_ADDR_NO_RANDOMIZE: Final = 0x0040000
_SPILL: Final = 1 << 20

_COMMON: Final = ("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "console=tty0", "quiet", "loglevel=5",
                  "norandmaps", "uml_dir=./", "umid=guest", "noreboot", f"mem={MEMORY}",
                  "init=/proc/self/cwd/init")
_SKIPPING: Final = ("time-travel=inf-cpu", f"time-travel-start={_BEGINS_NS}")


def check(kernel: Kernel) -> None:
    """Start a kernel once, and let it switch itself off. Raises TargetError with what its console says if it cannot."""
    guest = Guest(kernel, {"task": "nothing", "environ": {}}, seed=0)
    try:
        status = guest.wait(_BOOT_S)
        why = "" if status == 0 else f"it ended with {status}"
    except subprocess.TimeoutExpired:
        why = f"it was not through after {_BOOT_S} s"
    finally:
        console = guest.console()
        guest.stop()
    if why:
        raise TargetError("\n".join([f"kernel {kernel.name} does not start here: {why}; its console:", *console]))


class Guest:
    """One guest, started at once.

    `job` is what its process 1 is to do (`inside`), `seed` chooses its random numbers. With `skipping` its clock skips
    idle time, else it keeps real time. `stop` must be called in the end. Raises UsageError or TargetError if it cannot
    be started.
    """

    def __init__(self, kernel: Kernel, job: Mapping[str, Any], *, seed: int, skipping: bool = True,
                 terminal: bool = False) -> None:
        self.kernel = kernel
        _clear()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._read = 0
        self._unread = b""
        try:
            self._write_job(job)
            self._messages = (self.folder / "messages").open("w+b", buffering=0)
            self._process = self._start(seed, skipping, terminal)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.descriptor = os.pidfd_open(self._process.pid)

    def _write_job(self, job: Mapping[str, Any]) -> None:
        python = sys.executable
        if " " in python or len(python) > _SHEBANG:
            raise UsageError(f"{python}: a guest cannot start this Python; allowed: a path without blanks, of at most "
                             f"{_SHEBANG} characters")
        (self.folder / "job.json").write_text(json.dumps({"path": sys.path, "cwd": str(Path.cwd()), **job}))
        init = self.folder / "init"
        # The first lines may import nothing but the standard library: sys.path is not the job's before they ran.
        init.write_text(f"#!{python}\nimport json, sys\n"
                        "sys.path[:] = json.load(open('/proc/self/cwd/job.json'))['path']\n"
                        "from harness.virtualtime.inside import main\nmain()\n")
        init.chmod(0o755)

    def _start(self, seed: int, skipping: bool, terminal: bool) -> subprocess.Popen[bytes]:
        channels = ("con=null", "con0=fd:0,fd:1", "con1=null,fd:2") if terminal else \
            ("con=null", "con0=null,fd:1", "con1=null,fd:0")
        words = [str(self.kernel.binary), *channels, *_COMMON, *(_SKIPPING if skipping else ())]
        environment = {"LD_PRELOAD": str(self.kernel.randomness), "TCPQUAL_SEED": str(seed), "HOME": "/",
                       "PATH": "/usr/bin:/bin", "TMPDIR": _memory_folder(), "TERM": "linux"}
        if not skipping:
            # A guest that keeps real time is no more repeatable than the machine is.
            del environment["LD_PRELOAD"]
        try:
            if terminal:
                return subprocess.Popen(words, env=environment, cwd=self.folder, stderr=self._messages,
                                        preexec_fn=_become_guest)
            with (self.folder / "console").open("wb") as console:
                # Standard input is what the messages go to: any other descriptor would have a number that varies.
                return subprocess.Popen(words, env=environment, cwd=self.folder, stdin=self._messages, stdout=console,
                                        stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_become_guest)
        except OSError as error:
            raise TargetError(f"{self.kernel.binary}: cannot be started: {error.strerror}") from error

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has said since the last call."""
        while octets := os.pread(self._messages.fileno(), _SPILL, self._read):
            self._read += len(octets)
            *lines, self._unread = (self._unread + octets).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def ended(self) -> int | None:
        """Its exit status if it has ended, negative for a signal."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def console(self) -> list[str]:
        """The last lines of its console, from where the trouble begins if that is told."""
        try:
            text = (self.folder / "console").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        begins = next((at for at, line in enumerate(lines) if any(word in line for word in _TROUBLE)), None)
        return lines[-_TAIL_LINES:] if begins is None else lines[begins:begins + _TAIL_LINES]

    def stop(self) -> None:
        """End it if it still runs, with every process of its own; give back what it had. May be called again."""
        for child in _tree(self._process.pid) if self._process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self._messages.close()
            self.descriptor = -1
        shutil.rmtree(self.folder, ignore_errors=True)


def _clear() -> None:
    """Take away the folders of guests whose run was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _tree(pid: int) -> list[int]:
    """A process and all that it has started, the youngest first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [*(grandchild for child in children for grandchild in _tree(int(child))), pid]


def _become_guest() -> None:
    """A guest ends with the run, even if that is killed; and its memory has the same size each time."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # UML adds the gap behind its program to its memory, and the gap is as random as the addresses are.
    libc.personality(_ADDR_NO_RANDOMIZE)


def _memory_folder() -> str:
    """Where its memory may lie: in a file that the processor may run, which some machines forbid in /tmp."""
    for folder in ("/dev/shm", tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            if os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC:
                return folder
    raise UsageError("no folder for a guest's memory: /dev/shm and the temporary folder are not writable or not "
                     "executable; set TMPDIR to one that is")
