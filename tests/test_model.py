# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference target: its core without link and clock, and what joins it to the lab.

What it does as a TCP the suite says, which it passes; here is what the suite cannot see.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.lower.flood import SOURCES, forged_syns
from harness.targets.base import PHANTOM, PHANTOM_MAC, TARGET, TARGET_MAC, packed
from harness.targets.ledger import Ledger
from harness.targets.model import states
from harness.targets.model.connection import Connection
from harness.targets.model.listener import Listener
from harness.targets.model.network import Network
from harness.targets.model.options import Offer, offer_of
from harness.targets.model.secret import COOKIE_PERIOD_NS, Secret
from harness.targets.model.stack import Stack
from harness.targets.model.timers import Timers
from harness.targets.model.values import values_of
from harness.targets.profile import load_profile
from harness.targets.registry import clock_of, describe, make_target, parse_spec
from harness.upper.base import STATES
from harness.wire import ip, seq
from harness.wire.clock import SECOND
from harness.wire.codec import decode, encode
from harness.wire.errors import TargetError, UsageError
from harness.wire.frame import Frame
from harness.wire.icmp import icmp_echo
from harness.wire.segment import ACK, FIN, PSH, RST, SYN, Flow, Kind, Option, Segment

ROOT = Path(__file__).resolve().parent.parent
PORT = 7
ISS = (1 << 32) - 5
LIMIT_S = 120


class Host:
    """The core alone, and a peer's hand-made segments."""

    def __init__(self, family: str = "ipv4", seed: int = 0) -> None:
        self.stack = Stack(values_of(load_profile("model")), [packed(TARGET[family])], mtu=1500, seed=seed)
        self.network = Network(self.stack)
        self.flow = Flow(local=packed(PHANTOM[family]), local_port=5000, target=packed(TARGET[family]),
                         target_port=PORT)

    def listen(self, backlog: int = 4) -> Listener:
        listener = self.stack.listen(self.flow.target, PORT, backlog, {})
        assert listener is not None
        return listener

    def tell(self, segment: Segment, *, port: int = 5000) -> list[Segment]:
        """What a segment draws at once."""
        flow = Flow(local=self.flow.local, local_port=port, target=self.flow.target, target_port=PORT)
        self.network.take(encode(segment, flow))
        return self.said()

    def said(self) -> list[Segment]:
        octets, self.stack.sent = self.stack.sent, []
        found = []
        for packet in map(ip.dissect, octets):
            assert packet is not None
            segment = decode(packet)
            assert segment is not None
            found.append(segment)
        return found

    def wait(self, seconds: float) -> list[Segment]:
        """What the next time brings, timer by timer."""
        until, said = self.stack.now_ns + round(seconds * SECOND), []
        while (due := self.stack.next_ns()) is not None and due <= until:
            self.stack.run(due)
            said += self.said()
        self.stack.run(until)
        return said

    def connected(self) -> Connection:
        """A connection that the application has accepted."""
        listener = self.listen()
        (answer,) = self.tell(Segment(flags=SYN, seq=ISS, options=(Option.of(Kind.MSS, b"\x05\xb4"),)))
        assert self.tell(Segment(flags=ACK, seq=seq.add(ISS, 1), ack=seq.add(answer.seq or 0, 1))) == []
        return listener.accepted.popleft()


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_state_has_its_row_and_every_step_its_method():
    assert set(states.SEGMENT_ARRIVES) == set(STATES)
    owners = {"CLOSED": Stack, "LISTEN": Listener}
    for state, row in states.SEGMENT_ARRIVES.items():
        for step in row:
            assert callable(getattr(owners.get(state, Connection), step)), (state, step)


def test_checks_stand_in_the_order_of_the_rfc():
    order = ("check_sequence", "reset_", "challenge_syn", "need_ack", "take_ack", "take_urgent", "take_text",
             "take_fin")
    row = states.SEGMENT_ARRIVES["ESTABLISHED"]
    places = [next(at for at, step in enumerate(row) if step.startswith(check)) for check in order]
    assert places == sorted(places)


def test_the_core_knows_neither_lab_nor_clock():
    """All modules but those that join the core to the lab import `wire` and their own kind alone."""
    joining = {"link", "target", "upper"}
    for file in (ROOT / "harness/targets/model").glob("*.py"):
        if file.stem in joining:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level >= 2:
                assert (node.module or "").startswith("wire"), (file.name, node.module)
                assert node.module not in ("wire.clock", "wire.link"), file.name


# -- the core ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_handshake_and_data(family):
    host = Host(family)
    connection = host.connected()
    assert connection.state == "ESTABLISHED"
    assert host.tell(Segment(flags=ACK | PSH, seq=seq.add(ISS, 1), ack=connection.snd_nxt, payload=b"question")) == []
    assert connection.receive(100) == b"question"
    assert connection.send(b"answer") == 6
    (answer,) = host.said()
    assert (answer.payload, answer.ack) == (b"answer", seq.add(ISS, 9))
    assert answer.has(PSH | ACK)


def test_nothing_is_said_but_when_time_comes():
    """A lone segment is acknowledged after the profile's time, and the core says when it wants to be woken."""
    host = Host()
    connection = host.connected()
    host.tell(Segment(flags=ACK, seq=seq.add(ISS, 1), ack=connection.snd_nxt, payload=b"x"))
    assert host.stack.next_ns() == host.stack.now_ns + host.stack.values.delayed_ack_ns
    assert host.wait(0.199) == []
    (late,) = host.wait(0.001)
    assert late.ack == seq.add(ISS, 2)
    assert host.stack.next_ns() is None


def test_repetition_waits_double_and_end():
    host = Host()
    connection = host.connected()
    connection.send(b"x" * 100)
    host.said()
    began, at = host.stack.now_ns, []
    while connection.state == "ESTABLISHED":
        due = host.stack.next_ns()
        assert due is not None
        host.stack.run(due)
        at += [(due - began) // SECOND] * len(host.said())
    assert at[:7] == [1, 3, 7, 15, 31, 63, 123]
    assert len(at) == host.stack.values.data_retries
    assert connection.take_error() == "ETIMEDOUT"
    assert host.stack.next_ns() is None


def test_third_duplicate_acknowledgement_repeats_at_once():
    host = Host()
    connection = host.connected()
    connection.send(b"x" * 6000)
    sent = host.said()
    assert len(sent) == 5
    again = Segment(flags=ACK, seq=seq.add(ISS, 1), ack=sent[0].seq)
    assert host.tell(again) == host.tell(again) == []
    (repeated,) = host.tell(again)
    assert (repeated.seq, repeated.payload) == (sent[0].seq, sent[0].payload)


def test_path_that_takes_less_is_sent_smaller_segments():
    from harness.wire.icmp import icmp_error

    host = Host()
    connection = host.connected()
    connection.send(b"x" * 1460)
    octets = host.stack.sent[0]
    host.said()
    host.network.take(icmp_error(octets, type=3, code=4, mtu=1000))
    assert [len(segment.payload or b"") for segment in host.said()] == [960, 500]


def test_overlapping_runs_are_joined_and_what_came_first_is_not_overwritten_in_order():
    host = Host()
    connection = host.connected()
    start = seq.add(ISS, 1)
    for at, text in ((10, b"klmno"), (5, b"fghij"), (12, b"mnopq")):
        host.tell(Segment(flags=ACK, seq=seq.add(start, at), ack=connection.snd_nxt, payload=text))
    assert connection.holes == [(seq.add(start, 5), b"fghijklmnopq")]
    host.tell(Segment(flags=ACK | FIN, seq=seq.add(start, 17), ack=connection.snd_nxt))
    host.tell(Segment(flags=ACK, seq=start, ack=connection.snd_nxt, payload=b"abcde"))
    assert connection.receive(100) == b"abcdefghijklmnopq"
    assert connection.stream_ended
    assert connection.state == "CLOSE-WAIT"


def test_echo_request_is_answered_and_others_traffic_is_not():
    host = Host()
    host.network.take(icmp_echo(source=host.flow.local, destination=host.flow.target, identifier=1, body=b"hello"))
    (reply,) = host.stack.sent
    assert reply[20] == 0
    assert reply.endswith(b"hello")
    host.stack.sent.clear()
    host.network.take(icmp_echo(source=host.flow.local, destination=b"\xc0\0\2\x63", identifier=1))
    assert host.stack.sent == []


def test_same_seed_says_the_same_and_another_one_not():
    said = [Host(seed=seed).tell(Segment(flags=SYN, seq=1)) for seed in (1, 1, 2)]
    assert said[0] == said[1]
    listening = []
    for seed in (1, 1, 2):
        host = Host(seed=seed)
        host.listen()
        listening.append(host.tell(Segment(flags=SYN, seq=1))[0].seq)
    assert listening[0] == listening[1] != listening[2]


def test_reset_of_a_closed_port_is_answered_by_nothing():
    assert Host().tell(Segment(flags=RST, seq=1)) == []


# -- parts ------------------------------------------------------------------------------------------------------------


def test_timers_expire_in_order_and_stopped_ones_do_not():
    timers, said = Timers(), []
    first, second, third = (timers.make(lambda name=name: said.append(name)) for name in "abc")
    first.set(30)
    second.set(10)
    third.set(20)
    third.stop()
    second.set(40)
    assert timers.next_ns() == 30
    timers.expire(35)
    assert said == ["a"]
    assert (first.running, second.running, third.running) == (False, True, False)
    timers.expire(40)
    assert said == ["a", "b"]
    assert timers.next_ns() is None


def test_offer_reads_what_is_well_formed():
    syn = Segment(flags=SYN, options=(Option(2, b"\2\xbc", 5), Option.of(3, b"\xff"), Option.of(8, bytes(8))))
    assert offer_of(syn) == Offer(mss=None, shift=14, sack=False, stamp=0)


def test_cookie_tells_its_size_for_two_periods():
    secret, flow = Secret(0, 250_000), Host().flow
    cookie = secret.cookie(flow, 1, 800, 0)
    assert secret.size_in_cookie(flow, 1, cookie, COOKIE_PERIOD_NS) == 700
    assert secret.size_in_cookie(flow, 1, cookie, 2 * COOKIE_PERIOD_NS) is None
    assert secret.size_in_cookie(flow, 2, cookie, 0) is None
    assert secret.size_in_cookie(flow, 1, cookie + 1, 0) is None


# -- the lab ----------------------------------------------------------------------------------------------------------


def test_specs():
    assert parse_spec("model").kind == "model"
    assert clock_of(parse_spec("model")) == "stepped"
    assert describe("model:no-paws")["name"] == "model:no-paws"
    with pytest.raises(UsageError, match="no such defect"):
        parse_spec("model:perfect")


def test_the_profile_claims_no_deviation_and_nearly_everything():
    profile = load_profile("model")
    assert profile.ledger == Ledger()
    unclaimed = {name for name, claimed in profile.features.items() if not claimed}
    assert unclaimed == {"ecn", "tail_loss_probe", "half_open_eviction", "rfc1337"}


def test_burst_fills_the_listener_and_is_taken_whole():
    target = make_target("model")
    family = "ipv4"
    listener: Any = target.upper.listen(packed(TARGET[family]), PORT, backlog=8, options={})
    target.link.ignore(tuple(SOURCES.values()))
    frames, size = forged_syns(TARGET_MAC + PHANTOM_MAC + b"\x08\0", packed(TARGET[family]), PORT, first=0, count=1000)
    assert target.link.burst(frames, size) == 1000
    assert target.upper.half_open(PORT) == len(listener.half_open) == 8
    assert listener.cookied_ns is not None
    assert target.clock.wait(SECOND // 2) is None


def test_burst_that_is_heard_is_answered_frame_by_frame():
    target = make_target("model")
    target.upper.listen(packed(TARGET["ipv4"]), PORT, backlog=8, options={})
    frames, size = forged_syns(TARGET_MAC + PHANTOM_MAC + b"\x08\0", packed(TARGET["ipv4"]), PORT, first=0, count=20)
    assert target.link.burst(frames, size) == 20
    target.clock.register(target.link)
    answers = []
    while (event := target.clock.wait(0)) is not None:
        answers.append(event)
    assert len(answers) == 20
    assert all(isinstance(event, Frame) for event in answers)


def test_unknown_option_is_an_error_of_ours():
    target = make_target("model")
    with pytest.raises(TargetError, match="SO_NONSENSE"):
        target.upper.listen(packed(TARGET["ipv4"]), PORT, backlog=1, options={"SO_NONSENSE": 1})


def test_the_model_passes_a_part_of_the_suite_without_any_right(tmp_path):
    results = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "cases/closed", "cases/window", "--target", "model",
         "--results", str(results)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    cases = json.loads(results.read_text())["cases"]
    assert done.returncode == 0, done.stdout[-2000:]
    assert {case["verdict"] for case in cases} == {"pass"}
