# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls the service primitives of a target by name.

The protocol has no number by which a response is known, so one request is under way at a time; CONNECT alone may take
as long as the connection does, and is known by its numbers. Events may come between a request and its response.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ...wire.errors import TargetError
from . import message as messages
from . import parameters
from .channel import Channel
from .message import Message
from .parameters import Malformed, Order
from .primitives import PRE_STANDARD, Primitive, Table
from .results import E_NTF, E_OK, E_PEN, described, name_of

VERSIONS: Final = ("1.1", "1.2")
GET_VERSION: Final = "GENERAL.GET_VERSION"
_SLIP: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a response says: the name of its result id, and its values where that is E_OK."""

    result: str
    values: tuple[Any, ...] = ()
    text: str = ""


@dataclass(slots=True, eq=False)
class Pending:
    """A request whose response may take its time. `abandoned`: its socket is gone, and nobody asks for it any more."""

    primitive: Primitive
    answer: Answer | None = None
    abandoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a primitive, with its values."""

    name: str
    values: tuple[Any, ...]


class Client:
    """Speaks with one module. `version` is `"1.1"` or `"1.2"` if it is known, "" to ask the target for it.

    `events` are those that nobody has taken, `warnings` counts what the target gets wrong but can be understood.
    """

    def __init__(self, channel: Channel, *, vendor: Iterable[Primitive] = (), service: int = messages.SERVICE,
                 order: Order = "big", version: str = "") -> None:
        self.channel = channel
        self.events: deque[Event] = deque()
        self.warnings: Counter[str] = Counter()
        self.life = 0
        self.version = version or VERSIONS[-1]
        self.told_version: tuple[int, ...] = ()
        self._asks_version = not version
        self._vendor = tuple(vendor)
        self._service = service
        self._order = order
        self._pending: list[Pending] = []
        self.table = Table(self._vendor)

    # -- the other side ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Reach the module, and learn which version it speaks. Raises TargetError."""
        self.life += 1
        self.events.clear()
        self._pending.clear()
        self.channel.open()
        self.table = Table(self._vendor)
        answer = self.request(GET_VERSION)
        if answer.result == name_of(E_NTF, self.version):
            self.table = Table(self._vendor, PRE_STANDARD)
            answer = self.request(GET_VERSION)
            if answer.result == "E_OK":
                self._warn(f"primitives are numbered as before the standard ({PRE_STANDARD})")
            else:
                self.table = Table(self._vendor)
        if answer.result != "E_OK":
            if self._asks_version:
                raise self.channel.failed(f"answered GET_VERSION with {answer.text}; `version` in the target's file "
                                          f"says which it is: {', '.join(VERSIONS)}")
            return
        self._take_version(answer.values)

    def _take_version(self, version: tuple[int, ...]) -> None:
        self.told_version = version
        if any(number and number % _SLIP == 0 for number in version):
            raise self.channel.failed(f"says that its version is {'.'.join(map(str, version))}: it has the octets of "
                                      'its numbers in the wrong order; byte_order = "little" in its file says so')
        if not self._asks_version:
            return
        told = f"{version[0]}.{version[1]}"
        if told in VERSIONS:
            self.version = told
        else:
            # Result ids have changed once, in 1.2.
            self.version = VERSIONS[-1] if version[:2] > (1, 2) else VERSIONS[0]
            self._warn(f"speaks version {'.'.join(map(str, version))}; taken for {self.version}")

    def close(self) -> None:
        """Let go of the way to the module."""
        self.channel.close()

    def _warn(self, what: str) -> None:
        self.warnings[what] += 1

    # -- requests ----------------------------------------------------------------------------------------------------

    def request(self, name: str, *values: Any) -> Answer:
        """Call a primitive and wait for its response. Raises TargetError if none comes, UsageError for a wrong name."""
        pending = self.begin(name, *values)
        until = time.monotonic() + self.channel.limit_s
        while pending.answer is None:
            octets = self.channel.receive(until)
            if octets is None:
                raise self.channel.failed(f"did not answer {name} within {self.channel.limit_s:g} s")
            self._take(octets)
        return pending.answer

    def begin(self, name: str, *values: Any) -> Pending:
        """Call a primitive; `pump` brings its response. Raises TargetError, also for values that it does not take."""
        primitive = self.table.named(name)
        try:
            data = parameters.encode(primitive.request, values, self._order)
            octets = messages.encode(Message(kind="request", group=primitive.group, primitive=primitive.number,
                                             data=data, service=self._service), self._order)
        except Malformed as error:
            raise TargetError(f"{name}: {error}") from None
        self.pump()
        pending = Pending(primitive)
        self.channel.send(octets)
        self._pending.append(pending)
        return pending

    def pump(self) -> None:
        """Take all that has come, without waiting. Raises TargetError."""
        while (octets := self.channel.receive()) is not None:
            self._take(octets)

    def wait(self, until: float) -> bool:
        """Take a message that comes until an instant of the monotonic clock; False if none does. Raises TargetError."""
        octets = self.channel.receive(until)
        if octets is not None:
            self._take(octets)
        return octets is not None

    # -- what comes --------------------------------------------------------------------------------------------------

    def _take(self, octets: bytes) -> None:
        try:
            self._sort(messages.decode(octets, service=self._service, order=self._order))
        except Malformed as error:
            raise self.channel.broken(octets, error) from None

    def _sort(self, message: Message) -> None:
        for slip in message.slips:
            self._warn(slip)
        primitive = self.table.numbered(message.group, message.primitive)
        if primitive is None:
            raise Malformed(f"group {message.group} has no primitive 0x{message.primitive:02X}")
        if message.kind == "request":
            raise Malformed(f"a request ({primitive.name}), of a module that has to answer")
        if message.kind == "event":
            if primitive.event is None:
                raise Malformed(f"an event of {primitive.name}, which has none")
            values = parameters.decode(primitive.event, message.data, self._order)
            self.events.append(Event(name=primitive.name, values=values))
            return
        self._respond(primitive, message)

    def _respond(self, primitive: Primitive, message: Message) -> None:
        pending = self._asked(primitive, message.result == E_OK)
        if message.result == E_PEN:
            return
        values: tuple[Any, ...] = ()
        if message.result == E_OK:
            values = parameters.decode(primitive.response, message.data, self._order)
        self._pending.remove(pending)
        self._pending = [known for known in self._pending if not known.abandoned or known.primitive is not primitive]
        pending.answer = Answer(result=name_of(message.result, self.version), values=values,
                                text=described(message.result, self.version))

    def _asked(self, primitive: Primitive, succeeded: bool) -> Pending:
        """Which request a response answers. What was given up may be answered or not, but it cannot succeed."""
        asked = [known for known in self._pending if known.primitive is primitive]
        if not asked:
            raise Malformed(f"a response to {primitive.name}, which nobody asked")
        return next((known for known in asked if known.abandoned is not succeeded), asked[0])

    def forget(self, pending: Pending) -> None:
        """Nobody waits for this response any more."""
        pending.abandoned = True
