# SPDX-License-Identifier: GPL-2.0-or-later
"""The testability client against modules that keep to the document, or do not: never a hang, never a guess."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testability_bytes import ACCEPTED, VECTORS, WORLD, is_request, octets, response, scripted

from harness.upper.base import NotApplicable
from harness.upper.testability.channel import Channel
from harness.upper.testability.client import Client
from harness.upper.testability.primitives import Primitive
from harness.upper.testability.settings import settings_of
from harness.upper.testability.upper import TpspUpperTester
from harness.wire.errors import TargetError, UsageError
from harness.wire.segment import Flow

WAYS = pytest.mark.parametrize("way", ["udp", "tcp"])
HERE = bytes((127, 0, 0, 1))
LIMIT_S = 30.0
"""How long anything is waited for that is to come: only what never comes takes so long, however busy the machine is."""
SILENCE_S = 0.3
"""How long nothing may come where nothing is to come."""
PATIENCE_S = 5.0


def by_the_document(request):
    """Answers as in the document's examples; all else is done without a word."""
    for name, (_, _, _, answer, _) in VECTORS.items():
        if answer[2:4] == request[2:4]:
            return [answer, ACCEPTED] if name == "listen" else [answer, WORLD] if name == "forward" else [answer]
    return [response(request)]


def having(group, number, *answers):
    """The same, but for one primitive, which is answered so each time."""
    def script(request):
        return list(answers) if is_request(request, group, number) else by_the_document(request)
    return script


def turned(group, number, turn):
    """The same, but for one primitive, whose answers are turned into others."""
    def script(request):
        answers = by_the_document(request)
        return turn(answers) if is_request(request, group, number) else answers
    return script


@contextlib.contextmanager
def client_of(module, **chosen):
    settings = settings_of({"transport": module.transport, "address": "127.0.0.1", "port": module.port,
                            "answer_limit_s": LIMIT_S, **chosen}, where="x.toml: testability")
    client = Client(Channel(settings.endpoint, limit_s=settings.answer_limit_s, order=settings.byte_order),
                    vendor=settings.vendor, service=settings.service, order=settings.byte_order,
                    version=settings.version)
    try:
        yield client, TpspUpperTester(client, settings)
    finally:
        client.close()


def outcome_of(call, limit_s=LIMIT_S):
    """What a call ends with; None if it has not ended after that time."""
    until = time.monotonic() + limit_s
    while (outcome := call.poll()) is None and time.monotonic() < until:
        time.sleep(0.001)
    return outcome


# -- by the document -------------------------------------------------------------------------------------------------


@WAYS
def test_the_clients_requests_are_the_documents_octets(way):
    with scripted(way, by_the_document) as module, client_of(module) as (client, _):
        client.open()
        for called, values, _, _, answer in VECTORS.values():
            assert client.request(called, *values).values == answer
        assert module.requests == [VECTORS["version"][2], *(vector[2] for vector in VECTORS.values())]
        assert client.told_version == (1, 2, 0)
        assert not client.warnings


@WAYS
def test_a_connection_by_the_documents_octets(way):
    with scripted(way, by_the_document) as module, client_of(module) as (_, upper):
        upper.open()
        listener = upper.listen(bytes(4), 0xFFFF, backlog=16, options={})
        connection = outcome_of(upper.accept(listener)).value
        assert upper.send(connection, b"hello").value == 5
        assert outcome_of(upper.recv(connection, 5)).value == b"world"
        assert outcome_of(upper.close(connection)).error == ""
        assert upper.send(connection, b"x").error == "EBADF"
        assert not upper.warnings
        for name in ("bind", "send", "close"):
            assert VECTORS[name][2] in module.requests


@WAYS
def test_events_may_come_before_the_response(way):
    script = turned(2, 4, lambda answers: list(reversed(answers)))
    with scripted(way, script) as module, client_of(module) as (_, upper):
        upper.open()
        listener = upper.listen(bytes(4), 0xFFFF, backlog=16, options={})
        assert upper.accept(listener).poll().value.number == 2


def test_messages_of_a_stream_may_come_in_pieces_and_together():
    with scripted("tcp", turned(2, 4, lambda answers: [b"".join(answers)])) as module, client_of(module) as (_, upper):
        upper.open()
        assert upper.accept(upper.listen(bytes(4), 1, backlog=16, options={})).poll().value.number == 2


# -- versions --------------------------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(("version", "result", "name"), [("1.1", 0xEC, "E_INV"), ("1.2", 0xFC, "E_INV"),
                                                         ("1.2", 0xEC, "E_IIF")])
def test_the_version_chooses_the_result_ids(way, version, result, name):
    major, minor = version.split(".")
    told = response(VECTORS["version"][2], octets(f"000{major} 000{minor} 0000"))

    def script(request):
        return [told] if is_request(request, 0, 1) else [response(request, result=result)]

    with scripted(way, script) as module, client_of(module) as (client, _):
        client.open()
        assert (client.version, client.request("TCP.SHUTDOWN", 1, 2).result) == (version, name)


@WAYS
def test_numbers_from_before_the_standard_are_found_out(way):
    def script(request):
        if is_request(request, 0, 0):
            return [response(request, octets("0001 0000 0000"))]
        if is_request(request, 2, 0x0A):
            return [response(request)]
        return [response(request, result=0xFF)]

    with scripted(way, script) as module, client_of(module) as (client, _):
        client.open()
        assert client.version == "1.1"
        assert client.request("TCP.SHUTDOWN", 1, 2).result == "E_OK"
        assert "primitives are numbered as before the standard (v0.5)" in client.warnings
        assert "speaks version 1.0.0; taken for 1.1" in client.warnings


@WAYS
def test_a_version_that_nobody_tells_has_to_be_in_the_file(way):
    script = having(0, 1, response(VECTORS["version"][2], result=1))
    with scripted(way, script) as module:
        with client_of(module) as (client, _), pytest.raises(TargetError, match=r"with E_NOK .not done.; `version` in"):
            client.open()
        with client_of(module, version="1.1") as (client, _):
            client.open()
            assert client.version == "1.1"


# -- what can be understood all the same ------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(("changes", "warning"), [
    ({14: 0x08}, "TID 0x08 in a response instead of 0x80"),
    ({4: 0x0E, 7: 0}, "LEN has its octets in the wrong order"),
    ({0: 0x05, 1: 0x01, 4: 0x0E, 7: 0}, "SID has its octets in the wrong order"),
])
def test_a_slip_is_accepted_with_a_warning(way, changes, warning):
    answer = bytearray(VECTORS["version"][3])
    for at, value in changes.items():
        answer[at] = value
    with scripted(way, having(0, 1, bytes(answer))) as module, client_of(module) as (client, upper):
        client.open()
        assert client.told_version == (1, 2, 0)
        assert warning in upper.warnings
        assert upper.remarks() == list(upper.warnings)
        assert upper.remarks() == []
        client.request("GENERAL.GET_VERSION")
        assert warning in upper.remarks()


@WAYS
def test_numbers_in_the_processors_order_are_named_and_can_be_configured(way):
    def little(request):
        if is_request(request, 0, 1):
            return [octets("0501 00 01 0E000000 00000000 01 01 80 00 0100 0200 0000")]
        return [octets("0501") + request[2:4] + octets("08000000 00000000 01 01 80 00")]

    with scripted(way, little) as module:
        with client_of(module) as (client, _), pytest.raises(TargetError, match="byte_order = \"little\""):
            client.open()
        if way == "tcp":
            return  # what the script takes for a request is by its length in network order
        with client_of(module, byte_order="little") as (client, _):
            client.open()
            assert client.told_version == (1, 2, 0)
            assert client.request("TCP.SHUTDOWN", 0x1234, 2).result == "E_OK"
            assert module.requests[-1] == octets("0501 02 07 0B000000 00000000 01 01 00 00 3412 02")
            assert not client.warnings


# -- what must not look like an answer -------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(("answers", "wrong"), [
    ([], "did not answer GENERAL.GET_VERSION within 0.3 s"),
    ([b"\0" * 16], "said what is no message of the testability protocol: a length of 0"),
    ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no message of the testability protocol: a length of"),
    ([VECTORS["version"][3][:14] + octets("77 00 0001 0002 0000")], "message type 0x77"),
    ([VECTORS["version"][2]], "a request .GENERAL.GET_VERSION., of a module that has to answer"),
    ([VECTORS["close"][3]], "a response to TCP.CLOSE_SOCKET, which nobody asked"),
    ([response(VECTORS["version"][2], b"\0\1")], "uint16: 2 octets are wanted, 0 are left"),
    ([response(VECTORS["version"][2], bytes(8))], "2 octets behind the last of 3 parameters"),
    ([octets("0105 8001 00000008 00000000 01 01 02 00")], "an event of GENERAL.GET_VERSION, which has none"),
    ([octets("0105 0333 00000008 00000000 01 01 80 00")], "group 3 has no primitive 0x33"),
])
def test_what_is_no_answer_ends_in_one_clear_line(way, answers, wrong):
    limit_s = LIMIT_S if answers else SILENCE_S
    with scripted(way, having(0, 1, *answers)) as module, \
         client_of(module, answer_limit_s=limit_s) as (client, upper):
        began = time.monotonic()
        with pytest.raises(TargetError, match=wrong) as told:
            upper.open()
        assert time.monotonic() - began < PATIENCE_S
        assert "\n" not in str(told.value)
        assert f"{way} 127.0.0.1 port {module.port}" in str(told.value)
        with pytest.raises(TargetError, match=wrong):
            client.request("GENERAL.START_TEST")


@WAYS
@pytest.mark.parametrize("size", [1, 7, 8, 15, 16, 21])
def test_a_cut_answer_is_no_answer(way, size):
    with scripted(way, having(0, 1, VECTORS["version"][3][:size])) as module, \
         client_of(module, answer_limit_s=SILENCE_S) as (client, _), \
         pytest.raises(TargetError, match=r"did not answer|no message of the testability protocol"):
        client.open()


def test_the_end_of_the_stream_in_a_message_is_told():
    def script(request):
        return None if is_request(request, 0, 2) else by_the_document(request)

    with scripted("tcp", script) as module, client_of(module) as (client, upper):
        client.open()
        with pytest.raises(TargetError, match="closed the connection"):
            client.request("GENERAL.START_TEST")
        assert upper.abort(object()).error == ""


def test_a_port_where_nobody_listens_is_told():
    with scripted("udp", by_the_document) as module:
        pass
    with client_of(module) as (client, _), pytest.raises(TargetError, match="nobody listens there any more"):
        client.open()
    module.transport = "tcp"
    with client_of(module) as (client, _), pytest.raises(TargetError, match="cannot be reached: Connection refused"):
        client.open()


@WAYS
def test_a_module_that_was_started_anew_is_told_from_a_target_that_refuses(way):
    with scripted(way, having(2, 2, response(VECTORS["send"][2], result=0xEF))) as module, \
         client_of(module) as (_, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        with pytest.raises(TargetError, match=r"nothing of socket 2 any more .TCP.SEND_DATA.: has it been started"):
            upper.send(connection, b"hello")
        assert upper.abort(connection).error == ""
        upper.revive()
        with pytest.raises(TargetError, match="socket 2 was of a testability module that has been lost since"):
            upper.send(connection, b"hello")


@WAYS
def test_a_module_that_has_lost_what_nothing_takes_from_it_was_started_anew(way):
    """A case that only waits asks it nothing, and cleans up in the end: what it has waited for in vain says nothing."""
    unknown = response(octets("0105 0200 0000"), result=0xEF)

    def script(request):
        if is_request(request, 2, 0):
            return [unknown]
        return [] if is_request(request, 2, 5) else by_the_document(request)

    with scripted(way, script) as module, client_of(module) as (_, upper):
        upper.open()
        listener = upper.listen(bytes(4), 1, backlog=16, options={})
        with pytest.raises(TargetError, match=r"socket 1 any more .TCP.CLOSE_SOCKET.: has it been started anew"):
            upper.abort(listener)
        upper.revive()
        attempt, _ = upper.connect(FLOW, options={})
        with pytest.raises(TargetError, match="has it been started anew"):
            upper.abort(attempt)
        upper.revive()
        listener = upper.listen(bytes(4), 1, backlog=16, options={})
        connection = outcome_of(upper.accept(listener)).value
        assert upper.abort(connection).error == "", "its connection may have been reset"


@WAYS
def test_missing_events_are_no_connections_and_no_octets(way):
    with scripted(way, turned(2, 4, lambda answers: answers[:1])) as module, client_of(module) as (_, upper):
        upper.open()
        assert outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={})), SILENCE_S) is None
    with scripted(way, turned(2, 3, lambda answers: answers[:1])) as module, client_of(module) as (_, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        assert outcome_of(upper.recv(connection, 5), SILENCE_S) is None


@WAYS
@pytest.mark.parametrize(("event", "wrong"), [
    (octets("0105 8203 00000011 00000000 01 01 02 00 0009 0005 776F726C64"), "forwarded 5 of 9 octets"),
    (octets("0105 8203 00000011 00000000 01 01 02 00 0005 0006 776F726C64"), "vint8: 6 octets are wanted, 5 are left"),
])
def test_octets_that_are_lost_are_not_taken_for_fewer(way, event, wrong):
    with scripted(way, turned(2, 3, lambda answers: [answers[0], event])) as module, client_of(module) as (_, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        with pytest.raises(TargetError, match=wrong):
            outcome_of(upper.recv(connection, 5))


@WAYS
def test_an_event_for_a_socket_that_never_listened_is_an_error(way):
    stranger = bytearray(ACCEPTED)
    stranger[17] = 9
    with scripted(way, turned(2, 4, lambda answers: [answers[0], bytes(stranger)])) as module, \
         client_of(module) as (_, upper):
        upper.open()
        with pytest.raises(TargetError, match="accepts a connection for socket 9, which never listened"):
            outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={})))


# -- what the protocol cannot do -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ask", "reason"), [
    (lambda upper, sock: upper.pending_error(sock), "the error that waits"),
    (lambda upper, sock: upper.listening(HERE, 1), "who listens"),
    (lambda upper, sock: upper.half_open(1), "half-open"),
    (lambda upper, sock: upper.close(sock, linger_s=1), "lingering"),
    (lambda upper, sock: upper.set_option(sock, "SO_KEEPALIVE", 1), "no paramId for SO_KEEPALIVE"),
    (lambda upper, sock: upper.set_option(sock, "TCP_NODELAY", 1), "nagle_on in the target's file says which"),
    (lambda upper, sock: upper.set_option(sock, "IP_MTU_DISCOVER", 1), "cannot say IP_MTU_DISCOVER 1"),
    (lambda upper, sock: upper.listen(HERE, 1, backlog=2, options={}), "no backlog"),
    (lambda upper, sock: upper.shutdown(sock, "write"), "has no TCP.SHUTDOWN"),
])
def test_what_the_protocol_cannot_do_is_not_applicable(ask, reason):
    script = having(2, 7, response(octets("0105 0207 0000"), result=0xFF))
    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        with pytest.raises(NotApplicable, match=reason):
            ask(upper, connection)


@pytest.mark.parametrize(("name", "value", "parameter"), [
    ("IP_TTL", 17, "0000 0001 11"), ("IPV6_UNICAST_HOPS", 9, "0000 0001 09"), ("IP_TOS", 0xB8, "0004 0001 B8"),
    ("IP_MTU_DISCOVER", 2, "0002 0001 01"), ("TCP_MAXSEG", 536, "0005 0002 0218"), ("TCP_NODELAY", 1, "0006 0001 00"),
    ("TCP_NODELAY", 0, "0006 0001 01"), ("SO_KEEPALIVE", 1, "FFFF 0002 0001"),
])
def test_options_are_param_ids(name, value, parameter):
    with scripted("udp", by_the_document) as module, \
         client_of(module, nagle_on=1, options={"SO_KEEPALIVE": {"id": 0xFFFF, "octets": 2}}) as (_, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        assert upper.set_option(connection, name, value).error == ""
        assert module.requests[-1][16:] == octets("0002" + parameter)


@pytest.mark.parametrize("result", [0x01, 0xFC, 0xFF])
def test_an_option_that_the_module_refuses_is_not_applicable(result):
    script = having(2, 6, response(octets("0105 0206 0000"), result=result))
    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        with pytest.raises(NotApplicable, match=r"does not set TCP_MAXSEG: E_|has no TCP\.CONFIGURE_SOCKET"):
            upper.listen(bytes(4), 1, backlog=16, options={"TCP_MAXSEG": 536})
        assert module.requests[-1] == octets("0105 0200 0000000B 00000000 01 01 00 00 0001 01")


def test_a_vendors_primitive_is_called_by_its_name():
    def script(request):
        return [response(request, b"\x04")] if is_request(request, 0x7F, 0x7F) else by_the_document(request)

    table = {"SOCKET_STATE": {"group": 0x7F, "number": 0x7F, "request": ["uint16"], "response": ["uint8"]}}
    with scripted("udp", script) as module, client_of(module, primitives=table) as (_, upper):
        upper.open()
        assert upper.call("SOCKET_STATE", 2).values == (4,)
        assert module.requests[-1] == octets("0105 7F7F 0000000A 00000000 01 01 00 00 0002")


# -- CONNECT, which may take its time ---------------------------------------------------------------------------------


FLOW = Flow(local=HERE, local_port=7, target=HERE, target_port=8)


def test_a_connect_is_under_way_while_others_are_asked():
    waiting = []

    def script(request):
        if is_request(request, 2, 5):
            waiting.append(response(request))
            return []
        return [*(waiting if is_request(request, 0, 2) else []), *by_the_document(request)]

    with scripted("udp", script) as module, client_of(module) as (client, upper):
        client.open()
        sock, call = upper.connect(FLOW, options={})
        assert upper.send(sock, b"hello").error == ""
        assert call.poll() is None
        with pytest.raises(NotApplicable, match="which of two CONNECTs"):
            upper.connect(FLOW, options={})
        client.request("GENERAL.START_TEST")
        assert outcome_of(call).error == ""


@pytest.mark.parametrize(("result", "error"), [(0xE2, "ECONNREFUSED"), (0xE4, "ECONNRESET"), (0xE3, "ETIMEDOUT"),
                                               (0x01, "E_NOK"), (0x42, "result 0x42")])
def test_a_connect_ends_with_what_its_result_id_means(result, error):
    script = having(2, 5, response(octets("0105 0205 0000"), result=result))
    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        assert outcome_of(upper.connect(FLOW, options={})[1]).error == error


def test_an_outcome_that_a_busy_module_has_not_told_yet_is_waited_for():
    """It deals with what has happened between two requests, and however late it is, it is one thing after the other."""
    asked = []

    def script(request):
        if is_request(request, 2, 5):
            return []
        asked.append(request)
        if len(asked) == 5:
            time.sleep(0.1)  # others have its processor
            return [*by_the_document(request), response(octets("0105 0205 0000"), result=0xE2)]
        return by_the_document(request)

    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        _, call = upper.connect(FLOW, options={})
        assert call.poll() is None
        assert call.settle().error == "ECONNREFUSED"
        assert len(asked) in (5, 6), "no more requests than it takes"


def test_pending_is_no_answer_yet():
    script = having(2, 5, response(octets("0105 0205 0000"), result=0xFE))
    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        assert outcome_of(upper.connect(FLOW, options={})[1], SILENCE_S) is None


def test_a_connect_that_is_answered_at_once_tells_nothing():
    with scripted("udp", by_the_document) as module, client_of(module, connect="begun") as (_, upper):
        upper.open()
        _, call = upper.connect(FLOW, options={})
        assert outcome_of(call, SILENCE_S) is None
        assert call.cannot_tell


def test_the_answer_to_a_connect_that_was_given_up_is_no_other_ones():
    late = []

    def script(request):
        if is_request(request, 2, 5):
            late.append(response(request, result=0xE4))
            return [late[0]] if len(late) > 1 else []
        return by_the_document(request)

    with scripted("udp", script) as module, client_of(module) as (_, upper):
        upper.open()
        first, _ = upper.connect(FLOW, options={})
        upper.abort(first)
        _, call = upper.connect(FLOW, options={})
        assert outcome_of(call, SILENCE_S) is None


# -- anything at all --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["udp", "tcp"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(st.binary(max_size=40) | st.sampled_from([ACCEPTED, WORLD, *(v[3] for v in VECTORS.values())])
                        | st.builds(lambda message, at, value: message[:at] + bytes((value,)) + message[at + 1:],
                                    st.sampled_from([ACCEPTED, WORLD, *(v[3] for v in VECTORS.values())]),
                                    st.integers(0, 20), st.integers(0, 255)), max_size=4))
def test_whatever_a_module_says_nothing_hangs_and_only_the_right_octets_pass(way, answers):
    """Whatever comes upon SEND_DATA: it was taken if the right response is among it, or the error is clear."""
    script = having(2, 2, *answers)
    with scripted(way, script) as module, client_of(module) as (client, upper):
        upper.open()
        connection = outcome_of(upper.accept(upper.listen(bytes(4), 1, backlog=16, options={}))).value
        client.channel.limit_s = 0.1  # from here on the module may be silent
        began = time.monotonic()
        outcome, error = None, ""
        try:
            outcome = upper.send(connection, b"hello")
        except (TargetError, NotApplicable) as raised:
            error = str(raised)
        assert time.monotonic() - began < PATIENCE_S
        if outcome is None:
            assert f"{way} 127.0.0.1 port {module.port}" in error or "has no TCP.SEND_DATA" in error
            assert "\n" not in error
        else:
            said = b"".join(answers)
            assert b"\x02\x02" in said, "no response to SEND_DATA was said"
            assert outcome.error or b"\x01\x01\x80\x00" in said or b"\x01\x01\x08\x00" in said


SAID = [ACCEPTED, WORLD, *(vector[3] for vector in VECTORS.values())]
BROKEN = st.binary(max_size=40) | st.sampled_from(SAID) | st.builds(
    lambda message, at, value: message[:at] + bytes((value,)) + message[at + 1:],
    st.sampled_from(SAID), st.integers(0, 20), st.integers(0, 255))


@pytest.mark.parametrize("way", ["udp", "tcp"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(2, 12), answers=st.lists(BROKEN, max_size=3), more=st.lists(BROKEN, max_size=2))
def test_whatever_comes_at_whatever_step_a_conversation_ends_soon_and_clearly(way, at, answers, more):
    """Any answer of a conversation is another one, with more behind it: it goes on, or ends with its reason."""
    count = []

    def script(request):
        count.append(request)
        usual = [] if len(count) == at else by_the_document(request)
        return [*(answers if len(count) == at else usual), *(more if len(count) >= at else ())]

    with scripted(way, script) as module, client_of(module, answer_limit_s=0.1, nagle_on=1, receive_tells=True) as both:
        upper, began, said = both[1], time.monotonic(), ""
        try:
            upper.open()
            listener = upper.listen(bytes(4), 1, backlog=16, options={"TCP_NODELAY": 1})
            accepted = upper.accept(listener).settle()
            connection = accepted.value if accepted is not None else listener
            upper.send(connection, b"hello")
            read = upper.recv(connection, 5).settle()
            assert read is None or read.error or read.value in b"".join([*answers, *more, WORLD])
            _, call = upper.connect(FLOW, options={})
            call.settle()
            upper.shutdown(connection, "write")
            upper.close(connection)
            upper.abort(listener)
        except (TargetError, NotApplicable) as raised:
            said = str(raised)
        assert time.monotonic() - began < PATIENCE_S
        assert "\n" not in said


# -- a target's file --------------------------------------------------------------------------------------------------


GOOD = {"transport": "udp", "address": "192.0.2.1", "port": 10000}


@pytest.mark.parametrize(("change", "wrong"), [
    ({"port": None}, "testability: port: missing; the document fixes no port"),
    ({"transport": None}, "transport: missing"),
    ({"port": 0}, "port = 0: a whole number from 1 to 65535 is wanted"),
    ({"transport": "sctp"}, "transport = 'sctp': allowed: udp, tcp"),
    ({"address": "ecu"}, "address = 'ecu': an IPv4 or IPv6 address is wanted"),
    ({"version": "2.0"}, "version = '2.0': allowed: auto, 1.1, 1.2"),
    ({"answer_limit_s": 0}, "answer_limit_s = 0: seconds, above 0"),
    ({"receive_tells": 1}, "receive_tells = 1: true or false is wanted"),
    ({"nagle": 1}, "nagle: no such key; there are transport, address, port"),
    ({"primitives": {"X": {"group": 1}}}, "primitives.X: number: missing"),
    ({"primitives": {"X": {"group": 1, "number": 2, "request": ["int"]}}}, "request = ..int..: a list of parameter"),
    ({"options": {"SO_KEEPALIVE": {"octets": 1}}}, "options.SO_KEEPALIVE: id: missing"),
    ({"options": 5}, "options = 5: tables are wanted"),
])
def test_a_targets_file_says_what_is_wrong_with_it(change, wrong):
    table = {name: value for name, value in (GOOD | change).items() if value is not None}
    with pytest.raises(UsageError, match=wrong):
        settings_of(table, where="ecu.toml: testability")


def test_what_is_not_known_of_a_module_is_not_assumed():
    found = settings_of(GOOD, where="x")
    assert (found.nagle_on, found.receive_tells, found.end_event, found.version) == (None, False, False, "")
    table = {"STATE": {"group": 2, "number": 0x7F, "request": ["uint16"], "response": ["uint8"], "event": ["text"]}}
    assert settings_of(GOOD | {"primitives": table}, where="x").vendor == (
        Primitive(name="STATE", group=2, number=0x7F, request=("uint16",), response=("uint8",), event=("text",)),)
