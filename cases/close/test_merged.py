# SPDX-License-Identifier: GPL-2.0-or-later
"""B-20: three segments close a connection where the second FIN carries the ACK of the first (RFC 9293, 3.10.7.4)."""

from __future__ import annotations

import pytest

from harness.authoring import FIN, connected, covers, established, fin_wait_1, free, needs

acknowledged_later = free("drop", "late", why="RFC 9293, 3.8.6.3 lets an acknowledgement ride on what follows it, and "
                                              "that says the same")


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("SA-FINWAIT1-23", behaviour="B-20", tc8="TCP_BASICS_10")
def test_fin_that_acknowledges_the_fin(peer, listener, close):
    """Our FIN,ACK acknowledges the target's FIN: from FIN-WAIT-1 straight to TIME-WAIT."""
    fin_wait_1(peer, listener, half=close == "shutdown")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@covers("SA-FINWAIT1-23", behaviour="B-20")
def test_three_segments_close_what_the_target_opened(peer, upper):
    """FIN, FIN,ACK and ACK, where the target opened."""
    connection = connected(peer, upper)
    connection.close()
    peer.expect("F. 1:1(0) ack 1")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@needs("half_close")
@covers("SA-FINWAIT1-24", behaviour="B-20")
def test_fin_with_data_that_acknowledges_the_fin(peer, listener):
    """Both FINs come with data: ours is delivered, and TIME-WAIT follows at once."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 1")
    connection.shutdown()
    peer.expect("F. 101:101(0) ack 1")
    peer.send("FP. 1:51(50) ack 102")
    peer.expect(". 102:102(0) ack 52")
    peer.expect_state("TIME-WAIT")
    connection.expect_data(50)
    connection.expect_end()


@acknowledged_later
@covers("SA-ESTAB-25", "SA-LASTACK-16", behaviour="B-20", tc8="TCP_CONNECTION_ESTAB_07")
def test_target_that_closes_at_once(peer, listener):
    """The application closes upon our FIN: the target's FIN may carry the ACK of ours, or follow it."""
    connection = established(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    connection.close()
    if not peer.expect_one_of([". 1:1(0) ack 2", "F. 1:1(0) ack 2"]).has(FIN):
        peer.expect("F. 1:1(0) ack 2")
    peer.expect_state("LAST-ACK")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence(rule="SA-LASTACK-16")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")


@acknowledged_later
@covers("SA-ESTAB-26", "SA-LASTACK-16", behaviour="B-20")
def test_target_that_answers_and_closes_at_once(peer, listener):
    """Request and FIN in one segment, answer and FIN back: the ACK may ride on any of what follows."""
    connection = established(peer, listener)
    peer.send("FP. 1:51(50) ack 1")
    connection.expect_data(50)
    connection.send(100)
    connection.close()
    first = peer.expect_one_of([". 1:1(0) ack 52", "P. 1:101(100) ack 52", "FP. 1:101(100) ack 52"])
    if not first.payload:
        first = peer.expect_one_of(["P. 1:101(100) ack 52", "FP. 1:101(100) ack 52"])
    if not first.has(FIN):
        peer.expect("F. 101:101(0) ack 52")
    peer.send(". 52:52(0) ack 102")
    peer.expect_silence(rule="SA-LASTACK-16")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")
