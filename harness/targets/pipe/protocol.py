# SPDX-License-Identifier: GPL-2.0-or-later
"""The pipe protocol's messages, to octets and back; `docs/reference/pipe-protocol.md` has them octet by octet.

Instants are nanoseconds since the process began. This module knows the form of the messages that only a pipe has (the
others are `harness.upper.messages`); when each may be said is `conversation`'s matter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from ...upper import messages
from ...upper.messages import RESULT, Malformed, Op, Reader, message, text

VERSION: Final = 1
NEVER: Final = (1 << 64) - 1
"""The deadline of a stack that waits for nothing."""

HELLO: Final = ord("H")
PACKET: Final = ord("P")
ADVANCE: Final = ord("A")
DONE: Final = ord("D")

_SAID: Final = bytes((HELLO, PACKET, RESULT, DONE))
_GREETING: Final = struct.Struct(">HQ4sB4s16sB16s")
_HELLO: Final = struct.Struct(">HBHI6s")
_DONE: Final = struct.Struct(">QQ")
_INSTANT: Final = struct.Struct(">Q")
_IPV4, _IPV6, _ETHERNET = 1, 2, 4


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


def advance(until_ns: int) -> bytes:
    """The request to let time pass up to that instant at most."""
    return message(ADVANCE, _INSTANT.pack(until_ns))


def cut(octets: bytes | bytearray) -> tuple[int, bytes, int] | None:
    """The first message of a stack: its type, its fields, and the octets it took; None as long as it is not whole.

    Raises Malformed as soon as it is clear that there is none.
    """
    try:
        return messages.cut(octets, _SAID)
    except Malformed as error:
        raise Malformed(f"{error}; standard output is for messages alone, remarks go to standard error") from None
