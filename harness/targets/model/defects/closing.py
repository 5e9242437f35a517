# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with FIN, the states of closing, and TIME-WAIT."""

from __future__ import annotations

from typing import Final

from ....wire import seq
from ....wire.segment import ACK, FIN, Segment
from ..connection import Connection
from ..secret import SECOND
from ..states import CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, READING, TIME_WAIT
from ..tcb import Tcb
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method, _step = _MISTAKES.method, _MISTAKES.step

# -- FIN --------------------------------------------------------------------------------------------------------------


@_method("fin-not-counted", Connection, "end_stream", case="sequence/accounting::fin_uses_one_number",
         breaks=("RFC9293-U-FIN-INORDER", "SA-ESTAB-25"))
def _(connection: Connection) -> None:
    """The peer's FIN takes no number."""
    Connection.end_stream(connection)
    connection.rcv_nxt = seq.add(connection.rcv_nxt, -1)


@_method("fin-before-its-text", Connection, "fin_number", case="sequence/accounting::fin_after_data_uses_one_number",
         breaks=("RFC9293-U-FIN-INORDER", "SA-ESTAB-26"))
def _(connection: Connection, segment: Segment) -> int:
    """The FIN stands in front of the text of its segment."""
    return segment.seq or 0


@_method("fin-out-of-turn", Connection, "take_fin", case="close/passive::fin_before_its_turn",
         breaks=("RFC9293-U-FIN-INORDER", "SA-ESTAB-27"))
def _(connection: Connection, segment: Segment) -> bool:
    """A FIN ends the stream though text in front of it is missing."""
    if segment.has(FIN) and connection.state in READING:
        connection.end_stream()
        connection.ack_due = True
    return False


@_method("early-fin-forgotten", Connection, "take_fin", case="close/half_close::data_with_the_fin_in_fin_wait_2",
         breaks="SA-FINWAIT2-21")
def _(connection: Connection, segment: Segment) -> bool:
    """A FIN beside text is not looked at."""
    return False if segment.payload else Connection.take_fin(connection, segment)


@_method("end-of-stream-untold", Connection, "end_stream", case="close/passive::fin_is_acknowledged",
         breaks=("RFC9293-MUST-12", "SA-ESTAB-25"))
def _(connection: Connection) -> None:
    """The application is not told that the stream has ended."""
    Connection.end_stream(connection)
    connection.stream_ended = False


@_method("fin-answered-by-fin", Connection, "end_stream",
         case="close/passive::no_fin_before_the_application_closes", breaks="RFC9293-U-CLOSE-NOACKFIN")
def _(connection: Connection) -> None:
    """Soon after the peer's FIN ours is sent, though the application has not closed."""
    Connection.end_stream(connection)
    connection.stack.timers.make(connection.shut_writing).set(connection.stack.now_ns + SECOND // 10)


@_method("repeated-fin-unanswered", Connection, "check_sequence", case="close/passive::repeated_fin_in_close_wait",
         breaks="SA-CLOSEWAIT-17")
def _(connection: Connection, segment: Segment) -> bool:
    """A FIN that came before is dropped without an acknowledgement."""
    dropped = Connection.check_sequence(connection, segment)
    if dropped and segment.has(FIN):
        connection.ack_due = False
    return dropped


@_method("fin-not-repeated", Connection, "timed_out", case="close/passive::last_ack_repeats_the_fin",
         breaks=("RFC9293-U-FIN-RETX", "RFC9293-U-UTIMEOUT"))
def _(connection: Connection) -> None:
    """A FIN that is lost is not sent again."""
    if connection.snd_una == connection.stream_end and connection.fin_queued:
        connection.vanish("")
    else:
        Connection.timed_out(connection)


@_method("fin-sent-twice", Connection, "shut_writing", case="close/active::closing_again_sends_no_second_fin",
         breaks="RFC9293-U-FIN-ONCE")
def _(connection: Connection) -> None:
    """shutdown() and close() send a FIN each."""
    if connection.fin_queued:
        connection.say(FIN | ACK, connection.snd_nxt)
    else:
        Connection.shut_writing(connection)


@_method("close-loses-data", Connection, "shut_writing", case="close/active::data_goes_out_before_the_fin",
         breaks="RFC9293-U-CLOSE-RELIABLE")
def _(connection: Connection) -> None:
    """What waits for its turn when the application closes is thrown away."""
    if connection.state in (ESTABLISHED, CLOSE_WAIT):
        del connection.stream[min(len(connection.stream), 1460):]
    Connection.shut_writing(connection)


@_method("fin-jumps-the-window", Connection, "shut_writing", case="close/active::fin_waits_behind_a_closed_window",
         breaks="RFC9293-U-CLOSE-RELIABLE")
def _(connection: Connection) -> None:
    """What the window keeps back when the application closes is not sent any more."""
    unsent = max(0, seq.diff(connection.stream_end, connection.snd_max))
    del connection.stream[len(connection.stream) - unsent:]
    Connection.shut_writing(connection)


@_method("linger-returns-at-once", Connection, "lingers",
         case="close/active::lingering_close_waits_for_the_acknowledgement", breaks="RFC9293-U-CLOSE-RELIABLE")
def _(connection: Connection) -> bool:
    """close() with a linger time waits for nothing."""
    return False


@_method("sends-after-shutdown", Connection, "write_closed", case="close/half_close::"
         "nothing_more_can_be_sent_after_shutdown", breaks="RFC9293-U-CLOSE-RXOPEN")
def _(connection: Connection) -> bool:
    """The application may send on after it has closed its half."""
    return False


@_method("half-close-closes-both", Connection, "reads_text", case="close/half_close::data_is_taken_in_fin_wait_2",
         breaks=("SA-FINWAIT2-16", "RFC9293-U-CLOSE-RXOPEN"))
def _(connection: Connection) -> bool:
    """After shutdown() what the peer sends is reset."""
    return not connection.fin_queued and Connection.reads_text(connection)


# -- states -----------------------------------------------------------------------------------------------------------


def _instead(state: str, wrong: str, before: str = "") -> object:
    """A method `enter` that enters the wrong state in the place of one, if it comes from `before`."""
    def enter(connection: Connection, entered: str) -> None:
        came = not before or connection.state == before
        if entered == state and came and wrong == "CLOSED":
            connection.vanish("")
        else:
            Connection.enter(connection, wrong if entered == state and came else entered)

    return enter


def _state(name: str, summary: str, state: str, wrong: str, *, before: str = "", case: str,
           breaks: str | tuple[str, ...]) -> None:
    _MISTAKES.add(name, summary, Connection, "enter", _instead(state, wrong, before), case=case, breaks=breaks)


_state("no-time-wait", "Who closes first keeps no TIME-WAIT.", TIME_WAIT, "CLOSED", before=FIN_WAIT_2,
       case="close/active::fin_leads_to_time_wait", breaks="SA-FINWAIT2-20")
_state("no-closing", "When FINs cross TIME-WAIT begins before ours is acknowledged.", CLOSING, TIME_WAIT,
       case="close/simultaneous::fins_cross", breaks=("RFC9293-U-CLOSE-SIM", "SA-FINWAIT1-22"))
_state("closing-ends-at-once", "When FINs have crossed no TIME-WAIT follows.", TIME_WAIT, "CLOSED", before=CLOSING,
       case="close/simultaneous::fins_cross", breaks=("RFC9293-U-CLOSE-SIM", "SA-CLOSING-16"))
_state("last-ack-is-fin-wait", "Who closes second waits for another FIN.", LAST_ACK, FIN_WAIT_1,
       case="close/passive::close_in_close_wait", breaks=("RFC1122-CLOSEWAIT", "SA-LASTACK-16"))


@_method("ack-with-fin-overlooked", Connection, "take_ack", case="close/merged::fin_that_acknowledges_the_fin",
         breaks="SA-FINWAIT1-23")
def _(connection: Connection, segment: Segment) -> bool:
    """The acknowledgement in a FIN is not looked at."""
    return False if segment.has(FIN) else Connection.take_ack(connection, segment)


@_method("any-ack-ends-last-ack", Connection, "fin_acknowledged",
         case="close/passive::what_does_not_acknowledge_the_fin_in_last_ack", breaks="SA-LASTACK-17")
def _(connection: Connection) -> bool:
    """Any acknowledgement ends LAST-ACK."""
    return connection.state == LAST_ACK or (connection.fin_queued and seq.lt(connection.stream_end, connection.snd_una))


@_method("fin-wait-2-for-ever", Connection, "limit_fin_wait_2", case="close/active::fin_wait_2_ends",
         breaks="RFC9293-U-UTIMEOUT")
def _(connection: Connection) -> None:
    """A closed socket waits for the peer's FIN for ever."""


@_method("fin-wait-2-limited-for-readers", Connection, "limit_fin_wait_2",
         case="close/half_close::half_closed_connection_stays", breaks="RFC9293-U-CLOSE-RXOPEN")
def _(connection: Connection) -> None:
    """FIN-WAIT-2 ends after its time, though the application still reads."""
    connection.end_timer.set(connection.stack.now_ns + connection.values.fin_wait_2_ns)


_step("no-challenge-in-fin-wait-2", "In FIN-WAIT-2 nobody looks for a SYN.", FIN_WAIT_2, "challenge_syn",
      case="close/active::challenge_in_fin_wait_2", breaks="SA-FINWAIT2-01")
_step("ack-bit-not-needed-in-fin-wait-2", "In FIN-WAIT-2 nobody looks for the ACK bit.", FIN_WAIT_2, "need_ack",
      case="close/active::fin_without_ack_bit", breaks="SA-FINWAIT2-24")

# -- TIME-WAIT --------------------------------------------------------------------------------------------------------


@_method("time-wait-halved", Connection, "begin_time_wait", case="close/time_wait::time_wait_lasts",
         breaks=("RFC9293-U-TW-END", "RFC9293-MUST-13"))
def _(connection: Connection) -> None:
    """TIME-WAIT lasts for one segment lifetime."""
    Connection.begin_time_wait(connection)
    connection.end_timer.set(connection.stack.now_ns + connection.values.time_wait_ns // 2)


@_method("time-wait-of-a-minute", Connection, "begin_time_wait",
         case="close/time_wait::time_wait_lasts_twice_the_segment_lifetime", breaks="RFC9293-MUST-13")
def _(connection: Connection) -> None:
    """TIME-WAIT lasts for 60 s."""
    Connection.begin_time_wait(connection)
    connection.end_timer.set(connection.stack.now_ns + 60 * SECOND)


@_method("time-wait-for-ever", Connection, "begin_time_wait", case="close/time_wait::time_wait_lasts",
         breaks=("RFC9293-U-TW-END", "SA-TIMEWAIT-23"))
def _(connection: Connection) -> None:
    """TIME-WAIT never ends."""
    Connection.begin_time_wait(connection)
    connection.end_timer.stop()


@_method("time-wait-not-restarted", Connection, "answer_repeated_fin",
         case="close/time_wait::repeated_fin_restarts_time_wait", breaks=("SA-TIMEWAIT-17", "RFC9293-MUST-13"))
def _(connection: Connection, segment: Segment) -> bool:
    """A repeated FIN is acknowledged, and does not begin the time anew."""
    due = connection.end_timer.due_ns
    answered = Connection.answer_repeated_fin(connection, segment)
    if due is not None:
        connection.end_timer.set(due)
    return answered


@_method("time-wait-silent", Connection, "answer_repeated_fin",
         case="close/time_wait::repeated_fin_is_acknowledged_again", breaks=("SA-TIMEWAIT-17", "RFC9293-MUST-13"))
def _(connection: Connection, segment: Segment) -> bool:
    """TIME-WAIT does not answer a repeated FIN."""
    return segment.has(FIN | ACK)


@_method("time-wait-opens-for-all", Connection, "is_newer_syn", case="close/time_wait::older_syn_opens_nothing",
         breaks=("SA-TIMEWAIT-03", "RFC9293-U-SYN-CHALLENGE"))
def _(connection: Connection, segment: Segment) -> bool:
    """Any SYN opens anew out of TIME-WAIT, an old duplicate too."""
    return True


@_method("time-wait-opens-for-nobody", Connection, "is_newer_syn", case="close/time_wait::newer_syn",
         breaks=("SA-TIMEWAIT-01", "RFC9293-MAY-2", "RFC6191-OLD-NOTS-SEQ"))
def _(connection: Connection, segment: Segment) -> bool:
    """No SYN opens anew out of TIME-WAIT."""
    return False


@_method("time-wait-not-put-back", Connection, "begin_at", case="close/time_wait::reopening_taken_back",
         breaks=("RFC9293-MUST-13", "RFC9293-MAY-2"))
def _(connection: Connection, iss: int) -> None:
    """TIME-WAIT is gone for good once a SYN has opened anew."""
    connection.former = None
    Tcb.begin_at(connection, iss)


DEFECTS: Final = tuple(_MISTAKES.found)
