# SPDX-License-Identifier: GPL-2.0-or-later
"""The pipe protocol's messages, to octets and back; `docs/reference/pipe-protocol.md` has them octet by octet.

A message is its length (4 octets, of all that follows), its type (1 octet), and its fields. Numbers are in network
byte order, instants are nanoseconds since the process began. This module knows the form of a message; when it may be
said is `conversation`'s matter.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

VERSION: Final = 1
LONGEST: Final = 1 << 20
"""The greatest length that a message may have."""
NEVER: Final = (1 << 64) - 1
"""The deadline of a stack that waits for nothing."""

HELLO: Final = ord("H")
PACKET: Final = ord("P")
ADVANCE: Final = ord("A")
COMMAND: Final = ord("C")
RESULT: Final = ord("R")
DONE: Final = ord("D")

_HEADER: Final = struct.Struct(">IB")
_GREETING: Final = struct.Struct(">HQ4sB4s16sB16s")
_HELLO: Final = struct.Struct(">HBHI6s")
_DONE: Final = struct.Struct(">QQ")
_INSTANT: Final = struct.Struct(">Q")
_FAMILY: Final = {4: 4, 16: 6}
_IPV4, _IPV6, _ETHERNET = 1, 2, 4


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
class Greeting:
    """What the harness says first: its version, and where on the link the stack stands. Addresses are packed."""

    version: int
    seed: int
    ipv4: bytes
    ipv4_prefix: int
    ipv4_gateway: bytes
    ipv6: bytes
    ipv6_prefix: int
    ipv6_gateway: bytes

    def encode(self) -> bytes:
        """The whole message."""
        return message(HELLO, _GREETING.pack(self.version, self.seed, self.ipv4, self.ipv4_prefix, self.ipv4_gateway,
                                             self.ipv6, self.ipv6_prefix, self.ipv6_gateway))

    @classmethod
    def decode(cls, fields: bytes) -> Self:
        """From the fields of a message. Raises Malformed."""
        if len(fields) != _GREETING.size:
            raise Malformed(f"a greeting of {len(fields)} octets; due: {_GREETING.size}")
        version, seed, ipv4, prefix, gateway, ipv6, prefix6, gateway6 = _GREETING.unpack(fields)
        return cls(version=version, seed=seed, ipv4=ipv4, ipv4_prefix=prefix, ipv4_gateway=gateway, ipv6=ipv6,
                   ipv6_prefix=prefix6, ipv6_gateway=gateway6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the stack answers: who it is and what it can do. `commands` is a set of `Op.bit`.

    `features` are names of a profile; none means that the profile alone says. With `ethernet` packets are whole
    Ethernet frames, and `mac` is the stack's address; without it they are IP packets.
    """

    version: int
    name: str
    stack_version: str
    features: tuple[str, ...]
    mtu: int
    ipv4: bool
    ipv6: bool
    ethernet: bool
    commands: int
    mac: bytes = bytes(6)

    def encode(self) -> bytes:
        """The whole message."""
        flags = _IPV4 * self.ipv4 | _IPV6 * self.ipv6 | _ETHERNET * self.ethernet
        fields = _HELLO.pack(self.version, flags, self.mtu, self.commands, self.mac)
        return message(HELLO, fields + b"".join(text(each) for each in (
            self.name, self.stack_version, " ".join(self.features))))

    @classmethod
    def decode(cls, fields: bytes) -> Self:
        """From the fields of a message. Raises Malformed."""
        reader = Reader(fields)
        version, flags, mtu, commands, mac = reader.unpack(_HELLO, "the hello")
        name, stack_version, features = (reader.text(what) for what in ("the name", "the version", "the features"))
        reader.end("the hello")
        return cls(version=version, name=name, stack_version=stack_version, features=tuple(features.split()), mtu=mtu,
                   ipv4=bool(flags & _IPV4), ipv6=bool(flags & _IPV6), ethernet=bool(flags & _ETHERNET),
                   commands=commands, mac=mac)

    def offers(self, op: Op) -> bool:
        """True if the stack knows this command."""
        return bool(self.commands & op.bit)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The stack has nothing left to do at `now_ns`, and nothing before `deadline_ns` (None: ever) of its own accord."""

    now_ns: int
    deadline_ns: int | None

    def encode(self) -> bytes:
        """The whole message."""
        return message(DONE, _DONE.pack(self.now_ns, NEVER if self.deadline_ns is None else self.deadline_ns))

    @classmethod
    def decode(cls, fields: bytes) -> Self:
        """From the fields of a message. Raises Malformed."""
        if len(fields) != _DONE.size:
            raise Malformed(f"a done of {len(fields)} octets; due: {_DONE.size}")
        now, deadline = _DONE.unpack(fields)
        return cls(now_ns=now, deadline_ns=None if deadline == NEVER else deadline)


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


def advance(until_ns: int) -> bytes:
    """The request to let time pass up to that instant at most."""
    return message(ADVANCE, _INSTANT.pack(until_ns))


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


def cut(octets: bytes | bytearray) -> tuple[int, bytes, int] | None:
    """The first message: its type, its fields, and the octets it took; None as long as it is not whole.

    Raises Malformed as soon as it is clear that there is none.
    """
    if len(octets) < _HEADER.size:
        if octets and octets[0]:
            _refuse(octets)
        return None
    length, kind = _HEADER.unpack_from(octets)
    if not 1 <= length <= LONGEST or kind not in (HELLO, PACKET, RESULT, DONE):
        _refuse(octets)
    end = 4 + length
    return (kind, bytes(octets[_HEADER.size:end]), end) if len(octets) >= end else None


def _refuse(octets: bytes | bytearray) -> None:
    raise Malformed(f"no message begins with {bytes(octets[:16]).hex(' ')} (a length up to {LONGEST}, then H, P, R or "
                    "D); standard output is for messages alone, remarks go to standard error")
