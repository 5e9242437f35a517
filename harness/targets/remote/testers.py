# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper testers of remote devices, by the names that `upper` of a file may have.

Each is a function that takes a device and its file and comes back with a driver that has said hello. It raises
TargetError or UsageError in one line if the device cannot be driven so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...lower.case import Feed, Foresee
from ...upper.base import UpperTester
from ...wire.errors import UsageError
from .device import Device

if TYPE_CHECKING:
    from ...upper.streams import ByteStream


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """An upper tester: `begin` is told of each case, `close` lets go of it.

    `said` is its hello in a few words, `version` the stack's if that is a part of it. `listening` is the port that is
    open if no other can be opened, and `foresee` looks at what a case is about to send to it. `feed` has what is behind
    it send, and `move` chooses whether the cases to come meet another application, behind the port that it returns.
    """

    upper: UpperTester
    said: str
    version: str = ""
    begin: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing
    listening: int | None = None
    foresee: Foresee | None = None
    feed: Feed | None = None
    move: Callable[[bool], int] | None = None


def _nobody(device: Device, file: str) -> Driver:
    from .agentless import AgentlessUpperTester

    assert device.open is not None  # the document asks for it, as for the tables below
    upper = AgentlessUpperTester(device.open, device.echo)
    ports = f"port {device.open.port} ({device.open.application})"
    if device.echo is None:
        return Driver(upper=upper, said=f"none: what {ports} allows is tested", begin=upper.begin,
                      listening=device.open.port, foresee=upper.foresee)
    return Driver(upper=upper, said=f"none: what {ports} and port {device.echo.port} (echo) allow is tested",
                  begin=upper.begin, listening=device.open.port, foresee=upper.foresee, feed=upper.feed,
                  move=upper.move)


def _agent(device: Device, file: str) -> Driver:
    from ...upper.handshake import read_key
    from ...upper.streams import over_tcp

    where = device.agent
    assert where is not None
    try:
        key = read_key(Path(file).parent / where.key)
    except UsageError as error:
        raise UsageError(f"{file}: remote.agent.key: {error}") from None

    def connect() -> ByteStream:
        return over_tcp(str(where.address), where.port, limit_s=where.answer_limit_s)

    return _by_agent(connect, key, where.answer_limit_s)


def _ssh(device: Device, file: str) -> Driver:
    from .ssh import over_ssh

    where = device.ssh
    assert where is not None
    return _by_agent(lambda: over_ssh(where, Path(file).parent), b"", where.answer_limit_s)


def _by_agent(connect: Callable[[], ByteStream], key: bytes, limit_s: float) -> Driver:
    from ...upper.agent import Agent, AgentUpperTester

    agent = Agent(connect, key=key, limit_s=limit_s)
    upper = AgentUpperTester(agent)
    system, _, release = agent.hello.system.partition(" ")
    return Driver(upper=upper, begin=upper.revive, close=upper.close_driver,
                  said=f"{agent.hello.name} {agent.hello.agent_version} on {agent.hello.system}",
                  version=release.partition(" ")[0] if system == "Linux" else "")


def _testability(device: Device, file: str) -> Driver:
    from ...upper.testability.upper import TpspUpperTester

    assert device.testability is not None
    upper = TpspUpperTester.of(device.testability)
    upper.open()
    return Driver(upper=upper, said=upper.said, begin=upper.revive, close=upper.close_driver)


TESTERS: Final[dict[str, Callable[[Device, str], Driver]]] = {
    "none": _nobody,
    "agent": _agent,
    "ssh": _ssh,
    "testability": _testability,
}
"""How each upper tester is made."""
