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
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .way import Options, Way, local_port
from .wire.clock import SECOND, RealClock
from .wire.errors import LinkError, UsageError
from .wire.frame import Frame
from .wire.link import PacketLink
from .wire.neighbour import Neighbour, reply_mac, solicit
from .wire.segment import Flow

if TYPE_CHECKING:
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ATTEMPTS: Final = 3
_ATTEMPT_S: Final = 0.4
_PROBE_S: Final = 0.2
_NO_MAC: Final = bytes(6)
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_MULTICAST: Final = 2
_LOCAL: Final = 2
"""RTN_LOCAL: a route to this machine itself."""


def open_way(options: Options) -> Way:
    """The way to `options.host` by `options.interface` from `options.source`. Raises UsageError or LinkError."""
    interface, source = options.interface or "", _source(options.source or "")
    index = _index(interface)
    host = _resolve(options.host, source)
    with _routes() as route:
        owner = _owner(route, source)
        if owner is not None:
            raise UsageError(f"--source {source}: this host owns it (on {owner}), so its kernel would reset the "
                             "connection; allowed: an address that nobody has")
        hop = _next_hop(route, host, index, interface)
        mac, mtu = _link_of(route, index)
    clock = RealClock()
    if mac == _NO_MAC or len(mac) != 6:
        raise UsageError(f"--interface {interface}: has no MAC address; allowed: an Ethernet interface")
    try:
        link = PacketLink(interface, mac=mac, target_mac=_NO_MAC, mtu=mtu, instant=clock.instant)
    except LinkError as error:
        raise UsageError(str(error)) from None
    clock.register(link)
    ear = _hear_multicast(index)

    def close() -> None:
        ear.close()
        link.close()

    try:
        neighbour = Neighbour(mac=mac, addresses=[source.packed])
        _be_alone(link, clock, source)
        link.target_mac = _find(link, clock, neighbour, source, hop, interface)
    except BaseException:
        close()
        raise
    flow = Flow(local=source.packed, local_port=local_port(), target=host.packed, target_port=options.port)
    return Way(link=link, clock=clock, epoch_ns=clock.epoch_ns, neighbour=neighbour, flow=flow, close=close)


def _index(interface: str) -> int:
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise UsageError(f"--interface {interface}: no such interface; there are {names}") from None
    with contextlib.suppress(OSError):
        if Path(f"/sys/class/net/{interface}/operstate").read_text().strip() == "down":
            raise UsageError(f"--interface {interface}: is down; ip link set {interface} up")
    return index


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


@contextlib.contextmanager
def _routes() -> Iterator[Any]:
    from pyroute2.iproute.linux import IPRoute

    with IPRoute() as route:
        yield route


def _attributes(message: Any) -> dict[str, Any]:
    return dict(message["attrs"])


def _owner(route: Any, address: Address) -> str | None:
    """The interface of this host that has the address."""
    for message in route.get_addr():
        attributes = _attributes(message)
        texts = {attributes.get("IFA_ADDRESS"), attributes.get("IFA_LOCAL")}
        if str(address) in texts:
            return socket.if_indextoname(message["index"])
    return None


def _link_of(route: Any, index: int) -> tuple[bytes, int]:
    attributes = _attributes(route.get_links(index)[0])
    return bytes.fromhex(str(attributes.get("IFLA_ADDRESS", "")).replace(":", "")), int(attributes["IFLA_MTU"])


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
    attributes = _attributes(found[0])
    if found[0]["type"] == _LOCAL:
        raise UsageError(f"HOST {host}: is this machine; without --interface the lab's own target can be reached")
    if "RTA_VIA" in attributes:
        return ipaddress.ip_address(attributes["RTA_VIA"]["addr"])
    return ipaddress.ip_address(attributes.get("RTA_GATEWAY", str(host)))


def _hear_multicast(index: int) -> socket.socket:
    """Have the interface hear the groups on which neighbours are asked for, as long as the socket is open."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, _MULTICAST, 0, b""))
    return sock


def _be_alone(link: PacketLink, clock: RealClock, source: Address) -> None:
    """Make sure that nobody on the link has our address (RFC 5227, 2.1.1; RFC 4862, 5.4). Raises UsageError."""
    nobody = bytes(len(source.packed))
    if source.version == 6:
        # A solicitation in the name of no address may not tell our MAC address (RFC 4861, 4.3).
        frame = _dad(link.mac, source)
    else:
        frame = solicit(mac=link.mac, source=nobody, target=source.packed)
    link.send_bytes(frame)
    until = clock.now() + round(_PROBE_S * SECOND)
    while (event := clock.wait(until)) is not None:
        owner = reply_mac(event.data, source.packed) if isinstance(event, Frame) and not event.outgoing else None
        if owner is not None and owner != link.mac:
            raise UsageError(f"--source {source}: {owner.hex(':')} has it already; allowed: an address that nobody has")


def _dad(mac: bytes, address: Address) -> bytes:
    from .wire.icmp import Icmpv6Type, encode_icmp
    from .wire.neighbour import solicited_node

    group = solicited_node(address.packed)
    packet = encode_icmp(source=bytes(16), destination=group, type=Icmpv6Type.NEIGHBOUR_SOLICITATION, code=0,
                         body=address.packed, ttl=255)
    return b"\x33\x33" + group[-4:] + mac + b"\x86\xdd" + packet


def _find(link: PacketLink, clock: RealClock, neighbour: Neighbour, source: Address, hop: Address,
          interface: str) -> bytes:
    """The MAC address of the next hop. Raises LinkError if nobody answers."""
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
    kind = "neighbour discovery" if hop.version == 6 else "ARP"
    raise LinkError(f"{interface}: nobody answers {kind} for the next hop {hop}")
