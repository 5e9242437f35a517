# SPDX-License-Identifier: GPL-2.0-or-later
"""The link whose other end is a process: what is sent it takes at once, and its timers run when the clock moves."""

from __future__ import annotations

from typing import Final

from ...wire.clock import SteppedClock
from ...wire.frame import Frame
from ..base import TARGET_MAC
from ..stepped import SteppedLink
from .conversation import Conversation

_DELAY_NS: Final = 10_000
"""What the stack sends is here ten microseconds later."""
_ETHERNET: Final = 14
_IP: Final = (b"\x08\x00", b"\x86\xdd")
_BURST: Final = 2048
"""What is given to the stack of a burst, always: how much it can take in a time would not be the same in every run."""
_AT_ONCE: Final = 64


class PipeLink(SteppedLink):
    """An Ethernet link to the process. If the stack speaks IP packets, the link adds and takes away the headers."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.clock = SteppedClock(self._advance)
        self._conversation = conversation
        self._meet()

    def _meet(self) -> None:
        """Take over what the hello says; a stack without Ethernet has an address that stands for it."""
        hello = self._conversation.hello
        self.mtu = hello.mtu
        self.target_mac = hello.mac if hello.ethernet else TARGET_MAC

    def revive(self) -> None:
        """Start a fresh process if the present one has failed. Raises TargetError."""
        self._conversation.revive(self.clock.now())
        self._meet()

    def renew(self) -> None:
        """End the present process, and start a fresh one. Raises TargetError."""
        self._conversation.renew(self.clock.now())
        self._meet()

    # -- time --------------------------------------------------------------------------------------------------------

    def _advance(self, until: int) -> int:
        return self._conversation.advance(until)

    # -- frames ------------------------------------------------------------------------------------------------------

    def send_bytes(self, frame: bytes) -> None:
        """Put a frame on the wire; the stack takes it at once. Raises TargetError.

        Once that has been raised nothing goes out: a case cleans up behind it.
        """
        if self._conversation.failure is not None:
            return
        self.note(frame, self.clock.now())
        if (packet := self._packet(frame)) is not None:
            self._conversation.give((packet,), self.clock.now())

    def _packet(self, frame: bytes) -> bytes | None:
        """What the stack is given of a frame, None if nothing."""
        if self._conversation.hello.ethernet:
            return frame
        return frame[_ETHERNET:] if frame[12:14] in _IP and len(frame) > _ETHERNET else None

    def recv_frame(self) -> Frame | None:
        """The stack's next frame, or None."""
        if self._conversation.packets:
            self._take()
        return super().recv_frame()

    def _take(self) -> None:
        for sent_ns, packet in self._conversation.packets:
            frame = packet if self._conversation.hello.ethernet else self._framed(packet)
            if self.hears(frame):
                self.inbox.append(Frame(data=frame, stamp_ns=sent_ns + _DELAY_NS))
        self._conversation.packets.clear()

    def _framed(self, packet: bytes) -> bytes:
        """An IP packet as a frame; what has no version that there is goes as IPv4, for a case to find."""
        return self.mac + self.target_mac + _IP[packet[0] >> 4 == 6] + packet

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Give the stack the first two thousand frames of a burst; returns how many. Raises TargetError."""
        count = min(len(frames) // frame_size, _BURST)
        each = [bytes(frames[at:at + frame_size]) for at in range(0, count * frame_size, frame_size)]
        packets = [packet for frame in each if (packet := self._packet(frame)) is not None]
        for at in range(0, len(packets), _AT_ONCE):
            self._conversation.give(packets[at:at + _AT_ONCE], self.clock.now())
            self._take()
        return count

    def close(self) -> None:
        """End the process."""
        self._conversation.close()
