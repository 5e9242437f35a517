# SPDX-License-Identifier: GPL-2.0-or-later
"""B-01: three segments open a connection to a listener, and the answer offers nothing that was not offered."""

from __future__ import annotations

import pytest

from harness.authoring import Kind, covers, established, needs


def syn_ack(*offered: str) -> str:
    """The answer to our SYN: MSS may always stand in it, the others only if they were offered."""
    return f"S. 0:0(0) ack 1 <{','.join(f'{option}?' for option in ('mss *', *offered))}>"


@covers("SA-LISTEN-01", behaviour="B-01", tc8=("TCP_BASICS_01", "TCP_SEQUENCE_01"))
def test_syn_draws_syn_ack(peer, listener):
    """SYN(x) draws SYN,ACK(y, ack x+1); the application has no connection yet."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect(syn_ack())
    peer.expect_state("SYN-RECEIVED")
    listener.expect_none()


@covers("SA-SYNRCVD-01", "SA-LISTEN-01", behaviour="B-01", tc8="TCP_BASICS_02")
def test_third_segment_establishes(peer, listener):
    """ACK(x+1, ack y+1) is not answered, and brings ESTABLISHED: both directions carry data."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect(syn_ack(), rule="SA-LISTEN-01")
    peer.send(". 1:1(0) ack 1")
    peer.expect_silence()
    connection = listener.accept(peer)
    peer.expect_state("ESTABLISHED")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection.expect_data(100)
    connection.send(100)
    peer.expect(". 1:101(100) ack 101")


@covers("SA-LISTEN-01", "RFC7323-TS-2", "RFC7323-WS-4", behaviour="B-01")
@pytest.mark.parametrize("offer", ["", "<mss 1460>"], ids=["bare", "mss"])
def test_nothing_offered_nothing_answered(peer, listener, offer):
    """A SYN without options, or with MSS alone, draws a SYN,ACK with MSS at most."""
    peer.send(f"S 0:0(0) win 65535 {offer}")
    peer.expect(syn_ack())


@covers("RFC2018-PERM-1", "SA-LISTEN-01", behaviour="B-01")
def test_sack_permitted_only_if_offered(peer, listener):
    """Everything but SACK-Permitted was offered: it must not be in the answer."""
    peer.send("S 0:0(0) win 65535 <mss 1460,TS val 100 ecr 0,wscale 7>")
    peer.expect(syn_ack("TS val * ecr 100", "wscale *"))


@covers("RFC7323-TS-2", "SA-LISTEN-01", behaviour="B-01")
def test_time_stamps_only_if_offered(peer, listener):
    """Everything but time stamps was offered: they must not be in the answer."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,wscale 7>")
    peer.expect(syn_ack("sackOK", "wscale *"))


@covers("RFC7323-WS-4", "SA-LISTEN-01", behaviour="B-01")
def test_window_scale_only_if_offered(peer, listener):
    """Everything but window scale was offered: it must not be in the answer."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0>")
    peer.expect(syn_ack("sackOK", "TS val * ecr 100"))


@needs("sack", "timestamps", "window_scaling")
@covers("SA-LISTEN-01", "SA-SYNRCVD-01", "RFC7323-WS-5", "RFC7323-TS-3", "RFC7323-TS-6", behaviour="B-01")
def test_all_offered_all_answered(peer, listener):
    """A target that has the options answers each offer, and a handshake with all of them establishes."""
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,wscale 7>")
    answer = peer.expect("S. 0:0(0) ack 1 <mss *,sackOK,TS val * ecr 100,wscale *>")
    stamp = int.from_bytes(answer.option(Kind.TIMESTAMPS).data[:4], "big")
    peer.send(f". 1:1(0) ack 1 win 512 <nop,nop,TS val 101 ecr {stamp}>")
    listener.accept(peer, rule="SA-SYNRCVD-01")
    peer.expect_state("ESTABLISHED", rule="SA-SYNRCVD-01")
    peer.send(f". 1:101(100) ack 1 win 512 <nop,nop,TS val 102 ecr {stamp}>")
    peer.expect(". 1:1(0) ack 101 <TS val * ecr 102>", rule="RFC7323-TS-3")


@covers("RFC9293-U-SYNDATA", "SA-LISTEN-02", behaviour="B-01")
def test_data_on_the_syn_waits(peer, listener):
    """Data on a SYN is not the application's before ESTABLISHED; kept or sent again, it is delivered once."""
    peer.send("S 0:100(100) win 65535 <mss 1460>")
    peer.expect_one_of([syn_ack(), "S. 0:0(0) ack 101 <mss *>"], rule="SA-LISTEN-02")
    listener.expect_none()
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    connection = listener.accept(peer)
    connection.expect_data(100)
    connection.expect_no_data()


@covers("SA-LISTEN-04", "SA-LISTEN-05", behaviour="B-01")
@pytest.mark.parametrize(("syn", "row"), [("SU 0:0(0) win 65535 urg 1", "SA-LISTEN-04"),
                                          ("SP 0:0(0) win 65535", "SA-LISTEN-05")], ids=["urg", "psh"])
def test_syn_with_another_flag(peer, listener, syn, row):
    """URG or PSH on a SYN change nothing: it is answered as a SYN."""
    peer.send(f"{syn} <mss 1460>")
    peer.expect(syn_ack(), rule=row)
    peer.expect_state("SYN-RECEIVED", rule=row)


@covers("SA-LISTEN-03", "RFC9293-U-SYNDATA", behaviour="B-01")
def test_syn_with_fin(peer, listener):
    """SYN,FIN is answered as a SYN, or dropped: the SYN that follows draws the SYN,ACK, and nobody is reset."""
    fused = peer.send("SF 0:0(0) win 65535 <mss 1460>")
    peer.expect_silence(allow=[syn_ack()])
    answered = peer.last is not fused
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect_one_of([syn_ack(), ". 1:1(0) ack 1"] if answered else [syn_ack()])
    peer.expect_silence()
    peer.expect_state("SYN-RECEIVED")
    listener.expect_none()


@covers("SA-LISTEN-01", behaviour="B-01", tc8="TCP_CONNECTION_ESTAB_01")
def test_three_peers_one_listener(case, listener):
    """One listener answers the SYNs of three peers that open at the same time, and accepts all three."""
    peers = [case.peer(target_port=listener.port) for _ in range(3)]
    for peer in peers:
        peer.send("S 0:0(0) win 65535 <mss 1460>")
    for peer in peers:
        peer.expect(syn_ack())
    for peer in peers:
        peer.send(". 1:1(0) ack 1")
        connection = listener.accept(peer)
        connection.send(10)
        peer.expect(". 1:11(10) ack 1")


@covers("SA-LISTEN-01", behaviour="B-01", tc8="TCP_CONNECTION_ESTAB_02")
def test_three_listeners(case, upper):
    """Three listeners answer one SYN each, and each gets its own connection."""
    listeners = [upper.listen() for _ in range(3)]
    peers = [case.peer(target_port=listener.port) for listener in listeners]
    for peer, listener in zip(peers, listeners, strict=True):
        established(peer, listener)
    for peer in peers:
        peer.send(". 1:101(100) ack 1")
        peer.expect(". 1:1(0) ack 101")
