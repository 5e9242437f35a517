# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of SEGMENT ARRIVES that `states` puts in order, for segments of a connection (RFC 9293, 3.10.7.3 and .4).

Each takes a segment and returns True if that is dealt with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire import seq
from ...wire.segment import ACK, FIN, RST, SYN, Flow, Segment
from . import values
from .options import Offer, offer_of, timestamps_of
from .sending import Sender
from .states import ACK_OF_FIN, CLOSED, ESTABLISHED, SYN_RECEIVED, SYN_SENT, TIME_WAIT

if TYPE_CHECKING:
    from .stack import Stack

REFUSED = "ECONNREFUSED"
RESET = "ECONNRESET"


class Arrivals(Sender):
    """What segments do to a connection."""

    def __init__(self, stack: Stack, flow: Flow) -> None:
        super().__init__(stack, flow)
        self.challenged_ns: int | None = None
        self.heard_ns = stack.now_ns

    def arrives(self, segment: Segment) -> None:
        """SEGMENT ARRIVES: the steps of the state, and then what there is to say."""
        self.heard_ns = self.stack.now_ns
        for step in self.stack.table[self.state]:
            if getattr(self, step)(segment):
                break
        self.answer()

    def answer(self) -> None:
        """Send what may be sent; an acknowledgement that is due rides on it, or goes alone."""
        if self.state == CLOSED:
            return
        self.output()
        if self.ack_due:
            self.acknowledge()

    def drop(self, segment: Segment) -> bool:
        """Nothing is done with it."""
        return True

    # -- SYN-SENT ----------------------------------------------------------------------------------------------------

    def check_first_acknowledgement(self, segment: Segment) -> bool:
        """An acknowledgement of anything but our SYN is reset, unless it is a reset."""
        if not segment.has(ACK) or self.acknowledges_syn(segment):
            return False
        if not segment.has(RST):
            self.stack.reset_at_acknowledgement(segment, self.flow)
        return True

    def acknowledges_syn(self, segment: Segment) -> bool:
        """ISS < SEG.ACK =< SND.NXT."""
        ack = segment.ack or 0
        return seq.lt(self.iss, ack) and seq.le(ack, self.snd_nxt)

    def reset_refuses(self, segment: Segment) -> bool:
        """A reset counts only if it acknowledges our SYN (RFC 5961, 3.2)."""
        if not segment.has(RST):
            return False
        if segment.has(ACK):
            self.vanish(REFUSED)
        return True

    def open_by_syn_ack(self, segment: Segment) -> bool:
        """SYN,ACK: ESTABLISHED, with the text and the FIN that came along."""
        if not segment.has(SYN | ACK):
            return False
        self.take_syn(segment)
        self.snd_una = segment.ack or 0
        self.note_window(segment, scaled=False)
        self.begin_sending()
        self.establish()
        self.ack_due = True
        behind = self.behind_syn(segment)
        self.take_text(behind)
        self.take_fin(behind)
        return True

    def behind_syn(self, segment: Segment) -> Segment:
        """The same segment without its SYN."""
        return Segment(flags=(segment.flags or 0) & ~SYN, seq=seq.add(segment.seq or 0, 1), ack=segment.ack,
                       window=segment.window, payload=segment.payload, options=segment.options)

    def cross_syn(self, segment: Segment) -> bool:
        """A SYN without acknowledgement has crossed ours: SYN-RECEIVED, and both SYNs are said again (figure 7)."""
        if not segment.has(SYN):
            return False
        self.crossed = True
        self.take_syn(segment)
        self.retries = 0
        self.enter(SYN_RECEIVED)
        self.send_syn()
        return True

    def take_syn(self, segment: Segment) -> None:
        """The peer's numbers and offer."""
        self.agree(self.offer(segment))
        self.begin_receiving(segment.seq or 0)
        self.note_window(segment, scaled=False)
        if not segment.has(ACK) and segment.payload:
            self.keep(seq.add(segment.seq or 0, 1), self.inside_window(self.rcv_nxt, segment.payload)[1])

    def offer(self, segment: Segment) -> Offer:
        """What the peer's SYN offers."""
        return offer_of(segment)

    # -- check 1: the number, and the time stamp in front of it ------------------------------------------------------

    def need_timestamps(self, segment: Segment) -> bool:
        """What lacks the agreed time stamps is dropped, but for a reset (RFC 7323, 3.2)."""
        return self.stamps and not segment.has(RST) and timestamps_of(segment) is None

    def check_timestamps(self, segment: Segment) -> bool:
        """PAWS: an older time stamp is an old duplicate's, and draws an acknowledgement (RFC 7323, 5.3, R1)."""
        stamps = timestamps_of(segment) if self.stamps else None
        if stamps is None or segment.has(RST) or not self.is_old(stamps[0]):
            return False
        self.ack_due = True
        return True

    def is_old(self, stamp: int) -> bool:
        """Older than TS.Recent, which counts for 24 days (RFC 7323, 5.5)."""
        age_ns = self.stack.now_ns - self.ts_recent_ns
        return age_ns < values.STAMPS_VALID_NS and seq.lt(stamp, self.ts_recent)

    def remember_timestamp(self, segment: Segment) -> bool:
        """TS.Recent is that of the segment that the last acknowledgement waited for (RFC 7323, 4.3 and 5.3, R3)."""
        stamps = timestamps_of(segment) if self.stamps else None
        if stamps is not None and not segment.has(RST) and seq.le(segment.seq or 0, self.last_ack_sent):
            self.ts_recent, self.ts_recent_ns = stamps[0], self.stack.now_ns
        return False

    def check_sequence(self, segment: Segment) -> bool:
        """Outside the window: an acknowledgement that says what is expected, unless it is a reset."""
        if self.is_acceptable(segment):
            return False
        if not segment.has(RST):
            self.ack_due = True
            if not self.rcv_wnd and segment.seq == self.rcv_nxt and segment.has(ACK) and not segment.has(SYN):
                self.take_beside_closed_window(segment)
        return True

    def take_beside_closed_window(self, segment: Segment) -> None:
        """The acknowledgement of a segment whose text found no room still counts (RFC 9293, MUST-66)."""
        if self.state != SYN_RECEIVED and not self.check_ack(segment):
            self.take_ack(segment)

    def is_acceptable(self, segment: Segment) -> bool:
        """The four cases of RFC 9293, 3.10.7.4."""
        number, length, window = segment.seq or 0, self.length_of(segment), self.rcv_wnd
        if not window:
            return not length and number == self.rcv_nxt
        if not length:
            return seq.in_window(number, self.rcv_nxt, window)
        return seq.in_window(number, self.rcv_nxt, window) or \
            seq.in_window(seq.add(number, length - 1), self.rcv_nxt, window)

    def length_of(self, segment: Segment) -> int:
        """SEG.LEN; what stands in a reset is no text."""
        return 0 if segment.has(RST) else segment.length

    # -- check 2: RST ------------------------------------------------------------------------------------------------

    def reset_is_true(self, segment: Segment) -> bool:
        """True for a reset at RCV.NXT; another one in the window is challenged (RFC 5961, 3.2)."""
        if segment.seq == self.rcv_nxt:
            return True
        self.challenge()
        return False

    def reset_takes_back(self, segment: Segment) -> bool:
        """SYN-RECEIVED: back to LISTEN without a word; an active opening is refused."""
        if segment.has(RST) and self.reset_is_true(segment):
            self.vanish(REFUSED if self.crossed else "")
        return segment.has(RST)

    def reset_is_told(self, segment: Segment) -> bool:
        """The connection is gone, and the application is told."""
        if segment.has(RST) and self.reset_is_true(segment):
            self.vanish(RESET)
        return segment.has(RST)

    def reset_ends(self, segment: Segment) -> bool:
        """The connection is gone; both ends had said all they had to say."""
        if segment.has(RST) and self.reset_is_true(segment):
            self.vanish("")
        return segment.has(RST)

    def challenge(self) -> None:
        """Ask the peer to say it again with the right number, but not too often (RFC 5961, 3.2 and 7)."""
        now_ns = self.stack.now_ns
        if self.challenged_ns is None or now_ns - self.challenged_ns >= self.values.challenge_ack_interval_ns:
            self.challenged_ns = now_ns
            self.ack_due = True

    # -- check 4: SYN ------------------------------------------------------------------------------------------------

    def unwrap_crossed_syn(self, segment: Segment) -> bool:
        """After crossed SYNs the peer's SYN,ACK has the number of its SYN: what counts is the rest (RFC 9293, 3.5)."""
        if not self.crossed or not segment.has(SYN | ACK) or segment.has(RST) or segment.seq != self.irs:
            return False
        self.arrives(self.behind_syn(segment))
        return True

    def syn_takes_back(self, segment: Segment) -> bool:
        """SYN-RECEIVED: a passive opening returns to LISTEN, an active one challenges."""
        if not segment.has(SYN):
            return False
        if self.crossed:
            self.challenge()
        else:
            self.vanish("")
        return True

    def challenge_syn(self, segment: Segment) -> bool:
        """A SYN in a synchronised state: a challenge, whatever its number (RFC 5961, 4.2)."""
        if segment.has(SYN):
            self.challenge()
        return segment.has(SYN)

    # -- check 5: ACK ------------------------------------------------------------------------------------------------

    def need_ack(self, segment: Segment) -> bool:
        """Without the ACK bit a segment is dropped."""
        return not segment.has(ACK)

    def open_by_ack(self, segment: Segment) -> bool:
        """SYN-RECEIVED: the acknowledgement of our SYN opens; any other is reset; a full queue hears nothing."""
        if not self.acknowledges_syn(segment):
            self.stack.reset_at_acknowledgement(segment, self.flow)
            return True
        if self.listener is not None and not self.listener.has_room():
            return True
        self.snd_una = segment.ack or 0
        self.note_window(segment)
        self.begin_sending()
        self.establish()
        self.ack_due = self.ack_due or bool(self.holes)
        self.deliver()
        return False

    def check_ack(self, segment: Segment) -> bool:
        """What acknowledges the future draws an acknowledgement, what is far too old a challenge (RFC 5961, 5.2)."""
        ack = segment.ack or 0
        if seq.lt(seq.latest(self.snd_max, self.probe_end), ack):
            self.ack_due = True
            return True
        if seq.lt(ack, seq.add(self.snd_una, -self.max_snd_wnd)):
            self.challenge()
            return True
        return False

    def fin_is_acknowledged(self) -> bool:
        """Our FIN is acknowledged: on to the state that follows."""
        if not self.fin_acknowledged or self.state not in ACK_OF_FIN:
            return False
        after = ACK_OF_FIN[self.state]
        if after == CLOSED:
            self.vanish("")
            return True
        self.enter(after)
        return False

    # -- TIME-WAIT ---------------------------------------------------------------------------------------------------

    def answer_repeated_fin(self, segment: Segment) -> bool:
        """All that can come is the peer's FIN again: acknowledge it, and wait from the beginning."""
        if not segment.has(FIN | ACK) or segment.has(RST) or segment.has(SYN):
            return False
        if seq.diff(seq.add(segment.seq or 0, segment.length), self.rcv_nxt) not in (0, 1):
            return False
        self.ack_due = True
        self.enter(TIME_WAIT)
        return True

    def reopen(self, segment: Segment) -> bool:
        """A SYN that is newer than all of the old connection opens another; an older one is dropped (RFC 6191)."""
        if not segment.has(SYN) or segment.has(ACK) or segment.has(RST):
            return False
        listener = self.stack.listener_of(self.flow)
        if listener is None:
            self.ack_due = True
        elif self.is_newer_syn(segment):
            listener.reopen(self, segment)
        return True

    def is_newer_syn(self, segment: Segment) -> bool:
        """By its time stamp if that says something, else by its number (RFC 6191, 2)."""
        higher = seq.lt(seq.add(self.rcv_nxt, -1), segment.seq or 0)
        stamps = timestamps_of(segment)
        if stamps is None:
            return higher
        if not self.stamps or seq.lt(self.ts_recent, stamps[0]):
            return True
        return stamps[0] == self.ts_recent and higher

    def establish(self) -> None:
        """The connection is open."""
        self.enter(ESTABLISHED)

    def is_attempt(self) -> bool:
        """True until the connection is open."""
        return self.state in (SYN_SENT, SYN_RECEIVED)
