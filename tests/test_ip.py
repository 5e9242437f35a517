# SPDX-License-Identifier: GPL-2.0-or-later
"""IP packets, UDP and ICMP: taken apart, put together, agreed with scapy, never upset by garbage."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from harness.wire import ip
from harness.wire.errors import ScriptError
from harness.wire.icmp import (
    IcmpMessage,
    IcmpType,
    Icmpv6Type,
    decode_icmp,
    encode_icmp,
    icmp_echo,
    icmp_error,
)

ONE4, TWO4 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
ONE6, TWO6 = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("20010db8" + "00" * 11 + "02")
PAIRS = pytest.mark.parametrize(("source", "destination"), [(ONE4, TWO4), (ONE6, TWO6)], ids=["ipv4", "ipv6"])
V6 = {"src": "2001:db8::1", "dst": "2001:db8::2"}
V4 = {"src": "192.0.2.1", "dst": "192.0.2.2"}


def packet_of(octets: bytes) -> ip.Packet:
    packet = ip.dissect(octets)
    assert packet is not None
    return packet


def message_of(octets: bytes) -> IcmpMessage:
    message = decode_icmp(packet_of(octets), stamp_ns=7)
    assert message is not None
    return message


@given(st.binary(max_size=200))
@example(b"\x45" + bytes(19))
@example(b"\x60" + bytes(39))
def test_arbitrary_octets_never_raise(octets: bytes) -> None:
    for read in (ip.dissect, ip.dissect_quote):
        packet = read(octets)
        assert packet is None or octets.startswith(packet.raw)


@given(st.sampled_from(["4500", "4600", "4f", "60"]), st.binary(min_size=20, max_size=120), st.integers(0, 140))
def test_headers_with_any_rest_never_raise(head: str, octets: bytes, length: int) -> None:
    ipv6 = head == "60"
    whole = bytearray(bytes.fromhex(head) + octets + bytes(40))
    whole[4 if ipv6 else 2:6 if ipv6 else 4] = length.to_bytes(2, "big")
    if ipv6:
        whole[6] %= 64
    packet = ip.dissect(bytes(whole))
    if packet is not None:
        assert packet.raw.endswith(packet.payload)
        assert len(packet.raw) == length + 40 * ipv6


@PAIRS
@given(payload=st.binary(max_size=80), protocol=st.integers(61, 255), ttl=st.integers(0, 255),
       traffic_class=st.integers(0, 255), padding=st.binary(max_size=20))
def test_packets_come_back_without_the_padding(source: bytes, destination: bytes, payload: bytes, protocol: int,
                                               ttl: int, traffic_class: int, padding: bytes) -> None:
    raw = ip.ip_packet(source, destination, protocol, payload, ttl, traffic_class)
    packet = packet_of(raw + padding)
    assert packet == ip.Packet(source=source, destination=destination, protocol=protocol, ttl=ttl,
                               traffic_class=traffic_class, fragment=False, payload=payload, raw=raw)
    assert packet.ipv6 == (len(source) == 16)
    assert ip.header_is_good(packet)
    assert ip.dissect(raw[:-1]) is None


@given(st.binary(max_size=101))
@example(b"")
@example(bytes(8))
@example(b"\xff\xff")
def test_checksum_is_the_one_of_scapy(octets: bytes) -> None:
    ours = ip.internet_checksum(octets)
    assert ours == scapy_checksum(octets)
    if len(octets) % 2 == 0 and any(octets):
        assert ip.internet_checksum(octets + ours.to_bytes(2, "big")) == 0


def test_ipv4_options_are_stepped_over() -> None:
    packet = packet_of(bytes(IP(**V4, options=[IPOption_Router_Alert()], proto=17) / Raw(b"abc")))
    assert (packet.protocol, packet.payload) == (17, b"abc")
    assert ip.header_is_good(packet)
    assert not ip.header_is_good(dataclasses.replace(packet, raw=b"\x46\x01" + packet.raw[2:]))


@pytest.mark.parametrize(("flags", "offset", "piece"), [
    ("", 0, False), ("DF", 0, False), ("MF", 0, True), ("", 3, True)])
def test_pieces_of_ipv4(flags: str, offset: int, piece: bool) -> None:
    assert packet_of(bytes(IP(**V4, flags=flags, frag=offset, proto=6) / Raw(bytes(24)))).fragment is piece


def test_ipv6_extension_headers_are_walked() -> None:
    chain = IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=[]) / IPv6ExtHdrDestOpt(options=[])
    packet = packet_of(bytes(chain / UDP(sport=1, dport=2) / Raw(b"abc")))
    assert (packet.protocol, packet.payload[8:], packet.fragment) == (17, b"abc", False)


@pytest.mark.parametrize(("more", "offset", "piece"), [(0, 0, False), (1, 0, True), (0, 5, True)])
def test_pieces_of_ipv6(more: int, offset: int, piece: bool) -> None:
    chain = IPv6(**V6) / IPv6ExtHdrFragment(m=more, offset=offset, nh=60) / IPv6ExtHdrDestOpt(nh=6) / Raw(bytes(20))
    packet = packet_of(bytes(chain))
    assert packet.fragment is piece
    assert (packet.protocol, len(packet.payload)) == ((60, 28) if piece else (6, 20))


@pytest.mark.parametrize("protocol", [0, 43, 44, 60])
@pytest.mark.parametrize("rest", ["", "06", "0601000000000000", "06000000"])
def test_ipv6_extension_headers_that_are_cut_short(protocol: int, rest: str) -> None:
    octets = ip.ip_packet(ONE6, TWO6, protocol, bytes.fromhex(rest))
    packet = ip.dissect(octets + bytes(64))
    # A fragment header's second octet is no length.
    assert (packet is not None) == (protocol == 44 and len(rest) == 16)


@pytest.mark.parametrize("octets", [
    "", "45", "44000014" + "00" * 16, "45000013" + "00" * 16, "4500ffff" + "00" * 16, "46000014" + "00" * 16,
    "60" + "00" * 38, "5500001400" + "00" * 15])
def test_no_packet(octets: str) -> None:
    assert ip.dissect(bytes.fromhex(octets)) is None


def test_a_quote_may_be_cut_short() -> None:
    for source, destination in ((ONE4, TWO4), (ONE6, TWO6)):
        raw = ip.ip_packet(source, destination, 6, bytes(60))
        assert ip.dissect(raw[:-30]) is None
        packet = ip.dissect_quote(raw[:-30])
        assert packet is not None
        assert (packet.protocol, packet.payload, packet.destination) == (6, bytes(30), destination)


@PAIRS
@given(payload=st.binary(max_size=50), ports=st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)))
def test_udp_as_scapy_builds_it(source: bytes, destination: bytes, payload: bytes, ports: tuple[int, int]) -> None:
    ours = ip.encode_udp(source=source, destination=destination, source_port=ports[0], destination_port=ports[1],
                         payload=payload)
    head = IPv6(**V6, hlim=64) if len(source) == 16 else IP(**V4, id=0, flags="DF")
    assert ours == bytes(head / UDP(sport=ports[0], dport=ports[1]) / Raw(payload))


def test_udp_never_sends_a_computed_zero() -> None:
    plain = ip.encode_udp(source=ONE4, destination=TWO4, source_port=0, destination_port=0, payload=bytes(2))
    rest = packet_of(plain).payload[6:8]
    octets = ip.encode_udp(source=ONE4, destination=TWO4, source_port=0, destination_port=0, payload=rest)
    assert packet_of(octets).payload[6:8] == b"\xff\xff"


def test_udp_checksum_as_given() -> None:
    octets = ip.encode_udp(source=ONE4, destination=TWO4, source_port=1, destination_port=2, checksum=0)
    assert packet_of(octets).payload == bytes((0, 1, 0, 2, 0, 8, 0, 0))


@pytest.mark.parametrize(("wrong", "complaint"), [
    ({"source_port": -1}, "source_port -1 is out of range; allowed 0..65535"),
    ({"destination_port": 65536}, "destination_port 65536 is out of range; allowed 0..65535"),
    ({"checksum": 65536}, "checksum 65536 is out of range; allowed 0..65535"),
    ({"ttl": -1}, "ttl -1 is out of range; allowed 0..255"),
    ({"payload": bytes(65530)}, "IPv4 payload of 65538 octets is too long; allowed 0..65515"),
    ({"source": ONE6, "destination": TWO6, "payload": bytes(65530)},
     "IPv6 payload of 65538 octets is too long; allowed 0..65535"),
])
def test_udp_that_does_not_fit(wrong: dict[str, object], complaint: str) -> None:
    fields: dict[str, object] = {"source": ONE4, "destination": TWO4, "source_port": 1, "destination_port": 2}
    with pytest.raises(ScriptError) as caught:
        ip.encode_udp(**{**fields, **wrong})  # type: ignore[arg-type]
    assert str(caught.value) == complaint


def test_a_protocol_that_does_not_fit() -> None:
    with pytest.raises(ScriptError, match=r"protocol 256 is out of range; allowed 0\.\.255"):
        ip.ip_packet(ONE4, TWO4, 256, b"")


@PAIRS
@given(type=st.integers(0, 255), code=st.integers(0, 255), rest=st.binary(min_size=4, max_size=4),
       body=st.binary(max_size=50))
def test_icmp_round_trip(source: bytes, destination: bytes, type: int, code: int, rest: bytes, body: bytes) -> None:
    octets = encode_icmp(source=source, destination=destination, type=type, code=code, rest=rest, body=body)
    assert message_of(octets) == IcmpMessage(
        type=type, code=code, rest=rest, body=body, ipv6=len(source) == 16, good_checksum=True, stamp_ns=7,
        source=source, destination=destination)


def test_echo_as_scapy_builds_it() -> None:
    assert icmp_echo(source=ONE4, destination=TWO4, identifier=3, sequence=4, body=b"hello") == bytes(
        IP(**V4, id=0, flags="DF") / ICMP(id=3, seq=4) / Raw(b"hello"))
    assert icmp_echo(source=ONE6, destination=TWO6, identifier=3, sequence=4, body=b"hello") == bytes(
        IPv6(**V6) / ICMPv6EchoRequest(id=3, seq=4, data=b"hello"))


@PAIRS
def test_echo_reply(source: bytes, destination: bytes) -> None:
    message = message_of(icmp_echo(source=source, destination=destination, reply=True))
    assert message.type == (Icmpv6Type.ECHO_REPLY if message.ipv6 else IcmpType.ECHO_REPLY)
    assert (message.error, message.quoted) == (False, None)


@PAIRS
def test_errors_quote_the_packet_and_go_to_its_sender(source: bytes, destination: bytes) -> None:
    offending = ip.ip_packet(source, destination, 6, bytes(range(24)))
    kind = Icmpv6Type.TOO_BIG if len(source) == 16 else IcmpType.UNREACHABLE
    message = message_of(icmp_error(offending, type=kind, code=4, mtu=1300))
    assert (message.source, message.destination, message.body) == (destination, source, offending)
    assert (message.error, message.mtu, message.quoted) == (True, 1300, packet_of(offending))


@PAIRS
def test_errors_are_cut_to_what_may_be_sent(source: bytes, destination: bytes) -> None:
    offending = ip.ip_packet(source, destination, 6, bytes(1400))
    octets = icmp_error(offending, type=3, code=0, source=destination, destination=source)
    assert len(octets) == (1280 if len(source) == 16 else 576)
    quoted = message_of(octets).quoted
    assert quoted is not None
    assert (quoted.source, quoted.protocol) == (source, 6)
    few = message_of(icmp_error(offending, type=3, code=0, rest=b"\0\0\1\2", quote=28))
    assert (len(few.body), few.rest) == (28, b"\0\0\1\2")


def test_a_wrong_icmp_checksum_is_seen() -> None:
    for source, destination in ((ONE4, TWO4), (ONE6, TWO6)):
        octets = encode_icmp(source=source, destination=destination, type=8, code=0, checksum=1)
        assert not message_of(octets).good_checksum


def test_no_icmp_message() -> None:
    echo = packet_of(icmp_echo(source=ONE4, destination=TWO4))
    assert decode_icmp(echo, None) is not None
    assert decode_icmp(dataclasses.replace(echo, fragment=True)) is None
    assert decode_icmp(dataclasses.replace(echo, payload=bytes(7))) is None
    assert decode_icmp(dataclasses.replace(echo, protocol=ip.ICMPV6)) is None
    assert decode_icmp(packet_of(ip.ip_packet(ONE6, TWO6, ip.ICMP, bytes(8)))) is None


@pytest.mark.parametrize(("wrong", "complaint"), [
    ({"type": 256}, "type 256 is out of range; allowed 0..255"),
    ({"code": -1}, "code -1 is out of range; allowed 0..255"),
    ({"rest": b""}, "rest of an ICMP header has 0 octets; allowed 4"),
    ({"checksum": -1}, "checksum -1 is out of range; allowed 0..65535"),
    ({"ttl": 300}, "ttl 300 is out of range; allowed 0..255"),
])
def test_icmp_that_does_not_fit(wrong: dict[str, object], complaint: str) -> None:
    fields: dict[str, object] = {"source": ONE4, "destination": TWO4, "type": 8, "code": 0}
    with pytest.raises(ScriptError) as caught:
        encode_icmp(**{**fields, **wrong})  # type: ignore[arg-type]
    assert str(caught.value) == complaint


def test_icmp_errors_that_cannot_be_built() -> None:
    with pytest.raises(ScriptError, match="must quote an IP packet, not nothing"):
        icmp_error(b"", type=3, code=1)
    with pytest.raises(ScriptError, match="must quote an IP packet, not 6162"):
        icmp_error(b"ab", type=3, code=1)
    with pytest.raises(ScriptError, match=r"mtu 65536 is out of range; allowed 0\.\.65535"):
        icmp_error(ip.ip_packet(ONE4, TWO4, 6, b""), type=3, code=4, mtu=65536)
    with pytest.raises(ScriptError, match="identifier 65536 is out of range"):
        icmp_echo(source=ONE4, destination=TWO4, identifier=65536)
    with pytest.raises(ScriptError, match="sequence -1 is out of range"):
        icmp_echo(source=ONE4, destination=TWO4, sequence=-1)
