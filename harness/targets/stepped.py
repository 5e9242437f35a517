# SPDX-License-Identifier: GPL-2.0-or-later
"""What links to stacks in stepped time have in common: frames are handed over in this process, and none is lost."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Collection
from typing import Final

from ..wire.frame import Frame
from ..wire.link import Network
from .base import PHANTOM_MAC, TARGET_MAC

_IP: Final = (b"\x08\x00", b"\x86\xdd")
_ETHERNET: Final = 14


class SteppedLink:
    """The injector's end. Who builds on it puts what the stack says into `inbox`, and notes what goes out."""

    mac = PHANTOM_MAC
    target_mac = TARGET_MAC

    def __init__(self) -> None:
        self.inbox: deque[Frame] = deque()
        self._sent: list[Frame] = []
        self._ignored: tuple[Network, ...] = ()

    def note(self, frame: bytes, now_ns: int) -> None:
        """A frame goes out at this instant, in nanoseconds."""
        self._sent.append(Frame(data=frame, stamp_ns=now_ns, outgoing=True))

    @property
    def ignores_some(self) -> bool:
        """True while something is not to be heard."""
        return bool(self._ignored)

    def is_ignored(self, packet: bytes) -> bool:
        """True for an IP packet to an address that is not to be heard."""
        if not self._ignored or not packet:
            return False
        destination = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        if len(destination) not in (4, 16):
            return False
        return any(ipaddress.ip_address(destination) in network for network in self._ignored)

    def hears(self, frame: bytes) -> bool:
        """False for a frame with an IP packet to an address that is not to be heard."""
        return frame[12:14] not in _IP or not self.is_ignored(frame[_ETHERNET:])

    def recv_frame(self) -> Frame | None:
        """The stack's next frame, or None."""
        return self.inbox.popleft() if self.inbox else None

    def poll(self) -> Frame | None:
        """The same, as a clock's source."""
        return self.recv_frame()

    def fileno(self) -> int:
        """Nothing to wait on: a stack speaks when it is spoken to, or when time moves."""
        return -1

    def sent(self) -> list[Frame]:
        """What went out since the last call."""
        frames, self._sent = self._sent, []
        return frames

    def lost(self) -> int:
        """Nothing is ever lost."""
        return 0

    def ignore(self, networks: Collection[Network]) -> None:
        """Do not hear what is sent to addresses of these networks."""
        self._ignored = tuple(networks)

    def close(self) -> None:
        """Nothing to release."""
