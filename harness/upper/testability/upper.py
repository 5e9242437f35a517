# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket API of a target that is driven by the AUTOSAR testability protocol, and by nothing else.

What the protocol cannot do or tell raises `NotApplicable` with the reason, and never looks like an answer of the
target.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...wire.clock import Outcome
from ...wire.errors import TargetError
from ...wire.segment import Flow
from ..base import DEFAULT_BACKLOG, Half, NotApplicable, Unseen
from .channel import Channel, Inside
from .client import GET_VERSION, Answer, Client, Event, Pending
from .primitives import HALVES, NO_END, PARAMETERS, PUSH, URGENT
from .results import ERRNO
from .settings import Settings

_ASKED_AGAIN_S: Final = 0.05
_ROUND_TRIPS: Final = 2
_DELAY_S: Final = 0.02
"""An event may come so much later than what it tells of, on the wire."""
_TTL: Final = ("IP_TTL", "IPV6_UNICAST_HOPS")
_TOS: Final = ("IP_TOS", "IPV6_TCLASS")
_DONT_FRAGMENT: Final = {0: 0, 2: 1}
"""IP_MTU_DISCOVER: never, and always; what is between has no word in the protocol."""
_REFUSED_OPTION: Final = ("E_INV", "E_NOK", "E_NTF", "E_IIF")


@dataclass(slots=True, eq=False)
class TpspSocket:
    """A socket of the target: its number there, and what has come of it."""

    number: int
    life: int
    closed: bool = False
    accepted: deque[TpspSocket] = field(default_factory=deque)
    connecting: Pending | None = None
    octets: bytearray = field(default_factory=bytearray)
    ended: bool = False
    forwarded: int = 0
    """Octets that the target is still to forward; `NO_END` for all."""


class TpspCall:
    """A call under way: `attempt` is its error and value, None as long as there is no outcome.

    `cannot_tell` says why the target's silence proves nothing, "" if it does.
    """

    def __init__(self, name: str, client: Client, attempt: Callable[[], tuple[str, Any] | None],
                 cannot_tell: str = "") -> None:
        self.name = name
        self.cannot_tell = cannot_tell
        self._client = client
        self._attempt = attempt
        self._ended: tuple[str, Any] | None = None

    def fileno(self) -> int:
        """The channel's descriptor: an outcome is a message."""
        return self._client.channel.fileno()

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now. Raises TargetError."""
        if self._ended is None:
            self._ended = self._attempt()
        return None if self._ended is None else Outcome(call=self, error=self._ended[0], value=self._ended[1])

    def settle(self) -> Outcome | None:
        """The outcome if there is one by now, or an event's way later. Raises TargetError.

        A module that takes one thing after the other has dealt with all that was there before the first of two requests
        when it answers the second, however busy its processor is; one with threads is given a little time.
        """
        for _ in range(_ROUND_TRIPS):
            if (outcome := self.poll()) is not None:
                return outcome
            self._client.request(GET_VERSION)
        until = time.monotonic() + _DELAY_S
        while (outcome := self.poll()) is None and self._client.wait(until):
            pass
        return outcome


class TpspUpperTester:
    """Drives the sockets of one target."""

    @classmethod
    def of(cls, settings: Settings, *, inside: Inside = contextlib.nullcontext) -> TpspUpperTester:
        """The upper tester of a target's file; `inside` enters the namespace that its socket is to be made in."""
        channel = Channel(settings.endpoint, limit_s=settings.answer_limit_s, order=settings.byte_order, inside=inside)
        return cls(Client(channel, vendor=settings.vendor, service=settings.service, order=settings.byte_order,
                          version=settings.version), settings)

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._listeners: dict[int, TpspSocket] = {}
        self._reading: TpspSocket | None = None
        self._connecting: TpspSocket | None = None
        self._remarked: Counter[str] = Counter()

    # -- the other side ----------------------------------------------------------------------------------------------

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the target gets wrong in the protocol and can be understood all the same."""
        return tuple(self._client.warnings)

    @property
    def said(self) -> str:
        """The module's hello in a few words."""
        told = ".".join(map(str, self._client.told_version)) or f"{self._client.version}, as its file says"
        slips = f"; but {'; '.join(self.warnings)}" if self.warnings else ""
        return f"AUTOSAR testability {told} at {self._settings.endpoint}{slips}"

    def remarks(self) -> list[str]:
        """What it has got wrong since the last time that somebody asked."""
        new, self._remarked = self._client.warnings - self._remarked, self._client.warnings.copy()
        return list(new)

    def open(self) -> None:
        """Reach the module and begin with no socket. Raises TargetError."""
        self._listeners.clear()
        self._reading = self._connecting = None
        self._client.open()
        self._client.request("GENERAL.END_TEST", 0, "")
        self._client.request("GENERAL.START_TEST")

    def revive(self) -> None:
        """Reach the module anew if the last case has ended with its failure. Raises TargetError."""
        if self._client.channel.failure is not None:
            self.open()

    def close_driver(self) -> None:
        """Have the target close all, if it can still be asked, and let go of the way to it."""
        if self._client.channel.failure is None:
            with contextlib.suppress(TargetError):
                self._client.request("GENERAL.END_TEST", 0, "")
        self._client.close()

    def call(self, name: str, *values: Any) -> Answer:
        """Any primitive by its name, a vendor's too. Raises TargetError, UsageError; NotApplicable if it has it not."""
        answer = self._client.request(name, *values)
        self._sort()
        if answer.result == "E_NTF":
            raise NotApplicable(f"the target's testability module has no {name}")
        return answer

    def _on(self, name: str, sock: TpspSocket, *values: Any) -> Answer:
        answer = self.call(name, sock.number, *values)
        if answer.result == "E_ISD":
            raise self._lost(sock, name)
        return answer

    def _lost(self, sock: TpspSocket, name: str) -> TargetError:
        return self._client.channel.failed(f"knows nothing of socket {sock.number} any more ({name}): has it been "
                                           "started anew?")

    def _socket(self, handle: object) -> TpspSocket:
        if not isinstance(handle, TpspSocket):
            raise TargetError(f"{handle!r} is no socket of this target")
        if handle.life != self._client.life:
            raise TargetError(f"socket {handle.number} was of a testability module that has been lost since")
        return handle

    # -- what comes unasked ------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._client.pump()
        self._sort()

    def _sort(self) -> None:
        """Give each event to the socket that it is about."""
        while self._client.events:
            event = self._client.events.popleft()
            if event.name == "TCP.LISTEN_AND_ACCEPT":
                self._take_connection(event)
            elif event.name == "TCP.RECEIVE_AND_FORWARD":
                self._take_octets(event)

    def _take_connection(self, event: Event) -> None:
        listener = self._listeners.get(event.values[0])
        if listener is None:
            raise self._client.channel.failed(f"accepts a connection for socket {event.values[0]}, which never "
                                              "listened")
        accepted = TpspSocket(number=event.values[1], life=self._client.life)
        if listener.closed:
            self._client.request("TCP.CLOSE_SOCKET", accepted.number, True)
        else:
            listener.accepted.append(accepted)

    def _take_octets(self, event: Event) -> None:
        length, octets = event.values
        if length != len(octets):
            raise self._client.channel.failed(f"forwarded {len(octets)} of {length} octets: the others are lost")
        reading = self._reading
        if reading is None:
            self._client.warnings["an event with octets of a socket that nobody reads from"] += 1
        elif not octets:
            reading.ended = reading.ended or self._settings.end_event
            if not self._settings.end_event:
                self._client.warnings["an event without octets; if it is the end of the stream, end_event = true in "
                                      "its file says so"] += 1
        else:
            reading.octets += octets
            if reading.forwarded != NO_END:
                reading.forwarded = max(0, reading.forwarded - len(octets))

    # -- opening -----------------------------------------------------------------------------------------------------

    def _made(self, address: bytes, port: int, options: Mapping[str, int]) -> TpspSocket:
        answer = self.call("TCP.CREATE_AND_BIND", True, port, address)
        if answer.result != "E_OK":
            raise TargetError(f"bind to port {port}: {answer.text}")
        sock = TpspSocket(number=answer.values[0], life=self._client.life)
        try:
            for name, value in options.items():
                if error := self.set_option(sock, name, value).error:
                    raise TargetError(f"socket option {name}: {error}")
        except (NotApplicable, TargetError):
            self.abort(sock)
            raise
        return sock

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> TpspSocket:
        """A listening socket, of which the target accepts each connection itself. Raises TargetError."""
        if backlog != DEFAULT_BACKLOG:
            raise NotApplicable("the testability protocol accepts every connection itself: a listener has no backlog")
        sock = self._made(address, port, options)
        self._listeners[sock.number] = sock
        answer = self._on("TCP.LISTEN_AND_ACCEPT", sock, self._settings.connections)
        if answer.result != "E_OK":
            self.abort(sock)
            raise TargetError(f"listen on port {port}: {answer.text}")
        return sock

    def accept(self, handle: object) -> TpspCall:
        """The next connection of a listener, by the event that announces it."""
        listener = self._socket(handle)

        def attempt() -> tuple[str, Any] | None:
            self._pump()
            return ("", listener.accepted.popleft()) if listener.accepted else None

        return TpspCall("accept", self._client, attempt)

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[TpspSocket, TpspCall]:
        """A connection attempt. Raises TargetError; NotApplicable while another one is under way."""
        other = self._connecting
        if other is not None and not other.closed and other.connecting is not None and other.connecting.answer is None:
            raise NotApplicable("the testability protocol cannot tell which of two CONNECTs a response is about")
        sock = self._made(flow.target, flow.target_port, options)
        self._connecting = sock
        pending = sock.connecting = self._client.begin("TCP.CONNECT", sock.number, flow.local_port, flow.local)
        begun = self._settings.connect == "begun"

        def attempt() -> tuple[str, Any] | None:
            self._pump()
            answer = pending.answer
            if answer is None or (begun and answer.result == "E_OK"):
                return None
            if answer.result == "E_NTF":
                raise NotApplicable("the target's testability module has no TCP.CONNECT")
            return _error_of(answer), None

        return sock, TpspCall("connect", self._client, attempt,
                                "the target answers CONNECT before the connection is there" if begun else "")

    # -- data --------------------------------------------------------------------------------------------------------

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """SEND_DATA; what is more than the target takes at a time is not taken."""
        sock = self._socket(handle)
        if sock.closed:
            return Outcome(call="send", error="EBADF")
        data = data[:self._settings.largest_data]
        answer = self._on("TCP.SEND_DATA", sock, len(data), PUSH | (URGENT if urgent else 0), data)
        return Outcome(call="send", error=_error_of(answer), value=len(data))

    def recv(self, handle: object, size: int) -> TpspCall:
        """Octets that RECEIVE_AND_FORWARD brings; b"" at the end of the stream if the target tells it.

        Its events do not say of which socket they are. Raises NotApplicable while another one is read from.
        """
        sock = self._socket(handle)
        asked = [0.0]

        def attempt() -> tuple[str, Any] | None:
            if sock.closed:
                return "EBADF", None
            self._pump()
            if not (sock.octets or sock.ended) and self._is_due(sock, asked[0]):
                asked[0] = time.monotonic()
                caught_up = bool(sock.forwarded) and self._catches_up(sock)
                if not caught_up and (error := self._forward(sock, size)):
                    return error, None
                self._pump()
            if sock.octets:
                taken = bytes(sock.octets[:size])
                del sock.octets[:size]
                return "", taken
            return ("", b"") if sock.ended else None

        tells = self._settings.receive_tells
        return TpspCall("recv", self._client, attempt,
                          "" if tells else "the target does not tell the end of a stream, or an error, when it is read")

    def _catches_up(self, sock: TpspSocket) -> bool:
        """Have the module deal with what was there; True if that brings something. Then it need not be asked anew.

        To ask anew begins to count anew, so that it would forward more than was wanted.
        """
        for _ in range(_ROUND_TRIPS):
            self._client.request(GET_VERSION)
        self._pump()
        return bool(sock.octets or sock.ended)

    def _is_due(self, sock: TpspSocket, asked: float) -> bool:
        """True if the target has to be told to forward, or may have something to tell by now."""
        if not sock.forwarded:
            return True
        return self._settings.receive_tells and time.monotonic() - asked > _ASKED_AGAIN_S

    def _forward(self, sock: TpspSocket, size: int) -> str:
        """Have the target forward what it receives; returns an errno name if it says that there is an error."""
        other = self._reading
        if other is not None and other is not sock and not other.closed and other.forwarded:
            raise NotApplicable("events of the testability protocol do not say of which socket the octets are: one can "
                                "be read from at a time")
        self._reading = sock
        most = NO_END if size >= NO_END else size
        # Events may come before the response.
        sock.forwarded = most
        answer = self._on("TCP.RECEIVE_AND_FORWARD", sock, min(size, self._settings.largest_data), most)
        if answer.result == "E_OK":
            return ""
        sock.forwarded = 0
        if answer.result == "E_TCP_COC":
            sock.ended = not sock.octets
            return ""
        return "" if sock.octets else _error_of(answer)

    # -- closing -----------------------------------------------------------------------------------------------------

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """Close one half of the connection, or both."""
        sock = self._socket(handle)
        if sock.closed:
            return Outcome(call="shutdown", error="EBADF")
        return Outcome(call="shutdown", error=_error_of(self._on("TCP.SHUTDOWN", sock, HALVES[half])))

    def close(self, handle: object, *, linger_s: int | None = None) -> TpspCall:
        """Close the socket."""
        if linger_s is not None:
            raise NotApplicable("the testability protocol has no lingering close")
        outcome = self._closed(self._socket(handle), abort=False)
        return TpspCall("close", self._client, lambda: outcome)

    def abort(self, handle: object) -> Outcome:
        """Reset the connection, once. What is of a module that is lost is gone already."""
        gone = isinstance(handle, TpspSocket) and (handle.closed or handle.life != self._client.life)
        if gone or self._client.channel.failure is not None:
            return Outcome(call="abort")
        return Outcome(call="abort", error=self._closed(self._socket(handle), abort=True)[0])

    def _closed(self, sock: TpspSocket, *, abort: bool) -> tuple[str, Any]:
        if sock.closed:
            return "EBADF", None
        sock.closed = True
        if sock.connecting is not None and sock.connecting.answer is None:
            self._client.forget(sock.connecting)
        answer = self.call("TCP.CLOSE_SOCKET", sock.number, abort)
        if answer.result == "E_ISD" and not (abort and self._may_be_gone(sock)):
            raise self._lost(sock, "TCP.CLOSE_SOCKET")
        if self._reading is sock:
            self._reading = None
        while sock.accepted:
            self._closed(sock.accepted.popleft(), abort=True)
        return "" if answer.result == "E_ISD" else _error_of(answer), None

    def _may_be_gone(self, sock: TpspSocket) -> bool:
        """True if the module may have let go of a socket by itself: some do when its connection is reset.

        A listener has none to lose, and an attempt has an answer before it is over: where such a socket is not known, a
        module has been started anew, which over UDP nothing else shows if it was asked nothing in between.
        """
        under_way = sock.connecting is not None and sock.connecting.answer is None
        return self._listeners.get(sock.number) is not sock and not under_way

    # -- what is asked -----------------------------------------------------------------------------------------------

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """CONFIGURE_SOCKET, as far as it has a paramId for it; else NotApplicable."""
        sock = self._socket(handle)
        number, octets = self._parameter(name, value)
        answer = self._on("TCP.CONFIGURE_SOCKET", sock, number, octets)
        if answer.result in _REFUSED_OPTION:
            raise NotApplicable(f"the target's testability module does not set {name}: {answer.text}")
        return Outcome(call="setsockopt", error=_error_of(answer))

    def set_nagle(self, handle: object, value: int) -> Outcome:
        """CONFIGURE_SOCKET with paramId 6 and this value, whatever the target takes it for; else NotApplicable."""
        number, octets = PARAMETERS["nagle"]
        answer = self._on("TCP.CONFIGURE_SOCKET", self._socket(handle), number,
                          value.to_bytes(octets or 1, self._settings.byte_order))
        if answer.result in _REFUSED_OPTION:
            raise NotApplicable(f"the target's testability module does not set paramId 6: {answer.text}")
        return Outcome(call="setsockopt", error=_error_of(answer))

    def _parameter(self, name: str, value: int) -> tuple[int, bytes]:
        """The paramId and the paramVal of a socket option."""
        if name in self._settings.options:
            number, size = self._settings.options[name]
            return number, (value % (1 << 8 * size)).to_bytes(size, self._settings.byte_order)
        word = ("ttl" if name in _TTL else "tos" if name in _TOS else
                {"TCP_MAXSEG": "mss", "TCP_NODELAY": "nagle", "IP_MTU_DISCOVER": "dont_fragment"}.get(name))
        if word is None:
            raise NotApplicable(f"the testability protocol has no paramId for {name}")
        if word == "nagle":
            on = self._settings.nagle_on
            if on is None:
                raise NotApplicable("paramId 6 means the Nagle algorithm to some and its absence to others; nagle_on "
                                    "in the target's file says which")
            value = 1 - on if value else on
        elif word == "dont_fragment":
            if value not in _DONT_FRAGMENT:
                raise NotApplicable(f"the testability protocol cannot say {name} {value}")
            value = _DONT_FRAGMENT[value]
        number, octets = PARAMETERS[word]
        return number, value.to_bytes(octets or 1, self._settings.byte_order)

    def pending_error(self, handle: object) -> str:
        """Not told."""
        raise Unseen("the testability protocol does not tell the error that waits on a socket")

    def state(self, flow: Flow) -> str:
        """Not told: what the target sends has to show it."""
        return ""

    def listening(self, address: bytes, port: int) -> bool:
        """Not told."""
        raise Unseen("the testability protocol does not tell who listens")

    def half_open(self, port: int) -> int:
        """Not told."""
        raise NotApplicable("the testability protocol does not count half-open connections")

    def information(self, handle: object) -> Mapping[str, Any]:
        """Nothing."""
        return {}


def _error_of(answer: Answer) -> str:
    """The errno name of a result id; its own name if it says nothing that an application would be told."""
    return ERRNO.get(answer.result, answer.result)
