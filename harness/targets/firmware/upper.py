# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper tester of firmware whose script asks for a port and downloads from there: it opens, and is called off.

Everything else its application does by itself: it sends its request as soon as the connection stands, so a case has an
end there (`foresee`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NoReturn

from ...lower.peer import Peer
from ...upper.base import Call, Half, NotApplicable
from ...wire import seq as arithmetic
from ...wire.clock import Outcome
from ...wire.segment import ACK, RST, SYN, Flow, Segment
from .console import Console


class Download:
    """A connection attempt under way; its outcome stands on the screen.

    `chooses_port`: the target's own port is not the case's to choose. That it stands is not told, but `foresee` ends a
    case before it does.
    """

    name = "connect"
    chooses_port = True

    def __init__(self, console: Console, url: str) -> None:
        self._console = console
        self._url = url
        self.ended: str | None = None

    def fileno(self) -> int:
        """Nothing to wait on: the screen is looked at whenever a wait ends."""
        return -1

    def poll(self) -> Outcome | None:
        """How the download failed, if it has. Raises TargetError."""
        if self.ended is None:
            self.ended = self._console.failure(self._url)
        return None if self.ended is None else Outcome(call=self, error=self.ended or "")


class FirmwareUpperTester:
    """Opens one connection at a time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._present: Download | None = None

    def begin(self) -> None:
        """Call off what is left of the case before, and see that the script asks again. Raises TargetError."""
        if self._present is not None:
            self._present = None
            # At its question Ctrl-C would end the script.
            if not self._console.asks():
                self._console.call_off()
        self._console.await_question()

    def foresee(self, peer: Peer, segment: Segment) -> None:
        """Nothing can be said of what comes once the connection stands: the application speaks first."""
        if peer.irs is None or segment.has(RST) or not segment.has(ACK):
            return
        if segment.ack == arithmetic.add(peer.irs, 1) and (segment.has(SYN) or peer.opened):
            _cannot("leave a connection alone once it stands")

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, Call]:
        """Begin a download from our end of the flow. The target's port is its own choice."""
        if options:
            _cannot(f"set {', '.join(options)}")
        if self._present is not None and self._present.ended is None:
            _cannot("open two connections at a time")
        host = str(ipaddress.ip_address(flow.local))
        self._present = Download(self._console, f"http://{host}:{flow.local_port}/x")
        self._console.answer(flow.local_port)
        return self._present, self._present

    def abort(self, handle: object) -> Outcome:
        """Call the download off, as Ctrl-C does."""
        if handle is self._present and self._present is not None:
            self.begin()
        return Outcome(call="abort")

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """Not to be had."""
        _cannot("listen")

    def accept(self, handle: object) -> Call:
        """Not to be had."""
        _cannot("accept")

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Not to be had."""
        _cannot("send what a case wants")

    def recv(self, handle: object, size: int) -> Call:
        """Not to be had."""
        _cannot("tell what it has received")

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Not to be had."""
        _cannot("shut down")

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Not to be had."""
        _cannot("close when a case wants it")

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Not to be had."""
        _cannot(f"set {name}")

    def pending_error(self, handle: object) -> str:
        """Not to be had."""
        _cannot("tell of a socket's error")

    def state(self, flow: Flow) -> str:
        """Nobody tells."""
        return ""

    def listening(self, address: bytes, port: int) -> bool:
        """It never does."""
        return False

    def half_open(self, port: int) -> int:
        """It never has any."""
        return 0

    def information(self, handle: object) -> Mapping[str, Any]:
        """Nobody tells."""
        return {}


def _cannot(what: str) -> NoReturn:
    raise NotApplicable(f"needs an application that can {what}; firmware does one thing by itself")
