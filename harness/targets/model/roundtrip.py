# SPDX-License-Identifier: GPL-2.0-or-later
"""The retransmission time-out of a connection (RFC 6298)."""

from __future__ import annotations

from .values import RTO_AFTER_LOST_SYN_NS, Values


class RoundTrip:
    """SRTT, RTTVAR and RTO, in nanoseconds."""

    def __init__(self, values: Values) -> None:
        self.rto_ns = values.initial_rto_ns
        self.srtt_ns: int | None = None
        self.variation_ns = 0
        self._values = values

    def measured(self, sample_ns: int) -> None:
        """Take one measurement in (RFC 6298, 2.2 and 2.3)."""
        if self.srtt_ns is None:
            self.srtt_ns, self.variation_ns = sample_ns, sample_ns // 2
        else:
            self.variation_ns = (3 * self.variation_ns + abs(self.srtt_ns - sample_ns)) // 4
            self.srtt_ns = (7 * self.srtt_ns + sample_ns) // 8
        self.rto_ns = self.bounded(self.srtt_ns + max(self._values.tick_ns, 4 * self.variation_ns))

    def bounded(self, rto_ns: int) -> int:
        """Between the least time-out and the greatest (RFC 6298, 2.4 and 2.5)."""
        return min(max(rto_ns, self._values.rto_min_ns), self._values.rto_max_ns)

    def back_off(self) -> None:
        """Twice the time, until something is measured again (RFC 6298, 5.5)."""
        self.rto_ns = min(2 * self.rto_ns, self._values.rto_max_ns)

    def lost_syn(self) -> None:
        """The SYN was repeated, and nothing is known of the path (RFC 6298, 5.7)."""
        self.rto_ns = max(RTO_AFTER_LOST_SYN_NS, self._values.initial_rto_ns)
