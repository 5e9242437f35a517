# SPDX-License-Identifier: GPL-2.0-or-later
"""Address resolution: our addresses are answered for, those of others are not, and garbage is left alone."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from harness.wire.errors import ScriptError
from harness.wire.icmp import encode_icmp
from harness.wire.neighbour import (
    Neighbour,
    arp_request,
    neighbour_solicitation,
    reply_mac,
    solicit,
    solicited_node,
)

OUR_MAC, THEIR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
OURS4, THEIRS4, NOBODY4 = "192.0.2.1", "192.0.2.2", "192.0.2.99"
OURS6, THEIRS6, NOBODY6 = "2001:db8::1", "2001:db8::2", "2001:db8::99"
GROUP6 = "ff02::1:ff00:1"
TO_US = Ether(src=THEIR_MAC, dst=OUR_MAC)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


OURS = Neighbour(mac(OUR_MAC), [packed(OURS4), packed(OURS6)])


def solicitation(target: str = OURS6, *, source: str = THEIRS6, to: str = GROUP6, hop_limit: int = 255,
                 link_layer: bool = True, **fields: int) -> Packet:
    frame = (Ether(src=THEIR_MAC, dst="33:33:ff:00:00:01") / IPv6(src=source, dst=to, hlim=hop_limit)
             / ICMPv6ND_NS(tgt=target, **fields))
    return frame / ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC) if link_layer else frame


def test_an_arp_request_is_answered() -> None:
    answer = OURS.answer(bytes(Ether(src=THEIR_MAC, dst="ff:ff:ff:ff:ff:ff")
                               / ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS4, pdst=OURS4)))
    assert answer is not None
    frame = Ether(answer)
    assert (frame.src, frame.dst) == (OUR_MAC, THEIR_MAC)
    arp = frame[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, OUR_MAC, OURS4, THEIR_MAC, THEIRS4)
    assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 0x0800, 6, 4)


def test_an_arp_probe_is_answered() -> None:
    answer = OURS.answer(bytes(TO_US / ARP(op=1, hwsrc=THEIR_MAC, psrc="0.0.0.0", pdst=OURS4)))
    assert answer is not None
    assert Ether(answer)[ARP].pdst == "0.0.0.0"


@pytest.mark.parametrize("arp", [
    ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS4, pdst=NOBODY4),
    ARP(op=2, hwsrc=THEIR_MAC, psrc=THEIRS4, pdst=OURS4),
    ARP(op=1, hwsrc=THEIR_MAC, psrc=OURS4, pdst=OURS4),
    ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS4, pdst=OURS4, ptype=0x86DD),
], ids=["another's address", "reply", "announcement", "not IPv4"])
def test_arp_that_gets_no_answer(arp: Packet) -> None:
    assert OURS.answer(bytes(TO_US / arp)) is None


def test_our_own_request_come_back_gets_no_answer() -> None:
    request = arp_request(mac=mac(OUR_MAC), source=packed(THEIRS4), target=packed(OURS4))
    assert OURS.answer(request) is None
    assert Neighbour(mac(THEIR_MAC), [packed(OURS4)]).answer(request) is not None


@pytest.mark.parametrize(("to", "link_layer"), [(GROUP6, True), (OURS6, True), (OURS6, False), (GROUP6, False)])
def test_a_solicitation_is_answered(to: str, link_layer: bool) -> None:
    answer = OURS.answer(bytes(solicitation(to=to, link_layer=link_layer)))
    assert answer is not None
    frame = Ether(answer)
    assert (frame.src, frame.dst) == (OUR_MAC, THEIR_MAC)
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (OURS6, THEIRS6, 255)
    advertisement = frame[ICMPv6ND_NA]
    assert (advertisement.R, advertisement.S, advertisement.O, advertisement.tgt) == (0, 1, 1, OURS6)
    assert advertisement[ICMPv6NDOptDstLLAddr].lladdr == OUR_MAC
    checksum = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == checksum


def test_duplicate_address_detection_is_told_to_all() -> None:
    answer = OURS.answer(bytes(solicitation(source="::", link_layer=False)))
    assert answer is not None
    frame = Ether(answer)
    assert (frame.dst, frame[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (frame[ICMPv6ND_NA].S, frame[ICMPv6ND_NA].O) == (0, 1)


@pytest.mark.parametrize("frame", [
    solicitation(NOBODY6),
    solicitation("ff02::1"),
    solicitation(hop_limit=254),
    solicitation(code=1),
    solicitation(cksum=1),
    solicitation(source="::"),
    solicitation(source="::", to=OURS6, link_layer=False),
    solicitation(link_layer=False) / Raw(b"\x01"),
    solicitation(link_layer=False) / Raw(bytes(8)),
    solicitation(link_layer=False) / Raw(b"\x01\x02" + bytes(6)),
    TO_US / IPv6(src=THEIRS6, dst=OURS6, hlim=255) / ICMPv6ND_NA(tgt=OURS6),
    TO_US / IPv6(src=THEIRS6, dst=OURS6, hlim=255, nh=58) / Raw(b"\x87\0"),
    bytes(Ether(src=THEIR_MAC, dst=OUR_MAC, type=0x86DD)) + encode_icmp(
        source=packed(THEIRS6), destination=packed(OURS6), type=135, code=0, body=packed(OURS6)[:15], ttl=255),
    TO_US / IPv6(src=THEIRS6, dst=OURS6, hlim=255) / IPv6ExtHdrFragment(m=1) / ICMPv6ND_NS(tgt=OURS6),
    Ether(src=THEIR_MAC, dst=OUR_MAC, type=0x86DD) / IP(src=THEIRS4, dst=OURS4, ttl=255) / Raw(bytes(60)),
    TO_US / IP(src=THEIRS4, dst=OURS4) / Raw(bytes(30)),
], ids=["another's address", "multicast target", "hop limit", "code", "checksum", "probe with MAC", "unicast probe",
        "option cut in two", "option of length 0", "option beyond the end", "advertisement", "cut short", "no target",
        "fragment", "IPv4 inside", "IPv4"])
def test_frames_that_get_no_answer(frame: Packet | bytes) -> None:
    assert OURS.answer(bytes(frame)) is None


def test_other_options_are_passed_over() -> None:
    frame = solicitation(link_layer=False) / ICMPv6NDOptMTU(mtu=1500) / Raw(b"\x01\x02" + bytes(14))
    answer = OURS.answer(bytes(frame))
    assert answer is not None
    assert Ether(answer).dst == THEIR_MAC


@given(st.binary(max_size=120))
def test_garbage_never_raises(octets: bytes) -> None:
    assert OURS.answer(octets) is None
    assert reply_mac(octets, packed(OURS4)) is None


@given(st.sampled_from([0x0806, 0x86DD]), st.binary(max_size=100), st.integers(0, 99), st.integers(0, 255))
def test_spoilt_requests_never_raise(kind: int, tail: bytes, at: int, value: int) -> None:
    good = bytes(solicitation()) if kind == 0x86DD else bytes(
        TO_US / ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS4, pdst=OURS4))
    spoilt = bytearray(good)
    spoilt[at % len(spoilt)] = value
    for frame in (bytes(spoilt), good[:at], bytes(12) + kind.to_bytes(2, "big") + tail):
        OURS.answer(frame)
        reply_mac(frame, packed(OURS6))


def test_whole_networks_and_predicates_are_ours() -> None:
    flood = Neighbour(mac(OUR_MAC), networks=[ipaddress.ip_network("198.51.100.0/25"),
                                              ipaddress.ip_network("2001:db8:f::/48")])
    for address, ours in (("198.51.100.0", True), ("198.51.100.127", True), ("198.51.100.128", False),
                          ("192.0.2.1", False), ("2001:db8:f:1::9", True), ("2001:db8:e::1", False)):
        assert flood.owns(packed(address)) is ours
        request = solicit(mac=mac(THEIR_MAC), source=bytes(len(packed(address)) - 1) + b"\x09", target=packed(address))
        assert (flood.answer(request) is not None) is ours
    assert Neighbour(mac(OUR_MAC), lambda address: address[-1] == 7).owns(packed("192.0.2.7"))


def test_a_mac_address_has_six_octets() -> None:
    with pytest.raises(ScriptError, match=r"MAC address '02:00' has 2 octets; allowed 6"):
        Neighbour(b"\x02\0")


def test_arp_request_as_scapy_builds_it() -> None:
    assert arp_request(mac=mac(OUR_MAC), source=packed(OURS4), target=packed(THEIRS4)) == bytes(
        Ether(src=OUR_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=OUR_MAC, psrc=OURS4, pdst=THEIRS4,
                                                        hwdst="00:00:00:00:00:00"))


def test_solicitation_as_scapy_builds_it() -> None:
    assert neighbour_solicitation(mac=mac(OUR_MAC), source=packed(OURS6), target=packed(THEIRS6)) == bytes(
        Ether(src=OUR_MAC, dst="33:33:ff:00:00:02") / IPv6(src=OURS6, dst="ff02::1:ff00:2", hlim=255)
        / ICMPv6ND_NS(tgt=THEIRS6) / ICMPv6NDOptSrcLLAddr(lladdr=OUR_MAC))
    assert solicited_node(packed(OURS6)) == packed(GROUP6)


@pytest.mark.parametrize(("source", "target"), [(THEIRS4, OURS4), (THEIRS6, OURS6)], ids=["ipv4", "ipv6"])
def test_who_asks_learns_the_mac_address(source: str, target: str) -> None:
    request = solicit(mac=mac(THEIR_MAC), source=packed(source), target=packed(target))
    answer = OURS.answer(request)
    assert answer is not None
    assert reply_mac(answer, packed(target)) == mac(OUR_MAC)
    assert reply_mac(answer, packed(source)) is None
    assert reply_mac(request, packed(target)) is None


def test_an_advertisement_without_option_gives_the_sender() -> None:
    frame = (TO_US / IPv6(src=THEIRS6, dst=OURS6, hlim=255) / ICMPv6ND_NA(tgt=THEIRS6))
    assert reply_mac(bytes(frame), packed(THEIRS6)) == mac(THEIR_MAC)
