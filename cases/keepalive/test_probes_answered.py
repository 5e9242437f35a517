# SPDX-License-Identifier: GPL-2.0-or-later
"""B-12: a keepalive probe is an old segment; it draws an acknowledgement and leaves no trace (RFC 1122, 4.2.3.6)."""

from __future__ import annotations

import pytest

from harness.authoring import close_wait, covers, established, fin_wait_2, needs

GARBAGE = b"\x00"


@covers("RFC1122-KA-RESP", "RFC9293-U-ACK-SYNC", "SA-ESTAB-14", behaviour="B-12")
@pytest.mark.parametrize("garbage", [b"", GARBAGE], ids=["empty", "one octet"])
def test_probe_after_the_handshake(peer, listener, garbage):
    """Nothing was sent yet, so the probe has the number of our SYN: the next number is acknowledged."""
    connection = established(peer, listener)
    peer.send(f". 0:{len(garbage)}({len(garbage)}) ack 1", payload=garbage)
    peer.expect(". 1:1(0) ack 1")
    connection.expect_no_data()
    peer.expect_state("ESTABLISHED")


@covers("RFC1122-KA-RESP", "RFC9293-U-ACK-SYNC", "SA-ESTAB-14", behaviour="B-12")
@pytest.mark.parametrize("garbage", [b"", GARBAGE], ids=["empty", "one octet"])
def test_probe_after_data(peer, listener, garbage):
    """The probe has the number of our last octet: the octet after it is acknowledged, and all that we know of."""
    connection = established(peer, listener)
    with peer.case.preamble():
        peer.send("P. 1:101(100) ack 1")
        peer.expect(". 1:1(0) ack 101")
        connection.expect_data(100)
        connection.send(50)
        peer.expect("P. 1:51(50) ack 101")
        peer.send(". 101:101(0) ack 51")
    peer.send(f". 100:{100 + len(garbage)}({len(garbage)}) ack 51", payload=garbage)
    peer.expect(". 51:51(0) ack 101")
    connection.expect_no_data()


@covers("RFC1122-KA-RESP", "SA-ESTAB-14", behaviour="B-12")
@pytest.mark.parametrize("garbage", [b"", GARBAGE], ids=["empty", "one octet"])
def test_stream_goes_on_after_a_probe(peer, listener, garbage):
    """The octets that follow a probe reach the application, and nothing of the probe does."""
    connection = established(peer, listener)
    peer.send(f". 0:{len(garbage)}({len(garbage)}) ack 1", payload=garbage)
    peer.expect(". 1:1(0) ack 1")
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)
    connection.expect_no_data()


@covers("RFC1122-KA-RESP", "SA-ESTAB-14", behaviour="B-12")
@pytest.mark.parametrize("garbage", [b"", GARBAGE], ids=["empty", "one octet"])
def test_every_probe_is_answered(peer, listener, case, profile, garbage):
    """One probe after the other, as far apart as the target lets challenges be: each draws its acknowledgement."""
    connection = established(peer, listener)
    interval = profile.timer("challenge_ack_interval_s") if profile.states("challenge_ack_interval_s") else 0.0
    for _ in range(3):
        peer.send(f". 0:{len(garbage)}({len(garbage)}) ack 1", payload=garbage)
        peer.expect(". 1:1(0) ack 1")
        case.pause(interval + profile.timer("tick_s"))
    connection.expect_no_data()
    peer.expect_state("ESTABLISHED")


@needs("timestamps")
@covers("RFC1122-KA-RESP", "RFC7323-TS-3", "SA-ESTAB-14", behaviour="B-12")
@pytest.mark.parametrize("garbage", [b"", GARBAGE], ids=["empty", "one octet"])
def test_probe_with_time_stamps(peer, listener, garbage):
    """Where time stamps are agreed the probe has them, and so has the answer."""
    connection = established(peer, listener, offer="<mss 1460,TS val 1000 ecr 0>",
                             third=". 1:1(0) ack 1 <TS val 1000 ecr 0>")
    peer.send(f". 0:{len(garbage)}({len(garbage)}) ack 1 <TS val 1000 ecr 0>", payload=garbage)
    peer.expect(". 1:1(0) ack 1 <TS val * ecr 1000>")
    connection.expect_no_data()


@covers("RFC1122-KA-RESP", "RFC9293-U-ACK-SYNC", "SA-CLOSEWAIT-14", behaviour="B-12")
def test_probe_in_close_wait(peer, listener):
    """We have closed, and the target has not: our FIN is the number before the next, and a probe draws its answer."""
    close_wait(peer, listener)
    peer.send(". 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    peer.expect_state("CLOSE-WAIT")


@covers("RFC1122-KA-RESP", "RFC9293-U-ACK-SYNC", "SA-FINWAIT2-14", behaviour="B-12")
def test_probe_in_fin_wait_2(peer, listener):
    """The target has closed its half, and we have not: a probe still draws its answer."""
    fin_wait_2(peer, listener, half=True)
    peer.send(". 0:0(0) ack 2")
    peer.expect(". 2:2(0) ack 1")
    peer.expect_state("FIN-WAIT-2")
