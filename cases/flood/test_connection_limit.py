# SPDX-License-Identifier: GPL-2.0-or-later
"""B-11: of more connections than the backlog holds, the excess meets the profile's policy, and nobody is lost."""

from __future__ import annotations

import pytest

from harness.authoring import covers

BACKLOG = 4


def room_of(profile):
    """How many connections the listener holds that nobody has accepted."""
    return BACKLOG + (profile.limit("accept_backlog_extra") if profile.states("accept_backlog_extra") else 0)


def begun_in_time(case, profile):
    """Leave the case out where none can begin its handshake in time and find the queue full at its end.

    Neither can it be played where no state is told: whoever is in doubt is waited for, and others repeat themselves.
    """
    nobody = case.peer()
    if not case.upper.state(nobody.flow):
        pytest.skip("not applicable: needs to be told states while handshakes are under way")
    with case.preamble():
        nobody.expect_state("CLOSED")
    if profile.states("backlog_counts") and profile.policy("backlog_counts") == "half-open":
        pytest.skip("not applicable: half-open connections take up the listener's room as well")


def asked(case, listener):
    """A client whose SYN is answered."""
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <mss *>")
    return peer


def joined(case, listener):
    """A client that has completed its handshake; the application has not accepted."""
    peer = asked(case, listener)
    peer.send(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")
    return peer


def filled(case, listener, profile):
    """As many such clients as the listener holds."""
    with case.preamble():
        return [joined(case, listener) for _ in range(room_of(profile))]


def expect_alive(listener, peers):
    """Each of these connections is accepted, in its order, and carries data both ways."""
    for peer in peers:
        connection = listener.accept(peer)
        peer.expect_state("ESTABLISHED")
        peer.send("P. 1:11(10) ack 1")
        peer.expect(". 1:1(0) ack 11")
        connection.expect_data(10)
        connection.send(10)
        peer.expect("P. 1:11(10) ack 11")
        peer.send(". 11:11(0) ack 11")


def expect_excess_syn_refused(peer, profile):
    """A SYN that finds no room is dropped, or reset where the profile's policy is reset."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect_silence(allow=["R. 0:0(0) ack 1"] if profile.policy("accept_backlog_overflow") == "reset" else [])


@covers("SA-LISTEN-01", "SA-SYNRCVD-01", behaviour="B-11")
def test_backlog_holds_what_the_profile_says(case, upper, profile):
    """So many handshakes are completed before anybody accepts, and all of them are connections."""
    listener = upper.listen(backlog=BACKLOG)
    peers = [joined(case, listener) for _ in range(room_of(profile))]
    expect_alive(listener, peers)
    listener.expect_none()


@covers("SA-ESTAB-17", behaviour="B-11")
def test_data_before_accept_is_kept(case, upper, profile):
    """Data that came before anybody accepted is acknowledged and delivered after, with the backlog full."""
    listener = upper.listen(backlog=BACKLOG)
    peers = filled(case, listener, profile)
    for peer in peers:
        peer.send("P. 1:101(100) ack 1")
        peer.expect(". 1:1(0) ack 101")
    for peer in peers:
        listener.accept(peer).expect_data(100)


@covers("SA-LISTEN-01", behaviour="B-11")
def test_syn_beyond_the_backlog_meets_the_policy(case, upper, profile):
    """With the queue full a further SYN is dropped (or reset, if that is the policy); the others stay connected."""
    listener = upper.listen(backlog=BACKLOG)
    peers = filled(case, listener, profile)
    expect_excess_syn_refused(case.peer(target_port=listener.port), profile)
    expect_alive(listener, peers)
    listener.expect_none()


@covers("SA-SYNRCVD-01", behaviour="B-11")
def test_third_segment_beyond_the_backlog_meets_the_policy(case, upper, profile):
    """A handshake that was begun in time and finds the queue full at its end is reset, or its last segment dropped.

    What was dropped counts when it comes again and there is room.
    """
    begun_in_time(case, profile)
    listener = upper.listen(backlog=BACKLOG)
    late = asked(case, listener)
    peers = filled(case, listener, profile)
    late.expect_silence()  # what is allowed below is an answer to what follows
    late.send(". 1:1(0) ack 1")
    if profile.policy("accept_backlog_overflow") == "reset":
        late.expect_one_of(["R 1:1(0)", "R. 1:1(0) ack 1"])
        late.expect_state("CLOSED")
        expect_alive(listener, peers)
        listener.expect_none()
        return
    late.expect_silence(allow=["S. 0:0(0) ack 1 <mss *>"])
    late.expect_state("SYN-RECEIVED")
    expect_alive(listener, peers)
    late.send(". 1:1(0) ack 1")
    expect_alive(listener, [late])


@covers("SA-ESTAB-17", behaviour="B-11")
@pytest.mark.parametrize("how", ["syn", "third segment", "both"])
def test_no_established_connection_is_lost(case, upper, profile, how):
    """Twelve clients too many, one after the other and again: all that were connected before still are."""
    if how != "syn":
        begun_in_time(case, profile)
    listener = upper.listen(backlog=BACKLOG)
    late = [asked(case, listener) for _ in range(BACKLOG)] if how != "syn" else []
    peers = filled(case, listener, profile)
    reset = profile.policy("accept_backlog_overflow") == "reset"
    for peer in late:
        peer.send(". 1:1(0) ack 1")
        if reset:
            peer.expect_one_of(["R 1:1(0)", "R. 1:1(0) ack 1"])
    for _ in range(0 if how == "third segment" else 12):
        expect_excess_syn_refused(case.peer(target_port=listener.port), profile)
    case.sentinel()
    for peer in peers:
        peer.expect_state("ESTABLISHED")
    expect_alive(listener, peers)


@covers("SA-LISTEN-01", behaviour="B-11")
def test_accepting_makes_room(case, upper, profile):
    """One connection accepted, one more client connects; its SYN had been refused before."""
    listener = upper.listen(backlog=BACKLOG)
    peers = filled(case, listener, profile)
    refused = case.peer(target_port=listener.port)
    expect_excess_syn_refused(refused, profile)
    expect_alive(listener, peers[:1])
    refused.send("S 0:0(0) win 65535 <mss 1460>")
    refused.expect("S. 0:0(0) ack 1 <mss *>")
    refused.send(". 1:1(0) ack 1")
    expect_alive(listener, [*peers[1:], refused])


@covers("SA-LISTEN-01", behaviour="B-11")
def test_accepted_connections_do_not_count(case, upper, profile):
    """The backlog is for those who wait: thrice its size connects if the application keeps up."""
    listener = upper.listen(backlog=BACKLOG)
    for _ in range(3 * room_of(profile)):
        expect_alive(listener, [joined(case, listener)])


@covers("RFC9293-U-RST-EXACT", "SA-LISTEN-01", behaviour="B-11")
def test_reset_of_a_waiting_connection_costs_the_others_nothing(case, upper, profile):
    """A client that gives up before anybody accepted takes no other one with it.

    It is the last of them: whether the application is still given what has ended is the stack's choice.
    """
    listener = upper.listen(backlog=BACKLOG)
    *others, last = filled(case, listener, profile)
    last.send("R 1:1(0)")
    last.expect_state("CLOSED")
    expect_alive(listener, others)


@covers("RFC9293-U-RST-EXACT", "SA-LISTEN-01", behaviour="B-11")
def test_reset_of_the_first_that_waits_costs_the_others_nothing(case, upper, profile):
    """A client gives up at the head of the queue: those behind it stay connected, and the application is given as many.

    Which of them it is given first is not looked at: that may be the one that has ended.
    """
    listener = upper.listen(backlog=BACKLOG)
    first, *others = filled(case, listener, profile)
    first.send("R 1:1(0)")
    first.expect_state("CLOSED")
    for peer in others:
        peer.send("P. 1:11(10) ack 1")
        peer.expect(". 1:1(0) ack 11")
        peer.expect_state("ESTABLISHED")
    for peer in others:
        listener.accept(peer)


@covers("SA-LISTEN-01", behaviour="B-11")
def test_one_listener_full_leaves_others_alone(case, upper, profile):
    """The limit is each listener's own."""
    filled(case, upper.listen(backlog=BACKLOG), profile)
    other = upper.listen(backlog=BACKLOG)
    expect_alive(other, [joined(case, other)])
