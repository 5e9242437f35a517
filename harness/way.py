# SPDX-License-Identifier: GPL-2.0-or-later
"""What `tcpqual connect` was asked for, and how it reaches the other end."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .wire.clock import Clock
from .wire.link import Link
from .wire.neighbour import Neighbour
from .wire.segment import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for; None means the default. Times are seconds."""

    host: str
    port: int
    interface: str | None = None
    source: str | None = None
    listen: bool = False
    seq: int | None = None
    window: int = 65535
    mss: int | None = None
    wait_s: float = 0.2
    text: str = ""
    close: str = "fin"
    capture: str = "reports/connect.pcapng"


@dataclass(kw_only=True)
class Way:
    """How the other end is reached. `serve` lets the application there, if it is ours, do its part.

    `epoch_ns` is the instant 0 of the clock, in nanoseconds since 1970.
    """

    link: Link
    clock: Clock
    epoch_ns: int
    neighbour: Neighbour
    flow: Flow
    close: Callable[[], None]
    serve: Callable[[], None] = field(default=lambda: None)


def local_port() -> int:
    """A port of the ephemeral range (RFC 6335, section 6)."""
    return 49152 + secrets.randbelow(16384)
