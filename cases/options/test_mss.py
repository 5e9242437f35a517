# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: the maximum segment size, in each direction on its own (RFC 9293, 3.7.1; RFC 6691).

What is sent is at most the smaller of the peer's MSS and what IP can carry, options taken off; what is offered follows
from the target's own link alone.
"""

from __future__ import annotations

import pytest

from harness.authoring import ACK, Kind, Segment, connected, covers, established, needs, seq

DEFAULT = {"ipv4": 536, "ipv6": 1220}
HEADERS = {"ipv4": 40, "ipv6": 60}


def link_mss(case, family):
    """What fits into one packet of the link behind headers without options."""
    return case.injector.link.mtu - HEADERS[family]


def expect_full_segments(peer, connection, size, count=3):
    """The application sends `count` segments' worth; each one has to be of that size.

    Each is acknowledged, since the target's first window may be a single segment (RFC 5681, 3.1).
    """
    connection.send(size * count)
    for index in range(count):
        peer.expect(f". {1 + index * size}:{1 + (index + 1) * size}({size}) ack 1")
        peer.send(f". 1:1(0) ack {1 + (index + 1) * size}")


def described(sizes):
    """What segments of these sizes come to: one size, if the last one alone is smaller."""
    even = len({*sizes[:-1]}) < 2 and sizes[-1] <= sizes[0]
    return f"{sizes[0] if even else ', '.join(map(str, sizes))} octets"


def expect_default_segments(peer, connection, size, count=3):
    """The same, of what a sender takes for granted; what is smaller is told when all of it has come."""
    left, sizes = connection.send(size * count), []
    while left:
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next))
        sizes.append(len(data.payload))
        left -= sizes[-1]
        peer.send(Segment(flags=ACK))
        if not sizes[-1]:
            break
    if sizes != [size] * count:
        raise peer.case.mismatch(expected=f"segments of {size} octets", got=described(sizes), fields=("length",))


def expect_offer(case, segment, wanted, rule):
    """The segment's MSS option has this value, which is what `rule` wants."""
    option = segment.option(Kind.MSS)
    if option is None or option.malformed or option.value != wanted:
        got = "none" if option is None else f"mss {option.value}"
        raise case.mismatch(expected=f"mss {wanted}", got=got, rule=rule, fields=("options",))


# -- what the target offers -------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-14", "RFC6691-OPTVAL", behaviour="B-06", tc8="TCP_MSS_OPTIONS_12")
def test_syn_ack_offers_what_the_link_carries(case, peer, listener, family):
    """The option of the SYN,ACK is the link's MTU less the headers without options: 40 octets, or 60 with IPv6."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    expect_offer(case, peer.expect("S. 0:0(0) ack 1 <mss *>"), link_mss(case, family), "RFC6691-OPTVAL")


@covers("RFC9293-MUST-14", "RFC9293-SHLD-5", behaviour="B-06")
def test_syn_ack_offers_an_mss_though_the_syn_did_not(case, peer, listener, family):
    """Each end speaks for itself: a SYN without options is answered with an MSS, since it is not the default one."""
    peer.send("S 0:0(0) win 65535")
    expect_offer(case, peer.expect("S. 0:0(0) ack 1 <...>"), link_mss(case, family), "RFC9293-SHLD-5")


@covers("RFC9293-MUST-14", "RFC9293-SHLD-5", behaviour="B-06", tc8=("TCP_MSS_OPTIONS_11", "TCP_MSS_OPTIONS_12"))
@needs("active_open")
def test_syn_offers_an_mss(case, peer, upper, family):
    """The SYN of an active open carries the option with the link's value."""
    _, connecting = upper.connect(peer)
    expect_offer(case, peer.expect("S 0:0(0) <...>"), link_mss(case, family), "RFC9293-SHLD-5")
    connecting.expect_open()


@covers("RFC9293-MUST-14", "RFC6691-OPTVAL", "RFC6691-NOTLESS", behaviour="B-06")
@needs("timestamps")
def test_offer_is_not_lowered_for_time_stamps(case, peer, listener, family):
    """The twelve octets of time stamps in every segment are not taken off the value that is offered."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 1000,...>")
    expect_offer(case, answer, link_mss(case, family), "RFC6691-OPTVAL")


@covers("RFC9293-MUST-14", behaviour="B-06")
@pytest.mark.parametrize("ours", [100, 536, 9000, 65535])
def test_directions_are_independent(case, peer, listener, family, ours):
    """Whatever we offer, the target offers its own, and takes segments of that size while it sends ours."""
    own = link_mss(case, family)
    peer.send(f"S 0:0(0) win 65535 <mss {ours}>")
    peer.expect(f"S. 0:0(0) ack 1 <mss {own}>")
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.send(f"P. 1:{1 + own}({own}) ack 1")
    peer.expect(f". 1:1(0) ack {1 + own}")
    connection.expect_data(own)
    size = min(ours, own)
    connection.send(2 * size)
    peer.expect(f". 1:{1 + size}({size}) ack {1 + own}")
    peer.expect(f". {1 + size}:{1 + 2 * size}({size}) ack {1 + own}")


# -- what the target sends --------------------------------------------------------------------------------------------


@covers("RFC9293-MUST-14", "RFC9293-MUST-16", behaviour="B-06", tc8="TCP_MSS_OPTIONS_06")
@pytest.mark.parametrize("mss", [100, 200, 535, 536, 537, 700, 1219, 1221])
def test_mss_of_the_syn_limits_what_is_sent(peer, listener, mss):
    """Bulk data of a passive opener leaves in segments of exactly the MSS that our SYN offered."""
    connection = established(peer, listener, offer=f"<mss {mss}>")
    expect_full_segments(peer, connection, mss)


@covers("RFC9293-MUST-14", "RFC9293-MUST-16", behaviour="B-06", tc8="TCP_MSS_OPTIONS_09")
@needs("active_open")
@pytest.mark.parametrize("mss", [200, 700])
def test_mss_of_the_syn_ack_limits_what_is_sent(peer, upper, mss):
    """The same for an active opener and our SYN,ACK."""
    connection = connected(peer, upper, offer=f"<mss {mss}>")
    expect_full_segments(peer, connection, mss)


@covers("RFC9293-MUST-15", behaviour="B-06", tc8="TCP_MSS_OPTIONS_10")
def test_without_the_option_the_default_holds(peer, listener, family):
    """A SYN without MSS limits the target to 536 octets, with IPv6 to 1220."""
    connection = established(peer, listener, offer="")
    expect_default_segments(peer, connection, DEFAULT[family])


@covers("RFC9293-MUST-15", behaviour="B-06", tc8="TCP_MSS_OPTIONS_10")
@needs("active_open")
def test_without_the_option_in_the_syn_ack_the_default_holds(peer, upper, family):
    """The same for an active opener and a SYN,ACK without options."""
    connection = connected(peer, upper, offer="")
    expect_default_segments(peer, connection, DEFAULT[family])


@covers("RFC9293-MUST-16", behaviour="B-06", tc8=("TCP_MSS_OPTIONS_06", "TCP_HEADER_01"))
@pytest.mark.parametrize("mss", [1461, 2000, 9000, 65535])
def test_what_ip_carries_limits_what_is_sent(case, peer, listener, family, mss):
    """A larger MSS than the link takes is capped by IP: whole packets of the MTU, no fragments."""
    connection = established(peer, listener, offer=f"<mss {mss}>")
    expect_full_segments(peer, connection, link_mss(case, family))


@covers("RFC9293-MUST-16", "RFC9293-U-MSS-JUMBO", behaviour="B-06", tc8="TCP_MSS_OPTIONS_09")
@needs("active_open")
@pytest.mark.parametrize("mss", [2000, 65535])
def test_what_ip_carries_limits_an_active_opener(case, peer, upper, family, mss):
    """The same for an active opener; 65535, which means *unlimited* with IPv6, is no exception."""
    connection = connected(peer, upper, offer=f"<mss {mss}>")
    expect_full_segments(peer, connection, link_mss(case, family))


@covers("RFC6691-SENDER", "RFC9293-MUST-16", behaviour="B-06")
@needs("timestamps")
@pytest.mark.parametrize("mss", [1000, 9000])
def test_options_are_taken_off_the_payload(case, peer, listener, family, mss):
    """With time stamps in each segment the payload is shorter by the octets of the options.

    Each segment is acknowledged, since the last may wait for that (Nagle; RFC 9293, 3.7.4).
    """
    connection = established(peer, listener, offer=f"<mss {mss},TS val 1000 ecr 0,nop,nop>",
                             third=". 1:1(0) ack 1 <nop,nop,TS val 1001 ecr 0>")
    connection.send(3000)
    data = peer.expect(Segment(flags=ACK, seq=seq.add(peer.irs, 1), ack=peer.send_next))
    options = sum(len(option.encode()) for option in data.options)
    wanted = min(mss, link_mss(case, family)) - options
    if len(data.payload) != wanted:
        raise case.mismatch(expected=f"{wanted} octets of payload beside {options} of options",
                            got=f"{len(data.payload)} octets", fields=("length",))
    while peer.receive_next != seq.add(peer.irs, 3001):
        if not data.payload:
            raise case.mismatch(expected="the data that is due", got="an empty ACK", fields=("length",))
        peer.send(f". 1:1(0) ack {seq.diff(peer.receive_next, peer.irs)} <nop,nop,TS val 1001 ecr 0>")
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next))


@covers("RFC9293-MUST-16", behaviour="B-06")
def test_small_mss_is_heeded_down_to_the_profiles_floor(peer, listener, profile):
    """The smallest MSS that the profile says is heeded is heeded exactly."""
    floor = profile.limit("min_send_mss") if profile.states("min_send_mss") else 64
    connection = established(peer, listener, offer=f"<mss {floor}>")
    expect_full_segments(peer, connection, floor)


@covers("RFC9293-MUST-16", behaviour="B-06")
def test_tiny_mss_is_heeded(case, peer, listener):
    """Even eight octets are a limit that the peer may set."""
    connection = established(peer, listener, offer="<mss 8>")
    connection.send(16)
    for _ in range(2):
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next, options=()))
        if len(data.payload) != 8:
            raise case.mismatch(expected="8 octets", got=f"{len(data.payload)} octets", fields=("length",))


@covers("RFC9293-MUST-7", "RFC9293-MUST-15", behaviour="B-06")
def test_mss_of_zero_is_survived(case, peer, listener):
    """An MSS of 0 can mean nothing; the target still sends its data, in whatever segments."""
    connection = established(peer, listener, offer="<mss 0>")
    connection.send(100)
    end = seq.add(peer.irs, 101)
    while peer.receive_next != end:
        data = peer.expect(Segment(flags=ACK, seq=peer.receive_next, ack=peer.send_next, options=()))
        if not data.payload:
            raise case.mismatch(expected="some of the data", got="an empty segment", fields=("length",))
        peer.send(Segment(flags=ACK))


@covers("RFC9293-MUST-65", "RFC9293-MUST-5", behaviour="B-06")
def test_mss_outside_a_syn_changes_nothing(peer, listener):
    """The option has its meaning in a SYN alone: in a later segment it does not lower what is sent."""
    connection = established(peer, listener, offer="<mss 1000>")
    peer.send("P. 1:11(10) ack 1 <mss 200>")
    peer.expect(". 1:1(0) ack 11")
    connection.expect_data(10)
    connection.send(2000)
    peer.expect(". 1:1001(1000) ack 11")
    peer.expect(". 1001:2001(1000) ack 11")


@covers("RFC9293-MUST-14", behaviour="B-06")
def test_connections_keep_their_own_mss(case, listener):
    """Two connections at one time keep their own sizes."""
    sizes = {case.peer(target_port=listener.port): mss for mss in (300, 900)}
    connections = {peer: established(peer, listener, offer=f"<mss {mss}>") for peer, mss in sizes.items()}
    for peer, mss in sizes.items():
        expect_full_segments(peer, connections[peer], mss, 2)
