# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket API of a stack behind a pipe: its commands, asked in the lab's time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...upper.commands import CommandUpperTester, Ended, NumberedSocket
from ...upper.messages import Op, Reader, Result
from ...wire.clock import Outcome
from ...wire.errors import TargetError
from .conversation import Conversation

T = TypeVar("T")


class PipeCall:
    """A call under way: `attempt` is its outcome's error and value, None as long as it would have to wait."""

    def __init__(self, name: str, conversation: Conversation, attempt: Callable[[], Ended | None],
                 ended: Ended | None = None) -> None:
        self.name = name
        self._conversation = conversation
        self._attempt = attempt
        self._ended = ended
        self._tried = -1

    def fileno(self) -> int:
        """No descriptor: time moves only in a wait, and that asks."""
        return -1

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now; the stack is asked where it may have changed. Raises TargetError."""
        if self._ended is None and self._tried != self._conversation.generation:
            self._ended = self._attempt()
            self._tried = self._conversation.generation
        return None if self._ended is None else Outcome(call=self, error=self._ended[0], value=self._ended[1])


class _PipeSpeaker:
    """Gives commands to whichever process lives, at the instant that it is in the lab."""

    way = "pipe"

    def __init__(self, conversation: Conversation, now: Callable[[], int]) -> None:
        self.conversation = conversation
        self._now = now

    @property
    def name(self) -> str:
        return self.conversation.hello.name

    @property
    def life(self) -> int:
        return self.conversation.life

    @property
    def failure(self) -> TargetError | None:
        return self.conversation.failure

    def offers(self, op: Op) -> bool:
        return self.conversation.hello.offers(op)

    def ask(self, op: Op, socket: int, fields: bytes) -> Result:
        return self.conversation.ask(op, socket, self._now(), fields)

    def read(self, op: Op, value: bytes, read: Callable[[Reader], T]) -> T:
        return self.conversation.read(op, value, read)


class PipeUpperTester(CommandUpperTester):
    """Drives sockets by commands; `now` is the lab's clock."""

    def __init__(self, conversation: Conversation, *, now: Callable[[], int]) -> None:
        super().__init__(_PipeSpeaker(conversation, now))
        self._conversation = conversation

    def pending(self, name: str, op: Op, socket: NumberedSocket, attempt: Callable[[], Ended | None],
                ended: Ended | None) -> PipeCall:
        """A call that is asked again when an exchange may have changed something."""
        return PipeCall(name, self._conversation, attempt, ended)
