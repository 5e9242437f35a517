# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings a connection to the state from which a case begins (RFC 9293, figure 5).

Whatever goes wrong on the way is *inconclusive*, not a failure of the rule that the case is about (DESIGN, rule 3).
Each constructor leaves the relative numbers as its docstring says; both sides count one for their SYN, so the first
octet of data is 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..wire.segment import FIN
from .application import Application, Connection, Listener, Pending
from .peer import Peer

OFFER = "<mss 1460>"
"""What our SYN offers unless a case wants something else: no time stamps, no scale, no SACK."""


def syn_received(peer: Peer, listener: Listener, *, offer: str = OFFER) -> None:
    """Our SYN is answered, the third segment withheld. Next from us 1, from the target 1."""
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 {offer}")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.expect_state("SYN-RECEIVED")


def established(peer: Peer, listener: Listener, *, offer: str = OFFER, third: str = ". 1:1(0) ack 1") -> Connection:
    """We opened, the application accepted. Next from us 1, from the target 1.

    With time stamps in the offer, pass a `third` segment that carries them.
    """
    with peer.case.preamble():
        peer.send(f"S 0:0(0) win 65535 {offer}")
        peer.expect("S. 0:0(0) ack 1 <...>")
        peer.send(third)
        connection = listener.accept(peer)
        peer.expect_state("ESTABLISHED")
    return connection


def kept_alive(peer: Peer, listener: Listener) -> Connection:
    """Established, and the application has switched keepalive on. Next from us 1, from the target 1.

    A stack may count the idle time from the switching on, if that is later than the last segment: so does `after` here.
    """
    connection = established(peer, listener)
    with peer.case.preamble():
        switched_on = peer.case.moment()
        connection.set_option("SO_KEEPALIVE", 1)
        peer.last = switched_on
    return connection


def syn_sent(peer: Peer, upper: Application, *, options: Mapping[str, int] | None = None) -> tuple[Connection, Pending]:
    """The target's SYN has come and is not answered. Next from the target 1."""
    with peer.case.preamble():
        connection, connecting = upper.connect(peer, options=options)
        peer.expect("S 0:0(0) <...>")
        peer.expect_state("SYN-SENT")
    return connection, connecting


def connected(peer: Peer, upper: Application, *, offer: str = OFFER,
              options: Mapping[str, int] | None = None) -> Connection:
    """The target opened, and is ESTABLISHED. Next from us 1, from the target 1."""
    connection, connecting = syn_sent(peer, upper, options=options)
    with peer.case.preamble():
        peer.send(f"S. 0:0(0) ack 1 win 65535 {offer}")
        peer.expect(". 1:1(0) ack 1")
        with peer.case.looking("whether connect() has ended"):
            connecting.expect("done")
        peer.expect_state("ESTABLISHED")
    return connection


def close_wait(peer: Peer, listener: Listener, *, offer: str = OFFER) -> Connection:
    """Our FIN is acknowledged, the application has not closed. Next from us 2, from the target 1."""
    connection = established(peer, listener, offer=offer)
    with peer.case.preamble():
        peer.send("F. 1:1(0) ack 1")
        peer.expect(". 1:1(0) ack 2")
        peer.expect_state("CLOSE-WAIT")
    return connection


def last_ack(peer: Peer, listener: Listener) -> Connection:
    """The target has sent its FIN after ours, not acknowledged. Next from us 2, from the target 2."""
    if peer.case.autonomous:
        return _closed_by_itself(peer, listener)
    connection = close_wait(peer, listener)
    with peer.case.preamble():
        connection.close()
        peer.expect("F. 1:1(0) ack 2")
        peer.expect_state("LAST-ACK")
    return connection


def _closed_by_itself(peer: Peer, listener: Listener) -> Connection:
    """The same, of an application that closes by itself: its FIN may come with the acknowledgement of ours."""
    connection = established(peer, listener)
    with peer.case.preamble(), peer.case.letting_close():
        peer.send("F. 1:1(0) ack 1")
        if peer.expect_one_of([". 1:1(0) ack 2", "F. 1:1(0) ack 2"]).has(FIN):
            # Nobody holds the application back: its FIN may overtake the acknowledgement that was on its way.
            peer.expect_silence(allow=[". 1:1(0) ack 2"])
        else:
            peer.expect("F. 1:1(0) ack 2")
    return connection


def fin_wait_1(peer: Peer, listener: Listener, *, half: bool = False) -> Connection:
    """The target has sent its FIN, not acknowledged. Next from us 1, from the target 2.

    `half`: the application only shut its sending half down and still reads; else it closed the socket.
    """
    connection = established(peer, listener)
    with peer.case.preamble():
        connection.shutdown("write") if half else connection.close()
        peer.expect("F. 1:1(0) ack 1")
        peer.expect_state("FIN-WAIT-1")
    return connection


def fin_wait_2(peer: Peer, listener: Listener, *, half: bool = False) -> Connection:
    """The target's FIN is acknowledged, ours not sent. Next from us 1, from the target 2."""
    connection = fin_wait_1(peer, listener, half=half)
    with peer.case.preamble():
        peer.send(". 1:1(0) ack 2")
        peer.expect_state("FIN-WAIT-2")
    return connection


def closing(peer: Peer, listener: Listener, *, half: bool = False) -> Connection:
    """The FINs have crossed. Next from us 2, from the target 2; our segment does not acknowledge the target's FIN."""
    connection = fin_wait_1(peer, listener, half=half)
    with peer.case.preamble():
        peer.send("F. 1:1(0) ack 1")
        peer.expect_one_of([". 2:2(0) ack 2", "F. 1:1(0) ack 2"])  # 4.4BSD repeats its FIN with each acknowledgement
        peer.expect_state("CLOSING")
    return connection


def time_wait(peer: Peer, listener: Listener) -> Connection:
    """The target closed first, and all is acknowledged. Next from us 2, from the target 2."""
    connection = fin_wait_2(peer, listener)
    with peer.case.preamble():
        peer.send("F. 1:1(0) ack 2")
        peer.expect(". 2:2(0) ack 2")
        peer.expect_state("TIME-WAIT")
    return connection
