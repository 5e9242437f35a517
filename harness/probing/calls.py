# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes of the socket API: what the application of this target can ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..lower.application import Connection
from ..lower.case import Case
from ..lower.peer import Peer
from ..lower.verdict import Inconclusive, Mismatch
from ..targets.base import FAMILIES
from ..upper.base import NotApplicable
from ..wire.segment import FIN, RST
from .subject import Seen, Subject, accepted

_Ask = Callable[[Case, Peer, Connection], bool]


def _half_close(case: Case, peer: Peer, connection: Connection) -> bool:
    connection.shutdown("write")
    segment = peer.observe(2.0)
    if segment is None or not segment.has(FIN):
        return False
    peer.send(". 1:1(0) ack 2")
    peer.send("P. 1:11(10) ack 2")
    connection.expect_data(10)
    return True


def _abort(case: Case, peer: Peer, connection: Connection) -> bool:
    connection.abort()
    segment = peer.observe(2.0)
    return segment is not None and segment.has(RST)


def _linger(case: Case, peer: Peer, connection: Connection) -> bool:
    pending = connection.close(linger_s=5)
    segment = peer.observe(2.0)
    if segment is None or not segment.has(FIN):
        return False
    pending.expect_open()
    peer.send(". 1:1(0) ack 2")
    pending.expect("done")
    return True


def _state_report(case: Case, peer: Peer, connection: Connection) -> bool:
    return case.upper.state(peer.flow) == "ESTABLISHED"


def _urgent(case: Case, peer: Peer, connection: Connection) -> bool:
    connection.send(1, urgent=True)
    segment = peer.observe(2.0)
    return segment is not None and bool(segment.urgent)


def _option(name: str, value: int) -> _Ask:
    def ask(case: Case, peer: Peer, connection: Connection) -> bool:
        connection.set_option(name, value)
        return True

    return ask


_FEATURES: Final[dict[str, tuple[_Ask, str]]] = {
    "half_close": (_half_close, "shutdown(), then data of ours"),
    "abort": (_abort, "a reset follows"),
    "linger": (_linger, "close() waits for the acknowledgement"),
    "state_report": (_state_report, "asked in ESTABLISHED"),
    "urgent": (_urgent, "an octet sent as urgent"),
    "keepalive": (_option("SO_KEEPALIVE", 1), "takes SO_KEEPALIVE"),
    "keepalive_settings": (_option("TCP_KEEPIDLE", 10), "takes TCP_KEEPIDLE"),
    "user_timeout": (_option("TCP_USER_TIMEOUT", 10_000), "takes TCP_USER_TIMEOUT"),
}


def features(subject: Subject) -> Iterator[Seen]:
    """What the socket API of the target offers, each on a connection of its own."""
    for name, (ask, how) in _FEATURES.items():
        with subject.case(name, subject.families[0]) as case:
            try:
                peer, _, connection = accepted(case)
                has = ask(case, peer, connection)
            except (NotApplicable, Mismatch, Inconclusive) as reason:
                yield Seen(table="features", name=name, value=False, how=str(reason).splitlines()[0])
            else:
                yield Seen(table="features", name=name, value=has, how=how)


def families(subject: Subject) -> Iterator[Seen]:
    """Which IP families the stack speaks: it refuses a SYN to a closed port there, or accepts one to an open port."""
    opened, why_not = False, ""
    for family in subject.families:
        with subject.case(family, family) as case:
            try:
                accepted(case)
                opened, speaks, how = True, True, "a connection was accepted"
            except (NotApplicable, Mismatch, Inconclusive) as reason:
                why_not = str(reason).splitlines()[0]
                speaks = _refuses(case)
                how = "a closed port refuses a SYN" if speaks else "no SYN was answered"
        yield Seen(table="features", name=family, value=speaks, how=how)
    for family in FAMILIES:
        if family not in subject.families:
            yield Seen(table="features", name=family, value=False, how="the target's file has no address of it")
    yield Seen(table="features", name="passive_open", value=opened, how=why_not or "a connection was accepted")


def _refuses(case: Case) -> bool:
    peer = case.peer()
    peer.send("S 0:0(0) win 65535")
    answer = peer.observe(1.0)
    return answer is not None and answer.has(RST)
