# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments: what each header says, that the pieces make the whole, and what cannot be written."""

from __future__ import annotations

import pytest

from harness.lower.forge import Datagram, describe
from harness.wire import ip
from harness.wire.codec import encode
from harness.wire.errors import ScriptError
from harness.wire.segment import ACK, Flow, Segment

FLOWS = {
    "ipv4": Flow(local=bytes((192, 0, 2, 2)), local_port=1, target=bytes((192, 0, 2, 1)), target_port=2),
    "ipv6": Flow(local=bytes(15) + b"\2", local_port=1, target=bytes(15) + b"\1", target_port=2),
}


@pytest.fixture(params=FLOWS)
def whole(request: pytest.FixtureRequest) -> Datagram:
    segment = Segment(flags=ACK, seq=1, ack=1, payload=bytes(range(256)) * 2, ttl=33, traffic_class=2)
    return Datagram.of(encode(segment, FLOWS[request.param]), 0x1234)


def read(octets: bytes) -> tuple[int, bool, int]:
    """Offset in octets, more-fragments bit, identification, read with scapy."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

    if octets[0] >> 4 == 6:
        header = IPv6(octets)[IPv6ExtHdrFragment]
        return header.offset * 8, bool(header.m), header.id
    header = IP(octets)
    assert not header.flags.DF
    return header.frag * 8, bool(header.flags.MF), header.id


def test_pieces_make_the_whole(whole: Datagram) -> None:
    pieces = whole.cut(8, 64, 400)
    assert [read(piece) for piece in pieces] == [(0, True, 0x1234), (8, True, 0x1234), (64, True, 0x1234),
                                                 (400, False, 0x1234)]
    packets = [ip.dissect(piece) for piece in pieces]
    assert all(packet is not None and packet.fragment and ip.header_is_good(packet) for packet in packets)
    assert b"".join(packet.payload for packet in packets if packet) == whole.packet.payload


def test_piece_keeps_the_header_of_the_whole(whole: Datagram) -> None:
    piece = ip.dissect(whole.piece(8, 16))
    assert piece is not None
    assert (piece.source, piece.destination, piece.protocol, piece.ttl, piece.traffic_class) == (
        whole.packet.source, whole.packet.destination, ip.TCP, 33, 2)


def test_piece_may_lie(whole: Datagram) -> None:
    assert read(whole.piece(65528, data=bytes(100), more=True)) == (65528, True, 0x1234)
    assert read(whole.piece(0, more=False)) == (0, False, 0x1234)
    empty = whole.piece(16, 16, more=True)
    assert read(empty) == (16, True, 0x1234)
    assert ip.dissect(empty).payload == b""  # type: ignore[union-attr]


def test_other_octets_at_a_place(whole: Datagram) -> None:
    packet = ip.dissect(whole.piece(8, data=b"other..."))
    assert packet is not None
    assert packet.payload == b"other..."


@pytest.mark.parametrize(("start", "problem"), [(4, "a multiple of 8"), (-8, "0..65535"), (65536, "0..65535")])
def test_offset_that_cannot_be_written(whole: Datagram, start: int, problem: str) -> None:
    with pytest.raises(ScriptError, match=problem):
        whole.piece(start)


def test_identification_that_does_not_fit(whole: Datagram) -> None:
    with pytest.raises(ScriptError, match="identification"):
        Datagram.of(whole.packet.raw, 1 << 32)


@pytest.mark.parametrize("octets", [b"", bytes(20)])
def test_what_is_no_packet(octets: bytes) -> None:
    with pytest.raises(ScriptError, match="a whole IP packet is wanted"):
        Datagram.of(octets, 1)


def test_fragment_is_not_cut_again(whole: Datagram) -> None:
    with pytest.raises(ScriptError, match="a whole IP packet is wanted"):
        Datagram.of(whole.piece(0, 64), 1)


def test_offset_of_a_piece(whole: Datagram) -> None:
    pieces = [ip.dissect(octets) for octets in whole.cut(8, 64, 400)]
    assert [ip.fragment_offset(piece) for piece in pieces if piece] == [0, 8, 64, 400]
    assert ip.fragment_offset(whole.packet) == 0


def test_description(whole: Datagram) -> None:
    assert describe(whole.piece(64, 128)) == "IP fragment 4660, octets 64:128, more to come"
    assert describe(whole.piece(400)) == f"IP fragment 4660, octets 400:{len(whole.packet.payload)}, the last"
    assert describe(b"?") == "IP packet, 1 octets"
