# SPDX-License-Identifier: GPL-2.0-or-later
"""B-24: a closed port answers with a reset, made from the segment that met it (RFC 9293, 3.10.7.1)."""

from __future__ import annotations

from harness.authoring import covers


@covers("RFC9293-U-RST-CLOSED-NOACK", "SA-CLOSED-01", behaviour="B-24", tc8="TCP_BASICS_04")
def test_syn_is_refused(peer):
    """Nobody listens: RST,ACK with seq 0 and ack one past our SYN."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("R. 0:0(0) ack 1")
