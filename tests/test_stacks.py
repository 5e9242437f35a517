# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks that the harness builds: recipes, Debian's archive, what is kept, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import doctor
from harness.targets.document import read_profile
from harness.targets.pipe.target import converse
from harness.targets.registry import parse_spec
from harness.targets.stacks import archive, build, recipe, store
from harness.targets.stacks.recipe import Recipe, Workshop
from harness.wire.errors import TargetError, UsageError

PROFILE = 'name = "toy"\nkind = "pipe"\ntitle = "A toy"\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tcpqual"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Programs of the test's own in front of the machine's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return folder / name

    return make


class Toy:
    """A recipe whose adapter stands in a folder of the test's own, and which writes a program or fails."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "toy").mkdir()
        self.adapter = folder / "toy" / "adapter.c"
        self.adapter.write_text("one")
        self.tools = {"sh": "dash"}
        self.made = 0
        self.fails = ""
        monkeypatch.setattr(recipe, "_HERE", folder)
        monkeypatch.setattr(recipe, "_NAMES", ("toy",))
        monkeypatch.setattr(recipe, "kit", lambda language: folder)
        (folder / "tcpqual_pipe.h").write_text("kit")
        monkeypatch.setattr(recipe.importlib, "import_module", lambda name: self)

    @property
    def RECIPE(self) -> Recipe:
        return Recipe(name="toy", title="A toy", releases={"1.0": "old", "2.0": "new"}, tools=self.tools, needs={},
                      make=self.make)

    def make(self, shop: Workshop) -> None:
        self.made += 1
        shop.sources.append(f"toy {shop.version}")
        shop.program.write_text("#!/bin/sh\n")
        if self.fails:
            raise TargetError(self.fails)
        shop.program.chmod(0o755)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Toy:
    folder = tmp_path / "recipes"
    folder.mkdir()
    return Toy(folder, monkeypatch)


def silent(what: str) -> None:
    pass


# -- recipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe.names())
def test_each_stack_has_a_recipe(name: str) -> None:
    known = recipe.recipe(name)
    assert known.name == name
    assert known.default in known.releases
    assert known.folder.is_dir()
    assert recipe.chosen(name) == (known, known.default)
    assert [recipe.chosen(f"{name}={version}")[1] for version in known.releases] == list(known.releases)


def test_what_has_no_recipe(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"^no such stack 'tyo'; there are toy$"):
        recipe.chosen("tyo")
    with pytest.raises(UsageError, match=r"^toy=3: no such version of toy; there are 1.0, 2.0$"):
        recipe.chosen("toy=3")


def test_key_follows_adapter_and_kit(toy: Toy, tmp_path: Path) -> None:
    first = toy.RECIPE.key()
    toy.adapter.write_text("two")
    second = toy.RECIPE.key()
    (tmp_path / "recipes" / "tcpqual_pipe.h").write_text("other kit")
    assert len({first, second, toy.RECIPE.key()}) == 3


# -- building ----------------------------------------------------------------------------------------------------------


def test_built_once(toy: Toy) -> None:
    stack, new = build.build("toy", silent)
    assert (stack.name, stack.version, stack.sources, stack.current, new) == ("toy", "1.0", ("toy 1.0",), True, True)
    assert os.access(stack.program, os.X_OK)
    assert build.build("toy=1.0", silent) == (stack, False)
    assert toy.made == 1
    assert store.find("toy") == stack
    assert build.build("toy", silent, again=True)[1]
    assert toy.made == 2


def test_changed_adapter_is_built_again(toy: Toy) -> None:
    old, _ = build.build("toy", silent)
    toy.adapter.write_text("two")
    with pytest.raises(UsageError, match=r"^toy 1.0 was built from another recipe or adapter than this tcpqual's; "
                                         r"build it with `tcpqual target build toy`$"):
        store.find("toy")
    new, built = build.build("toy", silent)
    assert built
    assert new.folder != old.folder
    # Another checkout may be using the other one.
    assert old.program.is_file()
    for text in "abcdef":
        toy.adapter.write_text(text)
        build.build("toy", silent)
    assert len(store.builds(toy.RECIPE, "1.0")) == 4
    assert not old.folder.exists()


def test_not_built(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"^toy 2.0 is not built; build it with `tcpqual target build toy=2.0`$"):
        store.find("toy=2.0")


def test_failed_build_leaves_nothing(toy: Toy, cache: Path) -> None:
    toy.fails = "gcc ended with status 1: adapter.c:1: error"
    with pytest.raises(TargetError, match=r"adapter\.c:1"):
        build.build("toy", silent)
    assert store.builds(toy.RECIPE, "1.0") == []
    assert [path.name for path in (cache / "stacks").iterdir()] == []
    toy.fails = ""
    assert build.build("toy", silent)[1]
    toy.fails = "no"
    with pytest.raises(TargetError):
        build.build("toy", silent, again=True)
    # The whole one that was there is there still.
    assert store.find("toy").program.is_file()


def test_half_a_build_is_none(toy: Toy) -> None:
    stack, _ = build.build("toy", silent)
    (stack.folder / store.RECORD).write_text("{")
    assert store.builds(toy.RECIPE, "1.0") == []


def test_missing_tool_is_said_in_one_line(toy: Toy) -> None:
    toy.tools = {"no-such-tool": "tooling", "sh": "dash"}
    with pytest.raises(UsageError, match=r"^target build toy: tooling is missing; apt-get install tooling$"):
        build.build("toy", silent)
    assert toy.made == 0
    doctor_says = {check.name: check for check in doctor._stacks()}["toy"]
    assert (doctor_says.outcome, doctor_says.found) == ("limited", "not built, and tooling not installed")
    assert doctor_says.mend == "for the target toy: apt-get install tooling, then tcpqual target build toy"


def test_doctor_knows_what_is_built(toy: Toy) -> None:
    assert next(doctor._stacks()).mend == "for the target toy: tcpqual target build toy"
    build.build("toy=2.0", silent)
    assert (next(doctor._stacks()).outcome, next(doctor._stacks()).found) == ("ok", "built: 2.0")


def test_removed(toy: Toy) -> None:
    stack, _ = build.build("toy", silent)
    assert build.remove(["toy"]) > 0
    assert not stack.folder.exists()
    with pytest.raises(UsageError, match=r"^toy: not built$"):
        build.remove(["toy"])


# -- Debian's archive --------------------------------------------------------------------------------------------------

APT = """
case "$*" in
*indextargets*) printf '%b' "$KNOWN"; exit 0;;
*" update") while [ $# -gt 0 ]; do case "$1" in Dir::Etc::sourcelist=*) cat "${1#*=}" >>"$LOG";; esac; shift; done;;
*" source "*) echo "Version: $VERSION" >thing.dsc;;
*" download "*) : >thing_1_all.deb;;
esac
"""


@pytest.fixture
def apt(tools: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tools("apt-get", APT)
    tools("dpkg-source", 'mkdir "$4"')
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("VERSION", "2.0+dfsg-1")
    monkeypatch.setenv("KNOWN", "Other|Other|there:/\\nDebian|Debian-Security|security:/\\nDebian|Debian|here:/\\n")
    return log


def test_the_machines_own_archive_in_another_suite(apt: Path, tmp_path: Path) -> None:
    assert archive.Archive(suite="sid").source("thing", tmp_path, silent) == tmp_path / "thing.dsc"
    kind, *signed, where, suite, component = apt.read_text().split()
    assert (kind, where, suite, component) == ("deb-src", "here:/", "sid", "main")
    assert signed in ([], [f"[signed-by={archive._KEYRING}]"])
    assert archive.Archive(suite="sid").packages(["thing"], tmp_path, silent) == [tmp_path / "thing_1_all.deb"]
    assert apt.read_text().splitlines()[-1].startswith("deb ")


@pytest.mark.parametrize(("known", "message"), [
    ("", "apt has no lists of packages yet; apt-get update as root fetches them"),
    ("Other|Other|there:/\\n", "apt has no archive of Debian's among its sources, from which stacks are fetched")])
@pytest.mark.usefixtures("apt")
def test_no_archive(known: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWN", known)
    with pytest.raises(UsageError, match=f"^{message}$"):
        archive.Archive(suite="sid").source("thing", tmp_path, silent)


def test_why_apt_failed(tools: Callable[[str, str], Path], tmp_path: Path) -> None:
    tools("apt-get", 'case "$*" in *indextargets*) echo "Debian|Debian|here:/";; '
                     "*) echo 'E: The repository has gone' >&2; exit 100;; esac")
    with pytest.raises(TargetError, match=r"^apt-get ended with status 100: The repository has gone$"):
        archive.Archive(suite="sid").source("thing", tmp_path, silent)


def test_sources_are_fetched_once(toy: Toy, apt: Path, tmp_path: Path) -> None:
    def shop(version: str) -> Workshop:
        folder = tmp_path / f"shop{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Workshop(recipe=toy.RECIPE, version=version, folder=folder, downloads=tmp_path / version, tell=silent)

    first = shop("2.0")
    assert first.source("thing").is_dir()
    assert first.sources == ["thing 2.0+dfsg-1"]
    shop("2.0").source("thing")
    assert len(apt.read_text().splitlines()) == 1
    with pytest.raises(TargetError, match=r"^old has thing 2.0\+dfsg-1, not 1.0$"):
        shop("1.0").source("thing")


# -- profiles and commands ---------------------------------------------------------------------------------------------


def test_profile_names_a_stack(toy: Toy) -> None:
    text = PROFILE + 'stack = "toy"\n[variant."2.0"]\nstack = "toy=2.0"\n'
    assert read_profile(text, "toy.toml").stack == "toy"
    newer = read_profile(text, "toy.toml", "2.0")
    assert newer.stack == "toy=2.0"
    with pytest.raises(UsageError, match=r"^toy 2.0 is not built; build it with"):
        converse(newer)


def test_run_without_the_stack_is_a_line(toy: Toy, tmp_path: Path) -> None:
    profile = tmp_path / "toy.toml"
    profile.write_text(PROFILE + 'stack = "toy"\n')
    with pytest.raises(UsageError, match=r"^toy 1.0 is not built; build it with `tcpqual target build toy`$"):
        parse_spec(str(profile))
    build.build("toy", silent)
    assert parse_spec(str(profile)).stack == "toy"


@pytest.mark.parametrize(("text", "fault"), [
    (PROFILE + 'stack = "tyo"\n', "toy.toml: stack: no such stack 'tyo'; there are toy"),
    (PROFILE + 'stack = "toy"\ncommand = ["x"]\n', "toy.toml: stack: goes without command; allowed: one of the two"),
    (PROFILE, "toy.toml: command: missing; kind 'pipe' needs it, or stack, one that `tcpqual target build` builds"),
    (PROFILE.replace("pipe", "model") + 'stack = "toy"\n', "toy.toml: stack: goes with kind 'pipe' alone"),
    (PROFILE.replace("pipe", "model") + '[variant.x]\nstack = "toy"\n',
     "toy.toml: variant.x.stack: goes with kind 'pipe' alone")])
def test_faults_in_a_profile(toy: Toy, text: str, fault: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_profile(text, "toy.toml")
    assert str(raised.value) == fault


def test_commands(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli import cli

    def run(*words: str) -> str:
        cli.main(args=["target", *words], prog_name="tcpqual", standalone_mode=False)
        return capsys.readouterr().out

    assert [line.split() for line in run("list").splitlines()] == [
        ["name", "version", "target", "state", "size", "built", "sources"],
        ["toy", "1.0", "toy", "not", "built"], ["toy", "2.0", "toy:2.0", "not", "built"]]
    assert run("build", "toy=2.0") == "toy 2.0 built in 0 s: 10 octets, from toy 2.0\n"
    assert run("build", "toy=2.0") == "toy 2.0 is up to date: 10 octets, from toy 2.0\n"
    first, second = json.loads(run("list", "--json"))
    assert (first["state"], first["size"], second["state"], second["target"]) == ("not built", None, "built", "toy:2.0")
    assert Path(second["program"]).is_file()
    toy.adapter.write_text("two")
    assert [each["state"] for each in json.loads(run("list", "--json"))] == ["not built", "old"]
    toy.tools = {"no-such-tool": "tooling"}
    assert [each["state"] for each in json.loads(run("list", "--json"))] == ["needs tooling", "old"]
    assert run("remove", "toy=2.0").startswith("removed toy=2.0; ")
