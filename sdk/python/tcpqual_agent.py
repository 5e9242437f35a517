#!/usr/bin/env python3
# SPDX-License-Identifier: 0BSD
"""tcpqual's agent: runs on a device whose TCP is to be qualified, and makes sockets there as tcpqual says.

    tcpqual_agent.py --listen ADDRESS:PORT --key FILE     over a TCP connection, to those who know the key
    tcpqual_agent.py --stdio [--key FILE]                 over standard input and output (ssh, a pair of sockets)
    tcpqual_agent.py --device /dev/... [--key FILE]       over a character device (virtio-serial, a serial line)

One file; it needs Python 3.8 and its library, on a system with fork and poll. It starts no other program, keeps no
file, and listens on one address. One harness at a time is served; the next one ends what the one before has left. The
protocol is described octet by octet in docs/reference/agent-protocol.md; sdk/c/tcpqual_agent.c does the same in C.

On Linux it also tells the state of connections, counts half-open ones and tells a connection's variables; elsewhere it
says that it does not, and the cases that need it are left out.
"""

import errno
import hmac
import os
import select
import signal
import socket
import struct
import sys
import time

VERSION = 1
NAME = "tcpqual-agent (Python)"
RELEASE = "1.0"
MAGIC = b"tcpqual agent"

LONGEST = 1 << 20  # the greatest length of a message
SOCKETS = 1024  # so many sockets at a time
CLIENTS = 5  # the one that is served, and those that have not proven yet that they know the key
SHORT = 256  # the greatest length of a message before that
LIMIT_S = 10.0  # for a handshake, and for the rest of a message that has begun
RETRY_S = 0.1  # how often a device is tried whose other end is closed
LEAST_KEY = 16
MOST_KEY = 4096

(SOCKET, OPTION, LISTEN, CONNECT, CONNECTED, ACCEPT, SEND, RECV, SHUTDOWN, CLOSE, CLOSED, ABORT, ERROR, STATE,
 LISTENING, HALF_OPEN, INFORMATION) = range(1, 18)

NEW, GREETED, SERVED = range(3)

LINUX = sys.platform.startswith("linux")
ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL
WANTED = {CONNECTED: select.POLLOUT, ACCEPT: select.POLLIN, RECV: select.POLLIN, CLOSED: select.POLLIN}
LEVELS = {"SO": socket.SOL_SOCKET, "TCP": socket.IPPROTO_TCP, "IP": socket.IPPROTO_IP, "IPV6": socket.IPPROTO_IPV6}
OPTIONS = ("SO_KEEPALIVE", "SO_RCVBUF", "SO_SNDBUF", "SO_REUSEADDR", "SO_OOBINLINE", "SO_DONTROUTE", "TCP_NODELAY",
           "IP_TTL", "IP_TOS", "IPV6_UNICAST_HOPS", "SO_RCVLOWAT", "SO_SNDLOWAT", "SO_REUSEPORT", "SO_PRIORITY",
           "SO_MARK", "TCP_MAXSEG", "TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_CORK",
           "TCP_NOPUSH", "TCP_SYNCNT", "TCP_LINGER2", "TCP_DEFER_ACCEPT", "TCP_WINDOW_CLAMP", "TCP_QUICKACK",
           "IPV6_TCLASS", "IPV6_V6ONLY")
LINUX_OPTIONS = {"SO_PRIORITY": 12, "SO_MARK": 36, "TCP_USER_TIMEOUT": 18, "TCP_FASTOPEN": 23,
                 "TCP_NOTSENT_LOWAT": 25, "TCP_FASTOPEN_CONNECT": 30, "TCP_INQ": 36, "IP_MTU_DISCOVER": 10,
                 "IP_RECVERR": 11, "IPV6_MTU_DISCOVER": 23, "IPV6_RECVERR": 25}  # a Python may be older than the kernel


def errno_name(number):
    """The name of an errno."""
    if number in (errno.EAGAIN, errno.EWOULDBLOCK):
        return "EAGAIN"
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, f"E{number}")


def text(value):
    """A text field."""
    octets = value.encode()
    return struct.pack(">H", len(octets)) + octets


class Failed(Exception):
    """The answer to a command is this errno name."""


class Refused(Exception):
    """The conversation is over, for this reason."""


class Fields:
    """The fields of a command, taken one after the other; Failed("EPROTO") where they make no sense."""

    def __init__(self, octets):
        self.octets = octets
        self.at = 0

    def take(self, size):
        taken = self.octets[self.at:self.at + size]
        if len(taken) != size:
            raise Failed("EPROTO")
        self.at += size
        return taken

    def number(self, size, signed=False):
        return int.from_bytes(self.take(size), "big", signed=signed)

    def end(self):
        """Family (4 or 6), packed address, port."""
        family = self.number(1)
        if family not in (4, 6):
            raise Failed("EPROTO")
        return family, self.take(4 if family == 4 else 16), self.number(2)

    def rest(self):
        return self.take(len(self.octets) - self.at)

    def done(self):
        if self.at != len(self.octets):
            raise Failed("EPROTO")


def socket_address(end):
    """What bind and connect want."""
    family, address, port = end
    return socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, address), port


# -- what Linux tells ------------------------------------------------------------------------------------------------

STATES = ("", "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSED",
          "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECEIVED")
LISTENS = 10
SYN_RECEIVED = 1 << 3 | 1 << 12
ANYBODY = (bytes(16), 0)


class SockDiag:
    """States from the kernel, by NETLINK_SOCK_DIAG. OSError if it has none for TCP."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
        self.socket.bind((0, 0))
        self.count(socket.AF_INET, 0, 0)

    def ask(self, family, states, flags, local=ANYBODY, remote=ANYBODY):
        body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, states)
        body += struct.pack(">HH16s16s", local[1], remote[1], local[0], remote[0]) + bytes(4) + b"\xff" * 8
        self.socket.send(struct.pack("=IHHII", 16 + len(body), 20, 1 | flags, 0, 0) + body)

    def find(self, local, remote):
        """The state of what a segment would meet, None for nothing. Ends as Fields.end gives them."""
        self.ask(socket.AF_INET if local[0] == 4 else socket.AF_INET6, 0xFFFFFFFF, 0,
                 (local[1].ljust(16, b"\0"), local[2]), (remote[1].ljust(16, b"\0"), remote[2]))
        answer = self.socket.recv(4096)
        kind, = struct.unpack_from("=H", answer, 4)
        if kind == 2:
            number, = struct.unpack_from("=i", answer, 16)
            if number == -errno.ENOENT:
                return None
            raise OSError(-number if number < 0 else errno.EIO, "sock_diag")
        return answer[17]

    def count(self, family, states, port):
        """So many entries of that port in these states."""
        self.ask(family, states, 0x300)
        count = 0
        while True:
            answer = self.socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind in (2, 3):
                    number = struct.unpack_from("=i", answer, at + 16)[0] if length >= 20 else 0
                    if number < 0:
                        raise OSError(-number, "sock_diag")
                    return count
                count += struct.unpack_from(">H", answer, at + 20)[0] == port
                at += length + 3 & ~3

    def listens(self, local):
        return self.find(local, (local[0], bytes(len(local[1])), 0)) == LISTENS

    def half_open(self, port):
        return self.count(socket.AF_INET, SYN_RECEIVED, port) + self.count(socket.AF_INET6, SYN_RECEIVED, port)


class ProcTables:
    """The same from /proc/net/tcp and tcp6, whose addresses are words of the machine's order."""

    def __init__(self):
        open("/proc/net/tcp").close()

    @staticmethod
    def entries(family):
        """Local end, other end, state."""
        try:
            with open("/proc/net/tcp" if family == 4 else "/proc/net/tcp6") as table:
                for line in table.readlines()[1:]:
                    words = line.split()
                    yield words[1], words[2], int(words[3], 16)
        except FileNotFoundError:
            if family == 4:
                raise

    @staticmethod
    def written(address, port):
        words = struct.unpack(f"={len(address) // 4}I", address)
        return "".join(f"{word:08X}" for word in words) + f":{port:04X}"

    def find(self, local, remote):
        own, other = self.written(*local[1:]), self.written(*remote[1:])
        found = None
        for here, there, state in self.entries(local[0]):
            if here == own and there == other:
                found = state
        return found

    def listens(self, local):
        nobody = (local[0], bytes(len(local[1])), 0)
        everybody = (local[0], bytes(len(local[1])), local[2])
        return LISTENS in (self.find(local, nobody), self.find(everybody, nobody))

    def half_open(self, port):
        return sum(SYN_RECEIVED >> state & 1 and here.endswith(f":{port:04X}")
                   for family in (4, 6) for here, _, state in self.entries(family))


def state_source(procfs):
    """Who tells states here; None if nobody does."""
    if not LINUX:
        return None
    for source in (ProcTables,) if procfs else (SockDiag, ProcTables):
        try:
            return source()
        except OSError:
            continue
    return None


VARIABLES = ("retransmits", "probes", "backoff", "options", "rto_us", "ato_us", "send_mss", "receive_mss", "unacked",
             "sacked", "lost", "retrans")


def information(sock):
    """Some of Linux's tcp_info, as text."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, 11, 192)
    except OSError:
        return ""
    if len(info) < 40:
        return ""
    info = info.ljust(192, b"\0")
    values = struct.unpack_from("=BBBB", info, 2) + struct.unpack_from("=8I", info, 8)
    return " ".join(f"{name}={value}" for name, value in zip(VARIABLES, values))  # noqa: B905, 3.8 has no strict


# -- sockets ---------------------------------------------------------------------------------------------------------

class Slot:
    """A socket under its number; `sock` is None once it is closed, `waiting` what was answered EAGAIN."""

    def __init__(self, sock, family):
        self.sock = sock
        self.family = family
        self.connecting = False
        self.waiting = set()
        self.pair = None  # to the process that closes it with a linger time
        self.pid = 0
        self.failed = 0

    def descriptor(self):
        return self.sock.fileno() if self.sock else self.pair.fileno() if self.pair else -1

    def abort(self):
        if self.sock:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.pair:
            self.pair.close()

    def lingered(self):
        """How a close that waits has ended: an errno, EAGAIN as long as it has not."""
        if self.pair is None:
            return self.failed
        try:
            self.pair.recv(1)
        except BlockingIOError:
            return errno.EAGAIN
        except OSError:
            pass
        self.pair.close()
        self.pair = None
        _, status = os.waitpid(self.pid, 0)
        self.failed = os.WEXITSTATUS(status) if os.WIFEXITED(status) else errno.EIO
        self.pid = 0
        return self.failed


class Sockets:
    """What commands are about. Each command is a method that returns a value or raises Failed or OSError."""

    def __init__(self, states, descriptors):
        self.states = states
        self.descriptors = descriptors  # those of everybody else, which a process that only waits must not hold
        self.slots = {}
        self.count = 0
        self.commands = {
            SOCKET: self.socket, OPTION: self.option, LISTEN: self.listen, CONNECT: self.connect,
            CONNECTED: self.connected, ACCEPT: self.accept, SEND: self.send, RECV: self.recv,
            SHUTDOWN: self.shutdown, CLOSE: self.close, CLOSED: self.closed, ABORT: self.abort, ERROR: self.error}
        if LINUX:
            self.commands[INFORMATION] = self.information
        if states:
            self.commands.update({STATE: self.state, LISTENING: self.listening, HALF_OPEN: self.half_open})
        self.offered = sum(1 << op - 1 for op in self.commands)

    def reset(self):
        for slot in self.slots.values():
            slot.abort()
        self.slots.clear()
        self.count = 0

    def answer(self, octets):
        """The fields of the result of a command."""
        op, number = struct.unpack_from(">BI", octets)
        fields = Fields(octets[5:])
        try:
            return text("") + self.command(op, number, fields)
        except Failed as error:
            return text(str(error))
        except OSError as error:
            return text(errno_name(error.errno or errno.EIO))

    def command(self, op, number, fields):
        act = self.commands.get(op)
        if act is None:
            raise Failed("ENOSYS")
        if op in (SOCKET, STATE, LISTENING, HALF_OPEN):
            return act(fields)
        slot = self.slots.get(number)
        if slot is None or (slot.sock is None and op not in (ABORT, CLOSED)):
            raise Failed("EBADF")
        if op in (CONNECTED, ACCEPT, CLOSED, ABORT, ERROR, INFORMATION):
            fields.done()
        if op == ABORT:
            del self.slots[number]
        watched = CLOSED if op == CLOSE else op
        try:
            value = act(slot, fields)
        except (Failed, OSError) as error:
            again = str(error) == "EAGAIN" or getattr(error, "errno", 0) in (errno.EAGAIN, errno.EWOULDBLOCK)
            if watched in WANTED and again:
                slot.waiting.add(watched)
            else:
                slot.waiting.discard(watched)
            raise
        slot.waiting.discard(watched)
        return value

    def room(self):
        if len(self.slots) >= SOCKETS:
            raise Failed("EMFILE")

    def kept(self, sock, family):
        sock.setblocking(False)
        self.count += 1
        self.slots[self.count] = Slot(sock, family)
        return struct.pack(">I", self.count)

    def socket(self, fields):
        family = fields.number(1)
        fields.done()
        if family not in (4, 6):
            raise Failed("EPROTO")
        self.room()
        sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return self.kept(sock, family)

    def option(self, slot, fields):
        value, size = fields.number(8, signed=True), fields.number(2)
        name = fields.rest()
        if len(name) != size:
            raise Failed("EPROTO")
        if not -1 << 31 <= value < 1 << 31:
            raise Failed("EINVAL")
        name = name.decode("ascii", "replace")
        number = LINUX_OPTIONS.get(name) if LINUX else None
        if number is None and name in OPTIONS:
            number = getattr(socket, name, None)
        if number is None:
            raise Failed("ENOPROTOOPT")
        slot.sock.setsockopt(LEVELS[name.split("_")[0]], number, value)
        return b""

    @staticmethod
    def bind(slot, local):
        if local[0] != slot.family:
            raise Failed("EAFNOSUPPORT")
        slot.sock.bind(socket_address(local))

    def listen(self, slot, fields):
        local, backlog = fields.end(), fields.number(2)
        fields.done()
        self.bind(slot, local)
        slot.sock.listen(backlog)
        return b""

    def connect(self, slot, fields):
        local, remote = fields.end(), fields.end()
        fields.done()
        if remote[0] != slot.family:
            raise Failed("EAFNOSUPPORT")
        self.bind(slot, local)
        number = slot.sock.connect_ex(socket_address(remote))
        if number not in (0, errno.EINPROGRESS):
            raise Failed(errno_name(number))
        slot.connecting = True
        return b""

    @staticmethod
    def connected(slot, fields):
        if not slot.connecting:
            raise Failed("ENOTCONN")
        ready = select.poll()
        ready.register(slot.sock, select.POLLOUT)
        if not ready.poll(0):
            raise Failed("EAGAIN")
        number = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise Failed(errno_name(number))
        return b""

    def accept(self, slot, fields):
        self.room()
        return self.kept(slot.sock.accept()[0], slot.family)

    @staticmethod
    def send(slot, fields):
        urgent = fields.number(1)
        if urgent > 1:
            raise Failed("EPROTO")
        try:
            taken = slot.sock.send(fields.rest(), socket.MSG_OOB if urgent else 0)
        except BlockingIOError:
            taken = 0
        return struct.pack(">I", taken)

    @staticmethod
    def recv(slot, fields):
        most = fields.number(4)
        fields.done()
        return slot.sock.recv(min(most, LONGEST - 64))

    @staticmethod
    def shutdown(slot, fields):
        half = fields.number(1)
        fields.done()
        if half not in (1, 2, 3):
            raise Failed("EPROTO")
        slot.sock.shutdown({1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}[half])
        return b""

    def close(self, slot, fields):
        seconds = fields.number(4, signed=True)
        fields.done()
        slot.waiting.clear()
        if seconds >= 0:
            self.close_lingering(slot, seconds)
            raise Failed("EAGAIN")
        sock, slot.sock = slot.sock, None
        sock.close()
        return b""

    def close_lingering(self, slot, seconds):
        """Close in a process of its own.

        A close that waits does so even for a descriptor that does not block. The other descriptors are closed there
        before anything else happens here: a connection ends with the last descriptor of it.
        """
        slot.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            status = errno.EIO
            try:
                ours.close()
                own = slot.sock.detach()
                for descriptor in [other.descriptor() for other in self.slots.values()] + self.descriptors():
                    if descriptor >= 0:
                        os.close(descriptor)
                os.set_blocking(own, True)
                theirs.send(b"\0")
                if theirs.recv(1):
                    os.close(own)
                    status = 0
            except OSError as error:
                status = error.errno or errno.EIO
            finally:
                os._exit(status)
        theirs.close()
        ours.recv(1)
        slot.sock.close()
        slot.sock = None
        ours.send(b"\0")
        ours.setblocking(False)
        slot.pair, slot.pid = ours, pid

    @staticmethod
    def closed(slot, fields):
        if slot.sock:
            raise Failed("EINVAL")
        number = slot.lingered()
        if number:
            raise Failed(errno_name(number))
        return b""

    @staticmethod
    def abort(slot, fields):
        slot.abort()
        return b""

    @staticmethod
    def error(slot, fields):
        number = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return text(errno_name(number) if number else "")

    @staticmethod
    def information(slot, fields):
        return text(information(slot.sock))

    def state(self, fields):
        local, remote = fields.end(), fields.end()
        fields.done()
        if local[0] != remote[0]:
            raise Failed("EPROTO")
        state = self.states.find(local, remote)
        return text("CLOSED" if not state or state == LISTENS or state >= len(STATES) else STATES[state])

    def listening(self, fields):
        local = fields.end()
        fields.done()
        return bytes((self.states.listens(local),))

    def half_open(self, fields):
        port = fields.number(2)
        fields.done()
        return struct.pack(">I", self.states.half_open(port))


# -- those who drive -------------------------------------------------------------------------------------------------

class Client:
    """A stream and where its conversation is. `lasting`: a device, which cannot be closed."""

    def __init__(self, source, sink, close, lasting=False):
        self.source, self.sink, self.close = source, sink, close
        self.stage = NEW
        self.lasting = self.lost = lasting  # lost: a greeting is looked for
        self.told = False  # that one is missing
        self.ending = False  # what is still to be said is the last
        self.until = 0.0  # when the handshake, or the message that has begun, has to be over
        self.down = 0.0  # the other end of the device is closed; tried again then
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.theirs = self.ours = b""

    def say(self, kind, fields):
        self.outbox += struct.pack(">I", len(fields) + 1) + kind + fields

    def has_room(self):
        """Without room for answers no request is read, and nobody is woken."""
        return len(self.outbox) <= (LONGEST + (1 << 16) if self.stage == SERVED else 512)

    def question(self, key):
        return MAGIC + struct.pack(">HB", VERSION, bool(key)) + self.theirs + self.ours


BEGIN = struct.pack(">I", 48) + b"H" + MAGIC  # of a greeting


class Agent:
    """Serves one client at a time."""

    def __init__(self, key, procfs):
        self.key = key
        self.clients = []
        self.served = None
        self.listener = None
        self.full = 0.0  # there was no descriptor left for a connection: the next attempt is made then
        self.lasts = False  # as long as this process: standard input, a device
        self.states = state_source(procfs)
        self.sockets = Sockets(self.states, self.descriptors)

    def descriptors(self):
        """All that are not sockets under a number, nor standard."""
        mine = [descriptor for client in self.clients for descriptor in {client.source, client.sink}]
        mine += [self.listener.fileno()] if self.listener else []
        return mine + ([self.states.socket.fileno()] if isinstance(self.states, SockDiag) else [])

    # -- conversations -----------------------------------------------------------------------------------------------

    def add(self, client):
        if len(self.clients) == CLIENTS:  # the one that has been here longest without proving anything
            self.forget(min((other for other in self.clients if other is not self.served),
                            key=lambda other: other.until))
        self.clients.append(client)

    def end_session(self):
        self.served = None
        self.sockets.reset()

    def forget(self, client):
        if client is self.served:
            self.end_session()
        self.clients.remove(client)
        client.close()

    def refuse(self, client, why):
        """Say why, and listen no more: to a device until the next greeting."""
        if client is self.served:
            self.end_session()
        client.say(b"N", text(why))
        client.stage = NEW
        client.until = 0.0
        client.told = True
        if client.lasting:
            client.lost = True
        else:
            client.ending = True
            client.until = time.monotonic() + LIMIT_S

    def hang_up(self, client):
        if client.lasting:
            if client is self.served:
                self.end_session()
            client.__init__(client.source, client.sink, client.close, True)
            client.down = time.monotonic() + RETRY_S
            return
        self.forget(client)
        if self.lasts:
            raise SystemExit(1 if client.ending else 0)

    def greet(self, client, fields):
        if len(fields) != 47 or not fields.startswith(MAGIC):
            raise Refused("that is no greeting")
        theirs = bytes(fields[15:])
        if client.stage == NEW or theirs != client.theirs:
            if client is self.served:
                self.end_session()
            client.theirs, client.ours = theirs, os.urandom(32)
            client.stage = GREETED
        client.say(b"Q", client.question(self.key))
        if int.from_bytes(fields[13:15], "big") != VERSION:
            raise Refused("this agent speaks version 1 of the protocol")

    def prove(self, client, fields):
        question = client.question(self.key)
        if not hmac.compare_digest(hmac.new(self.key, b"harness" + question, "sha256").digest(), bytes(fields)):
            raise Refused("wrong key")
        if self.served:
            self.refuse(self.served, "another harness has taken over")
        client.stage = SERVED
        self.served = client
        system = os.uname()
        hello = struct.pack(">HIIH", VERSION, self.sockets.offered, LONGEST, SOCKETS) + text(NAME) + text(RELEASE)
        hello += text(f"{system.sysname:.180} {system.release:.180} {system.machine:.180}")
        client.say(b"H", hello + hmac.new(self.key, b"agent" + question + hello, "sha256").digest())

    # -- what comes in -----------------------------------------------------------------------------------------------

    def message(self, client, kind, fields):
        if kind == b"H":
            self.greet(client, fields)
        elif kind == b"K" and client.stage == GREETED:
            self.prove(client, fields)
        elif kind == b"C" and client.stage == SERVED and len(fields) >= 5:
            client.say(b"R", self.sockets.answer(fields))
        elif kind == b"L" and client.stage == SERVED and len(fields) <= 64:
            client.say(b"L", fields)
        else:
            raise Refused("that is no request" if client.stage == SERVED else "nobody has greeted")

    def find_greeting(self, client):
        """Look for a greeting in what a device brings; true if one begins the inbox."""
        at = client.inbox.find(BEGIN)
        if at < 0:
            at = next(at for at in range(max(0, len(client.inbox) - len(BEGIN) + 1), len(client.inbox) + 1)
                      if BEGIN.startswith(client.inbox[at:]))
        del client.inbox[:at]
        if at > 0 and not client.told:
            self.refuse(client, "nobody has greeted")  # who goes on with another agent's conversation learns it
        client.lost = len(client.inbox) < len(BEGIN)
        return not client.lost

    def take_all(self, client):
        while not client.ending and client.has_room():
            if (client.lost and not self.find_greeting(client)) or len(client.inbox) < 4:
                break
            length = int.from_bytes(client.inbox[:4], "big")
            if not 1 <= length <= (LONGEST if client.stage == SERVED else SHORT):
                self.refuse(client, "that is no message")
                del client.inbox[:1]  # or a device would be at the same place for ever
                continue
            if len(client.inbox) < 4 + length:
                break
            client.until = 0.0
            try:
                self.message(client, bytes(client.inbox[4:5]), bytes(client.inbox[5:4 + length]))
            except Refused as reason:
                self.refuse(client, str(reason))
            del client.inbox[:1 if client.lost else 4 + length]
            client.told = client.lost
        if client.ending:
            return
        if client.lost or not client.has_room() or (not client.inbox and (client.stage == SERVED or self.lasts)):
            client.until = 0.0
        elif not client.until:
            client.until = time.monotonic() + LIMIT_S

    def read_some(self, client):
        if client.ending:
            client.inbox.clear()  # what comes behind the last word is read, so that this gets there, and thrown away
        try:
            octets = os.read(client.source, 1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets = b""
        if not octets:
            self.hang_up(client)
        elif not client.ending:
            client.inbox += octets
            self.take_all(client)

    def write_some(self, client):
        try:
            while client.outbox:
                del client.outbox[:os.write(client.sink, client.outbox[:1 << 16])]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.hang_up(client)
            return
        if client.ending and not client.lasting:
            if self.lasts:
                self.hang_up(client)
            else:
                try:
                    client.shutdown()
                except OSError:
                    self.hang_up(client)

    def wake(self, number, slot, events):
        """Tell, once, what could be answered otherwise now; who cares asks."""
        for op in sorted(slot.waiting):
            if events & (WANTED[op] | ENDED) and self.served and self.served.has_room():
                slot.waiting.discard(op)
                self.served.say(b"W", struct.pack(">IB", number, op))

    def welcome(self):
        try:
            sock, _ = self.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self.full = time.monotonic() + RETRY_S
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client = Client(sock.fileno(), sock.fileno(), sock.close)
        client.shutdown = lambda: sock.shutdown(socket.SHUT_WR)
        client.until = time.monotonic() + LIMIT_S
        self.add(client)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def serve(self):
        while True:
            self.turn()

    def turn(self):
        now = time.monotonic()
        wanted = {}
        until = [now + 3600.0]
        present = [client for client in self.clients if client.down <= now]
        until += [client.down for client in self.clients if client.down > now]
        for client in present:
            until += [client.until] if client.until else []
            wanted[client.source] = wanted.get(client.source, 0)
            if client.ending or client.has_room():
                wanted[client.source] |= select.POLLIN
            if client.outbox:
                wanted[client.sink] = wanted.get(client.sink, 0) | select.POLLOUT
        watched = {}
        if self.served and self.served.has_room():
            for number, slot in self.sockets.slots.items():
                if slot.waiting:
                    watched[slot.descriptor()] = number, slot
                    wanted[slot.descriptor()] = sum({WANTED[op] for op in slot.waiting})
        if self.listener and self.full <= now:
            wanted[self.listener.fileno()] = select.POLLIN
        elif self.listener:
            until.append(self.full)
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        ready = dict(poll.poll(max(0.0, min(until) - now) * 1000))
        for descriptor, (number, slot) in watched.items():
            if descriptor in ready:
                self.wake(number, slot, ready[descriptor])
        for client in present:
            if client in self.clients:
                self.attend(client, ready.get(client.source, 0))
        if self.listener and self.listener.fileno() in ready:
            self.welcome()

    def attend(self, client, events):
        if client.until and client.until <= time.monotonic():
            if client.ending:
                self.hang_up(client)
                return
            self.refuse(client, "a message was not finished in 10 s" if client.stage == SERVED or self.lasts
                        else "no handshake within 10 s")
        if events & (select.POLLIN | ENDED):
            self.read_some(client)
        if client in self.clients and client.outbox:
            self.write_some(client)
        if client in self.clients and client.inbox and client.has_room():
            self.take_all(client)  # what had to wait for room


# -- the beginning ---------------------------------------------------------------------------------------------------

def die(what, why):
    print(f"tcpqual_agent: {what}: {why}", file=sys.stderr)
    raise SystemExit(2)


def read_key(name):
    try:
        with open(name, "rb") as file:
            key = file.read(MOST_KEY + 1)
    except OSError as error:
        die(name, error.strerror)
    if len(key) > MOST_KEY:
        die(name, "a key has 4096 octets at most")
    key = key.rstrip(b"\r\n")
    if len(key) < LEAST_KEY:
        die(name, "a key has 16 octets at least")
    return key


def start_listener(agent, where):
    address, colon, port = where.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        die(where, "ADDRESS:PORT or [ADDRESS]:PORT is wanted")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except OSError:
        die(address, "no IP address")
    if not any(packed):
        die(address, "one address of this machine is wanted, not all of them")
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, int(port)))
        listener.listen(8)
    except OSError as error:
        die(where, error.strerror)
    listener.setblocking(False)
    agent.listener = listener
    shown = f"[{address}]" if family == socket.AF_INET6 else address
    print(f"tcpqual_agent: listening on {shown}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)


def start_stdio(agent):
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)  # what is printed must not get between the messages
    os.set_blocking(source, False)
    os.set_blocking(sink, False)

    def close():
        os.close(source)
        os.close(sink)

    agent.lasts = True
    agent.add(Client(source, sink, close))


def start_device(agent, name):
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        die(name, error.strerror)
    if os.isatty(descriptor):  # a serial line: octets as they are; its speed is set by whoever starts this
        import termios
        import tty

        tty.setraw(descriptor, termios.TCSANOW)
    agent.lasts = True
    agent.add(Client(descriptor, descriptor, lambda: os.close(descriptor), lasting=True))


def main(words):
    chosen = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--listen", "--device", "--key") and rest:
            chosen[word] = rest.pop(0)
        elif word in ("--stdio", "--procfs"):
            chosen[word] = ""  # --procfs: states from /proc/net/tcp even where the kernel has sock_diag
        elif word == "--help":
            print("usage: tcpqual_agent (--listen ADDRESS:PORT | --stdio | --device NAME) [--key FILE] [--procfs]")
            return
        else:
            die(word, "not understood; --listen ADDRESS:PORT, --stdio or --device NAME, --key FILE, --procfs")
    if sum(way in chosen for way in ("--listen", "--stdio", "--device")) != 1:
        die("usage", "one of --listen ADDRESS:PORT, --stdio and --device NAME is wanted")
    if "--listen" in chosen and "--key" not in chosen:
        die("--listen", "needs --key FILE: who reaches the address must not be served for that alone")
    key = read_key(chosen["--key"]) if "--key" in chosen else b""
    agent = Agent(key, "--procfs" in chosen)
    if "--listen" in chosen:
        start_listener(agent, chosen["--listen"])
    elif "--device" in chosen:
        start_device(agent, chosen["--device"])
    else:
        start_stdio(agent)
    agent.serve()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
