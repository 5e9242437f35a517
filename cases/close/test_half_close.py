# SPDX-License-Identifier: GPL-2.0-or-later
"""B-19: one direction is closed, the other goes on (RFC 9293, 3.6)."""

from __future__ import annotations

import pytest

from harness.authoring import FIN, after, close_wait, covers, fin_wait_1, fin_wait_2, needs


@needs("half_close")
@covers("SA-FINWAIT2-16", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19", tc8="TCP_CLOSING_08")
def test_data_is_taken_in_fin_wait_2(peer, listener):
    """After shutdown() and our ACK, our data is still acknowledged and delivered."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    connection.expect_data(100)
    peer.expect_state("FIN-WAIT-2")


@needs("half_close")
@covers("SA-FINWAIT1-18", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19", tc8="TCP_CLOSING_07")
def test_data_is_taken_in_fin_wait_1(peer, listener):
    """The same before our ACK of the FIN."""
    connection = fin_wait_1(peer, listener, half=True)
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 2:2(0) ack 101")
    connection.expect_data(100)
    peer.expect_state("FIN-WAIT-1")


@needs("half_close")
@covers("SA-FINWAIT1-19", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19")
def test_data_that_acknowledges_the_fin(peer, listener):
    """Our data carries the ACK of the FIN: both are taken."""
    connection = fin_wait_1(peer, listener, half=True)
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    connection.expect_data(100)
    peer.expect_state("FIN-WAIT-2")


@needs("half_close")
@covers("SA-FINWAIT2-18", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19", tc8="TCP_CALL_RECEIVE_04")
def test_data_is_put_in_order_in_fin_wait_2(peer, listener):
    """Segments that arrive in the wrong order are kept and put together in FIN-WAIT-2 too."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.send("P. 101:201(100) ack 2")
    peer.expect(". 2:2(0) ack 1")
    peer.send(". 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 201")
    connection.expect_data(200)
    peer.expect_state("FIN-WAIT-2")


@needs("half_close")
@covers("SA-FINWAIT1-20", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19", tc8="TCP_CALL_RECEIVE_04")
def test_data_is_put_in_order_in_fin_wait_1(peer, listener):
    """The same before our ACK of the FIN."""
    connection = fin_wait_1(peer, listener, half=True)
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 2:2(0) ack 1")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 2:2(0) ack 201")
    connection.expect_data(200)
    peer.expect_state("FIN-WAIT-1")


@pytest.mark.parametrize(("row", "acknowledged"), [("SA-FINWAIT1-27", False), ("SA-FINWAIT2-25", True)],
                         ids=["fin-wait-1", "fin-wait-2"])
@needs("half_close", "urgent")
@covers("SA-FINWAIT1-27", "SA-FINWAIT2-25", behaviour="B-19")
def test_urgent_data_is_taken(peer, listener, row, acknowledged):
    """Urgent data is acknowledged after shutdown() as before, and the stream in front of it delivered."""
    reach = fin_wait_2 if acknowledged else fin_wait_1
    connection = reach(peer, listener, half=True)
    peer.send(f"PU. 1:101(100) ack {2 if acknowledged else 1} urg 100")
    peer.expect(". 2:2(0) ack 101", rule=row)
    connection.expect_data(99, rule=row)
    peer.expect_state("FIN-WAIT-2" if acknowledged else "FIN-WAIT-1", rule=row)


@needs("half_close")
@covers("SA-FINWAIT2-19", "RFC9293-U-ACCEPT", behaviour="B-19", tc8="TCP_UNACCEPTABLE_10")
def test_old_data_in_fin_wait_2(peer, listener):
    """Octets that came before are acknowledged again and delivered once."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    connection.expect_data(100)
    connection.expect_no_data()


@needs("half_close")
@covers("SA-FINWAIT2-21", behaviour="B-19")
def test_data_with_the_fin_in_fin_wait_2(peer, listener):
    """Our last octets come with our FIN: the application reads them and the end, the target enters TIME-WAIT."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.send("FP. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 102")
    peer.expect_state("TIME-WAIT")
    connection.expect_data(100)
    connection.expect_end()


@needs("half_close")
@covers("RFC9293-U-CLOSE-RXOPEN", behaviour="B-19")
def test_half_closed_connection_stays(peer, listener, profile):
    """Who still reads may wait for ever: the time limit of FIN-WAIT-2 is for closed sockets."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.expect_silence(for_s=1.3 * profile.timer("fin_wait_2_s"))
    peer.expect_state("FIN-WAIT-2")
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    connection.expect_data(100)


@needs("half_close")
@covers("SA-FINWAIT2-05", "RFC9293-MUST-12", behaviour="B-19")
def test_reset_in_fin_wait_2_is_no_end_of_stream(peer, listener):
    """The application that still reads can tell our reset from our FIN."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.send("R 1:1(0)")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    connection.expect_error("ECONNRESET", rule="RFC9293-MUST-12")


@needs("half_close")
@covers("RFC9293-U-CLOSE-RXOPEN", behaviour="B-19")
def test_nothing_more_can_be_sent_after_shutdown(peer, listener):
    """The half that is closed takes no more data from the application."""
    connection = fin_wait_2(peer, listener, half=True)
    connection.expect_send_error("EPIPE")
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-2")
    peer.send("P. 1:11(10) ack 2")
    peer.expect(". 2:2(0) ack 11")


@covers("SA-CLOSEWAIT-16", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-19", tc8="TCP_CLOSING_09")
def test_target_sends_in_close_wait(peer, listener):
    """After our FIN the target's application still sends, and our ACK of it draws nothing."""
    connection = close_wait(peer, listener)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 2", rule="RFC9293-U-CLOSE-RXOPEN")
    peer.send(". 2:2(0) ack 101")
    peer.expect_silence()
    peer.expect_state("CLOSE-WAIT")


@covers("RFC9293-U-CLOSE-RXOPEN", behaviour="B-19")
def test_lost_data_is_repeated_in_close_wait(peer, listener, rto_of):
    """What the target sends in CLOSE-WAIT is as reliable as before."""
    connection = close_wait(peer, listener)
    rto_s = rto_of(connection)
    connection.send(100)
    peer.expect("P. 1:101(100) ack 2")
    peer.expect("P. 1:101(100) ack 2", after(rto_s))
    peer.send(". 2:2(0) ack 101")
    peer.expect_silence()
    peer.expect_state("CLOSE-WAIT")


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("RFC9293-U-CLOSE-RELIABLE", "RFC1122-CLOSEWAIT", behaviour="B-19")
def test_data_goes_out_before_the_fin_in_close_wait(peer, listener, close):
    """The target's last octets come before its FIN, and LAST-ACK waits for the ACK of both."""
    connection = close_wait(peer, listener, offer="<mss 1000>")
    peer.send(". 2:2(0) ack 1 win 1000")
    connection.send(2000)
    connection.close() if close == "close" else connection.shutdown()
    peer.expect(". 1:1001(1000) ack 2")
    peer.expect_silence()
    peer.send(". 2:2(0) ack 1001 win 65535")
    last = peer.expect_one_of(["P. 1001:2001(1000) ack 2", "FP. 1001:2001(1000) ack 2"])
    if not last.has(FIN):
        peer.expect("F. 2001:2001(0) ack 2")
    peer.send(". 2:2(0) ack 2001")
    peer.expect_state("LAST-ACK", rule="RFC1122-CLOSEWAIT")
    peer.send(". 2:2(0) ack 2002")
    peer.expect_state("CLOSED", rule="RFC1122-CLOSEWAIT")
