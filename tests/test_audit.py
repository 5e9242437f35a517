# SPDX-License-Identifier: GPL-2.0-or-later
"""The auditor and its stage: what is played again is the case as pytest has it, and what a lie came to is counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_server import PROBE_S, Item, Server, exchange

from harness.audit import lies
from harness.audit.auditor import Auditor, Wishes, known_lies
from harness.audit.freedom import FREEDOMS, declared, freedom_for
from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.fingerprint import Pins
from harness.lower.peer import Peer
from harness.lower.timing import after
from harness.report.results import load
from harness.requirements.catalogue import load as catalogue
from harness.targets.ledger import Deviation, Ledger
from harness.targets.versions import VersionRange
from harness.wire.errors import LinkError, UsageError
from harness.wire.segment import ACK, RST, SYN, Segment

ROOT = Path(__file__).resolve().parent.parent
WHY = "this is no case about it"


def audit(function: Any, *markers: pytest.MarkDecorator, lie: str = "", every: bool = True,
          target: Any = None) -> dict[str, Any]:
    auditor = Auditor(target or Server().target(), Wishes(lie=lie, all=every))
    return auditor.audit(Item(function, *markers))  # type: ignore[arg-type]


def told(function: Any, lie: str, *markers: pytest.MarkDecorator, target: Any = None) -> dict[str, Any]:
    """What this one lie came to."""
    found = audit(function, *markers, lie=lie, target=target)
    assert found["lies"] == 1
    assert sum(found["counts"].values()) == 1
    (one,) = found["survivors"]
    assert one["lie"] == lie
    assert found["counts"] == {one["outcome"]: 1}
    assert found["fields"] == {one["field"]: {one["outcome"]: 1}}
    assert isinstance(one, dict)
    return one


def handshake(case: Case) -> Peer:
    listener = Application(case).listen()
    peer = case.peer(target_port=listener.port)
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK>")
    peer.expect("S. 0:0(0) ack 1 <mss 1460,sackOK>")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)
    return peer


def answered(case: Case) -> Segment:
    peer = case.peer(target_port=Application(case).listen().port)
    peer.send("S 0:0(0) win 65535 <mss 1460,sackOK>")
    return peer.expect("S. 0:0(0) ack 1 <mss 1460,sackOK>")


def small(case: Case) -> None:
    handshake(case)


# -- what becomes of a lie --------------------------------------------------------------------------------------------


def test_a_lie_that_the_case_notices():
    one = told(small, "ack+1@1")
    assert (one["outcome"], one["verdict"], one["field"]) == ("noticed", "fail", "ack")
    assert one["about"].startswith("S. 0:0(0) ack 1")
    assert [step["mark"] for step in one["steps"] if "the lie ack+1@1" in step["text"]] == ["changed"]


def test_a_lie_that_nobody_notices():
    one = told(small, "win+1@1")
    assert (one["outcome"], one["verdict"], one["findings"]) == ("survived", "pass", [])


def test_a_lie_that_no_rule_forbids():
    found = audit(small, lie="ip-id@1")
    assert found["counts"] == {"free": 1}
    ((why, count),) = found["free"].items()
    assert why.startswith("ip-id: ")
    assert count == 1


def test_what_only_keeps_a_case_from_beginning_is_scored_apart():
    def is_brought_there(case: Case) -> None:
        with case.preamble():
            peer = handshake(case)
        peer.send("P. 1:11(10) ack 1")
        peer.expect(". 1:1(0) ack 11")

    assert told(is_brought_there, "ack-1@1")["outcome"] == "inconclusive"
    assert told(is_brought_there, "ack-1@2")["outcome"] == "noticed"


@pytest.mark.parametrize("error", [ValueError("a mistake of the author's"), LinkError("the link fell off the wall")])
def test_an_error_of_ours_is_never_a_catch(error):
    def stumbles(case: Case) -> None:
        if answered(case).window != 5000:
            raise error

    one = told(stumbles, "win+1@1")
    assert (one["outcome"], one["verdict"]) == ("error", "error")
    assert str(error) in one["reason"]


def test_no_freedom_hides_an_error_of_ours():
    def stumbles(case: Case) -> None:
        if answered(case).window != 5000:
            raise ValueError("a mistake of the author's")

    assert told(stumbles, "win+1@1", pytest.mark.free("win+1", why=WHY))["outcome"] == "error"


def test_what_the_profile_pins_is_noticed_and_counted_apart(monkeypatch):
    pinned = Server().target()
    monkeypatch.setattr(type(pinned.profile), "pins", lambda profile, *, ipv6: Pins(ttl=64, syn_ack_window=5000))
    assert told(small, "ttl=1@1")["outcome"] == "fingerprint"
    one = told(small, "win+1@1")
    assert (one["outcome"], one["verdict"]) == ("fingerprint", "pass")
    assert [finding["source"] for finding in one["findings"]] == ["fingerprint"]
    assert told(small, "ack+1@1")["outcome"] == "noticed", "a rule goes before a pin"


def test_another_finding_is_noticed_though_the_verdict_stays():
    def fails_one_way_or_another(case: Case) -> None:
        handshake(case).expect("F. 1:1(0) ack 1", within_s=PROBE_S + 1)

    assert told(fails_one_way_or_another, "fin@2")["outcome"] == "noticed"
    assert told(fails_one_way_or_another, "ttl=1@2")["outcome"] == "survived"


def test_a_finding_that_the_ledger_knows_is_known_however_it_is_worded():
    """A segment in which numbers of the target's own stand reads otherwise in each run."""
    known = Deviation(requirement="RFC9293-MUST-2", got=re.compile(r"\. 0:0.*"), case="topic/module::deviates",
                      versions=VersionRange.parse("any"), reason="it always did", evidence="seen")

    def test_deviates(case: Case) -> None:
        handshake(case).expect("F. 1:1(0) ack 1", within_s=PROBE_S + 1)

    def target() -> Any:
        return Server().target(ledger=Ledger((known,)))

    one = told(test_deviates, "offset+1@2", target=target())
    assert (one["outcome"], one["verdict"]) == ("survived", "known-deviation")
    assert told(test_deviates, "ack+1@2", target=target())["outcome"] == "noticed", "the oracle's is another"


@pytest.mark.parametrize(("raised", "verdict"), [
    (ValueError("broken"), "error"), (pytest.skip.Exception("not on a Friday"), "not-applicable")])
def test_a_case_that_comes_to_nothing_is_left_out(raised, verdict):
    def comes_to_nothing(case: Case) -> None:
        handshake(case)
        raise raised

    left_out = audit(comes_to_nothing)["left_out"]
    assert left_out.startswith(f"{verdict}: ")
    assert left_out.endswith(str(raised))


def test_a_case_that_is_inconclusive_is_left_out():
    def never_gets_there(case: Case) -> None:
        with case.preamble():
            handshake(case).expect("F. 1:1(0) ack 1")

    assert audit(never_gets_there)["left_out"].startswith("inconclusive: ")


# -- which lies are told ----------------------------------------------------------------------------------------------


def acknowledged(times: int) -> Any:
    """So many segments alike come from the target."""
    def acknowledges(case: Case) -> None:
        peer = handshake(case)
        for at in range(times):
            peer.send(f"P. {1 + at}:{2 + at}(1) ack 1")
            peer.expect(f". 1:1(0) ack {2 + at}")

    return acknowledges


def places(found: dict[str, Any]) -> set[int]:
    return {int(one["lie"].partition("@")[2]) for one in found["survivors"] if one["lie"].startswith("win+1@")}


@pytest.mark.parametrize(("times", "wanted"), [(1, {2}), (2, {2, 3}), (3, {2, 3, 4}), (7, {2, 5, 8})])
def test_of_what_is_alike_the_first_a_middle_and_the_last_are_lied_about(times, wanted, monkeypatch):
    monkeypatch.setattr("harness.audit.freedom.FREEDOMS", ())
    function = acknowledged(times)
    chosen, every = audit(function, every=False), audit(function)
    assert places(chosen) == {1} | wanted
    assert places(every) == set(range(1, times + 2))
    assert every["skipped"] == 0
    assert chosen["lies"] + chosen["skipped"] == every["lies"]
    assert (chosen["skipped"] > 0) is (times > 3)


@pytest.mark.parametrize("every", [True, False])
def test_the_sums_are_right(every):
    found = audit(exchange, every=every)
    assert sum(found["counts"].values()) == found["lies"]
    assert sum(sum(counts.values()) for counts in found["fields"].values()) == found["lies"]
    assert sum(found["free"].values()) == found["counts"].get("free", 0)
    assert {one["outcome"] for one in found["survivors"]} <= {"survived", "error"}
    assert len(found["survivors"]) == found["counts"].get("survived", 0) + found["counts"].get("error", 0)


def test_an_audit_comes_to_the_same_again():
    auditor = Auditor(Server().target(), Wishes(all=True))
    item: Any = Item(exchange)
    first, second = auditor.audit(item), auditor.audit(item)
    for found in (first, second):
        found["survivors"] = [(one["lie"], one["outcome"]) for one in found["survivors"]]
    assert first == second


@pytest.mark.parametrize("lie", ["seq+1@99", "octet+1@1", "psh@a1", "nonsense@1", "ack"])
def test_a_lie_that_cannot_be_told_of_the_case_is_refused_with_those_that_can(lie):
    with pytest.raises(UsageError, match=re.escape(f"--lie {lie}: ")) as raised:
        audit(small, lie=lie)
    assert "ack+1@1" in str(raised.value)


def test_where_a_timer_was_asserted_lies_about_time_are_about_its_window():
    def is_timed(case: Case) -> None:
        peer = handshake(case)
        peer.expect(". 0:0(0) ack 1", after(PROBE_S))

    for lie in ("late@2", "early@2"):
        one = told(is_timed, lie)
        assert (one["outcome"], one["verdict"]) == ("noticed", "fail")
        assert [finding["fields"] for finding in one["findings"]] == [("time",)]
    with pytest.raises(UsageError):
        audit(is_timed, lie="early@1")


# -- freedoms ---------------------------------------------------------------------------------------------------------


def test_what_a_case_declares_free_is_free_there():
    found = audit(small, pytest.mark.free("win+1", "ttl=1", why=WHY), lie="ttl=1@1")
    assert found["counts"] == {"free": 1}
    assert found["free"] == {f"ttl=1: {WHY} (declared by the case)": 1}


def test_what_is_noticed_needs_no_freedom():
    assert told(small, "ack+1@1", pytest.mark.free("ack+1", why=WHY))["outcome"] == "noticed"


@pytest.mark.parametrize(("marker", "said"), [
    (pytest.mark.free(why=WHY), r"free\(\) names no lie"),
    (pytest.mark.free("win+1"), "does not say why"),
    (pytest.mark.free("win+1", why="just so"), "does not say why"),
    (pytest.mark.free("win+1", why=" " * 40), "does not say why"),
    (pytest.mark.free("win", why=WHY), r"free\('win'\): no such lie"),
    (pytest.mark.free("win+1", "*", why=WHY), r"free\('\*'\): no such lie"),
])
def test_a_freedom_that_is_a_blanket_or_explains_nothing_is_refused(marker, said):
    with pytest.raises(UsageError, match=said) as raised:
        audit(small, marker)
    assert "small: free(" in str(raised.value)
    assert "allowed: " in str(raised.value)


def test_every_freedom_declared_is_heard():
    item: Any = Item(small, pytest.mark.free("win+1", "win-1", why=WHY), pytest.mark.free("late", why=f"{WHY} either"))
    assert [(one.lie, one.why) for one in declared(item, known_lies())] == [
        ("win+1", WHY), ("win-1", WHY), ("late", f"{WHY} either")]


@pytest.mark.parametrize("freedom", FREEDOMS, ids=lambda freedom: freedom.lies[0])
def test_every_freedom_names_lies_that_there_are_a_rule_and_a_reason(freedom):
    assert freedom.lies
    assert set(freedom.lies) <= known_lies()
    assert catalogue().get(freedom.requirement).id == freedom.requirement
    assert len(freedom.reason.split()) >= 4


@pytest.mark.parametrize("field", sorted({lie.field for lie in (*lies.HEADER, *lies.NETWORK, *lies.INVENTIONS)}))
def test_no_field_is_free_as_a_whole(field):
    """In all segments: a freedom is of one kind of lie."""
    names = [lie.name for lie in (*lies.HEADER, *lies.NETWORK, *lies.INVENTIONS) if lie.field == field]
    kinds = ((SYN, b""), (SYN | ACK, b""), (ACK, b""), (ACK, b"data"), (RST, b""), (RST | ACK, b""))
    segments = [Segment(flags=flags, seq=1, ack=1, window=1, payload=payload, options=()) for flags, payload in kinds]
    assert not all(freedom_for(name, segment) for name in names for segment in segments)


def test_of_what_is_no_segment_no_lie_about_segments_is_free():
    """An ICMP message has none of their fields."""
    of_segments = {lie.name for lie in (*lies.HEADER, *lies.INVENTIONS)}
    assert {name for name in known_lies() if freedom_for(name, None)}.isdisjoint(of_segments)


# -- the stage: cases as pytest has them ------------------------------------------------------------------------------

HEAD = """
import pytest
from pathlib import Path
from harness.authoring import Application, covers, free

DIARY = Path(__file__).with_name("diary")


def write(word):
    with DIARY.open("a") as file:
        file.write(word + "\\n")


def refuse(peer):
    peer.send("S 0:0(0) win 65535")
    peer.expect("R. 0:0(0) ack 1 win 0")
"""


class Suite:
    """A suite of one module, audited against a decoy in this process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.results = pytester.path / "out" / "results.json"
        pytester.makeini("[pytest]\njunit_family = xunit1\n")

    def audit(self, body: str, *options: str, conftest: str = "") -> pytest.RunResult:
        topic = self.pytester.path / "cases" / "topic"
        topic.mkdir(parents=True)
        (topic / "test_module.py").write_text(HEAD + body)
        (topic / "conftest.py").write_text(conftest)
        words = ["-p", "harness.plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly",
                 f"--results={self.results}", "--target=decoy:refuser", "--family=ipv4", "--audit", *options, "cases"]
        return self.pytester.runpytest_inprocess(*words)

    @property
    def audits(self) -> list[dict[str, Any]]:
        return [record["audit"] for record in load(self.results)["cases"]]

    @property
    def diary(self) -> Sequence[str]:
        return (self.pytester.path / "cases" / "topic" / "diary").read_text().split()


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("PYTEST_ADDOPTS", "CI", "GITHUB_ACTIONS", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    return Suite(pytester)


def is_audited(audited: dict[str, Any]) -> bool:
    """True if the case was played as it is written: what it demands is noticed, whatever it does not demand is not."""
    outcomes = audited["counts"]
    return set(outcomes) <= {"noticed", "survived", "free"} and outcomes["noticed"] > 20 > outcomes["survived"] > 0


def test_a_case_of_a_module_is_audited(suite):
    result = suite.audit("""
@covers("RFC9293-MUST-2")
def test_refuses(peer):
    refuse(peer)
""")
    result.assert_outcomes(passed=1)
    (audited,) = suite.audits
    assert is_audited(audited)
    assert audited["skipped"] == 0


def test_fixtures_of_a_module_are_made_anew_for_each_play_and_ended_behind_it(suite):
    suite.audit("""
@pytest.fixture
def made():
    write("begin")
    yield "made"
    write("end")


@pytest.fixture
def again(made):
    write("again")
    return made * 2


@covers("RFC9293-MUST-2")
def test_refuses(peer, again):
    assert again == "mademade"
    write("play")
    refuse(peer)
""")
    assert is_audited(suite.audits[0])
    plays = [" ".join(words) for words in zip(*[iter(suite.diary)] * 4, strict=True)]
    # pytest's own play ends its fixtures when all is over, the audit's are inside it.
    flat = " ".join(suite.diary)
    assert flat.startswith("begin again play begin again play end begin again play end ")
    assert flat.endswith("end end")
    assert len(plays) > suite.audits[0]["lies"]


def test_a_fixture_that_others_share_is_made_once_a_play(suite):
    suite.audit("""
@pytest.fixture
def shared():
    return []


@pytest.fixture
def one(shared):
    shared.append("one")


@pytest.fixture
def two(shared):
    shared.append("two")


@covers("RFC9293-MUST-2")
def test_refuses(peer, one, two, shared):
    assert shared == ["one", "two"]
    refuse(peer)
""")
    assert is_audited(suite.audits[0])


def test_fixtures_that_a_test_does_not_name_are_made_as_well(suite):
    suite.audit("""
@pytest.fixture(autouse=True)
def always(case):
    case.note("always")
    write("always")


@pytest.fixture
def used():
    write("used")


@pytest.mark.usefixtures("used")
@covers("RFC9293-MUST-2")
def test_refuses(case, peer):
    assert [step.text for step in case.story.steps] == ["always"]
    refuse(peer)
""")
    assert is_audited(suite.audits[0])
    assert suite.diary == ["always", "used"] * (len(suite.diary) // 2)


def test_parameters_are_those_of_the_item(suite):
    suite.audit("""
@covers("RFC9293-MUST-2")
@pytest.mark.parametrize(("one", "two"), [(1, "x"), (2, "y")])
def test_refuses(peer, one, two):
    write(f"{one}{two}")
    refuse(peer)
""")
    assert all(map(is_audited, suite.audits))
    assert len(suite.audits) == 2
    middle = suite.diary.index("2y")
    assert set(suite.diary[:middle]) == {"1x"}
    assert set(suite.diary[middle:]) == {"2y"}


def test_a_fixture_may_ask_for_others_by_name(suite):
    suite.audit("""
@pytest.fixture
def other():
    write("other")
    return "other"


@pytest.fixture
def asked(request):
    assert "asked" in request.fixturenames
    assert request.node.name.startswith("test_refuses")
    return request.getfixturevalue("other") + request.getfixturevalue("other")


@covers("RFC9293-MUST-2")
def test_refuses(peer, asked, other):
    assert asked == "otherother"
    refuse(peer)
""")
    assert is_audited(suite.audits[0])
    assert len(suite.diary) == suite.audits[0]["lies"] + suite.audits[0]["live"] + 2


def test_what_lasts_longer_than_a_test_is_made_once(suite):
    suite.audit("""
@pytest.fixture(scope="module")
def lasting():
    write("lasting")
    return object()


@covers("RFC9293-MUST-2")
def test_refuses(peer, lasting, target, profile, clock, family, capture, upper):
    assert (family, profile.name) == ("ipv4", "decoy")
    assert target.clock is clock
    refuse(peer)
    assert len(capture()) == 2
""")
    assert is_audited(suite.audits[0])
    assert suite.diary == ["lasting"]


def test_a_method_of_a_class_is_a_case_too(suite):
    suite.audit("""
class TestRefusal:
    @covers("RFC9293-MUST-2")
    def test_refuses(self, peer):
        refuse(peer)
""")
    assert is_audited(suite.audits[0])


def test_what_a_fixture_finds_is_the_cases_finding(suite):
    suite.audit("""
@pytest.fixture
def refused(peer):
    refuse(peer)
    return peer


@covers("RFC9293-MUST-2")
def test_nothing_more(refused):
    pass
""")
    assert is_audited(suite.audits[0])


@pytest.mark.parametrize("end", ["", "yield"])
def test_a_fixture_of_a_conftest(suite, end):
    suite.audit("""
@covers("RFC9293-MUST-2")
def test_refuses(peer, number):
    assert number == 7
    refuse(peer)
""", conftest=f"import pytest\n@pytest.fixture\ndef number():\n    {end or 'return'} 7\n")
    assert is_audited(suite.audits[0])


def test_one_lie_alone(suite):
    suite.audit("""
@covers("RFC9293-MUST-2")
def test_refuses(peer):
    refuse(peer)
""", "--lie=ttl=1@1")
    (audited,) = suite.audits
    assert audited["lies"] == 1
    assert [(one["lie"], one["outcome"]) for one in audited["survivors"]] == [("ttl=1@1", "survived")]


def test_the_free_marker_is_known_and_heard(suite):
    result = suite.audit("""
@free("ttl=1", why="routers count it down on the way")
@covers("RFC9293-MUST-2")
def test_refuses(peer):
    refuse(peer)
""", "--strict-markers")
    result.assert_outcomes(passed=1)
    assert suite.audits[0]["free"]["ttl=1: routers count it down on the way (declared by the case)"] == 1


def test_the_verdict_of_an_audited_case_is_its_own(suite):
    """Whatever the lies come to."""
    result = suite.audit("""
@covers("RFC9293-MUST-2")
def test_refuses(peer):
    "It refuses."
    refuse(peer)


@covers("RFC9293-MUST-2")
def test_is_not_accepted(peer):
    "It does not."
    peer.send("S 0:0(0) win 65535")
    peer.expect("S. 0:0(0) ack 1")
""")
    result.assert_outcomes(passed=1, failed=1)
    assert {record["title"]: record["verdict"] for record in load(suite.results)["cases"]} == {
        "It refuses.": "pass", "It does not.": "fail"}
    assert all(audited["lies"] > 20 for audited in suite.audits)
