# SPDX-License-Identifier: GPL-2.0-or-later
"""What only the model can know: initial sequence numbers, offsets of time stamps, and SYN cookies.

All three are a keyed hash of the four-tuple (RFC 6528, 3; RFC 7323, 5.4; RFC 4987, 3.6). The key comes from the run's
seed, so that a run repeats; a peer does not know it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from ...wire import seq
from ...wire.segment import Flow

SECOND: Final = 1_000_000_000
COOKIE_PERIOD_NS: Final = 64 * SECOND
COOKIE_SIZES: Final = (1, 64, 128, 256, 512, 536, 700, 900, 1100, 1220, 1300, 1360, 1400, 1440, 1452, 1460)
"""The segment sizes that a cookie can remember."""


class Secret:
    """The key, and what is made with it."""

    def __init__(self, seed: int, isn_rate_per_s: int) -> None:
        self._key = hashlib.blake2b(seed.to_bytes(16, "big", signed=True), digest_size=16).digest()
        self._rate = isn_rate_per_s

    def hash(self, use: bytes, flow: Flow, *numbers: int) -> int:
        """32 bits that depend on the four-tuple, on what they are for, and on some numbers."""
        words = (flow.local_port, flow.target_port, *numbers)
        octets = b"".join((flow.local, flow.target, *(word.to_bytes(8, "big") for word in words)))
        return int.from_bytes(hashlib.blake2b(octets, digest_size=4, key=self._key, person=use).digest(), "big")

    def initial_number(self, flow: Flow, now_ns: int) -> int:
        """ISN = clock + F(four-tuple, secret) (RFC 6528, 3)."""
        return seq.add(self.hash(b"isn", flow), self._rate * now_ns // SECOND)

    def stamp_offset(self, flow: Flow) -> int:
        """Where the time stamps of this four-tuple begin."""
        return self.hash(b"stamp", flow)

    def cookie(self, flow: Flow, irs: int, mss: int, now_ns: int) -> int:
        """The initial number of a SYN,ACK that says by itself what its acknowledgement has to tell."""
        size = max(index for index, least in enumerate(COOKIE_SIZES) if least <= max(mss, 1))
        return self.hash(b"cookie", flow, irs, now_ns // COOKIE_PERIOD_NS, size)

    def size_in_cookie(self, flow: Flow, irs: int, cookie: int, now_ns: int) -> int | None:
        """The segment size that this cookie remembers; None if we have not sent it in this period or the last."""
        period = now_ns // COOKIE_PERIOD_NS
        for sent in (period, period - 1):
            for index, size in enumerate(COOKIE_SIZES):
                if sent >= 0 and self.hash(b"cookie", flow, irs, sent, index) == cookie:
                    return size
        return None
