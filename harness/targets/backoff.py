# SPDX-License-Identifier: GPL-2.0-or-later
"""Follows the back-off of a segment that nobody acknowledges (RFC 6298, section 5; RFC 9293, 3.8.3).

A time-out depends on the round trips that the target has measured, and on a busy machine one of those may have been
long. So each wait is held against the one before it, and the end against what was measured, not against nominal values.
"""

from __future__ import annotations

from ..lower.peer import Peer
from ..lower.timing import after, seconds_between
from .profile import Profile
from .schedule import Range, doubled_s, first_gap_s, given_up_s, repetitions


def follow_backoff(peer: Peer, text: str, profile: Profile, *, orphan: bool = False) -> tuple[Range, int]:
    """Expect the segment that came last again and again, for as long as its repetition is certain.

    Returns from when to when, in seconds after the last repetition, the target has to give up, and how many more
    repetitions may come until then. `orphan`: the application has closed. Raises Mismatch.
    """
    peer.count_repeats()
    sent = peer.last
    first = again = peer.expect(text, after(*first_gap_s(profile)))
    assert sent is not None
    sure, possible = repetitions(profile, seconds_between(sent, again), orphan=orphan)
    for _ in range(sure - 1):
        gap_s = seconds_between(sent, again)
        sent, again = again, peer.expect(text, after(*doubled_s(profile, gap_s)))
    more = possible - sure
    if more:
        peer.expect_silence()  # or one that came twice would pass for the first of those
    return given_up_s(profile, seconds_between(sent, again), elapsed_s=seconds_between(first, again), more=more,
                      orphan=orphan), more
