# SPDX-License-Identifier: 0BSD
"""Puts a TCP stack behind tcpqual's pipe protocol: derive from `Stack`, then `serve(YourStack())`.

Copy this file; it needs nothing but Python 3.9 and its library. The protocol is described octet by octet in
`docs/reference/pipe-protocol.md` of tcpqual.

A method that you do not define is a command that your stack does not offer, and the cases that need it are left out.
Say what an application would be told with `Refused("ECONNREFUSED")` and the like, or let an OSError through; say
`Again` where a socket of yours would have to wait: you will be asked again. Standard output belongs to the protocol;
print remarks to standard error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
NEVER = (1 << 64) - 1

COMMANDS = ("socket", "option", "listen", "connect", "connected", "accept", "send", "recv", "shutdown", "close",
            "closed", "abort", "error", "state", "listening", "half_open", "information")
"""The socket commands, in the order of their numbers, which begin at 1."""

_HALVES = {1: "read", 2: "write", 3: "both"}
_OFF_SOCKET = ("socket", "state", "listening", "half_open")
_STEPS = 100_000


class Refused(Exception):
    """The call fails with this errno name."""


class Again(Exception):
    """The call would have to wait."""


@dataclass
class Greeting:
    """Where on the link the stack stands, and the seed from which all its random numbers have to come."""

    version: int
    seed: int
    ipv4: bytes
    ipv4_prefix: int
    ipv4_gateway: bytes
    ipv6: bytes
    ipv6_prefix: int
    ipv6_gateway: bytes


@dataclass
class End:
    """An address, packed (4 or 16 octets), and a port."""

    address: bytes
    port: int


class Stack:
    """Your stack. Instants are nanoseconds since the process began, and come from tcpqual alone: use no other clock.

    Beside the methods below there are those of `COMMANDS`, of which you define what you have; `sock` is whatever your
    `socket` or `accept` has returned:

        socket(self, family)                     a new socket, family 4 or 6
        option(self, sock, name, value)          set SO_KEEPALIVE, TCP_NODELAY ...; Refused("ENOPROTOOPT") if unknown
        listen(self, sock, local, backlog)       bind to an `End` and listen
        connect(self, sock, local, remote)       bind and begin to connect
        connected(self, sock)                    return once it is, raise Again until then
        accept(self, sock)                       the next connection's socket, or raise Again
        send(self, sock, data, urgent)           how many octets were taken, 0 without room
        recv(self, sock, size)                   octets, b"" at the end of the stream, or raise Again
        shutdown(self, sock, half)               "read", "write" or "both"
        close(self, sock, linger_s)              return if it is closed; with a linger time (not None) raise Again
                                                 until all is acknowledged or the time is over
        closed(self, sock)                       the same question again
        abort(self, sock)                        reset what is left of it; never fails; the number is free afterwards
        error(self, sock)                        the errno name that waits on it (SO_ERROR), "" for none
        listening(self, local)                   True if a socket listens there
        half_open(self, port)                    how many connections of that port are in SYN-RECEIVED
        information(self, sock)                  a dict of whole numbers, such as {"rto_us": 1000000}
    """

    name = "a stack without a name"
    version = "0"
    features: tuple[str, ...] = ()
    """Names of a tcpqual profile's [features]; none leaves them to the profile."""
    mtu = 1500
    ipv4 = True
    ipv6 = True
    mac = b""
    """Six octets: packets are whole Ethernet frames then. Without it they are IP packets."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.sent: list[bytes] = []

    def begin(self, greeting: Greeting) -> None:
        """Take the addresses; called once, before everything else."""

    def packet(self, octets: bytes) -> None:
        """A packet has arrived."""

    def run(self) -> None:
        """It is `self.now_ns`: do what is due by now."""

    def deadline_ns(self) -> int | None:
        """When you want to be run next; None as long as no timer is set."""
        return None

    def woken(self) -> bool:
        """True if a call that was told to try again may have an answer now.

        The default is always true; a stack that polls its timers many times a second makes long waits faster by
        knowing better.
        """
        return True

    def state(self, local: End, remote: End) -> str:
        """The state of a connection, as RFC 9293, 3.3.2 names it; "CLOSED" if there is no such connection."""
        return "CLOSED"

    def send_packet(self, octets: bytes) -> None:
        """Call this to send a packet."""
        self.sent.append(octets)


def serve(stack: Stack, source: int | None = None, sink: int | None = None) -> None:
    """Answer requests until there are no more.

    `source` and `sink` are descriptors, standard input and output by default; what is printed then goes to standard
    error, so that it does not get between the messages.
    """
    if sink is None:
        sink = os.dup(1)
        os.dup2(2, 1)
    _Session(stack, 0 if source is None else source, sink).run()


@dataclass
class _Fields:
    octets: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        taken = self.octets[self.at:self.at + size]
        if len(taken) != size:
            raise ValueError(f"a message is cut off: {self.octets.hex(' ')}")
        self.at += size
        return taken

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def rest(self) -> bytes:
        return self.take(len(self.octets) - self.at)

    def text(self) -> str:
        return self.take(self.number(2)).decode()

    def end(self) -> End:
        return End(self.take(4 if self.number(1) == 4 else 16), self.number(2))


@dataclass
class _Session:
    stack: Stack
    source: int
    sink: int
    sockets: dict[int, Any] = field(default_factory=dict)
    count: int = 0
    inbox: bytes = b""
    outbox: bytearray = field(default_factory=bytearray)

    def run(self) -> None:
        """Answer what has come, say all the answers at one time, and wait for more."""
        while octets := os.read(self.source, 1 << 16):
            self.inbox += octets
            at = 0
            while len(self.inbox) >= at + 4:
                end = at + 4 + int.from_bytes(self.inbox[at:at + 4], "big")
                if len(self.inbox) < end:
                    break
                self.answer(self.inbox[at + 4:at + 5], _Fields(self.inbox[at + 5:end]))
                at = end
            self.inbox = self.inbox[at:]
            while self.outbox:
                del self.outbox[:os.write(self.sink, self.outbox)]

    def answer(self, kind: bytes, fields: _Fields) -> None:
        if kind == b"H":
            self.hello(fields)
        elif kind == b"P":
            self.stack.packet(fields.rest())
        elif kind == b"A":
            self.advance(fields.number(8))
        elif kind == b"C":
            self.say(b"R", self.command(fields))
        else:
            raise ValueError(f"a request of type {kind!r}")
        self.done()

    def say(self, kind: bytes, fields: bytes) -> None:
        self.outbox += (len(fields) + 1).to_bytes(4, "big") + kind + fields

    def done(self) -> None:
        self.settle()
        for octets in self.stack.sent:
            self.say(b"P", octets)
        self.stack.sent.clear()
        deadline = self.stack.deadline_ns()
        self.say(b"D", self.stack.now_ns.to_bytes(8, "big") +
                 (NEVER if deadline is None else deadline).to_bytes(8, "big"))

    def settle(self) -> None:
        """Let the stack do all that is due at this instant."""
        for _ in range(_STEPS):
            deadline = self.stack.deadline_ns()
            if deadline is None or deadline > self.stack.now_ns:
                return
            self.stack.run()
        raise RuntimeError(f"{self.stack.name}: still due at {self.stack.now_ns} ns after {_STEPS} runs")

    def hello(self, fields: _Fields) -> None:
        greeting = Greeting(fields.number(2), fields.number(8), fields.take(4), fields.number(1), fields.take(4),
                            fields.take(16), fields.number(1), fields.take(16))
        self.stack.begin(greeting)
        offered = sum(1 << number for number, name in enumerate(COMMANDS) if hasattr(self.stack, name))
        flags = 1 * self.stack.ipv4 | 2 * self.stack.ipv6 | 4 * bool(self.stack.mac)
        self.say(b"H", VERSION.to_bytes(2, "big") + bytes((flags,)) + self.stack.mtu.to_bytes(2, "big") +
                 offered.to_bytes(4, "big") + (self.stack.mac or bytes(6)) + _text(self.stack.name) +
                 _text(self.stack.version) + _text(" ".join(self.stack.features)))

    def advance(self, until_ns: int) -> None:
        """Let time pass from timer to timer, up to the first that says something."""
        while not self.stack.sent:
            deadline = self.stack.deadline_ns()
            if deadline is None or deadline > until_ns:
                self.stack.now_ns = until_ns
                return
            self.stack.now_ns = max(self.stack.now_ns, deadline)
            # Who counts ticks may name the next one as soon as it is this one.
            self.stack.run()
            self.settle()
            if self.stack.woken():
                return

    def command(self, fields: _Fields) -> bytes:
        """The fields of the result."""
        number, socket = fields.number(1), fields.number(4)
        name = COMMANDS[number - 1] if 1 <= number <= len(COMMANDS) else ""
        call = getattr(self.stack, name, None) if name else None
        if call is None:
            return _text("ENOSYS")
        if name not in _OFF_SOCKET and socket not in self.sockets:
            return _text("EBADF")
        try:
            return _text("") + self.call(name, call, socket, fields)
        except Again:
            return _text("EAGAIN")
        except Refused as error:
            return _text(str(error))
        except OSError as error:
            return _text(errno.errorcode.get(error.errno or 0, "EIO"))

    def call(self, name: str, call: Callable[..., Any], socket: int, fields: _Fields) -> bytes:
        """The value of the result."""
        if name == "socket":
            return self.kept(call(fields.number(1)))
        if name == "accept":
            return self.kept(call(self.sockets[socket]))
        if name == "state":
            return _text(call(fields.end(), fields.end()))
        if name == "listening":
            return bytes((bool(call(fields.end())),))
        if name == "half_open":
            return int(call(fields.number(2))).to_bytes(4, "big")
        sock = self.sockets[socket]
        if name == "send":
            return int(call(sock, urgent=bool(fields.number(1)), data=fields.rest())).to_bytes(4, "big")
        if name == "recv":
            return bytes(call(sock, fields.number(4)))
        if name == "error":
            return _text(call(sock))
        if name == "information":
            return _text(" ".join(f"{key}={value}" for key, value in call(sock).items()))
        if name == "option":
            call(sock, value=fields.number(8, signed=True), name=fields.text())
        elif name == "listen":
            call(sock, fields.end(), fields.number(2))
        elif name == "connect":
            call(sock, fields.end(), fields.end())
        elif name == "shutdown":
            call(sock, _HALVES[fields.number(1)])
        elif name == "close":
            linger_s = fields.number(4, signed=True)
            call(sock, None if linger_s < 0 else linger_s)
        else:
            call(sock)
            if name == "abort":
                del self.sockets[socket]
        return b""

    def kept(self, sock: Any) -> bytes:
        self.count += 1
        self.sockets[self.count] = sock
        return self.count.to_bytes(4, "big")


def _text(value: str) -> bytes:
    octets = value.encode()
    return len(octets).to_bytes(2, "big") + octets
