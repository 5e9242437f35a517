# SPDX-License-Identifier: 0BSD
"""A server of the AUTOSAR testability protocol (TPSP, AUTOSAR document 778) that drives sockets of a Linux machine.

It has all service primitives of the groups GENERAL, UDP and TCP, in version 1.1 or 1.2, over UDP or TCP, and needs
nothing but Python 3.9 and its library:

    python3 tcpqual_testability_server.py --bind 192.0.2.1:10000 --udp

The protocol knows no authentication: whoever reaches the port opens sockets of this machine. Let it listen on an
address of a test network, and name the tester with --tester.

Where the document leaves it open: CONNECT is answered once the connection is there or has failed.
RECEIVE_AND_FORWARD on a stream that has ended is answered with E_TCP_COC, on one that was reset with E_TCP_CRE, and so
on, as RECEIVE of RFC 793 is. The paramId 6 switches the Nagle algorithm on with 1 and off with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

SERVICE = 0x0105
GENERAL, UDP, TCP = 0, 1, 2

E_OK, E_NOK, E_NTF, E_ISB, E_ISD, E_UCS, E_UBS = 0x00, 0x01, 0xFF, 0xFD, 0xEF, 0xEE, 0xED
E_TCP_FSU, E_TCP_ILP, E_TCP_INR, E_TCP_CAE, E_TCP_COC, E_TCP_CNE = 0xEA, 0xE9, 0xE8, 0xE7, 0xE6, 0xE5
E_TCP_CRE, E_TCP_CAT, E_TCP_COR = 0xE4, 0xE3, 0xE2
INVALID = {"1.1": 0xEC, "1.2": 0xFC}
INTERFACE = {"1.1": E_NOK, "1.2": 0xEC}
"""E_INV, which has moved, and E_IIF, which took its number."""

_ERRORS = {
    errno.ECONNREFUSED: E_TCP_COR, errno.ECONNRESET: E_TCP_CRE, errno.ETIMEDOUT: E_TCP_CAT, errno.ENOTCONN: E_TCP_CNE,
    errno.EISCONN: E_TCP_CAE, errno.EALREADY: E_TCP_CAE, errno.EADDRINUSE: E_UBS, errno.EADDRNOTAVAIL: E_UBS,
    errno.EPIPE: E_TCP_COC, errno.ENOBUFS: E_TCP_INR, errno.ENOMEM: E_TCP_INR, errno.EDESTADDRREQ: E_TCP_FSU,
    errno.EACCES: E_TCP_ILP,
}
_NO_END = 0xFFFF
_ANY_PORT = 0xFFFF
_URGENT = 0x20
_QUEUED = 1 << 24
"""So many octets that the kernel has not taken are kept for a socket; more is E_ISB."""
_DATAGRAM = 65507
_IPV6_DONTFRAG, _IP_MTU_DISCOVER, _SO_NO_CHECK = 62, 10, 11
_IPV6_MTU_DISCOVER = 23


class Refused(Exception):
    """A request that is answered with this result id."""

    def __init__(self, result: int) -> None:
        super().__init__(f"0x{result:02X}")
        self.result = result


class Malformed(Exception):
    """Parameters that are none of this primitive."""


@dataclass
class Tester:
    """Who asks: how he is answered, and what to call when he is gone."""

    send: Callable[[bytes], None]


@dataclass(eq=False)
class Served:
    """A socket of this machine that a tester has made."""

    number: int
    group: int
    sock: socket.socket
    tester: Tester
    listening: bool = False
    room: int = 0
    connecting: bool = False
    opened: bool = False
    shut: bool = False
    forward: int = 0
    at_most: int = 0
    error: int = 0
    outbox: list[tuple[bytes, int]] = field(default_factory=list)
    closing: bool = False


class Parameters:
    """The octets of a request, taken one parameter after the other."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def take(self, size: int) -> bytes:
        """So many octets."""
        if len(self._left) < size:
            raise Malformed
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self, size: int) -> int:
        """A number of so many octets."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """A bool."""
        value = self.number(1)
        if value > 1:
            raise Malformed
        return bool(value)

    def octets(self) -> bytes:
        """A vint8."""
        return self.take(self.number(2))

    def address(self) -> bytes:
        """An ipxaddr: 4 or 16 octets."""
        octets = self.octets()
        if len(octets) not in (4, 16):
            raise Malformed
        return octets

    def end(self) -> None:
        """Nothing may be left."""
        if self._left:
            raise Malformed


def vint8(octets: bytes) -> bytes:
    """Octets behind their number."""
    return len(octets).to_bytes(2, "big") + octets


class Server:
    """Sockets by number, and what is done with them. `version` is "1.1" or "1.2"."""

    def __init__(self, *, version: str = "1.2", service: int = SERVICE, end_event: bool = False) -> None:
        self.version = version
        self.service = service
        self.end_event = end_event
        self.selector = selectors.DefaultSelector()
        self._sockets: dict[int, Served] = {}
        self._last = 0
        self._begun: Served | None = None
        self._primitives: dict[tuple[int, int], Callable[[Tester, Parameters], bytes | None]] = {
            (GENERAL, 1): self._get_version, (GENERAL, 2): self._start_test, (GENERAL, 3): self._end_test,
            (TCP, 4): self._listen_and_accept, (TCP, 5): self._connect,
        }
        for group in (UDP, TCP):
            for number, method in ((0, self._close_socket), (1, self._create_and_bind), (2, self._send_data),
                                   (3, self._receive_and_forward), (6, self._configure_socket)):
                self._primitives[group, number] = self._of(group, method)
            if version != "1.1":
                self._primitives[group, 7] = self._of(group, self._shutdown)

    @staticmethod
    def _of(group: int, method: Callable[..., bytes | None]) -> Callable[[Tester, Parameters], bytes | None]:
        return lambda tester, parameters: method(group, tester, parameters)

    # -- messages ------------------------------------------------------------------------------------------------------

    def message(self, group: int, number: int, kind: int, result: int, data: bytes = b"") -> bytes:
        """A response (kind 0x80) or an event (0x02)."""
        event = 0x80 if kind == 0x02 else 0
        return struct.pack(">HBBII4B", self.service, group | event, number, 8 + len(data), 0, 1, 1, kind, result) + data

    def take(self, tester: Tester, octets: bytes) -> None:
        """Do what a message asks for, and answer. What is no request is left unanswered."""
        if len(octets) < 16:
            return
        service, group, number, length, _, protocol, interface, kind, _ = struct.unpack_from(">HBBII4B", octets)
        if (service, protocol, interface, kind) != (self.service, 1, 1, 0) or group & 0x80 or length != len(octets) - 8:
            return
        try:
            method = self._primitives.get((group, number))
            if method is None:
                raise Refused(E_NTF)
            data = method(tester, Parameters(octets[16:]))
            result = E_OK
        except Malformed:
            data, result = b"", INVALID[self.version]
        except Refused as refused:
            data, result = b"", refused.result
        except (OSError, OverflowError, ValueError) as error:
            data, result = b"", _ERRORS.get(getattr(error, "errno", 0) or 0, E_NOK)
        if data is not None:
            tester.send(self.message(group, number, 0x80, result, data))
        begun, self._begun = self._begun, None
        if begun is not None:
            self._forward(begun)  # what is queued already goes at once

    def _event(self, served: Served, number: int, data: bytes) -> None:
        served.tester.send(self.message(served.group, number, 0x02, 0, data))

    # -- GENERAL -------------------------------------------------------------------------------------------------------

    def _get_version(self, tester: Tester, parameters: Parameters) -> bytes:
        parameters.end()
        return struct.pack(">HHH", *(int(part) for part in f"{self.version}.0".split(".")))

    def _start_test(self, tester: Tester, parameters: Parameters) -> bytes:
        parameters.end()
        return b""

    def _end_test(self, tester: Tester, parameters: Parameters) -> bytes:
        parameters.number(2)
        parameters.octets()
        parameters.end()
        self.close_all()
        return b""

    def close_all(self) -> None:
        """Reset or close every socket."""
        for served in list(self._sockets.values()):
            self._drop(served, abort=True)

    def gone(self, tester: Tester) -> None:
        """A tester has left: so do his sockets."""
        for served in list(self._sockets.values()):
            if served.tester is tester:
                self._drop(served, abort=True)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _create_and_bind(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        bind, port, address = parameters.flag(), parameters.number(2), parameters.address()
        parameters.end()
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        try:
            sock = socket.socket(family, socket.SOCK_STREAM if group == TCP else socket.SOCK_DGRAM)
        except OSError:
            raise Refused(E_UCS) from None
        sock.setblocking(False)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if group == TCP:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if bind:
                sock.bind((socket.inet_ntop(family, address), 0 if port == _ANY_PORT else port))
        except OSError:
            sock.close()
            raise Refused(E_UBS) from None
        served = self._serve(group, sock, tester)
        self._attend(served)
        return struct.pack(">H", served.number)

    def _serve(self, group: int, sock: socket.socket, tester: Tester) -> Served:
        if len(self._sockets) >= 0xFFFE:
            sock.close()
            raise Refused(E_UCS)
        while True:
            self._last = self._last % 0xFFFE + 1
            if self._last not in self._sockets:
                break
        served = self._sockets[self._last] = Served(number=self._last, group=group, sock=sock, tester=tester)
        return served

    def _served(self, group: int, number: int) -> Served:
        served = self._sockets.get(number)
        if served is None or served.group != group or served.closing:
            raise Refused(E_ISD)
        return served

    def _listen_and_accept(self, tester: Tester, parameters: Parameters) -> bytes:
        served, most = self._served(TCP, parameters.number(2)), parameters.number(2)
        parameters.end()
        if not most:
            raise Refused(INVALID[self.version])
        served.sock.listen(min(most, 4096))
        served.listening, served.room = True, most
        self._attend(served)
        return b""

    def _accept(self, served: Served) -> None:
        while served.room:
            try:
                sock, peer = served.sock.accept()
            except OSError:
                return
            served.room -= 1
            sock.setblocking(False)
            accepted = self._serve(TCP, sock, served.tester)
            accepted.opened = True
            self._event(served, 4, struct.pack(">HHH", served.number, accepted.number, peer[1])
                        + vint8(socket.inet_pton(sock.family, peer[0])))
        self._attend(served)

    def _connect(self, tester: Tester, parameters: Parameters) -> bytes | None:
        served, port, address = self._served(TCP, parameters.number(2)), parameters.number(2), parameters.address()
        parameters.end()
        if served.listening or served.connecting:
            raise Refused(E_TCP_CAE)
        if (len(address) == 4) != (served.sock.family == socket.AF_INET):
            raise Refused(INTERFACE[self.version])
        number = served.sock.connect_ex((socket.inet_ntop(served.sock.family, address), port))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, "connect")
        if not number:
            served.opened = True
            return b""
        served.connecting = True
        self._attend(served)
        return None

    def _connected(self, served: Served) -> None:
        number = served.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        served.connecting, served.opened = False, not number
        served.tester.send(self.message(TCP, 5, 0x80, _ERRORS.get(number, E_NOK) if number else E_OK))
        self._attend(served)

    # -- data ----------------------------------------------------------------------------------------------------------

    def _send_data(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        served, length = self._served(group, parameters.number(2)), parameters.number(2)
        if group == UDP:
            port, address, data = parameters.number(2), parameters.address(), parameters.octets()
            parameters.end()
            served.sock.sendto(self._repeated(data, length), (socket.inet_ntop(served.sock.family, address), port))
            return b""
        flags, data = parameters.number(1), parameters.octets()
        parameters.end()
        octets = self._repeated(data, length)
        if not served.opened:
            raise Refused(E_TCP_CNE)
        if sum(len(queued) for queued, _ in served.outbox) + len(octets) > _QUEUED:
            raise Refused(E_ISB)
        if served.shut:
            raise Refused(E_TCP_COC)
        served.outbox.append((octets, socket.MSG_OOB if flags & _URGENT else 0))
        self._flush(served)
        if served.error:
            result, served.error = _ERRORS.get(served.error, E_NOK), 0
            raise Refused(result)
        return b""

    def _repeated(self, data: bytes, length: int) -> bytes:
        """`data` again and again until there are `length` octets."""
        if length < len(data) or (length and not data):
            raise Refused(INVALID[self.version])
        return (data * (length // len(data) + 1))[:length] if data else b""

    def _flush(self, served: Served) -> None:
        while served.outbox:
            octets, flags = served.outbox[0]
            if octets:
                try:
                    sent = served.sock.send(octets, flags | socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    break
                except OSError as error:
                    served.error = error.errno or errno.EIO
                    served.outbox.clear()
                    break
                if sent < len(octets):
                    served.outbox[0] = (octets[sent:], flags)
                    continue
            served.outbox.pop(0)
        if not served.outbox and served.closing:
            self._drop(served, abort=False)
        elif not served.outbox and served.shut:
            with contextlib.suppress(OSError):
                served.sock.shutdown(socket.SHUT_WR)
        if not served.closing:
            self._attend(served)

    def _receive_and_forward(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        served, at_most, length = self._served(group, parameters.number(2)), parameters.number(2), parameters.number(2)
        parameters.end()
        if not at_most:
            raise Refused(INVALID[self.version])
        dropped = 0
        if group == UDP:
            dropped = self._drain(served)
        else:
            self._check_readable(served)
        served.forward, served.at_most = length, at_most
        self._begun = served
        self._attend(served)
        return struct.pack(">H", min(dropped, 0xFFFF))

    @staticmethod
    def _drain(served: Served) -> int:
        dropped = 0
        with contextlib.suppress(OSError):
            while True:
                dropped += len(served.sock.recv(_DATAGRAM))
        return dropped

    @staticmethod
    def _check_readable(served: Served) -> None:
        """Refuse as RECEIVE of RFC 793 does where nothing will ever come."""
        if not served.opened:
            raise Refused(E_TCP_CNE)
        error, served.error = served.error, 0
        if not error:
            try:
                if served.sock.recv(1, socket.MSG_PEEK):
                    return
            except BlockingIOError:
                return
            except OSError as failed:
                error = failed.errno or errno.EIO
        served.forward = 0
        raise Refused(_ERRORS.get(error, E_NOK) if error else E_TCP_COC)

    def _forward(self, served: Served) -> None:
        """Forward what has come, in events of `at_most` octets, until enough was forwarded."""
        while served.forward:
            size = min(served.at_most, served.forward)
            try:
                if served.group == UDP:
                    data, peer = served.sock.recvfrom(_DATAGRAM)
                    event = (struct.pack(">HH", len(data), peer[1])
                             + vint8(socket.inet_pton(served.sock.family, peer[0])) + vint8(data[:size]))
                else:
                    data = served.sock.recv(size)
                    event = struct.pack(">H", len(data)) + vint8(data)
            except BlockingIOError:
                break
            except OSError as error:
                served.error = error.errno or errno.EIO
                served.forward = 0
                break
            if served.group == TCP and not data:
                served.forward = 0
                if not self.end_event:
                    break
            elif served.forward != _NO_END:
                served.forward = max(0, served.forward - len(data))
            self._event(served, 3, event)
        self._attend(served)

    # -- closing -------------------------------------------------------------------------------------------------------

    def _close_socket(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        served = self._served(group, parameters.number(2))
        abort = parameters.flag() if group == TCP else False
        parameters.end()
        if served.outbox and not abort:
            served.closing, served.forward = True, 0
            self._attend(served)
        else:
            self._drop(served, abort=abort)
        return b""

    def _drop(self, served: Served, *, abort: bool) -> None:
        if served.connecting:
            served.connecting = False
            served.tester.send(self.message(TCP, 5, 0x80, E_TCP_CRE if abort else E_TCP_COC))
        self._sockets.pop(served.number, None)
        self._watch(served, 0)
        if abort and served.group == TCP:
            with contextlib.suppress(OSError):
                served.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served.sock.close()

    def _shutdown(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        served, how = self._served(group, parameters.number(2)), parameters.number(1)
        parameters.end()
        if how > 2:
            raise Refused(INVALID[self.version])
        if how > 0 and served.outbox:
            served.shut = True
            if how == 2:
                served.sock.shutdown(socket.SHUT_RD)
        else:
            served.sock.shutdown((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)[how])
        return b""

    # -- options -------------------------------------------------------------------------------------------------------

    def _configure_socket(self, group: int, tester: Tester, parameters: Parameters) -> bytes:
        served, number, octets = self._served(group, parameters.number(2)), parameters.number(2), parameters.octets()
        parameters.end()
        if number > 7 or (number != 3 and len(octets) != (2 if number == 5 else 1)):
            raise Refused(INVALID[self.version])
        value = int.from_bytes(octets, "big")
        if (number in (5, 6) and group != TCP) or (number == 7 and group != UDP) or (number in (2, 6, 7) and value > 1):
            raise Refused(INVALID[self.version])
        try:
            served.sock.setsockopt(*self._option(served.sock.family == socket.AF_INET6, number, value, octets))
        except OSError:
            raise Refused(INVALID[self.version]) from None
        return b""

    def _option(self, ipv6: bool, number: int, value: int, octets: bytes) -> tuple[int, int, Any]:
        """What setsockopt(2) is given for a paramId."""
        if number == 0:
            return ((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, value) if ipv6
                    else (socket.IPPROTO_IP, socket.IP_TTL, value))
        if number in (1, 4):
            tos = value << 2 & 0xFC if number == 1 else value
            return ((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos) if ipv6 else (socket.IPPROTO_IP, socket.IP_TOS, tos))
        if number == 2:
            found = 2 if value else 0
            return ((socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, found) if ipv6
                    else (socket.IPPROTO_IP, _IP_MTU_DISCOVER, found))
        if number == 3:
            if ipv6:
                raise Refused(INVALID[self.version])
            return socket.IPPROTO_IP, socket.IP_OPTIONS, octets
        if number == 5:
            return socket.IPPROTO_TCP, socket.TCP_MAXSEG, value
        if number == 6:
            return socket.IPPROTO_TCP, socket.TCP_NODELAY, 1 - value
        return socket.SOL_SOCKET, _SO_NO_CHECK, 1 - value

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _attend(self, served: Served) -> None:
        """Wake up for what this socket waits for."""
        events = 0
        if served.forward or (served.listening and served.room):
            events |= selectors.EVENT_READ
        if served.connecting or served.outbox:
            events |= selectors.EVENT_WRITE
        self._watch(served, events)

    def _watch(self, served: Served, events: int) -> None:
        if served.sock.fileno() < 0:
            return
        known = served.sock in self.selector.get_map()
        if known and events:
            self.selector.modify(served.sock, events, served)
        elif known:
            self.selector.unregister(served.sock)
        elif events:
            self.selector.register(served.sock, events, served)

    def ready(self, served: Served, events: int) -> None:
        """A socket has something to read, or room."""
        if self._sockets.get(served.number) is not served:
            return
        if served.connecting:
            if events & selectors.EVENT_WRITE:
                self._connected(served)
            return
        if served.listening:
            self._accept(served)
            return
        if events & selectors.EVENT_WRITE:
            self._flush(served)
        if events & selectors.EVENT_READ and self._sockets.get(served.number) is served:
            self._forward(served)


# -- the tester's way in -----------------------------------------------------------------------------------------------


class Datagrams:
    """Testers by UDP: a message a datagram."""

    def __init__(self, server: Server, sock: socket.socket, allowed: str | None) -> None:
        self._server = server
        self._sock = sock
        self._allowed = allowed
        self._testers: dict[Any, Tester] = {}

    def ready(self) -> None:
        """A datagram has come."""
        try:
            octets, peer = self._sock.recvfrom(1 << 16)
        except OSError:
            return
        if self._allowed in (None, peer[0]):
            self._server.take(self._tester(peer), octets)

    def _tester(self, peer: Any) -> Tester:
        def send(octets: bytes) -> None:
            with contextlib.suppress(OSError):
                self._sock.sendto(octets, peer)

        return self._testers.setdefault(peer, Tester(send))


class Streams:
    """Testers by TCP: messages back to back."""

    def __init__(self, server: Server, sock: socket.socket, allowed: str | None) -> None:
        self._server = server
        self._sock = sock
        self._allowed = allowed

    def ready(self) -> None:
        """A tester connects."""
        try:
            sock, peer = self._sock.accept()
        except OSError:
            return
        if self._allowed not in (None, peer[0]):
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.selector.register(sock, selectors.EVENT_READ, Stream(self._server, sock))


class Stream:
    """One tester by TCP."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._inbox = b""
        self._outbox = b""
        self._tester = Tester(self._send)

    def _send(self, octets: bytes) -> None:
        if self._sock.fileno() < 0:
            return
        self._outbox += octets
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(OSError):
            while self._outbox:
                self._outbox = self._outbox[self._sock.send(self._outbox, socket.MSG_NOSIGNAL):]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._server.selector.modify(self._sock, events, self)

    def ready(self, events: int = selectors.EVENT_READ) -> None:
        """Octets have come, or there is room for answers."""
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        try:
            octets = self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        self._inbox += octets
        while len(self._inbox) >= 8:
            length = int.from_bytes(self._inbox[4:8], "big")
            if not 8 <= length <= 0xFFFF:
                octets = b""  # where the next message begins nobody knows
                break
            if len(self._inbox) < 8 + length:
                break
            message, self._inbox = self._inbox[:8 + length], self._inbox[8 + length:]
            self._server.take(self._tester, message)
        if not octets:
            self._server.gone(self._tester)
            self._server.selector.unregister(self._sock)
            self._sock.close()


def endpoint(text: str) -> tuple[str, int]:
    """`ADDR:PORT`, an IPv6 address in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]") if colon else text)
    if not port.isdecimal() or not 1 <= int(port) <= 0xFFFF or (address.version == 6 and not host.startswith("[")):
        raise ValueError(text)
    if address.is_unspecified:
        raise ValueError("an address of this machine is wanted, not all of them")
    return str(address), int(port)


def listening(address: str, port: int, tcp: bool) -> socket.socket:
    """The socket that testers reach. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    try:
        if tcp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if tcp:
            sock.listen(16)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def serve(sock: socket.socket, *, tcp: bool, version: str = "1.2", service: int = SERVICE, end_event: bool = False,
          tester: str | None = None) -> None:
    """Serve testers of this socket until the process ends."""
    server = Server(version=version, service=service, end_event=end_event)
    way = Streams(server, sock, tester) if tcp else Datagrams(server, sock, tester)
    server.selector.register(sock, selectors.EVENT_READ, way)
    try:
        while True:
            for key, events in server.selector.select():
                if isinstance(key.data, Served):
                    server.ready(key.data, events)
                elif isinstance(key.data, Stream):
                    key.data.ready(events)
                else:
                    key.data.ready()
    finally:
        server.close_all()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tcpqual testability-server", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bind", required=True, metavar="ADDR:PORT", help="the address and port to listen on")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--udp", action="store_true", help="messages in datagrams (the default)")
    way.add_argument("--tcp", action="store_true", help="messages over a connection")
    parser.add_argument("--protocol", choices=sorted(INVALID), default="1.2", help="the version to speak (1.2)")
    parser.add_argument("--service", type=lambda text: int(text, 0), default=SERVICE, metavar="ID",
                        help="the service id (0x0105)")
    parser.add_argument("--tester", metavar="ADDR", help="the only address that is answered")
    parser.add_argument("--end-event", action="store_true",
                        help="tell the end of a stream by an event without octets, which the document does not know")
    chosen = parser.parse_args(arguments)
    try:
        address, port = endpoint(chosen.bind)
    except ValueError as error:
        parser.error(f"--bind {chosen.bind}: {error}; ADDR:PORT is wanted, an IPv6 address in brackets")
    try:
        sock = listening(address, port, chosen.tcp)
    except OSError as error:
        print(f"{parser.prog}: {chosen.bind}: {error.strerror}", file=sys.stderr)
        return 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"testability {chosen.protocol} at {'tcp' if chosen.tcp else 'udp'} {chosen.bind}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        serve(sock, tcp=chosen.tcp, version=chosen.protocol, service=chosen.service, end_event=chosen.end_event,
              tester=chosen.tester)
    return 0


if __name__ == "__main__":
    sys.exit(main())
