# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's times and limits: what its profile states, in nanoseconds, and what no profile has a word for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from .secret import SECOND

MILLISECOND: Final = 1_000_000
RTO_AFTER_LOST_SYN_NS: Final = 3 * SECOND
"""RFC 6298, 5.7."""
OVERRIDE_NS: Final = 200 * MILLISECOND
"""After so long data goes out though the window lets it go in a small piece alone (RFC 9293, 3.8.6.2.1)."""
STAMPS_VALID_NS: Final = 24 * 86_400 * SECOND
"""RFC 7323, 5.5."""
SHIFT: Final = 2
"""The scale of our own windows: room for four times the buffer that a socket has at first."""
RECEIVE_BUFFER: Final = 65535
SEND_BUFFER: Final = 1 << 17
LEAST_MTU: Final = {4: 68, 16: 1280}
"""What every link carries, by the length of an address (RFC 791, 3.2; RFC 8200, 5)."""


class Stated(Protocol):
    """A profile."""

    def timer(self, name: str) -> float:
        """A time in seconds."""

    def limit(self, name: str) -> int:
        """A count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The profile's timers, in nanoseconds, and its limits."""

    initial_rto_ns: int
    rto_min_ns: int
    rto_max_ns: int
    tick_ns: int
    delayed_ack_ns: int
    keepalive_time_ns: int
    keepalive_interval_ns: int
    fin_wait_2_ns: int
    time_wait_ns: int
    challenge_ack_interval_ns: int
    syn_attack_timeout_ns: int
    reassembly_ns: dict[int, int]
    syn_retries: int
    synack_retries: int
    data_retries: int
    orphan_retries: int
    keepalive_probes: int
    keepalive_garbage: int
    syn_backlog: int
    accept_backlog_extra: int
    min_send_mss: int
    isn_rate_per_s: int
    closed_port_window: int


def values_of(profile: Stated) -> Values:
    """What a profile states. Raises TargetError if it leaves one out."""
    time: Callable[[str], int] = lambda name: round(profile.timer(name) * SECOND)  # noqa: E731
    return Values(
        initial_rto_ns=time("initial_rto_s"), rto_min_ns=time("rto_min_s"), rto_max_ns=time("rto_max_s"),
        tick_ns=time("tick_s"), delayed_ack_ns=time("delayed_ack_max_s"),
        keepalive_time_ns=time("keepalive_time_s"), keepalive_interval_ns=time("keepalive_interval_s"),
        fin_wait_2_ns=time("fin_wait_2_s"), time_wait_ns=time("time_wait_s"),
        challenge_ack_interval_ns=time("challenge_ack_interval_s"),
        syn_attack_timeout_ns=time("syn_attack_timeout_s"),
        reassembly_ns={4: time("reassembly_ipv4_s"), 16: time("reassembly_ipv6_s")},
        syn_retries=profile.limit("syn_retries"), synack_retries=profile.limit("synack_retries"),
        data_retries=profile.limit("data_retries"), orphan_retries=profile.limit("orphan_retries"),
        keepalive_probes=profile.limit("keepalive_probes"), keepalive_garbage=profile.limit("keepalive_garbage_octets"),
        syn_backlog=profile.limit("syn_backlog"), accept_backlog_extra=profile.limit("accept_backlog_extra"),
        min_send_mss=profile.limit("min_send_mss"), isn_rate_per_s=profile.limit("isn_rate_per_s"),
        closed_port_window=profile.limit("closed_port_window"))
