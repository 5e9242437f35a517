# SPDX-License-Identifier: GPL-2.0-or-later
"""Remote devices, against one of our own in another namespace that is reached by its addresses alone."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from remote_device import DEVICE, DEVICE_MAC, DISCARD, INJECTOR, KNOWN, LIMIT_S, RemoteDevice, remote_device

from harness import doctor
from harness.targets.base import packed
from harness.targets.registry import make_target, parse_spec
from harness.targets.remote.link import Pace, RemoteLink
from harness.targets.remote.reach import Proof
from harness.targets.remote.target import RemoteTarget, prove
from harness.upper.base import NotApplicable
from harness.wire.clock import RealClock
from harness.wire.codec import encode
from harness.wire.errors import LinkError
from harness.wire.neighbour import arp_request
from harness.wire.segment import SYN, Flow, Segment

pytestmark = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))


# -- without an upper tester -------------------------------------------------------------------------------------------


def test_what_an_open_port_allows(device: RemoteDevice) -> None:
    status, results, said = device.play(device.file(), "closed", "handshake/passive", "sequence")
    assert status == 0, said
    verdicts = [case["verdict"] for case in results["cases"]]
    assert set(verdicts) <= KNOWN
    assert verdicts.count("pass") > 60
    assert "needs an upper tester that can send; this device has none" in said
    assert results["target"]["kind"] == "remote"


def test_what_was_not_looked_at_stands_in_the_record(device: RemoteDevice) -> None:
    status, results, said = device.play(device.file(), "fragments/reassembly::fragments_in_any_order")
    assert status == 0, said
    case = next(case for case in results["cases"] if case["verdict"] == "pass")
    notes = [step["text"] for step in case["steps"] if step["side"] == "note"]
    assert any(note.startswith("not looked at: what the application is given of") for note in notes)
    assert case["proof"] == ["wire"]


def test_application_that_closes_with_us_is_no_half_closed_one(device: RemoteDevice) -> None:
    status, results, said = device.play(device.file(), "close/states::close_wait")
    assert status == 4, said
    assert {case["reason"] for case in results["cases"]} == {
        "needs an upper tester that can hold a connection of which our end is closed; this device has none"}


def test_application_that_closes_with_us_leads_to_last_ack(device: RemoteDevice) -> None:
    status, results, said = device.play(device.file(), "close/passive")
    assert status == 0, said
    found = {case["id"] for case in results["cases"] if case["verdict"] == "pass"}
    assert "close/passive::repeated_fin_in_last_ack" in found, said


def test_forged_sources_need_a_network_of_their_own(device: RemoteDevice) -> None:
    file = device.file(forged_ipv4="", forged_ipv6="")
    case = "isn/initial_numbers::other_four_tuples_are_not_predictable[address]"
    _, results, said = device.play(file, case)
    assert {case["reason"] for case in results["cases"]} == {
        "needs forged sources: the target has no network for them"}, said
    _, results, said = device.play(device.file(), case)
    assert [case["verdict"] for case in results["cases"]] == ["pass"] * 2, said


def test_two_workers_are_refused(device: RemoteDevice) -> None:
    status, _, said = device.play(device.file(), "closed", "-n", "2")
    assert (status, "there is one device-none, and one address of the injector's" in said) == (2, True)


# -- with an echo port beside ------------------------------------------------------------------------------------------


def test_what_an_echo_port_allows(device: RemoteDevice) -> None:
    status, results, said = device.play(device.file("echo"), "retransmission/data", "window", "sequence/accounting",
                                        "handshake/syn_received", "--family", "ipv4")
    assert status == 0, said
    assert {case["verdict"] for case in results["cases"]} <= {"pass", "not-applicable", "known-deviation"}
    passed = {case["id"] for case in results["cases"] if case["verdict"] == "pass"}
    assert {"retransmission/data::back_off_stays_until_something_is_measured",
            "sequence/accounting::syn_uses_one_number", "sequence/accounting::targets_syn_uses_one_number",
            "handshake/syn_received::wrong_acknowledgement"} <= passed, said
    assert len(results["cases"]) == len({(case["id"], case["family"], case["variant"]) for case in results["cases"]})


@pytest.mark.parametrize(("does", "wrong"), [
    ("discard", "does not send back 1 octets"),
    ("echo-in-pieces", "sends back 512 octets of 1460 first"),
    ("echo-one-by-one", "does not send back 1 octets"),
    ("echo-of-others", "sends back others"),
])
def test_port_that_is_no_echo_port_is_told(device: RemoteDevice, does: str, wrong: str) -> None:
    device.start(sys.executable, str(Path(__file__).with_name("open_port.py")), does, "77")
    try:
        status, results, said = device.play(device.file("none", echo="{ port = 77 }"), "closed")
    finally:
        device.stop_last()
    assert (status, results) == (3, {}), said
    assert f"remote.echo: port 77 of 192.0.2.1 {wrong}; allowed: a port behind which each segment is sent back" in said


def test_target_check_tells_of_the_echo_port(device: RemoteDevice) -> None:
    done = device.tcpqual("target check", str(device.file("echo")))
    assert done.returncode == 0, done.stderr
    assert "ipv6: port 7 of 2001:db8::1 sends back what it is sent" in done.stdout
    assert "none: what port 9 (discard) and port 7 (echo) allow is tested" in done.stdout


# -- the way there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "status", "wrong"), [
    ({"interface": '"bench9"'}, 2, "remote.interface: bench9: no such interface; there are lo, bench0"),
    ({"injector_ipv4": '"192.0.2.3"'}, 2, "remote.injector_ipv4: 192.0.2.3 is this machine's (on bench0)"),
    ({"injector_ipv6": '"2001:db8::4"'}, 2, f"remote.injector_ipv6: {DEVICE_MAC} has 2001:db8::4 already"),
    ({"ipv4": '"192.0.2.9"'}, 3, "nobody answers ARP for 192.0.2.9 on bench0"),
    ({"ipv6": '"2001:db8::9"'}, 3, "nobody answers neighbour discovery for 2001:db8::9 on bench0"),
    ({"mac": '"02:00:00:00:00:99"'}, 2, f"remote.mac: 02:00:00:00:00:99, but 192.0.2.1 is at {DEVICE_MAC}"),
    ({"vlan": "7"}, 3, "nobody answers ARP for 192.0.2.1 on bench0 in VLAN 7"),
    ({"open": '{ port = 10, application = "discard" }'}, 3,
     "remote.open: port 10 of 192.0.2.1 is closed: it resets a SYN"),
])
def test_what_is_wrong_is_said_before_the_first_case(device: RemoteDevice, changes: dict[str, str], status: int,
                                                     wrong: str) -> None:
    with device.device.entered():
        _address("add", "2001:db8::4")
    try:
        found, results, said = device.play(device.file(**changes), "closed")
    finally:
        with device.device.entered():
            _address("del", "2001:db8::4")
    assert (found, results) == (status, {}), said
    assert wrong in said
    assert len(said.strip().splitlines()) == 1


def _address(what: str, address: str) -> None:
    from pyroute2.iproute.linux import IPRoute

    with IPRoute() as route:
        flags = {"flags": 0x02} if what == "add" else {}
        route.addr(what, index=route.link_lookup(ifname="eth0")[0], family=socket.AF_INET6, address=address,
                   prefixlen=64, **flags)


class Filtered(Proof):
    """What a device behind a packet filter shows: its open port, an echo, and silence for all else."""

    def __init__(self) -> None:
        self.slowest_ns = 0

    def echo(self, family: str) -> bool:
        return True

    def syn(self, family: str, port: int) -> str:
        return "open" if port == DISCARD else "nothing"


def test_packet_filter_is_found(device: RemoteDevice) -> None:
    """A device that drops what comes for closed ports gives no case its proof of life."""
    table = parse_spec(str(device.file())).remote
    assert table is not None
    with pytest.raises(LinkError, match=r"box.toml: 192.0.2.1 does not refuse a SYN to port \d+, it answers an echo "
                                        "request; is there a packet filter on the way?"):
        prove(table, "box.toml", Filtered(), lambda line: None)


def test_check_says_each_step(device: RemoteDevice) -> None:
    done = device.tcpqual("target check", str(device.file()))
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("bench0: the injector is 192.0.2.2 and 2001:db8::2 at 02:7c:")
    assert lines[0].endswith(f"the device at {DEVICE_MAC}")
    assert f"ipv6: port {DISCARD} of 2001:db8::1 is open" in lines
    assert lines[-2:] == [f"upper tester: none: what port {DISCARD} (discard) allows is tested",
                          "the device can be tested"]


@pytest.mark.parametrize(("ours", "theirs", "heard"), [
    (7, 7, True), (7, 8, False), (7, None, False), (None, 7, False), (None, None, True)])
def test_tags_are_put_on_and_taken_off(device: RemoteDevice, ours: int | None, theirs: int | None,
                                       heard: bool) -> None:
    """Two links of ours face each other; each hears its own VLAN and no other."""
    near_table = parse_spec(str(device.file(vlan="" if ours is None else str(ours)))).remote
    assert near_table is not None
    far_table = replace(near_table, interface="eth0", vlan=theirs, ipv4=near_table.injector_ipv4,
                        injector_ipv4=near_table.ipv4, ipv6=near_table.injector_ipv6, injector_ipv6=near_table.ipv6,
                        forged_ipv4=None, forged_ipv6=None)
    own, other = b"\x02\x7c\0\0\0\1", b"\x02\x7c\0\0\0\2"
    clock = RealClock()
    with device.tester.entered():
        near = RemoteLink(near_table, mac=own, mtu=1500, instant=clock.instant)
    with device.device.entered():
        far = RemoteLink(far_table, mac=other, mtu=1500, instant=clock.instant)
    near.target_mac, far.target_mac = other, own
    frame = other + own + b"\x08\0" + syn(INJECTOR["ipv4"], DEVICE["ipv4"])
    near.send_bytes(frame)
    clock.register(far)
    event = clock.wait(clock.now() + (1_000_000_000 if heard else 50_000_000))
    assert (getattr(event, "data", None) == frame) is heard
    assert [sent.data for sent in near.sent()] == [frame]
    near.close()
    far.close()


# -- what may go out, and what is heard --------------------------------------------------------------------------------


@pytest.fixture
def target(device: RemoteDevice) -> Iterator[RemoteTarget]:
    """The device as a target of this process."""
    with device.tester.entered():
        made = make_target(str(device.file(rate_limit="200")))
        assert isinstance(made, RemoteTarget)
        yield made
        made.close()


def syn(source: str, to: str, port: int = DISCARD) -> bytes:
    return encode(Segment(flags=SYN, seq=1, ack=0, window=1000, options=()),
                  Flow(local=packed(source), local_port=4000, target=packed(to), target_port=port))


@pytest.mark.parametrize(("source", "to", "why"), [
    (INJECTOR["ipv4"], "192.0.2.3", "sends to 192.0.2.3, and nothing is sent to an address that the device's file"),
    (INJECTOR["ipv4"], "192.0.2.255", "sends to 192.0.2.255"),
    (INJECTOR["ipv6"], "ff02::1", "sends to ff02::1"),
    ("203.0.113.5", DEVICE["ipv4"], "sends from 203.0.113.5: the device's file names no network for forged sources"),
    (DEVICE["ipv4"], DEVICE["ipv4"], "sends from 192.0.2.1"),
])
def test_nothing_goes_where_the_file_does_not_say(target: RemoteTarget, source: str, to: str, why: str) -> None:
    target.link.sent()
    with pytest.raises(NotApplicable, match=why):
        target.injector.send_packet(syn(source, to))
    assert target.link.sent() == []


def test_other_machines_get_nothing(target: RemoteTarget) -> None:
    link = target.link
    with pytest.raises(LinkError, match="a frame to 02:00:00:00:00:71 is not sent"):
        link.send_bytes(bytes.fromhex("020000000071") + link.mac + b"\x08\0" + syn(INJECTOR["ipv4"], DEVICE["ipv4"]))
    with pytest.raises(LinkError, match="a frame to the group ff:ff:ff:ff:ff:ff is not sent"):
        link.send_bytes(arp_request(mac=link.mac, source=packed(INJECTOR["ipv4"]), target=packed("192.0.2.3")))
    with pytest.raises(NotApplicable, match="sends from the MAC address 02:00:00:00:00:71"):
        link.send_bytes(link.target_mac + bytes.fromhex("020000000071") + b"\x08\0" + bytes(40))


def test_only_the_device_is_answered(device: RemoteDevice, target: RemoteTarget) -> None:
    """The tester's own kernel asks for our address, and nobody tells it."""
    assert isinstance(target.link, RemoteLink)
    request = arp_request(mac=bytes.fromhex(DEVICE_MAC.replace(":", "")), source=packed(DEVICE["ipv4"]),
                          target=packed(INJECTOR["ipv4"]))
    other = arp_request(mac=bytes.fromhex("020000000055"), source=packed("192.0.2.55"),
                        target=packed(INJECTOR["ipv4"]))
    neighbour = target.injector._neighbour
    assert neighbour.answer(request) is not None
    assert neighbour.answer(other) is None


def test_others_on_the_interface_are_not_our_business(device: RemoteDevice, target: RemoteTarget) -> None:
    """A connection of this machine's kernel with the device passes by on the same interface, both ways."""
    target.injector.drain()
    target.link.sent()
    with device.tester.entered(), socket.create_connection((DEVICE["ipv4"], DISCARD), timeout=5) as control:
        control.sendall(b"x" * 1000)
        control.shutdown(socket.SHUT_WR)
        assert control.recv(1) == b""
    assert target.link.recv_frame() is None
    assert target.link.sent() == []


def test_kernel_does_not_answer_in_the_injectors_place(device: RemoteDevice, target: RemoteTarget) -> None:
    """The SYN,ACK for the injector reaches this machine, whose kernel has no say in it."""
    target.injector.send_packet(syn(INJECTOR["ipv4"], DEVICE["ipv4"]))
    until = target.clock.now() + 300_000_000
    seen = []
    while (event := target.injector.next_event(until)) is not None:
        seen.append(event)
        if (answer := target.injector._neighbour.answer(event.data)) is not None:  # type: ignore[union-attr]
            target.link.send_bytes(answer)
    assert seen, "the SYN,ACK"
    # A reset by our kernel would have ended the half-open connection: it is still there, and answers once more.
    target.injector.send_packet(syn(INJECTOR["ipv4"], DEVICE["ipv4"]))
    event = target.clock.wait(target.clock.now() + 1_000_000_000)
    assert event is not None
    assert event.data[47] == 0x12  # type: ignore[union-attr]


def test_rate_limit(target: RemoteTarget) -> None:
    """Two hundred frames a second: of a burst of 250 the last goes out a second after the first, or later."""
    packet = syn("198.51.100.130", DEVICE["ipv4"], port=1)
    frame = target.link.target_mac + target.link.mac + b"\x08\0" + packet
    began = time.monotonic()
    assert target.link.burst(frame * 250, len(frame)) == 250
    assert time.monotonic() - began > 1.0
    assert target.link.burst(frame * 2000, len(frame)) == 1000, "five seconds' worth"


def test_pace() -> None:
    pace = Pace(1000)
    began = time.monotonic()
    for _ in range(pace.most + 50):
        pace.take()
    assert time.monotonic() - began > 0.045


def test_without_the_right_it_is_said(device: RemoteDevice) -> None:
    script = ("import ctypes, sys; ctypes.CDLL(None).capset(b'\\x22\\x05\\x08\\x20\\0\\0\\0\\0', bytes(24));\n"
              "from harness.targets.registry import make_target;\n"
              "try: make_target(sys.argv[1])\nexcept Exception as error: print(type(error).__name__, error)")
    done = device.run([sys.executable, "-c", script, str(device.file())], capture_output=True, text=True,
                      cwd=Path(__file__).parent.parent, timeout=LIMIT_S)
    assert done.stdout.startswith("LinkError bench0: not permitted; a remote device is reached over an interface of"), \
        done.stderr


def test_longest_wait(tmp_path: Path) -> None:
    """With the kernel's own timers a half-open connection is dropped after a minute, for which nobody waits here."""
    with remote_device(tmp_path) as made:
        status, results, said = made.play(made.file(longest_wait_s="5"), "handshake/states::syn_received",
                                          "retransmission/synack::half_open_connection_is_dropped")
    assert status in (0, 4), said
    reasons = [case["reason"] for case in results["cases"] if case["id"].startswith("retransmission")]
    assert len(reasons) == 2
    assert all("s for one thing, and longest_wait_s of the device's file is 5" in reason for reason in reasons), reasons
