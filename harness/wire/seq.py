# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence number arithmetic, modulo 2**32 (RFC 9293, section 3.4).

All functions take and return plain integers in 0..2**32-1, except `diff`, whose result is signed.
"""

from __future__ import annotations

MODULUS = 1 << 32
_HALF = 1 << 31


def add(number: int, count: int) -> int:
    """The number `count` octets after `number`; `count` may be negative."""
    return (number + count) % MODULUS


def diff(later: int, earlier: int) -> int:
    """How far `later` lies after `earlier`, in -2**31..2**31-1."""
    return (later - earlier + _HALF) % MODULUS - _HALF


def lt(left: int, right: int) -> bool:
    """True if `left` comes before `right`."""
    return diff(left, right) < 0


def le(left: int, right: int) -> bool:
    """True if `left` comes before `right` or is the same."""
    return diff(left, right) <= 0


def latest(left: int, right: int) -> int:
    """The one of the two numbers that comes later."""
    return right if lt(left, right) else left


def in_window(number: int, start: int, size: int) -> bool:
    """True if start <= number < start + size; a window of size 0 holds nothing."""
    return (number - start) % MODULUS < size
