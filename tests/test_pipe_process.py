# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that do not keep the protocol: each is noticed, named, ended, and followed by a fresh one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.targets.pipe.conversation import Conversation
from harness.targets.pipe.process import Process
from harness.targets.pipe.protocol import PACKET, Done, Greeting, Hello
from harness.targets.pipe.target import greeting
from harness.upper.messages import Op, Result, message
from harness.wire.errors import TargetError

HELLO = Hello(version=1, name="tiny", stack_version="1.0", features=(), mtu=1500, ipv4=True, ipv6=False,
              ethernet=False, commands=Op.STATE.bit)
IDLE = Done(now_ns=0, deadline_ns=None).encode()
LIMIT_S = 10.0
SCRIPT = """
import os, sys
for octets in sys.argv[2:]:
    if not os.read(0, 65536):
        break
    os.write(1, bytes.fromhex(octets))
print("these are my last words", file=sys.stderr, flush=True)
if sys.argv[1] == "hang":
    import time
    time.sleep(60)
elif sys.argv[1] == "wait":
    os.read(0, 65536)
"""
"""Answers each read with the next octets, then ends, hangs, or waits for one read more."""


def talker(*answers: bytes, end: str = "exit", limit_s: float = LIMIT_S) -> Callable[[], Process]:
    command = [sys.executable, "-IS", "-c", SCRIPT, end, *(answer.hex() for answer in answers)]
    return lambda: Process(command, cwd=Path("/"), limit_s=limit_s, name="tiny")


def begun(*answers: bytes, end: str = "exit", limit_s: float = LIMIT_S, hello: Hello = HELLO) -> Conversation:
    return Conversation(talker(hello.encode() + IDLE, *answers, end=end, limit_s=limit_s), greeting(0))


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def done(now_ns: int, deadline_ns: int | None = None) -> bytes:
    return Done(now_ns=now_ns, deadline_ns=deadline_ns).encode()


# -- the hello -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "line"), [
    ({"version": 2}, "speaks version 2 of the protocol; this harness speaks 1"),
    ({"ipv4": False}, "speaks neither IPv4 nor IPv6"),
    ({"mtu": 67}, "has an MTU of 67, says its hello; allowed: 68 or more"),
    ({"ipv6": True, "mtu": 1279}, "allowed: 1280 or more"),
    ({"ethernet": True}, "has the Ethernet address 00:00:00:00:00:00"),
    ({"commands": 0}, "does not offer STATE"),
    ({"commands": Op.STATE.bit | Op.LISTEN.bit}, "offers LISTEN without SOCKET, ACCEPT, ABORT"),
    ({"commands": Op.STATE.bit | Op.CONNECT.bit}, "offers CONNECT without SOCKET, CONNECTED, ABORT"),
])
def test_hello_that_cannot_be(change: dict[str, object], line: str) -> None:
    from dataclasses import replace

    with pytest.raises(TargetError, match=line):
        begun(hello=replace(HELLO, **change))  # type: ignore[arg-type]


def test_program_that_there_is_not() -> None:
    with pytest.raises(TargetError, match=r"tiny: cannot start '\./nobody' in /: No such file"):
        Conversation(lambda: Process(["./nobody"], cwd=Path("/"), limit_s=1, name="tiny"), greeting(0))


# -- what is wrong later ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "end", "line"), [
    (b"", "exit", "ended with status 0 while it took a packet"),
    (b"", "hang", "said nothing for 0.5 s while it took a packet"),
    (IDLE[:-1], "hang", "said nothing for 0.5 s"),
    (IDLE[:-1], "exit", "ended with status 0"),
    (b"assertion failed\n", "hang", "said what is no message"),
    (done(1), "wait", "says that it is 1 ns when it took a packet; allowed: 0"),
    (done(0, 0), "wait", "due again at 0 ns"),
    (HELLO.encode() + IDLE, "wait", "a second hello"),
    (Result(error="").encode() + IDLE, "wait", "a result that nobody asked for"),
    (message(PACKET) + IDLE, "wait", "a packet of 0 octets"),
    (IDLE[:4] + b"D" + bytes(3), "hang", "said nothing"),
    (message(ord("D"), b"\0"), "wait", "a done of 1 octets; due: 16"),
])
def test_answer_that_cannot_be(answer: bytes, end: str, line: str) -> None:
    conversation = begun(answer, end=end)
    pid = conversation.process.pid
    if line.startswith("said nothing"):
        conversation.process.limit_s = 0.5
    with pytest.raises(TargetError, match=line) as raised:
        conversation.give((b"\x45",), 0)
    if not line.startswith("said what"):  # that is seen before its last words are said
        assert end == "wait" or "standard error: these are my last words" in str(raised.value)
    assert is_gone(pid)
    with pytest.raises(TargetError, match=line):
        conversation.advance(10)


def test_what_is_said_unasked_is_no_answer_to_the_next_request() -> None:
    conversation = begun(IDLE + IDLE, IDLE, end="wait")
    conversation.give((b"\x45",), 0)
    with pytest.raises(TargetError, match="nobody had asked for"):
        conversation.give((b"\x45",), 0)


def test_command_without_a_result() -> None:
    conversation = begun(IDLE, end="wait")
    with pytest.raises(TargetError, match="no result of the command before its done, while it was asked STATE"):
        conversation.ask(Op.STATE, 0, 0)


@pytest.mark.parametrize("error", ["EBADF", "ENOSYS", "EPROTO"])
def test_errors_of_the_adapter_are_none_of_the_stack(error: str) -> None:
    conversation = begun(Result(error=error).encode() + IDLE, end="wait")
    with pytest.raises(TargetError, match=f"answered {error} to STATE"):
        conversation.ask(Op.STATE, 0, 0)


def test_value_of_another_form() -> None:
    conversation = begun(Result(error="", value=b"\0\5ab").encode() + IDLE, end="wait")
    result = conversation.ask(Op.STATE, 0, 0)
    with pytest.raises(TargetError, match="answered STATE with a malformed value: the state is cut off: 2 octets of 5"):
        conversation.read(Op.STATE, result.value, lambda reader: reader.text("the state"))
    assert conversation.failure is not None


# -- time ------------------------------------------------------------------------------------------------------------


def test_time_is_told_when_something_is_due_and_not_before() -> None:
    conversation = begun(done(0, 100), done(100, 300), done(250, 300), end="wait")
    conversation.give((b"\x45",), 0)
    assert conversation.advance(99) == 99
    assert conversation.advance(200) == 100
    assert conversation.advance(299) == 299
    assert (conversation.now_ns, conversation.deadline_ns) == (100, 300)


@pytest.mark.parametrize(("answer", "line"), [
    (done(99, 100), r"says that it is 99 ns when it let time pass; allowed: 100 to 200"),
    (done(201, None), r"says that it is 201 ns when it let time pass; allowed: 100 to 200"),
])
def test_time_goes_neither_too_far_nor_not_far_enough(answer: bytes, line: str) -> None:
    conversation = begun(done(0, 100), answer, end="wait")
    conversation.give((b"\x45",), 0)
    with pytest.raises(TargetError, match=line):
        conversation.advance(200)


def test_nothing_may_happen_before_the_deadline() -> None:
    conversation = begun(message(PACKET, b"\x45") + done(50, 100) + done(50, 100), end="wait")
    with pytest.raises(TargetError, match="had said that nothing was due ever"):
        conversation.give((b"\x45",), 50)


def test_packet_has_the_instant_at_which_it_was_sent() -> None:
    conversation = begun(message(PACKET, b"1") + done(0, 100), message(PACKET, b"2") + done(100), end="wait")
    conversation.give((b"\x45",), 0)
    conversation.advance(500)
    assert conversation.packets == [(0, b"1"), (100, b"2")]


# -- the next one ----------------------------------------------------------------------------------------------------


def test_next_process_begins_at_0_wherever_the_lab_is() -> None:
    conversation = begun(b"", end="exit")
    with pytest.raises(TargetError):
        conversation.give((b"\x45",), 7)
    conversation.revive(5_000)
    assert conversation.failure is None
    assert (conversation.life, conversation.now_ns, conversation.deadline_ns) == (2, 5_000, None)
    conversation.close()


def test_process_that_lives_is_kept() -> None:
    conversation = begun(end="wait")
    pid = conversation.process.pid
    conversation.revive(5_000)
    assert conversation.process.pid == pid
    assert conversation.close() == 0


def test_who_never_comes_to_a_hello_is_not_tried_for_ever() -> None:
    started = []

    def start() -> Process:
        started.append(1)
        if len(started) == 1:
            return talker(HELLO.encode() + IDLE, end="exit")()
        return talker(b"", end="exit")()

    conversation = Conversation(start, greeting(0))
    with pytest.raises(TargetError):
        conversation.give((b"\x45",), 0)
    for _ in range(6):
        with pytest.raises(TargetError, match="ended with status 0"):
            conversation.revive(0)
    assert len(started) == 4


def test_close_ends_what_does_not_end_by_itself() -> None:
    conversation = begun(end="hang")
    pid = conversation.process.pid
    assert conversation.close() is None
    assert is_gone(pid)


def test_more_than_a_pipe_holds_goes_either_way() -> None:
    conversation = Conversation(lambda: Process(
        [sys.executable, "-IS", "-c", ECHO, HELLO.encode().hex() + IDLE.hex(), IDLE.hex()], cwd=Path("/"), limit_s=20,
        name="tiny"), greeting(0))
    conversation.give([bytes([65]) * 9000] * 60, 0)
    assert len(conversation.packets) == 60
    assert {packet for _, packet in conversation.packets} == {bytes([65]) * 9000}
    conversation.close()


ECHO = """
import os, sys
def read(size):
    octets = b""
    while len(octets) < size:
        more = os.read(0, size - len(octets))
        if not more:
            sys.exit()
        octets += more
    return octets
def write(octets):
    while octets:
        octets = octets[os.write(1, octets):]
while True:
    head = read(4)
    body = read(int.from_bytes(head, "big"))
    write(bytes.fromhex(sys.argv[1]) if body[:1] == b"H" else head + body + bytes.fromhex(sys.argv[2]))
"""
"""Sends each packet back."""


# -- anything at all -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60), st.booleans(), st.sampled_from(("exit", "wait")))
def test_garbage_is_an_error_in_time_or_an_answer(octets: bytes, whole: bool, end: str) -> None:
    """Behind a good hello or in its place; whatever is said, the harness says so in its time and goes on."""
    began = time.monotonic()
    start = talker(HELLO.encode() + IDLE, octets, end=end, limit_s=0.2) if whole else \
        talker(octets, end=end, limit_s=0.2)
    try:
        conversation = Conversation(start, Greeting.decode(greeting(0).encode()[5:]))
    except TargetError as error:
        refused = str(error)
    else:
        pid = conversation.process.pid
        with pytest.raises(TargetError) as raised:
            conversation.give((b"\x45",), 0)
        refused = str(raised.value)
        assert is_gone(pid)
    assert refused.startswith("tiny: ")
    assert time.monotonic() - began < 10


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_truncated_answer_is_an_error(data: st.DataObject) -> None:
    answer = message(PACKET, b"\x45" * 30) + IDLE
    cut = data.draw(st.integers(0, len(answer) - 1))
    conversation = begun(answer[:cut], end="exit")
    with pytest.raises(TargetError, match="tiny: ended with status 0 while it took a packet"):
        conversation.give((b"\x45",), 0)
