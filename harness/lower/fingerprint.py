# SPDX-License-Identifier: GPL-2.0-or-later
"""What a target is known by where the RFCs leave it free: the profile pins it, and a segment that differs is a finding.

Such a finding breaks no rule and makes no verdict: it says that the stack is not the one that the profile describes.

`Fingerprint.sent` follows what the injector offers, `Fingerprint.judge` looks at one segment of the target. A pin says
under which condition it holds, and where the condition is not known to hold nothing is said:

- The SYN,ACK of crossed SYNs repeats the target's own SYN. Any other answers ours, and has the options of the listed
  layout that uses most of what we offered.
- A reset without the ACK bit, or with sequence number 0, answers a segment for which there is no connection (RFC 9293,
  3.10.7.1); any other is sent by a connection.
- Once the target has sent its FIN it may have no more than a TIME-WAIT entry, which repeats its last window, and counts
  no datagrams. The same holds of the latter before the handshake is over.
- An option of the application's and a SYN flood (cookies) free what they change: see `FREED`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from ..wire import seq as arithmetic
from ..wire.clock import SECOND
from ..wire.ip import Packet
from ..wire.segment import ACK, ECE, FIN, RST, SYN, Kind, Option, Segment

SOURCE: Final = "fingerprint"
"""What such a finding has for its source and for its requirement."""

LEVEL: Final = "FINGERPRINT"

FLOOD: Final = "flood"
"""Stands among the changed options of a port that was flooded."""

_WINDOWS: Final = frozenset(("syn_window", "syn_ack_window", "syn_ack_window_with_timestamps", "right_edge_octets"))
FREED: Final[dict[str, frozenset[str]]] = {
    "SO_RCVBUF": _WINDOWS | {"window_scale"},
    "TCP_WINDOW_CLAMP": _WINDOWS | {"window_scale"},
    "TCP_MAXSEG": _WINDOWS | {"mss"},
    "IP_TTL": frozenset(("ttl",)),
    "IPV6_UNICAST_HOPS": frozenset(("ttl",)),
    "IP_TOS": frozenset(("traffic_class",)),
    "IPV6_TCLASS": frozenset(("traffic_class",)),
    "IP_MTU_DISCOVER": frozenset(("dont_fragment", "identification")),
    # The window is chosen again when a cookie comes back.
    FLOOD: frozenset(("right_edge_octets", "timestamp_hz")),
}
"""Which pins a socket option of the application's, or a flood, takes out."""

_NAMES: Final = {"eol": Kind.EOL, "nop": Kind.NOP, "mss": Kind.MSS, "wscale": Kind.WINDOW_SCALE,
                 "sackOK": Kind.SACK_PERMITTED, "sack": Kind.SACK, "TS": Kind.TIMESTAMPS, "fastopen": Kind.FAST_OPEN}
_WORDS: Final = {kind: name for name, kind in _NAMES.items()}
_PADDING: Final = frozenset((Kind.EOL, Kind.NOP))
_OFFERS: Final = {Kind.WINDOW_SCALE: 1, Kind.SACK_PERMITTED: 0, Kind.TIMESTAMPS: 8}
"""What a SYN may offer that a SYN,ACK takes up, and how many octets each has behind its length."""
_DONT_FRAGMENT: Final = 0x40
_ECN: Final = 3
_MAX_SCALE: Final = 14
_MAX_IDENTIFICATION: Final = 0xFFFF

Layout = tuple[int, ...]
"""The kinds of a header's options, padding included, in their order."""


def parse_layout(text: str) -> Layout:
    """`nop,nop,TS` as kinds; "" is a header without options. Raises ValueError naming the word that is none."""
    kinds: list[int] = []
    for word in text.split(",") if text.strip() else ():
        if word.strip() not in _NAMES:
            raise ValueError(word.strip())
        kinds.append(_NAMES[word.strip()])
    return tuple(kinds)


def layout_words() -> tuple[str, ...]:
    """The words that a layout is made of."""
    return tuple(_NAMES)


def layout_of(segment: Segment) -> str | None:
    """The layout of a segment's options as a profile writes it; None if it has one for which there is no word."""
    kinds = _layout(segment)
    return ",".join(_WORDS[kind] for kind in kinds) if all(kind in _WORDS for kind in kinds) else None


def _text(layout: Layout) -> str:
    return f"<{','.join(_WORDS.get(kind, f'kind {kind}') for kind in layout)}>" if layout else "no options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What is pinned in one IP family; None, or an empty list of layouts, pins nothing.

    `harness.targets.vocabulary.PINS` says what each of them means.
    """

    ttl: int | None = None
    traffic_class: int | None = None
    dont_fragment: bool | None = None
    identification: str | None = None
    mss: int | None = None
    window_scale: int | None = None
    syn_window: int | None = None
    syn_ack_window: int | None = None
    syn_ack_window_with_timestamps: int | None = None
    right_edge_octets: int | None = None
    window_rounding: str | None = None
    reset_window: int | None = None
    abort_window: int | None = None
    reset_timestamps: bool | None = None
    ack_without_ack_bit: int | None = None
    syn_layouts: tuple[Layout, ...] = ()
    syn_ack_layouts: tuple[Layout, ...] = ()
    layouts: tuple[Layout, ...] = ()
    timestamp_hz: int | None = None
    prompt_us: int | None = None
    icmp_ttl: int | None = None
    icmp_traffic_class: int | None = None
    icmp_dont_fragment: bool | None = None
    timestamp_aligned: bool | None = None


NOTHING: Final = Pins()
"""Of a stack that nobody has described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """One thing in which a segment is not as the profile pins it; `fields` names the part of the segment."""

    pin: str
    expected: str
    got: str
    fields: tuple[str, ...]


def _unlike(pin: str, word: str, expected: object, got: object, field: str = "") -> Iterator[Unlike]:
    """The difference, where there is one; both sides are said as `word value`. The field is called as the pin."""
    if expected != got:
        came = "malformed" if got is None else got
        yield Unlike(pin=pin, expected=f"{word} {expected}", got=f"{word} {came}", fields=(field or pin,))


def _layout(segment: Segment) -> Layout:
    return tuple(option.kind for option in segment.options or ())


def _offered(segment: Segment) -> frozenset[int]:
    listed = takewhile(lambda option: option.kind != Kind.EOL, segment.options or ())
    return frozenset(option.kind for option in listed
                     if _OFFERS.get(option.kind) == len(option.data) and not option.malformed)


def _number(option: Option | None, octets: int) -> int | None:
    """The option's value, None if it has not that many octets."""
    return option.value if option is not None and len(option.data) == octets and not option.malformed else None


class Fingerprint:
    """The pins of one connection, between one opening and the next on the same four-tuple.

    `changed` names the socket options that the application has set by now (see `FREED`). `tolerance_ns` tells how late
    the machine may have been, in nanoseconds; it is asked only where that decides.
    """

    def __init__(self, pins: Pins, *, ipv6: bool, changed: Collection[str] = (),
                 tolerance_ns: Callable[[], int] = int) -> None:
        self._pins = pins
        self._ipv6 = ipv6
        self._changed = changed
        self._tolerance_ns = tolerance_ns
        self._offers: dict[int, frozenset[int] | None] = {}
        self._ecn = False
        self._start: int | None = None
        self._own_syn: Segment | None = None
        self._forget()

    def _forget(self) -> None:
        self._opening: int | None = None
        self._crossed = False
        self._edge: int | None = None
        self._window = 0
        self._shift = 0
        self._timestamps = False
        self._ended = False
        self._last_identification: int | None = None
        self._first_stamp: tuple[int, int] | None = None
        self._phase = (0, 0)

    def sent(self, segment: Segment) -> None:
        """Take note of a segment that the injector sent."""
        if not segment.has(SYN) or segment.has(RST):
            return
        after = arithmetic.add(segment.seq or 0, 1)
        offer = _offered(segment)
        # A SYN that is repeated with other options has the target choose: nobody knows which it answers.
        self._offers[after] = offer if self._offers.get(after, offer) == offer else None
        self._ecn = self._ecn or segment.has(ECE)
        if self._edge is None:
            self._start = after

    def judge(self, segment: Segment) -> list[Unlike]:
        """In what this segment of the target is not as pinned, in the order of `CHECKS`."""
        if self._pins is NOTHING:
            return []
        if segment.has(SYN) and not segment.has(RST):
            self._opens(segment)
        found = [unlike for check in CHECKS for unlike in check(self, segment) if not self._is_freed(unlike.pin)]
        self._follow(segment)
        return found

    def _is_freed(self, pin: str) -> bool:
        return any(pin in FREED.get(name, ()) for name in self._changed)

    # -- what is known of the connection -----------------------------------------------------------------------------

    def _opens(self, segment: Segment) -> None:
        if self._opening != segment.seq:
            self._forget()
            self._opening = segment.seq
        if not segment.has(ACK):
            self._own_syn = segment
        own = self._own_syn
        self._crossed = segment.has(ACK) and own is not None and own.seq == segment.seq
        ours = self._offers.get(segment.ack or 0) or frozenset() if segment.has(ACK) else frozenset()
        self._agreed(segment, ours)

    def _agreed(self, theirs: Segment, ours: frozenset[int]) -> None:
        scale = _number(theirs.option(Kind.WINDOW_SCALE), 1)
        self._shift = min(scale, _MAX_SCALE) if scale is not None and Kind.WINDOW_SCALE in ours else 0
        self._timestamps = Kind.TIMESTAMPS in ours and theirs.option(Kind.TIMESTAMPS) is not None

    def _follow(self, segment: Segment) -> None:
        number = 0 if self._ipv6 else int.from_bytes(segment.raw[4:6], "big")
        # 0 is what no connection counts with, unless it comes round to it.
        if number or (self._last_identification == _MAX_IDENTIFICATION and not self._by_nobody(segment)):
            self._last_identification = number
        if not segment.has(ACK) or self._by_nobody(segment):
            return
        if segment.has(RST) and self._pins.abort_window is not None:
            return
        if segment.has(SYN):
            self._start = segment.ack
        elif self._edge is None:
            self._answered()
        shift = 0 if segment.has(SYN) else self._shift
        self._edge = arithmetic.add(segment.ack or 0, (segment.window or 0) << shift)
        self._window = segment.window or 0
        self._ended = self._ended or segment.has(FIN)

    def _answered(self) -> None:
        """The target acknowledges for the first time what answered its own SYN: now it is clear what is agreed."""
        if self._own_syn is not None and self._own_syn.seq == self._opening and self._start is not None:
            self._agreed(self._own_syn, self._offers.get(self._start) or frozenset())

    @staticmethod
    def _by_nobody(segment: Segment) -> bool:
        """True for a reset that answers a segment for which there is no connection."""
        return segment.has(RST) and (not segment.has(ACK) or not segment.seq)

    # -- the IP header -----------------------------------------------------------------------------------------------

    def _ttl(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.ttl is not None:
            yield from _unlike("ttl", "ttl", self._pins.ttl, segment.ttl)

    def _traffic_class(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.traffic_class is not None:
            mask = ~_ECN if self._ecn else ~0
            yield from _unlike("traffic_class", "traffic class", self._pins.traffic_class & mask,
                               (segment.traffic_class or 0) & mask)

    def _dont_fragment(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.dont_fragment is not None and not self._ipv6 and len(segment.raw) > 6:
            yield from _unlike("dont_fragment", "DF", int(self._pins.dont_fragment),
                               int(bool(segment.raw[6] & _DONT_FRAGMENT)))

    def _identification(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.identification != "counted" or self._ipv6 or len(segment.raw) < 6:
            return
        number = int.from_bytes(segment.raw[4:6], "big")
        if self._by_nobody(segment) or (segment.has(SYN | ACK) and not self._crossed):
            yield from _unlike("identification", "identification", 0, number)
        elif self._last_identification is not None and (number or not self._ended):
            due = (self._last_identification + 1) & 0xFFFF
            yield from _unlike("identification", "identification", due, number)

    # -- what a SYN offers -------------------------------------------------------------------------------------------

    def _mss(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.mss is not None and segment.has(SYN) and (offer := segment.option(Kind.MSS)) is not None:
            yield from _unlike("mss", "mss", self._pins.mss, _number(offer, 2), "options")

    def _window_scale(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.window_scale is not None and segment.has(SYN) and \
                (offer := segment.option(Kind.WINDOW_SCALE)) is not None:
            yield from _unlike("window_scale", "wscale", self._pins.window_scale, _number(offer, 1), "options")

    def _syn_window(self, segment: Segment) -> Iterator[Unlike]:
        if not segment.has(SYN) or segment.has(RST):
            return
        name = "syn_window"
        if segment.has(ACK) and not self._crossed:
            stamped = segment.option(Kind.TIMESTAMPS) is not None
            name = "syn_ack_window_with_timestamps" if stamped else "syn_ack_window"
        if (pinned := getattr(self._pins, name)) is not None:
            yield from _unlike(name, "win", pinned, segment.window, "window")

    # -- the windows after it ----------------------------------------------------------------------------------------

    def _right_edge(self, segment: Segment) -> Iterator[Unlike]:
        most = self._pins.right_edge_octets
        if most is None or not segment.has(ACK) or segment.has(SYN) or self._crossed or self._by_nobody(segment):
            return
        if segment.has(RST) and self._pins.abort_window is not None:
            return
        if self._edge is None:
            self._answered()
        edge = self._offered_edge()
        if edge is None or self._start is None or not 0 <= arithmetic.diff(segment.ack or 0, self._start) <= most:
            return
        room = arithmetic.diff(edge, segment.ack or 0)
        due = room >> self._shift if self._pins.window_rounding == "down" else -(-room >> self._shift)
        if not (self._ended and segment.window == self._window):
            yield from _unlike("right_edge_octets", "win", due, segment.window, "window")

    def _offered_edge(self) -> int | None:
        if self._edge is not None:
            return self._edge
        own = self._own_syn
        if own is None or own.seq != self._opening or self._start is None:
            return None
        return arithmetic.add(self._start, own.window or 0)

    def _reset_window(self, segment: Segment) -> Iterator[Unlike]:
        if not segment.has(RST):
            return
        name = "reset_window" if self._by_nobody(segment) else "abort_window"
        if (pinned := getattr(self._pins, name)) is not None:
            yield from _unlike(name, "win", pinned, segment.window, "window")

    # -- the rest of the header --------------------------------------------------------------------------------------

    def _ack_number(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.ack_without_ack_bit is not None and not segment.has(ACK):
            yield from _unlike("ack_without_ack_bit", "without the ACK bit, an acknowledgement field of",
                               self._pins.ack_without_ack_bit, segment.ack, "ack")

    def _layouts(self, segment: Segment) -> Iterator[Unlike]:
        pin, allowed = self._layouts_due(segment)
        if allowed and (came := _layout(segment)) not in allowed:
            due = " or ".join(_text(layout) for layout in allowed)
            yield Unlike(pin=pin, expected=due, got=_text(came), fields=("options",))

    def _layouts_due(self, segment: Segment) -> tuple[str, tuple[Layout, ...]]:
        if not segment.has(SYN) or segment.has(RST):
            return "layouts", ((),) if self._pins.layouts and self._by_nobody(segment) else self._pins.layouts
        if not segment.has(ACK) or self._crossed:
            return "syn_layouts", self._pins.syn_layouts
        offered = self._offers.get(segment.ack or 0)
        if offered is None:
            return "syn_ack_layouts", ()
        answers = [layout for layout in self._pins.syn_ack_layouts
                   if (offered & frozenset(layout)) == frozenset(layout) - _PADDING - {Kind.MSS}]
        if FLOOD in self._changed:
            # A cookie keeps some of what was offered, or none.
            return "syn_ack_layouts", tuple(answers)
        most = max(answers, key=lambda layout: len(frozenset(layout) - _PADDING), default=None)
        return "syn_ack_layouts", () if most is None else (most,)

    def _reset_timestamps(self, segment: Segment) -> Iterator[Unlike]:
        if self._pins.reset_timestamps and segment.has(RST) and self._timestamps and not self._by_nobody(segment) \
                and segment.option(Kind.TIMESTAMPS) is None:
            yield Unlike(pin="reset_timestamps", expected="time stamps in the reset of a connection that has them",
                         got=_text(_layout(segment)), fields=("options",))

    def _time_stamps(self, segment: Segment) -> Iterator[Unlike]:
        """How far the target's clock is ahead of ours narrows down with each value, and has to remain possible."""
        hz = self._pins.timestamp_hz
        option = segment.option(Kind.TIMESTAMPS)
        if hz is None or option is None or len(option.data) != 8 or option.malformed:
            return
        value, stamp_ns = option.value >> 32, segment.stamp_ns or 0
        tick_ns = SECOND // hz
        if self._first_stamp is None:
            into_ns = stamp_ns % tick_ns
            self._first_stamp = value, stamp_ns
            self._phase = (into_ns, into_ns + 1) if self._pins.timestamp_aligned else (0, tick_ns)
            return
        first, began_ns = self._first_stamp
        elapsed_ns = stamp_ns - began_ns
        due = elapsed_ns // tick_ns
        count = due + arithmetic.diff(value, arithmetic.add(first, due))
        low, high = self._phase
        earliest, latest = count * tick_ns - elapsed_ns, (count + 1) * tick_ns - elapsed_ns
        if earliest >= high or latest <= low:
            slack_ns = self._tolerance_ns()
            earliest, latest = earliest - slack_ns, latest + slack_ns
            if self._pins.timestamp_aligned:  # the first one may have been stamped late, in a later unit than its own
                high += max(0, -(-(slack_ns - began_ns % tick_ns) // tick_ns)) * tick_ns
        if earliest < high and low < latest:
            self._phase = max(low, earliest), min(high, latest)
            return
        lowest, highest = (low + elapsed_ns) // tick_ns, (high - 1 + elapsed_ns) // tick_ns
        either = " or ".join(str(arithmetic.add(first, each)) for each in sorted({lowest, highest}))
        yield Unlike(pin="timestamp_hz", expected=f"TS val {either}", got=f"TS val {value}", fields=("options",))


CHECKS: Final[tuple[Callable[[Fingerprint, Segment], Iterator[Unlike]], ...]] = (
    Fingerprint._ttl, Fingerprint._traffic_class, Fingerprint._dont_fragment, Fingerprint._identification,
    Fingerprint._mss, Fingerprint._window_scale, Fingerprint._syn_window, Fingerprint._right_edge,
    Fingerprint._reset_window, Fingerprint._ack_number, Fingerprint._layouts, Fingerprint._reset_timestamps,
    Fingerprint._time_stamps,
)


def judge_icmp(pins: Pins, packet: Packet) -> list[Unlike]:
    """In what the IP header of an ICMP message of the target is not as pinned."""
    found: list[Unlike] = []
    if pins.icmp_ttl is not None:
        found += _unlike("icmp_ttl", "ttl", pins.icmp_ttl, packet.ttl, "ttl")
    if pins.icmp_traffic_class is not None:
        found += _unlike("icmp_traffic_class", "traffic class", pins.icmp_traffic_class, packet.traffic_class,
                         "traffic_class")
    if pins.icmp_dont_fragment is not None and not packet.ipv6:
        found += _unlike("icmp_dont_fragment", "DF", int(pins.icmp_dont_fragment),
                         int(bool(packet.raw[6] & _DONT_FRAGMENT)), "dont_fragment")
    return found
