# SPDX-License-Identifier: GPL-2.0-or-later
"""B-28: what only IPv4 fragments can say, and what IPv4 answers with silence (RFC 791, RFC 1858)."""

from __future__ import annotations

from harness.authoring import covers, established, families, forge, free, needs

pytestmark = [families("ipv4"), needs("ip_reassembly")]

DATA = "P. 1:1001(1000) ack 1"


def expect_alive(peer, connection):
    """Good fragments still make a segment."""
    forge.send_cut(peer, DATA, 512)
    peer.expect(". 1:1(0) ack 1001")
    connection.expect_data(1000)


@covers("RFC791-FRAG-1", "RFC1858-TINY", behaviour="B-28")
def test_tiny_first_fragment(peer, listener):
    """The first fragment ends before the flags: the SYN is put together safely or dropped, and a whole one opens."""
    segment, whole = forge.datagram(peer, "S 0:0(0) win 65535 <mss 1460>")
    peer.sent(segment, forge.send_pieces(peer, whole.cut(8)))
    peer.case.sentinel()
    taken = peer.state() != "CLOSED"
    if taken:
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.expect_state("SYN-RECEIVED")
    peer.expect_silence()
    # If that SYN was taken, this one is a duplicate, which draws the SYN,ACK again or an ACK (SA-SYNRCVD-05).
    again = [". 1:1(0) ack 1"] if taken else []
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect_one_of(["S. 0:0(0) ack 1 <...>", *again])


@covers("RFC791-FRAG-1", "RFC791-FRAG-4", behaviour="B-28")
def test_ping_of_death(peer, listener):
    """Fragments that add up to more than 65535 octets are no datagram: dropped, not written past its end."""
    connection = established(peer, listener)
    _, whole = forge.datagram(peer, DATA)
    forge.send_pieces(peer, [
        whole.piece(0, 1016), *(whole.piece(at, data=bytes(1016), more=True) for at in range(1016, 65024, 1016)),
        whole.piece(65024, data=bytes(504), more=True), whole.piece(65528, data=bytes(1000), more=False)])
    peer.expect_silence()
    connection.expect_no_data()
    expect_alive(peer, connection)


@free("drop", "late", why="RFC 791, 3.2 does not speak of empty fragments: the datagram may be taken or dropped")
@covers("RFC791-FRAG-1", "RFC791-FRAG-4", behaviour="B-28")
def test_empty_first_fragment(peer, listener):
    """A fragment of no octets at the start does not stand in the way of what follows."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(0, data=b"", more=True), *whole.cut(512)]))
    peer.expect_silence(allow=[". 1:1(0) ack 1001"])
    expect_alive(peer, connection)


@covers("RFC791-FRAG-1", behaviour="B-28")
def test_fragment_that_is_no_multiple_of_eight(peer, listener):
    """What follows an odd piece leaves a hole, or overlaps: the datagram is not put together."""
    connection = established(peer, listener)
    _, whole = forge.datagram(peer, DATA)
    forge.send_pieces(peer, [whole.piece(0, 509), whole.piece(512)])
    peer.expect_silence()
    connection.expect_no_data()
    expect_alive(peer, connection)


@covers("RFC6864-ATOMIC-RX", behaviour="B-28")
def test_identification_of_whole_datagrams_is_ignored(peer, listener):
    """Two whole datagrams with one identification are two, also while fragments with the same one wait for more."""
    connection = established(peer, listener)
    first, whole = forge.datagram(peer, "P. 1:101(100) ack 1")
    second, octets = peer.packet("P. 101:201(100) ack 1")
    forge.send_pieces(peer, [whole.piece(0, 64)])
    peer.sent(first, forge.send_pieces(peer, [whole.piece(0)]))
    peer.expect(". 1:1(0) ack 101")
    peer.sent(second, forge.send_pieces(peer, [forge.Datagram.of(octets, whole.identification).piece(0)]))
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(200)
