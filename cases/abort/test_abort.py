# SPDX-License-Identifier: GPL-2.0-or-later
"""B-25: the application aborts: a reset where the peer must know, and all that is queued is gone (RFC 9293, 3.10.5).

The reset may carry an acknowledgement or not: 3.5.2 numbers only resets that answer something, and both are in use.
"""

from __future__ import annotations

from functools import partial

import pytest

from harness.authoring import (
    ACK,
    RST,
    Segment,
    close_wait,
    closing,
    covers,
    established,
    fin_wait_1,
    fin_wait_2,
    free,
    needs,
    seq,
    syn_sent,
)
from harness.targets.schedule import first_gap_s


def last_ack(peer, listener):
    """LAST-ACK with a socket that is still there to be aborted."""
    connection = close_wait(peer, listener)
    with peer.case.preamble():
        connection.shutdown("write")
        peer.expect("F. 1:1(0) ack 2")
        peer.expect_state("LAST-ACK")
    return connection


def expect_waiting(peer):
    """What comes a second time is acknowledged: TIME-WAIT is a state with a connection behind it."""
    ours = peer.send_next
    peer.send(Segment(flags=ACK, seq=seq.add(peer.iss, -1), payload=b"?"))
    peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=ours, payload=b""))


def expect_gone(peer, *, rule=None):
    """CLOSED, as 3.10.5 has it, or TIME-WAIT, as 3.5.2 advises; what is told has to agree with what the wire shows.

    An ACK draws a reset of who is CLOSED, and nothing in TIME-WAIT, where an old octet draws an acknowledgement. So
    without a word about it nothing is known.
    """
    told = peer.case.upper.state(peer.flow)
    if told:
        peer.expect_state("TIME-WAIT" if told == "TIME-WAIT" else "CLOSED")
    peer.send(Segment(flags=ACK))
    if told == "TIME-WAIT":
        peer.expect_silence()
        expect_waiting(peer)
        return
    if not told:
        peer.case.sentinel()
        if not peer.unread:
            pytest.skip("not applicable: needs to be told whether the state is TIME-WAIT, where an ACK draws no reset")
    peer.expect_gone(Segment(flags=RST, seq=peer.receive_next), rule=rule)


ABORTED = "ECONNABORTED|ECONNRESET|EBADF"
"""What connect() may fail with when the application has aborted what it waits for."""
any_name = free("errno", why="RFC 9293, 3.10.5 has the application told, and names of errors are the socket API's")


@needs("abort")
@covers("RFC9293-U-ABORT-RST", behaviour="B-25", tc8="TCP_CALL_ABORT_02")
@pytest.mark.parametrize(("begin", "ours", "theirs"), [
    pytest.param(established, 1, 1, id="established"),
    pytest.param(partial(fin_wait_1, half=True), 1, 2, id="fin-wait-1"),
    pytest.param(partial(fin_wait_2, half=True), 1, 2, id="fin-wait-2"),
    pytest.param(close_wait, 2, 1, id="close-wait"),
])
def test_abort_resets_at_the_next_number(peer, listener, begin, ours, theirs):
    """The peer is told at SND.NXT, so that it takes the reset, and there is no connection left."""
    connection = begin(peer, listener)
    connection.abort()
    peer.expect_one_of([f"R. {theirs}:{theirs}(0) ack {ours}", f"R {theirs}:{theirs}(0)"])
    expect_gone(peer)


@any_name
@free("win=0", "win+1", "win-1", "win*2", why="RFC 9293, 3.5.2 gives the window of a reset no meaning")
@needs("abort", "active_open", "simultaneous_open")
@covers("RFC9293-U-ABORT-RST", behaviour="B-25")
def test_abort_in_a_crossed_opening_resets(peer, upper):
    """SYN-RECEIVED after crossed SYNs: the other end may hold the connection for open, so it is told."""
    connection, connecting = syn_sent(peer, upper)
    with peer.case.preamble():
        peer.send("S 0:0(0) win 65535 <mss 1460>")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.expect_state("SYN-RECEIVED")
    connection.abort()
    peer.expect_one_of(["R. 1:1(0) ack 1", "R 1:1(0)"])
    connecting.expect(ABORTED)
    expect_gone(peer)


@needs("abort")
@covers("RFC9293-U-ABORT-RST", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-25", tc8="TCP_CALL_ABORT_03")
@pytest.mark.parametrize("begin", [pytest.param(partial(closing, half=True), id="closing"),
                                   pytest.param(last_ack, id="last-ack")])
def test_abort_after_both_fins_is_silent(peer, listener, begin):
    """Both ends have said all they had to say: the connection just goes, and a late ACK is a stranger's."""
    connection = begin(peer, listener)
    connection.abort()
    peer.expect_silence()
    peer.expect_state("CLOSED")
    peer.send(". 2:2(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@needs("abort")
@covers("RFC9293-U-ABORT-RST", "RFC9293-MUST-13", behaviour="B-25", tc8="TCP_CALL_ABORT_03")
def test_abort_in_time_wait_is_silent(peer, listener):
    """No reset; what a repeated FIN meets is CLOSED (3.10.5) or still TIME-WAIT (3.6.1): the text asks for both."""
    connection = fin_wait_2(peer, listener, half=True)
    with peer.case.preamble():
        peer.send("F. 1:1(0) ack 2")
        peer.expect(". 2:2(0) ack 2")
        peer.expect_state("TIME-WAIT")
    connection.abort()
    peer.expect_silence()
    peer.send("F. 1:1(0) ack 2")
    peer.expect_one_of(["R 2:2(0)", ". 2:2(0) ack 2"])


@any_name
@needs("abort", "active_open")
@covers("RFC9293-U-ABORT-RST", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-25")
def test_abort_of_an_unanswered_syn_is_silent(peer, upper):
    """SYN-SENT: nobody has answered, so nobody is told; an answer that comes late is refused."""
    connection, connecting = syn_sent(peer, upper)
    connection.abort()
    peer.expect_silence()
    connecting.expect(ABORTED)
    peer.expect_state("CLOSED")
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-RST-CLOSED-ACK")


@needs("abort")
@covers("RFC9293-U-ABORT-RST", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-25")
def test_abort_throws_queued_data_away(peer, listener):
    """Half of the data waits for our window; the abort lets go of it, and opening the window brings none of it."""
    connection = established(peer, listener, offer="<mss 500>", third=". 1:1(0) ack 1 win 1000")
    connection.send(2000)
    peer.expect(". 1:501(500) ack 1")
    peer.expect(". 501:1001(500) ack 1")
    connection.abort()
    peer.expect_one_of(["R. 1001:1001(0) ack 1", "R 1001:1001(0)"])
    expect_gone(peer, rule="RFC9293-U-RST-CLOSED-ACK")  # as an ACK shows, which opens our window
    peer.expect_silence()


@needs("abort")
@covers("RFC9293-U-ABORT-RST", behaviour="B-25")
def test_abort_ends_repetition(peer, listener, profile):
    """Data that was under way when the application aborted is not sent again."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")
    connection.abort()
    peer.expect_one_of(["R. 101:101(0) ack 1", "R 101:101(0)"])
    peer.count_repeats()
    peer.expect_silence(for_s=first_gap_s(profile)[1])


@needs("abort")
@covers("RFC9293-U-ABORT-RST", "RFC9293-MUST-12", behaviour="B-25")
def test_abort_discards_what_was_not_read(peer, listener):
    """Data that the application never fetched does not keep it from aborting; the reset acknowledges no more of it."""
    connection = established(peer, listener)
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.abort()
    peer.expect_one_of(["R. 1:1(0) ack 101", "R 1:1(0)"])
    expect_gone(peer)


@needs("abort")
@covers("RFC9293-U-RST-TW", "RFC9293-U-ABORT-RST", behaviour="B-25")
def test_aborting_side_waits(peer, listener):
    """Who sends the reset goes through TIME-WAIT, so that old segments of the connection still meet somebody."""
    connection = established(peer, listener)
    connection.abort()
    peer.expect_one_of(["R. 1:1(0) ack 1", "R 1:1(0)"], rule="RFC9293-U-ABORT-RST")
    peer.expect_state("TIME-WAIT")
    if peer.case.upper.state(peer.flow):
        expect_waiting(peer)
