# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference server of the testability protocol, by octets, and driven by our client over loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import select
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_testability_client import client_of, outcome_of
from testability_bytes import (
    SERVER,
    TAIL_REQUEST,
    TAIL_RESPONSE,
    VECTORS,
    WORLD,
    ReferenceServer,
    Talker,
    octets,
    reference,
)

from harness.upper.base import NotApplicable
from harness.wire.errors import TargetError
from harness.wire.segment import Flow

WAYS = pytest.mark.parametrize("way", ["udp", "tcp"])
VERSIONS = pytest.mark.parametrize("version", ["1.1", "1.2"])
HERE = bytes((127, 0, 0, 1))
ANY = bytes(4)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def request(group, number, data=b""):
    return (b"\x01\x05" + bytes((group, number)) + (8 + len(data)).to_bytes(4, "big") + octets(TAIL_REQUEST) + data)


def two(number):
    return number.to_bytes(2, "big")


def came(sock, size):
    got = b""
    while len(got) < size and (more := sock.recv(size - len(got))):
        got += more
    return got


@contextlib.contextmanager
def connection_of(upper, **options):
    """Our socket and the target's, connected."""
    port = free_port()
    listener = upper.listen(HERE, port, backlog=16, options=options)
    with socket.create_connection(("127.0.0.1", port), 5) as ours:
        ours.settimeout(5)
        yield ours, outcome_of(upper.accept(listener)).value


# -- octets ----------------------------------------------------------------------------------------------------------


@WAYS
def test_the_servers_answers_are_the_documents_octets(way):
    with reference(way) as server, contextlib.closing(Talker(server)) as tester:
        assert tester.ask(VECTORS["version"][2]) == VECTORS["version"][3]
        bound = tester.ask(request(2, 1, b"\1" + two(port := free_port()) + b"\0\4" + ANY))
        assert bound == VECTORS["bind"][3]
        assert tester.ask(VECTORS["listen"][2]) == VECTORS["listen"][3]
        with socket.create_connection(("127.0.0.1", port), 5) as ours:
            ours.settimeout(5)
            assert tester.receive() == (octets("0105 8204 00000014 00000000 01 01 02 00 0001 0002")
                                        + two(ours.getsockname()[1]) + b"\0\4" + HERE)
            assert tester.ask(VECTORS["send"][2]) == VECTORS["send"][3]
            assert came(ours, 5) == b"hello"
            assert tester.ask(VECTORS["forward"][2]) == VECTORS["forward"][3]
            ours.send(b"world")
            assert tester.receive() == WORLD
            assert tester.ask(VECTORS["close"][2]) == VECTORS["close"][3]
            assert ours.recv(1) == b""


@WAYS
def test_any_port_and_no_bind(way):
    with reference(way) as server, contextlib.closing(Talker(server)) as tester:
        assert tester.ask(VECTORS["bind"][2]) == VECTORS["bind"][3]
        assert tester.ask(request(2, 1, b"\0\0\0\0\4" + ANY))[15:] == b"\0\0\2"


@VERSIONS
def test_versions_differ_in_two_result_ids_and_a_primitive(version):
    invalid = {"1.1": 0xEC, "1.2": 0xFC}[version]
    with reference("udp", version) as server, contextlib.closing(Talker(server)) as tester:
        assert tester.ask(VECTORS["version"][2])[16:] == two(1) + two(int(version[2])) + two(0)
        assert tester.ask(request(2, 1, b"\1"))[15] == invalid
        assert tester.ask(request(2, 4, two(1) + two(3)))[15] == 0xEF
        tester.ask(VECTORS["bind"][2])
        assert tester.ask(request(2, 4, two(1) + two(0)))[15] == invalid
        assert tester.ask(request(2, 7, two(1) + b"\1"))[15] == {"1.1": 0xFF, "1.2": 0xE5}[version]
        assert tester.ask(request(9, 1))[15] == 0xFF


@pytest.mark.parametrize(("message", "result"), [
    (request(2, 0, two(7) + b"\0"), 0xEF), (request(1, 0, two(1)), 0xEF),
    (request(2, 2, two(1) + two(5) + b"\0\0\5hello"), 0xE5),
    (request(2, 2, two(1) + two(4) + b"\0\0\5hello"), 0xFC), (request(2, 2, two(1) + two(4) + b"\0\0\0"), 0xFC),
    (request(2, 3, two(1) + two(0) + two(1)), 0xFC), (request(2, 3, two(1) + two(1) + two(1)), 0xE5),
    (request(2, 6, two(1) + two(9) + b"\0\1\1"), 0xFC), (request(2, 6, two(1) + two(5) + b"\0\1\1"), 0xFC),
    (request(2, 6, two(1) + two(7) + b"\0\1\1"), 0xFC), (request(2, 1, b"\1\0\0\0\5" + bytes(5)), 0xFC),
    (request(2, 7, two(1) + b"\3"), 0xFC), (request(2, 5, two(1) + two(9) + b"\0\x10" + bytes(16)), 0xEC),
    (request(2, 1, b"\2" + two(0xFFFF) + b"\0\4" + ANY), 0xFC), (request(0, 1, b"\0"), 0xFC),
    (request(2, 1, b"\1" + two(0xFFFF) + b"\0\4" + bytes((203, 0, 113, 1))), 0xED),
])
def test_what_cannot_be_done_has_its_result_id(message, result):
    with reference("udp") as server, contextlib.closing(Talker(server)) as tester:
        tester.ask(VECTORS["bind"][2])
        assert tester.ask(message) == message[:4] + octets("00000008" + TAIL_RESPONSE)[:-1] + bytes((result,))


@pytest.mark.parametrize("message", [
    b"", b"\0" * 15, VECTORS["version"][3], request(0, 1)[:-1], request(0, 1) + b"\0", b"\2" + request(0, 1)[1:],
    request(0, 1)[:12] + b"\2\1\0\0",
])
def test_what_is_no_request_is_left_unanswered(message):
    with reference("udp") as server, contextlib.closing(Talker(server)) as tester:
        tester.send(message)
        assert tester.ask(VECTORS["version"][2]) == VECTORS["version"][3]
        assert not select.select([tester.sock], [], [], 0)[0]


def test_requests_over_a_stream_may_come_in_pieces_and_together():
    with reference("tcp") as server, contextlib.closing(Talker(server)) as tester:
        both = VECTORS["version"][2] + VECTORS["bind"][2]
        for size in (1, 6, 9, 20):
            tester.send(both[:size])
            both = both[size:]
        tester.send(both)
        assert [tester.receive(), tester.receive()] == [VECTORS["version"][3], VECTORS["bind"][3]]


def test_a_lost_framing_ends_the_testers_connection_and_his_sockets_alone():
    port = free_port()
    with reference("tcp") as server, contextlib.closing(Talker(server)) as tester, \
         contextlib.closing(Talker(server)) as other:
        tester.ask(request(2, 1, b"\1" + two(port) + b"\0\4" + HERE))
        tester.ask(VECTORS["listen"][2])
        tester.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            tester.receive()
        assert other.ask(VECTORS["version"][2]) == VECTORS["version"][3]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


@WAYS
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(st.binary(max_size=60) | st.builds(request, st.integers(0, 3), st.integers(0, 8),
                                                            st.binary(max_size=20)), max_size=8))
def test_whatever_a_tester_says_the_server_serves_the_next(way, servers, messages):
    server = servers(way)
    with contextlib.closing(Talker(server)) as tester:
        for message in messages:
            # Nobody is connected to by chance.
            if message[2:4] not in (b"\2\5", b"\1\2"):
                with contextlib.suppress(OSError):
                    tester.send(message)
    with contextlib.closing(Talker(server)) as tester:
        assert tester.ask(VECTORS["version"][2]) == VECTORS["version"][3]
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def servers():
    made = {}
    yield lambda way: made.setdefault(way, ReferenceServer(way)) if way not in made else made[way]
    for server in made.values():
        assert not server.close()


# -- sockets ---------------------------------------------------------------------------------------------------------


@WAYS
@VERSIONS
def test_a_connection_from_its_beginning_to_its_end(way, version):
    with reference(way, version) as server, client_of(server, receive_tells=True) as (client, upper):
        upper.open()
        assert client.version == version
        with connection_of(upper) as (ours, theirs):
            assert upper.send(theirs, b"a" * 30000).value == 30000
            assert came(ours, 30000) == b"a" * 30000
            ours.sendall(b"0123456789")
            assert outcome_of(upper.recv(theirs, 4)).value == b"0123"
            assert outcome_of(upper.recv(theirs, 6)).value == b"456789"
            call = upper.recv(theirs, 65536)
            assert outcome_of(call) is None
            ours.sendall(b"more")
            assert outcome_of(call).value == b"more"
            if version == "1.1":
                with pytest.raises(NotApplicable, match=r"has no TCP\.SHUTDOWN"):
                    upper.shutdown(theirs, "write")
            else:
                assert upper.shutdown(theirs, "write").error == ""
                assert ours.recv(1) == b""
            ours.shutdown(socket.SHUT_WR)
            assert outcome_of(upper.recv(theirs, 10)).value == b""
            assert upper.close(theirs).poll().error == ""
        assert not upper.warnings


@WAYS
def test_what_stays_in_the_target_until_it_is_read_comes_in_order(way):
    with reference(way) as server, client_of(server) as (_, upper):
        upper.open()
        with connection_of(upper) as (ours, theirs):
            data = bytes(range(256)) * 800
            ours.settimeout(0.2)
            ours.sendall(data[:100_000])
            got = b""
            while len(got) < 100_000 and (outcome := outcome_of(upper.recv(theirs, 7000))):
                got += outcome.value
            assert got == data[:100_000]


@WAYS
def test_a_reset_is_told_to_who_reads(way):
    with reference(way) as server, client_of(server, receive_tells=True) as (_, upper):
        upper.open()
        with connection_of(upper) as (ours, theirs):
            call = upper.recv(theirs, 10)
            assert call.poll() is None
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            ours.close()
            assert outcome_of(call).error == "ECONNRESET"


@WAYS
def test_abort_resets_and_close_does_not(way):
    with reference(way) as server, client_of(server) as (_, upper):
        upper.open()
        with connection_of(upper) as (ours, theirs):
            upper.abort(theirs)
            with pytest.raises(ConnectionResetError):
                ours.recv(1)
        with connection_of(upper) as (ours, theirs):
            upper.close(theirs)
            assert ours.recv(1) == b""


@WAYS
def test_connections_that_nobody_took_end_with_their_listener(way):
    with reference(way) as server, client_of(server) as (_, upper):
        upper.open()
        port = free_port()
        listener = upper.listen(HERE, port, backlog=16, options={})
        with socket.create_connection(("127.0.0.1", port), 5) as ours:
            ours.settimeout(5)
            time.sleep(0.05)  # until the event is on its way
            upper.abort(listener)
            call = upper.accept(listener)
            assert outcome_of(call) is None
            with pytest.raises(ConnectionResetError):
                ours.recv(1)


@WAYS
def test_connect_is_answered_when_the_connection_is_there(way):
    with reference(way) as server, client_of(server) as (_, upper), socket.socket() as ours:
        upper.open()
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(5)
        flow = Flow(local=HERE, local_port=ours.getsockname()[1], target=HERE, target_port=free_port())
        assert outcome_of(upper.connect(flow, options={})[1]).error == "ECONNREFUSED"
        ours.listen()
        sock, call = upper.connect(flow, options={})
        assert outcome_of(call).error == ""
        peer, address = ours.accept()
        assert address[1] == flow.target_port
        assert upper.send(sock, b"hello").value == 5
        assert peer.recv(5) == b"hello"
        peer.close()


@WAYS
def test_options_reach_the_socket(way):
    with reference(way) as server, client_of(server, nagle_on=1) as (_, upper):
        upper.open()
        with connection_of(upper, TCP_MAXSEG=700) as (ours, theirs):
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 700
            for name, value in (("IP_TTL", 9), ("IP_TOS", 0xB8), ("IP_MTU_DISCOVER", 2), ("TCP_NODELAY", 1)):
                assert upper.set_option(theirs, name, value).error == ""


@WAYS
def test_a_port_that_is_taken_is_told(way):
    with reference(way) as server, client_of(server) as (_, upper), socket.socket() as ours:
        upper.open()
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        with pytest.raises(TargetError, match=r"bind to port \d+: E_UBS .cannot bind: port taken"):
            upper.listen(HERE, ours.getsockname()[1], backlog=16, options={})


@WAYS
def test_the_end_of_a_test_closes_everything(way):
    with reference(way) as server, client_of(server) as (client, upper):
        upper.open()
        with connection_of(upper) as (ours, _):
            client.request("GENERAL.END_TEST", 0, "")
            with pytest.raises(ConnectionResetError):
                ours.recv(1)


@WAYS
def test_an_event_may_tell_the_end_of_a_stream(way):
    with reference(way, end_event=True) as server, client_of(server, end_event=True) as (_, upper):
        upper.open()
        with connection_of(upper) as (ours, theirs):
            call = upper.recv(theirs, 100)
            assert call.poll() is None
            ours.shutdown(socket.SHUT_WR)
            assert outcome_of(call).value == b""


@WAYS
def test_datagrams(way):
    with reference(way) as server, client_of(server) as (client, _), \
         socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        client.open()
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(5)
        here, port = ours.getsockname()[1], free_port()
        number = client.request("UDP.CREATE_AND_BIND", True, port, HERE).values[0]
        assert client.request("UDP.SEND_DATA", number, 7, here, HERE, b"abc").result == "E_OK"
        assert ours.recv(100) == b"abcabca"
        ours.sendto(b"early", ("127.0.0.1", port))
        assert client.request("UDP.RECEIVE_AND_FORWARD", number, 4, 6).values == (5,)
        ours.sendto(b"later", ("127.0.0.1", port))
        until = time.monotonic() + 5
        while not client.events and time.monotonic() < until:
            client.pump()
        event = client.events.popleft()
        assert (event.name, event.values) == ("UDP.RECEIVE_AND_FORWARD", (5, here, HERE, b"late"))
        for parameter, value in ((0, b"\x07"), (1, b"\x2e"), (2, b"\1"), (4, b"\xb8"), (7, b"\0")):
            assert client.request("UDP.CONFIGURE_SOCKET", number, parameter, value).result == "E_OK"
        assert client.request("UDP.CLOSE_SOCKET", number).result == "E_OK"
        assert client.request("UDP.CLOSE_SOCKET", number).result == "E_ISD"


# -- the other side goes away ----------------------------------------------------------------------------------------


@WAYS
def test_a_server_that_dies_in_a_test_is_told_and_its_successor_is_reached(way):
    server = ReferenceServer(way)
    with client_of(server) as (_, upper):
        upper.open()
        with connection_of(upper) as (_, theirs):
            server.close()
            with pytest.raises(TargetError, match=r"is gone|closed the connection|nobody listens|did not answer"):
                upper.send(theirs, b"hello")
            assert upper.abort(theirs).error == ""
            with pytest.raises(TargetError):
                upper.revive()


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bind", "wrong"), [
    ("127.0.0.1", "ADDR:PORT is wanted"), ("0.0.0.0:10000", "an address of this machine is wanted, not all"),
    ("[::]:10000", "not all of them"), ("::1:10000", "ADDR:PORT is wanted"), ("127.0.0.1:0", "ADDR:PORT is wanted"),
])
def test_the_server_listens_on_one_address(bind, wrong):
    run = subprocess.run([sys.executable, str(SERVER), "--bind", bind], capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert wrong in run.stderr
    assert "Traceback" not in run.stderr


def test_the_server_answers_the_tester_that_it_was_told():
    port = free_port()
    with subprocess.Popen([sys.executable, str(SERVER), "--bind", f"127.0.0.1:{port}", "--tester", "127.0.0.2"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"testability 1.2 at udp 127.0.0.1:{port}\n"
        for source, answered in (("127.0.0.1", False), ("127.0.0.2", True)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((source, 0))
                sock.sendto(VECTORS["version"][2], ("127.0.0.1", port))
                assert bool(select.select([sock], [], [], 5 if answered else 0.2)[0]) is answered
        process.terminate()
        assert process.wait(10) == 0


def test_tcpqual_starts_the_server_that_it_carries():
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "harness", "testability-server", "--bind", f"[::1]:{port}", "--tcp",
                           "--protocol", "1.1"], cwd=SERVER.parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"testability 1.1 at tcp [::1]:{port}\n"
        with socket.create_connection(("::1", port), 5) as sock:
            sock.sendall(VECTORS["version"][2])
            assert came(sock, 22)[16:] == two(1) + two(1) + two(0)
        process.terminate()
        assert process.wait(10) == 0


def test_the_server_needs_the_library_alone():
    source = SERVER.read_text()
    names = {line.split()[1].partition(".")[0] for line in source.splitlines()
             if line.startswith(("import ", "from "))}
    assert names <= sys.stdlib_module_names | {"__future__"}
    assert importlib.util.spec_from_file_location("server", SERVER) is not None
