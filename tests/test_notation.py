# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.errors import ScriptError
from harness.wire.notation import flag_letters, parse, render, render_option
from harness.wire.segment import ACK, FIN, PSH, SYN, URG, Kind, Option, Segment


def test_every_part_of_a_segment_is_read():
    notation = parse('FPU. 1:4(3) ack 7 win 100 urg 2 <mss 1460,sackOK,TS val 1 ecr *,nop,wscale 7> "abc"')
    assert notation.flags == FIN | PSH | URG | ACK
    assert (notation.seq, notation.length, notation.ack, notation.window, notation.urgent) == (1, 3, 7, 100, 2)
    assert notation.payload == b"abc"
    assert [pattern.kind for pattern in notation.options or ()] == [
        Kind.MSS, Kind.SACK_PERMITTED, Kind.TIMESTAMPS, Kind.NOP, Kind.WINDOW_SCALE]
    assert not notation.more_options


def test_what_is_not_written_is_none():
    notation = parse("S 0:0(0)")
    assert notation.ack is notation.window is notation.urgent is notation.options is notation.payload is None


@pytest.mark.parametrize(("text", "more", "count"), [("<>", False, 0), ("<...>", True, 0), ("<mss *,...>", True, 1)])
def test_an_option_list_may_be_empty_or_open(text, more, count):
    notation = parse(f". 1:1(0) ack 1 {text}")
    assert notation.more_options is more
    assert len(notation.options or ()) == count


@pytest.mark.parametrize(("text", "column", "problem"), [
    ("", 1, "no segment here"),
    ("X 0:0(0)", 1, "no segment here"),
    ("S 0:1(0)", 5, "1 does not follow 0 octets from 0"),
    ("S 0:0(0) ack 1", 1, "without the ACK bit"),
    (". 1:1(0) ack 1 win 65536", 20, "win 65536 does not fit"),
    (". 1:1(0) win 3 ack 1", 16, "'ack' is out of place"),
    (". 1:1(0) ack 1 ack 2", 16, "'ack' is out of place"),
    (". 1:1(0) ack 1 <mss 65536>", 17, "65536 does not fit"),
    (". 1:1(0) ack 1 <nop, speed 9>", 22, "unknown option 'speed 9'"),
    (". 1:1(0) ack 1 <...,nop>", 21, "an option after `...`"),
    ('. 1:3(2) ack 1 "abc"', 17, "3 octets of payload"),
    (". 1:1(0) ack 1 fast", 16, "unexpected 'fast'"),
    (". 1:1(0) ack 1 <kind 256>", 17, "unknown option"),
])
def test_a_mistake_is_named_with_its_column(text, column, problem):
    with pytest.raises(ScriptError) as caught:
        parse(text)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"notation, column {column}: ")
    assert problem in first
    assert shown == f"    {text}"
    assert caret == "    " + " " * (column - 1) + "^"


@pytest.mark.parametrize(("text", "option"), [
    ("mss 1460", Option.of(Kind.MSS, b"\x05\xb4")),
    ("wscale 7", Option.of(Kind.WINDOW_SCALE, b"\x07")),
    ("sackOK", Option.of(Kind.SACK_PERMITTED)),
    ("nop", Option.of(Kind.NOP)),
    ("eol", Option.of(Kind.EOL)),
    ("uto 300", Option.of(Kind.USER_TIMEOUT, b"\x01\x2c")),
    ("TS val 1 ecr 2", Option.of(Kind.TIMESTAMPS, bytes((0, 0, 0, 1, 0, 0, 0, 2)))),
    ("kind 34", Option.of(Kind.FAST_OPEN)),
    ("kind 253 0x0a0b", Option.of(253, b"\x0a\x0b")),
    ("raw 0x0204", Option(Kind.MSS, b"", 4)),
    ("raw 0xfd", Option(253, b"", None)),
])
def test_options_are_written_as_they_are_read(text, option):
    (pattern,) = parse(f". 1:1(0) ack 1 <{text}>").options or ()
    assert pattern.option() == option
    assert pattern.matches(option)
    assert render_option(option) == text


def test_a_fast_open_cookie_has_a_name_of_its_own():
    (pattern,) = parse("S 0:0(0) <FO 0xaabb>").options or ()
    assert pattern.option() == Option.of(Kind.FAST_OPEN, b"\xaa\xbb")


def test_sack_blocks_are_relative():
    (pattern,) = parse(". 1:1(0) ack 1 <sack 101:201 301:401>").options or ()
    option = pattern.option(base=0xFFFFFFF0)
    assert option.data[:4] == (101 - 16).to_bytes(4, "big")
    assert render_option(option, base=0xFFFFFFF0) == "sack 101:201 301:401"


@pytest.mark.parametrize(("text", "data", "fits"), [
    ("TS val * ecr 5", (9).to_bytes(4, "big") + (5).to_bytes(4, "big"), True),
    ("TS val * ecr 5", (9).to_bytes(4, "big") + (6).to_bytes(4, "big"), False),
    ("TS val * ecr 5", b"short", False),
])
def test_a_star_is_any_value_of_the_right_size(text, data, fits):
    (pattern,) = parse(f". 1:1(0) ack 1 <{text}>").options or ()
    assert pattern.matches(Option.of(Kind.TIMESTAMPS, data)) is fits
    assert not pattern.matches(Option.of(Kind.MSS, data))


def test_rendering_is_relative_to_both_ends():
    segment = Segment(flags=SYN | ACK, seq=1000, ack=51, window=5, payload=b"")
    assert render(segment, seq_base=1000, ack_base=50) == "S. 0:0(0) ack 1 win 5"


def test_without_a_base_numbers_are_absolute():
    assert render(Segment(flags=ACK, seq=0xFFFFFFFF, ack=3)) == ". 4294967295:4294967295(0) ack 3"


def test_padding_behind_the_end_of_options_is_not_repeated():
    segment = Segment(flags=SYN, seq=1, options=(Option.of(Kind.SACK_PERMITTED), Option(0), Option(0)))
    assert render(segment, seq_base=1) == "S 0:0(0) <sackOK,eol>"


def test_an_urgent_pointer_is_shown_with_its_bit_only():
    assert "urg 4" in render(Segment(flags=URG | ACK, seq=1, ack=1, urgent=4), seq_base=1, ack_base=1)
    assert "urg" not in render(Segment(flags=ACK, seq=1, ack=1, urgent=4), seq_base=1, ack_base=1)


@given(flags=st.integers(0, 0x1FF), seq=st.integers(1, 10_000), size=st.integers(0, 20), ack=st.integers(1, 10_000),
       window=st.integers(0, 65535))
def test_what_is_rendered_is_read_back(flags, seq, size, ack, window):
    text = render(Segment(flags=flags, seq=seq, ack=ack, window=window, payload=bytes(size)))
    notation = parse(text)
    assert notation.flags == flags
    assert (notation.seq, notation.length, notation.window) == (seq, size, window)
    assert notation.ack == (ack if flags & ACK else None)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_way(text):
    with contextlib.suppress(ScriptError):
        parse(text)


def test_no_flag_is_a_dash():
    assert flag_letters(0) == "-"
    assert parse("- 0:0(0)").flags == 0
