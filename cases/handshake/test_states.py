# SPDX-License-Identifier: GPL-2.0-or-later
"""B-23, the opening states: each is reached, and known by what probes draw, the target's report, and the application.

What tells them apart on the wire: RST upon everything (CLOSED); RST upon an ACK, SYN,ACK upon a SYN (LISTEN); RST upon
a wrong ACK, nothing upon the right one (SYN-SENT); SYN,ACK once more upon the same SYN (SYN-RECEIVED); an ACK upon
whatever is out of place (ESTABLISHED).
"""

from __future__ import annotations

from harness.authoring import covers, needs


@covers("SA-CLOSED-05", "SA-CLOSED-01", behaviour="B-23")
def test_closed(peer):
    """CLOSED: the state report knows no connection, and an ACK as well as a SYN draws a reset."""
    peer.expect_state("CLOSED")
    peer.send(". 0:0(0) ack 77")
    peer.expect("R 77:77(0)")
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1", rule="SA-CLOSED-01")


@covers("SA-LISTEN-01", "SA-LISTEN-07", behaviour="B-23")
def test_listen(case, peer, upper, listener):
    """LISTEN: so says the target; an ACK draws a reset, a SYN a SYN,ACK; after close() a SYN draws a reset."""
    listener.expect_listening()
    peer.send(". 0:0(0) ack 77")
    peer.expect("R 77:77(0)", rule="SA-LISTEN-07")
    listener.expect_none()
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    listener.close()
    late = case.peer(target_port=listener.port)
    late.send("S 0:0(0) win 65535 <mss 1460>")
    late.expect("R. 0:0(0) ack 1")


@needs("active_open")
@covers("SA-SYNSENT-10", "SA-SYNSENT-12", behaviour="B-23")
def test_syn_sent(peer, upper):
    """SYN-SENT: so says the target; the right ACK alone draws nothing, a wrong one a reset; connect() waits."""
    _, connecting = upper.connect(peer)
    peer.expect("S 0:0(0) <...>")
    peer.expect_state("SYN-SENT")
    peer.send(". 1:1(0) ack 1")
    peer.expect_silence()
    peer.send(". 1:1(0) ack 2")
    peer.expect("R 2:2(0)", allow=["S 0:0(0) <...>"], rule="SA-SYNSENT-12")
    peer.expect_silence(allow=["S 0:0(0) <...>"])
    peer.expect_state("SYN-SENT")
    connecting.expect_open()


@covers("SA-LISTEN-01", "SA-SYNRCVD-05", behaviour="B-23")
def test_syn_received(peer, listener):
    """SYN-RECEIVED: so says the target; the same SYN draws SYN,ACK again or an ACK; nothing to accept yet."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.expect_state("SYN-RECEIVED")
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect_one_of(["S. 0:0(0) ack 1 <...>", ". 1:1(0) ack 1"], rule="SA-SYNRCVD-05")
    peer.expect_state("SYN-RECEIVED")
    listener.expect_none()


@covers("SA-SYNRCVD-01", "SA-ESTAB-14", behaviour="B-23")
def test_established_passive(peer, listener):
    """ESTABLISHED: so says the target; an old number draws an empty ACK; the application has a connection."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    peer.expect_state("ESTABLISHED")
    peer.send(". 0:0(0) ack 1")
    peer.expect(". 1:1(0) ack 1", rule="SA-ESTAB-14")
    peer.expect_state("ESTABLISHED")
    connection.expect_no_data()


@needs("active_open")
@covers("SA-SYNSENT-01", "SA-ESTAB-14", behaviour="B-23")
def test_established_active(peer, upper):
    """ESTABLISHED out of SYN-SENT: so says the target; an old number draws an empty ACK; connect() has returned."""
    connection, connecting = upper.connect(peer)
    peer.expect("S 0:0(0) <...>")
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")
    peer.expect_state("ESTABLISHED")
    peer.send(". 0:0(0) ack 1")
    peer.expect(". 1:1(0) ack 1", rule="SA-ESTAB-14")
    connection.expect_no_data()
