# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a case may take the ends of its connections from: the addresses of the link, and ports that nobody has used."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

PORTS: Final = (20000, 59999)
"""The first and the last of the port numbers that cases use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The two ends of the link in one family, packed, and the network that forged segments may come from."""

    local: bytes
    target: bytes
    forged: IPv4Network | IPv6Network | None = None


class Ports:
    """Port numbers that no earlier case of this lab has used for a long time.

    They lie in `within`, both ends included, and begin `begin` numbers behind the first. The injector's are so many
    `apart` from the target's: who chooses both at random meets no connection that an earlier lab has left in TIME-WAIT.
    `listening` is the one port on which something listens, where the target cannot be made to listen on another.
    """

    def __init__(self, *, within: tuple[int, int] = PORTS, begin: int = 0, apart: int = 0,
                 listening: int | None = None) -> None:
        self.listening = listening
        self._first, last = within
        self._count = last - self._first + 1
        self._next = begin
        self._apart = apart

    def take(self) -> int:
        """The next port number."""
        self._next = (self._next + 1) % self._count
        return self._first + self._next

    def take_ours(self) -> int:
        """The next port number, for the injector's end."""
        return self._first + (self.take() - self._first + self._apart) % self._count
