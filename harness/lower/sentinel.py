# SPDX-License-Identifier: GPL-2.0-or-later
"""The sentinel: an exchange that proves path and target alive where the demand is silence (DESIGN, rule 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.icmp import IcmpType, Icmpv6Type, icmp_echo

if TYPE_CHECKING:
    from .case import Case


def prove_alive(case: Case) -> None:
    """A SYN to a closed port has to be refused, or an echo request answered. Raises Inconclusive."""
    if case.profile.sentinel() == "echo":
        _be_echoed(case)
    else:
        _be_refused(case)


def _be_refused(case: Case) -> None:
    probe = case.peer()
    case.note("sentinel: a SYN to a closed port proves that path and target are alive")
    with case.preamble():
        probe.send("S 0:0(0) win 65535")
        probe.expect("R. 0:0(0) ack 1")
    case.forget(probe)


def _be_echoed(case: Case) -> None:
    """RFC 792; RFC 4443, 4.1."""
    ends = case.addresses
    case.note("sentinel: an echo request proves that path and target are alive")
    with case.preamble():
        request = icmp_echo(source=ends.local, destination=ends.target, identifier=case.port(), body=b"sentinel")
        case.send_packet(request, "ICMP echo request")
        kind = Icmpv6Type.ECHO_REPLY if len(ends.target) == 16 else IcmpType.ECHO_REPLY
        case.expect_icmp(kind, 0, quoting=request[-len(b"sentinel"):])
