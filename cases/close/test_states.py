# SPDX-License-Identifier: GPL-2.0-or-later
"""B-23: the states of closing, reached and recognised (RFC 9293, 3.3.2 and figure 5).

Each is proven three ways: the target's own report of its state, what a probe draws on the wire that no other state
would, and what the application is told.
"""

from __future__ import annotations

from functools import partial

import pytest

from harness.authoring import (
    ACK,
    RST,
    Segment,
    after,
    close_wait,
    closing,
    covers,
    established,
    fin_wait_1,
    fin_wait_2,
    free,
    last_ack,
    needs,
    time_wait,
)

HALF_CLOSED = needs("half_close")
STATES = [
    pytest.param("FINWAIT1", "FIN-WAIT-1", fin_wait_1, 1, 2, id="fin-wait-1"),
    pytest.param("FINWAIT2", "FIN-WAIT-2", partial(fin_wait_2, half=True), 1, 2, id="fin-wait-2", marks=HALF_CLOSED),
    pytest.param("CLOSEWAIT", "CLOSE-WAIT", close_wait, 2, 1, id="close-wait"),
    pytest.param("CLOSING", "CLOSING", closing, 2, 2, id="closing"),
    pytest.param("LASTACK", "LAST-ACK", last_ack, 2, 2, id="last-ack"),
]
"""Name in the state table, state, its constructor, and the next numbers from us and from the target."""


def rows(*numbers):
    """The rows with these numbers of all STATES."""
    return [f"SA-{state.values[0]}-{number}" for state in STATES for number in numbers]


@needs("half_close")
@covers("RFC9293-U-FIN-RETX", "SA-FINWAIT1-18", "SA-FINWAIT1-16", behaviour="B-23")
def test_fin_wait_1(peer, listener, rto_of):
    """FIN-WAIT-1: the FIN is still repeated, our data still taken, and our ACK of the FIN alone ends it."""
    connection = established(peer, listener)
    rto_s = rto_of(connection)
    connection.shutdown()
    peer.expect("F. 1:1(0) ack 1")
    peer.expect_state("FIN-WAIT-1")
    peer.expect("F. 1:1(0) ack 1", after(rto_s))
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 2:2(0) ack 101", rule="SA-FINWAIT1-18")
    peer.expect_state("FIN-WAIT-1", rule="SA-FINWAIT1-18")
    connection.expect_data(100)
    connection.expect_no_data()
    peer.send(". 101:101(0) ack 2")
    peer.expect_silence(rule="SA-FINWAIT1-16")
    peer.expect_state("FIN-WAIT-2", rule="SA-FINWAIT1-16")


@needs("half_close")
@covers("SA-FINWAIT2-16", "SA-FINWAIT2-20", behaviour="B-23")
def test_fin_wait_2(peer, listener, rto_of):
    """FIN-WAIT-2: the FIN is repeated no more, our data still taken, and our FIN acknowledged."""
    connection = fin_wait_2(peer, listener, half=True)
    peer.expect_silence(for_s=2 * rto_of(connection))
    peer.expect_state("FIN-WAIT-2")
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 101")
    peer.expect_state("FIN-WAIT-2")
    connection.expect_data(100)
    connection.expect_no_data()
    peer.send("F. 101:101(0) ack 2")
    peer.expect(". 2:2(0) ack 102", rule="SA-FINWAIT2-20")
    connection.expect_end(rule="SA-FINWAIT2-20")


@covers("SA-CLOSEWAIT-17", "RFC9293-U-CLOSE-RXOPEN", behaviour="B-23")
def test_close_wait(peer, listener):
    """CLOSE-WAIT: our FIN is acknowledged again, the application has read the end and still sends."""
    connection = close_wait(peer, listener)
    connection.expect_end()
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    connection.send(100)
    peer.expect("P. 1:101(100) ack 2", rule="RFC9293-U-CLOSE-RXOPEN")
    peer.expect_state("CLOSE-WAIT")


@needs("half_close")
@covers("SA-CLOSING-18", "SA-CLOSING-16", "RFC9293-U-FIN-RETX", behaviour="B-23")
def test_closing(peer, listener, rto_of):
    """CLOSING: our FIN is acknowledged again while the target's is repeated, until our ACK brings TIME-WAIT."""
    connection = established(peer, listener)
    rto_s = rto_of(connection)
    connection.shutdown()
    fin = peer.expect("F. 1:1(0) ack 1")
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("CLOSING")
    connection.expect_end()
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 2:2(0) ack 2")
    peer.expect("F. 1:1(0) ack 2", after(rto_s, since=fin), rule="RFC9293-U-FIN-RETX")
    peer.expect_state("CLOSING")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence(rule="SA-CLOSING-16")
    peer.expect_state("TIME-WAIT", rule="SA-CLOSING-16")


@needs("half_close")
@covers("RFC9293-U-FIN-RETX", "SA-LASTACK-16", behaviour="B-23")
def test_last_ack(peer, listener, rto_of):
    """LAST-ACK: the FIN is repeated until our ACK ends the connection; then the same ACK meets no connection."""
    connection = close_wait(peer, listener)
    rto_s = rto_of(connection)
    connection.shutdown()
    peer.expect("F. 1:1(0) ack 2")
    peer.expect_state("LAST-ACK")
    connection.expect_end()
    peer.expect("F. 1:1(0) ack 2", after(rto_s))
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")
    peer.send(". 2:2(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="SA-LASTACK-16")


@covers("SA-TIMEWAIT-17", "SA-TIMEWAIT-14", behaviour="B-23")
def test_time_wait(peer, listener, profile):
    """TIME-WAIT: the target's FIN is repeated no more, ours is acknowledged again, an ACK of all draws nothing."""
    time_wait(peer, listener)
    peer.expect_silence(for_s=2 * profile.timer("rto_min_s"))
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence(rule="SA-TIMEWAIT-14")
    peer.expect_state("TIME-WAIT")


@covers("SA-CLOSED-09", "SA-CLOSED-01", behaviour="B-23")
def test_closed(peer, listener):
    """CLOSED: nothing is left, so FIN and SYN are refused once nobody listens either."""
    last_ack(peer, listener)
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    listener.close()
    peer.send("F. 1:1(0) ack 2")
    peer.expect("R 2:2(0)")
    peer.send("S 2:2(0) win 65535 <mss 1460>")
    peer.expect(Segment(flags=RST | ACK, seq=0, ack=peer.send_next), rule="SA-CLOSED-01")


# -- what leaves all of them as they are ------------------------------------------------------------------------------

challenged = needs("rfc5961_challenge_acks")
"""RFC 9293, 3.10.7.4: who does without RFC 5961 goes by RFC 793, and resets the connection for a SYN in the window."""


@pytest.mark.parametrize(("number", "segment"), [
    pytest.param("01", "S {inside}:{inside}(0)", marks=challenged),
    ("02", "S -100:-100(0)"),
    pytest.param("03", "S. {inside}:{inside}(0) ack {theirs}", marks=challenged),
    ("04", "S. 0:0(0) ack 1"),
], ids=["syn", "old-syn", "syn-ack", "old-syn-ack"])
@pytest.mark.parametrize(("name", "state", "reach", "ours", "theirs"), STATES)
@covers(*rows("01", "02", "03", "04"), "RFC9293-U-SYN-CHALLENGE", behaviour="B-23")
def test_syn_is_challenged(peer, listener, name, state, reach, ours, theirs, number, segment):
    """A SYN in any state of closing draws an ACK of what is expected, and changes nothing.

    Outside the window any segment does; inside, it is RFC 5961's challenge.
    """
    reach(peer, listener)
    peer.send(segment.format(inside=ours + 1000, theirs=theirs) + " win 65535 <mss 1460>")
    peer.expect(f". {theirs}:{theirs}(0) ack {ours}", rule=f"SA-{name}-{number}")
    peer.expect_state(state, rule=f"SA-{name}-{number}")


@pytest.mark.parametrize(("number", "segment"), [("09", "R 70000:70000(0)"), ("10", "P {ours}:{end}(100)")],
                         ids=["reset-above", "no-ack-bit"])
@pytest.mark.parametrize(("name", "state", "reach", "ours", "theirs"), STATES)
@covers(*rows("09", "10"), "RFC9293-U-ACK-LESS", behaviour="B-23")
def test_segment_is_dropped(peer, listener, name, state, reach, ours, theirs, number, segment):
    """A reset beyond the window, and data without the ACK bit, are dropped in silence."""
    reach(peer, listener)
    peer.send(segment.format(ours=ours, end=ours + 100))
    peer.expect_silence(rule=f"SA-{name}-{number}")
    peer.expect_state(state, rule=f"SA-{name}-{number}")


@free("drop", "late", why="RFC 9293, 3.10.7.4 (MAY-12) leaves it to the target whether it answers so old an ACK")
@pytest.mark.parametrize(("name", "state", "reach", "ours", "theirs"), [
    *STATES, pytest.param("TIMEWAIT", "TIME-WAIT", time_wait, 2, 2, id="time-wait")])
@covers(*rows("12"), "SA-TIMEWAIT-13", behaviour="B-23")
def test_very_old_ack(peer, listener, name, state, reach, ours, theirs):
    """An ACK from far below what is unacknowledged draws an ACK or nothing, and changes nothing."""
    reach(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    row = "SA-TIMEWAIT-13" if name == "TIMEWAIT" else f"SA-{name}-12"
    peer.send(f". {ours}:{ours}(0) ack -70000")
    peer.expect_silence(allow=[f". {theirs}:{theirs}(0) ack {ours}"], rule=row)
    peer.expect_state(state, rule=row)
