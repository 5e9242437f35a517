# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: their values under all their names, and what is said of malformed ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.lower.fingerprint import NOTHING, Pins
from harness.targets.document import read_profile
from harness.targets.profile import Profile, load_profile, profile_names
from harness.targets.vocabulary import FEATURES, LIMITS, POLICIES, TABLES, TERMS, TIMERS, by_setting, names
from harness.upper.base import NotApplicable
from harness.wire.errors import TargetError, UsageError

LINUX = load_profile("linux").with_version("6.18.44")

HEAD = 'name = "device"\nkind = "remote"\ntitle = "A device"\n'

DEVIATION = """
[[deviation]]
requirement = "RFC9293-MUST-13"
case = "close/time_wait::*"
state = "TIME-WAIT"
got = 'R \\d+:\\d+\\(0\\)'
versions = ">=5.0,<6.20"
reason = "TIME-WAIT is too short"
evidence = "probe"
"""


def device(text: str = "", variant: str | None = None) -> Profile:
    return read_profile(HEAD + text, "device.toml", variant)


def faults_of(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read_profile(head + text, "device.toml")
    return str(caught.value).splitlines()


def fault_of(text: str) -> str:
    [fault] = faults_of(text)
    return fault.removeprefix("device.toml: ")


# -- the profiles that are there -------------------------------------------------------------------------------------

def test_the_profiles_that_come_with_the_harness() -> None:
    assert profile_names() == ("decoy", "embedded", "gvisor", "ipxe", "linux", "lwip", "model", "slirp", "windows-xp")
    for name in profile_names():
        profile = load_profile(name)
        assert (profile.name, profile.file) == (name, f"{name}.toml")
        for variant in profile.variants:
            assert load_profile(f"{name}:{variant}").variant == variant


def test_linux_states_every_feature_and_what_its_cases_need() -> None:
    assert set(LINUX.features) == set(names(FEATURES))
    assert set(names(TIMERS)) - set(LINUX.timers) == {"half_open_s", "syn_sent_s", "window_probe_max_s"}
    assert set(names(LIMITS)) - set(LINUX.limits) == {"max_half_open", "half_open_retried", "max_connections"}
    assert set(LINUX.policies) == set(names(POLICIES))
    assert LINUX.kind == "namespace"


def test_the_decoy_claims_everything() -> None:
    decoy = load_profile("decoy")
    assert all(decoy.feature(name) for name in names(FEATURES))
    assert [term.name for term in TERMS if not decoy.states(term.name)] == []


def test_the_short_sysctls_of_linux_bring_about_its_short_values() -> None:
    """Each one is a setting that the vocabulary knows, and its number is that of the profile."""
    checked = 0
    for name, value in LINUX.with_short().sysctls().items():
        if name in LINUX.sysctl_short:
            assert float(value) == LINUX.with_short().value(name.removeprefix("net.ipv4.")), name
            checked += 1
    assert checked == 9


def test_the_short_values_of_linux_have_their_sysctls() -> None:
    short = {name for table in (LINUX.timers, LINUX.limits) for name, value in table.items() if value.short is not None}
    set_by_sysctl = {by_setting()[name.removeprefix("net.ipv4.")][0].name for name in LINUX.sysctl_short}
    assert short - set_by_sysctl == {"syn_attack_timeout_s"}  # follows from synack_retries
    assert set_by_sysctl - short == set()


def test_variants_of_linux_say_the_same_as_their_sysctls() -> None:
    """A variant's features and the sysctls that switch them agree."""
    for variant in LINUX.variants:
        profile = load_profile(f"linux:{variant}")
        for name, sysctl in profile.sysctl_always.items():
            term, _ = by_setting().get(name.removeprefix("net.ipv4."), (None, 1))
            if term is not None and term.table == FEATURES:
                assert profile.feature(term.name) == (sysctl.value != "0"), (variant, name)
    assert load_profile("linux:reset-on-overflow").policy("accept_backlog_overflow") == "reset"
    assert load_profile("linux:reset-on-overflow").sysctls()["net.ipv4.tcp_abort_on_overflow"] == "1"


# -- asking ----------------------------------------------------------------------------------------------------------

def test_default_and_short_values() -> None:
    short = LINUX.with_short()
    assert (LINUX.short, short.short, short.with_defaults().short) == (False, True, False)
    assert (LINUX.timer("keepalive_time_s"), short.timer("keepalive_time_s")) == (7200, 1)
    assert (LINUX.limit("syn_retries"), short.limit("syn_retries")) == (6, 1)
    assert LINUX.timer("time_wait_s") == short.timer("time_wait_s") == 60
    assert short.with_defaults() == LINUX


def test_values_by_well_known_names() -> None:
    for name in ("TcpMaxConnectRetransmissions", "tcp_syn_retries", "syn_retries"):
        assert LINUX.value(name) == 6
    xp = load_profile("windows-xp")
    assert {name: xp.value(name) for name in (
        "TcpMaxConnectRetransmissions", "TcpMaxConnectResponseRetransmissions", "TcpMaxDataRetransmissions",
        "TcpMaxHalfOpen", "TcpMaxHalfOpenRetried", "SynAttackProtect", "TcpNumConnections", "KeepAliveTime",
        "KeepAliveInterval")} == {
        "TcpMaxConnectRetransmissions": 2, "TcpMaxConnectResponseRetransmissions": 2, "TcpMaxDataRetransmissions": 5,
        "TcpMaxHalfOpen": 100, "TcpMaxHalfOpenRetried": 80, "SynAttackProtect": True, "TcpNumConnections": 16777214,
        "KeepAliveTime": 7_200_000, "KeepAliveInterval": 1000}
    assert {name: LINUX.value(name) for name in (
        "tcp_synack_retries", "tcp_retries2", "tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes",
        "tcp_max_syn_backlog", "tcp_syncookies", "tcp_fin_timeout", "tcp_rto_min_us", "tcp_rto_max_ms")} == {
        "tcp_synack_retries": 5, "tcp_retries2": 15, "tcp_keepalive_time": 7200, "tcp_keepalive_intvl": 75,
        "tcp_keepalive_probes": 9, "tcp_max_syn_backlog": 1024, "tcp_syncookies": True, "tcp_fin_timeout": 60,
        "tcp_rto_min_us": 200_000, "tcp_rto_max_ms": 120_000}
    assert LINUX.value("accept_backlog_overflow") == LINUX.policy("accept_backlog_overflow") == "drop"


def test_timers_and_limits_answer_to_settings_in_their_own_unit() -> None:
    assert LINUX.timer("KeepAliveTime") == LINUX.timer("keepalive_time_s") == 7200
    assert LINUX.limit("tcp_syn_retries") == 6


def test_names_are_unambiguous() -> None:
    every = [term.name for term in TERMS] + [setting for term in TERMS for setting, _ in term.settings]
    assert [name for name, count in Counter(every).items() if count > 1] == []
    assert {term.table for term in TERMS} == set(TABLES)


def test_features() -> None:
    assert LINUX.feature("sack")
    assert not LINUX.feature("rfc1337")
    assert not load_profile("embedded").feature("sack")  # not listed
    assert LINUX.feature("tcp_sack")


def test_what_has_no_end_is_not_applicable() -> None:
    profile = device("[timers]\nfin_wait_2_s = inf\n[limits]\ndata_retries = { default = inf, short = 2 }")
    assert profile.states("data_retries")
    with pytest.raises(NotApplicable, match="fin_wait_2_s of the profile device has no end"):
        profile.timer("fin_wait_2_s")
    with pytest.raises(NotApplicable, match="data_retries of the profile device has no end"):
        profile.limit("data_retries")
    assert profile.with_short().limit("data_retries") == 2


def test_what_the_profile_does_not_state() -> None:
    xp = load_profile("windows-xp")
    assert not xp.states("rto_max_s")
    assert xp.states("initial_rto_s")
    assert not load_profile("embedded").states("sack")
    with pytest.raises(TargetError, match=r"^windows-xp\.toml: timers\.rto_max_s is not stated \(greatest retrans"):
        xp.timer("rto_max_s")
    with pytest.raises(TargetError, match=r"limits\.orphan_retries is not stated"):
        xp.value("orphan_retries")


@pytest.mark.parametrize(("ask", "name", "said"), [
    ("value", "syn_retrys", "'syn_retrys': no such name in a profile; did you mean syn_retries"),
    ("feature", "sakc", "'sakc': no such name in a profile; did you mean sack?"),
    ("timer", "syn_retries", "'syn_retries': one of the limits, not of the timers"),
    ("limit", "sack", "'sack': one of the features, not of the limits"),
    ("policy", "sack", "'sack': one of the features, not of the policies"),
    ("states", "xyzzy", "'xyzzy': no such name in a profile; allowed: ipv4, "),
])
def test_an_unknown_name_is_the_askers_error(ask: str, name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(LINUX, ask)(name)
    assert str(caught.value).startswith(said)


def test_values_by_version() -> None:
    older = LINUX.with_version("6.1.0-31-amd64")
    assert (LINUX.limit("syn_linear_timeouts"), older.limit("syn_linear_timeouts")) == (4, 0)
    assert LINUX.with_short().limit("syn_linear_timeouts") == 0
    assert "net.ipv4.tcp_syn_linear_timeouts" in LINUX.with_short().sysctls()
    assert "net.ipv4.tcp_syn_linear_timeouts" not in older.with_short().sysctls()


def test_sysctls() -> None:
    always, short = LINUX.sysctls(), LINUX.with_short().sysctls()
    assert always["net.ipv4.tcp_no_metrics_save"] == "1"
    assert always["net.ipv4.tcp_rmem"] == "4096 131072 6291456"
    assert "net.ipv4.tcp_retries2" not in always
    assert short["net.ipv4.tcp_retries2"] == "2"
    assert always.items() <= short.items()
    assert load_profile("embedded").sysctls() == {}


def test_the_profile_of_a_namespace_is_for_this_kernel() -> None:
    assert load_profile("linux").version == os.uname().release
    assert load_profile("windows-xp").version == ""


# -- loading ---------------------------------------------------------------------------------------------------------

def test_variants() -> None:
    assert LINUX.feature("syn_cookies")
    variant = load_profile("linux:no-cookies")
    assert not variant.feature("syn_cookies")
    assert variant.feature("sack")
    assert variant.sysctls()["net.ipv4.tcp_syncookies"] == "0"
    assert (variant.name, variant.variant) == ("linux", "no-cookies")
    assert "no-cookies" in variant.variants
    with pytest.raises(UsageError, match=r"^linux\.toml: 'x': no such variant of this profile; there are: no-cookies"):
        load_profile("linux:x")
    with pytest.raises(UsageError, match="'': no such variant"):
        load_profile("linux:")
    with pytest.raises(UsageError, match=r"there are: none$"):
        load_profile("embedded:x")


def test_an_unknown_profile_lists_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        load_profile("linus")
    assert str(caught.value) == (f"'linus': no such profile; there are {', '.join(profile_names())}, and any file that "
                                 "ends in .toml")


def test_a_profile_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my-device.toml"
    path.write_text(HEAD + "[timers]\ntick_s = 0.5\n[variant.fast.timers]\ntick_s = 0.1\n", encoding="utf-8")
    assert load_profile(str(path)).timer("tick_s") == 0.5
    assert load_profile(str(path)).file == str(path)
    assert load_profile(f"{path}:fast").timer("tick_s") == 0.1
    with pytest.raises(UsageError, match=r"no-such\.toml: cannot read this profile: No such file"):
        load_profile(str(tmp_path / "no-such.toml"))
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"my-device\.toml: cannot read this profile: not UTF-8"):
        load_profile(str(path))


def test_aliases_of_the_makers() -> None:
    embedded = load_profile("embedded")
    assert embedded.value("CFG_TCP_SYN_TRIES") == embedded.limit("CFG_TCP_SYN_TRIES") == 4
    with pytest.raises(UsageError, match="no such name"):
        LINUX.value("CFG_TCP_SYN_TRIES")


def test_a_deviation_is_read() -> None:
    profile = device(DEVIATION)
    [entry] = profile.ledger
    assert (entry.requirement, entry.case, entry.state) == ("RFC9293-MUST-13", "close/time_wait::*", "TIME-WAIT")
    assert profile.ledger.match(requirement="RFC9293-MUST-13", case_id="close/time_wait::test_x", state="TIME-WAIT",
                                got="R 5:5(0)", version="6.1.2", family="ipv4") is entry
    assert profile.ledger.due("close/time_wait::test_x", "ipv6", "6.1.2") == [entry]


def test_a_deviation_of_a_table_row() -> None:
    assert len(device(DEVIATION.replace("RFC9293-MUST-13", "SA-TIMEWAIT-11")).ledger) == 1


def test_sysctl_names_need_no_quotation_marks() -> None:
    profile = device('[sysctl.always]\nnet.ipv4.tcp_sack = 0\nnet.ipv4.x = { value = 1, versions = ">=2" }')
    assert profile.sysctls() == {"net.ipv4.tcp_sack": "0"}
    assert profile.with_version("3").sysctls() == {"net.ipv4.tcp_sack": "0", "net.ipv4.x": "1"}


# -- malformed files -------------------------------------------------------------------------------------------------

def test_every_fault_is_said_at_once_in_a_line_of_its_own() -> None:
    faults = faults_of("""
tytle = "x"
[features]
sakc = true
urgent = "yes"
[timers]
tick_s = -1
TcpTimedWaitDelay = 240
[limits]
syn_retries = { default = "six", shrt = 1 }
[policies]
accept_backlog_overflow = "explode"
[sysctl]
allways = {}
[variant.x.limits]
syn_retries = 1.5
[[deviation]]
requirement = "RFC9293-MUST-1333"
got = "("
versions = "6"
reason = ""
evidence = "probe"
""", 'name = "my device"\nkind = "box"\n')
    assert sorted(faults) == sorted([
        "device.toml: name: 'my device' is not allowed; allowed: small letters, digits, dots and hyphens",
        "device.toml: kind: 'box' is not allowed; allowed: namespace, uml, vm, pipe, remote, decoy, model, firmware",
        "device.toml: title: missing",
        "device.toml: tytle: unknown key; did you mean title?",
        "device.toml: features.sakc: unknown key; did you mean sack?",
        "device.toml: features.urgent: 'yes' is not allowed; allowed: true or false",
        "device.toml: timers.tick_s: -1 is not allowed; allowed: a number, 0 or more",
        "device.toml: timers.TcpTimedWaitDelay: unknown key; here it is called time_wait_s",
        "device.toml: limits.syn_retries.default: 'six' is not allowed; allowed: a whole number, 0 or more, or "
        "inf: never",
        "device.toml: limits.syn_retries.shrt: unknown key; did you mean short?",
        "device.toml: policies.accept_backlog_overflow: 'explode' is not allowed; allowed: drop, reset",
        "device.toml: sysctl.allways: unknown key; did you mean always?",
        "device.toml: variant.x.limits.syn_retries: 1.5 is not allowed; allowed: a whole number, 0 or more, or "
        "inf: never",
        "device.toml: deviation[1].got: '(' is no regular expression: missing ), unterminated subpattern at position 0",
        "device.toml: deviation[1].versions: '6' is not allowed; allowed: a range such as \">=5.0,<6.20\", or \"any\"",
        "device.toml: deviation[1].reason: '' is not allowed; allowed: a text that is not empty",
    ])


@pytest.mark.parametrize(("text", "fault"), [
    ("[limits]\nsyn_retries = true",
     "limits.syn_retries: True is not allowed; allowed: a whole number, 0 or more, or inf: never"),
    ("[limits]\nsyn_retries = -inf",
     "limits.syn_retries: -inf is not allowed; allowed: a whole number, 0 or more, or inf: never"),
    ("[limits]\nsyn_backlog = inf", "limits.syn_backlog: inf is not allowed; allowed: a whole number, 0 or more"),
    ("[timers]\nfin_wait_2_s = nan",
     "timers.fin_wait_2_s: nan is not allowed; allowed: a number, 0 or more, or inf: never"),
    ("[timers]\ntick_s = inf", "timers.tick_s: inf is not allowed; allowed: a number, 0 or more"),
    ("[timers]\ntick_s = nan", "timers.tick_s: nan is not allowed; allowed: a number, 0 or more"),
    ("[timers]\ntick_s = true", "timers.tick_s: True is not allowed; allowed: a number, 0 or more"),
    ("[timers]\ntick_s = {}", "timers.tick_s: default is missing"),
    ('[timers]\ntick_s = { default = 1, versions = ">=1" }', "timers.tick_s: versions and otherwise go together: "
     "the versions that have it, and what the others have"),
    ("[timers]\ntick_s = { default = 1, aliases = 'x' }",
     "timers.tick_s.aliases: 'x' is not allowed; allowed: a list of names"),
    ("[timers]\nsyn_retries = 1", "timers.syn_retries: unknown key; it belongs in [limits]"),
    ("features = 7", "features: 7 is not allowed; a table is due"),
    ("sysctl = 7", "sysctl: 7 is not allowed; a table is due"),
    ("sysctl.always = 7", "sysctl.always: 7 is not allowed; a table is due"),
    ("[sysctl.always]\ntcp_sack = 0", "sysctl.always.tcp_sack: unknown key; allowed: names such as net.ipv4.tcp_sack"),
    ("[sysctl.always]\nnet.ipv4.x = true",
     "sysctl.always.net.ipv4.x: True is not allowed; allowed: a whole number or a text"),
    ("[variant.x]\nname = 'y'", "variant.x.name: unknown key; allowed: features, timers, limits, policies, sysctl, "
     "fingerprint, stack"),
    ("deviation = [7]", "deviation[1]: 7 is not allowed; a table is due"),
    (DEVIATION.replace("MUST-13", "MUST-1333"), "deviation[1].requirement: 'RFC9293-MUST-1333': no such requirement; "
     "did you mean RFC9293-MUST-33 or RFC9293-MUST-13 or RFC9293-MUST-3?"),
    (DEVIATION.replace("TIME-WAIT\"\n", "TIMEWAIT\"\n"), "deviation[1].state: 'TIMEWAIT' is not allowed; allowed: "
     "CLOSED, LISTEN, SYN-SENT, SYN-RECEIVED, ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, "
     "TIME-WAIT"),
    (DEVIATION.replace("close/time_wait::*", "*"), "deviation[1].case: '*' is not allowed, since it fits any case"),
    (DEVIATION + 'family = "ip"', "deviation[1].family: 'ip' is not allowed; allowed: ipv4, ipv6"),
    (DEVIATION.replace("R \\d+:\\d+\\(0\\)", ".+"), "deviation[1].got: '.+' is not allowed, since it fits anything; "
     "allowed: what was got and nothing else"),
    (DEVIATION.replace('case = "close/time_wait::*"\nstate = "TIME-WAIT"\n', ""),
     "deviation[1]: neither case nor state is given; allowed: one of them, or both"),
    (DEVIATION.replace('versions = ">=5.0,<6.20"\n', ""), "deviation[1].versions: missing"),
])
def test_one_fault(text: str, fault: str) -> None:
    assert fault_of(text) == fault


def test_what_is_no_toml_is_said_in_one_line() -> None:
    [fault] = faults_of("x = = 1")
    assert fault.startswith("device.toml: ")
    assert "line 4" in fault


def test_importing_profiles_does_not_import_cattrs() -> None:
    """The plugin's start is to be quick; only a run reads a profile."""
    code = "import sys, harness.targets.profile; print([m for m in sys.modules if m in ('attrs', 'attr', 'cattrs')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parent.parent)
    assert ran.stdout.strip() == "[]"


# -- the fingerprint ---------------------------------------------------------------------------------------------------

def test_a_profile_without_a_fingerprint_pins_nothing() -> None:
    assert device().pins(ipv6=False) is NOTHING
    assert load_profile("decoy").pins(ipv6=True) is NOTHING


def test_pins_are_for_both_families_or_for_each() -> None:
    pinned = device('[fingerprint]\nttl = 255\nmss = { ipv4 = 1460, ipv6 = 1440 }\nsyn_window = { ipv6 = 5 }\n'
                    'window_scale = { value = 3, ipv6 = 4 }\ndont_fragment = false\nidentification = "counted"\n'
                    'layouts = ["", "nop, nop,TS", "mss,sackOK,eol,eol"]\n')
    common = {"ttl": 255, "dont_fragment": False, "identification": "counted",
              "layouts": ((), (1, 1, 8), (2, 4, 0, 0))}
    assert pinned.pins(ipv6=False) == Pins(mss=1460, window_scale=3, **common)
    assert pinned.pins(ipv6=True) == Pins(mss=1440, window_scale=4, syn_window=5, **common)


def test_a_pin_may_be_known_of_some_versions_alone() -> None:
    pinned = device('[fingerprint]\nttl = 64\ntimestamp_hz = { value = 1000, versions = ">=4.13" }\n')
    assert pinned.with_version("4.12").pins(ipv6=False) == Pins(ttl=64)
    assert pinned.with_version("4.13").pins(ipv6=True) == Pins(ttl=64, timestamp_hz=1000)


def test_a_variant_pins_otherwise() -> None:
    text = '[fingerprint]\nttl = 64\nmss = 1460\n[variant.far.fingerprint]\nttl = 60\n'
    assert device(text, "far").pins(ipv6=False) == Pins(ttl=60, mss=1460)
    assert load_profile("linux:no-options").pins(ipv6=False).syn_layouts == ((2,),)


@pytest.mark.parametrize(("text", "fault"), [
    ("tll = 64", "fingerprint.tll: unknown key; did you mean ttl?"),
    ("tick_s = 1", "fingerprint.tick_s: unknown key; it belongs in [timers]"),
    ('ttl = "64"', "fingerprint.ttl: '64' is not allowed; allowed: a whole number, 0 or more"),
    ("ttl = { ipv4 = -1 }", "fingerprint.ttl.ipv4: -1 is not allowed; allowed: a whole number, 0 or more"),
    ("ttl = { ipv5 = 1, ipv4 = 1 }", "fingerprint.ttl.ipv5: unknown key; did you mean ipv6 or ipv4?"),
    ('ttl = { versions = ">=4" }', "fingerprint.ttl: nothing is pinned; allowed: value, ipv4, ipv6"),
    ("dont_fragment = 1", "fingerprint.dont_fragment: 1 is not allowed; allowed: true or false"),
    ('identification = "random"', "fingerprint.identification: 'random' is not allowed; allowed: counted"),
    ("timestamp_hz = 0", "fingerprint.timestamp_hz: 0 is not allowed; allowed: what divides a second into whole "
     "nanoseconds"),
    ("timestamp_hz = 3", "fingerprint.timestamp_hz: 3 is not allowed; allowed: what divides a second into whole "
     "nanoseconds"),
    ("layouts = []", "fingerprint.layouts: [] is not allowed; allowed: a list of layouts such as \"nop,nop,TS\""),
    ('layouts = "mss"', "fingerprint.layouts: 'mss' is not allowed; allowed: a list of layouts such as "
     "\"nop,nop,TS\""),
    ('layouts = ["nop,ts"]', "fingerprint.layouts: 'nop,ts': no option 'ts'; allowed: eol, nop, mss, wscale, sackOK, "
     "sack, TS, fastopen"),
])
def test_what_is_wrong_with_a_fingerprint(text: str, fault: str) -> None:
    assert fault_of(f"[fingerprint]\n{text}\n") == fault


def test_a_fingerprint_that_is_no_table() -> None:
    assert faults_of("", HEAD + "fingerprint = 5\n") == [
        "device.toml: fingerprint: 5 is not allowed; a table is due"]


# -- one profile extends another ---------------------------------------------------------------------------------------

def extending(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.toml"
    file.write_text(HEAD + text)
    return file


def test_what_a_profile_extends_stands_below_it(tmp_path: Path) -> None:
    file = extending(tmp_path, "box", 'extends = "linux"\n[features]\nsack = false\n[timers]\ninitial_rto_s = 3.0\n'
                     + DEVIATION)
    profile = load_profile(str(file))
    assert (profile.name, profile.kind, profile.file) == ("device", "remote", str(file))
    assert (profile.feature("sack"), profile.feature("timestamps")) == (False, True)
    assert profile.timer("initial_rto_s") == 3.0
    assert profile.timer("rto_max_s") == LINUX.timer("rto_max_s")
    assert len(profile.ledger) == len(LINUX.ledger) + 1
    assert next(iter(profile.ledger)).reason == "TIME-WAIT is too short"
    assert profile.with_version("6.18.44").pins(ipv6=False).ttl == LINUX.pins(ipv6=False).ttl


def test_it_may_extend_a_variant_or_a_file_beside_it(tmp_path: Path) -> None:
    extending(tmp_path, "family", 'extends = "linux:no-options"\n[limits]\nsyn_retries = 2\n')
    profile = load_profile(str(extending(tmp_path, "member", 'extends = "family.toml"\n')))
    assert (profile.feature("sack"), profile.limit("syn_retries")) == (False, 2)


@pytest.mark.parametrize(("text", "said"), [
    ('extends = "lniux"\n', "extends: 'lniux': no such profile; there are "),
    ('extends = "nowhere.toml"\n', "nowhere.toml: cannot read this profile: No such file"),
    ('extends = "bad.toml"\n', "bad.toml: timers.initial_rto_s: 'soon' is not allowed"),
    ('extends = "box.toml"\n', "box.toml: extends: 'box.toml' is not allowed, since it leads back to this profile"),
])
def test_what_is_wrong_with_the_profile_below(tmp_path: Path, text: str, said: str) -> None:
    extending(tmp_path, "bad", '[timers]\ninitial_rto_s = "soon"\n')
    file = extending(tmp_path, "box", text)
    with pytest.raises(UsageError) as caught:
        load_profile(str(file))
    assert said in str(caught.value)
