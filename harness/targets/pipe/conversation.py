# SPDX-License-Identifier: GPL-2.0-or-later
"""The conversation with a stack: who may say what, and when; and a fresh process after one that failed.

The stack answers each request with the packets that it sends, the result if the request was a command, and *done*: it
has nothing left to do at this instant, and will do nothing before its deadline. So time need not be told it until then:
where the clock has gone on in between, the next request is preceded by an *advance* in which nothing may happen.

Instants here are those of the lab; the process counts from its own beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ...upper.messages import COMMAND, RESULT, Malformed, Op, Reader, Result, command, message
from ...wire.errors import TargetError
from .process import Process
from .protocol import ADVANCE, DONE, HELLO, PACKET, VERSION, Done, Greeting, Hello, advance

T = TypeVar("T")

_PACKETS: Final = 1 << 16
"""So many packets in answer to one request are a stack gone mad."""
_STEPS: Final = 2_000_000
"""So many steps of time without any packet are one, too: hours of a case in steps of microseconds."""
_STARTS: Final = 3
"""After so many processes in a row that did not come to a hello no further one is tried."""
_LEAST_MTU: Final = {False: 68, True: 1280}
_SENTENCES: Final = {HELLO: "was greeted", PACKET: "took a packet", ADVANCE: "let time pass"}
_OFFERED_WITH: Final = (
    (Op.LISTEN, (Op.SOCKET, Op.ACCEPT, Op.ABORT)),
    (Op.CONNECT, (Op.SOCKET, Op.CONNECTED, Op.ABORT)),
)
"""What a stack that offers the first has to offer too."""
_NO_ANSWER: Final = ("EBADF", "ENOSYS", "EPROTO")
"""Errors with which an adapter says that it was asked wrongly: no stack's answer to an application's call."""


class Conversation:
    """What is said to one process after the other, each started by `start`.

    `life` counts them; `generation` changes whenever something may have changed in the stack. `packets` are those that
    the stack has sent and nobody has taken yet, each with its instant. Every method that says something raises
    TargetError if the process does not keep the protocol, and the process is ended then: until `revive` the same error
    is the answer to everything.
    """

    def __init__(self, start: Callable[[], Process], greeting: Greeting) -> None:
        self.packets: list[tuple[int, bytes]] = []
        self.generation = 0
        self.life = 0
        self.steps = 0
        self.failure: TargetError | None = None
        self._start = start
        self._greeting = greeting
        self._starts_failed = 0
        self._begin(0)

    def _begin(self, now_ns: int) -> None:
        self.packets.clear()
        self.life += 1
        self.generation += 1
        self._epoch_ns = self.now_ns = now_ns
        self.deadline_ns: int | None = None
        self.steps = 0
        self.failure = None
        self._starts_failed += 1
        try:
            self.process = self._start()
        except TargetError as error:
            self.failure = error
            raise
        self._put(self._greeting.encode())
        self.hello = self._hello()
        self._at(self._answer(HELLO)[1], now_ns, now_ns, HELLO)
        self._starts_failed = 0

    def revive(self, now_ns: int) -> None:
        """If the process has failed, start another, for which time begins now. Raises TargetError."""
        if self.failure is None:
            return
        if self._starts_failed >= _STARTS:
            self._check()
        self._begin(now_ns)

    def renew(self, now_ns: int) -> None:
        """End the process, and start another. Raises TargetError."""
        self.close()
        self._begin(now_ns)

    def close(self) -> int | None:
        """End the process; returns its status, None if it had to be killed or has failed before."""
        return None if self.failure is not None else self.process.close()

    # -- requests ----------------------------------------------------------------------------------------------------

    def give(self, packets: Sequence[bytes], now_ns: int) -> None:
        """Give the stack packets, all at this instant."""
        before = self._brought_to(now_ns)
        self._put(before + b"".join(message(PACKET, packet) for packet in packets))
        self._take_silence(before, now_ns)
        for _ in packets:
            self._at(self._answer(PACKET)[1], now_ns, now_ns, PACKET)
        self.steps = 0
        self.generation += 1

    def ask(self, op: Op, socket: int, now_ns: int, fields: bytes = b"") -> Result:
        """Give a socket command; the result is the stack's own answer, EAGAIN where it would have to wait."""
        result = self.ask_raw(op, socket, now_ns, fields)
        if result.error in _NO_ANSWER:
            raise self._fail(f"answered {result.error} to {op.name} of socket {socket}, which it has to know")
        return result

    def ask_raw(self, op: int, socket: int, now_ns: int, fields: bytes = b"") -> Result:
        """The same, whatever the answer; the number need not be that of a command."""
        before = self._brought_to(now_ns)
        self._put(before + command(op, socket, fields))
        self._take_silence(before, now_ns)
        result, done = self._answer(COMMAND, op)
        self._at(done, now_ns, now_ns, COMMAND, op)
        assert result is not None
        self.steps = 0
        if result.error != "EAGAIN":
            self.generation += 1
        return result

    def advance(self, until_ns: int) -> int:
        """Let the stack's time pass up to that instant at most; returns where it stopped."""
        self._check()
        due_ns = self.deadline_ns
        if due_ns is None or due_ns > until_ns:
            return until_ns
        count = len(self.packets)
        self._put(advance(until_ns - self._epoch_ns))
        self._at(self._answer(ADVANCE)[1], due_ns, until_ns, ADVANCE)
        self.generation += 1
        self.steps = 0 if len(self.packets) > count else self.steps + 1
        if self.steps > _STEPS:
            raise self._fail(f"let time pass in {_STEPS} steps in which it did nothing")
        return self.now_ns

    def _brought_to(self, now_ns: int) -> bytes:
        """What has to be said before a request at that instant: nothing, or an advance in which nothing is due."""
        self._check()
        while self.now_ns < now_ns and self.deadline_ns is not None and self.deadline_ns <= now_ns:
            self.advance(now_ns)
        return advance(now_ns - self._epoch_ns) if self.now_ns < now_ns else b""

    def _take_silence(self, before: bytes, now_ns: int) -> None:
        if not before:
            return
        count, due_ns = len(self.packets), self.deadline_ns
        self._at(self._answer(ADVANCE)[1], now_ns, now_ns, ADVANCE)
        if len(self.packets) > count:
            due = "ever" if due_ns is None else f"before {due_ns - self._epoch_ns} ns"
            raise self._fail(f"sent a packet at {now_ns - self._epoch_ns} ns or sooner, and had said that nothing was "
                             f"due {due}")

    # -- answers -----------------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        kind, fields = self._get("was greeted")
        if kind != HELLO:
            raise self._fail(f"answered the greeting with a message of type {chr(kind)!r}, not with a hello")
        try:
            hello = Hello.decode(fields)
        except Malformed as error:
            raise self._fail(f"said a malformed hello: {error}") from None
        if hello.version != VERSION:
            raise self._fail(f"speaks version {hello.version} of the protocol; this harness speaks {VERSION}")
        if not (hello.ipv4 or hello.ipv6):
            raise self._fail("speaks neither IPv4 nor IPv6, says its hello")
        if hello.mtu < _LEAST_MTU[hello.ipv6]:
            raise self._fail(f"has an MTU of {hello.mtu}, says its hello; allowed: {_LEAST_MTU[hello.ipv6]} or more")
        if hello.ethernet and (hello.mac == bytes(6) or hello.mac[0] & 1):
            raise self._fail(f"has the Ethernet address {hello.mac.hex(':')}, says its hello; allowed: a station's own")
        if not hello.offers(Op.STATE):
            raise self._fail("does not offer STATE, says its hello; a stack has to tell the state of a connection, "
                             "CLOSED where there is none")
        for op, others in _OFFERED_WITH:
            missing = [other.name for other in others if not hello.offers(other)]
            if hello.offers(op) and missing:
                raise self._fail(f"offers {op.name} without {', '.join(missing)}, says its hello")
        return hello

    def _answer(self, kind: int, op: int = 0) -> tuple[Result | None, Done]:
        """What is said in answer to one request, up to its *done*."""
        result: Result | None = None
        count = 0
        while True:
            said, fields = self._get(_doing(kind, op))
            try:
                if said == DONE:
                    if result is None and kind == COMMAND:
                        raise Malformed("no result of the command before its done")
                    return result, Done.decode(fields)
                if said == RESULT:
                    if kind != COMMAND or result is not None:
                        raise Malformed("a result that nobody asked for")
                    result = Result.decode(fields)
                elif said == PACKET:
                    self._take_packet(fields)
                    count += 1
                    if count > _PACKETS:
                        raise Malformed(f"more than {_PACKETS} packets in answer to one request")
                else:
                    raise Malformed("a second hello")
            except Malformed as error:
                raise self._fail(f"said {error}, while it {_doing(kind, op)}") from None

    def _take_packet(self, octets: bytes) -> None:
        least = 14 if self.hello.ethernet else 1
        if len(octets) < least:
            raise Malformed(f"a packet of {len(octets)} octets; allowed: {least} or more")
        self.packets.append((-1, octets))

    def _at(self, done: Done, earliest_ns: int, latest_ns: int, kind: int, op: int = 0) -> None:
        """Take note of where the stack is now; what it sent, it sent then."""
        now_ns = self._epoch_ns + done.now_ns
        if not earliest_ns <= now_ns <= latest_ns:
            allowed = str(earliest_ns - self._epoch_ns)
            if latest_ns != earliest_ns:
                allowed += f" to {latest_ns - self._epoch_ns}"
            raise self._fail(f"says that it is {done.now_ns} ns when it {_doing(kind, op)}; allowed: {allowed}")
        if done.deadline_ns is not None and done.deadline_ns <= done.now_ns:
            raise self._fail(f"is done at {done.now_ns} ns when it {_doing(kind, op)}, and due again at "
                             f"{done.deadline_ns} ns; what is due has to be done by then")
        self.now_ns = now_ns
        self.deadline_ns = None if done.deadline_ns is None else self._epoch_ns + done.deadline_ns
        for index in range(len(self.packets) - 1, -1, -1):
            if self.packets[index][0] >= 0:
                break
            self.packets[index] = (now_ns, self.packets[index][1])

    # -- failure -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.failure is not None:
            raise TargetError(str(self.failure))

    def _put(self, octets: bytes) -> None:
        if self.process.has_spoken:
            raise self._fail("said something that nobody had asked for, behind its last done")
        self.process.put(octets)

    def _get(self, doing: str) -> tuple[int, bytes]:
        try:
            return self.process.get(doing)
        except TargetError as error:
            self.failure = error
            raise

    def _fail(self, what: str) -> TargetError:
        self.failure = self.process.failed(what)
        return self.failure

    def read(self, op: Op, value: bytes, read: Callable[[Reader], T]) -> T:
        """The value of a command's result. Raises TargetError if it is not of that form."""
        reader = Reader(value)
        try:
            found = read(reader)
            reader.end("it")
        except Malformed as error:
            raise self._fail(f"answered {op.name} with a malformed value: {error}") from None
        return found


def _doing(kind: int, op: int) -> str:
    if kind != COMMAND:
        return _SENTENCES[kind]
    return f"was asked {Op(op).name if op in Op._value2member_map_ else f'for command {op}'}"
