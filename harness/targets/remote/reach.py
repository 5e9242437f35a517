# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to a device: the interface, an address that nobody has, the device's MAC address, and the proof that it
answers.

Each step that fails says in one line what is wrong and what the file may say instead.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ...lower.echo import longest
from ...lower.injector import Injector
from ...upper.base import NotApplicable
from ...wire import ip
from ...wire import seq as arithmetic
from ...wire.clock import SECOND, Event, RealClock
from ...wire.codec import decode, encode
from ...wire.errors import LinkError, UsageError
from ...wire.frame import Frame
from ...wire.icmp import decode_icmp, encode_icmp
from ...wire.neighbour import Neighbour
from ...wire.onlink import hear, interface_index, link_of, owner_here, resolve, routes, who_has
from ...wire.segment import ACK, PSH, RST, SYN, Flow, Kind, Option, Segment
from .device import Address, Device
from .link import RemoteLink

_ATTEMPTS: Final = 3
_ANSWER_S: Final = 1.0
_ECHO: Final = {"ipv4": (8, 0), "ipv6": (128, 129)}
_UNLIMITED: Final = 65535
_CONNECTIONS: Final = 3
"""So many connections at a time a case has with an echo port at most."""
_ARP: Final = b"\x08\x06"


def given(address: Address | None) -> Address:
    """An address that the file has: it names both ends of a family, or none."""
    assert address is not None
    return address


class DeviceNeighbour(Neighbour):
    """Answers for the injector's addresses, but to the device alone, or to the router that leads to it."""

    def __init__(self, link: RemoteLink, device: Device) -> None:
        addresses = [given(device.injector(family)).packed for family in device.families]
        networks = [network for family in device.families if (network := device.forged(family)) is not None]
        super().__init__(mac=link.mac, addresses=addresses, networks=networks)
        self._link = link
        self._known = frozenset(given(address).packed for family in device.families
                                for address in (device.address(family), device.hop(family)))

    def answer(self, frame: bytes) -> bytes | None:
        """As `Neighbour` does; None to everybody else."""
        asker = frame[28:32] if frame[12:14] == _ARP else frame[22:38]
        if frame[6:12] != self._link.target_mac and (any(self._link.target_mac) or asker not in self._known):
            return None
        return super().answer(frame)


class PatientClock(RealClock):
    """Real time, and a limit to what a case may ask of it, once there are cases."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_s = math.inf

    def wait(self, until: int) -> Event | None:
        """As `RealClock` does. Raises NotApplicable for a wait that may take longer than the file allows."""
        wait_s = (until - self.now()) / SECOND
        if wait_s > self.longest_s:
            raise NotApplicable(f"would have to wait up to {wait_s:.0f} s for one thing, and longest_wait_s of the "
                                f"device's file is {self.longest_s:g}")
        return super().wait(until)


@dataclass(kw_only=True)
class Way:
    """How a device is reached. `close` lets go of the interface."""

    device: Device
    file: str
    clock: PatientClock
    link: RemoteLink
    neighbour: DeviceNeighbour
    ear: socket.socket

    def close(self) -> None:
        """Let go of the interface."""
        self.ear.close()
        self.link.close()


def open_way(device: Device, file: str) -> Way:
    """The link to a device, whose MAC address is known then; nobody has the injector's addresses.

    `file` is named by what is wrong. Raises UsageError for what the file has wrong, LinkError for what does not answer.
    """
    with _named(file, "interface"):
        index = interface_index(device.interface)
        with routes() as route:
            mac, mtu = link_of(route, index, device.interface)
            for family in device.families:
                _not_ours(device, family, owner_here(route, given(device.injector(family))), file)
    clock = PatientClock()
    own = device.own_mac(mac)
    if not _may_send():
        raise LinkError(f"{device.interface}: not permitted; a remote device is reached over an interface of this "
                        "machine, for which root, or CAP_NET_RAW and CAP_NET_ADMIN, is needed")
    link = RemoteLink(device, mac=own, mtu=device.mtu or mtu, instant=clock.instant)
    way = Way(device=device, file=file, clock=clock, link=link, neighbour=DeviceNeighbour(link, device),
              ear=hear(index, own))
    try:
        clock.register(link)
        for family in device.families:
            _be_alone(way, given(device.injector(family)))
        link.target_mac = _find(way)
        clock.unregister(link)
    except BaseException:
        way.close()
        raise
    return way


def _may_send() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return False
    return True


@contextlib.contextmanager
def _named(file: str, key: str) -> Iterator[None]:
    try:
        yield
    except LinkError as error:
        raise UsageError(f"{file}: remote.{key}: {error}") from None


def _not_ours(device: Device, family: str, owner: str | None, file: str) -> None:
    if owner is not None:
        raise UsageError(f"{file}: remote.injector_{family}: {device.injector(family)} is this machine's (on {owner}), "
                         "so its kernel would answer in the injector's place; allowed: an address that nobody has")


def _be_alone(way: Way, address: Address) -> None:
    owner = who_has(way.link, way.clock, address)
    if owner is not None:
        raise UsageError(f"{way.file}: remote.injector_ipv{address.version}: {owner.hex(':')} has {address} already; "
                         "allowed: an address that nobody has")


def _find(way: Way) -> bytes:
    """The MAC address of the device, or of the router to it. Raises LinkError, UsageError."""
    device, found = way.device, {}
    for family in device.families:
        hop = given(device.hop(family))
        mac = resolve(way.link, way.clock, way.neighbour, given(device.injector(family)), hop)
        if mac is None and device.mac is None:
            kind = "ARP" if family == "ipv4" else "neighbour discovery"
            vlan = f" in VLAN {device.vlan}" if device.vlan is not None else ""
            raise LinkError(f"{way.file}: nobody answers {kind} for {hop} on {device.interface}{vlan}; is the device "
                            f"up, and on this link? What is behind a router needs remote.router_{family}")
        if mac is not None:
            found[str(hop)] = mac
    if device.mac is not None:
        for address, mac in found.items():
            if mac != device.mac:
                raise UsageError(f"{way.file}: remote.mac: {device.mac.hex(':')}, but {address} is at {mac.hex(':')}")
        return device.mac
    if len(set(found.values())) > 1:
        places = ", ".join(f"{address} at {mac.hex(':')}" for address, mac in found.items())
        raise UsageError(f"{way.file}: remote: the two families lead to different machines ({places}); allowed: one "
                         "file for each")
    return next(iter(found.values()))


# -- whether it answers -----------------------------------------------------------------------------------------------


class Proof:
    """Asks a device that can be reached for answers, and measures how long they take."""

    def __init__(self, way: Way, injector: Injector) -> None:
        self._way = way
        self._injector = injector
        self.slowest_ns = 0
        self._taken: dict[Flow, int] = {}

    def echo(self, family: str) -> bool:
        """True if the device answers an echo request."""
        device = self._way.device
        own, theirs = given(device.injector(family)).packed, given(device.address(family)).packed
        request, reply = _ECHO[family]
        rest = secrets.token_bytes(4)
        packet = encode_icmp(source=own, destination=theirs, type=request, code=0, rest=rest, body=b"tcpqual")

        def answers(found: ip.Packet) -> bool:
            message = decode_icmp(found)
            return message is not None and message.type == reply and message.rest == rest

        return self._ask(packet, answers) is not None

    def syn(self, family: str, port: int) -> str:
        """What a SYN to a port draws: `open`, `closed`, or `nothing`. What opens is reset at once."""
        flow = self._flow(family, port)
        answer = self._segment(flow, Segment(flags=SYN, seq=secrets.randbits(32), ack=0, window=65535, options=()))
        if answer is None:
            return "nothing"
        if answer.has(RST):
            return "closed"
        if answer.has(SYN | ACK):
            self._reset(flow, answer.ack)
        return "open"

    def echoes(self, family: str, port: int) -> str:
        """What is wrong with a port that is to send back what it is sent, "" for nothing.

        Cases count on several connections at a time, and on a segment of any length that comes back in one.
        """
        slowest_ns = self.slowest_ns
        opened: list[tuple[Flow, Segment]] = []
        try:
            for _ in range(_CONNECTIONS):
                flow = self._flow(family, port)
                mss = longest(flow, self._way.link.mtu, _UNLIMITED)
                syn = Segment(flags=SYN, seq=secrets.randbits(32), ack=0, window=65535,
                              options=(Option.of(Kind.MSS, mss.to_bytes(2, "big")),))
                answer = self._segment(flow, syn)
                if answer is None or not answer.has(SYN | ACK):
                    return "draws no answer to a SYN" if answer is None else "is closed: it resets a SYN"
                opened.append((flow, answer))
            wrong = (self._not_echoed(flow, answer) for flow, answer in reversed(opened))
            return next((what for what in wrong if what), "")
        finally:
            for flow, answer in opened:
                # At the place up to which the device has taken what it was sent, as far as anybody knows.
                self._reset(flow, self._taken.pop(flow, answer.ack))
            self.slowest_ns = slowest_ns  # how soon an application reads is no matter of the path's

    def _not_echoed(self, flow: Flow, answer: Segment) -> str:
        """What is wrong with what comes back of two segments, one octet and the longest, sent one after the other."""
        option = answer.option(Kind.MSS)
        most = longest(flow, self._way.link.mtu, option.value if option is not None else None)
        ours, theirs = answer.ack or 0, arithmetic.add(answer.seq or 0, 1)
        for octets in (secrets.token_bytes(1), secrets.token_bytes(most)):
            data = Segment(flags=ACK | PSH, seq=ours, ack=theirs, window=65535, options=(), payload=octets)
            echo = self._segment(flow, data, data_at=theirs)
            if echo is None:
                return f"does not send back {len(octets)} octets"
            ours = self._taken[flow] = arithmetic.add(ours, len(octets))
            theirs = arithmetic.add(theirs, len(octets))
            if echo.payload != octets:
                came = len(echo.payload or b"")
                return f"sends back {came} octets of {len(octets)} first" if came < len(octets) else "sends back others"
        return ""

    def _flow(self, family: str, port: int) -> Flow:
        device = self._way.device
        return Flow(local=given(device.injector(family)).packed, local_port=49152 + secrets.randbelow(16384),
                    target=given(device.address(family)).packed, target_port=port)

    def _segment(self, flow: Flow, sent: Segment, *, data_at: int | None = None) -> Segment | None:
        """What a segment draws on its connection: the first one, or the first with data at that number, or nothing."""
        port = flow.target_port

        def answers(found: ip.Packet) -> bool:
            segment = decode(found) if found.protocol == ip.TCP and not found.fragment else None
            if segment is None or (segment.source_port, segment.destination_port) != (port, flow.local_port):
                return False
            return data_at is None or (bool(segment.payload) and segment.seq == data_at)

        packet = self._ask(encode(sent, flow), answers)
        return decode(packet) if packet is not None else None

    def _reset(self, flow: Flow, number: int | None) -> None:
        self._injector.send_packet(encode(Segment(flags=RST, seq=number, ack=0, window=0, options=()), flow))

    def _ask(self, packet: bytes, answers: Callable[[ip.Packet], bool]) -> ip.Packet | None:
        """Send it up to three times; what the first one draws of which `answers` is true."""
        for _ in range(_ATTEMPTS):
            began = self._way.clock.now()
            self._injector.send_packet(packet)
            while (event := self._injector.next_event(began + round(_ANSWER_S * SECOND))) is not None:
                if not isinstance(event, Frame):
                    continue
                if (reply := self._way.neighbour.answer(event.data)) is not None:
                    self._injector.send_frame(reply)
                    continue
                found = ip.dissect(event.data[14:])
                if found is not None and answers(found):
                    self.slowest_ns = max(self.slowest_ns, event.stamp_ns - began)
                    return found
        return None
