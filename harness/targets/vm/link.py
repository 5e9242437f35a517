# SPDX-License-Identifier: GPL-2.0-or-later
"""The link to a guest: one end of a datagram socket, whose other end is the network card of its machine.

A frame of the guest's has this machine's kernel's stamp of when its machine sent it, so that it does not matter when we
come to look; what we send is stamped when it is handed over. What does not fit into the sockets waits, on either side,
so that no frame is lost.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from ...wire.clock import SECOND
from ...wire.errors import TargetError
from ...wire.frame import Frame
from ..namespace import MTU
from ..stepped import SteppedLink

_MAX_FRAME: Final = 65536
_ROOM_S: Final = 5.0
_SO_TIMESTAMPNS: Final = 35
_STAMP: Final = struct.Struct("qq")
_ANCILLARY: Final = socket.CMSG_SPACE(_STAMP.size)


class GuestLink(SteppedLink):
    """Frames to and from the guest that `attend` names.

    `now` is the instant of the target's clock, `instant` turns a kernel's stamp into one; `alive` is asked at the end
    of each case, and may raise.
    """

    mtu = MTU

    def __init__(self, *, now: Callable[[], int], instant: Callable[[int], int], alive: Callable[[], None]) -> None:
        super().__init__()
        self._now = now
        self.alive = alive
        self._instant = instant
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
            end.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
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
                frame, ancillary, _, _ = self._socket.recvmsg(_MAX_FRAME, _ANCILLARY)
            except OSError:
                return None  # nothing yet, or nothing more
            if not frame:
                return None
            if self.hears(frame):
                return Frame(data=frame, stamp_ns=self._stamp(ancillary))
        return None

    def _stamp(self, ancillary: list[tuple[int, int, bytes]]) -> int:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _STAMP.unpack_from(data)
                return self._instant(seconds * SECOND + nanoseconds)
        return self._now()

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
        self.alive()
        return 0

    def close(self) -> None:
        """Close the descriptor to wait on; the socket is its machine's."""
        self.attend(None)
        self._ready.close()
