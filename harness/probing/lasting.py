# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes of an open connection and of its end: acknowledgements, repetitions, keepalive, the states that time ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from ..lower import forge
from ..lower.application import Connection
from ..lower.case import Case
from ..lower.peer import Peer
from ..lower.verdict import Mismatch
from ..wire.clock import SECOND
from ..wire.segment import FIN, RST
from .subject import Seen, Subject, accepted

_CHALLENGES: Final = 150
_CHALLENGE_S: Final = 0.02
_REASSEMBLY_S: Final = 300.0
_PROBES: Final = 50
_GRAIN: Final = 64
"""A state's end is looked for in so many steps; where time is real, a question costs one too."""


def delayed_ack(subject: Subject) -> Iterator[Seen]:
    """How long the acknowledgement of one small segment is held back (RFC 9293, 3.8.6.3)."""
    with subject.case("delayed ACK", subject.families[0]) as case:
        peer, _, _ = accepted(case)
        case.pause(1.0)
        longest = 0.0
        # A stack may acknowledge the first ones at once.
        for number in range(20):
            sent = peer.send(f"P. {1 + number}:{2 + number}(1) ack 1")
            answer = peer.observe(2.0)
            if answer is None:
                yield Seen(table="timers", name="delayed_ack_max_s", how="an octet was not acknowledged within 2 s")
                return
            longest = max(longest, ((answer.stamp_ns or 0) - sent.stamp_ns) / SECOND)
        yield Seen(table="timers", name="delayed_ack_max_s", value=max(subject.tidy(longest), 0.001),
                   how="the longest of 20 octets, one at a time")


def repeated_data(subject: Subject) -> Iterator[Seen]:
    """When data that nobody acknowledges comes again, how often, and what the greatest gap is (RFC 6298, 2)."""
    with subject.case("data repeated", subject.families[0]) as case:
        peer, _, connection = accepted(case)
        connection.send(100)
        first = peer.observe(2.0)
        if first is None:
            yield Seen(table="limits", name="data_retries", how="no data came")
            return
        series = subject.series(case, peer, first)
        how = f"data again after {series}"
        if series.gaps:
            yield Seen(table="timers", name="probe_timeout_min_s", value=series.gaps[0], how=how)
            yield Seen(table="timers", name="rto_min_s", value=series.gaps[0], how=how)
        alike = len(series.gaps) > 2 and series.gaps[-1] < 1.5 * series.gaps[-2]
        yield Seen(table="timers", name="rto_max_s", value=max(series.gaps) if alike else None, how=how)
        yield Seen(table="limits", name="data_retries", value=subject.count(series), how=how)


def orphan(subject: Subject) -> Iterator[Seen]:
    """How often the FIN of a closed connection is repeated that nobody acknowledges."""
    with subject.case("orphan", subject.families[0]) as case:
        peer, _, connection = accepted(case)
        connection.close()
        first = peer.observe(2.0)
        if first is None or not first.has(FIN):
            yield Seen(table="limits", name="orphan_retries", how="close() sent no FIN")
            return
        series = subject.series(case, peer, first)
        yield Seen(table="limits", name="orphan_retries", value=subject.count(series),
                   how=f"FIN again after {series}")


def reassembly(subject: Subject) -> Iterator[Seen]:
    """How long fragments wait for the rest, as the ICMP time exceeded says that ends it (RFC 791; RFC 8200, 4.5)."""
    for family in subject.families:
        name = f"reassembly_{family}_s"
        with subject.case(name, family) as case:
            peer = case.peer()
            _, whole = forge.datagram(peer, "S 0:0(0) win 65535 <mss 1460,nop,nop,sackOK,nop,wscale 2>")
            began = forge.send_pieces(peer, [whole.piece(0, 24)])
            case.pause(min(subject.longest_s, _REASSEMBLY_S))
            try:
                message = case.expect_icmp(*(3, 1) if family == "ipv6" else (11, 1))
            except Mismatch as reason:
                yield Seen(table="timers", name=name, how=f"expected ICMP time exceeded, got {reason.finding.got}")
            else:
                waited = ((message.stamp_ns or 0) - began.stamp_ns) / SECOND
                yield Seen(table="timers", name=name, value=subject.tidy(waited), how="until ICMP time exceeded")


def challenges(subject: Subject) -> Iterator[Seen]:
    """The least time between two challenge ACKs of a connection (RFC 5961, 7): a SYN each 20 ms, for 3 s."""
    with subject.case("challenge ACKs", subject.families[0]) as case:
        peer, _, _ = accepted(case)
        stamps = []
        for _ in range(_CHALLENGES):
            peer.send("S 1:1(0) win 65535")
            answer = peer.observe(_CHALLENGE_S)
            if answer is not None and not answer.has(RST):
                stamps.append(answer.stamp_ns or 0)
    if len(stamps) < 2:
        yield Seen(table="timers", name="challenge_ack_interval_s", how=f"{len(stamps)} of {_CHALLENGES} SYNs answered")
        return
    least = min(later - earlier for earlier, later in pairwise(stamps)) / SECOND
    yield Seen(table="timers", name="challenge_ack_interval_s",
               value=0.0 if least < 2 * _CHALLENGE_S else _roundest(least - _CHALLENGE_S, least),
               how=f"{len(stamps)} of {_CHALLENGES} SYNs answered, {_CHALLENGE_S:g} s apart")


def fin_wait_2(subject: Subject) -> Iterator[Seen]:
    """How long a closed socket waits for our FIN."""
    yield _lasts(subject, "FIN-WAIT-2", "fin_wait_2_s", lambda case: _closed(case)[0], endless=subject.endless)


def time_wait(subject: Subject) -> Iterator[Seen]:
    """How long TIME-WAIT lasts (RFC 9293, 3.4.2)."""
    yield _lasts(subject, "TIME-WAIT", "time_wait_s", in_time_wait)


def in_time_wait(case: Case) -> Peer:
    """A connection that the application closed first, and we after it."""
    peer, _ = _closed(case)
    peer.send("F. 1:1(0) ack 2")
    peer.observe(1.0)
    return peer


def _closed(case: Case) -> tuple[Peer, Connection]:
    """The application closes, and we acknowledge its FIN."""
    peer, _, connection = accepted(case)
    with case.preamble():
        connection.close()
        fin = peer.observe(2.0)
        if fin is None or not fin.has(FIN):
            raise case.mismatch(expected="F. 1:1(0) ack 1", got="no FIN")
        peer.send(". 1:1(0) ack 2")
    return peer, connection


def _lasts(subject: Subject, state: str, name: str, bring: Callable[[Case], Peer],
           endless: float | None = None) -> Seen:
    """How long a state lasts, as the target itself tells. Where time costs nothing, a second time and closer."""
    last, ended = 0.0, None
    for grain in (_GRAIN,) if subject.real else (_GRAIN, _GRAIN * _GRAIN):
        with subject.case(f"{state}/{grain}", subject.families[0]) as case:
            peer = bring(case)
            if case.upper.state(peer.flow) != state:
                return Seen(table="timers", name=name, how=f"the target was not in {state}")
            last, ended = _end(case, peer, state, grain, last, subject.longest_s)
        if ended is None:
            return Seen(table="timers", name=name, value=endless,
                        how=f"{state} lasted longer than {subject.longest_s:g} s")
    return Seen(table="timers", name=name, value=_roundest(last, ended or 0.0),
                how=f"{state} was over by then, and not yet after {last:.6g} s")


def _roundest(last: float, first: float) -> float:
    """Of the numbers above `last` and up to `first` the one with the fewest digits."""
    for digits in range(-3, 6):
        unit = 10.0 ** -digits
        number = (last // unit + 1) * unit
        if number <= first:
            return round(number, max(digits, 0))
    return first


def _end(case: Case, peer: Peer, state: str, grain: int, after_s: float,
         longest_s: float) -> tuple[float, float | None]:
    """Of the instants looked at, the last in this state and the first behind it, None if it lasts longer.

    They begin at `after_s`, and lie a `grain`-th of their distance from the beginning apart.
    """
    began, last, at = case.clock.now(), after_s, max(after_s, 0.1)
    while at <= longest_s:
        case.wait_until(began + round(at * SECOND))
        if case.upper.state(peer.flow) != state:
            return last, at
        last = at
        at += max(0.1 * _GRAIN / grain, at / grain)
    return last, None


def keepalive(subject: Subject) -> Iterator[Seen]:
    """Keepalive of a silent connection (RFC 9293, 3.8.4): the first probe, their gaps, their number, and the end."""
    with subject.case("keepalive", subject.families[0]) as case:
        peer, _, connection = accepted(case)
        began = case.clock.now()
        connection.set_option("SO_KEEPALIVE", 1)
        yield Seen(table="features", name="keepalive", value=True, how="takes SO_KEEPALIVE")
        first = peer.observe(subject.longest_s)
        if first is None:
            yield Seen(table="timers", name="keepalive_time_s", how=f"no probe within {subject.longest_s:g} s")
            return
        idle = round(((first.stamp_ns or 0) - began) / SECOND, 1)
        yield Seen(table="timers", name="keepalive_time_s", value=idle, how="idle until the first probe")
        yield Seen(table="limits", name="keepalive_garbage_octets", value=len(first.payload or b""),
                   how="octets in the probe")
        yield from _probes(subject, case, peer)


def _probes(subject: Subject, case: Case, peer: Peer) -> Iterator[Seen]:
    """The probes behind the first one, none of them answered."""
    stamps, reset = [case.clock.now()], False
    while len(stamps) < _PROBES and not reset:
        segment = peer.observe(subject.longest_s)
        if segment is None:
            break
        reset = segment.has(RST)
        stamps.append(segment.stamp_ns or 0)
    gaps = [subject.tidy((later - earlier) / SECOND) for earlier, later in pairwise(stamps)]
    if gaps:
        yield Seen(table="timers", name="keepalive_interval_s", value=gaps[0], how="between the first two probes")
    if len(stamps) == _PROBES:
        yield Seen(table="limits", name="keepalive_probes", value=subject.endless,
                   how=f"{_PROBES} probes, and no end of them")
        return
    yield Seen(table="limits", name="keepalive_probes", value=len(stamps) - reset, how="unanswered")
    yield Seen(table="features", name="keepalive_reset", value=reset, how="what came behind the last probe")
