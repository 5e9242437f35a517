# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's socket API. Nothing blocks: a call that waits is asked for its outcome until there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ...upper.base import Half
from ...wire.clock import Outcome
from ...wire.errors import TargetError
from ...wire.segment import Flow
from .connection import Connection
from .listener import Listener
from .secret import SECOND
from .stack import Stack, key_of
from .states import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT

_NOT_CONNECTED: Final = (SYN_SENT, SYN_RECEIVED)
_OVER: Final = (CLOSED, TIME_WAIT)
"""Where nothing more comes of a connection; an abort leads to TIME-WAIT as well."""


class ModelCall:
    """A call under way; `attempt` returns its outcome's error and value, or None as long as it waits."""

    def __init__(self, name: str, attempt: Callable[[], tuple[str, Any] | None]) -> None:
        self.name = name
        self._attempt = attempt

    def fileno(self) -> int:
        """No descriptor: time moves only in a wait, and that asks."""
        return -1

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now."""
        ended = self._attempt()
        return None if ended is None else Outcome(call=self, error=ended[0], value=ended[1])


class ModelUpperTester:
    """Drives the model's sockets. A handle is the listener or the connection itself.

    `now` is the lab's clock, `flush` sends what a call has brought about.
    """

    def __init__(self, stack: Stack, *, now: Callable[[], int], flush: Callable[[], None]) -> None:
        self._stack = stack
        self._now = now
        self._flush = flush

    def _begin(self) -> None:
        """A call is made: it is now."""
        self._stack.now_ns = self._now()

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> Listener:
        """A listener. Raises TargetError if the port is taken or an option unknown."""
        self._begin()
        nobody = self._stack.connection(Flow(local=address, local_port=port, target=bytes(len(address)), target_port=0))
        for name, value in options.items():
            _set(nobody, name, value)
        listener = self._stack.listen(address, port, backlog, options)
        if listener is None:
            raise TargetError(f"bind to port {port}: Address already in use")
        return listener

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[Connection, ModelCall]:
        """A connection attempt from the flow's target end to its local end. Raises TargetError as `listen` does."""
        self._begin()
        connection = self._stack.connect(_turned(flow))
        if connection is None:
            raise TargetError(f"bind to port {flow.target_port}: Address already in use")
        for name, value in options.items():
            _set(connection, name, value)
        connection.open_actively()
        self._flush()

        def attempt() -> tuple[str, Any] | None:
            if connection.opened:
                return "", None
            if connection.state in _OVER:
                return connection.take_error() or "ECONNABORTED", None
            return None

        return connection, ModelCall("connect", attempt)

    def accept(self, handle: object) -> ModelCall:
        """The next connection that waits."""
        listener = _listener(handle)

        def attempt() -> tuple[str, Any] | None:
            return ("", listener.accepted.popleft()) if listener.accepted else None

        return ModelCall("accept", attempt)

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over; the value is the number of octets taken."""
        self._begin()
        connection = _connection(handle)
        if connection.error:
            return Outcome(call="send", error=connection.take_error())
        if connection.write_closed or connection.state in _OVER:
            return Outcome(call="send", error="EPIPE")
        if connection.state in _NOT_CONNECTED:
            return Outcome(call="send", value=0)
        taken = connection.send(data, urgent=urgent)
        self._flush()
        return Outcome(call="send", value=taken)

    def recv(self, handle: object, size: int) -> ModelCall:
        """Up to `size` octets; b"" at the end of the stream."""
        connection = _connection(handle)

        def attempt() -> tuple[str, Any] | None:
            if connection.unread:
                self._begin()
                data = connection.receive(size)
                self._flush()
                return "", data
            if connection.error:
                return connection.take_error(), None
            if connection.stream_ended or not connection.reads or connection.state in _OVER:
                return "", b""
            return None

        return ModelCall("recv", attempt)

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half, or both."""
        self._begin()
        connection = _connection(handle)
        if connection.state == CLOSED:
            return Outcome(call="shutdown", error="ENOTCONN")
        if half != "write":
            connection.shut_reading()
        if half != "read":
            connection.shut_writing()
        self._flush()
        return Outcome(call="shutdown")

    def close(self, handle: object, *, linger_s: int | None = None) -> ModelCall:
        """Close the socket; with a linger time the call ends when all is acknowledged, or after that time."""
        self._begin()
        if isinstance(handle, Listener):
            handle.close()
            self._flush()
            return ModelCall("close", lambda: ("", None))
        connection = _connection(handle)
        connection.close()
        self._flush()
        until = self._now() + (linger_s or 0) * SECOND
        if linger_s is not None:
            self._stack.timers.make(lambda: None).set(until)  # so that time stops there and the call is asked

        def attempt() -> tuple[str, Any] | None:
            return None if linger_s is not None and connection.lingers and self._now() < until else ("", None)

        return ModelCall("close", attempt)

    def abort(self, handle: object) -> Outcome:
        """Reset the connection, or stop listening."""
        self._begin()
        if isinstance(handle, Listener):
            handle.close()
        else:
            _connection(handle).abort()
        self._flush()
        return Outcome(call="abort")

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set an option by its name. Raises TargetError for one that is unknown here."""
        self._begin()
        _set(_connection(handle), name, value)
        self._flush()
        return Outcome(call="setsockopt")

    def pending_error(self, handle: object) -> str:
        """SO_ERROR; "" for none."""
        return _connection(handle).take_error()

    def state(self, flow: Flow) -> str:
        """The connection's state; CLOSED if there is none."""
        connection = self._stack.connections.get(key_of(_turned(flow)))
        return CLOSED if connection is None else connection.state

    def listening(self, address: bytes, port: int) -> bool:
        """True if somebody listens there."""
        return (address, port) in self._stack.listeners

    def half_open(self, port: int) -> int:
        """Connections of that port in SYN-RECEIVED."""
        return self._stack.half_open(port)

    def information(self, handle: object) -> Mapping[str, Any]:
        """Some of the connection's variables."""
        connection = _connection(handle)
        return {"rto_us": connection.round_trip.rto_ns // 1000, "send_mss": connection.payload_limit,
                "retransmits": connection.retries}


def _turned(flow: Flow) -> Flow:
    """The flow as our end sees it."""
    return Flow(local=flow.target, local_port=flow.target_port, target=flow.local, target_port=flow.local_port)


def _listener(handle: object) -> Listener:
    if not isinstance(handle, Listener):
        raise TargetError(f"{handle!r} is no listener of this target")
    return handle


def _connection(handle: object) -> Connection:
    if not isinstance(handle, Connection):
        raise TargetError(f"{handle!r} is no connection of this target")
    return handle


def _set(connection: Connection, name: str, value: int) -> None:
    if not connection.set_option(name, value):
        raise TargetError(f"socket option {name!r}: unknown; a name such as SO_KEEPALIVE or TCP_NODELAY is wanted")
