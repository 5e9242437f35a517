# SPDX-License-Identifier: GPL-2.0-or-later
"""The lies: each changes the one thing that it names, and what only tells of it is mended.

What is not named has to come out of the decoder as it went in. The tables are gone over as they are, so that a new line
is held to the same.
"""

from __future__ import annotations

import struct
from dataclasses import fields as fields_of
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.audit import answers
from harness.audit.auditor import known_lies
from harness.audit.lies import BEHIND, DROP, EARLY, HEADER, ICMP, INVENTIONS, LATE, NETWORK, TWICE, Lie, lies_of
from harness.audit.parts import Parts
from harness.targets.base import PHANTOM_MAC, TARGET_MAC, addresses
from harness.upper.base import STATES
from harness.wire import ip
from harness.wire.clock import Outcome
from harness.wire.codec import decode, encode
from harness.wire.frame import Frame
from harness.wire.icmp import decode_icmp, encode_icmp, icmp_error
from harness.wire.ip import dissect, encode_udp, header_is_good, ip_packet
from harness.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Checksum, Flow, Kind, Option, Segment

ETHERNET = 14
MODULUS = 1 << 32
PLAIN = frozenset(field.name for field in fields_of(Segment)) - {"verdict", "stamp_ns", "outgoing", "raw", "checksum"}
"""What is compared; a checksum is as its octets are."""

EVERY_OPTION = (
    Option.of(Kind.MSS, b"\x05\xb4"), Option.of(Kind.SACK_PERMITTED), Option.of(Kind.TIMESTAMPS, bytes(range(1, 9))),
    Option.of(Kind.NOP), Option.of(Kind.WINDOW_SCALE, b"\x07"), Option.of(Kind.USER_TIMEOUT, b"\x00\x1e"),
    Option.of(253, b"\x0a\x0b"))
SEGMENTS = {
    "syn": Segment(flags=SYN, seq=MODULUS - 1, window=64240, options=EVERY_OPTION),
    "syn-ack": Segment(flags=SYN | ACK, seq=0, ack=0, window=65535, options=(Option.of(Kind.MSS, b"\x05\xb4"),)),
    "ack": Segment(flags=ACK, seq=1, ack=MODULUS - 1, window=502),
    "sack": Segment(flags=ACK, seq=1, ack=1, window=1, options=(
        Option.of(Kind.NOP), Option.of(Kind.NOP), Option.of(Kind.TIMESTAMPS, b"\0\0\0\0\xff\xff\xff\xff"),
        Option.of(Kind.SACK, struct.pack(">IIII", 0, 101, MODULUS - 1, 5)))),
    "data": Segment(flags=PSH | ACK, seq=MODULUS - 5, ack=1, window=0, payload=b"all the octets"),
    "odd-data": Segment(flags=ACK | URG, seq=9, ack=1, window=9, urgent=3, payload=b"\xff"),
    "fin": Segment(flags=FIN | ACK, seq=7, ack=8, window=65535, traffic_class=2),
    "reset": Segment(flags=RST, seq=77, window=0),
    "full-header": Segment(flags=ACK, seq=7, ack=8, window=5, options=(Option.of(254, bytes(38)),), payload=b"x"),
}
FAMILIES = ("ipv4", "ipv6")


def frame_of(packet: bytes) -> Frame:
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    return Frame(data=PHANTOM_MAC + TARGET_MAC + kind + packet, stamp_ns=12345)


def said_by_the_target(segment: Segment, family: str) -> Frame:
    ends = addresses(family)
    return frame_of(encode(segment, Flow(local=ends.target, local_port=9, target=ends.local, target_port=5000)))


def packet_in(octets: bytes) -> ip.Packet:
    packet = dissect(octets[ETHERNET:])
    assert packet is not None
    assert octets[ETHERNET:] == packet.raw, "the lengths do not count what is there"
    return packet


def segment_in(octets: bytes) -> Segment:
    segment = decode(packet_in(octets))
    assert segment is not None
    return segment


def plain(segment: Segment) -> dict[str, Any]:
    return {name: getattr(segment, name) for name in PLAIN}


def changed(one: Segment, other: Segment) -> set[str]:
    before, after = plain(one), plain(other)
    return {name for name in PLAIN if before[name] != after[name]}


FRAMES = {f"{name}-{family}": said_by_the_target(segment, family)
          for name, segment in SEGMENTS.items() for family in FAMILIES}
TCP = [pytest.param(frame, id=name) for name, frame in FRAMES.items()]


def lies_in(*tables: tuple[Lie, ...]) -> list[Any]:
    return [pytest.param(lie, id=lie.name) for table in tables for lie in table]


def told(lie: Lie, frame: Frame) -> bytes:
    octets = lie.tell(frame)
    assert octets is not None
    return octets


def tellable(*tables: tuple[Lie, ...]) -> Any:
    """The lies of these tables, each with every segment of which it can be told."""
    return pytest.mark.parametrize(("lie", "frame"), [
        pytest.param(lie, frame, id=f"{lie.name}-{name}")
        for table in tables for lie in table for name, frame in FRAMES.items() if lie.tell(frame) is not None])


# -- the TCP header ---------------------------------------------------------------------------------------------------

PARTS_OF = {"flags": {"flags"}, "seq": {"seq"}, "ack": {"ack"}, "window": {"window"}, "urgent": {"urgent"},
            "reserved": {"reserved"}, "checksum": set(), "offset": {"offset", "options"}, "payload": {"payload"}}
"""What of a decoded segment a lie about this field changes."""


@tellable(HEADER)
def test_a_lie_about_the_header_changes_what_it_names_and_nothing_else(lie, frame):
    before, after = segment_in(frame.data), segment_in(told(lie, frame))
    assert changed(before, after) == PARTS_OF[lie.field]
    assert after.verdict is (Checksum.BAD if lie.field == "checksum" else Checksum.GOOD)
    assert header_is_good(packet_in(told(lie, frame)))


@tellable(HEADER, NETWORK, INVENTIONS)
def test_a_lie_leaves_the_ethernet_header_alone_and_is_told_alike_each_time(lie, frame):
    octets = told(lie, frame)
    assert octets[:ETHERNET] == frame.data[:ETHERNET]
    assert lie.tell(frame) == octets
    if lie.manner == "instead":
        assert octets != frame.data


@pytest.mark.parametrize("frame", TCP)
@pytest.mark.parametrize(("name", "field", "amount"), [
    ("seq+1", "seq", 1), ("seq-1", "seq", -1), ("seq+2^31", "seq", 1 << 31), ("ack+1", "ack", 1), ("ack-1", "ack", -1)])
def test_numbers_go_round(name, field, amount, frame):
    lie = next(lie for lie in HEADER if lie.name == name)
    before, after = segment_in(frame.data), segment_in(told(lie, frame))
    assert getattr(after, field) == (getattr(before, field) + amount) % MODULUS


@pytest.mark.parametrize("frame", TCP)
def test_each_flag_is_flipped_by_one_lie(frame):
    before = segment_in(frame.data).flags or 0
    flipped = [(segment_in(told(lie, frame)).flags or 0) ^ before for lie in HEADER if lie.field == "flags"]
    assert sorted(flipped) == [1 << bit for bit in range(9)]


@pytest.mark.parametrize("frame", TCP)
@pytest.mark.parametrize(("name", "due"), [
    ("win=0", lambda window: 0), ("win+1", lambda window: window + 1), ("win-1", lambda window: window - 1),
    ("win*2", lambda window: 2 * window)])
def test_a_window_stays_within_its_field(name, due, frame):
    lie = next(lie for lie in HEADER if lie.name == name)
    window = segment_in(frame.data).window or 0
    wanted = min(max(due(window), 0), 0xFFFF)
    octets = lie.tell(frame)
    if wanted == window:
        assert octets is None
    else:
        assert octets is not None
        assert segment_in(octets).window == wanted


@pytest.mark.parametrize("frame", TCP)
def test_the_payload_is_changed_in_one_place(frame):
    before = segment_in(frame.data).payload or b""
    by_name = {lie.name: lie.tell(frame) for lie in HEADER if lie.field == "payload"}
    if not before:
        assert set(by_name.values()) == {None}
        return
    said = {name: segment_in(octets or b"").payload or b"" for name, octets in by_name.items()}
    flipped = int.from_bytes(said["bit"], "big") ^ int.from_bytes(before, "big")
    assert flipped.bit_count() == 1
    assert said["octet-1"] == before[:-1]
    assert said["octet+1"][:-1] == before


@pytest.mark.parametrize("frame", TCP)
def test_the_data_offset_grows_over_padding(frame):
    lie = next(lie for lie in HEADER if lie.name == "offset+1")
    before = segment_in(frame.data)
    octets = lie.tell(frame)
    if before.offset == 15:
        assert octets is None
        return
    after = segment_in(octets or b"")
    assert after.offset == (before.offset or 0) + 1
    kinds = [option.kind for option in after.options or ()]
    assert kinds == [*(option.kind for option in before.options or ()), *[Kind.EOL] * 4]


# -- options ----------------------------------------------------------------------------------------------------------


def without_padding(segment: Segment) -> list[Option]:
    return [option for option in segment.options or () if option.kind != Kind.EOL]


@pytest.mark.parametrize("frame", TCP)
def test_a_lie_about_an_option_leaves_the_others_as_they_are(frame):
    before = segment_in(frame.data)
    for lie in (lie for lie in lies_of(frame) if lie.field == "options"):
        after = segment_in(told(lie, frame))
        assert changed(before, after) - {"offset"} == {"options"}, lie.name
        assert after.verdict is Checksum.GOOD
        if "length" in lie.name:
            continue  # what follows a length that lies is read otherwise; see below
        left = without_padding(after)
        same = [option for option in without_padding(before) if option in left]
        assert len(without_padding(before)) - len(same) <= 1, lie.name
        assert len(left) - len(same) == {"-removed": 0}.get(lie.name[-8:], 1), lie.name


@pytest.mark.parametrize("frame", TCP)
def test_every_option_is_lied_about_in_every_way_of_its_kind(frame):
    kinds = {option.kind for option in without_padding(segment_in(frame.data))} - {Kind.NOP}
    names = [lie.name for lie in lies_of(frame) if lie.field == "options"]
    assert len(names) == len(set(names))
    room = 40 - 4 * ((segment_in(frame.data).offset or 5) - 5)
    assert sum(name.endswith("-removed") for name in names) == len(kinds)
    assert sum(name.endswith("length-1") for name in names) == len(kinds)
    if room >= 12:
        assert sum(name.endswith("-doubled") for name in names) == len(kinds)


def told_of_options(frame: Frame, name: str) -> list[Option]:
    return without_padding(segment_in(told(next(lie for lie in lies_of(frame) if lie.name == name), frame)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "kind", "data"), [
    ("mss+1", Kind.MSS, b"\x05\xb5"), ("mss-1", Kind.MSS, b"\x05\xb3"), ("mss=536", Kind.MSS, b"\x02\x18"),
    ("ws+1", Kind.WINDOW_SCALE, b"\x08"), ("ws=0", Kind.WINDOW_SCALE, b"\x00"),
    ("tsval-1", Kind.TIMESTAMPS, bytes((1, 2, 3, 3, 5, 6, 7, 8))),
    ("tsecr+1", Kind.TIMESTAMPS, bytes((1, 2, 3, 4, 5, 6, 7, 9)))])
def test_the_value_of_an_option(name, kind, data, family):
    options = told_of_options(said_by_the_target(SEGMENTS["syn"], family), name)
    assert [option.data for option in options if option.kind == kind] == [data]
    assert not any(option.malformed for option in options)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_edge_of_each_sack_block_is_moved_both_ways(family):
    frame = said_by_the_target(SEGMENTS["sack"], family)
    edges = (0, 101, MODULUS - 1, 5)
    moved = []
    for lie in (lie for lie in lies_of(frame) if lie.name.startswith("sack.")):
        (option,) = [option for option in told_of_options(frame, lie.name) if option.kind == Kind.SACK]
        new = struct.unpack(">IIII", option.data)
        moved += [(at, (new[at] - edges[at] + 1) % MODULUS - 1) for at in range(4) if new[at] != edges[at]]
        assert sum(one != other for one, other in zip(new, edges, strict=True)) == 1
    assert sorted(moved) == [(at, amount) for at in range(4) for amount in (-1, 1)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["mss", "sackok", "ts", "ws", "uto", "option253"])
def test_a_length_octet_that_lies_is_told_as_it_is(name, family):
    """The octets stay; only what the length counts changes."""
    frame = said_by_the_target(SEGMENTS["syn"], family)
    lie = next(lie for lie in lies_of(frame) if lie.name == f"{name}length-1")
    before, after = packet_in(frame.data).payload, packet_in(told(lie, frame)).payload
    differs = [at for at in range(len(before)) if before[at] != after[at] and at not in (16, 17)]
    assert len(before) == len(after)
    (at,) = differs
    assert after[at] == before[at] - 1


# -- the IP header ----------------------------------------------------------------------------------------------------


@tellable(tuple(lie for lie in NETWORK if "length" not in lie.name))
def test_a_lie_about_the_ip_header_leaves_the_rest_alone(lie, frame):
    before, after = packet_in(frame.data), packet_in(told(lie, frame))
    assert after.payload == before.payload
    assert segment_in(told(lie, frame)).verdict is Checksum.GOOD
    assert header_is_good(after) is (lie.name != "ip-checksum")
    start = len(before.raw) - len(before.payload)
    differs = {at for at in range(start) if before.raw[at] != after.raw[at]}
    if not before.ipv6:
        differs -= {10, 11}
    assert len(differs) == (0 if lie.name == "ip-checksum" else 1)


@pytest.mark.parametrize("frame", TCP)
@pytest.mark.parametrize("amount", [1, -1])
def test_a_total_length_that_lies(amount, frame):
    lie = next(lie for lie in NETWORK if lie.name == f"ip-length{amount:+}")
    octets = told(lie, frame)[ETHERNET:]
    ipv6 = octets[0] >> 4 == 6
    at = 4 if ipv6 else 2
    assert len(octets) == len(frame.data) - ETHERNET
    count = int.from_bytes(octets[at:at + 2], "big") + (40 if ipv6 else 0)
    assert count == len(octets) + amount
    assert ip.header_checksum_is_good(octets)


def test_a_lie_about_what_ipv6_has_not_cannot_be_told():
    frame = said_by_the_target(SEGMENTS["ack"], "ipv6")
    assert {lie.name for lie in NETWORK if lie.tell(frame) is None} == {"ip-checksum", "df", "ip-id"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "bits"), [("ect0", 2), ("ce", 3)])
def test_ecn_bits(name, bits, family):
    frame = said_by_the_target(SEGMENTS["ack"], family)
    lie = next(lie for lie in NETWORK if lie.name == name)
    assert packet_in(told(lie, frame)).traffic_class == bits


# -- inventions -------------------------------------------------------------------------------------------------------


@tellable(INVENTIONS)
def test_an_invention_follows_what_was_said(lie, frame):
    before, after = segment_in(frame.data), segment_in(told(lie, frame))
    assert after.verdict is Checksum.GOOD
    assert header_is_good(packet_in(told(lie, frame)))
    assert after.seq == ((before.seq or 0) + before.length) % MODULUS
    assert (after.ack, after.window, after.urgent) == (before.ack, before.window, 0)
    assert (after.source_port, after.destination_port) == (before.source_port, before.destination_port)
    assert len(after.payload or b"") == (lie.name == "invent-octet")
    assert after.has(RST) is (lie.name == "invent-rst")


# -- other protocols --------------------------------------------------------------------------------------------------


def icmp_frame(family: str) -> Frame:
    ends = addresses(family)
    quoted = encode(Segment(flags=SYN, seq=5), Flow(local=ends.local, local_port=5000, target=ends.target,
                                                     target_port=9))
    return frame_of(icmp_error(quoted, type=1 if family == "ipv6" else 3, code=1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lie", lies_in(ICMP))
def test_a_lie_about_an_icmp_message_changes_one_thing(lie, family):
    frame = icmp_frame(family)
    before, after = decode_icmp(packet_in(frame.data)), decode_icmp(packet_in(told(lie, frame)))
    assert before is not None
    assert after is not None
    assert after.good_checksum is (lie.name != "icmp-checksum")
    differs = {name for name in ("type", "code", "body") if getattr(before, name) != getattr(after, name)}
    assert differs == {"icmp-type+1": {"type"}, "icmp-code+1": {"code"}, "icmp-quote": {"body"},
                       "icmp-checksum": set()}[lie.name]


def test_a_message_that_quotes_nothing_has_no_quote_to_lie_about():
    ends = addresses("ipv4")
    frame = frame_of(encode_icmp(source=ends.target, destination=ends.local, type=0, code=0, body=b"pong"))
    names = {lie.name for lie in lies_of(frame)}
    assert "icmp-quote" not in names
    assert {"icmp-type+1", "icmp-code+1", "icmp-checksum", "drop", "ttl=1"} <= names


def test_of_other_protocols_the_ip_header_is_lied_about():
    ends = addresses("ipv4")
    frame = frame_of(encode_udp(source=ends.target, destination=ends.local, source_port=9, destination_port=10,
                                payload=b"datagram"))
    names = {lie.name for lie in lies_of(frame)}
    assert names == {"drop", "twice", *(lie.name for lie in NETWORK)}


def test_of_what_is_no_ip_packet_nothing_is_told():
    frame = Frame(data=bytes(12) + b"\x08\x06" + bytes(28), stamp_ns=1)
    assert list(lies_of(frame)) == []
    assert HEADER[0].tell(frame) is None


def test_ipv6_extension_headers_are_kept_and_counted():
    ends = addresses("ipv6")
    inner = encode(SEGMENTS["data"], Flow(local=ends.target, local_port=9, target=ends.local, target_port=5000))[40:]
    padded = bytes((ip.TCP, 0, 1, 4, 0, 0, 0, 0))
    frame = frame_of(ip_packet(ends.target, ends.local, 60, padded + inner))
    for lie in (*HEADER, *INVENTIONS):
        if (octets := lie.tell(frame)) is not None:
            packet = packet_in(octets)
            assert packet.raw[40:48] == padded
            assert (decode(packet) or Segment()).verdict is (
                Checksum.BAD if lie.field == "checksum" else Checksum.GOOD), lie.name


# -- whatever a segment is --------------------------------------------------------------------------------------------

OPTIONS = st.lists(st.sampled_from((*EVERY_OPTION, Option.of(Kind.SACK, bytes(8)), Option.of(Kind.NOP))), max_size=4)
ANY_SEGMENT = st.builds(
    Segment, flags=st.integers(0, 0x1FF), seq=st.integers(0, MODULUS - 1), ack=st.integers(0, MODULUS - 1),
    window=st.integers(0, 0xFFFF), urgent=st.integers(0, 0xFFFF), options=OPTIONS.map(tuple),
    payload=st.binary(max_size=40), reserved=st.integers(0, 7), ttl=st.integers(1, 255),
    traffic_class=st.integers(0, 255))


@given(segment=ANY_SEGMENT, family=st.sampled_from(FAMILIES))
def test_every_lie_about_any_segment_is_one(segment, family):
    """It changes the frame, has a name of its own, mends the checksum but where that is the lie."""
    frame = said_by_the_target(segment, family)
    names = [lie.name for lie in lies_of(frame)]
    assert len(names) == len(set(names))
    for lie in lies_of(frame):
        if lie.change is None:
            continue
        octets = lie.tell(frame)
        assert octets is not None
        if lie.manner == "instead":
            assert octets != frame.data
        parts = Parts.of(Frame(data=octets, stamp_ns=0))
        if "ip-length" in lie.name:
            continue
        assert parts is not None
        assert parts.segment is not None
        assert parts.segment.verdict is (Checksum.BAD if lie.field == "checksum" else Checksum.GOOD), lie.name
        if lie.field in PARTS_OF:
            before = segment_in(frame.data)
            assert changed(before, parts.segment) <= PARTS_OF[lie.field], lie.name


@given(segment=ANY_SEGMENT, family=st.sampled_from(FAMILIES))
def test_parts_that_nobody_changed_are_the_frame(segment, family):
    frame = said_by_the_target(segment, family)
    for put_together in (Parts.joined, Parts.mended):
        parts = Parts.of(frame)
        assert parts is not None
        assert put_together(parts) == frame.data


def test_the_tables_have_names_of_their_own():
    tables = (*HEADER, *NETWORK, *INVENTIONS, *ICMP, DROP, TWICE, LATE, EARLY, BEHIND)
    names = [lie.name for lie in tables]
    assert len(names) == len(set(names))
    assert {lie.manner for lie in tables} == {"instead", "after", "drop", "twice", "late", "early", "behind"}


def test_every_name_that_can_be_told_of_a_known_segment_is_known():
    """Else no case could declare it free."""
    told_names = {lie.name for frame in FRAMES.values() for lie in lies_of(frame)}
    assert {name for name in told_names if not name.startswith("option")} <= known_lies()


# -- what the upper tester answers ------------------------------------------------------------------------------------

ANSWERS: dict[str, list[Any]] = {
    "state": [*STATES], "listening": [True, False], "half_open": [0, 1, 7],
    "pending_error": ["", "ECONNRESET", "EPIPE"],
    **{name: [Outcome(call=name, value=7), Outcome(call=name), Outcome(call=name, error="ECONNRESET"),
              Outcome(call=name, error="ETIMEDOUT")]
       for name in ("send", "shutdown", "abort", "set_option", "connect", "accept", "close")},
    "recv": [Outcome(call="recv", value=b"abc"), Outcome(call="recv", value=b"a"), Outcome(call="recv", value=b""),
             Outcome(call="recv", error="ECONNRESET")],
}


def test_every_kind_of_answer_is_tried():
    assert set(ANSWERS) == set(answers.LIES)


@pytest.mark.parametrize(("method", "answer"), [(method, answer) for method, known in ANSWERS.items()
                                                 for answer in known])
def test_a_lie_about_an_answer_is_another_answer_of_the_same_kind(method, answer):
    found = list(answers.lies_of(method, answer, waited=False))
    assert found, "nothing can be lied about"
    names = [lie.name for lie in found]
    assert len(names) == len(set(names))
    for lie in found:
        other = lie.change(answer)
        assert other != answer
        if other is answers.NEVER:
            assert answer.value == b""
        elif isinstance(answer, Outcome):
            assert isinstance(other, Outcome)
            assert (other.call, other.at_ns) == (answer.call, answer.at_ns)
            assert (other.error == answer.error) is (lie.field == "data")
        else:
            assert type(other) is type(answer)


def test_states_are_states():
    for state in STATES:
        assert {lie.change(state) for lie in answers.lies_of("state", state, waited=False)} <= set(STATES) - {state}


@pytest.mark.parametrize(("name", "given_to_it", "due"), [
    ("read+1", b"abc", b"abc!"), ("read-1", b"abc", b"ab"), ("read-1", b"a", b""), ("read-bit", b"abc", b"`bc"),
    ("end-early", b"abc", b"")])
def test_octets_that_were_received(name, given_to_it, due):
    outcome = Outcome(call="recv", value=given_to_it)
    lie = next(lie for lie in answers.lies_of("recv", outcome, waited=False) if lie.name == name)
    assert lie.change(outcome).value == due


@pytest.mark.parametrize("method", sorted(answers.LIES))
def test_only_a_call_that_had_to_wait_can_return_too_early(method):
    for waited in (False, True):
        told_too = answers.TOO_EARLY in list(answers.lies_of(method, ANSWERS[method][0], waited=waited))
        assert told_too is (waited and method in ("connect", "recv", "close"))


def test_a_call_that_never_ended_can_return_too_early():
    assert list(answers.lies_of("recv", None, waited=True)) == [answers.TOO_EARLY]


def test_of_what_has_no_table_nothing_is_told():
    assert list(answers.lies_of("information", {"send_mss": 1460}, waited=False)) == []
