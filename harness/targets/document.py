# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile files: their shape, and reading one with every fault said at once.

cattrs does the walking. The hooks here are stricter than its own (true is no number, "6" neither) and know which names
and words are allowed; each fault becomes one line that names the file, the key's path, the wrong value and what is
allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NewType, TypeVar

from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from ..lower.fingerprint import Layout, layout_words, parse_layout
from ..requirements.catalogue import load
from ..upper.base import STATES
from ..wire.clock import SECOND
from ..wire.errors import UsageError
from .ledger import TO_WRITE, Deviation, Ledger
from .profile import KINDS, Pinned, Profile, Sysctl, Value, load_profile, profile_names
from .remote.device import Device
from .versions import ALLOWED, VersionRange
from .vocabulary import ENDLESS, FEATURES, LIMITS, PINS, POLICIES, TIMERS, PinTerm, by_name, names, suggestion

T = TypeVar("T")
Features = NewType("Features", dict[str, bool])
Timers = NewType("Timers", dict[str, Value])
Limits = NewType("Limits", dict[str, Value])
Policies = NewType("Policies", dict[str, Value])
Sysctls = NewType("Sysctls", dict[str, Sysctl])
Fingerprint = NewType("Fingerprint", dict[str, Pinned])
Name = NewType("Name", str)
Kind = NewType("Kind", str)
Command = NewType("Command", list[str])
Limit = NewType("Limit", float)
Stack = NewType("Stack", str)
Remote = NewType("Remote", Device)
Files = NewType("Files", list[str])

_SYSCTL: Final = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")
_ANYTHING: Final = ("R. 0:0(0) ack 1", "S 0:0(0) win 65535 <mss 1460>", "nothing")
_WRITTEN: Final = {"reason": "what the target does instead, and the section of the RFC",
                   "evidence": "how that is known: a capture, a place in the sources"}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlTables:
    """`[sysctl.always]` is written whenever the target is made, `[sysctl.short]` where the short values hold."""

    always: Sysctls = field(default_factory=lambda: Sysctls({}))
    short: Sysctls = field(default_factory=lambda: Sysctls({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a variant may say differently."""

    features: Features = field(default_factory=lambda: Features({}))
    timers: Timers = field(default_factory=lambda: Timers({}))
    limits: Limits = field(default_factory=lambda: Limits({}))
    policies: Policies = field(default_factory=lambda: Policies({}))
    sysctl: SysctlTables = field(default_factory=SysctlTables)
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint({}))
    stack: Stack = Stack("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Tables):
    """The whole file."""

    name: Name
    kind: Kind
    title: str
    extends: str = ""
    command: Command = field(default_factory=lambda: Command([]))
    cwd: str = "."
    answer_limit_s: Limit = Limit(10.0)
    fresh: bool = False
    remote: Remote | None = None
    kernel: str = ""
    modules: Files = field(default_factory=lambda: Files([]))
    deviation: list[Deviation] = field(default_factory=list)
    variant: dict[str, Tables] = field(default_factory=dict)


class Fault(Exception):
    """One thing that is wrong, and where, counted from what a hook was given."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where


class Faults(Exception):
    """Several of them."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def read_profile(text: str, file: str, variant: str | None = None, above: tuple[str, ...] = ()) -> Profile:
    """The profile that the text of a file describes, in one of its variants if so wanted.

    `above` are the files that extend this one, outermost first. Raises UsageError, one line for each fault.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from None
    converter = _converter()
    try:
        document = converter.structure(raw, Document)
    except (BaseValidationError, Fault, Faults) as error:
        raise UsageError("\n".join(f"{file}: {line}" for line in _lines(error))) from None
    if problem := _unstartable(document) or _unreachable(document) or _unbootable(document):
        raise UsageError(f"{file}: {problem}")
    if variant is not None and variant not in document.variant:
        there = ", ".join(document.variant) or "none"
        raise UsageError(f"{file}: {variant!r}: no such variant of this profile; there are: {there}")
    return _profile(document, file, variant, _extended(document.extends, file, above))


def _unstartable(document: Document) -> str:
    """What is wrong with the way in which the stack of a pipe target is started; "" if nothing is."""
    ways = [name for name in ("command", "stack") if getattr(document, name)]
    if document.kind != "pipe":
        ways += ["fresh"] if document.fresh else []
        ways += [f"variant.{name}.stack" for name, variant in document.variant.items() if variant.stack]
        return f"{ways[0]}: goes with kind 'pipe' alone" if ways else ""
    if not ways:
        return "command: missing; kind 'pipe' needs it, or stack, one that `tcpqual target build` builds"
    return "stack: goes without command; allowed: one of the two" if len(ways) > 1 else ""


def _unreachable(document: Document) -> str:
    """What is wrong with the table `[remote]`, but for what stands in it; "" if nothing is."""
    return "remote: goes with kind 'remote' alone" if document.remote and document.kind != "remote" else ""


def _unbootable(document: Document) -> str:
    """What is wrong with the files that a virtual machine boots; "" if nothing is."""
    if document.kind == "vm":
        return "" if document.kernel else "kernel: missing; kind 'vm' needs it, the file of a kernel"
    given = [name for name in ("kernel", "modules") if getattr(document, name)]
    return f"{given[0]}: goes with kind 'vm' alone" if given else ""


def _extended(extends: str, file: str, above: tuple[str, ...]) -> Profile | None:
    """The profile whose tables a file begins with; a file is looked for beside the one that names it."""
    if not extends:
        return None
    spec = str(Path(file).parent / extends) if ".toml" in extends else extends
    if spec in (*above, file):
        raise UsageError(f"{file}: extends: {extends!r} is not allowed, since it leads back to this profile; allowed: "
                         f"{', '.join(profile_names())}, or another file")
    try:
        return load_profile(spec, above=(*above, file))
    except UsageError as error:
        # What is wrong further below names its own file.
        lines = [line if ".toml: " in line else f"{file}: extends: {line}" for line in str(error).splitlines()]
        raise UsageError("\n".join(lines)) from None


def _profile(document: Document, file: str, variant: str | None, base: Profile | None) -> Profile:
    """The tables of the profile that it extends, the document's over them, and the variant's over these."""
    own, other = document, document.variant[variant] if variant else Tables()
    under = base or Profile(name="", kind="", title="", file="")
    profile = Profile(
        name=own.name, kind=own.kind, title=own.title, file=file, variant=variant or "", variants=tuple(own.variant),
        features={**under.features, **own.features, **other.features},
        timers={**under.timers, **own.timers, **other.timers},
        limits={**under.limits, **own.limits, **other.limits},
        policies={**under.policies, **own.policies, **other.policies},
        sysctl_always={**under.sysctl_always, **own.sysctl.always, **other.sysctl.always},
        sysctl_short={**under.sysctl_short, **own.sysctl.short, **other.sysctl.short},
        fingerprint={**under.fingerprint, **own.fingerprint, **other.fingerprint},
        ledger=Ledger((*own.deviation, *under.ledger)),
        command=tuple(own.command), cwd=own.cwd, answer_limit_s=own.answer_limit_s, fresh=own.fresh,
        stack=other.stack or own.stack, remote=own.remote, kernel=own.kernel, modules=tuple(own.modules))
    return profile if own.remote is None else _of_device(profile, own.remote)


def _of_device(profile: Profile, device: Device) -> Profile:
    """What is known of a device before it is reached: its addresses, whether it has short timers, its version."""
    features = {name: claimed and (name not in ("ipv4", "ipv6") or device.address(name) is not None)
                for name, claimed in profile.features.items()}
    return replace(profile, features=features, short=device.timers == "short", version=device.version)


# -- what cattrs is told ---------------------------------------------------------------------------------------------

def _converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    hooks: dict[Any, Callable[[Any, Any], Any]] = {
        bool: lambda raw, _: _exactly(raw, bool, "true or false"),
        str: lambda raw, _: _text(raw),
        Name: lambda raw, _: _spelt(raw, _NAME, "small letters, digits, dots and hyphens"),
        Kind: lambda raw, _: _word(raw, KINDS),
        Command: lambda raw, _: _command(raw),
        Limit: lambda raw, _: _limit(raw),
        Stack: lambda raw, _: _stack(raw),
        Remote: lambda raw, _: _remote(raw),
        Files: lambda raw, _: [_text(each) for each in _exactly(raw, list, "a list of files")],
        VersionRange: lambda raw, _: _versions(raw),
        Features: lambda raw, _: _table(raw, names(FEATURES), lambda _, each: _exactly(each, bool, "true or false")),
        Timers: lambda raw, _: _table(raw, names(TIMERS), lambda name, each: _value(each, _or_endless(name, _seconds))),
        Limits: lambda raw, _: _table(raw, names(LIMITS), lambda name, each: _value(each, _or_endless(name, _count))),
        Policies: lambda raw, _: _table(raw, names(POLICIES), _policy),
        Sysctls: lambda raw, _: _sysctls(raw),
        Fingerprint: lambda raw, _: _table(raw, tuple(term.name for term in PINS), _pinned),
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == re.Pattern[str], lambda raw, _: _pattern(raw))
    entry = table_hook(Deviation, converter)
    converter.register_structure_hook(Deviation, lambda raw, kind: _deviation(entry(raw, kind)))
    for shape in (SysctlTables, Tables, Document):  # in this order: each takes the hooks that are there by then
        converter.register_structure_hook(shape, table_hook(shape, converter))
    return converter


def table_hook(shape: type[T], converter: Converter) -> Callable[[Any, Any], T]:
    """How cattrs reads a dataclass, once it is clear that there is a table."""
    read = make_dict_structure_fn(shape, converter)

    def hook(raw: Any, kind: Any) -> T:
        if not isinstance(raw, dict):
            raise Fault(f"{raw!r} is not allowed; a table is due")
        return read(raw, kind)

    return hook


def _exactly(raw: Any, kind: type[T], allowed: str) -> T:
    if type(raw) is not kind:
        raise Fault(f"{raw!r} is not allowed; allowed: {allowed}")
    return raw


def _text(raw: Any) -> str:
    text = _exactly(raw, str, "a text")
    if not text.strip():
        raise Fault(f"{text!r} is not allowed; allowed: a text that is not empty")
    return text


def _spelt(raw: Any, pattern: re.Pattern[str], allowed: str) -> str:
    if not isinstance(raw, str) or not pattern.fullmatch(raw):
        raise Fault(f"{raw!r} is not allowed; allowed: {allowed}")
    return raw


def _word(raw: Any, allowed: tuple[str, ...]) -> str:
    if raw not in allowed:
        raise Fault(f"{raw!r} is not allowed; allowed: {', '.join(allowed)}")
    return str(raw)


def _seconds(raw: Any) -> float:
    if type(raw) not in (int, float) or not 0 <= raw < float("inf"):
        raise Fault(f"{raw!r} is not allowed; allowed: a number, 0 or more")
    return float(raw)


def _command(raw: Any) -> list[str]:
    if not isinstance(raw, list) or not raw:
        raise Fault(f"{raw!r} is not allowed; allowed: a list of the program and its arguments")
    return [_text(word) for word in raw]


def _remote(raw: Any) -> Device:
    from .remote.document import read_device  # it is built on this module

    return read_device(raw)


def _limit(raw: Any) -> float:
    if not _seconds(raw):
        raise Fault(f"{raw!r} is not allowed; allowed: a number above 0")
    return float(raw)


def _stack(raw: Any) -> str:
    from .stacks.recipe import chosen

    try:
        chosen(_text(raw))
    except UsageError as error:
        raise Fault(str(error)) from None
    return str(raw)


def _count(raw: Any) -> int:
    if type(raw) is not int or raw < 0:
        raise Fault(f"{raw!r} is not allowed; allowed: a whole number, 0 or more")
    return raw


def _or_endless(name: str, scalar: Callable[[Any], int | float]) -> Callable[[Any], int | float]:
    """The same for a value that may also be `inf`, if this one may."""
    def parse(raw: Any) -> int | float:
        if raw == ENDLESS and type(raw) is float:
            return ENDLESS
        try:
            return scalar(raw)
        except Fault as fault:
            raise Fault(f"{fault.what}, or inf: never") from None

    return parse if by_name()[name].endless else scalar


def _versions(raw: Any) -> VersionRange:
    try:
        return VersionRange.parse(_exactly(raw, str, ALLOWED))
    except ValueError as error:
        raise Fault(f"{raw!r} is not allowed; allowed: {ALLOWED}") from error


def _pattern(raw: Any) -> re.Pattern[str]:
    try:
        pattern = re.compile(_text(raw))
    except re.error as error:
        raise Fault(f"{raw!r} is no regular expression: {error}") from error
    if all(pattern.fullmatch(sample) for sample in _ANYTHING):
        raise Fault(f"{raw!r} is not allowed, since it fits anything; allowed: what was got and nothing else")
    return pattern


def _value(raw: Any, scalar: Callable[[Any], Any]) -> Value:
    """A bare value, or a table of its sides."""
    if not isinstance(raw, dict):
        return Value(default=scalar(raw))
    parsers: dict[str, Callable[[Any], Any]] = {"default": scalar, "short": scalar, "versions": _versions,
                                                "otherwise": scalar, "aliases": _aliases}
    sides = _table(raw, tuple(parsers), lambda key, each: parsers[key](each))
    if "default" not in sides:
        raise Fault("default is missing")
    if ("versions" in sides) != ("otherwise" in sides):
        raise Fault("versions and otherwise go together: the versions that have it, and what the others have")
    return Value(**sides)


def _aliases(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise Fault(f"{raw!r} is not allowed; allowed: a list of names")
    return tuple(_text(alias) for alias in raw)


def _policy(name: str, raw: Any) -> Value:
    return _value(raw, lambda each: _word(each, by_name()[name].allowed))


def _sysctls(raw: Any) -> dict[str, Sysctl]:
    if not isinstance(raw, dict):
        raise Fault(f"{raw!r} is not allowed; a table is due")
    flat = dict(_flattened(raw))
    return _table(flat, tuple(name for name in flat if _SYSCTL.fullmatch(name)), lambda _, each: _sysctl(each),
                  allowed="names such as net.ipv4.tcp_sack")


def _flattened(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`net.ipv4.tcp_sack` without quotation marks is three tables deep in TOML; it means the same."""
    for key, value in raw.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _sysctl(raw: Any) -> Sysctl:
    if isinstance(raw, dict):
        parsers: dict[str, Callable[[Any], Any]] = {"value": _setting, "versions": _versions}
        return Sysctl(**_table(raw, tuple(parsers), lambda key, each: parsers[key](each)))
    return Sysctl(value=_setting(raw))


def _setting(raw: Any) -> str:
    if type(raw) not in (int, str):
        raise Fault(f"{raw!r} is not allowed; allowed: a whole number or a text")
    return str(raw)


def _pinned(name: str, raw: Any) -> Pinned:
    """A bare value for both families, or a table of its sides."""
    term = next(term for term in PINS if term.name == name)
    if not isinstance(raw, dict):
        return Pinned(ipv4=_pin(term, raw), ipv6=_pin(term, raw))
    sides = _table(raw, ("ipv4", "ipv6", "value", "versions"),
                   lambda key, each: _versions(each) if key == "versions" else _pin(term, each))
    both, versions = sides.get("value"), sides.get("versions")
    if both is None and not {"ipv4", "ipv6"} & sides.keys():
        raise Fault("nothing is pinned; allowed: value, ipv4, ipv6")
    return Pinned(ipv4=sides.get("ipv4", both), ipv6=sides.get("ipv6", both), versions=versions)


def _pin(term: PinTerm, raw: Any) -> Any:
    match term.shape:
        case "flag":
            return _exactly(raw, bool, "true or false")
        case "word":
            return _word(raw, term.allowed)
        case "layouts":
            return _layouts(raw)
    count = _count(raw)
    if term.name == "timestamp_hz" and (not count or SECOND % count):
        raise Fault(f"{raw!r} is not allowed; allowed: what divides a second into whole nanoseconds")
    return count


def _layouts(raw: Any) -> tuple[Layout, ...]:
    if not isinstance(raw, list) or not raw:
        raise Fault(f"{raw!r} is not allowed; allowed: a list of layouts such as \"nop,nop,TS\"")
    found: list[Layout] = []
    for text in raw:
        try:
            found.append(parse_layout(_exactly(text, str, "a layout such as \"nop,nop,TS\"")))
        except ValueError as error:
            raise Fault(f"{text!r}: no option {str(error)!r}; allowed: {', '.join(layout_words())}") from None
    return tuple(found)


def _table(raw: Any, known: tuple[str, ...], parse: Callable[[str, Any], T], allowed: str = "") -> dict[str, T]:
    """Each key read by `parse`; all faults of the table together."""
    if not isinstance(raw, dict):
        raise Fault(f"{raw!r} is not allowed; a table is due")
    faults: list[Fault] = []
    found: dict[str, T] = {}
    for key, value in raw.items():
        if key not in known:
            hint = f"allowed: {allowed}" if allowed else suggestion(key, known)
            faults.append(Fault(f"unknown key; {hint}", key))
            continue
        try:
            found[key] = parse(key, value)
        except Fault as fault:
            faults.append(Fault(fault.what, _path(key, fault.where)))
        except Faults as several:
            faults += [Fault(fault.what, _path(key, fault.where)) for fault in several.faults]
    if faults:
        raise Faults(faults)
    return found


def _deviation(deviation: Deviation) -> Deviation:
    """The entry, if it hides one thing alone and names what exists."""
    faults: list[Fault] = []
    try:
        load().get(deviation.requirement)
    except UsageError as error:
        faults.append(Fault(str(error), "requirement"))
    if not deviation.case and not deviation.state:
        faults.append(Fault("neither case nor state is given; allowed: one of them, or both"))
    for name in ("reason", "evidence"):
        if getattr(deviation, name).startswith(TO_WRITE):
            faults.append(Fault(f"still to be written; allowed: {_WRITTEN[name]}", name))
    if deviation.case and not re.search(r"\w", deviation.case):
        faults.append(Fault(f"{deviation.case!r} is not allowed, since it fits any case", "case"))
    if deviation.state and deviation.state not in STATES:
        faults.append(Fault(f"{deviation.state!r} is not allowed; allowed: {', '.join(STATES)}", "state"))
    if deviation.family not in ("", "ipv4", "ipv6"):
        faults.append(Fault(f"{deviation.family!r} is not allowed; allowed: ipv4, ipv6", "family"))
    if faults:
        raise Faults(faults)
    return deviation


# -- what is said of it ----------------------------------------------------------------------------------------------

def _lines(error: BaseException, path: str = "") -> Iterator[str]:
    """One line for each fault, with the path to its key."""
    match error:
        case BaseValidationError():
            for each in error.exceptions:
                yield from _lines(each, _noted(each, path))
        case ForbiddenExtraKeysError():
            known = tuple(getattr(error.cl, "__dataclass_fields__", ()))
            for key in sorted(error.extra_fields):
                yield f"{_path(path, key)}: unknown key; {suggestion(key, known)}"
        case KeyError():
            yield f"{path}: missing"
        case Fault():
            yield f"{_path(path, error.where) or 'top level'}: {error.what}"
        case Faults():
            for fault in error.faults:
                yield from _lines(fault, path)
        case _:
            yield f"{path or 'top level'}: {error}"


def _noted(error: BaseException, path: str) -> str:
    """The path, extended by the note in which cattrs says where it was."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return _path(path, note.name)
        if isinstance(note, IterableValidationNote):
            return _path(path, str(note.index)) if isinstance(note.index, str) else f"{path}[{note.index + 1}]"
    return path


def _path(*parts: str) -> str:
    return ".".join(part for part in parts if part)
