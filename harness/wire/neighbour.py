# SPDX-License-Identifier: GPL-2.0-or-later
"""The neighbour's part: answers for addresses that no kernel has, and finds the owner of others (RFC 826, RFC 4861).

`Neighbour.answer` speaks for the injector: who asks for one of its addresses learns the injector's MAC address.
`solicit` and `reply_mac` are the other way round, for a next hop whose MAC address is not known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from .errors import ScriptError
from .icmp import Icmpv6Type, decode_icmp, encode_icmp
from .ip import dissect

Network = IPv4Network | IPv6Network

BROADCAST: Final = b"\xff" * 6

_ETHERNET = struct.Struct("!6s6sH")
_ETHERTYPE_ARP: Final = 0x0806
_ETHERTYPE_IPV6: Final = 0x86DD
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_ETHERNET_IPV4: Final = (1, 0x0800, 6, 4)
_REQUEST: Final = 1
_REPLY: Final = 2
_HOP_LIMIT: Final = 255
_SOURCE_MAC: Final = 1
_TARGET_MAC: Final = 2
_SOLICITED: Final = 0x40
_OVERRIDE: Final = 0x20
_ALL_NODES: Final = b"\xff\x02" + bytes(13) + b"\x01"
_SOLICITED_NODE: Final = b"\xff\x02" + bytes(9) + b"\x01\xff"
_UNSPECIFIED: Final = bytes(16)


def solicited_node(address: bytes) -> bytes:
    """The multicast address on which the owner of an IPv6 address is asked for (RFC 4291, 2.7.1)."""
    return _SOLICITED_NODE + address[-3:]


def _multicast_mac(address: bytes) -> bytes:
    return b"\x33\x33" + address[-4:]


class Neighbour:
    """Answers address resolution for addresses of ours.

    `addresses` are packed addresses, or a predicate over them; `networks` are whole prefixes that are ours besides.
    The target's own address must not be among them: it would find it taken (RFC 4862, 5.4).
    """

    def __init__(self, mac: bytes, addresses: Collection[bytes] | Callable[[bytes], bool] = (),
                 networks: Iterable[Network] = ()) -> None:
        if len(mac) != 6:
            raise ScriptError(f"MAC address {mac.hex(':')!r} has {len(mac)} octets; allowed 6")
        self.mac = mac
        self._listed = addresses if callable(addresses) else frozenset(addresses).__contains__
        self._prefixes = tuple((network.max_prefixlen // 8, int(network.netmask), int(network.network_address))
                               for network in networks)

    def owns(self, address: bytes) -> bool:
        """True if a packed address is one that we answer for."""
        if self._listed(address):
            return True
        number = int.from_bytes(address, "big")
        return any(len(address) == width and number & mask == prefix for width, mask, prefix in self._prefixes)

    def answer(self, frame: bytes) -> bytes | None:
        """The frame that answers an ARP request or a neighbour solicitation for us; None for every other frame.

        Octets of any kind are taken; a request that breaks the rules of RFC 826 or RFC 4861, 7.1.1 gets no answer, nor
        does one that carries our own MAC address and has come back to us.
        """
        if len(frame) < _ETHERNET.size:
            return None
        sender, kind = frame[6:12], int.from_bytes(frame[12:14], "big")
        if sender == self.mac:
            return None
        if kind == _ETHERTYPE_ARP:
            return self._answer_arp(frame)
        if kind == _ETHERTYPE_IPV6:
            return self._answer_solicitation(frame, sender)
        return None

    def _answer_arp(self, frame: bytes) -> bytes | None:
        found = _read_arp(frame, _REQUEST)
        if found is None:
            return None
        asker, asker_address, wanted = found
        # A sender that names the very address announces itself; nobody answers that (RFC 5227, 2.3).
        if asker_address == wanted or not self.owns(wanted):
            return None
        return _arp(asker, _REPLY, self.mac, wanted, asker, asker_address)

    def _answer_solicitation(self, frame: bytes, sender: bytes) -> bytes | None:
        found = _read_discovery(frame, Icmpv6Type.NEIGHBOUR_SOLICITATION)
        if found is None:
            return None
        source, destination, wanted, options = found
        if not self.owns(wanted):
            return None
        if source == _UNSPECIFIED:
            # Duplicate address detection: the asker has no address yet, so everybody is told (RFC 4861, 7.2.4).
            if _SOURCE_MAC in options or destination != solicited_node(wanted):
                return None
            return self._advertise(_multicast_mac(_ALL_NODES), wanted, _ALL_NODES, _OVERRIDE)
        return self._advertise(options.get(_SOURCE_MAC, sender), wanted, source, _SOLICITED | _OVERRIDE)

    def _advertise(self, mac: bytes, address: bytes, destination: bytes, flags: int) -> bytes:
        packet = encode_icmp(source=address, destination=destination, type=Icmpv6Type.NEIGHBOUR_ADVERTISEMENT, code=0,
                             rest=bytes((flags, 0, 0, 0)), body=address + bytes((_TARGET_MAC, 1)) + self.mac,
                             ttl=_HOP_LIMIT)
        return _ETHERNET.pack(mac, self.mac, _ETHERTYPE_IPV6) + packet


def _arp(to: bytes, operation: int, mac: bytes, address: bytes, target_mac: bytes, target: bytes) -> bytes:
    return (_ETHERNET.pack(to, mac, _ETHERTYPE_ARP)
            + _ARP.pack(*_ARP_ETHERNET_IPV4, operation, mac, address, target_mac, target))


def _read_arp(frame: bytes, operation: int) -> tuple[bytes, bytes, bytes] | None:
    """Sender's MAC address, sender's and target's address of an ARP message of that operation."""
    if len(frame) < _ETHERNET.size + _ARP.size:
        return None
    *form, found, mac, address, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
    if tuple(form) != _ARP_ETHERNET_IPV4 or found != operation:
        return None
    return mac, address, target


def _read_discovery(frame: bytes, kind: int) -> tuple[bytes, bytes, bytes, dict[int, bytes]] | None:
    """Source, destination, target and MAC options of a valid solicitation or advertisement (RFC 4861, 7.1)."""
    packet = dissect(frame[_ETHERNET.size:])
    message = decode_icmp(packet) if packet is not None and packet.ipv6 and packet.ttl == _HOP_LIMIT else None
    if packet is None or message is None or message.type != kind or message.code or not message.good_checksum:
        return None
    target, options = message.body[:16], _discovery_options(message.body[16:])
    if len(target) < 16 or target[0] == 0xFF or options is None:
        return None
    return packet.source, packet.destination, target, options


def _discovery_options(octets: bytes) -> dict[int, bytes] | None:
    """The MAC addresses by option type; None if an option has length 0 or is cut short."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(octets):
        size = 8 * octets[at + 1] if at + 1 < len(octets) else 0
        if size == 0 or at + size > len(octets):
            return None
        if octets[at] in (_SOURCE_MAC, _TARGET_MAC) and size == 8:
            found[octets[at]] = octets[at + 2:at + 8]
        at += size
    return found


def arp_request(*, mac: bytes, source: bytes, target: bytes) -> bytes:
    """The broadcast frame that asks who has `target`; addresses are 4 octets, `source` all zero for a probe."""
    return _arp(BROADCAST, _REQUEST, mac, source, bytes(6), target)


def neighbour_solicitation(*, mac: bytes, source: bytes, target: bytes) -> bytes:
    """The multicast frame that asks who has `target`; addresses are 16 octets (RFC 4861, 4.3)."""
    group = solicited_node(target)
    packet = encode_icmp(source=source, destination=group, type=Icmpv6Type.NEIGHBOUR_SOLICITATION, code=0,
                         body=target + bytes((_SOURCE_MAC, 1)) + mac, ttl=_HOP_LIMIT)
    return _ETHERNET.pack(_multicast_mac(group), mac, _ETHERTYPE_IPV6) + packet


def solicit(*, mac: bytes, source: bytes, target: bytes) -> bytes:
    """The frame that asks for `target` in the way of its family; `reply_mac` reads what it draws."""
    if len(target) == 16:
        return neighbour_solicitation(mac=mac, source=source, target=target)
    return arp_request(mac=mac, source=source, target=target)


def asked_for(frame: bytes) -> bytes | None:
    """The address for which an ARP request or a neighbour solicitation asks; None for any other frame."""
    kind = frame[12:14]
    if kind == _ETHERTYPE_ARP.to_bytes(2, "big"):
        request = _read_arp(frame, _REQUEST)
        return None if request is None else request[2]
    if kind == _ETHERTYPE_IPV6.to_bytes(2, "big"):
        asked = _read_discovery(frame, Icmpv6Type.NEIGHBOUR_SOLICITATION)
        return None if asked is None else asked[2]
    return None


def reply_mac(frame: bytes, address: bytes) -> bytes | None:
    """The MAC address that an ARP reply or neighbour advertisement gives for `address`; None for any other frame."""
    if len(frame) < _ETHERNET.size:
        return None
    sender, kind = frame[6:12], int.from_bytes(frame[12:14], "big")
    if kind == _ETHERTYPE_ARP:
        reply = _read_arp(frame, _REPLY)
        return reply[0] if reply is not None and reply[1] == address else None
    if kind == _ETHERTYPE_IPV6:
        advertised = _read_discovery(frame, Icmpv6Type.NEIGHBOUR_ADVERTISEMENT)
        if advertised is not None and advertised[2] == address:
            # The answer to a unicast solicitation may leave the option out (RFC 4861, 4.4).
            return advertised[3].get(_TARGET_MAC, sender)
    return None
