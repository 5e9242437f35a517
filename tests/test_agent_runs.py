# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases driven by an agent come to the verdicts that they come to without; and the command that starts one."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agents import C_SOURCE, CC, NAMES, PYTHON_SOURCE, ROOT

from harness.upper.agent import Agent, AgentUpperTester
from harness.upper.messages import Op
from harness.upper.streams import over_process

LIMIT_S = 240
WORKERS = 3
"""Each costs most of a second of a processor to start."""
TOPICS = ("cases/closed", "cases/handshake")
TCC = shutil.which("tcc")


def verdicts(folder: Path, name: str = "") -> tuple[dict[tuple[str, str, str], str], str]:
    """Of some topics, driven by that agent or by this process; and who said to have driven."""
    log = folder / "agents.txt"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "harness.plugin", "-n", str(WORKERS),
         *(("-p", "agent_target") if name else ()), *TOPICS, "--target", "linux",
         f"--results={folder / 'results.json'}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S,
        env={**os.environ, "TCPQUAL_AGENT": name, "TCPQUAL_AGENT_LOG": str(log),
             "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))})
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads((folder / "results.json").read_text())["cases"]
    return {(case["id"], case["family"], case["variant"]): case["verdict"] for case in cases}, \
        log.read_text() if name else ""


def test_cases_driven_by_an_agent_come_to_the_same_verdicts(rights: None, tmp_path: Path) -> None:
    straight, _ = verdicts(tmp_path / "straight")
    assert len(straight) > 200
    assert set(straight.values()) == {"pass", "known-deviation"}
    for name in NAMES:
        driven, log = verdicts(tmp_path / name, name)
        assert log.splitlines() == [f"tcpqual-agent ({name.title()})"] * WORKERS
        assert driven == straight


@pytest.mark.skipif(not CC, reason="no C compiler")
def test_who_cannot_tell_states_makes_no_case_fail(rights: None, tmp_path: Path) -> None:
    """The agent in C as it is on other systems: the wire shows what it does not tell, or the case is left out."""
    driven, _ = verdicts(tmp_path / "elsewhere", "elsewhere")
    assert set(driven.values()) <= {"pass", "known-deviation", "not-applicable"}
    assert sum(verdict == "not-applicable" for verdict in driven.values()) < len(driven) // 10


# -- the files and the command ---------------------------------------------------------------------------------------


def test_python_agent_is_one_file_for_python_3_8_and_its_library() -> None:
    tree = ast.parse(PYTHON_SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.skipif(not CC, reason="no C compiler")
@pytest.mark.parametrize("flags", [("-O2",), ("-O2", "-static"), ("-O0", "-DLONGEST=4096", "-DSOCKETS=8")])
def test_c_agent_compiles_without_a_warning_and_runs(tmp_path: Path, flags: tuple[str, ...]) -> None:
    program = tmp_path / "agent"
    subprocess.run([CC or "", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", *flags, "-o", str(program),
                    str(C_SOURCE)], check=True)
    upper = AgentUpperTester(Agent(lambda: over_process([str(program), "--stdio"], "built")))
    assert upper.half_open(1) == 0
    assert (upper.agent.hello.longest, upper.agent.hello.sockets) == \
        ((4096, 8) if "-DSOCKETS=8" in flags else (1 << 20, 1024))
    upper.close_driver()


@pytest.mark.skipif(not CC, reason="no C compiler")
def test_c_agent_elsewhere_offers_what_sockets_can_do_alone(tmp_path: Path) -> None:
    """As on a system that is not Linux, of which it asks no more than POSIX has."""
    program = tmp_path / "agent"
    subprocess.run([CC or "", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-U__linux__", "-D_GNU_SOURCE",
                    "-o", str(program), str(C_SOURCE)], check=True)
    upper = AgentUpperTester(Agent(lambda: over_process([str(program), "--stdio"], "built")))
    assert [op.name for op in Op if not upper.agent.offers(op)] == ["STATE", "LISTENING", "HALF_OPEN", "INFORMATION"]
    upper.close_driver()


@pytest.mark.skipif(not TCC, reason="no tcc")
def test_c_agent_compiles_with_a_small_compiler(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    subprocess.run([TCC or "", "-o", str(program), str(C_SOURCE)], check=True)
    upper = AgentUpperTester(Agent(lambda: over_process([str(program), "--stdio"], "built")))
    assert upper.half_open(1) == 0
    upper.close_driver()


def tcpqual(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=60)


def test_command_is_the_agent() -> None:
    upper = AgentUpperTester(Agent(lambda: over_process(
        [sys.executable, "-m", "harness", "agent", "--stdio", "--procfs"], "the command")))
    assert upper.agent.name == "tcpqual-agent (Python)"
    assert upper.half_open(1) == 0
    upper.close_driver()


def test_command_prints_the_files() -> None:
    assert tcpqual("agent", "--source", "c").stdout == C_SOURCE.read_text(encoding="utf-8")
    assert tcpqual("agent", "--source", "python").stdout == PYTHON_SOURCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("words", "why"), [
    ((), "--device FILE and --source is wanted"),
    (("--stdio", "--listen", "127.0.0.1:0"), "--device FILE and --source is wanted"),
    (("--listen", "127.0.0.1:0"), "--listen: needs --key FILE: who reaches the address must not be served for that "
     "alone"),
    (("--stdio", "--key", "/nonexistent"), "/nonexistent: No such file or directory"),
])
def test_command_says_what_is_wrong_in_one_line(words: tuple[str, ...], why: str) -> None:
    done = tcpqual("agent", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].endswith(why)
    assert len(done.stderr.splitlines()) == 1
