# SPDX-License-Identifier: GPL-2.0-or-later
"""What a target's file says of its testability module: table `[testability]`.

The document leaves much to the implementation, the port first of all; what is not known of a module is not assumed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from ...wire.errors import UsageError
from .channel import Endpoint, Transport
from .client import VERSIONS
from .message import SERVICE
from .parameters import Order, is_type, type_names
from .primitives import Primitive

CONNECTS: Final = ("done", "begun")
_VERSIONS: Final = ("auto", *VERSIONS)
_KEYS: Final = ("transport", "address", "port", "source", "service", "version", "byte_order", "answer_limit_s",
                "connect", "receive_tells", "end_event", "nagle_on", "largest_data", "connections", "primitives",
                "options")
_PRIMITIVE_KEYS: Final = ("group", "number", "request", "response", "event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a module is reached, and what it does where the document leaves it free.

    `connect` says when CONNECT is answered: once the connection is there or has failed (`"done"`), or at once
    (`"begun"`). `receive_tells`: RECEIVE_AND_FORWARD on a connection that has ended, or was reset, is answered with
    that (E_TCP_COC, E_TCP_CRE ...), as RECEIVE of RFC 793 is. `end_event`: an event without octets says that the
    stream has ended. `nagle_on` is the value of paramId 6 that switches the Nagle algorithm on, None if nobody knows.
    `largest_data` is the most octets that SEND_DATA is given, and that an event brings; `connections` what
    LISTEN_AND_ACCEPT is told as maxCon. `options` are paramIds of a vendor's own, by the name of a socket option.
    """

    endpoint: Endpoint
    service: int = SERVICE
    version: str = ""
    byte_order: Order = "big"
    answer_limit_s: float = 2.0
    connect: str = "done"
    receive_tells: bool = False
    end_event: bool = False
    nagle_on: int | None = None
    largest_data: int = 60000
    connections: int = 64
    vendor: tuple[Primitive, ...] = ()
    options: Mapping[str, tuple[int, int]]


def settings_of(table: Mapping[str, Any], *, where: str = "") -> Settings:
    """The settings that a table of a target's file says; `where` names it in errors. Raises UsageError."""
    reader = _Table(table, where)
    reader.known(_KEYS)
    version = reader.choice("version", _VERSIONS, "auto")
    return Settings(
        endpoint=_endpoint(reader),
        service=reader.whole("service", SERVICE, 0, 0xFFFF),
        version="" if version == "auto" else version,
        byte_order="little" if reader.choice("byte_order", get_args(Order), "big") == "little" else "big",
        answer_limit_s=reader.seconds("answer_limit_s", 2.0),
        connect=reader.choice("connect", CONNECTS, "done"),
        receive_tells=reader.flag("receive_tells"),
        end_event=reader.flag("end_event"),
        nagle_on=reader.whole("nagle_on", 0, 0, 1) if "nagle_on" in table else None,
        largest_data=reader.whole("largest_data", 60000, 1, 65000),
        connections=reader.whole("connections", 64, 1, 0xFFFF),
        vendor=tuple(_vendor(name, reader.table("primitives", name), where) for name in reader.names("primitives")),
        options={name: _option(name, reader.table("options", name), where) for name in reader.names("options")})


def _endpoint(reader: _Table) -> Endpoint:
    for name in ("transport", "address", "port"):
        if name not in reader.values:
            raise UsageError(f"{reader.place}{name}: missing; the document fixes no {name}, so the file has to")
    transport: Transport = "tcp" if reader.choice("transport", get_args(Transport), "") == "tcp" else "udp"
    return Endpoint(transport=transport, address=reader.address("address"), port=reader.whole("port", 0, 1, 0xFFFF),
                    source=reader.address("source") if "source" in reader.values else "")


def _vendor(name: str, table: Mapping[str, Any], where: str) -> Primitive:
    reader = _Table(table, _below(where, f"primitives.{name}"))
    reader.known(_PRIMITIVE_KEYS)
    for wanted in ("group", "number"):
        if wanted not in table:
            raise UsageError(f"{reader.place}{wanted}: missing")
    return Primitive(name=name, group=reader.whole("group", 0, 0, 0x7F), number=reader.whole("number", 0, 0, 0xFF),
                     request=reader.types("request"), response=reader.types("response"),
                     event=reader.types("event") if "event" in table else None)


def _option(name: str, table: Mapping[str, Any], where: str) -> tuple[int, int]:
    reader = _Table(table, _below(where, f"options.{name}"))
    reader.known(("id", "octets"))
    if "id" not in table:
        raise UsageError(f"{reader.place}id: missing; it is the paramId")
    return reader.whole("id", 0, 0, 0xFFFF), reader.whole("octets", 4, 1, 8)


def _below(where: str, name: str) -> str:
    return f"{where}: {name}" if where else name


class _Table:
    """A table of a TOML file, read with errors that say where and what is allowed."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.place = f"{where}: " if where else ""

    def _wrong(self, name: str, wanted: str) -> UsageError:
        return UsageError(f"{self.place}{name} = {self.values[name]!r}: {wanted}")

    def known(self, names: Sequence[str]) -> None:
        for name in self.values:
            if name not in names:
                raise UsageError(f"{self.place}{name}: no such key; there are {', '.join(names)}")

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most} is wanted")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 600:
            raise self._wrong(name, "seconds, above 0 and up to 600, are wanted")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false is wanted")
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        value = self.values.get(name, default)
        if value not in allowed:
            raise self._wrong(name, f"allowed: {', '.join(allowed)}")
        return str(value)

    def address(self, name: str) -> str:
        try:
            return str(ipaddress.ip_address(str(self.values[name])))
        except ValueError:
            raise self._wrong(name, "an IPv4 or IPv6 address is wanted") from None

    def types(self, name: str) -> tuple[str, ...]:
        values = self.values.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and is_type(value) for value in values):
            raise self._wrong(name, f"a list of parameter types is wanted: {', '.join(type_names())}")
        return tuple(values)

    def names(self, name: str) -> tuple[str, ...]:
        tables = self.values.get(name, {})
        if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
            raise self._wrong(name, "tables are wanted, one for each name")
        return tuple(tables)

    def table(self, name: str, own: str) -> Mapping[str, Any]:
        table: Mapping[str, Any] = self.values[name][own]
        return table
