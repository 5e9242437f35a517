# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite of cases: where it stands, and what the names that people give to its parts mean.

A case is named as results name it, `topic/module::case`, optionally with its variant in brackets; a part of the suite
by `topic` or `topic/module`. Whatever pytest understands (files, folders, node ids) is taken as it is.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .requirements.catalogue import hash_of
from .wire.errors import UsageError

if TYPE_CHECKING:
    import pytest

_PACKAGE: Final = Path(__file__).resolve().parent
_NEAR: Final = 3
_PLUGINS: Final = ("harness.plugin", "xdist.plugin", "allure_pytest.plugin", "no:terminal", "no:cacheprovider")
_SOURCES: Final = (".py", ".toml", ".pkt")
_OK: Final = 0
_NO_TESTS: Final = 5


def suite() -> Path:
    """The folder of the cases: the checkout's in which we are, the one next to the package, or the package's own.

    Raises UsageError if there is none.
    """
    here = Path.cwd()
    candidates = [here / "cases"] if (here / "harness" / "plugin.py").is_file() else []
    for folder in (*candidates, _PACKAGE.parent / "cases", _PACKAGE / "_cases"):
        if folder.is_dir():
            return folder
    raise UsageError("no cases: this installation carries none; name a file or folder of cases")


def digest() -> str:
    """What tells this suite of cases from another: the beginning of a hash of all its files, "" if there is none."""
    try:
        root = suite()
    except UsageError:
        return ""
    files = sorted(path for path in root.rglob("*") if path.suffix in _SOURCES and path.is_file())
    return hash_of((path.relative_to(root).as_posix(), path.read_bytes()) for path in files)


def node_ids(name: str, families: Sequence[str], root: Path | None = None) -> list[str]:
    """What pytest calls the part of the suite that has this name. Raises UsageError naming what is near.

    A case that is named with its variant is one node id for each family.
    """
    place, separator, case = name.partition("::")
    if place and Path(place).exists():
        function = case.partition("[")[0]
        if Path(place).is_file() and case and "::" not in case and function not in _tests(Path(place)):
            raise UsageError(f"{name}: no such test in that file; there are {', '.join(_tests(Path(place))) or 'none'}")
        return [str(Path(place).resolve()) + separator + case]
    if os.sep in place and (place.startswith((".", os.sep)) or place.endswith(".py")):
        raise UsageError(f"{name}: no such file or folder")
    root = suite() if root is None else root
    path = _part(root, place)
    if path is None:
        raise UsageError(f"{name}: no such case, topic or file{_near(name, root)}")
    if not separator:
        return [str(path)]
    function, bracket, variant = case.removesuffix("]").partition("[")
    if path.is_dir() or f"test_{function}" not in _tests(path):
        raise UsageError(f"{name}: no such case{_near(name, root)}")
    node = f"{path}::test_{function}"
    if not bracket:
        return [node]
    _check_variant(name, path, function, variant)
    return [f"{node}[{family}-{variant}]" for family in families]


def _part(root: Path, place: str) -> Path | None:
    topic, _, module = place.strip("/").partition("/")
    path = root / topic
    if module:
        path = path / f"test_{module}.py"
    return path if topic and topic not in (".", "..") and path.exists() else None


def _near(name: str, root: Path) -> str:
    known = list(names(root))
    whole = difflib.get_close_matches(name.partition("[")[0], known, n=_NEAR)
    # Who knows only the case's own name is helped too.
    tail = name.partition("::")[2].partition("[")[0] or name
    ends = [known_name for known_name in known if known_name.partition("::")[2] == tail]
    near = list(dict.fromkeys([*ends, *whole]))[:_NEAR]
    return f"; did you mean {' or '.join(near)}?" if near else "; `tcpqual list` names all"


def names(root: Path) -> Iterator[str]:
    """Every name there is in a suite: topics, modules and cases, without variants."""
    for topic in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))):
        modules = sorted(topic.glob("test_*.py"))
        if modules:
            yield topic.name
        for module in modules:
            place = f"{topic.name}/{module.stem.removeprefix('test_')}"
            yield place
            yield from (f"{place}::{function.removeprefix('test_')}" for function in _tests(module))


def _tests(path: Path) -> tuple[str, ...]:
    """The tests of a module, read without importing it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ()
    return tuple(node.name for node in tree.body
                 if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def count(nodes: Iterable[str], expression: str = "") -> int:
    """About how many cases there are there whose names match (pytest's `-k`): variants and classes are not counted.

    Raises UsageError for an expression that pytest would not take.
    """
    matches = _matcher(expression)
    found = 0
    for node in nodes:
        place, _, case = node.partition("::")
        path = Path(place)
        modules = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        for module in modules:
            functions = (case.partition("[")[0],) if case else _tests(module)
            found += sum(matches(f"{module.parent.name}/{module.name}/{function}") for function in functions)
    return found


def _matcher(expression: str) -> Callable[[str], bool]:
    from _pytest.mark.expression import Expression

    if not expression:
        return lambda name: True
    try:
        compiled = Expression.compile(expression)
    except SyntaxError as error:
        raise UsageError(f"-k {expression!r}: {error.msg} at column {error.offset}; "
                         "allowed: words joined by and, or, not and brackets") from None

    def matches(name: str) -> bool:
        def is_in(word: str, /, **_: object) -> bool:
            return word.lower() in name.lower()

        return compiled.evaluate(is_in)

    return matches


def _check_variant(name: str, path: Path, function: str, variant: str) -> None:
    known = [case for case in collect([f"{path}::test_{function}"]) if case.id.endswith(f"::{function}")]
    variants = [variant for case in known for variant in case.variants]
    if variant not in variants:
        allowed = f"variants: {', '.join(variants)}" if variants else "it has no variants"
        raise UsageError(f"{name}: no such variant of this case; {allowed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One case of the suite as it is written; its families and variants are what it is run in."""

    id: str
    title: str
    text: str
    file: str
    line: int
    requirements: tuple[str, ...]
    behaviours: tuple[str, ...]
    tc8: tuple[str, ...]
    needs: tuple[str, ...]
    slow: bool
    flood: bool
    families: tuple[str, ...]
    variants: tuple[str, ...]
    source: str


def collect(nodes: Iterable[str]) -> list[Entry]:
    """The cases that pytest finds there; no lab is made. Raises UsageError if a module of cases cannot be read."""
    gatherer = _Gatherer()
    # A decoy needs no rights and keeps no real time, so nothing is left out.
    status, _ = play(["--collect-only", "--target=decoy:blackhole", "--family=both", *nodes], [gatherer])
    if gatherer.faults:
        raise UsageError(gatherer.faults[0])
    if status not in (_OK, _NO_TESTS):
        raise UsageError(f"the cases cannot be collected (pytest ended with {status})")
    return list(_merge(gatherer.items))


def play(arguments: Sequence[str], plugins: Sequence[object] = ()) -> tuple[int, bool]:
    """Let pytest run cases in this process, by itself: our plugins, and nobody else's or anybody's configuration.

    Returns its exit status, and whether it came as far as to begin a session.
    """
    import pytest

    watcher = _Watcher()
    loaded = [word for name in _PLUGINS for word in ("-p", name)]
    with _environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTEST_ADDOPTS=None, PYTEST_PLUGINS=None):
        # Without its end (--confcutdir) pytest would look for cases from the root of the file system down, and read
        # every folder on the way.
        status = pytest.main([*loaded, "-c", os.devnull, f"--rootdir={suite().parent}",
                              f"--confcutdir={_top(arguments)}", "--import-mode=importlib", "-o",
                              "junit_family=xunit1", *arguments], plugins=[*plugins, watcher])
    return int(status), watcher.began


def _top(arguments: Sequence[str]) -> Path:
    """The folder from which pytest looks for what a command line names: the suite's, or the one above all of it."""
    named = [Path(word.partition("::")[0]) for word in arguments if os.sep in word and not word.startswith("-")]
    folders = [path if path.is_dir() else path.parent for path in named if path.exists()]
    home = suite().parent.resolve()
    if all(folder.resolve().is_relative_to(home) for folder in folders):
        return home
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


@contextlib.contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Watcher:
    """A pytest plugin that knows whether the session came to its end, whatever its verdicts."""

    began = False

    def pytest_sessionstart(self) -> None:
        """The command line has been understood."""
        self.began = True


class _Gatherer:
    """A pytest plugin that keeps what has been collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.faults: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why something could not be collected."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1:] or [""]
            self.faults.append(f"{report.nodeid}: {last[0].removeprefix('E').strip()}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the items."""
        self.items = list(session.items)


def _merge(items: Sequence[pytest.Item]) -> Iterator[Entry]:
    import inspect

    from .item import case_id, family_of, is_case, variant

    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if is_case(item):
            groups.setdefault(case_id(item), []).append(item)
    for identifier, group in groups.items():
        item = group[0]
        function: Any = getattr(item, "function", None)
        covers = list(item.iter_markers("covers"))
        text = inspect.cleandoc(function.__doc__ or "")
        variants = tuple(dict.fromkeys(text for text in map(variant, group) if text))
        yield Entry(
            id=identifier, title=text.split("\n")[0], text=text, file=str(item.path), line=(item.location[1] or 0) + 1,
            requirements=tuple(dict.fromkeys(name for marker in covers for name in marker.args)),
            behaviours=tuple(name for marker in covers for name in marker.kwargs.get("behaviours", ())),
            tc8=tuple(name for marker in covers for name in marker.kwargs.get("tc8", ())),
            needs=tuple(name for marker in item.iter_markers("needs") for name in marker.args),
            slow=item.get_closest_marker("slow") is not None, flood=item.get_closest_marker("flood") is not None,
            families=tuple(dict.fromkeys(map(family_of, group))), variants=variants,
            source=inspect.getsource(function).rstrip() if function is not None else "")
