# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: the window scale is agreed on in the SYNs, holds for life, and never for a SYN's own window (RFC 7323, 2)."""

from __future__ import annotations

import pytest

from harness.authoring import ACK, Kind, Segment, connected, covers, established, free, needs, seq, syn_sent

OFFER = "<mss 200,nop,wscale {shift}>"


def agreed(peer, listener, shift, window):
    """ESTABLISHED with our scale in force and this window field in our third segment."""
    return established(peer, listener, offer=OFFER.format(shift=shift), third=f". 1:1(0) ack 1 win {window}")


def expect_full(peer, first, count, ack=1):
    """So many segments of 200 octets, and then nothing."""
    for index in range(count):
        start = first + 200 * index
        peer.expect(f". {start}:{start + 200}(200) ack {ack}")
    peer.expect_silence()


def expect_scale(case, segment, rule):
    """The segment has Window Scale, which is what `rule` wants, with a shift of at most 14."""
    option = segment.option(Kind.WINDOW_SCALE)
    if option is None:
        raise case.mismatch(expected="Window Scale", got="none", rule=rule, fields=("options",))
    if option.malformed or option.value > 14:
        raise case.mismatch(expected="a shift of at most 14", got=f"{option.value}", rule="RFC7323-WS-10",
                            fields=("options",))


def expect_right_edge(case, answer, end, synack):
    """The window of this acknowledgement of `end` goes on from the SYN,ACK's, counted by the target's own scale."""
    shift = synack.option(Kind.WINDOW_SCALE).value
    edge = end + (answer.window << shift)
    if edge <= synack.window - (1 << shift) or edge > 1 + synack.window + 2 * end + (1 << shift):
        raise case.mismatch(expected=f"a right edge near {1 + synack.window}", got=f"{edge}", fields=("window",))


def expect_open(case, synack):
    """A window that is closed from the start would say nothing of how windows are counted."""
    if not synack.window:
        with case.preamble():
            raise case.mismatch(expected="a SYN,ACK with a window", got="win 0", fields=("window",))


# -- agreement --------------------------------------------------------------------------------------------------------


@covers("SA-LISTEN-01", "RFC7323-WS-5", "RFC7323-WS-10", behaviour="B-06")
@needs("window_scaling")
@pytest.mark.parametrize("shift", [0, 1, 7, 14])
def test_offer_is_answered(case, peer, listener, shift):
    """A SYN with Window Scale draws a SYN,ACK with one, whose shift is at most 14."""
    peer.send(f"S 0:0(0) win 65535 <mss 1460,nop,wscale {shift}>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,...>")
    expect_scale(case, answer, "RFC7323-WS-5")


@covers("RFC7323-WS-4", behaviour="B-06")
def test_no_offer_is_not_answered(case, peer, listener):
    """A SYN without Window Scale draws a SYN,ACK without it, though it offers all the rest."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1000 ecr 0,nop,nop>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,...>")
    if answer.option(Kind.WINDOW_SCALE) is not None:
        raise case.mismatch(expected="no Window Scale", got="Window Scale", fields=("options",))


@free("win-1", why="RFC 9293, 3.8.6.2.2: a receiver may offer less than it has room for")
@covers("SA-LISTEN-01", "RFC7323-WS-2", "RFC7323-WS-7", "RFC7323-WS-9", "RFC7323-WS-10", behaviour="B-06")
@needs("window_scaling")
def test_scale_is_answered_with_a_small_buffer_too(case, upper):
    """A receiver that needs no scale itself still answers, with a shift of its own, so that the peer may scale.

    Its SYN,ACK's window can be filled to the last octet, and its later windows are counted by that shift.
    """
    listener = upper.listen(options={"SO_RCVBUF": 8192})
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 1460,nop,wscale 7>")
    synack = peer.expect("S. 0:0(0) ack 1 <mss *,wscale *>")
    expect_scale(case, synack, "RFC7323-WS-2")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    edge = 1 + synack.window
    peer.send(f". {edge}:{edge + 1}(1) ack 1")
    peer.expect(". 1:1(0) ack 1", rule="RFC7323-WS-7")
    for start in range(1, edge, 1000):
        end = min(start + 1000, edge)
        peer.send(f"P. {start}:{end}({end - start}) ack 1")
        expect_right_edge(case, peer.expect(f". 1:1(0) ack {end}", rule="RFC7323-WS-7"), end, synack)


@covers("RFC7323-WS-10", "RFC7323-WS-2", behaviour="B-06")
@needs("active_open", "window_scaling")
def test_syn_offers_it(case, peer, upper):
    """The SYN of an active opener that has scaling offers it, with a shift of at most 14."""
    _, connecting = upper.connect(peer)
    expect_scale(case, peer.expect("S 0:0(0) <...>"), "RFC7323-WS-2")
    connecting.expect_open()


# -- what we announce -------------------------------------------------------------------------------------------------


@covers("RFC7323-WS-8", behaviour="B-06")
@needs("window_scaling")
@pytest.mark.parametrize(("shift", "window"), [(0, 400), (1, 200), (3, 50), (4, 25)])
def test_our_windows_are_shifted(peer, listener, shift, window):
    """After the SYN our window field counts 2**shift octets: the target sends exactly the 400 that it stands for."""
    connection = agreed(peer, listener, shift, window)
    connection.send(1000)
    expect_full(peer, 1, 2)
    peer.send(f". 1:1(0) ack 401 win {window}")
    expect_full(peer, 401, 2)


@covers("RFC7323-WS-3", behaviour="B-06")
@needs("window_scaling")
def test_without_our_offer_nothing_is_shifted(peer, listener):
    """A SYN without the option: window fields of 400 and 600 are octets."""
    connection = established(peer, listener, offer="<mss 200>", third=". 1:1(0) ack 1 win 400")
    connection.send(1400)
    expect_full(peer, 1, 2)
    peer.send(". 1:1(0) ack 401 win 600")
    expect_full(peer, 401, 3)


@covers("RFC7323-WS-3", behaviour="B-06")
@needs("active_open", "window_scaling")
def test_unanswered_offer_of_an_active_opener_is_void(peer, upper):
    """The target offered a scale and our SYN,ACK has none: neither its windows nor ours are shifted."""
    connection = connected(peer, upper, offer="<mss 200>")
    peer.send("P. 1:11(10) ack 1 win 400")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    connection.send(1000)
    expect_full(peer, 1, 2, ack=11)


@covers("RFC7323-WS-7", "RFC7323-WS-8", behaviour="B-06")
@needs("active_open", "window_scaling")
@pytest.mark.parametrize("shift", [1, 7, 14])
def test_window_of_our_syn_ack_is_not_shifted(peer, upper, shift):
    """The window of a SYN,ACK with Window Scale is octets: 400 of them go out; the next window field is scaled."""
    connection, connecting = syn_sent(peer, upper)
    peer.send(f"S. 0:0(0) ack 1 win 400 {OFFER.format(shift=shift)}")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    connection.send(1000)
    expect_full(peer, 1, 2)
    peer.send(f". 1:1(0) ack 401 win {-(-600 >> shift)}")
    peer.expect(". 401:601(200) ack 1", rule="RFC7323-WS-8")
    peer.expect(". 601:801(200) ack 1", rule="RFC7323-WS-8")
    peer.expect(". 801:1001(200) ack 1", rule="RFC7323-WS-8")


STREAMS_FROM_TWO = 3
"""So many streams of 64 segments make a congestion window of two one of more than sixteen (RFC 5681, 3.1)."""


def stream_in_full(peer, connection, *, last):
    """64 segments' worth goes out, each acknowledged with a window of 100, the last one with the window `last`.

    False if some of it came again since we were late: then a target begins anew with a small congestion window.
    """
    before, left = peer.repetitions, connection.send(64 * 1024)
    while left:
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next, options=()))
        if not data.payload:
            raise peer.case.mismatch(expected="some of the data", got="an empty segment", fields=("length",))
        left -= len(data.payload)
        peer.case.pause(0)  # behind the last of them nothing can have come but what came again
        calm = peer.repetitions == before and bool(left or not peer.unread)
        peer.send(Segment(flags=ACK), window=100 if left or not calm else last)
    return calm


@covers("RFC7323-WS-11", behaviour="B-06")
@needs("window_scaling")
@pytest.mark.parametrize("shift", [14, 15, 255])
def test_shift_above_14_counts_as_14(peer, listener, shift):
    """With a shift of 15 or 255 a window field of 1 is 16384 octets, as with 14.

    First 64 segments' worth go out in one stream, so that the congestion window is no limit in the end; on a machine so
    busy that the target had to repeat some, more streams, for the congestion window grows from two segments then.
    """
    connection = established(peer, listener, offer=f"<mss 1024,nop,wscale {shift}>", third=". 1:1(0) ack 1 win 100")
    connection.set_option("SO_SNDBUF", 1 << 18)
    streams = 1
    while streams:
        calm = stream_in_full(peer, connection, last=1 if streams == 1 else 100)
        streams = streams - 1 if calm else STREAMS_FROM_TWO
    first = seq.diff(peer.receive_next, peer.irs)
    connection.send(64 * 1024)
    for index in range(16):
        start = first + 1024 * index
        peer.expect(f". {start}:{start + 1024}(1024) ack 1")
    peer.expect_silence()


@covers("RFC7323-WS-6", behaviour="B-06")
@needs("window_scaling")
def test_scale_is_fixed_for_life(peer, listener):
    """Window Scale in a later segment changes nothing: the shift of the SYN goes on to hold."""
    connection = agreed(peer, listener, 4, 25)
    peer.send("P. 1:11(10) ack 1 win 25 <nop,wscale 6>")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    connection.send(1000)
    expect_full(peer, 1, 2, ack=11)
    peer.send(". 11:11(0) ack 401 win 25 <nop,wscale 0>")
    expect_full(peer, 401, 2, ack=11)


@covers("RFC7323-WS-6", behaviour="B-06")
@needs("window_scaling")
def test_scale_is_not_introduced_later(peer, listener):
    """A connection opened without scale does not get one from a later segment."""
    connection = established(peer, listener, offer="<mss 200>", third=". 1:1(0) ack 1 win 400 <nop,wscale 7>")
    connection.send(1000)
    expect_full(peer, 1, 2)


# -- what the target announces ----------------------------------------------------------------------------------------


@covers("RFC7323-WS-7", behaviour="B-06")
@needs("window_scaling", "sack")
def test_window_of_the_targets_syn_ack_is_not_shifted(peer, listener):
    """The SYN,ACK's window is octets: the last of them is taken, the one behind it is not."""
    peer.send("S 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 7>")
    synack = peer.expect("S. 0:0(0) ack 1 <mss *,sackOK,wscale *>")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    edge = 1 + synack.window
    peer.send(f". {edge}:{edge + 1}(1) ack 1")
    peer.expect(". 1:1(0) ack 1")
    peer.send(f". {edge - 1}:{edge}(1) ack 1")
    peer.expect(f". 1:1(0) ack 1 <sack {edge - 1}:{edge}>")


@covers("RFC7323-WS-9", "RFC9293-SHLD-14", behaviour="B-06")
@needs("window_scaling")
def test_windows_of_the_target_are_shifted_by_its_own_scale(case, peer, listener, profile):
    """What the target announces, times 2**its shift, goes on from the SYN,ACK's window while nobody reads.

    It may be more than that: where selective acknowledgements tell what is taken, the last octet of it is, and one that
    lies a step of the scale behind it is not.
    """
    told = profile.feature("sack")
    offer = OFFER.format(shift=2)
    peer.send(f"S 0:0(0) win 65535 {offer.replace('nop', 'sackOK,nop') if told else offer}")
    synack = peer.expect("S. 0:0(0) ack 1 <mss *,wscale *,...>")
    expect_open(case, synack)
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    for end in range(1001, 5001, 1000):
        peer.send(f"P. {end - 1000}:{end}(1000) ack 1")
        answer = peer.expect(f". 1:1(0) ack {end}")
        if not told:
            expect_right_edge(case, answer, end, synack)
    if told:
        expect_what_is_announced(case, peer, answer, end, synack)


def expect_what_is_announced(case, peer, answer, end, synack):
    """This acknowledgement's window goes on from the SYN,ACK's, and ends where no octet is taken any more."""
    step = 1 << synack.option(Kind.WINDOW_SCALE).value
    edge = end + answer.window * step
    if edge <= synack.window - step:
        raise case.mismatch(expected=f"a right edge near {1 + synack.window}", got=f"{edge}", fields=("window",))
    peer.send(f". {edge + step}:{edge + step + 1}(1) ack 1")
    peer.expect(f". 1:1(0) ack {end}")
    peer.send(f". {edge - 1}:{edge}(1) ack 1")
    peer.expect(f". 1:1(0) ack {end} <sack {edge - 1}:{edge}>")


@covers("RFC7323-WS-3", behaviour="B-06")
@needs("window_scaling")
def test_windows_of_the_target_are_not_shifted_without_agreement(case, peer, listener):
    """Without scale the target's window field is octets: it goes on from the SYN,ACK's window."""
    peer.send("S 0:0(0) win 65535 <mss 1000>")
    synack = peer.expect("S. 0:0(0) ack 1 <mss *>")
    expect_open(case, synack)
    with case.preamble():
        peer.send(". 1:1(0) ack 1")
        listener.accept(peer)
    peer.send("P. 1:1001(1000) ack 1")
    answer = peer.expect(". 1:1(0) ack 1001")
    if answer.window < synack.window - 1000:
        raise case.mismatch(expected=f"a window of at least {synack.window - 1000}", got=f"{answer.window}",
                            fields=("window",))
