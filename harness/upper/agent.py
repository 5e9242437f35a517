# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper tester of a device on which an agent runs; `docs/reference/agent-protocol.md` has what is said to it.

Nobody polls: a call that would have to wait is answered EAGAIN, and the agent says once when it may have another
answer, so a call waits for what the stream brings. Whatever is wrong with stream or agent is a TargetError, ends the
conversation, and stays the answer to everything until `Agent.revive` has begun another.
"""

from __future__ import annotations

import contextlib
import os
import select
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from ..wire.clock import Outcome
from ..wire.errors import TargetError
from .base import Call
from .commands import CommandUpperTester, Ended, NumberedSocket
from .conversation import AgentConversation
from .messages import Op, Reader, Result
from .streams import ByteStream

T = TypeVar("T")

_STARTS: Final = 3
"""After so many attempts in a row that came to no hello no further one is made."""


class AgentCall:
    """A call under way: asked when it is polled first, and when the agent has said that it may have another answer."""

    def __init__(self, name: str, agent: Agent, op: Op, socket: int, attempt: Callable[[], Ended | None],
                 ended: Ended | None) -> None:
        self.name = name
        self.op = op
        self.socket = socket
        self.woken = True
        self._agent = agent
        self._attempt = attempt
        self._ended = ended
        self._ready = self._woken = -1

    def fileno(self) -> int:
        """A descriptor that is readable when the agent has said something, or had said it while another was asking."""
        if self._ended is None and self._ready < 0 and self._agent.failure is None:
            self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._poll = select.epoll()
            self._poll.register(self._woken, select.EPOLLIN)
            self._poll.register(self._agent.descriptor, select.EPOLLIN)
            self._ready = self._poll.fileno()
        return self._ready

    def __del__(self) -> None:
        if self._woken >= 0:
            self._poll.close()
            os.close(self._woken)

    def wake(self) -> None:
        """Ask again when it is polled next."""
        self.woken = True
        if self._woken >= 0:
            os.eventfd_write(self._woken, 1)

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now. Raises TargetError."""
        if self._ended is None:
            self._agent.hear()
            if self.woken:
                return self.settle()
        return self._outcome()

    def settle(self) -> Outcome | None:
        """The outcome if there is one by now, as the target itself says at this moment. Raises TargetError."""
        if self._ended is None:
            self.woken = False
            if self._woken >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._woken)
            self._ended = self._attempt()
        return self._outcome()

    def _outcome(self) -> Outcome | None:
        return None if self._ended is None else Outcome(call=self, error=self._ended[0], value=self._ended[1])


class Agent:
    """The agent that `connect` leads to, however often it has to be called: gives it commands, hears what it says.

    `key` is what it has to know, b"" on a stream that is private. `limit_s` is how long any answer may take, in wall
    time. Raises TargetError if it does not come to a hello.
    """

    way = "agent"

    def __init__(self, connect: Callable[[], ByteStream], *, key: bytes = b"", limit_s: float = 10.0) -> None:
        self.life = 0
        self.failure: TargetError | None = None
        self._connect = connect
        self._key = key
        self._limit_s = limit_s
        self._failed = 0
        self._calls: weakref.WeakSet[AgentCall] = weakref.WeakSet()
        self._begin()

    def _begin(self) -> None:
        self.life += 1
        self._failed += 1
        try:
            self._conversation = AgentConversation(self._connect(), key=self._key, limit_s=self._limit_s)
        except TargetError as error:
            self.failure = error
            raise
        self.hello = self._conversation.hello
        self.failure = None
        self._failed = 0

    def revive(self) -> None:
        """Make sure that an agent is there: the same one, or another after it has failed. Raises TargetError."""
        if self.failure is None:
            with contextlib.suppress(TargetError):
                self._guarded(lambda: self._conversation.live())
        if self.failure is None:
            return
        if self._failed >= _STARTS:
            raise TargetError(f"{self.failure} (after {_STARTS} attempts nobody tries any more)")
        self._begin()

    def close(self) -> None:
        """End the conversation; the agent closes all sockets then."""
        self._conversation.close()

    # -- what is said ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the agent calls itself."""
        return self.hello.name

    @property
    def descriptor(self) -> int:
        """What to wait on for its words."""
        return self._conversation.stream.source

    def offers(self, op: Op) -> bool:
        """True if the agent knows this command."""
        return self.hello.offers(op)

    def ask(self, op: Op, socket: int, fields: bytes) -> Result:
        """Give a command. Raises TargetError."""
        result = self._guarded(lambda: self._conversation.ask(op, socket, fields))
        self._pass_wakes_on()
        return result

    def read(self, op: Op, value: bytes, read: Callable[[Reader], T]) -> T:
        """The value of a command's result. Raises TargetError if it is not of that form."""
        return self._guarded(lambda: self._conversation.read(op, value, read))

    def hear(self) -> None:
        """Take what the agent has said unasked. Raises TargetError."""
        self._guarded(self._conversation.hear)
        self._pass_wakes_on()

    def _guarded(self, act: Callable[[], T]) -> T:
        if self.failure is not None:
            raise TargetError(str(self.failure))
        try:
            return act()
        except TargetError as error:
            self.failure = error
            raise

    # -- calls -------------------------------------------------------------------------------------------------------

    def attend(self, call: AgentCall) -> None:
        """Wake this call, as long as somebody has it, when the agent says so of its command and socket."""
        self._calls.add(call)

    def wake(self, socket: int, op: int | None = None) -> None:
        """Let the calls of this socket, and of this command if one is named, ask again."""
        for call in self._calls:
            if call.socket == socket and op in (None, call.op):
                call.wake()

    def _pass_wakes_on(self) -> None:
        woken = self._conversation.woken
        while woken:
            self.wake(*woken.pop())


class AgentUpperTester(CommandUpperTester):
    """Drives sockets by an agent. A socket that was closed is none any more, as of a descriptor of this machine."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.agent = agent
        self._closed: set[NumberedSocket] = set()

    def pending(self, name: str, op: Op, socket: NumberedSocket, attempt: Callable[[], Ended | None],
                ended: Ended | None) -> AgentCall:
        """A call that is asked again when the agent says so."""
        call = AgentCall(name, self.agent, op, socket.number, attempt, ended)
        self.agent.attend(call)
        return call

    def _on(self, op: Op, handle: object, fields: bytes = b"") -> Result:
        if handle in self._closed and op not in (Op.CLOSED, Op.ABORT):
            return Result(error="EBADF")
        return super()._on(op, handle, fields)

    def close(self, handle: object, *, linger_s: int | None = None) -> Call:
        """Close the socket; with `linger_s` the call ends when all is acknowledged, or after that time."""
        call = super().close(handle, linger_s=linger_s)
        socket = self._socket_of(handle)
        self._closed.add(socket)
        self.agent.wake(socket.number)
        return call

    def abort(self, handle: object) -> Outcome:
        """ABORT of RFC 9293, 3.9.1.5, once."""
        outcome = super().abort(handle)
        if isinstance(handle, NumberedSocket) and handle.life == self.agent.life:
            self.agent.wake(handle.number)
        return outcome

    def revive(self) -> None:
        """Make sure before a case that an agent is there. Raises TargetError."""
        life = self.agent.life
        self.agent.revive()
        if self.agent.life != life:
            self._closed.clear()
            self._aborted.clear()

    def close_driver(self) -> None:
        """End the conversation."""
        self.agent.close()
