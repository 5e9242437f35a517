# SPDX-License-Identifier: GPL-2.0-or-later
"""B-28: what only the IPv6 fragment header can say, and what IPv6 answers by ICMP (RFC 8200, 4.5)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.authoring import covers, established, families, forge, needs
from harness.wire import ip

pytestmark = [families("ipv6"), needs("ip_reassembly")]

DATA = "P. 1:1001(1000) ack 1"
PAYLOAD_LENGTH, FRAGMENT_OFFSET = 4, 42
"""Where these fields stand in a fragment, counted from its IPv6 header."""
BEYOND = 65528
"""The last place at which a fragment may begin."""
CHECKSUM = 16
"""Where the checksum stands in a TCP header."""
LEAST_QUOTE = 48
"""The IPv6 header and that of the fragment, which no error leaves out."""


def summed(packet, octets):
    """The octets of a TCP segment, of any length, with the checksum that is theirs."""
    blank = octets[:CHECKSUM] + bytes(2) + octets[CHECKSUM + 2:]
    start = ip.pseudo_header_sum(packet.source, packet.destination, packet.protocol, len(octets))
    return octets[:CHECKSUM] + ip.internet_checksum(blank, start).to_bytes(2, "big") + octets[CHECKSUM + 2:]


def advise_parameter_problem(case, pointer, fragment, rule):
    """ICMPv6 parameter problem that points at this octet of the fragment, which it quotes.

    It should come; without it the case goes on.
    """
    message = case.advise_icmp(4, 0, quoting=fragment[:LEAST_QUOTE], rule=rule)
    if message is not None and (got := int.from_bytes(message.rest, "big")) != pointer:
        case.advise(expected=f"pointer {pointer}", got=f"pointer {got}", rule=rule)


def expect_alive(peer, connection):
    """Good fragments still make a segment."""
    forge.send_cut(peer, DATA, 512)
    peer.expect(". 1:1(0) ack 1001", rule="RFC8200-FRAG-OK")
    connection.expect_data(1000, rule="RFC8200-FRAG-OK")


@covers("RFC8200-FRAG-OK", behaviour="B-28")
def test_atomic_fragment_is_a_whole_packet(peer, listener):
    """A fragment header that says *first and last* is stepped over: the SYN in it is answered."""
    segment, whole = forge.datagram(peer, "S 0:0(0) win 65535 <mss 1460>")
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(0)]))
    peer.expect("S. 0:0(0) ack 1 <...>")


@covers("RFC8200-FRAG-OK", behaviour="B-28")
def test_atomic_fragments_are_apart_from_others(peer, listener):
    """Two of them with one identification are two packets, also while fragments with the same one wait for more."""
    connection = established(peer, listener)
    first, whole = forge.datagram(peer, "P. 1:101(100) ack 1")
    second, octets = peer.packet("P. 101:201(100) ack 1")
    forge.send_pieces(peer, [whole.piece(0, 64)])
    peer.sent(first, forge.send_pieces(peer, [whole.piece(0)]))
    peer.expect(". 1:1(0) ack 101")
    peer.sent(second, forge.send_pieces(peer, [forge.Datagram.of(octets, whole.identification).piece(0)]))
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(200)


@covers("RFC8200-FRAG-LEN", "RFC8200-FRAG-LEN-ICMP", "RFC8200-FRAG-OK", behaviour="B-28")
def test_fragment_that_is_no_multiple_of_eight(peer, listener):
    """Another must follow, and could not say where: dropped, and a good one may take its place."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    odd = whole.piece(0, 509)
    forge.send_pieces(peer, [odd])
    advise_parameter_problem(peer.case, PAYLOAD_LENGTH, odd, rule="RFC8200-FRAG-LEN-ICMP")
    forge.send_pieces(peer, [whole.piece(512)])
    peer.expect_silence()
    connection.expect_no_data()
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(0, 512)]))
    peer.expect(". 1:1(0) ack 1001", rule="RFC8200-FRAG-OK")
    connection.expect_data(1000, rule="RFC8200-FRAG-OK")


@covers("RFC8200-FRAG-BIG", "RFC8200-FRAG-BIG-ICMP", "RFC8200-FRAG-OK", behaviour="B-28")
def test_overlong_total(peer, listener):
    """A fragment that reaches past 65535 octets is dropped, and ICMP should point at its offset; ping of death.

    The checksum is that of all the octets, so whoever puts them together hands them to TCP.
    """
    connection = established(peer, listener)
    _, whole = forge.datagram(peer, DATA)
    octets = summed(whole.packet, whole.packet.payload + bytes(BEYOND + 1000 - len(whole.packet.payload)))
    cuts = [*range(0, BEYOND, 1016), BEYOND]
    forge.send_pieces(peer, [whole.piece(at, data=octets[at:end], more=True) for at, end in pairwise(cuts)])
    peer.expect_silence()
    beyond = whole.piece(BEYOND, data=octets[BEYOND:], more=False)
    forge.send_pieces(peer, [beyond])
    advise_parameter_problem(peer.case, FRAGMENT_OFFSET, beyond, rule="RFC8200-FRAG-BIG-ICMP")
    peer.expect_silence()
    connection.expect_no_data()
    expect_alive(peer, connection)


@covers("RFC5722-RX", "RFC8200-FRAG-OVL", "RFC8200-FRAG-OK", behaviour="B-28")
def test_forged_octets_do_not_get_in(peer, listener):
    """A forged piece comes before the good one of its place, with the same checksum: neither makes it to TCP."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    good = whole.packet.payload[256:512]
    forged = whole.piece(256, data=good[2:] + good[:2])
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(0, 256), forged, whole.piece(256, 512), whole.piece(512)]))
    peer.expect_silence()
    connection.expect_no_data()
    expect_alive(peer, connection)


@covers("RFC8200-FRAG-HDR", "RFC8200-FRAG-OK", "RFC1858-TINY", behaviour="B-28")
@pytest.mark.parametrize("octets", [pytest.param(8, id="ports-only"), pytest.param(0, id="empty")])
def test_tiny_first_fragment(peer, listener, octets):
    """The first fragment ends inside the TCP header: dropped, and ICMP says that the header chain is incomplete."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    tiny = whole.piece(0, octets, more=True)
    forge.send_pieces(peer, [tiny])
    message = peer.case.expect_icmp(4, 3, quoting=tiny[:LEAST_QUOTE])
    if got := int.from_bytes(message.rest, "big"):
        raise peer.case.mismatch(expected="pointer 0", got=f"pointer {got}", fields=("pointer",))
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(octets or 8)]))
    peer.expect_silence(rule="RFC8200-FRAG-OK")
    connection.expect_no_data(rule="RFC8200-FRAG-OK")
    expect_alive(peer, connection)
