# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from harness.lower.matching import Pattern, describe, differences, of_segment
from harness.wire.notation import parse
from harness.wire.segment import ACK, PSH, SYN, Kind, Option, Segment

TARGET, OURS = 0xFFFFFF00, 0xFFFFFFF0
MSS = Option.of(Kind.MSS, (1460).to_bytes(2, "big"))
NOP = Option.of(Kind.NOP)


def pattern(text: str) -> Pattern:
    return Pattern.of(parse(text), seq_base=TARGET, ack_base=OURS)


def segment(**fields: object) -> Segment:
    known = {"flags": ACK, "seq": (TARGET + 1) % 2**32, "ack": (OURS + 1) % 2**32, "window": 500, "urgent": 0,
             "options": (), "payload": b""}
    return Segment(**(known | fields))  # type: ignore[arg-type]


def test_the_same_segment_has_no_difference():
    assert differences(pattern(". 1:1(0) ack 1"), segment()) == ()


@pytest.mark.parametrize(("text", "fields"), [
    ("S. 1:1(0) ack 1", ("flags",)),
    (". 2:2(0) ack 1", ("seq",)),
    (". 1:1(0) ack 2", ("ack",)),
    (". 1:1(0) ack 1 win 499", ("window",)),
    (". 1:2(1) ack 1", ("length",)),
    (". 1:1(0) ack 1 <mss 1460>", ("options",)),
    ("S 0:0(0)", ("flags", "seq")),
])
def test_each_field_that_differs_is_named(text, fields):
    assert differences(pattern(text), segment()) == fields


def test_no_option_list_means_no_options():
    assert differences(pattern(". 1:1(0) ack 1"), segment(options=(MSS,))) == ("options",)
    assert differences(pattern(". 1:1(0) ack 1 <>"), segment(options=(MSS,))) == ("options",)


def test_padding_and_order_are_the_senders_choice():
    wanted = pattern(". 1:1(0) ack 1 <sackOK,nop,mss 1460>")
    assert differences(wanted, segment(options=(NOP, MSS, Option.of(Kind.SACK_PERMITTED), Option(0)))) == ()


def test_an_option_is_counted():
    wanted = pattern(". 1:1(0) ack 1 <mss 1460>")
    assert differences(wanted, segment(options=(MSS, MSS))) == ("options",)
    assert differences(wanted, segment(options=())) == ("options",)


def test_further_options_are_allowed_by_dots_only():
    assert differences(pattern(". 1:1(0) ack 1 <mss 1460,...>"), segment(options=(NOP, MSS, Option.of(99)))) == ()
    assert differences(pattern(". 1:1(0) ack 1 <...>"), segment(options=(MSS,))) == ()
    assert differences(pattern(". 1:1(0) ack 1 <mss 1461,...>"), segment(options=(MSS,))) == ("options",)


def test_an_option_may_be_marked_as_one_that_may_be_absent():
    wanted = pattern(". 1:1(0) ack 1 <mss 1460?>")
    assert differences(wanted, segment()) == ()
    assert differences(wanted, segment(options=(MSS,))) == ()
    assert differences(wanted, segment(options=(MSS, MSS))) == ("options",)
    assert differences(wanted, segment(options=(Option.of(Kind.MSS, b"\x01\x00"),))) == ("options",)


def test_psh_is_free_on_data_unless_demanded():
    data = {"payload": b"ab"}
    assert differences(pattern(". 1:3(2) ack 1"), segment(flags=ACK | PSH, **data)) == ()
    assert differences(pattern("P. 1:3(2) ack 1"), segment(**data)) == ("flags",)
    assert differences(pattern(". 1:1(0) ack 1"), segment(flags=ACK | PSH)) == ("flags",)


def test_a_payload_is_compared_with_what_is_written_or_else_due():
    assert differences(pattern('. 1:3(2) ack 1 "ab"'), segment(payload=b"ax"), b"ax") == ("payload",)
    assert differences(pattern(". 1:3(2) ack 1"), segment(payload=b"ax"), b"ab") == ("payload",)
    assert differences(pattern(". 1:3(2) ack 1"), segment(payload=b"ab"), b"ab") == ()
    assert differences(pattern(". 1:3(2) ack 1"), segment(payload=b"ab"), None) == ()


def test_a_reset_without_ack_has_no_acknowledgement_to_compare():
    wanted = replace(pattern("R 1:1(0)"), ack=5)
    assert differences(wanted, segment(flags=4, ack=0)) == ()


def test_none_in_a_segment_is_the_wildcard():
    assert differences(of_segment(Segment(flags=ACK)), segment(options=(MSS,), payload=b"x")) == ()
    assert differences(of_segment(Segment(flags=SYN)), segment()) == ("flags",)
    assert differences(of_segment(Segment(payload=b"ab")), segment(payload=b"a")) == ("length",)
    assert differences(of_segment(Segment(options=(MSS,))), segment()) == ("options",)


def test_urgent_pointer():
    assert differences(pattern("U. 1:1(0) ack 1 urg 4"), segment(flags=ACK | 32, urgent=3)) == ("urgent",)


@pytest.mark.parametrize("text", [
    ". 1:1(0) ack 1", "S. 0:0(0) ack 1 win 5 <mss 1460,sackOK>", "S. 0:0(0) ack 1 <mss *,wscale 7,...>",
    ". 1:1(0) ack 1 <TS val * ecr 7?,sackOK?>", ". 1:1(0) ack 1 <sack 11:21>", "S 0:0(0) <...>",
])
def test_an_expectation_is_described_as_it_was_written(text):
    assert describe(pattern(text), seq_base=TARGET, ack_base=OURS) == text


def test_wildcards_are_described_by_stars():
    anything = of_segment(Segment())
    assert describe(anything, seq_base=0, ack_base=0) == "* *(*) <...>"
    assert describe(of_segment(Segment(flags=ACK, options=())), seq_base=0, ack_base=0) == ". *(*) ack *"
