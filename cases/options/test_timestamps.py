# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: time stamps are agreed on in the two SYNs, and then stand in every segment (RFC 7323, section 3.2)."""

from __future__ import annotations

from harness.authoring import ACK, Kind, after, covers, established, needs, seq, syn_sent
from harness.targets.schedule import syn_gaps_s, synack_gaps_s

OFFER = "<mss 1460,TS val 1000 ecr 0,nop,nop>"
THIRD = ". 1:1(0) ack 1 <nop,nop,TS val 1001 ecr 0>"
"""The echo of 0 is older than anything the target may have sent; nobody has to look at it in a third segment."""


def agreed(peer, listener):
    """ESTABLISHED with time stamps; our third segment echoes the SYN,ACK's. Returns connection and that value."""
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 {OFFER}")
        synack = peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 1000>")
        stamp = int.from_bytes(synack.option(Kind.TIMESTAMPS).data[:4], "big")
        peer.send(f". 1:1(0) ack 1 <nop,nop,TS val 1001 ecr {stamp}>")
        connection = listener.accept(peer)
        peer.expect_state("ESTABLISHED")
    return connection, stamp


@covers("RFC7323-TS-6", "SA-LISTEN-01", behaviour="B-06")
@needs("timestamps")
def test_offer_is_answered(peer, listener):
    """A SYN with time stamps draws a SYN,ACK with them, which echoes ours."""
    peer.send("S 0:0(0) win 65535 <mss 1460,TS val 123456789 ecr 0,nop,nop>")
    peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 123456789>")


@covers("RFC7323-TS-7", "SA-LISTEN-01", behaviour="B-06")
@needs("timestamps")
def test_echo_in_our_syn_is_not_read(peer, listener):
    """Without ACK bit the echo has no meaning, whatever stands there."""
    peer.send("S 0:0(0) win 65535 <mss 1460,TS val 7 ecr 4000000000,nop,nop>")
    peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 7>")


@covers("RFC7323-TS-2", behaviour="B-06")
def test_no_offer_is_not_answered(case, peer, listener):
    """A SYN without time stamps draws a SYN,ACK without them, though it offers all the rest."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,...>")
    if answer.option(Kind.TIMESTAMPS) is not None:
        raise case.mismatch(expected="no time stamps", got="time stamps", fields=("options",))


@covers("RFC9293-MUST-14", "RFC7323-TS-5", behaviour="B-06")
@needs("active_open", "timestamps")
def test_syn_offers_them_with_an_echo_of_zero(case, peer, upper):
    """The SYN of an active opener has nothing to echo."""
    _, connecting = upper.connect(peer)
    option = peer.expect("S 0:0(0) <mss *,TS val * ecr *,...>").option(Kind.TIMESTAMPS)
    if option.value & 0xFFFFFFFF:
        raise case.mismatch(expected="ecr 0", got=f"ecr {option.value & 0xFFFFFFFF}", rule="RFC7323-TS-5",
                            fields=("options",))
    connecting.expect_open()


@covers("RFC7323-TS-3", "RFC7323-TS-6", behaviour="B-06")
@needs("timestamps")
def test_every_segment_carries_them(peer, listener):
    """Acknowledgement, data, FIN and the last ACK: all have time stamps, which echo our latest."""
    connection, _ = agreed(peer, listener)
    peer.send("P. 1:11(10) ack 1 <nop,nop,TS val 1002 ecr 0>")
    peer.expect(". 1:1(0) ack 11 <TS val * ecr 1002>")
    connection.expect_data(10)
    connection.send(10)
    peer.expect("P. 1:11(10) ack 11 <TS val * ecr 1002>")
    peer.send(". 11:11(0) ack 11 <nop,nop,TS val 1003 ecr 0>")
    connection.close()
    peer.expect("F. 11:11(0) ack 11 <TS val * ecr 1003>")
    peer.send("F. 11:11(0) ack 12 <nop,nop,TS val 1004 ecr 0>")
    peer.expect(". 12:12(0) ack 12 <TS val * ecr 1004>")


@covers("RFC9293-U-ABORT-RST", "RFC7323-TS-4", "RFC7323-TS-6", behaviour="B-06")
@needs("abort", "timestamps")
def test_reset_carries_them_too(peer, listener):
    """A reset has time stamps like any other segment; if it acknowledges, it echoes our latest."""
    connection, _ = agreed(peer, listener)
    connection.abort()
    reset = peer.expect_one_of(["R 1:1(0) <...>", "R. 1:1(0) ack 1 <...>"])
    option = reset.option(Kind.TIMESTAMPS)
    if option is None:
        raise peer.case.mismatch(expected="time stamps", got="none", rule="RFC7323-TS-4", fields=("options",))
    if reset.has(ACK) and option.value & 0xFFFFFFFF != 1001:
        raise peer.case.mismatch(expected="ecr 1001", got=f"ecr {option.value & 0xFFFFFFFF}", rule="RFC7323-TS-6",
                                 fields=("options",))


@covers("RFC7323-TS-10", behaviour="B-06")
def test_unagreed_ones_are_ignored(peer, listener):
    """On a connection without time stamps ours mean nothing, and none come back."""
    connection = established(peer, listener)
    for index, stamp in enumerate((5000, 1)):
        start = 1 + 10 * index
        peer.send(f"P. {start}:{start + 10}(10) ack 1 <nop,nop,TS val {stamp} ecr 0>")
        peer.expect(f". 1:1(0) ack {start + 10}")
    connection.expect_data(20)


@covers("RFC7323-TS-2", behaviour="B-06")
@needs("active_open", "timestamps")
def test_unanswered_offer_of_an_active_opener_is_void(peer, upper):
    """Our SYN,ACK without time stamps: the target's segments have none."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    connection.send(10)
    peer.expect("P. 1:11(10) ack 1")


@covers("RFC7323-TS-9", behaviour="B-06")
@needs("timestamps")
def test_segment_without_them_does_not_end_the_connection(peer, listener, profile):
    """Whatever becomes of a segment that lacks the agreed time stamps, the connection goes on.

    What is acknowledged, perhaps after the longest delay, is the application's, and what is not has been dropped.
    """
    connection, _ = agreed(peer, listener)
    bare = peer.send("P. 1:11(10) ack 1")
    peer.expect_silence(profile.timer("delayed_ack_max_s"),
                        allow=[". 1:1(0) ack 11 <TS val * ecr 1001>", ". 1:1(0) ack 1 <TS val * ecr 1001>"])
    taken = 0 if peer.last is bare else seq.diff(peer.last.ack, peer.iss) - 1
    connection.expect_data(taken) if taken else connection.expect_no_data()
    peer.send("P. 1:21(20) ack 1 <nop,nop,TS val 1002 ecr 0>")
    peer.expect(". 1:1(0) ack 21 <TS val * ecr 1002>")
    connection.expect_data(20 - taken)


@covers("RFC7323-TS-8", behaviour="B-06")
@needs("timestamps")
def test_segment_without_them_is_dropped(peer, listener):
    """Once agreed on, data without time stamps is dropped without an answer."""
    connection = established(peer, listener, offer=OFFER, third=THIRD)
    peer.send("P. 1:11(10) ack 1")
    peer.expect_silence()
    connection.expect_no_data()


@covers("RFC7323-TS-12", "RFC7323-TS-20", behaviour="B-06")
@needs("timestamps")
def test_clock_of_time_stamps_ticks_between_1_ms_and_1_s(case, peer, listener):
    """Over a stretch of time the value goes on, by one tick for each 1 to 1000 ms."""
    began = case.moment()  # before the first value was read off the clock, however late it came to us
    connection, first = agreed(peer, listener)
    case.pause(1.1)
    connection.send(10)
    data = peer.expect("P. 1:11(10) ack 1 <TS val * ecr *>")
    case.injector.stamp()
    ticks = (int.from_bytes(data.option(Kind.TIMESTAMPS).data[:4], "big") - first) % 2**32
    elapsed_ms = (data.stamp_ns - began.stamp_ns) / 1e6
    if not elapsed_ms / 1000 - 1 <= ticks <= elapsed_ms + 20 or not ticks:
        raise case.mismatch(expected=f"1 to {elapsed_ms:.0f} ticks in {elapsed_ms:.0f} ms", got=f"{ticks} ticks")


def expect_later_stamp(case, first, again):
    """The time stamp of the second has gone on with the time between them, by one tick for each 1 to 1000 ms."""
    case.injector.stamp()
    ticks = (again.option(Kind.TIMESTAMPS).value - first.option(Kind.TIMESTAMPS).value >> 32) % 2**32
    elapsed_ms = (again.stamp_ns - first.stamp_ns) / 1e6
    if not int(elapsed_ms / 1000) <= ticks <= elapsed_ms + 20:
        raise case.mismatch(expected=f"1 to {elapsed_ms:.0f} ticks in {elapsed_ms:.0f} ms", got=f"{ticks} ticks")


@covers("RFC7323-TS-12", behaviour="B-06")
@needs("active_open", "timestamps")
def test_repeated_syn_is_stamped_anew(case, peer, upper, profile):
    """A SYN that is sent again has the time stamp of that sending, not of the first one."""
    _, connecting = upper.connect(peer)
    first = peer.expect("S 0:0(0) <TS val * ecr *,...>")
    peer.count_repeats()
    again = peer.expect("S 0:0(0) <TS val * ecr *,...>", after(syn_gaps_s(profile)[0]))
    expect_later_stamp(case, first, again)
    connecting.expect_open()


@covers("RFC7323-TS-12", behaviour="B-06")
@needs("timestamps")
def test_repeated_syn_ack_is_stamped_anew(case, peer, listener, profile):
    """The same for a SYN,ACK."""
    peer.send(f"S 0:0(0) win 65535 {OFFER}")
    first = peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 1000>")
    peer.count_repeats()
    again = peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 1000>", after(synack_gaps_s(profile)[0]))
    expect_later_stamp(case, first, again)
