# SPDX-License-Identifier: GPL-2.0-or-later
"""B-28: fragments that overlap (teardrop and its kin): dropped whole, or in IPv4 put together in some way; the target
lives, and the stream is not spoilt (RFC 791, 3.2; RFC 5722; RFC 1858; RFC 3128).

IPv6 demands silence (RFC 5722). IPv4 leaves it open which copy counts, so there an acknowledgement is right too. After
each attempt the same data comes in good fragments: it has to be acknowledged, and to be what the application reads.
"""

from __future__ import annotations

import pytest

from harness.authoring import covers, established, forge, free, needs

pytestmark = needs("ip_reassembly")

DATA = "P. 1:1001(1000) ack 1"
OVERLAP = {"ipv4": "RFC791-FRAG-1", "ipv6": "RFC5722-RX"}

taken_or_not = free("drop", "late", why="RFC 791, 3.2 and RFC 8200, 4.5 leave it open whether what overlaps in IPv4, "
                                        "or is empty, is taken: the data may be acknowledged or not")


def attempt(peer, listener, family, pieces_of):
    """Send what `pieces_of` makes of a datagram with our first data; it comes to nothing or, in IPv4, to that data."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    peer.sent(segment, forge.send_pieces(peer, pieces_of(whole)))
    peer.expect_silence(allow=[". 1:1(0) ack 1001"] if family == "ipv4" else [], rule=OVERLAP[family])
    if family == "ipv6":
        connection.expect_no_data(rule=OVERLAP[family])  # the acknowledgement of what was taken may be delayed
    return connection


def expect_alive(peer, connection):
    """Good fragments still make a segment, and the application reads our octets and no others."""
    forge.send_cut(peer, DATA, 512)
    peer.expect(". 1:1(0) ack 1001")
    connection.expect_data(1000)
    connection.expect_no_data()


@taken_or_not
@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC791-FRAG-4", "RFC5722-RX", "RFC8200-FRAG-OVL", behaviour="B-28")
@pytest.mark.parametrize("places", [
    pytest.param([(0, 512), (256, 384), (512, None)], id="inside"),
    pytest.param([(0, 512), (504, None)], id="by-one-unit"),
    pytest.param([(512, None), (0, 520)], id="backward"),
    pytest.param([(256, 512), (0, 768), (768, None)], id="around"),
    pytest.param([(0, 512), (0, 256), (512, None)], id="shorter-first"),
    pytest.param([(0, 256), (0, 512), (512, None)], id="longer-first"),
    pytest.param([(512, None), (504, None), (0, 504)], id="two-last"),
])
def test_overlapping_fragments(peer, listener, family, places):
    """The fragments agree in every octet, and still overlap."""
    connection = attempt(peer, listener, family, lambda whole: whole.pieces(places))
    expect_alive(peer, connection)


@taken_or_not
@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC791-FRAG-4", "RFC5722-RX", "RFC8200-FRAG-OVL", behaviour="B-28")
@pytest.mark.parametrize("forged_first", [True, False], ids=["forged-first", "forged-last"])
def test_overlap_that_disagrees(peer, listener, family, forged_first):
    """A forged piece says other octets for a place that a good one fills: none of them reaches the application."""
    def pieces(whole):
        good, forged = whole.piece(256, 512), whole.piece(256, data=b"x" * 256)
        return [whole.piece(0, 256), *((forged, good) if forged_first else (good, forged)), whole.piece(512)]

    connection = attempt(peer, listener, family, pieces)
    expect_alive(peer, connection)


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC791-FRAG-4", "RFC5722-RX", "RFC8200-FRAG-OVL", behaviour="B-28")
def test_teardrop(peer, listener, family):
    """The last fragment ends inside the first: who subtracts one end from the other gets a negative length."""
    connection = attempt(peer, listener, family, lambda whole: [whole.piece(0, 64), whole.piece(24, 28, more=False)])
    expect_alive(peer, connection)


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC791-FRAG-4", "RFC5722-RX", behaviour="B-28")
def test_two_ends(peer, listener, family):
    """Two fragments claim to be the last, at different ends."""
    connection = attempt(peer, listener, family, lambda whole: [
        whole.piece(512), whole.piece(256, 504, more=False), whole.piece(0, 256), whole.piece(504, 512)])
    expect_alive(peer, connection)


@taken_or_not
@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC791-FRAG-4", "RFC5722-RX", behaviour="B-28")
@pytest.mark.parametrize("at", [512, 1024], ids=["in-the-middle", "behind-the-end"])
def test_empty_fragment(peer, listener, family, at):
    """A fragment of no octets, with others to come, neither fills a hole nor stands in the way of what follows."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    pieces = [whole.piece(at, data=b"", more=True), *whole.cut(512)]
    peer.sent(segment, forge.send_pieces(peer, pieces))
    peer.expect_silence(allow=[". 1:1(0) ack 1001"], rule=OVERLAP[family])
    expect_alive(peer, connection)


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC1858-OVERLAP", "RFC5722-RX", behaviour="B-28")
def test_flags_are_not_rewritten(peer, listener, family):
    """The first fragment shows a filter an ACK, the second makes a SYN of it: it opens nothing (RFC 1858, 4).

    IPv4 says nowhere which copy counts: who takes the later one gets a SYN of it, which is no more than noted.
    """
    _, shown = forge.datagram(peer, ". 0:0(0) ack 1 win 65535 <mss 1460>")
    _, meant = forge.datagram(peer, "S 0:0(0) win 65535 <mss 1460>")
    meant = forge.Datagram(packet=meant.packet, identification=shown.identification)
    forge.send_pieces(peer, [shown.piece(0, 24, more=True), meant.piece(8)])
    peer.expect_silence(allow=["R 1:1(0)", "S. 0:0(0) ack 1 <...>"] if family == "ipv4" else [], rule=OVERLAP[family])
    if peer.irs is not None:
        peer.case.advise(expected="no answer, or a reset", got="SYN,ACK", rule="RFC1858-OVERLAP")
    forge.send_cut(peer, "S 0:8(8) win 65535 <mss 1460>", 24)
    peer.expect_one_of(["S. 0:0(0) ack 1 <...>", "S. 0:0(0) ack 9 <...>"])


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC3128-OVERLAP2", "RFC5722-RX", behaviour="B-28")
def test_ports_are_not_rewritten(case, upper, family):
    """A complete first fragment names one port, a second first one of 8 octets another: nothing opens there.

    IPv6 answers so short a first fragment by itself, so there it is as long as the complete one. IPv4 says nowhere
    which copy counts, so there it is no more than noted if the second one does.
    """
    shown, hidden = upper.listen(), upper.listen()
    peer = case.peer(target_port=hidden.port)
    _, whole = forge.datagram(peer, "S 0:8(8) win 65535 <mss 1460>")
    first = whole.packet.payload[:24]
    forge.send_pieces(peer, [
        whole.piece(0, data=first[:2] + shown.port.to_bytes(2, "big") + first[4:]),
        whole.piece(0, {"ipv4": 8, "ipv6": 24}[family]), whole.piece(24)])
    peer.expect_silence(allow=["S. 0:0(0) ack 1 <...>", "S. 0:0(0) ack 9 <...>"] if family == "ipv4" else [],
                        rule=OVERLAP[family])
    if peer.irs is not None:
        case.advise(expected="no answer", got="SYN,ACK", rule="RFC3128-OVERLAP2")
    forge.send_cut(peer, "S 0:8(8) win 65535 <mss 1460>", 24)
    peer.expect_one_of(["S. 0:0(0) ack 1 <...>", "S. 0:0(0) ack 9 <...>"])
