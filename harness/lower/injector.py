# SPDX-License-Identifier: GPL-2.0-or-later
"""The injector: one end of the wire, shared by all peers of a case.

It turns segments into frames and frames into segments, hands each to the peer whose connection it belongs to, answers
address resolution for the phantom addresses, and keeps the trace of which the capture is made. All waiting of a case
goes through `Injector.wait`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from ..wire import ip
from ..wire.clock import Clock, Event, Outcome
from ..wire.codec import decode
from ..wire.errors import LinkError
from ..wire.frame import Frame
from ..wire.icmp import IcmpMessage, decode_icmp
from ..wire.ip import Packet
from ..wire.link import Link
from ..wire.neighbour import Neighbour
from ..wire.segment import Flow, Segment
from .verdict import Step

_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_ARP: Final = b"\x08\x06"
_ICMPV6: Final = b"\x3a"
_TCP: Final = 6
_ICMP: Final = (1, 58)


@dataclass(slots=True, kw_only=True)
class Transmission:
    """Something that the injector sent; `stamp_ns` becomes the kernel's transmit stamp once the tap has been read.

    `number` is its place among all that was sent and received.
    """

    frame: bytes
    step: Step | None
    stamp_ns: int
    number: int
    segment: Segment | None = None


class Receiver(Protocol):
    """Who takes what arrives: the present case."""

    def take_segment(self, flow: Flow, segment: Segment, frame: Frame) -> str:
        """Take a segment; returns the comment for the capture."""

    def take_icmp(self, message: IcmpMessage, packet: Packet) -> str:
        """Take an ICMP message; returns the comment for the capture."""

    def take_other(self, packet: Packet) -> str:
        """Take a fragment or another protocol's packet; returns the comment for the capture."""

    def take_malformed(self, frame: Frame) -> str:
        """Take what is no IP packet, though its frame says so; returns the comment for the capture."""


class Injector:
    """One end of a link, for one case at a time."""

    def __init__(self, *, link: Link, clock: Clock, neighbour: Neighbour) -> None:
        self.link = link
        self.clock = clock
        self._neighbour = neighbour
        self._receiver: Receiver | None = None
        self._trace: list[tuple[int, Frame, str]] = []
        self._count = 0
        self._unstamped: deque[Transmission] = deque()
        self.outcomes: dict[object, Outcome] = {}
        clock.register(link)

    def begin(self, receiver: Receiver) -> None:
        """Hand what arrives to this case from now on, also what a flood before it ignored; all earlier is forgotten."""
        self._receiver = None
        self.link.ignore(())
        self.drain()
        self._receiver = receiver
        self._trace.clear()

    def end(self) -> list[tuple[Frame, str]]:
        """Stop handing over; returns the trace, in the order of the kernel's stamps.

        Raises LinkError if the link lost frames, since a closed world cannot be judged then.
        """
        self.drain()
        self._receiver = None
        if lost := self.link.lost():
            raise LinkError(f"the link lost {lost} frames of this case: its buffer is too small for the load")
        trace = self.frames()
        self._trace = []
        return trace

    def frames(self) -> list[tuple[Frame, str]]:
        """The trace so far, with comments, in the order of the kernel's stamps."""
        self.stamp()
        # Where work costs no time, an answer has the stamp of what it answers.
        ordered = sorted(self._trace, key=lambda entry: (entry[1].stamp_ns, entry[0]))
        return [(frame, comment) for _, frame, comment in ordered]

    def drain(self) -> None:
        """Take all that has arrived by now; no time passes."""
        while self.wait(0) is not None:
            pass

    def send_packet(self, packet: bytes, *, step: Step | None = None, segment: Segment | None = None) -> Transmission:
        """Send one IP packet to the target. Raises LinkError."""
        kind = _IPV6 if packet[:1] and packet[0] >> 4 == 6 else _IPV4
        return self.send_frame(self.link.target_mac + self.link.mac + kind + packet, step=step, segment=segment)

    def send_frame(self, frame: bytes, *, step: Step | None = None, segment: Segment | None = None) -> Transmission:
        """Send one Ethernet frame as it is. Raises LinkError."""
        transmission = Transmission(frame=frame, step=step, stamp_ns=self.clock.now(), number=self._next(),
                                    segment=segment)
        self._unstamped.append(transmission)
        self.link.send_bytes(frame)
        return transmission

    def stamp(self) -> None:
        """Read the tap: every transmission so far gets the instant at which the kernel sent it."""
        for frame in self.link.sent():
            # On an interface of the machine the tap sees what others send as well.
            if all(transmission.frame != frame.data for transmission in self._unstamped):
                continue
            while self._unstamped:
                transmission = self._unstamped.popleft()
                if transmission.frame == frame.data:
                    transmission.stamp_ns = frame.stamp_ns
                    if transmission.step is not None:
                        transmission.step.at_ns = frame.stamp_ns
                    comment = transmission.step.text if transmission.step else ""
                    self._trace.append((transmission.number, frame, comment))
                    break

    def wait(self, until: int) -> Event | None:
        """Wait for one event until that instant (nanoseconds) and deal with it; None if none came.

        A frame goes to its peer, the outcome of a socket call into `outcomes`.
        """
        event = self.next_event(until)
        if isinstance(event, Frame):
            self._receive(event)
        elif event is not None:
            self.clock.unregister(event.call)
            self.outcomes[event.call] = event
        return event

    def next_event(self, until: int) -> Event | None:
        """What the clock brings until that instant, before anything is done about it."""
        return self.clock.wait(until)

    def _next(self) -> int:
        """Which event this is, of those sent and received: their order where stamps are the same."""
        self._count += 1
        return self._count

    def _receive(self, frame: Frame) -> None:
        number = self._next()
        if (answer := self._resolve(frame.data)) is not None:
            self.send_frame(answer)
            comment = "address resolution"
        elif self._receiver is None:
            return
        else:
            comment = self._dispatch(frame, self._receiver)
        self._trace.append((number, frame, comment))

    def _resolve(self, frame: bytes) -> bytes | None:
        kind = frame[12:14]
        if kind == _ARP or (kind == _IPV6 and frame[20:21] == _ICMPV6):
            return self._neighbour.answer(frame)
        return None

    def _dispatch(self, frame: Frame, receiver: Receiver) -> str:
        if frame.data[12:14] not in (_IPV4, _IPV6):
            return ""
        packet = ip.dissect(frame.data[14:])
        if packet is None:
            return receiver.take_malformed(frame)
        if packet.fragment or packet.protocol not in (_TCP, *_ICMP):
            return receiver.take_other(packet)
        if packet.protocol == _TCP:
            segment = decode(packet, stamp_ns=frame.stamp_ns, offloaded=frame.offloaded)
            if segment is None:
                return receiver.take_other(packet)
            flow = Flow(local=packet.destination, local_port=segment.destination_port or 0,
                        target=packet.source, target_port=segment.source_port or 0)
            return receiver.take_segment(flow, segment, frame)
        message = decode_icmp(packet, stamp_ns=frame.stamp_ns)
        if message is None or message.neighbour_discovery:
            # Listener reports and router solicitations are the target's own business, and no answer to a case.
            return ""
        return receiver.take_icmp(message, packet)

    def close(self) -> None:
        """Let go of the link."""
        self.clock.unregister(self.link)
        self.link.close()
