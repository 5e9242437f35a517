# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an acknowledgement may be held back, and what for (RFC 9293, 3.8.6.3; RFC 5681, 4.2)."""

from __future__ import annotations

import pytest

from harness.authoring import Kind, after, covers, established, free, needs, seconds_between, seq
from harness.wire.clock import SECOND

LATEST_S = 0.5
BOTH_THERE_S = 0.01
"""So long after a segment nothing is on its way any more that was said before it came."""
ROUNDS = 6
FULL_SIZE = {"ipv4": 1460, "ipv6": 1440}
STAMPED = "<mss 1460,TS val 1000 ecr 0>"

in_either_way = free("drop", "late", why="RFC 9293, 3.8.6.3: an acknowledgement goes alone or with the answer")
in_ones_or_twos = free("drop", "late", why="RFC 5681, 4.2: the target acknowledges each full segment, or every second")


def holds_back(profile):
    """False if the profile says that every segment is acknowledged at once."""
    return not profile.states("delayed_ack_max_s") or profile.timer("delayed_ack_max_s") > 0


def in_conversation(peer, listener):
    """Our question and the application's answer, six times: the target has reason to wait for an answer now.

    Next from us 61, from the target 61.
    """
    with peer.case.preamble():
        connection = established(peer, listener)
        for at in range(1, 10 * ROUNDS, 10):
            peer.send(f"P. {at}:{at + 10}(10) ack {at}")
            connection.expect_data(10)
            connection.send(10)
            peer.expect(f"P. {at}:{at + 10}(10) ack {at + 10}", allow=[f". {at}:{at}(0) ack {at + 10}"])
            peer.send(f". {at + 10}:{at + 10}(0) ack {at + 10}")
    return connection


@covers("RFC9293-MUST-40", "RFC5681-RX-500")
def test_first_segments_are_acknowledged_within_half_a_second(peer, listener):
    """On a fresh connection each of ten lone segments is acknowledged before half a second is over."""
    established(peer, listener)
    for at in range(1, 1000, 100):
        peer.send(f"P. {at}:{at + 100}(100) ack 1")
        peer.expect(f". 1:1(0) ack {at + 100}", after(0.0, LATEST_S))


@in_either_way
@covers("RFC9293-MUST-40", "RFC5681-RX-500")
def test_question_is_acknowledged_within_half_a_second(peer, listener):
    """Question and answer went to and fro; this time there is no answer, and the acknowledgement comes in time."""
    in_conversation(peer, listener)
    for at in range(61, 91, 10):
        peer.send(f"P. {at}:{at + 10}(10) ack 61")
        peer.expect(f". 61:61(0) ack {at + 10}", after(0.0, LATEST_S))


@in_either_way
@covers("RFC9293-SHLD-18")
def test_acknowledgement_is_held_back_as_long_as_the_profile_says(peer, listener, profile):
    """The longest that the target waits for an answer is its profile's time."""
    if not profile.states("delayed_ack_max_s"):
        pytest.skip("not applicable: the profile states no delayed_ack_max_s")
    in_conversation(peer, listener)
    for at in range(61, 91, 10):
        peer.send(f"P. {at}:{at + 10}(10) ack 61")
        peer.expect(f". 61:61(0) ack {at + 10}", after(0.0, profile.timer("delayed_ack_max_s")))


@in_either_way
@covers("RFC9293-SHLD-18")
def test_acknowledgement_rides_on_the_answer(peer, listener):
    """In a conversation the question is acknowledged by the answer, not by a segment of its own before it.

    On a busy machine the application may answer so late that nobody can have waited for it; in three conversations it
    does not.
    """
    connection = in_conversation(peer, listener)
    alone = 0
    for at in range(61, 91, 10):
        both, one = f"P. {at}:{at + 10}(10) ack {at + 10}", f". {at}:{at}(0) ack {at + 10}"
        peer.send(f"P. {at}:{at + 10}(10) ack {at}")
        connection.expect_data(10)
        answered = peer.case.moment()
        connection.send(10)
        answer = peer.expect_one_of([both, one])
        if not answer.payload:
            alone += 1
            if alone == 3 or answer.stamp_ns >= answered.stamp_ns:
                peer.case.advise(expected=both, got=one, rule="RFC9293-SHLD-18")
            peer.expect(both)
            if answer.stamp_ns >= answered.stamp_ns:
                return
        peer.send(f". {at + 10}:{at + 10}(0) ack {at + 10}")


@in_either_way
@covers("RFC9293-SHLD-18", "RFC9293-MUST-40", "RFC9293-MUST-58")
def test_two_small_segments_share_an_acknowledgement(peer, listener):
    """In a conversation two small segments close together are acknowledged once, with the number after both.

    Who answers the first at once has not held back, which is advised only: nothing says that the second was there. On a
    busy machine the second may leave late; one time in three it does not. Once both have been there for a while, an
    acknowledgement of the first alone breaks the rule to aggregate.
    """
    in_conversation(peer, listener)
    for at in (61, 81, 101):
        first, second = peer.send(f"P. {at}:{at + 10}(10) ack 61"), peer.send(f"P. {at + 10}:{at + 20}(10) ack 61")
        both, one = f". 61:61(0) ack {at + 20}", f". 61:61(0) ack {at + 10}"
        came = peer.expect_one_of([both, one], after(0.0, LATEST_S, since=first), rule="RFC9293-MUST-40")
        if came.ack == seq.add(peer.iss, at + 20):
            break
        late_s = seconds_between(second, came)
        if late_s > BOTH_THERE_S + peer.case.tolerance_ns / SECOND:
            raise peer.case.mismatch(expected=both, got=f"{one}, {late_s:.3f} s behind the second segment",
                                     rule="RFC9293-MUST-58", fields=("ack",))
        if at == 101 or came.stamp_ns >= second.stamp_ns:
            peer.case.advise(expected=both, got=one, rule="RFC9293-SHLD-18")
        peer.expect(both, after(0.0, LATEST_S, since=second), rule="RFC9293-MUST-40")
        if came.stamp_ns >= second.stamp_ns:
            break
    peer.expect_silence()


@in_either_way
@in_ones_or_twos
@covers("RFC9293-SHLD-19", "RFC5681-RX-EVERY2")
@pytest.mark.parametrize("talk", [False, True], ids=["from-the-start", "after-a-conversation"])
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_every_second_full_segment_is_acknowledged_at_once(peer, listener, family, talk, read):
    """Of thirty full segments no two stay unacknowledged, whether the application reads them at once or later."""
    connection = in_conversation(peer, listener) if talk else established(peer, listener)
    first, size = (61 if talk else 1), FULL_SIZE[family]
    connection.reading_matters()
    acknowledged = first
    for at in range(first, first + 30 * size, size):
        sent = peer.send(f". {at}:{at + size}({size}) ack {first}")
        if read:
            connection.expect_data(size)
        due = f". {first}:{first}(0) ack {at + size}"
        # On a busy machine the one before has been acknowledged by itself by now, having waited for this one in vain.
        before = [f". {first}:{first}(0) ack {at}"] if acknowledged < at else []
        peer.expect_silence(allow=[*before, due])
        if peer.last is not sent:
            acknowledged = seq.diff(peer.last.ack, peer.iss)
        if at + size - acknowledged >= 2 * size:
            raise peer.case.mismatch(expected=due, got="nothing")


@in_either_way
@needs("timestamps")
@covers("RFC7323-TS-14", "RFC7323-TS-17")
def test_late_acknowledgement_echoes_the_earliest_segment(peer, listener, profile):
    """Two small segments share an acknowledgement: it echoes the time stamp of the first, which waited longer."""
    if not holds_back(profile):
        pytest.skip("not applicable: by its profile the target holds no acknowledgement back")
    connection = established(peer, listener, offer=STAMPED, third=". 1:1(0) ack 1 <TS val 1001 ecr 0>")
    with peer.case.preamble():
        for at in range(1, 10 * ROUNDS, 10):
            stamp = 1001 + at
            peer.send(f"P. {at}:{at + 10}(10) ack {at} <TS val {stamp} ecr 0>")
            connection.expect_data(10)
            connection.send(10)
            peer.expect(f"P. {at}:{at + 10}(10) ack {at + 10} <TS val * ecr {stamp}>",
                        allow=[f". {at}:{at}(0) ack {at + 10} <TS val * ecr {stamp}>"])
            peer.send(f". {at + 10}:{at + 10}(0) ack {at + 10} <TS val {stamp + 1} ecr 0>")
    peer.send("P. 61:71(10) ack 61 <TS val 2000 ecr 0>")
    peer.send("P. 71:81(10) ack 61 <TS val 2005 ecr 0>")
    answer = peer.expect(". 61:61(0) ack 81 <TS val * ecr *>", within_s=LATEST_S)
    if answer.option(Kind.TIMESTAMPS).value & 0xFFFFFFFF != 2000:
        raise peer.case.mismatch(expected="ecr 2000", got=f"ecr {answer.option(Kind.TIMESTAMPS).value & 0xFFFFFFFF}",
                                 rule="RFC7323-TS-14", fields=("options",))
