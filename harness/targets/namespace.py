# SPDX-License-Identifier: GPL-2.0-or-later
"""The target `linux`: this machine's kernel, in a network namespace that the run makes for itself.

Two anonymous namespaces are joined by a veth pair. The target's end has addresses; ours has none, so no kernel ever
answers in the injector's place. Offloads are off on both ends, so that a frame is what the stack sent.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import platform
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..lower.injector import Injector
from ..lower.timing import measure_tolerance
from ..upper.sockets import SocketUpperTester
from ..wire.clock import RealClock, SkippingClock
from ..wire.errors import LinkError, TargetError
from ..wire.link import PacketLink
from ..wire.netns import NetworkNamespace
from .base import (
    FAMILIES,
    FORGED,
    PHANTOM,
    PHANTOM_MAC,
    PREFIX,
    TARGET,
    TARGET_MAC,
    Target,
    phantom_neighbour,
    timing_of,
)
from .profile import Profile

MTU: Final = 1500
_TARGET_END: Final = "target"
_INJECTOR_END: Final = "injector"
_SIOCETHTOOL: Final = 0x8946
_SIOCGIFFLAGS: Final = 0x8913
_IFF_RUNNING: Final = 0x40
_IFNAMSIZ: Final = 16
_CARRIER_S: Final = 5.0
_RTMGRP_LINK: Final = 1
_NETLINK_OCTETS: Final = 1 << 16
OFFLOADS: Final = {"rx checksums": 0x15, "tx checksums": 0x17, "scatter-gather": 0x19, "TSO": 0x1F, "GSO": 0x24,
                    "GRO": 0x2C}
"""The `ETHTOOL_S*` commands that switch off what would rewrite or merge segments."""
QUIET: Final = {
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.router_solicitations": "0",
    "net.ipv6.conf.default.addr_gen_mode": "1",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv4.icmp_ratelimit": "0",
}
"""No duplicate address detection race, no solicitations of the target's own, no answer held back for its rate."""


def switch_offloads_off(interface: str) -> None:
    """Switch off every offload of an interface of the present namespace. Raises LinkError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name, command in OFFLOADS.items():
            value = array.array("B", struct.pack("II", command, 0))
            request = struct.pack(f"{_IFNAMSIZ}sP", interface.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(sock, _SIOCETHTOOL, request)
            except OSError as error:
                raise LinkError(f"interface {interface!r}: cannot switch {name} off: {error.strerror}") from error


def set_sysctls(values: Mapping[str, str]) -> None:
    """Write sysctls of the present network namespace. Raises TargetError naming the one that fails."""
    for name, value in values.items():
        path = Path("/proc/sys") / name.replace(".", "/")
        try:
            path.write_text(value)
        except OSError as error:
            raise TargetError(f"sysctl {name} = {value}: {error.strerror}; this kernel has it not, or not for each "
                              "network namespace") from error


def _is_running(interface: str) -> bool:
    request = struct.pack(f"{_IFNAMSIZ}s16x", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags: int = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), _IFNAMSIZ)[0]
    return bool(flags & _IFF_RUNNING)


class _Carrier:
    """Until the kernel has noticed that both ends of a link are up, it drops what an interface sends.

    Made before the ends are raised, in the namespace of the interface, it hears of every change.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK))

    def wait(self) -> None:
        """Block until it is there. Raises LinkError."""
        self._socket.settimeout(_CARRIER_S)
        with self._socket:
            while not _is_running(self._interface):
                try:
                    self._socket.recv(_NETLINK_OCTETS)
                except TimeoutError:
                    raise LinkError(f"interface {self._interface!r}: no carrier after {_CARRIER_S:g} s") from None


class Lab:
    """The namespaces and the link of one worker."""

    def __init__(self, *, static_neighbours: bool = True) -> None:
        self.injector_side = NetworkNamespace()
        self.target_side = NetworkNamespace()
        with self.target_side.entered():
            set_sysctls(QUIET)
            self._build(static_neighbours)
            switch_offloads_off(_TARGET_END)
            carrier = _Carrier(_TARGET_END)
        with self.injector_side.entered():
            self._raise_injector_end()
            switch_offloads_off(_INJECTOR_END)
        with self.target_side.entered():
            carrier.wait()

    def _build(self, static_neighbours: bool) -> None:
        from pyroute2.iproute.linux import IPRoute

        with IPRoute() as route, _route_errors("making the link"):
            route.link("add", ifname=_TARGET_END, kind="veth", address=TARGET_MAC.hex(":"), mtu=MTU,
                       peer={"ifname": _INJECTOR_END, "address": PHANTOM_MAC.hex(":"), "mtu": MTU,
                             "net_ns_fd": self.injector_side.descriptor})
            index = route.link_lookup(ifname=_TARGET_END)[0]
            loopback = route.link_lookup(ifname="lo")[0]
            route.link("set", index=loopback, state="up")
            route.link("set", index=index, state="up")
            for family in FAMILIES:
                self._address(route, index, family, static_neighbours)

    @staticmethod
    def _address(route: Any, index: int, family: str, static_neighbours: bool) -> None:
        number = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
        flags = {"flags": 0x02} if family == "ipv6" else {}  # IFA_F_NODAD
        route.addr("add", index=index, family=number, address=TARGET[family], prefixlen=PREFIX[family], **flags)
        route.route("add", family=number, dst=FORGED[family], gateway=PHANTOM[family], oif=index)
        if static_neighbours:
            route.neigh("add", ifindex=index, family=number, dst=PHANTOM[family], lladdr=PHANTOM_MAC.hex(":"),
                        state=0x80)  # NUD_PERMANENT

    def _raise_injector_end(self) -> None:
        from pyroute2.iproute.linux import IPRoute

        # The kernel at our end must stay silent: no IPv6 there means no multicast reports of its own.
        set_sysctls({"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"})
        with IPRoute() as route, _route_errors("raising the injector's end"):
            route.link("set", index=route.link_lookup(ifname=_INJECTOR_END)[0], state="up", arp=False)

    def link(self, clock: RealClock | SkippingClock) -> PacketLink:
        """The injector's end of the wire."""
        with self.injector_side.entered():
            return PacketLink(_INJECTOR_END, mac=PHANTOM_MAC, target_mac=TARGET_MAC, mtu=MTU, instant=clock.instant,
                              inside=self.injector_side.entered)

    def close(self) -> None:
        """Let go of the namespaces; the kernel takes the link down with them."""
        self.target_side.close()
        self.injector_side.close()


@contextlib.contextmanager
def _route_errors(doing: str) -> Any:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        raise LinkError(f"{doing}: {error}") from error


def kernel_release() -> str:
    """The release of the running kernel, as the ledger's version ranges count it."""
    return platform.release()


def stay_on_one_processor(number: int) -> Callable[[], None]:
    """Keep this process on one of its processors, the `number`-th one round; returns what lets it go again.

    A kernel arms a timer on the processor that sends, so the lateness that our own waits measure there is what the
    target's timers suffer as well: a busy neighbour, or a processor that the machine's host takes away for a while.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    return lambda: os.sched_setaffinity(0, before)


def version(profile: Profile, spec: str) -> str:
    """The release of this kernel, or of the guest's that the profile is for."""
    return profile.version if profile.kind == "uml" else kernel_release()


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> Target:
    """As `make_linux` does; in a guest whose default values hold, the clock skips idle time."""
    return make_linux(profile, worker=worker, skipping=profile.kind == "uml" and not profile.short)


def make_linux(profile: Profile, *, worker: int = 0, skipping: bool = False) -> Target:
    """The kernel that this process runs on as a target of one of several workers.

    `skipping`: its clock skips idle time. Raises LinkError or TargetError if the lab cannot be made.
    """
    let_go = stay_on_one_processor(worker)
    clock = SkippingClock() if skipping else RealClock()
    lab = Lab()
    with lab.target_side.entered():
        set_sysctls(profile.sysctls())
    upper = SocketUpperTester(lab.target_side)
    link = lab.link(clock)
    injector = Injector(link=link, clock=clock, neighbour=phantom_neighbour())
    target = Target(name=profile.name, kind=profile.kind, version=kernel_release(), profile=profile, clock=clock,
                    link=link, upper=upper, injector=injector, timing=timing_of(profile, measure_tolerance(clock)),
                    closers=[let_go, lab.close, upper.close_driver])
    injector.drain()
    return target
