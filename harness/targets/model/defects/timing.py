# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with time-outs, repetition, giving up, and keepalive."""

from __future__ import annotations

from typing import Final

from ....wire import seq
from ....wire.segment import SYN, Flow, Segment
from ..connection import Connection
from ..secret import SECOND
from ..stack import Stack
from ..states import ESTABLISHED, SYN_RECEIVED, SYN_SENT
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method = _MISTAKES.method

# -- repetition -------------------------------------------------------------------------------------------------------


@_method("no-back-off", Connection, "next_time_out", case="retransmission/data::each_wait_is_twice_the_one_before",
         breaks=("RFC6298-BACKOFF", "RFC9293-MUST-19", "RFC8961-BACKOFF"))
def _(connection: Connection) -> int:
    """Every wait is as long as the first one."""
    return connection.stack.now_ns + connection.values.rto_min_ns


@_method("back-off-forgotten", Connection, "acknowledge_octets",
         case="retransmission/data::ack_of_a_repetition_measures_nothing", breaks=("RFC6298-KARN", "RFC6298-KEEP"))
def _(connection: Connection, ack: int, segment: Segment) -> None:
    """Any acknowledgement ends the back-off, that of a repetition too."""
    Connection.acknowledge_octets(connection, ack, segment)
    connection.round_trip.rto_ns = connection.values.rto_min_ns


@_method("repetition-measured", Connection, "measure",
         case="retransmission/data::ack_of_a_repetition_measures_nothing", breaks=("RFC6298-KARN", "RFC8961-AMBIG"))
def _(connection: Connection, ack: int, segment: Segment) -> None:
    """The acknowledgement of a repetition is taken for a round trip."""
    connection.round_trip.measured(connection.stack.now_ns - connection.last_sent_ns)


@_method("round-trip-not-measured", Connection, "begin_sending",
         case="retransmission/data::first_wait_follows_the_round_trip", breaks=("RFC6298-FIRST", "RFC9293-MUST-18"))
def _(connection: Connection) -> None:
    """The handshake's round trip has no part in the time-out."""
    connection.timed = None
    Connection.begin_sending(connection)


@_method("least-time-out-too-short", Connection, "begin_sending",
         case="retransmission/data::least_time_out_is_the_profiles", breaks=("RFC9293-MUST-18", "RFC6298-MIN"))
def _(connection: Connection) -> None:
    """The time-out has no least value but 200 ms."""
    Connection.begin_sending(connection)
    connection.round_trip.rto_ns = min(connection.round_trip.rto_ns, SECOND // 5)


@_method("time-out-above-the-greatest", Connection, "timed_out",
         case="retransmission/data::waits_stop_growing_at_the_greatest_time_out",
         breaks=("RFC6298-BACKOFF", "RFC6298-MAX", "RFC9293-MUST-19"))
def _(connection: Connection) -> None:
    """The waits double for ever."""
    before = connection.round_trip.rto_ns
    Connection.timed_out(connection)
    if connection.state == ESTABLISHED:
        connection.round_trip.rto_ns = 2 * before
        connection.retransmission.set(connection.next_time_out())


@_method("data-given-up-early", Connection, "retry_limit", case="crash/peer_gone::data_is_repeated_until_r2",
         breaks="RFC9293-MUST-20")
def _(connection: Connection) -> int:
    """R2 is over one repetition too soon."""
    return Connection.retry_limit(connection) - (connection.state == ESTABLISHED)


@_method("data-never-given-up", Connection, "is_given_up", case="crash/peer_gone::data_is_repeated_until_r2",
         breaks="RFC9293-MUST-20")
def _(connection: Connection) -> bool:
    """Data is repeated for ever."""
    return connection.state != ESTABLISHED and Connection.is_given_up(connection)


@_method("giving-up-untold", Connection, "give_up", case="crash/peer_gone::data_is_repeated_until_r2",
         breaks="RFC9293-MUST-20")
def _(connection: Connection) -> None:
    """The application is not told that its data was given up."""
    connection.vanish("")


@_method("user-timeout-ignored", Connection, "next_time_out", case="crash/peer_gone::application_sets_r2",
         breaks=("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> int:
    """The application's own time-out is kept and not looked at."""
    connection.user_timeout_ns = 0
    return Connection.next_time_out(connection)


@_method("user-timeout-caps-only", Connection, "is_given_up", case="crash/peer_gone::application_sets_a_longer_r2",
         breaks=("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> bool:
    """The application's time-out may shorten R2, and not lengthen it."""
    return Connection.is_given_up(connection) or connection.retries >= connection.retry_limit()


@_method("user-timeout-never-restarts", Connection, "is_given_up",
         case="crash/peer_gone::acknowledgement_ends_the_users_time_out",
         breaks=("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> bool:
    """The application's time-out counts from the opening of the connection."""
    if connection.user_timeout_ns and connection.state == ESTABLISHED:
        return seq.diff(connection.stamp(), connection.ts_first) * 1_000_000 >= connection.user_timeout_ns
    return Connection.is_given_up(connection)


@_method("user-timeout-repeats-once", Connection, "timed_out",
         case="crash/peer_gone::acknowledgement_ends_the_users_time_out",
         breaks=("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> None:
    """Under the application's time-out only the first octets of a connection are sent again."""
    if connection.user_timeout_ns and seq.diff(connection.snd_una, connection.iss) > 1 and not connection.is_given_up():
        connection.retransmission.set(connection.next_time_out())
    else:
        Connection.timed_out(connection)


@_method("user-timeout-from-repetition", Connection, "timed_out",
         case="crash/peer_gone::application_sets_r2", breaks=("RFC9293-MUST-21", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> None:
    """The application's time-out counts from the last sending, each repetition putting it off."""
    if connection.state == ESTABLISHED and connection.retries < connection.retry_limit():
        connection.unacknowledged_since_ns = connection.stack.now_ns
    Connection.timed_out(connection)


# -- handshakes -------------------------------------------------------------------------------------------------------


@_method("syn-not-repeated", Connection, "timed_out", case="retransmission/syn::answer_to_a_repeated_syn_connects",
         breaks="RFC9293-MUST-22")
def _(connection: Connection) -> None:
    """A SYN is sent once."""
    if connection.state == SYN_SENT:
        connection.give_up()
    else:
        Connection.timed_out(connection)


@_method("syn-renumbered", Connection, "say_syn", case="retransmission/syn::answer_to_a_repeated_syn_connects",
         breaks="RFC9293-MUST-22")
def _(connection: Connection) -> None:
    """A repeated SYN has a number of its own."""
    if connection.state == SYN_SENT and connection.retries:
        connection.begin_at(connection.stack.secret.initial_number(connection.flow, connection.stack.now_ns))
    Connection.say_syn(connection)


@_method("syn-given-up-early", Connection, "retry_limit",
         case="retransmission/syn::syn_is_repeated_until_connect_fails", breaks="RFC9293-MUST-22")
def _(connection: Connection) -> int:
    """connect() fails after three SYNs."""
    return 2 if connection.state == SYN_SENT else Connection.retry_limit(connection)


@_method("connect-gives-up-untold", Connection, "give_up",
         case="retransmission/syn::syn_is_repeated_until_connect_fails", breaks="RFC9293-MUST-22")
def _(connection: Connection) -> None:
    """connect() that nobody answered fails as if it had been refused."""
    connection.vanish("ECONNREFUSED" if connection.state == SYN_SENT else "ETIMEDOUT")


@_method("syn-ack-for-ever", Connection, "is_given_up",
         case="retransmission/synack::half_open_connection_is_dropped", breaks=("RFC9293-MUST-20", "RFC4987-TIMER"))
def _(connection: Connection) -> bool:
    """A half-open connection is never dropped."""
    return connection.state != SYN_RECEIVED and Connection.is_given_up(connection)


@_method("syn-ack-not-repeated", Stack, "send_segment",
         case="retransmission/synack::ack_of_a_repeated_syn_ack_connects", breaks=("RFC9293-MUST-20", "RFC4987-RETX"))
def _(stack: Stack, segment: Segment, flow: Flow) -> None:
    """A SYN,ACK is sent once."""
    connection = stack.connections.get((flow.local, flow.local_port, flow.target, flow.target_port))
    if connection is None or not segment.has(SYN) or connection.state != SYN_RECEIVED or not connection.retries:
        Stack.send_segment(stack, segment, flow)


@_method("lost-syn-forgotten", Connection, "begin_sending",
         case="retransmission/syn::data_waits_three_seconds_after_a_lost_syn", breaks="RFC6298-SYN3")
def _(connection: Connection) -> None:
    """After a lost SYN data is repeated as soon as otherwise."""
    if connection.retries:
        connection.timed, connection.retries = None, 0
    Connection.begin_sending(connection)


# -- keepalive --------------------------------------------------------------------------------------------------------


@_method("keepalive-by-default", Connection, "begin_life", case="keepalive/probes_sent::keepalive_is_off_by_default",
         breaks="RFC9293-MUST-25")
def _(connection: Connection) -> None:
    """Keepalive is on, whether or not the application has asked for it."""
    connection.keepalive = True
    Connection.begin_life(connection)


@_method("keepalive-at-next", Connection, "send_keepalive",
         case="keepalive/probes_sent::first_probe_comes_after_the_idle_time",
         breaks=("RFC9293-MUST-27", "RFC9293-MAY-5"))
def _(connection: Connection) -> None:
    """A probe has the next number, which nobody need answer."""
    connection.acknowledge()


@_method("keepalive-not-put-off", Connection, "keep_alive", case="keepalive/probes_sent::our_data_puts_the_probe_off",
         breaks="RFC9293-MUST-26")
def _(connection: Connection) -> None:
    """The idle time runs on though the peer was heard."""
    connection.heard_ns = min(connection.heard_ns, connection.stack.now_ns - connection.keepalive_time_ns)
    Connection.keep_alive(connection)


@_method("keepalive-beside-data", Connection, "must_wait",
         case="keepalive/probes_sent::repetition_keeps_probes_back", breaks="RFC9293-MUST-26")
def _(connection: Connection) -> bool:
    """Probes go out while data is on the way."""
    return False


@_method("keepalive-one-chance", Connection, "keep_alive", case="keepalive/probes_sent::answer_resets_the_timer",
         breaks=("RFC9293-MUST-29", "RFC9293-MUST-24"))
def _(connection: Connection) -> None:
    """One probe without an answer, and the peer is given up."""
    if connection.probes_sent and connection.heard_ns <= connection.probed_ns:
        connection.probes_sent = connection.keepalive_probes
    Connection.keep_alive(connection)


@_method("keepalive-never-gives-up", Connection, "keep_alive",
         case="keepalive/probes_sent::connection_is_given_up_without_answers",
         breaks=("RFC9293-MUST-29", "RFC9293-MUST-24"))
def _(connection: Connection) -> None:
    """Probes go on for ever."""
    connection.probes_sent = min(connection.probes_sent, 1)
    Connection.keep_alive(connection)


@_method("keepalive-for-everybody", Connection, "set_option",
         case="keepalive/probes_sent::keepalive_is_each_connections_own", breaks="RFC9293-MUST-24")
def _(connection: Connection, name: str, value: int) -> bool:
    """Keepalive is switched on for all connections of the stack."""
    if name == "SO_KEEPALIVE":
        for other in connection.stack.connections.values():
            Connection.set_option(other, name, value)
    return Connection.set_option(connection, name, value)


@_method("keepalive-stays-on", Connection, "set_option",
         case="keepalive/probes_sent::keepalive_is_switched_off_again", breaks="RFC9293-MUST-24")
def _(connection: Connection, name: str, value: int) -> bool:
    """Keepalive cannot be switched off."""
    return Connection.set_option(connection, name, value or 1 if name == "SO_KEEPALIVE" else value)


@_method("keepalive-time-fixed", Connection, "set_option",
         case="keepalive/probes_sent::application_sets_the_idle_time", breaks="RFC9293-MUST-27")
def _(connection: Connection, name: str, value: int) -> bool:
    """The application's idle time is not heeded."""
    return name == "TCP_KEEPIDLE" or Connection.set_option(connection, name, value)


@_method("keepalive-after-an-hour", Connection, "watch_keepalive",
         case="keepalive/probes_sent::default_idle_time_is_two_hours_at_least", breaks="RFC9293-MUST-28")
def _(connection: Connection) -> None:
    """The idle time is an hour."""
    connection.keepalive_time_ns = min(connection.keepalive_time_ns, 3600 * SECOND)
    Connection.watch_keepalive(connection)


DEFECTS: Final = tuple(_MISTAKES.found)
