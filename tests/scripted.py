# SPDX-License-Identifier: GPL-2.0-or-later
"""A case against a target that is a function of the test: stepped time, no rights, no kernel."""

from __future__ import annotations

from collections.abc import Callable

from harness.lower.case import Case, Ports
from harness.lower.injector import Injector
from harness.lower.timing import Timing
from harness.requirements.catalogue import load
from harness.targets.base import addresses, phantom_neighbour
from harness.targets.decoys import ClaimingUpperTester, DecoyLink
from harness.wire import ip
from harness.wire.clock import SteppedClock
from harness.wire.codec import encode
from harness.wire.segment import ACK, RST, Flow, Segment

Reply = Callable[[Segment], list[Segment]]


class Values:
    """A profile of two timers."""

    def timer(self, name: str) -> float:
        return {"response_s": 1.0, "probe_timeout_min_s": 0.008}[name]

    def limit(self, name: str) -> int:
        raise KeyError(name)


def back(packet: ip.Packet, segment: Segment) -> Flow:
    """The flow from the target to the injector that answers a segment."""
    return Flow(local=packet.destination, local_port=segment.destination_port or 0,
                target=packet.source, target_port=segment.source_port or 0)


def refused(segment: Segment) -> Segment:
    """The reset that a closed port owes to a SYN: what a sentinel wants."""
    return Segment(flags=RST | ACK, seq=0, ack=((segment.seq or 0) + segment.length) % (1 << 32), window=0)


class Scripted:
    """A target whose answers are `reply(segment)`; ports named in `closed` refuse whatever comes."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply: Reply = reply or (lambda segment: [])
        self.open_ports: set[int] | None = None
        self.clock = SteppedClock()
        self.link = DecoyLink(self.clock, self._answer)
        self.injector = Injector(link=self.link, clock=self.clock, neighbour=phantom_neighbour())
        self.upper = ClaimingUpperTester()
        self.ports = Ports()

    def _answer(self, packet: ip.Packet, segment: Segment | None) -> list[bytes]:
        if segment is None:
            return []
        if self.open_ports is not None and segment.destination_port not in self.open_ports:
            return [] if segment.has(RST) else [encode(refused(segment), back(packet, segment))]
        return [encode(answer, back(packet, segment)) for answer in self.reply(segment)]

    def case(self, *requirements: str, family: str = "ipv4", name: str = "topic/module::case") -> Case:
        """A case that covers these requirements."""
        catalogue = load()
        known = {identifier: catalogue.get(identifier) for identifier in requirements or ("RFC9293-MUST-2",)}
        return Case(name=name, injector=self.injector, upper=self.upper, profile=Values(),
                    timing=Timing(rounding=0.125, tick_ns=10_000_000, tolerance_ns=0), addresses=addresses(family),
                    ports=self.ports, requirements=known)
