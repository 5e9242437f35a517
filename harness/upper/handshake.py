# SPDX-License-Identifier: GPL-2.0-or-later
"""How harness and agent make sure of each other; `docs/reference/agent-protocol.md` has it octet by octet.

Each side sends 32 random octets and proves, by HMAC-SHA-256 over both, that it knows the key. Without a key the proofs
are made with an empty one: they prove nothing then, and the stream itself has to be private.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ..wire.errors import UsageError
from .messages import LONGEST, Malformed, Op, Reader, message, text

VERSION: Final = 1
MAGIC: Final = b"tcpqual agent"
CHALLENGE: Final = 32
"""Octets of a challenge, and of a proof."""
LEAST_KEY: Final = 16
MOST_KEY: Final = 4096
LEAST_LONGEST: Final = 4096
"""What an agent's messages may be as long as, at least."""

GREETING: Final = ord("H")
QUESTION: Final = ord("Q")
PROOF: Final = ord("K")
HELLO: Final = ord("H")
REFUSAL: Final = ord("N")
WAKE: Final = ord("W")
LIVENESS: Final = ord("L")

_GREETING: Final = struct.Struct(">13sH32s")
_QUESTION: Final = struct.Struct(">13sHB32s32s")
_HELLO: Final = struct.Struct(">HIIH")
_HAS_KEY: Final = 1


def read_key(file: Path) -> bytes:
    """The key in a file, without the end of its line. Raises UsageError."""
    try:
        key = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    key = key.rstrip(b"\r\n")
    if not LEAST_KEY <= len(key) <= MOST_KEY:
        raise UsageError(f"{file}: a key of {len(key)} octets; allowed: {LEAST_KEY} to {MOST_KEY}")
    return key


def greeting(challenge: bytes) -> bytes:
    """What the harness says first."""
    return message(GREETING, _GREETING.pack(MAGIC, VERSION, challenge))


def find_question(octets: bytes | bytearray, challenge: bytes) -> int:
    """Where, among the rest of an earlier conversation, the answer to this greeting begins; -1 if it has not come."""
    begins = (_QUESTION.size + 1).to_bytes(4, "big") + bytes((QUESTION,)) + MAGIC
    at = octets.find(challenge) - len(begins) - 3  # version and flags stand between
    return at if at >= 0 and octets[at:at + len(begins)] == begins else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the agent answers to a greeting."""

    version: int
    has_key: bool
    fields: bytes

    @classmethod
    def decode(cls, fields: bytes, challenge: bytes) -> Self:
        """From the fields of a message, in answer to that challenge. Raises Malformed."""
        if len(fields) != _QUESTION.size:
            raise Malformed(f"a question of {len(fields)} octets; due: {_QUESTION.size}")
        magic, version, flags, ours, _ = _QUESTION.unpack(fields)
        if magic != MAGIC:
            raise Malformed(f"a question that begins with {magic!r}; due: {MAGIC!r}")
        if ours != challenge:
            raise Malformed("a question in answer to another greeting")
        return cls(version=version, has_key=bool(flags & _HAS_KEY), fields=fields)

    def proof(self, key: bytes) -> bytes:
        """That we know the key: the whole message."""
        return message(PROOF, hmac.digest(key, b"harness" + self.fields, "sha256"))

    def proven(self, key: bytes, hello: bytes) -> bool:
        """True if the fields of this hello end with the proof that the agent knows the key."""
        due = hmac.digest(key, b"agent" + self.fields + hello[:-CHALLENGE], "sha256")
        return hmac.compare_digest(due, hello[-CHALLENGE:])


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentHello:
    """Who an agent is and what it can do.

    `commands` is a set of `Op.bit`, `longest` the greatest length that its messages and ours may have, `sockets` how
    many it can hold, `system` what it runs on, as in `Linux 6.1.0-28-amd64 x86_64`.
    """

    version: int
    commands: int
    longest: int
    sockets: int
    name: str
    agent_version: str
    system: str

    def encode(self) -> bytes:
        """The fields up to the proof."""
        return _HELLO.pack(self.version, self.commands, self.longest, self.sockets) + b"".join(
            text(each) for each in (self.name, self.agent_version, self.system))

    @classmethod
    def decode(cls, fields: bytes) -> Self:
        """From the fields of a message. Raises Malformed."""
        reader = Reader(fields)
        version, commands, longest, sockets = reader.unpack(_HELLO, "the hello")
        name, agent_version, system = (reader.text(what) for what in ("the name", "the version", "the system"))
        reader.take(CHALLENGE, "the proof")
        reader.end("the hello")
        if not LEAST_LONGEST <= longest <= LONGEST:
            raise Malformed(f"messages of {longest} octets at most; allowed: {LEAST_LONGEST} to {LONGEST}")
        return cls(version=version, commands=commands, longest=longest, sockets=sockets, name=name,
                   agent_version=agent_version, system=system)

    @property
    def release(self) -> str:
        """The release of the system's kernel, the second word of `system`."""
        words = self.system.split()
        return words[1] if len(words) > 1 else ""

    def offers(self, op: Op) -> bool:
        """True if the agent knows this command."""
        return bool(self.commands & op.bit)


def wake(fields: bytes) -> tuple[int, int]:
    """Socket and command that a wake message is about. Raises Malformed."""
    reader = Reader(fields)
    socket, command = reader.number(4, "the socket"), reader.number(1, "the command")
    reader.end("the wake")
    return socket, command
