# SPDX-License-Identifier: GPL-2.0-or-later
"""The octets that fill payloads where a case gives none: every place in a stream has an octet of its own.

Injector and target speak different streams, so that data which is merely sent back is not taken for an answer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_PRINTABLE: Final = bytes(range(0x21, 0x7F))
_PERIOD: Final = 94 * 94
"""After so many octets the stream repeats itself."""


@lru_cache(maxsize=8)
def _block(first: int, size: int) -> bytes:
    # 89 and 94 have no common factor, so neighbouring rows of the alphabet differ and a shift shows.
    return bytes(_PRINTABLE[(first + at + at // 94 * 89) % 94] for at in range(size))


def octets(side: str, start: int, count: int) -> bytes:
    """`count` octets of the stream of `injector` or `target`, from the `start`-th on (0 is the first after the SYN)."""
    start %= _PERIOD
    size = 1 << 12
    while size < start + count:
        size <<= 1
    return _block(0 if side == "injector" else 47, size)[start:start + count]
