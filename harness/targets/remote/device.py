# SPDX-License-Identifier: GPL-2.0-or-later
"""A remote device as its file describes it: the table `[remote]` of a profile of kind `remote`."""

from __future__ import annotations

import ipaddress
import zlib
from dataclasses import dataclass
from typing import Final, NewType

from ...upper.testability.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Upper = NewType("Upper", str)
Timers = NewType("Timers", str)
Application = NewType("Application", str)
Port = NewType("Port", int)
Vlan = NewType("Vlan", int)
Mtu = NewType("Mtu", int)
Mac = NewType("Mac", bytes)
Wait = NewType("Wait", float)
Ports = NewType("Ports", tuple[int, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPort:
    """A port of the device on which something listens, and what that does.

    `application` is one of `APPLICATIONS`.
    """

    port: Port
    application: Application


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoPort:
    """A port of the device behind which an application sends back what it reads, as it reads it (RFC 862).

    It reads a whole segment in one call, and sends it in one.
    """

    port: Port


APPLICATIONS: Final = {
    "discard": "reads what it is sent, says nothing, and closes when it is told the end of the stream (RFC 863)",
    "holds": "reads what it is sent, says nothing, and never closes",
}
"""What may be behind an open port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Where the agent listens on the device; `key` is the file that both ends have, beside the target's own.

    `answer_limit_s` is how long any answer may take.
    """

    address: Address
    port: Port
    key: str
    answer_limit_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """How `ssh` reaches the device: the host as it understands it, options for its command line, and the interpreter
    that is to run the agent there.
    """

    host: str
    options: tuple[str, ...] = ()
    python: str = "python3"
    answer_limit_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the file says. Nothing is ever sent to an address that does not stand here.

    `ipv4` and `ipv6` are the device's, `injector_ipv4` and `injector_ipv6` ours, which nobody may have. Without `mac`
    the device's is asked for; `router_ipv4` and `router_ipv6` are whom to ask if the device is not on the link.
    `forged_ipv4` and `forged_ipv6` are networks that the device reaches by the injector's address, and nobody lives
    in. `rate_limit` is in frames a second, `longest_wait_s` how long a case may wait for one thing. `ports` are the
    first and last port of the device that the cases may take for closed, or have its application open.
    """

    interface: str
    upper: Upper
    ipv4: ipaddress.IPv4Address | None = None
    ipv6: ipaddress.IPv6Address | None = None
    injector_ipv4: ipaddress.IPv4Address | None = None
    injector_ipv6: ipaddress.IPv6Address | None = None
    router_ipv4: ipaddress.IPv4Address | None = None
    router_ipv6: ipaddress.IPv6Address | None = None
    forged_ipv4: ipaddress.IPv4Network | None = None
    forged_ipv6: ipaddress.IPv6Network | None = None
    mac: Mac | None = None
    injector_mac: Mac | None = None
    vlan: Vlan | None = None
    mtu: Mtu | None = None
    timers: Timers = Timers("default")
    rate_limit: float = 1000.0
    longest_wait_s: Wait = Wait(30.0)
    ports: Ports = Ports((20000, 59999))
    version: str = ""
    open: OpenPort | None = None
    echo: EchoPort | None = None
    agent: Agent | None = None
    ssh: Ssh | None = None
    testability: Settings | None = None

    def address(self, family: str) -> Address | None:
        """The device's address in that family."""
        return self.ipv4 if family == "ipv4" else self.ipv6

    def injector(self, family: str) -> Address | None:
        """The injector's address in that family."""
        return self.injector_ipv4 if family == "ipv4" else self.injector_ipv6

    def forged(self, family: str) -> Network | None:
        """Where forged segments may come from in that family."""
        return self.forged_ipv4 if family == "ipv4" else self.forged_ipv6

    def hop(self, family: str) -> Address | None:
        """Who is to be given the packets of that family: the device itself, or a router."""
        router = self.router_ipv4 if family == "ipv4" else self.router_ipv6
        return router or self.address(family)

    @property
    def families(self) -> tuple[str, ...]:
        """The families in which the device can be reached, the one to begin with first."""
        return tuple(family for family in ("ipv4", "ipv6") if self.address(family) is not None)

    def own_mac(self, interface_mac: bytes) -> bytes:
        """The injector's MAC address: the file's, or one of its own that goes with the interface and its addresses.

        It is locally administered, so that no manufacturer has given it to anybody.
        """
        if self.injector_mac is not None:
            return self.injector_mac
        text = f"{interface_mac.hex()} {self.injector_ipv4} {self.injector_ipv6}"
        return b"\x02\x7c" + zlib.crc32(text.encode()).to_bytes(4, "big")
