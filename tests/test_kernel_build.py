# SPDX-License-Identifier: GPL-2.0-or-later
"""Building kernels: sources, their edits, our copy, make, and the commands.

No kernel is compiled here: a tree of ten files stands for one, with a Makefile that has the three targets that are
asked for.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from harness import cli
from harness.targets.cache import folder
from harness.targets.kernels import RECORD, find, kernels
from harness.virtualtime import build as builder
from harness.virtualtime import source as origins
from harness.virtualtime.build import Built, build, lock, lost_options, missing_packages, remove
from harness.virtualtime.edits import EDITED, EDITS, edited
from harness.virtualtime.progress import Progress
from harness.virtualtime.source import debian, own
from harness.virtualtime.tree import Tree, sources, wanted
from harness.wire.errors import TargetError, UsageError

ROOT = Path(__file__).resolve().parent.parent
TOOLS = pytest.mark.skipif(any(shutil.which(tool) is None for tool in ("gcc", "make", "strip")),
                           reason="needs gcc, make and strip")
GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

KCONFIG, TIME, SYSCALL = "arch/um/Kconfig", "arch/um/kernel/time.c", "arch/um/kernel/skas/syscall.c"
OFFSETS = "arch/x86/um/user-offsets.c"
RANDOM = "drivers/char/random.c"

MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3
EXTRAVERSION = -rc1

# Beside O= the makefile is read where it is, so the objects go there by name.
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config
\t@sed -i '/^#/d; $(DROPPED)' $(O)/.config
include/config/kernel.release:
\t@mkdir -p $(O)/include/config; echo 6.12.3-rc1 > $(O)/include/config/kernel.release
linux: $(O)/linux
$(O)/linux: $(O)/tcp.o
\t@echo '  LD      linux'; gcc -o $@ $<
$(O)/tcp.o: net/tcp.c arch/um/kernel/time.c
\t@echo '  CC      net/tcp.o'; gcc -c -o $@ net/tcp.c
"""

FILES = {
    "Makefile": MAKEFILE,
    KCONFIG: "config MMU\n\tbool\n\nconfig HZ\n\tint\n\tdefault 100\n",
    TIME: "enum time_travel_mode time_travel_mode;\nEXPORT_SYMBOL_GPL(time_travel_mode);\n\nint x;\n",
    SYSCALL: ("\tsyscall = UPT_SYSCALL_NR(r);\n\tif (syscall >= 0 && syscall < __NR_syscalls) {\n"
              "\t\tunsigned long ret = EXECUTE_SYSCALL(syscall, regs);\n"),
    OFFSETS: "\tDEFINE_LONGS(HOST_FP_SIZE, 2696);\n",
    RANDOM: "static unsigned int crng_reseed_interval(void)\n{\n\tstatic bool early_boot = true;\n\n\treturn 60;\n}\n",
    "net/tcp.c": "int main(void) { return 0; }\n",
    "drivers/gpu/Kconfig": "", "drivers/gpu/card.c": "", "arch/arm/Kconfig": "", "arch/arm/mm.c": "",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tcpqual"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel tree of the user's."""
    return plant(tmp_path / "linux")


def plant(place: Path) -> Path:
    for path, text in FILES.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    return place


def make(folder: Path, name: str = "mine", hz: int = 250) -> Built:
    return build(own(folder), name, hz=hz, jobs=1, progress=Progress(io.StringIO()))


def tcpqual(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", "kernel", *words], cwd=ROOT, text=True,
                          capture_output=True, check=False, env={**os.environ, "CI": "1", **environment})


# -- the edits --------------------------------------------------------------------------------------------------------


def test_edits_of_a_release_that_lacks_all() -> None:
    assert all(edited(path, FILES[path], "6.12.3") != FILES[path] for path in EDITED)
    assert edited(OFFSETS, FILES[OFFSETS], "6.12.3") == "\tDEFINE_LONGS(HOST_FP_SIZE, 12288);\n"
    assert 'config HZ\n\tint\n\tprompt "' in edited(KCONFIG, FILES[KCONFIG], "6.12.3")
    clock = edited(TIME, FILES[TIME], "6.12.3")
    assert clock.index("unsigned long tt_extra_sched_jiffies;") < clock.index("sched_clock(void)\n{")
    call = edited(SYSCALL, FILES[SYSCALL], "6.12.3")
    assert call.index("tt_extra_sched_jiffies++") < call.index("um_ndelay(1024)") < call.index("EXECUTE_SYSCALL")


def test_edits_of_a_release_that_has_the_scheduler_clock() -> None:
    """After 6.12 only the cost of a system call is missing, whichever way the call itself is written."""
    assert edited(OFFSETS, "int x;\n", "6.18.0") == "int x;\n"
    text = FILES[TIME] + "unsigned long tt_extra_sched_jiffies;\n"
    assert edited(TIME, text, "6.18.0") == text
    body = ("\tif (syscall == __NR_sched_yield)\n\t\ttt_extra_sched_jiffies += 1;\n\n"
            "\tif (syscall >= 0 && syscall < __NR_syscalls) {\n\t\tunsigned long ret;\n\n"
            "\t\tret = (*sys_call_table[syscall])(arg1, arg2);\n")
    call = edited(SYSCALL, body, "6.18.0")
    assert call.count("tt_extra_sched_jiffies") == 1
    assert call.count("um_ndelay(1024)") == 1


def test_a_place_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=rf"^{TIME} of 7\.0\.0: no place for a scheduler clock .* this release cannot"):
        edited(TIME, "int x;\n", "7.0.0")
    with pytest.raises(UsageError, match=r": 2 places for "):
        edited(TIME, FILES[TIME] * 2, "7.0.0")


def test_a_file_without_edits_stays() -> None:
    assert edited("net/ipv4/tcp.c", "int x;\n", "6.12.3") == "int x;\n"
    assert {edit.path for edit in EDITS} == EDITED


# -- our copy ---------------------------------------------------------------------------------------------------------


def test_what_is_wanted() -> None:
    assert all(map(wanted, ("Makefile", "arch/Kconfig", "arch/um/Makefile", "arch/x86/um/vdso/vma.c", "net/ipv4/tcp.c",
                            "arch/arm/crypto/Kconfig", "drivers/gpu/drm/Makefile", "Documentation/Kconfig")))
    assert not any(map(wanted, (".git/config", "arch/arm/mm/mmu.c", "drivers/gpu/drm/drm.c", "Documentation/x.rst",
                                "tools/testing/selftests/Makefile")))


def test_products_are_no_sources(tree: Path) -> None:
    before = sources(tree)
    assert before == sorted(set(FILES) - {"drivers/gpu/card.c", "arch/arm/mm.c"})
    for path in ("vmlinux", "net/tcp.o", "net/.tcp.o.cmd", ".config", "include/generated/autoconf.h", ".tmp_x/y.c",
                 "scripts/kconfig/lexer.lex.c", "include/config/auto.conf", "modules.order"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text("")
    program = tree / "scripts/fixdep"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    script = tree / "scripts/check.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert sources(tree) == sorted([*before, "scripts/check.sh"])


@GIT
def test_git_knows_the_sources(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.made\n")
    git = ["git", "-C", str(tree)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "Makefile", "net"], check=True)
    (tree / "net/new.c").write_text("")
    (tree / "net/x.made").write_text("")
    found = sources(tree)
    assert {"Makefile", "net/tcp.c", "net/new.c"} < set(found)
    assert "net/x.made" not in found
    assert not any(path.startswith(".git/") for path in found)


@GIT
def test_a_tree_that_git_is_to_ignore(tree: Path) -> None:
    before = sources(tree)
    (tree / ".gitignore").write_text("/*\n")
    subprocess.run(["git", "-C", str(tree), "init", "-q"], check=True)
    assert sources(tree) == [".gitignore", *before]


def follow(tree: Path, copy: Tree) -> int:
    return copy.follow(tree, sources(tree)) + copy.edit(tree, "6.12.3")


def ages(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_copy_follows(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    (tree / "link").symlink_to("net")
    assert follow(tree, copy) == len(sources(tree))
    assert (copy.source / "link").readlink() == Path("net")
    before = ages(copy.source)
    assert follow(tree, copy) == 0

    (tree / "net/tcp.c").write_text("int main(void) { return 1; }\n")
    (tree / "net/new.c").write_text("int x;\n")
    (tree / "drivers/gpu/Kconfig").unlink()
    (tree / "link").unlink()
    (tree / "link").write_text("a file now")
    assert follow(tree, copy) == 4
    after = ages(copy.source)
    assert {path for path in after if after[path] != before.get(path)} == {"net/tcp.c", "net/new.c", "link"}
    assert before.keys() - after.keys() == {"drivers/gpu/Kconfig"}
    assert (copy.source / "net/tcp.c").read_text() == (tree / "net/tcp.c").read_text()


def test_a_file_that_is_only_newer_is_not_new_for_make(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    before = ages(copy.source)
    for path in FILES:
        os.utime(tree / path)
    assert follow(tree, copy) == 0
    assert ages(copy.source) == before


def test_an_older_file_with_other_contents_is_new_for_make(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    before = ages(copy.source)["net/tcp.c"]
    (tree / "net/tcp.c").write_text("int main(void) { return 7; }\n")
    os.utime(tree / "net/tcp.c", (1, 1))
    assert follow(tree, copy) == 1
    assert ages(copy.source)["net/tcp.c"] > before


def test_an_edited_file_of_the_users(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    (tree / TIME).write_text(FILES[TIME] + "int y;\n")
    assert follow(tree, copy) == 1
    text = (copy.source / TIME).read_text()
    assert "int y;" in text
    assert "tt_extra_sched_jiffies" in text
    assert "tt_extra_sched_jiffies" not in (tree / TIME).read_text()


def test_an_edited_file_that_a_release_has_no_more(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    (tree / OFFSETS).unlink()
    follow(tree, copy)
    assert not (copy.source / OFFSETS).exists()
    (tree / TIME).unlink()
    with pytest.raises(UsageError, match=rf"^{TIME} of 6\.12\.3: no place for"):
        follow(tree, copy)


def test_a_copy_that_was_made_by_other_rules(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    manifest = json.loads((copy.folder / "files.json").read_text())
    (copy.folder / "files.json").write_text(json.dumps({**manifest, "rules": "others"}))
    (copy.source / "net/tcp.c").write_text("edited once, and no more")
    assert follow(tree, copy) == 1
    assert (copy.source / "net/tcp.c").read_text() == FILES["net/tcp.c"]


def test_a_copy_that_was_broken_off(tree: Path, tmp_path: Path) -> None:
    copy = Tree(tmp_path / "copy")
    follow(tree, copy)
    before = ages(copy.source)
    (copy.folder / "files.json").unlink()
    (copy.source / "net/tcp.c").write_text("half")
    (copy.source / "net/old.c").write_text("not the user's")
    assert follow(tree, copy) == 2
    after = ages(copy.source)
    assert {path for path in after if after[path] != before.get(path)} == {"net/tcp.c"}


# -- where sources come from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "said"), [
    ("", "no such folder"), ("Makefile", "no kernel tree; there is no Makefile with VERSION and PATCHLEVEL"),
    (KCONFIG, "a kernel tree without arch/um, which is what is built")])
def test_what_is_no_kernel_tree(tree: Path, missing: str, said: str) -> None:
    shutil.rmtree(tree) if not missing else (tree / missing).unlink()
    with pytest.raises(UsageError) as refused:
        own(tree)
    assert str(refused.value) == f"--source {tree}: {said}"


def test_two_trees_of_one_name_are_two(tmp_path: Path) -> None:
    first, second = own(plant(tmp_path / "a/linux")), own(plant(tmp_path / "b/linux"))
    assert first.tree != second.tree
    assert (first.label, first.key) == (str(tmp_path / "a/linux"), "")


def archive(place: Path) -> Path:
    """What a linux-source package installs."""
    content = plant(place / "linux-source-6.12")
    (content / "net/link").symlink_to("tcp.c")
    with tarfile.open(place / "linux-source-6.12.tar.xz", "w:xz") as tar:
        tar.add(content, "linux-source-6.12")
    return place / "linux-source-6.12.tar.xz"


def script(place: Path, name: str, text: str) -> None:
    place.mkdir(exist_ok=True)
    (place / name).write_text(f"#!/bin/sh\n{text}\n")
    (place / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs that are found before the machine's, and no installed sources."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(origins, "_INSTALLED", tmp_path / "usr-src")
    return tmp_path / "bin"


def test_installed_sources(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "usr-src").mkdir()
    archive(tmp_path / "usr-src")
    script(tools, "dpkg-query", "printf 6.12.3-1")
    source = debian("6.12", folder() / "trees", print)
    assert (source.label, source.tree) == ("linux-source-6.12 6.12.3-1", "linux-source-6.12")
    copy = Tree(folder() / "trees" / source.tree)
    told: list[str] = []
    source.fill(copy, told.append)
    assert told == ["unpacking linux-source-6.12.tar.xz"]
    assert {str(path.relative_to(copy.source)) for path in copy.source.rglob("*") if not path.is_dir()} == \
        {*FILES, "net/link"} - {"drivers/gpu/card.c", "arch/arm/mm.c"}
    assert "tt_extra_sched_jiffies" in (copy.source / TIME).read_text()
    assert (copy.pristine / TIME).read_text() == FILES[TIME]
    assert source.fill(copy, told.append) == 0
    assert len(told) == 1
    script(tools, "dpkg-query", "exit 1")
    assert len(debian("6.12", folder() / "trees", print).version) == 16


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_downloaded_sources(tmp_path: Path, tools: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/src").mkdir(parents=True)
    shutil.move(archive(tmp_path), root / "usr/src")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text("Package: linux-source-6.12\nVersion: 6.12.3-1\nArchitecture: all\n"
                                         "Maintainer: nobody <nobody@example.org>\nDescription: sources\n")
    package = tmp_path / "linux-source-6.12_6.12.3-1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(root), str(package)], check=True, capture_output=True)
    script(tools, "apt-cache", "echo '  Candidate: 6.12.3-1'")
    script(tools, "apt-get", f'[ "$*" = "download linux-source-6.12=6.12.3-1" ] && cp {package} .')
    told: list[str] = []
    source = debian("6.12", folder() / "trees", told.append)
    assert told == ["downloading linux-source-6.12=6.12.3-1"]
    source.fill(Tree(folder() / "trees" / source.tree), told.append)
    # It is kept, also where apt knows nothing any more.
    for candidate in ("6.12.3-1", "(none)"):
        script(tools, "apt-cache", f"echo '  Candidate: {candidate}'")
        assert debian("6.12", folder() / "trees", told.append) == source
    # A new version takes its place.
    script(tools, "apt-cache", "echo '  Candidate: 6.12.4-1'")
    script(tools, "apt-get", f"cp {package} linux-source-6.12_6.12.4-1_all.deb")
    newer = debian("6.12", folder() / "trees", told.append)
    assert (newer.version, source.archive.exists()) == ("6.12.4-1", False)


def test_sources_that_cannot_be_had(tools: Path) -> None:
    script(tools, "apt-cache", "echo '  Candidate: (none)'")
    script(tools, "apt-get", "echo /lists/some_Packages")
    with pytest.raises(UsageError, match=r"^linux-source-6\.1 is not installed, and apt has no such package; "
                                         r"apt-get install linux-source-6\.1, or name a kernel tree with --source$"):
        debian("6.1", folder() / "trees", print)
    script(tools, "apt-cache", "echo '  Candidate: 6.1.5-1'")
    script(tools, "apt-get", "echo 'E: Failed to fetch it' >&2; exit 100")
    with pytest.raises(UsageError, match=r"^linux-source-6\.1 cannot be downloaded: Failed to fetch it; apt-get inst"):
        debian("6.1", folder() / "trees", lambda _: None)
    assert not list((folder() / "trees").rglob(".download-*"))


def test_apt_without_lists(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has run `apt-get update`, its install would not help either."""
    script(tools, "apt-cache", "exit 0")
    script(tools, "apt-get", 'case "$*" in "indextargets "*"Identifier: Packages") ;; *) echo "$*" ;; esac')
    with pytest.raises(UsageError, match=r"^linux-source-6\.1 is not installed, and apt has no lists of packages yet; "
                                         r"apt-get update as root fetches them, or name a kernel tree with --source$"):
        debian("6.1", folder() / "trees", print)
    # Of an apt that fails nothing is known, nor where there is none.
    monkeypatch.setenv("PATH", str(tools))
    for change in (lambda: script(tools, "apt-get", "exit 100"), (tools / "apt-get").unlink):
        change()
        with pytest.raises(UsageError, match=r"apt has no such package; apt-get install linux-source-6\.1, or name"):
            debian("6.1", folder() / "trees", print)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_apts_own_word_for_no_lists(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "status").touch()
    (tmp_path / "apt.conf").write_text(f'Dir::State {{ Lists "{tmp_path}/lists"; Status "{tmp_path}/status"; }};\n'
                                       f'Dir::Cache "{tmp_path}/cache";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(UsageError, match=r"^linux-source-6\.1 is not installed, and apt has no lists of packages"):
        debian("6.1", folder() / "trees", print)


def test_a_damaged_archive(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "usr-src").mkdir()
    whole = archive(tmp_path / "usr-src")
    whole.write_bytes(whole.read_bytes()[:300])
    source = debian("6.12", folder() / "trees", print)
    copy = Tree(folder() / "trees" / source.tree)
    with pytest.raises(TargetError, match=r"linux-source-6\.12\.tar\.xz: cannot be unpacked: "):
        source.fill(copy, lambda _: None)
    assert not copy.has(source.version)


# -- building ---------------------------------------------------------------------------------------------------------


@TOOLS
def test_build_and_build_again(tree: Path) -> None:
    before = ages(tree)
    done = make(tree)
    assert not done.up_to_date
    assert done.compiled == 2
    kernel = find("mine")
    assert kernel == done.kernel
    assert (kernel.release, kernel.hz, kernel.source) == ("6.12.3-rc1", 250, str(tree))
    assert subprocess.run([kernel.binary], check=False).returncode == 0
    assert "CONFIG_HZ=250" in (kernel.folder / "config").read_text()
    record = json.loads((kernel.folder / RECORD).read_text())
    assert "gcc" in record["compiler"]
    assert sorted(path.name for path in kernel.folder.iterdir()) == ["config", RECORD, "linux", "randomness.so"]

    again = make(tree)
    assert (again.up_to_date, again.compiled, again.kernel) == (True, 0, kernel)
    assert ages(tree) == before

    (tree / "net/tcp.c").write_text("int main(void) { return 5; }\n")
    changed = make(tree)
    assert (changed.up_to_date, changed.compiled) == (False, 2)
    assert changed.kernel.key != kernel.key
    assert subprocess.run([find("mine").binary], check=False).returncode == 5
    assert make(tree, hz=100).kernel.hz == 100


@TOOLS
def test_debians_kernel_that_is_there_is_not_touched(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "usr-src").mkdir()
    archive(tmp_path / "usr-src")
    script(tools, "dpkg-query", "printf 6.12.3-1")
    source = debian("6.12", folder() / "trees", print)
    first = build(source, "6.12", hz=250, jobs=1, progress=Progress(io.StringIO()))
    shutil.rmtree(folder() / "trees")
    again = build(source, "6.12", hz=250, jobs=1, progress=Progress(io.StringIO()))
    assert (again.up_to_date, again.kernel) == (True, first.kernel)
    assert not (folder() / "trees").exists()
    other = build(source, "6.12", hz=1000, jobs=1, progress=Progress(io.StringIO()))
    assert (other.up_to_date, other.kernel.hz) == (False, 1000)


@TOOLS
def test_a_name_belongs_to_one_tree(tmp_path: Path, tree: Path) -> None:
    make(tree)
    with pytest.raises(UsageError, match=rf"^kernel mine was built from {tree}; choose another --name, or `tcpqual"):
        make(plant(tmp_path / "other"))


@TOOLS
def test_a_build_that_fails(tree: Path) -> None:
    make(tree)
    before = find("mine")
    (tree / "net/tcp.c").write_text("int main(void) { return nothing; }\n")
    out = io.StringIO()
    with pytest.raises(TargetError, match=r"^kernel build: make linux failed with status 2; all that it said is in "):
        build(own(tree), "mine", hz=250, jobs=1, progress=Progress(out))
    assert "net/tcp.c:1:25: error: 'nothing' undeclared" in out.getvalue().replace("‘", "'").replace("’", "'")
    assert "undeclared" in (folder() / "logs/mine.log").read_text()
    # The kernel of before stays, and the next build goes on.
    assert find("mine") == before
    (tree / "net/tcp.c").write_text(FILES["net/tcp.c"])
    assert make(tree).up_to_date


@TOOLS
def test_options_that_are_lost(tree: Path) -> None:
    (tree / "Makefile").write_text(MAKEFILE.replace("$(DROPPED)", "/CONFIG_TUN=/d"))
    assert make(tree).lost == ("TUN",)
    (tree / "Makefile").write_text(MAKEFILE.replace("$(DROPPED)", "/CONFIG_VETH=/d"))
    with pytest.raises(TargetError, match=r"^kernel build: 6\.12\.3-rc1 does not take the options VETH, which a run"):
        make(tree)


def test_options_that_a_release_cannot_have() -> None:
    fragment = "# a remark\nCONFIG_NET=y\n# since 6.7\nCONFIG_TCP_AO=y\nCONFIG_HZ=250\n"
    assert lost_options(fragment, "CONFIG_NET=y\nCONFIG_HZ=250\n", "6.1.192") == ()
    assert lost_options(fragment, "CONFIG_NET=y\nCONFIG_HZ=250\n", "6.12.3") == ("TCP_AO",)
    assert lost_options(fragment, "CONFIG_HZ=100\n", "6.1.192") == ("NET", "HZ")


def test_every_option_that_a_run_needs_is_asked_for() -> None:
    fragment = (ROOT / "harness/virtualtime/kernel.config").read_text()
    asked = {line.removeprefix("CONFIG_").partition("=")[0] for line in fragment.splitlines()
             if line.startswith("CONFIG_")}
    assert asked >= builder._NEEDED - {"HZ"}


@TOOLS
def test_nothing_half_is_left_by_an_interrupt(tree: Path) -> None:
    (tree / "Makefile").write_text(MAKEFILE.replace("gcc -c", "sleep 30; gcc -c"))
    process = subprocess.Popen([sys.executable, "-m", "harness", "kernel", "build", "--source", str(tree)], cwd=ROOT,
                               stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "CI": "1", "PATH": _complete(tree.parent)})
    assert process.stderr is not None
    for line in process.stderr:
        if "compiling" in line:
            break
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "tcpqual: interrupted"
    assert time.monotonic() - began < 5
    assert kernels() == []
    (tree / "Makefile").write_text(MAKEFILE)
    assert make(tree, "linux").compiled == 2


def _complete(place: Path) -> str:
    """A PATH with every tool that a build is refused without."""
    for tool in builder._TOOLS:
        if shutil.which(tool) is None:
            script(place / "more", tool, "exit 1")
    return f"{os.environ['PATH']}:{place / 'more'}"


@TOOLS
def test_the_second_build_waits(tree: Path) -> None:
    out = io.StringIO()
    with lock("kernel-mine", Progress(out)):
        process = subprocess.Popen([sys.executable, "-m", "harness", "kernel", "build", "--name", "mine", "--source",
                                    str(tree)], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "CI": "1", "PATH": _complete(tree.parent)})
        assert process.stderr is not None
        assert process.stderr.readline() == "kernel mine is in use by another build; waiting for it\n"
        assert kernels() == []
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert find("mine").source == str(tree)
    assert out.getvalue() == ""


# -- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    made = tmp_path / "randomness.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(made),
                    str(ROOT / "harness/virtualtime/randomness.c")], check=True)
    return made


def drawn(library: Path, seed: str | None, *lengths: int) -> bytes:
    program = ("import ctypes, sys\nget = ctypes.CDLL(sys.argv[1]).getrandom\n"
               "for n in map(int, sys.argv[2:]):\n"
               "    b = ctypes.create_string_buffer(n)\n    assert get(b, n, 0) == n\n    print(b.raw.hex(), end='')")
    environment = {key: value for key, value in os.environ.items() if key != "TCPQUAL_SEED"}
    environment |= {"TCPQUAL_SEED": seed} if seed is not None else {}
    done = subprocess.run([sys.executable, "-c", program, str(library), *map(str, lengths)], capture_output=True,
                          text=True, check=True, env=environment)
    return bytes.fromhex(done.stdout)


@TOOLS
def test_randomness_follows_from_the_seed(library: Path) -> None:
    first = drawn(library, "1", 4096)
    assert drawn(library, "1", 4096) == first
    assert drawn(library, "2", 4096) != first
    assert drawn(library, None, 64) == drawn(library, "0", 64)
    # Every octet comes up, and about as often as the others.
    assert min(first.count(bytes([octet])) for octet in range(256)) > 2
    assert drawn(library, "1", 8, 3, 8)[:8] == first[:8]
    assert ctypes.sizeof(ctypes.c_size_t) == 8


# -- the commands -----------------------------------------------------------------------------------------------------


def test_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(builder.shutil, "which", lambda name: None if name in ("flex", "bison") else real(name) or name)
    monkeypatch.setattr(builder, "missing_packages", lambda: ["flex", "bison"])
    with pytest.raises(UsageError, match=r"^kernel build: flex, bison are missing; apt-get install flex bison$"):
        builder.check_machine()
    monkeypatch.setattr(builder, "missing_packages", lambda: ["bc"])
    with pytest.raises(UsageError, match=r"^kernel build: bc is missing; apt-get install bc$"):
        builder.check_machine()
    monkeypatch.setattr(builder.platform, "machine", lambda: "aarch64")
    with pytest.raises(UsageError, match=r"^kernel build: Linux on x86-64 only, this is Linux on aarch64$"):
        builder.check_machine()


def test_each_missing_package_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.shutil, "which", lambda name: None)
    assert missing_packages() == list(dict.fromkeys(builder._TOOLS.values()))


@TOOLS
def test_list_and_remove(tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tree, "one")
    make(tree, "two", hz=1000)
    assert status("list") == 0
    head, one, two = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "release", "HZ", "size", "built", "source"]
    assert one.split()[:3] == ["one", "6.12.3-rc1", "250"]
    assert two.endswith(f"  {tree}")
    assert status("list", "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(entry["name"], entry["hz"]) for entry in entries] == [("one", 250), ("two", 1000)]

    assert status("remove", "one", "three") == 2
    assert capsys.readouterr().err == "tcpqual: no such kernel 'three'; there are one, two\n"
    assert status("remove", "one") == 0
    assert capsys.readouterr().out.startswith("removed one; ")
    assert [kernel.name for kernel in kernels()] == ["two"]
    copies = list((folder() / "trees").iterdir())
    assert [sorted(path.name for path in (copy / "build").iterdir()) for copy in copies] == [["two"]]
    assert remove(["two"], Progress(io.StringIO())) > 0
    assert list((folder() / "trees").iterdir()) == []
    assert (tree / "net/tcp.c").exists()


def status(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["kernel", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(("words", "said"), [
    (["build", "--release", "5.10"],
     "--release 5.10: Debian 12 has 6.1 and 6.12; another one's tree goes with --source"),
    (["build", "--release", "6.1", "--source", "."],
     "--release means Debian's sources, --source others; choose one"),
    (["build", "--source", "nowhere"], "--source nowhere: no such folder"),
    (["build", "--name", "../x"], "--name '../x': letters, digits and . _ + - only, a letter or digit first"),
    (["remove", "6.1"], "no such kernel '6.1'; none is built"),
    (["buidl"], "'buidl': no such command; there are build, list, remove, shell"),
])
def test_refusals(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*words) == 2
    assert capsys.readouterr().err == f"tcpqual: {said}\n"


def test_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("list") == 0
    assert capsys.readouterr().out == "no kernel is built; build one with `tcpqual kernel build`\n"


def test_help_imports_nothing_of_the_build() -> None:
    program = ("import sys, harness.cli; print(*(name for name in sys.modules "
               "if name.startswith(('harness.virtualtime.', 'harness.targets')) or name in ('tarfile', 'rich')))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = ["harness.targets", "harness.targets.pipe", "harness.targets.pipe.commands", "harness.targets.stacks",
                "harness.targets.stacks.commands", "harness.targets.vm", "harness.targets.vm.commands",
                "harness.virtualtime.commands"]
    assert sorted(done.stdout.split()) == commands, "the commands, and the packages that they are in"


# -- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    return Terminal()


def test_plain_progress() -> None:
    out = io.StringIO()
    with Progress(out) as progress:
        progress.tell("compiling: 1 done, a.o")
        progress.tell("compiling: 2 done, b.o")
        progress.say("a line")
        progress.tell("installing")
    assert out.getvalue().splitlines() == ["[0:00] compiling: 1 done, a.o", "a line", "[0:00] installing"]


def test_progress_on_a_terminal(terminal: Terminal) -> None:
    with Progress(terminal) as progress:
        progress.tell("compiling: 1 done, a.o")
        progress.say("a line")
    assert "compiling: 1 done, a.o" in terminal.getvalue()
    assert "a line\n" in terminal.getvalue()
