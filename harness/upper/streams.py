# SPDX-License-Identifier: GPL-2.0-or-later
"""Byte streams to an agent: a TCP connection, a UNIX socket, a character device, a process's input and output.

An opener takes what it needs and returns a `ByteStream`, or raises TargetError. What is on such a stream is the matter
of `agent`; nothing here waits without an end.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
import subprocess
import termios
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from ..wire.errors import TargetError

_CHUNK: Final = 1 << 16
_KEPT: Final = 4096
"""Octets of a process's standard error that errors quote."""
_LINES: Final = 8
_WIDEST: Final = 800
_END_S: Final = 2.0


def _nothing() -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class ByteStream:
    """Two descriptors, which may be the same one, that do not block.

    `lasting`: the stream outlives those at its ends, as a device does, so that what comes first may be the rest of an
    earlier conversation, and that nobody may be there yet. `close` may be called again. `remarks` is what else the
    other end has said, for errors: the last lines of its standard error or console. `pump` moves octets where nobody
    else does while this end waits, because the other end stands still then.
    """

    name: str
    source: int
    sink: int
    close: Callable[[], None]
    remarks: Callable[[], str] = _nothing
    lasting: bool = False
    pump: Callable[[], None] | None = None


class StreamEnded(Exception):
    """The stream is over, and how."""


def read(stream: ByteStream) -> bytes:
    """What is there, b"" if there is nothing yet. Raises StreamEnded."""
    try:
        octets = os.read(stream.source, _CHUNK)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise StreamEnded(os.strerror(error.errno or 0)) from None
    if not octets:
        raise StreamEnded("its end closed the stream")
    return octets


def write(stream: ByteStream, octets: bytes | bytearray | memoryview) -> int:
    """How many octets were taken. Raises StreamEnded."""
    try:
        return os.write(stream.sink, octets)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise StreamEnded(os.strerror(error.errno or 0)) from None


def wait(stream: ByteStream, *, writing: bool, limit_s: float) -> None:
    """Block until there is something to read, or room to write if that is wanted, or so much time is over."""
    if stream.pump is not None:
        stream.pump()
        return
    poll = select.poll()
    poll.register(stream.source, select.POLLIN)
    if writing:
        poll.register(stream.sink, select.POLLOUT | (select.POLLIN if stream.sink == stream.source else 0))
    poll.poll(max(0.0, limit_s) * 1000)


# -- openers ----------------------------------------------------------------------------------------------------------


def over_tcp(address: str, port: int, *, limit_s: float,
             inside: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext) -> ByteStream:
    """A connection to an agent that listens; the socket is made `inside` a network namespace. Raises TargetError."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    with inside():
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(limit_s)
        sock.connect((address, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        reason = f"no answer within {limit_s:g} s" if isinstance(error, TimeoutError) else error.strerror
        raise TargetError(f"agent at {where}: {reason}; is it started there, and may this machine reach it?") from None
    return _of_socket(sock, where, lasting=False)


def over_unix(path: str, *, limit_s: float) -> ByteStream:
    """The other end of a character device of a virtual machine: a UNIX socket that its monitor listens on."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(limit_s)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise TargetError(f"agent at {path}: {error.strerror or error}") from None
    return _of_socket(sock, path, lasting=True)


def over_socket(sock: socket.socket, name: str) -> ByteStream:
    """A socket that is connected already, to an agent whose standard input and output are the other end."""
    return _of_socket(sock, name, lasting=False)


def _of_socket(sock: socket.socket, name: str, *, lasting: bool) -> ByteStream:
    sock.setblocking(False)
    return ByteStream(name=name, source=sock.fileno(), sink=sock.fileno(), close=sock.close, lasting=lasting)


def over_device(path: str) -> ByteStream:
    """A character device of this machine: a serial line, whose speed has been set. Raises TargetError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError(f"agent at {path}: {error.strerror}") from None
    with contextlib.suppress(termios.error):
        _make_raw(descriptor)
    return ByteStream(name=path, source=descriptor, sink=descriptor, close=_closing(descriptor), lasting=True)


def _make_raw(descriptor: int) -> None:
    """Let a terminal pass octets as they are. Raises termios.error if it is none."""
    iflag, oflag, cflag, lflag, *rest = termios.tcgetattr(descriptor)
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR |
               termios.ICRNL | termios.IXON | termios.IXOFF)
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8 | termios.CLOCAL | termios.CREAD
    termios.tcsetattr(descriptor, termios.TCSANOW, [iflag, oflag, cflag, lflag, *rest])


def _closing(*descriptors: int) -> Callable[[], None]:
    left = list(descriptors)

    def close() -> None:
        while left:
            os.close(left.pop())

    return close


def over_process(command: Sequence[str], name: str, *,
                 inside: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext) -> ByteStream:
    """The standard input and output of a program: an agent started with --stdio, here or by ssh. Raises TargetError.

    Its standard error is kept for errors. `inside` is where it is started, a network namespace for example.
    """
    remarks = os.memfd_create("remarks", os.MFD_CLOEXEC)
    try:
        with inside():
            process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=remarks,
                                       bufsize=0, start_new_session=True)
    except OSError as error:
        os.close(remarks)
        raise TargetError(f"{name}: cannot start {command[0]!r}: {error.strerror}") from None
    assert process.stdin
    assert process.stdout
    os.set_blocking(process.stdin.fileno(), False)
    os.set_blocking(process.stdout.fileno(), False)

    def close() -> None:
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def last() -> str:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        with open(remarks, "rb", closefd=False) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _KEPT))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-_LINES:])[-_WIDEST:]

    stream = ByteStream(name=name, source=process.stdout.fileno(), sink=process.stdin.fileno(), close=close,
                        remarks=last)
    weakref.finalize(stream, os.close, remarks)  # it is asked for its last remarks behind its end
    return stream


def deadline(limit_s: float) -> float:
    """The instant, of `time.monotonic`, at which so much time is over."""
    return time.monotonic() + limit_s
