# SPDX-License-Identifier: GPL-2.0-or-later
"""Our end of one connection: it sends what a case says, and holds what comes against what the case expects."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..wire import seq as arithmetic
from ..wire.clock import SECOND
from ..wire.codec import encode
from ..wire.errors import ScriptError
from ..wire.notation import render
from ..wire.segment import ACK, PSH, RST, SYN, Flow, Segment
from . import stream
from .asking import require_state, require_to_last
from .draft import drafted, name_of, own_segment
from .injector import Transmission
from .matching import Pattern, Spec, describe, differences, pattern_of
from .oracle import Oracle
from .probe import Account, prove_state, shown_state
from .repetition import History
from .timing import After, Stamped
from .verdict import NOTHING_MORE, Step

if TYPE_CHECKING:
    from .case import Case

DEFAULT_WINDOW: Final = 65535

_FORM: Final = "RFC9293-U-RST-CLOSED-ACK"
"""The rule of what a reset looks like that answers a segment with ACK."""


class Opening(Protocol):
    """A call of the target's application that may still be under way."""

    def expect_open(self, *, rule: str | None = None) -> None:
        """It must not have ended yet. Raises Mismatch."""


@dataclass(slots=True, kw_only=True)
class Arrival:
    """A segment that came, and its line in the story."""

    segment: Segment
    step: Step


class Peer:
    """One end of a connection with the target.

    Numbers in the notation are relative: ours to `iss`, the target's to `irs`, which is the number of its SYN; until
    one has been seen, the target's numbers are absolute. `send_next` and `receive_next` are absolute.
    """

    def __init__(self, case: Case, flow: Flow, *, iss: int) -> None:
        self.case = case
        self.flow = flow
        self.iss = iss
        self.irs: int | None = None
        self.window = DEFAULT_WINDOW
        self.send_next = iss
        self.receive_next = 0
        self.last: Stamped | None = None
        self.account = Account()
        self.connecting: Opening | None = None
        """The target's call that opens this connection, if it is the one that does."""
        self._inbox: deque[Arrival] = deque()
        self._history = History()
        self.inserted: Transmission | None = None
        """The last octets that were inserted."""
        self.echo_ns: int | None = None
        """How soon the target has answered such octets with its own, if it has."""
        self.opened = False
        """True once we have sent a SYN."""
        self._repeats_count = False
        self._oracle = Oracle(flow, case.injector.link.mtu)
        self._fingerprint = case.fingerprint(flow)

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, what: Any, **fields: Any) -> Transmission:
        """Send a segment: in the notation, as a `Segment` (None: default), or as scapy's packet or octets of IP.

        `fields` override those of a `Segment`; None means the default. A payload that is not given is our stream's at
        that place. Raises ScriptError if it cannot be built, LinkError if not sent.
        """
        segment: Segment | None
        if isinstance(what, (str, Segment)):
            segment = self._segment(what, fields)
            packet = encode(segment, self.flow)
        else:
            packet = bytes(what)
            segment = own_segment(packet, self.flow.local_port)
        text = name_of(packet) if segment is None else self._ours(segment)
        if segment is not None:
            self.case.foresee(self, segment)
        transmission = self.case.injector.send_packet(packet, step=self.case.step("injector", text), segment=segment)
        self._follow(segment, transmission)
        self.last = transmission
        return transmission

    def packet(self, what: str | Segment, **fields: Any) -> tuple[Segment, bytes]:
        """What `send` would send, unsent: for what goes out in another form, such as fragments. Raises ScriptError."""
        segment = self._segment(what, fields)
        self.case.foresee(self, segment)
        return segment, encode(segment, self.flow)

    def sent(self, segment: Segment, transmission: Transmission) -> None:
        """Take note that a segment of `packet` has gone out, the last of it with this transmission."""
        self._follow(segment, transmission)
        self.last = transmission

    def _segment(self, what: str | Segment, fields: dict[str, Any]) -> Segment:
        draft = drafted(what, seq_base=self.iss, ack_base=self.irs or 0)
        if fields:
            draft = replace(draft, **fields)
        return replace(
            draft,
            seq=self.send_next if draft.seq is None else draft.seq,
            ack=(self.receive_next if draft.has(ACK) else 0) if draft.ack is None else draft.ack,
            window=self.window if draft.window is None else draft.window,
        )

    def _follow(self, segment: Segment | None, transmission: Transmission) -> None:
        if segment is None:
            return
        self._oracle.sent(segment)
        self._fingerprint.sent(segment)
        self.account.sent(segment)
        if not segment.has(RST):
            end = arithmetic.add(segment.seq or 0, segment.length)
            self.send_next = arithmetic.latest(self.send_next, end)
        self.opened = self.opened or segment.has(SYN)
        # Before our SYN nothing acknowledges anything: a target in SYN-SENT has to drop it (RFC 9293, 3.10.7.3).
        if segment.has(ACK) and self.opened and not self.account.has_to_drop(segment):
            self._history.acknowledged(segment.ack or 0, transmission)

    def insert(self, segment: Segment) -> None:
        """Send octets that are no part of what the case sends: its numbers go on behind them, and time from before."""
        transmission = self.case.injector.send_packet(
            encode(segment, self.flow), step=self.case.step("injector", self._ours(segment)), segment=segment)
        self._follow(segment, transmission)
        self.iss = arithmetic.add(self.iss, segment.length)
        self.inserted = transmission

    def _ours(self, segment: Segment) -> str:
        return render(segment, seq_base=self.iss, ack_base=self.irs or 0)

    def _theirs(self, segment: Segment) -> str:
        return render(segment, seq_base=self.irs or 0, ack_base=self.iss)

    # -- what arrives ------------------------------------------------------------------------------------------------

    def deliver(self, segment: Segment) -> str:
        """Take a segment off the wire; the oracle looks at it at once, the case when it expects something."""
        if segment.has(SYN) and not segment.has(RST) and self.irs is None:
            self.irs = segment.seq
            self.receive_next = segment.seq or 0
        text = self._theirs(segment)
        step = self.case.step("target", text)
        step.at_ns = segment.stamp_ns or step.at_ns
        self._inbox.append(Arrival(segment=segment, step=step))
        self.account.came(segment)
        for violation in self._oracle.judge(segment):
            level = self.case.level_of(violation.requirement)
            self.case.violation(requirement=violation.requirement, level=level, expected=violation.expected, got=text,
                                fields=violation.fields, step=len(self.case.story.steps) - 1)
        for unlike in self._fingerprint.judge(segment):
            self.case.unlike(unlike)
        return text

    def _next(self, until: int) -> Arrival | None:
        while not self._inbox:
            if self.case.injector.wait(until) is None:
                return None
        return self._inbox.popleft()

    def _accept(self, arrival: Arrival) -> Segment:
        segment = arrival.segment
        self._history.came(segment)
        self.last = segment
        if not segment.has(RST):
            end = arithmetic.add(segment.seq or 0, segment.length)
            self.receive_next = arithmetic.latest(self.receive_next, end)
        return segment

    def _repeated_because_we_were_late(self, segment: Segment) -> bool:
        """True if it says something about our haste, and nothing about the target's conformance; see `repetition`."""
        if self._repeats_count or not segment.length or segment.has(RST):
            return False
        shortest = round(self.case.profile.timer("probe_timeout_min_s") * SECOND)
        return self._history.repeated_because_we_were_late(segment, self.case.injector, shortest)

    @property
    def repetitions(self) -> int:
        """How many have been set aside because we were late; a target sends less at a time then (RFC 5681, 3.1)."""
        return self._history.hasty

    def count_repeats(self) -> None:
        """From here on a repetition is a segment like any other: the case is about when and how often one comes."""
        self._repeats_count = True

    # -- expecting ---------------------------------------------------------------------------------------------------

    def expect(self, what: Spec, due: After | None = None, *, within_s: float | None = None,
               allow: Iterable[Spec] = (), rule: str | None = None, **wild: Any) -> Segment:
        """The next segment of the target on this connection has to be this one.

        `due` (`after(T)`) asserts when it comes; else `within_s` bounds the wait (None: the profile's time for an
        answer). `allow` lists segments that may come before, each once (`[X] * 3`: three
        times). `rule` names the requirement a mismatch is held against.
        `wild` overrides fields, None meaning *don't care*. Raises Mismatch.
        """
        return self.expect_one_of([what], due, within_s=within_s, allow=allow, rule=rule, **wild)

    def expect_one_of(self, choices: Sequence[Spec], due: After | None = None, *, within_s: float | None = None,
                      allow: Iterable[Spec] = (), rule: str | None = None, **wild: Any) -> Segment:
        """The next segment has to be one of several answers that the rule leaves open. See `expect`."""
        return self._expected(choices, due, within_s=within_s, allow=allow, rule=rule, wild=wild)[0]

    def expect_gone(self, reset: Spec, *, rule: str | None = None, form: str = _FORM) -> Segment:
        """There is no connection any more: what was sent last has to be reset, and in this form.

        Any reset proves that nothing is left, which is what `rule` is about. What a reset looks like is a rule of its
        own (RFC 9293, 3.5.2), `form`: one of another form is a finding of the oracle's, and the case goes on. Raises
        Mismatch if there is no reset.
        """
        came, fields = self._expected([reset], None, rule=rule, any_reset=True)
        if fields:
            self.case.violation(requirement=form, level=self.case.level_of(form), fields=fields, state="CLOSED",
                                expected=self._described([self._pattern(reset, {})]), got=self._theirs(came),
                                step=len(self.case.story.steps) - 1)
        return came

    def _expected(self, choices: Sequence[Spec], due: After | None, *, within_s: float | None = None,
                  allow: Iterable[Spec] = (), rule: str | None, wild: Mapping[str, Any] | None = None,
                  any_reset: bool = False) -> tuple[Segment, list[str]]:
        """The segment that came, and in what it differs: in nothing, unless any reset will do."""
        start = due.since if due is not None and due.since is not None else self.last
        until = self._until(due, start, within_s)
        allowed = list(allow)
        while True:
            arrival = self._next(until)
            patterns = [self._pattern(choice, wild or {}) for choice in choices]
            if arrival is None:
                raise self._missing(patterns, due, rule)
            segment = arrival.segment
            unlike = [self._unlike(pattern, segment) for pattern in patterns]
            if [] in unlike or (any_reset and segment.has(RST)):
                break
            if self._take_allowed(allowed, segment):
                arrival.step.mark = "allowed"
                self._accept(arrival)
            elif self._repeated_because_we_were_late(segment):
                arrival.step.mark = "allowed"
            else:
                raise self._different(arrival, patterns, unlike, rule)
        self.case.story.proof.add("wire")
        accepted = self._accept(arrival)
        if due is not None and start is not None:
            self._in_time(arrival, due, start, rule)
        elif within_s is None:
            self.case.prompt(accepted, arrival.step)
        return accepted, min(unlike, key=len)

    def observe(self, within_s: float) -> Segment | None:
        """The next segment, whatever it is, or None if none comes by then: for who measures, and demands nothing."""
        arrival = self._next(self.case.deadline(within_s))
        return None if arrival is None else self._accept(arrival)

    def _until(self, due: After | None, start: Stamped | None, within_s: float | None) -> int:
        if due is None:
            return self.case.deadline(within_s)
        if start is None:
            raise ScriptError("after(): nothing has happened yet on this connection; name what it counts from (since=)")
        self.case.injector.stamp()
        _, latest = self.case.timing.window(due)
        # The wait itself is generous, so that what comes late is shown as late and not as missing.
        return (start.stamp_ns or 0) + latest + max(self.case.response_ns, latest // 2)

    def _pattern(self, what: Spec, wild: Mapping[str, Any]) -> Pattern:
        return pattern_of(what, wild, seq_base=self.irs or 0, ack_base=self.iss)

    def _unlike(self, pattern: Pattern, segment: Segment) -> list[str]:
        return list(differences(pattern, segment, self._due(segment), last=self._is_last(segment)))

    def _lacks_push(self, segment: Segment, patterns: Sequence[Pattern]) -> bool:
        """True if it ends what the application has sent, and PSH is all that it lacks."""
        if not self._is_last(segment) or segment.has(PSH):
            return False
        pushed = replace(segment, flags=(segment.flags or 0) | PSH)
        return any(not self._unlike(pattern, pushed) for pattern in patterns)

    def _is_last(self, segment: Segment) -> bool:
        """True if the segment carries the last octet that the application has sent so far."""
        sent = self.case.streams.get(self.flow)
        if not sent or self.irs is None or not segment.payload:
            return False
        return arithmetic.diff(arithmetic.add(segment.seq or 0, len(segment.payload)), self.irs) - 1 == len(sent)

    def _due(self, segment: Segment) -> bytes | None:
        """What the target's application has sent at this segment's place, None if the case did not have it send."""
        sent = self.case.streams.get(self.flow)
        if sent is None or self.irs is None or not segment.payload:
            return None
        start = arithmetic.diff(segment.seq or 0, self.irs) - 1
        return bytes(sent[start:start + len(segment.payload)]) if start >= 0 else None

    def _in_time(self, arrival: Arrival, due: After, start: Stamped, rule: str | None) -> None:
        check = self.case.check_time(arrival.step.text, due, start, arrival.segment)
        if not check.kept:
            arrival.step.mark = "mismatch"
            began = start.stamp_ns or 0
            raise self.case.mismatch(
                expected=f"{arrival.step.text} after {(check.earliest_ns - began) / SECOND:.3f} to "
                         f"{(check.latest_ns - began) / SECOND:.3f} s",
                got=f"{arrival.step.text} after {(check.got_ns - began) / SECOND:.3f} s",
                rule=rule, fields=("time",), state=self._shown_state, step=arrival.step)

    def _missing(self, patterns: Sequence[Pattern], due: After | None, rule: str | None) -> Exception:
        wanted = self._described(patterns)
        when = f" after {due.due_s:g} s" if due is not None else ""
        self.case.step("note", f"missing: {wanted}{when}", "missing")
        return self.case.mismatch(expected=wanted + when, got="nothing", rule=rule, state=self._shown_state)

    def _different(self, arrival: Arrival, patterns: Sequence[Pattern], unlike: Sequence[list[str]],
                   rule: str | None) -> Exception:
        arrival.step.mark = "mismatch"
        fields = min(unlike, key=len)
        detail = ""
        if "payload" in fields:
            came, due = arrival.segment.payload or b"", self._due(arrival.segment) or b""
            detail = f"payload {came[:32]!r}, due {due[:32]!r}"
        elif self._lacks_push(arrival.segment, patterns):
            detail = "the last octets that the application has sent come without PSH (RFC 9293, MUST-61)"
        return self.case.mismatch(expected=self._described(patterns), got=arrival.step.text, rule=rule, fields=fields,
                                  state=self._shown_state, detail=detail, step=arrival.step)

    def _described(self, patterns: Sequence[Pattern]) -> str:
        return " or ".join(describe(pattern, seq_base=self.irs or 0, ack_base=self.iss) for pattern in patterns)

    def expect_silence(self, for_s: float = 0.0, *, allow: Iterable[Spec] = (), rule: str | None = None) -> None:
        """The target must not answer on this connection, and is proven alive by a sentinel afterwards.

        With `for_s` that much of the target's time passes first: only for silence that a timer could break. Raises
        Mismatch for an answer, Inconclusive if the sentinel is not answered.
        """
        if for_s:
            self.case.pause(for_s)
        self.case.sentinel()
        self._nothing_left("silence", allow, rule)
        self.case.story.proof.add("sentinel")

    def _nothing_left(self, expected: str, allow: Iterable[Spec], rule: str | None, *, stray: bool = False) -> None:
        allowed = list(allow)
        while self._inbox:
            arrival = self._inbox.popleft()
            if self._take_allowed(allowed, arrival.segment):
                arrival.step.mark = "allowed"
                self._accept(arrival)
                continue
            if self._repeated_because_we_were_late(arrival.segment):
                arrival.step.mark = "allowed"
                continue
            arrival.step.mark = "unexpected"
            raise self.case.mismatch(expected=expected, got=arrival.step.text, rule=rule, state=self._shown_state,
                                     step=arrival.step, stray=stray)

    def _take_allowed(self, allowed: list[Spec], segment: Segment) -> bool:
        """True if the segment is one of those that may come; each of them once."""
        for at, other in enumerate(allowed):
            if not self._unlike(self._pattern(other, {}), segment):
                del allowed[at]
                return True
        return False

    def state(self) -> str:
        """The connection's state as the target tells it; if it cannot be asked, as its segments say so far."""
        return str(self.case.upper.state(self.flow)) or self.account.state()

    def _shown_state(self) -> str:
        """The state behind a mismatch, where nothing can be disturbed any more: who cannot be asked is probed."""
        return str(self.case.upper.state(self.flow)) or shown_state(self)

    def answer(self) -> Segment | None:
        """Take the next segment as it is, None if there is none in an answer's time; for what is no step of a case."""
        arrival = self._next(self.case.deadline())
        if arrival is None:
            return None
        arrival.step.mark = "allowed"
        return self._accept(arrival)

    @property
    def waiting(self) -> list[Segment]:
        """What has come that nobody has looked at."""
        return [arrival.segment for arrival in self._inbox]

    def take_bare_acknowledgement(self, ack: int, places: Container[int | None]) -> None:
        """Take away the first segment that does nothing but acknowledge this number, at one of those places."""
        for arrival in self._inbox:
            segment = arrival.segment
            if segment.flags == ACK and not segment.payload and segment.ack == ack and segment.seq in places:
                arrival.step.mark = "allowed"
                self._inbox.remove(arrival)
                return

    @property
    def unread(self) -> int:
        """So many segments have come that nobody has looked at."""
        return len(self._inbox)

    def expect_state(self, state: str, *, rule: str | None = None) -> None:
        """The target itself must say that the connection is in this state (RFC 9293, 3.3.2).

        If it says something else at first, a sentinel makes sure that it has dealt with all we sent. A target that
        cannot be asked has to show it in its answer to a probe; on the way to where a case begins, where no probe may
        disturb, the segments that have come say enough. Raises Mismatch.
        """
        got = self.case.upper.state(self.flow)
        if got:
            require_state(self, got, state, rule)
        elif not self.case.in_preamble:
            prove_state(self, state, rule)

    def expect_to_last(self, state: str, due: After, *, rule: str | None = None) -> None:
        """The connection must be in this state until `due` and gone afterwards, as the target itself says.

        Nothing on the wire tells when a state ends, and a probe may start its timer anew, so the target is asked: some
        times before, when the state may end at the earliest, and when it has to be over. On a busy machine a question
        may be late; it counts for the instant at which it was asked. Raises Mismatch.
        """
        require_to_last(self, state, due, rule)

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Nothing may be left that the case did not expect. Raises Mismatch."""
        self._nothing_left(NOTHING_MORE, (), None, stray=True)

    def leave_unread(self, after_ns: int) -> None:
        """Look at nothing any more that came after this instant, in nanoseconds."""
        self._inbox = deque(arrival for arrival in self._inbox if (arrival.segment.stamp_ns or 0) <= after_ns)

    def reset_leftover(self) -> None:
        """Reset what the case left of this connection on the target, so that it does not disturb the next.

        A reset counts at the number that the target expects alone (RFC 9293, 3.10.7.4): the next of ours, or where the
        case has sent what was not taken, the last that the target has acknowledged. In SYN-SENT it counts if it
        acknowledges the SYN (3.10.7.3).
        """
        gone = ("CLOSED", "TIME-WAIT")
        if (self.irs is None and not self.opened) or self.case.upper.state(self.flow) in gone:
            return
        syn = self.account.bare_syn
        acked = self.send_next if self.account.acked is None else self.account.acked
        for number in dict.fromkeys((self.send_next, acked)):
            reset = Segment(flags=RST if syn is None else RST | ACK, seq=number, ack=syn or 0)
            self.case.injector.send_packet(encode(reset, self.flow))

    def stream(self, start: int, end: int) -> bytes:
        """Our octets from relative number `start` up to `end` (1 is the first after the SYN)."""
        return stream.octets("injector", start - 1, end - start)

