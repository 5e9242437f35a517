# SPDX-License-Identifier: GPL-2.0-or-later
"""The target's application as a case has it act: sockets whose outcomes are asserted.

Every call is a line of the story. What the upper tester returns at once is a `Pending`; asking for its outcome waits,
in the target's time, while the injector goes on taking what the wire brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..upper.base import Call, Half, NotApplicable, Unseen
from ..wire.clock import SECOND, Outcome
from ..wire.segment import Flow
from . import stream
from .case import Case
from .peer import Peer
from .timing import After, Stamped
from .verdict import Step

_OPEN: Final = "has not returned"
_LATEST_ACK_S: Final = 0.5
"""Within this time an acknowledgement has to come (RFC 9293, 3.8.6.3)."""


def _is_one_of(error: str, wanted: str) -> bool:
    """True if this errno name is the one wanted, or one of several that `|` separates; "" is success."""
    return any(error == name for name in wanted.split("|"))


def _require_name(call: str, outcome: Outcome, wanted: str) -> None:
    """Raise Unseen where an error is wanted by its name and another word came: errno names have no underscore."""
    if wanted and "_" in outcome.error:
        raise Unseen(f"{call}() was answered with {outcome.error}, which says not what is wrong")


class Pending:
    """A socket call whose outcome is still open."""

    def __init__(self, case: Case, call: Call) -> None:
        self._case = case
        self._call = call
        self.begun: Stamped = case.moment()
        case.start(call)

    def outcome(self, due: After | None = None, within_s: float | None = None) -> Outcome | None:
        """How it ended, or None if it has not by then; a `due` time only bounds the wait here."""
        until = self._case.deadline(within_s)
        if due is not None:
            start = due.since or self.begun
            _, latest = self._case.timing.window(due)
            until = (start.stamp_ns or 0) + latest + max(self._case.response_ns, latest // 2)
        outcome = self._case.outcome(self._call, until)
        self._case.step("api", f"{self._call.name}() -> {_OPEN if outcome is None else outcome}")
        return outcome

    def expect(self, wanted: str, due: After | None = None, *, within_s: float | None = None,
               rule: str | None = None) -> Any:
        """It must end with this errno name, `done` meaning success; returns the value. Raises Mismatch.

        Where stacks differ in the name and no rule chooses, `|` separates them: `ECONNREFUSED|ECONNRESET`.
        With `due` the time counts from the call itself unless `since` says otherwise.
        """
        outcome = self.outcome(due, within_s)
        self.require_told(outcome, wanted)
        if outcome is None or not _is_one_of(outcome.error, "" if wanted == "done" else wanted):
            got = _OPEN if outcome is None else str(outcome)
            raise self._wrong(f"{self._call.name}() -> {wanted}", f"{self._call.name}() -> {got}", rule)
        if due is not None:
            self._in_time(outcome, due, rule)
        self._case.story.proof.add("api")
        return outcome.value

    def expect_open(self, *, rule: str | None = None) -> None:
        """It must not have ended yet. Raises Mismatch."""
        outcome = self._case.outcome(self._call, self._case.clock.now())
        self.require_told(outcome)
        if outcome is not None and outcome.error != _OPEN:
            self._case.step("api", f"{self._call.name}() -> {outcome}", "unexpected")
            raise self._wrong(f"{self._call.name}() {_OPEN}", f"{self._call.name}() -> {outcome}", rule)

    def expect_none(self, *, rule: str | None = None) -> None:
        """It must not have ended yet, and what comes later is for others, told or not. Raises Mismatch."""
        try:
            self.expect_open(rule=rule)
        finally:
            self.withdraw()

    def withdraw(self) -> None:
        """Ask for its outcome no more: what comes later is left for the calls to come."""
        self._case.stop(self._call)

    def require_told(self, outcome: Outcome | None, wanted: str = "done") -> None:
        """Raise Unseen where the upper tester does not tell what the case wants to know.

        That is an outcome of which it says nothing, or which of several errors it is: errno names have no underscore.
        """
        reason = str(getattr(self._call, "cannot_tell", ""))
        if outcome is None and reason:
            raise Unseen(reason)
        if outcome is not None and wanted != "done":
            _require_name(self._call.name, outcome, wanted)

    def _in_time(self, outcome: Outcome, due: After, rule: str | None) -> None:
        start = due.since or self.begun
        what = f"{self._call.name}() -> {outcome.error or 'done'}"
        check = self._case.check_time(what, due, start, self._case.moment(outcome.at_ns))
        if not check.kept:
            began = start.stamp_ns or 0
            raise self._wrong(f"{what} after {(check.earliest_ns - began) / SECOND:.3f} to "
                              f"{(check.latest_ns - began) / SECOND:.3f} s",
                              f"{what} after {(check.got_ns - began) / SECOND:.3f} s", rule)

    def _wrong(self, expected: str, got: str, rule: str | None) -> Exception:
        self._case.story.steps[-1].mark = "mismatch"
        return self._case.mismatch(expected=expected, got=got, rule=rule, fields=("outcome",))


class Connection:
    """A connected (or connecting) socket of the target, and the place that its two streams have reached."""

    def __init__(self, case: Case, handle: object, peer: Peer) -> None:
        self._case = case
        self.handle = handle
        self._peer = peer
        self._sent = case.streams.setdefault(peer.flow, bytearray())
        self._port = peer.flow.target_port
        self._received = 0
        case.handles.append(handle)

    def send(self, data: int | bytes, *, urgent: bool = False, rule: str | None = None) -> int:
        """Have the application send octets of the target's stream (a count) or those given; returns how many it took.

        Raises Mismatch if the call fails.
        """
        if isinstance(data, int):
            data = stream.octets("target", len(self._sent), data)
        name = f"send({len(data)}{', urgent' if urgent else ''})"
        step = self._case.step("api", name)
        outcome = self._hand_over(data, urgent)
        self._called(name, outcome, rule, step)
        taken = outcome.value if isinstance(outcome.value, int) else len(data)
        self._sent += data[:taken]
        return taken

    def _hand_over(self, data: bytes, urgent: bool) -> Outcome:
        """Give the application what it is to send: by its peer, if that is the way to it."""
        feed = self._case.feed
        if feed is None:
            return self._case.upper.send(self.handle, data, urgent=urgent)
        return feed(self._peer, data, urgent)

    def expect_send_error(self, wanted: str, *, rule: str | None = None) -> None:
        """A send must fail at once with this errno name. Raises Mismatch."""
        outcome = self._case.upper.send(self.handle, b"x")
        self._case.step("api", f"send(1) -> {outcome}")
        self._compare("send", wanted, outcome, rule)

    def _called(self, name: str, outcome: Outcome, rule: str | None, step: Step) -> None:
        step.text = f"{name} -> {outcome}"
        if outcome.error:
            step.mark = "mismatch"
            raise self._case.mismatch(expected=f"{name} -> done", got=f"{name} -> {outcome.error}", rule=rule,
                                      fields=("outcome",))

    def _compare(self, name: str, wanted: str, outcome: Outcome, rule: str | None) -> None:
        _require_name(name, outcome, wanted)
        if not _is_one_of(outcome.error, wanted):
            self._case.story.steps[-1].mark = "mismatch"
            raise self._case.mismatch(expected=f"{name}() -> {wanted or 'done'}", got=f"{name}() -> {outcome}",
                                      rule=rule, fields=("outcome",))
        self._case.story.proof.add("api")

    def receive(self, size: int = 65536) -> Pending:
        """Begin to read up to `size` octets."""
        return Pending(self._case, self._case.upper.recv(self.handle, size))

    def expect_data(self, count: int | bytes, *, rule: str | None = None) -> None:
        """The application must be given the next octets of our stream (a count), or those given. Raises Mismatch."""
        wanted = count if isinstance(count, bytes) else stream.octets("injector", self._received, count)
        with self._case.looking(f"what the application is given of {len(wanted)} octets"):
            self._expect_data(wanted, rule)

    def _expect_data(self, wanted: bytes, rule: str | None) -> None:
        got = b""
        while len(got) < len(wanted):
            outcome = self.receive(len(wanted) - len(got)).outcome()
            if outcome is None or outcome.error:
                break
            if outcome.value == wanted:
                got = wanted
            elif outcome.value:
                got += outcome.value
            else:
                break
        self._received += len(got)
        if got != wanted:
            self._case.story.steps[-1].mark = "mismatch"
            raise self._case.mismatch(expected=f"{len(wanted)} octets for the application",
                                      got=f"{len(got)} octets{'' if wanted.startswith(got) else ', others than sent'}",
                                      rule=rule, fields=("payload",))
        self._case.story.proof.add("api")

    def expect_no_data(self, *, rule: str | None = None) -> None:
        """The application must have nothing to read, not even the end of the stream. Raises Mismatch.

        Where that is not told, the target must not acknowledge anything later than at once, for which a connection has
        half a second (RFC 9293, MUST-40).
        """
        with self._case.looking("that the application is given nothing"):
            try:
                self.receive().expect_none(rule=rule)
            except Unseen:
                if not self._case.in_preamble:
                    self._peer.expect_silence(for_s=_LATEST_ACK_S, rule=rule)
                raise

    def reading_matters(self) -> None:
        """From here on it matters when the application reads. Raises NotApplicable if it reads by itself."""
        if self._case.autonomous:
            raise NotApplicable("needs an application that reads when it is told to; this one acts by itself")

    def expect_end(self, *, rule: str | None = None) -> None:
        """The application must be told that our stream has ended. Raises Mismatch."""
        with self._case.looking("that the application is told of the end"):
            self._expect_end(rule)

    def _expect_end(self, rule: str | None) -> None:
        pending = self.receive()
        outcome = pending.outcome()
        pending.require_told(outcome)
        if outcome is None or outcome.error or outcome.value != b"":
            self._case.story.steps[-1].mark = "mismatch"
            got = f"recv() {_OPEN}" if outcome is None else f"recv() -> {outcome}"
            raise self._case.mismatch(expected="recv() -> end of stream", got=got, rule=rule, fields=("outcome",))
        self._case.story.proof.add("api")

    def expect_error(self, wanted: str, due: After | None = None, *, within_s: float | None = None,
                     rule: str | None = None) -> None:
        """A read must fail with this errno name. Raises Mismatch."""
        began = self._case.moment()
        with self._case.looking(f"that a read fails with {wanted}"):
            try:
                self.receive().expect(wanted, due, within_s=within_s, rule=rule)
            except Unseen:
                if due is not None:  # what follows in the case is about a time when that is over
                    _, latest = self._case.timing.window(due)
                    self._case.wait_until(((due.since or began).stamp_ns or 0) + latest)
                raise

    def expect_pending_error(self, wanted: str, *, rule: str | None = None) -> None:
        """The error that waits on the socket must be this errno name (or one of several), "" for none.

        Raises Mismatch.
        """
        with self._case.looking("which error waits on the socket"):
            self._expect_pending_error(wanted, rule)

    def _expect_pending_error(self, wanted: str, rule: str | None) -> None:
        got = self._case.upper.pending_error(self.handle)
        kept = _is_one_of(got, wanted)
        self._case.step("api", f"SO_ERROR -> {got or 'none'}", "" if kept else "mismatch")
        if not kept:
            raise self._case.mismatch(expected=f"SO_ERROR {wanted or 'none'}", got=f"SO_ERROR {got or 'none'}",
                                      rule=rule, fields=("outcome",))
        self._case.story.proof.add("api")

    def shutdown(self, half: Half = "write") -> None:
        """Close one half. Raises Mismatch if the call fails."""
        step = self._case.step("api", f"shutdown({half})")
        self._called(step.text, self._case.upper.shutdown(self.handle, half), None, step)

    def close(self, *, linger_s: int | None = None) -> Pending:
        """Close the socket; nobody need ask for the outcome, but by the end of the case it may not be an error."""
        self._case.step("api", "close()" if linger_s is None else f"close(), linger {linger_s} s")
        call = self._case.upper.close(self.handle, linger_s=linger_s)
        self._case.closings += [call] if linger_s is None else []
        return Pending(self._case, call)

    def abort(self) -> None:
        """ABORT of RFC 9293, 3.9.1.5."""
        step = self._case.step("api", "abort()")
        self._called(step.text, self._case.upper.abort(self.handle), None, step)

    def set_option(self, name: str, value: int) -> None:
        """Set a socket option by name. Raises Mismatch if the target refuses it."""
        step = self._case.step("api", f"setsockopt({name}, {value})")
        self._case.changed[self._port].add(name)
        self._called(step.text, self._case.upper.set_option(self.handle, name, value), None, step)

    def information(self) -> Mapping[str, Any]:
        """What the target tells of the connection's variables."""
        return self._case.upper.information(self.handle)


class Listener:
    """A listening socket of the target."""

    def __init__(self, case: Case, handle: object, port: int) -> None:
        self._case = case
        self.handle = handle
        self.port = port
        case.handles.append(handle)

    def accept(self, peer: Peer, *, rule: str | None = None) -> Connection:
        """The application's next connection, which must be there in an answer's time. Raises Mismatch."""
        handle: object = None
        with self._case.looking("whether the application is given the connection"):
            handle = Pending(self._case, self._case.upper.accept(self.handle)).expect("done", rule=rule)
        return Connection(self._case, handle, peer)

    def accepting(self) -> Pending:
        """Begin to accept."""
        return Pending(self._case, self._case.upper.accept(self.handle))

    def expect_none(self, *, rule: str | None = None) -> None:
        """No connection may be waiting. Raises Mismatch."""
        with self._case.looking("that the application is given no connection"):
            self.accepting().expect_none(rule=rule)

    def expect_listening(self, *, rule: str | None = None) -> None:
        """The target must still listen; one that cannot be asked has to answer a SYN. Raises Mismatch."""
        try:
            listens = self._case.upper.listening(self._case.addresses.target, self.port)
        except Unseen as unseen:
            self._case.note(f"{unseen}: a SYN shows it")
            self._expect_answer(rule)
            return
        if not listens:
            raise self._case.mismatch(expected="state LISTEN", got="no listener", rule=rule, fields=("state",))
        self._case.story.proof.add("api")

    def _expect_answer(self, rule: str | None) -> None:
        """A SYN of another end of ours is answered, and the connection given up. Raises Mismatch."""
        probe = self._case.peer(target_port=self.port)
        probe.send("S 0:0(0) win 65535 <mss 1460>")
        probe.expect("S. 0:0(0) ack 1 <...>", rule=rule)
        probe.send("R 1:1(0)")
        self._case.forget(probe)

    @property
    def half_open(self) -> int:
        """Connections of this listener that are in SYN-RECEIVED, as the target counts them."""
        return self._case.upper.half_open(self.port)

    def close(self) -> None:
        """Stop listening."""
        self._case.step("api", f"close() of the listener on {self.port}")
        self._case.upper.close(self.handle)


class Application:
    """The target's application of one case."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def listen(self, port: int | None = None, *, backlog: int = 16,
               options: Mapping[str, int] | None = None) -> Listener:
        """Listen on a port of the target (None: a fresh one, or the one that is open if no other can be opened)."""
        port = self._case.listening_port() if port is None else port
        handle = self._case.upper.listen(self._case.addresses.target, port, backlog=backlog, options=options or {})
        self._case.step("api", f"listen({backlog}) on port {port}")
        self._case.changed[port].update(options or ())
        return Listener(self._case, handle, port)

    def connect(self, peer: Peer, *, options: Mapping[str, int] | None = None) -> tuple[Connection, Pending]:
        """Begin a connection from the target's end of this peer's four-tuple: the socket, and the call."""
        flow: Flow = peer.flow
        handle, call = self._case.upper.connect(flow, options=options or {})
        if getattr(call, "chooses_port", False):
            self._case.await_syn(peer)
        self._case.step("api", f"connect() to port {flow.local_port}")
        self._case.changed[flow.target_port].update(options or ())
        peer.connecting = Pending(self._case, call)
        return Connection(self._case, handle, peer), peer.connecting
