# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile: what a target claims to implement (PICS), and its timers and limits (PIXIT).

A profile is a TOML file; `harness.targets.vocabulary` has the names that may stand in it, `harness.targets.document`
reads it. Most values have two sides: the target's *default*, and the *short* one that a run in real time brings about
(with sysctls, where the target is ours) so that nobody waits two hours for a keepalive probe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..lower.fingerprint import NOTHING, Pins
from ..lower.timing import Timing
from ..upper.base import NotApplicable
from ..wire.clock import SECOND
from ..wire.errors import TargetError, UsageError
from .ledger import Ledger
from .remote.device import Device
from .versions import VersionRange
from .vocabulary import (
    ENDLESS,
    FEATURES,
    LIMITS,
    POLICIES,
    TABLES,
    TERMS,
    TIMERS,
    Term,
    by_name,
    by_setting,
    suggestion,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

KINDS: Final = ("namespace", "uml", "vm", "pipe", "remote", "decoy", "model", "firmware")
"""How a target is reached, as the modules of `harness.targets` are named."""

Scalar = int | float | str | bool

_CLOCK: Final = {"tick_s": 0.01, "timer_rounding": 0.125}
"""How a clock ticks of which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One timer, limit or policy. Versions of the target outside `versions` have `otherwise`, whatever the mode.

    `aliases` are further names that this target's makers have for it; they have our unit.
    """

    default: int | float | str
    short: int | float | str | None = None
    versions: VersionRange | None = None
    otherwise: int | float | str | None = None
    aliases: tuple[str, ...] = ()

    def now(self, short: bool, version: str) -> int | float | str:
        """What holds in this mode and version."""
        if self.versions is not None and self.otherwise is not None and version not in self.versions:
            return self.otherwise
        return self.short if short and self.short is not None else self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """The value to write to a sysctl, and which versions have it (None: all)."""

    value: str
    versions: VersionRange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The values of one pin in both IP families, and the versions that it is known of (None: all)."""

    ipv4: Any = None
    ipv6: Any = None
    versions: VersionRange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one target is measured by; `load_profile` makes it.

    `short` tells which side of the values is in force, `version` which version of the target they are meant for.
    A feature that the file does not list is not claimed.

    `command` starts a target of kind `pipe`, in the folder `cwd` as the file sees it; `answer_limit_s` is how long any
    answer of it may take in wall time. Where `stack` (`lwip`, `lwip=2.2.1`) stands instead, the program is what
    `tcpqual target build` has made of it. If it is `fresh`, each case has a process of its own. `remote` is how one of
    kind `remote` is reached, `kernel` and `modules` are the files that one of kind `vm` boots and loads, as the file
    sees them.
    """

    name: str
    kind: str
    title: str
    file: str
    variant: str = ""
    variants: tuple[str, ...] = ()
    features: Mapping[str, bool] = field(default_factory=dict)
    timers: Mapping[str, Value] = field(default_factory=dict)
    limits: Mapping[str, Value] = field(default_factory=dict)
    policies: Mapping[str, Value] = field(default_factory=dict)
    sysctl_always: Mapping[str, Sysctl] = field(default_factory=dict)
    sysctl_short: Mapping[str, Sysctl] = field(default_factory=dict)
    fingerprint: Mapping[str, Pinned] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    command: tuple[str, ...] = ()
    cwd: str = "."
    answer_limit_s: float = 10.0
    stack: str = ""
    fresh: bool = False
    remote: Device | None = None
    kernel: str = ""
    modules: tuple[str, ...] = ()
    short: bool = False
    version: str = ""

    def with_short(self) -> Profile:
        """The same with its short values in force."""
        return replace(self, short=True)

    def with_defaults(self) -> Profile:
        """The same with its default values in force."""
        return replace(self, short=False)

    def assuming_a_clock(self) -> Profile:
        """The same, before anything has been measured: a tick and lateness as of most stacks where none is stated."""
        return replace(self, timers={name: Value(default=value) for name, value in _CLOCK.items()} | dict(self.timers))

    def with_version(self, version: str) -> Profile:
        """The same for this version of the target (Linux: the kernel release)."""
        return replace(self, version=version)

    def feature(self, name: str) -> bool:
        """True if the target claims the feature. Raises UsageError if there is no feature of that name."""
        return self.features.get(self._term(name, (FEATURES,))[0].name, False)

    def timer(self, name: str) -> float:
        """The time in force, in seconds (`timer_rounding`: a ratio).

        Raises UsageError for a name that is no timer, TargetError if the profile does not state this one,
        NotApplicable if it states that it never ends.
        """
        return float(self._number(name, TIMERS))

    def timing(self) -> Timing:
        """How the target keeps time; the tolerance of a link is not in it. Raises as `timer` does."""
        wheel = self.states("timer_lateness") and self.policy("timer_lateness") == "wheel"
        return Timing(rounding=self.timer("timer_rounding"), tick_ns=round(self.timer("tick_s") * SECOND),
                      tolerance_ns=0, wheel=wheel)

    def limit(self, name: str) -> int:
        """The count in force. Raises as `timer` does."""
        return int(self._number(name, LIMITS))

    def policy(self, name: str) -> str:
        """The word in force. Raises as `timer` does."""
        term, _ = self._term(name, (POLICIES,))
        return str(self._stated(term, self.policies).now(self.short, self.version))

    def sentinel(self) -> str:
        """By what the target proves that it is alive: `closed-port` or `echo`."""
        return self.policy("sentinel") if self.states("sentinel") else "closed-port"

    def value(self, name: str) -> Scalar:
        """Any of them, by its own name or by that of a well-known setting, then in the unit of that setting.

        `value("keepalive_time_s")` and `value("tcp_keepalive_time")` are 7200 where `value("KeepAliveTime")` is
        7200000. Raises UsageError for an unknown name, TargetError if the profile does not state it.
        """
        term, per = self._term(name, TABLES)
        if term.table == FEATURES:
            return self.feature(term.name)
        if term.table == POLICIES:
            return self.policy(term.name)
        number = self._number(term.name, term.table)
        return number if per == 1 else _tidy(number * per)

    def shortened(self, name: str) -> bool:
        """True if a short value other than the default is in force. Raises UsageError if there is no such name."""
        term, _ = self._term(name, (TIMERS, LIMITS, POLICIES))
        value = self._table(term.table).get(term.name)
        return isinstance(value, Value) and value.now(self.short, self.version) != value.now(False, self.version)

    def states(self, name: str) -> bool:
        """True if the profile has a value for that name. Raises UsageError if there is no such name."""
        term, _ = self._term(name, TABLES)
        return term.name in self._table(term.table)

    def sysctls(self) -> dict[str, str]:
        """What the lab writes into the target's namespace, in the order of the file: name to value."""
        chosen = {**self.sysctl_always, **(self.sysctl_short if self.short else {})}
        return {name: sysctl.value for name, sysctl in chosen.items()
                if sysctl.versions is None or self.version in sysctl.versions}

    def pins(self, *, ipv6: bool) -> Pins:
        """What the target is known by in one IP family, as far as it is pinned for its version."""
        known = ((name, pin.ipv6 if ipv6 else pin.ipv4) for name, pin in self.fingerprint.items()
                 if pin.versions is None or self.version in pin.versions)
        return Pins(**{name: value for name, value in known if value is not None}) if self.fingerprint else NOTHING

    def _table(self, table: str) -> Mapping[str, object]:
        tables: dict[str, Mapping[str, object]] = {FEATURES: self.features, TIMERS: self.timers, LIMITS: self.limits,
                                                   POLICIES: self.policies}
        return tables[table]

    def _number(self, name: str, table: str) -> int | float:
        term, _ = self._term(name, (table,))
        now = self._stated(term, self.timers if table == TIMERS else self.limits).now(self.short, self.version)
        if isinstance(now, str):
            raise TargetError(f"{self.file}: {table}.{term.name}: {now!r} is no number")
        if now == ENDLESS:
            raise NotApplicable(f"not applicable: {term.name} of the profile {self.name} has no end")
        return now

    def _stated(self, term: Term, table: Mapping[str, Value]) -> Value:
        try:
            return table[term.name]
        except KeyError:
            raise TargetError(f"{self.file}: {term.table}.{term.name} is not stated ({term.meaning})") from None

    def _term(self, name: str, tables: tuple[str, ...]) -> tuple[Term, float]:
        """The term of that name in one of the tables, and the unit it is wanted in."""
        own = self._own_alias(name)
        term, per = (own, 1.0) if own else by_setting().get(name, (by_name().get(name), 1.0))
        if term is None:
            allowed = tuple(term.name for term in TERMS if term.table in tables)
            raise UsageError(f"{name!r}: no such name in a profile; {suggestion(name, allowed)}")
        if term.table not in tables:
            raise UsageError(f"{name!r}: one of the {term.table}, not of the {' or '.join(tables)}")
        return term, per

    def _own_alias(self, name: str) -> Term | None:
        for table in (self.timers, self.limits, self.policies):
            for own, value in table.items():
                if name in value.aliases:
                    return by_name()[own]
        return None


def profile_names() -> tuple[str, ...]:
    """The profiles that come with the harness."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _folder().iterdir()
                        if file.name.endswith(".toml")))


def load_profile(spec: str, *, above: tuple[str, ...] = ()) -> Profile:
    """The profile of a name (`linux`), of a name and one of its variants (`linux:no-cookies`), or of a TOML file.

    It has its default values in force. A namespace's profile is for this machine's kernel release, others are for no
    version until `with_version` says so, a remote device's is as its file says. `above` are the files that extend it.
    Raises UsageError with everything that is wrong, one line each.
    """
    from .document import read_profile  # costs more than the rest of a plugin's start, and only a run needs it

    name, separator, variant = spec.partition(":")
    if spec.endswith(".toml") or ".toml:" in spec:
        path, separator, variant = spec.partition(".toml:") if ".toml:" in spec else (spec, "", "")
        file = path + ".toml" if separator else path
        text = _text(Path(file), file)
    else:
        if name not in profile_names():
            raise UsageError(f"{spec!r}: no such profile; there are {', '.join(profile_names())}, "
                             "and any file that ends in .toml")
        file = f"{name}.toml"
        text = _text(_folder() / file, file)
    profile = read_profile(text, file, variant if separator else None, above)
    return profile.with_version(os.uname().release) if profile.kind == "namespace" else profile


def _folder() -> Traversable:
    from importlib.resources import files

    return files(__package__) / "profiles"


def _text(path: Path | Traversable, file: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{file}: cannot read this profile: {reason}") from None


def _tidy(number: float) -> int | float:
    """A whole number as such: 7200 s are 7200000 ms."""
    return round(number) if abs(number - round(number)) < 1e-6 else number
