# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line, as people use it: what it prints, and with which status it ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from harness import __version__, cli, doctor, suite
from harness.requirements.catalogue import load
from harness.wire.errors import TargetError, UsageError

ROOT = Path(__file__).resolve().parent.parent
CASE = "closed/reset::syn_is_refused"
LAB = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))


def tcpqual(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run([sys.executable, "-m", "harness", *words], cwd=cwd, text=True, capture_output=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "CI": "1", **environment})




# -- help, version, completion ---------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    done = tcpqual("--help")
    assert done.returncode == 0
    commands = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert commands == ["run", "audit", "list", "show", "diff", "matrix", "qualify", "bundle", "kernel", "vm", "target",
                        "profile", "agent", "testability-server", "doctor", "connect", "bench", "completion"]
    assert tcpqual().stdout == done.stdout


@pytest.mark.parametrize("command", list(cli.cli.commands))
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"Usage: tcpqual {command} " in capsys.readouterr().out


def test_version() -> None:
    assert tcpqual("--version").stdout == f"tcpqual {__version__}\n"


def test_help_is_there_at_once() -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        tcpqual("--help")
        times.append(time.monotonic() - began)
    # 150 ms are demanded of an idle machine; this one may be busy.
    assert min(times) < 0.6


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pytest", "rich", "scapy", "pyroute2", "jinja2", "harness.plugin")
    program = f"import sys, harness.cli; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = tcpqual("completion", shell)
    assert done.returncode == 0
    assert "_TCPQUAL_COMPLETE" in done.stdout


@pytest.mark.parametrize(("words", "expected"), [
    ("tcpqual run --target li", "linux"), ("tcpqual run --target decoy:mi", "decoy:mirror"),
    ("tcpqual show closed/re", "closed/reset"), ("tcpqual do", "doctor")])
def test_completing(words: str, expected: str) -> None:
    done = tcpqual(_TCPQUAL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert f"plain,{expected}" in done.stdout.splitlines()


# -- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "line"), [
    (["rum"], "'rum': no such command; there are run, audit, list, show, diff, matrix, qualify, bundle, "
     "kernel, vm, target, profile, agent, testability-server, doctor, connect, bench, completion"),
    (["run", "--fmily", "x"], "No such option '--fmily'. Did you mean '--family'?"),
    (["run", "--family", "x"], "Invalid value for '--family': 'x' is not one of 'ipv4', 'ipv6', 'both'."),
    (["run", "-n", "x"], "Invalid value for '-n': 'x' is not a valid integer range."),
    (["run", "--target", "lunix"], "'lunix': no such profile; there are "),
    (["run", "--target", "decoy:x"], "--target 'decoy:x': no such decoy; there are decoy:blackhole"),
    (["run", "-k", "(a"], "-k '(a': expected right parenthesis; got end of input at column 3; allowed: words"),
    (["run", "--results", "/proc/none/x"], "--results /proc/none/x: cannot make /proc/none: No such file"),
    (["run", "--results", "cases"], "--results cases: a folder; name a file"),
    (["run", "closed/rest::syn_is_refused"],
     f"closed/rest::syn_is_refused: no such case, topic or file; did you mean {CASE}"),
    (["run", "syn_is_refused"], f"syn_is_refused: no such case, topic or file; did you mean {CASE}?"),
    (["run", "closed/reset::nobody"], "closed/reset::nobody: no such case; "),
    (["run", "zzz"], "zzz: no such case, topic or file; `tcpqual list` names all"),
    (["run", f"{CASE}[odd]"], f"{CASE}[odd]: no such variant of this case; it has no variants"),
    (["run", "./none.py"], "./none.py: no such file or folder"),
    (["run", "cases/closed/test_reset.py::test_none"],
     "cases/closed/test_reset.py::test_none: no such test in that file; there are test_syn_is_refused"),
    (["audit", "zzz"], "zzz: no such case, topic or file; `tcpqual list` names all"),
    (["audit", "--target", "lunix"], "'lunix': no such profile; there are "),
    (["audit", "--slow"], "No such option '--slow'."),
    (["audit", "--shards", "2"], "--shards and --wall-limit: go with --virtual-time or --target uml:NAME"),
    (["audit", "--fail-under", "101"], "Invalid value for '--fail-under': 101.0 is not in the range 0<=x<=100."),
    (["audit", "--html", "cases"], "--html cases: a folder; name a file"),
    (["audit", "--results", "/proc/none/x"], "--results /proc/none/x: cannot make /proc/none: No such file"),
    (["audit", "--lie", "seq+1"], "--lie seq+1: allowed: LIE@N, about the target's N-th segment (seq+1@3), or LIE@aN"),
    (["audit", "--lie", "seq+1@0"], "--lie seq+1@0: allowed: LIE@N"),
    (["audit", "--lie", "seq+2@3"], "--lie seq+2@3: no such lie; did you mean seq+1"),
    (["audit", "--lie", "seq+1@3", "--all"], "--lie: one lie alone; --all and --fail-under do not go with it"),
    (["audit", "--lie", "seq+1@3", "--fail-under", "0"], "--lie: one lie alone; --all and --fail-under do not go"),
    (["list", "--uncovered"], "--uncovered: goes with --requirements"),
    (["list", "--requirements", "closed"], "closed: --requirements lists those of all cases; no PATH goes with it"),
    (["show", "RFC9293-MUST-2a"], "'RFC9293-MUST-2a': no such requirement; did you mean RFC9293-MUST-2"),
    (["show", "closed/reset"], "closed/reset: a module; `tcpqual list closed/reset` names its cases"),
    (["connect", "target", "0"], "Invalid value for 'PORT': 0 is not in the range 1<=x<=65535."),
    (["connect", "target"], "Missing argument 'PORT'."),
    (["completion", "tcsh"], "Invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'."),
])
def test_wrong_use_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(ROOT), pytest.raises(SystemExit) as ended:
        cli.main(words)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    (error,) = said.err.splitlines()
    assert error.startswith(f"tcpqual: {line}")


def test_malformed_profile_says_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nkind = "spoon"\n[timers]\ninitial_rto = 1\n')
    done = tcpqual("run", "--target", "mine.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("tcpqual: mine.toml: ") for line in lines)


def test_missing_rights_are_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.wire import netns
    from harness.wire.errors import LinkError

    def refuse() -> None:
        raise LinkError("user namespace: not permitted")

    monkeypatch.setattr(netns, "can_make_namespaces", lambda: False)
    monkeypatch.setattr(netns, "enter_user_namespace", refuse)
    with pytest.raises(UsageError, match="user namespace: not permitted"):
        netns.get_rights()


@pytest.mark.parametrize(("error", "status", "line"), [
    (TargetError("sysctl x: none"), 3, "tcpqual: sysctl x: none"), (UsageError("two\nlines"), 2, "tcpqual: lines"),
    (KeyboardInterrupt(), 130, "tcpqual: interrupted"), (click.ClickException("no"), 2, "tcpqual: no")])
def test_status_of_errors(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> None:
        raise error

    assert cli.status_of(call) == status
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_a_reader_that_has_seen_enough() -> None:
    done = subprocess.run(f"{sys.executable} -m harness list --requirements | head -n 1", shell=True, cwd=ROOT,
                          text=True, capture_output=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("RFC")


# -- run -------------------------------------------------------------------------------------------------------------


def test_run_against_a_decoy(tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.json"
    done = tcpqual("run", CASE, "--target", "decoy:refuser", "--family", "ipv6", "--seed", "7", f"--results={results}",
                   cwd=tmp_path, PYTEST_ADDOPTS="--nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "CONFORMANT (exit status 0)"
    document = json.loads(results.read_text())
    assert [(case["id"], case["family"], case["verdict"]) for case in document["cases"]] == [(CASE, "ipv6", "pass")]
    assert document["run"]["seed"] == 7
    written = {path.name for path in results.parent.iterdir()}
    assert written >= {"junit.xml", "allure-results", "captures", "report.html"}


def test_run_ends_with_the_status_of_the_verdicts(tmp_path: Path) -> None:
    def status(*words: str) -> int:
        return tcpqual("run", *words, "--no-allure", f"--results={tmp_path / 'results.json'}").returncode

    assert status(CASE, "--target=decoy:blackhole") == 1
    assert status("-k", "no_case_has_this_name", "--target=decoy:blackhole") == 4
    assert not (tmp_path / "allure-results").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_module_that_cannot_be_read_is_wrong_use(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_mine.py").write_text('from harness.authoring import covers\n\n\n@covers("RFC9293-MUST-999")\n'
                                           'def test_mine(peer):\n    """Nothing."""\n')
    done = tcpqual("run", "test_mine.py", "--target=decoy:blackhole", "-n", workers, cwd=tmp_path)
    assert done.returncode == 2
    assert "'RFC9293-MUST-999': no such requirement" in done.stderr


@LAB
def test_run_against_this_kernel_with_workers(tmp_path: Path) -> None:
    done = tcpqual("run", "closed", "-n", "2", f"--results={tmp_path / 'results.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["summary"]["pass"] == len(document["cases"]) > 0


def test_plain_pytest_refuses_as_tcpqual_does() -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "cases", "--target=lunix", "-p", "no:cacheprovider"],
                          cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "tcpqual: 'lunix': no such profile" in done.stderr


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of its own, in a checkout."""
    root = tmp_path / "cases"
    (root / "topic").mkdir(parents=True)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "plugin.py").touch()
    (root / "topic" / "test_module.py").write_text(
        "import pytest\n\n\n@pytest.mark.parametrize('word', ['a', 'b'])\ndef test_several(peer, word):\n"
        '    """Several."""\n\n\ndef test_one(peer):\n    """One.\n\n    And more.\n    """\n')
    monkeypatch.chdir(tmp_path)
    return root


def test_where_the_suite_is(cases: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert suite.suite() == cases
    monkeypatch.chdir(tmp_path / "harness")
    assert suite.suite() == ROOT / "cases"
    monkeypatch.setattr(suite, "_PACKAGE", tmp_path / "site" / "harness")
    with pytest.raises(UsageError, match="no cases"):
        suite.suite()
    (tmp_path / "site" / "harness" / "_cases").mkdir(parents=True)
    assert suite.suite() == tmp_path / "site" / "harness" / "_cases"


def test_node_ids(cases: Path) -> None:
    module = cases / "topic" / "test_module.py"
    both = ("ipv4", "ipv6")
    assert suite.node_ids("topic", both) == [str(cases / "topic")]
    assert suite.node_ids("topic/module", both) == [str(module)]
    assert suite.node_ids("topic/module::one", both) == [f"{module}::test_one"]
    assert suite.node_ids("topic/module::several[b]", both) == [f"{module}::test_several[ipv4-b]",
                                                               f"{module}::test_several[ipv6-b]"]
    assert suite.node_ids("cases/topic", both) == [str(cases / "topic")]
    assert suite.node_ids("cases/topic/test_module.py::test_one[ipv4]", both) == [f"{module}::test_one[ipv4]"]
    with pytest.raises(UsageError, match=r"no such variant of this case; variants: a, b"):
        suite.node_ids("topic/module::several[c]", both)
    with pytest.raises(UsageError, match="no such case"):
        suite.node_ids("topic::one", both)


def test_names_and_count(cases: Path) -> None:
    assert list(suite.names(cases)) == ["topic", "topic/module", "topic/module::several", "topic/module::one"]
    assert suite.count([str(cases)]) == 2
    assert suite.count([str(cases)], "one or nothing") == 1
    assert suite.count([f"{cases}/topic/test_module.py::test_several[ipv4-a]"]) == 1


def test_collect(cases: Path) -> None:
    several, one = suite.collect([str(cases)])
    assert (several.id, several.variants, several.families) == ("topic/module::several", ("a", "b"), ("ipv4", "ipv6"))
    assert (one.title, one.text, one.line) == ("One.", "One.\n\nAnd more.", 9)
    assert one.source.startswith("def test_one(peer):")
    (cases / "topic" / "test_broken.py").write_text("def test_x(:\n")
    with pytest.raises(UsageError, match=r"test_broken\.py: SyntaxError"):
        suite.collect([str(cases)])


# -- looking things up -----------------------------------------------------------------------------------------------


def test_list_and_its_json() -> None:
    lines = tcpqual("list", "closed").stdout.splitlines()
    assert any(line.split()[0] == CASE and "RFC9293-U-RST-CLOSED-NOACK" in line and "(B-24)" in line for line in lines)
    (entry,) = json.loads(tcpqual("list", "--json", CASE).stdout)
    assert entry["id"] == CASE
    assert entry["tc8"] == ["TCP_BASICS_04"]
    assert entry["families"] == ["ipv4", "ipv6"]
    assert "source" not in entry


def test_list_of_requirements() -> None:
    known = {requirement.id for requirement in load().all()}
    lines = tcpqual("list", "--requirements").stdout.splitlines()
    assert {line.split()[0] for line in lines} == known
    uncovered = json.loads(tcpqual("list", "--requirements", "--uncovered", "--json").stdout)
    assert {entry["id"] for entry in uncovered} < known
    assert all(entry["cases"] == [] for entry in uncovered)
    assert "RFC9293-U-RST-CLOSED-NOACK" not in {entry["id"] for entry in uncovered}


def test_show() -> None:
    shown = tcpqual("show", "RFC9293-U-RST-CLOSED-NOACK").stdout
    assert "https://www.rfc-editor.org/rfc/rfc9293#section-" in shown
    assert f"  {CASE}\n" in shown
    shown = tcpqual("show", CASE).stdout
    assert shown.startswith(f"{CASE}\n\nNobody listens")
    assert "TC8: TCP_BASICS_04" in shown
    assert 'peer.expect("R. 0:0(0) ack 1")' in shown
    assert "cases/closed/test_reset.py:" in shown


def test_doctor() -> None:
    done = tcpqual("doctor")
    assert done.returncode == (0 if doctor.missing("lab") is None else 3)
    document = json.loads(tcpqual("doctor", "--json").stdout)
    assert document["possible"] is (done.returncode == 0)


@LAB
def test_connect(tmp_path: Path) -> None:
    done = tcpqual("connect", "target", "80", "--seq", "5", cwd=tmp_path)
    assert done.returncode == 1
    assert "[SYN] Seq=0" in done.stdout
    assert "[RST, ACK] Seq=0 Ack=1" in done.stdout
    assert (tmp_path / "reports" / "connect.pcapng").stat().st_size > 0


def test_the_models_defects_are_listed() -> None:
    lines = tcpqual("list", "--defects").stdout.splitlines()
    assert len(lines) >= 60
    assert next(line for line in lines if line.startswith("syn-not-counted ")).endswith("(RFC9293-U-RST-CLOSED-NOACK)")
    listed = json.loads(tcpqual("list", "--defects", "--json").stdout)
    assert listed[0].keys() == {"name", "summary", "case", "requirements"}
    assert len(listed) == len(lines)


@pytest.mark.parametrize(("words", "said"), [
    (("list", "--defects", "closed"), "--defects: lists all of them"),
    (("run", "--target", "decoy:mirror", "--defect", "syn-not-counted"), "goes with --target model, not decoy:mirror"),
    (("run", "--defect", "syn-not-count"), "did you mean syn-not-counted"),
])
def test_wrong_words_about_defects_are_one_line(words: tuple[str, ...], said: str) -> None:
    done = tcpqual(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
