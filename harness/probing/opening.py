# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes of what comes before a connection stands: options, windows, layouts, repetitions, initial numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from ..lower.application import Application
from ..lower.fingerprint import layout_of
from ..lower.peer import Peer
from ..wire import seq as arithmetic
from ..wire.clock import SECOND
from ..wire.segment import RST, SYN, Kind, Segment
from .subject import Seen, Series, Subject

_EVERYTHING: Final = "<mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>"
_OFFERS: Final = ("", "<mss 1460>", "<mss 1460,nop,wscale 7>", "<mss 1460,nop,nop,sackOK>",
                  "<mss 1460,nop,nop,sackOK,nop,wscale 7>", "<mss 1460,nop,nop,TS val 1 ecr 0>",
                  "<mss 1460,nop,nop,TS val 1 ecr 0,nop,wscale 7>", "<mss 1460,sackOK,TS val 1 ecr 0>", _EVERYTHING)
_FEATURES: Final = {"sack": Kind.SACK_PERMITTED, "timestamps": Kind.TIMESTAMPS, "window_scaling": Kind.WINDOW_SCALE}
_NUMBERS: Final = 8
_APART_S: Final = 0.25
_STEADY: Final = 0.02


def _both(found: dict[str, Any]) -> Any:
    """One value where both families agree, else a table of the two."""
    values = list(found.values())
    return values[0] if all(value == values[0] for value in values) else dict(found)


def _answer(subject: Subject, family: str, offer: str) -> Segment | None:
    """The SYN,ACK to a SYN with this offer."""
    with subject.case(f"offer/{offer}", family) as case:
        listener = Application(case).listen()
        peer = case.peer(target_port=listener.port)
        peer.send(f"S 0:0(0) win 65535 {offer}")
        segment = peer.observe(1.0)
        if segment is not None and segment.has(SYN):
            peer.send("R 1:1(0)")
            return segment
    return None


def offers(subject: Subject) -> Iterator[Seen]:
    """Which options it answers to ours, how it lays them out, and what its headers have in common."""
    full: dict[str, Segment] = {}
    plain: dict[str, Segment] = {}
    layouts: list[str] = []
    for family in subject.families:
        for offer in _OFFERS:
            segment = _answer(subject, family, offer)
            if segment is None:
                continue
            if offer == _EVERYTHING:
                full[family] = segment
            if offer == "<mss 1460>":
                plain[family] = segment
            layout = layout_of(segment)
            if layout is not None and layout not in layouts:
                layouts.append(layout)
    if not full:
        yield Seen(table="features", name="passive_open", how="no SYN,ACK came")
        return
    for name, kind in _FEATURES.items():
        has = all(segment.option(kind) is not None for segment in full.values())
        yield Seen(table="features", name=name, value=has, how="in the SYN,ACK to a SYN with every option")
    yield from _pinned(full, plain)
    yield Seen(table="fingerprint", name="syn_ack_layouts", value=sorted(layouts), how=f"of {len(_OFFERS)} offers")


def _pinned(full: dict[str, Segment], plain: dict[str, Segment]) -> Iterator[Seen]:
    """What a SYN,ACK shows of the headers."""
    how = "in a SYN,ACK"
    yield Seen(table="fingerprint", name="ttl", value=_both({f: s.ttl for f, s in full.items()}), how=how)
    yield Seen(table="fingerprint", name="traffic_class",
               value=_both({f: s.traffic_class for f, s in full.items()}), how=how)
    if "ipv4" in full:
        yield Seen(table="fingerprint", name="dont_fragment", value=bool(full["ipv4"].raw[6] & 0x40), how=how)
    for name, kind in (("mss", Kind.MSS), ("window_scale", Kind.WINDOW_SCALE)):
        options = {family: segment.option(kind) for family, segment in full.items()}
        if all(options.values()):
            yield Seen(table="fingerprint", name=name,
                       value=_both({f: o.value for f, o in options.items() if o is not None}), how=how)
    for name, segments in (("syn_ack_window", plain), ("syn_ack_window_with_timestamps", full)):
        if segments:
            yield Seen(table="fingerprint", name=name, value=_both({f: s.window for f, s in segments.items()}), how=how)


def own_syn(subject: Subject) -> Iterator[Seen]:
    """What its own SYN offers, and how often it is repeated if nobody answers."""
    windows: dict[str, int | None] = {}
    layouts: list[str] = []
    for family in subject.families:
        with subject.case("own SYN", family) as case:
            peer = case.peer()
            Application(case).connect(peer)
            segment = peer.observe(1.0)
            if segment is None or not segment.has(SYN):
                continue
            windows[family] = segment.window
            layout = layout_of(segment)
            if layout is not None and layout not in layouts:
                layouts.append(layout)
            peer.send("R. 0:0(0) ack 1")
    if not windows:
        yield Seen(table="features", name="active_open", value=False, how="no SYN came")
        return
    yield Seen(table="features", name="active_open", value=True, how="connect() sends a SYN")
    yield Seen(table="fingerprint", name="syn_window", value=_both(windows), how="in its SYN")
    yield Seen(table="fingerprint", name="syn_layouts", value=layouts, how="of its SYN")
    yield from _repeated_syn(subject)


def _repeated_syn(subject: Subject) -> Iterator[Seen]:
    with subject.case("SYN repeated", subject.families[0]) as case:
        peer = case.peer()
        Application(case).connect(peer)
        first = peer.observe(1.0)
        if first is None:
            return
        yield from _repetitions(subject, "syn_retries", "SYN", subject.series(case, peer, first))


def repeated_syn_ack(subject: Subject) -> Iterator[Seen]:
    """How often a SYN,ACK is repeated, and when first: the initial time-out (RFC 6298, 2.1)."""
    with subject.case("SYN,ACK repeated", subject.families[0]) as case:
        listener = Application(case).listen()
        peer = case.peer(target_port=listener.port)
        peer.send("S 0:0(0) win 65535 <mss 1460>")
        first = peer.observe(1.0)
        if first is None or not first.has(SYN):
            yield Seen(table="limits", name="synack_retries", how="no SYN,ACK came")
            return
        series = subject.series(case, peer, first)
        if series.gaps:
            yield Seen(table="timers", name="initial_rto_s", value=series.gaps[0], how=f"SYN,ACK again after {series}")
        yield from _repetitions(subject, "synack_retries", "SYN,ACK", series)


def _repetitions(subject: Subject, name: str, what: str, series: Series) -> Iterator[Seen]:
    how = f"{what} again after {series}" if series.gaps else f"no {what} came again"
    yield Seen(table="limits", name=name, value=subject.count(series), how=how)


def closed_port(subject: Subject) -> Iterator[Seen]:
    """The reset of a port on which nobody listens (RFC 9293, 3.10.7.1)."""
    with subject.case("closed port", subject.families[0]) as case:
        peer = case.peer()
        peer.send("S 0:0(0) win 65535")
        segment = peer.observe(1.0)
        if segment is None or not segment.has(RST):
            yield Seen(table="limits", name="closed_port_window", how="a closed port did not answer")
            return
        yield Seen(table="limits", name="closed_port_window", value=segment.window, how="in the reset of a closed port")
        yield Seen(table="fingerprint", name="reset_window", value=segment.window, how="in the reset of a closed port")


def initial_numbers(subject: Subject) -> Iterator[Seen]:
    """How fast the clock part of initial numbers runs: one four-tuple, opened again and again (RFC 9293, 3.4.1)."""
    with subject.case("initial numbers", subject.families[0]) as case:
        listener = Application(case).listen()
        first = case.peer(target_port=listener.port)
        found = []
        for _ in range(_NUMBERS):
            segment = _opened(first)
            if segment is not None:
                found.append((segment.stamp_ns or 0, segment.seq or 0))
            first.send("R 1:1(0)")
            case.pause(_APART_S)
            case.forget(first)
            first = case.peer(target_port=listener.port, local_port=first.flow.local_port)
    rates = [(arithmetic.diff(later[1], earlier[1]) % (1 << 32)) * SECOND / (later[0] - earlier[0])
             for earlier, later in pairwise(found)]
    if len(rates) < _NUMBERS // 2:
        yield Seen(table="limits", name="isn_rate_per_s", how="too few SYN,ACKs came")
        return
    rates.sort()
    middle = rates[len(rates) // 2]
    if rates[-1] - rates[0] <= _STEADY * max(middle, 1):
        yield Seen(table="limits", name="isn_rate_per_s", value=round(middle),
                   how=f"{len(found)} initial numbers of one four-tuple, {_APART_S:g} s apart: a clock (RFC 6528)")
    else:
        yield Seen(table="limits", name="isn_rate_per_s",
                   how=f"{len(found)} initial numbers of one four-tuple follow no clock: {rates[0]:.3g} to "
                       f"{rates[-1]:.3g} a second")


def _opened(peer: Peer) -> Segment | None:
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    segment = peer.observe(1.0)
    return segment if segment is not None and segment.has(SYN) else None
