# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP segments to octets and back: nothing lost, lies sent as told, checksums as scapy has them."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.codec import decode, dissect, encode, encode_options, parse_options
from harness.wire.errors import ScriptError
from harness.wire.ip import TCP, UDP, Packet, header_is_good, ip_packet
from harness.wire.segment import ACK, AE, FIN, PSH, SYN, Checksum, Flow, Kind, Option, Segment

V4 = Flow(local=bytes((192, 0, 2, 1)), local_port=40000, target=bytes((192, 0, 2, 2)), target_port=80)
V6 = Flow(local=bytes.fromhex("20010db8000000000000000000000001"), local_port=40000,
          target=bytes.fromhex("20010db8000000000000000000000002"), target_port=80)
FLOWS = pytest.mark.parametrize("flow", [V4, V6], ids=["ipv4", "ipv6"])
MSS = Option.of(Kind.MSS, b"\x05\xb4")
SYN_OPTIONS = (MSS, Option.of(Kind.SACK_PERMITTED), Option.of(Kind.TIMESTAMPS, bytes(8)), Option.of(Kind.NOP),
               Option.of(Kind.WINDOW_SCALE, b"\x07"))

short = st.integers(0, 0xFFFF)
long = st.integers(0, 0xFFFF_FFFF)
octet = st.integers(0, 255)


def addresses(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


flows = st.sampled_from((4, 16)).flatmap(lambda size: st.builds(
    Flow, local=addresses(size), local_port=short, target=addresses(size), target_port=short))
option_lists = st.binary(max_size=10).map(lambda octets: parse_options(octets * 4))
segments = st.builds(
    Segment, flags=st.integers(0, 0x1FF), seq=long, ack=long, window=short, urgent=short, options=option_lists,
    payload=st.binary(max_size=64), source_port=short, destination_port=short, reserved=st.integers(0, 7), ttl=octet,
    traffic_class=octet)


def packet_of(octets: bytes) -> Packet:
    packet = dissect(octets)
    assert packet is not None
    return packet


def through(segment: Segment, flow: Flow, **known: Any) -> Segment:
    received = decode(packet_of(encode(segment, flow)), **known)
    assert received is not None
    return received


@given(segments, flows)
def test_what_is_encoded_is_decoded(segment: Segment, flow: Flow) -> None:
    received = through(segment, flow)
    assert received.verdict is Checksum.GOOD
    assert received.options is not None
    assert segment.options is not None
    octets = encode_options(segment.options)
    assert encode_options(received.options) == octets + bytes(-len(octets) % 4)
    again = dataclasses.replace(segment, options=received.options, offset=received.offset, checksum=received.checksum)
    assert again == received


@given(segments, flows)
def test_decoded_segments_encode_to_the_same_octets(segment: Segment, flow: Flow) -> None:
    raw = encode(segment, flow)
    received = decode(packet_of(raw))
    assert received is not None
    assert received.raw == raw
    assert encode(received, flow) == raw


@given(segments, flows)
def test_checksum_is_the_one_that_scapy_computes(segment: Segment, flow: Flow) -> None:
    from scapy.layers.inet import IP, in4_chksum
    from scapy.layers.inet6 import IPv6, in6_chksum
    packet = packet_of(encode(dataclasses.replace(segment, checksum=0), flow))
    header = (IPv6 if flow.ipv6 else IP)(packet.raw)
    theirs = (in6_chksum if flow.ipv6 else in4_chksum)(TCP, header, packet.payload)
    assert through(segment, flow).checksum == theirs


@FLOWS
def test_scapy_reads_what_we_encode(flow: Flow) -> None:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    segment = Segment(flags=SYN, seq=7, window=1000, options=SYN_OPTIONS, payload=b"hi", reserved=0)
    packet = (IPv6 if flow.ipv6 else IP)(encode(segment, flow))
    tcp = packet["TCP"]
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.flags, tcp.window) == (40000, 80, 7, 0, "S", 1000)
    assert dict(tcp.options)["MSS"] == 1460
    assert bytes(tcp.payload) == b"hi"
    del tcp.chksum
    if not flow.ipv6:
        assert (packet.id, packet.flags, packet.ttl) == (0, "DF", 64)
        del packet.chksum
    assert bytes(packet) == encode(segment, flow)


@FLOWS
def test_fields_left_out_get_their_defaults(flow: Flow) -> None:
    received = through(Segment(), flow)
    assert received == Segment(flags=0, seq=0, ack=0, window=65535, urgent=0, options=(), payload=b"",
                               source_port=40000, destination_port=80, offset=5, reserved=0,
                               checksum=received.checksum, ttl=64, traffic_class=0)
    assert (received.stamp_ns, received.outgoing, received.verdict) == (None, False, Checksum.GOOD)


def test_ports_of_the_segment_come_before_those_of_the_flow() -> None:
    received = through(Segment(source_port=1, destination_port=0), V4)
    assert (received.source_port, received.destination_port) == (1, 0)


@FLOWS
def test_a_lying_offset_and_checksum_go_out_as_given(flow: Flow) -> None:
    received = through(Segment(offset=9, checksum=0x1234, payload=b"abc"), flow)
    assert (received.offset, received.checksum, received.verdict) == (9, 0x1234, Checksum.BAD)
    assert (received.options, received.payload) == ((Option(ord("a"), b"c", ord("b")),), b"")


@pytest.mark.parametrize("offset", range(5))
def test_an_offset_below_five_leaves_no_options(offset: int) -> None:
    received = through(Segment(offset=offset, payload=b"data"), V4)
    assert (received.offset, received.options, received.payload) == (offset, (), b"data")


def test_an_offset_beyond_the_segment_takes_what_is_there() -> None:
    received = through(Segment(offset=15, options=(MSS,)), V6)
    assert (received.offset, received.options, received.payload) == (15, (MSS,), b"")


def test_reserved_bits_and_ae_lie_side_by_side() -> None:
    octets = encode(Segment(flags=AE | SYN, reserved=0b101), V4)
    assert octets[32:34] == bytes((0x5B, 0x02))
    received = through(Segment(flags=AE | SYN, reserved=0b101), V4)
    assert (received.flags, received.reserved) == (AE | SYN, 0b101)


def test_arrival_is_noted() -> None:
    received = through(Segment(flags=ACK), V4, stamp_ns=5, outgoing=True, offloaded=True)
    assert (received.stamp_ns, received.outgoing, received.verdict) == (5, True, Checksum.OFFLOADED)


def test_a_flipped_bit_spoils_the_checksum() -> None:
    octets = bytearray(encode(Segment(flags=PSH | ACK, payload=b"x" * 33), V6))
    octets[-1] ^= 1
    received = decode(packet_of(bytes(octets)))
    assert received is not None
    assert received.verdict is Checksum.BAD


def test_the_ipv4_header_checksum_is_right() -> None:
    packet = packet_of(encode(Segment(ttl=3, traffic_class=0xB8), V4))
    assert header_is_good(packet)
    assert (packet.ttl, packet.traffic_class) == (3, 0xB8)


def test_no_segment_in_other_packets() -> None:
    assert decode(packet_of(ip_packet(V4.local, V4.target, UDP, bytes(20)))) is None
    assert decode(packet_of(ip_packet(V4.local, V4.target, TCP, bytes(19)))) is None
    piece = dataclasses.replace(packet_of(encode(Segment(), V4)), fragment=True)
    assert decode(piece) is None


@pytest.mark.parametrize(("segment", "complaint"), [
    (Segment(flags=0x200), "flags 512 is out of range; allowed 0..511"),
    (Segment(seq=1 << 32), "seq 4294967296 is out of range; allowed 0..4294967295"),
    (Segment(ack=-1), "ack -1 is out of range; allowed 0..4294967295"),
    (Segment(window=65536), "window 65536 is out of range; allowed 0..65535"),
    (Segment(urgent=-2), "urgent -2 is out of range; allowed 0..65535"),
    (Segment(source_port=70000), "source_port 70000 is out of range; allowed 0..65535"),
    (Segment(destination_port=-1), "destination_port -1 is out of range; allowed 0..65535"),
    (Segment(offset=16), "offset 16 is out of range; allowed 0..15"),
    (Segment(reserved=8), "reserved 8 is out of range; allowed 0..7"),
    (Segment(checksum=65536), "checksum 65536 is out of range; allowed 0..65535"),
    (Segment(ttl=256), "ttl 256 is out of range; allowed 0..255"),
    (Segment(traffic_class=-1), "traffic_class -1 is out of range; allowed 0..255"),
    (Segment(options=(MSS,) * 11), "options take 44 octets; allowed 0..40"),
    (Segment(options=(Option(0, bytes(40)),), offset=5), "options take 41 octets; allowed 0..40"),
    (Segment(options=(Option(256),)), "option kind 256 is out of range; allowed 0..255"),
    (Segment(options=(Option(3, b"", 256),)), "option kind 3: length 256 is out of range; allowed 0..255"),
    (Segment(payload=bytes(65536)), "IPv4 payload of 65556 octets is too long; allowed 0..65515"),
    (Segment(window=1.5),  # type: ignore[arg-type]
     "segment fields (40000, 80, 0, 0, 5, 0, 0, 1.5, 0, 0) are not all whole numbers"),
])
def test_what_does_not_fit_is_named(segment: Segment, complaint: str) -> None:
    with pytest.raises(ScriptError) as caught:
        encode(segment, V4)
    assert str(caught.value) == complaint


def test_addresses_of_two_families_are_refused() -> None:
    with pytest.raises(ScriptError, match="addresses of 4 and 16 octets; allowed 4 and 4, or 16 and 16"):
        encode(Segment(), dataclasses.replace(V4, target=V6.target))


@given(st.binary(max_size=64))
def test_options_keep_every_octet(octets: bytes) -> None:
    options = parse_options(octets)
    assert b"".join(option.encode() for option in options) == octets
    assert encode_options(options) == octets


@given(st.lists(st.builds(Option.of, st.integers(2, 255), st.binary(max_size=12))))
def test_well_formed_options_are_read_one_by_one(options: list[Option]) -> None:
    assert parse_options(encode_options(options)) == tuple(options)
    assert not any(option.malformed for option in options)


@pytest.mark.parametrize(("octets", "options"), [
    ("", ()),
    ("01", (Option(1),)),
    ("00", (Option(0),)),
    ("000000", (Option(0), Option(0), Option(0))),
    ("0101000204", (Option(1), Option(1), Option(0, b"\x02\x04"))),
    ("0000ff00", (Option(0, b"\x00\xff\x00"),)),
    ("02", (Option(2),)),
    ("0200", (Option(2, b"", 0),)),
    ("020105b4", (Option(2, b"\x05\xb4", 1),)),
    ("02000101", (Option(2, b"\x01\x01", 0),)),
    ("020605b4", (Option(2, b"\x05\xb4", 6),)),
    ("0202020405b4", (Option(2, b"", 2), MSS)),
    ("fe04aabb01fd", (Option(254, b"\xaa\xbb", 4), Option(1), Option(253))),
    ("03ff07", (Option(3, b"\x07", 255),)),
])
def test_malformed_samples(octets: str, options: tuple[Option, ...]) -> None:
    assert parse_options(bytes.fromhex(octets)) == options
    assert encode_options(options) == bytes.fromhex(octets)


@pytest.mark.parametrize("octets", ["02", "0200", "020105b4", "020605b4"])
def test_a_length_that_lies_is_malformed(octets: str) -> None:
    assert parse_options(bytes.fromhex(octets))[-1].malformed


@given(st.binary(max_size=120), st.booleans())
def test_arbitrary_transport_octets_never_raise(octets: bytes, ipv6: bool) -> None:
    flow = V6 if ipv6 else V4
    segment = decode(packet_of(ip_packet(flow.local, flow.target, TCP, octets)))
    assert (segment is None) == (len(octets) < 20)
    if segment is not None:
        assert segment.options is not None
        assert segment.payload is not None
        kept = struct.pack(">HHIIHHHH", *(getattr(segment, name) for name in ("source_port", "destination_port")),
                           segment.seq, segment.ack, segment.offset << 12 | segment.reserved << 9 | segment.flags,
                           segment.window, segment.checksum, segment.urgent)
        assert kept + encode_options(segment.options) + segment.payload == octets


@FLOWS
def test_what_a_decoded_segment_tells(flow: Flow) -> None:
    received = through(Segment(flags=SYN | FIN, payload=b"abc", options=SYN_OPTIONS), flow)
    assert received.length == 5
    assert (received.has(SYN | FIN), received.has(SYN | ACK)) == (True, False)
    assert received.option(Kind.MSS) == MSS
    assert received.option(Kind.SACK) is None
    assert MSS.value == 1460
    assert flow.ipv6 == (flow is V6)
