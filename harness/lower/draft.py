# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case gives to be sent, as the segment that it is: out of the notation, or out of a packet that it has made."""

from __future__ import annotations

from ..wire import ip
from ..wire import seq as arithmetic
from ..wire.codec import decode
from ..wire.errors import ScriptError
from ..wire.notation import parse
from ..wire.segment import Segment
from . import stream


def drafted(what: str | Segment, *, seq_base: int, ack_base: int) -> Segment:
    """A segment that has None where its sender is to fill in the default; the notation's numbers count from these.

    A payload that is not given is our stream's at that place. Raises ScriptError for what cannot be sent.
    """
    if isinstance(what, Segment):
        return what
    notation = parse(what)
    if notation.more_options or any(pattern.optional for pattern in notation.options or ()):
        raise ScriptError(f"send {notation.text!r}: `...` and `?` say nothing that can be sent; list the options")
    place = max(notation.seq - 1, 0)
    return Segment(
        flags=notation.flags,
        seq=arithmetic.add(seq_base, notation.seq),
        ack=None if notation.ack is None else arithmetic.add(ack_base, notation.ack),
        window=notation.window,
        urgent=notation.urgent,
        options=tuple(pattern.option(ack_base) for pattern in notation.options or ()),
        payload=stream.octets("injector", place, notation.length) if notation.payload is None else notation.payload,
    )


def own_segment(packet: bytes, local_port: int) -> Segment | None:
    """The segment in an IP packet if it is whole and from this port of ours."""
    known = ip.dissect(packet)
    segment = decode(known, outgoing=True) if known is not None and not known.fragment else None
    return segment if segment is not None and segment.source_port == local_port else None


def name_of(packet: bytes) -> str:
    """What to call an IP packet in which there is no such segment."""
    known = ip.dissect(packet)
    kind = "fragment" if known is not None and known.fragment else "packet"
    return f"IP {kind}, {len(packet)} octets"
