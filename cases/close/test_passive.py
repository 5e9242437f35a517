# SPDX-License-Identifier: GPL-2.0-or-later
"""B-17: the peer closes first, the target follows (RFC 9293, 3.6, case 2, and figure 12)."""

from __future__ import annotations

import pytest

from harness.authoring import after, close_wait, connected, covers, established, free, last_ack
from harness.targets.backoff import follow_backoff

FIN_AGAIN = "F. 1:1(0) ack 2"
NEARLY = 0.9
"""Until this part of the time in which a target gives up has passed, nobody gives up, with a reset or without."""


def expect_last_ack_ended(peer):
    """Our ACK of all ends LAST-ACK without a word; if it had ended already, the ACK meets no connection."""
    told = peer.case.upper.state(peer.flow)
    peer.send(". 2:2(0) ack 2")
    if told == "CLOSED":
        peer.expect_gone("R 2:2(0)")
    peer.expect_silence(allow=[] if told else ["R 2:2(0)"])
    peer.expect_state("CLOSED")


@covers("SA-ESTAB-25", "RFC9293-MUST-12", behaviour="B-17", tc8="TCP_BASICS_03")
def test_fin_is_acknowledged(peer, listener):
    """A FIN takes one number: its acknowledgement is one further, and the application sees the end of the stream."""
    connection = established(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    peer.expect_state("CLOSE-WAIT")
    connection.expect_end(rule="RFC9293-MUST-12")


@covers("RFC9293-U-CLOSE-NOACKFIN", behaviour="B-17")
def test_no_fin_before_the_application_closes(peer, listener, rto_of):
    """The peer's FIN is acknowledged at once; the target's own waits until its application closes."""
    connection = close_wait(peer, listener)
    peer.expect_silence(for_s=2 * rto_of(connection))
    peer.expect_state("CLOSE-WAIT")


@covers("RFC1122-CLOSEWAIT", "SA-LASTACK-16", behaviour="B-17",
        tc8=("TCP_CONNECTION_ESTAB_07", "TCP_BASICS_08", "TCP_BASICS_09"))
def test_close_in_close_wait(peer, listener):
    """close() sends the FIN, LAST-ACK waits for its acknowledgement, and nothing is left then."""
    connection = close_wait(peer, listener)
    connection.close()
    peer.expect("F. 1:1(0) ack 2")
    peer.expect_state("LAST-ACK")
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence(rule="SA-LASTACK-16")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")
    peer.send(". 2:2(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="SA-LASTACK-16")


@covers("RFC1122-CLOSEWAIT", "SA-LASTACK-16", behaviour="B-17")
def test_peer_closes_what_the_target_opened(peer, upper):
    """Who opened does not matter: the four segments of the close are the same."""
    connection = connected(peer, upper)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    connection.expect_end()
    connection.close()
    peer.expect("F. 1:1(0) ack 2")
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")
    peer.send(". 2:2(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="SA-LASTACK-16")


@covers("RFC9293-U-FIN-RETX", "RFC9293-U-UTIMEOUT", behaviour="B-17")
def test_last_ack_repeats_the_fin(peer, listener, profile):
    """Our acknowledgement is lost: the FIN comes again with growing gaps, as often as the profile says.

    Who gives up may say so with a reset.
    """
    last_ack(peer, listener)
    end, more = follow_backoff(peer, FIN_AGAIN, profile, orphan=True)
    last = peer.last
    peer.expect_silence(for_s=NEARLY * end[0], allow=[FIN_AGAIN] * more)
    peer.expect_to_last("LAST-ACK", after(*end, since=last), rule="RFC9293-U-UTIMEOUT")
    peer.expect_silence(allow=[*[FIN_AGAIN] * more, "R. 2:2(0) ack 2"])


@covers("RFC9293-U-FIN-RETX", "SA-LASTACK-16", behaviour="B-17")
def test_repeated_fin_acknowledged_ends_last_ack(peer, listener, rto_of):
    """One repetition of the FIN is enough: its acknowledgement ends the connection."""
    connection = close_wait(peer, listener)
    rto_s = rto_of(connection)
    connection.close()
    peer.expect("F. 1:1(0) ack 2")
    peer.expect("F. 1:1(0) ack 2", after(rto_s))
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("CLOSED", rule="SA-LASTACK-16")
    peer.expect_silence(for_s=3 * rto_s, rule="SA-LASTACK-16")


@covers("SA-ESTAB-26", "RFC9293-MUST-12", behaviour="B-17", tc8="TCP_CALL_RECEIVE_05")
def test_data_with_the_fin_is_delivered(peer, listener):
    """The FIN comes behind the octets of its own segment: the application reads these, then the end."""
    connection = established(peer, listener)
    peer.send("FP. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 102")
    peer.expect_state("CLOSE-WAIT")
    connection.expect_data(100)
    connection.expect_end(rule="RFC9293-MUST-12")


@pytest.mark.parametrize(("early", "end"), [("F. 101:101(0)", 102), ("FP. 101:151(50)", 152)],
                         ids=["alone", "with-data"])
@covers("RFC9293-U-FIN-INORDER", "SA-ESTAB-27", behaviour="B-17")
def test_fin_before_its_turn(peer, listener, early, end):
    """A FIN that arrives ahead of missing data has no effect before that data has come."""
    connection = established(peer, listener)
    peer.send(f"{early} ack 1")
    peer.expect(". 1:1(0) ack 1", rule="SA-ESTAB-27")
    peer.expect_state("ESTABLISHED")
    connection.expect_no_data()
    peer.send("P. 1:101(100) ack 1")
    peer.expect(f". 1:1(0) ack {end}")
    peer.expect_state("CLOSE-WAIT")
    connection.expect_data(end - 2)
    connection.expect_end()


@covers("SA-ESTAB-28", behaviour="B-17")
def test_fin_outside_the_window(peer, listener):
    """A FIN in front of the window closes nothing; an empty ACK says what is expected."""
    connection = established(peer, listener)
    peer.send("F. -1:-1(0) ack 1")
    peer.expect(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")
    connection.expect_no_data()


@covers("SA-ESTAB-30", behaviour="B-17")
def test_fin_without_ack_bit(peer, listener):
    """Without the ACK bit the FIN is dropped."""
    connection = established(peer, listener)
    peer.send("F 1:1(0)")
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")
    connection.expect_no_data()


@covers("SA-CLOSEWAIT-17", behaviour="B-17", tc8="TCP_FLAGS_PROCESSING_09")
def test_repeated_fin_in_close_wait(peer, listener):
    """The acknowledgement was lost, so the peer's FIN comes again: it is acknowledged again, and nothing else."""
    close_wait(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    peer.expect_state("CLOSE-WAIT")


@covers("SA-CLOSEWAIT-18", behaviour="B-17")
def test_second_fin_in_close_wait(peer, listener):
    """A FIN behind the FIN changes nothing; the target may say so with an ACK."""
    connection = close_wait(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("F. 2:2(0) ack 1")
    peer.expect_silence(allow=[". 1:1(0) ack 2", ". 1:1(0) ack 3"])
    peer.expect_state("CLOSE-WAIT")
    connection.expect_end()


@covers("SA-CLOSEWAIT-19", behaviour="B-17")
def test_data_behind_the_fin_is_not_delivered(peer, listener):
    """What comes behind the peer's FIN is not part of the stream: the application sees its end alone."""
    connection = close_wait(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("P. 2:102(100) ack 1")
    peer.expect_silence(allow=[". 1:1(0) ack 2", "R 1:1(0)", "R. 1:1(0) ack 2"])
    connection.expect_end()


@pytest.mark.parametrize(("row", "segment"), [
    ("SA-CLOSEWAIT-14", ". 1:1(0) ack 1"),
    ("SA-CLOSEWAIT-15", ". 70000:70000(0) ack 1"),
    ("SA-CLOSEWAIT-21", "P. -99:1(100) ack 1"),
    ("SA-CLOSEWAIT-20", "P. 70000:70100(100) ack 1"),
    ("SA-CLOSEWAIT-11", ". 2:2(0) ack 2"),
], ids=["below", "above", "data-below", "data-above", "future-ack"])
@covers("SA-CLOSEWAIT-11", "SA-CLOSEWAIT-14", "SA-CLOSEWAIT-15", "SA-CLOSEWAIT-20", "SA-CLOSEWAIT-21",
        "RFC9293-U-ACK-SYNC", behaviour="B-17", tc8=("TCP_UNACCEPTABLE_14", "TCP_FLAGS_INVALID_11"))
def test_unacceptable_segment_in_close_wait(peer, listener, row, segment):
    """What is outside the window, or acknowledges what was never sent, draws an empty ACK in CLOSE-WAIT too."""
    connection = close_wait(peer, listener)
    peer.send(segment)
    peer.expect(". 1:1(0) ack 2", rule=row)
    peer.expect_state("CLOSE-WAIT", rule=row)
    connection.expect_end(rule=row)


@pytest.mark.parametrize("segment", [". 2:2(0) ack 1", "U. 2:2(0) ack 1 urg 1"], ids=["ack", "urg"])
@covers("SA-CLOSEWAIT-13", "SA-CLOSEWAIT-22", behaviour="B-17", tc8="TCP_FLAGS_PROCESSING_07")
def test_nothing_new_in_close_wait(peer, listener, segment):
    """What brings nothing new draws nothing."""
    connection = close_wait(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("CLOSE-WAIT")
    connection.expect_end()


@covers("SA-LASTACK-18", behaviour="B-17", tc8="TCP_FLAGS_PROCESSING_09")
def test_repeated_fin_in_last_ack(peer, listener):
    """The peer's FIN again, its own ACK too old for the target's FIN: acknowledged, and still LAST-ACK."""
    last_ack(peer, listener)
    peer.send("F. 1:1(0) ack 1")
    peer.expect_one_of([". 2:2(0) ack 2", "F. 1:1(0) ack 2"])
    peer.expect_state("LAST-ACK")


@free("drop", "late", why="RFC 9293, 3.10.7.4 has the answer to what is not acceptable as a should in small letters, "
                          "and whose acknowledgement is taken at first needs none")
@covers("SA-LASTACK-19", behaviour="B-17")
def test_repeated_fin_that_acknowledges_in_last_ack(peer, listener):
    """The peer's FIN again, acknowledging the target's: an ACK, or its acknowledgement is taken and all is over."""
    last_ack(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("F. 1:1(0) ack 2")
    peer.expect_silence(allow=[". 2:2(0) ack 2"])
    expect_last_ack_ended(peer)


@pytest.mark.parametrize("segment", [". 2:2(0) ack 1", "U. 2:2(0) ack 1 urg 1"], ids=["ack", "urg"])
@covers("SA-LASTACK-17", "SA-LASTACK-13", "SA-LASTACK-22", behaviour="B-17", tc8="TCP_FLAGS_PROCESSING_07")
def test_what_does_not_acknowledge_the_fin_in_last_ack(peer, listener, segment):
    """Only the acknowledgement of its FIN ends LAST-ACK."""
    last_ack(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("LAST-ACK")
    peer.send(". 2:2(0) ack 2")
    peer.expect_state("CLOSED")


@pytest.mark.parametrize(("row", "segment"), [
    ("SA-LASTACK-14", ". 1:1(0) ack 1"),
    ("SA-LASTACK-15", ". 70000:70000(0) ack 1"),
    ("SA-LASTACK-21", "P. 70000:70100(100) ack 1"),
    ("SA-LASTACK-11", ". 2:2(0) ack 3"),
], ids=["below", "above", "data-above", "future-ack"])
@covers("SA-LASTACK-11", "SA-LASTACK-14", "SA-LASTACK-15", "SA-LASTACK-21", "RFC9293-U-ACK-SYNC", behaviour="B-17",
        tc8=("TCP_UNACCEPTABLE_12", "TCP_FLAGS_INVALID_13"))
def test_unacceptable_segment_in_last_ack(peer, listener, row, segment):
    """What is outside the window, or acknowledges what was never sent, draws an empty ACK: the target waits on."""
    last_ack(peer, listener)
    peer.send(segment)
    peer.expect(". 2:2(0) ack 2", rule=row)
    peer.expect_state("LAST-ACK", rule=row)


@covers("SA-LASTACK-20", behaviour="B-17")
def test_data_in_last_ack(peer, listener):
    """Data behind the peer's FIN does not disturb LAST-ACK, unless the target resets the connection for it."""
    last_ack(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("P. 2:102(100) ack 1")
    peer.expect_silence(allow=[". 2:2(0) ack 2", "R 1:1(0)", "R. 2:2(0) ack 2"])
    expect_last_ack_ended(peer)
