# SPDX-License-Identifier: GPL-2.0-or-later
"""The table `[remote]`: what it says, and every fault with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.targets.profile import load_profile
from harness.targets.registry import check_workers, describe, parse_spec
from harness.targets.remote.device import Device
from harness.wire.errors import UsageError

TOP = 'name = "box"\nkind = "remote"\ntitle = "A box"\nextends = "linux"\n'
LEAST = {"interface": '"eth0"', "upper": '"none"', "ipv4": '"192.0.2.7"', "injector_ipv4": '"192.0.2.200"',
         "open": '{ port = 80, application = "holds" }'}


def written(folder: Path, **changes: str | None) -> str:
    lines = {key: value for key, value in {**LEAST, **changes}.items() if value is not None}
    file = folder / "box.toml"
    file.write_text(TOP + "[remote]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    return str(file)


def device(folder: Path, **changes: str | None) -> Device:
    found = load_profile(written(folder, **changes)).remote
    assert found is not None
    return found


def test_the_least_that_has_to_stand_there(tmp_path: Path) -> None:
    found = device(tmp_path)
    assert (str(found.ipv4), str(found.injector_ipv4), found.families) == ("192.0.2.7", "192.0.2.200", ("ipv4",))
    assert (found.rate_limit, found.longest_wait_s, found.timers, found.vlan) == (1000, 30, "default", None)
    assert found.open is not None
    assert (found.open.port, found.open.application) == (80, "holds")
    assert found.hop("ipv4") == found.ipv4


def test_everything(tmp_path: Path) -> None:
    found = device(
        tmp_path, ipv6='"2001:db8::7"', injector_ipv6='"2001:db8::200"', router_ipv4='"192.0.2.254"',
        forged_ipv4='"198.51.100.0/24"', forged_ipv6='"2001:db8:f::/64"', mac='"02:00:00:00:00:07"',
        injector_mac='"02-00-00-00-00-08"', vlan="7", mtu="1400", timers='"short"', rate_limit="50",
        longest_wait_s="5", ports="[30000, 39999]", version='"6.1"', upper='"ssh"',
        ssh='{ host = "root@192.0.2.7", options = ["-p", "2222"] }', open=None)
    assert found.families == ("ipv4", "ipv6")
    assert str(found.hop("ipv4")) == "192.0.2.254"
    assert (found.mac, found.own_mac(bytes(6))) == (bytes.fromhex("020000000007"), bytes.fromhex("020000000008"))
    assert (found.vlan, found.mtu, found.ports, found.rate_limit) == (7, 1400, (30000, 39999), 50)
    assert found.ssh is not None
    assert (found.ssh.host, found.ssh.options, found.ssh.python) == ("root@192.0.2.7", ("-p", "2222"), "python3")


def test_what_is_known_before_it_is_reached(tmp_path: Path) -> None:
    spec = written(tmp_path, timers='"short"', version='"6.1"')
    profile = parse_spec(spec)
    assert (profile.feature("ipv4"), profile.feature("ipv6"), profile.feature("sack")) == (True, False, True)
    assert (profile.short, profile.version) == (True, "6.1")
    assert describe(spec) == {"name": spec, "kind": "remote", "version": "6.1", "profile": "box"}
    assert not parse_spec(written(tmp_path)).short


def test_injectors_mac_is_its_own(tmp_path: Path) -> None:
    one, other = device(tmp_path), device(tmp_path, injector_ipv4='"192.0.2.201"')
    interface = bytes.fromhex("00163e000001")
    assert one.own_mac(interface) == one.own_mac(interface) != other.own_mac(interface)
    assert one.own_mac(interface)[0] == 2, "locally administered, of one machine"


@pytest.mark.parametrize(("changes", "wrong"), [
    ({"interface": None}, "remote.interface: missing"),
    ({"upper": '"telnet"'}, "remote.upper: 'telnet' is not allowed; allowed: none, agent, ssh, testability"),
    ({"upper": '"agent"'}, "remote.agent: missing; upper = 'agent' needs it"),
    ({"upper": '"testability"', "testability": '{ transport = "udp", address = "192.0.2.7" }'},
     "remote.testability: port: missing; the document fixes no port, so the file has to"),
    ({"upper": '"testability"', "testability": '{ transport = "udp", address = "192.0.2.7", port = 7, colour = 1 }'},
     "remote.testability: colour: no such key; there are transport, address, port"),
    ({"upper": '"testability"', "testability": "5"}, "remote.testability: 5 is not allowed; a table is due"),
    ({"ssh": '{ host = "a" }'}, "remote.ssh: goes with upper = 'ssh'"),
    ({"open": None}, "remote.open: missing; without an upper tester there has to be a port that is open"),
    ({"open": '{ port = 0, application = "holds" }'},
     "remote.open.port: 0 is not allowed; allowed: a whole number from 1 to 65535"),
    ({"open": '{ port = 7, application = "sings" }'},
     "remote.open.application: 'sings' is not allowed; allowed: discard, holds"),
    ({"echo": "{ port = 80 }"}, "remote.echo.port: 80 is the open port; allowed: another one"),
    ({"echo": "7"}, "remote.echo: 7 is not allowed; a table is due"),
    ({"echo": "{ port = 7 }", "upper": '"ssh"', "ssh": '{ host = "a" }'}, "remote.echo: goes with upper = 'none'"),
    ({"injector_ipv4": None}, "remote.injector_ipv4: missing; goes with ipv4"),
    ({"ipv4": None}, "remote.ipv4: missing; goes with injector_ipv4"),
    ({"ipv4": None, "injector_ipv4": None}, "remote: neither ipv4 nor ipv6 is given; allowed: one of them, or both"),
    ({"injector_ipv4": '"192.0.2.7"'},
     "remote.injector_ipv4: 192.0.2.7 is the device's own; allowed: an address that nobody has"),
    ({"ipv4": '"192.0.2"'}, "remote.ipv4: '192.0.2' is not allowed; allowed: an IPv4 address"),
    ({"ipv4": '"2001:db8::1"'}, "remote.ipv4: '2001:db8::1' is not allowed; allowed: an IPv4 address"),
    ({"ipv4": '"224.0.0.1"'},
     "remote.ipv4: '224.0.0.1' is not allowed; allowed: an address that a machine can have on a link"),
    ({"forged_ipv4": '"198.51.100.0/25"'},
     "remote.forged_ipv4: 198.51.100.0/25 is too small; allowed: a prefix of 24 bits or less"),
    ({"forged_ipv4": '"192.0.2.0/24"'},
     "remote.forged_ipv4: 192.0.2.0/24 has 192.0.2.7 in it; allowed: a network in which nobody lives"),
    ({"forged_ipv6": '"2001:db8:f::/64"'}, "remote.forged_ipv6: goes with ipv6"),
    ({"mac": '"01:00:5e:00:00:01"'},
     "remote.mac: '01:00:5e:00:00:01' is not allowed; allowed: the address of one machine, not of a group"),
    ({"vlan": "4095"}, "remote.vlan: 4095 is not allowed; allowed: a whole number from 1 to 4094"),
    ({"rate_limit": "0"}, "remote.rate_limit: 0 is not allowed; allowed: a number above 0"),
    ({"longest_wait_s": "4.9"}, "remote.longest_wait_s: 4.9 is not allowed; allowed: a number, 5 or more"),
    ({"rate_limit": "true"}, "remote.rate_limit: True is not allowed; allowed: a number above 0"),
    ({"ports": "[5, 9]"}, "remote.ports: [5, 9] is not allowed; allowed: a thousand ports at least"),
    ({"ports": "[9, 5]"}, "remote.ports: [9, 5] is not allowed; allowed: the first and the last port, such as "
                          "[20000, 59999]"),
    ({"colour": '"red"'}, "remote.colour: unknown key; "),
])
def test_what_is_wrong_and_where(tmp_path: Path, changes: dict[str, str | None], wrong: str) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(UsageError) as caught:
        load_profile(file)
    assert any(line.startswith(f"{file}: {wrong}") for line in str(caught.value).splitlines())


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, mac='"no"', vlan="0", timers='"none"', ipv4="7")
    with pytest.raises(UsageError) as caught:
        load_profile(file)
    places = {line.split(": ")[1] for line in str(caught.value).splitlines()}
    assert places == {"remote.mac", "remote.vlan", "remote.timers", "remote.ipv4"}


@pytest.mark.parametrize(("text", "wrong"), [
    ('kind = "remote"\n', "remote: missing; a target of kind 'remote' needs the table"),
    ('kind = "namespace"\n[remote]\n' + "".join(f"{key} = {value}\n" for key, value in LEAST.items()),
     "remote: goes with kind 'remote' alone"),
])
def test_table_and_kind_go_together(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "box.toml"
    file.write_text('name = "box"\ntitle = "A box"\n' + text)
    with pytest.raises(UsageError, match=f"{file}: {wrong}"):
        parse_spec(str(file))


def test_one_device_has_one_worker(tmp_path: Path) -> None:
    profile = parse_spec(written(tmp_path))
    check_workers(profile, 1)
    with pytest.raises(UsageError, match="-n 2: there is one box, and one address of the injector's"):
        check_workers(profile, 2)
    check_workers(parse_spec("linux"), 8)
