# SPDX-License-Identifier: GPL-2.0-or-later
"""The pipe protocol's messages: octets that stand in the reference, and that nothing read is ever misread."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.pipe import protocol
from harness.targets.pipe.protocol import DONE, HELLO, NEVER, PACKET, Done, Greeting, Hello, advance, cut
from harness.upper.messages import (
    HALVES,
    LONGEST,
    RESULT,
    Malformed,
    Op,
    Reader,
    Result,
    command,
    endpoint,
    message,
    text,
)

ROOT = Path(__file__).resolve().parent.parent
NS = st.integers(0, NEVER - 1)
WORDS = st.text(max_size=40)

greetings = st.builds(
    Greeting, version=st.integers(0, 0xFFFF), seed=st.integers(0, NEVER), ipv4=st.binary(min_size=4, max_size=4),
    ipv4_prefix=st.integers(0, 32), ipv4_gateway=st.binary(min_size=4, max_size=4),
    ipv6=st.binary(min_size=16, max_size=16), ipv6_prefix=st.integers(0, 128),
    ipv6_gateway=st.binary(min_size=16, max_size=16))
hellos = st.builds(
    Hello, version=st.integers(0, 0xFFFF), name=WORDS, stack_version=WORDS,
    features=st.lists(st.from_regex(r"[a-z0-9_]+", fullmatch=True), max_size=5).map(tuple),
    mtu=st.integers(0, 0xFFFF), ipv4=st.booleans(), ipv6=st.booleans(), ethernet=st.booleans(),
    commands=st.integers(0, 0xFFFFFFFF), mac=st.binary(min_size=6, max_size=6))
results = st.builds(Result, error=st.from_regex(r"(E[A-Z0-9]+)?", fullmatch=True), value=st.binary(max_size=99))
dones = st.builds(Done, now_ns=NS, deadline_ns=st.none() | NS)


def fields(octets: bytes) -> bytes:
    """Those of one whole message."""
    return octets[5:]


@given(greetings)
def test_greeting_comes_back(greeting: Greeting) -> None:
    assert Greeting.decode(fields(greeting.encode())) == greeting


@given(hellos)
def test_hello_comes_back(hello: Hello) -> None:
    assert Hello.decode(fields(hello.encode())) == hello


@given(results)
def test_result_comes_back(result: Result) -> None:
    assert Result.decode(fields(result.encode())) == result


@given(dones)
def test_done_comes_back(done: Done) -> None:
    assert Done.decode(fields(done.encode())) == done


@given(st.sampled_from((HELLO, PACKET, RESULT, DONE)), st.binary(max_size=80), st.binary(max_size=20))
def test_first_message_is_cut_off_once_it_is_whole(kind: int, octets: bytes, more: bytes) -> None:
    whole = message(kind, octets)
    assert cut(whole + more) == (kind, octets, len(whole))
    assert all(cut(whole[:end]) is None for end in range(len(whole)))


@given(st.binary(max_size=64))
def test_anything_else_is_malformed_or_not_yet_whole(octets: bytes) -> None:
    try:
        found = cut(octets)
    except Malformed:
        return
    if found is not None:
        kind, inner, size = found
        assert message(kind, inner) == octets[:size]


@given(st.sampled_from((Greeting, Hello, Result, Done)), st.binary(max_size=80))
def test_fields_are_read_whole_or_refused(kind: Any, octets: bytes) -> None:
    try:
        found = kind.decode(octets)
    except Malformed:
        return
    again = kind.decode(fields(found.encode()))
    assert again == found


@given(hellos, st.data())
def test_cut_off_hello_is_refused(hello: Hello, data: st.DataObject) -> None:
    whole = fields(hello.encode())
    with pytest.raises(Malformed):
        Hello.decode(whole[:data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(Malformed, match="too many"):
        Hello.decode(whole + b"\0")


@pytest.mark.parametrize("octets", [b"Hello", b"\x00\x10\x00\x01P", b"\0\0\0\0P", b"\0\0\0\2X?", b"\0\0\0\1C"])
def test_what_no_stack_may_say(octets: bytes) -> None:
    with pytest.raises(Malformed, match="standard output is for messages alone"):
        cut(octets)


def test_longest_message() -> None:
    assert cut((LONGEST).to_bytes(4, "big") + b"P") is None


@pytest.mark.parametrize("error", ["econnrefused", "refused", "E CONN", "111"])
def test_error_is_an_errno_name(error: str) -> None:
    with pytest.raises(Malformed, match="errno name"):
        Result.decode(text(error))


def test_reader_says_what_is_cut_off() -> None:
    with pytest.raises(Malformed, match="the count is cut off: 2 octets of 4"):
        Reader(b"ab").number(4, "the count")
    with pytest.raises(Malformed, match="no UTF-8"):
        Reader(b"\0\1\xff").text("the name")


# -- the reference and the kits --------------------------------------------------------------------------------------


def example() -> list[tuple[str, bytes]]:
    """The worked example of the reference: who speaks, and the octets."""
    page = (ROOT / "docs" / "reference" / "pipe-protocol.md").read_text(encoding="utf-8")
    block = page.partition("## A worked example")[2]
    lines = re.findall(r"^([<>]) ((?:[0-9a-f]{2} ?)+)", block, re.MULTILINE)
    return [(side, bytes.fromhex(octets)) for side, octets in lines]


def test_worked_example_is_what_the_harness_says() -> None:
    from harness.targets.pipe.target import greeting

    said = [octets for side, octets in example() if side == ">"]
    wanted = [
        greeting(0).encode(),
        command(Op.SOCKET, 0, b"\4"),
        command(Op.LISTEN, 1, endpoint(bytes((192, 0, 2, 1)), 7) + (16).to_bytes(2, "big")),
        command(Op.ACCEPT, 1),
        advance(1_000_000_000),
    ]
    assert said == wanted


def test_worked_example_is_understood() -> None:
    said = b"".join(octets for side, octets in example() if side == "<")
    kinds = []
    while said:
        found = cut(said)
        assert found is not None
        kind, inner, size = found
        kinds.append(chr(kind))
        {HELLO: Hello, RESULT: Result, DONE: Done}[kind].decode(inner)
        said = said[size:]
    assert kinds == ["H", "D", "R", "D", "R", "D", "R", "D", "D"]


def python_kit() -> Any:
    path = ROOT / "sdk" / "python" / "tcpqual_pipe.py"
    spec = importlib.util.spec_from_file_location("tcpqual_pipe_kit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_python_kit_has_the_same_numbers() -> None:
    kit = python_kit()
    assert {name.upper(): number for number, name in enumerate(kit.COMMANDS, 1)} == {op.name: op.value for op in Op}
    assert {word: number for number, word in kit._HALVES.items()} == dict(HALVES)
    assert (kit.VERSION, kit.NEVER) == (protocol.VERSION, NEVER)


def test_c_kit_has_the_same_numbers() -> None:
    header = (ROOT / "sdk" / "c" / "tcpqual_pipe.h").read_text(encoding="utf-8")
    found = {name.upper(): int(number) for number, name in re.findall(r"op == (\d+) && s->(\w+)\)", header)}
    assert found == {op.name: op.value for op in Op}
    offered = re.search(r"offered\[\] = \{(.*?)\};", header, re.DOTALL)
    assert offered is not None
    assert [name.upper() for name in re.findall(r"s->(\w+) != 0", offered[1])] == [op.name for op in Op]


def test_reference_has_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "pipe-protocol.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \| `(\w+)`", page, re.MULTILINE) == [(str(op.value), op.name) for op in Op]
