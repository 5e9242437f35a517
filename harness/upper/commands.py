# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket API of what is driven by the commands of `messages`: a stack behind a pipe, an agent on a device.

No command waits: a call that would have to is answered EAGAIN and tried again when something may have changed. So a
call that a case withdraws leaves nothing behind there, and nobody keeps a list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from ..wire.clock import Outcome
from ..wire.errors import TargetError
from ..wire.segment import Flow
from .base import STATES, Call, Half, NotApplicable, Unseen
from .messages import HALVES, Malformed, Op, Reader, Result, endpoint, text

T = TypeVar("T")

Ended = tuple[str, Any]
"""How a call ended: its error and its value."""

_WAITS: Final = ("EAGAIN", "EWOULDBLOCK", "EINPROGRESS")
_UNKNOWN_OPTION: Final = ("ENOPROTOOPT", "EOPNOTSUPP")
_LOOKS: Final = (Op.ERROR, Op.LISTENING)
"""Commands that only look at the target."""
_NO_PORT: Final = ("EADDRINUSE", "EADDRNOTAVAIL", "EACCES")


class Speaker(Protocol):
    """Who gives the commands. Whatever is wrong with the other side is a TargetError, and is `failure` from then on."""

    way: str
    """By what the commands go, as messages name it."""

    @property
    def name(self) -> str:
        """What the other side calls itself."""

    @property
    def life(self) -> int:
        """Changes when all sockets are gone."""

    @property
    def failure(self) -> TargetError | None:
        """Why nothing can be asked any more."""

    def offers(self, op: Op) -> bool:
        """True if the other side knows this command."""

    def ask(self, op: Op, socket: int, fields: bytes) -> Result:
        """Give a command; the result is the target's own answer, EAGAIN where it would have to wait."""

    def read(self, op: Op, value: bytes, read: Callable[[Reader], T]) -> T:
        """The value of a command's result. Raises TargetError if it is not of that form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedSocket:
    """A socket of the target's application: its number there, and which life of the other side it is of."""

    number: int
    life: int


class CommandUpperTester:
    """Drives sockets by commands. What the other side does not offer makes a case not applicable (`NotApplicable`)."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._aborted: set[NumberedSocket] = set()

    def pending(self, name: str, op: Op, socket: NumberedSocket, attempt: Callable[[], Ended | None],
                ended: Ended | None) -> Call:
        """A call: `attempt` asks how it ended, None as long as it would have to wait; `ended` if that is known."""
        raise NotImplementedError

    # -- commands ----------------------------------------------------------------------------------------------------

    def _ask(self, op: Op, socket: int = 0, fields: bytes = b"") -> Result:
        self._offered(op)
        return self._speaker.ask(op, socket, fields)

    def _offered(self, op: Op) -> None:
        if not self._speaker.offers(op):
            missing = f"{self._speaker.name} does not offer {op.name} by its {self._speaker.way}"
            raise Unseen(missing) if op in _LOOKS else NotApplicable(missing)

    def _on(self, op: Op, handle: object, fields: bytes = b"") -> Result:
        socket = self._socket_of(handle)
        if socket in self._aborted:
            return Result(error="EBADF")  # as of a descriptor that was closed; its number may be given anew
        return self._ask(op, socket.number, fields)

    def _socket_of(self, handle: object) -> NumberedSocket:
        if not isinstance(handle, NumberedSocket):
            raise TargetError(f"{handle!r} is no socket of this target")
        if handle.life != self._speaker.life:
            raise TargetError(f"socket {handle.number} is gone: {self._speaker.name} has begun anew since")
        return handle

    def _done(self, op: Op, handle: object, fields: bytes = b"", *, name: str = "") -> Outcome:
        """A command that has no value."""
        result = self._on(op, handle, fields)
        self._read(op, result, lambda reader: None)
        return Outcome(call=name or op.name.lower(), error=result.error)

    def _read(self, op: Op, result: Result, read: Callable[[Reader], Any]) -> Any:
        """The value of a result, None of an error."""
        return None if result.error else self._speaker.read(op, result.value, read)

    def _call(self, name: str, op: Op, handle: object, read: Callable[[Reader], Any], fields: bytes = b"",
              ended: Ended | None = None) -> Call:
        """A call that is asked for its outcome with this command until it does not have to wait."""
        def attempt() -> Ended | None:
            result = self._on(op, handle, fields)
            return None if result.error in _WAITS else (result.error, self._read(op, result, read))

        return self.pending(name, op, self._socket_of(handle), attempt, ended)

    def _made(self, reader: Reader) -> NumberedSocket:
        socket = NumberedSocket(number=reader.number(4, "the socket"), life=self._speaker.life)
        self._aborted.discard(socket)
        return socket

    # -- opening -----------------------------------------------------------------------------------------------------

    def made(self, address: bytes, options: Mapping[str, int]) -> NumberedSocket:
        """A socket of the family of this address, with these options. Raises TargetError if there is none."""
        result = self._ask(Op.SOCKET, 0, bytes((4 if len(address) == 4 else 6,)))
        if result.error:
            raise TargetError(f"{self._speaker.name}: no socket to be had: {result.error}")
        socket: NumberedSocket = self._read(Op.SOCKET, result, self._made)
        for name, value in options.items():
            if error := self.set_option(socket, name, value).error:
                raise TargetError(f"socket option {name}: {error}")
        return socket

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> NumberedSocket:
        """A listening socket. Raises TargetError if the port cannot be had."""
        self._offered(Op.LISTEN)
        socket = self.made(address, options)
        result = self._on(Op.LISTEN, socket, endpoint(address, port) + backlog.to_bytes(2, "big"))
        self._read(Op.LISTEN, result, lambda reader: None)
        if result.error:
            raise TargetError(f"listen on port {port}: {result.error}")
        return socket

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[NumberedSocket, Call]:
        """A connection attempt from the flow's target end to its local end. Raises TargetError as `listen` does."""
        self._offered(Op.CONNECT)
        socket = self.made(flow.target, options)
        result = self._on(Op.CONNECT, socket, _ends(flow))
        self._read(Op.CONNECT, result, lambda reader: None)
        if result.error in _NO_PORT:
            raise TargetError(f"connect from port {flow.target_port}: {result.error}")
        ended = (result.error, None) if result.error and result.error not in _WAITS else None
        return socket, self._call("connect", Op.CONNECTED, socket, lambda reader: None, ended=ended)

    def accept(self, handle: object) -> Call:
        """The next connection of a listener."""
        return self._call("accept", Op.ACCEPT, handle, self._made)

    # -- data --------------------------------------------------------------------------------------------------------

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over; the value is the number of octets taken (0 if there is no room)."""
        result = self._on(Op.SEND, handle, bytes((urgent,)) + data)
        if result.error in _WAITS:
            return Outcome(call="send", value=0)
        taken = self._read(Op.SEND, result, lambda reader: _at_most(reader.number(4, "the count"), len(data)))
        return Outcome(call="send", error=result.error, value=taken)

    def recv(self, handle: object, size: int) -> Call:
        """Up to `size` octets; b"" at the end of the stream."""
        return self._call("recv", Op.RECV, handle, lambda reader: _of_size(reader.rest(), size),
                          size.to_bytes(4, "big"))

    # -- closing -----------------------------------------------------------------------------------------------------

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half of the connection, or both."""
        return self._done(Op.SHUTDOWN, handle, bytes((HALVES[half],)))

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Close the socket; with `linger_s` the call ends when all is acknowledged, or after that time."""
        result = self._on(Op.CLOSE, handle, (-1 if linger_s is None else linger_s).to_bytes(4, "big", signed=True))
        self._read(Op.CLOSE, result, lambda reader: None)
        ended = None if result.error in _WAITS else (result.error, None)
        return self._call("close", Op.CLOSED, handle, lambda reader: None, ended=ended)

    def abort(self, handle: object) -> Outcome:
        """ABORT of RFC 9293, 3.9.1.5, once. What was of a life that has failed is gone already."""
        if not isinstance(handle, NumberedSocket):
            raise TargetError(f"{handle!r} is no socket of this target")
        if handle in self._aborted or handle.life != self._speaker.life or self._speaker.failure is not None:
            return Outcome(call="abort")
        outcome = self._done(Op.ABORT, handle)
        self._aborted.add(handle)
        return outcome

    # -- what is asked -----------------------------------------------------------------------------------------------

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set a socket option by its name; a target that does not know it makes the case not applicable."""
        outcome = self._done(Op.OPTION, handle, value.to_bytes(8, "big", signed=True) + text(name), name="setsockopt")
        if outcome.error in _UNKNOWN_OPTION:
            raise NotApplicable(f"{self._speaker.name} has no socket option {name}")
        return outcome

    def pending_error(self, handle: object) -> str:
        """The error that waits on the socket, "" for none; reading clears it."""
        result = self._on(Op.ERROR, handle)
        return result.error or str(self._read(Op.ERROR, result, lambda reader: reader.text("the error")))

    def state(self, flow: Flow) -> str:
        """The connection's state; "", which is none of `STATES`, where it is not told.

        That is where the other side does not offer it, and once all has failed and a case cleans up.
        """
        if self._speaker.failure is not None or not self._speaker.offers(Op.STATE):
            return ""
        return str(self._value(Op.STATE, _ends(flow), _state))

    def listening(self, address: bytes, port: int) -> bool:
        """True if somebody listens there."""
        return bool(self._value(Op.LISTENING, endpoint(address, port), lambda reader: reader.number(1, "the answer")))

    def half_open(self, port: int) -> int:
        """Connections of the listener on that port in SYN-RECEIVED."""
        return int(self._value(Op.HALF_OPEN, port.to_bytes(2, "big"), lambda reader: reader.number(4, "the count")))

    def _value(self, op: Op, fields: bytes, read: Callable[[Reader], Any]) -> Any:
        """The answer to a question, which has to be one."""
        result = self._ask(op, 0, fields)
        if result.error:
            raise TargetError(f"{self._speaker.name}: answered {op.name} with {result.error}")
        return self._read(op, result, read)

    def information(self, handle: object) -> Mapping[str, Any]:
        """What the target tells of a connection's variables: whole numbers by name."""
        if not self._speaker.offers(Op.INFORMATION):
            return {}
        result = self._on(Op.INFORMATION, handle)
        return {} if result.error else dict(self._read(Op.INFORMATION, result, _information))


def _ends(flow: Flow) -> bytes:
    """The connection as the target sees it: its own end first."""
    return endpoint(flow.target, flow.target_port) + endpoint(flow.local, flow.local_port)


def _state(reader: Reader) -> str:
    state = reader.text("the state")
    if state not in STATES:
        raise Malformed(f"{state!r} is no state; allowed: {', '.join(STATES)}")
    return state


def _at_most(count: int, most: int) -> int:
    if count > most:
        raise Malformed(f"{count} octets taken of {most}")
    return count


def _of_size(octets: bytes, size: int) -> bytes:
    _at_most(len(octets), size)
    return octets


def _information(reader: Reader) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in reader.text("the variables").split():
        name, _, number = word.partition("=")
        if not (number.isascii() and number.isdigit()):
            raise Malformed(f"{word!r} is no name=number")
        found[name] = int(number)
    return found
