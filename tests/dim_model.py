# SPDX-License-Identifier: GPL-2.0-or-later
"""The model as a target that tells less than a socket does, for tests alone: what it does, it does as before.

`dim(MANNER)` makes every target `model` one of these until the context ends. `stateless` tells no states, `testability`
no more than that protocol can, `vague` what its poorest modules do, `mute` nothing of what it receives; behind
`discard` and `holds` there is an open port alone, whose application reads all and closes when we have, or never does;
`echo` has a second one beside a `discard`, whose application sends back what it reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import harness.targets.model.target as model
from harness.lower.ends import PORTS, Ports
from harness.targets.base import Target
from harness.targets.model.connection import Connection
from harness.targets.model.upper import ModelUpperTester
from harness.targets.profile import Profile
from harness.targets.remote.agentless import AgentlessUpperTester
from harness.targets.remote.device import EchoPort, OpenPort
from harness.upper.base import DEFAULT_BACKLOG, NotApplicable, Unseen
from harness.wire.clock import Outcome
from harness.wire.segment import Flow

PORT: Final = 19_999
"""The port that is open where only one is; no case uses it otherwise."""
ECHO: Final = 19_998
"""The echo port."""


class Stateless(ModelUpperTester):
    """Tells no state, and nothing of a connection's variables."""

    def state(self, flow: Flow) -> str:
        return ""

    def information(self, handle: object) -> Mapping[str, Any]:
        return {}


class Testability(Stateless):
    """What the testability protocol tells at its best."""

    __test__ = False

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> Any:
        if backlog != DEFAULT_BACKLOG:
            raise NotApplicable("no backlog")
        return super().listen(address, port, backlog=backlog, options=options)

    def close(self, handle: object, *, linger_s: int | None = None) -> Any:
        if linger_s is not None:
            raise NotApplicable("no lingering close")
        return super().close(handle)

    def pending_error(self, handle: object) -> str:
        raise Unseen("errors that wait are not told")

    def listening(self, address: bytes, port: int) -> bool:
        raise Unseen("who listens is not told")

    def half_open(self, port: int) -> int:
        raise NotApplicable("half-open connections are not counted")


class _Vague:
    """A call whose errors have one name, and whose silence says nothing."""

    def __init__(self, inner: Any, *, blind: Callable[[Outcome], bool]) -> None:
        self.name = inner.name
        self.cannot_tell = "its silence says nothing"
        self._inner = inner
        self._blind = blind

    def fileno(self) -> int:
        return -1

    def poll(self) -> Outcome | None:
        outcome = self._inner.poll()
        if outcome is None or self._blind(outcome):
            return None
        return Outcome(call=self, error="E_NOK" if outcome.error else "", value=outcome.value)


class Vague(Testability):
    """What it tells at its worst: no end of a stream, no success of connect(), one name for all errors."""

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> Any:
        handle, call = super().connect(flow, options=options)
        return handle, _Vague(call, blind=lambda outcome: not outcome.error)

    def recv(self, handle: object, size: int) -> Any:
        return _Vague(super().recv(handle, size), blind=lambda outcome: outcome.error != "" or not outcome.value)

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        return _named(super().send(handle, data, urgent=urgent))

    def shutdown(self, handle: object, half: Any) -> Outcome:
        return _named(super().shutdown(handle, half))


def _named(outcome: Outcome) -> Outcome:
    return replace(outcome, error="E_NOK") if outcome.error else outcome


class Mute(Testability):
    """Does all, and tells nothing of what is received."""

    def recv(self, handle: object, size: int) -> Any:
        super().recv(handle, 65536).poll()  # the application reads all the same
        raise Unseen("what is received is not told")


@dataclass(kw_only=True)
class OpenPortTarget(Target):
    """Begins each case with a port that is open."""

    agentless: AgentlessUpperTester
    applications: list[_Application]

    def come_to_rest(self, name: str) -> None:
        self.agentless.begin()
        super().come_to_rest(name)
        for application in self.applications:
            application.reopen()


class _Application:
    """Who listens on an open port: takes each connection, reads all, and closes when the stream ends, if at all."""

    def __init__(self, target: Target, port: int, does: str) -> None:
        assert isinstance(target.upper, ModelUpperTester)
        self._stack, self._ends, self._port = target.upper._stack, target.ends, port
        self._closes, self._echoes = does != "holds", does == "echo"
        self._held: list[Connection] = []
        self.reopen()

    def reopen(self) -> None:
        """Listen anew: what the last case has left is nobody's any more."""
        for listener in [known for known in self._stack.listeners.values() if known.port == self._port]:
            listener.close()
        self._held.clear()
        self._listeners = [self._stack.listen(ends.target, self._port, DEFAULT_BACKLOG, {})
                           for ends in self._ends.values()]

    def act(self) -> None:
        """Do what is due now."""
        for listener in self._listeners:
            while listener is not None and listener.accepted:
                self._held.append(listener.accepted.popleft())
        for held in self._held:
            while held.unread:
                octets = held.receive(65536)
                if self._echoes:
                    held.send(octets)
        if self._closes:
            for held in [held for held in self._held if held.stream_ended]:
                self._held.remove(held)
                held.close()


def _with(upper: type[ModelUpperTester]) -> Callable[[Target], Target]:
    def made(target: Target) -> Target:
        dimmed = upper.__new__(upper)
        vars(dimmed).update(vars(target.upper))
        target.upper = dimmed
        return target

    return made


def _open_port(name: Any) -> Callable[[Target], Target]:
    def made(target: Target) -> Target:
        echoes = name == "echo"
        upper = AgentlessUpperTester(OpenPort(port=PORT, application="discard" if echoes else name),
                                     EchoPort(port=ECHO) if echoes else None)
        applications = [_Application(target, PORT, "discard" if echoes else name)]
        applications += [_Application(target, ECHO, "echo")] if echoes else []
        ports = Ports(within=PORTS, listening=PORT)
        link: Any = target.link
        ordinary = link.flush

        def flush(now_ns: int | None = None) -> None:
            for application in applications:
                application.act()
            ordinary(now_ns)

        def move(other: bool) -> None:
            ports.listening = upper.move(other)

        link.flush = flush
        fields = {field: getattr(target, field) for field in Target.__dataclass_fields__}
        fields |= {"upper": upper, "ports": ports, "foresee": upper.foresee}
        fields |= {"feed": upper.feed, "move": move} if echoes else {}
        return OpenPortTarget(**fields, agentless=upper, applications=applications)

    return made


MANNERS: Final[Mapping[str, Callable[[Target], Target]]] = {
    "stateless": _with(Stateless), "testability": _with(Testability), "vague": _with(Vague), "mute": _with(Mute),
    "discard": _open_port("discard"), "holds": _open_port("holds"),
    "echo": _open_port("echo"),
}


@contextlib.contextmanager
def dim(manner: str) -> Iterator[None]:
    """The model tells only that from here on."""
    ordinary = model.make

    def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> Target:
        return MANNERS[manner](ordinary(profile, spec, seed=seed, worker=worker))

    model.make = make
    try:
        yield
    finally:
        model.make = ordinary
