# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP segments to octets and back, losing nothing on the way (RFC 9293, section 3.1).

`encode` puts what a case wants, lies included: a given checksum, data offset or option length goes out as it is.
`decode` keeps what came, however broken: it never raises, and every option octet is still there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NoReturn

from .errors import ScriptError
from .ip import (
    DEFAULT_TTL,
    TCP,
    Packet,
    check_range,
    dissect,
    internet_checksum,
    ip_header,
    octet_sum,
    pseudo_header_sum,
)
from .segment import Checksum, Flow, Kind, Option, Segment

__all__ = [
    "MAX_OPTION_OCTETS",
    "Packet",
    "decode",
    "dissect",
    "encode",
    "encode_options",
    "internet_checksum",
    "parse_options",
    "pseudo_header_sum",
]

MAX_OPTION_OCTETS: Final = 40
"""What the largest data offset (15 words) leaves for options."""

_HEADER = struct.Struct(">HHIIHHHH")
_WORDS: Final = 5
_OCTETS: Final = 20
_DEFAULT_WINDOW: Final = 65535
_END: Final = Option(Kind.EOL)
_NOP: Final = Option(Kind.NOP)
_RANGES: Final = (
    ("source_port", 0xFFFF), ("destination_port", 0xFFFF), ("seq", 0xFFFF_FFFF), ("ack", 0xFFFF_FFFF), ("offset", 15),
    ("reserved", 7), ("flags", 0x1FF), ("window", 0xFFFF), ("checksum", 0xFFFF), ("urgent", 0xFFFF),
)


def encode(segment: Segment, flow: Flow) -> bytes:
    """The IP packet that carries a segment from `flow.local` to `flow.target`.

    A field that is None gets its default: flags, numbers, urgent pointer and reserved bits 0, window 65535, no
    options, no payload, the flow's ports, the right data offset and checksum, ttl 64, traffic class 0. Options are
    filled up with zero octets to a whole word.

    Raises ScriptError if a value does not fit its field or the options exceed 40 octets.
    """
    options = _padded(segment.options) if segment.options else b""
    payload = segment.payload or b""
    length = _OCTETS + len(options) + len(payload)
    packet = ip_header(flow.local, flow.target, TCP, length, DEFAULT_TTL if segment.ttl is None else segment.ttl,
                       segment.traffic_class or 0)
    fields = (
        flow.local_port if segment.source_port is None else segment.source_port,
        flow.target_port if segment.destination_port is None else segment.destination_port,
        segment.seq or 0,
        segment.ack or 0,
        _WORDS + len(options) // 4 if segment.offset is None else segment.offset,
        segment.reserved or 0,
        segment.flags or 0,
        _DEFAULT_WINDOW if segment.window is None else segment.window,
        segment.checksum or 0,
        segment.urgent or 0,
    )
    source_port, destination_port, seq, ack, offset, reserved, flags, window, checksum, urgent = fields
    if not (0 <= offset <= 15 and 0 <= reserved <= 7 and 0 <= flags <= 0x1FF):
        _refuse(fields)
    word = offset << 12 | reserved << 9 | flags
    try:
        header = _HEADER.pack(source_port, destination_port, seq, ack, word, window, checksum, urgent)
    except struct.error:
        _refuse(fields)
    if segment.checksum is None:
        total = pseudo_header_sum(flow.local, flow.target, TCP, length)
        checksum = internet_checksum(header + options + payload, total)
        header = _HEADER.pack(source_port, destination_port, seq, ack, word, window, checksum, urgent)
    return b"".join((packet, header, options, payload))


def _padded(options: Iterable[Option]) -> bytes:
    octets = encode_options(options)
    if len(octets) > MAX_OPTION_OCTETS:
        raise ScriptError(f"options take {len(octets)} octets; allowed 0..{MAX_OPTION_OCTETS}")
    return octets + bytes(-len(octets) % 4)


def _refuse(fields: tuple[int, ...]) -> NoReturn:
    for (name, highest), value in zip(_RANGES, fields, strict=True):
        check_range(name, value, 0, highest)
    raise ScriptError(f"segment fields {fields} are not all whole numbers")


def encode_options(options: Iterable[Option]) -> bytes:
    """The octets of the options one after the other, without padding.

    Raises ScriptError if a kind or length does not fit its octet.
    """
    octets = bytearray()
    for option in options:
        try:
            octets += option.encode()
        except ValueError:
            check_range("option kind", option.kind, 0, 255)
            check_range(f"option kind {option.kind}: length", option.length or 0, 0, 255)
    return bytes(octets)


def parse_options(octets: bytes) -> tuple[Option, ...]:
    """Read the option area of a header; encoding the result gives back the very same octets, whatever they are.

    - EOL ends the list. Zero octets behind it are padding, one EOL option each. If anything else follows, all of it is
      the `data` of one EOL option (RFC 9293, MUST-69 wants zeros there).
    - A length octet of 0 or 1, or one that points beyond the area, cannot be followed: the option takes all that is
      left and `malformed` says so.
    - A kind octet at the very end has no length (`length` None), which is malformed too, unless it is EOL or NOP.
    """
    found: list[Option] = []
    at, end = 0, len(octets)
    while at < end:
        kind = octets[at]
        if kind == Kind.NOP:
            found.append(_NOP)
            at += 1
        elif kind == Kind.EOL:
            found.extend(_ending(octets[at:]))
            break
        elif at + 1 == end:
            found.append(Option(kind))
            break
        else:
            length = octets[at + 1]
            after = at + length if length >= 2 else end
            found.append(Option(kind, octets[at + 2:after], length))
            at = after
    return tuple(found)


def _ending(octets: bytes) -> list[Option]:
    if any(octets):
        return [Option(Kind.EOL, octets[1:])]
    return [_END] * len(octets)


def decode(packet: Packet, *, stamp_ns: int | None = None, outgoing: bool = False,
           offloaded: bool = False) -> Segment | None:
    """The segment in a packet, every field filled in; None if there is none.

    There is none if the protocol is not TCP, the payload is shorter than a TCP header, or the packet is a piece of a
    datagram, whose octets need not begin with a header. A data offset below 5 stands for a header without options,
    one beyond the segment for options up to its end; `offset` keeps what was received. `offloaded` says that the
    checksum was not yet computed when the frame was taken (see `Frame`). `stamp_ns` is in nanoseconds.
    """
    payload = packet.payload
    if packet.protocol != TCP or len(payload) < _OCTETS or packet.fragment:
        return None
    source_port, destination_port, seq, ack, word, window, checksum, urgent = _HEADER.unpack_from(payload)
    start = max((word >> 12) * 4, _OCTETS)
    verdict = Checksum.OFFLOADED
    if not offloaded:
        total = pseudo_header_sum(packet.source, packet.destination, TCP, len(payload)) + octet_sum(payload)
        verdict = Checksum.BAD if total % 0xFFFF else Checksum.GOOD
    return Segment(
        flags=word & 0x1FF, seq=seq, ack=ack, window=window, urgent=urgent,
        options=parse_options(payload[_OCTETS:start]), payload=payload[start:],
        source_port=source_port, destination_port=destination_port, offset=word >> 12, reserved=word >> 9 & 7,
        checksum=checksum, ttl=packet.ttl, traffic_class=packet.traffic_class,
        verdict=verdict, stamp_ns=stamp_ns, outgoing=outgoing, raw=packet.raw,
    )
