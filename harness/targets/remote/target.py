# SPDX-License-Identifier: GPL-2.0-or-later
"""A remote device as a target: way, injector and upper tester put together, once the path has been proven."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ...lower.ends import Addresses, Ports
from ...lower.injector import Injector
from ...lower.timing import measure_tolerance
from ...wire.errors import LinkError, TargetError, UsageError
from ..base import Target, timing_of
from ..namespace import stay_on_one_processor
from ..profile import Profile
from .device import Device
from .reach import Proof, Way, given, open_way
from .testers import TESTERS, Driver

Say = Callable[[str], object]


@dataclass(kw_only=True)
class RemoteTarget(Target):
    """A target that is told when a case begins."""

    begin: Callable[[], None]

    def come_to_rest(self, name: str) -> None:
        """Let what the last case has left come in."""
        self.begin()
        super().come_to_rest(name)


def version(profile: Profile, spec: str) -> str:
    """What the file says; the device itself is asked when it is reached."""
    return profile.version


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> RemoteTarget:
    """The device that the profile's table `[remote]` describes. Raises UsageError, LinkError or TargetError."""
    if worker:
        raise UsageError(f"{spec}: there is one {profile.name}, and one address of the injector's; allowed: 0 or 1 "
                         "worker for a remote device")
    return reached(profile, spec, say=lambda line: None)


def reached(profile: Profile, spec: str, *, say: Say) -> RemoteTarget:
    """The same; `say` is told of each step on the way that has been taken."""
    device = profile.remote
    assert device is not None  # a profile of this kind has the table
    way = open_way(device, profile.file)
    say(f"{device.interface}: the injector is {_ends(device)} at {way.link.mac.hex(':')}, the device at "
        f"{way.link.target_mac.hex(':')}")
    try:
        injector = Injector(link=way.link, clock=way.clock, neighbour=way.neighbour)
        slowest_ns = prove(device, profile.file, Proof(way, injector), say)
        driver = _driven(device, profile.file)
        say(f"upper tester: {driver.said}")
    except BaseException:
        way.close()
        raise
    return _target(profile, spec, way, injector, driver, slowest_ns)


def _driven(device: Device, file: str) -> Driver:
    """The device's upper tester, which has said hello. Raises TargetError."""
    try:
        return TESTERS[device.upper](device, file)
    except TargetError as error:
        raise TargetError(f"{file}: remote.{device.upper}: {error}") from None


def _target(profile: Profile, spec: str, way: Way, injector: Injector, driver: Driver, slowest_ns: int) -> RemoteTarget:
    device = way.device
    known = profile.with_version(driver.version) if driver.version and not profile.version else profile
    first, last = device.ports
    # What an earlier run has left in TIME-WAIT there is not to be met again: chance chooses what no run begins with.
    ports = Ports(within=device.ports, begin=secrets.randbelow(last - first), apart=secrets.randbelow(last - first),
                  listening=driver.listening)
    ends = {family: Addresses(local=given(device.injector(family)).packed, target=given(device.address(family)).packed,
                              forged=device.forged(family)) for family in device.families}
    way.clock.longest_s = device.longest_wait_s
    let_go = stay_on_one_processor(0)
    tolerance_ns = measure_tolerance(way.clock) + slowest_ns
    return RemoteTarget(name=spec, kind="remote", version=known.version, profile=known, clock=way.clock, link=way.link,
                        upper=driver.upper, injector=injector, timing=timing_of(known, tolerance_ns), ports=ports,
                        ends=_both(ends), foresee=driver.foresee, feed=driver.feed, move=_mover(driver, ports),
                        closers=[way.ear.close, let_go, driver.close],
                        begin=driver.begin)


def _mover(driver: Driver, ports: Ports) -> Callable[[bool], None] | None:
    """Chooses the port that is open to the cases to come, if there are two."""
    if (chosen := driver.move) is None:
        return None

    def move(other: bool) -> None:
        ports.listening = chosen(other)

    return move


def _both(ends: dict[str, Addresses]) -> dict[str, Addresses]:
    """Both families have an entry: a case of the one that there is not is not applicable before it begins."""
    known = next(iter(ends.values()))
    return {family: ends.get(family, known) for family in ("ipv4", "ipv6")}


def _ends(device: Device) -> str:
    return " and ".join(str(device.injector(family)) for family in device.families)


def prove(device: Device, file: str, proof: Proof, say: Say) -> int:
    """Prove that the device answers in each family; returns how long its slowest answer took, in nanoseconds.

    Raises LinkError saying what does not.
    """
    for family in device.families:
        address = device.address(family)
        if device.open is not None:
            drawn = proof.syn(family, device.open.port)
            if drawn != "open":
                what = "is closed: it resets a SYN" if drawn == "closed" else "draws no answer to a SYN"
                raise LinkError(f"{file}: remote.open: port {device.open.port} of {address} {what}; allowed: a port on "
                                "which something listens for everybody")
            say(f"{family}: port {device.open.port} of {address} is open")
        if device.echo is not None:
            if (wrong := proof.echoes(family, device.echo.port)):
                raise LinkError(f"{file}: remote.echo: port {device.echo.port} of {address} {wrong}; allowed: a port "
                                "behind which each segment is sent back as it came (RFC 862)")
            say(f"{family}: port {device.echo.port} of {address} sends back what it is sent")
        port = device.ports[0] + secrets.randbelow(device.ports[1] - device.ports[0])
        drawn = proof.syn(family, port)
        if drawn == "open":
            raise LinkError(f"{file}: remote.ports: something listens on port {port} of {address}; allowed: a range of "
                            "ports that are closed")
        if drawn == "nothing":
            pings = "it answers an echo request" if proof.echo(family) else "nor does it answer an echo request"
            raise LinkError(f"{file}: {address} does not refuse a SYN to port {port}, {pings}; is there a packet "
                            "filter on the way? Each case needs a closed port that says so")
        say(f"{family}: port {port} of {address} is closed, and says so in {proof.slowest_ns / 1e6:.1f} ms")
    return proof.slowest_ns
