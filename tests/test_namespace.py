# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: what a run makes to reach this machine's kernel, and that nothing of it stays behind."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lower import states
from harness.lower.application import Application
from harness.lower.case import Case
from harness.lower.injector import Injector
from harness.lower.timing import measure_tolerance
from harness.targets import namespace
from harness.targets.base import PHANTOM, TARGET, Target, addresses, phantom_neighbour, timing_of
from harness.targets.namespace import Lab, kernel_release, set_sysctls, switch_offloads_off
from harness.targets.registry import parse_spec
from harness.upper.sockets import SocketUpperTester
from harness.wire.clock import RealClock
from harness.wire.errors import LinkError, TargetError
from harness.wire.netns import NetworkNamespace

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ("ipv4", "ipv6")
_ETHTOOL_GET = {"rx checksums": 0x14, "tx checksums": 0x16, "scatter-gather": 0x18, "TSO": 0x1E, "GSO": 0x23,
                "GRO": 0x2B}


@pytest.fixture
def lab(rights: None) -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def offload(interface: str, command: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        value = array.array("B", struct.pack("II", command, 7))
        fcntl.ioctl(sock, 0x8946, struct.pack("16sP", interface.encode(), value.buffer_info()[0]))
        return int(struct.unpack("II", value.tobytes())[1])


@pytest.mark.parametrize("name", _ETHTOOL_GET)
def test_every_offload_is_really_off(lab, name):
    for side, interface in ((lab.target_side, "target"), (lab.injector_side, "injector")):
        with side.entered():
            assert offload(interface, _ETHTOOL_GET[name]) == 0


def test_offloads_of_an_interface_that_is_not_there(lab):
    with lab.target_side.entered(), pytest.raises(LinkError, match=r"interface 'nope': cannot switch rx checksums off"):
        switch_offloads_off("nope")


def test_the_target_can_send_as_soon_as_the_lab_is_made(lab, monkeypatch):
    from pyroute2.iproute.linux import IPRoute

    with lab.target_side.entered():
        assert Path("/proc/net/dev").read_text().count("target:") == 1
        namespace._Carrier("target").wait()
        monkeypatch.setattr(namespace, "_CARRIER_S", 0.01)
        with IPRoute() as route:
            route.link("add", ifname="down", kind="veth", peer={"ifname": "down-too"})
        with pytest.raises(LinkError, match=r"interface 'down': no carrier after 0.01 s"):
            namespace._Carrier("down").wait()


def test_a_sysctl_that_is_not_there_or_not_so():
    with pytest.raises(TargetError, match=r"sysctl net.ipv4.no_such = 1: .*; this kernel has it not"):
        set_sysctls({"net.ipv4.no_such": "1"})


def test_sysctls_are_the_namespaces_own(lab):
    name = Path("/proc/sys/net/ipv4/tcp_syn_retries")
    outside = name.read_text()
    with lab.target_side.entered():
        set_sysctls({"net.ipv4.tcp_syn_retries": "9"})
        assert name.read_text().strip() == "9"
    assert name.read_text() == outside


def test_the_injectors_end_has_no_address_and_no_ipv6(lab):
    with lab.injector_side.entered():
        assert Path("/proc/net/if_inet6").read_text() == ""
        assert [name for _, name in socket.if_nameindex()] == ["lo", "injector"]
    with lab.target_side.entered():
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    mine = [line.split() for line in lines if line.split()[-1] == "target"]
    assert [(line[0], int(line[4], 16) & 0x40) for line in mine if line[0].startswith("2001")] == [
        (addresses("ipv6").target.hex(), 0)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_handshake_and_a_close(new_case, family):
    case = new_case(family)
    application = Application(case)
    listener = application.listen()
    peer = case.peer(target_port=listener.port)
    connection = states.established(peer, listener)
    connection.send(5)
    peer.expect(". 1:6(5) ack 1")
    peer.send(". 1:4(3) ack 6")
    peer.expect(". 6:6(0) ack 4")
    connection.expect_data(3)
    peer.expect_silence()
    case.finish()
    assert case.story.findings == []


@pytest.mark.parametrize("family", FAMILIES)
def test_no_kernel_answers_in_the_injectors_place(new_case, family):
    """The injector's addresses belong to nobody: what the target sends there draws nothing but what we send."""
    case = new_case(family)
    peer = case.peer()
    states.syn_sent(peer, Application(case))
    case.pause(0.05)
    assert [step.side for step in case.story.steps if step.side == "injector"] == []
    case.finish()


@pytest.fixture
def without_neighbours(rights: None) -> Iterator[Target]:
    lab, clock, profile = Lab(static_neighbours=False), RealClock(), parse_spec("linux")
    with lab.target_side.entered():
        set_sysctls(profile.sysctls())
    upper, link = SocketUpperTester(lab.target_side), lab.link(clock)
    made = Target(name="linux", kind="namespace", version=kernel_release(), profile=profile, clock=clock, link=link,
                  upper=upper, injector=Injector(link=link, clock=clock, neighbour=phantom_neighbour()),
                  timing=timing_of(profile, measure_tolerance(clock)), closers=[lab.close, upper.close_driver])
    yield made
    made.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_neighbours_part_is_played_amid_the_case(without_neighbours, new_case, family):
    case: Case = new_case(family, without_neighbours)
    peer = case.peer()
    connection = states.connected(peer, Application(case))
    connection.send(5)
    peer.expect(". 1:6(5) ack 1")
    peer.send(". 1:1(0) ack 6")
    peer.expect_silence()
    case.finish()
    asked = [comment for _, comment in case.injector.frames() if comment == "address resolution"]
    assert asked
    assert case.story.findings == []


def test_addresses_are_those_for_documentation():
    assert (TARGET["ipv4"], PHANTOM["ipv4"]) == ("192.0.2.1", "192.0.2.2")
    assert all(address.startswith("2001:db8:") for address in (TARGET["ipv6"], PHANTOM["ipv6"]))


_HOLDER = """
import sys, time
from pyroute2.iproute.linux import IPRoute
from harness.targets.namespace import make_linux
from harness.targets.registry import parse_spec
import harness.targets.namespace as namespace

class Watched(namespace.Lab):
    def _build(self, static_neighbours):
        super()._build(static_neighbours)
        for name, side in (("canary-t", self.target_side), ("canary-i", self.injector_side)):
            with side.entered(), IPRoute() as route:
                route.link("add", ifname="there", kind="veth", peer={"ifname": name, "net_ns_fd": int(sys.argv[1])})

namespace.Lab = Watched
target = make_linux(parse_spec("linux"))
target.upper.listen(b"\\xc0\\0\\x02\\x01", 20000, backlog=1, options={})
print("made", flush=True)
time.sleep(60)
"""


def names_in(namespace: NetworkNamespace) -> set[str]:
    with namespace.entered():
        return {name for _, name in socket.if_nameindex()}


def test_a_killed_run_leaves_no_namespace_and_no_interface(rights):
    """Each namespace of the lab holds one end of a pair whose other end is ours: it goes when the namespace does."""
    ours = NetworkNamespace()
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(ours.descriptor)], stdout=subprocess.PIPE, cwd=ROOT,
                               pass_fds=[ours.descriptor])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        assert {"canary-t", "canary-i"} <= names_in(ours)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    until = time.monotonic() + 20
    while names_in(ours) != {"lo"} and time.monotonic() < until:
        time.sleep(0.05)
    assert names_in(ours) == {"lo"}
    ours.close()
