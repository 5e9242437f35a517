# SPDX-License-Identifier: GPL-2.0-or-later
"""One conversation with an agent: who may say what, and when, over one byte stream.

It ends with the first thing that is wrong, which is a TargetError, and is closed then. Nothing waits without an end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from ..wire.errors import TargetError
from . import streams
from .handshake import (
    CHALLENGE,
    HELLO,
    LIVENESS,
    QUESTION,
    REFUSAL,
    VERSION,
    WAKE,
    AgentHello,
    Question,
    find_question,
    greeting,
    wake,
)
from .messages import LONGEST, RESULT, Malformed, Op, Reader, Result, command, cut, message

T = TypeVar("T")

_KINDS: Final = bytes((QUESTION, HELLO, RESULT, WAKE, LIVENESS, REFUSAL))
_GREET_AGAIN_S: Final = 1.0
"""How often a device is greeted at which nobody may be yet, or in the middle of another's words."""
_STRAY: Final = 1 << 22
"""So many octets of an earlier conversation a device may bring."""
_NO_ANSWER: Final = ("EBADF", "ENOSYS", "EPROTO")
"""Errors with which an agent says that it was asked wrongly."""
_SPEAKING: Final = (Op.CONNECTED, Op.ACCEPT, Op.SEND, Op.RECV)
"""Commands to which EPROTO is an answer of the target: what a connection is told of an ICMP message."""
_OFFERED_WITH: Final = (
    (Op.LISTEN, (Op.SOCKET, Op.ACCEPT, Op.ABORT)),
    (Op.CONNECT, (Op.SOCKET, Op.CONNECTED, Op.ABORT)),
    (Op.CLOSE, (Op.CLOSED,)),
)
"""What an agent that offers the first has to offer too."""
_HEAD: Final = 64
"""More than a message has beside the octets that are sent or received."""


class AgentConversation:
    """A conversation that has come to a hello. Raises TargetError, also of every method; the stream is closed then.

    `woken` are the sockets and commands of which the agent has said that there may be another answer; who takes note
    of one removes it.
    """

    def __init__(self, stream: streams.ByteStream, *, key: bytes, limit_s: float) -> None:
        self.stream = stream
        self.limit_s = limit_s
        self.woken: set[tuple[int, int]] = set()
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._over = False
        self._tokens = 0
        self._longest = LONGEST
        self._asked = b""
        try:
            self.hello = self._introduced(key)
        except BaseException:
            self.close()
            raise
        self._longest = self.hello.longest

    def close(self) -> None:
        """Close the stream; more than once is no error."""
        if not self._over:
            self._over = True
            self.stream.close()

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _introduced(self, key: bytes) -> AgentHello:
        challenge = os.urandom(CHALLENGE)
        question = self._question(challenge)
        if question.version != VERSION:
            raise self._fail(f"speaks version {question.version} of the protocol; this harness speaks {VERSION}")
        if question.has_key and not key:
            raise self._fail("wants a key, and this harness has been given none")
        if key and not question.has_key:
            raise self._fail("was started without a key, and this harness has one: start the agent with --key")
        self._put(question.proof(key))
        kind, fields = self._get("was given the proof of its key", until=streams.deadline(self.limit_s))
        if kind != HELLO:
            raise self._fail(f"answered the proof with a message of type {chr(kind)!r}, not with a hello")
        hello = self._understood("said a malformed hello", lambda: AgentHello.decode(fields))
        if not question.proven(key, fields):
            raise self._fail("has not proven that it knows the key; whoever answers there is no agent of ours")
        if hello.version != VERSION:
            raise self._fail(f"speaks version {hello.version} of the protocol; this harness speaks {VERSION}")
        for op, others in _OFFERED_WITH:
            missing = [other.name for other in others if not hello.offers(other)]
            if hello.offers(op) and missing:
                raise self._fail(f"offers {op.name} without {', '.join(missing)}, says its hello")
        return hello

    def _question(self, challenge: bytes) -> Question:
        until = streams.deadline(self.limit_s)
        self._say(greeting(challenge))
        if self.stream.lasting:
            self._skip_to_question(challenge, until)
        kind, fields = self._get("was greeted", until=until)
        if kind != QUESTION:
            raise self._fail(f"answered the greeting with a message of type {chr(kind)!r}, not with its question")
        question = self._understood("answered the greeting with", lambda: Question.decode(fields, challenge))
        self._asked = fields
        return question

    def _skip_to_question(self, challenge: bytes, until: float) -> None:
        """Pass over what an earlier conversation has left on a device, and greet again if nobody answers."""
        skipped = 0
        again = streams.deadline(_GREET_AGAIN_S)
        while (at := find_question(self._inbox, challenge)) < 0:
            if (surplus := len(self._inbox) - 2 * CHALLENGE - _HEAD) > 0:
                del self._inbox[:surplus]
                skipped += surplus
            now = time.monotonic()
            if now >= until:
                raise self._fail(f"did not answer the greeting within {self.limit_s:g} s")
            if skipped > _STRAY:
                raise self._fail(f"said {_STRAY} octets that are no answer to the greeting")
            if now >= again and not self._outbox:
                again = streams.deadline(_GREET_AGAIN_S)
                self._say(greeting(challenge))
            self._pump(min(until, again) - now, "was greeted")
        del self._inbox[:at]

    # -- requests ----------------------------------------------------------------------------------------------------

    def ask(self, op: Op, socket: int, fields: bytes = b"") -> Result:
        """Give a command; the result is the target's own answer, EAGAIN where it would have to wait."""
        if op is Op.SEND:
            fields = fields[:self._longest - _HEAD]
        elif op is Op.RECV:
            fields = min(int.from_bytes(fields, "big"), self._longest - _HEAD).to_bytes(4, "big")
        result = self.ask_raw(op, socket, fields)
        if result.error in _NO_ANSWER and not (result.error == "EPROTO" and op in _SPEAKING):
            raise self._fail(f"answered {result.error} to {op.name} of socket {socket}, which it has to know")
        return result

    def ask_raw(self, op: int, socket: int, fields: bytes = b"") -> Result:
        """The same, whatever the answer; the number need not be that of a command."""
        name = Op(op).name if op in Op._value2member_map_ else f"command {op}"
        doing = f"was asked for {name}"
        self._put(command(op, socket, fields))
        kind, answer = self._get(doing, until=streams.deadline(self.limit_s))
        if kind != RESULT:
            raise self._fail(f"answered with a message of type {chr(kind)!r} while it {doing}")
        return self._understood(f"said, while it {doing},", lambda: Result.decode(answer))

    def live(self) -> None:
        """Let the agent say that it is alive."""
        self._tokens += 1
        token = self._tokens.to_bytes(8, "big")
        self._put(message(LIVENESS, token))
        if self._get("was asked whether it is alive", until=streams.deadline(self.limit_s)) != (LIVENESS, token):
            raise self._fail("did not answer as it should when it was asked whether it is alive")

    def hear(self) -> None:
        """Take what has been said unasked, which may only be about calls."""
        if self._over:
            raise self._fail("was listened to after the conversation was over")
        self._pump(0.0, "had nothing to do")
        self._nothing_unasked()

    def read(self, op: Op, value: bytes, read: Callable[[Reader], T]) -> T:
        """The value of a command's result, which has to be of that form."""
        def whole() -> T:
            reader = Reader(value)
            found = read(reader)
            reader.end("it")
            return found

        return self._understood(f"answered {op.name} with a malformed value:", whole)

    # -- octets ------------------------------------------------------------------------------------------------------

    def _put(self, octets: bytes) -> None:
        if self._over:
            raise self._fail("was spoken to after the conversation was over")
        self._nothing_unasked()
        self._say(octets)

    def _say(self, octets: bytes) -> None:
        self._outbox += octets
        self._write()

    def _nothing_unasked(self) -> None:
        """What has come unasked may be wakes, and nothing else."""
        if (said := self._next("had nothing to do")) is not None:
            raise self._fail(f"said a message of type {chr(said[0])!r} that nobody had asked for")

    def _write(self) -> None:
        try:
            while self._outbox and (written := streams.write(self.stream, self._outbox)):
                del self._outbox[:written]
        except streams.StreamEnded:
            self._outbox.clear()  # its end is seen, and told, where its words end

    def _get(self, doing: str, *, until: float) -> tuple[int, bytes]:
        """The next message that is no wake."""
        while (said := self._next(doing)) is None:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self._fail(f"did not answer within {self.limit_s:g} s while it {doing}")
            self._pump(left_s, doing)
        return said

    def _next(self, doing: str) -> tuple[int, bytes] | None:
        """The first whole message of the inbox that has to be answered to; wakes are noted."""
        while True:
            found = self._understood(f"said what is no message while it {doing}:",
                                     lambda: cut(self._inbox, _KINDS, self._longest))
            if found is None:
                return None
            kind, fields, size = found
            del self._inbox[:size]
            if kind == WAKE:
                self.woken.add(self._understood("said a malformed wake:", partial(wake, fields)))
            elif kind == REFUSAL:
                why = self._understood("said a malformed refusal:", partial(Reader(fields).text, "the reason"))
                raise self._fail(f"ended the conversation while it {doing}: {why}")
            elif not (kind == QUESTION and self.stream.lasting and fields == self._asked):
                return kind, fields  # a device that was greeted twice answers twice

    def _pump(self, left_s: float, doing: str) -> None:
        """Move octets either way, once, waiting so long at most."""
        if left_s > 0:
            streams.wait(self.stream, writing=bool(self._outbox), limit_s=left_s)
        self._write()
        try:
            self._inbox += streams.read(self.stream)
        except streams.StreamEnded as end:
            self._next(doing)  # it may have said why
            raise self._fail(f"is gone while it {doing}: {end}") from None

    # -- failure -----------------------------------------------------------------------------------------------------

    def _understood(self, what: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except Malformed as error:
            raise self._fail(f"{what} {error}") from None

    def _fail(self, what: str) -> TargetError:
        """An error that says what is wrong, and what was said elsewhere; the conversation is over."""
        self.close()
        remarks = self.stream.remarks()
        return TargetError(f"agent at {self.stream.name}: {what}{f'; it remarked: {remarks}' if remarks else ''}")
