# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of a service primitive as octets: in order, without padding, numbers in network byte order.

One field implementation copies numbers as its processor has them, so the order of octets is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

Order = Literal["big", "little"]

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST: Final = 0xFFFF
_NUMBERS: Final = {"uint8": 1, "uint16": 2, "uint32": 4}
_ADDRESS_SIZES: Final = (4, 16)


class Malformed(ValueError):
    """Octets that are no message, or no parameters of this primitive; or values that no octets can say."""


def encode(types: Sequence[str], values: Sequence[Any], order: Order = "big") -> bytes:
    """The octets of these values. Raises Malformed for a value that its type does not have, or a wrong number."""
    if len(types) != len(values):
        raise Malformed(f"{len(values)} values for {len(types)} parameters ({', '.join(types) or 'none'})")
    return b"".join(_encoded(name, value, order) for name, value in zip(types, values, strict=True))


def decode(types: Sequence[str], data: bytes, order: Order = "big") -> tuple[Any, ...]:
    """The values of these octets, all of which have to be used. Raises Malformed."""
    reader = _Reader(data, order)
    values = tuple(_TYPES[name](reader, name) for name in types)
    if reader.left:
        raise Malformed(f"{len(reader.left)} octets behind the last of {len(types)} parameters")
    return values


def is_type(name: str) -> bool:
    """True if there is such a type of parameter."""
    return name in _TYPES


def type_names() -> tuple[str, ...]:
    """All types."""
    return tuple(_TYPES)


# -- to octets --------------------------------------------------------------------------------------------------------


def _encoded(name: str, value: Any, order: Order) -> bytes:
    if name in _NUMBERS:
        size = _NUMBERS[name]
        if not isinstance(value, int) or not 0 <= value < 1 << 8 * size:
            raise Malformed(f"{value!r} is no {name}")
        return value.to_bytes(size, order)
    if name == "bool":
        if value not in (0, 1):
            raise Malformed(f"{value!r} is no bool")
        return bytes((int(value),))
    octets = _text(value) if name == "text" else value
    if not isinstance(octets, bytes) or len(octets) > _LONGEST:
        raise Malformed(f"{name}: up to {_LONGEST} octets are wanted")
    if name == "ipxaddr" and len(octets) not in _ADDRESS_SIZES:
        raise Malformed(f"ipxaddr: 4 or 16 octets are wanted, not {len(octets)}")
    return len(octets).to_bytes(2, order) + octets


def _text(value: Any) -> bytes:
    if not isinstance(value, str) or "\0" in value:
        raise Malformed(f"{value!r} is no text")
    return _BOM + value.encode() + b"\0" if value else b""


# -- from octets ------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data: bytes, order: Order) -> None:
        self.left = data
        self.order = order

    def take(self, size: int, what: str) -> bytes:
        if size > len(self.left):
            raise Malformed(f"{what}: {size} octets are wanted, {len(self.left)} are left")
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), self.order)


def _number(reader: _Reader, name: str) -> int:
    return reader.number(_NUMBERS[name], name)


def _bool(reader: _Reader, name: str) -> bool:
    value = reader.number(1, name)
    if value > 1:
        raise Malformed(f"{value} is no bool")
    return bool(value)


def _octets(reader: _Reader, name: str) -> bytes:
    return reader.take(reader.number(2, f"length of {name}"), name)


def _address(reader: _Reader, name: str) -> bytes:
    octets = _octets(reader, name)
    if len(octets) not in _ADDRESS_SIZES:
        raise Malformed(f"ipxaddr: 4 or 16 octets are wanted, not {len(octets)}")
    return octets


def _read_text(reader: _Reader, name: str) -> str:
    octets = _octets(reader, name)
    if not octets:
        return ""
    if not octets.startswith(_BOM) or not octets.endswith(b"\0"):
        raise Malformed("text: has to begin with the octets EF BB BF and to end with 00")
    try:
        return octets[len(_BOM):-1].decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"text: {error.reason}") from None


_TYPES: Final[Mapping[str, Callable[[_Reader, str], Any]]] = {
    "bool": _bool, "uint8": _number, "uint16": _number, "uint32": _number, "vint8": _octets, "ipxaddr": _address,
    "text": _read_text,
}
