# SPDX-License-Identifier: GPL-2.0-or-later
"""A case that meets the wrong one of a target's two applications is played anew with the other, and reported once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest.runner import runtestprotocol

from .targets.base import Target


def play(item: pytest.Item, nextitem: pytest.Item | None, *, elsewhere: Callable[[], Target | None]) -> None:
    """Play an item from setup to teardown, and again if it is then `elsewhere`: the target that can move, else None.

    Of the first time nothing is reported: it has ended before it could say anything of the target.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    known = len(item.user_properties)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    target = elsewhere()
    if target is not None and target.move is not None:
        del item.user_properties[known:]
        vars(item).pop("runtest", None)  # what the plugin has put there
        target.move(True)
        try:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        finally:
            target.move(False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
