# SPDX-License-Identifier: GPL-2.0-or-later
"""B-18: the target closes first (RFC 9293, 3.6, case 1, and figure 12)."""

from __future__ import annotations

import pytest

from harness.authoring import (
    ACK,
    FIN,
    RST,
    Segment,
    after,
    connected,
    covers,
    established,
    fin_wait_1,
    fin_wait_2,
    free,
    needs,
    seq,
)
from harness.targets.backoff import follow_backoff

FIN_AGAIN = "F. 1:1(0) ack 1"
NEARLY = 0.9
"""Until this part of the time in which a target gives up has passed, nobody gives up, with a reset or without."""


@covers("RFC9293-U-CLOSE-RELIABLE", behaviour="B-18", tc8=("TCP_CLOSING_06", "TCP_BASICS_08"))
def test_close_sends_fin(peer, listener):
    """close() with nothing left to send: FIN,ACK at once."""
    connection = established(peer, listener)
    connection.close()
    peer.expect("F. 1:1(0) ack 1")
    peer.expect_state("FIN-WAIT-1")


@covers("SA-FINWAIT1-16", behaviour="B-18")
def test_ack_leads_to_fin_wait_2(peer, listener):
    """Our ACK of the FIN draws nothing; the target waits for ours."""
    fin_wait_1(peer, listener)
    peer.send(". 1:1(0) ack 2")
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-2")


@covers("SA-FINWAIT2-20", behaviour="B-18", tc8="TCP_BASICS_10")
def test_fin_leads_to_time_wait(peer, listener):
    """Our FIN draws the last ACK, and TIME-WAIT begins."""
    fin_wait_2(peer, listener)
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@covers("SA-FINWAIT2-20", "SA-FINWAIT1-16", behaviour="B-18")
def test_target_closes_what_it_opened(peer, upper):
    """The same four segments where the target opened."""
    connection = connected(peer, upper)
    connection.close()
    peer.expect("F. 1:1(0) ack 1")
    peer.send(". 1:1(0) ack 2")
    peer.expect_state("FIN-WAIT-2", rule="SA-FINWAIT1-16")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@covers("RFC9293-U-CLOSE-RELIABLE", behaviour="B-18")
def test_data_goes_out_before_the_fin(peer, listener):
    """What was written before close() is sent before the FIN, however the octets are cut into segments."""
    connection = established(peer, listener)
    connection.send(3000)
    connection.close()
    end = seq.add(peer.irs, 3001)
    while seq.lt(peer.receive_next, end):
        data, last = (Segment(flags=flags, seq=peer.receive_next, ack=peer.send_next) for flags in (ACK, ACK | FIN))
        segment = peer.expect_one_of([data, last])
        if not segment.length:
            raise peer.case.mismatch(expected="the data that is due", got="an empty ACK", fields=("length",))
        if not segment.has(FIN):
            peer.send(Segment(flags=ACK))  # the target's first window may be a single segment (RFC 5681, 3.1)
    if not segment.has(FIN):
        peer.expect("F. 3001:3001(0) ack 1")
    peer.send(". 1:1(0) ack 3002")
    peer.expect_state("FIN-WAIT-2")


@covers("RFC9293-U-CLOSE-RELIABLE", "SA-FINWAIT1-17", behaviour="B-18")
def test_fin_waits_behind_a_closed_window(peer, listener):
    """close() while the window holds one segment alone: data and FIN follow as acknowledgements let them."""
    connection = established(peer, listener, offer="<mss 1000>")
    connection.send(1000)
    peer.expect("P. 1:1001(1000) ack 1")
    peer.send(". 1:1(0) ack 1001 win 1000")
    connection.send(2000)
    connection.close()
    peer.expect(". 1001:2001(1000) ack 1")
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-1")
    peer.send(". 1:1(0) ack 2001 win 65535")
    last = peer.expect_one_of(["P. 2001:3001(1000) ack 1", "FP. 2001:3001(1000) ack 1"])
    if not last.has(FIN):
        peer.expect("F. 3001:3001(0) ack 1")
    peer.send(". 1:1(0) ack 3001")
    peer.expect_silence(rule="SA-FINWAIT1-17")
    peer.expect_state("FIN-WAIT-1", rule="SA-FINWAIT1-17")
    peer.send(". 1:1(0) ack 3002")
    peer.expect_state("FIN-WAIT-2")


@free("fin", why="RFC 9293, 3.8.1 leaves it open whether a FIN is repeated with the data before it or by itself")
@covers("RFC9293-U-CLOSE-RELIABLE", "RFC9293-U-FIN-RETX", behaviour="B-18")
def test_lost_data_and_fin_are_repeated(peer, listener, rto_of):
    """close() does not give up data on the way: octets and FIN are sent again until we acknowledge both."""
    connection = established(peer, listener)
    rto_s = rto_of(connection)
    connection.send(100)
    first = peer.expect("P. 1:101(100) ack 1")
    connection.close()
    peer.expect("F. 101:101(0) ack 1")
    again = peer.expect_one_of(["P. 1:101(100) ack 1", "FP. 1:101(100) ack 1"], after(rto_s, since=first))
    peer.send(". 1:1(0) ack 101")
    if not again.has(FIN):
        peer.expect("F. 101:101(0) ack 1", within_s=4 * rto_s, rule="RFC9293-U-FIN-RETX")
    peer.send(". 1:1(0) ack 102")
    peer.expect_state("FIN-WAIT-2")


@covers("RFC9293-U-FIN-RETX", "RFC9293-U-UTIMEOUT", behaviour="B-18")
def test_fin_wait_1_repeats_the_fin(peer, listener, profile):
    """Nobody acknowledges: the FIN comes again with growing gaps, as often as the profile says, then no more.

    Who gives up may say so with a reset.
    """
    fin_wait_1(peer, listener)
    end, more = follow_backoff(peer, FIN_AGAIN, profile, orphan=True)
    last = peer.last
    peer.expect_silence(for_s=NEARLY * end[0], allow=[FIN_AGAIN] * more)
    peer.expect_to_last("FIN-WAIT-1", after(*end, since=last), rule="RFC9293-U-UTIMEOUT")
    peer.expect_silence(allow=[*[FIN_AGAIN] * more, "R. 2:2(0) ack 1"])


@needs("half_close")
@covers("RFC9293-U-FIN-ONCE", behaviour="B-18")
def test_closing_again_sends_no_second_fin(peer, listener):
    """shutdown(), then close(): one FIN."""
    connection = fin_wait_2(peer, listener, half=True)
    connection.close()
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-2")


@needs("linger")
@covers("RFC9293-U-CLOSE-RELIABLE", behaviour="B-18")
def test_lingering_close_waits_for_the_acknowledgement(peer, listener):
    """With a linger time, close() returns once data and FIN are acknowledged, and not before."""
    connection = established(peer, listener)
    closing = connection.close(linger_s=5)
    peer.expect("F. 1:1(0) ack 1")
    closing.expect_open()
    peer.send(". 1:1(0) ack 2")
    closing.expect("done")


@covers("RFC9293-SHLD-3", behaviour="B-18")
def test_close_with_unread_data_resets(peer, listener):
    """Data that the application never read is lost for good, and a reset says so to the peer."""
    connection = established(peer, listener)
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.close()
    peer.expect_one_of(["R. 1:1(0) ack 101", "R 1:1(0)"])
    peer.expect_state("CLOSED")


@pytest.mark.parametrize("segment", ["P. 1:101(100) ack 2", "FP. 1:101(100) ack 2"], ids=["data", "data-and-fin"])
@covers("SA-FINWAIT2-17", "SA-FINWAIT2-21", "RFC9293-SHLD-3", behaviour="B-18")
def test_data_after_close_resets(peer, listener, segment):
    """Data for a closed socket reaches nobody: it is reset, if the target does not go on taking it."""
    fin_wait_2(peer, listener)
    peer.send(segment)
    end = 102 if segment.startswith("F") else 101
    answer = peer.expect_one_of(["R 2:2(0)", f"R. 2:2(0) ack {end}", "R. 2:2(0) ack 1", f". 2:2(0) ack {end}"])
    kept = "TIME-WAIT" if end == 102 else "FIN-WAIT-2"
    peer.expect_state("CLOSED" if answer.has(RST) else kept)


@covers("SA-FINWAIT1-18", "RFC9293-SHLD-3", behaviour="B-18")
def test_data_after_close_before_the_fin_is_acknowledged(peer, listener):
    """The same in FIN-WAIT-1."""
    fin_wait_1(peer, listener)
    peer.send("P. 1:101(100) ack 1")
    answer = peer.expect_one_of(["R 1:1(0)", "R. 2:2(0) ack 101", "R. 2:2(0) ack 1", ". 2:2(0) ack 101"])
    peer.expect_state("CLOSED" if answer.has(RST) else "FIN-WAIT-1")


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("SA-FINWAIT1-13", "SA-FINWAIT2-13", behaviour="B-18")
def test_duplicate_acks_change_nothing(peer, listener, close):
    """An ACK that acknowledges nothing new draws nothing, before and after that of the FIN."""
    fin_wait_1(peer, listener, half=close == "shutdown")
    peer.send(". 1:1(0) ack 1")
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-1")
    peer.send(". 1:1(0) ack 2")
    peer.send(". 1:1(0) ack 2")
    peer.expect_silence(rule="SA-FINWAIT2-13")
    peer.expect_state("FIN-WAIT-2", rule="SA-FINWAIT2-13")


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("SA-FINWAIT2-24", behaviour="B-18")
def test_fin_without_ack_bit(peer, listener, close):
    """Without the ACK bit the FIN is dropped, and FIN-WAIT-2 goes on."""
    fin_wait_2(peer, listener, half=close == "shutdown")
    peer.send("F 1:1(0)")
    peer.expect_silence()
    peer.expect_state("FIN-WAIT-2")


@pytest.mark.parametrize(("row", "segment"), [
    ("SA-FINWAIT1-14", ". 0:0(0) ack 1"),
    ("SA-FINWAIT1-15", ". 70000:70000(0) ack 1"),
    ("SA-FINWAIT1-21", "P. 70000:70100(100) ack 1"),
    ("SA-FINWAIT1-11", ". 1:1(0) ack 3"),
], ids=["below", "above", "data-above", "future-ack"])
@covers("SA-FINWAIT1-11", "SA-FINWAIT1-14", "SA-FINWAIT1-15", "SA-FINWAIT1-21", "RFC9293-U-ACK-SYNC", behaviour="B-18",
        tc8=("TCP_UNACCEPTABLE_09", "TCP_FLAGS_INVALID_09"))
def test_unacceptable_segment_in_fin_wait_1(peer, listener, row, segment):
    """What is outside the window, or acknowledges what was never sent, draws an empty ACK: the target waits on."""
    fin_wait_1(peer, listener)
    peer.send(segment)
    peer.expect(". 2:2(0) ack 1", rule=row)
    peer.expect_state("FIN-WAIT-1", rule=row)


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@pytest.mark.parametrize(("row", "segment"), [
    ("SA-FINWAIT2-14", ". 0:0(0) ack 2"),
    ("SA-FINWAIT2-15", ". 70000:70000(0) ack 2"),
    ("SA-FINWAIT2-19", "P. 70000:70100(100) ack 2"),
], ids=["below", "above", "data-above"])
@covers("SA-FINWAIT2-14", "SA-FINWAIT2-15", "SA-FINWAIT2-19", "RFC9293-U-ACK-SYNC", behaviour="B-18",
        tc8=("TCP_UNACCEPTABLE_10", "TCP_FLAGS_INVALID_10"))
def test_segment_outside_the_window_in_fin_wait_2(peer, listener, close, row, segment):
    """The same in FIN-WAIT-2, whether or not a socket is left."""
    fin_wait_2(peer, listener, half=close == "shutdown")
    peer.send(segment)
    peer.expect(". 2:2(0) ack 1", rule=row)
    peer.expect_state("FIN-WAIT-2", rule=row)


@needs("half_close")
@covers("SA-FINWAIT1-26", behaviour="B-18", tc8="TCP_FLAGS_INVALID_09")
def test_fin_outside_the_window_in_fin_wait_1(peer, listener):
    """A FIN beyond the window draws an empty ACK and closes nothing."""
    fin_wait_1(peer, listener, half=True)
    peer.send("F. 70000:70000(0) ack 1")
    peer.expect(". 2:2(0) ack 1")
    peer.expect_state("FIN-WAIT-1")


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@covers("SA-FINWAIT2-23", behaviour="B-18", tc8="TCP_FLAGS_INVALID_10")
def test_fin_outside_the_window_in_fin_wait_2(peer, listener, close):
    """A FIN beyond the window draws an empty ACK and closes nothing."""
    fin_wait_2(peer, listener, half=close == "shutdown")
    peer.send("F. 70000:70000(0) ack 2")
    peer.expect(". 2:2(0) ack 1")
    peer.expect_state("FIN-WAIT-2")


challenged = needs("rfc5961_challenge_acks")
"""RFC 9293, 3.10.7.4: who does without RFC 5961 goes by RFC 793, and resets the connection, or lets it be reset."""


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@pytest.mark.parametrize(("row", "segment"), [
    pytest.param("SA-FINWAIT2-01", "S 1000:1000(0) win 65535 <mss 1460>", marks=challenged),
    pytest.param("SA-FINWAIT2-03", "S. 1000:1000(0) ack 2 win 65535 <mss 1460>", marks=challenged),
    pytest.param("SA-FINWAIT2-07", "R 1000:1000(0)", marks=challenged),
    ("SA-FINWAIT2-11", ". 1:1(0) ack 3"),
], ids=["syn", "syn-ack", "rst", "future-ack"])
@covers("SA-FINWAIT2-01", "SA-FINWAIT2-03", "SA-FINWAIT2-07", "SA-FINWAIT2-11", behaviour="B-18",
        tc8="TCP_UNACCEPTABLE_10")
def test_challenge_in_fin_wait_2(peer, listener, close, row, segment):
    """A doubtful SYN, reset or ACK draws a challenge ACK, and FIN-WAIT-2 goes on, whether or not a socket is left."""
    fin_wait_2(peer, listener, half=close == "shutdown")
    peer.send(segment)
    peer.expect(". 2:2(0) ack 1", rule=row)
    peer.expect_state("FIN-WAIT-2", rule=row)


@pytest.mark.parametrize("close", ["close", pytest.param("shutdown", marks=needs("half_close"))])
@pytest.mark.parametrize(("row", "segment"), [
    ("SA-FINWAIT2-08", "R -100:-100(0)"),
    ("SA-FINWAIT2-09", "R 70000:70000(0)"),
], ids=["below", "above"])
@covers("SA-FINWAIT2-08", "SA-FINWAIT2-09", "RFC9293-U-RST-OOW", behaviour="B-18", tc8="TCP_FLAGS_INVALID_15")
def test_reset_outside_the_window_in_fin_wait_2(peer, listener, close, row, segment):
    """A reset outside the window is ignored."""
    fin_wait_2(peer, listener, half=close == "shutdown")
    peer.send(segment)
    peer.expect_silence(rule=row)
    peer.expect_state("FIN-WAIT-2", rule=row)


@pytest.mark.parametrize("ack", [1, 2], ids=["fin-not-acknowledged", "fin-acknowledged"])
@needs("half_close")
@covers("RFC9293-U-FIN-INORDER", "SA-FINWAIT1-25", "SA-FINWAIT2-22", behaviour="B-18")
def test_fin_before_its_turn(peer, listener, ack):
    """Our FIN overtakes our data: the target waits for the data, whether or not its own FIN is acknowledged."""
    connection = fin_wait_1(peer, listener, half=True)
    peer.send(f"F. 101:101(0) ack {ack}")
    peer.expect(". 2:2(0) ack 1")
    peer.expect_state("FIN-WAIT-1" if ack == 1 else "FIN-WAIT-2", rule="SA-FINWAIT1-25")
    peer.send("P. 1:101(100) ack 2")
    peer.expect(". 2:2(0) ack 102")
    peer.expect_state("TIME-WAIT", rule="SA-FINWAIT2-22")
    connection.expect_data(100)
    connection.expect_end()


@covers("RFC9293-U-UTIMEOUT", behaviour="B-18")
def test_fin_wait_2_ends(peer, listener, profile):
    """A closed socket waits for our FIN as long as the profile says; what comes later meets a closed port."""
    fin_wait_2(peer, listener)
    peer.expect_to_last("FIN-WAIT-2", after(profile.timer("fin_wait_2_s")))
    peer.send("F. 1:1(0) ack 2")
    peer.expect_gone("R 2:2(0)")
