# SPDX-License-Identifier: GPL-2.0-or-later
"""A device without an upper tester: what a port that is open allows, and nothing else.

Nobody can be told to connect, send or close there, and nobody tells what the application got. What only looks raises
`Unseen`, of which a case may do without whose rules show on the wire; what has to be done raises `NotApplicable`. Both
say what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ...lower.echo import have_sent
from ...lower.peer import Peer
from ...upper.base import DEFAULT_BACKLOG, Call, Elsewhere, Half, NotApplicable, Unseen
from ...wire import seq as arithmetic
from ...wire.clock import Outcome
from ...wire.segment import FIN, RST, SYN, Flow, Segment
from .device import EchoPort, OpenPort

_WINDOW: Final = 1 << 16
"""Behind what we have sent nobody has a larger window for us, unless it is scaled."""


class AgentlessUpperTester:
    """The upper tester that there is none of."""

    def __init__(self, open_port: OpenPort, echo_port: EchoPort | None = None) -> None:
        self._open = open_port
        self._echo = echo_port
        self._port = open_port.port
        self._listening = False

    def move(self, other: bool) -> int:
        """From the next case on the port that is open is the echo port or the other one; returns its number."""
        self._port = self._echo.port if other and self._echo is not None else self._open.port
        return self._port

    def begin(self) -> None:
        """Another case begins."""
        self._listening = False

    def foresee(self, peer: Peer, segment: Segment) -> None:
        """An application that is sent octets, or told the end of our stream, does what nobody here has asked for."""
        if peer.flow.target_port != self._port:
            return
        if self._echoes and _may_be_read(peer, segment):
            raise NotApplicable("needs an application that sends when it is told to, and not what it is sent, as the "
                                "echo port does; this device has none")
        if not segment.has(FIN) or segment.has(SYN):
            return
        place = arithmetic.add(segment.seq or 0, len(segment.payload or b""))
        if not 0 <= arithmetic.diff(place, peer.send_next) < _WINDOW:
            return
        closes = self._echoes or self._open.application == "discard"
        if peer.case.lets_close and not closes:
            _cannot("close")
        if not peer.case.lets_close and closes:
            _cannot("hold a connection of which our end is closed")

    @property
    def _echoes(self) -> bool:
        return self._echo is not None and self._port == self._echo.port

    def feed(self, peer: Peer, data: bytes, urgent: bool) -> Outcome:
        """Have the application send. Raises Elsewhere if that is for the echo port, NotApplicable if it cannot be."""
        if urgent:
            _cannot("send urgent data")
        if not self._echoes:
            raise Elsewhere(_missing("send"))
        return have_sent(peer, data)

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """The port that is open, for the one listener of a case that wants nothing in particular of it."""
        if options:
            _cannot(f"set {', '.join(options)} on a listener")
        if backlog != DEFAULT_BACKLOG:
            _cannot(f"listen with a backlog of {backlog}")
        if port != self._port or self._listening:
            _cannot("listen on another port than the one that is open")
        self._listening = True
        return self._open

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, Call]:
        """Not to be had."""
        _cannot("connect")

    def accept(self, handle: object) -> Call:
        """Whoever listens there accepts by himself."""
        raise Unseen(_missing("tell what has been accepted"))

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Not to be had."""
        _cannot("send")

    def recv(self, handle: object, size: int) -> Call:
        """Not to be seen."""
        raise Unseen(_missing("tell what has been received"))

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Not to be had."""
        _cannot("shut down")

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Not to be had."""
        _cannot("close")

    def abort(self, handle: object) -> Outcome:
        """Not to be had."""
        _cannot("abort")

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Not to be had."""
        _cannot(f"set {name}")

    def pending_error(self, handle: object) -> str:
        """Not to be seen."""
        raise Unseen(_missing("tell of errors"))

    def state(self, flow: Flow) -> str:
        """Nobody tells."""
        return ""

    def listening(self, address: bytes, port: int) -> bool:
        """Not to be seen."""
        raise Unseen(_missing("tell who listens"))

    def half_open(self, port: int) -> int:
        """Not to be had."""
        _cannot("count half-open connections")

    def information(self, handle: object) -> Mapping[str, Any]:
        """Nobody tells."""
        return {}


def _may_be_read(peer: Peer, segment: Segment) -> bool:
    """True if a target that keeps the rules may give octets of this segment to its application, now or later."""
    if not segment.payload or segment.has(RST):
        return False
    taken = peer.account.acked
    end = arithmetic.add(segment.seq or 0, segment.length)
    return taken is None or arithmetic.lt(taken, end)


def _missing(what: str) -> str:
    return f"needs an upper tester that can {what}; this device has none"


def _cannot(what: str) -> NoReturn:
    raise NotApplicable(_missing(what))
