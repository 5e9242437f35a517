# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines whose clock skips idle time: the gate, and runs on a kernel that `tcpqual vm fetch` has fetched."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from vm_runs import VM, run, run_own

from harness.targets.registry import clock_of, make_target, most_hours, parse_spec
from harness.targets.uml import canonical
from harness.targets.vm import gate as gates
from harness.targets.vm.gate import Gate, GuestEnded
from harness.targets.vm.images import images
from harness.wire.clock import SECOND
from harness.wire.errors import TargetError, UsageError


class Machine:
    """Instead of a QEMU process: what it is told, and what its gate and its card say."""

    def __init__(self) -> None:
        self.port, self.gate = socket.socketpair()
        self.link, self.card = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.commands: list[str] = []
        self.events: list[Any] = []

    def command(self, name: str) -> None:
        self.commands.append(name)

    def says(self, now_ns: int, *frames: tuple[int, bytes], words: bytes = b"", came_ns: int = 0) -> None:
        octets = b"".join(struct.pack("<QI", stamp_ns, len(data)) + data for stamp_ns, data in frames)
        self.gate.sendall(struct.pack("<QQII", now_ns, came_ns, len(octets), len(words)) + octets + words)


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.says(1000)
    return made


def test_a_turn_of_the_gate(machine: Machine) -> None:
    gate = Gate(machine)  # type: ignore[arg-type]
    assert (gate.now_ns, machine.commands) == (1000, ["stop"])
    machine.says(5000, (4000, b"a reset"), words=b"done", came_ns=3900)
    machine.card.send(b"a reset")
    turn = gate.turn(9000, frames=[b"a SYN"], words=b"listen")
    assert (turn.now_ns, turn.came_ns, turn.frames, turn.words) == (5000, 3900, ((4000, b"a reset"),), b"done")
    assert machine.commands == ["stop", "cont", "stop"]
    assert machine.gate.recv(100) == struct.pack("<QII", 9000, 1, 6) + b"listen"
    assert machine.card.recv(100) == b"a SYN"
    machine.says(6000)
    gate.turn(1 << 62)
    assert struct.unpack("<QII", machine.gate.recv(100))[0] == 5000 + gates.LONGEST_NS


def test_the_card_may_be_behind_the_gate_but_must_send_what_it_saw(machine: Machine) -> None:
    gate = Gate(machine)  # type: ignore[arg-type]
    machine.says(2000, (1500, b"one"), (1600, b"two"))
    machine.card.send(b"one")
    gate.turn(0)
    machine.card.send(b"two")
    machine.card.send(b"three, before the gate says so")
    machine.says(3000)
    gate.turn(0)
    machine.says(4000, (2500, b"three, otherwise"))
    with pytest.raises(TargetError, match="not what its gate saw"):
        gate.turn(0)


def test_a_guest_that_ends_or_says_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(machine)  # type: ignore[arg-type]
    monkeypatch.setattr(gates, "_LIMIT_S", 0.05)
    with pytest.raises(GuestEnded):
        gate.turn(0)
    machine.gate.close()
    with pytest.raises(GuestEnded):
        gate.turn(0)


def test_virtual_time_makes_a_gated_target_of_a_virtual_machine() -> None:
    assert canonical("vm:6.1", virtual_time=True, kernel="") == "gated:6.1"
    assert canonical("vm:6.1:no-cookies", virtual_time=True, kernel="") == "gated:6.1:no-cookies"
    assert canonical("gated:6.1", virtual_time=True, kernel="") == "gated:6.1"
    assert canonical("gated:6.1", virtual_time=False, kernel="") == "gated:6.1"
    assert canonical("vm:6.1", virtual_time=False, kernel="") == "vm:6.1"
    with pytest.raises(UsageError, match="goes with the target linux, uml:NAME or vm:NAME"):
        canonical("vm:6.1", virtual_time=True, kernel="mine")


# -- on a guest -------------------------------------------------------------------------------------------------------

DYING = '''

@covers(RULE)
def test_1_panic(peer, target):
    refused(peer)
    target.guest.machine.command("inject-nmi")
    refused(peer.case.peer())


@covers(RULE)
def test_2_after(peer, listener):
    refused(peer.case.peer())


@covers(RULE)
@slow(hours=25)
def test_3_more_than_a_day(peer):
    refused(peer)
'''


def spec() -> str:
    return f"gated:{images()[0].name}"


@VM
def test_the_clock_of_a_guest_skips_and_stops_where_it_should() -> None:
    assert not parse_spec(spec()).short
    assert clock_of(parse_spec(spec())) == "skipping"
    assert most_hours(parse_spec(spec())) == 24
    target = make_target(spec())
    began, before = time.monotonic(), target.clock.now()
    until = before + 600 * SECOND
    while target.clock.wait(until) is not None:
        pass  # the guest looks for routers, which is its own business
    assert until <= target.clock.now() < until + SECOND
    assert time.monotonic() - began < 60
    stood = target.clock.now()
    assert target.clock.wait(0) is None
    assert target.clock.now() == stood, "nobody has let it run"
    target.close()


@VM
def test_default_timers_on_a_guest(tmp_path: Path) -> None:
    status, results, said = run(spec(), tmp_path / "results.json", "cases/retransmission/test_synack.py",
                                "--family", "ipv4")
    assert {case["verdict"] for case in results["cases"]} <= {"pass", "known"}, said
    assert (status, results["run"]["clock"], results["target"]["kind"]) == (0, "skipping", "gated")
    assert max(case["duration_s"] for case in results["cases"]) > 10, "the default time-outs were waited for"


@VM
def test_a_gated_guest_that_panics_is_an_error_of_its_case_alone(tmp_path: Path) -> None:
    status, cases, said = run_own(spec(), tmp_path, DYING)
    assert [case["verdict"] for case in cases] == ["error", "pass"], said
    assert status == 3
    panic = cases[0]
    assert "Kernel panic - not syncing" in panic["reason"] or "Kernel panic - not syncing" in panic["log"]
