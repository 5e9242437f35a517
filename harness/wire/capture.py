# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures: pcapng files with nanosecond stamps, a direction and a comment on each packet.

One section, one Ethernet interface, one enhanced packet block a frame, little-endian, after the IETF's pcapng draft.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Final

from .errors import ScriptError
from .frame import Frame

_APPLICATION: Final = "tcpqual"
_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_PACKET: Final = 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_ETHERNET: Final = 1
_SNAP_LENGTH: Final = 262_144

_COMMENT: Final = 1
_USER_APPLICATION: Final = 4
_INTERFACE_NAME: Final = 2
_RESOLUTION: Final = 9
_FLAGS: Final = 2

_INBOUND: Final = 0x01
_OUTBOUND: Final = 0x02
_CHECKSUM_NOT_READY: Final = 0x200

_HEAD = struct.Struct("<II")
_TAIL = struct.Struct("<I")
_PACKET_HEAD = struct.Struct("<IIIIIII")
_OPTION = struct.Struct("<HH")
_FLAGS_OPTION = struct.Struct("<HHIHH")
_LONGEST_TEXT: Final = 0xFFFF
_LAST_STAMP: Final = (1 << 64) - 1


def write_capture(path: str | PathLike[str], frames: Iterable[tuple[Frame, str]], *, epoch_ns: int,
                  interface_name: str, comment: str = "") -> None:
    """Write frames, each with its comment ("" for none), to a pcapng file; folders that are missing are made.

    A frame's stamp in the file is `epoch_ns` (nanoseconds since 1970, the instant 0 of the lab) plus its `stamp_ns`.
    `comment` stands at the head of the file. What is at `path` is replaced. Raises OSError if it cannot be written.
    """
    parts = [_section(comment), _interface(interface_name)]
    parts.extend(_packet(frame, text, epoch_ns) for frame, text in frames)
    octets = b"".join(parts)
    try:
        _store(path, octets)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _store(path, octets)


def _store(path: str | PathLike[str], octets: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(octets)


def _section(comment: str) -> bytes:
    options = _text(_COMMENT, comment) + _text(_USER_APPLICATION, _APPLICATION) + bytes(4)
    # Section length -1: not given, readers walk the blocks.
    return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)


def _interface(name: str) -> bytes:
    options = _text(_INTERFACE_NAME, name) + _OPTION.pack(_RESOLUTION, 1) + b"\x09\0\0\0" + bytes(4)
    return _block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, _SNAP_LENGTH) + options)


def _packet(frame: Frame, text: str, epoch_ns: int) -> bytes:
    data = frame.data
    stamp = min(max(epoch_ns + frame.stamp_ns, 0), _LAST_STAMP)
    flags = _OUTBOUND if frame.outgoing else _INBOUND
    if frame.offloaded:
        flags |= _CHECKSUM_NOT_READY
    padding = bytes(-len(data) % 4)
    comment = _text(_COMMENT, text)
    size = _PACKET_HEAD.size + len(data) + len(padding) + len(comment) + _FLAGS_OPTION.size + _TAIL.size
    head = _PACKET_HEAD.pack(_PACKET, size, 0, stamp >> 32, stamp & 0xFFFF_FFFF, len(data), len(data))
    return b"".join((head, data, padding, comment, _FLAGS_OPTION.pack(_FLAGS, 4, flags, 0, 0), _TAIL.pack(size)))


def _block(kind: int, body: bytes) -> bytes:
    size = _HEAD.size + len(body) + _TAIL.size
    return _HEAD.pack(kind, size) + body + _TAIL.pack(size)


def _text(code: int, text: str) -> bytes:
    """A text option, cut at a whole character if it is longer than an option can be; nothing for no text."""
    if not text:
        return b""
    octets = text.encode("utf-8", "replace")
    if len(octets) > _LONGEST_TEXT:
        octets = octets[:_LONGEST_TEXT].decode("utf-8", "ignore").encode()
    return _OPTION.pack(code, len(octets)) + octets + bytes(-len(octets) % 4)


def read_capture(path: str | PathLike[str], *, epoch_ns: int = 0) -> list[tuple[Frame, str]]:
    """Read back the frames and comments of a capture that `write_capture` wrote.

    The stamps are nanoseconds since `epoch_ns`. Raises ScriptError if the file is not such a capture, OSError if it
    cannot be read.
    """
    octets = Path(path).read_bytes()
    if len(octets) < 12 or struct.unpack_from("<I4xI", octets) != (_SECTION, _BYTE_ORDER):
        raise ScriptError(f"{path}: no capture of ours; allowed: little-endian pcapng with nanosecond stamps")
    try:
        return [_frame(body, epoch_ns) for kind, body in _blocks(octets) if kind == _PACKET]
    except (struct.error, ValueError):
        raise ScriptError(f"{path}: a damaged capture; allowed: whole pcapng blocks") from None


def _blocks(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(octets):
        kind, size = _HEAD.unpack_from(octets, at)
        if size < _HEAD.size + _TAIL.size or octets[at + size - 4:at + size] != _TAIL.pack(size):
            raise ValueError(f"block of {size} octets at {at}")
        yield kind, octets[at + _HEAD.size:at + size - _TAIL.size]
        at += size


def _frame(body: bytes, epoch_ns: int) -> tuple[Frame, str]:
    _, high, low, length, _ = struct.unpack_from("<IIIII", body)
    if length > len(body) - 20:
        raise ValueError(f"packet of {length} octets in a block of {len(body)}")
    options = dict(_options(body[20 + length + -length % 4:]))
    flags = int.from_bytes(options.get(_FLAGS, b""), "little")
    frame = Frame(data=body[20:20 + length], stamp_ns=(high << 32 | low) - epoch_ns,
                  outgoing=flags & 0x03 == _OUTBOUND, offloaded=bool(flags & _CHECKSUM_NOT_READY))
    return frame, options.get(_COMMENT, b"").decode()


def _options(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(octets):
        code, length = _OPTION.unpack_from(octets, at)
        if code == 0:
            return
        yield code, octets[at + 4:at + 4 + length]
        at += 4 + length + -length % 4
