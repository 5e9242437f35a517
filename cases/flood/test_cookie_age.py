# SPDX-License-Identifier: GPL-2.0-or-later
"""B-10: a SYN cookie is one that was sent, and that not long ago (RFC 4987, 3.6)."""

from __future__ import annotations

import pytest

from harness.authoring import after, covers, flood, needs, slow, syn_received
from harness.lower.flood import Flood
from harness.targets.schedule import over_s, synack_gaps_s

pytestmark = flood

BACKLOG = 64
FORGED = 5000
LONG_S = 600.0
"""No stack is known whose cookies live as long; most forget them after one to four minutes."""


def cookied(case, listener, storm):
    """A client whose SYN the flooded listener has answered with a cookie, since there is no entry for it."""
    with case.preamble():
        storm.send(FORGED)
        client = case.peer(target_port=listener.port)
        client.send("S 0:0(0) win 65535 <mss 1460>")
        client.expect("S. 0:0(0) ack 1 <mss *>")
        client.expect_state("CLOSED")
    return client


@slow
@needs("syn_cookies")
@covers("SA-LISTEN-07", "RFC4987-COOKIE-2", "RFC9293-U-RST-NONSYNC", behaviour=("B-10", "B-09"))
@pytest.mark.parametrize("attacked", [True, False], ids=["the flood goes on", "the flood is over"])
def test_old_cookie_is_refused(case, upper, attacked):
    """Ten minutes after it was sent a cookie is worth nothing, whether the listener still sends them or not.

    Cookies need not expire; but if they do, what comes too late is reset like any other acknowledgement.
    """
    listener = upper.listen(backlog=BACKLOG)
    storm = Flood(case, listener.port)
    client = cookied(case, listener, storm)
    case.pause(LONG_S)
    fresh = cookied(case, listener, storm) if attacked else None
    client.send(". 1:1(0) ack 1")
    if client.state() == "ESTABLISHED":
        pytest.skip("not applicable: the target's cookies do not expire")
    client.expect_gone("R 1:1(0)", form="RFC9293-U-RST-NONSYNC")
    client.expect_state("CLOSED")
    listener.expect_none()
    if fresh is not None:
        fresh.send(". 1:1(0) ack 1")
        listener.accept(fresh)


@slow
@needs("syn_cookies")
@covers("SA-LISTEN-07", "RFC9293-U-RST-NONSYNC", behaviour=("B-10", "B-09"))
@pytest.mark.parametrize("segment", [". 1:1(0) ack 1", "P. 1:101(100) ack 1"], ids=["ack", "data"])
def test_late_acknowledgement_is_no_cookie(case, upper, profile, segment):
    """A client's entry is gone, and the listener is flooded only then: what it was sent before is no cookie."""
    listener = upper.listen(backlog=BACKLOG)
    client = case.peer(target_port=listener.port)
    with case.preamble():
        syn_received(client, listener)
        client.count_repeats()
        *gaps, last = synack_gaps_s(profile)
        for gap in gaps:
            client.expect("S. 0:0(0) ack 1 <...>", after(gap))
        client.expect_silence(for_s=over_s(profile, last))
        client.expect_state("CLOSED")
    fresh = cookied(case, listener, Flood(case, listener.port))
    client.send(segment)
    client.expect_gone("R 1:1(0)", form="RFC9293-U-RST-NONSYNC")
    listener.expect_none()
    fresh.send(". 1:1(0) ack 1")
    listener.accept(fresh)
