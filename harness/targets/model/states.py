# SPDX-License-Identifier: GPL-2.0-or-later
"""SEGMENT ARRIVES of RFC 9293, 3.10.7, as data: what is done with a segment in each state, in the RFC's order.

Theory of operation
-------------------
A segment is offered to the steps of its state, one after the other. A step that has dealt with it says so, and the rest
is not asked. There are three kinds of rows:

- *CLOSED* and *LISTEN* have no connection. A reset is ignored; whatever acknowledges something is reset at the number
  that it acknowledges; what is left is reset with an acknowledgement of all it takes up (CLOSED), opens a connection
  if it is a SYN, or is dropped (LISTEN).
- *SYN-SENT* knows one number only, that of its own SYN. So the acknowledgement is looked at first, then the reset bit,
  which counts only beside the right acknowledgement, then the SYN, which opens (with ACK) or crosses ours (without).
- All *other* states have both numbers, and eight checks: (1) the sequence number, with the time stamps of RFC 7323 in
  front of it; (2) RST; (3) security, which nobody has; (4) SYN; (5) ACK; (6) URG; (7) the text; (8) FIN. Whatever is
  outside the window draws an acknowledgement and is looked at no further, unless it is a reset. RFC 5961 has doubtful
  resets, SYNs and acknowledgements challenged.

The rows differ in what a reset means (`reset_*`), what an acknowledgement may do (`open_by_ack`, and the states that an
acknowledgement of our FIN leads to), and in whether the peer may still send text. A step may change the state; the
steps that follow it in the row then act in the new one, as the RFC's "continue processing" wants. That is why the two
transitions of closing are tables of their own, looked up when their moment comes:

    our FIN is acknowledged:  FIN-WAIT-1 -> FIN-WAIT-2,  CLOSING -> TIME-WAIT,  LAST-ACK -> CLOSED
    the peer's stream ends:   ESTABLISHED -> CLOSE-WAIT, FIN-WAIT-1 -> CLOSING, FIN-WAIT-2 -> TIME-WAIT

The acknowledgement is looked at before the FIN, so a segment that has both takes FIN-WAIT-1 to FIN-WAIT-2 and from
there to TIME-WAIT, just as figure 5 has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLOSED: Final = "CLOSED"
LISTEN: Final = "LISTEN"
SYN_SENT: Final = "SYN-SENT"
SYN_RECEIVED: Final = "SYN-RECEIVED"
ESTABLISHED: Final = "ESTABLISHED"
FIN_WAIT_1: Final = "FIN-WAIT-1"
FIN_WAIT_2: Final = "FIN-WAIT-2"
CLOSE_WAIT: Final = "CLOSE-WAIT"
CLOSING: Final = "CLOSING"
LAST_ACK: Final = "LAST-ACK"
TIME_WAIT: Final = "TIME-WAIT"

Row = tuple[str, ...]
"""Names of methods, of connection, listener or stack, that take the segment and say whether it is dealt with."""

_FIRST: Final = ("need_timestamps", "check_timestamps", "check_sequence", "remember_timestamp")
_TEXT: Final = ("take_urgent", "take_text", "take_fin")

SEGMENT_ARRIVES: Final[Mapping[str, Row]] = {
    CLOSED: ("ignore_reset", "reset_at_acknowledgement", "reset_with_acknowledgement"),
    LISTEN: ("ignore_reset", "take_cookie", "reset_at_acknowledgement", "open_by_syn", "drop"),
    SYN_SENT: ("check_first_acknowledgement", "reset_refuses", "open_by_syn_ack", "cross_syn", "drop"),
    SYN_RECEIVED: ("unwrap_crossed_syn", *_FIRST, "reset_takes_back", "syn_takes_back", "need_ack", "open_by_ack",
                   "take_ack", *_TEXT),
    ESTABLISHED: (*_FIRST, "reset_is_told", "challenge_syn", "need_ack", "check_ack", "take_ack", *_TEXT),
    FIN_WAIT_1: (*_FIRST, "reset_is_told", "challenge_syn", "need_ack", "check_ack", "take_ack", *_TEXT),
    FIN_WAIT_2: (*_FIRST, "reset_is_told", "challenge_syn", "need_ack", "check_ack", "take_ack", *_TEXT),
    CLOSE_WAIT: (*_FIRST, "reset_is_told", "challenge_syn", "need_ack", "check_ack", "take_ack"),
    CLOSING: (*_FIRST, "reset_ends", "challenge_syn", "need_ack", "check_ack", "take_ack"),
    LAST_ACK: (*_FIRST, "reset_ends", "challenge_syn", "need_ack", "check_ack", "take_ack"),
    TIME_WAIT: ("reopen", "answer_repeated_fin", *_FIRST, "reset_ends", "challenge_syn", "need_ack", "check_ack"),
}

ACK_OF_FIN: Final[Mapping[str, str]] = {FIN_WAIT_1: FIN_WAIT_2, CLOSING: TIME_WAIT, LAST_ACK: CLOSED}
"""Where the acknowledgement of our FIN leads to."""

END_OF_STREAM: Final[Mapping[str, str]] = {ESTABLISHED: CLOSE_WAIT, FIN_WAIT_1: CLOSING, FIN_WAIT_2: TIME_WAIT}
"""Where the peer's FIN leads to, once all before it has come."""

CLOSE_CALLED: Final[Mapping[str, str]] = {ESTABLISHED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK}
"""Where CLOSE of the application leads to (RFC 9293, 3.10.4); LAST-ACK as RFC 1122, 4.2.2.20 mends it."""

SENDING: Final = frozenset((ESTABLISHED, CLOSE_WAIT, FIN_WAIT_1, CLOSING, LAST_ACK))
"""Where data and our FIN may be on the way."""
READING: Final = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2))
"""Where the peer may send text."""
ABORT_IS_TOLD: Final = frozenset((SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT))
"""Where ABORT sends a reset (RFC 9293, 3.10.5)."""
