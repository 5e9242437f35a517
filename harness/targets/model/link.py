# SPDX-License-Identifier: GPL-2.0-or-later
"""The link whose other end is the model: frames in, frames out, and the model's timers when the clock moves."""

from __future__ import annotations

from typing import Final

from ...wire.clock import SteppedClock
from ...wire.frame import Frame
from ..stepped import SteppedLink
from .network import Network
from .stack import Stack

_DELAY_NS: Final = 10_000
"""What the model sends is here ten microseconds later."""
_ETHERNET: Final = 14
_IP: Final = {b"\x08\x00": 4, b"\x86\xdd": 16}
_TYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}


class ModelLink(SteppedLink):
    """An Ethernet link to the model; its MTU is the model's."""

    def __init__(self, stack: Stack, network: Network) -> None:
        super().__init__()
        self.mtu = stack.mtu
        self.clock = SteppedClock(self.advance)
        self._stack = stack
        self._network = network

    # -- time --------------------------------------------------------------------------------------------------------

    def advance(self, until: int) -> int:
        """Let the model run to what is due next, `until` at most; returns the instant."""
        due = self._stack.next_ns()
        if due is None or due > until:
            return until
        self._stack.run(due)
        self.flush(due)
        return due

    def flush(self, now_ns: int | None = None) -> None:
        """Bring what the model has sent."""
        stamp = (self.clock.now() if now_ns is None else now_ns) + _DELAY_NS
        for octets in self._stack.sent:
            if not self.is_ignored(octets):
                header = self.mac + self.target_mac + _TYPES[octets[0] >> 4]
                self.inbox.append(Frame(data=header + octets, stamp_ns=stamp))
        self._stack.sent.clear()

    # -- frames ------------------------------------------------------------------------------------------------------

    def send_bytes(self, frame: bytes) -> None:
        """Put a frame on the wire; the model takes it at once."""
        self.note(frame, self.clock.now())
        self._take(frame)
        self.flush()

    def _take(self, frame: bytes) -> None:
        if frame[12:14] in _IP:
            self._stack.now_ns = self.clock.now()
            self._network.take(frame[_ETHERNET:])

    # -- bursts ------------------------------------------------------------------------------------------------------

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Take a burst of SYNs, all of them.

        Once the listener is full a SYN leaves nothing behind but its answer, which is what a cookie is for. If nobody
        is to hear the answers either, the rest of the burst need not be gone through.
        """
        count = len(frames) // frame_size
        for at in range(0, count * frame_size, frame_size):
            frame = bytes(frames[at:at + frame_size])
            self._take(frame)
            self.flush()
            if self._is_in_vain(frames, frame, frame_size):
                break
        return count

    def _is_in_vain(self, frames: bytes | bytearray, frame: bytes, frame_size: int) -> bool:
        """True if all that follows is for a listener that answers with cookies just now, and these are not heard."""
        size = _IP.get(frame[12:14], 0)
        header = 20 if size == 4 else 40
        address = frame[_ETHERNET + header - size:_ETHERNET + header]
        at = _ETHERNET + header + 2
        listener = self._stack.listeners.get((address, int.from_bytes(frame[at:at + 2], "big")))
        if listener is None or listener.cookied_ns != self.clock.now() or not self.ignores_some:
            return False
        return all(frames[column::frame_size].count(frame[column]) == len(frames) // frame_size
                   for column in (*range(_ETHERNET + header - size, _ETHERNET + header), at, at + 1))
