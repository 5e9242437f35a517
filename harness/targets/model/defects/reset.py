# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with resets, challenges and aborts on connections."""

from __future__ import annotations

from typing import Final

from ....wire import seq
from ....wire.segment import ACK, RST, Segment
from ..connection import Connection
from ..states import CLOSED, TIME_WAIT
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method = _MISTAKES.method


@_method("reset-anywhere-in-window", Connection, "reset_is_true",
         case="abort/reset_received::reset_in_the_window_is_challenged",
         breaks=("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN"))
def _(connection: Connection, segment: Segment) -> bool:
    """Any reset in the window ends the connection, as RFC 793 had it."""
    return True


@_method("reset-unchallenged", Connection, "reset_is_true",
         case="abort/reset_received::reset_in_the_window_is_challenged",
         breaks=("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN"))
def _(connection: Connection, segment: Segment) -> bool:
    """A reset that is not exact is dropped in silence."""
    return segment.seq == connection.rcv_nxt


@_method("reset-outside-window", Connection, "check_sequence",
         case="abort/reset_received::reset_outside_the_window_is_ignored",
         breaks=("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT"))
def _(connection: Connection, segment: Segment) -> bool:
    """A reset outside the window is challenged like one inside."""
    return not segment.has(RST) and Connection.check_sequence(connection, segment)


@_method("reset-at-right-edge", Connection, "is_acceptable",
         case="abort/reset_received::reset_at_the_right_edge_is_ignored",
         breaks=("RFC9293-U-RST-OOW", "RFC5961-3.2-OUT"))
def _(connection: Connection, segment: Segment) -> bool:
    """The number behind the window counts as inside: less-or-equal where less was meant."""
    return Connection.is_acceptable(connection, segment) or segment.seq == connection.rcv_edge


@_method("last-number-outside", Connection, "is_acceptable",
         case="abort/reset_received::reset_at_the_last_number_of_the_window_is_challenged",
         breaks=("RFC9293-U-RST-CHALLENGE", "RFC5961-3.2-IN"))
def _(connection: Connection, segment: Segment) -> bool:
    """The last number of the window counts as outside."""
    return Connection.is_acceptable(connection, segment) and segment.seq != seq.add(connection.rcv_edge, -1)


@_method("one-challenge-a-life", Connection, "challenge", case="abort/reset_received::challenges_are_rationed",
         breaks="RFC9293-U-RST-CHALLENGE")
def _(connection: Connection) -> None:
    """After the first challenge of a connection there is no other."""
    if connection.challenged_ns is None:
        Connection.challenge(connection)


@_method("reset-untold", Connection, "reset_is_told",
         case="abort/reset_received::application_can_tell_a_reset_from_a_close", breaks="RFC9293-MUST-12")
def _(connection: Connection, segment: Segment) -> bool:
    """A reset looks like the end of the stream to the application."""
    return connection.reset_ends(segment)


@_method("reset-in-close-wait-untold", Connection, "reset_is_told",
         case="abort/reset_received::exact_reset_ends_the_connection", breaks="RFC9293-MUST-12")
def _(connection: Connection, segment: Segment) -> bool:
    """Once the peer has closed, its reset is told to nobody."""
    return connection.reset_ends(segment) if connection.stream_ended else Connection.reset_is_told(connection, segment)


@_method("reset-needs-good-ack", Connection, "reset_is_told",
         case="abort/reset_received::acknowledgement_of_a_reset_does_not_matter",
         breaks=("RFC9293-U-RST-EXACT", "SA-ESTAB-05"))
def _(connection: Connection, segment: Segment) -> bool:
    """A reset with an acknowledgement of the future is dropped."""
    if segment.has(RST) and seq.lt(connection.snd_max, segment.ack or connection.snd_max):
        return True
    return Connection.reset_is_told(connection, segment)


@_method("reset-needs-a-window", Connection, "is_acceptable",
         case="abort/reset_received::reset_passes_a_closed_window", breaks="RFC9293-MUST-66")
def _(connection: Connection, segment: Segment) -> bool:
    """While the window is closed nothing is acceptable, not even a reset."""
    return bool(connection.rcv_wnd) and Connection.is_acceptable(connection, segment)


@_method("reset-in-last-ack-ignored", Connection, "reset_ends",
         case="abort/reset_received::exact_reset_ends_the_connection", breaks=("RFC9293-U-RST-EXACT", "SA-LASTACK-05"))
def _(connection: Connection, segment: Segment) -> bool:
    """When both ends have closed, a reset is ignored."""
    return segment.has(RST)


@_method("abort-is-silent", Connection, "abort", case="abort/abort::abort_resets_at_the_next_number",
         breaks="RFC9293-U-ABORT-RST")
def _(connection: Connection) -> None:
    """Who aborts tells nobody."""
    if connection.state != CLOSED:
        connection.vanish("")


@_method("abort-resets-at-unacknowledged", Connection, "reset_peer", case="abort/abort::abort_throws_queued_data_away",
         breaks="RFC9293-U-ABORT-RST")
def _(connection: Connection) -> None:
    """The reset of an abort has the number of the oldest octet that is not acknowledged, not of the next."""
    connection.say(RST | ACK, connection.snd_una)


@_method("abort-sends-the-rest", Connection, "abort", case="abort/abort::abort_resets_at_the_next_number",
         breaks="RFC9293-U-ABORT-RST")
def _(connection: Connection) -> None:
    """An abort closes in order."""
    if connection.state != CLOSED:
        connection.shut_writing()


@_method("abort-after-close-resets", Connection, "abort", case="abort/abort::abort_after_both_fins_is_silent",
         breaks="RFC9293-U-ABORT-RST")
def _(connection: Connection) -> None:
    """A reset goes out where both ends have said all."""
    if connection.state in ("CLOSING", "LAST-ACK"):
        connection.reset_peer()
    Connection.abort(connection)


@_method("abort-leaves-a-deaf-end", Connection, "arrives", case="abort/abort::abort_resets_at_the_next_number",
         breaks="RFC9293-U-ABORT-RST")
def _(connection: Connection, segment: Segment) -> None:
    """Behind an abort the connection is said to be in TIME-WAIT, where it answers nothing any more."""
    if connection.state != TIME_WAIT or connection.fin_acknowledged:
        Connection.arrives(connection, segment)


@_method("reset-takes-those-behind", Connection, "vanish",
         case="flood/connection_limit::reset_of_the_first_that_waits_costs_the_others_nothing",
         breaks=("RFC9293-U-RST-EXACT", "SA-LISTEN-01"))
def _(connection: Connection, error: str) -> None:
    """A connection that is reset while it waits for the application takes all with it that wait behind it."""
    waiting = connection.listener.accepted if connection.listener is not None else ()
    behind = list(waiting)[list(waiting).index(connection) + 1:] if connection in waiting else []
    Connection.vanish(connection, error)
    for other in behind:
        Connection.vanish(other, "")


@_method("reset-leaves-the-state", Connection, "vanish", case="abort/reset_received::exact_reset_ends_the_connection",
         breaks=("RFC9293-U-RST-EXACT", "SA-ESTAB-05"))
def _(connection: Connection, error: str) -> None:
    """A connection that was reset keeps its entry for the error to be fetched, and its state."""
    if error == "ECONNRESET":
        connection.error = error
    else:
        Connection.vanish(connection, error)


DEFECTS: Final = tuple(_MISTAKES.found)
