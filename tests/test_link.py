# SPDX-License-Identifier: GPL-2.0-or-later
"""The link: packet sockets on a real interface, their stamps, the tap, and what they cannot keep."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.targets.base import PHANTOM_MAC, TARGET_MAC, addresses
from harness.targets.namespace import Lab
from harness.wire import ip
from harness.wire.clock import RealClock
from harness.wire.codec import decode, encode
from harness.wire.errors import LinkError
from harness.wire.frame import Frame
from harness.wire.link import BurstSocket, PacketLink, packet_socket
from harness.wire.netns import NetworkNamespace
from harness.wire.segment import RST, SYN, Checksum, Flow, Segment

ROOT = Path(__file__).resolve().parent.parent
MICROSECOND, SECOND = 1_000, 1_000_000_000
ENDS = addresses("ipv4")


def syn(port: int, local_port: int = 5000) -> bytes:
    flow = Flow(local=ENDS.local, local_port=local_port, target=ENDS.target, target_port=port)
    return TARGET_MAC + PHANTOM_MAC + b"\x08\x00" + encode(Segment(flags=SYN, seq=1), flow)


class Wire:
    """A lab, a clock and its link."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.clock = RealClock()
        self.link = self.lab.link(self.clock)
        self.clock.register(self.link)

    def answer(self) -> Frame:
        """The next TCP segment; the target's kernel also reports its multicast groups."""
        until = self.clock.now() + SECOND
        while True:
            frame = self.clock.wait(until)
            assert isinstance(frame, Frame)
            packet = ip.dissect(frame.data[14:])
            if packet is not None and packet.protocol == ip.TCP:
                return frame

    def close(self) -> None:
        self.link.close()
        self.lab.close()


@pytest.fixture
def wire(rights: None) -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_a_syn_is_refused(wire):
    wire.link.send_bytes(syn(9))
    frame = wire.answer()
    packet = ip.dissect(frame.data[14:])
    assert packet is not None
    segment = decode(packet, stamp_ns=frame.stamp_ns, offloaded=frame.offloaded)
    assert segment is not None
    assert segment.has(RST)
    assert segment.verdict is Checksum.GOOD
    assert not frame.offloaded
    assert not frame.outgoing
    assert frame.data[:12] == PHANTOM_MAC + TARGET_MAC


def test_stamps_are_the_clocks_to_some_microseconds_and_never_go_back(wire):
    stamps: list[int] = []
    slack = 200 * MICROSECOND  # two clocks of the machine are read one after the other
    for number in range(50):
        before = wire.clock.now()
        wire.link.send_bytes(syn(9, 5000 + number))
        came = wire.answer()
        after = wire.clock.now()
        (went,) = wire.link.sent()
        assert before - slack <= went.stamp_ns <= came.stamp_ns + slack
        assert came.stamp_ns <= after + slack
        stamps += [went.stamp_ns, came.stamp_ns]
    assert all(later >= earlier - slack for earlier, later in pairwise(stamps))
    assert stamps[-1] > stamps[0]


def test_the_tap_gives_what_we_sent_and_nothing_else(wire):
    frames = [syn(9, 5000 + number) for number in range(200)]
    for frame in frames:
        wire.link.send_bytes(frame)
    went = wire.link.sent()
    assert [frame.data for frame in went] == frames
    assert all(frame.outgoing for frame in went)
    assert wire.link.sent() == []
    assert wire.link.lost() == 0


def test_frames_that_had_no_room_are_counted_once(wire):
    small = b"".join(syn(9, 1024 + number) for number in range(30000))
    size = len(syn(9))
    while not (lost := wire.link.lost()):
        assert wire.link.burst(small, size) == 30000
    assert lost > 0
    assert wire.link.lost() == 0
    wire.link.discard()
    assert wire.link.recv_frame() is None
    wire.link.send_bytes(syn(9))
    assert wire.answer().data


def test_bursts_may_change_their_size(wire):
    frame = syn(9)
    assert wire.link.burst(frame * 3, len(frame)) == 3
    longer = frame + bytes(6)
    assert wire.link.burst(longer * 5, len(longer)) == 5
    assert wire.link.sent() == []


def test_a_burst_that_cannot_be_sent_is_an_error(wire):
    with pytest.raises(LinkError, match="burst: cannot send"):
        wire.link.burst(bytes(60000), 60000)


def test_a_burst_ends_with_its_time(wire):
    with wire.lab.injector_side.entered():
        sender = BurstSocket("injector", frame_size=60)
    assert sender.send(bytes(6000), within_s=0.0) == 0
    sender.close()


def test_what_is_ignored_is_neither_heard_nor_lost(wire):
    local = ipaddress.ip_network("192.0.2.2/32")
    wire.link.ignore([local])
    wire.link.ignore([local])
    wire.link.send_bytes(syn(9))
    until = wire.clock.now() + 20_000 * MICROSECOND
    while isinstance(frame := wire.clock.wait(until), Frame):
        assert frame.data[12:14] != b"\x08\x00"
    assert wire.link.lost() == 0
    wire.link.ignore([])
    wire.link.send_bytes(syn(9))
    assert wire.answer().data


def test_a_frame_that_cannot_be_sent_is_an_error_of_the_link(wire):
    with pytest.raises(LinkError, match="injector: cannot send 70000 octets: Message too long"):
        wire.link.send_bytes(bytes(70000))


def test_a_link_that_goes_down_is_an_error_of_the_link(wire):
    from pyroute2.iproute.linux import IPRoute

    with wire.lab.injector_side.entered(), IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname="injector")[0], state="down")
    with pytest.raises(LinkError, match="injector: cannot receive: Network is down"):
        wire.link.recv_frame()
    with pytest.raises(LinkError, match="injector: cannot send"):
        wire.link.send_bytes(syn(9))


def test_an_interface_that_is_not_there_names_what_is(wire):
    with wire.lab.injector_side.entered(), pytest.raises(LinkError) as caught:
        PacketLink("nope", mac=PHANTOM_MAC, target_mac=TARGET_MAC, mtu=1500, instant=wire.clock.instant)
    assert str(caught.value) == "interface 'nope': No such device; interfaces here: lo, injector"


def test_without_the_tap_there_is_no_link(wire, monkeypatch):
    made: list[socket.socket] = []

    def one_only(interface: str, *, program: bytes | None = None) -> socket.socket:
        if made:
            raise LinkError("no more")
        made.append(packet_socket(interface, program=program))
        return made[0]

    monkeypatch.setattr("harness.wire.link.packet_socket", one_only)
    with wire.lab.injector_side.entered(), pytest.raises(LinkError, match="no more"):
        PacketLink("injector", mac=PHANTOM_MAC, target_mac=TARGET_MAC, mtu=1500, instant=wire.clock.instant)
    assert made[0].fileno() == -1


def test_rights_that_are_missing_are_named():
    program = """
import ctypes
from harness.wire.errors import LinkError
from harness.wire.link import packet_socket
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
try:
    packet_socket("lo")
except LinkError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("packet socket: not permitted; run as root or where user namespaces are allowed "
                                   "(tcpqual doctor)")


def test_an_unfinished_checksum_is_known_as_such(rights):
    """A pair with its offloads as they come: the kernel leaves the checksum to a card that is not there."""
    from pyroute2.iproute.linux import IPRoute

    one, two = NetworkNamespace(), NetworkNamespace()
    with one.entered(), IPRoute() as route:
        route.link("add", ifname="here", kind="veth", peer={"ifname": "there", "net_ns_fd": two.descriptor})
        index = route.link_lookup(ifname="here")[0]
        route.link("set", index=index, state="up")
        route.addr("add", index=index, address="192.0.2.1", prefixlen=24)
        route.neigh("add", ifindex=index, family=socket.AF_INET, dst="192.0.2.2", lladdr=PHANTOM_MAC.hex(":"),
                    state=0x80)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    clock = RealClock()
    with two.entered(), IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname="there")[0], state="up")
        link = PacketLink("there", mac=PHANTOM_MAC, target_mac=TARGET_MAC, mtu=1500, instant=clock.instant)
    clock.register(link)
    with contextlib.suppress(BlockingIOError):
        sock.connect(("192.0.2.2", 9))
    until = clock.now() + 5 * SECOND  # the first SYN may come before the carrier
    while isinstance(frame := clock.wait(until), Frame):
        packet = ip.dissect(frame.data[14:])
        if packet is not None and packet.protocol == ip.TCP:
            break
    assert frame is not None
    assert frame.offloaded
    segment = decode(packet, offloaded=frame.offloaded)
    assert segment is not None
    assert segment.verdict is Checksum.OFFLOADED
    sock.close()
    link.close()
    one.close()
    two.close()
