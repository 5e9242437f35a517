# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes of what a stack may do or leave: each asks one question on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..lower import forge
from ..lower.application import Application
from ..lower.case import Case
from ..lower.verdict import Inconclusive, Mismatch
from ..upper.base import NotApplicable
from ..wire import ip
from ..wire.segment import ACK, RST, SYN
from .lasting import in_time_wait
from .subject import Seen, Subject, accepted

_UNREACHABLE: Final = {False: (3, 3), True: (1, 4)}
_BACKLOG: Final = 4
_HANDSHAKES: Final = 12


def _udp(case: Case) -> bool:
    """A datagram to a closed port draws port unreachable (RFC 1122, 3.2.2.1; RFC 4443, 3.1)."""
    case.send_packet(ip.encode_udp(source=case.addresses.local, destination=case.addresses.target,
                                   source_port=case.port(), destination_port=case.port(), payload=b"?"), "UDP, 1 octet")
    case.expect_icmp(*_UNREACHABLE[len(case.addresses.target) == 16])
    return True


def _reassembly(case: Case) -> bool:
    """A segment in two fragments is acknowledged (RFC 791, 3.2)."""
    peer, _, _ = accepted(case)
    forge.send_cut(peer, "P. 1:1001(1000) ack 1", 512)
    answer = peer.observe(2.0)
    return answer is not None and answer.ack == peer.send_next


def _challenge(case: Case) -> bool:
    """A SYN within a connection draws an ACK and no reset (RFC 5961, 4)."""
    peer, _, _ = accepted(case)
    peer.send("S 1:1(0) win 65535")
    answer = peer.observe(2.0)
    return answer is not None and answer.has(ACK) and not answer.has(RST)


def _reopen(case: Case) -> bool:
    """A later SYN opens a connection that is in TIME-WAIT (RFC 9293, 3.6.1)."""
    peer = in_time_wait(case)
    peer.send("S 100000:100000(0) win 65535 <mss 1460>")
    answer = peer.observe(2.0)
    return answer is not None and answer.has(SYN)


def _crossed(case: Case) -> bool:
    """SYNs that cross open one connection (RFC 9293, 3.5)."""
    peer = case.peer()
    _, connecting = Application(case).connect(peer)
    first = peer.observe(2.0)
    if first is None or not first.has(SYN):
        return False
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    answer = peer.observe(2.0)
    if answer is None or not answer.has(SYN | ACK):
        return False
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    connecting.expect("done")
    return True


_QUESTIONS: Final[dict[str, Callable[[Case], bool]]] = {
    "udp": _udp, "icmp_errors": _udp, "ip_reassembly": _reassembly, "rfc5961_challenge_acks": _challenge,
    "time_wait_reopen": _reopen, "simultaneous_open": _crossed,
}


def behaviour(subject: Subject) -> Iterator[Seen]:
    """The features that show in an answer."""
    for name, ask in _QUESTIONS.items():
        how = " ".join((ask.__doc__ or "").split()).rstrip(".")
        with subject.case(name, subject.families[0]) as case:
            try:
                seen = ask(case)
            except (NotApplicable, Mismatch, Inconclusive) as reason:
                yield Seen(table="features", name=name, value=False, how=str(reason).splitlines()[0])
            else:
                yield Seen(table="features", name=name, value=seen, how=how if seen else f"not so: {how}")


def backlog(subject: Subject) -> Iterator[Seen]:
    """How many connections a listener holds that nobody accepts, and what the next handshake meets."""
    with subject.case("backlog", subject.families[0]) as case:
        listener = Application(case).listen(backlog=_BACKLOG)
        reset = False
        for _ in range(_HANDSHAKES):
            peer = case.peer(target_port=listener.port)
            peer.send("S 0:0(0) win 65535 <mss 1460>")
            answer = peer.observe(0.5)
            if answer is not None and answer.has(SYN):
                peer.send(". 1:1(0) ack 1")
                answer = peer.observe(0.1)
            reset = reset or (answer is not None and answer.has(RST))
        held = 0
        while held < _HANDSHAKES and listener.accepting().outcome(within_s=0.1) is not None:
            held += 1
    if held == _HANDSHAKES or held < _BACKLOG:
        yield Seen(table="limits", name="accept_backlog_extra",
                   how=f"{held} of {_HANDSHAKES} connections were held where the backlog was {_BACKLOG}")
        return
    yield Seen(table="limits", name="accept_backlog_extra", value=held - _BACKLOG,
               how=f"{held} connections held where the backlog was {_BACKLOG}")
    yield Seen(table="policies", name="accept_backlog_overflow", value="reset" if reset else "drop",
               how="what the next handshake met")
