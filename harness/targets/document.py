# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile files: their shape, and reading one with every fault said at once.

cattrs does the walking, `readers` look at the values, and each of their `faults` becomes one line that names the file,
the key's path, the wrong value and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NewType

from cattrs import BaseValidationError, Converter

from ..wire.errors import UsageError
from . import readers
from .faults import Fault, Faults, lines_of
from .ledger import Deviation, Ledger
from .profile import KINDS, Pinned, Profile, Sysctl, Value, load_profile, profile_names
from .remote.device import Device
from .remote.document import read_device
from .versions import VersionRange
from .vocabulary import FEATURES, LIMITS, PINS, POLICIES, TIMERS, names

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
        raise UsageError("\n".join(f"{file}: {line}" for line in lines_of(error))) from None
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
        bool: lambda raw, _: readers.flag(raw),
        str: lambda raw, _: readers.text(raw),
        Name: lambda raw, _: readers.spelt(raw, _NAME, "small letters, digits, dots and hyphens"),
        Kind: lambda raw, _: readers.word(raw, KINDS),
        Command: lambda raw, _: readers.command(raw),
        Limit: lambda raw, _: readers.limit(raw),
        Stack: lambda raw, _: readers.stack(raw),
        Remote: lambda raw, _: read_device(raw),
        Files: lambda raw, _: readers.files(raw),
        VersionRange: lambda raw, _: readers.versions(raw),
        Features: lambda raw, _: readers.table(raw, names(FEATURES), lambda _, each: readers.flag(each)),
        Timers: lambda raw, _: readers.table(raw, names(TIMERS), readers.timer),
        Limits: lambda raw, _: readers.table(raw, names(LIMITS), readers.count),
        Policies: lambda raw, _: readers.table(raw, names(POLICIES), readers.policy),
        Sysctls: lambda raw, _: readers.sysctls(raw),
        Fingerprint: lambda raw, _: readers.table(raw, tuple(term.name for term in PINS), readers.pinned),
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == re.Pattern[str], lambda raw, _: readers.pattern(raw))
    entry = readers.table_hook(Deviation, converter)
    converter.register_structure_hook(Deviation, lambda raw, kind: readers.sound(entry(raw, kind)))
    for shape in (SysctlTables, Tables, Document):  # in this order: each takes the hooks that are there by then
        converter.register_structure_hook(shape, readers.table_hook(shape, converter))
    return converter
