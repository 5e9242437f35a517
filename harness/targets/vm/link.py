# SPDX-License-Identifier: GPL-2.0-or-later
"""The link to a guest: one end of a datagram socket, whose other end is the network card of its machine.

Stamps are those of our own end: when a frame was handed over, and when it was taken. What does not fit into the
sockets waits, on either side, so that no frame is lost.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final

from ...wire.errors import TargetError
from ...wire.frame import Frame
from ..namespace import MTU
from ..stepped import SteppedLink

_MAX_FRAME: Final = 65536
_ROOM_S: Final = 5.0
_IP: Final = (b"\x08\x00", b"\x86\xdd")
_ETHERNET: Final = 14


class GuestLink(SteppedLink):
    """Frames to and from the guest that `attend` names; `alive` is asked at the end of each case, and may raise."""

    mtu = MTU

    def __init__(self, *, now: Callable[[], int], alive: Callable[[], None]) -> None:
        super().__init__()
        self._now = now
        self._alive = alive
        self._socket: socket.socket | None = None
        # A descriptor that stays the same from one guest to the next.
        self._ready = select.epoll()

    def attend(self, end: socket.socket | None) -> None:
        """From now on, speak to the guest whose link this is the end of; None: to nobody."""
        if self._socket is not None:
            self._ready.unregister(self._socket)
        self._socket = end
        self.inbox.clear()
        if end is not None:
            end.setblocking(False)
            self._ready.register(end, select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._ready.fileno()

    def send_bytes(self, frame: bytes) -> None:
        """Put one frame on the wire. Raises TargetError if the guest takes none; to nobody, nothing is sent."""
        self.note(frame, self._now())
        self._put(frame, time.monotonic() + _ROOM_S)

    def _put(self, frame: bytes, until: float) -> None:
        while self._socket is not None:
            try:
                self._socket.send(frame)
                return
            except BlockingIOError:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise TargetError(f"the guest has taken no frame for {_ROOM_S:g} s") from None
                select.select((), (self._socket,), (), left_s)
            except OSError:
                return  # its machine is gone, which `alive` says

    def recv_frame(self) -> Frame | None:
        """The guest's next frame, or None; never blocks."""
        while self._socket is not None:
            try:
                frame = self._socket.recv(_MAX_FRAME)
            except OSError:
                return None  # nothing yet, or nothing more
            if not frame:
                return None
            if frame[12:14] not in _IP or not self.is_ignored(frame[_ETHERNET:]):
                return Frame(data=frame, stamp_ns=self._now())
        return None

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Give the guest all frames of a burst, as fast as it takes them; returns how many. Raises TargetError."""
        until = time.monotonic() + _ROOM_S
        count = 0
        for at in range(0, len(frames) - frame_size + 1, frame_size):
            if time.monotonic() > until:
                break
            self._put(bytes(frames[at:at + frame_size]), until + _ROOM_S)
            count += 1
        return count

    def lost(self) -> int:
        """Nothing is lost on a link to a guest that lives. Raises TargetError if it does not."""
        self._alive()
        return 0

    def close(self) -> None:
        """Close the descriptor to wait on; the socket is its machine's."""
        self.attend(None)
        self._ready.close()
