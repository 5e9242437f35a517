# SPDX-License-Identifier: GPL-2.0-or-later
"""The link to a remote device: an interface that others use as well, and a network in which others live.

Only frames for the injector's own MAC address, or for everybody, are looked at, and of those only the device's. Nothing
goes out but to the addresses that the device's file names, from those that it gives to us, and no faster than it
allows.
"""

from __future__ import annotations

import contextlib
import select
import struct
import time
from collections.abc import Callable, Collection
from typing import Final

from ...upper.base import NotApplicable
from ...wire.errors import LinkError
from ...wire.frame import Frame
from ...wire.link import PACKET_AUXDATA, SOL_PACKET, Network, PacketLink, all_but
from ...wire.neighbour import asked_for
from .device import Device

_ARP: Final = b"\x08\x06"
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_VLAN: Final = b"\x81\x00"
_TCI: Final = struct.Struct(">H")
_TCI_PLACE: Final = 16
_VLAN_MASK: Final = 0xFFF
_VLAN_VALID: Final = 1 << 4
_ETHERNET: Final = 14
_ICMPV6: Final = 58
_ADVERTISEMENT: Final = 136
_PART: Final = 16
"""So many parts of a second make the least number of frames that may go out in a row."""


def for_us(mac: bytes) -> bytes:
    """A classic BPF program's first part: what does not arrive for this MAC address, or for a group, is dropped."""
    high, low = struct.unpack(">IH", mac)
    drop = (0x06, 0, 0, 0)
    steps = ((0x28, 0, 0, 0xFFFFF000 + 4), (0x15, 0, 1, 4), drop,  # what this host sends itself
             (0x30, 0, 0, 0), (0x45, 5, 0, 1),
             (0x20, 0, 0, 0), (0x15, 0, 2, high), (0x28, 0, 0, 4), (0x15, 1, 0, low), drop)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class Pace:
    """Lets so many frames a second pass, a few of them in a row, and has the rest wait."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self.most = max(1, int(per_s / _PART))
        self._left = float(self.most)
        self._since = time.monotonic()

    def take(self, count: int = 1) -> None:
        """Wait until so many frames, `most` of them at most, may go out."""
        while True:
            now = time.monotonic()
            self._left = min(self.most, self._left + (now - self._since) * self._per_s)
            self._since = now
            if self._left >= count:
                break
            select.select((), (), (), (count - self._left) / self._per_s)
        self._left -= count


class RemoteLink(PacketLink):
    """The injector's end of the way to a device. Raises LinkError as `PacketLink` does."""

    def __init__(self, device: Device, *, mac: bytes, mtu: int, instant: Callable[[int], int]) -> None:
        super().__init__(device.interface, mac=mac, target_mac=bytes(6), mtu=mtu, instant=instant)
        self._device = device
        self._pace = Pace(device.rate_limit)
        self._tag = _VLAN + _TCI.pack(device.vlan) if device.vlan is not None else b""
        families = [(device.address(name), device.injector(name), device.forged(name), device.hop(name))
                    for name in device.families]
        self._theirs = frozenset(own.packed for own, _, _, _ in families if own is not None)
        self._ours = frozenset(ours.packed for _, ours, _, _ in families if ours is not None)
        self._hops = frozenset(hop.packed for _, _, _, hop in families if hop is not None)
        self._networks = tuple(network for _, _, network, _ in families if network is not None)
        self.listen_to(for_us(mac))

    # -- what goes out -----------------------------------------------------------------------------------------------

    def send_bytes(self, frame: bytes) -> None:
        """Put one frame on the wire, when its turn has come.

        Raises NotApplicable if the file does not name where it is to go or come from, LinkError if it cannot be sent.
        """
        self._guard(frame)
        self._pace.take()
        super().send_bytes(self._tagged(frame))

    def _tagged(self, frame: bytes) -> bytes:
        return frame[:12] + self._tag + frame[12:] if self._tag else frame

    def _guard(self, frame: bytes) -> None:
        """Nothing is sent to an address that the file does not name, and nothing in another's name."""
        kind = frame[12:14]
        if frame[6:12] != self.mac:
            raise NotApplicable(f"sends from the MAC address {frame[6:12].hex(':')}, which is not the injector's")
        if frame[0] & 1:
            self._guard_question(frame)
        elif not any(self.target_mac) and (kind == _ARP or self._is_advertisement(frame)):
            return  # the device asks for us while we ask for it
        elif frame[:6] != self.target_mac or not any(self.target_mac):
            raise LinkError(f"{self.interface}: a frame to {frame[:6].hex(':')} is not sent; the device is at "
                            f"{self.target_mac.hex(':')}")
        elif kind in (_IPV4, _IPV6) and not self._is_advertisement(frame):
            places = (26, 30, 4) if kind == _IPV4 else (22, 38, 16)
            self._guard_ends(frame, *places)

    def _guard_question(self, frame: bytes) -> None:
        """To all or to a group go questions alone, for who has an address that the file names."""
        wanted = asked_for(frame)
        if wanted is None or wanted not in self._hops | self._ours:
            raise LinkError(f"{self.interface}: a frame to the group {frame[:6].hex(':')} is not sent; allowed: "
                            "questions for an address that the device's file names")

    def _is_advertisement(self, frame: bytes) -> bool:
        """True for the answer to who has asked for our address, which may be a link-local one of the device's."""
        return frame[12:14] == _IPV6 and frame[20] == _ICMPV6 and len(frame) > 54 and frame[54] == _ADVERTISEMENT

    def _guard_ends(self, frame: bytes, source: int, destination: int, width: int) -> None:
        to, origin = frame[destination:destination + width], frame[source:source + width]
        if to not in self._theirs:
            raise NotApplicable(f"sends to {_shown(to)}, and nothing is sent to an address that the device's file "
                                "does not name")
        if origin not in self._ours and not any(_within(origin, network) for network in self._networks):
            raise NotApplicable(f"sends from {_shown(origin)}: the device's file names no network for forged sources "
                                "that has it (forged_ipv4, forged_ipv6)")

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Send frames of one size, as fast as the rate limit allows, for five seconds at most; returns how many."""
        total = min(len(frames) // frame_size, int(5 * self._device.rate_limit))
        done = 0
        while done < total:
            count = min(total - done, self._pace.most)
            self._pace.take(count)
            part = [bytes(frames[at * frame_size:(at + 1) * frame_size]) for at in range(done, done + count)]
            for frame in part:
                self._guard(frame)
            sent = super().burst(b"".join(map(self._tagged, part)), frame_size + len(self._tag))
            done += sent
            if sent < count:
                break
        return done

    def sent(self) -> list[Frame]:
        """What we sent since the last call, without tags; others on this interface are not our business."""
        return [self._untagged(frame) for frame in super().sent() if frame.data[6:12] == self.mac]

    def _untagged(self, frame: Frame) -> Frame:
        if not self._tag or frame.data[12:14] != _VLAN:
            return frame
        return Frame(data=frame.data[:12] + frame.data[16:], stamp_ns=frame.stamp_ns, outgoing=True)

    # -- what comes in -----------------------------------------------------------------------------------------------

    def listen_to(self, program: bytes) -> None:
        """Hear what passes this first part of a filter and what `ignore` leaves."""
        self._first = program
        self.filter(program + all_but(self.ignored))

    def ignore(self, networks: Collection[Network]) -> None:
        """From now on, let the kernel drop what is sent to addresses of these networks besides."""
        if frozenset(networks) != self.ignored:
            self.ignored = frozenset(networks)
            self.filter(self._first + all_but(self.ignored))

    def recv_frame(self) -> Frame | None:
        """The next frame of the device that is for us, or None; never blocks."""
        while (frame := super().recv_frame()) is not None:
            if self._concerns_us(frame.data):
                return frame
        return None

    poll = recv_frame

    def _concerns_us(self, frame: bytes) -> bool:
        kind = frame[12:14]
        if kind == _ARP:
            return True
        if kind == _IPV6 and len(frame) > 20 and frame[20] == _ICMPV6 and frame[0] & 1:
            return True  # a question for our address, asked of a group
        origin = frame[26:30] if kind == _IPV4 else frame[22:38]
        return kind in (_IPV4, _IPV6) and (origin in self._theirs or frame[6:12] == self.target_mac)

    def _frame(self, size: int, ancillary: list[tuple[int, int, bytes]], *, outgoing: bool) -> Frame:
        """As `PacketLink` has it; a frame of another VLAN is as good as empty."""
        if not outgoing and self._vlan(ancillary) != self._device.vlan:
            return Frame(data=b"", stamp_ns=0)
        return super()._frame(size, ancillary, outgoing=outgoing)

    @staticmethod
    def _vlan(ancillary: list[tuple[int, int, bytes]]) -> int | None:
        """The VLAN of the frame just received, whose tag the kernel has taken off."""
        for level, kind, data in ancillary:
            if kind == PACKET_AUXDATA and level == SOL_PACKET and len(data) >= _TCI_PLACE + 2:
                status, tci = struct.unpack_from("=I", data)[0], struct.unpack_from("=H", data, _TCI_PLACE)[0]
                return tci & _VLAN_MASK if status & _VLAN_VALID and tci & _VLAN_MASK else None
        return None


def _within(address: bytes, network: Network) -> bool:
    width = network.max_prefixlen // 8
    number = int.from_bytes(address, "big")
    return len(address) == width and number & int(network.netmask) == int(network.network_address)


def _shown(address: bytes) -> str:
    import ipaddress

    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(address))
    return f"an address of {len(address)} octets"
