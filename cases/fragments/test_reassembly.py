# SPDX-License-Identifier: GPL-2.0-or-later
"""B-28, the control: good fragments are put together, whatever their order, and make one segment (RFC 791, RFC 8200).

Octets of a datagram count from its TCP header on, which has 20 of them here. IPv6 wants all of it in the first
fragment.
"""

from __future__ import annotations

import pytest

from harness.authoring import after, covers, established, forge, free, ip, needs, octets, seconds_between, slow
from harness.targets.schedule import over_s

pytestmark = needs("ip_reassembly")

DATA = "P. 1:1001(1000) ack 1"


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", "RFC1122-REASM-1", behaviour="B-28")
@pytest.mark.parametrize("order", [
    pytest.param((0, 1, 2), id="forward"), pytest.param((2, 1, 0), id="backward"),
    pytest.param((1, 2, 0), id="first-last"),
    pytest.param((2, 0, 1), id="last-first"),
])
def test_fragments_in_any_order(peer, listener, order):
    """Three fragments make one segment: one acknowledgement, and the application reads what was sent."""
    connection = established(peer, listener)
    forge.send_cut(peer, DATA, 256, 512, order=order)
    peer.expect(". 1:1(0) ack 1001")
    connection.expect_data(1000)


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_fragmented_syn_opens(peer, listener):
    """A SYN may come in fragments like any other segment."""
    forge.send_cut(peer, "S 0:0(0) win 65535 <mss 1460,nop,nop,sackOK,nop,wscale 2,TS val 1 ecr 0>", 24)
    peer.expect("S. 0:0(0) ack 1 <...>")


@covers("RFC791-FRAG-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_shreds(peer, listener):
    """All pieces but the first are of 8 octets, the least there is."""
    connection = established(peer, listener)
    forge.send_cut(peer, "P. 1:201(200) ack 1", *range(24, 220, 8))
    peer.expect(". 1:1(0) ack 201")
    connection.expect_data(200)


@covers("RFC791-FRAG-3", "RFC1122-REASM-1", "RFC8200-FRAG-OK", behaviour="B-28")
@pytest.mark.parametrize("total", [pytest.param({"ipv4": 576, "ipv6": 1280}, id="every-host"),
                                   pytest.param({"ipv4": 1500, "ipv6": 1500}, id="link")])
def test_size_that_every_host_takes(peer, listener, family, total):
    """Datagrams of 576 octets (IPv6: 1500), and of what the link carries whole, are put together."""
    connection = established(peer, listener)
    size = total[family] - {"ipv4": 40, "ipv6": 60}[family]
    forge.send_cut(peer, f"P. 1:{1 + size}({size}) ack 1", 264)
    peer.expect(f". 1:1(0) ack {1 + size}")
    connection.expect_data(size)


@covers("RFC791-FRAG-2", "RFC8200-FRAG-OK", behaviour="B-28")
def test_datagrams_do_not_mix(peer, listener):
    """Fragments of two datagrams come by turns: the identification keeps them apart."""
    connection = established(peer, listener)
    (first, one), (second, two) = (forge.datagram(peer, f"P. {at}:{at + 1000}(1000) ack 1") for at in (1, 1001))
    turns = [piece for pair in zip(one.cut(512), two.cut(512), strict=True) for piece in pair]
    peer.sent(first, forge.send_pieces(peer, turns[:3]))
    peer.expect(". 1:1(0) ack 1001")
    peer.sent(second, forge.send_pieces(peer, turns[3:]))
    peer.expect(". 1:1(0) ack 2001")
    connection.expect_data(2000)


@covers("RFC815-HOLE-1", "RFC791-FRAG-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_hole_keeps_the_datagram_back(peer, listener):
    """With 256 octets missing nothing is delivered; the missing piece, coming last, completes it."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    forge.send_pieces(peer, whole.pieces([(0, 256), (512, None)]))
    peer.expect_silence()
    connection.expect_no_data()
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(256, 512)]))
    peer.expect(". 1:1(0) ack 1001")
    connection.expect_data(1000)


@covers("RFC815-HOLE-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_last_fragment_must_come(peer, listener):
    """All octets that have come are not the whole as long as none was said to be the last."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    forge.send_pieces(peer, whole.pieces([(0, 256), (256, 512)]))
    peer.expect_silence()
    connection.expect_no_data()
    peer.sent(segment, forge.send_pieces(peer, [whole.piece(512)]))
    peer.expect(". 1:1(0) ack 1001")
    connection.expect_data(1000)


@free("drop", "late", why="RFC 8200, 4.5 leaves it open whether the datagram with the duplicate is taken")
@covers("RFC815-HOLE-2", "RFC8200-FRAG-DUP", "RFC8200-FRAG-OK", behaviour="B-28")
def test_duplicates_do_no_harm(peer, listener, family):
    """A fragment that comes twice is one fragment; IPv6 may take it for an overlap and drop the datagram instead."""
    connection = established(peer, listener)
    segment, whole = forge.datagram(peer, DATA)
    peer.sent(segment, forge.send_pieces(peer, whole.pieces([(0, 512), (0, 512), (512, None)])))
    if family == "ipv4":
        peer.expect(". 1:1(0) ack 1001")
    else:
        peer.expect_silence(allow=[". 1:1(0) ack 1001"], rule="RFC8200-FRAG-OK")
    forge.send_cut(peer, DATA, 512)
    peer.expect(". 1:1(0) ack 1001", rule="RFC815-HOLE-2" if family == "ipv4" else "RFC8200-FRAG-OK")
    connection.expect_data(1000)


@covers("RFC9293-MUST-3", "RFC791-FRAG-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_checksum_is_of_the_whole(peer, listener):
    """Well-made fragments of a segment with a wrong checksum are put together and thrown away."""
    connection = established(peer, listener)
    good, _ = peer.packet(DATA)
    _, whole = forge.datagram(peer, good, checksum=1)
    forge.send_pieces(peer, whole.cut(512))
    peer.expect_silence()
    connection.expect_no_data()
    forge.send_cut(peer, good, 512)
    peer.expect(". 1:1(0) ack 1001", rule="RFC791-FRAG-1")
    connection.expect_data(1000)


@needs("udp")
@covers("RFC1122-ICMP-NOERR", "RFC4443-NOERR", "RFC791-FRAG-1", "RFC8200-FRAG-OK", behaviour="B-28")
def test_lone_later_fragment_draws_no_error(case, family):
    """Only a whole datagram, or its first fragment, can be answered: a piece without ports names nobody."""
    packet = ip.encode_udp(source=case.addresses.local, destination=case.addresses.target, source_port=case.port(),
                           destination_port=case.port(), payload=octets("injector", 0, 600))
    peer = case.peer()
    forge.send_pieces(peer, [forge.Datagram.of(packet, case.port()).piece(512)])
    peer.expect_silence()
    forge.send_pieces(peer, forge.Datagram.of(packet, case.port()).cut(512))
    kind, code = {"ipv4": (3, 3), "ipv6": (1, 4)}[family]
    case.expect_icmp(kind, code, quoting=case.addresses.local + case.addresses.target, rule="RFC791-FRAG-1")


@slow
@covers("RFC1122-REASM-3", "RFC1122-REASM-2", "RFC8200-FRAG-60", "RFC8200-FRAG-60-ICMP", "RFC791-FRAG-1",
        "RFC8200-FRAG-OK", behaviour="B-28")
def test_unfinished_datagram_times_out(peer, listener, family, profile):
    """After the profile's time ICMP says that reassembly took too long, and the late rest completes nothing.

    Of ICMP for IPv4 that is demanded, of ICMPv6 it is advice.
    """
    connection = established(peer, listener)
    _, whole = forge.datagram(peer, DATA)
    first = whole.piece(0, 512)
    began = forge.send_pieces(peer, [first])
    due = after(profile.timer(f"reassembly_{family}_s"))
    peer.case.pause(over_s(profile, due.due_s))
    quote = first[:{"ipv4": 28, "ipv6": 48}[family]]
    abandoned = {"ipv4": "RFC1122-REASM-2", "ipv6": "RFC8200-FRAG-60"}[family]
    if family == "ipv4":
        message = peer.case.expect_icmp(11, 1, quoting=quote)
    else:
        message = peer.case.advise_icmp(3, 1, quoting=quote, rule="RFC8200-FRAG-60-ICMP")
    if message is not None and not peer.case.check_time(str(message), due, began, message).kept:
        raise peer.case.mismatch(expected=f"{message} after {due.due_s:g} s", fields=("time",), rule=abandoned,
                                 got=f"{message} after {seconds_between(began, message):.3f} s")
    forge.send_pieces(peer, [whole.piece(512)])
    peer.expect_silence(rule=abandoned)
    connection.expect_no_data(rule=abandoned)
    forge.send_cut(peer, DATA, 512)
    whole_again = {"ipv4": "RFC791-FRAG-1", "ipv6": "RFC8200-FRAG-OK"}[family]
    peer.expect(". 1:1(0) ack 1001", rule=whole_again)
    connection.expect_data(1000, rule=whole_again)
