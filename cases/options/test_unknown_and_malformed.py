# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: options at any place, of any kind, in any segment; unknown ones are skipped, malformed ones survived.

RFC 9293, 3.1: MUST-4 to MUST-7 and MUST-64.
"""

from __future__ import annotations

import pytest

from harness.authoring import ACK, FIN, RST, Kind, Option, Segment, covers, established, needs, seq, syn_sent

KNOWN = {"no-operations": "nop,nop,nop,nop", "end": "eol"}
UNKNOWN = {
    "experiment": "kind 253 0x0a0b0c0d",
    "no data": "kind 254",
    "unassigned": "kind 99 0x01",
    "long": "kind 200 0x" + "5a" * 28,
    "two": "kind 77 0x0102,kind 78 0x03",
}
ODD = {
    "scale first": "wscale 7,mss 700,sackOK,TS val 1000 ecr 0",
    "mss last": "sackOK,wscale 7,TS val 1000 ecr 0,mss 700",
    "padded by one": "nop,TS val 1000 ecr 0,nop,mss 700,nop,sackOK,nop,wscale 7",
    "padded by three": "nop,nop,nop,mss 700,wscale 7,sackOK,nop,nop,nop,TS val 1000 ecr 0",
}
MALFORMED = {
    "mss of length 0": (Option(2, b"\x02\xbc", 0),),
    "mss of length 1": (Option(2, b"\x02\xbc", 1),),
    "mss of length 2": (Option(2, b"", 2),),
    "mss of length 3": (Option(2, b"\x02", 3),),
    "mss of length 5": (Option(2, b"\x02\xbc\x00", 5),),
    "mss beyond the header": (Option(2, b"\x02\xbc", 40),),
    "mss cut off": (Option(1), Option(1), Option(1), Option(2)),
    "scale of length 2": (Option(3, b"", 2),),
    "scale of length 4": (Option(3, b"\x07\x07", 4),),
    "sack permitted of length 3": (Option(4, b"\x00", 3),),
    "time stamps of length 9": (Option(8, bytes(7), 9),),
    "time stamps of length 11": (Option(8, bytes(9), 11),),
    "time stamps beyond the header": (Option(8, bytes(6), 10),),
    "sack of length 9": (Option(5, bytes(7), 9),),
    "sack of length 2": (Option(5, b"", 2),),
    "unknown of length 0": (Option(253, b"\x01\x02", 0),),
    "unknown of length 1": (Option(253, b"\x01\x02", 1),),
    "unknown beyond the header": (Option(253, b"\x01\x02", 255),),
    "all octets 255": (Option(255, b"\xff" * 38, 255),),
    "fast open of length 3": (Option(34, b"\x01", 3),),
    "signature cut short": (Option(19, bytes(4), 6),),
}


def expect_clean_connection(case, listener):
    """The listener serves a well-formed client: handshake, data both ways."""
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 700>")
    peer.expect("S. 0:0(0) ack 1 <mss *>")
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    connection.send(1400)
    peer.expect(". 1:701(700) ack 11")
    peer.expect("P. 701:1401(700) ack 11")


# -- the basic ones ---------------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-4", behaviour="B-06", tc8="TCP_MSS_OPTIONS_02")
def test_nop_and_end_of_options_are_taken(peer, listener):
    """No-operations and the end mark around an MSS: it is read all the same."""
    connection = established(peer, listener, offer="<nop,nop,mss 700,nop,eol>")
    connection.send(1400)
    peer.expect(". 1:701(700) ack 1")
    peer.expect("P. 701:1401(700) ack 1")


@covers("RFC9293-MUST-4", behaviour="B-06", tc8="TCP_MSS_OPTIONS_02")
def test_nothing_is_read_behind_the_end(peer, listener):
    """What stands behind the end mark is no option: no SACK is agreed upon there."""
    peer.send("S 0:0(0) win 65535", options=(Option.of(2, b"\x02\xbc"), Option(0), Option.of(4), Option(1)))
    peer.expect("S. 0:0(0) ack 1 <mss *>")


@covers("RFC9293-MUST-4", behaviour="B-06")
def test_header_full_of_nops_is_taken(peer, listener):
    """Forty octets of nothing are no obstacle."""
    peer.send("S 0:0(0) win 65535", options=(Option(1),) * 40)
    peer.expect("S. 0:0(0) ack 1 <mss *>")


@covers("RFC9293-MUST-64", behaviour="B-06")
@needs("sack", "window_scaling", "timestamps")
@pytest.mark.parametrize("order", ODD)
def test_options_are_read_at_odd_places(peer, listener, order):
    """Packed without padding, in any order and at any alignment, all four take effect.

    A sender that keeps room for the blocks of a selective acknowledgement, 28 octets, sends that much less. Each
    segment is acknowledged, since the last one may wait for that (Nagle; RFC 9293, 3.7.4).
    """
    connection = established(peer, listener, offer=f"<{ODD[order]}>",
                             third=". 1:1(0) ack 1 win 500 <nop,TS val 1001 ecr 0,nop>")
    left = connection.send(1376)
    while left:
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next))
        size, stamps = len(data.payload), data.option(Kind.TIMESTAMPS)
        if not min(left, 660) <= size <= 688:
            raise peer.case.mismatch(expected="660 to 688 octets", got=f"{size}", fields=("length",))
        others = {option.kind for option in data.options} - {Kind.TIMESTAMPS, Kind.NOP}
        if others or stamps is None or stamps.value & 0xFFFFFFFF != 1001:
            raise peer.case.mismatch(expected="an echo of 1001", got=str(data), fields=("options",))
        left -= size
        if left:
            peer.send(f". 1:1(0) ack {1377 - left} win 500 <TS val 1001 ecr 0>")
    peer.send("P. 101:111(10) ack 1377 win 500 <TS val 1002 ecr 0>")
    peer.expect(". 1377:1377(0) ack 1 <TS val * ecr 1001,sack 101:111>")


@covers("RFC9293-MUST-64", "RFC9293-MUST-14", behaviour="B-06")
@pytest.mark.parametrize("pad", [1, 2, 3, 5])
def test_mss_is_read_at_an_odd_place(peer, listener, pad):
    """One, two, three or five no-operations before the MSS: what is sent heeds it."""
    connection = established(peer, listener, offer=f"<{'nop,' * pad}mss 700>")
    connection.send(1400)
    peer.expect(". 1:701(700) ack 1")
    peer.expect("P. 701:1401(700) ack 1")


# -- unknown ones -----------------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-6", behaviour="B-06", tc8="TCP_MSS_OPTIONS_03")
@pytest.mark.parametrize("which", UNKNOWN)
def test_unknown_option_in_a_syn_is_skipped(peer, listener, which):
    """An option that nobody knows is stepped over by its length: the MSS behind it holds."""
    connection = established(peer, listener, offer=f"<{UNKNOWN[which]},mss 700>")
    connection.send(1400)
    peer.expect(". 1:701(700) ack 1")
    peer.expect("P. 701:1401(700) ack 1")


@covers("RFC9293-MUST-6", behaviour="B-06")
@needs("active_open")
@pytest.mark.parametrize("which", UNKNOWN)
def test_unknown_option_in_a_syn_ack_is_skipped(peer, upper, which):
    """The same for an active opener and our SYN,ACK."""
    connection, connecting = syn_sent(peer, upper)
    peer.send(f"S. 0:0(0) ack 1 win 65535 <{UNKNOWN[which]},mss 700>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    connection.send(1400)
    peer.expect(". 1:701(700) ack 1")
    peer.send(". 1:1(0) ack 701")  # the first window may be one segment (RFC 5681, 3.1)
    peer.expect("P. 701:1401(700) ack 1")


@covers("RFC9293-MUST-5", "RFC9293-MUST-6", behaviour="B-06")
@pytest.mark.parametrize("which", [*KNOWN, *UNKNOWN])
def test_options_are_taken_in_every_segment(peer, listener, which):
    """Third segment, data, acknowledgement and FIN do with an option what they do without."""
    option = (KNOWN | UNKNOWN)[which]
    peer.send(f"S 0:0(0) win 65535 <mss 1460,{option}>")
    peer.expect("S. 0:0(0) ack 1 <mss *>")
    peer.send(f". 1:1(0) ack 1 <{option}>")
    connection = listener.accept(peer)
    peer.send(f"P. 1:11(10) ack 1 <{option}>")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    connection.send(10)
    peer.expect("P. 1:11(10) ack 11")
    peer.send(f". 11:11(0) ack 11 <{option}>")
    peer.send(f"F. 11:11(0) ack 11 <{option}>")
    peer.expect(". 11:11(0) ack 12")
    connection.expect_end()
    connection.close()
    peer.expect("F. 11:11(0) ack 12")
    peer.send(f". 12:12(0) ack 12 <{option}>")
    peer.expect_silence()
    peer.expect_state("CLOSED")


@covers("RFC9293-MUST-5", "RFC9293-U-RST-EXACT", behaviour="B-06")
@pytest.mark.parametrize("which", [*KNOWN, *UNKNOWN])
def test_options_are_taken_in_a_reset(peer, listener, which):
    """A reset with an option ends the connection as one without does, and the application is told."""
    connection = established(peer, listener)
    peer.send(f"R 1:1(0) <{(KNOWN | UNKNOWN)[which]}>")
    connection.expect_error("ECONNRESET")
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)")


@covers("RFC9293-MUST-5", "RFC9293-U-RST-CLOSED-NOACK", behaviour="B-06")
def test_options_do_not_hinder_a_refusal(peer):
    """A closed port refuses a SYN with unknown options, and repeats none of them."""
    peer.send(f"S 0:0(0) win 65535 <{UNKNOWN['experiment']},mss 1460>")
    peer.expect("R. 0:0(0) ack 1")


# -- malformed ones ---------------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-7", behaviour="B-06", tc8="TCP_MSS_OPTIONS_01")
@pytest.mark.parametrize("which", MALFORMED)
def test_malformed_option_in_a_syn_is_survived(case, peer, listener, which):
    """A SYN whose option length lies may be answered, refused or dropped; the next, clean one connects.

    Only if it was answered is there anything half open.
    """
    peer.send("S 0:0(0) win 65535", options=MALFORMED[which])
    peer.expect_silence(allow=["S. 0:0(0) ack 1 <mss *,...>", "R. 0:0(0) ack 1"])
    peer.expect_state("CLOSED" if peer.irs is None else "SYN-RECEIVED")
    expect_clean_connection(case, listener)


@covers("RFC9293-MUST-7", behaviour="B-06", tc8="TCP_MSS_OPTIONS_05")
@needs("active_open")
@pytest.mark.parametrize("which", MALFORMED)
def test_malformed_option_in_a_syn_ack_is_survived(case, peer, upper, which):
    """The same for an active opener: it goes on, refuses or waits, and the target lives.

    It is asked which, and both the segment and the outcome of connect() have to fit.
    """
    _, connecting = syn_sent(peer, upper)
    peer.send("S. 0:0(0) ack 1 win 65535", options=MALFORMED[which])
    case.sentinel()
    state = peer.state()
    if state == "ESTABLISHED":
        peer.expect(". 1:1(0) ack 1")
        connecting.expect("done")
    elif state == "CLOSED":
        peer.expect_one_of(["R 1:1(0)", "R. 1:1(0) ack 1"])
        connecting.expect("ECONNREFUSED|ECONNRESET|ECONNABORTED")
    else:
        peer.expect_state("SYN-SENT")
        connecting.expect_open()
    expect_clean_connection(case, upper.listen())


@covers("RFC9293-MUST-7", behaviour="B-06")
@pytest.mark.parametrize("which", MALFORMED)
def test_malformed_option_in_data_is_survived(case, peer, listener, profile, which):
    """Data with a lying option length is taken or dropped; the connection itself goes on, and so does the listener.

    What is acknowledged, perhaps after the longest delay, is the application's, and what is not has been dropped.
    """
    connection = established(peer, listener)
    peer.expect_silence()
    spoilt = peer.send("P. 1:11(10) ack 1", options=MALFORMED[which])
    peer.expect_silence(profile.timer("delayed_ack_max_s"), allow=[". 1:1(0) ack 11", ". 1:1(0) ack 1"])
    taken = 0 if peer.last is spoilt else seq.diff(peer.last.ack, peer.iss) - 1
    connection.expect_data(taken) if taken else connection.expect_no_data()
    peer.send("P. 1:21(20) ack 1")
    peer.expect(". 1:1(0) ack 21")
    connection.expect_data(20 - taken)
    connection.send(10)
    peer.expect("P. 1:11(10) ack 21")
    expect_clean_connection(case, listener)


@covers("RFC9293-MUST-7", behaviour="B-06")
@pytest.mark.parametrize("flags", [ACK, FIN | ACK, RST], ids=["ack", "fin", "reset"])
@pytest.mark.parametrize("which", ["mss of length 0", "unknown of length 1", "unknown beyond the header"])
def test_malformed_option_in_other_segments_is_survived(case, peer, listener, profile, which, flags):
    """Acknowledgement, FIN and reset with a lying option length do their work or are dropped; the target lives.

    What acknowledges a FIN may be delayed; only if it comes is our stream over.
    """
    established(peer, listener)
    peer.expect_silence()
    peer.send(Segment(flags=flags, ack=peer.receive_next if flags & ACK else None), options=MALFORMED[which])
    if flags & FIN:
        spoilt, end = peer.last, ". 1:1(0) ack 2"
        peer.expect_silence(profile.timer("delayed_ack_max_s"), allow=[end, ". 1:1(0) ack 1"])
        ended = peer.last is not spoilt and peer.last.ack == peer.send_next
        peer.expect_state("CLOSE-WAIT" if ended else "ESTABLISHED")
    else:
        peer.expect_silence(allow=[". 1:1(0) ack 1"])
    expect_clean_connection(case, listener)


@covers("RFC9293-MUST-7", "RFC9293-MUST-15", behaviour="B-06", tc8="TCP_MSS_OPTIONS_01")
@pytest.mark.parametrize("which", ["mss of length 0", "mss of length 3", "mss of length 5", "mss beyond the header"])
def test_malformed_mss_is_no_mss(case, peer, listener, family, which):
    """If the target goes on in spite of a broken MSS option, what it sends keeps to the default."""
    peer.send("S 0:0(0) win 65535", options=MALFORMED[which])
    answer = peer.expect_one_of(["S. 0:0(0) ack 1 <mss *>", "R. 0:0(0) ack 1"])
    if answer.has(RST):
        expect_clean_connection(case, listener)
        return
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    size = 1220 if family == "ipv6" else 536
    left, sizes = connection.send(2 * size), []
    while left:
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next), rule="RFC9293-MUST-15")
        sizes.append(len(data.payload))
        left -= sizes[-1]
        peer.send(Segment(flags=ACK))
        if not sizes[-1]:
            break
    if sizes != [size] * 2:
        even = len({*sizes[:-1]}) < 2 and sizes[-1] <= sizes[0]
        got = sizes[0] if even else ", ".join(map(str, sizes))
        raise case.mismatch(expected=f"segments of {size} octets", got=f"{got} octets", rule="RFC9293-MUST-15",
                            fields=("length",))
