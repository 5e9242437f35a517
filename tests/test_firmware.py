# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware as a target: what its screen says, whose port a SYN comes from, and iPXE itself in its machine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, ScriptedUpper, Values, theirs

from harness import cli, doctor
from harness.lower.application import Application
from harness.lower.peer import Peer
from harness.lower.verdict import Inconclusive, Mismatch
from harness.targets.firmware import screen
from harness.targets.firmware.upper import FirmwareUpperTester
from harness.targets.registry import clock_of, describe, make_target, parse_spec
from harness.upper.base import NotApplicable
from harness.wire.clock import Outcome
from harness.wire.codec import encode
from harness.wire.errors import TargetError, UsageError
from harness.wire.icmp import icmp_echo
from harness.wire.segment import Flow

URL = "http://192.0.2.2:20005/x"
booted = pytest.mark.skipif(doctor.missing("ipxe") is not None, reason=str(doctor.missing("ipxe")))


def memory(*rows: str) -> bytes:
    """The memory of a screen with these rows."""
    text = "".join(row.ljust(80) for row in rows).ljust(2000)
    return b"".join(bytes((letter, 7)) for letter in text.encode("cp437"))


# -- the screen -------------------------------------------------------------------------------------------------------

def test_a_row_that_is_full_goes_on_in_the_next() -> None:
    assert screen.lines(memory("a" * 80, "b", "", "c")) == ["a" * 80 + "b", "c"]


def test_the_question_is_the_last_line() -> None:
    assert screen.asks(memory("iPXE", "port:"))
    assert not screen.asks(memory("port:", "20005", f"{URL}..."))
    assert not screen.asks(memory())


def test_the_version_stands_there_after_the_start() -> None:
    assert screen.release(memory("SeaBIOS", "iPXE initialising devices...ok",
                                 "iPXE 1.0.0+git-20190125.36a4c85-5.1 -- Open Source")) == \
        "1.0.0+git-20190125.36a4c85-5.1"
    assert screen.release(memory("port:")) == ""


@pytest.mark.parametrize(("shown", "error"), [
    (f"{URL}...", None),
    (f"{URL}... Connection reset (http://ipxe.org/0f0a6039)", "ECONNRESET"),
    (f"{URL}..... Connection timed out (http://ipxe.org/4c0a6035)", "ETIMEDOUT"),
    (f"{URL}... Operation canceled (http://ipxe.org/0b0720a0)", "ECANCELED"),
    (f"{URL}... Error 0x420c6001 (http://ipxe.org/420c6001)", "iPXE_420c6001"),
    (f"{URL}... ok", ""),
    ("http://192.0.2.2:20004/x... Connection reset (http://ipxe.org/0f0a6039)", None),
])
def test_how_a_download_ended(shown: str, error: str | None) -> None:
    assert screen.failure(memory("port:", "20005", shown), URL) == error


def test_the_last_download_of_a_port_counts() -> None:
    rows = (f"{URL}... Connection reset (http://ipxe.org/0f0a6039)", "port:", "20005", f"{URL}...")
    assert screen.failure(memory(*rows), URL) is None


# -- the upper tester -------------------------------------------------------------------------------------------------

class Typist:
    """A console that writes down what is typed."""

    def __init__(self) -> None:
        self.typed: list[str] = []
        self.failed: str | None = None
        self.asking = True

    def asks(self) -> bool:
        return self.asking

    def await_question(self) -> None:
        self.asking = True

    def answer(self, port: int) -> None:
        self.typed.append(str(port))
        self.asking = False

    def call_off(self) -> None:
        self.typed.append("Ctrl-C")

    def failure(self, url: str) -> str | None:
        return self.failed if url == URL else None


FLOW = Flow(local=bytes((192, 0, 2, 2)), local_port=20005, target=bytes((192, 0, 2, 1)), target_port=20006)


def test_one_connection_at_a_time_which_the_next_case_calls_off() -> None:
    console: Any = Typist()
    upper = FirmwareUpperTester(console)
    upper.begin()
    _, call = upper.connect(FLOW, options={})
    assert call.poll() is None
    with pytest.raises(NotApplicable, match="open two connections at a time"):
        upper.connect(FLOW, options={})
    upper.begin()
    assert console.typed == ["20005", "Ctrl-C"]


def test_what_has_failed_is_not_called_off() -> None:
    console: Any = Typist()
    upper = FirmwareUpperTester(console)
    _, call = upper.connect(FLOW, options={})
    console.failed, console.asking = "ECONNRESET", True
    assert call.poll() == Outcome(call=call, error="ECONNRESET")
    upper.begin()
    assert console.typed == ["20005"]


def test_what_firmware_cannot_do_is_not_applicable() -> None:
    console: Any = Typist()
    upper = FirmwareUpperTester(console)
    with pytest.raises(NotApplicable, match="needs an application that can listen; firmware does one thing by itself"):
        upper.listen(FLOW.target, 7, backlog=1, options={})
    with pytest.raises(NotApplicable, match="set SO_RCVBUF"):
        upper.connect(FLOW, options={"SO_RCVBUF": 1})
    assert console.typed == []


# -- a target that chooses its port -----------------------------------------------------------------------------------

class ChoosingUpper(ScriptedUpper):
    """Its `connect` takes a port of the target's own choice."""

    def connect(self, flow: Flow, *, options: Any) -> tuple[object, Any]:
        call = self._call("connect")
        call.chooses_port = True
        return "connecting", call


@pytest.fixture
def choosing() -> Scripted:
    target = Scripted()
    target.upper = ChoosingUpper(target.agenda)
    return target


def syn_from(target: Scripted, peer: Peer, port: int, text: str = "S 0:0(0) win 100") -> None:
    """The target's SYN to the peer's port, from this port of its own."""
    flow = Flow(local=peer.flow.target, local_port=port, target=peer.flow.local, target_port=peer.flow.local_port)
    target.arrive(encode(theirs(peer, text), flow))


def test_a_peer_goes_to_the_port_that_the_syn_comes_from(choosing: Scripted) -> None:
    case = choosing.case()
    peer = case.peer()
    Application(case).connect(peer)
    syn_from(choosing, peer, 49152)
    peer.expect("S 0:0(0)")
    assert peer.flow.target_port == 49152
    assert case.flows == (peer.flow,)
    peer.send("R. 0:0(0) ack 1")
    sent = choosing.link.sent()[-1].data
    assert int.from_bytes(sent[36:38], "big") == 49152
    case.finish()


def test_two_peers_are_told_apart_by_our_ports(choosing: Scripted) -> None:
    case = choosing.case()
    first, second = case.peer(), case.peer()
    for peer in (first, second):
        Application(case).connect(peer)
    syn_from(choosing, second, 50000)
    syn_from(choosing, first, 50001)
    first.expect("S 0:0(0)")
    second.expect("S 0:0(0)")
    assert (first.flow.target_port, second.flow.target_port) == (50001, 50000)


def test_what_is_no_syn_chooses_no_port(choosing: Scripted) -> None:
    case = choosing.case()
    peer = case.peer()
    Application(case).connect(peer)
    syn_from(choosing, peer, 50000, "S. 0:0(0) ack 1 win 100")
    with pytest.raises(Mismatch, match="got nothing"):
        peer.expect("S 0:0(0)")


def test_a_case_that_chooses_the_port_is_not_applicable(choosing: Scripted) -> None:
    case = choosing.case()
    peer = case.peer(target_port=case.port())
    with pytest.raises(NotApplicable, match="a target whose port is the case's to choose"):
        Application(case).connect(peer)


# -- the echo sentinel ------------------------------------------------------------------------------------------------

class Echoes(Values):
    """The profile of a stack that refuses nothing."""

    def sentinel(self) -> str:
        return "echo"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_an_echo_proves_that_the_target_lives(family: str) -> None:
    target = Scripted()
    case = target.case(family=family)
    case.profile = Echoes()
    with pytest.raises(Inconclusive):
        case.sentinel()
    ends = case.addresses
    case = target.case(family=family)
    case.profile = Echoes()
    target.arrive(icmp_echo(source=ends.target, destination=ends.local, identifier=1, body=b"sentinel", reply=True))
    case.sentinel()
    case.finish()


# -- iPXE itself ------------------------------------------------------------------------------------------------------

def test_the_target_is_known_without_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_spec("ipxe").kind == "firmware"
    assert clock_of(parse_spec("ipxe")) == "real"
    monkeypatch.setattr("harness.targets.firmware.machine.IMAGES", ("/nowhere/ipxe.lkrn",))
    with pytest.raises(UsageError, match="no iPXE here; it comes with: apt-get install ipxe"):
        describe("ipxe")


def run(folder: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", *words, "--target", "ipxe", "--family", "ipv4", "-n", "0", "--no-allure", "--results",
                  str(folder / "results.json")])
    return int(ended.value.code or 0)


@booted
def test_it_opens_connections_and_its_ledger_knows_how(tmp_path: Path) -> None:
    assert run(tmp_path, "handshake/active::connect_emits_syn", "options/mss::syn_offers_an_mss",
               "closed/reset::syn_is_refused", "handshake/syn_sent::wrong_acknowledgement_is_reset") == 0
    cases = json.loads((tmp_path / "results.json").read_text())["cases"]
    verdicts = {(case["id"].partition("::")[2], case["variant"]): case["verdict"] for case in cases}
    assert verdicts["connect_emits_syn", ""] == verdicts["syn_offers_an_mss", ""] == "pass"
    assert verdicts["syn_is_refused", ""] == "known-deviation"
    assert sum(verdict == "known-deviation" for verdict in verdicts.values()) == 7


@booted
def test_a_machine_that_ends_is_an_error_of_its_case_and_the_next_has_another() -> None:
    target: Any = make_target("ipxe")
    try:
        first = target.firmware.machine
        os.kill(first.pid, signal.SIGKILL)
        assert first.ended(5)
        with pytest.raises(TargetError, match="firmware: its machine has ended"):
            target.link.lost()
        target.come_to_rest("another")
        assert target.firmware.machine is not first
        assert target.link.lost() == 0
    finally:
        target.close()


def test_a_state_that_nobody_tells_takes_nothing_off_a_finding() -> None:
    def cannot() -> str:
        raise NotApplicable("needs to be told")

    found = Scripted().case().mismatch(expected="this", got="that", state=cannot).finding
    assert (found.expected, found.got, found.state) == ("this", "that", "")
