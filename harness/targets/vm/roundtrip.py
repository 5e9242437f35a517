# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a guest takes for an answer that is due at once: emulation, two hand-overs, and our own processor."""

from __future__ import annotations

from typing import Final

from ...lower.injector import Injector
from ...wire import ip
from ...wire.clock import SECOND
from ...wire.codec import decode, encode
from ...wire.errors import TargetError
from ...wire.frame import Frame
from ...wire.segment import SYN, Flow, Segment
from ..base import FAMILIES, addresses

_SAMPLES: Final = 8
_LIMIT_NS: Final = 5 * SECOND
_LOCAL_PORT: Final = 19000
_CLOSED_PORT: Final = 2


def measure_round_trip(injector: Injector) -> int:
    """The longest time from a SYN to the reset of a closed port, in nanoseconds, in either family, begun cold.

    The first of them meets code that QEMU has not translated yet, as the first timer of a case does. Raises TargetError
    if there is no answer: then the guest's network is not up.
    """
    worst_ns = 0
    for number in range(_SAMPLES):
        for family in FAMILIES:
            ends = addresses(family)
            flow = Flow(local=ends.local, local_port=_LOCAL_PORT + number, target=ends.target,
                        target_port=_CLOSED_PORT)
            worst_ns = max(worst_ns, _round_trip(injector, flow, family))
    return worst_ns


def _round_trip(injector: Injector, flow: Flow, family: str) -> int:
    sent = injector.send_packet(encode(Segment(flags=SYN), flow))
    until = sent.stamp_ns + _LIMIT_NS
    while (event := injector.next_event(until)) is not None:
        if not isinstance(event, Frame):
            continue
        packet = ip.dissect(event.data[14:])
        segment = decode(packet) if packet is not None and packet.protocol == ip.TCP else None
        if segment is not None and segment.destination_port == flow.local_port:
            injector.stamp()
            return event.stamp_ns - sent.stamp_ns
    raise TargetError(f"the guest does not answer a SYN over {family} within {_LIMIT_NS // SECOND} s")
