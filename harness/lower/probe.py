# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection's state by what a probe segment draws, for targets that cannot be asked (RFC 9293, 3.10.7.4).

A segment of one old octet has to be acknowledged in every synchronised state; the acknowledgement says whether our FIN
has been taken, the segments before whether the target has sent its own, and both together which state it is. Where
there is no connection an acceptable ACK draws a reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..upper.base import NotApplicable
from ..wire import seq as arithmetic
from ..wire.clock import SECOND
from ..wire.segment import ACK, FIN, RST, SYN, Kind, Option, Segment

if TYPE_CHECKING:
    from .peer import Peer

_WAITING: Final = {False: ("FIN-WAIT-1",), True: ("LAST-ACK",)}
"""States, by whether our FIN has been taken, in which the target's own may still wait behind a closed window."""
_LATE: Final = 1.25
"""A repetition comes later than the initial RTO says by what a stack rounds, and somewhat more."""
_ALIKE: Final = {
    (False, False): ("SYN-RECEIVED", "ESTABLISHED"),
    (False, True): ("CLOSE-WAIT",),
    (True, False): ("FIN-WAIT-1", "FIN-WAIT-2"),
    (True, True): ("CLOSING", "LAST-ACK", "TIME-WAIT"),
}
"""Which states go with what the target has said: whether it has sent its FIN, and whether it has taken ours.

More follows from what we have sent, but for that the target has to keep the rules.
"""
_TAKEN: Final = {"ESTABLISHED": "SYN-RECEIVED", "FIN-WAIT-2": "FIN-WAIT-1", "TIME-WAIT": "CLOSING"}
"""What each state would still be had our last acknowledgement not been taken: it says its SYN or FIN again there."""
_LIVES: Final = {"FIN-WAIT-2": "fin_wait_2_s", "TIME-WAIT": "time_wait_s"}
"""States that end by themselves, and their timers."""


class Account:
    """What the segments of one connection have said so far, of which the target's state follows."""

    def __init__(self) -> None:
        self.our_fin: int | None = None
        """The number after our FIN."""
        self.their_fin: int | None = None
        """The number after the target's."""
        self.last_ack: int | None = None
        """The highest number of the target's that we have acknowledged."""
        self.stamps: Segment | None = None
        """The last of ours that had time stamps."""
        self.acked: int | None = None
        """The highest number of ours that the target has acknowledged."""
        self.fin_came_first = False
        self.syns_ns: list[int] = []
        """When the target's SYNs came."""
        self.fins_ns: list[int] = []
        """When its FINs did."""
        self.bare_syn: int | None = None
        """The number after a SYN of the target's without ACK: it opens, and our SYN,ACK acknowledges it."""
        self.talked = False
        """The target has sent octets of its stream."""
        self.was_reset = False
        """The last that came was a reset."""
        self.reopened = False
        """This is not the first connection of these ends."""
        self.in_order: Segment | None = None
        """The last of ours that the target has to have taken: without SYN or RST, at its next number, well formed."""
        self.their_end: int | None = None
        """The number after all that the target has sent."""
        self.came_ns = 0
        """When the last octets came that the target had not sent before."""
        self.their_mss: int | None = None
        """The longest segment that the target's SYN asks for."""
        self.our_scale = False
        """Our SYN has offered a scale: a window of ours may be larger than its field says."""
        self.proved: set[int] = set()
        """The numbers of the target's whose acknowledgement it has been proven to have taken."""

    @property
    def their_syns(self) -> int:
        """How many SYNs have come."""
        return len(self.syns_ns)

    def _begin_anew(self) -> None:
        """Another connection of the same ends."""
        self.our_fin = self.their_fin = self.last_ack = self.acked = self.bare_syn = None
        self.in_order = self.their_end = self.their_mss = None
        self.syns_ns.clear()
        self.fins_ns.clear()
        self.proved.clear()
        self.fin_came_first = self.talked = False
        self.reopened = True

    def sent(self, segment: Segment) -> None:
        """A segment of ours."""
        end = arithmetic.add(segment.seq or 0, segment.length)
        # What lies before what has been acknowledged cannot be taken any more, and behind a FIN that was there is none.
        if segment.has(FIN) and not self.our_fin_taken and (self.acked is None or arithmetic.lt(self.acked, end)):
            self.our_fin = end
        ack = segment.ack or 0
        if segment.has(ACK) and not segment.has(RST) and (not segment.has(SYN) or ack == self.bare_syn):
            self.last_ack = ack if self.last_ack is None else arithmetic.latest(self.last_ack, ack)
        if segment.option(Kind.TIMESTAMPS) is not None:
            self.stamps = segment
        if segment.has(SYN):
            self.our_scale = segment.option(Kind.WINDOW_SCALE) is not None
        elif segment.checksum is not None:
            self.in_order = None  # nobody here knows what the target makes of it
        elif segment.has(ACK) and not segment.has(RST) and segment.seq == self.acked and self._takes(ack):
            self.in_order = segment

    def _takes(self, ack: int) -> bool:
        """True if the target has to take this acknowledgement, and the window that comes with it."""
        least = self.their_end if self.in_order is None else self.in_order.ack
        return (least is not None and self.their_end is not None and arithmetic.le(least, ack)
                and arithmetic.le(ack, self.their_end))

    def has_to_drop(self, segment: Segment) -> bool:
        """True if the target must not take this segment of ours, nor its acknowledgement (RFC 9293, 3.10.7.4).

        That is a SYN where the target has acknowledged one, and octets alone that it has acknowledged before.
        """
        if self.acked is None:
            return False
        end = arithmetic.add(segment.seq or 0, segment.length)
        return segment.has(SYN) or (segment.length > 0 and arithmetic.le(end, self.acked))

    def window_is_open(self, number: int) -> bool:
        """True if by our last word the target may send this number of its own."""
        last = self.in_order
        if last is None or not last.window:
            return False
        return self.our_scale or arithmetic.lt(number, arithmetic.add(last.ack or 0, last.window))

    def came(self, segment: Segment) -> None:
        """A segment of the target's."""
        self.was_reset = segment.has(RST)
        if self.was_reset:
            return
        if segment.has(SYN) and self.their_fin is not None:
            self._begin_anew()
        stamp_ns, end = segment.stamp_ns or 0, arithmetic.add(segment.seq or 0, segment.length)
        if segment.payload and self.their_end is not None and arithmetic.lt(self.their_end, end):
            self.came_ns = stamp_ns
        self.their_end = end if self.their_end is None else arithmetic.latest(self.their_end, end)
        if segment.has(SYN):
            mss = segment.option(Kind.MSS)
            self.their_mss = mss.value if mss is not None and not mss.malformed else None
            self.syns_ns.append(stamp_ns)
            self.bare_syn = end if not segment.has(ACK) else self.bare_syn
        if segment.has(FIN):
            self.fins_ns.append(stamp_ns)
        self.talked = self.talked or bool(segment.payload)
        if segment.has(ACK):
            ack = segment.ack or 0
            self.acked = ack if self.acked is None else arithmetic.latest(self.acked, ack)
        if segment.has(FIN) and self.their_fin is None:
            self.their_fin = end
            self.fin_came_first = not self.our_fin_taken

    @property
    def our_fin_taken(self) -> bool:
        """True once the target has acknowledged our FIN."""
        return self.our_fin is not None and self.acked is not None and arithmetic.le(self.our_fin, self.acked)

    @property
    def their_fin_acknowledged(self) -> bool:
        """True once we have acknowledged the target's."""
        return self.their_fin is not None and self.last_ack is not None and arithmetic.le(self.their_fin, self.last_ack)

    def state(self) -> str:
        """The state in which a target is that keeps the rules."""
        if self.was_reset or (self.acked is None and not self.their_syns):
            return "CLOSED"
        if self.acked is None:
            return "SYN-SENT"
        if self.last_ack is None:
            return "SYN-RECEIVED"
        if self.their_fin is None:
            return "CLOSE-WAIT" if self.our_fin_taken else "ESTABLISHED"
        if not self.our_fin_taken:
            return "FIN-WAIT-2" if self.their_fin_acknowledged else "FIN-WAIT-1"
        if self.their_fin_acknowledged:
            return "TIME-WAIT" if self.fin_came_first else "CLOSED"
        return "CLOSING" if self.fin_came_first else "LAST-ACK"


def prove_state(peer: Peer, state: str, rule: str | None) -> None:
    """Prove by a probe that the target is in this state.

    Raises Mismatch if what it says does not go with that, NotApplicable where no probe tells one state from another.
    """
    if state == "CLOSED":
        peer.send(Segment(flags=ACK, options=_stamps(peer)))
        peer.expect_gone(Segment(flags=RST, seq=peer.receive_next), rule=rule)
        return
    if peer.connecting is not None and state in ("SYN-SENT", "SYN-RECEIVED"):
        _prove_opening(peer, state, rule)
        return
    if peer.account.reopened and peer.account.last_ack is None and state != "SYN-RECEIVED":
        raise NotApplicable(f"needs to be told whether the state is {state}, where another connection was begun")
    if not any(state in alike for alike in _ALIKE.values()):
        raise NotApplicable(f"needs to be told whether the state is {state}, which no probe shows")
    account, aborted, last = peer.account, peer.account.was_reset, peer.last
    _send_old(peer)
    answer = peer.expect_one_of([Segment(flags=ACK, payload=b""), Segment(flags=RST, payload=b"")], rule=rule)
    peer.last = last  # a question starts no timer, and whoever is told the state counts from what was before it
    if answer.has(RST):
        raise peer.case.mismatch(expected=f"state {state}", got="state CLOSED", rule=rule, fields=("state",),
                                 state="CLOSED")
    shown = _ALIKE[account.their_fin is not None, account.our_fin_taken]
    if account.their_fin is None and state in _WAITING[account.our_fin_taken]:
        raise NotApplicable(f"needs to be told whether the state is {state}, where the target's FIN waits to be sent")
    if aborted and state == "TIME-WAIT":
        raise NotApplicable("needs to be told whether the state is TIME-WAIT, behind a reset of the target's")
    if state not in shown:
        raise peer.case.mismatch(expected=f"state {state}", got=f"state {' or '.join(shown)}, as the wire shows",
                                 rule=rule, fields=("state",))
    if state == "SYN-RECEIVED" and account.state() == "ESTABLISHED":
        _prove_by_repetition(peer, rule)
    elif account.state() != state:
        raise NotApplicable(f"needs to be told whether the state is {state}, where the wire shows no more than "
                            f"{' or '.join(shown)}")
    elif state in _TAKEN:
        _prove_taken(peer, state, rule)


def _prove_taken(peer: Peer, state: str, rule: str | None) -> None:
    """We have acknowledged the target's SYN or FIN: who has not taken that would say it again, and is waited for.

    Who has gone on with his stream need not be waited for. Raises Mismatch if he does say it again, NotApplicable if
    the state would not last until then.
    """
    account, profile = peer.account, peer.case.profile
    said, number = (account.syns_ns, peer.iss) if account.their_fin is None else (account.fins_ns, account.their_fin)
    beyond_our_syn = account.acked is not None and arithmetic.lt(arithmetic.add(peer.iss, 1), account.acked)
    if number in account.proved or (account.their_fin is None and (account.talked or beyond_our_syn)):
        return
    last_s = (said[-1] - said[-2]) / SECOND if len(said) > 1 else 0.0
    within_s = max(profile.timer("initial_rto_s"), 2 * last_s) * _LATE + profile.timer("response_s")
    if state in _LIVES and 2 * within_s > profile.timer(_LIVES[state]):
        raise NotApplicable(f"needs to be told whether the state is {state}, which is over before it shows")
    if peer.case.has_half_open(but=peer):
        raise NotApplicable(f"needs to be told whether the state is {state}, while others are half open")
    before = len(said)
    peer.case.note(f"state {state}: in {_TAKEN[state]} the target would repeat its "
                   f"{'SYN' if account.their_fin is None else 'FIN'}")
    peer.case.pause(within_s)
    if len(said) > before:
        raise peer.case.mismatch(expected=f"state {state}", got=f"state {_TAKEN[state]}, as the wire shows", rule=rule,
                                 fields=("state",))
    account.proved.add(number)


def _send_old(peer: Peer) -> None:
    """The probe: an octet that the target has taken long ago."""
    account, acknowledged = peer.account, peer.account.last_ack
    # Some take an old segment that ends where the next one begins for acceptable, and its acknowledgement with it.
    before = arithmetic.add(peer.iss if account.acked is None else account.acked, -2)
    peer.send(Segment(flags=ACK, seq=before, payload=b"?", options=_stamps(peer)))
    account.last_ack = acknowledged  # the probe's own counts for nothing, being unacceptable


def shown_state(peer: Peer) -> str:
    """The state that the segments of a connection show, with a probe if nothing waits to be looked at."""
    if peer.account.acked is not None and not peer.unread and not peer.account.was_reset:
        peer.case.note("a probe shows the state")
        _send_old(peer)
        peer.answer()
    return peer.account.state()


def _prove_opening(peer: Peer, state: str, rule: str | None) -> None:
    """An attempt that is still under way is in one of two states, and what the target has acknowledged says in which.

    Raises what the call's own `expect_open` does, Mismatch if the wire shows the other one.
    """
    assert peer.connecting is not None
    peer.connecting.expect_open(rule=rule)
    shown = "SYN-SENT" if peer.account.acked is None else "SYN-RECEIVED"
    peer.case.note(f"state {shown}: connect() has not returned, and "
                   f"{'nothing of ours' if shown == 'SYN-SENT' else 'our SYN'} has been acknowledged")
    if shown != state:
        raise peer.case.mismatch(expected=f"state {state}", got=f"state {shown}, as the wire shows", rule=rule,
                                 fields=("state",))


def _prove_by_repetition(peer: Peer, rule: str | None) -> None:
    """We have acknowledged the target's SYN in vain: whoever waits for that still repeats his SYN,ACK.

    Raises Mismatch if he does not, NotApplicable if he has done so as often as he does.
    """
    profile, sent = peer.case.profile, peer.account.their_syns
    if sent > profile.limit("synack_retries"):
        raise NotApplicable("needs to be told whether the state is SYN-RECEIVED, after the last SYN,ACK")
    peer.case.note("state SYN-RECEIVED: the target has to repeat its SYN,ACK")
    within_s = profile.timer("initial_rto_s") * _LATE * 2 ** (sent - 1) + profile.timer("response_s")
    peer.expect(Segment(flags=SYN | ACK, seq=peer.irs), within_s=within_s, rule=rule)


def _stamps(peer: Peer) -> tuple[Option, ...]:
    """The time stamps that a segment of this connection has to have."""
    last = peer.account.stamps
    option = None if last is None else last.option(Kind.TIMESTAMPS)
    return () if option is None else (option,)
