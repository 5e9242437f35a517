# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to a host over an interface of this machine, from an address that nobody has.

The address must be nobody's: were it this host's, its kernel would reset a connection that it knows nothing of. The
next hop is what the kernel's own routes say for that interface; its MAC address is asked for with ARP or neighbour
discovery in our own name, and whoever asks for our address gets the interface's.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any, Final

from .way import Options, Way, local_port
from .wire.clock import RealClock
from .wire.errors import LinkError, UsageError
from .wire.link import PacketLink
from .wire.neighbour import Neighbour
from .wire.onlink import Address, attributes, hear, interface_index, link_of, owner_here, resolve, routes, who_has
from .wire.segment import Flow

_LOCAL: Final = 2
"""RTN_LOCAL: a route to this machine itself."""


def open_way(options: Options) -> Way:
    """The way to `options.host` by `options.interface` from `options.source`. Raises UsageError or LinkError."""
    interface, source = options.interface or "", _source(options.source or "")
    with _as_usage("--interface "):
        index = interface_index(interface)
    host = _resolve(options.host, source)
    with routes() as route:
        owner = owner_here(route, source)
        if owner is not None:
            raise UsageError(f"--source {source}: this host owns it (on {owner}), so its kernel would reset the "
                             "connection; allowed: an address that nobody has")
        hop = _next_hop(route, host, index, interface)
        with _as_usage("--interface "):
            mac, mtu = link_of(route, index, interface)
    clock = RealClock()
    with _as_usage():
        link = PacketLink(interface, mac=mac, target_mac=bytes(6), mtu=mtu, instant=clock.instant)
    clock.register(link)
    ear = hear(index)

    def close() -> None:
        ear.close()
        link.close()

    try:
        neighbour = Neighbour(mac=mac, addresses=[source.packed])
        if (owner_mac := who_has(link, clock, source)) is not None:
            raise UsageError(f"--source {source}: {owner_mac.hex(':')} has it already; "
                             "allowed: an address that nobody has")
        link.target_mac = _find(link, clock, neighbour, source, hop)
    except BaseException:
        close()
        raise
    flow = Flow(local=source.packed, local_port=local_port(), target=host.packed, target_port=options.port)
    return Way(link=link, clock=clock, epoch_ns=clock.epoch_ns, neighbour=neighbour, flow=flow, close=close)


def _source(text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--source {text}: no IPv4 or IPv6 address") from None
    if address.is_multicast or address.is_unspecified or address.is_loopback or str(address) == "255.255.255.255":
        raise UsageError(f"--source {address}: not an address that a host can have")
    return address


def _resolve(host: str, source: Address) -> Address:
    family = socket.AF_INET6 if source.version == 6 else socket.AF_INET
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except socket.gaierror as error:
        reason = f"no IPv{source.version} address, as --source has" if error.errno == socket.EAI_ADDRFAMILY else \
            error.strerror
        raise UsageError(f"HOST {host}: {reason}") from None
    return ipaddress.ip_address(found[0][4][0])


def _next_hop(route: Any, host: Address, index: int, interface: str) -> Address:
    """Who is to be given the packets: the host itself, or a gateway."""
    from pyroute2.netlink.exceptions import NetlinkError

    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    try:
        found = route.route("get", family=family, dst=str(host), oif=index)
    except NetlinkError as error:
        reason = "no route" if error.code in (errno.ENETUNREACH, errno.EHOSTUNREACH) else str(error)
        raise UsageError(f"HOST {host}: {reason} by {interface}; `ip route get {host} oif {interface}` "
                         "says more") from None
    known = attributes(found[0])
    if found[0]["type"] == _LOCAL:
        raise UsageError(f"HOST {host}: is this machine; without --interface the lab's own target can be reached")
    if "RTA_VIA" in known:
        return ipaddress.ip_address(known["RTA_VIA"]["addr"])
    return ipaddress.ip_address(known.get("RTA_GATEWAY", str(host)))


def _find(link: PacketLink, clock: RealClock, neighbour: Neighbour, source: Address, hop: Address) -> bytes:
    """The MAC address of the next hop. Raises LinkError if nobody answers."""
    mac = resolve(link, clock, neighbour, source, hop)
    if mac is None:
        kind = "neighbour discovery" if hop.version == 6 else "ARP"
        raise LinkError(f"{link.interface}: nobody answers {kind} for the next hop {hop}")
    return mac


@contextlib.contextmanager
def _as_usage(option: str = "") -> Iterator[None]:
    """What is wrong with an interface the user named wrong."""
    try:
        yield
    except LinkError as error:
        raise UsageError(f"{option}{error}") from None
