# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket API of a stack behind a pipe.

No command of the protocol waits: a call that would have to is answered EAGAIN and tried again when something may have
changed in the stack. So a call that a case withdraws leaves nothing behind there, and the stack keeps no list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...upper.base import STATES, Half, NotApplicable
from ...wire.clock import Outcome
from ...wire.errors import TargetError
from ...wire.segment import Flow
from .conversation import Conversation
from .protocol import HALVES, Malformed, Op, Reader, Result, endpoint, text

_WAITS: Final = ("EAGAIN", "EWOULDBLOCK", "EINPROGRESS")
_UNKNOWN_OPTION: Final = ("ENOPROTOOPT", "EOPNOTSUPP")
_NO_PORT: Final = ("EADDRINUSE", "EADDRNOTAVAIL", "EACCES")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeSocket:
    """A socket of the stack's application: its number there, and which process it is of."""

    number: int
    life: int


class PipeCall:
    """A call under way: `attempt` is its outcome's error and value, None as long as it would have to wait."""

    def __init__(self, name: str, conversation: Conversation, attempt: Callable[[], tuple[str, Any] | None],
                 ended: tuple[str, Any] | None = None) -> None:
        self.name = name
        self._conversation = conversation
        self._attempt = attempt
        self._ended = ended
        self._tried = -1

    def fileno(self) -> int:
        """No descriptor: time moves only in a wait, and that asks."""
        return -1

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now; the stack is asked where it may have changed. Raises TargetError."""
        if self._ended is None and self._tried != self._conversation.generation:
            self._ended = self._attempt()
            self._tried = self._conversation.generation
        return None if self._ended is None else Outcome(call=self, error=self._ended[0], value=self._ended[1])


class PipeUpperTester:
    """Drives sockets by commands; `now` is the lab's clock.

    What the stack does not offer makes a case not applicable (`NotApplicable`).
    """

    def __init__(self, conversation: Conversation, *, now: Callable[[], int]) -> None:
        self._conversation = conversation
        self._now = now
        self._aborted: set[PipeSocket] = set()

    # -- commands ----------------------------------------------------------------------------------------------------

    def _ask(self, op: Op, socket: int = 0, fields: bytes = b"") -> Result:
        hello = self._conversation.hello
        if not hello.offers(op):
            raise NotApplicable(f"{hello.name} does not offer {op.name} by its pipe")
        return self._conversation.ask(op, socket, self._now(), fields)

    def _on(self, op: Op, handle: object, fields: bytes = b"") -> Result:
        number = self._number(handle)
        if handle in self._aborted:
            return Result(error="EBADF")  # as of a descriptor that was closed; the stack may give the number anew
        return self._ask(op, number, fields)

    def _number(self, handle: object) -> int:
        if not isinstance(handle, PipeSocket):
            raise TargetError(f"{handle!r} is no socket of this target")
        if handle.life != self._conversation.life:
            raise TargetError(f"socket {handle.number} was of a process that is gone")
        return handle.number

    def _done(self, op: Op, handle: object, fields: bytes = b"", *, name: str = "") -> Outcome:
        """A command that has no value."""
        result = self._on(op, handle, fields)
        self._read(op, result, lambda reader: None)
        return Outcome(call=name or op.name.lower(), error=result.error)

    def _read(self, op: Op, result: Result, read: Callable[[Reader], Any]) -> Any:
        """The value of a result, None of an error."""
        return None if result.error else self._conversation.read(op, result.value, read)

    def _call(self, name: str, op: Op, handle: object, read: Callable[[Reader], Any], fields: bytes = b"",
              ended: tuple[str, Any] | None = None) -> PipeCall:
        """A call that is asked for its outcome with this command until it does not have to wait."""
        def attempt() -> tuple[str, Any] | None:
            result = self._on(op, handle, fields)
            return None if result.error in _WAITS else (result.error, self._read(op, result, read))

        return PipeCall(name, self._conversation, attempt, ended)

    def _socket(self, reader: Reader) -> PipeSocket:
        socket = PipeSocket(number=reader.number(4, "the socket"), life=self._conversation.life)
        self._aborted.discard(socket)
        return socket

    # -- opening -----------------------------------------------------------------------------------------------------

    def made(self, address: bytes, options: Mapping[str, int]) -> PipeSocket:
        """A socket of the family of this address, with these options. Raises TargetError if there is none."""
        result = self._ask(Op.SOCKET, 0, bytes((4 if len(address) == 4 else 6,)))
        if result.error:
            raise TargetError(f"{self._conversation.hello.name}: no socket to be had: {result.error}")
        socket: PipeSocket = self._read(Op.SOCKET, result, self._socket)
        for name, value in options.items():
            if error := self.set_option(socket, name, value).error:
                raise TargetError(f"socket option {name}: {error}")
        return socket

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> PipeSocket:
        """A listening socket. Raises TargetError if the port cannot be had."""
        self._offered(Op.LISTEN)
        socket = self.made(address, options)
        result = self._on(Op.LISTEN, socket, endpoint(address, port) + backlog.to_bytes(2, "big"))
        self._read(Op.LISTEN, result, lambda reader: None)
        if result.error:
            raise TargetError(f"listen on port {port}: {result.error}")
        return socket

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[PipeSocket, PipeCall]:
        """A connection attempt from the flow's target end to its local end. Raises TargetError as `listen` does."""
        self._offered(Op.CONNECT)
        socket = self.made(flow.target, options)
        result = self._on(Op.CONNECT, socket, _ends(flow))
        self._read(Op.CONNECT, result, lambda reader: None)
        if result.error in _NO_PORT:
            raise TargetError(f"connect from port {flow.target_port}: {result.error}")
        ended = (result.error, None) if result.error and result.error not in _WAITS else None
        return socket, self._call("connect", Op.CONNECTED, socket, lambda reader: None, ended=ended)

    def _offered(self, op: Op) -> None:
        """Before a socket is made for it."""
        hello = self._conversation.hello
        if not hello.offers(op):
            raise NotApplicable(f"{hello.name} does not offer {op.name} by its pipe")

    def accept(self, handle: object) -> PipeCall:
        """The next connection of a listener."""
        return self._call("accept", Op.ACCEPT, handle, self._socket)

    # -- data --------------------------------------------------------------------------------------------------------

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over; the value is the number of octets taken (0 if there is no room)."""
        result = self._on(Op.SEND, handle, bytes((urgent,)) + data)
        if result.error in _WAITS:
            return Outcome(call="send", value=0)
        taken = self._read(Op.SEND, result, lambda reader: _at_most(reader.number(4, "the count"), len(data)))
        return Outcome(call="send", error=result.error, value=taken)

    def recv(self, handle: object, size: int) -> PipeCall:
        """Up to `size` octets; b"" at the end of the stream."""
        return self._call("recv", Op.RECV, handle, lambda reader: _of_size(reader.rest(), size),
                          size.to_bytes(4, "big"))

    # -- closing -----------------------------------------------------------------------------------------------------

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half of the connection, or both."""
        return self._done(Op.SHUTDOWN, handle, bytes((HALVES[half],)))

    def close(self, handle: object, *, linger_s: int | None = None) -> PipeCall:
        """Close the socket; with `linger_s` the call ends when all is acknowledged, or after that time."""
        result = self._on(Op.CLOSE, handle, (-1 if linger_s is None else linger_s).to_bytes(4, "big", signed=True))
        self._read(Op.CLOSE, result, lambda reader: None)
        ended = None if result.error in _WAITS else (result.error, None)
        return self._call("close", Op.CLOSED, handle, lambda reader: None, ended=ended)

    def abort(self, handle: object) -> Outcome:
        """ABORT of RFC 9293, 3.9.1.5, once. What is a process's that has failed is gone already."""
        stale = isinstance(handle, PipeSocket) and (handle in self._aborted or handle.life != self._conversation.life)
        if stale or self._conversation.failure is not None:
            return Outcome(call="abort")
        outcome = self._done(Op.ABORT, handle)
        assert isinstance(handle, PipeSocket)
        self._aborted.add(handle)
        return outcome

    # -- what is asked -----------------------------------------------------------------------------------------------

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set a socket option by its name; a stack that does not know it makes the case not applicable."""
        outcome = self._done(Op.OPTION, handle, value.to_bytes(8, "big", signed=True) + text(name), name="setsockopt")
        if outcome.error in _UNKNOWN_OPTION:
            raise NotApplicable(f"{self._conversation.hello.name} has no socket option {name}")
        return outcome

    def pending_error(self, handle: object) -> str:
        """The error that waits on the socket, "" for none; reading clears it."""
        result = self._on(Op.ERROR, handle)
        return result.error or str(self._read(Op.ERROR, result, lambda reader: reader.text("the error")))

    def state(self, flow: Flow) -> str:
        """The connection's state; "", which is none of `STATES`, once the process has failed and a case cleans up."""
        if self._conversation.failure is not None:
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
            raise TargetError(f"{self._conversation.hello.name}: answered {op.name} with {result.error}")
        return self._read(op, result, read)

    def information(self, handle: object) -> Mapping[str, Any]:
        """What the stack tells of a connection's variables: whole numbers by name."""
        if not self._conversation.hello.offers(Op.INFORMATION):
            return {}
        result = self._on(Op.INFORMATION, handle)
        return {} if result.error else dict(self._read(Op.INFORMATION, result, _information))


def _ends(flow: Flow) -> bytes:
    """The connection as the stack sees it: its own end first."""
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
        if not number.isdecimal():
            raise Malformed(f"{word!r} is no name=number")
        found[name] = int(number)
    return found
