# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents and harness live through garbage, truncation, silence and restarts, and both agents answer alike."""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import CC, NAMES, over_pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_agent_protocol import Raw

from harness.upper.agent import Agent, AgentUpperTester
from harness.upper.base import STATES, NotApplicable, Unseen
from harness.upper.handshake import HELLO, LIVENESS, MAGIC, QUESTION, REFUSAL, WAKE, AgentHello, greeting
from harness.upper.messages import COMMAND, LONGEST, RESULT, Op, Result, endpoint, message, text
from harness.upper.messages import command as request
from harness.upper.streams import ByteStream, over_socket
from harness.wire.clock import Outcome
from harness.wire.errors import TargetError
from harness.wire.netns import NetworkNamespace
from harness.wire.segment import Flow

LIMIT_S = 5.0
HERE = socket.inet_aton("127.0.0.1")
FLOW = Flow(local=HERE, local_port=9, target=HERE, target_port=7)
RARELY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def namespaces(rights: None) -> Iterator[dict[str, NetworkNamespace]]:
    """For each agent a network of its own, with nothing but its loopback: whatever it is told goes nowhere else."""
    from pyroute2.iproute.linux import IPRoute

    made = {name: NetworkNamespace() for name in ("c", "python")}
    for namespace in made.values():
        with namespace.entered(), IPRoute() as route:
            route.link("set", index=1, state="up")
    yield made
    for namespace in made.values():
        namespace.close()


class Started:
    """An agent on a pair of sockets, and whoever speaks to it."""

    def __init__(self, name: str, namespace: NetworkNamespace) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.stream = over_pair(name, inside=namespace.entered, processes=self.processes)
        os.set_blocking(self.stream.source, True)
        self.raw = Raw(self.stream.source)

    def alive(self) -> bool:
        return self.processes[0].poll() is None

    def end(self) -> int:
        self.stream.close()
        return self.processes[0].wait(LIMIT_S)


# -- agents ----------------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 0xFFFFFFFF])
PORTS = st.sampled_from([7, 8, 9])
ENDS = st.builds(lambda port, six: endpoint(socket.inet_pton(socket.AF_INET6, "::1") if six else HERE, port), PORTS,
                 st.booleans())
NAMES_OF_OPTIONS = st.sampled_from(["SO_KEEPALIVE", "TCP_NODELAY", "TCP_KEEPIDLE", "TCP_MAXSEG", "IP_TTL", "SO_RCVBUF",
                                    "IPV6_UNICAST_HOPS", "TCP_USER_TIMEOUT", "SO_LINGER", "SO_TYPE", "", "TCP_",
                                    "IP_ADD_MEMBERSHIP", "TCP_INFO", "SO_ERROR", "IPV6_V6ONLY"])
SENSIBLE = st.one_of(
    st.tuples(st.just(Op.SOCKET), st.just(0), st.sampled_from([b"\4", b"\6"])),
    st.tuples(st.just(Op.OPTION), NUMBERS, st.builds(
        lambda value, name: value.to_bytes(8, "big", signed=True) + text(name),
        st.sampled_from([0, 1, -1, 500, 1 << 31, -(1 << 31), 1 << 62]), NAMES_OF_OPTIONS)),
    st.tuples(st.just(Op.LISTEN), NUMBERS, st.builds(lambda end: end + b"\0\5", ENDS)),
    st.tuples(st.just(Op.CONNECT), NUMBERS, st.builds(lambda one, other: one + other, ENDS, ENDS)),
    st.tuples(st.sampled_from([Op.CONNECTED, Op.ACCEPT, Op.CLOSED, Op.ABORT, Op.ERROR]), NUMBERS, st.just(b"")),
    st.tuples(st.just(Op.SEND), NUMBERS, st.builds(lambda urgent, data: bytes((urgent,)) + data,
                                                   st.sampled_from([0, 1, 2]), st.binary(max_size=9))),
    st.tuples(st.just(Op.RECV), NUMBERS, st.sampled_from([b"\0\0\0\1", b"\0\0\x10\0", b"\xff\xff\xff\xff"])),
    st.tuples(st.just(Op.SHUTDOWN), NUMBERS, st.sampled_from([b"\0", b"\1", b"\2", b"\3", b"\4"])),
    st.tuples(st.just(Op.CLOSE), NUMBERS, st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1"])),
    st.tuples(st.just(Op.LISTENING), st.just(0), ENDS),
    st.tuples(st.just(Op.HALF_OPEN), st.just(0), st.builds(lambda port: port.to_bytes(2, "big"), PORTS)),
    st.tuples(st.integers(0, 255), NUMBERS, st.binary(max_size=24)),
)
REQUESTS = st.builds(lambda each: request(*each), SENSIBLE)
LINES = st.one_of(
    REQUESTS, st.binary(max_size=200), st.just(greeting(bytes(32))), st.just(message(LIVENESS, b"?")),
    st.builds(lambda octets, at: octets[:at], REQUESTS, st.integers(0, 30)),
    st.builds(lambda kind, fields: message(kind, fields), st.integers(0, 255), st.binary(max_size=99)))


@pytest.mark.parametrize("name", NAMES)
@RARELY
@given(said=st.lists(LINES, max_size=12), introduced=st.booleans())
def test_agent_lives_through_anything(namespaces: dict[str, NetworkNamespace], name: str, said: list[bytes],
                                      introduced: bool) -> None:
    """It answers, or refuses and ends with status 1; it never dies otherwise, and never just stays silent."""
    started = Started(name, namespaces[name])
    if introduced:
        started.raw.introduce()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        started.raw.say(b"".join(said))
    os.set_blocking(started.stream.source, True)
    with contextlib.suppress(OSError):
        _shut_down(started.stream)
    heard = []
    while (answer := started.raw.hear()) is not None:
        heard.append(answer)
    refused = [kind for kind, _ in heard].count(REFUSAL)
    assert refused <= 1
    assert started.end() == (1 if refused else 0)


def _shut_down(stream: ByteStream) -> None:
    with socket.socket(fileno=os.dup(stream.sink)) as sock:
        sock.shutdown(socket.SHUT_WR)


def conversation(started: Started, asked: list[tuple[int, int, bytes]]) -> list[Result]:
    """What an agent answers to each, and may say unasked in between."""
    started.raw.introduce(challenge=os.urandom(32))
    answers = []
    for op, number, fields in asked:
        started.raw.say(request(op, number, fields))
        said = started.raw.hear()
        while said is not None and said[0] == WAKE:
            said = started.raw.hear()
        assert said is not None
        assert said[0] == RESULT, said
        answers.append(Result.decode(said[1]))
    return answers


@pytest.mark.skipif(not CC, reason="no C compiler")
def test_both_agents_answer_alike(namespaces: dict[str, NetworkNamespace]) -> None:
    both = {name: Started(name, namespaces[name]) for name in ("c", "python")}

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(asked=st.lists(SENSIBLE, max_size=25))
    def alike(asked: list[tuple[int, int, bytes]]) -> None:
        by_c, by_python = (conversation(both[name], asked) for name in ("c", "python"))
        assert [(Op(op).name if 1 <= op <= 17 else op, number, fields, answer) for (op, number, fields), answer
                in zip(asked, by_c, strict=True)] == \
            [(Op(op).name if 1 <= op <= 17 else op, number, fields, answer) for (op, number, fields), answer
             in zip(asked, by_python, strict=True)]

    alike()
    assert {started.end() for started in both.values()} == {0}


# -- the harness's side ----------------------------------------------------------------------------------------------

GOOD = AgentHello(version=1, commands=(1 << 17) - 1, longest=LONGEST, sockets=8, name="fake", agent_version="0",
                  system="None 0 none")
KEY = b"the key of the fake agent"
END = b"the end"


class Fake:
    """An agent of the tests' own: it introduces itself, and then answers each request as its script says.

    An entry of the script is what it says instead of the answer, None for the answer itself; b"" is silence, and so is
    what comes behind the last entry; END ends the stream. `change` alters what it says while it introduces itself.
    """

    def __init__(self, script: list[bytes | None], change: Callable[[int, bytes], bytes] | None = None,
                 hello: AgentHello = GOOD) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(LIMIT_S)
        self.script = script
        self.hello = hello.encode()
        self.change = change or (lambda which, octets: octets)
        threading.Thread(target=self.run, daemon=True).start()

    def stream(self) -> ByteStream:
        return over_socket(self.ours, "the fake")

    def take(self) -> tuple[int, bytes]:
        head = self.theirs.recv(4, socket.MSG_WAITALL)
        body = self.theirs.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        return body[0], body[1:]

    def run(self) -> None:
        with self.theirs, contextlib.suppress(OSError, IndexError):
            question = MAGIC + b"\0\1\1" + self.take()[1][15:] + bytes(32)
            self.theirs.sendall(self.change(0, message(QUESTION, question)))
            self.take()
            proof = hmac.digest(KEY, b"agent" + question + self.hello, "sha256")
            self.theirs.sendall(self.change(1, message(HELLO, self.hello + proof)))
            for entry in self.script:
                kind, fields = self.take()
                if entry is END:
                    return
                self.theirs.sendall(self.answer(kind, fields) if entry is None else entry)
            while self.take():
                pass

    @staticmethod
    def answer(kind: int, fields: bytes) -> bytes:
        if kind == LIVENESS:
            return message(LIVENESS, fields)
        value = {Op.STATE: text("ESTABLISHED"), Op.HALF_OPEN: b"\0\0\0\5", Op.LISTENING: b"\1", Op.RECV: b"octets",
                 Op.SEND: b"\0\0\0\2", Op.SOCKET: b"\0\0\0\1", Op.ERROR: text("ETIMEDOUT")}.get(fields[0], b"")
        return Result(error="", value=value).encode()


def fake(script: list[bytes | None], limit_s: float = 0.3,
         change: Callable[[int, bytes], bytes] | None = None) -> AgentUpperTester:
    """One that has been introduced. It has this long for an answer, and to introduce itself if it changes that."""
    agent = Agent(lambda: Fake(script, change).stream(), key=KEY, limit_s=limit_s if change else LIMIT_S)
    assert agent._conversation is not None
    agent._conversation.limit_s = limit_s
    return AgentUpperTester(agent)


ASKED: dict[str, tuple[Callable[[AgentUpperTester], Any], Any]] = {
    "state": (lambda upper: upper.state(FLOW), "ESTABLISHED"),
    "half_open": (lambda upper: upper.half_open(7), 5),
    "listening": (lambda upper: upper.listening(HERE, 7), True),
}
RIGHT = {"state": Op.STATE, "half_open": Op.HALF_OPEN, "listening": Op.LISTENING}
ANSWERS = [Fake.answer(COMMAND, bytes((op,))) for op in RIGHT.values()]
WRONG = st.one_of(
    st.just(b""), st.binary(min_size=1, max_size=40),
    st.builds(lambda octets, size: octets[:max(1, len(octets) - size)], st.sampled_from(ANSWERS), st.integers(1, 9)),
    st.builds(lambda kind, fields: message(kind, fields), st.integers(0, 255), st.binary(max_size=20)),
    st.builds(lambda error: Result(error=error).encode(),
              st.sampled_from(["EBADF", "ENOSYS", "EPROTO", "EAGAIN", "EIO"])),
    st.builds(lambda reason: message(REFUSAL, text(reason)), st.text(max_size=20)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(ASKED)), good=st.integers(0, 2), wrong=WRONG)
def test_harness_takes_nothing_for_an_answer_that_is_none(name: str, good: int, wrong: bytes) -> None:
    """Whatever comes instead of an answer is a TargetError, in the time that an answer may take; so is all after it."""
    ask, right = ASKED[name]
    upper = fake([None] * good + [wrong], LIMIT_S)
    for _ in range(good):
        assert ask(upper) == right
    # Silence takes as long as is waited for it.
    assert upper.agent._conversation is not None
    upper.agent._conversation.limit_s = 0.1
    began = time.monotonic()
    if _is_an_answer(wrong, right):
        return
    with pytest.raises(TargetError):
        ask(upper)
    assert time.monotonic() - began < LIMIT_S
    if upper.agent.failure is not None:
        with pytest.raises(TargetError):
            upper.half_open(7)
        assert upper.state(FLOW) == ""


def _is_an_answer(octets: bytes, right: Any) -> bool:
    """By chance, or because wakes were said: then what comes is taken, as it has to be."""
    if len(octets) < 7 or octets[4] != RESULT or int.from_bytes(octets[:4], "big") != len(octets) - 4:
        return False
    with contextlib.suppress(Exception):
        result = Result.decode(octets[5:])
        if result.error:
            return False
        if isinstance(right, str):
            return result.value[2:].decode() in STATES and len(result.value) == 2 + result.value[1]
        return len(result.value) == (1 if isinstance(right, bool) else 4)
    return False


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(which=st.sampled_from([0, 1]), at=st.integers(0, 150), bit=st.integers(0, 7))
def test_no_bit_of_the_introduction_may_be_another(which: int, at: int, bit: int) -> None:
    def change(number: int, octets: bytes) -> bytes:
        place = at % len(octets)
        return octets if number != which else \
            octets[:place] + bytes((octets[place] ^ 1 << bit,)) + octets[place + 1:]

    with pytest.raises(TargetError):
        fake([], 0.15, change)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(which=st.sampled_from([0, 1]), size=st.integers(0, 120), garbage=st.binary(max_size=60))
def test_introduction_that_is_cut_off_or_garbled(which: int, size: int, garbage: bytes) -> None:
    def change(number: int, octets: bytes) -> bytes:
        return octets if number != which else octets[:min(size, len(octets) - 1)] + garbage

    with contextlib.suppress(TargetError):
        fake([], 0.15, change)
        assert garbage  # by chance what was cut off
        raise AssertionError("an introduction that was cut off was taken")


@pytest.mark.parametrize(("said", "why"), [
    (b"", "did not answer within 0.3 s while it was asked for HALF_OPEN"),
    (b"\0\0\0\7R", "did not answer within 0.3 s"),
    (b"HTTP/1.1 400", "said what is no message while it was asked for HALF_OPEN: no message begins with 48 54"),
    (message(HELLO, b""), "answered with a message of type 'H' while"),
    (Result(error="", value=b"\0\0").encode(), "answered HALF_OPEN with a malformed value: the count is cut off"),
    (Result(error="", value=bytes(5)).encode(), "answered HALF_OPEN with a malformed value: it has 1 octets too many"),
    (Result(error="ENOSYS").encode(), "answered ENOSYS to HALF_OPEN of socket 0, which it has to know"),
    (Result(error="EPERM").encode(), "fake: answered HALF_OPEN with EPERM"),
    (message(WAKE, b"\0"), "said a malformed wake: the socket is cut off"),
    (message(REFUSAL, text("no more")), "ended the conversation while it was asked for HALF_OPEN: no more"),
])
def test_what_is_wrong_is_said(said: bytes, why: str) -> None:
    upper = fake([said])
    with pytest.raises(TargetError) as raised:
        upper.half_open(7)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_nobody_asked_for() -> None:
    answer = Result(error="", value=b"\0\0\0\5").encode()
    upper = fake([answer * 2, None])
    assert upper.half_open(7) == 5
    with pytest.raises(TargetError, match="said a message of type 'R' that nobody had asked for"):
        upper.half_open(7)


def test_more_octets_than_were_asked_for_or_taken_than_were_given() -> None:
    upper = fake([None, None, None])
    sock = upper.made(HERE, {})
    with pytest.raises(TargetError, match="answered RECV with a malformed value: 6 octets taken of 2"):
        upper.recv(sock, 2).poll()
    upper = fake([None, None])
    with pytest.raises(TargetError, match="answered SEND with a malformed value: 2 octets taken of 1"):
        upper.send(upper.made(HERE, {}), b"x")


def test_icmp_may_be_told_as_eproto() -> None:
    upper = fake([None, Result(error="EPROTO").encode(), Result(error="EPROTO").encode()])
    sock = upper.made(HERE, {})
    outcome = upper.recv(sock, 2).poll()
    assert isinstance(outcome, Outcome)
    assert outcome.error == "EPROTO"
    with pytest.raises(TargetError, match="answered EPROTO to OPTION"):
        upper.set_option(sock, "TCP_NODELAY", 1)


def test_next_case_begins_with_another_conversation() -> None:
    scripts: list[list[bytes | None]] = [[b""], [None, None, END], [None]]
    upper = AgentUpperTester(Agent(lambda: Fake(scripts.pop(0)).stream(), key=KEY, limit_s=1))
    with pytest.raises(TargetError, match="did not answer"):
        upper.half_open(7)
    upper.revive()
    assert upper.half_open(7) == 5
    assert upper.half_open(7) == 5
    upper.revive()  # the conversation ends when it is asked whether it lives: that is found out here, not by a case
    assert upper.half_open(7) == 5


def test_nobody_tries_for_ever() -> None:
    tried = []

    def connect() -> ByteStream:
        tried.append(1)
        if len(tried) > 1:
            raise TargetError("nobody there")
        return Fake([b"x" * 9]).stream()

    upper = AgentUpperTester(Agent(connect, key=KEY, limit_s=LIMIT_S))
    for _ in range(6):
        with pytest.raises(TargetError):
            upper.revive()
    assert len(tried) == 4
    with pytest.raises(TargetError, match=r"nobody there .after 3 attempts nobody tries any more."):
        upper.revive()


def test_hello_that_offers_half_of_what_belongs_together() -> None:
    half = AgentHello(version=1, commands=Op.LISTEN.bit | Op.SOCKET.bit | Op.STATE.bit, longest=LONGEST, sockets=8,
                      name="half", agent_version="0", system="")
    with pytest.raises(TargetError, match="offers LISTEN without ACCEPT, ABORT, says its hello"):
        Agent(lambda: Fake([], hello=half).stream(), key=KEY, limit_s=LIMIT_S)


def test_what_is_not_offered_is_not_applicable() -> None:
    few = AgentHello(version=1, commands=Op.SOCKET.bit, longest=LONGEST, sockets=8, name="few", agent_version="0",
                     system="")
    upper = AgentUpperTester(Agent(lambda: Fake([], hello=few).stream(), key=KEY, limit_s=LIMIT_S))
    for ask, op in ((lambda: upper.listen(HERE, 7, backlog=1, options={}), "LISTEN"),
                    (lambda: upper.connect(FLOW, options={}), "CONNECT"), (lambda: upper.half_open(7), "HALF_OPEN"),
                    (lambda: upper.listening(HERE, 7), "LISTENING")):
        with pytest.raises(NotApplicable, match=f"few does not offer {op} by its agent"):
            ask()
    with pytest.raises(Unseen):
        upper.listening(HERE, 7)
    assert upper.state(FLOW) == ""  # the wire shows it


def test_messages_are_no_longer_than_the_agent_takes() -> None:
    short = AgentHello(version=1, commands=(1 << 17) - 1, longest=4096, sockets=8, name="short", agent_version="0",
                       system="")
    taken: list[int] = []

    class Counting(Fake):
        def answer(self, kind: int, fields: bytes) -> bytes:  # type: ignore[override]
            taken.append(len(fields) + 1)
            return super().answer(kind, fields)

    upper = AgentUpperTester(Agent(lambda: Counting([None, None], hello=short).stream(), key=KEY, limit_s=LIMIT_S))
    assert upper.send(upper.made(HERE, {}), bytes(1 << 20)).value == 2
    assert 3900 < max(taken) <= 4096
