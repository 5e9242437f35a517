# SPDX-License-Identifier: GPL-2.0-or-later
"""An upper tester of which every call is one of two things: a question that is answered at once, or a call begun.

Who tapes, replays or changes what an upper tester says has to say so only twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.clock import Outcome
from ..wire.segment import Flow
from .base import Call, Half


class RelayUpper:
    """The methods of `UpperTester`, as `ask` and `begin` of those who build on it."""

    def ask(self, method: str, *question: Any, **named: Any) -> Any:
        """The answer to a question."""
        raise NotImplementedError

    def begin_call(self, method: str, *question: Any, **named: Any) -> tuple[Any, Call]:
        """The handle that a call gives at once (None for all but connect), and the call."""
        raise NotImplementedError

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """A listening socket."""
        return self.ask("listen", address, port, backlog=backlog, options=options)

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, Call]:
        """A connection attempt."""
        return self.begin_call("connect", flow, options=options)

    def accept(self, handle: object) -> Call:
        """The next connection of a listener."""
        return self.begin_call("accept", handle)[1]

    def recv(self, handle: object, size: int) -> Call:
        """Octets of the connection."""
        return self.begin_call("recv", handle, size)[1]

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Close the socket."""
        return self.begin_call("close", handle, linger_s=linger_s)[1]

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over."""
        outcome: Outcome = self.ask("send", handle, data, urgent=urgent)
        return outcome

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half."""
        outcome: Outcome = self.ask("shutdown", handle, half)
        return outcome

    def abort(self, handle: object) -> Outcome:
        """Reset the connection."""
        outcome: Outcome = self.ask("abort", handle)
        return outcome

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set a socket option."""
        outcome: Outcome = self.ask("set_option", handle, name, value)
        return outcome

    def pending_error(self, handle: object) -> str:
        """The error that waits."""
        return str(self.ask("pending_error", handle))

    def state(self, flow: Flow) -> str:
        """The connection's state."""
        return str(self.ask("state", flow))

    def listening(self, address: bytes, port: int) -> bool:
        """Whether a socket listens there."""
        return bool(self.ask("listening", address, port))

    def half_open(self, port: int) -> int:
        """How many connections are half-open."""
        return int(self.ask("half_open", port))

    def information(self, handle: object) -> Mapping[str, Any]:
        """What the target tells of a connection's variables."""
        told: Mapping[str, Any] = self.ask("information", handle)
        return told
