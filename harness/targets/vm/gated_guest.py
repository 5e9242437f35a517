# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest whose clock skips idle time, with its clock and its link.

It runs only in turns of its gate (`gate`), so everything is given to it by turns: frames, the agent's words, and
time. All instants are the guest's own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Final

from ...upper.streams import ByteStream
from ...wire.clock import SteppedClock
from ...wire.errors import TargetError
from ...wire.frame import Frame
from ..namespace import MTU
from ..stepped import SteppedLink
from .gate import COUNTED, MOST_FRAMES, MOST_WORDS, Gate, GuestEnded, Turn
from .guest import Recipe, booted
from .machine import Machine

_ANSWER_NS: Final = 10_000_000
"""So long an agent may think before the guest stands still again, to be let run once more."""


class GatedClock(SteppedClock):
    """The guest's own clock, which moves in turns only."""

    kind = "skipping"

    def come_to(self, now_ns: int) -> None:
        """The guest has come to this instant."""
        self._now = max(self._now, now_ns)


class GatedGuest:
    """One guest after the other, each behind its gate; `connect` begins the next one.

    Who has something for the guest calls `turn`, and all that comes of it is handed on here: frames to the link, words
    to the stream, the instant to the clock.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.machine: Machine | None = None
        self.clock = GatedClock(self._advance)
        self.link = GatedLink(self)
        self._recipe = recipe
        self._gate: Gate | None = None
        self._ahead_ns = 0
        self._near = self._far = socket.socket()
        self._answers = bytearray()

    @property
    def lives(self) -> bool:
        """True while there is a guest that answers."""
        return self._gate is not None

    def connect(self) -> ByteStream:
        """Boot a guest, the one before being ended; returns the stream to its agent. Raises TargetError."""
        self.close()
        booted(self._boot)
        self._answers.clear()
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        return ByteStream(name=f"the guest {self._recipe.image.name}", source=self._near.fileno(),
                          sink=self._near.fileno(), close=lambda: None, remarks=self.last_words, pump=self._pump)

    def _boot(self) -> None:
        self.machine = self._recipe.boot(COUNTED)
        try:
            self._gate = Gate(self.machine)
        except GuestEnded:
            words = self.last_words()
            self.close()
            raise TargetError(f"the guest {self._recipe.image.name} says nothing at its gate; its console: "
                              f"{words}") from None
        # The first guest's clock is that of the run, and those that come after it go on where it has stopped.
        if not self.clock.epoch_ns:
            self.clock.epoch_ns = self._gate.now_ns
        self._ahead_ns = self._gate.now_ns - self.clock.now()

    def last_words(self) -> str:
        """What the guest's console says at its end; a guest that hangs is made to say where."""
        return self.machine.last_words_at_end() if self.machine is not None else ""

    def close(self) -> None:
        """End the guest, if there is one."""
        self._gate = None
        self._near.close()
        self._far.close()
        if self.machine is not None:
            self.machine.stop()
            self.machine = None

    # -- turns -------------------------------------------------------------------------------------------------------

    def instant(self, guest_ns: int) -> int:
        """The instant of the clock at which this guest's is `guest_ns`."""
        return guest_ns - self._ahead_ns

    def turn(self, until: int, *, frames: Sequence[bytes] = (), words: bytes = b"") -> Turn | None:
        """Let the guest run up to this instant of the clock at most; None if it is no more."""
        if self._gate is None:
            return None
        try:
            turn = self._gate.turn(until + self._ahead_ns, frames=frames, words=words)
        except GuestEnded:
            # The stream says so, with the console's last words, to whoever asks next.
            self._gate = None
            self._far.close()
            return None
        self.clock.come_to(self.instant(turn.now_ns))
        self.link.take([Frame(data=data, stamp_ns=self.instant(stamp_ns)) for stamp_ns, data in turn.frames])
        self._answers += turn.words
        self._pass_on()
        return turn

    def _advance(self, until: int) -> int:
        if self.turn(until) is None:
            raise TargetError(f"the guest {self._recipe.image.name} has ended; its console: {self.last_words()}")
        return self.clock.now()

    def _pump(self) -> None:
        self._pass_on()
        if not self._answers:
            words = b""
            with contextlib.suppress(OSError):
                words = self._far.recv(MOST_WORDS)
            self.turn(self.clock.now() + _ANSWER_NS, words=words)

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):
            while self._answers:
                del self._answers[:self._far.send(self._answers)]


class GatedLink(SteppedLink):
    """Frames to and from the guest behind a gate: what is sent has come in when `send_bytes` returns."""

    mtu = MTU

    def __init__(self, guest: GatedGuest) -> None:
        super().__init__()
        self._guest = guest
        self.alive: Callable[[], None] = lambda: None

    def take(self, frames: Sequence[Frame]) -> None:
        """What the guest has sent."""
        for frame in frames:
            if self.hears(frame.data):
                self.inbox.append(frame)

    def send_bytes(self, frame: bytes) -> None:
        """Put one frame on the wire, stamped by the guest's kernel when it comes; to nobody, nothing is sent."""
        now = self._guest.clock.now()
        turn = self._guest.turn(0, frames=[frame])
        self.note(frame, self._guest.instant(turn.came_ns) if turn and turn.came_ns else now)

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Give the guest all frames of a burst, some in each turn; returns how many."""
        each = [bytes(frames[at:at + frame_size]) for at in range(0, len(frames) - frame_size + 1, frame_size)]
        for at in range(0, len(each), MOST_FRAMES):
            self._guest.turn(0, frames=each[at:at + MOST_FRAMES])
        return len(each)

    def lost(self) -> int:
        """Nothing is lost on a link to a guest that lives. Raises TargetError if it does not."""
        self.alive()
        return 0
