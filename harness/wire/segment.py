# SPDX-License-Identifier: GPL-2.0-or-later
"""The TCP segment as a value: what a case sends, and what it asserts.

`None` in a field means *default* when the segment is sent and *don't care* when it is matched. Numbers are absolute,
exactly as on the wire; the relative numbers of the notation are made by `harness.wire.notation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80
AE: Final = 0x100
"""Accurate ECN's bit (RFC 9768), the lowest of what RFC 9293 calls reserved."""

FLAG_LETTERS: Final = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (ECE, "E"), (CWR, "W"), (AE, "A"),
                       (ACK, "."))


class Checksum(Enum):
    """What the checksum field of a received segment was worth."""

    GOOD = "good"
    BAD = "bad"
    OFFLOADED = "offloaded"


class Kind:
    """Option kind numbers (IANA, TCP option kinds)."""

    EOL: Final = 0
    NOP: Final = 1
    MSS: Final = 2
    WINDOW_SCALE: Final = 3
    SACK_PERMITTED: Final = 4
    SACK: Final = 5
    TIMESTAMPS: Final = 8
    USER_TIMEOUT: Final = 28
    FAST_OPEN: Final = 34


@dataclass(frozen=True, slots=True)
class Option:
    """One option exactly as it stands in the header.

    `length` is the value of the length octet, None where there is none (EOL, NOP, or a kind octet at the very end of
    the header). It may lie: `data` holds the octets that are there, whatever the length says.
    """

    kind: int
    data: bytes = b""
    length: int | None = None

    @classmethod
    def of(cls, kind: int, data: bytes = b"") -> Option:
        """A well-formed option: the length octet counts kind, length and data."""
        return cls(kind, data, None if kind in (Kind.EOL, Kind.NOP) else 2 + len(data))

    def encode(self) -> bytes:
        """The octets of the option."""
        if self.length is None:
            return bytes((self.kind,)) + self.data
        return bytes((self.kind, self.length)) + self.data

    @property
    def malformed(self) -> bool:
        """True if the length octet is missing where one is due, or does not count what is there."""
        if self.kind in (Kind.EOL, Kind.NOP):
            return self.length is not None
        return self.length != 2 + len(self.data)

    @property
    def value(self) -> int:
        """The data read as one unsigned big-endian number."""
        return int.from_bytes(self.data, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The four-tuple as the injector sees it; addresses are packed (4 or 16 octets)."""

    local: bytes
    local_port: int
    target: bytes
    target_port: int

    @property
    def ipv6(self) -> bool:
        """True if the addresses are IPv6's."""
        return len(self.local) == 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One TCP segment. See the module for what None means.

    `offset` is the data offset in 32-bit words; `reserved` the three bits between it and AE. `checksum` is the field's
    value (when sent: forced to it), `verdict` what it was worth on receipt. `raw` is the whole IP packet as received.
    """

    flags: int | None = None
    seq: int | None = None
    ack: int | None = None
    window: int | None = None
    urgent: int | None = None
    options: tuple[Option, ...] | None = None
    payload: bytes | None = None
    source_port: int | None = None
    destination_port: int | None = None
    offset: int | None = None
    reserved: int | None = None
    checksum: int | None = None
    ttl: int | None = None
    traffic_class: int | None = None
    verdict: Checksum | None = field(default=None, compare=False)
    stamp_ns: int | None = field(default=None, compare=False)
    outgoing: bool = field(default=False, compare=False)
    raw: bytes = field(default=b"", compare=False, repr=False)

    @property
    def length(self) -> int:
        """SEG.LEN: octets of payload, plus one for SYN and one for FIN (RFC 9293, 3.4)."""
        flags = self.flags or 0
        return len(self.payload or b"") + bool(flags & SYN) + bool(flags & FIN)

    def has(self, flags: int) -> bool:
        """True if every one of the given flags is set."""
        return (self.flags or 0) & flags == flags

    def option(self, kind: int) -> Option | None:
        """The first option of that kind, or None."""
        for option in self.options or ():
            if option.kind == kind:
                return option
        return None
