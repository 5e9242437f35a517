# SPDX-License-Identifier: GPL-2.0-or-later
"""The service primitives of groups GENERAL, UDP and TCP, with the types of their parameters; and a vendor's own.

A primitive is called by its name with the group before it (`TCP.CONNECT`), a vendor's by the name that its table gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ...wire.errors import UsageError

GENERAL: Final = 0
UDP: Final = 1
TCP: Final = 2
ANY_PORT: Final = 0xFFFF
NO_END: Final = 0xFFFF
PUSH: Final = 0x08
URGENT: Final = 0x20
HALVES: Final = {"read": 0, "write": 1, "both": 2}

PARAMETERS: Final = {"ttl": (0, 1), "priority": (1, 1), "dont_fragment": (2, 1), "ip_timestamp": (3, None),
                     "tos": (4, 1), "mss": (5, 2), "nagle": (6, 1), "udp_checksum": (7, 1)}
"""CONFIGURE_SOCKET: paramId and octets of paramVal, None for any number, by the name that this project uses."""

STANDARD: Final = "standard"
PRE_STANDARD: Final = "v0.5"
"""Numbers of primitives as the document has them, and as stacks have them that are older than it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """A service primitive: its numbers, and the types of what a request, a response, an event carry."""

    name: str
    group: int
    number: int
    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    event: tuple[str, ...] | None = None


def _primitive(group: int, number: int, name: str, request: str = "", response: str = "",
               event: str | None = None) -> Primitive:
    prefix = {GENERAL: "GENERAL", UDP: "UDP", TCP: "TCP"}[group]
    return Primitive(name=f"{prefix}.{name}", group=group, number=number, request=tuple(request.split()),
                     response=tuple(response.split()), event=None if event is None else tuple(event.split()))


_ALL: Final = (
    _primitive(GENERAL, 1, "GET_VERSION", response="uint16 uint16 uint16"),
    _primitive(GENERAL, 2, "START_TEST"),
    _primitive(GENERAL, 3, "END_TEST", "uint16 text"),
    _primitive(UDP, 0, "CLOSE_SOCKET", "uint16"),
    _primitive(UDP, 1, "CREATE_AND_BIND", "bool uint16 ipxaddr", "uint16"),
    _primitive(UDP, 2, "SEND_DATA", "uint16 uint16 uint16 ipxaddr vint8"),
    _primitive(UDP, 3, "RECEIVE_AND_FORWARD", "uint16 uint16 uint16", "uint16", "uint16 uint16 ipxaddr vint8"),
    _primitive(UDP, 6, "CONFIGURE_SOCKET", "uint16 uint16 vint8"),
    _primitive(UDP, 7, "SHUTDOWN", "uint16 uint8"),
    _primitive(TCP, 0, "CLOSE_SOCKET", "uint16 bool"),
    _primitive(TCP, 1, "CREATE_AND_BIND", "bool uint16 ipxaddr", "uint16"),
    _primitive(TCP, 2, "SEND_DATA", "uint16 uint16 uint8 vint8"),
    _primitive(TCP, 3, "RECEIVE_AND_FORWARD", "uint16 uint16 uint16", "uint16", "uint16 vint8"),
    _primitive(TCP, 4, "LISTEN_AND_ACCEPT", "uint16 uint16", "", "uint16 uint16 uint16 ipxaddr"),
    _primitive(TCP, 5, "CONNECT", "uint16 uint16 ipxaddr"),
    _primitive(TCP, 6, "CONFIGURE_SOCKET", "uint16 uint16 vint8"),
    _primitive(TCP, 7, "SHUTDOWN", "uint16 uint8"),
)
PRIMITIVES: Final[Mapping[str, Primitive]] = {primitive.name: primitive for primitive in _ALL}
"""The standard's, by name."""


class Table:
    """The primitives that a target has, by name and by number.

    Before the standard, GENERAL began at 0 and the other two groups at 3. Raises UsageError for two of one name or
    number.
    """

    def __init__(self, vendor: Iterable[Primitive] = (), numbering: str = STANDARD) -> None:
        self.numbering = numbering
        self._by_name: dict[str, Primitive] = {}
        self._by_number: dict[tuple[int, int], Primitive] = {}
        for primitive in (*(_numbered(known, numbering) for known in _ALL), *vendor):
            self._add(primitive)

    def _add(self, primitive: Primitive) -> None:
        number = primitive.group, primitive.number
        other = self._by_name.get(primitive.name) or self._by_number.get(number)
        if other is not None:
            raise UsageError(f"primitive {primitive.name} (group {primitive.group}, number {primitive.number}): there "
                             f"is {other.name} already")
        self._by_name[primitive.name] = self._by_number[number] = primitive

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._by_name)

    def named(self, name: str) -> Primitive:
        """The primitive of this name. Raises UsageError."""
        if name not in self._by_name:
            raise UsageError(f"{name}: no such primitive; there are {', '.join(self._by_name)}")
        return self._by_name[name]

    def numbered(self, group: int, number: int) -> Primitive | None:
        """The primitive with these numbers, if there is one."""
        return self._by_number.get((group, number))


def _numbered(primitive: Primitive, numbering: str) -> Primitive:
    if numbering == STANDARD:
        return primitive
    return replace(primitive, number=primitive.number + (-1 if primitive.group == GENERAL else 3))
