# SPDX-License-Identifier: GPL-2.0-or-later
"""B-25: a reset from the peer: at RCV.NXT it ends the connection, elsewhere in the window it is challenged, outside it
is nothing (RFC 9293, 3.10.7.4; RFC 5961, 3.2). The application is told (RFC 9293, 3.6).
"""

from __future__ import annotations

from functools import partial

import pytest

from harness.authoring import (
    after,
    close_wait,
    closing,
    covers,
    established,
    fin_wait_1,
    fin_wait_2,
    free,
    last_ack,
    needs,
    syn_received,
    syn_sent,
    time_wait,
)
from harness.targets.schedule import first_gap_s

DEAD = "ECONNRESET|EPIPE|ENOTCONN"
"""What a call on a connection that was reset may fail with."""
SYN_AGAIN = "S 0:0(0) <...>"
any_name = free("errno", why="RFC 9293, 3.6 has the application told, and names of errors are the socket API's")


def state(name, begin, ours, theirs, sa, *, told="", marks=()):
    """A state, our next number and the target's in it, the row of the table, and what the application is told."""
    return pytest.param(name, begin, ours, theirs, told, id=name.lower(), marks=(covers(sa), *marks))


@any_name
@covers("RFC9293-U-RST-EXACT", "RFC5961-3.2-EXACT", "RFC9293-MUST-12", behaviour="B-25")
@pytest.mark.parametrize(("name", "begin", "ours", "theirs", "told"), [
    state("ESTABLISHED", established, 1, 1, "SA-ESTAB-05", told="ECONNRESET"),
    state("FIN-WAIT-1", partial(fin_wait_1, half=True), 1, 2, "SA-FINWAIT1-05", told="ECONNRESET"),
    state("FIN-WAIT-2", partial(fin_wait_2, half=True), 1, 2, "SA-FINWAIT2-05", told="ECONNRESET"),
    state("CLOSE-WAIT", close_wait, 2, 1, "SA-CLOSEWAIT-05", told=DEAD),
    state("CLOSING", closing, 2, 2, "SA-CLOSING-05"),
    state("LAST-ACK", last_ack, 2, 2, "SA-LASTACK-05"),
])
def test_exact_reset_ends_the_connection(peer, listener, name, begin, ours, theirs, told):
    """A reset at RCV.NXT: silence, no connection, an error for the application, and our next ACK is a stranger's."""
    connection = begin(peer, listener)
    peer.send(f"R {ours}:{ours}(0)")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    if told:
        connection.expect_pending_error(told, rule="RFC9293-MUST-12")
    peer.send(f". {ours}:{ours}(0) ack {theirs}")
    peer.expect_gone(f"R {theirs}:{theirs}(0)")


@covers("RFC9293-U-RST-EXACT", "SA-ESTAB-05", behaviour="B-25")
@pytest.mark.parametrize("ack", [1, 0, -100000, 100000])
def test_acknowledgement_of_a_reset_does_not_matter(peer, listener, ack):
    """What a reset acknowledges is not looked at in a synchronised state: only its sequence number counts."""
    connection = established(peer, listener)
    peer.send(f"R. 1:1(0) ack {ack}")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    connection.expect_error("ECONNRESET")


@any_name
@covers("RFC9293-SHLD-2", behaviour="B-25", tc8="TCP_CLOSING_03")
@pytest.mark.parametrize(("name", "begin", "ours", "theirs", "told"), [
    state("ESTABLISHED", established, 1, 1, "SA-ESTAB-06", told="ECONNRESET"),
    state("FIN-WAIT-1", partial(fin_wait_1, half=True), 1, 2, "SA-FINWAIT1-06", told="ECONNRESET"),
    state("FIN-WAIT-2", partial(fin_wait_2, half=True), 1, 2, "SA-FINWAIT2-06", told="ECONNRESET"),
    state("CLOSE-WAIT", close_wait, 2, 1, "SA-CLOSEWAIT-06", told=DEAD),
    state("CLOSING", closing, 2, 2, "SA-CLOSING-06"),
    state("LAST-ACK", last_ack, 2, 2, "SA-LASTACK-06"),
])
def test_reset_may_carry_data(peer, listener, name, begin, ours, theirs, told):
    """The text of a reset says why it was sent: it resets all the same, and its text is nobody's data."""
    connection = begin(peer, listener)
    peer.send(f'R {ours}:{ours + 20}(20) "no such connection.."')
    peer.expect_silence()
    peer.expect_state("CLOSED")
    if told:
        connection.expect_pending_error(told)


@any_name
@covers("RFC9293-MUST-12", "RFC9293-U-RST-EXACT", behaviour="B-25")
def test_application_can_tell_a_reset_from_a_close(case, listener):
    """Our FIN ends the stream; our reset is an error, and what is sent afterwards fails too."""
    orderly, abortive = (case.peer(target_port=listener.port) for _ in range(2))
    connection = established(orderly, listener)
    orderly.send("F. 1:1(0) ack 1")
    orderly.expect(". 1:1(0) ack 2")
    connection.expect_end()
    connection = established(abortive, listener)
    abortive.send("R 1:1(0)")
    connection.expect_error("ECONNRESET")
    connection.expect_send_error(DEAD)


@covers("RFC9293-U-RST-EXACT", "RFC9293-U-HALFOPEN-DATA", behaviour="B-25")
def test_reset_ends_repetition(peer, listener, profile):
    """What the peer has reset is not sent to it again."""
    connection = established(peer, listener)
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")
    peer.send("R 1:1(0)")
    peer.expect_silence()  # but on a busy machine for a repetition from before the reset
    peer.count_repeats()
    peer.expect_silence(for_s=first_gap_s(profile)[1])
    connection.expect_error("ECONNRESET", rule="RFC9293-U-HALFOPEN-DATA")


# -- in the window, but not exact -------------------------------------------------------------------------------------


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN", behaviour="B-25")
@pytest.mark.parametrize(("name", "begin", "ours", "theirs", "told"), [
    state("ESTABLISHED", established, 1, 1, "SA-ESTAB-07"),
    state("FIN-WAIT-1", fin_wait_1, 1, 2, "SA-FINWAIT1-07"),
    state("FIN-WAIT-2", partial(fin_wait_2, half=True), 1, 2, "SA-FINWAIT2-07"),
    pytest.param("FIN-WAIT-2", fin_wait_2, 1, 2, "", id="fin-wait-2-closed", marks=covers("SA-FINWAIT2-07")),
    state("CLOSE-WAIT", close_wait, 2, 1, "SA-CLOSEWAIT-07"),
    state("CLOSING", closing, 2, 2, "SA-CLOSING-07"),
    state("LAST-ACK", last_ack, 2, 2, "SA-LASTACK-07"),
    state("TIME-WAIT", time_wait, 2, 2, "SA-TIMEWAIT-08"),
])
def test_reset_in_the_window_is_challenged(peer, listener, profile, name, begin, ours, theirs, told):
    """It may be forged: an ACK asks the peer to repeat it with the right number, and nothing else happens.

    Who has RFC 1337's defence ignores resets in TIME-WAIT, and need not ask.
    """
    begin(peer, listener)
    peer.send(f"R {ours + 10}:{ours + 10}(0)")
    challenge = f". {theirs}:{theirs}(0) ack {ours}"
    if name == "TIME-WAIT" and profile.feature("rfc1337"):
        peer.expect_silence(allow=[challenge])
    else:
        peer.expect(challenge)
    peer.expect_state(name)


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-RST-CHALLENGE", "RFC9293-U-RST-EXACT", "RFC5961-3.2-IN", behaviour="B-25")
def test_peer_confirms_its_reset(peer, listener):
    """The true peer answers the challenge by a reset at the number that it acknowledges, and that one counts."""
    connection = established(peer, listener)
    peer.send("R 1001:1001(0)")
    challenge = peer.expect(". 1:1(0) ack 1")
    peer.send("R 0:0(0)", seq=challenge.ack)
    peer.expect_silence(rule="RFC9293-U-RST-EXACT")
    peer.expect_state("CLOSED", rule="RFC9293-U-RST-EXACT")
    connection.expect_error("ECONNRESET", rule="RFC9293-U-RST-EXACT")


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN", "SA-ESTAB-07", behaviour="B-25")
def test_stream_survives_a_challenge(peer, listener):
    """After the challenge both directions go on as if nothing had come."""
    connection = established(peer, listener)
    peer.send("R 2:2(0)")
    peer.expect(". 1:1(0) ack 1")
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)
    connection.send(100)
    peer.expect(". 1:101(100) ack 101")
    peer.send(". 101:101(0) ack 101")


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-SYNRCVD-RST", "RFC5961-3.2-IN", "SA-SYNRCVD-14", behaviour="B-25")
def test_reset_in_the_window_of_a_half_open_connection_is_challenged(peer, listener):
    """SYN-RECEIVED is guarded like the states that follow: the handshake can still be finished."""
    syn_received(peer, listener)
    peer.send("R 11:11(0)")
    peer.expect(". 1:1(0) ack 1")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)


@needs("rfc5961_challenge_acks")
@covers("RFC5961-7-THROTTLE", "RFC9293-U-RST-CHALLENGE", behaviour="B-25")
def test_challenges_are_rationed(peer, listener, profile):
    """A burst of forged resets draws one challenge; another once the profile's interval is over."""
    established(peer, listener)
    peer.send("R 11:11(0)")
    first = peer.expect(". 1:1(0) ack 1", rule="RFC9293-U-RST-CHALLENGE")
    for number in range(20):
        peer.send(f"R {20 + number}:{20 + number}(0)")
    peer.expect_silence()
    interval_s = profile.timer("challenge_ack_interval_s")
    peer.case.pause(interval_s + 2 * profile.timer("tick_s"))
    peer.send("R 11:11(0)")
    peer.expect(". 1:1(0) ack 1", after(interval_s, 4 * interval_s + 1, since=first), rule="RFC9293-U-RST-CHALLENGE")


# -- outside the window -----------------------------------------------------------------------------------------------


OUTSIDE = [
    state("ESTABLISHED", established, 1, 1, "SA-ESTAB-08"),
    state("FIN-WAIT-1", fin_wait_1, 1, 2, "SA-FINWAIT1-08"),
    state("FIN-WAIT-2", partial(fin_wait_2, half=True), 1, 2, "SA-FINWAIT2-08"),
    pytest.param("FIN-WAIT-2", fin_wait_2, 1, 2, "", id="fin-wait-2-closed", marks=covers("SA-FINWAIT2-08")),
    state("CLOSE-WAIT", close_wait, 2, 1, "SA-CLOSEWAIT-08"),
    state("CLOSING", closing, 2, 2, "SA-CLOSING-08"),
    state("LAST-ACK", last_ack, 2, 2, "SA-LASTACK-08"),
    state("TIME-WAIT", time_wait, 2, 2, "SA-TIMEWAIT-09"),
]


@covers("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT", behaviour="B-25", tc8="TCP_FLAGS_INVALID_15")
@pytest.mark.parametrize(("name", "begin", "ours", "theirs", "told"), OUTSIDE)
@pytest.mark.parametrize("distance", [pytest.param(-1000, id="below"), pytest.param(1 << 20, id="above")])
def test_reset_outside_the_window_is_ignored(peer, listener, name, begin, ours, theirs, told, distance):
    """A number that the peer cannot mean: no answer, no change."""
    begin(peer, listener)
    peer.send(f"R {ours + distance}:{ours + distance}(0)")
    peer.expect_silence()
    peer.expect_state(name)


@covers("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT", "SA-ESTAB-08", behaviour="B-25")
def test_reset_just_below_the_window_is_ignored(peer, listener):
    """RCV.NXT - 1 is outside: the octet there has been acknowledged."""
    established(peer, listener)
    peer.send("R 0:0(0)")
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")


@covers("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT", "SA-ESTAB-09", behaviour="B-25")
def test_reset_at_the_right_edge_is_ignored(peer, listener):
    """RCV.NXT + RCV.WND is the first number outside."""
    established(peer, listener)
    peer.send("P. 1:2(1) ack 1")
    edge = 2 + peer.expect(". 1:1(0) ack 2").window
    peer.send(f"R {edge}:{edge}(0)")
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")


@needs("rfc5961_challenge_acks")
@covers("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN", "SA-ESTAB-07", behaviour="B-25")
def test_reset_at_the_last_number_of_the_window_is_challenged(peer, listener):
    """RCV.NXT + RCV.WND - 1 is the last number inside."""
    established(peer, listener)
    peer.send("P. 1:2(1) ack 1")
    last = 1 + peer.expect(". 1:1(0) ack 2").window
    peer.send(f"R {last}:{last}(0)")
    peer.expect(". 1:1(0) ack 2")
    peer.expect_state("ESTABLISHED")


@covers("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT", "SA-SYNRCVD-15", behaviour="B-25", tc8="TCP_UNACCEPTABLE_02")
@pytest.mark.parametrize("number", [pytest.param(-1000, id="below"), pytest.param(1 << 20, id="above")])
def test_reset_outside_the_window_leaves_a_half_open_connection(peer, listener, number):
    """SYN-RECEIVED: no answer, and the handshake can still be finished."""
    syn_received(peer, listener)
    peer.send(f"R {number}:{number}(0)")
    peer.expect_silence()
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)


def fill(peer, connection_next=1):
    """Send until the target's window is closed, its application reading nothing; returns our next number."""
    number, window = connection_next, 65535
    with peer.case.preamble():
        while window:
            size = min(window, 1400)
            peer.send(f"P. {number}:{number + size}({size}) ack 1")
            number += size
            window = peer.expect(f". 1:1(0) ack {number}").window
    return number


own_buffer = free("win=0", "win+1", "win-1", why="RFC 9293, 3.8.6 lets the receiver alone say what room it has; "
                                                "here the application has chosen its buffer")


@own_buffer
@covers("RFC9293-MUST-66", "SA-ESTAB-35", behaviour="B-25")
def test_reset_passes_a_closed_window(peer, upper):
    """A window of 0 still has RCV.NXT as the one number at which a reset counts."""
    listener = upper.listen(peer.flow.target_port, options={"SO_RCVBUF": 8192})
    connection = established(peer, listener)
    number = fill(peer)
    peer.send(f"R {number}:{number}(0)")
    peer.expect_silence()
    peer.expect_state("CLOSED")
    connection.expect_pending_error("ECONNRESET")


@own_buffer
@covers("RFC9293-U-RST-OOW", "RFC9293-MUST-66", "SA-ESTAB-36", behaviour="B-25")
def test_reset_beyond_a_closed_window_is_ignored(peer, upper):
    """With a window of 0 the number after RCV.NXT is outside."""
    listener = upper.listen(peer.flow.target_port, options={"SO_RCVBUF": 8192})
    established(peer, listener)
    number = fill(peer)
    peer.send(f"R {number + 1}:{number + 1}(0)")
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")


# -- before and after -------------------------------------------------------------------------------------------------


@covers("RFC9293-U-RST-NO-RST", "RFC9293-U-RST-NONSYNC", behaviour="B-25", tc8="TCP_FLAGS_INVALID_01")
@pytest.mark.parametrize("sent", [
    pytest.param("R 0:0(0)", id="rst", marks=covers("SA-LISTEN-11")),
    pytest.param("R. 0:0(0) ack 1000", id="rst-ack", marks=covers("SA-LISTEN-12")),
    pytest.param("SR 0:0(0)", id="syn-rst", marks=covers("SA-LISTEN-13")),
])
def test_listener_ignores_a_reset(peer, listener, sent):
    """There is nothing to reset: no answer, and the next SYN is welcome."""
    peer.send(sent)
    peer.expect_silence()
    listener.expect_listening()
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")


@any_name
@needs("active_open")
@covers("RFC9293-U-SYNSENT-RST", "RFC5961-3.2-SYNSENT", behaviour="B-25", tc8="TCP_FLAGS_INVALID_05")
@pytest.mark.parametrize("sent", [
    pytest.param("R. 0:0(0) ack 1", id="rst-ack", marks=covers("SA-SYNSENT-19")),
    pytest.param("R. 123456:123456(0) ack 1", id="any-number", marks=covers("SA-SYNSENT-19")),
    pytest.param("SR. 0:0(0) ack 1", id="syn-rst-ack", marks=covers("SA-SYNSENT-22")),
])
def test_reset_that_acknowledges_the_syn_refuses(peer, upper, sent):
    """SYN-SENT: the ack of the SYN proves that its receiver speaks, so connect() fails at once.

    What RFC 9293, 3.10.7.3 calls "connection reset" most socket APIs call a refusal.
    """
    _, connecting = syn_sent(peer, upper)
    peer.send(sent)
    connecting.expect("ECONNREFUSED|ECONNRESET")
    peer.expect_silence()
    peer.expect_state("CLOSED")


@needs("active_open")
@covers("RFC9293-U-SYNSENT-RST", "RFC5961-3.2-SYNSENT", behaviour="B-25")
@pytest.mark.parametrize("sent", [
    pytest.param("R 0:0(0)", id="no-ack", marks=covers("SA-SYNSENT-21", tc8="TCP_FLAGS_INVALID_04")),
    pytest.param("R. 0:0(0) ack 0", id="ack-below", marks=covers("SA-SYNSENT-20", tc8="TCP_FLAGS_INVALID_03")),
    pytest.param("R. 0:0(0) ack 2", id="ack-above", marks=covers("SA-SYNSENT-20", tc8="TCP_FLAGS_INVALID_03")),
])
def test_reset_that_does_not_acknowledge_the_syn_is_ignored(peer, upper, sent):
    """SYN-SENT: anybody could have sent it; the attempt goes on, and the true SYN,ACK still connects.

    A SYN that is repeated sooner goes on with the attempt, too: Linux does so after a reset that cannot be of its SYN.
    """
    _, connecting = syn_sent(peer, upper)
    peer.expect_silence()  # what is allowed below is an answer to the reset
    peer.send(sent)
    peer.expect_silence(allow=[SYN_AGAIN])
    connecting.expect_open()
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1", allow=[SYN_AGAIN])
    connecting.expect("done")


@covers("RFC9293-MUST-11", "RFC9293-U-SYNRCVD-RST", "SA-SYNRCVD-12", behaviour="B-25", tc8="TCP_UNACCEPTABLE_01")
def test_reset_of_a_half_open_connection_returns_to_listen(peer, listener):
    """Passive open: the entry goes, the application hears nothing of it, and a new handshake is served."""
    syn_received(peer, listener)
    peer.send("R 1:1(0)")
    peer.expect_silence()
    listener.expect_none()
    peer.send(". 1:1(0) ack 1")
    peer.expect_gone("R 1:1(0)", rule="RFC9293-U-SYNRCVD-RST", form="RFC9293-U-RST-NONSYNC")
    again = peer.case.peer(target_port=listener.port)
    again.send("S 0:0(0) win 65535 <mss 1460>")
    again.expect("S. 0:0(0) ack 1 <...>")


@any_name
@needs("active_open", "simultaneous_open")
@covers("RFC9293-MUST-11", "SA-SYNRCVD-13", behaviour="B-25")
def test_reset_of_a_crossed_opening_refuses(peer, upper):
    """Active open: SYN-RECEIVED out of crossed SYNs has a user who waits, and connect() fails."""
    _, connecting = syn_sent(peer, upper)
    with peer.case.preamble():
        peer.send("S 0:0(0) win 65535 <mss 1460>")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.expect_state("SYN-RECEIVED")
    peer.send("R 1:1(0)")
    connecting.expect("ECONNREFUSED|ECONNRESET")
    peer.expect_silence()
    peer.expect_state("CLOSED")


@covers("RFC9293-U-RST-EXACT", "RFC1337-RST", behaviour="B-25")
@pytest.mark.parametrize("sent", [
    pytest.param("R 2:2(0)", id="rst", marks=covers("SA-TIMEWAIT-06")),
    pytest.param("R 2:22(20)", id="rst-with-data", marks=covers("SA-TIMEWAIT-07")),
])
def test_reset_in_time_wait_does_as_the_profile_says(peer, listener, profile, sent):
    """An exact reset ends TIME-WAIT, unless the target has RFC 1337's defence: then a FIN is acknowledged again."""
    time_wait(peer, listener)
    peer.send(sent)
    peer.expect_silence()
    peer.send("F. 1:1(0) ack 2")
    if profile.feature("rfc1337"):
        peer.expect(". 2:2(0) ack 2")
    else:
        peer.expect_gone("R 2:2(0)")
