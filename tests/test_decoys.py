# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets that lie: what they do, and that no case passes on one but by the segment that it truly produced."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.lower.case import Case
from harness.lower.verdict import Mismatch
from harness.requirements.catalogue import load
from harness.targets.base import PHANTOM, PHANTOM_MAC, TARGET, TARGET_MAC, Target, addresses, packed
from harness.targets.decoys import DECOYS, WHATEVER, DecoyLink, babbler, blackhole, mirror, refuser
from harness.targets.registry import describe, make_target, parse_spec
from harness.wire import ip
from harness.wire.clock import SECOND, Outcome, SteppedClock
from harness.wire.codec import decode, encode
from harness.wire.errors import UsageError
from harness.wire.frame import Frame
from harness.wire.segment import ACK, FIN, PSH, RST, SYN, Checksum, Flow, Kind, Option, Segment

ROOT = Path(__file__).resolve().parent.parent
EXPECTED: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "tests/expected_decoy_passes.toml").read_text())
LIMIT_S = 120
MSS = Option.of(Kind.MSS, b"\x05\xb4")


def flow(family: str = "ipv4") -> Flow:
    return Flow(local=packed(PHANTOM[family]), local_port=5000, target=packed(TARGET[family]), target_port=9)


def answers(answer: Any, segment: Segment, family: str = "ipv4") -> list[Segment]:
    """What a decoy makes of a segment."""
    packet = ip.dissect(encode(segment, flow(family)))
    assert packet is not None
    found = []
    for octets in answer(packet, decode(packet)):
        back = ip.dissect(octets)
        assert back is not None
        assert (back.source, back.destination) == (packet.destination, packet.source)
        said = decode(back)
        assert said is not None
        assert said.verdict is Checksum.GOOD
        assert (said.source_port, said.destination_port) == (9, 5000)
        found.append(said)
    return found


# -- what each one does -----------------------------------------------------------------------------------------------


def test_the_blackhole_never_answers():
    assert answers(blackhole, Segment(flags=SYN, seq=5)) == []


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize(("sent", "flags", "seq", "ack"), [
    (Segment(flags=SYN, seq=0xFFFFFFFF), RST | ACK, 0, 0),
    (Segment(flags=SYN | FIN, seq=5, payload=b"abc"), RST | ACK, 0, 10),
    (Segment(flags=ACK, seq=5, ack=77), RST, 77, 0),
    (Segment(flags=SYN | ACK, seq=5, ack=77), RST, 77, 0),
])
def test_the_refuser_resets_as_a_closed_port_has_to(family, sent, flags, seq, ack):
    (said,) = answers(refuser, sent, family)
    assert (said.flags, said.seq, said.ack, said.window, said.payload) == (flags, seq, ack, 0, b"")


def test_the_refuser_never_resets_a_reset():
    assert answers(refuser, Segment(flags=RST, seq=5)) == answers(refuser, Segment(flags=RST | ACK, seq=5, ack=7)) == []


def test_the_mirror_sends_it_back_with_the_ends_swapped():
    sent = Segment(flags=PSH | ACK, seq=5, ack=7, window=9, options=(MSS,), payload=b"abc")
    (said,) = answers(mirror, sent)
    assert (said.flags, said.seq, said.ack, said.window, said.options, said.payload) == (
        PSH | ACK, 5, 7, 9, (MSS,), b"abc")


def test_the_mirror_turns_other_packets_too():
    packet = ip.dissect(ip.ip_packet(packed(PHANTOM["ipv4"]), packed(TARGET["ipv4"]), 17, b"datagram"))
    assert packet is not None
    (octets,) = mirror(packet, None)
    back = ip.dissect(octets)
    assert back is not None
    assert (back.source, back.destination, back.protocol, back.payload) == (
        packet.destination, packet.source, 17, b"datagram")
    assert refuser(packet, None) == blackhole(packet, None) == babbler(0)(packet, None) == []


def test_the_babbler_is_well_formed_and_says_the_same_for_the_same_seed():
    one, same, other = ([answers(decoy, Segment(flags=SYN, seq=5))[0] for _ in range(50)]
                        for decoy in (babbler(1), babbler(1), babbler(2)))
    assert one == same != other
    assert len({segment.flags for segment in one}) > 4
    assert all(option.malformed is False for segment in one for option in segment.options or ())


# -- the link ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def link() -> DecoyLink:
    return DecoyLink(SteppedClock(), refuser)


def frame(local_port: int = 5000) -> bytes:
    own = Flow(local=packed(PHANTOM["ipv4"]), local_port=local_port, target=packed(TARGET["ipv4"]), target_port=9)
    return TARGET_MAC + PHANTOM_MAC + b"\x08\x00" + encode(Segment(flags=SYN, seq=5), own)


def test_an_answer_comes_a_little_later(link):
    link.send_bytes(frame())
    came = link.poll()
    assert came is not None
    assert came.stamp_ns == 10_000
    assert came.data[:14] == PHANTOM_MAC + TARGET_MAC + b"\x08\x00"
    assert link.poll() is None
    assert [(sent.data, sent.outgoing) for sent in link.sent()] == [(frame(), True)]
    assert link.sent() == []
    assert (link.fileno(), link.lost()) == (-1, 0)
    link.close()


def test_what_is_no_ip_is_not_answered(link):
    link.send_bytes(bytes(14))
    assert link.recv_frame() is None


def test_a_burst_is_taken_in_part(link):
    one = frame()
    assert link.burst(one * 300, len(one)) == 256
    assert link.burst(one * 3, len(one)) == 3
    assert len(list(iter(link.recv_frame, None))) == 259
    assert link.sent() == []


def test_what_is_ignored_is_not_heard(link):
    link.ignore([ipaddress.ip_network("192.0.2.2/32")])
    link.send_bytes(frame())
    assert link.recv_frame() is None
    link.ignore([ipaddress.ip_network("198.51.100.0/24")])
    link.send_bytes(frame())
    assert link.recv_frame() is not None
    link.ignore([])
    link.send_bytes(frame())
    assert link.recv_frame() is not None


# -- the claims -------------------------------------------------------------------------------------------------------


def test_a_claim_is_whatever_is_asked():
    assert WHATEVER == "ESTABLISHED" == WHATEVER
    assert not WHATEVER != "LISTEN"  # noqa: SIM202
    assert WHATEVER < 3 <= WHATEVER
    assert WHATEVER > 3 >= WHATEVER
    assert not WHATEVER
    assert hash(WHATEVER) == hash(WHATEVER)
    assert str(WHATEVER) == "whatever is asked"


@pytest.fixture(params=DECOYS)
def decoy(request: pytest.FixtureRequest) -> Iterator[Target]:
    made = make_target(f"decoy:{request.param}")
    yield made
    made.close()


def test_every_call_is_claimed_to_have_gone_well(decoy):
    upper = decoy.upper
    listener = upper.listen(b"", 7, backlog=1, options={})
    handle, connecting = upper.connect(flow(), options={})
    for call in (connecting, upper.accept(listener), upper.recv(handle, 10), upper.close(handle, linger_s=3)):
        outcome = call.poll()
        assert isinstance(outcome, Outcome)
        assert outcome.error == "" == outcome.error
        assert outcome.error == "ECONNRESET"
        assert outcome.value == b"abc"
        assert call.fileno() == -1
    for outcome in (upper.shutdown(handle, "write"), upper.abort(handle), upper.set_option(handle, "SO_X", 1)):
        assert not outcome.error
    assert upper.send(handle, b"abc").value == 3
    assert upper.pending_error(handle) == "EPIPE"
    assert upper.state(flow()) == "TIME-WAIT"
    assert upper.listening(b"", 7)
    assert upper.half_open(7) == 12
    assert upper.information(handle) == {}


def test_a_decoy_has_time_of_its_own(decoy):
    began = time.monotonic()
    assert decoy.clock.wait(7200 * SECOND) is None
    assert decoy.clock.now() == 7200 * SECOND
    assert time.monotonic() - began < 5
    assert (decoy.kind, decoy.profile.name) == ("decoy", "decoy")


def test_a_decoy_is_described_without_being_made():
    assert describe("decoy:mirror") == {"name": "decoy:mirror", "kind": "decoy", "version": "", "profile": "decoy"}


def test_there_are_no_other_decoys():
    with pytest.raises(UsageError, match="no such decoy; there are decoy:blackhole, decoy:refuser, decoy:mirror, "
                                         "decoy:babbler"):
        parse_spec("decoy:nobody")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_only_the_refuser_keeps_a_sentinel(decoy, family):
    requirement = load().get("RFC9293-MUST-2")
    case = Case(name="x", injector=decoy.injector, upper=decoy.upper, profile=decoy.profile, timing=decoy.timing,
                addresses=addresses(family), ports=decoy.ports, requirements={requirement.id: requirement})
    peer = case.peer()
    peer.send("S 0:0(0) win 65535")
    if decoy.name == "decoy:refuser":
        peer.expect("R. 0:0(0) ack 1")
        peer.expect_silence()
    else:
        with pytest.raises(Mismatch):
            peer.expect("R. 0:0(0) ack 1")
    assert all(isinstance(entry[0], Frame) for entry in case.injector.frames())


# -- the rule ---------------------------------------------------------------------------------------------------------


def play(name: str, results: Path) -> subprocess.CompletedProcess[str]:
    """The whole suite against a decoy, by the product's own command."""
    return subprocess.run([sys.executable, "-m", "harness", "run", "--target", f"decoy:{name}", "-n", "0",
                           "--no-allure", "--results", str(results)],
                          cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def full_name(record: dict[str, Any]) -> str:
    return str(record["id"]) + (f"/{record['variant']}" if record["variant"] else "")


def names(document: dict[str, Any], verdict: str) -> list[str]:
    """The cases of that verdict; one that has it in one of its families alone is named with it."""
    ran: dict[str, set[str]] = {}
    met: dict[str, set[str]] = {}
    for record in document["cases"]:
        ran.setdefault(full_name(record), set()).add(record["family"])
        if record["verdict"] == verdict:
            met.setdefault(full_name(record), set()).add(record["family"])
    return sorted(name if families == ran[name] else f"{name} {' '.join(sorted(families))}"
                  for name, families in met.items())


@pytest.mark.parametrize("name", DECOYS)
def test_no_case_passes_but_by_what_the_decoy_truly_did(name, tmp_path):
    done = play(name, tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text())
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    assert names(document, "error") == []
    assert names(document, "not-applicable") == []
    assert document["left_out"] == []
    assert names(document, "pass") == EXPECTED[name]["passes"]
    assert names(document, "advice") == EXPECTED[name]["advice"]
    assert names(document, "known-deviation") == names(document, "unexpected-pass") == []
    assert "Traceback" not in done.stdout + done.stderr + json.dumps(document)
    assert all("log" not in record for record in document["cases"])
    assert (tmp_path / "report.html").stat().st_size > 0


def test_the_suite_is_not_empty():
    """Else nothing above would mean anything."""
    done = subprocess.run([sys.executable, "-m", "harness", "list", "--json"], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    behaviours = {behaviour for case in json.loads(done.stdout) for behaviour in case["behaviours"]}
    assert len(behaviours) > 10
