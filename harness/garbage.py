# SPDX-License-Identifier: GPL-2.0-or-later
"""A full collection of garbage comes between two cases, never within one.

It takes a tenth of a second where a suite is loaded, and several times that on a busy machine: long enough for a
target's timers to run out while nobody looks, so that it repeats what would have been acknowledged. What outlives a
collection here mostly outlives the run (items, records), so none looks at it again.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import Any, Final

import pytest

from .item import is_case

_NEVER: Final = 1 << 30
_OFTEN: Final = 10
"""So many collections of the middle generation make a full one due, as Python has it by default."""
_BEFORE: Final = pytest.StashKey[tuple[int, int, int]]()
"""The thresholds of whoever called pytest."""


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the first case: what has been loaded stays."""
    if any(map(is_case, session.items)):
        young, middle, _ = session.config.stash[_BEFORE] = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        _collect()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whoever called pytest in his own process goes on as before."""
    if (before := session.config.stash.get(_BEFORE, None)) is not None:
        gc.set_threshold(*before)
        gc.unfreeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Behind each case: a full collection if one is due."""
    result = yield
    if is_case(item) and gc.get_count()[2] >= _OFTEN:
        _collect()
    return result


def _collect() -> None:
    gc.collect()
    gc.freeze()
