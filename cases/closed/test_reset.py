# SPDX-License-Identifier: GPL-2.0-or-later
"""B-24: a closed port answers with a reset, made from the segment that met it (RFC 9293, 3.10.7.1 and 3.5.2)."""

from __future__ import annotations

import pytest

from harness.authoring import covers


def row(name, sent, answer, sa, tc8=()):
    """One row of the state table: what meets the closed port, and what comes back."""
    return pytest.param(sent, answer, id=name, marks=covers(sa, tc8=tc8))


@covers("RFC9293-U-RST-CLOSED-NOACK", "SA-CLOSED-01", behaviour="B-24", tc8="TCP_BASICS_04")
def test_syn_is_refused(peer):
    """Nobody listens: RST,ACK with seq 0 and ack one past our SYN."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")


@covers("RFC9293-U-RST-CLOSED-NOACK", behaviour="B-24")
@pytest.mark.parametrize(("sent", "answer"), [
    row("syn-with-data", "S 0:10(10) win 65535", "R. 0:0(0) ack 11", "SA-CLOSED-02"),
    row("syn-and-fin", "SF 0:0(0) win 65535", "R. 0:0(0) ack 2", "SA-CLOSED-03"),
    row("data", "- 1:101(100)", "R. 0:0(0) ack 101", "SA-CLOSED-07", tc8="TCP_BASICS_04"),
    row("fin", "F 1:1(0)", "R. 0:0(0) ack 2", "SA-CLOSED-08", tc8=("TCP_BASICS_04", "TCP_FLAGS_PROCESSING_08")),
    row("null", "- 1:1(0)", "R. 0:0(0) ack 1", "SA-CLOSED-11"),
    row("xmas", "FPU 1:11(10) urg 5", "R. 0:0(0) ack 12", "SA-CLOSED-12"),
])
def test_segment_without_ack_is_acknowledged_by_the_reset(peer, sent, answer):
    """There is no number to reset at: seq 0, and an ack that counts every octet, SYN and FIN of what came."""
    peer.send(sent)
    peer.expect(answer)


@covers("RFC9293-U-RST-CLOSED-ACK", behaviour="B-24")
@pytest.mark.parametrize(("sent", "answer"), [
    row("syn-ack", "S. 0:0(0) ack 1000 win 65535 <mss 1460>", "R 1000:1000(0)", "SA-CLOSED-04", tc8="TCP_BASICS_05"),
    row("ack", ". 1:1(0) ack 4294967295", "R 4294967295:4294967295(0)", "SA-CLOSED-05", tc8="TCP_BASICS_05"),
    row("ack-of-zero", ". 1:1(0) ack 0", "R 0:0(0)", "SA-CLOSED-05"),
    row("data", "P. 1:101(100) ack 1000", "R 1000:1000(0)", "SA-CLOSED-06"),
    row("fin", "F. 1:1(0) ack 1000", "R 1000:1000(0)", "SA-CLOSED-09"),
    row("urgent-data", "PU. 1:101(100) ack 1000 urg 100", "R 1000:1000(0)", "SA-CLOSED-10"),
])
def test_segment_with_ack_names_the_number_of_the_reset(peer, sent, answer):
    """The reset takes its seq from the acknowledgement that met it, and has no ACK bit itself."""
    peer.send(sent)
    peer.expect(answer)


@covers("RFC9293-U-RST-NO-RST", behaviour="B-24", tc8="TCP_CLOSING_13")
@pytest.mark.parametrize("sent", [
    pytest.param("R 0:0(0)", id="rst", marks=covers("SA-CLOSED-13")),
    pytest.param("R. 0:0(0) ack 1000", id="rst-ack", marks=covers("SA-CLOSED-14")),
    pytest.param("SR 0:0(0)", id="syn-rst", marks=covers("SA-CLOSED-15")),
    pytest.param("R 0:20(20)", id="rst-with-data", marks=covers("SA-CLOSED-13")),
])
def test_reset_is_never_answered(peer, sent):
    """Or two closed ends would reset each other for ever."""
    peer.send(sent)
    peer.expect_silence()


@covers("RFC9293-U-RST-CLOSED-NOACK", "SA-CLOSED-01", "SA-CLOSED-05", behaviour="B-24")
@pytest.mark.parametrize(("sent", "answer"), [
    pytest.param("S 0:0(0) win 65535", "R. 0:0(0) ack 1", id="syn"),
    pytest.param(". 1:1(0) ack 1000", "R 1000:1000(0)", id="ack"),
])
def test_reset_offers_the_window_of_the_profile(peer, profile, sent, answer):
    """A reset can take no data: its window is what the profile says, which is nearly always 0."""
    peer.send(sent)
    peer.expect(answer, window=profile.limit("closed_port_window"))


@covers("RFC9293-U-RST-CLOSED-NOACK", "SA-CLOSED-01", behaviour="B-24")
def test_port_is_closed_once_its_listener_has_gone(peer, listener):
    """What was open a moment ago is refused like any other closed port."""
    listener.close()
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")


@covers("RFC9293-U-RST-CLOSED-NOACK", "SA-CLOSED-01", behaviour="B-24")
def test_every_syn_is_refused(peer):
    """A client that tries again is told again, each time by its own number."""
    for number in range(3):
        peer.send(f"S {1000 * number}:{1000 * number}(0) win 65535 <mss 1460>")
        peer.expect(f"R. 0:0(0) ack {1000 * number + 1}")
