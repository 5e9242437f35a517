# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host does on a link of this machine before it speaks there: look at the interface, make sure that its address
is nobody else's, and ask for the next hop.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .clock import SECOND, Clock
from .errors import LinkError
from .frame import Frame
from .icmp import Icmpv6Type, encode_icmp
from .link import Link
from .neighbour import Neighbour, reply_mac, solicit, solicited_node

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ATTEMPTS: Final = 3
_ATTEMPT_S: Final = 0.4
_PROBE_S: Final = 0.2
_MAC: Final = 6
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_ALL_MULTICAST: Final = 2
_UNICAST: Final = 3
_MEMBERSHIP: Final = struct.Struct("iHH8s")


def interface_index(interface: str) -> int:
    """The index of an interface that is up. Raises LinkError saying what there is."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise LinkError(f"{interface}: no such interface; there are {names}") from None
    with contextlib.suppress(OSError):
        if Path(f"/sys/class/net/{interface}/operstate").read_text().strip() == "down":
            raise LinkError(f"{interface}: is down; ip link set {interface} up")
    return index


@contextlib.contextmanager
def routes() -> Iterator[Any]:
    """A socket that knows this machine's addresses, links and routes."""
    from pyroute2.iproute.linux import IPRoute

    with IPRoute() as route:
        yield route


def attributes(message: Any) -> dict[str, Any]:
    """The attributes of a netlink message by their names."""
    return dict(message["attrs"])


def owner_here(route: Any, address: Address) -> str | None:
    """The interface of this machine that has the address."""
    for message in route.get_addr():
        known = attributes(message)
        if str(address) in {known.get("IFA_ADDRESS"), known.get("IFA_LOCAL")}:
            return socket.if_indextoname(message["index"])
    return None


def link_of(route: Any, index: int, interface: str) -> tuple[bytes, int]:
    """MAC address and MTU of an interface. Raises LinkError if it is none of Ethernet."""
    known = attributes(route.get_links(index)[0])
    mac = bytes.fromhex(str(known.get("IFLA_ADDRESS", "")).replace(":", ""))
    if len(mac) != _MAC or not any(mac):
        raise LinkError(f"{interface}: has no MAC address; allowed: an Ethernet interface")
    return mac, int(known["IFLA_MTU"])


def hear(index: int, mac: bytes = b"") -> socket.socket:
    """Have the interface hear the groups on which neighbours are asked for, and a MAC address besides its own.

    It does so as long as the socket is open.
    """
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wanted = [(_ALL_MULTICAST, b""), *([(_UNICAST, mac)] if mac else [])]
    for kind, address in wanted:
        sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _MEMBERSHIP.pack(index, kind, len(address), address))
    return sock


def who_has(link: Link, clock: Clock, address: Address) -> bytes | None:
    """The MAC address of somebody who has this address already, None if nobody says so in time.

    The question is asked in nobody's name (RFC 5227, 2.1.1; RFC 4862, 5.4).
    """
    link.send_bytes(_probe(link.mac, address))
    until = clock.now() + round(_PROBE_S * SECOND)
    while (event := clock.wait(until)) is not None:
        owner = reply_mac(event.data, address.packed) if isinstance(event, Frame) and not event.outgoing else None
        if owner is not None and owner != link.mac:
            return owner
    return None


def _probe(mac: bytes, address: Address) -> bytes:
    if address.version == 4:
        return solicit(mac=mac, source=bytes(4), target=address.packed)
    # A solicitation in the name of no address may not tell our MAC address (RFC 4861, 4.3).
    group = solicited_node(address.packed)
    packet = encode_icmp(source=bytes(16), destination=group, type=Icmpv6Type.NEIGHBOUR_SOLICITATION, code=0,
                         body=address.packed, ttl=255)
    return b"\x33\x33" + group[-4:] + mac + b"\x86\xdd" + packet


def resolve(link: Link, clock: Clock, neighbour: Neighbour, source: Address, hop: Address) -> bytes | None:
    """The MAC address of the next hop, asked for in the name of `source`; None if nobody answers."""
    for _ in range(_ATTEMPTS):
        link.send_bytes(solicit(mac=link.mac, source=source.packed, target=hop.packed))
        until = clock.now() + round(_ATTEMPT_S * SECOND)
        while (event := clock.wait(until)) is not None:
            if not isinstance(event, Frame):
                continue
            mac = reply_mac(event.data, hop.packed)
            if mac is not None:
                return mac
            # The next hop may ask for us before it answers.
            if (answer := neighbour.answer(event.data)) is not None:
                link.send_bytes(answer)
    return None
