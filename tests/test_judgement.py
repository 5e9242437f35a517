# SPDX-License-Identifier: GPL-2.0-or-later
"""From findings and exceptions to the verdict, with the ledger in between."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.lower.verdict import Finding, Inconclusive, Mismatch, Verdict
from harness.targets.judgement import Judgement, judge
from harness.targets.ledger import Deviation, Ledger
from harness.targets.versions import VersionRange
from harness.upper.base import NotApplicable
from harness.wire.errors import LinkError, ScriptError, TargetError

CASE = "closed/reset::syn"


def finding(**fields: Any) -> Finding:
    known: dict[str, Any] = {"requirement": "RFC9293-MUST-2", "level": "MUST", "source": "case",
                             "expected": "R 0:0(0)", "got": ". 0:0(0) ack 1"}
    return Finding(**known | fields)


def deviation(**fields: Any) -> Deviation:
    known: dict[str, Any] = {"requirement": "RFC9293-MUST-2", "got": re.compile(r"\. 0:0\(0\).*"), "case": "closed/*",
                             "versions": VersionRange.parse(">=5"), "reason": "it acknowledges", "evidence": "seen"}
    return Deviation(**known | fields)


def judged(*findings: Finding, error: BaseException | None = None, ledger: tuple[Deviation, ...] = (),
           family: str = "ipv4", version: str = "6.1", case_id: str = CASE,
           proof: tuple[str, ...] = ("wire",)) -> Judgement:
    return judge(findings, error, ledger=Ledger(ledger), case_id=case_id, family=family, version=version,
                 proof=proof)


@pytest.mark.parametrize("proof", [(), ("api",)])
def test_a_case_in_which_nothing_was_seen_passes_nothing(proof):
    assert judged(proof=proof).verdict is Verdict.INCONCLUSIVE


def test_nothing_found_is_a_pass():
    assert judged() == Judgement(verdict=Verdict.PASS, reason="", findings=())


def test_a_must_that_is_broken_fails():
    judgement = judged(finding(), error=Mismatch(finding()))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reason == "RFC9293-MUST-2: expected R 0:0(0), got . 0:0(0) ack 1"


def test_a_should_that_is_not_kept_is_advice():
    assert judged(finding(level="SHOULD"), error=Mismatch(finding())).verdict is Verdict.ADVICE


def test_a_may_is_information_beside_a_pass():
    judgement = judged(finding(level="MAY"))
    assert judgement.verdict is Verdict.PASS
    assert judgement.reason.startswith("RFC9293-MUST-2")


def test_a_case_that_a_may_has_ended_passes_nothing():
    judgement = judged(finding(level="MAY"), error=Mismatch(finding(level="MAY")))
    assert judgement.verdict is Verdict.NOT_APPLICABLE
    assert judgement.reason.startswith("RFC9293-MUST-2")


def test_what_a_case_leaves_out_does_not_excuse_what_it_has_found():
    assert judged(finding(), error=NotApplicable("no such feature")).verdict is Verdict.FAIL
    assert judged(finding(level="SHOULD"), error=NotApplicable("no")).verdict is Verdict.NOT_APPLICABLE


def test_the_worst_of_several_gives_the_reason():
    judgement = judged(finding(level="SHOULD", requirement="RFC9293-SHLD-14"), finding(expected="this"))
    assert (judgement.verdict, judgement.reason) == (
        Verdict.FAIL, "RFC9293-MUST-2: expected this, got . 0:0(0) ack 1")


def test_a_known_deviation_is_explained():
    judgement = judged(finding(), error=Mismatch(finding()), ledger=(deviation(),))
    assert (judgement.verdict, judgement.reason) == (Verdict.KNOWN_DEVIATION, "it acknowledges")
    assert judgement.findings[0].deviation == "it acknowledges"


def test_advice_that_the_ledger_knows_is_a_known_deviation_too():
    assert judged(finding(level="SHOULD"), ledger=(deviation(),)).verdict is Verdict.KNOWN_DEVIATION


@pytest.mark.parametrize("other", [
    {"requirement": "RFC9293-MUST-3"}, {"case": "close/*"}, {"got": re.compile("R.*")},
    {"got": re.compile(r"\. 0:0")}, {"versions": VersionRange.parse(">=7")}, {"family": "ipv6"},
    {"state": "LISTEN"}, {"case": "", "state": "LISTEN"},
], ids=lambda other: "-".join(other))
def test_an_entry_about_something_else_hides_nothing(other):
    assert judged(finding(), ledger=(deviation(**other),)).verdict is Verdict.FAIL


def test_an_entry_may_name_a_state_in_place_of_a_case():
    known = deviation(case="", state="LISTEN")
    assert judged(finding(state="LISTEN"), ledger=(known,)).verdict is Verdict.KNOWN_DEVIATION
    assert judged(ledger=(known,)).verdict is Verdict.PASS


def test_one_known_and_one_unknown_finding_fail():
    assert judged(finding(), finding(got="F."), ledger=(deviation(),)).verdict is Verdict.FAIL


def test_one_known_finding_and_advice_are_advice():
    unknown = finding(got="F.", level="SHOULD")
    assert judged(finding(), unknown, ledger=(deviation(),)).verdict is Verdict.ADVICE


def test_a_deviation_that_did_not_happen_is_an_unexpected_pass():
    judgement = judged(ledger=(deviation(),))
    assert judgement.verdict is Verdict.UNEXPECTED_PASS
    assert judgement.reason == "the ledger expects a deviation that did not happen: it acknowledges"


@pytest.mark.parametrize("other", [{"version": "4.19"}, {"case_id": "close/active::x"}])
def test_where_no_deviation_is_due_none_is_missed(other):
    assert judged(ledger=(deviation(),), **other).verdict is Verdict.PASS


def test_a_deviation_of_one_family_is_not_due_in_the_other():
    assert judged(ledger=(deviation(family="ipv6"),)).verdict is Verdict.PASS
    assert judged(ledger=(deviation(family="ipv6"),), family="ipv6").verdict is Verdict.UNEXPECTED_PASS


def test_two_entries_that_name_one_case_are_alternatives():
    other = deviation(got=re.compile("F.*"), reason="it closes")
    assert judged(finding(), ledger=(deviation(), other)).verdict is Verdict.KNOWN_DEVIATION


def test_inconclusive_is_no_unexpected_pass():
    judgement = judged(error=Inconclusive("not there"), ledger=(deviation(),))
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, "not there")


def test_what_was_found_before_it_became_inconclusive_is_kept():
    judgement = judged(finding(level="SHOULD"), error=Inconclusive("not there"))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert len(judgement.findings) == 1


def test_a_must_broken_on_the_way_is_a_failure_wherever_the_case_ended():
    judgement = judged(finding(source="oracle"), error=Inconclusive("not there"))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reason == "RFC9293-MUST-2: expected R 0:0(0), got . 0:0(0) ack 1"


@pytest.mark.parametrize(("error", "reason"), [
    (LinkError("lost"), "LinkError: lost"), (ScriptError("what?"), "ScriptError: what?"),
    (KeyError("x"), "KeyError: 'x'"), (AssertionError("own"), "AssertionError: own"),
])
def test_everything_else_is_an_error(error, reason):
    judgement = judged(finding(), error=error, ledger=(deviation(),))
    assert (judgement.verdict, judgement.reason) == (Verdict.ERROR, reason)
    assert len(judgement.findings) == 1


def test_not_applicable():
    judgement = judged(error=NotApplicable("no half close"), ledger=(deviation(),))
    assert (judgement.verdict, judgement.reason) == (Verdict.NOT_APPLICABLE, "no half close")


# -- what is not as the profile pins it --------------------------------------------------------------------------------

PINNED = finding(requirement="fingerprint", level="FINGERPRINT", source="fingerprint", expected="ttl 64", got="ttl 63")


def test_a_fingerprint_alone_is_a_pass_without_a_reason():
    assert judged(PINNED) == Judgement(verdict=Verdict.PASS, reason="", findings=(PINNED,))


@pytest.mark.parametrize("others", [
    {"findings": (finding(),), "error": Mismatch(finding())},
    {"findings": (finding(level="SHOULD"),), "error": Mismatch(finding(level="SHOULD"))},
    {"findings": (finding(level="MAY"),), "error": Mismatch(finding(level="MAY"))},
    {"findings": (finding(level="MAY"),)},
    {"findings": (finding(),), "error": Mismatch(finding()), "ledger": (deviation(),)},
    {"findings": (), "ledger": (deviation(case=CASE),)},
    {"findings": (), "error": Inconclusive("no path")},
    {"findings": (), "error": LinkError("gone")},
    {"findings": (), "error": NotApplicable("it has none")},
    {"findings": (), "proof": ()},
    {"findings": (), "proof": ("api",)},
])
def test_a_fingerprint_alters_no_verdict_and_no_reason(others):
    findings = others.pop("findings")
    without = judged(*findings, **others)
    for place in range(len(findings) + 1):
        beside = judged(*findings[:place], PINNED, *findings[place:], **others)
        assert (beside.verdict, beside.reason) == (without.verdict, without.reason)
        assert tuple(found for found in beside.findings if found.source != "fingerprint") == without.findings
        assert beside.findings[place] == PINNED


def test_no_ledger_entry_applies_to_a_fingerprint():
    known = deviation(requirement="fingerprint", case=CASE, got=re.compile("ttl 63"))
    judgement = judged(PINNED, ledger=(known,))
    assert judgement.findings == (PINNED,)
    assert judgement.verdict is Verdict.UNEXPECTED_PASS


def test_what_comes_behind_is_excused_once_if_the_entry_says_what():
    one, behind = finding(), finding(expected="nothing more", got="R 0:0(0)")
    known = deviation(more=re.compile(r"R 0:0\(0\)"))
    assert judged(one, behind, error=Mismatch(one), ledger=(known,)).verdict is Verdict.KNOWN_DEVIATION
    assert judged(one, behind, behind, error=Mismatch(one), ledger=(known,)).verdict is Verdict.FAIL
    other = finding(expected="nothing more", got="R 1:1(0)")
    assert judged(one, other, error=Mismatch(one), ledger=(known,)).verdict is Verdict.FAIL
    assert judged(behind, error=Mismatch(behind), ledger=(known,)).verdict is Verdict.FAIL


def test_a_death_that_the_ledger_knows_is_a_known_deviation():
    died = TargetError("slirp: died of SIGBUS while it took a packet; standard error: nothing")
    known = deviation(got=re.compile(r"slirp: died of SIG(BUS|SEGV) while .*"))
    judgement = judged(error=died, ledger=(known,))
    assert (judgement.verdict, judgement.reason) == (Verdict.KNOWN_DEVIATION, "it acknowledges")
    assert judgement.findings[-1].got == str(died)
    assert judged(finding(requirement="RFC9293-MUST-3"), error=died, ledger=(known,)).verdict is Verdict.FAIL


@pytest.mark.parametrize("error", [TargetError("slirp: said nothing for 10 s"), LinkError("slirp: died of SIGBUS"),
                                   TargetError("slirp: died of SIGBUS while it took a packet")])
def test_another_error_is_one_whatever_the_ledger_says(error):
    known = deviation(got=re.compile(r"slirp: died of SIGBUS"))
    assert judged(error=error, ledger=(known,)).verdict is Verdict.ERROR


def test_what_the_ledger_knows_excuses_no_second_one():
    judgement = judged(finding(), finding(expected="nothing more"), error=Mismatch(finding()), ledger=(deviation(),))
    assert judgement.verdict is Verdict.FAIL
    assert [found.deviation is None for found in judgement.findings] == [False, True]
