# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cases about closing share: when an unanswered FIN is sent again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.authoring import Connection
from harness.targets.profile import Profile


@pytest.fixture
def rto_of(profile: Profile) -> Callable[[Connection], float]:
    """`rto_of(connection)`: its retransmission time-out in seconds, as the target tells it, or the profile's least."""

    def rto_s(connection: Connection) -> float:
        told_us: int | None = connection.information().get("rto_us")
        return profile.timer("rto_min_s") if told_us is None else told_us / 1e6

    return rto_s
