# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes at closed and listening ports, in handshakes, initial numbers and cookies."""

from __future__ import annotations

from typing import Final

from ....wire import seq
from ....wire.segment import ACK, FIN, RST, SYN, Flow, Segment
from ..connection import Connection
from ..listener import Listener
from ..options import Offer
from ..secret import Secret
from ..stack import Stack
from ..states import CLOSED, SYN_RECEIVED, SYN_SENT
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method, _step = _MISTAKES.method, _MISTAKES.step

# -- closed ports -----------------------------------------------------------------------------------------------------


@_method("syn-not-counted", Stack, "length_in_reset", case="closed/reset::syn_is_refused",
         breaks="RFC9293-U-RST-CLOSED-NOACK")
def _(stack: Stack, segment: Segment) -> int:
    """The reset of a closed port does not count the SYN that it refuses."""
    return segment.length - segment.has(SYN)


@_method("fin-not-counted-in-reset", Stack, "length_in_reset",
         case="closed/reset::segment_without_ack_is_acknowledged_by_the_reset", breaks="RFC9293-U-RST-CLOSED-NOACK")
def _(stack: Stack, segment: Segment) -> int:
    """The reset of a closed port does not count a FIN."""
    return segment.length - segment.has(FIN)


@_method("closed-port-is-silent", Stack, "reset_with_acknowledgement", case="closed/reset::syn_is_refused",
         breaks="RFC9293-U-RST-CLOSED-NOACK")
def _(stack: Stack, segment: Segment, flow: Flow) -> bool:
    """A closed port does not refuse, it says nothing."""
    return True


@_method("reset-at-zero", Stack, "reset_at_acknowledgement",
         case="closed/reset::segment_with_ack_names_the_number_of_the_reset", breaks="RFC9293-U-RST-CLOSED-ACK")
def _(stack: Stack, segment: Segment, flow: Flow) -> bool:
    """What acknowledges something is reset at 0 like all the rest."""
    return segment.has(ACK) and stack.reset_with_acknowledgement(segment, flow)


_step("reset-is-answered", "A closed port answers a reset with a reset.", CLOSED, "ignore_reset",
      case="closed/reset::reset_is_never_answered", breaks="RFC9293-U-RST-NO-RST")

# -- listening ports --------------------------------------------------------------------------------------------------

_step("listener-answers-reset", "A listener looks at the ACK bit of a reset before its RST bit.", "LISTEN",
      "ignore_reset", case="handshake/listen::reset_is_ignored", breaks=("RFC9293-U-RST-NO-RST", "SA-LISTEN-12"))

_step("listener-ignores-ack", "A listener drops an acknowledgement that it should reset.", "LISTEN",
      "reset_at_acknowledgement", case="handshake/listen::acknowledgement_of_nothing_is_reset",
      breaks=("RFC9293-U-RST-NONSYNC", "SA-LISTEN-07"))


@_method("accepts-half-open", Listener, "open", case="handshake/passive::syn_draws_syn_ack", breaks="SA-LISTEN-01")
def _(listener: Listener, connection: Connection, syn: Segment) -> None:
    """The application is given a connection as soon as a SYN has come."""
    Listener.open(listener, connection, syn)
    listener.accepted.append(connection)


@_method("backlog-forgotten", Listener, "has_room",
         case="flood/connection_limit::syn_beyond_the_backlog_meets_the_policy", breaks="SA-LISTEN-01")
def _(listener: Listener) -> bool:
    """As many connections are completed as ask, whatever the backlog is."""
    return True


@_method("half-open-unbounded", Listener, "is_full", case="flood/syn_flood::half_open_count_and_memory_are_bounded",
         breaks=("SA-LISTEN-01", "RFC4987-FLOOD"))
def _(listener: Listener) -> bool:
    """Every SYN of a flood gets an entry."""
    return False


@_method("stale-half-open-entries", Listener, "forget", case="flood/syn_flood::reset_entries_make_room_at_once",
         breaks=("SA-LISTEN-01", "RFC4987-FLOOD"))
def _(listener: Listener, connection: Connection) -> None:
    """A half-open connection that was reset still counts against the backlog."""


# -- SYN-RECEIVED -----------------------------------------------------------------------------------------------------


@_method("old-ack-opens", Connection, "acknowledges_syn", case="handshake/syn_received::wrong_acknowledgement",
         breaks="SA-SYNRCVD-02")
def _(connection: Connection, segment: Segment) -> bool:
    """An acknowledgement of ISS opens a connection: less-or-equal where less was meant."""
    return seq.le(connection.iss, segment.ack or 0) and seq.le(segment.ack or 0, connection.snd_nxt)


@_method("future-ack-opens", Connection, "acknowledges_syn", case="handshake/syn_received::wrong_acknowledgement",
         breaks="SA-SYNRCVD-03")
def _(connection: Connection, segment: Segment) -> bool:
    """Any acknowledgement beyond ISS opens a connection."""
    return seq.lt(connection.iss, segment.ack or 0)


@_method("half-open-reset-ignored", Connection, "reset_takes_back",
         case="handshake/syn_received::reset_returns_to_listen", breaks=("RFC9293-MUST-11", "SA-SYNRCVD-12"))
def _(connection: Connection, segment: Segment) -> bool:
    """A reset leaves a half-open connection as it is."""
    return segment.has(RST)


_step("half-open-reset-told", "A reset of a crossed opening is told as that of a connection.", SYN_RECEIVED,
      "reset_takes_back", "reset_is_told", case="handshake/simultaneous_open::reset_is_told_as_refusal",
      breaks="SA-SYNRCVD-13")
_step("third-segment-text-lost", "What the third segment brings beside its acknowledgement is thrown away.",
      SYN_RECEIVED, "take_text", case="sequence/accounting::data_on_the_third_segment",
      breaks=("SA-SYNRCVD-16", "RFC9293-U-SYNDATA"))
_step("third-segment-fin-lost", "The FIN of the third segment is not looked at.", SYN_RECEIVED, "take_fin",
      case="handshake/syn_received::third_segment_with_fin", breaks=("RFC9293-U-FIN-INORDER", "SA-SYNRCVD-20"))


@_method("half-open-fin-without-ack", Connection, "need_ack", case="handshake/syn_received::without_ack_is_dropped",
         breaks=("RFC9293-U-ACK-LESS", "SA-SYNRCVD-21"))
def _(connection: Connection, segment: Segment) -> bool:
    """A FIN without the ACK bit ends a half-open connection."""
    if connection.state == SYN_RECEIVED and segment.has(FIN) and not segment.has(ACK):
        connection.vanish("")
    return not segment.has(ACK)


# -- SYN-SENT ---------------------------------------------------------------------------------------------------------


@_method("any-reset-refuses", Connection, "reset_refuses", case="handshake/syn_sent::other_reset_is_ignored",
         breaks=("RFC9293-U-SYNSENT-RST", "SA-SYNSENT-21"))
def _(connection: Connection, segment: Segment) -> bool:
    """In SYN-SENT a reset counts that acknowledges nothing."""
    if segment.has(RST):
        connection.vanish("ECONNREFUSED")
    return segment.has(RST)


@_method("refusal-ignored", Connection, "reset_refuses", case="handshake/syn_sent::reset_refuses",
         breaks=("RFC9293-U-SYNSENT-RST", "SA-SYNSENT-19"))
def _(connection: Connection, segment: Segment) -> bool:
    """A refusal counts only with the number that comes next, though there is none yet."""
    if segment.has(RST) and segment.seq == connection.rcv_nxt:
        connection.vanish("ECONNREFUSED")
    return segment.has(RST)


@_method("wrong-first-ack-unanswered", Connection, "check_first_acknowledgement",
         case="handshake/syn_sent::wrong_acknowledgement_is_reset", breaks=("RFC9293-U-RST-NONSYNC", "SA-SYNSENT-02"))
def _(connection: Connection, segment: Segment) -> bool:
    """In SYN-SENT a wrong acknowledgement is dropped, not reset."""
    return segment.has(ACK) and not connection.acknowledges_syn(segment)


_step("crossing-syn-dropped", "A SYN that crosses ours is dropped.", SYN_SENT, "cross_syn",
      case="handshake/simultaneous_open::syn_meets_syn", breaks=("RFC9293-MUST-10", "SA-SYNSENT-07"))


@_method("crossing-syn-renumbers", Connection, "cross_syn", case="handshake/simultaneous_open::syn_meets_syn",
         breaks=("RFC9293-MUST-10", "SA-SYNSENT-07"))
def _(connection: Connection, segment: Segment) -> bool:
    """After crossed SYNs the SYN,ACK has a number of its own."""
    if segment.has(SYN):
        connection.begin_at(seq.add(connection.iss, 64000))
    return Connection.cross_syn(connection, segment)


@_method("connect-returns-early", Connection, "cross_syn", case="handshake/simultaneous_open::syn_meets_syn",
         breaks=("RFC9293-MUST-10", "SA-SYNSENT-07"))
def _(connection: Connection, segment: Segment) -> bool:
    """connect() returns when the peer's SYN has come, though nobody has acknowledged ours."""
    connection.opened = segment.has(SYN)
    return Connection.cross_syn(connection, segment)


@_method("syn-not-acknowledged", Connection, "begin_receiving", case="handshake/passive::syn_draws_syn_ack",
         breaks="SA-LISTEN-01")
def _(connection: Connection, irs: int) -> None:
    """The peer's SYN takes no number: it is acknowledged by its own."""
    Connection.begin_receiving(connection, seq.add(irs, -1))


@_method("own-syn-not-counted", Connection, "open_by_syn_ack", case="handshake/active::syn_ack_establishes",
         breaks="SA-SYNSENT-01")
def _(connection: Connection, segment: Segment) -> bool:
    """The first octet of data has the number of our SYN."""
    opened = Connection.open_by_syn_ack(connection, segment)
    if opened:
        connection.stream_at = connection.snd_nxt = connection.snd_max = connection.iss
    return opened


# -- SYNs where they have no place ------------------------------------------------------------------------------------


@_method("syn-resets-connection", Connection, "challenge_syn",
         case="handshake/old_duplicates::syn_inside_the_window_is_challenged",
         breaks=("RFC5961-4.2-SYN", "RFC9293-U-SYN-CHALLENGE", "SA-ESTAB-01"))
def _(connection: Connection, segment: Segment) -> bool:
    """A SYN in the window ends the connection, as RFC 793 had it."""
    if segment.has(SYN):
        connection.reset_peer()
        connection.vanish("ECONNRESET")
    return segment.has(SYN)


@_method("syn-in-window-ignored", Connection, "challenge_syn",
         case="handshake/old_duplicates::syn_inside_the_window_is_challenged",
         breaks=("RFC5961-4.2-SYN", "RFC9293-U-SYN-CHALLENGE", "SA-ESTAB-01"))
def _(connection: Connection, segment: Segment) -> bool:
    """A SYN in the window is dropped in silence, so that a peer that has forgotten never gets in."""
    return segment.has(SYN)


# -- initial numbers and cookies --------------------------------------------------------------------------------------


class _Constant(Secret):
    def initial_number(self, flow: Flow, now_ns: int) -> int:
        return self.hash(b"isn", flow)


class _Clock(Secret):
    def initial_number(self, flow: Flow, now_ns: int) -> int:
        return seq.add(0, self._rate * now_ns // 1_000_000_000)


class _Slow(Secret):
    def initial_number(self, flow: Flow, now_ns: int) -> int:
        return seq.add(self.hash(b"isn", flow), self._rate * now_ns // 2_000_000_000)


class _Dice(Secret):
    def initial_number(self, flow: Flow, now_ns: int) -> int:
        return self.hash(b"isn", flow, now_ns)


class _PortBlind(Secret):
    def initial_number(self, flow: Flow, now_ns: int) -> int:
        anybody = Flow(local=flow.local, local_port=flow.local_port, target=flow.target, target_port=0)
        return super().initial_number(anybody, now_ns)


class _AnyCookie(Secret):
    def size_in_cookie(self, flow: Flow, irs: int, cookie: int, now_ns: int) -> int | None:
        return 1


class _LooseCookie(Secret):
    def hash(self, use: bytes, flow: Flow, *numbers: int) -> int:
        anybody = Flow(local=flow.local, local_port=flow.local_port, target=flow.target, target_port=0)
        return super().hash(use, anybody if use == b"cookie" else flow, *numbers)


def _secret(name: str, summary: str, kind: type[Secret], *, case: str, breaks: str | tuple[str, ...]) -> None:
    _MISTAKES.add(name, summary, Stack, "make_secret", kind, case=case, breaks=breaks)


_secret("isn-stands-still", "Initial numbers do not move with the clock.", _Constant,
        case="isn/initial_numbers::same_four_tuple_moves_on", breaks=("RFC9293-MUST-8", "RFC6528-MONO"))
_secret("isn-is-the-clock", "The clock is all there is to initial numbers.", _Clock,
        case="isn/initial_numbers::other_four_tuples_are_not_predictable", breaks="RFC9293-MUST-9")
_secret("isn-clock-is-slow", "The clock of initial numbers runs at half its speed.", _Slow,
        case="isn/initial_numbers::same_four_tuple_moves_on_with_the_clock", breaks=("RFC9293-MUST-8", "RFC6528-FORM"))
_secret("isn-is-random", "Each initial number is random, and may lie before the last one.", _Dice,
        case="isn/initial_numbers::same_four_tuple_moves_on", breaks=("RFC9293-MUST-8", "RFC6528-MONO"))
_secret("isn-ignores-port", "The peer's port has no part in initial numbers.", _PortBlind,
        case="isn/initial_numbers::other_four_tuples_are_not_predictable", breaks="RFC9293-MUST-9")
_secret("any-cookie", "Under a flood any acknowledgement is taken for a cookie.", _AnyCookie,
        case="flood/syn_flood::wrong_cookie_makes_none", breaks=("SA-LISTEN-07", "RFC4987-COOKIE-1"))
_secret("cookie-for-everybody", "A cookie is good from every port of its host.", _LooseCookie,
        case="flood/syn_flood::cookie_is_bound_to_its_four_tuple", breaks=("SA-LISTEN-07", "RFC4987-COOKIE-1"))


@_method("cookie-forgets-mss", Listener, "open_by_cookie", case="flood/syn_flood::cookie_keeps_the_mss",
         breaks="RFC9293-MUST-16")
def _(listener: Listener, segment: Segment, flow: Flow, *, irs: int, iss: int, size: int) -> None:
    """A connection that comes of a cookie sends segments of what the link takes."""
    Listener.open_by_cookie(listener, segment, flow, irs=irs, iss=iss, size=1460)


@_method("cookie-agrees-to-sack", Listener, "open_by_cookie",
         case="flood/syn_flood::sack_is_used_only_if_the_cookie_kept_it", breaks=("RFC2018-PERM-2", "RFC4987-COOKIE-3"))
def _(listener: Listener, segment: Segment, flow: Flow, *, irs: int, iss: int, size: int) -> None:
    """A connection that comes of a cookie uses SACK, which nobody has agreed to."""
    Listener.open_by_cookie(listener, segment, flow, irs=irs, iss=iss, size=size)
    for connection in listener.accepted:
        connection.sack = True


@_method("malformed-mss-read", Connection, "offer", case="options/unknown_and_malformed::malformed_mss_is_no_mss",
         breaks=("RFC9293-MUST-7", "RFC9293-MUST-15"))
def _(connection: Connection, segment: Segment) -> Offer:
    """An MSS is read whatever its length octet says."""
    option = segment.option(2)
    offered = Connection.offer(connection, segment)
    return offered if option is None else Offer(mss=int.from_bytes(option.data[:2], "big"), shift=offered.shift,
                                                sack=offered.sack, stamp=offered.stamp)


DEFECTS: Final = tuple(_MISTAKES.found)
