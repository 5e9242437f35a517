# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples for CI services: they read as what they are, and their commands are commands of ours that work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harness import cli

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / "examples" / "github-actions.yml"
GITLAB = ROOT / "examples" / "gitlab-ci.yml"


def github() -> dict[str, Any]:
    return dict(yaml.safe_load(GITHUB.read_text()))


def gitlab() -> dict[str, Any]:
    return dict(yaml.safe_load(GITLAB.read_text()))


def scripts() -> list[str]:
    """What the jobs of both run, as shell."""
    steps = [step["run"] for job in github()["jobs"].values() for step in job["steps"] if "run" in step]
    jobs = [job for job in gitlab().values() if isinstance(job, dict) and "script" in job]
    return [*steps, *("\n".join([*job["before_script"], *job["script"]]) for job in jobs)]


def commands() -> list[list[str]]:
    """Each command of tcpqual in them, with the services' variables filled in."""
    lines = [line for script in scripts() for line in script.splitlines() if line.startswith("./tcpqual ")]
    return [shlex.split(re.sub(r"\$\{\{[^}]*\}\}|\$\w+", "6.12", line))[1:] for line in lines]


def docker() -> list[str]:
    """The words of the image's own command."""
    text = (ROOT / "Dockerfile").read_text()
    return [word.strip(' "') for word in text.partition("CMD [")[2].partition("]")[0].split(",")]


def test_there_are_commands() -> None:
    assert len(commands()) == 6
    assert docker()[0] == "run"


def test_the_image_lets_its_user_build_and_fetch() -> None:
    """Without apt's lists `target build` and `vm fetch` download nothing, and its user may not fetch the lists."""
    text = (ROOT / "Dockerfile").read_text()
    assert "apt-get update" in text
    assert "rm -rf /var/lib/apt" not in text
    assert "install -d -o tcpqual -g tcpqual /home/tcpqual/reports" in text


@pytest.mark.parametrize("words", [*commands(), docker()], ids=" ".join)
def test_each_command_is_one_of_ours(words: list[str]) -> None:
    """click reads the words, and nothing is run."""
    command: click.Command = cli.cli
    context = click.Context(command)
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context("tcpqual", list(words))


def test_every_artefact_is_what_a_run_leaves() -> None:
    job = gitlab()["tcpqual"]
    assert job["artifacts"]["reports"] == {"junit": "reports/*/junit.xml", "codequality": "reports/*/code-quality.json"}
    assert job["artifacts"]["when"] == "always"
    uploads = [step for job in github()["jobs"].values() for step in job["steps"]
               if step.get("uses", "").startswith("actions/upload-artifact@")]
    assert [step["with"]["path"] for step in uploads] == ["reports/", "reports/matrix.*"]
    assert uploads[0]["if"] == "always()"


def test_no_job_asks_for_rights() -> None:
    text = GITHUB.read_text() + GITLAB.read_text()
    assert "privileged" not in text
    assert github()["permissions"] == {"contents": "read"}


def test_the_jobs_scripts_qualify_and_compare(tmp_path: Path) -> None:
    """The steps that qualify and compare, as the runner's shell would run them; the model stands in for the kernel."""
    steps = [step["run"] for job in github()["jobs"].values() for step in job["steps"] if "run" in step]
    wanted = [text for text in steps if "./tcpqual run" in text or "./tcpqual matrix" in text]
    assert len(wanted) == 2
    script = "\n".join(wanted).replace("${{ matrix.kernel }}", "6.12")
    script = script.replace("--virtual-time --kernel 6.12 --wall-limit 600", "closed --target model")
    script = script.replace("./tcpqual ", f"{shlex.quote(sys.executable)} -m harness ").replace("reports/",
                                                                                             f"{tmp_path}/reports/")
    summary = tmp_path / "step.md"
    environment = os.environ | {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=ROOT, text=True,
                          env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**CONFORMANT (exit status 0)**" in summary.read_text()
    assert (tmp_path / "reports" / "matrix.html").exists()
    assert (tmp_path / "reports" / "6.12" / "junit.xml").exists()
