# SPDX-License-Identifier: GPL-2.0-or-later
"""B-06: time stamps tell old duplicates from new segments (PAWS; RFC 7323, section 5), also after weeks of silence."""

from __future__ import annotations

import struct

import pytest

from harness.authoring import Kind, after, covers, needs, seconds_between, slow
from harness.targets.schedule import first_gap_s, over_s

pytestmark = needs("timestamps")

SPACE = 2**32
MINUTE_S = 60.0
DAY_S = 86400.0
VALID_DAYS = 24
SIGN_DAYS = 25
"""A clock of time stamps that ticks once a millisecond looks older after so many days, not newer."""
CLIENTS = 128
ROOM = 1_000_000
LONGEST_S = 51 * DAY_S
"""A clock of a tick a millisecond, the fastest that RFC 7323 allows, goes round in 49.7 days."""


def stamp_of(segment):
    """The time stamp value of a segment of the target."""
    return struct.unpack(">I", segment.option(Kind.TIMESTAMPS).data[:4])[0]


def stamped(peer, listener, stamp):
    """ESTABLISHED with time stamps, our last one being `stamp`; the connection, and the target's last one.

    Next from us 1, from the target 1.
    """
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 <mss 1460,TS val {stamp} ecr 0>")
        answer = peer.expect(f"S. 0:0(0) ack 1 <mss *,TS val * ecr {stamp}>")
        peer.send(f". 1:1(0) ack 1 <TS val {stamp} ecr {stamp_of(answer)}>")
        connection = listener.accept(peer)
    return connection, stamp_of(answer)


def send_data(peer, at, stamp, echo):
    """Ten octets of ours, from relative number `at`, with that time stamp."""
    peer.send(f"P. {at}:{at + 10}(10) ack 1 <TS val {stamp % SPACE} ecr {echo}>")


def expect_taken(peer, connection, at, stamp, rule=None):
    """These ten octets are acknowledged, their time stamp is echoed, and the application gets them."""
    peer.expect(f". 1:1(0) ack {at + 10} <TS val * ecr {stamp % SPACE}>", rule=rule)
    connection.expect_data(10, rule=rule)


def acknowledges(segment, peer):
    """The acknowledgement number of a segment of the target, counted from our first."""
    return (segment.ack - peer.iss) % SPACE


def expect_dropped(peer, connection, at, recent, rule=None):
    """These ten octets draw an ACK with what had come before them, and reach nobody."""
    peer.expect(f". 1:1(0) ack {at} <TS val * ecr {recent % SPACE}>", rule=rule)
    connection.expect_no_data(rule=rule)


# -- what is old ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [1, 2, 1000, 2**31 - 1], ids=lambda older: f"-{older}")
@covers("RFC7323-PAWS-1", behaviour="B-06")
def test_older_stamp_is_dropped(peer, listener, older):
    """Data at the right place whose time stamp is older than our last draws an ACK, and is not taken."""
    connection, echo = stamped(peer, listener, 1_000_000)
    send_data(peer, 1, 1_000_000 - older, echo)
    expect_dropped(peer, connection, 1, 1_000_000)
    send_data(peer, 1, 1_000_000, echo)
    expect_taken(peer, connection, 1, 1_000_000)


@covers("RFC7323-PAWS-4", "RFC7323-PAWS-1", behaviour="B-06")
def test_same_stamp_is_taken(peer, listener):
    """A clock of time stamps may stand still between two segments: both are taken."""
    connection, echo = stamped(peer, listener, 1000)
    for at in (1, 11, 21):
        send_data(peer, at, 1000, echo)
        expect_taken(peer, connection, at, 1000)


@covers("RFC7323-PAWS-5", "RFC7323-PAWS-1", behaviour="B-06")
def test_our_stamps_wrap(peer, listener):
    """Our time stamps pass 4294967295 and go on with 0: that is newer; what came before the wrap is older then."""
    connection, echo = stamped(peer, listener, SPACE - 20)
    for at, stamp in ((1, SPACE - 1), (11, 0), (21, 20)):
        send_data(peer, at, stamp, echo)
        expect_taken(peer, connection, at, stamp)
    send_data(peer, 31, SPACE - 1, echo)
    expect_dropped(peer, connection, 31, 20, rule="RFC7323-PAWS-1")


@covers("RFC7323-PAWS-3", "RFC9293-U-RST-CLOSED-ACK", behaviour="B-06")
def test_reset_counts_whatever_its_stamp(peer, listener):
    """A reset at the right place with an old time stamp ends the connection."""
    connection, _ = stamped(peer, listener, 1_000_000)
    peer.send("R 1:1(0) <TS val 1 ecr 0>")
    connection.expect_error("ECONNRESET")
    peer.expect_state("CLOSED")
    peer.send(". 1:1(0) ack 1 <TS val 1000000 ecr 0>")
    peer.expect_gone("R 1:1(0) <...>", rule="RFC9293-U-RST-CLOSED-ACK")


@covers("RFC7323-PAWS-11", "RFC7323-PAWS-1", "RFC7323-TS-17", behaviour="B-06")
def test_old_duplicate_does_not_turn_the_clock_back(peer, listener):
    """After an old segment was dropped, the next one is still held against the newest time stamp that was taken."""
    connection, echo = stamped(peer, listener, 1_000_000)
    for stamp in (999_000, 999_500):
        send_data(peer, 1, stamp, echo)
        expect_dropped(peer, connection, 1, 1_000_000, rule="RFC7323-PAWS-1")
    send_data(peer, 1, 1_000_001, echo)
    expect_taken(peer, connection, 1, 1_000_001)


# -- after a long silence ---------------------------------------------------------------------------------------------


def after_silence(peer, listener, seconds):
    """Old data after that many seconds of silence is dropped, and newer data is taken."""
    connection, echo = stamped(peer, listener, 1_000_000)
    peer.expect_silence(for_s=seconds)
    send_data(peer, 1, 999_000, echo)
    expect_dropped(peer, connection, 1, 1_000_000)
    stamp = 1_000_000 + round(1000 * seconds)
    send_data(peer, 1, stamp, echo)
    expect_taken(peer, connection, 1, stamp)


@slow(hours=1)
@covers("RFC7323-PAWS-1", behaviour="B-06")
@pytest.mark.parametrize("minutes", [30, 60])
def test_older_stamp_is_dropped_after_a_while(peer, listener, minutes):
    """Half an hour, or an hour, of silence changes nothing: the older time stamp is dropped, and a newer one taken."""
    after_silence(peer, listener, MINUTE_S * minutes)


@slow(hours=24 * VALID_DAYS)
@covers("RFC7323-PAWS-1", "RFC7323-PAWS-7", behaviour="B-06")
def test_older_stamp_is_dropped_until_24_days_are_over(peer, listener):
    """The clock of time stamps is not yet half way round, so that old is still old: a minute before 24 days.

    Our newer time stamp is that of a clock that ticks once a millisecond.
    """
    after_silence(peer, listener, VALID_DAYS * DAY_S - MINUTE_S)


@slow(hours=24 * SIGN_DAYS)
@covers("RFC7323-PAWS-1", "RFC7323-PAWS-7", behaviour="B-06")
def test_last_stamp_is_forgotten_after_24_days(peer, case, listener):
    """After 24 days of silence an older time stamp may be taken, and is then what the next ones are held against.

    A second connection is silent for 25 days. Its clock, a tick a millisecond, has gone on so far meanwhile that it
    looks older: if nothing were forgotten, nothing more could ever be said on it.
    """
    connection, echo = stamped(peer, listener, 3_000_000_000)
    other = case.peer(target_port=listener.port)
    silent, other_echo = stamped(other, listener, 1_000_000)
    peer.expect_silence(for_s=VALID_DAYS * DAY_S + MINUTE_S)
    send_data(peer, 1, 2_999_000_000, echo)
    taken, dropped = (f". 1:1(0) ack {ack} <TS val * ecr {stamp}>" for ack, stamp in ((11, 2_999_000_000),
                                                                                     (1, 3_000_000_000)))
    if acknowledges(peer.expect_one_of([taken, dropped]), peer) == 1:
        pytest.skip("not applicable: the target forgets no time stamp, which is its right")
    connection.expect_data(10)
    send_data(peer, 11, 2_998_000_000, echo)
    expect_dropped(peer, connection, 11, 2_999_000_000, rule="RFC7323-PAWS-1")
    other.expect_silence(for_s=(SIGN_DAYS - VALID_DAYS) * DAY_S)
    stamp = 1_000_000 + round(SIGN_DAYS * DAY_S * 1000)
    send_data(other, 1, stamp, other_echo)
    expect_taken(other, silent, 1, stamp)


# -- the target's own -------------------------------------------------------------------------------------------------


def opened_below_the_wrap(case, listener):
    """A connection whose target's time stamps will wrap: its peer, its socket, and the target's first stamp.

    A target may begin at another place for each address and port that asks, so a number of them ask, and the one with
    the least left to go is taken, if that is enough to learn the clock's pace meanwhile.
    """
    network = case.forged
    left = []
    for at in range(1, CLIENTS + 1):
        asking = case.peer(target_port=listener.port, local=network[at].packed)
        asking.send("S 0:0(0) win 65535 <mss 1460,TS val 1000 ecr 0>")
        answer = asking.expect("S. 0:0(0) ack 1 <mss *,TS val * ecr 1000>")
        asking.send("R 1:1(0)")
        left.append(((SPACE - stamp_of(answer) - ROOM) % SPACE, at, asking.flow))
        case.forget(asking)
    flow = min(left)[2]
    peer = case.peer(target_port=flow.target_port, local_port=flow.local_port, local=flow.local)
    return peer, *stamped(peer, listener, 1000)


def exchange(peer, connection, turn, echo):
    """The `turn`-th ten octets of ours: the target's time stamp, and when it came."""
    at = 1 + 10 * turn
    peer.send(f"P. {at}:{at + 10}(10) ack 1 <TS val {1001 + turn} ecr {echo}>")
    answer = peer.expect(f". 1:1(0) ack {at + 10} <TS val * ecr {1001 + turn}>")
    connection.expect_data(10)
    peer.case.injector.stamp()
    return stamp_of(answer), answer


@slow(hours=24 * 50)
@covers("RFC7323-TS-12", "RFC7323-TS-3", "RFC9293-MUST-18", behaviour="B-06")
def test_targets_stamps_wrap(case, listener, profile):
    """In a connection's life the target's time stamps pass 4294967295: they go on with 0, and it works as before.

    Our echoes from before and after the wrap leave its time-out as it was: lost data is repeated after the same time.
    """
    with case.preamble():
        peer, connection, first = opened_below_the_wrap(case, listener)
        opened = peer.last
        case.pause(10.0)
        stamp, answer = exchange(peer, connection, 0, first)
        for turn, before_s in ((1, 300.0), (2, 3.0)):  # the longer it is watched, the better its pace is known
            tick_s = seconds_between(opened, answer) / ((stamp - first) % SPACE)
            if (wait_s := (SPACE - stamp) * tick_s) > LONGEST_S:
                pytest.skip(f"not applicable: the target's time stamps wrap in {wait_s / DAY_S:.0f} days only")
            case.pause(max(0.0, wait_s - before_s))
            stamp, answer = exchange(peer, connection, turn, stamp)
    before, ours, theirs, due = stamp, 31, 1, first_gap_s(profile)
    for turn in range(3, 11):
        peer.send(f"P. {ours}:{ours + 10}(10) ack {theirs} <TS val {1001 + turn} ecr {stamp}>")
        ours += 10
        stamp = stamp_of(peer.expect(f". {theirs}:{theirs}(0) ack {ours} <TS val * ecr {1001 + turn}>"))
        connection.expect_data(10)
        peer.count_repeats()
        connection.send(10)
        data = f"P. {theirs}:{theirs + 10}(10) ack {ours} <TS val * ecr {1001 + turn}>"
        lost = peer.expect(data)
        again = peer.expect(data, after(*due), rule="RFC9293-MUST-18")
        # There are those who take an echo of just 0 for none, and measure nothing by it: the doubled wait stays.
        stamp, wait_s = stamp_of(again), seconds_between(lost, again)
        due = due[0], over_s(profile, wait_s if stamp else 2 * wait_s)
        theirs += 10
        peer.send(f". {ours}:{ours}(0) ack {theirs} <TS val {1001 + turn} ecr {stamp}>")
        # What was repeated may be measured by its echo, and need not be (RFC 6298, 3); what comes at once always is.
        connection.send(10)
        stamp = stamp_of(peer.expect(f"P. {theirs}:{theirs + 10}(10) ack {ours} <TS val * ecr {1001 + turn}>"))
        theirs += 10
        peer.send(f". {ours}:{ours}(0) ack {theirs} <TS val {1001 + turn} ecr {stamp}>")
        case.pause(0.5)
    if not stamp < before:
        raise case.mismatch(expected="time stamps that begin anew with 0", got=f"{before}, then {stamp}")
