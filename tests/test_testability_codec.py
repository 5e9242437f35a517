# SPDX-License-Identifier: GPL-2.0-or-later
"""The octets of the testability protocol: against the document's examples, and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testability_bytes import ACCEPTED, VECTORS, WORLD

from harness.upper.testability import message, parameters, results
from harness.upper.testability.message import Message
from harness.upper.testability.parameters import Malformed
from harness.upper.testability.primitives import PRE_STANDARD, PRIMITIVES, Primitive, Table
from harness.wire.errors import UsageError

VALUES = {
    "bool": st.booleans(), "uint8": st.integers(0, 255), "uint16": st.integers(0, 65535),
    "uint32": st.integers(0, 2**32 - 1), "vint8": st.binary(max_size=300),
    "ipxaddr": st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40),
}
ORDERS = st.sampled_from(["big", "little"])
TYPES = st.lists(st.sampled_from(sorted(VALUES)), max_size=6)


@pytest.mark.parametrize("name", VECTORS)
def test_requests_are_the_documents_octets(name):
    called, values, request, _, _ = VECTORS[name]
    primitive = PRIMITIVES[called]
    data = parameters.encode(primitive.request, values)
    assert message.encode(Message(kind="request", group=primitive.group, primitive=primitive.number,
                                  data=data)) == request


@pytest.mark.parametrize("name", VECTORS)
def test_responses_of_the_document_are_understood(name):
    called, _, _, response, values = VECTORS[name]
    found = message.decode(response)
    assert (found.kind, found.result, found.slips) == ("response", results.E_OK, ())
    known = Table().numbered(found.group, found.primitive)
    assert known is PRIMITIVES[called]
    assert parameters.decode(known.response, found.data) == values


@pytest.mark.parametrize(("octets", "name", "values"), [
    (ACCEPTED, "TCP.LISTEN_AND_ACCEPT", (1, 2, 12345, bytes((192, 0, 2, 2)))),
    (WORLD, "TCP.RECEIVE_AND_FORWARD", (5, b"world")),
])
def test_events_of_the_document_are_understood(octets, name, values):
    found = message.decode(octets)
    assert (found.kind, found.slips) == ("event", ())
    known = Table().numbered(found.group, found.primitive)
    assert known is PRIMITIVES[name]
    assert parameters.decode(known.event or (), found.data) == values


@given(st.data(), TYPES, ORDERS)
def test_values_come_back(data, types, order):
    values = tuple(data.draw(VALUES[name]) for name in types)
    assert parameters.decode(types, parameters.encode(types, values, order), order) == values


@given(TYPES, st.binary(max_size=80), ORDERS)
def test_any_octets_are_values_or_malformed_and_values_give_the_same_octets(types, octets, order):
    try:
        values = parameters.decode(types, octets, order)
    except Malformed:
        return
    assert parameters.encode(types, values, order) == octets or "text" in types


@given(st.data(), TYPES, ORDERS)
def test_cut_octets_are_never_values_of_the_same_types(data, types, order):
    values = tuple(data.draw(VALUES[name]) for name in types)
    octets = parameters.encode(types, values, order)
    for size in range(len(octets)):
        with pytest.raises(Malformed):
            parameters.decode(types, octets[:size], order)
    with pytest.raises(Malformed):
        parameters.decode(types, octets + b"\0", order)


@given(st.sampled_from(["request", "response", "event"]), st.integers(0, 127), st.integers(0, 255),
       st.integers(0, 255), st.binary(max_size=200), st.sampled_from([0x0105, 0x0001, 0xFFFE]), ORDERS)
def test_messages_come_back(kind, group, primitive, result, data, service, order):
    sent = Message(kind=kind, group=group, primitive=primitive, result=result, data=data, service=service)
    octets = message.encode(sent, order)
    assert message.size_of(octets, order) == len(octets)
    assert message.decode(octets, service=service, order=order) == sent


@given(st.binary(max_size=64))
def test_any_octets_are_a_message_or_malformed(octets):
    try:
        found = message.decode(octets)
    except Malformed:
        return
    assert len(octets) == message.HEADER + len(found.data)


@given(st.binary(max_size=40))
def test_octets_behind_a_right_header_are_never_a_message_of_another_length(data):
    octets = VECTORS["version"][3][:16] + data
    if len(octets) == 8 + int.from_bytes(octets[4:8], "big"):
        assert message.decode(octets).data == data
    else:
        with pytest.raises(Malformed):
            message.decode(octets)


@given(st.integers(0, 65535 - 8))
def test_a_length_in_the_wrong_order_is_never_taken_for_a_right_one(size):
    head = b"\x01\x05\x02\x01" + (8 + size).to_bytes(4, "little")
    assert message.size_of(head) == 16 + size


@pytest.mark.parametrize(("change", "slip"), [
    ({14: 0x08}, "TID 0x08 in a response instead of 0x80"),
    ({4: 0x0E, 5: 0, 6: 0, 7: 0}, "LEN has its octets in the wrong order"),
    ({0: 0x05, 1: 0x01}, "SID has its octets in the wrong order"),
])
def test_a_slip_is_understood_and_told(change, slip):
    octets = bytearray(VECTORS["version"][3])
    for at, value in change.items():
        octets[at] = value
    found = message.decode(bytes(octets))
    assert found.kind == "response"
    assert found.slips == (slip,)


@pytest.mark.parametrize(("at", "value", "slip"), [
    (14, 0x80, "TID 0x80 in an event instead of 0x02"),
    (2, 0x02, "an event (TID 0x02) without its event bit"),
])
def test_whoever_says_that_it_is_an_event_is_believed(at, value, slip):
    octets = bytearray(ACCEPTED)
    octets[at] = value
    assert message.decode(bytes(octets)).kind == "event"
    assert message.decode(bytes(octets)).slips == (slip,)


@pytest.mark.parametrize(("at", "value", "wrong"), [
    (0, 0x02, "service id 0x0205"), (12, 2, "protocol version 2"), (13, 0, "interface version 0"),
    (14, 0x77, "message type 0x77"), (7, 0x0F, "a length of 15 in a message of 22 octets"),
])
def test_what_is_no_message_is_named(at, value, wrong):
    octets = bytearray(VECTORS["version"][3])
    octets[at] = value
    with pytest.raises(Malformed, match=wrong):
        message.decode(bytes(octets))


@pytest.mark.parametrize(("name", "value"), [
    ("uint8", 256), ("uint16", -1), ("bool", 2), ("ipxaddr", bytes(5)), ("vint8", bytes(65536)), ("text", "a\0b"),
    ("uint8", "1"), ("vint8", "text"),
])
def test_what_a_type_does_not_have_is_refused(name, value):
    with pytest.raises(Malformed):
        parameters.encode([name], [value])


def test_text_has_its_mark_and_its_end():
    assert parameters.encode(["text"], ["ab"]).hex() == "0006efbbbf616200"
    assert parameters.encode(["text"], [""]) == b"\0\0"
    with pytest.raises(Malformed, match="begin"):
        parameters.decode(["text"], b"\0\x02ab")


def test_a_result_id_has_moved_between_the_versions():
    assert results.name_of(0xEC, "1.1") == results.name_of(0xFC, "1.2") == "E_INV"
    assert results.name_of(0xEC, "1.2") == "E_IIF"
    assert results.name_of(0xFC, "1.1") == "result 0xFC"
    names = [name for table in results.RESULTS.values() for name in table.values()]
    assert set(names) == results.MEANINGS.keys()
    assert results.ERRNO.keys() <= results.MEANINGS.keys()


def test_before_the_standard_primitives_had_other_numbers():
    table = Table(numbering=PRE_STANDARD)
    assert [table.named(name).number for name in ("GENERAL.GET_VERSION", "GENERAL.END_TEST", "TCP.CLOSE_SOCKET",
                                                  "TCP.SHUTDOWN")] == [0, 2, 3, 10]


def test_a_vendors_primitive_may_take_no_others_place():
    state = Primitive(name="SOCKET_STATE", group=2, number=0x7F, request=("uint16",), response=("uint8",))
    assert Table([state]).named("SOCKET_STATE") is state
    with pytest.raises(UsageError, match=r"there is TCP\.CONNECT already"):
        Table([Primitive(name="DIAL", group=2, number=5)])
    with pytest.raises(UsageError, match=r"no such primitive; there are GENERAL\.GET_VERSION"):
        Table().named("DIAL")
