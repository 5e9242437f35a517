# SPDX-License-Identifier: GPL-2.0-or-later
"""Having an application send that sends back what it is sent (RFC 862): it is given the octets on the same connection.

They go in one segment behind all that the target has taken of ours, with the acknowledgement, window and time stamps
of our last one, so that they tell the target nothing else. The case knows nothing of them: its numbers for our
direction count on behind them, and the bare acknowledgement that they draw is taken away before it looks. What cannot
be done so without a doubt is not applicable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..upper.base import NotApplicable
from ..wire import seq as arithmetic
from ..wire.clock import SECOND, Outcome
from ..wire.segment import ACK, PSH, Flow, Kind, Option, Segment
from .verdict import Inconclusive

if TYPE_CHECKING:
    from .peer import Peer

_LATEST_ACK_S: Final = 0.5
"""Within this time an acknowledgement has to come (RFC 9293, 3.8.6.3)."""
_AT_ONCE_NS: Final = 20_000_000
"""Cases about a closed window count from the application's call, and bear so much: a tenth of the least time-out."""
_HEADERS: Final = {False: 40, True: 60}
_DEFAULT_MSS: Final = {False: 536, True: 1220}


def longest(flow: Flow, mtu: int, mss: int | None) -> int:
    """So many octets fit into one segment, of whose receiver the SYN had this MSS, None for no such option."""
    return min(mtu - _HEADERS[flow.ipv6], _DEFAULT_MSS[flow.ipv6] if mss is None else mss)


def have_sent(peer: Peer, data: bytes) -> Outcome:
    """Have the application send these octets on the peer's connection.

    Raises NotApplicable where the case could not be played as it is meant, Inconclusive if the target does not take
    them.
    """
    last = _last_in_order(peer)
    _require_one_segment(peer, last, data)
    _require_nothing_under_way(peer)
    _require_promptness(peer)
    start = peer.account.acked or 0
    end = arithmetic.add(start, len(data))
    peer.case.note(f"echo: {len(data)} octets for the application to send back; our numbers count on behind them")
    peer.insert(Segment(flags=ACK | PSH, seq=start, ack=last.ack, window=last.window, options=_stamps(last),
                        payload=data))
    _await(peer, end)
    # An octet that has asked for a window (RFC 9293, 3.8.6.1) may or may not count as sent.
    peer.take_bare_acknowledgement(end, (peer.account.their_end, last.ack))
    if any(arithmetic.lt(other.ack or 0, end) for other in peer.waiting):
        raise Inconclusive("the target sent something while the octets to be echoed were on their way to it")
    return Outcome(call=None, value=len(data))


def _last_in_order(peer: Peer) -> Segment:
    last = peer.account.in_order
    if last is None or peer.account.our_fin is not None or peer.account.their_fin is not None:
        raise NotApplicable("needs an application that sends by itself: what an echo port is to send back has to reach "
                            "it on an open connection")
    return last


def _stamps(last: Segment) -> tuple[Option, ...]:
    option = last.option(Kind.TIMESTAMPS)
    return () if option is None else (option,)


def _require_one_segment(peer: Peer, last: Segment, data: bytes) -> None:
    """What comes in pieces may be sent back in others than the case counts on."""
    room = longest(peer.flow, peer.case.injector.link.mtu, peer.account.their_mss)
    room -= 12 if last.option(Kind.TIMESTAMPS) is not None else 0
    if len(data) > room:
        raise NotApplicable("needs an application that sends more at a time than fits into a segment to the echo port")


def _require_nothing_under_way(peer: Peer) -> None:
    """What is on its way from the target may acknowledge the octets or not, and nobody can know which."""
    due = arithmetic.add(peer.irs or 0, 1 + len(peer.case.streams[peer.flow]))
    under_way = arithmetic.lt(peer.receive_next, due) and peer.account.window_is_open(peer.receive_next)
    if peer.unread or under_way:
        raise NotApplicable("needs an application that sends again before what it has sent was looked at; what an echo "
                            "port has sent has to be seen first")


def _require_promptness(peer: Peer) -> None:
    """Where the window is closed nothing shows when the application sends, so it has to have done so at once before."""
    closed = not peer.account.window_is_open(peer.receive_next)
    peer.case.injector.stamp()
    if peer.inserted is not None and peer.account.came_ns > peer.inserted.stamp_ns and peer.echo_ns is None:
        peer.echo_ns = peer.account.came_ns - peer.inserted.stamp_ns
    if closed and peer.echo_ns is None:
        raise NotApplicable("needs an application that sends at once into a closed window, and nothing has shown how "
                            "soon the one behind the echo port does")
    if closed and (peer.echo_ns or 0) > _AT_ONCE_NS:
        raise NotApplicable("needs an application that sends at once; what the echo port was sent came back after more "
                            f"than {_AT_ONCE_NS // 1_000_000} ms")


def _await(peer: Peer, end: int) -> None:
    case = peer.case
    until = case.clock.now() + max(case.response_ns, round(_LATEST_ACK_S * SECOND) + case.tolerance_ns)
    while peer.account.acked is None or arithmetic.lt(peer.account.acked, end):
        if peer.account.was_reset or case.injector.wait(until) is None:
            raise Inconclusive("the echo port has not taken what it was to send back")
