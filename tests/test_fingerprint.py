# SPDX-License-Identifier: GPL-2.0-or-later
"""Each pin, seen as it is pinned and otherwise; when it holds and when not; and on the way through a case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scripted import Scripted, Values, theirs, turned

from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.fingerprint import FLOOD, NOTHING, Fingerprint, Pins, parse_layout
from harness.lower.flood import Flood
from harness.lower.verdict import Mismatch, Verdict
from harness.targets.profile import load_profile
from harness.targets.vocabulary import PINS
from harness.wire.clock import SECOND
from harness.wire.codec import decode, encode
from harness.wire.ip import dissect
from harness.wire.segment import ACK, ECE, FIN, PSH, RST, SYN, Flow, Kind, Option, Segment

FLOW = Flow(local=bytes(4), local_port=1, target=b"\1" * 4, target_port=2)
FLOW6 = Flow(local=bytes(16), local_port=1, target=b"\1" * 16, target_port=2)
OURS, THEIRS = 0xFFFFFFF0, 0xFFFFFF00
MS = SECOND // 1000
NOP, EOL = Option(Kind.NOP), Option(Kind.EOL)
LINUX = load_profile("linux").with_version("6.12.0")


def stamps(value: int, echo: int = 0) -> Option:
    return Option.of(Kind.TIMESTAMPS, value.to_bytes(4, "big") + echo.to_bytes(4, "big"))


def mss(value: int = 1460) -> Option:
    return Option.of(Kind.MSS, value.to_bytes(2, "big"))


def scale(value: int = 7) -> Option:
    return Option.of(Kind.WINDOW_SCALE, bytes((value,)))


SACK_OK = Option.of(Kind.SACK_PERMITTED)
SACK = Option.of(Kind.SACK, bytes(8))
ALL = (mss(), SACK_OK, stamps(1), NOP, scale())


def at(base: int, relative: int) -> int:
    return (base + relative) % 2**32


def heard(segment: Segment, *, identification: int = 0, fragments: bool = False, flow: Flow = FLOW) -> Segment:
    """A segment as it comes off the wire, IP header and all."""
    packet = bytearray(encode(segment, turned(flow)))
    if not flow.ipv6:
        packet[4:6] = identification.to_bytes(2, "big")
        packet[6] = 0 if fragments else 0x40
    known = dissect(bytes(packet))
    assert known is not None
    decoded = decode(known, stamp_ns=segment.stamp_ns)
    assert decoded is not None
    return decoded


class Exchange:
    """A connection that is opened, segment by segment, and what is not as pinned."""

    def __init__(self, *, flow: Flow = FLOW, changed: set[str] | None = None, tolerance_ns: int = 0,
                 **pins: Any) -> None:
        self.flow = flow
        self.changed = set() if changed is None else changed
        self.fingerprint = Fingerprint(Pins(**pins), ipv6=flow.ipv6, changed=self.changed,
                                       tolerance_ns=lambda: tolerance_ns)

    def say(self, flags: int, seq: int = 0, **fields: Any) -> None:
        self.fingerprint.sent(Segment(flags=flags, seq=at(OURS, seq), **fields))

    def hear(self, flags: int, seq: int = 0, ack: int | None = 1, identification: int = 0, fragments: bool = False,
             **fields: Any) -> list[str]:
        known: dict[str, Any] = {"window": 1000, "stamp_ns": 0, "seq": at(THEIRS, seq),
                                 "ack": None if ack is None else at(OURS, ack)}
        segment = heard(Segment(flags=flags, **known | fields), identification=identification, fragments=fragments,
                        flow=self.flow)
        return [f"{unlike.pin}: {unlike.expected} / {unlike.got}" for unlike in self.fingerprint.judge(segment)]

    def opened(self, *ours: Option, theirs: tuple[Option, ...] = (), window: int = 1000) -> Exchange:
        """We opened. What the SYN,ACK is like is not looked at."""
        self.say(SYN, options=ours)
        self.hear(SYN | ACK, window=window, options=theirs)
        return self

    def connected(self, *ours: Option, theirs: tuple[Option, ...] = (), window: int = 1000) -> Exchange:
        """The target opened, and we have answered."""
        self.hear(SYN, ack=None, window=window, options=theirs)
        self.say(SYN | ACK, options=ours)
        return self


# -- what is pinned -------------------------------------------------------------------------------------------------

def test_nothing_pinned_is_nothing_found() -> None:
    fingerprint = Fingerprint(NOTHING, ipv6=False)
    assert fingerprint.judge(heard(Segment(flags=ACK, ttl=7, window=3))) == []
    assert Exchange().hear(RST | ACK, window=17, ttl=3, fragments=True, options=(EOL,) * 4) == []


def test_every_pin_is_described_and_linux_pins_them_all() -> None:
    """But for one: in Linux a connection's reset has the window that its next segment would have had."""
    assert sorted(term.name for term in PINS) == sorted(Pins.__dataclass_fields__)
    assert set(LINUX.fingerprint) == {term.name for term in PINS} - {"abort_window"}
    assert LINUX.pins(ipv6=False) != LINUX.pins(ipv6=True)


@pytest.mark.parametrize("flags", [SYN | ACK, ACK, ACK | PSH, RST, RST | ACK, FIN | ACK])
def test_ttl(flags: int) -> None:
    exchange = Exchange(ttl=64)
    assert exchange.hear(flags, ttl=64) == []
    assert exchange.hear(flags, ttl=63) == ["ttl: ttl 64 / ttl 63"]


def test_traffic_class() -> None:
    exchange = Exchange(traffic_class=0x20)
    assert exchange.hear(ACK, traffic_class=0x20) == []
    assert exchange.hear(ACK, traffic_class=0x22) == ["traffic_class: traffic class 32 / traffic class 34"]
    assert exchange.hear(ACK, traffic_class=0) == ["traffic_class: traffic class 32 / traffic class 0"]


def test_ecn_bits_are_free_once_ecn_may_be_agreed() -> None:
    exchange = Exchange(traffic_class=0x20)
    exchange.say(SYN | ECE)
    assert exchange.hear(ACK, traffic_class=0x22) == []
    assert len(exchange.hear(ACK, traffic_class=0x42)) == 1


def test_dont_fragment() -> None:
    exchange = Exchange(dont_fragment=True)
    assert exchange.hear(ACK) == []
    assert exchange.hear(ACK, fragments=True) == ["dont_fragment: DF 1 / DF 0"]
    assert Exchange(dont_fragment=False).hear(ACK) == ["dont_fragment: DF 0 / DF 1"]
    assert Exchange(dont_fragment=True, flow=FLOW6).hear(ACK) == []


def test_identification() -> None:
    exchange = Exchange(identification="counted").opened()
    assert exchange.hear(SYN | ACK, identification=5) == ["identification: identification 0 / identification 5"]
    exchange = Exchange(identification="counted").opened()
    assert exchange.hear(ACK, identification=65534) == []
    assert exchange.hear(ACK, identification=65535) == []
    assert exchange.hear(ACK, identification=0) == []
    exchange = Exchange(identification="counted").opened()
    assert exchange.hear(ACK, identification=7) == []
    assert exchange.hear(ACK, identification=9) == ["identification: identification 8 / identification 9"]
    assert exchange.hear(ACK, identification=9) == ["identification: identification 10 / identification 9"]
    assert exchange.hear(ACK, identification=0) == ["identification: identification 10 / identification 0"]
    assert exchange.hear(RST, seq=3, ack=None, identification=0) == []
    assert exchange.hear(RST, seq=3, ack=None, identification=10) == [
        "identification: identification 0 / identification 10"]


def test_identification_counts_on_over_its_end() -> None:
    exchange = Exchange(identification="counted").opened()
    for number in (65535, 0, 1, 2):
        assert exchange.hear(ACK, identification=number) == []
    assert exchange.hear(ACK, identification=4) == ["identification: identification 3 / identification 4"]


def test_identification_of_what_is_left_after_a_fin() -> None:
    exchange = Exchange(identification="counted").opened()
    assert exchange.hear(FIN | ACK, identification=7) == []
    assert exchange.hear(ACK, identification=0) == []
    assert exchange.hear(ACK, identification=7) == ["identification: identification 8 / identification 7"]


def test_mss_and_scale_that_are_offered() -> None:
    exchange = Exchange(mss=1460, window_scale=7)
    assert exchange.hear(SYN, ack=None, options=(mss(), scale())) == []
    assert exchange.hear(SYN, ack=None, options=(mss(1459), scale(8))) == [
        "mss: mss 1460 / mss 1459", "window_scale: wscale 7 / wscale 8"]
    assert exchange.hear(SYN | ACK, options=(mss(1461),)) == ["mss: mss 1460 / mss 1461"]
    assert exchange.hear(SYN | ACK) == []  # what is left out is the layout's affair
    assert exchange.hear(SYN | ACK, options=(Option(Kind.MSS, b"\5", 3),)) == ["mss: mss 1460 / mss malformed"]


def test_windows_of_an_opening() -> None:
    pins = {"syn_window": 100, "syn_ack_window": 200, "syn_ack_window_with_timestamps": 300}
    assert Exchange(**pins).hear(SYN, ack=None, window=100) == []
    assert Exchange(**pins).hear(SYN, ack=None, window=99) == ["syn_window: win 100 / win 99"]
    assert Exchange(**pins).hear(SYN | ACK, window=200) == []
    assert Exchange(**pins).hear(SYN | ACK, window=300) == ["syn_ack_window: win 200 / win 300"]
    assert Exchange(**pins).hear(SYN | ACK, window=300, options=(stamps(1),)) == []
    assert Exchange(**pins).hear(SYN | ACK, window=200, options=(stamps(1),)) == [
        "syn_ack_window_with_timestamps: win 300 / win 200"]


def test_the_syn_ack_of_crossed_syns_is_the_targets_syn_again() -> None:
    exchange = Exchange(syn_window=100, syn_ack_window=200, syn_layouts=(parse_layout("mss,nop,nop,sackOK"),),
                        syn_ack_layouts=(parse_layout("mss"),), identification="counted")
    said = {"window": 100, "options": (mss(), NOP, NOP, SACK_OK)}
    assert exchange.hear(SYN, ack=None, identification=4, **said) == []
    exchange.say(SYN)
    assert exchange.hear(SYN | ACK, identification=5, **said) == []
    assert exchange.hear(SYN | ACK, identification=7, window=200, options=(mss(),)) == [
        "identification: identification 6 / identification 7", "syn_window: win 100 / win 200",
        "syn_layouts: <mss,nop,nop,sackOK> / <mss>"]


# -- the right edge of the window -------------------------------------------------------------------------------------

def test_the_right_edge_stays_for_so_many_octets() -> None:
    exchange = Exchange(right_edge_octets=200).opened(window=1000)
    assert exchange.hear(ACK, window=1000) == []
    assert exchange.hear(ACK, ack=101, window=900) == []
    assert exchange.hear(ACK, ack=101, window=901) == ["right_edge_octets: win 900 / win 901"]
    exchange = Exchange(right_edge_octets=200).opened(window=1000)
    assert exchange.hear(ACK, ack=101, window=899) == ["right_edge_octets: win 900 / win 899"]
    assert exchange.hear(RST | ACK, seq=1, ack=201, window=799) == []
    assert exchange.hear(RST | ACK, seq=1, ack=201, window=800) == ["right_edge_octets: win 799 / win 800"]
    assert exchange.hear(ACK, ack=202, window=5) == []


def test_the_right_edge_is_rounded_up_to_the_scale() -> None:
    exchange = Exchange(right_edge_octets=200).opened(scale(), theirs=(scale(),), window=1000)
    assert exchange.hear(ACK, window=8) == []  # 1024
    assert exchange.hear(ACK, ack=101, window=8) == []  # 924 are 7.2
    assert exchange.hear(ACK, ack=101, window=9) == ["right_edge_octets: win 8 / win 9"]
    unscaled = Exchange(right_edge_octets=200).opened(theirs=(scale(),), window=1000)
    assert unscaled.hear(ACK, window=8) == ["right_edge_octets: win 1000 / win 8"]


def test_the_right_edge_of_a_connection_that_the_target_opened() -> None:
    exchange = Exchange(right_edge_octets=200).connected(scale(), theirs=(scale(),), window=1000)
    assert exchange.hear(ACK, window=7) == ["right_edge_octets: win 8 / win 7"]
    exchange = Exchange(right_edge_octets=200).connected(scale(), theirs=(scale(),), window=1000)
    assert exchange.hear(ACK, window=8) == []
    exchange = Exchange(right_edge_octets=200).connected(theirs=(scale(),), window=1000)
    assert exchange.hear(ACK, window=1000) == []


def test_what_is_left_after_a_fin_may_repeat_the_last_window() -> None:
    exchange = Exchange(right_edge_octets=200).opened(window=1000)
    assert exchange.hear(FIN | ACK, window=1000) == []
    assert exchange.hear(ACK, ack=2, window=1000) == []
    assert exchange.hear(ACK, ack=2, window=998) == ["right_edge_octets: win 1000 / win 998"]
    exchange = Exchange(right_edge_octets=200).opened(window=1000)
    assert exchange.hear(ACK, ack=2, window=1000) == ["right_edge_octets: win 999 / win 1000"]


def test_a_new_opening_begins_anew() -> None:
    exchange = Exchange(right_edge_octets=200).opened(window=1000)
    exchange.say(SYN, seq=5000)
    exchange.hear(SYN | ACK, seq=77, ack=5001, window=500)
    assert exchange.hear(ACK, seq=78, ack=5001, window=500) == []
    assert exchange.hear(ACK, seq=78, ack=5001, window=1000) == ["right_edge_octets: win 500 / win 1000"]


# -- resets, fields and layouts -------------------------------------------------------------------------------------

def test_the_window_of_a_reset_that_no_connection_sends() -> None:
    exchange = Exchange(reset_window=0)
    assert exchange.hear(RST, ack=None, window=0) == []
    assert exchange.hear(RST, ack=None, window=1) == ["reset_window: win 0 / win 1"]
    assert exchange.hear(RST | ACK, seq=-THEIRS, window=1) == ["reset_window: win 0 / win 1"]
    assert exchange.hear(RST | ACK, seq=1, window=1) == []


def test_the_window_of_a_reset_that_a_connection_sends() -> None:
    exchange = Exchange(abort_window=0, right_edge_octets=200).opened(window=1000)
    assert exchange.hear(RST | ACK, seq=1, window=0) == []
    assert exchange.hear(RST | ACK, seq=1, window=1) == ["abort_window: win 0 / win 1"]
    assert exchange.hear(ACK, seq=1, window=1000) == []
    assert Exchange(abort_window=0).hear(RST | ACK, seq=-THEIRS, window=1) == []
    assert Exchange(right_edge_octets=200).opened(window=1000).hear(RST | ACK, seq=1, window=0) == [
        "right_edge_octets: win 1000 / win 0"]


@pytest.mark.parametrize(("rounding", "due"), [(None, 251), ("up", 251), ("down", 250)])
def test_a_window_is_rounded_to_its_scale(rounding: str | None, due: int) -> None:
    """The SYN,ACK has offered 1001 octets, and its scale tells four at a time."""
    exchange = Exchange(right_edge_octets=0, window_rounding=rounding).opened(scale(2), theirs=(scale(2),), window=1001)
    assert exchange.hear(ACK, window=due) == []
    assert exchange.hear(ACK, window=due + 1) == [f"right_edge_octets: win {due} / win {due + 1}"]
    assert exchange.hear(ACK, ack=2, window=7) == []


def test_the_field_where_the_bit_is_not_set() -> None:
    exchange = Exchange(ack_without_ack_bit=0)
    assert exchange.hear(SYN, ack=None) == []
    assert exchange.hear(RST, ack=1 - OURS) == [
        "ack_without_ack_bit: without the ACK bit, an acknowledgement field of 0 / without the ACK bit, an "
        "acknowledgement field of 1"]
    assert exchange.hear(ACK, ack=5) == []


LAYOUTS = tuple(map(parse_layout, ("mss", "mss,nop,wscale", "mss,nop,nop,sackOK", "mss,nop,nop,TS", "mss,sackOK,TS",
                                   "mss,sackOK,TS,nop,wscale")))


@pytest.mark.parametrize(("offered", "due"), [
    ((), (mss(),)), ((mss(),), (mss(),)), ((mss(), scale()), (mss(), NOP, scale())),
    ((SACK_OK,), (mss(), NOP, NOP, SACK_OK)), (ALL, ALL), ((EOL, SACK_OK), (mss(),)),
    ((Option(Kind.SACK_PERMITTED, b"\0", 3),), (mss(),)),
    ((stamps(1),), (mss(), NOP, NOP, stamps(1))), ((stamps(1), SACK_OK), (mss(), SACK_OK, stamps(1))),
])
def test_a_syn_ack_has_the_layout_that_uses_most_of_the_offer(offered: tuple[Option, ...],
                                                             due: tuple[Option, ...]) -> None:
    def answer(*options: Option) -> int:
        exchange = Exchange(syn_ack_layouts=LAYOUTS)
        exchange.say(SYN, options=offered)
        return len(exchange.hear(SYN | ACK, options=options))

    others = [(), (mss(), EOL, EOL, EOL, EOL), (*due, NOP, NOP, NOP, NOP), (NOP, NOP, NOP, NOP, *due)]
    assert answer(*due) == 0
    assert [answer(*other) for other in others] == [1] * len(others)


def test_nobody_knows_which_of_two_offers_a_syn_ack_answers() -> None:
    exchange = Exchange(syn_ack_layouts=LAYOUTS)
    exchange.say(SYN, options=(mss(),))
    exchange.say(SYN, options=ALL)
    assert exchange.hear(SYN | ACK, options=(mss(),)) == []
    assert exchange.hear(SYN | ACK, options=ALL) == []


def test_layouts_of_other_segments() -> None:
    exchange = Exchange(layouts=tuple(map(parse_layout, ("", "nop,nop,TS", "nop,nop,sack"))))
    assert exchange.hear(ACK) == []
    assert exchange.hear(ACK, options=(NOP, NOP, stamps(1))) == []
    assert exchange.hear(ACK, options=(stamps(1), NOP, NOP)) == [
        "layouts: no options or <nop,nop,TS> or <nop,nop,sack> / <TS,nop,nop>"]
    assert len(exchange.hear(ACK | PSH, options=(EOL,) * 4)) == 1
    assert len(exchange.hear(FIN | ACK, options=(NOP, NOP, SACK, EOL, EOL, EOL, EOL))) == 1
    assert exchange.hear(RST | ACK, seq=1, options=(NOP, NOP, stamps(1))) == []
    assert exchange.hear(RST, ack=None, options=(NOP, NOP, stamps(1))) == ["layouts: no options / <nop,nop,TS>"]


def test_time_stamps_in_the_reset_of_a_connection() -> None:
    exchange = Exchange(reset_timestamps=True).opened(stamps(1), theirs=(stamps(1),))
    assert exchange.hear(RST | ACK, seq=1, options=(NOP, NOP, stamps(1))) == []
    assert exchange.hear(RST | ACK, seq=1) == [
        "reset_timestamps: time stamps in the reset of a connection that has them / no options"]
    assert exchange.hear(RST, ack=None) == []
    assert Exchange(reset_timestamps=True).opened(theirs=(stamps(1),)).hear(RST | ACK, seq=1) == []
    exchange = Exchange(reset_timestamps=True).connected(stamps(1), theirs=(stamps(1),))
    exchange.hear(ACK)
    assert len(exchange.hear(RST | ACK, seq=1)) == 1


# -- the clock of the time stamps --------------------------------------------------------------------------------------

def ticking(*said: tuple[float, int], tolerance_ns: int = 0, changed: set[str] | None = None) -> list[list[str]]:
    """What is found in segments that came at these milliseconds with these time stamps."""
    exchange = Exchange(timestamp_hz=1000, tolerance_ns=tolerance_ns, changed=changed)
    return [exchange.hear(ACK, options=(NOP, NOP, stamps(value % 2**32)), stamp_ns=round(ms * MS))
            for ms, value in said]


def test_time_stamps_that_keep_pace() -> None:
    assert ticking((0.0, 5), (0.2, 5), (0.9, 6), (1.15, 6), (1000.5, 1005)) == [[], [], [], [], []]


def test_a_time_stamp_that_is_ahead_or_behind() -> None:
    assert ticking((0.0, 5), (10.0, 14))[1] == ["timestamp_hz: TS val 15 / TS val 14"]
    assert ticking((0.0, 5), (10.5, 14))[1] == ["timestamp_hz: TS val 15 or 16 / TS val 14"]
    assert ticking((0.0, 5), (10.5, 17))[1] == ["timestamp_hz: TS val 15 or 16 / TS val 17"]
    assert ticking((0.0, 5), (3600_000.0, 3600_006))[1] == ["timestamp_hz: TS val 3600005 / TS val 3600006"]


def test_each_time_stamp_narrows_down_what_the_next_may_be() -> None:
    assert ticking((0.0, 5), (0.5, 6), (10.5, 15))[2] == ["timestamp_hz: TS val 16 / TS val 15"]
    assert ticking((0.0, 5), (0.5, 5), (10.5, 16))[2] == ["timestamp_hz: TS val 15 / TS val 16"]


def test_units_that_begin_with_those_of_our_clock_leave_nothing_open() -> None:
    def aligned(*said: tuple[float, int], tolerance_ns: int = 0) -> list[int]:
        exchange = Exchange(timestamp_hz=1000, timestamp_aligned=True, tolerance_ns=tolerance_ns)
        return [len(exchange.hear(ACK, options=(NOP, NOP, stamps(value)), stamp_ns=round(ms * MS)))
                for ms, value in said]

    assert aligned((7.9, 5), (8.1, 6), (8.9, 6), (107.99, 105), (108.0, 106)) == [0, 0, 0, 0, 0]
    assert aligned((7.9, 5), (8.1, 5), (8.1, 7)) == [0, 1, 1]
    assert aligned((7.1, 5), (8.1, 5), (8.1, 7), (8.9, 6)) == [0, 1, 1, 0]
    assert aligned((8.01, 5), (9.0, 7), tolerance_ns=MS // 50) == [0, 0]
    assert aligned((8.03, 5), (9.0, 7), tolerance_ns=MS // 50) == [0, 1]


def test_what_is_wrong_does_not_move_the_clock() -> None:
    assert [len(found) for found in ticking((0.0, 5), (10.0, 50), (20.0, 25), (20.0, 26))] == [0, 1, 0, 1]


def test_time_stamps_wrap_also_more_than_once() -> None:
    days_ms = 60 * 86_400_000
    assert ticking((0.0, 2**32 - 5), (10.0, 5), (float(days_ms), days_ms - 5))[1:] == [[], []]
    assert len(ticking((0.0, 2**32 - 5), (float(days_ms), days_ms - 6))[1]) == 1


def test_a_machine_that_was_late_may_have_stamped_late() -> None:
    assert ticking((0.0, 5), (13.0, 15), tolerance_ns=3 * MS) == [[], []]
    assert len(ticking((0.0, 5), (13.0, 15), tolerance_ns=1 * MS)[1]) == 1


# -- what frees a pin ------------------------------------------------------------------------------------------------

def test_an_option_of_the_application_frees_what_it_changes() -> None:
    assert Exchange(mss=1460, syn_window=5, ttl=64, changed={"TCP_MAXSEG"}).hear(
        SYN, ack=None, window=9, ttl=1, options=(mss(500),)) == ["ttl: ttl 64 / ttl 1"]
    assert Exchange(window_scale=7, mss=1460, changed={"SO_RCVBUF"}).hear(
        SYN, ack=None, options=(mss(500), scale(3))) == ["mss: mss 1460 / mss 500"]
    assert Exchange(ttl=64, traffic_class=0, changed={"IP_TTL", "IPV6_TCLASS"}).hear(
        ACK, ttl=1, traffic_class=4) == []
    assert Exchange(ttl=64, changed={"TCP_NODELAY"}).hear(ACK, ttl=1) != []


def test_a_flood_frees_what_a_cookie_does_not_hold() -> None:
    changed = {FLOOD}
    assert ticking((0.0, 5), (10.0, 50), changed=changed)[1] == []
    exchange = Exchange(syn_ack_layouts=LAYOUTS, right_edge_octets=200, mss=1460, changed=changed)
    exchange.say(SYN, options=ALL)
    assert exchange.hear(SYN | ACK, options=(mss(),)) == []
    assert exchange.hear(ACK, window=17) == []
    assert len(exchange.hear(SYN | ACK, options=(mss(5),))) == 1


# -- on the way through a case -----------------------------------------------------------------------------------------

class Pinning(Values):
    """A profile that pins three things."""

    def sentinel(self) -> str:
        return "closed-port"

    def pins(self, *, ipv6: bool) -> Pins:
        return Pins(ttl=63 if ipv6 else 64, mss=1460, timestamp_hz=1000)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr("scripted.Values", Pinning)
    return Scripted()


@pytest.fixture
def made(target: Scripted) -> Case:
    return target.case()


def found(case: Case) -> list[tuple[str, str, str]]:
    return [(finding.expected, finding.got, finding.detail) for finding in case.story.findings]


def test_a_case_writes_down_what_is_not_as_pinned_and_goes_on(target: Scripted, made: Case) -> None:
    peer = made.peer()
    target.say(peer, "R 7:7(0)", ttl=60)
    peer.expect("R 7:7(0)")
    made.finish()
    [finding] = made.story.findings
    assert (finding.requirement, finding.level, finding.source) == ("fingerprint", "FINGERPRINT", "fingerprint")
    assert (finding.expected, finding.got, finding.fields) == ("ttl 64", "ttl 60", ("ttl",))
    assert (finding.detail, finding.verdict, finding.binding) == ("pinned: ttl", Verdict.PASS, False)
    assert made.story.steps[finding.step].text.startswith("R 7:7(0)")


def test_it_takes_no_other_findings_place(target: Scripted, made: Case) -> None:
    peer = made.peer()
    target.say(peer, "R 7:7(0)", ttl=0)
    peer.expect("R 7:7(0)")
    with pytest.raises(Mismatch, match="RFC1122-IP-TTL0"):
        made.finish()
    assert len(made.story.findings) == 2


def test_the_family_chooses_its_values(target: Scripted) -> None:
    case = target.case(family="ipv6")
    peer = case.peer()
    target.say(peer, "R 7:7(0)", ttl=64)
    peer.expect("R 7:7(0)")
    assert found(case) == [("ttl 63", "ttl 64", "pinned: ttl")]


def test_what_an_application_sets_is_known_for_its_port(target: Scripted) -> None:
    target.script_upper()
    case = target.case()
    upper = Application(case)
    peer, other = case.peer(), case.peer()
    upper.listen(peer.flow.target_port, options={"TCP_MAXSEG": 500})
    for each in (peer, other):
        each.send("S 0:0(0) win 65535 <mss 1460>")
        target.say(each, "S. 0:0(0) ack 1 <mss 500>", ttl=64)
        each.expect("S. 0:0(0) ack 1 <mss 500>")
    assert found(case) == [("mss 1460", "mss 500", "pinned: mss")]
    connection, _ = upper.connect(other, options={"SO_RCVBUF": 4096})
    connection.set_option("IP_TTL", 9)
    target.say(other, ". 1:1(0) ack 1", ttl=9)
    other.expect(". 1:1(0) ack 1")
    assert len(found(case)) == 1
    assert case.changed[other.flow.target_port] == {"SO_RCVBUF", "IP_TTL"}


def test_a_flood_is_known_for_its_port(target: Scripted, made: Case) -> None:
    Flood(made, 4711).send(3)
    assert made.changed == {4711: {FLOOD}}


def test_the_time_stamps_of_a_late_machine_are_held_against_how_late_it_was(target: Scripted, made: Case) -> None:
    made.timing = replace(made.timing, tolerance_ns=5 * MS)
    peer = made.peer()
    for at_s, value in ((0.0, 100), (0.104, 200), (0.2, 350)):
        target.say(peer, f". 0:0(0) ack 0 <nop,nop,TS val {value} ecr 0>", after_s=at_s, ttl=64)
    for _ in range(3):
        peer.expect(". 0:0(0) ack 0 <...>", ack=None, seq=None)
    assert [got for _, got, _ in found(made)] == ["TS val 350"]


def test_a_case_writes_down_a_hundred_at_most(target: Scripted, made: Case) -> None:
    peer = made.peer()
    for _ in range(120):
        segment = theirs(peer, "R 7:7(0)", ttl=9)
        peer.deliver(heard(segment, flow=peer.flow))
    assert len(made.story.findings) == 100
