# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection's state from the Linux kernel: one exact look-up over NETLINK_SOCK_DIAG, some microseconds.

The look-up is the kernel's own demultiplexing of a segment with these addresses and ports, so it finds what a segment
would find: a full socket, a TIME-WAIT entry, a half-open request, else the listener.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

from ..wire.errors import TargetError
from ..wire.segment import Flow

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST: Final = 0x1
_DUMP: Final = 0x300
_HEADER: Final = struct.Struct("=IHHII")
_QUERY: Final = struct.Struct("=BBBxI")
_IDENTITY: Final = struct.Struct("=2s2s16s16sIII")
_REPLY: Final = struct.Struct("=BBBB2s2s16s16sIIIIIIII")
_NO_COOKIE: Final = 0xFFFFFFFF

_NAMES: Final = {1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECEIVED", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT",
                 7: "CLOSED", 8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN-RECEIVED"}
_SYN_RECEIVED: Final = (1 << 3) | (1 << 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the kernel holds for a look-up."""

    state: str
    port: int
    receive_queue: int
    send_queue: int
    inode: int


class SockDiag:
    """A netlink socket of the network namespace in which it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        self._socket.bind((0, 0))
        self._sequence = 0

    def _ask(self, body: bytes, flags: int) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)

    @staticmethod
    def _query(flow: Flow, states: int) -> bytes:
        family = socket.AF_INET6 if flow.ipv6 else socket.AF_INET
        identity = _IDENTITY.pack(flow.target_port.to_bytes(2, "big"), flow.local_port.to_bytes(2, "big"),
                                  flow.target.ljust(16, b"\0"), flow.local.ljust(16, b"\0"), 0, _NO_COOKIE, _NO_COOKIE)
        return _QUERY.pack(family, socket.IPPROTO_TCP, 0, states) + identity

    def find(self, flow: Flow) -> Entry | None:
        """What a segment of this flow would meet in the target, or None. Raises TargetError."""
        self._ask(self._query(flow, 0xFFFFFFFF), 0)
        message = self._socket.recv(4096)
        _, kind, _, _, _ = _HEADER.unpack_from(message)
        if kind == _NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", message, _HEADER.size)
            if -code == errno.ENOENT:
                return None
            raise TargetError(f"sock_diag: {os.strerror(-code)}")
        return self._entry(message, 0)

    @staticmethod
    def _entry(message: bytes, at: int) -> Entry:
        fields = _REPLY.unpack_from(message, at + _HEADER.size)
        return Entry(state=_NAMES.get(fields[1], f"state {fields[1]}"), port=int.from_bytes(fields[4], "big"),
                     receive_queue=fields[12], send_queue=fields[13], inode=fields[15])

    def half_open(self, port: int) -> int:
        """Connections of the listener on `port` that are in SYN-RECEIVED, both families."""
        return sum(self._count(family, port) for family in (socket.AF_INET, socket.AF_INET6))

    def _count(self, family: int, port: int) -> int:
        identity = _IDENTITY.pack(b"\0\0", b"\0\0", bytes(16), bytes(16), 0, _NO_COOKIE, _NO_COOKIE)
        self._ask(_QUERY.pack(family, socket.IPPROTO_TCP, 0, _SYN_RECEIVED) + identity, _DUMP)
        count = 0
        while True:
            message = self._socket.recv(1 << 17)
            at = 0
            while at < len(message):
                size, kind, _, _, _ = _HEADER.unpack_from(message, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return count
                count += self._entry(message, at).port == port
                at += (size + 3) & ~3

    def close(self) -> None:
        """Close the netlink socket."""
        self._socket.close()
