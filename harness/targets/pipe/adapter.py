# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance test of an adapter itself: does a process keep the pipe protocol? Of its TCP nothing is judged.

Each check is a line: ok, FAIL with what is wrong, or left out with what the stack does not offer. A check that fails
does not end the test; each begins with a process that lives.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...upper.base import Call, NotApplicable
from ...upper.commands import NumberedSocket
from ...upper.messages import Op, endpoint
from ...wire import ip
from ...wire.clock import SECOND
from ...wire.codec import decode, encode
from ...wire.errors import TargetError
from ...wire.segment import ACK, RST, SYN, Flow, Kind, Option, Segment
from ..base import FAMILIES, PHANTOM, TARGET, packed, phantom_neighbour
from ..profile import Profile
from .conversation import Conversation
from .link import PipeLink
from .target import converse, introduced
from .upper import PipeUpperTester

OK: Final = "ok"
FAIL: Final = "FAIL"
LEFT_OUT: Final = "left out"

_UNASKED_S: Final = 0.3
_HOUR_NS: Final = 3600 * SECOND
_UNKNOWN_OP: Final = 200
_NO_SOCKET: Final = 0xFFFF_FFF0
_GARBAGE: Final = 200
_ISS: Final = (1 << 32) - 2
_PORT: Final = 7000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one check came to."""

    mark: str
    title: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.mark:<8}  {self.title}" + (f": {self.text}" if self.text else "")


class Wrong(Exception):
    """The adapter does not do what the check wants."""


class Bench:
    """One process with its link and upper tester, for one check."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.hello = conversation.hello
        self.link = PipeLink(conversation)
        self.clock = self.link.clock
        self.upper = PipeUpperTester(conversation, now=self.clock.now)
        self.family = "ipv4" if self.hello.ipv4 else "ipv6"
        self._neighbour = phantom_neighbour()

    def send(self, octets: bytes) -> None:
        """Give the stack one IP packet."""
        kind = b"\x86\xdd" if octets[:1] and octets[0] >> 4 == 6 else b"\x08\x00"
        self.link.send_bytes(self.link.target_mac + self.link.mac + kind + octets)

    def segment(self, flow: Flow, within_ns: int) -> Segment | None:
        """The stack's next segment on that connection."""
        until = self.clock.now() + within_ns
        while self.clock.now() < until:
            while (frame := self.link.poll()) is not None:
                if (reply := self._neighbour.answer(frame.data)) is not None:
                    self.link.send_bytes(reply)
                packet = ip.dissect(frame.data[14:])
                segment = decode(packet) if packet is not None and packet.protocol == ip.TCP else None
                if segment is not None and (segment.source_port, segment.destination_port) == (
                        flow.target_port, flow.local_port):
                    return segment
            # The frames carry their own stamps; here it is enough to step from event to event.
            self.clock.wait(min(until, max(self.clock.now() + 1, self.conversation.deadline_ns or until)))
        return None

    def until(self, call: Call, within_ns: int = SECOND) -> tuple[str, object]:
        """The outcome of a call. Raises Wrong if it has none by then."""
        until = self.clock.now() + within_ns
        while (outcome := call.poll()) is None:
            if self.clock.now() >= until:
                raise Wrong(f"{call.name} still answers EAGAIN")
            self.clock.wait(min(until, self.conversation.deadline_ns or until))
        return outcome.error, outcome.value


def flow_of(family: str, *, local_port: int = 5000, target_port: int = _PORT) -> Flow:
    """A connection over the lab's link."""
    return Flow(local=packed(PHANTOM[family]), local_port=local_port, target=packed(TARGET[family]),
                target_port=target_port)


# -- checks ----------------------------------------------------------------------------------------------------------


def says_hello(bench: Bench) -> str:
    """Tell what the hello says; it was checked when it was heard."""
    hello = bench.hello
    families = " and ".join(name for name, spoken in (("IPv4", hello.ipv4), ("IPv6", hello.ipv6)) if spoken)
    offered = [op.name.lower() for op in Op if hello.offers(op)]
    return (f"{hello.name} {hello.stack_version}, {families}, MTU {hello.mtu}, "
            f"{'Ethernet frames' if hello.ethernet else 'IP packets'}, commands: {' '.join(offered) or 'none'}")


def keeps_silent(bench: Bench) -> str:
    """It speaks only in answer to a request."""
    if not bench.conversation.process.idle(_UNASKED_S):
        raise Wrong("said something, or ended, while nobody asked")
    return ""


def passes_time(bench: Bench) -> str:
    """Each step ends where it may; the conversation looks at that."""
    steps = 0
    until = bench.clock.now() + _HOUR_NS
    while bench.conversation.now_ns < until and steps < 2_000_000:
        due = bench.conversation.deadline_ns
        if due is None or due > until:
            break
        bench.conversation.advance(until)
        steps += 1
    bench.conversation.packets.clear()
    bench.clock.wait(until)
    result = bench.conversation.ask_raw(_UNKNOWN_OP, 0, until)
    if result.error != "ENOSYS":
        raise Wrong(f"answered command {_UNKNOWN_OP}, which there is not, with {result.error or 'success'}; due: "
                    "ENOSYS")
    return f"in {steps} step{'s' if steps != 1 else ''}"


def passes_packets(bench: Bench) -> str:
    """Packets go in and come out, in each family."""
    told = []
    for family in FAMILIES:
        if not getattr(bench.hello, family):
            continue
        flow = flow_of(family)
        bench.send(encode(Segment(flags=SYN, seq=_ISS, window=1000), flow))
        answer = bench.segment(flow, SECOND)
        if answer is None:
            raise Wrong(f"no answer to a SYN over {family} within a second")
        _state(bench, flow, "CLOSED")
        told.append(f"{family} {'refused' if answer.has(RST) else 'not refused'}")
    return ", ".join(told)


def repeats_itself(bench: Bench) -> str:
    """Two processes that are told the same say the same."""
    first = _said(bench)
    bench.conversation.renew(bench.clock.now())
    second = _said(bench)
    if first != second:
        raise Wrong("two processes answered the same packets otherwise; random numbers have to come from the "
                    "greeting's seed, and times from the requests")
    return f"{len(first)} packet{'s' if len(first) != 1 else ''}"


def _said(bench: Bench) -> list[bytes]:
    listens = bench.hello.offers(Op.LISTEN)
    flow = flow_of(bench.family, local_port=5001)
    if listens:
        bench.upper.listen(flow.target, _PORT, backlog=4, options={})
    at = bench.conversation.now_ns
    bench.conversation.give((_dressed(bench, encode(Segment(flags=SYN, seq=_ISS, window=1000), flow)),), at)
    until = at + 2 * SECOND
    while bench.conversation.advance(until) < until:
        pass
    said = [packet for _, packet in bench.conversation.packets]
    bench.conversation.packets.clear()
    return said


def _dressed(bench: Bench, octets: bytes) -> bytes:
    if not bench.hello.ethernet:
        return octets
    kind = b"\x86\xdd" if octets[0] >> 4 == 6 else b"\x08\x00"
    return bench.link.target_mac + bench.link.mac + kind + octets


def survives_garbage(bench: Bench) -> str:
    """Octets that are no packet, and packets with one octet wrong."""
    dice = random.Random(1)
    good = encode(Segment(flags=SYN, seq=_ISS, options=(Option.of(Kind.MSS, b"\x05\xb4"),)), flow_of(bench.family))
    for number in range(_GARBAGE):
        octets = dice.randbytes(dice.choice((1, 2, 19, 20, 21, 39, 40, 60, 1500)))
        if number % 2:
            broken = bytearray(good[:dice.randint(1, len(good))])
            broken[dice.randrange(len(broken))] = dice.getrandbits(8)
            octets = bytes(broken)
        bench.conversation.give((_dressed(bench, octets),), bench.clock.now())
    bench.conversation.packets.clear()
    return f"{_GARBAGE} of them"


def knows_its_sockets(bench: Bench) -> str:
    """Socket numbers and options that do not exist."""
    _offered(bench, Op.SOCKET)
    now = bench.clock.now()
    result = bench.conversation.ask_raw(Op.ABORT, _NO_SOCKET, now)
    if result.error != "EBADF":
        raise Wrong(f"ABORT of socket {_NO_SOCKET}, which there is not, came to {result.error or 'success'}; "
                    "due: EBADF")
    if not bench.hello.offers(Op.OPTION):
        return "EBADF"
    made = bench.upper.made(packed(TARGET[bench.family]), {})
    try:
        error = bench.upper.set_option(made, "SO_NONSENSE", 1).error
    except NotApplicable:
        return "EBADF, ENOPROTOOPT"
    raise Wrong(f"the option SO_NONSENSE came to {error or 'success'}; due: ENOPROTOOPT")


def _offered(bench: Bench, *ops: Op) -> None:
    missing = [op.name.lower() for op in ops if not bench.hello.offers(op)]
    if missing:
        raise NotApplicable(f"not offered: {', '.join(missing)}")


def accepts(bench: Bench) -> str:
    """A handshake made by hand, and a reset by ABORT."""
    _offered(bench, Op.LISTEN)
    listener, flow = _listener(bench, 5002)
    pending = bench.upper.accept(listener)
    if pending.poll() is not None:
        raise Wrong("accept had an outcome before anybody connected; due: EAGAIN")
    if bench.hello.offers(Op.LISTENING) and not bench.upper.listening(flow.target, flow.target_port):
        raise Wrong("says that nobody listens where it was just told to listen")
    _opened(bench, flow)
    error, connection = bench.until(pending)
    if error or not isinstance(connection, NumberedSocket):
        raise Wrong(f"accept came to {error} after the handshake")
    _state(bench, flow, "ESTABLISHED")
    if bench.upper.abort(connection).error:
        raise Wrong("ABORT failed; it never may")
    reset = bench.segment(flow, SECOND)
    if reset is None or not reset.has(RST):
        raise Wrong("ABORT of an open connection sent no reset")
    return ""


def _listener(bench: Bench, local_port: int) -> tuple[NumberedSocket, Flow]:
    flow = flow_of(bench.family, local_port=local_port, target_port=_PORT + local_port % 1000)
    return bench.upper.listen(flow.target, flow.target_port, backlog=4, options={}), flow


def _opened(bench: Bench, flow: Flow) -> int:
    """Open a connection to a listener; returns the stack's initial number."""
    bench.send(encode(Segment(flags=SYN, seq=_ISS, window=65535), flow))
    answer = bench.segment(flow, SECOND)
    if answer is None or not (answer.has(SYN) and answer.has(ACK)):
        raise Wrong("a SYN to the listener drew no SYN,ACK")
    number = answer.seq or 0
    bench.send(encode(Segment(flags=ACK, seq=_ISS + 1, ack=(number + 1) % (1 << 32), window=65535), flow))
    return number


def _state(bench: Bench, flow: Flow, wanted: str) -> None:
    state = bench.upper.state(flow)
    if state != wanted:
        raise Wrong(f"says that the state is {state}; due: {wanted}")


def moves_data(bench: Bench) -> str:
    """Some octets either way."""
    _offered(bench, Op.LISTEN, Op.SEND, Op.RECV)
    listener, flow = _listener(bench, 5003)
    number = _opened(bench, flow)
    _, connection = bench.until(bench.upper.accept(listener))
    read = bench.upper.recv(connection, 100)
    if (early := read.poll()) is not None:
        raise Wrong(f"recv came to {early} before anything was sent to it; due: EAGAIN")
    bench.send(encode(Segment(flags=ACK, seq=_ISS + 1, ack=(number + 1) % (1 << 32), window=65535, payload=b"hello"),
                      flow))
    error, octets = bench.until(read)
    if error or octets != b"hello":
        raise Wrong(f"recv came to {error or octets!r}; due: b'hello'")
    taken = bench.upper.send(connection, b"world")
    if taken.error or taken.value != 5:
        raise Wrong(f"send of 5 octets came to {taken.error or taken.value}")
    while (segment := bench.segment(flow, SECOND)) is not None:
        if segment.payload:
            break
    if segment is None or segment.payload != b"world":
        raise Wrong("what was sent did not go out")
    return ""


def connects(bench: Bench) -> str:
    """A SYN goes out, is refused, and the call tells so."""
    _offered(bench, Op.CONNECT)
    flow = flow_of(bench.family, local_port=5004, target_port=_PORT + 4)
    _, call = bench.upper.connect(flow, options={})
    if call.poll() is not None:
        raise Wrong("connect had an outcome before it was answered; due: EAGAIN")
    syn = bench.segment(flow, SECOND)
    if syn is None or not syn.has(SYN) or syn.has(ACK):
        raise Wrong("connect sent no SYN")
    _state(bench, flow, "SYN-SENT")
    bench.send(encode(Segment(flags=RST | ACK, seq=0, ack=((syn.seq or 0) + 1) % (1 << 32), window=0), flow))
    error, _ = bench.until(call)
    if error != "ECONNREFUSED":
        raise Wrong(f"connect came to {error or 'success'} when it was refused; due: ECONNREFUSED")
    _state(bench, flow, "CLOSED")
    return ""


def takes_a_port_once(bench: Bench) -> str:
    """Two listeners on one port."""
    _offered(bench, Op.LISTEN)
    address = packed(TARGET[bench.family])
    bench.upper.listen(address, _PORT + 5, backlog=4, options={})
    second = bench.upper.made(address, {})
    error = bench.conversation.ask(Op.LISTEN, second.number, bench.clock.now(),
                                   endpoint(address, _PORT + 5) + b"\0\4").error
    if error != "EADDRINUSE":
        raise Wrong(f"a second listener on one port came to {error or 'success'}; due: EADDRINUSE")
    return error


def is_seen_to_crash(bench: Bench) -> str:
    """It is killed, which the next request has to show."""
    os.kill(bench.conversation.process.pid, signal.SIGKILL)
    try:
        bench.send(encode(Segment(flags=SYN, seq=_ISS), flow_of(bench.family)))
    except TargetError:
        bench.link.revive()
        passes_packets(bench)
        return ""
    raise Wrong("answered after it was killed; does the command start another process that goes on?")


def ends(bench: Bench) -> str:
    """Nothing is left behind by a run."""
    status = bench.conversation.close()
    if status is None:
        raise Wrong("still runs a second after the end of its input")
    if status:
        raise Wrong(f"ended with status {status}; due: 0")
    return ""


Check = tuple[str, Callable[[Bench], str]]
"""A title, and a function that returns what there is to tell; it raises Wrong, TargetError or NotApplicable."""

CHECKS: Final[tuple[Check, ...]] = (
    ("says hello", says_hello),
    ("says nothing unasked", keeps_silent),
    ("lets an hour pass, and no more than it is told", passes_time),
    ("answers a SYN to a closed port", passes_packets),
    ("gives the same octets to the same seed", repeats_itself),
    ("survives packets that are none", survives_garbage),
    ("refuses what there is not", knows_its_sockets),
    ("listens and accepts", accepts),
    ("sends and receives", moves_data),
    ("connects, and is told of a refusal", connects),
    ("refuses a port that is taken", takes_a_port_once),
    ("is started afresh when it has crashed", is_seen_to_crash),
    ("ends when its input does", ends),
)


def check(profile: Profile, checks: Sequence[Check] = CHECKS) -> Iterator[Line]:
    """Try the process that a profile starts, a fresh one for each check."""
    for title, one in checks:
        try:
            bench = Bench(converse(profile))
            introduced(profile, bench.hello)
        except TargetError as error:
            yield Line(mark=FAIL, title=title, text=str(error))
            continue
        try:
            yield Line(mark=OK, title=title, text=one(bench))
        except NotApplicable as left_out:
            yield Line(mark=LEFT_OUT, title=title, text=str(left_out))
        except (Wrong, TargetError) as error:
            yield Line(mark=FAIL, title=title, text=str(error))
        finally:
            bench.conversation.close()
