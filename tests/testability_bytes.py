# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the AUTOSAR testability protocol, octet by octet, as its document has them; and a module that plays odd.

`VECTORS` were written down from the document and from other implementations, not by our codec.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TAIL_REQUEST = "00000000 01 01 00 00"
TAIL_RESPONSE = "00000000 01 01 80 00"
TAIL_EVENT = "00000000 01 01 02 00"


def octets(text: str) -> bytes:
    """The octets that hexadecimal digits say."""
    return bytes.fromhex(text.replace(" ", ""))


VECTORS: dict[str, tuple[str, tuple[Any, ...], bytes, bytes, tuple[Any, ...]]] = {
    # name: primitive, values of the request, request, response, values of the response
    "version": ("GENERAL.GET_VERSION", (), octets("0105 0001 00000008" + TAIL_REQUEST),
                octets("0105 0001 0000000E" + TAIL_RESPONSE + "0001 0002 0000"), (1, 2, 0)),
    "bind": ("TCP.CREATE_AND_BIND", (True, 0xFFFF, bytes(4)),
             octets("0105 0201 00000011" + TAIL_REQUEST + "01 FFFF 0004 00000000"),
             octets("0105 0201 0000000A" + TAIL_RESPONSE + "0001"), (1,)),
    "listen": ("TCP.LISTEN_AND_ACCEPT", (1, 3), octets("0105 0204 0000000C" + TAIL_REQUEST + "0001 0003"),
               octets("0105 0204 00000008" + TAIL_RESPONSE), ()),
    "send": ("TCP.SEND_DATA", (2, 5, 8, b"hello"),
             octets("0105 0202 00000014" + TAIL_REQUEST + "0002 0005 08 0005 68656C6C6F"),
             octets("0105 0202 00000008" + TAIL_RESPONSE), ()),
    "forward": ("TCP.RECEIVE_AND_FORWARD", (2, 1000, 0xFFFF),
                octets("0105 0203 0000000E" + TAIL_REQUEST + "0002 03E8 FFFF"),
                octets("0105 0203 0000000A" + TAIL_RESPONSE + "0000"), (0,)),
    "close": ("TCP.CLOSE_SOCKET", (2, False), octets("0105 0200 0000000B" + TAIL_REQUEST + "0002 00"),
              octets("0105 0200 00000008" + TAIL_RESPONSE), ()),
}
ACCEPTED = octets("0105 8204 00000014" + TAIL_EVENT + "0001 0002 3039 0004 C0000202")
"""A connection of listener 1, socket 2, from 192.0.2.2 port 12345."""
WORLD = octets("0105 8203 00000011" + TAIL_EVENT + "0005 0005 776F726C64")
"""Five octets, `world`."""


def response(request: bytes, data: bytes = b"", *, result: int = 0, kind: int = 0x80) -> bytes:
    """The response to a request, made by hand."""
    return (request[:4] + (8 + len(data)).to_bytes(4, "big") + bytes(4) + bytes((1, 1, kind, result)) + data)


def is_request(message: bytes, group: int, number: int) -> bool:
    """True if the message is this request."""
    return message[2:4] == bytes((group, number))


Script = Callable[[bytes], Sequence[bytes] | None]
"""From a request to what is said to it, one message or any octets each; None is the end of the module."""


class ScriptedModule:
    """A testability module on loopback that answers by a script, whatever that says."""

    def __init__(self, transport: str, script: Script) -> None:
        self.transport = transport
        self.requests: list[bytes] = []
        self._script = script
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        if transport == "tcp":
            self._socket.listen(4)
        self._thread = threading.Thread(target=self._udp if transport == "udp" else self._tcp, daemon=True)
        self._thread.start()

    def _is_over(self, sock: socket.socket) -> bool:
        """Wait for something to come, or for the end."""
        return self._stopped in select.select([sock, self._stopped], [], [])[0]

    def _udp(self) -> None:
        with self._socket:
            while not self._is_over(self._socket):
                message, peer = self._socket.recvfrom(65536)
                self.requests.append(message)
                answers = self._script(message)
                if answers is None:
                    return
                for answer in answers:
                    self._socket.sendto(answer, peer)

    def _tcp(self) -> None:
        with self._socket:
            while not self._is_over(self._socket):
                sock, _ = self._socket.accept()
                with sock, contextlib.suppress(OSError):
                    self._stream(sock)

    def _stream(self, sock: socket.socket) -> None:
        inbox = b""
        while not self._is_over(sock):
            came = sock.recv(65536)
            if not came:
                return
            inbox += came
            while len(inbox) >= 8 and len(inbox) >= (size := 8 + int.from_bytes(inbox[4:8], "big")):
                message, inbox = inbox[:size], inbox[size:]
                self.requests.append(message)
                answers = self._script(message)
                if answers is None:
                    return
                sock.sendall(b"".join(answers))

    def close(self) -> None:
        """End it, whatever it waits for."""
        self._stop.send(b"x")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._stop.close()
        self._stopped.close()


@contextlib.contextmanager
def scripted(transport: str, script: Script) -> Iterator[ScriptedModule]:
    """A module for the time of a test."""
    module = ScriptedModule(transport, script)
    try:
        yield module
    finally:
        module.close()


# -- the reference server as a process --------------------------------------------------------------------------------

SERVER = Path(__file__).parent.parent / "sdk" / "python" / "tcpqual_testability_server.py"
_START = """
import sys
sys.path.insert(0, sys.argv[1])
import tcpqual_testability_server as module
sock = module.listening("127.0.0.1", 0, sys.argv[2] == "tcp")
print(sock.getsockname()[1], flush=True)
module.serve(sock, tcp=sys.argv[2] == "tcp", version=sys.argv[3], end_event=sys.argv[4] == "end")
"""


class ReferenceServer:
    """`tcpqual_testability_server.py` on loopback, in the network namespace in which it is started."""

    def __init__(self, transport: str, version: str = "1.2", *, end_event: bool = False) -> None:
        self.transport = transport
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, str(SERVER.parent), transport, version, "end" if end_event else ""],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.port = int(line)

    def close(self) -> str:
        """End it; returns what it said on its standard error."""
        self.process.terminate()
        return self.process.communicate(timeout=10)[1]


@contextlib.contextmanager
def reference(transport: str, version: str = "1.2", *, end_event: bool = False) -> Iterator[ReferenceServer]:
    """A server for the time of a test, which may not fail in it."""
    server = ReferenceServer(transport, version, end_event=end_event)
    try:
        yield server
        assert server.process.poll() is None, "the server has ended"
    finally:
        said = server.close()
    assert not said


class Talker:
    """Octets to a module and back, without our client."""

    def __init__(self, module: Any) -> None:
        kind = socket.SOCK_DGRAM if module.transport == "udp" else socket.SOCK_STREAM
        self.sock = socket.socket(socket.AF_INET, kind)
        self.sock.settimeout(5)
        self.sock.connect(("127.0.0.1", module.port))
        self._udp = module.transport == "udp"

    def send(self, message: bytes) -> None:
        """Send these octets."""
        self.sock.send(message)

    def receive(self) -> bytes:
        """The next message."""
        if self._udp:
            return self.sock.recv(65536)
        head = self._exactly(8)
        return head + self._exactly(int.from_bytes(head[4:8], "big"))

    def _exactly(self, size: int) -> bytes:
        came = b""
        while len(came) < size:
            more = self.sock.recv(size - len(came))
            if not more:
                raise EOFError
            came += more
        return came

    def ask(self, message: bytes) -> bytes:
        """What a message is answered with."""
        self.send(message)
        return self.receive()

    def close(self) -> None:
        """Leave."""
        self.sock.close()
