# SPDX-License-Identifier: GPL-2.0-or-later
"""The process of a pipe target: octets in, messages out, and what it said last when it is over.

Nothing here ever waits without an end: whoever waits for a message names the wall time that it may take.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ...upper.messages import Malformed
from ...wire.errors import TargetError
from .protocol import cut

_CHUNK: Final = 1 << 16
_KEPT: Final = 4096
"""Octets of its standard error that are kept."""
_READS: Final = 4
"""What it said last is read in so many pieces; who goes on after its end is not heard."""
_LINES: Final = 8
_WIDEST: Final = 800
_END_S: Final = 1.0
"""How long a process may take to end once its input has."""
_PR_SET_PDEATHSIG: Final = 1


class Process:
    """A running stack. Raises TargetError if it cannot be started.

    `name` is what errors call it, `limit_s` how long an answer may take in wall time. It ends with us, also if we are
    killed; one that `binds_itself` to us needs no code between fork and exec for it, and starts in a tenth of the time.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path, limit_s: float, name: str,
                 binds_itself: bool = False) -> None:
        self.name = name
        self.limit_s = limit_s
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._remarks = b""
        try:
            self._process = subprocess.Popen(
                list(command), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, start_new_session=True,
                preexec_fn=None if binds_itself else _dies_with_parent())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise TargetError(f"{name}: cannot start {command[0]!r} in {cwd}: {reason}") from None
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._in, self._out, self._err = self._process.stdin, self._process.stdout, self._process.stderr
        for stream in (self._in, self._out, self._err):
            os.set_blocking(stream.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._err, select.POLLIN)
        self._stdin, self._stdout, self._stderr = self._in.fileno(), self._out.fileno(), self._err.fileno()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_spoken(self) -> bool:
        """True if something has come that nobody has taken."""
        return bool(self._inbox)

    # -- octets ------------------------------------------------------------------------------------------------------

    def put(self, octets: bytes) -> None:
        """Say something; what does not fit into the pipe goes out while an answer is waited for."""
        self._outbox += octets
        self._write()

    def _write(self) -> None:
        try:
            while self._outbox:
                written = os.write(self._stdin, self._outbox)
                del self._outbox[:written]
        except BlockingIOError:
            self._poll.register(self._in, select.POLLOUT)
        except BrokenPipeError:
            self._outbox.clear()  # its end is seen, and told, where its output ends

    def get(self, doing: str) -> tuple[int, bytes]:
        """The next message: its type and its fields. Raises TargetError, also when it takes too long.

        `doing` says in the error what the process was at.
        """
        until = time.monotonic() + self.limit_s
        while True:
            try:
                found = cut(self._inbox)
            except Malformed as error:
                raise self.failed(f"said what is no message while it {doing}: {error}") from None
            if found is not None:
                kind, fields, size = found
                del self._inbox[:size]
                return kind, fields
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self.failed(f"said nothing for {self.limit_s:g} s while it {doing}")
            if not self._pump(left_s):
                raise self.failed(f"{self._ending()} while it {doing}")

    def idle(self, seconds: float) -> bool:
        """Listen for so long, in wall time; True if the process said nothing, and is still there."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0 and not self._inbox:
            if not self._pump(left_s):
                return False
        return not self._inbox

    def _pump(self, left_s: float) -> bool:
        """Move octets either way, once; False at the end of the process's output."""
        for descriptor, _ in self._poll.poll(left_s * 1000):
            if descriptor == self._stdin:
                self._poll.unregister(self._in)
                self._write()
            elif descriptor == self._stderr:
                self._hear_remarks()
            else:
                octets = self._read(descriptor)
                if not octets:
                    return False
                self._inbox += octets
        return True

    def _hear_remarks(self) -> None:
        octets = self._read(self._stderr)
        if octets == b"":
            self._poll.unregister(self._err)
        self._remarks = (self._remarks + (octets or b""))[-_KEPT:]

    @staticmethod
    def _read(descriptor: int) -> bytes | None:
        """What is there, b"" at the end, None if there is nothing yet."""
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return None

    # -- the end -----------------------------------------------------------------------------------------------------

    def _ending(self) -> str:
        """How it ended, or that it closed its output only."""
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "closed its standard output"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"died of {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def failed(self, what: str) -> TargetError:
        """An error that says what went wrong, and what the process said last; it is ended."""
        self.kill()
        remarks = [line.strip() for line in self._remarks.decode(errors="replace").splitlines() if line.strip()]
        last = " | ".join(remarks[-_LINES:])[-_WIDEST:]
        return TargetError(f"{self.name}: {what}; standard error: {last or 'nothing'}")

    def kill(self) -> None:
        """End it and all that it has started, and gather its last remarks."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if not self._err.closed:
            for _ in range(_READS):
                self._remarks = (self._remarks + (self._read(self._stderr) or b""))[-_KEPT:]
        self._close_streams()

    def close(self) -> int | None:
        """End its input, upon which it has to end; returns its status, None if it had to be killed."""
        if not self._in.closed:
            self._in.close()
        try:
            status: int | None = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        return status

    def _close_streams(self) -> None:
        for stream in (self._in, self._out, self._err):
            with contextlib.suppress(OSError):
                stream.close()


def _dies_with_parent() -> Callable[[], None]:
    """What a new process does first, so that it ends with this one even if that is killed."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec there is no safe place to look for anything

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return bind
