# SPDX-License-Identifier: GPL-2.0-or-later
"""The lies about what a target said on the wire, one line each.

A lie changes one thing of one frame and mends what only tells of it (lengths, checksums), so that what is noticed is
the thing itself. Each says by `manner` what becomes of the frame, and by `field` what of it is changed:

| manner | what the injector gets |
|---|---|
| instead | the changed frame |
| after | the frame, and behind it an invention |
| drop | nothing |
| twice | the frame two times |
| late, early | the frame at another time than it came |
| behind | the next frame first |

To add a lie is to add a line to one of the tables below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..wire import ip
from ..wire.errors import ScriptError
from ..wire.frame import Frame
from ..wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Kind, Option
from .parts import Parts

Change = Callable[[Parts], bytes | None]
"""Makes the other frame of one; None where that changes nothing, so that it is no lie."""

_SEQ, _ACK, _WINDOW, _CHECKSUM, _URGENT = 4, 8, 14, 16, 18
_HALF: Final = 1 << 31
_DEFAULT_MSS: Final = 536
_OPTION_OCTETS: Final = 40
_FLAGS: Final = (("fin", FIN), ("syn", SYN), ("rst", RST), ("psh", PSH), ("ack", ACK), ("urg", URG), ("ece", ECE),
                 ("cwr", CWR), ("ae", AE))
_KINDS: Final = {Kind.MSS: "mss", Kind.WINDOW_SCALE: "ws", Kind.SACK_PERMITTED: "sackok", Kind.SACK: "sack",
                 Kind.TIMESTAMPS: "ts", Kind.USER_TIMEOUT: "uto", Kind.FAST_OPEN: "fo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """One way to lie about a frame. `name` is what `--lie` takes, without the place behind it."""

    name: str
    field: str
    manner: str
    change: Change | None = None

    def tell(self, frame: Frame) -> bytes | None:
        """The octets of the changed frame or of the invention; None if this lie cannot be told of this frame."""
        parts = Parts.of(frame)
        if parts is None or self.change is None:
            return None
        try:
            octets = self.change(parts)
        except (ScriptError, IndexError):
            return None
        # What Ethernet has put behind the packet is no part of what was said.
        said = frame.data[:len(parts.ethernet) + len(parts.packet.raw)]
        return None if octets == said and self.manner == "instead" else octets


# -- what becomes of a frame as it is ---------------------------------------------------------------------------------

DROP: Final = Lie(name="drop", field="presence", manner="drop")
TWICE: Final = Lie(name="twice", field="presence", manner="twice")
BEHIND: Final = Lie(name="swap", field="order", manner="behind")
LATE: Final = Lie(name="late", field="time", manner="late")
EARLY: Final = Lie(name="early", field="time", manner="early")


# -- the TCP header ---------------------------------------------------------------------------------------------------


def _flag(bit: int) -> Change:
    def change(parts: Parts) -> bytes:
        parts.put(12, 2, parts.number(12, 2) ^ bit)
        return parts.mended()

    return change


def _added(at: int, size: int, amount: int) -> Change:
    def change(parts: Parts) -> bytes:
        parts.add(at, size, amount)
        return parts.mended()

    return change


def _window(change: Callable[[int], int]) -> Change:
    def changed(parts: Parts) -> bytes:
        parts.put(_WINDOW, 2, min(max(change(parts.number(_WINDOW, 2)), 0), 0xFFFF))
        return parts.mended()

    return changed


def _reserved(parts: Parts) -> bytes:
    parts.body[12] |= 0x0E
    return parts.mended()


def _checksum(parts: Parts) -> bytes:
    parts.add(_CHECKSUM, 2, 1)
    return parts.joined()


def _grown(parts: Parts) -> bytes | None:
    """Four more octets of padding, which the data offset counts."""
    end = parts.data_at
    if end + 4 > 60:
        return None
    parts.body[end:end] = bytes(4)
    parts.body[12] += 0x10
    return parts.mended()


def _payload(change: Callable[[bytearray], None]) -> Change:
    def changed(parts: Parts) -> bytes | None:
        payload = parts.body[parts.data_at:]
        if not payload:
            return None
        change(payload)
        parts.body[parts.data_at:] = payload
        return parts.mended()

    return changed


def _bit(octets: bytearray) -> None:
    octets[len(octets) // 2] ^= 1


def _short(octets: bytearray) -> None:
    del octets[-1]


def _long(octets: bytearray) -> None:
    octets.append(octets[-1] ^ 0x55)


HEADER: Final = (
    *(Lie(name=name, field="flags", manner="instead", change=_flag(bit)) for name, bit in _FLAGS),
    Lie(name="seq+1", field="seq", manner="instead", change=_added(_SEQ, 4, 1)),
    Lie(name="seq-1", field="seq", manner="instead", change=_added(_SEQ, 4, -1)),
    Lie(name="seq+2^31", field="seq", manner="instead", change=_added(_SEQ, 4, _HALF)),
    Lie(name="ack+1", field="ack", manner="instead", change=_added(_ACK, 4, 1)),
    Lie(name="ack-1", field="ack", manner="instead", change=_added(_ACK, 4, -1)),
    Lie(name="win=0", field="window", manner="instead", change=_window(lambda window: 0)),
    Lie(name="win+1", field="window", manner="instead", change=_window(lambda window: window + 1)),
    Lie(name="win-1", field="window", manner="instead", change=_window(lambda window: window - 1)),
    Lie(name="win*2", field="window", manner="instead", change=_window(lambda window: window * 2)),
    Lie(name="urp+1", field="urgent", manner="instead", change=_added(_URGENT, 2, 1)),
    Lie(name="urp-1", field="urgent", manner="instead", change=_added(_URGENT, 2, -1)),
    Lie(name="reserved", field="reserved", manner="instead", change=_reserved),
    Lie(name="checksum", field="checksum", manner="instead", change=_checksum),
    Lie(name="offset+1", field="offset", manner="instead", change=_grown),
    Lie(name="bit", field="payload", manner="instead", change=_payload(_bit)),
    Lie(name="octet-1", field="payload", manner="instead", change=_payload(_short)),
    Lie(name="octet+1", field="payload", manner="instead", change=_payload(_long)),
)


# -- options ----------------------------------------------------------------------------------------------------------

Value = Callable[[Option], Option | None]


def _number(change: Callable[[int], int]) -> Value:
    def changed(option: Option) -> Option | None:
        if not option.data:
            return None
        value = change(option.value) % (1 << 8 * len(option.data))
        return Option(option.kind, value.to_bytes(len(option.data), "big"), option.length)

    return changed


def _at(at: int, amount: int) -> Value:
    """The 32-bit number that begins at this octet of the value, and what is added to it."""
    def changed(option: Option) -> Option | None:
        if len(option.data) < at + 4:
            return None
        number = (int.from_bytes(option.data[at:at + 4], "big") + amount) % (1 << 32)
        return Option(option.kind, option.data[:at] + number.to_bytes(4, "big") + option.data[at + 4:], option.length)

    return changed


def _length(option: Option) -> Option | None:
    return None if option.length is None else Option(option.kind, option.data, option.length - 1)


OPTION: Final[dict[int | None, tuple[tuple[str, Value], ...]]] = {
    None: (("length-1", _length),),
    Kind.MSS: (("+1", _number(lambda value: value + 1)), ("-1", _number(lambda value: value - 1)),
               ("=536", _number(lambda value: _DEFAULT_MSS))),
    Kind.WINDOW_SCALE: (("+1", _number(lambda value: value + 1)), ("=0", _number(lambda value: 0))),
    Kind.TIMESTAMPS: (("val-1", _at(0, -1)), ("ecr+1", _at(4, 1))),
    Kind.SACK: tuple((f".{1 + at // 8}{'left' if at % 8 == 0 else 'right'}{amount:+}", _at(at, amount))
                     for at in range(0, 32, 4) for amount in (1, -1)),
}
"""What is changed in an option of this kind, in one of any kind (None)."""


def _option_lies(options: tuple[Option, ...]) -> Iterator[Lie]:
    for kind in dict.fromkeys(option.kind for option in options if option.kind not in (Kind.EOL, Kind.NOP)):
        name = _KINDS.get(kind, f"option{kind}")
        yield _option_lie(f"{name}-removed", kind, lambda option: ())
        yield _option_lie(f"{name}-doubled", kind, lambda option: (option, option))
        if kind not in OPTION:
            yield _option_lie(f"{name}+octet", kind, lambda option: (Option.of(option.kind, option.data + b"\0"),))
        for suffix, change in (*OPTION.get(kind, ()), *OPTION[None]):
            yield _option_lie(f"{name}{suffix}", kind, _instead(change))


def option_names() -> Iterator[str]:
    """The names of the lies about options that have a name."""
    for kind, name in _KINDS.items():
        yield from (f"{name}{suffix}" for suffix in ("-removed", "-doubled"))
        if kind not in OPTION:
            yield f"{name}+octet"
        yield from (f"{name}{suffix}" for suffix, _ in (*OPTION.get(kind, ()), *OPTION[None]))


def _instead(change: Value) -> Callable[[Option], tuple[Option, ...] | None]:
    def changed(option: Option) -> tuple[Option, ...] | None:
        other = change(option)
        return None if other is None else (other,)

    return changed


def _option_lie(name: str, kind: int, change: Callable[[Option], tuple[Option, ...] | None]) -> Lie:
    def changed(parts: Parts) -> bytes | None:
        segment = parts.segment
        options = segment.options or () if segment is not None else ()
        first = next((at for at, option in enumerate(options) if option.kind == kind), None)
        other = None if first is None else change(options[first])
        if first is None or other is None:
            return None
        new = (*options[:first], *other, *options[first + 1:])
        while new and new[-1].kind == Kind.EOL:
            new = new[:-1]
        return parts.mended() if parts.set_options(new) else None

    return Lie(name=name, field="options", manner="instead", change=changed)


# -- the IP header ----------------------------------------------------------------------------------------------------


def _ip_length(amount: int) -> Change:
    def change(parts: Parts) -> bytes:
        at = 4 if parts.ipv6 else 2
        length = int.from_bytes(parts.header[at:at + 2], "big") + amount
        parts.header[at:at + 2] = length.to_bytes(2, "big")
        return parts.joined()

    return change


def _ttl(parts: Parts) -> bytes:
    parts.header[7 if parts.ipv6 else 8] = 1
    return parts.joined()


def _ecn(bits: int) -> Change:
    def change(parts: Parts) -> bytes:
        if parts.ipv6:
            parts.header[1] ^= bits << 4
        else:
            parts.header[1] ^= bits
        return parts.joined()

    return change


def _dont_fragment(parts: Parts) -> bytes | None:
    if parts.ipv6:
        return None
    parts.header[6] ^= 0x40
    return parts.joined()


def _identification(parts: Parts) -> bytes | None:
    if parts.ipv6:
        return None
    parts.header[5] ^= 1
    return parts.joined()


def _ip_checksum(parts: Parts) -> bytes | None:
    if parts.ipv6:
        return None
    frame = bytearray(parts.joined())
    frame[14 + 11] ^= 1
    return bytes(frame)


NETWORK: Final = (
    Lie(name="ip-length+1", field="ip", manner="instead", change=_ip_length(1)),
    Lie(name="ip-length-1", field="ip", manner="instead", change=_ip_length(-1)),
    Lie(name="ip-checksum", field="ip", manner="instead", change=_ip_checksum),
    Lie(name="ttl=1", field="ip", manner="instead", change=_ttl),
    Lie(name="df", field="ip", manner="instead", change=_dont_fragment),
    Lie(name="ect0", field="ip", manner="instead", change=_ecn(2)),
    Lie(name="ce", field="ip", manner="instead", change=_ecn(3)),
    Lie(name="ip-id", field="ip", manner="instead", change=_identification),
)


# -- inventions -------------------------------------------------------------------------------------------------------


def _invented(flags: int, payload: bytes = b"") -> Change:
    """A segment that might follow this one: the next number, the same acknowledgement, window and time stamps."""
    def change(parts: Parts) -> bytes | None:
        segment = parts.segment
        if segment is None:
            return None
        stamps = segment.option(Kind.TIMESTAMPS) if segment.has(ACK) else None
        parts.put(_SEQ, 4, (segment.seq or 0) + segment.length)
        parts.body[_URGENT:_URGENT + 2] = bytes(2)
        parts.body[12:] = bytes((0x50, flags)) + parts.body[14:20] + payload
        if stamps is not None:
            parts.set_options((Option.of(Kind.NOP), Option.of(Kind.NOP), stamps))
        return parts.mended()

    return change


INVENTIONS: Final = (
    Lie(name="invent-ack", field="invention", manner="after", change=_invented(ACK)),
    Lie(name="invent-rst", field="invention", manner="after", change=_invented(RST | ACK)),
    Lie(name="invent-octet", field="invention", manner="after", change=_invented(PSH | ACK, b"!")),
)


# -- ICMP and the rest ------------------------------------------------------------------------------------------------


def _quote(parts: Parts) -> bytes | None:
    if len(parts.body) < 40:
        return None
    parts.body[8 + 13] ^= 1
    return parts.mended()


def _icmp_checksum(parts: Parts) -> bytes:
    parts.add(2, 2, 1)
    return parts.joined()


ICMP: Final = (
    Lie(name="icmp-type+1", field="icmp", manner="instead", change=_added(0, 1, 1)),
    Lie(name="icmp-code+1", field="icmp", manner="instead", change=_added(1, 1, 1)),
    Lie(name="icmp-quote", field="icmp", manner="instead", change=_quote),
    Lie(name="icmp-checksum", field="checksum", manner="instead", change=_icmp_checksum),
)


def lies_of(frame: Frame) -> Iterator[Lie]:
    """Every lie that can be told of a frame by itself; when it comes, and in what order, is not asked here."""
    parts = Parts.of(frame)
    if parts is None:
        return
    segment = parts.segment
    yield DROP
    yield TWICE
    tables: tuple[Lie, ...]
    if segment is not None:
        tables = (*HEADER, *_option_lies(segment.options or ()), *NETWORK, *INVENTIONS)
    elif parts.packet.protocol in (ip.ICMP, ip.ICMPV6):
        tables = (*ICMP, *NETWORK)
    else:
        tables = NETWORK
    for lie in tables:
        if lie.tell(frame) is not None:
            yield lie
