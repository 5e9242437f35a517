# SPDX-License-Identifier: GPL-2.0-or-later
"""Decoys: targets that lie, on which no case may pass but by the segment that was truly produced.

Each answers frames by a rule of its own, in stepped time and without any right. Its upper tester claims success and
whatever state is asked, so that no case hides behind *not applicable*: only the wire can tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from .. import __version__
from ..lower.injector import Injector
from ..upper.base import Half
from ..wire import ip
from ..wire.clock import Outcome, SteppedClock
from ..wire.codec import decode, encode
from ..wire.errors import UsageError
from ..wire.frame import Frame
from ..wire.segment import ACK, FIN, PSH, RST, SYN, URG, Flow, Kind, Option, Segment
from .base import Target, phantom_neighbour, timing_of
from .profile import Profile
from .stepped import SteppedLink

_MTU: Final = 1500
_DELAY_NS: Final = 10_000
"""A decoy answers ten microseconds after the stimulus."""
_BURST: Final = 256
"""What a decoy takes of a burst: it answers frame by frame, in Python."""

Answer = Callable[[ip.Packet, Segment | None], list[bytes]]
"""What a decoy makes of an IP packet: the IP packets that it sends back."""


class Whatever:
    """Equal to everything and false: a claim that holds whatever was asked."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return False

    def __hash__(self) -> int:
        return 0

    def _holds(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = _holds

    def __str__(self) -> str:
        return "whatever is asked"


class WhateverState(Whatever):
    """The same of a state: it is told, so nobody looks at the wire for it."""

    def __bool__(self) -> bool:
        return True

    __hash__ = Whatever.__hash__


WHATEVER: Final[Any] = Whatever()
WHATEVER_STATE: Final[Any] = WhateverState()


class Claim:
    """A call that ended as the case wishes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fileno(self) -> int:
        """No descriptor: the outcome is there."""
        return -1

    def poll(self) -> Outcome:
        """The claim."""
        return Outcome(call=self, value=WHATEVER, error=WHATEVER)


class ClaimingUpperTester:
    """Says yes to everything, and does nothing."""

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> object:
        """A claimed listener."""
        return object()

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[object, Claim]:
        """A claimed connection."""
        return object(), Claim("connect")

    def accept(self, handle: object) -> Claim:
        """A claimed connection."""
        return Claim("accept")

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """All octets are claimed to be taken."""
        return Outcome(call="send", value=len(data), error=WHATEVER)

    def recv(self, handle: object, size: int) -> Claim:
        """Whatever octets the case wants."""
        return Claim("recv")

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Done, it says."""
        return Outcome(call="shutdown", error=WHATEVER)

    def close(self, handle: object, *, linger_s: int | None = None) -> Claim:
        """Done, it says."""
        return Claim("close")

    def abort(self, handle: object) -> Outcome:
        """Done, it says."""
        return Outcome(call="abort", error=WHATEVER)

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """Done, it says."""
        return Outcome(call="setsockopt", error=WHATEVER)

    def pending_error(self, handle: object) -> str:
        """Whatever error the case wants."""
        return WHATEVER  # type: ignore[no-any-return]

    def state(self, flow: Flow) -> str:
        """Whatever state the case wants."""
        return WHATEVER_STATE  # type: ignore[no-any-return]

    def listening(self, address: bytes, port: int) -> bool:
        """Yes."""
        return True

    def half_open(self, port: int) -> int:
        """As many as the case wants."""
        return WHATEVER  # type: ignore[no-any-return]

    def information(self, handle: object) -> Mapping[str, Any]:
        """Nothing."""
        return {}


class DecoyLink(SteppedLink):
    """A link whose other end is a function of ours."""

    mtu = _MTU

    def __init__(self, clock: SteppedClock, answer: Answer) -> None:
        super().__init__()
        self._clock = clock
        self._answer = answer

    def send_bytes(self, frame: bytes) -> None:
        """Put a frame on the wire; the decoy answers it at once."""
        self.note(frame, self._clock.now())
        self._answer_to(frame)

    def _answer_to(self, frame: bytes) -> None:
        packet = ip.dissect(frame[14:])
        if packet is None:
            return
        segment = decode(packet) if packet.protocol == ip.TCP and not packet.fragment else None
        for octets in self._answer(packet, segment):
            if not self.is_ignored(octets):
                header = self.mac + self.target_mac + frame[12:14]
                self.inbox.append(Frame(data=header + octets, stamp_ns=self._clock.now() + _DELAY_NS))

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Take the first few frames of a burst; returns how many."""
        count = min(len(frames) // frame_size, _BURST)
        for at in range(0, count * frame_size, frame_size):
            self._answer_to(bytes(frames[at:at + frame_size]))
        return count


def _back(packet: ip.Packet, segment: Segment) -> Flow:
    return Flow(local=packet.destination, local_port=segment.destination_port or 0,
                target=packet.source, target_port=segment.source_port or 0)


def blackhole(packet: ip.Packet, segment: Segment | None) -> list[bytes]:
    """Never answers."""
    return []


def refuser(packet: ip.Packet, segment: Segment | None) -> list[bytes]:
    """A reset to everything but a reset, as RFC 9293, 3.10.7.1 wants it of a closed port."""
    if segment is None or segment.has(RST):
        return []
    if segment.has(ACK):
        reset = Segment(flags=RST, seq=segment.ack, window=0)
    else:
        reset = Segment(flags=RST | ACK, seq=0, ack=((segment.seq or 0) + segment.length) % (1 << 32), window=0)
    return [encode(reset, _back(packet, segment))]


def mirror(packet: ip.Packet, segment: Segment | None) -> list[bytes]:
    """Sends every segment back with the ends swapped, every other packet with the addresses swapped."""
    if segment is None:
        return [ip.ip_packet(packet.destination, packet.source, packet.protocol, packet.payload)]
    swapped = replace(segment, source_port=None, destination_port=None, checksum=None)
    return [encode(swapped, _back(packet, segment))]


def babbler(seed: int) -> Answer:
    """Answers each segment with random well-formed TCP."""
    dice = random.Random(seed)

    def answer(packet: ip.Packet, segment: Segment | None) -> list[bytes]:
        if segment is None:
            return []
        flags = dice.choice((SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, URG | ACK))
        size = dice.choice((0, 0, 1, 100, 1000))
        options = (Option.of(Kind.MSS, dice.randbytes(2)),) if flags & SYN else ()
        said = Segment(flags=flags, seq=dice.getrandbits(32), ack=dice.getrandbits(32) if flags & ACK else 0,
                       window=dice.getrandbits(16), options=options, payload=dice.randbytes(size))
        return [encode(said, _back(packet, segment))]

    return answer


DECOYS: Final = ("blackhole", "refuser", "mirror", "babbler")


def known(variant: str) -> str:
    """The decoy's name. Raises UsageError for one that there is not."""
    if variant not in DECOYS:
        raise UsageError(f"--target 'decoy:{variant}': no such decoy; there are "
                         f"{', '.join(f'decoy:{each}' for each in DECOYS)}")
    return variant


def version(profile: Profile, spec: str) -> str:
    """None: a decoy's is the harness's own."""
    return ""


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> Target:
    """The decoy that the spec names, which answers to a profile that claims everything. Raises UsageError."""
    variant = known(spec.partition(":")[2])
    answers: dict[str, Answer] = {"blackhole": blackhole, "refuser": refuser, "mirror": mirror,
                                  "babbler": babbler(seed)}
    clock = SteppedClock()
    link = DecoyLink(clock, answers[variant])
    injector = Injector(link=link, clock=clock, neighbour=phantom_neighbour())
    return Target(name=f"decoy:{variant}", kind="decoy", version=__version__, profile=profile, clock=clock, link=link,
                  upper=ClaimingUpperTester(), injector=injector, timing=timing_of(profile, 0))
