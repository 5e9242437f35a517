# SPDX-License-Identifier: GPL-2.0-or-later
"""The link as a scapy socket: what scapy users know works on it, and the link outlives it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.sendrecv import AsyncSniffer
from scapy.supersocket import SuperSocket

from harness.wire.errors import ScriptError
from harness.wire.frame import Frame
from harness.wire.supersocket import LinkSuperSocket

EPOCH = 1_700_000_000_000_000_000
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
SYN = ETHER / IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=40000, dport=80, flags="S", seq=100)


class Loop:
    """A link whose other end is a function: what it answers to a frame arrives."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self.frames: deque[Frame] = deque()
        self.sent: list[bytes] = []
        self.descriptor: int | None = None

    def send_bytes(self, frame: bytes) -> None:
        self.sent.append(frame)
        self.arrive(frame, outgoing=True)
        packet = Ether(frame)
        if TCP in packet:
            ip, tcp = packet[IP], packet[TCP]
            reset = Ether(src=packet.dst, dst=packet.src) / IP(src=ip.dst, dst=ip.src) / TCP(
                sport=tcp.dport, dport=tcp.sport, flags="RA", ack=tcp.seq + 1)
            self.arrive(bytes(reset))

    def arrive(self, data: bytes, *, outgoing: bool = False, signal: bool = True) -> None:
        self.frames.append(Frame(data=data, stamp_ns=1_500_000_000, outgoing=outgoing))
        if signal:
            os.write(self._write, b"x")

    def recv_frame(self) -> Frame | None:
        if not self.frames:
            return None
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 1)
        return self.frames.popleft()

    def fileno(self) -> int:
        return self._read if self.descriptor is None else self.descriptor

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def link() -> Iterator[Loop]:
    link = Loop()
    yield link
    link.close()


@pytest.fixture
def socket(link: Loop) -> LinkSuperSocket:
    return LinkSuperSocket(link, epoch_ns=EPOCH)


def test_sr1_gets_the_answer(socket: LinkSuperSocket, link: Loop) -> None:
    answer = socket.sr1(SYN, timeout=5, verbose=False)
    assert answer is not None
    assert (str(answer[TCP].flags), answer[TCP].ack) == ("RA", 101)
    assert float(answer.time) == pytest.approx(EPOCH / 1e9 + 1.5)
    assert link.sent == [bytes(SYN)]


def test_sr_sorts_answers_to_their_questions(socket: LinkSuperSocket) -> None:
    questions = [ETHER / SYN[IP].copy() for _ in range(2)]
    for port, question in enumerate(questions, 1):
        question[TCP].sport = port
    answered, silent = socket.sr(questions, timeout=5, verbose=False)
    assert [(question[TCP].sport, answer[TCP].dport) for question, answer in answered] == [(1, 1), (2, 2)]
    assert not silent


def test_packets_and_octets_are_sent(socket: LinkSuperSocket, link: Loop) -> None:
    packet = SYN.copy()
    assert socket.send(packet) == len(bytes(SYN))
    assert packet.sent_time == pytest.approx(time.time(), abs=60)
    assert socket.send(b"\xff" * 20) == 20
    assert socket.send(Raw(b"\xfe" * 20)) == 20
    assert link.sent == [bytes(SYN), b"\xff" * 20, b"\xfe" * 20]


def test_a_packet_without_ethernet_is_refused(socket: LinkSuperSocket) -> None:
    with pytest.raises(ScriptError, match="cannot send IP on a link; allowed: an Ether packet, or octets"):
        socket.send(SYN[IP])


def test_recv_gives_ether_packets_with_their_time(socket: LinkSuperSocket, link: Loop) -> None:
    assert socket.recv() is None
    link.arrive(bytes(SYN))
    packet = socket.recv()
    assert isinstance(packet, Ether)
    assert bytes(packet) == bytes(SYN)
    assert float(packet.time) == pytest.approx(EPOCH / 1e9 + 1.5)


def test_recv_cuts_to_what_was_asked(socket: LinkSuperSocket, link: Loop) -> None:
    link.arrive(bytes(SYN))
    assert socket.recv_raw(14)[1] == bytes(SYN)[:14]


def test_frames_of_our_own_are_left_out(socket: LinkSuperSocket, link: Loop) -> None:
    link.arrive(bytes(SYN), outgoing=True)
    assert LinkSuperSocket.select([socket], 0) == []
    link.arrive(bytes(SYN), outgoing=True)
    link.arrive(b"\0" * 14)
    assert bytes(socket.recv()) == b"\0" * 14
    assert socket.recv() is None


def test_frames_read_ahead_are_found_without_the_descriptor(socket: LinkSuperSocket, link: Loop) -> None:
    assert LinkSuperSocket.select([socket], 0) == []
    link.arrive(bytes(SYN), signal=False)
    assert LinkSuperSocket.select([socket], 0) == [socket]


def test_select_waits_for_the_descriptor(socket: LinkSuperSocket, link: Loop) -> None:
    class Late(Loop):
        asked = 0

        def recv_frame(self) -> Frame | None:
            self.asked += 1
            return super().recv_frame() if self.asked > 1 else None

    late = Late()
    adapter = LinkSuperSocket(late)
    late.arrive(bytes(SYN))
    assert LinkSuperSocket.select([socket, adapter], 5) == [adapter]
    late.close()


def test_sniff_counts_and_a_background_sniffer_stops(socket: LinkSuperSocket, link: Loop) -> None:
    for _ in range(3):
        link.arrive(bytes(SYN))
    assert len(socket.sniff(count=2, timeout=5)) == 2
    sniffer = AsyncSniffer(opened_socket=socket)
    sniffer.start()
    for _ in range(500):
        if getattr(sniffer, "continue_sniff", False):
            break
        time.sleep(0.01)
    found = sniffer.stop()
    assert len(found) <= 1


def test_closing_leaves_the_link_open(socket: LinkSuperSocket, link: Loop) -> None:
    assert isinstance(socket, SuperSocket)
    with socket:
        pass
    assert socket.closed
    link.send_bytes(b"\0" * 14)
    assert os.fstat(socket.fileno())


def test_a_link_without_descriptor_is_refused(link: Loop) -> None:
    link.descriptor = -1
    with pytest.raises(ScriptError, match="scapy cannot wait on this link; allowed: a link with a descriptor"):
        LinkSuperSocket(link)
