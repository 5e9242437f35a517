# SPDX-License-Identifier: GPL-2.0-or-later
"""The variables of one connection (RFC 9293, 3.3.1), and how a segment of it is put together.

Sequence numbers are absolute, instants are nanoseconds of the lab's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...wire import seq
from ...wire.segment import ACK, RST, SYN, Flow, Option, Segment
from . import options, values
from .states import CLOSED

if TYPE_CHECKING:
    from .listener import Listener
    from .stack import Stack


class Tcb:
    """Variables and outgoing segments. `flow.local` is our end, `flow.target` the peer's."""

    def __init__(self, stack: Stack, flow: Flow) -> None:
        self.stack = stack
        self.key = (flow.local, flow.local_port, flow.target, flow.target_port)
        self.values = stack.values
        self.flow = flow
        self.state = CLOSED
        self.listener: Listener | None = None
        self.former: Tcb | None = None
        """The connection in TIME-WAIT whose place this one has taken, to be put back if the SYN proves to be old."""
        self.crossed = False
        self.error = ""
        self.soft_error = ""
        self.reports_errors = False
        self.opened = False
        self.closed_by_user = False
        # The send sequence space.
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = 0
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.max_snd_wnd = 0
        self.snd_up: int | None = None
        self.stream = bytearray()
        """What is not acknowledged; its first octet has the number `stream_at`."""
        self.stream_at = 0
        self.fin_queued = False
        # The receive sequence space.
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_edge = 0
        """RCV.NXT + RCV.WND as it was last offered; never taken back (RFC 9293, SHLD-14)."""
        self.rcv_up: int | None = None
        # What the two SYNs agree on.
        self.send_mss = options.DEFAULT_MSS[len(flow.local)]
        self.path_mtu = stack.mtu
        self.snd_shift = 0
        self.rcv_shift = 0
        self.sack = False
        self.stamps = False
        self.offers_mss = self.offers_shift = self.offers_sack = self.offers_stamps = True
        self.ts_offset = stack.secret.stamp_offset(flow)
        self.ts_first = self.stamp()
        self.ts_recent = 0
        self.ts_recent_ns = stack.now_ns
        self.last_ack_sent = 0
        # Settings of the application.
        self.nodelay = False
        self.receive_buffer = values.RECEIVE_BUFFER
        self.send_buffer = values.SEND_BUFFER
        self.user_timeout_ns = 0
        self.begin_at(stack.secret.initial_number(flow, stack.now_ns))

    def begin_at(self, iss: int) -> None:
        """Choose the initial number."""
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = iss
        self.stream_at = seq.add(iss, 1)
        self.small_end = iss
        """The number behind the last segment that was less than a full one (for Nagle's rule)."""
        self.probe_end = iss
        """The number behind the octet of the last window probe, which is not counted as sent."""

    # -- arithmetic --------------------------------------------------------------------------------------------------

    @property
    def rcv_wnd(self) -> int:
        """RCV.WND: what of the offered window has not been used up."""
        return max(0, seq.diff(self.rcv_edge, self.rcv_nxt))

    @property
    def link_mss(self) -> int:
        """What a segment without options may carry on this path (RFC 9293, 3.7.1)."""
        return self.path_mtu - self.headers

    @property
    def headers(self) -> int:
        """Octets of an IP and a TCP header without options."""
        return 60 if self.flow.ipv6 else 40

    @property
    def payload_limit(self) -> int:
        """Eff.snd.MSS: the octets that a segment carries, options taken off (RFC 9293, 3.7.1; RFC 6691)."""
        return max(1, min(self.send_mss, self.link_mss) - self.option_octets)

    @property
    def option_octets(self) -> int:
        """The octets of options in a segment with data."""
        return 12 if self.stamps else 0

    @property
    def stream_end(self) -> int:
        """The number behind the last octet of the application's."""
        return seq.add(self.stream_at, len(self.stream))

    @property
    def fin_acknowledged(self) -> bool:
        """True if the peer has acknowledged our FIN."""
        return self.fin_queued and seq.lt(self.stream_end, self.snd_una)

    def stamp(self) -> int:
        """Our clock of time stamps, a tick a millisecond (RFC 7323, 5.4)."""
        return seq.add(self.ts_offset, self.stack.now_ns // values.MILLISECOND)

    # -- segments ----------------------------------------------------------------------------------------------------

    def say(self, flags: int, number: int, *, payload: bytes = b"", urgent: int = 0) -> None:
        """Send a segment with our acknowledgement and window."""
        syn = bool(flags & SYN)
        acknowledges = bool(flags & ACK)
        said = self.syn_options(flags) if syn else self.later_options(flags)
        self.emit(Segment(
            flags=flags, seq=number, ack=self.rcv_nxt if acknowledges else 0, window=self.window_field(syn, flags),
            urgent=urgent, payload=payload, options=tuple(said)))
        if acknowledges and not flags & RST:
            self.acknowledged()

    def emit(self, segment: Segment) -> None:
        """Put a segment on the wire."""
        self.stack.send_segment(segment, self.flow)

    def acknowledge(self) -> None:
        """Send the empty acknowledgement: SND.NXT, RCV.NXT."""
        self.say(ACK, self.ack_number())

    def ack_number(self) -> int:
        """The sequence number of a segment that carries nothing."""
        return self.snd_max

    def reset_peer(self) -> None:
        """Tell the peer that the connection is no more, at the number that it waits for."""
        self.say(RST | ACK, self.ack_number())

    def acknowledged(self) -> None:
        """All that has come is acknowledged by what was just sent."""
        self.last_ack_sent = self.rcv_nxt

    def window_field(self, syn: bool, flags: int) -> int:
        """The window as the header has it: never scaled beside a SYN (RFC 7323, 2.2), 0 in a reset."""
        if flags & RST:
            return 0
        self.open_window()
        return min(self.rcv_wnd, 65535) if syn else min(self.rcv_wnd >> self.rcv_shift, 65535)

    def open_window(self) -> None:
        """Offer what the receive buffer has room for."""
        raise NotImplementedError

    def sack_blocks(self) -> list[tuple[int, int]]:
        """What has come beyond a hole, the latest first (RFC 2018, 4)."""
        raise NotImplementedError

    # -- options -----------------------------------------------------------------------------------------------------

    def syn_options(self, flags: int) -> Iterable[Option]:
        """What our SYN offers, or our SYN,ACK takes up."""
        said: list[Option] = options.mss(self.stack.mtu - self.headers)
        if self.offers_sack:
            said += options.sack_permitted()
        if self.offers_stamps:
            said += options.timestamps(self.stamp(), self.echo(flags))
        if self.offers_shift:
            said += options.shift(values.SHIFT)
        return said

    def later_options(self, flags: int) -> Iterable[Option]:
        """The options of every segment after the SYN (RFC 7323, 3.2; RFC 2018, 3)."""
        said: list[Option] = []
        if self.stamps:
            said += options.timestamps(self.stamp(), self.echo(flags))
        if self.sack and not flags & RST and (blocks := self.sack_blocks()):
            said += options.sack(blocks[:3 if self.stamps else 4])
        return said

    def echo(self, flags: int) -> int:
        """TSecr: TS.Recent beside an acknowledgement, else 0 (RFC 7323, 3.2)."""
        return self.ts_recent if flags & ACK else 0

    def agree(self, offer: options.Offer) -> None:
        """Take up what the peer's SYN offers; what it does not offer, ours is void."""
        self.heed_mss(offer.mss)
        self.offers_shift = self.agree_shift(offer.shift)
        self.sack = self.offers_sack = self.offers_sack and offer.sack
        self.stamps = self.offers_stamps = self.offers_stamps and offer.stamp is not None
        if self.stamps and offer.stamp is not None:
            self.ts_recent, self.ts_recent_ns = offer.stamp, self.stack.now_ns

    def heed_mss(self, offered: int | None) -> None:
        """The peer's MSS limits what is sent; without one, or with 0, the default does (RFC 9293, MUST-15)."""
        if offered:
            self.send_mss = max(offered, self.values.min_send_mss)

    def agree_shift(self, offered: int | None) -> bool:
        """Scale both directions if both ends have offered it (RFC 7323, 2.2)."""
        if offered is None or not self.offers_shift:
            return False
        self.snd_shift, self.rcv_shift = offered, values.SHIFT
        return True
