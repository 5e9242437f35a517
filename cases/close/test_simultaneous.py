# SPDX-License-Identifier: GPL-2.0-or-later
"""B-21: both ends close at once, and the FINs cross (RFC 9293, 3.6, case 3, and figure 13)."""

from __future__ import annotations

import pytest

from harness.authoring import after, closing, covers, established, fin_wait_1, free, needs


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("RFC9293-U-CLOSE-SIM", "SA-FINWAIT1-22", "SA-CLOSING-16", behaviour="B-21")
def test_fins_cross(peer, listener, close):
    """Our FIN is acknowledged in CLOSING; our ACK of the target's brings TIME-WAIT, which answers a repeated FIN."""
    fin_wait_1(peer, listener, half=close == "shutdown")
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("CLOSING")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence(rule="SA-CLOSING-16")
    peer.expect_state("TIME-WAIT", rule="SA-CLOSING-16")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2", rule="SA-CLOSING-16")


@needs("half_close")
@covers("RFC9293-U-CLOSE-SIM", behaviour="B-21")
def test_fins_with_data_cross(peer, listener):
    """Data comes with both FINs that cross: each end takes the other's before the end of the stream."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 1")
    connection.shutdown()
    peer.expect("F. 101:101(0) ack 1")
    peer.send("FP. 1:51(50) ack 1")
    peer.expect(". 102:102(0) ack 52")
    peer.expect_state("CLOSING")
    connection.expect_data(50)
    connection.expect_end()
    peer.send(". 52:52(0) ack 102")
    peer.expect_state("TIME-WAIT")


@covers("RFC9293-U-FIN-RETX", behaviour="B-21")
def test_closing_repeats_the_fin(peer, listener, rto_of):
    """In CLOSING the target's FIN is still on the way: it is repeated until we acknowledge it."""
    connection = established(peer, listener)
    rto_s = rto_of(connection)
    connection.close()
    first = peer.expect("F. 1:1(0) ack 1")
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 2:2(0) ack 2")
    peer.expect("F. 1:1(0) ack 2", after(rto_s, since=first))
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@covers("SA-CLOSING-18", "RFC9293-U-CLOSE-SIM", behaviour="B-21", tc8="TCP_FLAGS_PROCESSING_09")
def test_repeated_fin_in_closing(peer, listener):
    """Our FIN again, without the ACK of the target's: acknowledged again, still CLOSING."""
    closing(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("CLOSING")


@free("drop", "late", why="RFC 9293, 3.10.7.4 has the answer to what is not acceptable as a should in small letters, "
                          "and whose acknowledgement is taken at first needs none")
@covers("SA-CLOSING-19", behaviour="B-21")
def test_repeated_fin_that_acknowledges_in_closing(peer, listener):
    """Our FIN again, now with the ACK of the target's: acknowledged, unless it is its ACK that is taken at first."""
    closing(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("F. 1:1(0) ack 2")
    peer.expect_silence(allow=[". 2:2(0) ack 2"])
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", [". 2:2(0) ack 1", "U. 2:2(0) ack 1 urg 1"], ids=["ack", "urg"])
@covers("SA-CLOSING-17", "SA-CLOSING-13", "SA-CLOSING-22", behaviour="B-21", tc8="TCP_FLAGS_PROCESSING_07")
def test_what_does_not_acknowledge_the_fin_in_closing(peer, listener, segment):
    """Only the ACK of its FIN takes the target out of CLOSING."""
    closing(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("CLOSING")
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@needs("half_close")
@covers("SA-CLOSING-20", behaviour="B-21")
def test_data_behind_the_fin_in_closing(peer, listener):
    """Data behind our FIN is not part of the stream, whether the target says something or not."""
    connection = closing(peer, listener, half=True)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("P. 2:102(100) ack 1")
    peer.expect_silence(allow=[". 2:2(0) ack 2", "R 1:1(0)", "R. 2:2(0) ack 2"])
    connection.expect_end()


@pytest.mark.parametrize(("row", "segment"), [
    ("SA-CLOSING-14", ". 1:1(0) ack 1"),
    ("SA-CLOSING-15", ". 70000:70000(0) ack 1"),
    ("SA-CLOSING-21", "P. 70000:70100(100) ack 1"),
    ("SA-CLOSING-11", ". 2:2(0) ack 3"),
], ids=["below", "above", "data-above", "future-ack"])
@covers("SA-CLOSING-11", "SA-CLOSING-14", "SA-CLOSING-15", "SA-CLOSING-21", "RFC9293-U-ACK-SYNC", behaviour="B-21",
        tc8=("TCP_UNACCEPTABLE_11", "TCP_FLAGS_INVALID_12"))
def test_unacceptable_segment_in_closing(peer, listener, row, segment):
    """What is outside the window, or acknowledges what was never sent, draws an empty ACK: the target waits on."""
    closing(peer, listener)
    peer.send(segment)
    peer.expect(". 2:2(0) ack 2", rule=row)
    peer.expect_state("CLOSING", rule=row)


@covers("SA-CLOSING-05", behaviour="B-21")
def test_reset_ends_closing(peer, listener):
    """An exact reset ends CLOSING: nothing is left."""
    closing(peer, listener)
    peer.send("R 2:2(0)")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    peer.send("F. 1:1(0) ack 2")
    peer.expect_gone("R 2:2(0)")
