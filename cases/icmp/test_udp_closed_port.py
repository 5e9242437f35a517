# SPDX-License-Identifier: GPL-2.0-or-later
"""B-27: UDP on a closed port draws ICMP port unreachable (RFC 1122, 3.2.2.1; RFC 4443, 3.1)."""

from __future__ import annotations

import pytest

from harness.authoring import covers, icmp_error, ip, needs, octets

PORT_UNREACHABLE = {"ipv4": (3, 3), "ipv6": (1, 4)}
LEAST_QUOTE = {"ipv4": 28, "ipv6": 48}
"""The IP header and 8 octets, which no error leaves out or changes."""


def datagram(case, payload=b"anybody there?", **fields):
    """A UDP datagram from a fresh port to a fresh port, on which nobody listens."""
    values = {"source": case.addresses.local, "destination": case.addresses.target, "source_port": case.port(),
              "destination_port": case.port(), "payload": payload} | fields
    return ip.encode_udp(**values)


def refused(case, family):
    """A closed port has to be answered here and now; else silence on something else says nothing."""
    packet = datagram(case)
    with case.preamble():
        case.send_packet(packet, "UDP, 14 octets")
        case.expect_icmp(*PORT_UNREACHABLE[family], quoting=packet[:LEAST_QUOTE[family]])


@needs("udp")
@covers("RFC4443-DU-PORT", behaviour="B-27")
@pytest.mark.parametrize("payload", [pytest.param(b"", id="empty"), pytest.param(b"anybody there?", id="short"),
                                     pytest.param(octets("injector", 0, 1400), id="long")])
def test_datagram_to_a_closed_port(case, family, payload):
    """UDP has no reset, so ICMP says it, and quotes at least the IP header and 8 octets of what it is about."""
    packet = datagram(case, payload)
    case.send_packet(packet, f"UDP, {len(payload)} octets")
    case.sentinel()
    case.expect_icmp(*PORT_UNREACHABLE[family], quoting=packet[:LEAST_QUOTE[family]])


@needs("udp")
@covers("RFC4443-DU-PORT", behaviour="B-27")
def test_every_datagram_is_answered(case, family):
    """Three datagrams to three closed ports: each error quotes its own."""
    for _ in range(3):
        packet = datagram(case)
        case.send_packet(packet, "UDP, 14 octets")
        case.sentinel()
        case.expect_icmp(*PORT_UNREACHABLE[family], quoting=packet[:LEAST_QUOTE[family]])


@covers("RFC9293-U-RST-CLOSED-NOACK", "RFC4443-DU-PORT", behaviour="B-27")
def test_tcp_answers_with_a_reset_and_no_icmp(peer):
    """TCP says itself that a port is closed: a reset, and no ICMP beside it."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")
    peer.expect_silence()


@needs("udp")
@covers("RFC1122-ICMP-NOERR", "RFC4443-NOERR", behaviour="B-27")
def test_multicast_is_not_answered(case, family):
    """What was sent to all hosts draws no error, or one datagram would draw a storm."""
    refused(case, family)
    everybody = {"ipv4": bytes((224, 0, 0, 1)), "ipv6": b"\xff\x02" + bytes(13) + b"\1"}
    case.send_packet(datagram(case, destination=everybody[family]), "UDP to all hosts")
    case.peer().expect_silence()
    case.expect_no_icmp()


@needs("udp")
@covers("RFC1122-ICMP-NOERR", "RFC4443-NOERR", behaviour="B-27")
def test_error_is_not_answered(case, family):
    """An ICMP error about a datagram that the target never sent draws no error in its turn."""
    refused(case, family)
    addresses = case.addresses
    never_sent = datagram(case, source=addresses.target, destination=addresses.local)
    kind, code = PORT_UNREACHABLE[family]
    case.send_packet(icmp_error(never_sent, type=kind, code=code), f"ICMP type {kind} code {code}")
    case.peer().expect_silence()
