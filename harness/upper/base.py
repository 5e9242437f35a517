# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case may ask of a target's socket API, whatever drives it.

No call blocks, since the same thread plays the other end of the connection: `connect`, `accept`, `recv` and a lingering
`close` return a `Call` at once, a source of the target's clock that yields its `Outcome` when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from ..wire.clock import Outcome
from ..wire.segment import Flow

STATES = ("CLOSED", "LISTEN", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
          "CLOSING", "LAST-ACK", "TIME-WAIT")
"""The states of RFC 9293, section 3.3.2."""

Half = Literal["read", "write", "both"]

DEFAULT_BACKLOG = 16
"""What a listener is given whose case does not care."""


class NotApplicable(Exception):
    """The target has not what the case needs, or its upper tester cannot do or tell it; the message says what."""


class Unseen(NotApplicable):
    """What only looks at the target, and this upper tester cannot. A case whose rules show on the wire does without."""


class Elsewhere(NotApplicable):
    """What the case talks to cannot do it, and the target has another application that can: the case begins anew."""


class Call(Protocol):
    """A call under way; register it with the clock to get its outcome, once.

    Where a target tells less than a socket does, the call may say so: `cannot_tell` why its silence proves nothing.
    Without it the call tells all, at once. A `connect` whose target chooses the port itself says `chooses_port`.
    """

    name: str

    def fileno(self) -> int:
        """The descriptor to wait on, -1 for none."""

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now."""


class UpperTester(Protocol):
    """Drives sockets of the target. Handles are opaque.

    Each method raises `harness.wire.errors.TargetError` if the target cannot be driven; what the target's API itself
    answers, errors included, is an `Outcome`.
    """

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """A listening socket on an address and port of the target."""

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, Call]:
        """A socket bound to the flow's target end, and its connection attempt to the flow's local end."""

    def accept(self, handle: object) -> Call:
        """The next connection of a listener; the outcome's value is its handle."""

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data to the connection; the value is the number of octets taken."""

    def recv(self, handle: object, size: int) -> Call:
        """Up to `size` octets from the connection; b"" at the end of the stream."""

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half of the connection, or both."""

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Close the socket; with `linger_s` the call ends when all is acknowledged, or after that time."""

    def abort(self, handle: object) -> Outcome:
        """ABORT of RFC 9293, 3.9.1.5: throw away what is queued and reset the connection."""

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Set a socket option by its name (`SO_KEEPALIVE`, `TCP_NODELAY`, ...)."""

    def pending_error(self, handle: object) -> str:
        """The error that waits on the socket (SO_ERROR), as an errno name, "" for none; reading clears it."""

    def state(self, flow: Flow) -> str:
        """The connection's state as the target itself reports it, one of `STATES`; "" if it cannot be asked."""

    def listening(self, address: bytes, port: int) -> bool:
        """True if a socket of the target listens there."""

    def half_open(self, port: int) -> int:
        """How many connections of the listener on `port` are in SYN-RECEIVED."""

    def information(self, handle: object) -> Mapping[str, Any]:
        """What the target tells of a connection's variables (Linux: tcp_info); empty where it tells nothing."""
