# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with headers, numbers, windows, urgent data and acknowledgements."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ....wire import seq
from ....wire.codec import encode
from ....wire.segment import ACK, FIN, PSH, SYN, URG, Flow, Segment
from ..connection import Connection
from ..stack import Stack
from ..states import READING
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method, _step = _MISTAKES.method, _MISTAKES.step

# -- header -----------------------------------------------------------------------------------------------------------


@_method("checksum-unchecked", Stack, "checksum_is_right",
         case="header/checksum::syn_with_a_wrong_checksum_is_ignored", breaks="RFC9293-MUST-3")
def _(stack: Stack, segment: Segment) -> bool:
    """Nobody looks at the checksum."""
    return True


@_method("no-checksum-is-good", Stack, "checksum_is_right",
         case="header/checksum::syn_with_a_wrong_checksum_is_ignored", breaks="RFC9293-MUST-3")
def _(stack: Stack, segment: Segment) -> bool:
    """A checksum of 0 is none, as in UDP."""
    return not segment.checksum or Stack.checksum_is_right(stack, segment)


@_method("reset-checksum-unchecked", Stack, "checksum_is_right",
         case="header/checksum::end_with_a_wrong_checksum_is_ignored", breaks="RFC9293-MUST-3")
def _(stack: Stack, segment: Segment) -> bool:
    """The checksum is looked at where there is a payload."""
    return (not segment.payload and not segment.has(SYN)) or Stack.checksum_is_right(stack, segment)


@_method("odd-checksum", Stack, "send_segment", case="header/checksum::right_checksum_is_sent", breaks="RFC9293-MUST-2")
def _(stack: Stack, segment: Segment, flow: Flow) -> None:
    """The last octet of an odd payload has no part in the checksum."""
    payload = segment.payload or b""
    if len(payload) % 2:
        shorter = encode(replace(segment, payload=payload[:-1] + b"\0"), flow)
        at = (40 if flow.ipv6 else 20) + 16
        segment = replace(segment, checksum=int.from_bytes(shorter[at:at + 2], "big"))
    Stack.send_segment(stack, segment, flow)


@_method("data-offset-unchecked", Stack, "offset_is_possible",
         case="header/fields::syn_with_an_impossible_data_offset_is_dropped", breaks="RFC9293-U-DOFF")
def _(stack: Stack, segment: Segment, size: int) -> bool:
    """A data offset below five words is taken for five."""
    return 4 * (segment.offset or 0) <= size


@_method("reserved-bits-set", Stack, "send_segment", case="header/fields::reserved_bits_are_sent_as_zero",
         breaks="RFC9293-U-RSV-TX")
def _(stack: Stack, segment: Segment, flow: Flow) -> None:
    """A reserved bit is set in every acknowledgement."""
    Stack.send_segment(stack, replace(segment, reserved=int(segment.has(ACK))), flow)


@_method("reserved-bits-refused", Stack, "is_sound", case="header/fields::reserved_bits_are_ignored",
         breaks="RFC9293-U-RSV-RX")
def _(stack: Stack, segment: Segment, size: int) -> bool:
    """A segment with reserved bits set is dropped."""
    return not segment.reserved and Stack.is_sound(stack, segment, size)


@_method("fin-without-ack-bit", Stack, "send_segment", case="header/fields::ack_bit_is_in_every_segment_after_a_syn",
         breaks="RFC9293-U-ACK-SYNC")
def _(stack: Stack, segment: Segment, flow: Flow) -> None:
    """The FIN goes out without the ACK bit."""
    flags = segment.flags or 0
    Stack.send_segment(stack, replace(segment, flags=flags & ~ACK if flags & FIN else flags), flow)


@_method("no-push", Connection, "pushes", case="header/fields::psh_is_on_a_lone_segment", breaks="RFC9293-MUST-61")
def _(connection: Connection, end: int) -> bool:
    """PSH is never set."""
    return False


_step("ack-bit-not-needed", "In ESTABLISHED nobody looks for the ACK bit.", "ESTABLISHED", "need_ack",
      case="header/fields::data_without_the_ack_bit_is_dropped", breaks=("RFC9293-U-ACK-LESS", "SA-ESTAB-10"))

# -- urgent data ------------------------------------------------------------------------------------------------------


@_method("urgent-pointer-at-last-octet", Connection, "urgent_pointer",
         case="header/fields::urgent_pointer_comes_with_urg_alone", breaks=("RFC9293-MUST-62", "RFC6093-PTR"))
def _(connection: Connection) -> int:
    """The urgent pointer points to the last octet, not behind it."""
    return max(0, Connection.urgent_pointer(connection) - 1)


@_method("urgent-pointer-left-over", Connection, "emit", case="header/fields::urgent_pointer_comes_with_urg_alone",
         breaks="RFC9293-MUST-30")
def _(connection: Connection, segment: Segment) -> None:
    """After urgent data the pointer field is never cleared."""
    if connection.snd_up is not None and not segment.has(URG):
        segment = replace(segment, urgent=1)
    Connection.emit(connection, segment)


@_method("urgent-pointer-always-read", Connection, "take_urgent",
         case="header/fields::urgent_pointer_without_urg_means_nothing", breaks="RFC9293-MUST-30")
def _(connection: Connection, segment: Segment) -> bool:
    """The urgent pointer is read without URG."""
    if segment.urgent and connection.state in READING:
        connection.rcv_up = seq.add(segment.seq or 0, segment.urgent)
    return False


@_method("urgent-data-refused", Connection, "take_urgent",
         case="handshake/syn_received::third_segment_with_urgent_data", breaks=("RFC9293-MUST-32", "SA-SYNRCVD-23"))
def _(connection: Connection, segment: Segment) -> bool:
    """A segment with URG is dropped once its acknowledgement has been taken."""
    return segment.has(URG)


@_method("urgent-octet-stays-in-stream", Connection, "take_urgent", case="close/half_close::urgent_data_is_taken",
         breaks=("SA-FINWAIT1-27", "SA-FINWAIT2-25"))
def _(connection: Connection, segment: Segment) -> bool:
    """The stream is cut one octet too early at urgent data."""
    if segment.has(URG):
        connection.rcv_up = seq.add(segment.seq or 0, (segment.urgent or 0) // 2)
    return False


# -- numbers and text -------------------------------------------------------------------------------------------------


@_method("unacceptable-is-silent", Connection, "check_sequence",
         case="keepalive/probes_answered::probe_after_the_handshake", breaks=("RFC1122-KA-RESP", "RFC9293-U-ACK-SYNC"))
def _(connection: Connection, segment: Segment) -> bool:
    """What is outside the window is dropped without an acknowledgement."""
    return not connection.is_acceptable(segment)


@_method("old-octets-delivered-again", Connection, "check_sequence",
         case="keepalive/probes_answered::probe_after_data", breaks="RFC1122-KA-RESP")
def _(connection: Connection, segment: Segment) -> bool:
    """Octets in front of the window reach the application once more."""
    if segment.payload and connection.state in READING and seq.lt(segment.seq or 0, connection.rcv_nxt):
        connection.unread += segment.payload[:seq.diff(connection.rcv_nxt, segment.seq or 0)]
    return Connection.check_sequence(connection, segment)


@_method("early-text-thrown-away", Connection, "keep",
         case="close/half_close::data_is_put_in_order_in_fin_wait_2", breaks="SA-FINWAIT2-18")
def _(connection: Connection, number: int, text: bytes) -> None:
    """What comes before its turn is thrown away."""
    if number == connection.rcv_nxt:
        Connection.keep(connection, number, text)


@_method("hole-skipped", Connection, "keep", case="close/half_close::data_is_put_in_order_in_fin_wait_1",
         breaks=("SA-FINWAIT1-20", "RFC9293-U-CLOSE-RXOPEN"))
def _(connection: Connection, number: int, text: bytes) -> None:
    """What comes behind a hole is delivered and acknowledged as if there were none."""
    Connection.keep(connection, connection.rcv_nxt, text)


@_method("text-delivered-backwards", Connection, "hand_over", case="handshake/passive::third_segment_establishes",
         breaks=("SA-SYNRCVD-01", "SA-LISTEN-01"))
def _(connection: Connection, number: int, octets: bytes) -> None:
    """Words of the payload reach the application with their octets swapped."""
    turned = bytearray(octets)
    turned[:-1:2], turned[1::2] = octets[1::2][:len(turned[:-1:2])], octets[:-1:2][:len(turned[1::2])]
    Connection.hand_over(connection, number, bytes(turned))


@_method("future-ack-unanswered", Connection, "check_ack", case="close/active::unacceptable_segment_in_fin_wait_1",
         breaks=("SA-FINWAIT1-11", "RFC9293-U-ACK-SYNC"))
def _(connection: Connection, segment: Segment) -> bool:
    """An acknowledgement of what was never sent is dropped in silence."""
    return seq.lt(connection.snd_max, segment.ack or 0)


@_method("future-ack-in-time-wait", Connection, "check_ack", case="close/time_wait::ack_of_the_future",
         breaks=("SA-TIMEWAIT-12", "RFC9293-U-ACK-SYNC"))
def _(connection: Connection, segment: Segment) -> bool:
    """In TIME-WAIT nobody looks at acknowledgements any more."""
    return connection.state == "TIME-WAIT" or Connection.check_ack(connection, segment)


@_method("acknowledgements-do-not-wrap", Connection, "acknowledge_octets",
         case="isn/initial_numbers::stream_of_the_target_wraps", breaks="RFC9293-U-WRAP")
def _(connection: Connection, ack: int, segment: Segment) -> None:
    """Acknowledgements are compared as plain integers."""
    if ack > connection.snd_una:
        Connection.acknowledge_octets(connection, ack, segment)


@_method("stream-does-not-wrap", Connection, "inside_window", case="sequence/accounting::across_the_wrap",
         breaks="RFC9293-U-WRAP")
def _(connection: Connection, number: int, text: bytes) -> tuple[int, bytes]:
    """What lies beyond 4294967295 of a segment is cut off."""
    number, text = Connection.inside_window(connection, number, text)
    return number, text[:(1 << 32) - number]


@_method("octets-counted-from-zero", Connection, "has_sent", case="sequence/accounting::hundred_octets_from_301",
         breaks="SA-ESTAB-16")
def _(connection: Connection, end: int, size: int, fin: bool) -> None:
    """After a segment of over 256 octets SND.NXT is one too far."""
    Connection.has_sent(connection, seq.add(end, size > 256), size, fin)
    connection.stream_at = seq.add(connection.stream_at, size > 256)


# -- windows ----------------------------------------------------------------------------------------------------------


@_method("peers-window-ignored", Connection, "usable_window", case="options/window_scale::our_windows_are_shifted",
         breaks=("RFC7323-WS-8", "RFC5681-LIMIT"))
def _(connection: Connection) -> int:
    """What limits is the congestion window alone."""
    return connection.cwnd - seq.diff(connection.snd_nxt, connection.snd_una)


@_method("window-counted-from-next", Connection, "usable_window", case="options/window_scale::our_windows_are_shifted",
         breaks=("RFC7323-WS-8", "RFC5681-LIMIT"))
def _(connection: Connection) -> int:
    """The peer's window is counted from SND.NXT on, so that it never closes."""
    return min(connection.snd_wnd, connection.cwnd)


@_method("no-window-probe", Connection, "send_probe", case="window/zero_window::first_probe_comes_after_a_time_out",
         breaks="RFC9293-MUST-36")
def _(connection: Connection) -> None:
    """Nobody asks whether a closed window has opened."""


@_method("one-window-probe", Connection, "send_probe", case="window/zero_window::probes_come_less_and_less_often",
         breaks="RFC9293-MUST-36")
def _(connection: Connection) -> None:
    """A closed window is probed once."""
    if connection.probe_end == connection.iss:
        Connection.send_probe(connection)


@_method("closed-window-is-a-dead-peer", Connection, "send_probe",
         case="window/zero_window::answered_probes_keep_the_connection_for_hours",
         breaks=("RFC9293-MUST-37", "RFC6429-NOCLOSE"))
def _(connection: Connection) -> None:
    """Probes count against R2 though they are answered."""
    connection.retries += 1
    if connection.retries > connection.values.data_retries:
        connection.give_up()
    else:
        Connection.send_probe(connection)


@_method("window-update-needs-new-ack", Connection, "is_newer",
         case="window/zero_window::data_goes_on_when_the_window_opens", breaks=("RFC9293-MUST-36", "RFC9293-MUST-37"))
def _(connection: Connection, segment: Segment) -> bool:
    """A window is looked at only beside a new acknowledgement."""
    return seq.lt(connection.snd_wl2, segment.ack or 0)


@_method("all-data-into-closed-window", Connection, "send_probe",
         case="window/zero_window::first_probe_comes_after_a_time_out", breaks=("RFC9293-MUST-36", "RFC5681-LIMIT"))
def _(connection: Connection) -> None:
    """The probe carries all that waits, not one octet."""
    connection.say(ACK | PSH, connection.snd_una, payload=bytes(connection.stream[:connection.payload_limit]))


# -- acknowledgements -------------------------------------------------------------------------------------------------


@_method("late-acknowledgement", Connection, "plan_acknowledgement",
         case="acknowledgement/delayed::first_segments_are_acknowledged_within_half_a_second",
         breaks=("RFC9293-MUST-40", "RFC5681-RX-500"))
def _(connection: Connection, size: int, *, at_once: bool) -> None:
    """Acknowledgements wait for 0.7 s."""
    Connection.plan_acknowledgement(connection, size, at_once=at_once)
    if connection.ack_timer.running:
        connection.ack_timer.set(connection.stack.now_ns + 700_000_000)


@_method("no-delayed-acknowledgement", Connection, "plan_acknowledgement",
         case="acknowledgement/delayed::two_small_segments_share_an_acknowledgement", breaks="RFC9293-SHLD-18")
def _(connection: Connection, size: int, *, at_once: bool) -> None:
    """Every segment is acknowledged at once."""
    connection.ack_due = True


@_method("acknowledgements-one-by-one", Connection, "plan_acknowledgement",
         case="acknowledgement/delayed::two_small_segments_share_an_acknowledgement", breaks="RFC9293-MUST-58")
def _(connection: Connection, size: int, *, at_once: bool) -> None:
    """What waits to be acknowledged is so by itself after a while, though the next segment has come."""
    Connection.plan_acknowledgement(connection, size, at_once=at_once)
    number = connection.rcv_nxt

    def acknowledge() -> None:
        if connection.ack_timer.running and seq.diff(connection.rcv_nxt, number) <= size:
            connection.emit(Segment(flags=ACK, seq=connection.ack_number(), ack=number, urgent=0, payload=b"",
                                    window=connection.window_field(False, ACK),
                                    options=tuple(connection.later_options(ACK))))

    connection.stack.timers.make(acknowledge).set(connection.stack.now_ns + 50_000_000)


DEFECTS: Final = tuple(_MISTAKES.found)
