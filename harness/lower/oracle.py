# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold of every segment that a target sends, whatever the case is about (DESIGN, rule 4).

`Oracle.sent` follows what the injector offers and acknowledges, `Oracle.judge` looks at one segment of the target. Each
invariant is a method with the id of its requirement; all of them are listed in `INVARIANTS`, which the report shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..wire import seq as arithmetic
from ..wire.ip import header_checksum_is_good
from ..wire.segment import ACK, AE, ECE, FIN, RST, SYN, URG, Checksum, Flow, Kind, Option, Segment

_MINIMUM_HEADERS: Final = {False: 40, True: 60}
_DEFAULT_MSS: Final = {False: 536, True: 1220}
_MAX_SCALE: Final = 14
_SIGN_NS: Final = 24 * 86_400 * 1_000_000_000
"""After so long without a time stamp the next one may be more than half the numbers ahead (RFC 7323, 5.5)."""
_WORDS: Final = 5
"""The data offset of a header without options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that a segment broke."""

    requirement: str
    expected: str
    fields: tuple[str, ...]


def _scale(segment: Segment) -> int | None:
    option = segment.option(Kind.WINDOW_SCALE)
    return None if option is None or len(option.data) != 1 or option.malformed else min(option.value, _MAX_SCALE)


def _timestamps(segment: Segment) -> tuple[int, int] | None:
    option = segment.option(Kind.TIMESTAMPS)
    if option is None or len(option.data) != 8 or option.malformed:
        return None
    return int.from_bytes(option.data[:4], "big"), int.from_bytes(option.data[4:], "big")


class Oracle:
    """The invariants of one connection, between one opening and the next on the same four-tuple."""

    def __init__(self, flow: Flow, mtu: int) -> None:
        self._flow = flow
        self._link_mss = mtu - _MINIMUM_HEADERS[flow.ipv6]
        self._forget()

    def _forget(self) -> None:
        self._sent_end: int | None = None
        self._reopening: Segment | None = None
        self._edge: int | None = None
        self._window_closed = False
        self._our_scale: int | None = None
        self._our_mss = _DEFAULT_MSS[self._flow.ipv6]
        self._our_timestamps = False
        self._our_ecn = False
        self._our_stamps: set[int] = set()
        self._target_scale: int | None = None
        self._target_timestamps = False
        self._target_edge: int | None = None
        self._last_ack: int | None = None
        self._last_stamp: int | None = None
        self._last_stamp_ns = 0
        self._opened = False

    def sent(self, segment: Segment) -> None:
        """Take note of a segment that the injector sent."""
        seq = segment.seq or 0
        if segment.has(SYN) and not segment.has(RST):
            if self._sent_end is not None and arithmetic.diff(self._sent_end, seq) != 1:
                self._reopening = segment
                return
            self._offered(segment)
        end = arithmetic.add(seq, segment.length)
        if not segment.has(RST):
            self._sent_end = end if self._sent_end is None else arithmetic.latest(self._sent_end, end)
        if (stamps := _timestamps(segment)) is not None:
            self._our_stamps.add(stamps[0])
        if segment.has(ACK):
            self._advertised(segment)

    def _reopened(self, segment: Segment) -> None:
        """Begin anew once the target takes up our other SYN; until it does, that is a stray on the old connection."""
        syn = self._reopening
        if syn is None or not segment.has(ACK) or segment.has(RST) or segment.has(SYN) == syn.has(ACK):
            return
        if 0 < arithmetic.diff(segment.ack or 0, syn.seq or 0) <= syn.length:
            self._forget()
            self.sent(syn)

    def _offered(self, segment: Segment) -> None:
        self._our_scale = _scale(segment)
        self._our_timestamps = _timestamps(segment) is not None
        self._our_ecn = segment.has(ECE)
        mss = segment.option(Kind.MSS)
        if mss is not None and len(mss.data) == 2 and not mss.malformed:
            self._our_mss = mss.value

    def _advertised(self, segment: Segment) -> None:
        window = segment.window or 0
        if not segment.has(SYN) and self._our_scale is not None and self._target_scale is not None:
            window <<= self._our_scale
        self._window_closed = window == 0
        edge = arithmetic.add(segment.ack or 0, window)
        self._edge = edge if self._edge is None else arithmetic.latest(self._edge, edge)

    def judge(self, segment: Segment) -> list[Violation]:
        """The invariants that this segment of the target breaks, in the order of `INVARIANTS`."""
        self._reopened(segment)
        found = [violation for invariant in INVARIANTS for violation in invariant(self, segment)]
        self._follow(segment)
        return found

    def _follow(self, segment: Segment) -> None:
        if segment.has(RST):
            return
        if segment.has(SYN):
            self._target_scale = _scale(segment)
            self._target_timestamps = segment.option(Kind.TIMESTAMPS) is not None
            self._target_edge = None
            self._opened = True
        if (stamps := _timestamps(segment)) is not None and not self._goes_back(stamps[0], segment):
            self._last_stamp, self._last_stamp_ns = stamps[0], segment.stamp_ns or 0
        if segment.has(ACK):
            self._target_edge = self._right_edge(segment)
            ack = segment.ack or 0
            self._last_ack = ack if self._last_ack is None else arithmetic.latest(self._last_ack, ack)

    def _goes_back(self, stamp: int, segment: Segment) -> bool:
        """True if a time stamp is older than the last one that came, unless that is too long ago to be compared."""
        silent_ns = (segment.stamp_ns or 0) - self._last_stamp_ns
        return self._last_stamp is not None and silent_ns < _SIGN_NS and arithmetic.lt(stamp, self._last_stamp)

    def _right_edge(self, segment: Segment) -> int:
        shift = self._target_scale if self._target_scale and self._our_scale is not None else 0
        window = (segment.window or 0) << (0 if segment.has(SYN) else shift)
        edge = arithmetic.add(segment.ack or 0, window)
        return edge if self._target_edge is None else arithmetic.latest(self._target_edge, edge)

    def _checksum(self, segment: Segment) -> Iterator[Violation]:
        if segment.verdict is Checksum.BAD:
            yield Violation(requirement="RFC9293-MUST-2", expected="the right checksum", fields=("checksum",))

    def _data_offset(self, segment: Segment) -> Iterator[Violation]:
        if segment.offset is None:
            return
        if segment.offset < _WORDS:
            yield Violation(requirement="RFC9293-U-DOFF", expected="a data offset of 5 or more", fields=("offset",))
        elif segment.options is not None and (
                sum(len(option.encode()) for option in segment.options) < 4 * (segment.offset - _WORDS)):
            yield Violation(requirement="RFC9293-U-DOFF", expected="a data offset inside the segment",
                            fields=("offset",))

    def _reserved_bits(self, segment: Segment) -> Iterator[Violation]:
        if segment.reserved or segment.has(AE):
            yield Violation(requirement="RFC9293-U-RSV-TX", expected="reserved bits zero", fields=("reserved",))

    def _ack_bit(self, segment: Segment) -> Iterator[Violation]:
        flags = segment.flags or 0
        if not flags & (ACK | RST | SYN) or (flags & (SYN | FIN) == SYN | FIN):
            yield Violation(requirement="RFC9293-U-ACK-SYNC", fields=("flags",),
                            expected="the ACK bit in all but a first SYN and a reset, and never SYN with FIN")

    def _acknowledgement(self, segment: Segment) -> Iterator[Violation]:
        if segment.has(ACK) and not segment.has(RST) and self._sent_end is not None and \
                arithmetic.lt(self._sent_end, segment.ack or 0):
            yield Violation(requirement="RFC9293-U-ACCEPT", fields=("ack",),
                            expected="an acknowledgement of no more than was sent")

    def _acknowledgement_forward(self, segment: Segment) -> Iterator[Violation]:
        """RCV.NXT never goes back (RFC 9293, 3.3.1), and all but a reset acknowledge it."""
        if segment.has(ACK) and not segment.has(RST) and self._last_ack is not None and \
                arithmetic.lt(segment.ack or 0, self._last_ack):
            yield Violation(requirement="RFC9293-U-ACCEPT", fields=("ack",),
                            expected="an acknowledgement that does not go back")

    def _segment_size(self, segment: Segment) -> Iterator[Violation]:
        size = len(segment.payload or b"")
        options = sum(2 if option.length is not None else 1 for option in segment.options or ()) + sum(
            len(option.data) for option in segment.options or ())
        limit = min(self._our_mss or self._link_mss, self._link_mss)
        if size and size + options > limit:
            yield Violation(requirement="RFC9293-MUST-16", fields=("length", "options"),
                            expected=f"payload and options of at most {limit} octets")

    def _inside_window(self, segment: Segment) -> Iterator[Violation]:
        size = len(segment.payload or b"")
        if not size or self._edge is None or segment.has(RST):
            return
        over = arithmetic.diff(arithmetic.add(segment.seq or 0, size), self._edge)
        if over > (1 if self._window_closed else 0):
            yield Violation(requirement="RFC5681-LIMIT", fields=("seq", "length"),
                            expected=f"data inside the window that was offered, not {over} octets beyond")

    def _edge_not_taken_back(self, segment: Segment) -> Iterator[Violation]:
        if self._target_edge is None or not segment.has(ACK) or segment.has(RST) or segment.has(SYN):
            return
        shift = self._target_scale if self._target_scale and self._our_scale is not None else 0
        edge = arithmetic.add(segment.ack or 0, (segment.window or 0) << shift)
        # A scaled window is a multiple of 2**shift: the edge may seem to fall back by less than that (RFC 7323, 2.4).
        back = arithmetic.diff(self._target_edge, edge)
        if back >= (1 << shift) and back > 0:
            yield Violation(requirement="RFC9293-SHLD-14", fields=("window",),
                            expected=f"the right window edge not taken back by {back} octets")

    def _option_lengths(self, segment: Segment) -> Iterator[Violation]:
        for option in segment.options or ():
            if option.kind != Kind.EOL and option.malformed:
                yield Violation(requirement="RFC9293-MUST-68", fields=("options",),
                                expected="each option with a length octet that counts it")

    def _padding(self, segment: Segment) -> Iterator[Violation]:
        options = segment.options or ()
        end = next((at for at, option in enumerate(options) if option.kind == Kind.EOL), len(options))
        if any(option != Option(Kind.EOL) for option in options[end:]):
            yield Violation(requirement="RFC9293-MUST-69", fields=("options",), expected="zero octets behind the EOL")

    def _options_of_syn(self, segment: Segment) -> Iterator[Violation]:
        if segment.has(SYN):
            return
        for kind, requirement, name in ((Kind.MSS, "RFC9293-MUST-65", "MSS"),
                                        (Kind.SACK_PERMITTED, "RFC2018-PERM-1", "SACK-Permitted"),
                                        (Kind.WINDOW_SCALE, "RFC7323-WS-6", "Window Scale")):
            if segment.option(kind) is not None:
                yield Violation(requirement=requirement, fields=("options",), expected=f"{name} only with SYN")

    def _timestamps_agreed(self, segment: Segment) -> Iterator[Violation]:
        agreed = self._our_timestamps and self._target_timestamps and self._opened
        if agreed and not segment.has(RST) and not segment.has(SYN) and _timestamps(segment) is None:
            yield Violation(requirement="RFC7323-TS-3", fields=("options",),
                            expected="time stamps in every segment but a reset, as agreed")

    def _timestamps_forward(self, segment: Segment) -> Iterator[Violation]:
        stamps = _timestamps(segment)
        if stamps is None or segment.has(RST):
            return
        if self._goes_back(stamps[0], segment):
            yield Violation(requirement="RFC7323-TS-12", fields=("options",), expected="a TSval that does not go back")
        if not segment.has(ACK) and stamps[1]:
            yield Violation(requirement="RFC7323-TS-5", fields=("options",), expected="a TSecr of 0 without ACK")
        if segment.has(ACK) and stamps[1] not in (self._our_stamps or (0,)):
            yield Violation(requirement="RFC7323-TS-6", fields=("options",), expected="a TSecr that we have sent")

    def _urgent_pointer(self, segment: Segment) -> Iterator[Violation]:
        if segment.urgent and not segment.has(URG):
            yield Violation(requirement="RFC9293-MUST-30", fields=("urgent",),
                            expected="an urgent pointer only with URG")

    def _ttl(self, segment: Segment) -> Iterator[Violation]:
        if segment.ttl == 0:
            yield Violation(requirement="RFC1122-IP-TTL0", fields=("ttl",), expected="a TTL or hop limit above 0")

    def _ecn_off(self, segment: Segment) -> Iterator[Violation]:
        if not (segment.traffic_class or 0) & 3:
            return
        if segment.has(SYN):
            yield Violation(requirement="RFC3168-NEG-5", fields=("traffic_class",), expected="no ECT or CE with SYN")
        elif not self._our_ecn:
            yield Violation(requirement="RFC3168-NEG-4", fields=("traffic_class",),
                            expected="no ECT or CE where ECN was not agreed")

    def _ip_checksum(self, segment: Segment) -> Iterator[Violation]:
        if segment.raw and not header_checksum_is_good(segment.raw):
            yield Violation(requirement="RFC1122-IP-CKSUM", fields=("ip",), expected="the right IPv4 header checksum")


INVARIANTS: Final[tuple[Callable[[Oracle, Segment], Iterator[Violation]], ...]] = (
    Oracle._checksum, Oracle._data_offset, Oracle._reserved_bits, Oracle._ack_bit, Oracle._acknowledgement,
    Oracle._acknowledgement_forward, Oracle._segment_size, Oracle._inside_window, Oracle._edge_not_taken_back,
    Oracle._option_lengths, Oracle._padding, Oracle._options_of_syn, Oracle._timestamps_agreed,
    Oracle._timestamps_forward, Oracle._urgent_pointer, Oracle._ttl, Oracle._ecn_off, Oracle._ip_checksum,
)
