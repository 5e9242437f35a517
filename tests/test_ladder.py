# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder: ends, arrows, times, marks, and the width that nothing exceeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import MS, OPTIONS, record, step

from harness.report.ladder import draw, lines, shorten_payload, wrap


def test_the_ladder_of_a_handshake_is_this_picture() -> None:
    assert draw(record()["steps"], width=88).splitlines() == [
        "       ms  injector                                                 target",
        "    0.000  |                                     listen(port 8080) -> ok o",
        "    0.012  |-- S 0:0(0) win 65535 <mss 1460,sackOK, -------------------->|",
        "           |     TS val 3012345678 ecr 4000000000,nop,wscale 7>          |",
        "    0.043  |<-------------------- S. 0:0(0) ack 1 win 65160 <mss 1460> --|",
        "    0.050  |-- . 1:1(0) ack 1 win 65535 -------------------------------->|",
    ]


def test_who_sent_is_seen_by_the_arrow() -> None:
    listening, syn, syn_ack, ack = (line for line in draw(record()["steps"], width=140).splitlines()[1:])
    assert listening.endswith("listen(port 8080) -> ok o")
    assert "|-- S 0:0(0)" in syn
    assert syn.endswith("->|")
    assert "|<--" in syn_ack
    assert syn_ack.endswith("<mss 1460> --|")
    assert ack.startswith("    0.050  |-- . 1:1(0) ack 1 win 65535 ---")


def test_an_option_list_that_fits_stays_whole() -> None:
    rows = draw([step(0, "target", f"S. 0:0(0) ack 1 win 65160 {OPTIONS}")]).splitlines()
    assert len(rows) == 3
    assert OPTIONS in rows[2]
    assert rows[1].index("S.") == rows[2].index("<mss")


@pytest.mark.parametrize(("mark", "word"), [
    ("unexpected", "<- unexpected"), ("missing", "<- missing"), ("mismatch", "<- mismatch"), ("allowed", "   allowed"),
    ("", "|"),
])
def test_the_marked_line_says_so(mark: str, word: str) -> None:
    assert draw([step(0, "target", ". 1:1(0) ack 1", mark)]).endswith(word)


def test_what_never_came_has_a_dotted_arrow() -> None:
    row = draw([step(0, "target", "R. 1:1(0) ack 1", "missing")]).splitlines()[1]
    assert "|< . . ." in row
    assert "--" not in row


def test_times_are_relative_to_the_first_line_and_long_ones_in_seconds() -> None:
    short = draw([step(0, "injector", "S 0:0(0)"), step(99_000_000, "target", "R. 0:0(0) ack 1")]).splitlines()
    assert short[0].split()[0] == "ms"
    assert short[2].split()[0] == "99000.000"
    hours = draw([step(0, "injector", "S 0:0(0)"), step(7_200_000_031, "target", "R. 0:0(0) ack 1")]).splitlines()
    assert hours[0].split()[0] == "s"
    assert hours[2].split()[0] == "7200.000031"
    back = draw([step(10, "injector", "S 0:0(0)"), step(0, "target", "R. 0:0(0) ack 1")]).splitlines()
    assert back[2].split()[0] == "-0.010"


def test_each_line_knows_its_step() -> None:
    drawn = lines(record()["steps"], width=100)
    assert [line.step for line in drawn] == [None, 0, 1, 1, 2, 3]
    assert [line.side for line in drawn] == ["", "api", "injector", "injector", "target", "injector"]
    assert len(draw(record()["steps"], until=0).splitlines()) == 2
    assert draw([]) == ""


def test_a_note_spans_the_lane() -> None:
    rows = draw([step(0, "note", "the state is ESTABLISHED " * 5)]).splitlines()
    assert "| # the state" in rows[1]
    assert "|   ESTABLISHED" in rows[2]


def test_a_long_payload_is_cut_in_the_ladder() -> None:
    assert shorten_payload(f'P. 1:1461(1460) ack 1 "{"x" * 1460}"') == f'P. 1:1461(1460) ack 1 "{"x" * 18}..."'
    assert shorten_payload('P. 1:3(2) ack 1 "ab"') == 'P. 1:3(2) ack 1 "ab"'


def test_wrapping_keeps_every_word() -> None:
    text = f"S. 0:0(0) ack 1 win 65160 {OPTIONS}"
    rows = wrap(text, 30)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")
    assert max(map(len, rows)) <= 30
    assert wrap("", 10) == [""]
    assert wrap("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


STEPS = st.lists(st.builds(
    lambda at, side, text, mark: {"at_ns": at * MS, "side": side, "text": text, "mark": mark},
    st.integers(0, 10**7), st.sampled_from(["injector", "target", "api", "note"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300),
    st.sampled_from(["", "unexpected", "missing", "mismatch", "allowed"])), min_size=1, max_size=6)


@given(STEPS, st.integers(60, 140))
def test_nothing_is_wider_than_asked_and_no_rail_is_broken(steps: list[dict[str, object]], width: int) -> None:
    rows = draw(steps, width=width).splitlines()
    assert max(map(len, rows)) <= width
    head = rows[0]
    left, right = head.index("injector"), len(head) - 1
    for row in rows[1:]:
        assert row[left] == "|"
        assert row[right] in "|o"
