# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness's side of a gate: a guest whose clock skips idle time stands still, except when it is given a turn.

In the guest `gate.c` has the agent's port. A turn is: frames are put to the network card, the machine is let run, the
gate says what came of it, the machine is stopped. What the gate is told and says is described there. Whatever passes
between is counted in instructions of the guest, so it does not matter how long this machine takes for it.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...wire.errors import TargetError
from .machine import Accelerator, Machine

COUNTED: Final = Accelerator(
    name="tcg", processor="max,cx16=off",
    # The processor's counter is that of its instructions, so nothing has to look after it.
    words=("tsc=reliable", "nowatchdog"),
    arguments=("-icount", "shift=0,sleep=off"))
"""A processor that takes a nanosecond for each instruction, and for nothing else."""
MOST_WORDS: Final = 32 << 10
"""So many octets for the agent go into one turn: they wait in a socket while the machine stands still."""
MOST_FRAMES: Final = 128
"""So many frames go into one turn: what the target answers to them has to find room in its report."""
LONGEST_NS: Final = 600 * 1_000_000_000
"""So far one turn goes, in nanoseconds of the guest's clock."""

_REQUEST: Final = struct.Struct("<QII")
_REPORT: Final = struct.Struct("<QQII")
_HEAD: Final = struct.Struct("<QI")
_LIMIT_S: Final = 15.0
_CHUNK: Final = 1 << 16
_MAX_FRAME: Final = 65536


class GuestEnded(Exception):
    """The guest is no more, or gives no answer; its console says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What came of a turn, by the guest's clock in nanoseconds: when it ended, frames with their instants, words.

    `came_ns` is when the first of the frames given came in, 0 if none did.
    """

    now_ns: int
    came_ns: int = 0
    frames: tuple[tuple[int, bytes], ...] = ()
    words: bytes = b""


class Gate:
    """The gate of one machine, which stands still from here on. Raises GuestEnded, also of `turn`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._told: deque[bytes] = deque()
        self._sent: deque[bytes] = deque()
        self._card_speaks = True
        machine.port.setblocking(False)
        machine.link.setblocking(False)
        self.now_ns = self._end().now_ns

    def turn(self, until_ns: int, *, frames: Sequence[bytes] = (), words: bytes = b"") -> Turn:
        """Let the guest run until it has something to say, or that instant of its clock has come; 0 is at once.

        All `frames` (`MOST_FRAMES` at most) have come in before anything else counts, then the agent is given `words`
        (`MOST_WORDS` at most).
        """
        until_ns = min(until_ns, self.now_ns + LONGEST_NS)
        limit = time.monotonic() + _LIMIT_S
        self._put(self._machine.port, _REQUEST.pack(until_ns, len(frames), len(words)) + words, limit)
        self._command("cont")
        for frame in frames:
            self._put(self._machine.link, frame, limit)
        turn = self._end()
        self.now_ns = turn.now_ns
        return turn

    def _end(self) -> Turn:
        limit = time.monotonic() + _LIMIT_S
        now_ns, came_ns, frames_size, words_size = _REPORT.unpack(self._get(_REPORT.size, limit))
        octets, words = self._get(frames_size, limit), self._get(words_size, limit)
        self._command("stop")
        frames = []
        at = 0
        while at < len(octets):
            stamp_ns, size = _HEAD.unpack_from(octets, at)
            at += _HEAD.size
            frames.append((stamp_ns, octets[at:at + size]))
            at += size
        self._told.extend(frame for _, frame in frames)
        self._compare()
        return Turn(now_ns=now_ns, came_ns=came_ns, frames=tuple(frames), words=words)

    def _hear_card(self) -> None:
        while self._card_speaks:
            try:
                sent = self._machine.link.recv(_MAX_FRAME)
            except OSError:
                return
            self._card_speaks = bool(sent)
            self._sent.append(sent)

    def _compare(self) -> None:
        """What the gate says must be what the card sends; either may be some frames behind. Raises TargetError."""
        self._hear_card()
        while self._told and self._sent:
            if self._told.popleft() != self._sent.popleft():
                raise TargetError("the guest's card has sent a frame that is not what its gate saw")

    # -- octets ------------------------------------------------------------------------------------------------------

    def _get(self, size: int, limit: float) -> bytes:
        octets = bytearray()
        while len(octets) < size:
            # The card must not have to wait for us, or frames would wait in the guest while its clock goes on.
            self._wait(limit, reading=[self._machine.port, *([self._machine.link] if self._card_speaks else [])])
            self._hear_card()
            try:
                some = self._machine.port.recv(min(_CHUNK, size - len(octets)))
            except BlockingIOError:
                continue
            except OSError:
                some = b""
            if not some:
                raise GuestEnded
            octets += some
        return bytes(octets)

    def _put(self, end: socket.socket, octets: bytes, limit: float) -> None:
        while octets:
            try:
                octets = octets[end.send(octets):]
            except BlockingIOError:
                self._wait(limit, writing=[end])
            except OSError:
                raise GuestEnded from None

    def _wait(self, limit: float, *, reading: Sequence[socket.socket] = (),
              writing: Sequence[socket.socket] = ()) -> None:
        left_s = limit - time.monotonic()
        if left_s <= 0 or not any(select.select(reading, writing, (), left_s)):
            raise GuestEnded

    def _command(self, name: str) -> None:
        try:
            self._machine.command(name)
        except (TargetError, OSError):
            raise GuestEnded from None
        self._machine.events.clear()
