# SPDX-License-Identifier: GPL-2.0-or-later
"""The SYN flood: every frame of it a right one, no two alike, and no answer to it heard."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.flood import SOURCES, TUPLES, Flood, Volley, forged_syns
from harness.targets.base import FAMILIES, FORGED, Target, addresses
from harness.targets.registry import make_target
from harness.wire import ip
from harness.wire.codec import decode
from harness.wire.errors import LinkError, ScriptError
from harness.wire.link import all_but
from harness.wire.segment import SYN, Checksum

HEADER = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"
ETHERTYPE = {"ipv4": b"\x08\0", "ipv6": b"\x86\xdd"}
ROUND = 127 * 256


def frames_of(family: str, first: int, count: int) -> list[bytes]:
    octets, size = forged_syns(HEADER + ETHERTYPE[family], addresses(family).target, 4242, first=first, count=count)
    assert len(octets) == count * size
    return [bytes(octets[at:at + size]) for at in range(0, len(octets), size)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("first", "count"), [(0, 2000), (ROUND - 300, 600), (TUPLES - 40, 40), (7, 1)])
def test_every_frame_is_a_right_syn(family: str, first: int, count: int) -> None:
    source = SOURCES[len(addresses(family).target)]
    tuples = set()
    for frame in frames_of(family, first, count):
        packet = ip.dissect(frame[14:])
        assert packet is not None
        assert len(packet.raw) == len(frame) - 14
        assert ip.header_is_good(packet)
        assert ipaddress.ip_address(packet.source) in source
        assert packet.destination == addresses(family).target
        segment = decode(packet)
        assert segment is not None
        assert segment.verdict is Checksum.GOOD
        assert (segment.flags, segment.ack, segment.destination_port) == (SYN, 0, 4242)
        assert [(option.kind, option.value) for option in segment.options or ()] == [(2, 1460)]
        tuples.add((packet.source, segment.source_port))
    assert len(tuples) == count


def test_four_tuples_are_distinct_over_the_rounds() -> None:
    seen: set[bytes] = set()
    for first in (0, ROUND, 2 * ROUND):
        seen |= {frame[29:30] + frame[34:36] for frame in frames_of("ipv4", first, ROUND)}
    assert len(seen) == 3 * ROUND


def test_sources_are_forged_addresses_of_the_lab() -> None:
    for network in SOURCES.values():
        family = f"ipv{network.version}"
        assert network.subnet_of(ipaddress.ip_network(FORGED[family]))  # type: ignore[arg-type]


def test_more_four_tuples_than_there_are() -> None:
    with pytest.raises(ScriptError, match=r"allowed 0\.\."):
        forged_syns(HEADER + ETHERTYPE["ipv4"], addresses("ipv4").target, 1, first=TUPLES, count=1)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    try:
        made = make_target("linux:no-cookies")
    except LinkError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def case_of(target: Target, family: str) -> Case:
    return Case(name="flood", injector=target.injector, upper=target.upper, profile=target.profile,
                timing=target.timing, addresses=addresses(family), ports=target.ports, requirements={})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flood_fills_the_backlog_and_its_answers_are_not_heard(target: Target, family: str) -> None:
    case = case_of(target, family)
    listener = Application(case).listen(backlog=64)
    flood = Flood(case, listener.port)
    assert flood.send(3000).count == 3000
    assert flood.sent == 3000
    assert 0 < listener.half_open <= 64 + 1
    peer = case.peer()
    peer.send("S 0:0(0) win 65535")
    peer.expect("R. 0:0(0) ack 1")
    case.finish()
    case.close()
    assert all(len(frame.data) < 200 for frame, _ in case.trace)
    # The kernel may also report its multicast groups, which is no part of the story.
    assert len([comment for _, comment in case.trace if comment]) == 2


def test_hearing_again(target: Target) -> None:
    target.link.ignore(tuple(SOURCES.values()))
    target.link.ignore(())
    case = case_of(target, "ipv4")
    frames, size = forged_syns(target.link.target_mac + target.link.mac + b"\x08\0", case.addresses.target, 9,
                               first=0, count=3)
    assert target.link.burst(frames, size) == 3
    case.close()
    answers = [frame.data for frame, _ in case.trace if frame.data[12:14] == b"\x08\0" and frame.data[34:36] == b"\0\t"]
    assert [answer[33] for answer in answers] == [128, 129, 130]


def test_the_bound_in_time(target: Target) -> None:
    case = case_of(target, "ipv4")
    assert Flood(case, 9).send(1000, within_s=0).count == 0
    case.close()


def test_a_decoy_takes_a_part() -> None:
    made = make_target("decoy:mirror")
    case = case_of(made, "ipv4")
    flood = Flood(case, 80)
    assert 0 < flood.send(10_000).count <= 256
    assert case.story.steps[-1].text.endswith("forged SYNs from 198.51.100.128/25 to port 80")
    case.finish()
    case.close()
    assert case.trace == []


def test_rate() -> None:
    assert Volley(count=10, elapsed_s=0.5).rate_per_s == 20


def test_filter_of_several_networks() -> None:
    # 4 octets: one test; 16 octets with 121 bits: four; each test has three steps, each network one drop.
    assert len(all_but(tuple(SOURCES.values()))) == 8 * (3 * 2 + 1 + 3 * 5 + 1 + 1)
