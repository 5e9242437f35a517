# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cases about closing share: how long a state lasts, and when an unanswered FIN is sent again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.authoring import Case, Connection, Peer
from harness.lower.timing import After
from harness.targets.profile import Profile
from harness.wire.clock import SECOND


@pytest.fixture
def expect_to_last(case: Case) -> Callable[..., None]:
    """`expect_to_last(peer, state, after(T))`: the target reports `state` until the time is up, and CLOSED then.

    Nothing on the wire tells when a state ends, and a probe may start its timer anew, so the target is asked.
    """

    def expect(peer: Peer, state: str, due: After, *, rule: str | None = None) -> None:
        case.injector.stamp()
        start = due.since or peer.last
        began = (start.stamp_ns if start else None) or 0
        _, latest = case.timing.window(due)
        pause_s = max(0.01, due.due_s / 500)
        seen = asked = case.clock.now()
        while (got := case.upper.state(peer.flow)) == state and asked < began + latest + SECOND:
            seen = asked
            case.pause(pause_s)
            asked = case.clock.now()
        # It ended between two questions: any instant in between is as good as the other.
        ended = max(seen, min(case.clock.now(), began + latest))
        case.step("api", f"state {got}")
        check = case.check_time(f"end of {state}", due, case.moment(began), case.moment(ended))
        if got not in (state, "CLOSED"):
            raise case.mismatch(expected=f"{state}, then CLOSED", got=f"state {got}", rule=rule, fields=("state",))
        if not check.kept:
            still = "still there" if got == state else "ended"
            raise case.mismatch(
                expected=f"{state} ends after {(check.earliest_ns - began) / SECOND:.1f} to "
                         f"{(check.latest_ns - began) / SECOND:.1f} s",
                got=f"{state} {still} after {(ended - began) / SECOND:.1f} s", rule=rule, fields=("time",))
        case.story.proof.add("api")

    return expect


@pytest.fixture
def rto_of(profile: Profile) -> Callable[[Connection], float]:
    """`rto_of(connection)`: its retransmission time-out in seconds, as the target tells it, or the profile's least."""

    def rto_s(connection: Connection) -> float:
        told_us: int | None = connection.information().get("rto_us")
        return profile.timer("rto_min_s") if told_us is None else told_us / 1e6

    return rto_s
