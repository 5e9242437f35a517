# SPDX-License-Identifier: GPL-2.0-or-later
"""The injector's end of the wire: one long-lived packet socket, and a tap that sees what we sent.

AF_PACKET never echoes a frame to the socket that sent it, so the tap (a second socket that keeps outgoing frames only)
gives our transmit stamps and completes the capture. Both are made once for a link: opening and closing a packet socket
for every probe is what makes other tools slow.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Protocol

from .errors import LinkError
from .frame import Frame

Network = IPv4Network | IPv6Network

_ETH_P_ALL: Final = 0x0003
SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
PACKET_AUXDATA: Final = 8
_PACKET_QDISC_BYPASS: Final = 20
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_CSUM_NOT_READY: Final = 1 << 3
_STAMP: Final = struct.Struct("qq")
_BUFFER_BYTES: Final = 8 << 20
_ROOM_S: Final = 0.001
_MAX_FRAME: Final = 65536 + 14

_ANCILLARY: Final = socket.CMSG_SPACE(_STAMP.size) + socket.CMSG_SPACE(20)


class Link(Protocol):
    """What every target offers the injector: Ethernet frames in and out."""

    mac: bytes
    target_mac: bytes
    mtu: int

    def send_bytes(self, frame: bytes) -> None:
        """Put one frame on the wire. Raises LinkError."""

    def recv_frame(self) -> Frame | None:
        """The next frame of the target, or None; never blocks. Raises LinkError."""

    def poll(self) -> Frame | None:
        """The same, as a clock's source."""

    def fileno(self) -> int:
        """The descriptor to wait on, -1 for none."""

    def sent(self) -> list[Frame]:
        """What went out since the last call, with transmit stamps."""

    def lost(self) -> int:
        """Frames that the link could not keep since the last call."""

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Send frames of one size that stand one behind the other, as fast as can be; returns how many went out.

        They are neither stamped nor among what `sent` returns. Raises LinkError.
        """

    def ignore(self, networks: Collection[Network]) -> None:
        """From now on, do not hear what is sent to addresses of these networks; an empty collection undoes it."""

    def close(self) -> None:
        """Release the link."""


def outgoing_only() -> bytes:
    """A classic BPF program that keeps the frames that this host sends (skb->pkt_type == PACKET_OUTGOING)."""
    load_packet_type = (0x28, 0, 0, 0xFFFFF000 + 4)
    jump_if_outgoing = (0x15, 0, 1, 4)
    keep, drop = (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)
    return b"".join(struct.pack("=HBBI", *step) for step in (load_packet_type, jump_if_outgoing, keep, drop))


def all_but(networks: Collection[Network]) -> bytes:
    """A classic BPF program that keeps every frame but the IP packets sent to addresses of these networks."""
    keep, drop = (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)
    # Behind each network's tests stands its drop; whatever differs jumps over it, to the next network's tests.
    steps: list[tuple[int, int, int, int]] = []
    for network in networks:
        ethertype, start = (0x0800, 30) if network.version == 4 else (0x86DD, 38)
        prefix, mask = network.network_address.packed, network.netmask.packed
        tests = [(12, 0x28, ethertype, 0xFFFF)]
        tests += [(start + at, 0x20, *struct.unpack(">II", prefix[at:at + 4] + mask[at:at + 4]))
                  for at in range(0, len(prefix), 4) if any(mask[at:at + 4])]
        for number, (at, load, value, bits) in enumerate(tests):
            to_next = 3 * (len(tests) - 1 - number) + 1
            steps += [(load, 0, 0, at), (0x54, 0, 0, bits), (0x15, 0, to_next, value)]
        steps.append(drop)
    return b"".join(struct.pack("=HBBI", *step) for step in (*steps, keep))


def packet_socket(interface: str, *, program: bytes | None = None) -> socket.socket:
    """A packet socket on an interface of the present network namespace, with kernel stamps and checksum state.

    Raises LinkError if the right (CAP_NET_RAW) or the interface is missing.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise LinkError("packet socket: not permitted; run as root or where user namespaces are allowed "
                        "(tcpqual doctor)") from error
    try:
        _set_up(sock, program)
        sock.bind((interface, _ETH_P_ALL))
    except OSError as error:
        sock.close()
        names = ", ".join(name for _, name in socket.if_nameindex()) or "none"
        raise LinkError(f"interface {interface!r}: {error.strerror}; interfaces here: {names}") from error
    return sock


def _set_up(sock: socket.socket, program: bytes | None) -> None:
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        # Inside a user namespace the limit of the host holds; a loss is counted and reported by `lost`.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    if program is not None:
        _attach(sock, program)


def _attach(sock: socket.socket, program: bytes) -> None:
    holder = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(holder))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


class PacketLink:
    """A link over one interface of the network namespace in which it is made.

    `instant` turns a kernel stamp (CLOCK_REALTIME nanoseconds) into an instant of the target's clock. `inside` enters
    that namespace again, for the socket that a burst needs later.
    """

    def __init__(self, interface: str, *, mac: bytes, target_mac: bytes, mtu: int, instant: Callable[[int], int],
                 inside: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext) -> None:
        self.interface = interface
        self.mac = mac
        self.target_mac = target_mac
        self.mtu = mtu
        self._instant = instant
        self._inside = inside
        self._burst: BurstSocket | None = None
        self.ignored: frozenset[Network] = frozenset()
        self._socket = packet_socket(interface)
        try:
            self._tap = packet_socket(interface, program=outgoing_only())
        except LinkError:
            self._socket.close()
            raise
        self._buffer = bytearray(_MAX_FRAME)
        self._view = memoryview(self._buffer)
        self._into = [self._buffer]
        self._recvmsg_into = self._socket.recvmsg_into
        self._send = self._socket.send
        self._unread = 0
        self._sent: list[Frame] = []

    def send_bytes(self, frame: bytes) -> None:
        """Put one frame on the wire. Raises LinkError."""
        try:
            self._send(frame)
        except OSError as error:
            raise LinkError(f"{self.interface}: cannot send {len(frame)} octets: {error.strerror}") from error
        self._unread += 1
        if self._unread >= 64:
            # The tap's buffer is small inside a user namespace; a case that only sends would overflow it.
            self._read_tap()

    def recv_frame(self) -> Frame | None:
        """The next frame of the target with the kernel's receive stamp, or None; never blocks."""
        try:
            size, ancillary, _, _ = self._recvmsg_into(self._into, _ANCILLARY)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LinkError(f"{self.interface}: cannot receive: {error.strerror}") from error
        return self._frame(size, ancillary, outgoing=False)

    poll = recv_frame

    def _frame(self, size: int, ancillary: list[tuple[int, int, bytes]], *, outgoing: bool) -> Frame:
        stamp, offloaded = 0, False
        for level, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET:
                seconds, nanoseconds = _STAMP.unpack_from(data)
                stamp = seconds * 1_000_000_000 + nanoseconds
            elif kind == PACKET_AUXDATA and level == SOL_PACKET:
                offloaded = bool(data[0] & _CSUM_NOT_READY)
        return Frame(data=bytes(self._view[:size]), stamp_ns=self._instant(stamp), outgoing=outgoing,
                     offloaded=offloaded)

    def fileno(self) -> int:
        """The receiving socket's descriptor."""
        return self._socket.fileno()

    def _read_tap(self) -> None:
        self._unread = 0
        while True:
            try:
                size, ancillary, _, _ = self._tap.recvmsg_into(self._into, _ANCILLARY)
            except BlockingIOError:
                return
            self._sent.append(self._frame(size, ancillary, outgoing=True))

    def sent(self) -> list[Frame]:
        """What went out since the last call, with the kernel's transmit stamps."""
        self._read_tap()
        frames, self._sent = self._sent, []
        return frames

    def lost(self) -> int:
        """Frames that either socket had no room for since the last call (PACKET_STATISTICS resets on reading)."""
        return sum(struct.unpack("II", sock.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))[1]
                   for sock in (self._socket, self._tap))

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        """Send frames of one size that stand one behind the other, past tap and capture; returns how many went out.

        Raises LinkError.
        """
        if self._burst is None or self._burst.frame_size != frame_size:
            if self._burst is not None:
                self._burst.close()
            with self._inside():
                self._burst = BurstSocket(self.interface, frame_size=frame_size)
        return self._burst.send(frames)

    def ignore(self, networks: Collection[Network]) -> None:
        """From now on, let the kernel drop what is sent to addresses of these networks; none of them: hear all again.

        What has been dropped so takes no room in the buffer and is not among the `lost`.
        """
        chosen = frozenset(networks)
        if chosen == self.ignored:
            return
        if chosen:
            self.filter(all_but(chosen))
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        self.ignored = chosen

    def filter(self, program: bytes) -> None:
        """Let the kernel keep what this classic BPF program does, and drop the rest."""
        _attach(self._socket, program)

    def discard(self) -> None:
        """Throw away what has arrived and was not read, and what the tap holds."""
        while self.recv_frame() is not None:
            pass
        self.sent()
        self.lost()

    def close(self) -> None:
        """Close its sockets."""
        self._socket.close()
        self._tap.close()
        if self._burst is not None:
            self._burst.close()


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.c_void_p),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int))


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("length", ctypes.c_uint32))


class BurstSocket:
    """Sends many frames of one size with one system call for each `batch` of them (sendmmsg).

    It has a socket of its own that passes by the queue and the taps, so that a flood neither fills the capture nor is
    slowed by it. Frames are copied, a batch at a time, to where the vectors of the call point for good: nothing is
    done frame by frame here.
    """

    def __init__(self, interface: str, *, frame_size: int, batch: int = 1024) -> None:
        self.frame_size = frame_size
        self.batch = batch
        self._socket = packet_socket(interface)
        self._socket.setsockopt(SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        # It only sends: what arrives would be copied for nobody.
        _attach(self._socket, struct.pack("=HBBI", 0x06, 0, 0, 0))
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        buffer = bytearray(batch * frame_size)
        self._place = memoryview(buffer)
        self._vectors = (_IoVec * batch)()
        self._headers = (_MMsgHdr * batch)()
        start = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
        for index in range(batch):
            self._headers[index].header.iov = ctypes.addressof(self._vectors[index])
            self._headers[index].header.iovlen = 1
            self._vectors[index].base = start + index * frame_size
            self._vectors[index].length = frame_size

    def send(self, frames: bytes | bytearray, *, within_s: float = 5.0) -> int:
        """Send the frames that stand one behind the other; returns how many, fewer only once the time is over.

        Raises LinkError.
        """
        total = len(frames) // self.frame_size
        until = time.monotonic() + within_s
        view = memoryview(frames)
        done = 0
        while done < total and time.monotonic() < until:
            count = min(self.batch, total - done)
            octets, start = count * self.frame_size, done * self.frame_size
            self._place[:octets] = view[start:start + octets]
            done += self._send_batch(count, until)
        return done

    def _send_batch(self, count: int, until: float) -> int:
        done = 0
        size = ctypes.sizeof(_MMsgHdr)
        while done < count:
            sent = self._sendmmsg(self._socket.fileno(), ctypes.byref(self._headers, done * size), count - done, 0)
            if sent > 0:
                done += sent
                continue
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.ENOBUFS):
                raise LinkError(f"burst: cannot send: {os.strerror(number)}")
            if time.monotonic() >= until:
                break
            # No room: it is made as the kernel works off what it has, which it does while we wait.
            select.select((), (self._socket,), (), _ROOM_S)
        return done

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
