# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to a target's testability module: messages over UDP (one a datagram) or over TCP (back to back).

Nothing here waits without an end. Once the other side has broken the rules or is gone, that stays the answer to
everything until `open` makes the way anew: behind a framing that is lost nothing can be understood.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from ...wire.errors import TargetError
from .message import size_of
from .parameters import Malformed, Order

Transport = Literal["udp", "tcp"]

_CHUNK: Final = 1 << 16
_SHOWN: Final = 24
_PREFIX: Final = 8
"""Octets of a message up to the end of its length."""
Inside = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the module listens. `source` is the address that we speak from, "" for any."""

    transport: Transport
    address: str
    port: int
    source: str = ""

    def __str__(self) -> str:
        return f"{self.transport} {self.address} port {self.port}"


class Channel:
    """The way to one module. `inside` enters the network namespace that the socket is to be made in.

    `limit_s` is how long connecting and each message may take, in seconds of wall time.
    """

    def __init__(self, endpoint: Endpoint, *, limit_s: float, order: Order = "big",
                 inside: Inside = contextlib.nullcontext) -> None:
        self.endpoint = endpoint
        self.limit_s = limit_s
        self.failure: str | None = None
        self._order = order
        self._inside = inside
        self._socket: socket.socket | None = None
        self._inbox = bytearray()
        self._datagrams: deque[bytes] = deque()

    def open(self) -> None:
        """Make the way, anew if there was one. Raises TargetError."""
        self.close()
        self.failure = None
        self._inbox.clear()
        self._datagrams.clear()
        family = socket.AF_INET6 if ipaddress.ip_address(self.endpoint.address).version == 6 else socket.AF_INET
        kind = socket.SOCK_DGRAM if self.endpoint.transport == "udp" else socket.SOCK_STREAM
        with self._inside():
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(self.limit_s)
            if self.endpoint.source:
                sock.bind((self.endpoint.source, 0))
            sock.connect((self.endpoint.address, self.endpoint.port))
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise self.failed(f"cannot be reached: {error.strerror or error}") from None
        self._socket = sock

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The descriptor that turns readable when a message comes, -1 if there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def failed(self, what: str) -> TargetError:
        """Remember that nothing works here any more; raise what comes back."""
        if self.failure is None:
            self.failure = f"testability module at {self.endpoint}: {what}"
        self.close()
        return TargetError(self.failure)

    def _there(self) -> socket.socket:
        if self._socket is None:
            raise TargetError(self.failure or f"testability module at {self.endpoint}: not connected")
        return self._socket

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Send a message. Raises TargetError if the module does not take it within the limit."""
        sock = self._there()
        until = time.monotonic() + self.limit_s
        left = memoryview(octets)
        while left:
            try:
                left = left[sock.send(left):]
            except BlockingIOError:
                if not self._wait(select.POLLOUT, until):
                    raise self.failed(f"takes nothing for {self.limit_s:g} s") from None
            except OSError as error:
                raise self.failed(self._gone(error)) from None

    def _wait(self, events: int, until: float) -> bool:
        """True if the socket is ready before that instant of the monotonic clock."""
        left_s = until - time.monotonic()
        poll = select.poll()
        poll.register(self._there(), events)
        return left_s > 0 and bool(poll.poll(left_s * 1000 + 1))

    @staticmethod
    def _gone(error: OSError) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "nobody listens there any more"
        return f"is gone: {error.strerror or error}"

    # -- receiving ---------------------------------------------------------------------------------------------------

    def receive(self, until: float | None = None) -> bytes | None:
        """The octets of the next message; None if there is none by `until`, an instant of the monotonic clock.

        Without `until` it does not wait. Raises TargetError.
        """
        while True:
            if self._datagrams:
                return self._datagrams.popleft()
            if (octets := self._cut()) is not None:
                return octets
            if not self._read() and (until is None or not self._wait(select.POLLIN, until)):
                return None

    def _read(self) -> bool:
        """Take what has come; False if there is nothing."""
        try:
            octets = self._there().recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self.failed(self._gone(error)) from None
        if self.endpoint.transport == "udp":
            self._datagrams.append(octets)
            return True
        if not octets:
            cut = f" in the middle of a message ({len(self._inbox)} octets of it came)" if self._inbox else ""
            raise self.failed(f"closed the connection{cut}")
        self._inbox += octets
        return True

    def _cut(self) -> bytes | None:
        """One whole message off what has come over TCP."""
        if not self._inbox:
            return None
        try:
            size = size_of(bytes(self._inbox[:_PREFIX]), self._order)
        except Malformed as error:
            raise self.broken(bytes(self._inbox), error) from None
        if size is None or len(self._inbox) < size:
            return None
        octets = bytes(self._inbox[:size])
        del self._inbox[:size]
        return octets

    def broken(self, octets: bytes, error: Malformed) -> TargetError:
        """The failure of a module that said these octets."""
        shown = octets[:_SHOWN].hex(" ") + (" ..." if len(octets) > _SHOWN else "")
        return self.failed(f"said what is no message of the testability protocol: {error}; octets {shown}")
