# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers of the values of a profile file: what each may be, and what becomes of it.

They are stricter than cattrs' own (true is no number, "6" neither) and know which names and words are allowed. What
they do not take they raise as `Fault`, several of a table as `Faults`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn

from ..lower.fingerprint import Layout, layout_words, parse_layout
from ..requirements.catalogue import load
from ..upper.base import STATES
from ..wire.clock import SECOND
from ..wire.errors import UsageError
from .faults import Fault, Faults, path_of
from .ledger import TO_WRITE, Deviation
from .profile import Pinned, Sysctl, Value
from .versions import ALLOWED, VersionRange
from .vocabulary import ENDLESS, PINS, PinTerm, by_name, suggestion

T = TypeVar("T")

_SYSCTL: Final = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")
_ANYTHING: Final = ("R. 0:0(0) ack 1", "S 0:0(0) win 65535 <mss 1460>", "nothing")
_WRITTEN: Final = {"reason": "what the target does instead, and the section of the RFC",
                   "evidence": "how that is known: a capture, a place in the sources"}


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


def flag(raw: Any) -> bool:
    """True or false."""
    return _exactly(raw, bool, "true or false")


def text(raw: Any) -> str:
    """A text that is not empty."""
    said = _exactly(raw, str, "a text")
    if not said.strip():
        raise Fault(f"{said!r} is not allowed; allowed: a text that is not empty")
    return said


def spelt(raw: Any, form: re.Pattern[str], allowed: str) -> str:
    """A text of that form, which `allowed` describes."""
    if not isinstance(raw, str) or not form.fullmatch(raw):
        raise Fault(f"{raw!r} is not allowed; allowed: {allowed}")
    return raw


def word(raw: Any, allowed: tuple[str, ...]) -> str:
    """One of these words."""
    if raw not in allowed:
        raise Fault(f"{raw!r} is not allowed; allowed: {', '.join(allowed)}")
    return str(raw)


def _seconds(raw: Any) -> float:
    if type(raw) not in (int, float) or not 0 <= raw < float("inf"):
        raise Fault(f"{raw!r} is not allowed; allowed: a number, 0 or more")
    return float(raw)


def files(raw: Any) -> list[str]:
    """A list of files."""
    return [text(each) for each in _exactly(raw, list, "a list of files")]


def command(raw: Any) -> list[str]:
    """A program and its arguments."""
    if not isinstance(raw, list) or not raw:
        raise Fault(f"{raw!r} is not allowed; allowed: a list of the program and its arguments")
    return [text(each) for each in raw]


def limit(raw: Any) -> float:
    """A number above 0."""
    if not _seconds(raw):
        raise Fault(f"{raw!r} is not allowed; allowed: a number above 0")
    return float(raw)


def stack(raw: Any) -> str:
    """A stack that `tcpqual target build` builds, perhaps with its version."""
    from .stacks.recipe import chosen

    try:
        chosen(text(raw))
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


def timer(name: str, raw: Any) -> Value:
    """Seconds, which may never be over where this timer may never run out."""
    return value(raw, _or_endless(name, _seconds))


def count(name: str, raw: Any) -> Value:
    """A whole number, which may have no end where this limit need not have one."""
    return value(raw, _or_endless(name, _count))


def policy(name: str, raw: Any) -> Value:
    """One of the words of this policy."""
    return value(raw, lambda each: word(each, by_name()[name].allowed))


def versions(raw: Any) -> VersionRange:
    """A range of versions."""
    try:
        return VersionRange.parse(_exactly(raw, str, ALLOWED))
    except ValueError as error:
        raise Fault(f"{raw!r} is not allowed; allowed: {ALLOWED}") from error


def pattern(raw: Any) -> re.Pattern[str]:
    """A regular expression that does not fit anything."""
    try:
        known = re.compile(text(raw))
    except re.error as error:
        raise Fault(f"{raw!r} is no regular expression: {error}") from error
    if all(known.fullmatch(sample) for sample in _ANYTHING):
        raise Fault(f"{raw!r} is not allowed, since it fits anything; allowed: what was got and nothing else")
    return known


def value(raw: Any, scalar: Callable[[Any], Any]) -> Value:
    """A bare value, or a table of its sides."""
    if not isinstance(raw, dict):
        return Value(default=scalar(raw))
    parsers: dict[str, Callable[[Any], Any]] = {"default": scalar, "short": scalar, "versions": versions,
                                                "otherwise": scalar, "aliases": _aliases}
    sides = table(raw, tuple(parsers), lambda key, each: parsers[key](each))
    if "default" not in sides:
        raise Fault("default is missing")
    if ("versions" in sides) != ("otherwise" in sides):
        raise Fault("versions and otherwise go together: the versions that have it, and what the others have")
    return Value(**sides)


def _aliases(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise Fault(f"{raw!r} is not allowed; allowed: a list of names")
    return tuple(text(alias) for alias in raw)

def sysctls(raw: Any) -> dict[str, Sysctl]:
    """Settings of a kernel by name, each with its value."""
    if not isinstance(raw, dict):
        raise Fault(f"{raw!r} is not allowed; a table is due")
    flat = dict(_flattened(raw))
    return table(flat, tuple(name for name in flat if _SYSCTL.fullmatch(name)), lambda _, each: _sysctl(each),
                 allowed="names such as net.ipv4.tcp_sack")


def _flattened(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`net.ipv4.tcp_sack` without quotation marks is three tables deep in TOML; it means the same."""
    for key, each in raw.items():
        if isinstance(each, dict) and "value" not in each:
            yield from _flattened(each, f"{prefix}{key}.")
        else:
            yield prefix + key, each


def _sysctl(raw: Any) -> Sysctl:
    if isinstance(raw, dict):
        parsers: dict[str, Callable[[Any], Any]] = {"value": _setting, "versions": versions}
        return Sysctl(**table(raw, tuple(parsers), lambda key, each: parsers[key](each)))
    return Sysctl(value=_setting(raw))


def _setting(raw: Any) -> str:
    if type(raw) not in (int, str):
        raise Fault(f"{raw!r} is not allowed; allowed: a whole number or a text")
    return str(raw)


def pinned(name: str, raw: Any) -> Pinned:
    """A bare value for both families, or a table of its sides."""
    term = next(term for term in PINS if term.name == name)
    if not isinstance(raw, dict):
        return Pinned(ipv4=_pin(term, raw), ipv6=_pin(term, raw))
    sides = table(raw, ("ipv4", "ipv6", "value", "versions"),
                  lambda key, each: versions(each) if key == "versions" else _pin(term, each))
    both = sides.get("value")
    if both is None and not {"ipv4", "ipv6"} & sides.keys():
        raise Fault("nothing is pinned; allowed: value, ipv4, ipv6")
    return Pinned(ipv4=sides.get("ipv4", both), ipv6=sides.get("ipv6", both), versions=sides.get("versions"))


def _pin(term: PinTerm, raw: Any) -> Any:
    match term.shape:
        case "flag":
            return flag(raw)
        case "word":
            return word(raw, term.allowed)
        case "layouts":
            return _layouts(raw)
    number = _count(raw)
    if term.name == "timestamp_hz" and (not number or SECOND % number):
        raise Fault(f"{raw!r} is not allowed; allowed: what divides a second into whole nanoseconds")
    return number


def _layouts(raw: Any) -> tuple[Layout, ...]:
    if not isinstance(raw, list) or not raw:
        raise Fault(f"{raw!r} is not allowed; allowed: a list of layouts such as \"nop,nop,TS\"")
    found: list[Layout] = []
    for each in raw:
        try:
            found.append(parse_layout(_exactly(each, str, "a layout such as \"nop,nop,TS\"")))
        except ValueError as error:
            raise Fault(f"{each!r}: no option {str(error)!r}; allowed: {', '.join(layout_words())}") from None
    return tuple(found)


def table(raw: Any, known: tuple[str, ...], parse: Callable[[str, Any], T], allowed: str = "") -> dict[str, T]:
    """Each key read by `parse`; all faults of the table together."""
    if not isinstance(raw, dict):
        raise Fault(f"{raw!r} is not allowed; a table is due")
    faults: list[Fault] = []
    found: dict[str, T] = {}
    for key, each in raw.items():
        if key not in known:
            hint = f"allowed: {allowed}" if allowed else suggestion(key, known)
            faults.append(Fault(f"unknown key; {hint}", key))
            continue
        try:
            found[key] = parse(key, each)
        except Fault as fault:
            faults.append(Fault(fault.what, path_of(key, fault.where)))
        except Faults as several:
            faults += [Fault(fault.what, path_of(key, fault.where)) for fault in several.faults]
    if faults:
        raise Faults(faults)
    return found


def sound(deviation: Deviation) -> Deviation:
    """The entry of a ledger, if it hides one thing alone and names what exists."""
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
