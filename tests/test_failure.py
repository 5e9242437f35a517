# SPDX-License-Identifier: GPL-2.0-or-later
"""The failure page, and expected against got."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import MS, OPTIONS, RULES, check, deviating, every_verdict, failed, finding, pinned, record, step

from harness.report.compare import compare, tokens, unseen
from harness.report.failure import headline, kept, page, timing_lines
from harness.report.rules import cite, ids


def marked(expected: str, got: str, *fields: str) -> str:
    """The words of got that have a caret under them."""
    _, lower, carets = compare(expected, got, fields)
    return "".join(char if caret == "^" else " " for char, caret in zip(lower.ljust(99), carets.ljust(99), strict=True)
                   ).strip(" >")


def test_expected_stands_over_got_and_carets_under_both() -> None:
    assert compare("S. 0:0(0) ack 1 win * <mss 1460,sackOK>", "R. 0:0(0) ack 2 win 0 <mss 536>",
                   ["flags", "ack", "options"]) == [
        "expected  S. 0:0(0) ack 1 win * <mss 1460,sackOK>",
        "got       R. 0:0(0) ack 2 win 0 <mss 536>",
        "          ^^        ^^^^^        ^^^^^^^^ ^^^^^^",
    ]


def test_columns_are_kept_where_lengths_differ() -> None:
    assert compare(". 1:1(0) ack 1", ". 100001:100001(0) ack 1 win 5", ["seq"]) == [
        "expected  . 1     :1(0)      ack 1",
        "got       . 100001:100001(0) ack 1 win 5",
        "            ^^^^^^",
    ]


@pytest.mark.parametrize(("expected", "got", "field", "words"), [
    ("S. 0:0(0) ack 1", "S 0:0(0)", "flags", "S"),
    (". 1:1(0) ack 701", ". 1:1(0) ack 501", "ack", "ack 501"),
    (". 1:1(0) ack 1 win 0", ". 1:1(0) ack 1 win 9", "window", "win 9"),
    ("U. 1:1(0) ack 1 urg 2", "U. 1:1(0) ack 1 urg 3", "urgent", "urg 3"),
    ("P. 1:5(4) ack 1", "P. 1:3(2) ack 1", "length", ":3(2)"),
    ("S. 0:0(0) ack 1 <mss 1460>", "S. 0:0(0) ack 1 <mss 536>", "options", "mss 536"),
    ("S. 0:0(0) ack 1", "S. 0:0(0) ack 1 <nop,wscale 7>", "options", "wscale 7"),
    ("S. 0:0(0) ack 1 <mss *,...>", "S. 0:0(0) ack 1 <wscale 7>", "options", ""),
    ("S. 0:0(0) ack 1 <TS val * ecr 5>", "S. 0:0(0) ack 1 <TS val 9 ecr 6>", "options", "TS val 9 ecr 6"),
    ("S. 0:0(0) ack 1 <mss 1,sackOK>", "S. 0:0(0) ack 1 <sackOK,mss 2>", "options", "mss 2"),
    ('P. 1:4(3) ack 1 "abc"', 'P. 1:4(3) ack 1 "axc"', "payload", "x"),
])
def test_only_what_differs_is_marked(expected: str, got: str, field: str, words: str) -> None:
    assert marked(expected, got, field) == words


def test_an_option_that_is_missing_is_marked_where_it_would_be() -> None:
    lines = compare("S. 0:0(0) ack 1 <mss 1460,sackOK,wscale 7>", "S. 0:0(0) ack 1 <mss 1460,wscale 7>", ["options"])
    at = lines[0].index("sackOK")
    assert lines[2] == " " * at + "^^^^^^"


def test_long_payloads_are_shown_where_they_part() -> None:
    upper, lower, carets = compare(f'P. 1:1001(1000) ack 1 "{"a" * 1000}"',
                                   f'P. 1:1001(1000) ack 1 "{"a" * 700}b{"a" * 299}"', ["payload"])
    assert len(lower) < 100
    assert lower[carets.index("^")] == "b"
    assert upper[carets.index("^")] == "a"
    assert carets.count("^") == 1


def test_a_pair_too_wide_for_the_page_is_broken_with_its_carets() -> None:
    lines = compare("S. 0:0(0) ack 1 <mss 1460,wscale 9>", f"S. 0:0(0) ack 1 win 65160 {OPTIONS}", ["options"],
                    width=60)
    assert max(map(len, lines)) <= 60
    assert [line.split()[0] for line in lines if "^" not in line] == ["expected", "got"] * 2


def test_a_sentence_on_one_side_leaves_the_other_marked() -> None:
    assert compare("an acknowledgement of no more than was sent", ". 1:1(0) ack 9", ["ack"]) == [
        "expected  an acknowledgement of no more than was sent",
        "got       . 1:1(0) ack 9",
        "                   ^^^^^",
    ]
    assert compare("R. 0:0(0) ack 1", "nothing in 1000 ms", ["flags"]) == [
        "expected  R. 0:0(0) ack 1", "got       nothing in 1000 ms"]
    assert compare("silence", "nothing\nat all", []) == ["expected  silence", "got       nothing", "          at all"]


def test_without_names_whatever_is_written_differently_is_marked() -> None:
    assert compare(". 1:1(0) ack * win 5", ". 1:1(0) ack 3 win 6", [])[2].strip() == "^^^^^"


def test_fields_that_no_notation_shows_are_named() -> None:
    assert unseen("the right checksum", ". 1:1(0) ack 1", ["checksum", "ack", "options"]) == ["checksum"]
    assert "          differs: checksum" in page(failed(findings=[finding(fields=["checksum"])]))


def test_what_is_no_notation_has_no_tokens() -> None:
    assert tokens("a reset") is None
    assert tokens("") is None
    assert [token.field for token in tokens("* *(0) ack *") or ()] == ["flags", "seq", "length", "ack"]


NOTATION = st.builds(
    lambda flags, seq, length, ack, rest: f"{flags} {seq}:{seq + length}({length}) ack {ack}{rest}",
    st.sampled_from(["S.", ".", "P.", "R.", "F."]), st.integers(-5, 2**32), st.integers(0, 3000),
    st.integers(0, 2**32),
    st.sampled_from(["", " win 0", f" win 65535 {OPTIONS}", " <mss 1460>", ' "abc"', " <nop,nop,sack 1:2 3:4>"]))
FIELDS = st.sets(st.sampled_from(["flags", "seq", "ack", "window", "urgent", "length", "payload", "options", "ttl"]))


@given(NOTATION, NOTATION, FIELDS)
def test_no_word_is_lost_and_carets_stand_under_words(expected: str, got: str, fields: set[str]) -> None:
    lines = compare(expected, got, fields, width=200)
    assert "".join(lines[0].split()[1:]) == expected.replace(" ", "")
    assert "".join(lines[1].split()[1:]) == got.replace(" ", "")
    for at, char in enumerate(lines[2] if len(lines) > 2 else ""):
        assert char in " ^"
        assert (char == " " or at < max(len(lines[0]), len(lines[1])))


def test_the_page_of_a_failure_says_all_of_it() -> None:
    text = page(failed(findings=[finding(detail="the SYN offered SACK")]), RULES)
    assert text.splitlines()[:14] == [
        "FAIL  handshake/passive::syn_draws_syn_ack ipv4",
        "    A SYN draws a SYN,ACK one past it",
        "",
        "RFC9293-MUST-14  MUST  RFC 9293, section 3.7.1",
        "    Endpoints send and understand the MSS option.",
        "    https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1",
        "",
        "    expected  S. 0:0(0) ack 1 win * <mss 1460,sackOK>",
        "    got       R. 0:0(0) ack 2 win 0 <mss 536>",
        "              ^^        ^^^^^        ^^^^^^^^ ^^^^^^",
        "              the SYN offered SACK",
        "    step      3 of 4, 0.043 ms after the first",
        "    state     the target is in SYN-RECEIVED",
        "",
    ]
    assert "<- mismatch" in text
    assert text.splitlines()[-4:] == [
        "proven    wire (by what a probe segment draws); api (by the target's socket)",
        "capture   reports/captures/handshake.pcapng",
        "read it   tshark -r reports/captures/handshake.pcapng",
        "repeat    tcpqual run --target linux --family ipv4 -k syn_draws_syn_ack",
    ]


def test_what_is_not_there_is_not_spoken_of() -> None:
    text = page(record(capture=None, command="", proof=[], steps=[]), RULES)
    assert text.startswith("PASS ")
    assert not {"capture", "repeat", "proven", "Exchange", "Timing"} & set(text.split())


def test_the_strongest_finding_stands_first_and_a_rule_is_said_once() -> None:
    text = page(failed(findings=[
        finding(requirement="RFC6298-MIN", level="SHOULD", deviation="the minimum is 200 ms"),
        finding(requirement="RFC9293-SHLD-12", level="SHOULD"), finding(step=3), finding(source="oracle")]), RULES)
    assert text.index("RFC9293-MUST-14") < text.index("RFC9293-SHLD-12") < text.index("RFC6298-MIN")
    assert text.count("understand the MSS option") == 1
    assert "known     in the target's ledger: the minimum is 200 ms" in text
    assert "seen by   the oracle" in text


def test_a_verdict_that_is_not_the_targets_fault_says_so() -> None:
    text = page(record(verdict="error", reason="LinkError: gone", log="Traceback\n  deep", steps=[]), RULES)
    assert "this says nothing about the rule" in " ".join(text.split())
    assert "Log\n  Traceback\n    deep" in text
    assert "LinkError: gone" in text
    assert "RFC9293-MUST-14  MUST" in text


def test_control_characters_never_reach_the_terminal() -> None:
    nasty = "\x1b[31mred\x07\r"
    text = page(failed(reason=nasty, log=nasty, capture=nasty, steps=[step(0, "target", nasty)],
                       findings=[finding(got=nasty, detail=nasty, state=nasty, deviation=nasty)]), RULES)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b[31mred" in text


@pytest.mark.parametrize("sample", every_verdict(), ids=lambda sample: str(sample["verdict"]))
def test_every_page_fits_its_width_and_has_no_trailing_blanks(sample: dict[str, Any]) -> None:
    lines = page(sample, RULES).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines == [line.rstrip() for line in lines]
    assert "\n\n\n" not in page(sample, RULES)


def test_a_very_long_exchange_is_shown_around_what_matters() -> None:
    steps = [step(number, "injector", f". {number}:{number}(0) ack 1") for number in range(500)]
    text = page(failed(steps=steps, findings=[finding(step=250)]), RULES)
    assert ". 0:0(0)" in text
    assert ". 250:250(0)" in text
    assert ". 499:499(0)" in text
    assert ". 100:100(0)" not in text
    assert text.count("more, left out here") == 2
    assert len(text.splitlines()) < 90


@pytest.mark.parametrize(("got_ms", "says"), [
    (3501.0, "126.000 ms TOO LATE"), (2998.5, "0.500 ms TOO EARLY"), (3100.0, "in time"), (None, "never came"),
    (2999.0, "in time"), (3375.0, "in time"), (3375.001, "0.001 ms TOO LATE"),
])
def test_timing_is_judged_and_drawn(got_ms: float | None, says: str) -> None:
    lines = timing_lines(record(timing={"tolerance_ns": 9 * MS // 10, "checks": [check(got_ms)]}))
    assert lines[0].strip() == "tolerance of this link, measured: 0.900 ms"
    assert lines[1].strip() == f"second SYN: {says}"
    assert "due 3000.000 ms, allowed 2999.000 ms to 3375.000 ms, got" in lines[2]
    scale = lines[3].strip()
    assert len(scale) == 48
    if got_ms is None:
        assert "x" not in scale
    else:
        assert (scale.index("[") < scale.index("x") < scale.index("]")) == kept(check(got_ms)) == (says == "in time")


def test_a_window_without_width_has_no_scale() -> None:
    exact = {"what": "reset", "due_ns": 5, "earliest_ns": 5, "latest_ns": 5, "got_ns": 5}
    assert len(timing_lines(record(timing={"tolerance_ns": 0, "checks": [exact]}))) == 3
    assert timing_lines(record()) == []


def test_the_headline_is_one_line() -> None:
    assert headline(failed()) == ("FAIL handshake/passive::syn_draws_syn_ack ipv4: RFC9293-MUST-14: expected "
                                  "S. 0:0(0) ack 1 win * <mss 1460,sackOK>, got R. 0:0(0) ack 2 win 0 <mss 536>")
    assert headline(deviating(reason="a\nb")) == "KNOWN DEVIATION retransmission/timer::floor ipv4: a"


def test_rules_come_from_the_catalogue_or_from_the_id() -> None:
    assert cite("RFC9293-MUST-14").section == "3.7.1"
    assert cite("RFC9293-MUST-14").rule
    assert cite("SA-LISTEN-01").rfc == 9293
    unknown = cite("RFC4242-MUST-99")
    assert (unknown.url, unknown.place, unknown.rule) == ("https://www.rfc-editor.org/rfc/rfc4242", "RFC 4242", "")
    assert cite("strange", {}).url == "" == cite("strange", {}).place
    assert ids(failed(requirements=["RFC9293-MUST-2", "RFC9293-MUST-14"])) == ["RFC9293-MUST-14", "RFC9293-MUST-2"]


def test_what_is_not_as_the_profile_pins_it_stands_last_and_names_no_rule() -> None:
    text = page(failed(findings=[pinned(step=1), finding()]), RULES)
    assert text.index("RFC9293-MUST-14") < text.index("Fingerprint: not as the profile pins it; no rule is broken")
    assert "expected  ttl 64" in text
    assert "got       ttl 63" in text
    assert "pinned: ttl" in text
    assert headline(failed(reason="", findings=[pinned(), finding()])).split(": ")[1] == "RFC9293-MUST-14"
