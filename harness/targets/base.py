# SPDX-License-Identifier: GPL-2.0-or-later
"""A target: link, clock, upper tester and profile of one TCP stack under test."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from ..lower.case import Feed, Foresee
from ..lower.ends import Addresses, Ports
from ..lower.injector import Injector
from ..lower.timing import Timing
from ..upper.base import UpperTester
from ..wire.clock import CLOCK_STEP_NS, SECOND, Clock, SkippingClock
from ..wire.link import Link
from ..wire.neighbour import Neighbour
from .profile import Profile

FAMILIES: Final = ("ipv4", "ipv6")

TARGET_MAC: Final = bytes.fromhex("020000000001")
PHANTOM_MAC: Final = bytes.fromhex("020000000002")

TARGET: Final = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
PHANTOM: Final = {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}
"""The injector's own addresses; they belong to no kernel."""
PREFIX: Final = {"ipv4": 24, "ipv6": 64}
FORGED: Final = {"ipv4": "198.51.100.0/24", "ipv6": "2001:db8:f::/64"}
"""Where forged segments come from; the target's route to it leads to the injector."""


def packed(address: str) -> bytes:
    """An address as 4 or 16 octets."""
    return ipaddress.ip_address(address).packed


@cache
def addresses(family: str) -> Addresses:
    """The two ends of a lab's link in one family."""
    return Addresses(local=packed(PHANTOM[family]), target=packed(TARGET[family]),
                     forged=ipaddress.ip_network(FORGED[family]))


def _ends() -> dict[str, Addresses]:
    return {family: addresses(family) for family in FAMILIES}


def phantom_neighbour() -> Neighbour:
    """Answers for every address of the injector's end, never for the target's."""
    return Neighbour(mac=PHANTOM_MAC, networks=[
        *(ipaddress.ip_network(address) for address in PHANTOM.values()),
        *(ipaddress.ip_network(network) for network in FORGED.values())])


@dataclass(kw_only=True)
class Target:
    """One target, ready to be tested; `close` gives everything back.

    `ends` are the two of its link in each family. `foresee` looks at what a case is about to send, `feed` has its
    application send. `move` chooses for the cases to come which of two applications they meet, the other one or not.
    """

    name: str
    kind: str
    version: str
    profile: Profile
    clock: Clock
    link: Link
    upper: UpperTester
    timing: Timing
    injector: Injector
    ports: Ports = field(default_factory=Ports)
    ends: Mapping[str, Addresses] = field(default_factory=_ends)
    foresee: Foresee | None = None
    feed: Feed | None = None
    move: Callable[[bool], None] | None = None
    closers: list[Callable[[], None]] = field(default_factory=list)

    def come_to_rest(self, name: str) -> None:
        """Let what an earlier case has left come in, and begin at an instant that only the case's `name` chooses.

        So a case alone meets the same phase of the target's ticks as in the whole suite. Only where time costs nothing.
        """
        if not isinstance(self.clock, SkippingClock):
            return
        phase_ns = zlib.crc32(name.encode()) % (SECOND // CLOCK_STEP_NS) * CLOCK_STEP_NS
        begins = (self.clock.now() // SECOND + 2) * SECOND + phase_ns
        while self.injector.wait(begins - SECOND // 2) is not None:
            pass
        self.clock.arrive(begins)

    def close(self) -> None:
        """Close the link and what the target is made of, in the reverse order of making."""
        self.injector.close()
        for close in reversed(self.closers):
            close()


def timing_of(profile: Profile, tolerance_ns: int) -> Timing:
    """How a target of this profile keeps time, over a link of that tolerance."""
    return replace(profile.timing(), tolerance_ns=tolerance_ns)
