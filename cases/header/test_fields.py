# SPDX-License-Identifier: GPL-2.0-or-later
"""B-04: every field of the header says what RFC 9293, section 3.1, wants it to say, in both directions."""

from __future__ import annotations

import pytest

from harness.authoring import ACK, after, connected, covers, established, needs
from harness.wire.segment import AE

OPTIONS = "<mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7>"


def hold(peer, kept, expected, got, rule=None):
    """End the case with a mismatch unless `kept`."""
    if not kept:
        raise peer.case.mismatch(expected=expected, got=got, rule=rule)


def whole_life(peer, listener):
    """A connection from SYN to TIME-WAIT with data both ways; returns every segment that the target sent."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    seen = [peer.expect("S. 0:0(0) ack 1 <...>")]
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.send("P. 1:101(100) ack 1")
    seen.append(peer.expect(". 1:1(0) ack 101"))
    connection.expect_data(100)
    connection.send(50)
    seen.append(peer.expect("P. 1:51(50) ack 101"))
    peer.send(". 101:101(0) ack 51")
    connection.close()
    seen.append(peer.expect("F. 51:51(0) ack 101"))
    peer.send("F. 101:101(0) ack 52")
    seen.append(peer.expect(". 52:52(0) ack 102"))
    return seen


# -- ports ------------------------------------------------------------------------------------------------------------


@covers("SA-LISTEN-01", behaviour="B-04", tc8="TCP_HEADER_01")
def test_ports_are_swapped_in_every_segment(peer, listener):
    """What the target sends comes from the port that was addressed and goes to the one that asked, all life long."""
    for segment in whole_life(peer, listener):
        hold(peer, (segment.source_port, segment.destination_port) == (listener.port, peer.flow.local_port),
             f"ports {listener.port} > {peer.flow.local_port}",
             f"ports {segment.source_port} > {segment.destination_port}")


@covers("SA-LISTEN-08", "RFC9293-U-RST-NONSYNC", behaviour="B-04", tc8="TCP_HEADER_04")
def test_another_source_port_is_another_connection(case, peer, listener):
    """A segment that fits but for its source port is reset, and the connection takes no note of it."""
    connection = established(peer, listener)
    stranger = case.peer(target_port=listener.port)
    stranger.iss, stranger.irs = peer.iss, peer.irs
    stranger.send("P. 1:11(10) ack 1")
    stranger.expect_gone("R 1:1(0)", form="RFC9293-U-RST-NONSYNC")
    peer.send("P. 1:6(5) ack 1")
    peer.expect(". 1:1(0) ack 6")
    connection.expect_data(5)


# -- data offset ------------------------------------------------------------------------------------------------------


@needs("timestamps")
@covers("RFC9293-U-DOFF", behaviour="B-04", tc8="TCP_HEADER_01")
def test_data_offset_counts_the_options(peer, listener):
    """The data offset is five words and the options', with the payload right behind it."""
    connection = established(peer, listener, offer=OPTIONS, third=". 1:1(0) ack 1 <nop,nop,TS val 1001 ecr 0>")
    connection.send(100)
    data = peer.expect("P. 1:101(100) ack 1 <TS val * ecr 1001>")
    words = 5 + sum(len(option.encode()) for option in data.options) // 4
    hold(peer, data.offset == words, f"data offset {words}", f"data offset {data.offset}")


@covers("RFC9293-U-DOFF", behaviour="B-04", tc8="TCP_HEADER_01")
def test_data_offset_is_five_without_options(peer, listener):
    """A header without options is five words long, in every segment after the SYN."""
    for segment in whole_life(peer, listener)[1:]:
        hold(peer, segment.offset == 5, "data offset 5", f"data offset {segment.offset}")


@covers("RFC9293-U-DOFF", behaviour="B-04", tc8=("TCP_HEADER_07", "TCP_HEADER_08"))
@pytest.mark.parametrize("offset", [0, 4, 15])
def test_syn_with_an_impossible_data_offset_is_dropped(peer, listener, offset):
    """A header shorter than five words, or longer than its segment, is unusable: silence; a good SYN then connects."""
    peer.send("S 0:0(0) win 65535", offset=offset)
    peer.expect_silence()
    established(peer, listener)


@covers("RFC9293-U-DOFF", behaviour="B-04", tc8=("TCP_HEADER_07", "TCP_HEADER_08"))
@pytest.mark.parametrize("offset", [0, 4, 15])
def test_data_with_an_impossible_data_offset_is_dropped(peer, listener, offset):
    """The same in ESTABLISHED: neither acknowledged nor delivered, and the right segment is taken afterwards."""
    connection = established(peer, listener)
    peer.send("P. 1:11(10) ack 1", offset=offset)
    peer.expect_silence()
    connection.expect_no_data()
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)


# -- reserved bits ----------------------------------------------------------------------------------------------------


@covers("RFC9293-U-RSV-TX", behaviour="B-04", tc8="TCP_HEADER_05")
def test_reserved_bits_are_sent_as_zero(peer, listener):
    """All four reserved bits are zero in every segment of a connection that asked for no ECN."""
    for segment in whole_life(peer, listener):
        hold(peer, not segment.reserved and not segment.flags & AE, "reserved bits 0",
             f"reserved bits {segment.reserved:03b}, AE {bool(segment.flags & AE):d}")


@covers("RFC9293-U-RSV-RX", behaviour="B-04", tc8="TCP_HEADER_06")
@pytest.mark.parametrize("bits", [0b100, 0b010, 0b001, 0b111])
def test_reserved_bits_are_ignored(peer, listener, bits):
    """SYN, third segment and data with reserved bits set do what they do without."""
    peer.send("S 0:0(0) win 65535 <mss 1460>", reserved=bits)
    peer.expect("S. 0:0(0) ack 1 <mss *>")
    peer.send(". 1:1(0) ack 1", reserved=bits)
    connection = listener.accept(peer)
    peer.send("P. 1:11(10) ack 1", reserved=bits)
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)


# -- ACK bit ----------------------------------------------------------------------------------------------------------


@covers("RFC9293-U-ACK-SYNC", behaviour="B-04")
def test_ack_bit_is_in_every_segment_after_a_syn(peer, listener):
    """From the SYN,ACK to the last segment of a passive open's life the ACK bit is on."""
    for segment in whole_life(peer, listener):
        hold(peer, segment.has(ACK), "the ACK bit", f"flags {segment.flags:#x}")


@covers("RFC9293-U-ACK-SYNC", "RFC9293-MUST-22", behaviour="B-04")
@needs("active_open")
def test_ack_bit_is_off_in_a_syn_and_its_repetition_alone(peer, upper, profile):
    """An active open's SYN and its repetition have no ACK bit, everything afterwards has."""
    connection, connecting = upper.connect(peer)
    peer.expect("S 0:0(0) <...>")
    peer.expect("S 0:0(0) <...>", after(profile.timer("initial_rto_s")), rule="RFC9293-MUST-22")
    connecting.expect_open()
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    connection.send(10)
    peer.expect("P. 1:11(10) ack 1")
    peer.send(". 1:1(0) ack 11")
    connection.close()
    peer.expect("F. 11:11(0) ack 1")


@covers("RFC9293-U-ABORT-RST", behaviour="B-04")
@needs("abort")
def test_reset_may_go_without_the_ack_bit(peer, listener):
    """A reset is valid by its sequence number; whether it also acknowledges is the sender's choice."""
    connection = established(peer, listener)
    peer.expect_silence()
    connection.abort()
    peer.expect_one_of(["R 1:1(0)", "R. 1:1(0) ack 1"])
    peer.expect_silence()


@covers("RFC9293-U-ACK-LESS", "SA-ESTAB-10", behaviour="B-04")
def test_data_without_the_ack_bit_is_dropped(peer, listener):
    """In ESTABLISHED a segment without ACK bit is dropped: no answer, nothing delivered."""
    connection = established(peer, listener)
    peer.send("P 1:11(10)")
    peer.expect_silence()
    connection.expect_no_data()
    peer.send("P. 1:6(5) ack 1")
    peer.expect(". 1:1(0) ack 6")
    connection.expect_data(5)


# -- urgent pointer ---------------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-30", behaviour="B-04")
def test_urgent_pointer_is_zero_without_urg(peer, listener):
    """No urgent data, no URG bit and no urgent pointer."""
    for segment in whole_life(peer, listener):
        hold(peer, not segment.urgent, "urg 0", f"urg {segment.urgent}")


@covers("RFC9293-MUST-62", "RFC9293-MUST-30", "RFC6093-PTR", behaviour="B-04")
@needs("urgent")
def test_urgent_pointer_comes_with_urg_alone(peer, listener):
    """Urgent data sets URG and a pointer to the octet behind it; the data after it has neither."""
    connection = established(peer, listener)
    connection.send(3, urgent=True)
    peer.expect("PU. 1:4(3) ack 1 urg 3")
    peer.send(". 1:1(0) ack 4")
    connection.send(10)
    plain = peer.expect("P. 4:14(10) ack 1")
    hold(peer, not plain.urgent, "urg 0", f"urg {plain.urgent}", "RFC9293-MUST-30")


@covers("RFC9293-MUST-30", behaviour="B-04")
def test_urgent_pointer_without_urg_means_nothing(peer, listener):
    """With URG off the pointer is not read: all octets are ordinary data."""
    connection = established(peer, listener)
    peer.send("P. 1:11(10) ack 1", urgent=5)
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)


# -- PSH --------------------------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-61", behaviour="B-04")
def test_psh_is_on_the_segment_that_empties_the_queue(peer, listener):
    """Of the three segments of one call the last has PSH, for nothing is left to send.

    It may wait until the others are acknowledged (Nagle; RFC 9293, 3.7.4).
    """
    connection = established(peer, listener, offer="<mss 1000>")
    connection.send(2500)
    peer.expect(". 1:1001(1000) ack 1")
    peer.expect(". 1001:2001(1000) ack 1")
    peer.send(". 1:1(0) ack 2001")
    peer.expect("P. 2001:2501(500) ack 1")


@covers("RFC9293-MUST-61", behaviour="B-04")
def test_psh_is_on_a_lone_segment(peer, listener):
    """A call whose octets fit into one segment sends it with PSH."""
    connection = established(peer, listener)
    connection.send(1)
    peer.expect("P. 1:2(1) ack 1")


@covers("RFC9293-MUST-61", behaviour="B-04")
@needs("active_open")
def test_psh_is_on_the_last_segment_of_an_active_opener(peer, upper):
    """The end that opened pushes as well."""
    connection = connected(peer, upper, offer="<mss 1000>")
    connection.send(1500)
    peer.expect(". 1:1001(1000) ack 1")
    peer.send(". 1:1(0) ack 1001")
    peer.expect("P. 1001:1501(500) ack 1")


@covers("SA-ESTAB-17", behaviour="B-04")
def test_data_without_psh_is_delivered_too(peer, listener):
    """The receiver does not wait for a push: data is acknowledged and given to the application."""
    connection = established(peer, listener)
    peer.send(". 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
