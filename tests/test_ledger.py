# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger explains one thing and hides nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.targets.ledger import Deviation, Ledger
from harness.targets.versions import VersionRange

FINDING = {"requirement": "RFC9293-MUST-13", "case_id": "close/time_wait::test_lasts_two_msl", "state": "TIME-WAIT",
           "got": "R 1:1(0) win 0", "version": "6.18.44-cloud-amd64", "family": "ipv4"}


def deviation(**changes: Any) -> Deviation:
    fields: dict[str, Any] = {
        "requirement": "RFC9293-MUST-13", "case": "close/time_wait::*", "state": "TIME-WAIT",
        "got": re.compile(r"R \d+:\d+\(0\) win 0"), "versions": VersionRange.parse(">=5.0,<6.20"),
        "reason": "TIME-WAIT is too short", "evidence": "probe"}
    return Deviation(**{**fields, **changes})


def test_the_finding_it_is_about_is_known() -> None:
    known = deviation()
    assert Ledger((known,)).match(**FINDING) is known


@pytest.mark.parametrize(("field", "other"), [
    ("requirement", "RFC9293-MUST-1"), ("requirement", "RFC9293-MUST-133"), ("case_id", "close/active::test_x"),
    ("state", "CLOSED"), ("state", ""), ("got", "R. 1:1(0) win 0"), ("got", "R 1:1(0) win 0 <mss 1460>"),
    ("got", "x R 1:1(0) win 0"), ("got", ""), ("version", "4.19.0"), ("version", "6.20.1"), ("version", "")])
def test_a_finding_that_differs_in_one_field_is_not(field: str, other: str) -> None:
    assert Ledger((deviation(),)).match(**{**FINDING, field: other}) is None


def test_case_alone_and_state_alone_will_do() -> None:
    assert Ledger((deviation(state=""),)).match(**{**FINDING, "state": "CLOSED"})
    assert Ledger((deviation(case=""),)).match(**{**FINDING, "case_id": "other/case::test_y"})
    assert Ledger((deviation(state=""),)).match(**{**FINDING, "case_id": "other/case::test_y"}) is None
    assert Ledger((deviation(case=""),)).match(**{**FINDING, "state": "CLOSED"}) is None


def test_an_entry_with_neither_explains_nothing() -> None:
    assert Ledger((deviation(case="", state=""),)).match(**FINDING) is None


def test_an_entry_of_one_family_is_silent_about_the_other() -> None:
    ledger = Ledger((deviation(family="ipv6"),))
    assert ledger.match(**FINDING) is None
    assert ledger.match(**{**FINDING, "family": "ipv6"})
    assert ledger.match(**{**FINDING, "family": ""}) is None


def test_the_first_entry_that_fits_is_taken() -> None:
    first, second = deviation(got=re.compile("S.*")), deviation(reason="second")
    assert Ledger((first, second, deviation(reason="third"))).match(**FINDING) is second


def test_entries_due_are_those_that_name_the_case() -> None:
    named, by_state = deviation(), deviation(case="")
    newer, ipv6 = deviation(versions=VersionRange.parse(">=7.0")), deviation(family="ipv6")
    ledger = Ledger((named, by_state, newer, ipv6))
    case, version = FINDING["case_id"], FINDING["version"]
    assert ledger.due(case, "ipv4", version) == [named]
    assert ledger.due(case, "ipv6", version) == [named, ipv6]
    assert ledger.due(case, "ipv4", "7.1.0") == [newer]
    assert ledger.due("close/active::test_x", "ipv4", version) == []


def test_a_ledger_can_be_counted_and_listed() -> None:
    entries = (deviation(), deviation(reason="second"))
    assert len(Ledger(entries)) == 2
    assert tuple(Ledger(entries)) == entries
    assert not Ledger()


# -- version ranges --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "inside", "outside"), [
    (">=5.0,<6.20", ["5.0", "5.0.0-1", "6.18.44-fc", "6.19.99"], ["4.19", "6.20", "6.20.1", "7.0"]),
    (">=6.5", ["6.5", "6.5.1", "6.12", "10.0"], ["6.4.16", "6.1.0-31-amd64"]),
    ("<=6.18", ["6.18", "6.18.44", "6.2"], ["6.19", "6.19.1"]),
    (">6.18", ["6.19", "7"], ["6.18.44", "6.18"]),
    ("==6.12", ["6.12", "6.12.117"], ["6.1", "6.120", "6.13"]),
    ("< 6.1.5", ["6.1", "6.1.4"], ["6.1.5", "6.2"]),
    ("any", ["1", "6.18", "", "unknown"], []),
])
def test_versions_in_and_out_of_a_range(text: str, inside: list[str], outside: list[str]) -> None:
    versions = VersionRange.parse(text)
    assert [version for version in inside if version not in versions] == []
    assert [version for version in outside if version in versions] == []


def test_a_target_without_a_version_is_in_no_range_but_any() -> None:
    assert "" not in VersionRange.parse(">=0")
    assert "unknown" not in VersionRange.parse(">=0")


@pytest.mark.parametrize("text", ["", "6.1", ">=", "~=6.1", ">=6.1;<7", ">=6.x", ">=6.1,", "any,>=6"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="is not a range such as"):
        VersionRange.parse(text)


def test_a_range_is_written_as_it_was_read() -> None:
    assert str(VersionRange.parse(">=5.0, <6.20")) == ">=5.0,<6.20"
    assert str(VersionRange.parse("any")) == "any"
