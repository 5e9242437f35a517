# SPDX-License-Identifier: GPL-2.0-or-later
"""The raw client: one TCP connection of hand-made segments, each shown as it passes (`tcpqual connect`).

It speaks to the lab's own target, or over an interface of the machine to any host there. No kernel knows of the
connection: over an interface the source address has to be one that nobody has, for which this client answers address
resolution itself.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .way import Options, Way, local_port
from .wire import ip, seq
from .wire.capture import write_capture
from .wire.clock import SECOND
from .wire.codec import decode, encode
from .wire.errors import UsageError
from .wire.frame import Frame
from .wire.icmp import decode_icmp
from .wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Flow, Kind, Option, Segment

if TYPE_CHECKING:
    from .upper.base import Call, UpperTester

OPENED: Final = 0
REFUSED: Final = 1
NO_ANSWER: Final = 3

_ANSWER_S: Final = 3.0
"""How long the handshake and the close may take: a SYN that is lost is not sent again."""
_LINGER_S: Final = 0.05
"""How long we stay to acknowledge a FIN that is repeated, once all is closed."""
_FLAG_NAMES: Final = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"),
                      (ECE, "ECE"), (CWR, "CWR"), (AE, "AE"))
_ETHERTYPES: Final = {4: b"\x08\x00", 16: b"\x86\xdd"}

Say = Callable[[str], object]


def connect(options: Options, say: Say) -> int:
    """Play the connection, show every segment, write the capture; returns the exit status.

    Raises UsageError, LinkError or TargetError.
    """
    if bool(options.interface) != bool(options.source):
        given, other = ("--interface", "--source ADDR, an address that nobody has") if options.interface else \
            ("--source", "--interface IF")
        raise UsageError(f"{given}: goes with {other}")
    if options.listen and options.interface:
        raise UsageError("--listen: only the lab's own target can be made to listen, not a host behind --interface")
    data = _octets(options.text)
    _writable(Path(options.capture))
    if options.interface:
        from .interface import open_way

        way = open_way(options)
    else:
        way = _lab(options)
    client = Client(way, options, data, say)
    try:
        return client.play()
    finally:
        client.finish()
        way.close()


def _octets(text: str) -> bytes:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise UsageError(f"--send {text!r}: {error.reason}; allowed: text with "
                         r"\r, \n, \t, \\ and \xHH") from None


def _writable(capture: Path) -> None:
    try:
        capture.parent.mkdir(parents=True, exist_ok=True)
        with capture.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"--capture {capture}: cannot be written: {error.strerror}") from None


# -- the lab's own target ---------------------------------------------------------------------------------------------


def _lab(options: Options) -> Way:
    from .targets.base import PHANTOM, TARGET, phantom_neighbour
    from .targets.registry import make_target

    names = {"target": "ipv4", "target6": "ipv6", **{address: family for family, address in TARGET.items()}}
    family = names.get(_normal(options.host))
    if family is None:
        raise UsageError(f"HOST {options.host}: not the lab's target ({', '.join(names)}); any other host needs "
                         "--interface and --source")
    target = make_target("linux")
    local, remote = (ipaddress.ip_address(ends[family]).packed for ends in (PHANTOM, TARGET))
    way = Way(link=target.link, clock=target.clock, epoch_ns=getattr(target.clock, "epoch_ns", 0),
              neighbour=phantom_neighbour(), close=target.close,
              flow=Flow(local=local, local_port=local_port(), target=remote, target_port=options.port))
    if options.listen:
        way.serve = Echo(target.upper, remote, options.port).serve
    return way


def _normal(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


class Echo:
    """The application at the lab's end: it sends back what it is sent, and closes when we do."""

    def __init__(self, upper: UpperTester, address: bytes, port: int) -> None:
        self._upper = upper
        self._listener = upper.listen(address, port, backlog=1, options={})
        self._handle: object = None
        self._call: Call | None = upper.accept(self._listener)

    def serve(self) -> None:
        """Do what can be done by now."""
        while self._call is not None and (outcome := self._call.poll()) is not None:
            self._call = None
            if outcome.error:
                return
            if self._handle is None:
                self._handle = outcome.value
            elif outcome.value:
                self._upper.send(self._handle, outcome.value)
            else:
                self._upper.close(self._handle)
                return
            self._call = self._upper.recv(self._handle, 65536)


# -- our end of the connection ----------------------------------------------------------------------------------------


class Client:
    """Our end of one connection: a handshake, a wait, a close, and an answer to whatever comes meanwhile.

    `send_next` and `receive_next` are absolute numbers; what is shown is relative to both sides' initial ones.
    """

    def __init__(self, way: Way, options: Options, data: bytes, say: Say) -> None:
        self._way = way
        self._options = options
        self._data = data
        self._view = View(way.flow, say)
        self.iss = secrets.randbits(32) if options.seq is None else options.seq
        self.send_next = self.iss
        self.receive_next = 0
        self.acknowledged = self.iss
        self.received = 0
        self.opened = False
        self.reset = False
        self.unreachable = False
        self.fin_sent = False
        self.fin_received = False

    def play(self) -> int:
        """The whole exchange; returns the exit status."""
        self._open()
        if not self.opened:
            if self.reset or self.unreachable:
                self._view.remark("refused" if self.reset else "not reachable")
                return REFUSED
            self._view.remark(f"no answer in {_ANSWER_S:g} s")
            return NO_ANSWER
        if self._data:
            self._send(PSH | ACK, self._data)
        self._until(lambda: self.reset, self._options.wait_s)
        self._close()
        self._remark_on_the_end()
        return OPENED

    def _open(self) -> None:
        headers = 60 if self._way.flow.ipv6 else 40
        mss = self._way.link.mtu - headers if self._options.mss is None else self._options.mss
        offer = (Option.of(Kind.MSS, mss.to_bytes(2, "big")),) if mss else ()
        self._send(SYN, options=offer)
        self._until(lambda: self.opened or self.reset or self.unreachable, _ANSWER_S)

    def _close(self) -> None:
        if self.reset or self._options.close == "none":
            return
        if self._options.close == "rst":
            self._send(RST | ACK)
            self._until(lambda: False, _LINGER_S)
            return
        self._send(FIN | ACK)
        self.fin_sent = True
        self._until(lambda: self.reset or (self.fin_received and self.acknowledged == self.send_next), _ANSWER_S)
        self._until(lambda: False, _LINGER_S)

    def _remark_on_the_end(self) -> None:
        if self.received:
            self._view.remark(f"{self.received} octets received")
        if self.fin_sent and not self.reset and not self.fin_received:
            self._view.remark(f"the other end has not closed in {_ANSWER_S:g} s")

    def _send(self, flags: int, data: bytes = b"", options: tuple[Option, ...] = ()) -> None:
        segment = Segment(flags=flags, seq=self.send_next, ack=self.receive_next if flags & ACK else 0,
                          window=self._options.window, options=options, payload=data)
        self._send_packet(encode(segment, self._way.flow))
        self.send_next = seq.add(self.send_next, segment.length)

    def _send_packet(self, packet: bytes) -> None:
        link = self._way.link
        link.send_bytes(link.target_mac + link.mac + _ETHERTYPES[len(self._way.flow.target)] + packet)

    def _until(self, done: Callable[[], bool], within_s: float) -> None:
        """Deal with what comes, until it is done or the time is over."""
        clock = self._way.clock
        until = clock.now() + round(within_s * SECOND)
        while not done():
            self._way.serve()
            frame = clock.wait(min(until, clock.now() + SECOND // 100))
            self._view.add(self._way.link.sent())
            if isinstance(frame, Frame):
                self._take(frame)
            elif clock.now() >= until:
                break
        self._view.add(self._way.link.sent())
        self._view.flush()

    def _take(self, frame: Frame) -> None:
        if (answer := self._way.neighbour.answer(frame.data)) is not None:
            self._view.add([frame])
            self._way.link.send_bytes(answer)
            return
        packet = ip.dissect(frame.data[14:]) if frame.data[12:14] in _ETHERTYPES.values() else None
        if packet is None or packet.destination != self._way.flow.local:
            return
        self._view.add([frame])
        self._view.flush()
        if packet.protocol != ip.TCP:
            self._take_error(packet)
            return
        segment = decode(packet, stamp_ns=frame.stamp_ns)
        flow = self._way.flow
        if segment is not None and packet.source == flow.target and segment.source_port == flow.target_port and \
                segment.destination_port == flow.local_port:
            self._take_segment(segment)

    def _take_error(self, packet: ip.Packet) -> None:
        message = decode_icmp(packet)
        if message is not None and message.type in ((1, 3) if packet.ipv6 else (3, 11)):
            self.unreachable = True

    def _take_segment(self, segment: Segment) -> None:
        if segment.has(RST):
            self.reset = True
        elif segment.has(SYN | ACK) and not self.opened:
            if segment.ack == self.send_next:
                self.opened = True
                self.acknowledged = self.send_next
                self.receive_next = seq.add(segment.seq or 0, 1)
                self._send(ACK)
        elif self.opened:
            self._follow(segment)

    def _follow(self, segment: Segment) -> None:
        ack = segment.ack or 0
        if segment.has(ACK) and seq.le(self.acknowledged, ack) and seq.le(ack, self.send_next):
            self.acknowledged = ack
        if not segment.length:
            return
        if segment.seq == self.receive_next:
            self.receive_next = seq.add(self.receive_next, segment.length)
            self.received += len(segment.payload or b"")
            self.fin_received = self.fin_received or segment.has(FIN)
        self._send(ACK)

    def finish(self) -> None:
        """Show what is left to show, and write the capture."""
        self._view.add(self._way.link.sent())
        self._view.flush()
        trace = sorted(self._view.frames, key=lambda entry: entry[0].stamp_ns)
        write_capture(self._options.capture, trace, epoch_ns=self._way.epoch_ns, interface_name="injector",
                      comment=f"tcpqual connect {self._options.host} {self._options.port}")
        self._view.remark(f"capture: {self._options.capture}")


# -- what is shown ----------------------------------------------------------------------------------------------------


class View:
    """The lines about the segments of one connection, in the order of their stamps."""

    def __init__(self, flow: Flow, say: Say) -> None:
        self._flow = flow
        self._say = say
        self._due: list[Frame] = []
        self._began: int | None = None
        self._bases: dict[bool, int] = {}
        self._shifts: dict[bool, int | None] = {}
        self.frames: list[tuple[Frame, str]] = []

    def add(self, frames: list[Frame]) -> None:
        """Frames to show with the next flush."""
        self._due += frames

    def flush(self) -> None:
        """Show what there is."""
        for frame in sorted(self._due, key=lambda frame: frame.stamp_ns):
            text = self._line(frame)
            self.frames.append((frame, text))
            if text:
                if self._began is None:
                    self._began = frame.stamp_ns
                self._say(f"{(frame.stamp_ns - self._began) / SECOND:.6f}  {text}")
        self._due = []

    def remark(self, text: str) -> None:
        """Show a line that is no segment."""
        self.flush()
        self._say(f"          {text}")

    def _line(self, frame: Frame) -> str:
        packet = ip.dissect(frame.data[14:])
        segment = decode(packet) if packet is not None else None
        if packet is None:
            return ""
        if segment is None:
            message = decode_icmp(packet)
            if message is None or (packet.ipv6 and message.type >= 128):
                return ""
            return f"{_address(packet.source)} -> {_address(packet.destination)}  ICMP{'v6' if packet.ipv6 else ''} " \
                   f"type {message.type} code {message.code}"
        if frame.outgoing != (packet.source == self._flow.local):
            return ""
        return (f"{_end(packet.source, segment.source_port)} -> {_end(packet.destination, segment.destination_port)}  "
                + self._fields(segment, frame.outgoing))

    def _fields(self, segment: Segment, ours: bool) -> str:
        flags = ", ".join(name for flag, name in _FLAG_NAMES if segment.has(flag)) or "<None>"
        # A reset of a closed port has sequence number 0, which is no number of a connection.
        if ours not in self._bases and not segment.has(RST):
            self._bases[ours] = segment.seq or 0
            scale = segment.option(Kind.WINDOW_SCALE)
            self._shifts[ours] = scale.value if scale is not None else None
        words = [f"[{flags}]", f"Seq={seq.add(segment.seq or 0, -self._bases.get(ours, segment.seq or 0))}"]
        if segment.has(ACK):
            words.append(f"Ack={seq.add(segment.ack or 0, -self._bases.get(not ours, 0))}")
        words += [f"Win={self._window(segment, ours)}", f"Len={len(segment.payload or b'')}"]
        words += [text for option in segment.options or () if (text := _option(option))]
        if segment.verdict is not None and segment.verdict.value == "bad" and not ours:
            words.append("[bad checksum]")
        return " ".join(words)

    def _window(self, segment: Segment, ours: bool) -> int:
        shift = self._shifts.get(ours)
        if segment.has(SYN) or shift is None or self._shifts.get(not ours) is None:
            return segment.window or 0
        return (segment.window or 0) << min(shift, 14)


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _end(packed: bytes, port: int | None) -> str:
    text = _address(packed)
    return f"[{text}]:{port}" if len(packed) == 16 else f"{text}:{port}"


def _option(option: Option) -> str:
    if option.kind == Kind.MSS:
        return f"MSS={option.value}"
    if option.kind == Kind.WINDOW_SCALE:
        return f"WS={1 << min(option.value, 14)}"
    if option.kind == Kind.SACK_PERMITTED:
        return "SACK_PERM"
    if option.kind == Kind.TIMESTAMPS and len(option.data) == 8:
        return f"TSval={option.value >> 32} TSecr={option.value & 0xFFFFFFFF}"
    return ""
