# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the table `[remote]`: every fault is said, with its place and what is allowed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

from cattrs import Converter

from ...upper.testability.settings import Settings, settings_of
from ...wire.errors import UsageError
from ..faults import Fault, Faults
from ..readers import table_hook
from .device import (
    APPLICATIONS,
    Address,
    Agent,
    Application,
    Device,
    EchoPort,
    Mac,
    Mtu,
    OpenPort,
    Port,
    Ports,
    Ssh,
    Timers,
    Upper,
    Vlan,
    Wait,
)

TESTERS: Final = ("none", "agent", "ssh", "testability")
"""The upper testers by name; but for `none` each has a table of that name, which says where it is."""

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_LEAST_MTU: Final = 576
_LEAST_WAIT_S: Final = 5.0
_FORGED: Final = {4: 24, 6: 64}
"""How long the prefix of a network for forged sources may be, so that there is room enough."""


def read_device(raw: Any) -> Device:
    """The device of a table as TOML has it. Raises what `harness.targets.document` turns into lines."""
    device = _converter().structure(raw, Device)
    faults = [Fault(what, where) for where, what in _discord(device)]
    if faults:
        raise Faults(faults)
    return device


def _discord(device: Device) -> list[tuple[str, str]]:
    """What does not fit together: where, and what."""
    found: list[tuple[str, str]] = []
    if not device.families:
        found.append(("", "neither ipv4 nor ipv6 is given; allowed: one of them, or both"))
    for family in ("ipv4", "ipv6"):
        own, ours = device.address(family), device.injector(family)
        if (own is None) != (ours is None):
            missing, given = (f"injector_{family}", family) if ours is None else (family, f"injector_{family}")
            found.append((missing, f"missing; goes with {given}"))
        if own is not None and own == ours:
            found.append((f"injector_{family}", f"{ours} is the device's own; allowed: an address that nobody has"))
        found += _forged(device, family)
    for name in TESTERS[1:]:
        if (getattr(device, name) is not None) != (device.upper == name):
            wrong = f"missing; upper = {name!r} needs it" if device.upper == name else f"goes with upper = {name!r}"
            found.append((name, wrong))
    if device.upper == "none" and device.open is None:
        found.append(("open", "missing; without an upper tester there has to be a port that is open"))
    if device.echo is not None and device.upper != "none":
        found.append(("echo", "goes with upper = 'none'"))
    if device.echo is not None and device.open is not None and device.echo.port == device.open.port:
        found.append(("echo.port", f"{device.echo.port} is the open port; allowed: another one"))
    return found


def _forged(device: Device, family: str) -> list[tuple[str, str]]:
    network, longest = device.forged(family), _FORGED[4 if family == "ipv4" else 6]
    if network is None:
        return []
    where = f"forged_{family}"
    if device.address(family) is None:
        return [(where, f"goes with {family}")]
    if network.prefixlen > longest:
        return [(where, f"{network} is too small; allowed: a prefix of {longest} bits or less")]
    inside = [address for address in (device.address(family), device.injector(family), device.hop(family))
              if address in network]
    return [(where, f"{network} has {inside[0]} in it; allowed: a network in which nobody lives")] if inside else []


# -- what cattrs is told ---------------------------------------------------------------------------------------------


def _converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    hooks: dict[Any, Callable[[Any, Any], Any]] = {
        str: lambda raw, _: _text(raw),
        float: lambda raw, _: _above_0(raw),
        Upper: lambda raw, _: _word(raw, TESTERS),
        Timers: lambda raw, _: _word(raw, ("default", "short")),
        Application: lambda raw, _: _word(raw, tuple(APPLICATIONS)),
        Wait: lambda raw, _: _wait(raw),
        Port: lambda raw, _: _within(raw, 1, 65535),
        Vlan: lambda raw, _: _within(raw, 1, 4094),
        Mtu: lambda raw, _: _within(raw, _LEAST_MTU, 65535),
        Mac: lambda raw, _: _mac(raw),
        Ports: lambda raw, _: _ports(raw),
        Settings: lambda raw, _: _testability(raw),
        ipaddress.IPv4Address: lambda raw, _: _address(raw, ipaddress.IPv4Address),
        ipaddress.IPv6Address: lambda raw, _: _address(raw, ipaddress.IPv6Address),
        ipaddress.IPv4Network: lambda raw, _: _network(raw, ipaddress.IPv4Network),
        ipaddress.IPv6Network: lambda raw, _: _network(raw, ipaddress.IPv6Network),
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == Address,
                                           lambda raw, _: _address(raw, ipaddress.ip_address))
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], lambda raw, _: _words(raw))
    for shape in (OpenPort, EchoPort, Agent, Ssh, Device):  # the last one takes the hooks of the others
        converter.register_structure_hook(shape, table_hook(shape, converter))
    return converter


def _testability(raw: Any) -> Settings:
    """The table of the AUTOSAR testability protocol, which is its upper tester's own."""
    if not isinstance(raw, dict):
        raise Fault(f"{raw!r} is not allowed; a table is due")
    try:
        return settings_of(raw)
    except UsageError as error:
        raise Fault(str(error)) from None


def _word(raw: Any, allowed: tuple[str, ...]) -> str:
    if raw not in allowed:
        raise Fault(f"{raw!r} is not allowed; allowed: {', '.join(allowed)}")
    return str(raw)


def _within(raw: Any, least: int, most: int) -> int:
    if type(raw) is not int or not least <= raw <= most:
        raise Fault(f"{raw!r} is not allowed; allowed: a whole number from {least} to {most}")
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise Fault(f"{raw!r} is not allowed; allowed: a text that is not empty")
    return raw


def _above_0(raw: Any) -> float:
    if type(raw) not in (int, float) or not 0 < raw < float("inf"):
        raise Fault(f"{raw!r} is not allowed; allowed: a number above 0")
    return float(raw)


def _wait(raw: Any) -> float:
    if type(raw) not in (int, float) or not _LEAST_WAIT_S <= raw < float("inf"):
        raise Fault(f"{raw!r} is not allowed; allowed: a number, {_LEAST_WAIT_S:g} or more")
    return float(raw)


def _words(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise Fault(f"{raw!r} is not allowed; allowed: a list of words")
    return tuple(_text(word) for word in raw)


def _ports(raw: Any) -> tuple[int, int]:
    if not isinstance(raw, list) or [type(port) for port in raw] != [int, int] or not 1 <= raw[0] < raw[1] <= 65535:
        raise Fault(f"{raw!r} is not allowed; allowed: the first and the last port, such as [20000, 59999]")
    if raw[1] - raw[0] < 1000:
        raise Fault(f"{raw!r} is not allowed; allowed: a thousand ports at least")
    return raw[0], raw[1]


def _mac(raw: Any) -> bytes:
    if not isinstance(raw, str) or not _MAC.fullmatch(raw):
        raise Fault(f"{raw!r} is not allowed; allowed: a MAC address such as \"02:00:00:00:00:01\"")
    mac = bytes.fromhex(raw.replace(":", "").replace("-", ""))
    if mac[0] & 1 or not any(mac):
        raise Fault(f"{raw!r} is not allowed; allowed: the address of one machine, not of a group")
    return mac


def _address(raw: Any, kind: Callable[[str], Any]) -> Any:
    try:
        found = kind(_text(raw))
    except ValueError:
        name = {ipaddress.IPv4Address: "an IPv4 address", ipaddress.IPv6Address: "an IPv6 address"}
        raise Fault(f"{raw!r} is not allowed; allowed: {name.get(kind, 'an IP address')}") from None  # type: ignore[arg-type]
    if found.is_multicast or found.is_unspecified or found.is_loopback or str(found) == "255.255.255.255":
        raise Fault(f"{raw!r} is not allowed; allowed: an address that a machine can have on a link")
    return found


def _network(raw: Any, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(_text(raw))
    except ValueError:
        like = '"198.51.100.0/24"' if kind is ipaddress.IPv4Network else '"2001:db8:f::/64"'
        raise Fault(f"{raw!r} is not allowed; allowed: a network such as {like}") from None
