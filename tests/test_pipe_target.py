# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs against stacks behind a pipe: the model by the Python kit, the refuser by the C kit, and broken ones."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipe_profiles import MODEL, ROOT, pipe_profile

from harness.lower.flood import SOURCES, forged_syns
from harness.targets.base import PHANTOM, PHANTOM_MAC, TARGET, Target, packed
from harness.targets.pipe.adapter import CHECKS, FAIL, Bench, check, passes_time
from harness.targets.pipe.protocol import Hello
from harness.targets.pipe.target import converse, introduced
from harness.targets.profile import load_profile
from harness.targets.registry import clock_of, describe, make_target, parse_spec
from harness.upper.base import NotApplicable
from harness.wire.clock import SECOND
from harness.wire.codec import encode
from harness.wire.errors import TargetError, UsageError
from harness.wire.segment import SYN, Flow, Segment

LIMIT_S = 120
CC = shutil.which("cc")
GO = shutil.which("go")
UDP = "icmp/udp_closed_port::datagram_to_a_closed_port[short]"
"""What the sabotaged model fails at."""


def tcpqual(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=LIMIT_S)


def run(target: Path | str, results: Path, *words: str) -> tuple[int, dict[tuple[str, str, str], dict[str, Any]]]:
    """The exit status, and the records by case, family and variant."""
    done = tcpqual("run", *words, "--target", str(target), "--no-allure", "--results", str(results))
    assert results.exists(), done.stdout + done.stderr
    cases = json.loads(results.read_text())["cases"]
    return done.returncode, {(case["id"], case["family"], case["variant"]): case for case in cases}


@pytest.fixture
def piped(tmp_path: Path) -> Any:
    target = make_target(str(pipe_profile(tmp_path)))
    yield target
    target.close()


def test_process_of_its_own_for_each_case(tmp_path: Path) -> None:
    """Time begins anew in it, and it has run for as long as only the case's name chooses."""
    profile = pipe_profile(tmp_path)
    profile.write_text(profile.read_text().replace('kind = "pipe"\n', 'kind = "pipe"\nfresh = true\n', 1))
    target = make_target(str(profile))
    try:
        begun: list[tuple[int, int]] = []
        for name in ("one", "two", "one"):
            before = target.clock.now()
            target.come_to_rest(name)
            conversation = target.link._conversation
            begun.append((conversation.life, target.clock.now() - before))
            target.clock.wait(target.clock.now() + 123_456)
        lives, ages = zip(*begun, strict=True)
        assert lives[0] < lives[1] < lives[2]
        assert ages[0] == ages[2] != ages[1]
        assert all(SECOND <= age < 2 * SECOND for age in ages)
    finally:
        target.close()


# -- the model -------------------------------------------------------------------------------------------------------


def test_same_verdicts_as_of_the_model_itself(tmp_path: Path) -> None:
    topics = ("closed", "handshake", "close/active", "keepalive", "fragments/reassembly")
    _, straight = run("model", tmp_path / "model" / "results.json", *topics)
    status, behind = run(pipe_profile(tmp_path), tmp_path / "pipe" / "results.json", *topics)
    assert status == 0
    assert {key: case["verdict"] for key, case in behind.items()} == \
        {key: case["verdict"] for key, case in straight.items()}
    assert {case["verdict"] for case in behind.values()} == {"pass"}


def test_defect_is_found_behind_the_pipe(tmp_path: Path) -> None:
    status, cases = run(pipe_profile(tmp_path, MODEL, "defect=syn-not-counted"), tmp_path / "r" / "results.json",
                        "closed/reset")
    assert status == 1
    assert "fail" in {case["verdict"] for case in cases.values()}


def test_spec(tmp_path: Path) -> None:
    file = str(pipe_profile(tmp_path))
    profile = parse_spec(file)
    assert (profile.kind, clock_of(profile), profile.short) == ("pipe", "stepped", False)
    from harness import __version__

    assert describe(file) == {"name": file, "kind": "pipe", "version": __version__, "profile": "piped"}


def test_burst_is_the_same_in_every_run(piped: Target) -> None:
    piped.upper.listen(packed(TARGET["ipv4"]), 7, backlog=8, options={})
    piped.link.ignore(tuple(SOURCES.values()))
    frames, size = forged_syns(piped.link.target_mac + PHANTOM_MAC + b"\x08\0", packed(TARGET["ipv4"]), 7, first=0,
                               count=3000)
    assert piped.link.burst(frames, size) == 2048
    assert piped.upper.half_open(7) == 8
    assert piped.link.poll() is None


def test_what_nobody_offers_is_not_applicable(piped: Target) -> None:
    with pytest.raises(NotApplicable, match="has no socket option SO_NONSENSE"):
        piped.upper.listen(packed(TARGET["ipv4"]), 7, backlog=1, options={"SO_NONSENSE": 1})


def test_port_that_is_taken_is_an_error_of_ours(piped: Target) -> None:
    piped.upper.listen(packed(TARGET["ipv6"]), 7, backlog=1, options={})
    with pytest.raises(TargetError, match="listen on port 7: EADDRINUSE"):
        piped.upper.listen(packed(TARGET["ipv6"]), 7, backlog=1, options={})


def test_aborted_socket_is_no_socket_any_more(piped: Target) -> None:
    flow = Flow(local=packed(PHANTOM["ipv4"]), local_port=9, target=packed(TARGET["ipv4"]), target_port=7)
    socket, call = piped.upper.connect(flow, options={})
    assert call.poll() is None
    assert piped.upper.state(flow) == "SYN-SENT"
    assert piped.upper.abort(socket).error == piped.upper.abort(socket).error == ""
    assert piped.upper.recv(socket, 1).poll().error == "EBADF"  # type: ignore[union-attr]
    with pytest.raises(TargetError, match="no socket of this target"):
        piped.upper.send(object(), b"x")


def test_connect_times_out_in_the_time_of_the_stack(piped: Target) -> None:
    flow = Flow(local=packed(PHANTOM["ipv4"]), local_port=9, target=packed(TARGET["ipv4"]), target_port=7)
    _, call = piped.upper.connect(flow, options={})
    piped.clock.register(call)
    while (event := piped.clock.wait(1000 * SECOND)) is not None and not hasattr(event, "error"):
        pass
    assert getattr(event, "error", None) == "ETIMEDOUT"
    assert 180 * SECOND < piped.clock.now() < 1000 * SECOND


ETHERNET = """
class Frames(list):
    def append(self, octets):
        kind = b"\\x86\\xdd" if octets[0] >> 4 == 6 else b"\\x08\\0"
        super().append(bytes.fromhex("020000000002020000000077") + kind + octets)

class OverEthernet(ModelBehindPipe):
    mac = bytes.fromhex("020000000077")
    resolved = False
    def begin(self, greeting):
        self.sent = Frames()
        super().begin(greeting)
        ask = bytes.fromhex("0001080006040001") + self.mac + greeting.ipv4 + bytes(6) + greeting.ipv4_gateway
        list.append(self.sent, b"\\xff" * 6 + self.mac + b"\\x08\\x06" + ask)
    def packet(self, octets):
        assert octets[:6] == self.mac
        if octets[12:14] == b"\\x08\\x06":
            assert octets[22:28].hex() == "020000000002"
            self.resolved = True
            return
        assert self.resolved
        super().packet(octets[14:])
"""


def program_of(folder: Path, body: str, name: str) -> tuple[str, str]:
    """The command of a stack that is the model but for a class of that name."""
    program = folder / "stack.py"
    program.write_text(WRONG.format(kit=str(ROOT / "sdk" / "python"), tests=str(ROOT / "tests"), root=str(ROOT),
                                    body=body, name=name))
    return sys.executable, str(program)


def test_ethernet_stack_resolves_our_address_and_passes(tmp_path: Path) -> None:
    file = pipe_profile(tmp_path, program_of(tmp_path, ETHERNET, "OverEthernet"))
    status, cases = run(file, tmp_path / "r" / "results.json", "closed/reset", "handshake/passive")
    assert status == 0
    assert {case["verdict"] for case in cases.values()} == {"pass"}


TICKING = """
class Ticking(ModelBehindPipe):
    def deadline_ns(self):
        return (self.now_ns // 250_000_000 + 1) * 250_000_000
    ran = []
    def run(self):
        self.ran.append(self.now_ns)
    def woken(self):
        return {woken}
    def state(self, local, remote):
        assert self.ran == [tick * 250_000_000 for tick in range(1, len(self.ran) + 1)]
        return "CLOSED" if len(self.ran) == 14400 else "LISTEN"
"""


@pytest.mark.parametrize(("woken", "steps"), [(True, "in 14400 steps"), (False, "in 1 step")])
def test_ticks_stop_nobody_who_is_not_woken(tmp_path: Path, woken: bool, steps: str) -> None:
    command = program_of(tmp_path, TICKING.replace("{woken}", str(woken)), "Ticking")
    profile = load_profile(str(pipe_profile(tmp_path, command)))

    def look(bench: Bench) -> str:
        told = passes_time(bench)
        flow = Flow(local=packed(PHANTOM["ipv4"]), local_port=9, target=packed(TARGET["ipv4"]), target_port=7)
        return told + " " + bench.upper.state(flow)

    assert [line.text for line in check(profile, [("ticks", look)])] == [f"{steps} CLOSED"]


# -- a stack that fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sabotage", "line"), [
    ("crash", "piped: died of SIGSEGV while it took a packet"),
    ("exit", "piped: ended with status 3 while it took a packet"),
    ("hang", "piped: said nothing for 3 s while it took a packet"),
    ("late", "piped: says that it is 5 ns when it took a packet"),
    ("garbage", "piped: said what is no message while it took a packet"),
])
def test_failure_is_an_error_of_its_case_alone(tmp_path: Path, sabotage: str, line: str) -> None:
    file = pipe_profile(tmp_path, MODEL, f"sabotage={sabotage}", limit_s=3 if sabotage == "hang" else 10)
    status, cases = run(file, tmp_path / "r" / "results.json", UDP, "closed/reset::syn_is_refused", "--family", "ipv4")
    assert status == 3
    failed = cases["icmp/udp_closed_port::datagram_to_a_closed_port", "ipv4", "short"]
    assert failed["verdict"] == "error"
    assert line in failed["reason"]
    assert "standard error: assertion failed: pcb != NULL" in failed["reason"]
    assert Path(failed["capture"]).stat().st_size > 0
    assert cases["closed/reset::syn_is_refused", "ipv4", ""]["verdict"] == "pass"


def test_failure_while_a_case_is_cleaned_up_is_an_error_of_its_case_alone(tmp_path: Path) -> None:
    """A call that this case had under way is not asked for in the next one."""
    file = pipe_profile(tmp_path, MODEL, "sabotage=abort")
    opening = "handshake/simultaneous_open::syn_meets_syn"
    status, cases = run(file, tmp_path / "r" / "results.json", opening, "closed/reset::syn_is_refused")
    assert status == 3
    for family in ("ipv4", "ipv6"):
        failed = cases[opening, family, ""]
        assert failed["verdict"] == "error"
        assert "died of SIGSEGV while it was asked ABORT" in failed["reason"]
        assert Path(failed["capture"]).stat().st_size > 0
        assert cases["closed/reset::syn_is_refused", family, ""]["verdict"] == "pass"


def test_what_is_printed_does_no_harm(tmp_path: Path) -> None:
    status, cases = run(pipe_profile(tmp_path, MODEL, "sabotage=stray"), tmp_path / "r" / "results.json", UDP)
    assert status == 0
    assert {case["verdict"] for case in cases.values()} == {"pass"}


def test_stack_that_cannot_be_started_is_an_error_of_every_case(tmp_path: Path) -> None:
    status, cases = run(pipe_profile(tmp_path, ("./nobody",)), tmp_path / "r" / "results.json", "closed/reset")
    assert status == 3
    assert {case["verdict"] for case in cases.values()} == {"error"}
    assert all("cannot start './nobody'" in case["reason"] for case in cases.values())


def test_case_goes_on_after_the_failure_as_nothing_but_an_error(tmp_path: Path) -> None:
    """Who asks again is told again; cleaning up is silent, sends nothing, and proves nothing."""
    target = make_target(str(pipe_profile(tmp_path)))
    flow = Flow(local=packed(PHANTOM["ipv4"]), local_port=9, target=packed(TARGET["ipv4"]), target_port=7)
    socket = target.upper.listen(flow.target, 7, backlog=1, options={})
    conversation = target.upper._conversation  # type: ignore[attr-defined]
    os.kill(conversation.process.pid, signal.SIGKILL)
    octets = encode(Segment(flags=SYN, seq=1), flow)
    for _ in range(2):
        with pytest.raises(TargetError, match="piped: "):
            target.upper.half_open(7)
    target.injector.send_packet(octets)
    assert target.link.sent() == []
    assert target.upper.abort(socket).error == ""
    assert target.upper.state(flow) == ""
    with pytest.raises(TargetError, match="piped: "):
        target.clock._advance(1)  # type: ignore[attr-defined]
    target.come_to_rest("the next case")
    assert target.upper.state(flow) == "CLOSED"
    with pytest.raises(TargetError, match="socket 1 is gone: model has begun anew since"):
        target.upper.recv(socket, 1).poll()
    target.close()


# -- profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new", "line"), [
    ('kind = "pipe"', 'kind = "model"', "command: goes with kind 'pipe' alone"),
    ("command = ", "# ", "command: missing; kind 'pipe' needs it"),
    ("command = ", "command = []\n# ", r"command: \[\] is not allowed; allowed: a list of the program"),
    ("command = ", 'command = "x"\n# ', "command: 'x' is not allowed; allowed: a list of the program"),
    ("command = ", 'command = [1]\n# ', "command: 1 is not allowed; allowed: a text"),
    ("answer_limit_s = 10.0", "answer_limit_s = 0", "answer_limit_s: 0 is not allowed; allowed: a number above 0"),
    ("answer_limit_s = 10.0", "cwd = 1", "cwd: 1 is not allowed; allowed: a text"),
])
def test_wrong_profile_is_a_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    file = pipe_profile(tmp_path)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=line):
        load_profile(str(file))


def test_command_is_started_where_the_profile_says(tmp_path: Path) -> None:
    folder = tmp_path / "here" / "there"
    folder.mkdir(parents=True)
    program = folder / "stack"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {ROOT / 'tests' / 'pipe_model.py'}\n")
    program.chmod(0o755)
    file = pipe_profile(tmp_path / "here", ("./stack",))
    file.write_text(file.read_text().replace("command =", 'cwd = "there"\ncommand ='), encoding="utf-8")
    target = make_target(str(file))
    assert target.version
    target.close()


def hello(**changes: Any) -> Hello:
    values: dict[str, Any] = {"version": 1, "name": "tiny", "stack_version": "2.1", "features": (), "mtu": 1500,
                              "ipv4": True, "ipv6": True, "ethernet": False, "commands": 0}
    return Hello(**values | changes)


def test_no_more_is_claimed_than_profile_and_hello_both_say(tmp_path: Path) -> None:
    profile = load_profile(str(pipe_profile(tmp_path)))
    assert introduced(profile, hello()).features == profile.features
    assert introduced(profile, hello()).version == "2.1"
    assert not introduced(profile, hello(ipv6=False)).feature("ipv6")
    less = introduced(profile, hello(features=("sack", "ecn")))
    assert less.feature("sack")
    assert not less.feature("ecn")
    assert not less.feature("urgent")
    with pytest.raises(TargetError, match=r"the feature 'sacc': no such feature; .*sack"):
        introduced(profile, hello(features=("sacc",)))


# -- target check ----------------------------------------------------------------------------------------------------


def test_check_of_the_model_says_ok_to_everything(tmp_path: Path) -> None:
    done = tcpqual("target", "check", str(pipe_profile(tmp_path)))
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert [line.split("  ")[0] for line in lines[:-1]] == ["ok"] * len(CHECKS)
    assert lines[-1] == f"{len(CHECKS)} checks, 0 failed"


def test_check_as_json_takes_a_command() -> None:
    done = tcpqual("target", "check", "--json", "--limit", "5", *MODEL)
    found = json.loads(done.stdout)
    assert [(line["mark"], line["title"]) for line in found] == [("ok", title) for title, _ in CHECKS]


WRONG = """
import sys
sys.path[:0] = [{kit!r}, {tests!r}, {root!r}]
from pipe_model import *
import os
{body}
serve({name}())
"""


@pytest.mark.parametrize(("body", "title", "text"), [
    ("    def begin(self, greeting):\n        greeting.seed = int.from_bytes(os.urandom(8), 'big')\n"
     "        super().begin(greeting)", "gives the same octets to the same seed", "random numbers have to come from"),
    ("    def connected(self, sock): raise Refused('EIO')", "connects, and is told of a refusal",
     "connect had an outcome before it was answered"),
    ("    def accept(self, sock): raise Again", "listens and accepts", "accept still answers EAGAIN"),
    ("    def recv(self, sock, size): raise Again", "sends and receives", "recv still answers EAGAIN"),
    ("    def send(self, sock, data, urgent): return len(data)", "sends and receives", "did not go out"),
    ("    def send(self, sock, data, urgent): return 9", "sends and receives", "9 octets taken of 5"),
    ("    def option(self, sock, name, value): pass", "refuses what there is not", "due: ENOPROTOOPT"),
    ("    def listen(self, sock, local, backlog): pass", "refuses a port that is taken", "due: EADDRINUSE"),
    ("    def state(self, local, remote): return 'OPEN'", "answers a SYN to a closed port", "'OPEN' is no state"),
    ("    def abort(self, sock): pass", "listens and accepts", "sent no reset"),
    ("    def packet(self, octets): assert len(octets) != 19", "survives packets that are none", "AssertionError"),
    ("    def packet(self, octets): pass", "answers a SYN to a closed port", "no answer to a SYN over ipv4"),
    ("    features = ('telepathy',)", "says hello", "no such feature"),
])
def test_check_finds_what_is_wrong(tmp_path: Path, body: str, title: str, text: str) -> None:
    command = program_of(tmp_path, f"class Wrong(ModelBehindPipe):\n{body}", "Wrong")
    profile = load_profile(str(pipe_profile(tmp_path, command)))
    found = list(check(profile, [one for one in CHECKS if one[0] == title]))
    assert [line.mark for line in found] == [FAIL]
    assert text in found[0].text


@pytest.mark.parametrize(("words", "status", "line"), [
    (["linux.toml"], 2, "cannot read this profile"),
    ([], 2, "Missing argument"),
    (["./nobody"], 3, "cannot start './nobody'"),
    (["echo", "hi"], 3, "said what is no message while it was greeted"),
])
def test_check_of_what_cannot_be_checked_is_a_line(words: list[str], status: int, line: str) -> None:
    done = tcpqual("target", "check", *words)
    assert done.returncode == status
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_check_of_another_kind_of_target(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text((ROOT / "harness" / "targets" / "profiles" / "model.toml").read_text())
    done = tcpqual("target", "check", str(file))
    assert (done.returncode, "allowed: 'pipe', which has an adapter, or 'remote'" in done.stderr) == (2, True)


# -- the C kit -------------------------------------------------------------------------------------------------------


def compiled(source: Path, folder: Path) -> str:
    if CC is None:
        pytest.skip("no C compiler here")
    program = folder / source.stem
    subprocess.run([CC, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=undefined",
                    "-fno-sanitize-recover=all", f"-I{ROOT / 'sdk' / 'c'}", "-o", str(program), str(source)],
                   check=True)
    return str(program)


def built(source: Path, folder: Path) -> str:
    """A Go program, with the kit beside it as a package."""
    if GO is None:
        pytest.skip("no Go here")
    for file, package in ((source, source.stem), (ROOT / "sdk" / "go" / "tcpqual_pipe.go", "tcpqualpipe")):
        place = folder / "src" / "tcpqual" / package
        place.mkdir(parents=True)
        shutil.copy(file, place)
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(folder), "GOFLAGS": "", "CGO_ENABLED": "0"}
    for words in (("vet", "tcpqual/..."), ("build", "-o", str(folder / source.stem), f"tcpqual/{source.stem}")):
        subprocess.run([GO, *words], cwd=folder, env=environment, check=True)
    return str(folder / source.stem)


@pytest.fixture(scope="module", params=["c", "go"])
def sockets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program of the kit in that language, which answers with what it was asked."""
    folder = tmp_path_factory.mktemp(request.param)
    source = ROOT / "tests" / f"pipe_sockets.{request.param}"
    return compiled(source, folder) if request.param == "c" else built(source, folder)


@pytest.fixture(scope="session")
def refuser(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(ROOT / "sdk" / "c" / "refuser.c", tmp_path_factory.mktemp("c"))


def test_every_field_of_the_kits_goes_either_way(tmp_path: Path, sockets: str) -> None:
    target: Any = make_target(str(pipe_profile(tmp_path, (sockets,))), seed=0x0102030405060708)
    upper, ends = target.upper, [packed(addresses["ipv4"]) for addresses in (PHANTOM, TARGET)]
    assert (target.version, target.link.mtu) == ("0.1", 1280)
    flow = Flow(local=ends[0], local_port=2000, target=ends[1], target_port=1000)
    socket, connecting = upper.connect(flow, options={"SO_RCVBUF": -2})
    with pytest.raises(NotApplicable):
        upper.set_option(socket, "SO_RCVBUF", 2)
    assert connecting.poll() is None
    target.link.send_bytes(bytes(12) + b"\x08\0" + b"something has changed")
    assert connecting.poll() is None
    assert connecting.poll() is None, "nothing has changed since, so that nobody asks"
    target.link.send_bytes(bytes(12) + b"\x08\0" + b"something has changed")
    assert connecting.poll().error == "ECONNREFUSED"
    listener = upper.listen(packed(TARGET["ipv6"]), 7777, backlog=300, options={})
    with pytest.raises(TargetError, match="EADDRINUSE"):
        upper.listen(packed(TARGET["ipv6"]), 7777, backlog=1, options={})
    assert upper.accept(listener).poll().value.number == 67
    octets = b"x" * 69999 + b"y"
    assert upper.send(socket, octets).value == 3
    assert upper.send(socket, octets, urgent=True).error == "EMSGSIZE"
    assert upper.recv(socket, 50000).poll().value == b"r" * 50000
    assert upper.recv(socket, 1).poll().value == b""
    assert (upper.shutdown(socket, "write").error, upper.shutdown(socket, "read").error) == ("", "ENOTCONN")
    assert upper.close(socket).poll().error == ""
    assert upper.close(socket, linger_s=3).poll().error == "ETIMEDOUT"
    assert upper.pending_error(socket) == "EPIPE"
    assert upper.state(flow) == "CLOSE-WAIT"
    assert (upper.listening(ends[1], 80), upper.listening(ends[1], 81)) == (True, False)
    assert upper.half_open(1000) == 2000
    assert upper.information(socket) == {"socket": 44, "seed": 0x0102030405060708}
    assert upper.abort(socket).error == ""
    target.close()


def test_ticks_of_the_kits(tmp_path: Path, sockets: str) -> None:
    profile = load_profile(str(pipe_profile(tmp_path, (sockets,))))
    conversation = converse(profile)
    assert conversation.advance(10 * SECOND) == 3 * SECOND, "a packet"
    assert conversation.packets == [(3 * SECOND, b"tick")]
    assert conversation.advance(10 * SECOND) == 5 * SECOND, "a call may have an answer"
    assert conversation.advance(10 * SECOND) == 10 * SECOND
    assert conversation.deadline_ns == 11 * SECOND
    conversation.give((b"echo",), 10 * SECOND)
    assert conversation.packets[1:] == [(10 * SECOND, b"echo")]
    assert conversation.close() == 0


def test_kits_need_nothing_but_their_library() -> None:
    tree = ast.parse((ROOT / "sdk" / "python" / "tcpqual_pipe.py").read_text(encoding="utf-8"))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names} | \
        {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
    header = (ROOT / "sdk" / "c" / "tcpqual_pipe.h").read_text(encoding="utf-8")
    assert set(re.findall(r"#include (\S+)", header)) == \
        {"<stdint.h>", "<stdio.h>", "<stdlib.h>", "<string.h>", "<unistd.h>"}
    source = (ROOT / "sdk" / "go" / "tcpqual_pipe.go").read_text(encoding="utf-8")
    assert not [name for name in re.findall(r'^\t"(\S+)"$', source, re.MULTILINE) if "." in name]


def test_c_example_keeps_the_protocol(refuser: str) -> None:
    done = tcpqual("target", "check", refuser)
    marks = [line.split("  ")[0] for line in done.stdout.splitlines()[:-1]]
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in marks
    assert marks.count("left out") == 5


def test_c_example_passes_the_cases_of_a_closed_port(tmp_path: Path, refuser: str) -> None:
    status, cases = run(pipe_profile(tmp_path, (refuser,)), tmp_path / "r" / "results.json", "closed/reset")
    assert status == 0
    verdicts = [case["verdict"] for case in cases.values()]
    assert set(verdicts) == {"pass", "not-applicable"}
    assert verdicts.count("pass") == 40
    assert {case["reason"] for case in cases.values() if case["verdict"] != "pass"} == \
        {"refuser does not offer LISTEN by its pipe"}


def test_twenty_lines_of_c_are_c(tmp_path: Path) -> None:
    if CC is None:
        pytest.skip("no C compiler here")
    page = (ROOT / "docs" / "reference" / "pipe-protocol.md").read_text(encoding="utf-8")
    source = tmp_path / "twenty.c"
    code = page.partition("```c\n")[2].partition("```")[0]
    source.write_text("#include <stdint.h>\n#include <stdio.h>\n" + code +
                      "int main(void) {\n    static uint8_t fields[64];\n    size_t size;\n"
                      "    while (request(fields, &size) == 'H')\n        answer('D', fields, size);\n"
                      "    return 0;\n}\n")
    program = compiled(source, tmp_path)
    echoed = subprocess.run([program], input=bytes.fromhex("00000003 48 6162"), capture_output=True, check=True)
    assert echoed.stdout == bytes.fromhex("00000003 44 6162")
