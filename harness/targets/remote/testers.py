# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper testers of remote devices, by the names that `upper` of a file may have.

Each is a function that takes what it needs of the file and comes back with a driver that has said hello. It raises
TargetError in one line if the device cannot be driven so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...upper.base import UpperTester
from ...wire.clock import Clock
from ...wire.errors import TargetError
from .agentless import AgentlessUpperTester
from .device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """An upper tester, and how to let go of it.

    `version` is what the device says of itself, "" if nothing; `said` is its hello in a few words; `begin` is called
    when a case begins.
    """

    upper: UpperTester
    said: str
    version: str = ""
    close: Callable[[], None] = lambda: None
    begin: Callable[[], None] = lambda: None


def _nobody(device: Device, file: str, clock: Clock) -> Driver:
    assert device.open is not None  # the document asks for it
    return Driver(upper=AgentlessUpperTester(device.open),
                  said=f"none: what port {device.open.port} ({device.open.application}) allows is tested")


def _not_yet(device: Device, file: str, clock: Clock) -> Driver:
    raise TargetError(f"{file}: remote.upper: {device.upper!r} is not there yet; allowed: none")


def _testability(device: Device, file: str, clock: Clock) -> Driver:
    from ...upper.testability.upper import TpspUpperTester  # other devices do without

    assert device.testability is not None  # the document asks for it
    upper = TpspUpperTester.of(device.testability)
    try:
        upper.open()
    except TargetError as error:
        raise TargetError(f"{file}: remote.testability: {error}") from None
    return Driver(upper=upper, said=upper.said, close=upper.close_driver, begin=upper.revive)


TESTERS: Final[dict[str, Callable[[Device, str, Clock], Driver]]] = {
    "none": _nobody,
    "agent": _not_yet,
    "ssh": _not_yet,
    "testability": _testability,
}
"""How each upper tester is made, of the device, its file, and the clock that waits for it."""
