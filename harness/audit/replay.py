# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays a tape to a case, in no time and without a target.

As long as a case does what it did when the tape was made, the tape says exactly what the target would say. As soon as
it does something else, or waits past the point where it did something before, nobody knows, and `Diverged` ends the
play. So what a replay finds is what the target itself would have led to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from ..upper.relay import RelayUpper
from ..wire.clock import Event, Outcome, Source
from ..wire.frame import Frame
from ..wire.link import Link, Network
from ..wire.segment import Flow
from .tape import Asked, Entry, Happened, Sent, Tape

_WAITS: Final = 100_000
"""A case that waits so often has lost its way."""
_WORK_NS: Final = 1_000_000
"""A case may take so long between two things that it does without a wait."""
_ANSWER_NS: Final = 100_000
_HARMLESS: Final = ("state", "listening", "half_open", "information")
"""Questions that change nothing at the target."""


class Diverged(BaseException):
    """The case has left what is on the tape. No `Exception`, so that nothing takes it for the target's fault."""


class Player:
    """The place on the tape, and the time that goes with it."""

    def __init__(self, tape: Tape) -> None:
        self._entries = tape.entries
        self._at = 0
        self.now_ns = tape.begin_ns
        self.end_ns = tape.end_ns
        self.lateness_ns = tape.lateness_ns
        self.states: Mapping[Flow, str] = {}

    @property
    def next(self) -> Entry | None:
        """What comes next, None at the end."""
        return self._entries[self._at] if self._at < len(self._entries) else None

    def take(self) -> None:
        """Go on to the next."""
        entry = self._entries[self._at]
        self.now_ns = max(self.now_ns, entry.at_ns)
        self._at += 1
        if isinstance(entry, Happened):
            self.states = entry.states
        elif not isinstance(entry, Asked) or entry.question[0] not in _HARMLESS:
            self.states = {}

    def ask(self, question: tuple[Any, ...]) -> Asked:
        """The answer to a question. Raises Diverged if it was not asked here."""
        entry = self.next
        if not isinstance(entry, Asked) or entry.question != question or self._is_early(entry):
            raise Diverged
        self.take()
        return entry

    def send(self, data: bytes) -> Sent:
        """The frame as it was sent. Raises Diverged if another was."""
        entry = self.next
        if not isinstance(entry, Sent) or entry.data != data or self._is_early(entry):
            raise Diverged
        self.take()
        return entry

    def _is_early(self, entry: Entry) -> bool:
        """True if the case does sooner what it did when the tape was made, by more than its own work took."""
        return self.now_ns + _WORK_NS + self.lateness_ns < entry.at_ns


class ReplayLink:
    """The link of a tape."""

    def __init__(self, player: Player, link: Link) -> None:
        self.mac, self.target_mac, self.mtu = link.mac, link.target_mac, link.mtu
        self.inbox: Frame | None = None
        self._player = player
        self._sent: list[Frame] = []

    def send_bytes(self, frame: bytes) -> None:
        """Send what was sent."""
        entry = self._player.send(frame)
        self._sent.append(Frame(data=frame, stamp_ns=entry.stamp_ns or entry.at_ns, outgoing=True))

    def recv_frame(self) -> Frame | None:
        """The frame that has just come."""
        frame, self.inbox = self.inbox, None
        return frame

    poll = recv_frame

    def fileno(self) -> int:
        """Nothing to wait on."""
        return -1

    def sent(self) -> list[Frame]:
        """What went out since the last call."""
        frames, self._sent = self._sent, []
        return frames

    def lost(self) -> int:
        """Nothing is lost."""
        return 0

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """As many as went out."""
        return int(self._player.ask(("burst", len(frames), frame_size)).answer)

    def ignore(self, networks: Collection[Network]) -> None:
        """What was ignored is not on the tape."""

    def close(self) -> None:
        """Nothing to release."""


class ReplayCall:
    """A call of a tape."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome: Outcome | None = None

    def fileno(self) -> int:
        """Nothing to wait on."""
        return -1

    def poll(self) -> Outcome | None:
        """The outcome, once the tape has come to it."""
        return None if self.outcome is None else replace(self.outcome, call=self)


class ReplayUpper(RelayUpper):
    """The upper tester of a tape."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.calls: dict[int, ReplayCall] = {}

    def ask(self, method: str, *question: Any, **named: Any) -> Any:
        """The answer on the tape. Raises Diverged."""
        return self._player.ask((method, question, named)).answer

    def begin_call(self, method: str, *question: Any, **named: Any) -> tuple[Any, ReplayCall]:
        """The call on the tape. Raises Diverged."""
        entry = self._player.ask((method, question, named))
        call = ReplayCall(method)
        if entry.call is not None:
            self.calls[entry.call] = call
        return entry.answer, call

    def state(self, flow: Flow) -> str:
        """The connection's state; what is wrong makes a case ask where it did not when the tape was made."""
        entry = self._player.next
        asked = isinstance(entry, Asked) and entry.question == ("state", (flow,), {})
        if not asked and flow in self._player.states:
            return self._player.states[flow]
        return super().state(flow)


class ReplayClock:
    """The time of a tape."""

    epoch_ns = 0

    def __init__(self, player: Player, link: ReplayLink, upper: ReplayUpper, *, kind: str) -> None:
        self.kind = kind
        self._player = player
        self._link = link
        self._upper = upper
        self._sources: list[Source] = []
        self._waits = 0

    @property
    def lateness_ns(self) -> int:
        """What it was when the tape was made."""
        return self._player.lateness_ns

    def forget_lateness(self) -> None:
        """A tape is as late as it was."""

    def now(self) -> int:
        """The instant to which the tape has been played."""
        return self._player.now_ns

    def register(self, source: Source) -> None:
        """Poll this source in every wait from now on."""
        self._sources.append(source)

    def unregister(self, source: Source) -> None:
        """Forget a source."""
        if source in self._sources:
            self._sources.remove(source)

    def wait(self, until: int) -> Event | None:
        """The next event of the tape, or None at `until`. Raises Diverged where the tape does not know."""
        self._waits += 1
        if self._waits > _WAITS:
            raise Diverged
        while (event := self._poll()) is None and self._advance(until):
            pass
        # What was held back may be due now.
        return self._poll() if event is None else event

    def _poll(self) -> Event | None:
        for source in self._sources:
            event = source.poll()
            if event is not None:
                return event
        return None

    def _advance(self, until: int) -> bool:
        """Let what comes next come; False if nothing does until then."""
        player, entry = self._player, self._player.next
        drains = until <= player.now_ns
        if isinstance(entry, Happened) and (
                entry.drained or (self._has_arrived(entry) if drains else entry.at_ns <= until)):
            player.take()
            self._let_come(entry)
            return True
        if drains:
            return False
        known_ns = player.end_ns if entry is None else entry.at_ns
        if until > known_ns:
            raise Diverged
        player.now_ns = until
        return False

    def _has_arrived(self, entry: Happened) -> bool:
        """True if it was there already, though the case was waiting for it when it was taken."""
        # A stack that runs as code of ours hands out its answer at once, and stamps it a moment later.
        now_ns = self._player.now_ns + (_ANSWER_NS if self.kind == "stepped" else 0)
        return isinstance(entry.event, Frame) and entry.event.stamp_ns <= now_ns

    def _let_come(self, entry: Happened) -> None:
        if isinstance(entry.event, Frame):
            self._link.inbox = entry.event
        elif entry.call is not None and entry.call in self._upper.calls:
            self._upper.calls[entry.call].outcome = entry.event

