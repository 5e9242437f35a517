# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference model behind the pipe protocol, by the Python kit: the same verdicts are due as of `--target model`.

It is started as a process by the tests. `sabotage` makes it fail in that way when a UDP datagram comes; `abort`, when
a socket is aborted.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "sdk" / "python")]

from tcpqual_pipe import Again, End, Greeting, Refused, Stack, serve  # noqa: E402

from harness import __version__  # noqa: E402
from harness.targets.model.connection import Connection  # noqa: E402
from harness.targets.model.defects import parts_of  # noqa: E402
from harness.targets.model.listener import Listener  # noqa: E402
from harness.targets.model.states import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT  # noqa: E402
from harness.targets.model.values import values_of  # noqa: E402
from harness.targets.profile import load_profile  # noqa: E402
from harness.wire.segment import Flow  # noqa: E402

_SECOND = 1_000_000_000
_OVER = (CLOSED, TIME_WAIT)


class Socket:
    """What a number stands for: options until it is a listener or a connection."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner
        self.options: dict[str, int] = {}
        self.until_ns: int | None = None


class ModelBehindPipe(Stack):
    name = "model"
    version = __version__

    def __init__(self, defect: str = "", sabotage: str = "") -> None:
        super().__init__()
        self.defect = defect
        self.sabotage = sabotage

    def begin(self, greeting: Greeting) -> None:
        parts = parts_of(self.defect)
        self.core = parts.stack(values_of(load_profile("model")), [greeting.ipv4, greeting.ipv6], mtu=self.mtu,
                                seed=greeting.seed, connection=parts.connection, listener=parts.listener)
        self.core.sent = self.sent
        self.network = parts.network(self.core, parts.reassembly)

    def packet(self, octets: bytes) -> None:
        self.core.now_ns = self.now_ns
        if self.sabotage and self.sabotage != "abort":
            self._fail(octets)
        self.network.take(octets)

    def _fail(self, octets: bytes) -> None:
        """Do what a broken stack does, when a UDP datagram comes."""
        if octets[9] != 17:
            return
        print("assertion failed: pcb != NULL", file=sys.stderr, flush=True)
        if self.sabotage == "crash":
            os.kill(os.getpid(), 11)
        elif self.sabotage == "hang":
            time.sleep(600)
        elif self.sabotage == "exit":
            sys.exit(3)
        elif self.sabotage == "late":
            self.now_ns += 5
        else:
            os.write(1 if self.sabotage == "stray" else self.raw, b"tcp_input: out of memory\n")

    raw = -1

    def run(self) -> None:
        self.core.run(self.now_ns)

    def deadline_ns(self) -> int | None:
        return self.core.next_ns()

    # -- sockets -----------------------------------------------------------------------------------------------------

    def socket(self, family: int) -> Socket:
        return Socket()

    def option(self, sock: Socket, name: str, value: int) -> None:
        self.core.now_ns = self.now_ns
        where = sock.inner or self.core.connection(Flow(local=bytes(4), local_port=0, target=bytes(4), target_port=0))
        if not isinstance(where, Connection) or not where.set_option(name, value):
            raise Refused("ENOPROTOOPT")
        if sock.inner is None:
            sock.options[name] = value

    def listen(self, sock: Socket, local: End, backlog: int) -> None:
        sock.inner = self.core.listen(local.address, local.port, backlog, sock.options)
        if sock.inner is None:
            raise Refused("EADDRINUSE")

    def connect(self, sock: Socket, local: End, remote: End) -> None:
        self.core.now_ns = self.now_ns
        connection = self.core.connect(Flow(local=local.address, local_port=local.port, target=remote.address,
                                            target_port=remote.port))
        if connection is None:
            raise Refused("EADDRINUSE")
        sock.inner = connection
        for name, value in sock.options.items():
            connection.set_option(name, value)
        connection.open_actively()

    def connected(self, sock: Socket) -> None:
        connection = self._connection(sock)
        if connection.opened:
            return
        if connection.state in _OVER:
            raise Refused(connection.take_error() or "ECONNABORTED")
        raise Again

    def accept(self, sock: Socket) -> Socket:
        if not isinstance(sock.inner, Listener):
            raise Refused("EINVAL")
        if not sock.inner.accepted:
            raise Again
        return Socket(sock.inner.accepted.popleft())

    def send(self, sock: Socket, data: bytes, urgent: bool) -> int:
        self.core.now_ns = self.now_ns
        connection = self._connection(sock)
        if connection.error:
            raise Refused(connection.take_error())
        if connection.write_closed or connection.state in _OVER:
            raise Refused("EPIPE")
        return 0 if connection.state in (SYN_SENT, SYN_RECEIVED) else connection.send(data, urgent=urgent)

    def recv(self, sock: Socket, size: int) -> bytes:
        connection = self._connection(sock)
        if connection.unread:
            self.core.now_ns = self.now_ns
            return connection.receive(size)
        if connection.error:
            raise Refused(connection.take_error())
        if connection.stream_ended or not connection.reads or connection.state in _OVER:
            return b""
        raise Again

    def shutdown(self, sock: Socket, half: str) -> None:
        self.core.now_ns = self.now_ns
        connection = self._connection(sock)
        if connection.state == CLOSED:
            raise Refused("ENOTCONN")
        if half != "write":
            connection.shut_reading()
        if half != "read":
            connection.shut_writing()

    def close(self, sock: Socket, linger_s: int | None) -> None:
        self.core.now_ns = self.now_ns
        if sock.inner is not None:
            sock.inner.close()
        if linger_s is not None:
            sock.until_ns = self.now_ns + linger_s * _SECOND
            self.core.timers.make(lambda: None).set(sock.until_ns)
        self.closed(sock)

    def closed(self, sock: Socket) -> None:
        if sock.until_ns is not None and sock.inner.lingers and self.now_ns < sock.until_ns:
            raise Again

    def abort(self, sock: Socket) -> None:
        self.core.now_ns = self.now_ns
        if self.sabotage == "abort":
            os.kill(os.getpid(), 11)
        if isinstance(sock.inner, Listener):
            sock.inner.close()
        elif sock.inner is not None:
            sock.inner.abort()

    def error(self, sock: Socket) -> str:
        return str(self._connection(sock).take_error())

    def state(self, local: End, remote: End) -> str:
        connection = self.core.connections.get((local.address, local.port, remote.address, remote.port))
        return CLOSED if connection is None else connection.state

    def listening(self, local: End) -> bool:
        return (local.address, local.port) in self.core.listeners

    def half_open(self, port: int) -> int:
        return self.core.half_open(port)

    def information(self, sock: Socket) -> dict[str, int]:
        connection = self._connection(sock)
        return {"rto_us": connection.round_trip.rto_ns // 1000, "send_mss": connection.payload_limit,
                "retransmits": connection.retries}

    @staticmethod
    def _connection(sock: Socket) -> Connection:
        if not isinstance(sock.inner, Connection):
            raise Refused("ENOTCONN")
        return sock.inner


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    stack = ModelBehindPipe(**words)
    if "sabotage" in words:
        stack.raw = os.dup(1)
    serve(stack)
