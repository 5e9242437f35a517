# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of octets in which a stack or an agent is driven, to octets and back.

A message is its length (4 octets, of all that follows), its type (1 octet), and its fields. Numbers are in network
byte order. The socket commands and their results are the same over a pipe (`docs/reference/pipe-protocol.md`) and over
an agent's stream (`docs/reference/agent-protocol.md`); what else is said there, and when, is the matter of each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

LONGEST: Final = 1 << 20
"""The greatest length that a message may have."""

COMMAND: Final = ord("C")
RESULT: Final = ord("R")

_HEADER: Final = struct.Struct(">IB")
_FAMILY: Final = {4: 4, 16: 6}


class Malformed(Exception):
    """What was said is no message of this protocol, and why."""


class Op(IntEnum):
    """The socket commands, by their number in a message; 1 << (number - 1) is their bit in a hello."""

    SOCKET = 1
    OPTION = 2
    LISTEN = 3
    CONNECT = 4
    CONNECTED = 5
    ACCEPT = 6
    SEND = 7
    RECV = 8
    SHUTDOWN = 9
    CLOSE = 10
    CLOSED = 11
    ABORT = 12
    ERROR = 13
    STATE = 14
    LISTENING = 15
    HALF_OPEN = 16
    INFORMATION = 17

    @property
    def bit(self) -> int:
        """Its bit in the set of commands that a hello offers."""
        return 1 << (self - 1)


HALVES: Final[Mapping[str, int]] = {"read": 1, "write": 2, "both": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command came to: an errno name, or "" and a value."""

    error: str
    value: bytes = b""

    def encode(self) -> bytes:
        """The whole message."""
        return message(RESULT, text(self.error) + self.value)

    @classmethod
    def decode(cls, fields: bytes) -> Self:
        """From the fields of a message. Raises Malformed."""
        reader = Reader(fields)
        error = reader.text("the error")
        if error and not (error.isascii() and error.isalnum() and error.isupper() and error[0] == "E"):
            raise Malformed(f"a result with the error {error!r}; allowed: an errno name such as ECONNREFUSED, or none")
        return cls(error=error, value=reader.rest())


class Reader:
    """The fields of a message, taken one after the other. Every method raises Malformed where they end too soon."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, size: int, what: str) -> bytes:
        """So many octets."""
        taken = self._octets[self._at:self._at + size]
        if len(taken) != size:
            raise Malformed(f"{what} is cut off: {len(taken)} octets of {size}")
        self._at += size
        return taken

    def unpack(self, shape: struct.Struct, what: str) -> tuple[Any, ...]:
        """Fields of one fixed shape."""
        return shape.unpack(self.take(shape.size, what))

    def number(self, size: int, what: str) -> int:
        """A number of so many octets."""
        return int.from_bytes(self.take(size, what), "big")

    def text(self, what: str) -> str:
        """A text."""
        octets = self.take(self.number(2, what), what)
        try:
            return octets.decode()
        except UnicodeDecodeError:
            raise Malformed(f"{what} is no UTF-8: {octets[:16].hex(' ')}") from None

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._at = self._octets[self._at:], len(self._octets)
        return rest

    def end(self, what: str) -> None:
        """Nothing may be left."""
        if rest := self.rest():
            raise Malformed(f"{what} has {len(rest)} octets too many")


def message(kind: int, fields: bytes = b"") -> bytes:
    """A whole message."""
    return _HEADER.pack(len(fields) + 1, kind) + fields


def command(op: int, socket: int, fields: bytes = b"") -> bytes:
    """The request to do something with a socket of the stack's application; 0 where there is none."""
    return message(COMMAND, struct.pack(">BI", op, socket) + fields)


def text(value: str) -> bytes:
    """A text field."""
    octets = value.encode()
    return len(octets).to_bytes(2, "big") + octets


def endpoint(address: bytes, port: int) -> bytes:
    """A field of an address and port."""
    return bytes((_FAMILY[len(address)],)) + address + port.to_bytes(2, "big")


def cut(octets: bytes | bytearray, kinds: bytes, longest: int = LONGEST) -> tuple[int, bytes, int] | None:
    """The first message: its type, its fields, and the octets it took; None as long as it is not whole.

    `kinds` are the types that may come. Raises Malformed as soon as it is clear that there is none.
    """
    if len(octets) < _HEADER.size:
        if octets and octets[0]:
            _refuse(octets, kinds, longest)
        return None
    length, kind = _HEADER.unpack_from(octets)
    if not 1 <= length <= longest or kind not in kinds:
        _refuse(octets, kinds, longest)
    end = 4 + length
    return (kind, bytes(octets[_HEADER.size:end]), end) if len(octets) >= end else None


def _refuse(octets: bytes | bytearray, kinds: bytes, longest: int) -> None:
    names = [chr(kind) for kind in kinds]
    raise Malformed(f"no message begins with {bytes(octets[:16]).hex(' ')} (a length up to {longest}, then "
                    f"{', '.join(names[:-1])} or {names[-1]})")
