# SPDX-License-Identifier: GPL-2.0-or-later
"""One message: a header of 16 octets as SOME/IP has it, and the parameters.

What a field implementation gets wrong and still can be understood is accepted, and said in `slips`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from .parameters import Malformed, Order

SERVICE: Final = 0x0105
"""The service id unless a target's file names another."""
HEADER: Final = 16
LONGEST: Final = 0xFFFF
"""LEN is never more, so that one in the wrong order of octets is not taken for a right one."""

Kind = Literal["request", "response", "event"]

_VERSION: Final = 1
_EVENT_BIT: Final = 0x80
_TYPES: Final[dict[Kind, int]] = {"request": 0x00, "response": 0x80, "event": 0x02}
_SLIPPED_RESPONSE: Final = 0x08
_PREFIX: Final = 8
"""Octets up to the length's end; the length counts those behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request, response or event of a service primitive; `slips` says what in its octets was not right."""

    kind: Kind
    group: int
    primitive: int
    result: int = 0
    data: bytes = b""
    service: int = SERVICE
    slips: tuple[str, ...] = ()


def encode(message: Message, order: Order = "big") -> bytes:
    """The octets of a message. Raises Malformed for a number that does not fit."""
    if not 0 <= message.group < _EVENT_BIT or not 0 <= message.primitive <= 0xFF:
        raise Malformed(f"group {message.group}, primitive {message.primitive}: below 128 and 256 are wanted")
    group = message.group | (_EVENT_BIT if message.kind == "event" else 0)
    if _PREFIX + len(message.data) > LONGEST:
        raise Malformed(f"{len(message.data)} octets of parameters: {LONGEST - _PREFIX} are the most")
    sign = ">" if order == "big" else "<"
    return struct.pack(f"{sign}HBBII4B", message.service, group, message.primitive, _PREFIX + len(message.data), 0,
                       _VERSION, _VERSION, _TYPES[message.kind], message.result) + message.data


def size_of(head: bytes, order: Order = "big") -> int | None:
    """How many octets the message has that begins with these, None as long as there are too few to know.

    A length in the wrong order of octets is taken for what it means. Raises Malformed if it makes no sense in any.
    """
    if len(head) < _PREFIX:
        return None
    for attempt in (order, _other(order)):
        length = int.from_bytes(head[4:8], attempt)
        if HEADER - _PREFIX <= length <= LONGEST:
            return _PREFIX + length
    raise Malformed(f"a length of {int.from_bytes(head[4:8], order)}: {HEADER - _PREFIX} to {LONGEST} are allowed")


def decode(octets: bytes, *, service: int = SERVICE, order: Order = "big") -> Message:
    """The message that these octets are, exactly. Raises Malformed."""
    if len(octets) < HEADER:
        raise Malformed(f"{len(octets)} octets: a message has {HEADER} at least")
    slips: list[str] = []
    if size_of(octets, order) != len(octets):
        raise Malformed(f"a length of {int.from_bytes(octets[4:8], order)} in a message of {len(octets)} octets")
    if int.from_bytes(octets[4:8], order) != len(octets) - _PREFIX:
        slips.append("LEN has its octets in the wrong order")
    _check_service(octets[:2], service, order, slips)
    if octets[12] != _VERSION or octets[13] != _VERSION:
        raise Malformed(f"protocol version {octets[12]}, interface version {octets[13]}: 1 and 1 are wanted")
    kind = _kind(bool(octets[2] & _EVENT_BIT), octets[14], slips)
    return Message(kind=kind, group=octets[2] & ~_EVENT_BIT, primitive=octets[3], result=octets[15],
                   data=octets[HEADER:], service=service, slips=tuple(slips))


def _check_service(octets: bytes, service: int, order: Order, slips: list[str]) -> None:
    if int.from_bytes(octets, order) == service:
        return
    if int.from_bytes(octets, _other(order)) != service:
        raise Malformed(f"service id 0x{int.from_bytes(octets, order):04X}: 0x{service:04X} is wanted")
    slips.append("SID has its octets in the wrong order")


def _kind(event: bool, number: int, slips: list[str]) -> Kind:
    """By the event bit and the message type; where they disagree, whoever says that it is an event."""
    if event:
        if number != _TYPES["event"]:
            slips.append(f"TID 0x{number:02X} in an event instead of 0x02")
        return "event"
    if number == _TYPES["event"]:
        slips.append("an event (TID 0x02) without its event bit")
        return "event"
    if number == _SLIPPED_RESPONSE:
        slips.append("TID 0x08 in a response instead of 0x80")
        return "response"
    for kind in ("request", "response"):
        if number == _TYPES[kind]:
            return kind
    raise Malformed(f"message type 0x{number:02X}: 0x00, 0x80 and 0x02 are known")


def _other(order: Order) -> Order:
    return "little" if order == "big" else "big"
