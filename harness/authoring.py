# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case imports: markers, times, states, and the values that it sends and matches.

from harness.authoring import after, covers, established

@covers("RFC9293-U-RST-CLOSED-NOACK", behaviour="B-24", tc8="TCP_BASICS_04")
def test_syn_is_refused(peer):
\"\"\"Nobody listens: RST,ACK with seq 0 and ack one past our SYN.\"\"\"
peer.send("S 0:0(0) win 65535 <mss 1460>")
peer.expect("R. 0:0(0) ack 1")
"""

from __future__ import annotations

import pytest

from .lower import forge
from .lower.application import Application, Connection, Listener, Pending
from .lower.case import Case
from .lower.peer import Peer
from .lower.states import (
    OFFER,
    close_wait,
    closing,
    connected,
    established,
    fin_wait_1,
    fin_wait_2,
    kept_alive,
    last_ack,
    syn_received,
    syn_sent,
    time_wait,
)
from .lower.stream import octets
from .lower.timing import after, seconds_between
from .requirements.catalogue import load
from .wire import ip, seq
from .wire.icmp import encode_icmp, icmp_error
from .wire.segment import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Kind, Option, Segment

default_timers = pytest.mark.default_timers
families = pytest.mark.families
flood = pytest.mark.flood
free = pytest.mark.free
needs = pytest.mark.needs
slow = pytest.mark.slow


def covers(*requirements: str, behaviour: str | tuple[str, ...] = (),
           tc8: str | tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Name the requirements that a case checks; the first is what a mismatch is held against by default.

    `behaviour` is the row of the founding table (`B-01`), `tc8` an id of the OPEN Alliance's test specification. Raises
    UsageError for an id that the catalogue does not have.
    """
    catalogue = load()
    for requirement in requirements:
        catalogue.get(requirement)
    behaviours = (behaviour,) if isinstance(behaviour, str) else behaviour
    ids = (tc8,) if isinstance(tc8, str) else tc8
    return pytest.mark.covers(*requirements, behaviours=behaviours, tc8=ids)


__all__ = [
    "ACK", "CWR", "ECE", "FIN", "OFFER", "PSH", "RST", "SYN", "URG", "Application", "Case", "Connection", "Kind",
    "Listener", "Option", "Peer", "Pending", "Segment", "after", "close_wait", "closing", "connected", "covers",
    "default_timers", "encode_icmp", "established", "families", "fin_wait_1", "fin_wait_2", "flood", "forge",
    "free",
    "icmp_error", "ip", "kept_alive", "last_ack", "needs", "octets", "seconds_between", "seq", "slow", "syn_received",
    "syn_sent",
    "time_wait",
]
