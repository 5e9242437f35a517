# SPDX-License-Identifier: GPL-2.0-or-later
"""One case while it runs: its peers, its socket calls, what arrives for whom, and its end.

A case is a closed world (DESIGN, rule 2): whatever arrives for one of its connections has to be expected by somebody,
and `Case.finish` looks at what nobody expected and at what the oracle found.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Protocol

from ..requirements.catalogue import Requirement
from ..upper.base import NotApplicable, UpperTester
from ..wire import ip
from ..wire.clock import SECOND, Outcome
from ..wire.errors import HarnessError, ScriptError
from ..wire.frame import Frame
from ..wire.icmp import IcmpMessage, decode_icmp
from ..wire.ip import Packet
from ..wire.notation import render
from ..wire.segment import ACK, SYN, Flow, Segment
from .ends import Addresses, Ports
from .fingerprint import Pins, judge_icmp
from .injector import Injector, Transmission
from .narrator import Narrator
from .peer import Peer
from .sentinel import prove_alive
from .timing import Timing
from .verdict import NOTHING_MORE, Mismatch, Step

_WRAPPING_ROOM: Final = 80
_IP_CHECKSUM: Final = "RFC1122-IP-CKSUM"
_MALFORMED: Final = "RFC791-IHL-1"
_AT_ONCE_NS: Final = 1_000_000


class Values(Protocol):
    """What a case wants to know of the target's profile."""

    def timer(self, name: str) -> float:
        """A time in seconds, by its own or its well-known name."""

    def limit(self, name: str) -> int:
        """A count, by its own or its well-known name."""

    def sentinel(self) -> str:
        """By what the target proves that it is alive: `closed-port` or `echo`."""

    def pins(self, *, ipv6: bool) -> Pins:
        """What the target is known by in one IP family."""


Foresee = Callable[[Peer, Segment], None]
"""Looks at a segment before it is sent; raises NotApplicable if nothing can be said of what comes of it."""


Feed = Callable[[Peer, bytes, bool], Outcome]
"""Has an application send octets that its peer brings to it; the last argument is whether they are urgent."""


class Case(Narrator):
    """One run of one case, which tells its own story.

    `seed` and the case's own name choose the initial sequence numbers. `response_ns` is how long an answer that is due
    at once may take, in nanoseconds. `foresee` is told each segment of a peer before it is sent: it comes with an
    application that acts by itself. `feed` is how that one is made to send, if it can be.
    """

    def __init__(self, *, name: str, injector: Injector, upper: UpperTester, profile: Values, timing: Timing,
                 addresses: Addresses, ports: Ports, requirements: Mapping[str, Requirement], seed: int = 0,
                 observer: Callable[[Step], None] | None = None, foresee: Foresee | None = None,
                 feed: Feed | None = None) -> None:
        super().__init__(injector=injector, timing=timing, requirements=requirements,
                         pins=profile.pins(ipv6=len(addresses.target) == 16), observer=observer)
        self.name = name
        self.upper = upper
        self.profile = profile
        self.addresses = addresses
        self.feed = feed
        self.response_ns = round(profile.timer("response_s") * SECOND)
        self.streams: dict[Flow, bytearray] = {}
        self.trace: list[tuple[Frame, str]] = []
        self.handles: list[object] = []
        self.closings: list[object] = []
        self.lets_close = False
        self._ports = ports
        self._seed = seed
        self._foresee = foresee
        self._own_ports: set[int] = set()
        self._peers: dict[Flow, Peer] = {}
        self._awaiting: list[Peer] = []
        self._chosen: set[Flow] = set()
        self._icmp: list[tuple[IcmpMessage, Step]] = []
        self._others: list[Step] = []
        self._calls: list[Any] = []
        self.began_ns = self.clock.now()
        self.clock.forget_lateness()
        injector.begin(self)

    # -- ends of the connection -------------------------------------------------------------------------------------

    def port(self) -> int:
        """A fresh port number of the target's."""
        port = self._ports.take()
        self._own_ports.add(port)
        return port

    def our_port(self) -> int:
        """A fresh port number of ours: none that an earlier peer has had, though its connection may be left."""
        port = self._ports.take_ours()
        self._own_ports.add(port)
        return port

    def listening_port(self) -> int:
        """The port of the target to listen on: a fresh one, unless there is but one that it listens on."""
        return self.port() if self._ports.listening is None else self._ports.listening

    @property
    def forged(self) -> IPv4Network | IPv6Network:
        """Where forged segments may come from. Raises NotApplicable if they may come from nowhere."""
        if self.addresses.forged is None:
            raise NotApplicable("needs forged sources: the target has no network for them")
        return self.addresses.forged

    def initial_number(self) -> int:
        """Our next initial sequence number: a little before 2**32, so that every exchange wraps (RFC 9293, 3.4)."""
        digest = zlib.crc32(f"{self._seed}/{self.name}/{len(self._peers)}".encode())
        return (1 << 32) - 1 - digest % _WRAPPING_ROOM

    def peer(self, *, target_port: int | None = None, local_port: int | None = None, local: bytes | None = None,
             iss: int | None = None) -> Peer:
        """Another end of ours: by default fresh ports on both sides and an initial sequence number that wraps."""
        flow = Flow(
            local=local or self.addresses.local,
            local_port=self.our_port() if local_port is None else local_port,
            target=self.addresses.target,
            target_port=self.port() if target_port is None else target_port,
        )
        if flow in self._peers:
            raise ScriptError(f"peer {flow.local_port} -> {flow.target_port}: exists in this case already")
        self._peers[flow] = Peer(self, flow, iss=self.initial_number() if iss is None else iss)
        if target_port is not None:
            self._chosen.add(flow)
        return self._peers[flow]

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The connections of our ends."""
        return tuple(self._peers)

    def has_half_open(self, *, but: Peer) -> bool:
        """True if the target waits for the third segment of another connection of this case."""
        return any(peer is not but and peer.account.state() == "SYN-RECEIVED" for peer in self._peers.values())

    def await_syn(self, peer: Peer) -> None:
        """The target chooses its own port: this peer's connection is the one whose SYN comes next to our port.

        Raises NotApplicable if the case has chosen it.
        """
        if peer.flow in self._chosen:
            raise NotApplicable("needs a target whose port is the case's to choose; this one chooses it itself")
        self._awaiting.append(peer)

    def forget(self, peer: Peer) -> None:
        """Make room for another peer on the same four-tuple; nothing may be left unread on this one."""
        peer.finish()
        del self._peers[peer.flow]

    @property
    def autonomous(self) -> bool:
        """True if the target's application does what nobody here has told it to."""
        return self._foresee is not None

    @contextlib.contextmanager
    def letting_close(self) -> Iterator[None]:
        """Inside, an application that acts by itself may close when it is told the end of our stream."""
        self.lets_close = True
        try:
            yield
        finally:
            self.lets_close = False

    def foresee(self, peer: Peer, segment: Segment) -> None:
        """A segment is about to be sent. Raises NotApplicable if the target's application would not stand it."""
        if self._foresee is not None:
            self._foresee(peer, segment)

    # -- what arrives ------------------------------------------------------------------------------------------------

    def take_segment(self, flow: Flow, segment: Segment, frame: Frame) -> str:
        """A segment of the target: to its peer; to nobody's connection, it is a stray of ours or of an earlier case."""
        peer = self._peers.get(flow) or self._opened_by(flow, segment)
        if peer is not None:
            return peer.deliver(segment)
        if not self._owns(flow):
            return ""
        text = render(segment)
        step = self.step("target", f"{text}  (ports {flow.target_port} > {flow.local_port})")
        self._others.append(step)
        return text

    def _opened_by(self, flow: Flow, segment: Segment) -> Peer | None:
        """The peer that waits for this SYN, which from now on is at the port that the SYN came from."""
        if not segment.has(SYN) or segment.has(ACK):
            return None
        for peer in self._awaiting:
            if replace(peer.flow, target_port=flow.target_port) == flow:
                self._awaiting.remove(peer)
                del self._peers[peer.flow]
                self._peers[flow] = peer
                self._own_ports.add(flow.target_port)
                peer.flow = flow
                return peer
        return None

    def _owns(self, flow: Flow) -> bool:
        return flow in self._peers or flow.target_port in self._own_ports or flow.local_port in self._own_ports

    def concerns(self, packet: Packet) -> bool:
        """True if a packet is about this case, and no stray of an earlier one, nor the target's own affair."""
        if packet.fragment or packet.protocol not in (ip.TCP, ip.ICMP, ip.ICMPV6):
            return True
        if packet.protocol == ip.TCP:
            if len(packet.payload) < 4:
                return True
            target_port, local_port = struct.unpack_from(">HH", packet.payload)
            return self._owns(Flow(local=packet.destination, local_port=local_port, target=packet.source,
                                   target_port=target_port))
        message = decode_icmp(packet)
        if message is None or message.neighbour_discovery:
            return False
        return not self._is_of_another(message)

    def _is_of_another(self, message: IcmpMessage) -> bool:
        """True of an error about what another case has sent: it has other ports, or fragments by other numbers.

        What tells fragments apart are port numbers of the case as well (`forge.datagram`).
        """
        number = message.quoted_identification
        known = message.quoted_ports or (() if number is None else (number,))
        return bool(known) and self._own_ports.isdisjoint(known)

    def take_icmp(self, message: IcmpMessage, packet: Packet) -> str:
        """An ICMP message of the target; an error about what an earlier case sent (a late time-out) is a stray."""
        if self._is_of_another(message):
            return ""
        step = self.step("target", str(message))
        self._icmp.append((message, step))
        if not ip.header_is_good(packet):
            self.violation(requirement=_IP_CHECKSUM, level=self.level_of(_IP_CHECKSUM), got=step.text, fields=("ip",),
                           expected="the right IPv4 header checksum", step=self.story.index(step))
        for unlike in judge_icmp(self.pins, packet):
            self.unlike(unlike, step)
        return step.text

    def take_other(self, packet: Packet) -> str:
        """A fragment, or a protocol that no case speaks."""
        step = self.step("target", f"IP protocol {packet.protocol}{', a fragment' if packet.fragment else ''}, "
                                   f"{len(packet.payload)} octets")
        self._others.append(step)
        return step.text

    def take_malformed(self, frame: Frame) -> str:
        """An IP header that its frame does not bear out: nobody can say whom it is for, so it is everybody's."""
        step = self.step("target", f"malformed IP packet in {len(frame.data)} octets", "unexpected")
        self.violation(requirement=_MALFORMED, level=self.level_of(_MALFORMED), got=step.text, fields=("ip",),
                       expected="IP packets whose header tells their length", step=self.story.index(step))
        return step.text

    # -- waiting -----------------------------------------------------------------------------------------------------

    def deadline(self, within_s: float | None = None) -> int:
        """The instant at which an answer is overdue."""
        return self.clock.now() + (self.response_ns if within_s is None else round(within_s * SECOND))

    def start(self, call: Any) -> None:
        """Let waits bring the outcome of this socket call."""
        self._calls.append(call)
        self.clock.register(call)

    def stop(self, call: Any) -> None:
        """Let waits bring the outcome of this socket call no more."""
        self.clock.unregister(call)
        if call in self._calls:
            self._calls.remove(call)

    def outcome(self, call: Any, until: int) -> Outcome | None:
        """The outcome of a call that was registered, or None if it has none by then."""
        while call not in self.injector.outcomes:
            if self.injector.wait(until) is None and not self._settled(call):
                return None
        outcome = self.injector.outcomes[call]
        if not outcome.at_ns:
            outcome = Outcome(call=call, value=outcome.value, error=outcome.error, at_ns=self.clock.now())
            self.injector.outcomes[call] = outcome
        return outcome

    def _settled(self, call: Any) -> bool:
        """True if a call has an outcome after all: what a device says unasked may be on its way, so it is asked."""
        settle = getattr(call, "settle", None)
        outcome: Outcome | None = settle() if settle is not None else None
        if outcome is None:
            return False
        self.clock.unregister(call)
        self.injector.outcomes[call] = outcome
        return True

    def pause(self, seconds: float) -> None:
        """Let that much of the target's time pass; what arrives meanwhile is kept for the expectations to come."""
        self.wait_until(self.clock.now() + round(seconds * SECOND))

    def wait_until(self, instant: int) -> None:
        """The same, up to an instant in nanoseconds."""
        while self.injector.wait(instant) is not None:
            pass

    # -- other protocols ---------------------------------------------------------------------------------------------

    def send_packet(self, packet: Any, text: str) -> Transmission:
        """Send an IP packet, octets or scapy's, that belongs to no peer."""
        return self.injector.send_packet(bytes(packet), step=self.step("injector", text))

    def expect_no_icmp(self, *, rule: str | None = None) -> None:
        """No ICMP message may have come by now; what waits has to be proven before, by a sentinel. Raises Mismatch."""
        if self._icmp:
            _, step = self._icmp.pop(0)
            raise self.mismatch(expected="no ICMP message", got=step.text, step=step, rule=rule)

    def expect_icmp(self, kind: int, code: int, *, quoting: bytes = b"", rule: str | None = None) -> IcmpMessage:
        """An ICMP message of that type and code; `quoting` must stand in the packet that it quotes."""
        message, step, fields = self._next_icmp(kind, code, quoting)
        if message is None or fields:
            raise self.mismatch(expected=f"ICMP type {kind} code {code}", got=str(message or "nothing"), rule=rule,
                                fields=fields, step=step)
        self.story.proof.add("wire")
        return message

    def advise_icmp(self, kind: int, code: int, *, quoting: bytes = b"", rule: str) -> IcmpMessage | None:
        """As `expect_icmp`, of a message that `rule` only advises: None if it is not so, and the case goes on."""
        message, _, fields = self._next_icmp(kind, code, quoting)
        if message is not None and not fields:
            return message
        self.advise(expected=f"ICMP type {kind} code {code}", got=str(message or "nothing"), rule=rule)
        return None

    def _next_icmp(self, kind: int, code: int, quoting: bytes) -> tuple[IcmpMessage | None, Step, list[str]]:
        """The next message, its line in the story, and what of it is not as wanted; None if there comes none."""
        until = self.deadline()
        while not self._icmp:
            if self.injector.wait(until) is None:
                return None, self.step("note", f"missing: ICMP type {kind} code {code}", "missing"), []
        message, step = self._icmp.pop(0)
        fields = message.unlike(kind, code, quoting)
        step.mark = "mismatch" if fields else step.mark
        return message, step, fields

    # -- proof of life -----------------------------------------------------------------------------------------------

    def sentinel(self) -> None:
        """Prove that path and target are alive: a SYN to a closed port has to be refused.

        The wire keeps its order, so whatever the target sends at once upon an earlier stimulus has arrived by then. A
        target that is known to refuse nothing is sent an echo request instead. Raises Inconclusive without the answer.
        """
        prove_alive(self)

    def finish(self) -> None:
        """Judge what nobody expected and what the oracle saw. Raises Mismatch for the worst of it."""
        self.injector.drain()
        self._nobody_expected()
        for finding in self.story.findings:
            if finding.deviation is None and finding.level.startswith("MUST"):
                raise Mismatch(finding)
        if binding := [finding for finding in self.story.findings if finding.binding]:
            raise Mismatch(binding[0])

    def _nobody_expected(self) -> None:
        for call in self.closings:
            if (outcome := self.outcome(call, 0)) is not None and outcome.error:
                raise self.mismatch(expected="close() -> done", got=f"close() -> {outcome.error}", fields=("outcome",),
                                    stray=True)
        for peer in self._peers.values():
            peer.finish()
        for step in [*(step for _, step in self._icmp), *self._others]:
            step.mark = "unexpected"
            raise self.mismatch(expected=NOTHING_MORE, got=step.text, step=step, stray=True)

    def look_at_the_rest(self) -> None:
        """After a mismatch that the ledger knows: it excuses no segment but its own, so the closed world goes on.

        Records the first segment that nobody expected, and raises nothing. What came later than at once a timer may
        have brought, for which the case would have waited, had it gone on.
        """
        until = (self.story.steps[-1].at_ns if self.story.steps else 0) + _AT_ONCE_NS
        self.injector.drain()
        for peer in self._peers.values():
            peer.leave_unread(until)
        self._icmp = [(message, step) for message, step in self._icmp if step.at_ns <= until]
        self._others = [step for step in self._others if step.at_ns <= until]
        with contextlib.suppress(Mismatch):
            self._nobody_expected()

    def close(self) -> None:
        """End the connections that are left on the target, and take the trace off the injector.

        That is no part of the story any more.
        """
        self.injector.stamp()
        # What an upper tester has had to put up with since the last case, if it is one that tells.
        for remark in getattr(self.upper, "remarks", tuple)():
            self.note(f"upper tester: {remark}")
        story = self.story.closed()
        try:
            self._clean_up()
        finally:
            self.story = story

    def _clean_up(self) -> None:
        try:
            for handle in self.handles:
                with contextlib.suppress(NotApplicable):  # what cannot be aborted is reset by its peer
                    self.upper.abort(handle)
            for peer in self._peers.values():
                peer.reset_leftover()
        finally:
            # A target that fails here fails this case; a call left behind would fail the next ones too.
            for call in self._calls:
                self.clock.unregister(call)
            self.injector.outcomes.clear()
            self._take_trace()

    def _take_trace(self) -> None:
        try:
            self.trace = self.injector.end()
        except HarnessError:
            # What the link has nevertheless kept may show what became of the target.
            self.trace = self.injector.frames()
            raise
