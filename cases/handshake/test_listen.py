# SPDX-License-Identifier: GPL-2.0-or-later
"""B-01, B-26: what reaches a listener and is no SYN opens nothing; the SYN that follows does."""

from __future__ import annotations

import pytest

from harness.authoring import covers


def opens(case, listener, rule):
    """The listener is as it was: it has no connection, and another peer's SYN draws its SYN,ACK."""
    listener.expect_none(rule=rule)
    listener.expect_listening(rule=rule)
    other = case.peer(target_port=listener.port)
    other.send("S 0:0(0) win 65535 <mss 1460>")
    other.expect("S. 0:0(0) ack 1 <...>", rule=rule)


@covers("RFC9293-U-RST-NONSYNC", "SA-LISTEN-06", "SA-LISTEN-07", "SA-LISTEN-08", "SA-LISTEN-09", "SA-LISTEN-10",
        behaviour=("B-01", "B-26"),
        tc8=("TCP_UNACCEPTABLE_05", "TCP_UNACCEPTABLE_07", "TCP_FLAGS_INVALID_02"))
@pytest.mark.parametrize(("segment", "row"), [
    ("S. 0:0(0) ack 77 win 65535 <mss 1460>", "SA-LISTEN-06"),
    (". 0:0(0) ack 77", "SA-LISTEN-07"),
    (". 0:100(100) ack 77", "SA-LISTEN-08"),
    ("F. 0:0(0) ack 77", "SA-LISTEN-09"),
    ("U. 0:0(0) ack 77 urg 1", "SA-LISTEN-10"),
], ids=["syn-ack", "ack", "data", "fin", "urg"])
def test_acknowledgement_of_nothing_is_reset(case, peer, listener, segment, row):
    """A listener has sent nothing: any acknowledgement draws RST with seq = its ack, and it listens on."""
    peer.send(segment)
    peer.expect("R 77:77(0)", rule=row)
    opens(case, listener, row)


@covers("RFC9293-U-RST-NO-RST", "SA-LISTEN-11", "SA-LISTEN-12", "SA-LISTEN-13", behaviour=("B-01", "B-26"),
        tc8="TCP_FLAGS_INVALID_01")
@pytest.mark.parametrize(("segment", "row"), [
    ("R 0:0(0)", "SA-LISTEN-11"),
    ("R. 0:0(0) ack 77", "SA-LISTEN-12"),
    ("SR 0:0(0) win 65535 <mss 1460>", "SA-LISTEN-13"),
], ids=["rst", "rst-ack", "syn-rst"])
def test_reset_is_ignored(case, peer, listener, segment, row):
    """A reset to a listener is ignored, before its ACK bit or SYN bit is looked at."""
    peer.send(segment)
    peer.expect_silence(rule=row)
    opens(case, listener, row)


@covers("SA-LISTEN-14", "SA-LISTEN-15", "SA-LISTEN-16", behaviour="B-01", tc8="TCP_FLAGS_PROCESSING_08")
@pytest.mark.parametrize(("segment", "row"), [
    ("F 0:0(0)", "SA-LISTEN-14"),
    ("P 0:100(100)", "SA-LISTEN-15"),
    ("- 0:0(0)", "SA-LISTEN-16"),
], ids=["fin", "data", "null"])
def test_neither_syn_nor_ack_is_dropped(case, peer, listener, segment, row):
    """Without SYN, ACK and RST a segment to a listener is dropped without an answer."""
    peer.send(segment)
    peer.expect_silence(rule=row)
    opens(case, listener, row)
