# SPDX-License-Identifier: GPL-2.0-or-later
"""Measuring a target: what is seen of the model is what its profile says, and a defect shows."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipe_profiles import MODEL
from report_samples import finding, record

from harness import cli
from harness.lower.ends import Addresses
from harness.probing.calls import families
from harness.probing.draft import draft
from harness.probing.ledger_draft import draft as ledger_draft
from harness.probing.nagle import nagle_on
from harness.probing.probes import probe
from harness.probing.soundness import faults
from harness.probing.subject import Seen, Series, Subject
from harness.report.results import load
from harness.targets.document import read_profile
from harness.targets.profile import load_profile, profile_names
from harness.targets.registry import make_target
from harness.wire.errors import TargetError, UsageError

MEASURED = ("initial_rto_s", "rto_min_s", "rto_max_s", "delayed_ack_max_s", "keepalive_time_s", "keepalive_interval_s",
            "fin_wait_2_s", "time_wait_s", "challenge_ack_interval_s", "reassembly_ipv4_s", "reassembly_ipv6_s",
            "syn_retries", "synack_retries", "data_retries", "orphan_retries", "keepalive_probes",
            "keepalive_garbage_octets", "accept_backlog_extra", "closed_port_window", "accept_backlog_overflow")


def measured(spec: str, longest_s: float = 20_000.0) -> dict[tuple[str, str], Seen]:
    target = make_target(spec)
    try:
        found: dict[tuple[str, str], Seen] = {}
        for seen in probe(Subject(target, longest_s=longest_s), lambda _: None):
            found.setdefault((seen.table, seen.name), seen)
        return found
    finally:
        target.close()


@pytest.fixture(scope="module")
def model() -> dict[tuple[str, str], Seen]:
    return measured("model")


@pytest.fixture(scope="module")
def drafted(model: dict[tuple[str, str], Seen]) -> Any:
    text = draft([("name", "drafted"), ("kind", "pipe"), ("title", "Drafted"), ("command", ["./x"])], model.values())
    return read_profile(text, "drafted.toml")


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_is_what_the_model_is_made_of(drafted: Any, name: str) -> None:
    assert drafted.value(name) == load_profile("model").value(name)


def test_the_clock_of_initial_numbers(drafted: Any) -> None:
    assert drafted.limit("isn_rate_per_s") == pytest.approx(load_profile("model").limit("isn_rate_per_s"), rel=0.001)


def test_features_and_pins_are_those_of_the_model(drafted: Any) -> None:
    known = load_profile("model")
    assert {name for name, claimed in drafted.features.items() if claimed} <= \
        {name for name, claimed in known.features.items() if claimed}
    assert {"simultaneous_open", "half_close", "linger", "urgent", "sack", "timestamps", "udp", "ip_reassembly",
            "rfc5961_challenge_acks", "time_wait_reopen"} <= drafted.features.keys()
    for family in (False, True):
        mine, its = drafted.pins(ipv6=family), known.pins(ipv6=family)
        for pin in ("ttl", "mss", "window_scale", "syn_window", "syn_ack_window", "reset_window"):
            assert getattr(mine, pin) == getattr(its, pin)
        assert set(mine.syn_ack_layouts) == set(its.syn_ack_layouts)


@pytest.mark.parametrize(("defect", "table", "name", "value"), [
    ("time-wait-halved", "timers", "time_wait_s", 120.0),
    ("keepalive-after-an-hour", "timers", "keepalive_time_s", 3600.0),
    ("keepalive-one-chance", "limits", "keepalive_probes", 1),
    ("keepalive-never-gives-up", "limits", "keepalive_probes", float("inf")),
    ("isn-clock-is-slow", "limits", "isn_rate_per_s", 124_999),
    ("no-time-wait", "timers", "time_wait_s", None),
    ("syn-resets-connection", "features", "rfc5961_challenge_acks", False),
    ("linger-returns-at-once", "features", "linger", False),
])
def test_a_defect_shows(defect: str, table: str, name: str, value: Any) -> None:
    got = measured(f"model:{defect}")[table, name].value
    assert got == (pytest.approx(value, rel=0.001) if isinstance(value, (int, float)) else value)


def test_what_lasts_longer_than_a_probe_may_is_not_seen() -> None:
    found = measured("model", longest_s=100.0)
    assert found["timers", "time_wait_s"].value is None
    assert found["timers", "time_wait_s"].how == "TIME-WAIT lasted longer than 100 s"
    assert found["limits", "syn_retries"].value is None
    assert found["limits", "syn_retries"].how.endswith(" s, and perhaps more")
    assert found["timers", "keepalive_time_s"].how == "no probe within 100 s"


def test_decoys_are_nothing() -> None:
    found = measured("decoy:blackhole")
    assert found["features", "ipv4"].value is False
    assert found["features", "passive_open"].value is False
    assert all(seen.value is None for (table, _), seen in found.items() if table in ("timers", "limits"))


def test_a_draft_says_how_and_why_not(model: dict[tuple[str, str], Seen]) -> None:
    text = draft([("name", "x")], [Seen(table="timers", name="time_wait_s", how="because"),
                                   Seen(table="timers", name="initial_rto_s", value=1.0, how="seen \"so\"")])
    assert "# time_wait_s: not seen: because\n" in text
    assert "initial_rto_s = 1.0" in text
    assert "# syn_retries: not measured\n" in text
    assert tomllib.loads(text)["timers"]["initial_rto_s"] == 1.0


# -- the commands ----------------------------------------------------------------------------------------------------

def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return int(ended.value.code or 0)


def test_a_stack_behind_a_pipe_gets_a_profile_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    assert run("profile", "new", "-o", str(file), "--name", "mine", *MODEL) == 0
    assert run("profile", "check", str(file)) == 0
    assert "mine.toml: model 0.1.0: " in capsys.readouterr().out
    target = make_target(str(file))
    target.close()
    assert target.profile.feature("sack")
    assert run("profile", "new", "-o", str(file), *MODEL) == 2
    assert f"--output {file}: exists; allowed: another file, or --force" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (("profile", "new"), "give either --target SPEC or the command"),
    (("profile", "new", "--target", "model", "./x"), "give either --target SPEC or the command"),
    (("profile", "chek"), "'chek': no such command; there are new, check, ledger, terms"),
])
def test_wrong_use_is_one_line(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_that_comes_with_the_harness_is_sound(name: str) -> None:
    assert list(faults(load_profile(name))) == []


@pytest.mark.parametrize(("text", "said"), [
    ("[features]\nipv4 = false\nipv6 = false\n", "neither ipv4 nor ipv6 is claimed"),
    ('[[deviation]]\nrequirement = "RFC9293-MUST-13"\ncase = "close/nowhere::*"\ngot = "x"\nversions = "any"\n'
     'reason = "r"\nevidence = "e"\n', "deviation[1].case: 'close/nowhere::*' fits no case of the suite"),
])
def test_what_reads_well_may_be_wrong(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\nkind = "pipe"\ntitle = "X"\nextends = "model"\ncommand = ["./x"]\n' + text)
    assert run("profile", "check", str(file)) == 1
    assert said in capsys.readouterr().out


def test_a_claimed_feature_needs_its_values(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\nkind = "pipe"\ntitle = "X"\ncommand = ["./x"]\n[features]\nipv4 = true\n'
                    'keepalive = true\n')
    said = list(faults(load_profile(str(file))))
    assert "keepalive_time_s: not stated, but features.keepalive is claimed and its cases ask for it" in said
    assert "initial_rto_s: not stated; every stack has it, and cases ask for it" in said


def test_a_row_of_equal_waits_is_told_by_its_number() -> None:
    assert str(Series(gaps=(1.0, 2.0, *(4.0,) * 300, 5.0, 5.0, 5.0), ended=True)) == "1, 2, 300 times 4, 5, 5, 5 s"
    assert str(Series(gaps=(1.0,), ended=False)) == "1 s, and perhaps more"


def test_what_goes_on_for_hours_has_no_end() -> None:
    text = draft([("name", "x")], [Seen(table="limits", name="syn_retries", value=float("inf"), how="seen")])
    assert tomllib.loads(text)["limits"]["syn_retries"] == float("inf")
    assert measured("model:data-never-given-up")["limits", "data_retries"].value == float("inf")
    assert measured("model:data-never-given-up", longest_s=100.0)["limits", "data_retries"].value is None


def test_a_guest_is_not_measured_from_outside(monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("harness.targets.registry.needs_guest", lambda profile: True)
    assert run("profile", "new", "--target", "model") == 2
    assert "a kernel whose clock skips time cannot be measured from outside" in capsys.readouterr().err


# -- a draft of the ledger --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run against the model with a mistake."""
    file = tmp_path_factory.mktemp("run") / "results.json"
    assert run("run", "close/states", "handshake/old_duplicates", "--target", "model:syn-resets-connection", "-n", "0",
               "--no-allure", "--results", str(file)) == 1
    return load(file)


HEAD = 'name = "x"\nkind = "pipe"\ntitle = "X"\ncommand = ["./x"]\n'


def test_a_drafted_ledger_knows_every_failure_and_no_other_case(failing: dict[str, Any]) -> None:
    ledger = read_profile(HEAD + ledger_draft(failing).replace("TO WRITE", "seen"), "x.toml").ledger
    assert 5 < len(ledger) < 40
    for case in failing["cases"]:
        name = case["id"] + (f"/{case['variant']}" if case["variant"] else "")
        if case["verdict"] == "pass":
            assert not ledger.due(name, case["family"], "")
        for one in case["findings"]:
            assert ledger.match(requirement=one["requirement"], case_id=name, state=one["state"], got=one["got"],
                                version="", family=case["family"])


def test_what_a_draft_leaves_to_write_no_profile_takes(failing: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        read_profile(HEAD + ledger_draft(failing), "x.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == ("x.toml: deviation[1].reason: still to be written; allowed: what the target does instead, and "
                        "the section of the RFC")
    assert len(lines) == 2 * ledger_draft(failing).count("[[deviation]]")


def test_the_draft_of_one_family_names_it(failing: dict[str, Any]) -> None:
    cases = [case for case in failing["cases"] if case["family"] == "ipv4" or case["verdict"] == "pass"]
    passed = [{**case, "family": "ipv6", "verdict": "pass", "findings": []} for case in cases
              if case["family"] == "ipv4"]
    text = ledger_draft({**failing, "cases": [*cases, *passed]})
    assert text.count('family = "ipv4"') == text.count("[[deviation]]") > 0


def test_clocks_and_times_are_left_open() -> None:
    got = "S. 0:0(0) ack 1 win 5 <TS val 12345 ecr 77> after 0.263 s"
    one = record(verdict="fail", findings=[finding(got=got, state="")])
    text = ledger_draft({"cases": [one], "target": {"version": "2.1.3-x"}})
    assert r"got = 'S\. 0:0\(0\) ack 1 win 5 <TS val \d+ ecr \d+> after \d+\.\d+ s'" in text
    assert 'versions = "==2.1.3"' in text


def test_the_command_drafts_what_a_run_found(failing: dict[str, Any], tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(failing))
    assert run("profile", "ledger", str(file)) == 0
    assert capsys.readouterr().out == ledger_draft(failing)


@pytest.mark.parametrize(("sets", "value", "how"), [
    (lambda value: 1 - value, 1, "with paramId 6 = 1 a second small segment waits for the"),
    (lambda value: value, 0, "with paramId 6 = 0 a second small segment waits for the"),
    (lambda value: 1, None, "a second small segment goes out at once with either value"),
    (lambda value: 0, None, "a second small segment waits for the acknowledgement of the first with either value"),
])
def test_the_polarity_of_nagle_is_what_the_wire_shows(sets: Callable[[int], int], value: int | None, how: str) -> None:
    target = make_target("model")
    try:
        seen = nagle_on(Subject(target, longest_s=10.0),
                        lambda _, connection, given: connection.set_option("TCP_NODELAY", sets(given)))
    finally:
        target.close()
    assert (seen.value, seen.how[:len(how)]) == (value, how)


def test_what_is_of_the_way_to_the_target_is_a_comment() -> None:
    text = draft([("name", "x")], [Seen(table="remote.testability", name="nagle_on", value=1, how="seen")])
    assert text.endswith("\n\n# For the table [remote.testability] of the target's file:\n"
                         f"{'# nagle_on = 1':<48}# seen\n")
    assert "remote" not in tomllib.loads(text)
    assert "nagle_on: not seen: why" in draft([], [Seen(table="remote.testability", name="nagle_on", how="why")])
    assert "nagle" not in draft([], [])


def test_a_device_is_measured_at_its_own_addresses_and_in_its_own_families(tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text('name = "far"\nkind = "remote"\ntitle = "Far"\nextends = "linux"\n\n[remote]\ninterface = "eth7"\n'
                    'ipv4 = "10.1.2.3"\ninjector_ipv4 = "10.1.2.4"\nupper = "none"\n'
                    'open = { port = 9, application = "discard" }\n')
    target = make_target("model")
    far = Addresses(local=bytes([10, 1, 2, 4]), target=bytes([10, 1, 2, 3]), forged=target.ends["ipv4"].forged)
    target.profile = load_profile(str(file))
    target.ends = {"ipv4": far, "ipv6": far}
    try:
        subject = Subject(target, longest_s=1.0)
        assert subject.families == ("ipv4",)
        with subject.case("where", "ipv4") as case:
            assert case.addresses == far
        seen = {each.name: (each.value, each.how) for each in families(subject)}
    finally:
        target.close()
    assert seen["ipv6"] == (False, "the target's file has no address of it")


def test_nothing_need_be_stated_of_a_clock_before_it_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "ecu.toml"
    file.write_text('name = "ecu"\nkind = "remote"\ntitle = "ECU"\n\n[remote]\ninterface = "eth7"\nipv4 = "10.1.2.3"\n'
                    'injector_ipv4 = "10.1.2.4"\nupper = "none"\nopen = { port = 9, application = "discard" }\n\n'
                    '[timers]\ntick_s = 0.004\n')
    known = load_profile(str(file))
    with pytest.raises(TargetError, match="timer_rounding is not stated"):
        known.timing()
    timing = known.assuming_a_clock().timing()
    assert (timing.tick_ns, timing.rounding) == (4_000_000, 0.125)
