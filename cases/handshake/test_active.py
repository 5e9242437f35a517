# SPDX-License-Identifier: GPL-2.0-or-later
"""B-02: the target opens: its SYN, our SYN,ACK, its ACK; connect() returns with the last one."""

from __future__ import annotations

from harness.authoring import Kind, connected, covers, needs, syn_sent

pytestmark = needs("active_open")


@covers("RFC9293-MUST-14", behaviour="B-02", tc8="TCP_BASICS_06")
def test_connect_emits_syn(peer, upper):
    """connect() emits a SYN: no ACK bit, no data, no flag besides; and it waits."""
    _, connecting = upper.connect(peer)
    peer.expect("S 0:0(0) <...>")
    peer.expect_state("SYN-SENT")
    connecting.expect_open()


@covers("SA-SYNSENT-01", behaviour="B-02", tc8=("TCP_BASICS_07", "TCP_SEQUENCE_02"))
def test_syn_ack_establishes(peer, upper):
    """SYN,ACK(y, ack x+1) draws ACK(x+1, ack y+1); connect() returns, and both directions carry data."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")
    peer.send(". 1:101(100) ack 101")
    peer.expect(". 101:101(0) ack 101")
    connection.expect_data(100)


@covers("SA-SYNSENT-01", "RFC7323-WS-3", "RFC7323-TS-2", behaviour="B-02")
def test_bare_syn_ack_establishes(peer, upper):
    """A SYN,ACK without any option takes up no offer: neither the third segment nor data carries one."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("S. 0:0(0) ack 1 win 65535")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    connection.send(100)
    peer.expect(". 1:101(100) ack 1")


@needs("timestamps")
@covers("RFC7323-TS-3", "RFC7323-TS-6", behaviour="B-02")
def test_time_stamps_taken_up(peer, upper):
    """The target offered time stamps and our SYN,ACK has them: so have the third segment and the data."""
    with peer.case.preamble():
        connection, connecting = upper.connect(peer)
        syn = peer.expect("S 0:0(0) <TS val * ecr 0,...>")
    stamp = int.from_bytes(syn.option(Kind.TIMESTAMPS).data[:4], "big")
    peer.send(f"S. 0:0(0) ack 1 win 65535 <mss 1460,TS val 100 ecr {stamp}>")
    peer.expect(". 1:1(0) ack 1 <TS val * ecr 100>")
    connecting.expect("done")
    connection.send(100)
    peer.expect(". 1:101(100) ack 1 <TS val * ecr 100>")


@covers("SA-SYNSENT-04", "RFC9293-U-SYNDATA", behaviour=("B-02", "B-03"))
def test_data_with_the_syn_ack(peer, upper):
    """Data on the SYN,ACK is acknowledged at once, or when it comes again; the application is given it once."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("S. 0:100(100) ack 1 win 65535 <mss 1460>")
    peer.expect_one_of([". 1:1(0) ack 101", ". 1:1(0) ack 1"])
    connecting.expect("done")
    peer.send(". 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101", allow=[". 1:1(0) ack 101"])
    connection.expect_data(100, rule="RFC9293-U-SYNDATA")
    connection.expect_no_data()


@covers("SA-SYNSENT-05", "RFC9293-U-FIN-INORDER", behaviour="B-02")
def test_fin_with_the_syn_ack(peer, upper):
    """FIN on the SYN,ACK is acknowledged at once, or when it comes again; then CLOSE-WAIT, and the stream is over."""
    connection, connecting = syn_sent(peer, upper)
    peer.send("SF. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect_one_of([". 1:1(0) ack 2", ". 1:1(0) ack 1"])
    connecting.expect("done")
    peer.send("F. 1:1(0) ack 1")
    peer.expect(". 1:1(0) ack 2")
    peer.expect_state("CLOSE-WAIT")
    connection.expect_end()


@covers("SA-SYNSENT-06", behaviour="B-02")
def test_urg_with_the_syn_ack(peer, upper):
    """URG on the SYN,ACK does not stand in the way."""
    _, connecting = syn_sent(peer, upper)
    peer.send("SU. 0:0(0) ack 1 win 65535 urg 1 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")


@covers("SA-SYNSENT-01", behaviour="B-02", tc8="TCP_CONNECTION_ESTAB_03")
def test_three_active_opens(case, upper):
    """Three connections are opened at the same time, and each completes by its own SYN,ACK."""
    peers = [case.peer() for _ in range(3)]
    openings = [syn_sent(peer, upper) for peer in peers]
    for peer, (_, connecting) in zip(peers, openings, strict=True):
        peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
        peer.expect(". 1:1(0) ack 1")
        connecting.expect("done")


@covers("SA-ESTAB-04", "RFC9293-U-ACCEPT", behaviour=("B-02", "B-26"))
def test_syn_ack_again(peer, upper):
    """The third segment was lost and our SYN,ACK comes again: it is acknowledged again, nothing else happens."""
    connection = connected(peer, upper)
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    peer.expect_state("ESTABLISHED")
    connection.send(10)
    peer.expect(". 1:11(10) ack 1")
