# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: what it holds, how it is asked, and what it says of malformed files."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from harness.requirements import Catalogue, Level, Requirement, load
from harness.wire.errors import UsageError

PER_RFC = {
    791: 5, 815: 2, 1122: 23, 1191: 9, 1337: 2, 1858: 2, 2018: 15, 2883: 7, 3042: 5, 3128: 1, 3168: 26, 3465: 4,
    4443: 8, 4821: 8, 4953: 1, 4987: 6, 5482: 13, 5681: 25, 5682: 8, 5722: 2, 5927: 5, 5961: 12, 6056: 4, 6093: 4,
    6191: 8, 6298: 17, 6429: 2, 6528: 3, 6582: 6, 6633: 3, 6675: 15, 6691: 4, 6864: 7, 6928: 5, 6937: 1, 7323: 48,
    7413: 17, 8200: 15, 8201: 9, 8311: 2, 8899: 3, 8961: 7, 8985: 18, 9293: 163, 9438: 16, 9768: 41, 9937: 10}

ENTRY = """
[[requirement]]
id = "RFC793-MUST-1"
level = "MUST"
section = "3.1"
rule = "A rule."
testability = "wire"
"""
HEAD = 'rfc = 793\ntitle = "An old RFC"\n'


def catalogue_of(folder: Path, text: str, name: str = "rfc793.toml") -> Catalogue:
    (folder / name).write_text(text, encoding="utf-8")
    return Catalogue(folder)


def faults_of(folder: Path, text: str, name: str = "rfc793.toml") -> list[str]:
    catalogue = catalogue_of(folder, text, name)
    with pytest.raises(UsageError) as caught:
        catalogue.rows() if name == "segment_arrives.toml" else catalogue.all()
    return str(caught.value).splitlines()


def test_every_rfc_has_all_its_requirements() -> None:
    everything = load().all()
    assert len(everything) == 617
    assert len({requirement.id for requirement in everything}) == 617
    assert Counter(requirement.rfc for requirement in everything) == PER_RFC
    assert load().rfcs() == tuple(sorted(PER_RFC))


def test_levels_and_testability_are_as_counted() -> None:
    everything = load().all()
    assert Counter(str(requirement.level) for requirement in everything) == {
        "MUST": 324, "SHOULD": 147, "MUST NOT": 75, "MAY": 58, "SHOULD NOT": 13}
    assert Counter(requirement.testability for requirement in everything) == {
        "wire+api": 357, "wire": 218, "api": 26, "internal": 16}
    assert sum(requirement.derived for requirement in everything) == 161
    assert sum(requirement.timer_s is not None for requirement in everything) == 164


def test_a_requirement_is_given_whole() -> None:
    assert load().get("RFC9293-MUST-23") == Requirement(
        id="RFC9293-MUST-23", rfc=9293, level=Level.MUST, section="3.8.3", testability="wire+api", timer_s=180,
        rule="SYN retransmission goes on for at least three minutes by default.")
    assert load().get("RFC9293-MUST-23").url == "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3"
    assert load().title(9293) == "Transmission Control Protocol (TCP)"
    assert load().title(1) == ""


def test_an_appendix_has_its_own_kind_of_link() -> None:
    requirement = Requirement(id="RFC9293-X", rfc=9293, level=Level.MAY, section="A.2", rule="", testability="wire")
    assert requirement.url == "https://www.rfc-editor.org/rfc/rfc9293#appendix-A.2"


def test_every_rfc_has_a_title_that_its_header_names() -> None:
    for rfc in load().rfcs():
        first, second, *_ = (files("harness.requirements") / f"rfc{rfc}.toml").read_text("utf-8").splitlines()
        assert first == "# SPDX-License-Identifier: GPL-2.0-or-later"
        assert second == f"# RFC {rfc}: {load().title(rfc)}"


def test_rules_are_sentences() -> None:
    strange = [requirement.id for requirement in load().all() if not re.fullmatch(r"\S.*\S[.]", requirement.rule)]
    assert strange == []


def test_one_id_reads_one_file(tmp_path: Path) -> None:
    (tmp_path / "rfc1.toml").write_text("not toml at all", encoding="utf-8")
    catalogue = catalogue_of(tmp_path, HEAD + ENTRY)
    assert catalogue.get("RFC793-MUST-1").rule == "A rule."
    assert "RFC793-MUST-2" not in catalogue
    with pytest.raises(UsageError, match=r"rfc1\.toml"):
        catalogue.all()


def test_the_catalogue_is_loaded_once() -> None:
    assert load() is load()
    assert load().get("RFC9293-MUST-2") is load().get("RFC9293-MUST-2")


@pytest.mark.parametrize(("wrong", "near"), [
    ("RFC9293-MUST-233", "RFC9293-MUST-23"),
    ("rfc9293-must-23", "RFC9293-MUST-23"),
    ("RFC9293-SHOULD-1", "RFC9293-SHLD-1"),
    ("SA-ESTAB-99", "SA-ESTAB-29"),
])
def test_an_unknown_id_gets_the_nearest_ones(wrong: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        load().get(wrong)
    said = str(caught.value)
    assert said.startswith(f"'{wrong}': no such requirement; did you mean ")
    assert near in re.split(r"[ ?]", said)
    assert "\n" not in said


def test_an_id_like_no_other_is_told_where_to_look() -> None:
    with pytest.raises(UsageError, match=r"^'xyz': no such requirement; `tcpqual list --requirements` names all$"):
        load().get("xyz")


def test_membership() -> None:
    assert "RFC9293-MUST-23" in load()
    assert "SA-ESTAB-01" in load()
    assert "RFC9293-MUST-999" not in load()
    assert "RFC1-MUST-1" not in load()
    assert "SA-ESTAB-99" not in load()
    assert 23 not in load()


# -- levels --------------------------------------------------------------------------------------------------------

def test_levels_compare_by_how_binding_they_are() -> None:
    assert Level.MAY < Level.SHOULD < Level.MUST
    assert Level.MUST_NOT > Level.SHOULD_NOT > Level.MAY
    assert not Level.MUST < Level.MUST_NOT
    assert Level.MUST <= Level.MUST_NOT <= Level.MUST
    assert Level.MUST >= Level.MUST_NOT >= Level.SHOULD
    assert max([Level.MAY, Level.MUST_NOT, Level.SHOULD]) is Level.MUST_NOT
    assert Level.MUST != Level.MUST_NOT
    assert sorted(["MUST", "MAY"], key=Level) == ["MAY", "MUST"]


@pytest.mark.parametrize(("level", "kinds"), [
    (Level.MUST, (True, False, False)), (Level.MUST_NOT, (True, False, False)), (Level.SHOULD, (False, True, False)),
    (Level.SHOULD_NOT, (False, True, False)), (Level.MAY, (False, False, True))])
def test_a_level_is_of_one_kind(level: Level, kinds: tuple[bool, bool, bool]) -> None:
    assert (level.is_must, level.is_should, level.is_may) == kinds
    assert level == level.value == str(level)


# -- the table of SEGMENT ARRIVES ------------------------------------------------------------------------------------

def test_the_table_has_every_state() -> None:
    rows = load().rows()
    assert len(rows) == len({row.id for row in rows}) == 257
    assert Counter(row.state for row in rows) == {
        "CLOSED": 15, "LISTEN": 16, "SYN-SENT": 23, "SYN-RECEIVED": 24, "ESTABLISHED": 38, "FIN-WAIT-1": 27,
        "FIN-WAIT-2": 25, "CLOSE-WAIT": 22, "CLOSING": 22, "LAST-ACK": 22, "TIME-WAIT": 23}


def test_rows_name_requirements_that_exist() -> None:
    named = {name for row in load().rows() for name in row.requirements}
    assert len(named) > 30
    assert [name for name in sorted(named) if name not in load()] == []


def test_a_row_is_a_requirement_but_not_one_of_the_617() -> None:
    requirement = load().get("SA-ESTAB-07")
    assert (requirement.rfc, requirement.level, requirement.section) == (9293, Level.MUST, "3.10.7.4")
    assert requirement.rule == (
        "In ESTABLISHED, RST with seq in window, not RCV.NXT and any ack draws ACK (seq=SND.NXT ack=RCV.NXT len=0); "
        "the state stays ESTABLISHED. Also acceptable: reset (pre-5961 stacks).")
    assert requirement not in load().all()


@pytest.mark.parametrize(("row", "section"), [
    ("SA-CLOSED-01", "3.10.7.1"), ("SA-LISTEN-01", "3.10.7.2"), ("SA-SYNSENT-01", "3.10.7.3"),
    ("SA-SYNRCVD-09", "3.5"), ("SA-TIMEWAIT-02", "3.10.7.4")])
def test_the_section_of_a_row_is_the_first_of_its_basis(row: str, section: str) -> None:
    assert load().get(row).section == section


@pytest.mark.parametrize(("row", "sentence"), [
    ("SA-LISTEN-11", "In LISTEN (passive open), RST with any seq and no ACK bit draws nothing; "
                     "the state stays LISTEN."),
    ("SA-ESTAB-05", "In ESTABLISHED, RST with seq =RCV.NXT and any ack draws nothing; the state becomes CLOSED."),
    ("SA-ESTAB-12", "In ESTABLISHED, ACK with seq =RCV.NXT and ack < SND.UNA-MAX.SND.WND draws ACK (5961) or none "
                    "(seq=SND.NXT ack=RCV.NXT len=0); the state stays ESTABLISHED. Also acceptable: silence."),
])
def test_a_row_reads_as_a_sentence(row: str, sentence: str) -> None:
    assert load().get(row).rule == sentence


# -- malformed files -------------------------------------------------------------------------------------------------

def test_all_faults_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    text = HEAD + ENTRY + ENTRY + """
[[requirement]]
id = "RFC793-MUST-2"
level = "MIGHT"
section = "three"
rule = "A rule."
testability = "wires"

[[requirement]]
id = "RFC793-MUST-3"
level = "MUST"
sektion = "3.1"
rule = 7
testability = "wire"
derived = 1
timer_s = true

[[requirement]]
id = "RFC794-MUST-4"
level = "MUST"
section = "3.1"
rule = "A rule."
testability = "wire"

[[requirement]]
level = "MUST"
section = "3.1"
rule = "A rule."
testability = "wire"
"""
    assert sorted(faults_of(tmp_path, text)) == sorted([
        "rfc793.toml: RFC793-MUST-1: the id is there twice",
        "rfc793.toml: RFC793-MUST-2: unknown level 'MIGHT'; allowed: MUST, MUST NOT, SHOULD, SHOULD NOT, MAY",
        "rfc793.toml: RFC793-MUST-2: unknown testability 'wires'; allowed: wire, wire+api, api, internal",
        "rfc793.toml: RFC793-MUST-2: section is 'three'; allowed: such as 3.4.1 or A.2",
        "rfc793.toml: RFC793-MUST-3: key section is missing",
        "rfc793.toml: RFC793-MUST-3: unknown key sektion; allowed: id, level, section, rule, testability, derived, "
        "timer_s",
        "rfc793.toml: RFC793-MUST-3: rule is 7, which is of the wrong kind",
        "rfc793.toml: RFC793-MUST-3: derived is 1, which is of the wrong kind",
        "rfc793.toml: RFC793-MUST-3: timer_s is True, which is of the wrong kind",
        "rfc793.toml: RFC794-MUST-4: the id does not begin with RFC793-",
        "rfc793.toml: entry 6: key id is missing",
    ])


def test_faults_of_several_files_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "rfc1.toml").write_text(HEAD + "requirement = []", encoding="utf-8")
    faults = faults_of(tmp_path, HEAD + "requirement = [7]")
    assert faults == ["rfc1.toml: rfc: 793 is not the number in the file's name",
                      "rfc793.toml: entry 1: 7 is no table"]


def test_the_top_level_is_checked_too(tmp_path: Path) -> None:
    assert sorted(faults_of(tmp_path, 'rfc = 793\nfoo = 1\n' + ENTRY)) == [
        "rfc793.toml: top level: key title is missing",
        "rfc793.toml: top level: unknown key foo; allowed: rfc, title, requirement"]


def test_what_is_no_toml_is_said_in_one_line(tmp_path: Path) -> None:
    [fault] = faults_of(tmp_path, "rfc = = 2")
    assert fault.startswith("rfc793.toml: ")
    assert "line 1" in fault


def test_faults_of_the_table(tmp_path: Path) -> None:
    text = """
[[row]]
id = "XX-1"
state = "CLOSED"
segment = "SYN"
seq = "any"
ack = "any"
response = "none"
next_state = "CLOSED"
basis = "3.10.7.1"
testability = "no"

[[row]]
id = "SA-CLOSED-01"
"""
    faults = faults_of(tmp_path, text, "segment_arrives.toml")
    assert "segment_arrives.toml: XX-1: the id does not begin with SA-" in faults
    assert "segment_arrives.toml: XX-1: unknown testability 'no'; allowed: wire, wire+api, api, internal" in faults
    assert "segment_arrives.toml: SA-CLOSED-01: key response is missing" in faults
    assert len(faults) == 2 + 8
