# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents say octet by octet: the reference's example, keys, who takes whose place, mistakes, devices."""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import resource
import select
import signal
import socket
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import NAMES, ROOT, command, host_agent, over_pair

from harness.upper.agent import Agent, AgentUpperTester
from harness.upper.handshake import (
    HELLO,
    LIVENESS,
    MAGIC,
    PROOF,
    QUESTION,
    REFUSAL,
    VERSION,
    WAKE,
    AgentHello,
    Question,
    greeting,
    read_key,
)
from harness.upper.messages import LONGEST, RESULT, Op, Reader, Result, cut, endpoint, message, text
from harness.upper.messages import command as request
from harness.upper.streams import ByteStream, over_device, over_process, over_tcp
from harness.wire.errors import TargetError, UsageError

KEY = b"a key of these tests"
LIMIT_S = 5.0
KINDS = bytes((QUESTION, HELLO, RESULT, WAKE, LIVENESS, REFUSAL))
CHALLENGE = bytes(range(32))
HERE = "127.0.0.1"


class Raw:
    """Speaks octets on a socket, or on the master of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.inbox = bytearray()

    def say(self, octets: bytes) -> None:
        while octets:
            octets = octets[os.write(self.descriptor, octets):]

    def hear(self, within_s: float = LIMIT_S) -> tuple[int, bytes] | None:
        """The next message; None at the end of the stream."""
        until = time.monotonic() + within_s
        while (found := cut(self.inbox, KINDS)) is None:
            assert select.select([self.descriptor], [], [], max(0.0, until - time.monotonic()))[0], "silence"
            try:
                octets = os.read(self.descriptor, 1 << 16)
            except ConnectionResetError:
                return None
            if not octets:
                assert not self.inbox
                return None
            self.inbox += octets
        kind, fields, size = found
        del self.inbox[:size]
        return kind, fields

    def silent(self, for_s: float = 0.2) -> bool:
        return not self.inbox and not select.select([self.descriptor], [], [], for_s)[0]

    def refused(self) -> str:
        """Why the agent has ended the conversation."""
        said = self.hear()
        assert said is not None
        assert said[0] == REFUSAL
        return Reader(said[1]).text("the reason")

    def introduce(self, key: bytes = b"", challenge: bytes = CHALLENGE) -> AgentHello:
        self.say(greeting(challenge))
        while (said := self.hear()) is not None and said[0] == WAKE:
            pass  # of the conversation before
        assert said is not None
        question = Question.decode(said[1], challenge)
        self.say(question.proof(key))
        said = self.hear()
        assert said is not None
        assert said[0] == HELLO, said
        assert question.proven(key, said[1])
        return AgentHello.decode(said[1])

    def ask(self, op: int, socket: int = 0, fields: bytes = b"") -> Result:
        self.say(request(op, socket, fields))
        said = self.hear()
        assert said is not None
        assert said[0] == RESULT, said
        return Result.decode(said[1])


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Listening:
    """An agent that listens on this machine's loopback address, and those who call it."""

    def __init__(self, name: str, key: Path) -> None:
        self.process, self.port = host_agent(name, key)
        self.sockets: list[socket.socket] = []

    def call(self) -> Raw:
        self.sockets.append(socket.create_connection((HERE, self.port), LIMIT_S))
        return Raw(self.sockets[-1].fileno())

    def stream(self) -> ByteStream:
        return over_tcp(HERE, self.port, limit_s=LIMIT_S)

    def close(self) -> None:
        for made in self.sockets:
            made.close()
        self.process.terminate()
        self.process.wait(LIMIT_S)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.key"
    file.write_bytes(KEY + b"\n")
    return file


@pytest.fixture
def listening(name: str, key_file: Path) -> Iterator[Listening]:
    made = Listening(name, key_file)
    yield made
    made.close()


class Piped:
    """An agent on a pair of sockets."""

    def __init__(self, name: str) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.stream = over_pair(name, processes=self.processes)
        os.set_blocking(self.stream.source, True)
        self.raw = Raw(self.stream.source)

    def ended(self) -> int:
        return self.processes[0].wait(LIMIT_S)


@pytest.fixture
def piped(name: str) -> Iterator[Piped]:
    made = Piped(name)
    yield made
    made.stream.close()
    made.ended()


# -- the reference ---------------------------------------------------------------------------------------------------


def examples() -> list[tuple[str, bytes]]:
    page = (ROOT / "docs" / "reference" / "agent-protocol.md").read_text(encoding="utf-8")
    return [(side, bytes.fromhex(octets)) for side, octets in re.findall(r"^([<>]) ([0-9a-f ]+)$", page, re.MULTILINE)]


def test_example_of_the_reference_is_what_we_say() -> None:
    key, theirs = b"an example of a key", bytes(range(0x80, 0xA0))
    question_fields = MAGIC + b"\0\1\1" + CHALLENGE + theirs
    question = Question.decode(question_fields, CHALLENGE)
    assert question.has_key
    hello = AgentHello(version=1, commands=Op.SOCKET.bit | Op.LISTEN.bit | Op.ACCEPT.bit | Op.ABORT.bit,
                       longest=LONGEST, sockets=64, name="tiny", agent_version="1.0", system="Contiki 4.9 arm")
    proof = hmac.digest(key, b"agent" + question_fields + hello.encode(), "sha256")
    one, two = (1).to_bytes(4, "big"), (2).to_bytes(4, "big")
    assert examples() == [
        (">", greeting(CHALLENGE)), ("<", message(QUESTION, question_fields)),
        (">", message(PROOF, hmac.digest(key, b"harness" + question_fields, "sha256"))),
        ("<", message(HELLO, hello.encode() + proof)),
        (">", request(Op.SOCKET, 0, b"\4")), ("<", Result(error="", value=one).encode()),
        (">", request(Op.LISTEN, 1, endpoint(bytes((192, 0, 2, 1)), 7) + b"\0\x10")), ("<", Result(error="").encode()),
        (">", request(Op.ACCEPT, 1)), ("<", Result(error="EAGAIN").encode()),
        ("<", message(WAKE, one + bytes((Op.ACCEPT,)))),
        (">", request(Op.ACCEPT, 1)), ("<", Result(error="", value=two).encode()),
        (">", message(LIVENESS, b"ping")), ("<", message(LIVENESS, b"ping"))]
    assert question.proof(key) == examples()[2][1]
    assert question.proven(key, examples()[3][1][5:])
    assert not question.proven(b"another key of ours", examples()[3][1][5:])
    assert AgentHello.decode(examples()[3][1][5:]) == hello


@pytest.mark.parametrize("size", [16, 63, 64, 65, 1000, 4096])
def test_key_of_any_size(name: str, size: int, tmp_path: Path) -> None:
    """Keys of more than a block are hashed by HMAC; the agent in C has its own."""
    key = bytes(number % 255 + 1 for number in range(size)).replace(b"\n", b"x").replace(b"\r", b"x")
    file = tmp_path / "key"
    file.write_bytes(key)
    stream = over_pair(name, "--key", str(file))
    os.set_blocking(stream.source, True)
    assert Raw(stream.source).introduce(key).version == VERSION
    stream.close()


# -- keys ------------------------------------------------------------------------------------------------------------


def test_right_key(listening: Listening) -> None:
    agent = Agent(listening.stream, key=KEY, limit_s=LIMIT_S)
    assert AgentUpperTester(agent).half_open(1) == 0
    agent.close()


def test_wrong_key_is_refused(listening: Listening) -> None:
    with pytest.raises(TargetError, match="ended the conversation while it was given the proof of its key: wrong key"):
        Agent(listening.stream, key=KEY + b"!", limit_s=LIMIT_S)
    Agent(listening.stream, key=KEY, limit_s=LIMIT_S).close()


def test_key_that_only_the_agent_has(listening: Listening) -> None:
    with pytest.raises(TargetError, match="wants a key, and this harness has been given none"):
        Agent(listening.stream, limit_s=LIMIT_S)


def test_key_that_only_the_harness_has(name: str) -> None:
    with pytest.raises(TargetError, match="was started without a key, and this harness has one"):
        Agent(lambda: over_pair(name), key=KEY, limit_s=LIMIT_S)


def test_nothing_is_told_or_done_without_the_key(listening: Listening) -> None:
    for first in (request(Op.SOCKET, 0, b"\4"), message(LIVENESS, b"?"), message(PROOF, bytes(32))):
        stranger = listening.call()
        stranger.say(first)
        assert stranger.refused() == "nobody has greeted"
        assert stranger.hear() is None
    stranger = listening.call()
    stranger.say(greeting(CHALLENGE))
    assert stranger.hear() is not None
    stranger.say(request(Op.SOCKET, 0, b"\4"))
    assert stranger.refused() == "nobody has greeted"


def test_proof_of_another_conversation_is_worth_nothing(listening: Listening) -> None:
    listener = listening.call()
    listener.say(greeting(CHALLENGE))
    said = listener.hear()
    assert said is not None
    proof = Question.decode(said[1], CHALLENGE).proof(KEY)
    other = listening.call()
    other.say(greeting(CHALLENGE))
    again = other.hear()
    assert again is not None
    assert again[1][:48] == said[1][:48]
    assert again[1][48:] != said[1][48:]
    other.say(proof)
    assert other.refused() == "wrong key"


@pytest.mark.parametrize(("words", "why"), [
    ((), "one of --listen"), (("--stdio", "--device", "/dev/null"), "one of --listen"),
    (("--listen", "127.0.0.1:0"), "needs --key FILE"), (("--nonsense",), "not understood"),
    (("--listen", "0.0.0.0:7", "--key", "KEY"), "one address of this machine is wanted"),
    (("--listen", "[::]:7", "--key", "KEY"), "one address of this machine is wanted"),
    (("--listen", "here:7", "--key", "KEY"), "no IP address"),
    (("--listen", "127.0.0.1", "--key", "KEY"), "ADDRESS:PORT"),
    (("--listen", "127.0.0.1:70000", "--key", "KEY"), "ADDRESS:PORT"),
    (("--listen", "192.0.2.77:7", "--key", "KEY"), "annot assign requested address"),
    (("--stdio", "--key", "/nonexistent"), "No such file or directory"),
    (("--stdio", "--key", "SHORT"), "16 octets at least"), (("--stdio", "--key", "LONG"), "4096 octets at most"),
    (("--device", "/nonexistent"), "No such file or directory"),
])
def test_usage(name: str, words: tuple[str, ...], why: str, key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"fifteen octets.\n")
    (tmp_path / "long").write_bytes(b"x" * 4097)
    files = {"KEY": str(key_file), "SHORT": str(tmp_path / "short"), "LONG": str(tmp_path / "long")}
    done = subprocess.run([*command(name), *(files.get(word, word) for word in words)], capture_output=True, text=True,
                          check=False, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert why in done.stderr


def test_help_says_how_it_is_called(name: str) -> None:
    done = subprocess.run([*command(name), "--help"], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: tcpqual_agent (--listen ADDRESS:PORT | ")


def test_key_file_of_ours(tmp_path: Path, key_file: Path) -> None:
    assert read_key(key_file) == KEY
    with pytest.raises(UsageError, match="No such file"):
        read_key(tmp_path / "none")
    key_file.write_bytes(b"short\n")
    with pytest.raises(UsageError, match="a key of 5 octets; allowed: 16 to 4096"):
        read_key(key_file)


# -- who takes whose place -------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server((HERE, 0)) as free:
        return int(free.getsockname()[1])


def listen(raw: Raw, port: int, number: int = 1) -> None:
    assert raw.ask(Op.SOCKET, 0, b"\4") == Result(error="", value=number.to_bytes(4, "big"))
    assert raw.ask(Op.LISTEN, number, endpoint(socket.inet_aton(HERE), port) + b"\0\4").error == ""


def listens(raw: Raw, port: int) -> bool:
    return raw.ask(Op.LISTENING, 0, endpoint(socket.inet_aton(HERE), port)).value == b"\1"


def test_new_client_with_the_key_takes_the_place_of_the_old_one_and_resets_everything(listening: Listening) -> None:
    old, port = listening.call(), free_port()
    old.introduce(KEY)
    listen(old, port)
    assert listens(old, port)
    caller = socket.create_connection((HERE, port), LIMIT_S)
    assert old.ask(Op.ACCEPT, 1).error == ""
    new = listening.call()
    new.introduce(KEY)
    assert not listens(new, port)
    with pytest.raises(ConnectionResetError):
        caller.recv(1)
    caller.close()
    assert old.refused() == "another harness has taken over"
    assert old.hear() is None
    listen(new, port)


def test_client_without_the_key_disturbs_nobody(listening: Listening) -> None:
    mine, port = listening.call(), free_port()
    mine.introduce(KEY)
    listen(mine, port)
    for _ in range(12):
        stranger = listening.call()
        stranger.say(greeting(CHALLENGE))
        assert stranger.hear() is not None
        stranger.say(message(PROOF, bytes(32)))
    silent = [listening.call() for _ in range(12)]
    assert listens(mine, port)
    assert silent[0].hear() is None  # no more than five are held
    assert silent[-1].silent()
    assert listens(mine, port)


def test_replaced_harness_is_told(listening: Listening) -> None:
    old = AgentUpperTester(Agent(listening.stream, key=KEY, limit_s=LIMIT_S))
    new = AgentUpperTester(Agent(listening.stream, key=KEY, limit_s=LIMIT_S))
    with pytest.raises(TargetError, match=r"ended the conversation .*: another harness has taken over"):
        old.half_open(1)
    assert new.half_open(1) == 0
    new.close_driver()


def test_everything_is_reset_when_the_client_is_gone(listening: Listening) -> None:
    old, port = listening.call(), free_port()
    old.introduce(KEY)
    listen(old, port)
    caller = socket.create_connection((HERE, port), LIMIT_S)
    assert old.ask(Op.ACCEPT, 1).error == ""
    listening.sockets[0].close()
    with pytest.raises(ConnectionResetError):
        caller.recv(1)
    caller.close()


def test_greeting_begins_anew_on_the_same_stream(piped: Piped) -> None:
    port = free_port()
    piped.raw.introduce()
    listen(piped.raw, port)
    piped.raw.introduce(challenge=bytes(32))
    assert not listens(piped.raw, port)
    listen(piped.raw, port)


def test_repeated_greeting_changes_nothing(piped: Piped) -> None:
    port = free_port()
    piped.raw.say(greeting(CHALLENGE) * 2)
    first, second = piped.raw.hear(), piped.raw.hear()
    assert first == second is not None
    assert first is not None
    piped.raw.say(Question.decode(first[1], CHALLENGE).proof(b""))
    assert piped.raw.hear() is not None
    listen(piped.raw, port)
    piped.raw.say(greeting(CHALLENGE))
    assert piped.raw.hear() == first
    assert listens(piped.raw, port)


# -- what is said wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("octets", "why"), [
    (b"GET / HTTP/1.1\r\n\r\n", "that is no message"), (bytes(4), "that is no message"),
    ((257).to_bytes(4, "big"), "that is no message"), (message(ord("Z")), "nobody has greeted"),
    (message(ord("H"), b"tcpqual"), "that is no greeting"),
    (message(ord("H"), b"another agent" + bytes(34)), "that is no greeting"),
])
def test_what_is_no_greeting_ends_a_connection(listening: Listening, octets: bytes, why: str) -> None:
    stranger = listening.call()
    stranger.say(octets)
    assert stranger.refused() == why
    assert stranger.hear() is None


@pytest.mark.parametrize(("octets", "why"), [
    (bytes(4), "that is no message"), ((LONGEST + 1).to_bytes(4, "big"), "that is no message"),
    (message(ord("Z")), "that is no request"), (message(ord("C"), bytes(4)), "that is no request"),
    (message(ord("L"), bytes(65)), "that is no request"), (message(ord("R"), b"\0\0"), "that is no request"),
    (message(ord("K"), bytes(32)), "that is no request"),
])
def test_what_is_no_request_ends_the_conversation(piped: Piped, octets: bytes, why: str) -> None:
    piped.raw.introduce()
    piped.raw.say(octets)
    assert piped.raw.refused() == why
    assert piped.raw.hear() is None
    assert piped.ended() == 1


def test_other_version_is_told_and_refused(piped: Piped) -> None:
    piped.raw.say(message(ord("H"), MAGIC + b"\0\2" + CHALLENGE))
    said = piped.raw.hear()
    assert said is not None
    assert said[0] == QUESTION
    assert piped.raw.refused() == "this agent speaks version 1 of the protocol"


ONE = (1).to_bytes(4, "big")
END4, END6 = endpoint(bytes((127, 0, 0, 1)), 7), endpoint(bytes(16), 7)


@pytest.mark.parametrize(("op", "number", "fields", "error"), [
    (0, 0, b"", "ENOSYS"), (18, 0, b"", "ENOSYS"), (255, 1, b"", "ENOSYS"),
    (Op.SOCKET, 0, b"", "EPROTO"), (Op.SOCKET, 0, b"\5", "EPROTO"), (Op.SOCKET, 0, b"\4\4", "EPROTO"),
    (Op.OPTION, 0, b"", "EBADF"), (Op.OPTION, 2, b"", "EBADF"), (Op.OPTION, 1, b"", "EPROTO"),
    (Op.OPTION, 1, bytes(8) + text("SO_KEEPALIVE") + b"!", "EPROTO"),
    (Op.OPTION, 1, bytes(8) + text("TCP_"), "ENOPROTOOPT"),
    (Op.OPTION, 1, bytes(8) + text("SO_LINGER"), "ENOPROTOOPT"),
    (Op.OPTION, 1, bytes(8) + text("\u00e9"), "ENOPROTOOPT"),
    (Op.OPTION, 1, b"\x7f" + bytes(7) + text("SO_KEEPALIVE"), "EINVAL"),
    (Op.LISTEN, 1, END4, "EPROTO"), (Op.LISTEN, 1, b"\5" + END4[1:] + b"\0\1", "EPROTO"),
    (Op.LISTEN, 1, END6 + b"\0\1", "EAFNOSUPPORT"),
    (Op.CONNECT, 1, END4, "EPROTO"), (Op.CONNECT, 1, END4 + END6, "EAFNOSUPPORT"),
    (Op.CONNECT, 1, END6 + END4, "EAFNOSUPPORT"), (Op.CONNECT, 1, END4 + END4 + b"!", "EPROTO"),
    (Op.CONNECTED, 1, b"", "ENOTCONN"), (Op.CONNECTED, 1, b"!", "EPROTO"), (Op.ACCEPT, 1, b"", "EINVAL"),
    (Op.ACCEPT, 1, b"!", "EPROTO"), (Op.SEND, 1, b"", "EPROTO"), (Op.SEND, 1, b"\2x", "EPROTO"),
    (Op.SEND, 1, b"\0x", "EPIPE"), (Op.RECV, 1, b"", "EPROTO"), (Op.RECV, 1, ONE + b"!", "EPROTO"),
    (Op.RECV, 1, ONE, "ENOTCONN"), (Op.SHUTDOWN, 1, b"", "EPROTO"), (Op.SHUTDOWN, 1, b"\0", "EPROTO"),
    (Op.SHUTDOWN, 1, b"\4", "EPROTO"), (Op.SHUTDOWN, 1, b"\1", "ENOTCONN"), (Op.CLOSE, 1, b"", "EPROTO"),
    (Op.CLOSED, 1, b"", "EINVAL"), (Op.ABORT, 2, b"", "EBADF"), (Op.ERROR, 1, b"!", "EPROTO"),
    (Op.STATE, 0, END4, "EPROTO"), (Op.STATE, 0, END4 + END6, "EPROTO"), (Op.LISTENING, 0, b"", "EPROTO"),
    (Op.HALF_OPEN, 0, b"\1", "EPROTO"), (Op.INFORMATION, 1, b"!", "EPROTO"), (Op.INFORMATION, 3, b"", "EBADF"),
])
def test_fields_that_make_no_sense_are_an_answer_and_do_no_harm(
        piped: Piped, op: int, number: int, fields: bytes, error: str) -> None:
    piped.raw.introduce()
    assert piped.raw.ask(Op.SOCKET, 0, b"\4").value == ONE
    assert piped.raw.ask(op, number, fields) == Result(error=error)
    assert piped.raw.ask(Op.ERROR, 1).value == text("")
    assert piped.raw.ask(Op.ABORT, 1).error == ""
    assert piped.raw.ask(Op.ERROR, 1).error == "EBADF"


def test_closed_number_is_good_for_nothing_but_its_end(piped: Piped) -> None:
    piped.raw.introduce()
    assert piped.raw.ask(Op.SOCKET, 0, b"\6").value == ONE
    assert piped.raw.ask(Op.CLOSE, 1, b"\xff" * 4).error == ""
    assert [piped.raw.ask(op, 1, b"").error for op in (Op.RECV, Op.ERROR, Op.CLOSE)] == ["EBADF"] * 3
    assert [piped.raw.ask(op, 1, b"").error for op in (Op.CLOSED, Op.ABORT, Op.CLOSED)] == ["", "", "EBADF"]
    assert piped.raw.ask(Op.SOCKET, 0, b"\4").value == (2).to_bytes(4, "big")


def test_no_more_sockets_than_it_can_hold(piped: Piped) -> None:
    hello = piped.raw.introduce()
    answers = [piped.raw.ask(Op.SOCKET, 0, b"\4").error for _ in range(hello.sockets + 2)]
    first = next(at for at, error in enumerate(answers) if error)
    assert set(answers[:first]) == {""}
    assert set(answers[first:]) == {"EMFILE"}  # of the agent, or of the system if that has room for less
    assert piped.raw.ask(Op.ABORT, 1).error == ""
    assert piped.raw.ask(Op.SOCKET, 0, b"\4").error == ""


def processor_s(pid: int) -> float:
    """The processor's time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(int(word) for word in words[11:13]) / os.sysconf("SC_CLK_TCK")


def test_connection_for_which_nothing_is_left_waits_and_costs_nothing(name: str, key_file: Path) -> None:
    """With all descriptors taken by sockets an agent neither turns round and round nor forgets who waits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    try:
        listening = Listening(name, key_file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    first = listening.call()
    first.introduce(KEY)
    while not first.ask(Op.SOCKET, 0, b"\4").error:
        pass
    other = listening.call()
    other.say(greeting(CHALLENGE))
    used = processor_s(listening.process.pid)
    assert other.silent(1)
    assert processor_s(listening.process.pid) - used < 0.2
    assert first.ask(Op.ABORT, 1).error == ""
    assert other.hear() is not None
    listening.close()


def test_many_requests_at_a_time_are_answered_in_order(piped: Piped) -> None:
    piped.raw.introduce()
    piped.raw.say(b"".join(message(LIVENESS, number.to_bytes(2, "big")) + request(Op.HALF_OPEN, 0, b"\0\1")
                           for number in range(300)))
    for number in range(300):
        assert piped.raw.hear() == (LIVENESS, number.to_bytes(2, "big"))
        assert piped.raw.hear() == (RESULT, b"\0\0" + bytes(4))


def test_harness_that_does_not_read_is_not_read_either(piped: Piped) -> None:
    """An agent keeps no more than it can say; when the harness reads again nothing is lost."""
    piped.raw.introduce()
    ask = message(LIVENESS, bytes(64))
    os.set_blocking(piped.stream.sink, False)
    said = 0
    while select.select([], [piped.stream.sink], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            said += os.write(piped.stream.sink, (ask * 1000)[said % len(ask):])
        assert said < 16 * LONGEST, "the agent reads on and on"
    for _ in range(said // len(ask)):
        assert piped.raw.hear() == (LIVENESS, bytes(64))
    piped.raw.say(ask[said % len(ask):])
    assert piped.raw.hear() == (LIVENESS, bytes(64))


def test_message_that_is_never_finished_ends_the_conversation(name: str) -> None:
    piped = Piped(name)
    piped.raw.introduce()
    piped.raw.say(request(Op.SEND, 1, b"\0" + bytes(100))[:50])
    said = piped.raw.hear(15)
    assert said is not None
    assert (said[0], Reader(said[1]).text("")) == (REFUSAL, "a message was not finished in 10 s")
    assert piped.ended() == 1
    piped.stream.close()


# -- devices ---------------------------------------------------------------------------------------------------------


class Line:
    """A serial line of this machine: a pair of terminals, the agent at the one, the harness at the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.processes.append(subprocess.Popen([*command(self.name), "--device", self.path]))

    def stop(self) -> None:
        self.processes[-1].kill()
        self.processes[-1].wait()

    def stream(self) -> ByteStream:
        descriptor = os.dup(self.master)
        os.set_blocking(descriptor, False)
        return ByteStream(name="the line", source=descriptor, sink=descriptor, lasting=True,
                          close=lambda: os.close(descriptor))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def line(name: str) -> Iterator[Line]:
    made = Line(name)
    yield made
    made.close()


def test_agent_at_a_device(line: Line) -> None:
    line.start()
    upper = AgentUpperTester(Agent(line.stream, limit_s=LIMIT_S))
    assert upper.half_open(1) == 0
    upper.revive()


def test_device_at_which_nobody_is_yet(line: Line) -> None:
    """The harness greets again until somebody is there."""
    pid = os.fork()
    if pid == 0:
        time.sleep(1.5)  # as a machine that boots
        os.execv(command(line.name)[0], [*command(line.name), "--device", line.path])
    try:
        assert AgentUpperTester(Agent(line.stream, limit_s=10)).half_open(1) == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_device_that_nobody_answers_at(line: Line) -> None:
    with pytest.raises(TargetError, match=r"the line: did not answer the greeting within 0\.5 s"):
        Agent(line.stream, limit_s=0.5)


def test_rest_of_an_earlier_conversation_is_passed_over_on_either_side(line: Line) -> None:
    os.write(line.master, request(Op.SEND, 7, b"\0" + b"H" * 500)[3:])
    os.write(line.slave, Result(error="", value=b"Q" * 700).encode()[2:] + message(QUESTION, MAGIC + bytes(67)))
    line.start()
    upper = AgentUpperTester(Agent(line.stream, limit_s=LIMIT_S))
    assert upper.half_open(1) == 0
    raw = Raw(line.master)
    raw.say(b"\0\0\0\x20C")  # and then the harness is gone, in the middle of a request
    upper = AgentUpperTester(Agent(line.stream, limit_s=20))
    assert upper.half_open(1) == 0


def test_agent_that_is_started_anew_behind_a_device_is_noticed(line: Line) -> None:
    line.start()
    upper = AgentUpperTester(Agent(line.stream, limit_s=LIMIT_S))
    line.stop()
    line.start()
    with pytest.raises(TargetError, match="while it was asked for HALF_OPEN: nobody has greeted"):
        upper.half_open(1)
    upper.revive()
    assert upper.half_open(1) == 0


# -- programs --------------------------------------------------------------------------------------------------------


def test_agent_that_a_program_starts(name: str) -> None:
    upper = AgentUpperTester(Agent(lambda: over_process([*command(name), "--stdio"], "by a program"), limit_s=LIMIT_S))
    assert upper.half_open(1) == 0
    upper.close_driver()


def test_program_that_is_no_agent() -> None:
    with pytest.raises(TargetError, match=r"agent at sh: is gone while it was greeted.*; it remarked: no such host"):
        Agent(lambda: over_process(["sh", "-c", "echo no such host >&2; exit 255"], "sh"), limit_s=LIMIT_S)
    with pytest.raises(TargetError, match="ssh: cannot start '/nonexistent': No such file or directory"):
        Agent(lambda: over_process(["/nonexistent"], "ssh"))


def test_nobody_at_the_address() -> None:
    port = free_port()
    with pytest.raises(TargetError, match=rf"agent at 127.0.0.1:{port}: Connection refused; is it started there"):
        over_tcp(HERE, port, limit_s=1)
    with pytest.raises(TargetError, match="agent at /dev/nonexistent: No such file or directory"):
        over_device("/dev/nonexistent")
