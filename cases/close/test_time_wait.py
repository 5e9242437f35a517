# SPDX-License-Identifier: GPL-2.0-or-later
"""B-22: who closed first stays in TIME-WAIT for a while, and what may arrive meanwhile (RFC 9293, 3.6.1)."""

from __future__ import annotations

import pytest

from harness.authoring import Kind, after, closing, covers, established, free, needs, seq, slow, time_wait

STAMP = "<TS val {} ecr {}>"
ack_or_silence = free("drop", "late", why="RFC 9293, 3.10.7.4 answers an old SYN with an ACK, RFC 6191, 2 drops it")

challenged = needs("rfc5961_challenge_acks")
"""RFC 9293, 3.10.7.4: who does without RFC 5961 goes by RFC 793, and resets for a SYN, or ends with a reset, in the
window."""


def stamp_of(segment):
    """The time stamp value of a segment of the target."""
    return int.from_bytes(segment.option(Kind.TIMESTAMPS).data[:4], "big")


def time_wait_with_stamps(peer, listener):
    """TIME-WAIT of a connection with time stamps; our last one was 1002. Next from us 2, from the target 2."""
    with peer.case.preamble():
        peer.send("S 0:0(0) win 65535 <mss 1460,TS val 1000 ecr 0>")
        answer = peer.expect("S. 0:0(0) ack 1 <TS val * ecr 1000,...>")
        peer.send(f". 1:1(0) ack 1 {STAMP.format(1001, stamp_of(answer))}")
        listener.accept(peer).close()
        fin = peer.expect("F. 1:1(0) ack 1 <TS val * ecr *>")
        peer.send(f"F. 1:1(0) ack 2 {STAMP.format(1002, stamp_of(fin))}")
        peer.expect(". 2:2(0) ack 2 <TS val * ecr *>")
        peer.expect_state("TIME-WAIT")


def expect_reopened(peer, number, options="<...>", rule=None):
    """Our SYN with that number opens anew, and the target's initial number lies beyond all that it used before."""
    used = peer.receive_next
    answer = peer.expect(f"S. 0:0(0) ack {number + 1} {options}", seq=None)
    if not seq.lt(used, answer.seq):
        raise peer.case.mismatch(expected="an initial sequence number larger than all before", rule=rule,
                                 got=f"one that is {seq.diff(used, answer.seq)} less", fields=("seq",))
    peer.expect_state("SYN-RECEIVED", rule=rule)


# -- how long it lasts ------------------------------------------------------------------------------------------------


@slow
@covers("RFC9293-U-TW-END", "RFC9293-MUST-13", "SA-TIMEWAIT-23", behaviour="B-22",
        tc8=("TCP_BASICS_11", "TCP_BASICS_13"))
def test_time_wait_lasts(peer, listener, profile):
    """TIME-WAIT lasts as long as the profile says, and then nothing is left of the connection."""
    time_wait(peer, listener)
    peer.expect_to_last("TIME-WAIT", after(profile.timer("time_wait_s")))
    peer.send("F. 1:1(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="SA-TIMEWAIT-23")


@slow
@covers("RFC9293-U-TW-END", "RFC9293-MUST-13", "SA-TIMEWAIT-23", behaviour="B-22",
        tc8=("TCP_BASICS_12", "TCP_BASICS_14"))
def test_time_wait_lasts_after_closing(peer, listener, profile):
    """The same after a simultaneous close."""
    closing(peer, listener)
    peer.send(". 2:2(0) ack 2")
    peer.expect_silence()
    peer.expect_to_last("TIME-WAIT", after(profile.timer("time_wait_s")))
    peer.send("F. 1:1(0) ack 2")
    peer.expect_gone("R 2:2(0)", rule="SA-TIMEWAIT-23")


@slow
@covers("SA-TIMEWAIT-17", "RFC9293-MUST-13", behaviour="B-22", tc8="TCP_FLAGS_PROCESSING_06")
def test_repeated_fin_restarts_time_wait(peer, listener, profile, case):
    """A repeated FIN begins the time anew."""
    time_wait(peer, listener)
    case.pause(profile.timer("time_wait_s") / 4)
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_to_last("TIME-WAIT", after(profile.timer("time_wait_s")))


@slow
@covers("RFC9293-MUST-13", behaviour="B-22")
def test_time_wait_lasts_twice_the_segment_lifetime(peer, listener, case):
    """RFC 9293 takes the maximum segment lifetime to be two minutes: the connection is still known after four."""
    time_wait(peer, listener)
    began = case.clock.now()
    while (told := case.upper.state(peer.flow)) in ("TIME-WAIT", "") and case.clock.now() - began < 239 * 10 ** 9:
        case.pause(1)
    if told not in ("TIME-WAIT", ""):
        peer.expect_state("CLOSED")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")
    if case.upper.state(peer.flow):
        peer.expect_state("TIME-WAIT")


# -- repeated and old segments ----------------------------------------------------------------------------------------


@covers("SA-TIMEWAIT-17", "RFC9293-MUST-13", behaviour="B-22")
def test_repeated_fin_is_acknowledged_again(peer, listener):
    """If the last ACK is lost our FIN comes again, and draws it again each time."""
    time_wait(peer, listener)
    for _ in range(2):
        peer.send("F. 1:1(0) ack 2")
        peer.expect(". 2:2(0) ack 2")
        peer.expect_state("TIME-WAIT")


@free("ack+1", why="RFC 9293, 3.10.7.4 does not say whether a FIN behind the FIN is counted: there should be none")
@covers("SA-TIMEWAIT-18", behaviour="B-22")
def test_second_fin(peer, listener):
    """A FIN behind the FIN is acknowledged, and opens no new stream."""
    time_wait(peer, listener)
    peer.send("F. 2:2(0) ack 2")
    peer.expect_one_of([". 2:2(0) ack 2", ". 2:2(0) ack 3"])
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", ["P. -99:1(100)", "P. 70000:70100(100)"], ids=["old", "above"])
@covers("RFC1337-DATA", "SA-TIMEWAIT-20", "SA-TIMEWAIT-21", "RFC9293-U-ACK-SYNC", behaviour="B-22",
        tc8=("TCP_UNACCEPTABLE_13", "TCP_FLAGS_INVALID_14"))
def test_data_outside_the_window(peer, listener, segment):
    """An old duplicate of data draws an ACK and does no harm."""
    time_wait(peer, listener)
    peer.send(f"{segment} ack 2")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@free("drop", "late", why="RFC 9293, 3.10.7.4 has what stands behind the FIN ignored, whether with an ACK or without")
@covers("SA-TIMEWAIT-19", "RFC1337-DATA", behaviour="B-22")
def test_data_behind_the_fin(peer, listener):
    """Data behind the FIN is not taken; the target may say so with an ACK of what it knows."""
    time_wait(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("P. 2:102(100) ack 2")
    peer.expect_silence(allow=[". 2:2(0) ack 2"])
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", [". 1:1(0) ack 2", ". 70000:70000(0) ack 2"], ids=["below", "above"])
@covers("SA-TIMEWAIT-15", "SA-TIMEWAIT-16", "RFC9293-U-ACK-SYNC", behaviour="B-22",
        tc8=("TCP_UNACCEPTABLE_13", "TCP_FLAGS_INVALID_14"))
def test_ack_outside_the_window(peer, listener, segment):
    """An ACK outside the window draws an ACK."""
    time_wait(peer, listener)
    peer.send(segment)
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", [". 2:2(0) ack 2", "U. 2:2(0) ack 2 urg 1"], ids=["ack", "urg"])
@covers("SA-TIMEWAIT-14", "SA-TIMEWAIT-22", behaviour="B-22", tc8="TCP_FLAGS_PROCESSING_07")
def test_nothing_new(peer, listener, segment):
    """What brings nothing new draws nothing."""
    time_wait(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")


@covers("SA-TIMEWAIT-12", "RFC9293-U-ACK-SYNC", behaviour="B-22", tc8="TCP_UNACCEPTABLE_13")
def test_ack_of_the_future(peer, listener):
    """An ACK of what was never sent draws an ACK."""
    time_wait(peer, listener)
    peer.send(". 2:2(0) ack 3")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@covers("SA-TIMEWAIT-11", "RFC9293-U-ACK-LESS", behaviour="B-22")
def test_data_without_ack_bit(peer, listener):
    """Without the ACK bit a segment is dropped."""
    time_wait(peer, listener)
    peer.send("P 2:102(100)")
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", [
    pytest.param("S. 1000:1000(0) ack 2", id="in-window", marks=challenged),
    pytest.param("S. 0:0(0) ack 1", id="old"),
])
@covers("SA-TIMEWAIT-04", "SA-TIMEWAIT-05", "RFC9293-U-SYN-CHALLENGE", behaviour="B-22")
def test_syn_with_ack(peer, listener, segment):
    """A SYN,ACK opens nothing: it draws an ACK."""
    time_wait(peer, listener)
    peer.send(f"{segment} win 65535 <mss 1460>")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


# -- resets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", ["R 2:2(0)", "R. 2:2(0) ack 2", "R 2:12(10)"], ids=["rst", "rst-ack", "rst-data"])
@covers("SA-TIMEWAIT-06", "SA-TIMEWAIT-07", "RFC1337-RST", behaviour="B-22")
def test_exact_reset(peer, listener, profile, segment):
    """A reset at the next number ends TIME-WAIT, or is ignored where the profile claims RFC 1337."""
    time_wait(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    kept = profile.feature("rfc1337")
    peer.expect_state("TIME-WAIT" if kept else "CLOSED")
    peer.send("F. 1:1(0) ack 2")
    if kept:
        peer.expect(". 2:2(0) ack 2")
    else:
        peer.expect_gone("R 2:2(0)")


@challenged
@covers("SA-TIMEWAIT-08", "RFC9293-U-RST-CHALLENGE", behaviour="B-22")
def test_inexact_reset(peer, listener, profile):
    """A reset elsewhere in the window draws a challenge ACK; RFC 1337 has it ignored, as any reset."""
    time_wait(peer, listener)
    peer.send("R 1000:1000(0)")
    if profile.feature("rfc1337"):
        peer.expect_silence(allow=[". 2:2(0) ack 2"])
    else:
        peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@pytest.mark.parametrize("segment", ["R -100:-100(0)", "R 70000:70000(0)"], ids=["below", "above"])
@covers("SA-TIMEWAIT-09", "SA-TIMEWAIT-10", "RFC9293-U-RST-OOW", behaviour="B-22", tc8="TCP_FLAGS_INVALID_15")
def test_reset_outside_the_window(peer, listener, segment):
    """A reset outside the window is ignored: TIME-WAIT is still there and answers the FIN."""
    time_wait(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")


# -- a new connection on the same four-tuple --------------------------------------------------------------------------


@covers("SA-TIMEWAIT-01", "RFC9293-MAY-2", "RFC6191-OLD-NOTS-SEQ", behaviour="B-22")
def test_newer_syn(peer, listener, profile):
    """A SYN beyond the old numbers opens anew, above the old initial number, if the profile says so; else an ACK."""
    time_wait(peer, listener)
    peer.send("S 100000:100000(0) win 65535 <mss 1460>")
    if profile.feature("time_wait_reopen"):
        expect_reopened(peer, 100_000)
    else:
        peer.expect(". 2:2(0) ack 2")
        peer.expect_state("TIME-WAIT")


@needs("time_wait_reopen")
@covers("RFC1337-DATA", behaviour="B-22")
def test_old_duplicates_do_not_enter_the_new_connection(peer, listener, case):
    """The new connection takes its own octets alone: the old one's draw an ACK, and its reset nothing."""
    time_wait(peer, listener)
    case.forget(peer)
    new = case.peer(local_port=peer.flow.local_port, target_port=peer.flow.target_port,
                    iss=seq.add(peer.iss, 100_000))
    connection = established(new, listener)
    new.send("P. -99999:-99899(100) ack 1")
    new.expect(". 1:1(0) ack 1")
    new.send("F. -99999:-99999(0) ack 1")
    new.expect(". 1:1(0) ack 1")
    new.send("R -99998:-99998(0)")
    new.expect_silence()
    connection.expect_no_data()
    new.expect_state("ESTABLISHED")
    new.send("P. 1:101(100) ack 1")
    new.expect(". 1:1(0) ack 101")
    connection.expect_data(100)


@needs("time_wait_reopen")
@covers("RFC9293-MUST-13", "RFC9293-MAY-2", behaviour="B-22")
def test_reopening_taken_back(peer, listener):
    """The SYN that reopened turns out to be old, since we reset its answer: TIME-WAIT goes on."""
    time_wait(peer, listener)
    with peer.case.preamble():
        peer.send("S 100000:100000(0) win 65535 <mss 1460>")
        expect_reopened(peer, 100_000)
    peer.send("R 100001:100001(0)")
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")


@covers("SA-TIMEWAIT-01", behaviour="B-22")
def test_newer_syn_when_nobody_listens(peer, listener):
    """Nobody listens any more, so nothing can be opened: the SYN draws an ACK, and TIME-WAIT goes on."""
    time_wait(peer, listener)
    listener.close()
    peer.send("S 100000:100000(0) win 65535 <mss 1460>")
    peer.expect(". 2:2(0) ack 2")
    peer.expect_state("TIME-WAIT")


@ack_or_silence
@covers("SA-TIMEWAIT-03", "RFC9293-U-SYN-CHALLENGE", behaviour="B-22")
def test_older_syn_opens_nothing(peer, listener):
    """A SYN that is not beyond the old numbers is an old duplicate: an ACK or silence, and TIME-WAIT goes on."""
    time_wait(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send("S -100:-100(0) win 65535 <mss 1460>")
    peer.expect_silence(allow=[". 2:2(0) ack 2"])
    peer.expect_state("TIME-WAIT")
    peer.send("F. 1:1(0) ack 2")
    peer.expect(". 2:2(0) ack 2")


@covers("RFC6191-OLD-NOTS-DROP", behaviour="B-22")
def test_older_syn_is_dropped(peer, listener):
    """RFC 6191 has the old SYN dropped without a word."""
    time_wait(peer, listener)
    peer.send("S -100:-100(0) win 65535 <mss 1460>")
    peer.expect_silence()
    peer.expect_state("TIME-WAIT")


@needs("time_wait_reopen")
@covers("RFC6191-LASTSEQ", behaviour="B-22")
def test_syn_right_behind_the_old_fin(peer, listener):
    """Higher means higher than the old FIN's number: the very next one will do."""
    time_wait(peer, listener)
    peer.send("S 2:2(0) win 65535 <mss 1460>")
    expect_reopened(peer, 2)


@needs("time_wait_reopen", "timestamps")
@covers("RFC6191-OLD-NOTS-TS", behaviour="B-22")
def test_stamped_syn_after_a_connection_without_stamps(peer, listener):
    """The old connection had no time stamps, the SYN has: it is new, whatever its number."""
    time_wait(peer, listener)
    peer.send("S -50000:-50000(0) win 65535 <mss 1460,TS val 2000 ecr 0>")
    expect_reopened(peer, -50_000)


@pytest.mark.parametrize("number", [100_000, -50_000], ids=["higher", "lower"])
@needs("time_wait_reopen", "timestamps")
@covers("RFC6191-TS-NEWER", "RFC9293-SHLD-4", "SA-TIMEWAIT-02", behaviour="B-22")
def test_syn_with_newer_stamp(peer, listener, number):
    """A newer time stamp is enough, whatever the number."""
    time_wait_with_stamps(peer, listener)
    peer.send(f"S {number}:{number}(0) win 65535 <mss 1460,TS val 2000 ecr 0>")
    expect_reopened(peer, number, "<TS val * ecr 2000,...>", rule="SA-TIMEWAIT-02")


@needs("time_wait_reopen", "timestamps")
@covers("RFC6191-TS-EQ-SEQ", "SA-TIMEWAIT-01", behaviour="B-22")
def test_syn_with_equal_stamp_and_higher_number(peer, listener):
    """With the same time stamp the number decides: a higher one is new."""
    time_wait_with_stamps(peer, listener)
    peer.send("S 100000:100000(0) win 65535 <mss 1460,TS val 1002 ecr 0>")
    expect_reopened(peer, 100_000, "<TS val * ecr 1002,...>", rule="SA-TIMEWAIT-01")


@needs("time_wait_reopen", "timestamps")
@covers("RFC6191-NOTS-SEQ", "SA-TIMEWAIT-01", behaviour="B-22")
def test_syn_without_stamp_and_higher_number(peer, listener):
    """The SYN has no time stamp though the old connection had: a higher number is new."""
    time_wait_with_stamps(peer, listener)
    peer.send("S 100000:100000(0) win 65535 <mss 1460>")
    expect_reopened(peer, 100_000, "<mss *>", rule="SA-TIMEWAIT-01")


OF_THE_PAST = pytest.mark.parametrize("segment", [
    pytest.param("S 100000:100000(0) win 65535 <mss 1460,TS val 500 ecr 0>", id="older-stamp"),
    pytest.param("S -100:-100(0) win 65535 <mss 1460,TS val 1002 ecr 0>", id="equal-stamp-lower-number"),
    pytest.param("S -100:-100(0) win 65535 <mss 1460>", id="no-stamp-lower-number"),
])


@ack_or_silence
@OF_THE_PAST
@needs("timestamps")
@covers("SA-TIMEWAIT-03", "RFC9293-U-SYN-CHALLENGE", behaviour="B-22")
def test_syn_of_the_past_opens_nothing(peer, listener, segment):
    """Neither the time stamp nor the number is newer: an ACK or silence, and TIME-WAIT goes on."""
    time_wait_with_stamps(peer, listener)
    peer.expect_silence()  # what is allowed below is an answer to what follows
    peer.send(segment)
    peer.expect_silence(allow=[". 2:2(0) ack 2 <TS val * ecr *>"])
    peer.expect_state("TIME-WAIT")


@OF_THE_PAST
@needs("timestamps")
@covers("RFC6191-TS-DROP", "SA-TIMEWAIT-03", behaviour="B-22")
def test_syn_of_the_past_is_dropped(peer, listener, segment):
    """Neither the time stamp nor the number is newer: RFC 6191 has the SYN dropped without a word."""
    time_wait_with_stamps(peer, listener)
    peer.send(segment)
    peer.expect_silence()
    peer.expect_state("TIME-WAIT", rule="SA-TIMEWAIT-03")
