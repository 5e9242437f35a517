# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiving half of a connection: window, stream, holes, and when acknowledgements go out.

Data is delivered in order and kept if it comes early (RFC 9293, SHLD-31). What fills a hole, lies beyond one, or is the
second full segment is acknowledged at once, all else within the delayed acknowledgement's time (RFC 5681, 4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire import seq
from ...wire.segment import FIN, URG, Flow, Segment
from .options import DEFAULT_MSS
from .states import END_OF_STREAM, READING
from .tcb import Tcb

if TYPE_CHECKING:
    from .stack import Stack


class Receiver(Tcb):
    """What has come, what was read of it, and what is acknowledged."""

    def __init__(self, stack: Stack, flow: Flow) -> None:
        super().__init__(stack, flow)
        self.unread = bytearray()
        self.urgent_octets = bytearray()
        self.holes: list[tuple[int, bytes]] = []
        """Runs of octets beyond a hole, the latest first; they do not overlap."""
        self.fin_at: int | None = None
        self.stream_ended = False
        self.reads = True
        self.ack_due = False
        """An acknowledgement is to go out before anything else is done; what answers the segment may carry it."""
        self.full_segments = 0
        self.rcv_mss = DEFAULT_MSS[4]
        self.ack_timer = stack.timers.make(self.acknowledge)

    # -- window ------------------------------------------------------------------------------------------------------

    def begin_receiving(self, irs: int) -> None:
        """The peer's SYN is here: its numbers begin."""
        offered = self.rcv_wnd
        self.irs = irs
        self.rcv_nxt = seq.add(irs, 1)
        self.rcv_edge = seq.add(self.rcv_nxt, offered)
        self.open_window()
        self.last_ack_sent = self.rcv_nxt

    @property
    def room(self) -> int:
        """Octets that the receive buffer can take."""
        return max(0, self.receive_buffer - len(self.unread))

    def open_window(self) -> None:
        """Move the right edge, never back, and by no less than a segment or half the buffer (RFC 9293, 3.8.6.2.2)."""
        gain = seq.diff(seq.add(self.rcv_nxt, self.room), self.rcv_edge)
        if gain >= min(self.receive_buffer // 2, self.stack.mtu - self.headers):
            self.rcv_edge = seq.add(self.rcv_edge, gain)

    def window_may_open(self) -> None:
        """The application has read: tell a peer that could not send a segment that it can now."""
        least = min(self.receive_buffer // 2, self.stack.mtu - self.headers)
        if self.rcv_wnd < least <= self.room and self.state in READING:
            self.acknowledge()

    # -- text --------------------------------------------------------------------------------------------------------

    def take_text(self, segment: Segment) -> bool:
        """Check 7: cut the text to the window, keep it, and acknowledge it sometime."""
        if not segment.payload or self.state not in READING:
            return False
        if not self.reads_text():
            return self.refuse_text()
        number, text = self.inside_window(segment.seq or 0, segment.payload)
        in_order = number == self.rcv_nxt and not self.holes
        self.keep(number, text)
        self.deliver()
        self.plan_acknowledgement(len(text), at_once=not in_order)
        return False

    def reads_text(self) -> bool:
        """True as long as somebody can read what comes."""
        return not self.closed_by_user

    def refuse_text(self) -> bool:
        """Nobody will ever read it: the connection is reset (RFC 9293, SHLD-3)."""
        self.reset_peer()
        self.vanish("")
        return True

    def vanish(self, error: str) -> None:
        """The connection is gone."""
        raise NotImplementedError

    def inside_window(self, number: int, text: bytes) -> tuple[int, bytes]:
        """The part of a text that is new and inside the window."""
        old = max(0, seq.diff(self.rcv_nxt, number))
        room = seq.diff(self.rcv_edge, number)
        return seq.add(number, old), text[old:max(room, 0)]

    def keep(self, number: int, text: bytes) -> None:
        """Put a text among the runs, joined with those that it touches; octets that are there stay."""
        if not text:
            return
        touched = [run for run in self.holes if seq.le(run[0], seq.add(number, len(text)))
                   and seq.le(number, seq.add(run[0], len(run[1])))]
        start = number
        for run in touched:
            start = run[0] if seq.lt(run[0], start) else start
        joined = bytearray()
        for at, octets in [(number, text), *touched]:
            offset = seq.diff(at, start)
            joined.extend(bytes(max(0, offset + len(octets) - len(joined))))
            joined[offset:offset + len(octets)] = octets
        self.holes = [(start, bytes(joined)), *(run for run in self.holes if run not in touched)]

    def deliver(self) -> None:
        """Hand over what is next in order; the stream ends where the FIN is."""
        for run in list(self.holes):
            number, octets = run
            if seq.le(number, self.rcv_nxt):
                self.holes.remove(run)
                new = octets[seq.diff(self.rcv_nxt, number):]
                self.hand_over(self.rcv_nxt, new)
                self.rcv_nxt = seq.add(self.rcv_nxt, len(new))
        if self.fin_at == self.rcv_nxt and not self.stream_ended:
            self.end_stream()

    def hand_over(self, number: int, octets: bytes) -> None:
        """Give octets to the application; the one before the urgent pointer goes out of band (RFC 6093, 3.1)."""
        at = len(octets) if self.rcv_up is None else seq.diff(self.rcv_up, number) - 1
        if 0 <= at < len(octets):
            self.urgent_octets += octets[at:at + 1]
            self.rcv_up = None
            octets = octets[:at] + octets[at + 1:]
        if self.reads:
            self.unread += octets

    def take_urgent(self, segment: Segment) -> bool:
        """Check 6: the urgent pointer may only go forward (RFC 9293, 3.10.7.4)."""
        if segment.has(URG) and self.state in READING:
            pointer = seq.add(segment.seq or 0, segment.urgent or 0)
            if self.rcv_up is None or seq.lt(self.rcv_up, pointer):
                self.rcv_up = pointer
        return False

    # -- FIN ---------------------------------------------------------------------------------------------------------

    def take_fin(self, segment: Segment) -> bool:
        """Check 8: the stream ends behind the text of this segment, once all before it has come."""
        if not segment.has(FIN) or self.state not in READING:
            return False
        end = self.fin_number(segment)
        if seq.lt(end, self.rcv_edge) or end == self.rcv_nxt:
            self.fin_at = end
            self.deliver()
            self.ack_due = True
        return False

    def fin_number(self, segment: Segment) -> int:
        """The number that a FIN has."""
        return seq.add(segment.seq or 0, len(segment.payload or b""))

    def end_stream(self) -> None:
        """All has come: the FIN takes a number, and the state moves on."""
        self.stream_ended = True
        self.rcv_nxt = seq.add(self.rcv_nxt, 1)
        if seq.lt(self.rcv_edge, self.rcv_nxt):
            self.rcv_edge = self.rcv_nxt
        self.enter(END_OF_STREAM[self.state])

    def enter(self, state: str) -> None:
        """Change the state."""
        raise NotImplementedError

    # -- acknowledgements --------------------------------------------------------------------------------------------

    def plan_acknowledgement(self, size: int, *, at_once: bool) -> None:
        """Acknowledge now, or wait for an answer that can carry it (RFC 9293, MUST-40, SHLD-18, SHLD-19)."""
        if size >= self.rcv_mss:
            self.rcv_mss = size
            self.full_segments += 1
        if at_once or self.full_segments >= 2:
            self.ack_due = True
        elif not self.ack_timer.running:
            self.ack_timer.set(self.stack.now_ns + self.values.delayed_ack_ns)

    def acknowledged(self) -> None:
        """What was just sent acknowledges all that has come."""
        super().acknowledged()
        self.full_segments = 0
        self.ack_due = False
        self.ack_timer.stop()

    def sack_blocks(self) -> list[tuple[int, int]]:
        """The runs beyond the hole."""
        return [(number, seq.add(number, len(octets))) for number, octets in self.holes]
