# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper tester of this machine's kernel: plain non-blocking sockets, made inside the target's namespace."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..wire.clock import Outcome, error_name
from ..wire.errors import TargetError
from ..wire.netns import NetworkNamespace
from ..wire.segment import Flow
from .base import Half
from .sock_diag import SockDiag

_HALVES: Final = {"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}
_LINGER: Final = struct.Struct("ii")
_LEVELS: Final = {"SO_": socket.SOL_SOCKET, "TCP_": socket.IPPROTO_TCP, "IP_": socket.IPPROTO_IP,
                  "IPV6_": socket.IPPROTO_IPV6}
_NUMBERS: Final = {"IP_RECVERR": 11, "IPV6_RECVERR": 25}
"""Linux's options that Python does not name."""
_INFORMATION: Final = struct.Struct("=BBBBBBBBIIIIIIII")
"""The start of Linux's struct tcp_info, which never changes: ca_state .. retrans."""


class PendingCall:
    """A call on a socket that would block: tried again whenever the descriptor is ready."""

    def __init__(self, name: str, sock: socket.socket, attempt: Callable[[], Any], *, writable: bool = False) -> None:
        self.name = name
        self.writable = writable
        self._socket = sock
        self._attempt = attempt

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now; EBADF once the application has closed the socket itself."""
        if self._socket.fileno() < 0:
            return Outcome(call=self, error="EBADF")
        try:
            return Outcome(call=self, value=self._attempt())
        except BlockingIOError:
            return None
        except OSError as error:
            return Outcome(call=self, error=error_name(error.errno or 0))


class LingeringClose:
    """close() with SO_LINGER blocks even on a non-blocking socket, so it runs in a thread of its own."""

    name = "close"

    def __init__(self, sock: socket.socket) -> None:
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._error = 0
        self._descriptor = sock.detach()
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        try:
            os.close(self._descriptor)
        except OSError as error:
            self._error = error.errno or 0
        os.eventfd_write(self._done, 1)

    def __del__(self) -> None:
        # The thread keeps this call alive until it has written, so nobody needs the descriptor any more.
        os.close(self._done)

    def fileno(self) -> int:
        """An eventfd that turns readable when the socket is closed."""
        return self._done

    def poll(self) -> Outcome | None:
        """The outcome if there is one by now."""
        try:
            os.eventfd_read(self._done)
        except BlockingIOError:
            return None
        return Outcome(call=self, error=error_name(self._error) if self._error else "")


class ImmediateCall:
    """A call that was over at once."""

    def __init__(self, name: str, *, error: str = "", value: Any = None) -> None:
        self.name = name
        self._outcome = Outcome(call=self, error=error, value=value)

    def fileno(self) -> int:
        """No descriptor: the outcome is there."""
        return -1

    def poll(self) -> Outcome | None:
        """The outcome."""
        return self._outcome


class SocketUpperTester:
    """Sockets of the local kernel inside one network namespace.

    A handle is the Python socket itself, so that a case author who needs more can reach it.
    """

    def __init__(self, namespace: NetworkNamespace) -> None:
        self._namespace = namespace
        with namespace.entered():
            self._diag = SockDiag()

    def _socket(self, address: bytes) -> socket.socket:
        family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET
        with self._namespace.entered():
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock

    def _bound(self, address: bytes, port: int, options: Mapping[str, int]) -> socket.socket:
        chosen = [(*_option(name), value) for name, value in options.items()]
        sock = self._socket(address)
        try:
            for level, option, value in chosen:
                sock.setsockopt(level, option, value)
            sock.bind((socket.inet_ntop(sock.family, address), port))
        except OSError as error:
            sock.close()
            raise TargetError(f"bind to port {port}: {error.strerror}") from error
        return sock

    def listen(self, address: bytes, port: int, *, backlog: int, options: Mapping[str, int]) -> socket.socket:
        """A listening socket. Raises TargetError if the port cannot be had."""
        sock = self._bound(address, port, options)
        sock.listen(backlog)
        return sock

    def connect(self, flow: Flow, *, options: Mapping[str, int]) -> tuple[socket.socket, PendingCall | ImmediateCall]:
        """A connection attempt from the flow's target end to its local end."""
        sock = self._bound(flow.target, flow.target_port, options)
        number = sock.connect_ex((socket.inet_ntop(sock.family, flow.local), flow.local_port))
        if number not in (0, errno.EINPROGRESS):
            return sock, ImmediateCall("connect", error=error_name(number))

        def attempt() -> None:
            # Only poll(2) knows when connect(2) would return: a half-open socket has a peer's name already.
            if not _is_writable(sock):
                raise BlockingIOError
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))

        return sock, PendingCall("connect", sock, attempt, writable=True)

    def accept(self, handle: object) -> PendingCall:
        """The next connection; the outcome's value is its socket."""
        listener = _sock(handle)

        def attempt() -> socket.socket:
            sock, _ = listener.accept()
            sock.setblocking(False)
            return sock

        return PendingCall("accept", listener, attempt)

    def send(self, handle: object, data: bytes, *, urgent: bool = False) -> Outcome:
        """Hand data over; the value is the number of octets taken (0 if there is no room)."""
        return _outcome("send", lambda: _sock(handle).send(data, socket.MSG_OOB if urgent else 0))

    def recv(self, handle: object, size: int) -> PendingCall:
        """Up to `size` octets; b"" at the end of the stream."""
        sock = _sock(handle)
        return PendingCall("recv", sock, lambda: sock.recv(size))

    def shutdown(self, handle: object, half: Half) -> Outcome:
        """shutdown(2)."""
        return _outcome("shutdown", lambda: _sock(handle).shutdown(_HALVES[half]))

    def close(self, handle: object, *, linger_s: int | None = None) -> ImmediateCall | LingeringClose:
        """close(2), with SO_LINGER if `linger_s` is given."""
        sock = _sock(handle)
        if linger_s is None:
            sock.close()
            return ImmediateCall("close")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, linger_s))
        return LingeringClose(sock)

    def abort(self, handle: object) -> Outcome:
        """close(2) with a linger time of zero, which is how the socket API spells ABORT."""
        sock = _sock(handle)
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
            sock.close()
        return Outcome(call="abort")

    def set_option(self, handle: object, name: str, value: int) -> Outcome:
        """setsockopt(2) with an option named as in the headers. Raises TargetError for a name unknown here."""
        level, option = _option(name)
        return _outcome("setsockopt", lambda: _sock(handle).setsockopt(level, option, value))

    def pending_error(self, handle: object) -> str:
        """SO_ERROR as a name; "" for none."""
        number = _sock(handle).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return error_name(number) if number else ""

    def state(self, flow: Flow) -> str:
        """The connection's state; CLOSED if there is none, even where a listener would take a SYN."""
        entry = self._diag.find(flow)
        return "CLOSED" if entry is None or entry.state == "LISTEN" else entry.state

    def listening(self, address: bytes, port: int) -> bool:
        """True if a socket listens there."""
        nobody = Flow(local=bytes(len(address)), local_port=0, target=address, target_port=port)
        entry = self._diag.find(nobody)
        return entry is not None and entry.state == "LISTEN"

    def half_open(self, port: int) -> int:
        """Requests of the listener on `port` in SYN-RECEIVED."""
        return self._diag.half_open(port)

    def information(self, handle: object) -> Mapping[str, Any]:
        """The part of tcp_info that cases use."""
        fields = _INFORMATION.unpack_from(_sock(handle).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192))
        return {"retransmits": fields[2], "probes": fields[3], "backoff": fields[4], "options": fields[5],
                "rto_us": fields[8], "ato_us": fields[9], "send_mss": fields[10], "receive_mss": fields[11],
                "unacked": fields[12], "sacked": fields[13], "lost": fields[14], "retrans": fields[15]}

    def close_driver(self) -> None:
        """Close what the driver itself holds."""
        self._diag.close()


def _sock(handle: object) -> socket.socket:
    if not isinstance(handle, socket.socket):
        raise TargetError(f"{handle!r} is no socket of this target")
    return handle


def _is_writable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


def _option(name: str) -> tuple[int, int]:
    level = next((level for prefix, level in _LEVELS.items() if name.startswith(prefix)), None)
    number = getattr(socket, name, _NUMBERS.get(name))
    if level is None or number is None:
        raise TargetError(f"socket option {name!r}: unknown; a name such as SO_KEEPALIVE or TCP_NODELAY is wanted")
    return level, number


def _outcome(name: str, call: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(call=name, value=call())
    except BlockingIOError:
        return Outcome(call=name, value=0)
    except OSError as error:
        return Outcome(call=name, error=error_name(error.errno or 0))
