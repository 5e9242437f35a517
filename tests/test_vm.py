# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines: what is made for them, and whole runs on a kernel that `tcpqual vm fetch` has fetched."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from vm_runs import VM, run, run_own

from harness.targets.base import TARGET, packed
from harness.targets.profile import load_profile
from harness.targets.registry import clock_of, describe, make_target, parse_spec
from harness.targets.vm import fetch as fetching
from harness.targets.vm.accelerator import accelerator
from harness.targets.vm.clock import GuestClock
from harness.targets.vm.fetch import modules_of
from harness.targets.vm.images import Image, find, images, images_folder, of_file, releases_of
from harness.targets.vm.initramfs import archive, orders_for
from harness.targets.vm.link import GuestLink
from harness.targets.vm.machine import KVM, TCG
from harness.upper.messages import Op, endpoint
from harness.wire.clock import SECOND
from harness.wire.errors import TargetError, UsageError

BANNER = b"6.1.0-56-amd64 (builder@example) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"
MS = SECOND // 1000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return images_folder()


def bzimage(banner: bytes = BANNER) -> bytes:
    octets = bytearray(0x3000)
    octets[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", octets, 0x20E, 0x1000)
    octets[0x1200:0x1200 + len(banner)] = banner
    return bytes(octets)


def put_image(folder: Path, name: str, /, **changes: Any) -> Path:
    place = folder / name
    (place / "modules").mkdir(parents=True)
    (place / "vmlinuz").write_bytes(bzimage())
    (place / "modules" / "virtio_net.ko").write_bytes(b"module")
    record = {"name": name, "release": "6.1.0-56-amd64", "version": "6.1.192-2", "hz": 250, "source": "a package 1",
              "modules": ["virtio_net.ko"], "fetched": "2026-11-21T15:00:00+00:00"}
    (place / "image.json").write_text(json.dumps(record | changes))
    return place


# -- images -----------------------------------------------------------------------------------------------------------


def test_a_kernel_file_says_which_release_and_version_it_is(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage())
    assert releases_of(tmp_path / "vmlinuz") == ("6.1.0-56-amd64", "6.1.192-2")
    (tmp_path / "vmlinuz").write_bytes(bzimage(b"6.9.1-mine (me@here) #3 SMP"))
    assert releases_of(tmp_path / "vmlinuz") == ("6.9.1-mine", "6.9.1-mine")
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF" + bytes(200000) + b"Linux version " + BANNER + b"\n\0")
    assert releases_of(tmp_path / "vmlinux") == ("6.1.0-56-amd64", "6.1.192-2")
    (tmp_path / "text").write_text("no kernel at all")
    with pytest.raises(UsageError, match="no x86 kernel; allowed: a bzImage"):
        releases_of(tmp_path / "text")


def test_images_that_are_not_whole_are_none(cache: Path) -> None:
    assert images() == []
    with pytest.raises(UsageError, match=r"no kernel is fetched; fetch one with `tcpqual vm fetch 6\.1`"):
        find("6.1")
    put_image(cache, "6.12")
    put_image(cache, "6.1")
    put_image(cache, "other").joinpath("vmlinuz").unlink()
    put_image(cache, "odd", hz="250")
    put_image(cache, "renamed", name="6.1")
    (put_image(cache, "torn") / "image.json").write_text("{")
    (put_image(cache, "short") / "modules" / "virtio_net.ko").unlink()
    assert [image.name for image in images()] == ["6.1", "6.12"]
    assert find("6.1").modules[0].read_bytes() == b"module"
    with pytest.raises(UsageError, match=r"no such kernel '5\.10'; fetched: 6\.1, 6\.12; fetch it with"):
        find("5.10")
    with pytest.raises(UsageError, match=r"more than one kernel is fetched: name one of 6\.1, 6\.12"):
        find("")


def test_a_spec_is_linux_of_the_version_of_its_image(cache: Path) -> None:
    put_image(cache, "6.1", hz=1000)
    profile = parse_spec("vm:6.1:no-cookies")
    assert (profile.kind, profile.version, profile.short) == ("vm", "6.1.192-2", True)
    assert profile.timer("tick_s") == 0.001
    assert profile.policy("timer_lateness") == "wheel"
    assert not profile.feature("syn_cookies")
    assert "timestamp_aligned" not in profile.fingerprint
    assert clock_of(profile) == "real"
    assert describe("vm:6.1") == {"name": "vm:6.1", "kind": "vm", "version": "6.1.192-2", "profile": "linux"}
    with pytest.raises(UsageError, match="allowed: vm:NAME or vm:NAME:VARIANT"):
        parse_spec("vm:6.1:no-cookies:more")


def test_a_profile_may_name_a_kernel_file(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bzimage(b"6.9.1-mine (me@here) #3 SMP"))
    file = tmp_path / "mine.toml"
    text = 'name = "mine"\nkind = "vm"\ntitle = "mine"\nextends = "linux"\n'
    file.write_text(text + 'kernel = "bzImage"\n')
    assert (parse_spec(str(file)).version, parse_spec(str(file)).short) == ("6.9.1-mine", True)
    file.write_text(text + 'kernel = "bzImage"\nmodules = ["virtio_net.ko"]\n')
    with pytest.raises(UsageError, match=r"mine.toml: kernel: .*virtio_net.ko: no such file"):
        parse_spec(str(file))
    file.write_text(text)
    with pytest.raises(UsageError, match="kernel: missing; kind 'vm' needs it"):
        load_profile(str(file))
    file.write_text(text.replace('"vm"', '"namespace"') + 'kernel = "bzImage"\n')
    with pytest.raises(UsageError, match="kernel: goes with kind 'vm' alone"):
        load_profile(str(file))
    assert of_file(tmp_path / "bzImage", ()).hz == 250


# -- fetching ---------------------------------------------------------------------------------------------------------


NAMES = ("linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-56-cloud-amd64",
         "linux-image-6.12.117+deb12-amd64", "linux-image-6.12.9+deb12-amd64", "linux-image-6.1.0-60-rt-amd64",
         "linux-image-6.12-amd64", "linux-binary-7.2.3+deb14-amd64", "linux-modules-7.2.3+deb14-amd64")


@pytest.mark.parametrize(("release", "flavour", "packages"), [
    ("6.1", "", ["linux-image-6.1.0-56-amd64"]),
    ("6.1", "cloud", ["linux-image-6.1.0-56-cloud-amd64"]),
    ("6.1", "rt", ["linux-image-6.1.0-60-rt-amd64"]),
    ("6.12", "", ["linux-image-6.12.117+deb12-amd64"]),
    ("7.2", "", ["linux-binary-7.2.3+deb14-amd64", "linux-modules-7.2.3+deb14-amd64"]),
])
def test_the_newest_package_of_a_release_is_taken(monkeypatch: pytest.MonkeyPatch, release: str, flavour: str,
                                                  packages: list[str]) -> None:
    import re

    monkeypatch.setattr(fetching.apt, "names", lambda pattern: [name for name in NAMES if re.fullmatch(pattern, name)])
    assert fetching._packages(release, flavour) == packages


def test_what_cannot_be_fetched_is_said(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    import re

    monkeypatch.setattr(fetching.apt, "names", lambda pattern: [name for name in NAMES if re.fullmatch(pattern, name)])
    monkeypatch.setattr(fetching.apt, "is_empty", lambda: False)
    with pytest.raises(UsageError, match=r"5\.4: apt has no such kernel; it has 6\.1, 6\.12, 7\.2; or name"):
        fetching.fetch("5.4", print)
    monkeypatch.setattr(fetching.apt, "is_empty", lambda: True)
    with pytest.raises(UsageError, match="apt-get update as root"):
        fetching.fetch("5.4", print)
    for wrong in ("6", "6.1-fast", "../6.1", "6.1.0"):
        with pytest.raises(UsageError, match="no name of a release"):
            fetching.fetch(wrong, print)


def test_modules_come_behind_those_that_they_need(tmp_path: Path) -> None:
    import lzma

    (tmp_path / "kernel").mkdir()
    for name, needs in (("virtio_net", "net_failover"), ("net-failover", "failover"), ("failover", ""),
                        ("virtio_pci", ""), ("other", "")):
        octets = b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0"
        (tmp_path / "kernel" / f"{name}.ko.xz").write_bytes(lzma.compress(octets))
    assert list(modules_of(tmp_path)) == ["virtio_pci", "failover", "net_failover", "virtio_net"]
    (tmp_path / "kernel" / "failover.ko.xz").write_bytes(b"torn")
    with pytest.raises(TargetError, match=r"failover\.ko\.xz: cannot be unpacked"):
        modules_of(tmp_path)


# -- what a guest is given --------------------------------------------------------------------------------------------


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    octets = archive([("dev", 0o40755, b""), ("init", 0o100755, b"abc"), ("a.txt", 0o100644, b"")])
    assert len(octets) % 4 == 0
    at, found = 0, {}
    while True:
        fields = [int(octets[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
        assert octets[at:at + 6] == b"070701"
        name = octets[at + 110:at + 109 + fields[11]].decode()
        start = at + (110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = (fields[1], octets[start:start + fields[6]])
        at = start + (fields[6] + 3) // 4 * 4
    assert found == {"dev": (0o40755, b""), "init": (0o100755, b"abc"), "a.txt": (0o100644, b"")}


def test_the_orders_of_a_guest() -> None:
    orders = orders_for(modules=[Path("x/virtio_net.ko")], quiet={"net.ipv6.conf.default.accept_dad": "0"},
                        sysctls={"net.ipv4.tcp_syncookies": "1"}, command=["/agent", "--stdio"])
    words = [(order, text) for order, text in orders if order not in "NE"]
    assert words == [
        ("W", b"/proc/sys/net/ipv6/conf/default/accept_dad\x000"), ("L", b"/modules/virtio_net.ko"),
        ("W", b"/proc/sys/net/ipv6/conf/eth0/accept_dad\x000"), ("W", b"/proc/sys/net/ipv4/tcp_syncookies\x001"),
        ("P", b"tcpqual"), ("X", b"/agent\0--stdio\0")]
    requests = b"".join(text for order, text in orders if order == "N")
    assert all(socket.inet_aton(TARGET["ipv4"]) in requests for _ in orders)
    assert socket.inet_pton(socket.AF_INET6, TARGET["ipv6"]) in requests


def test_a_frame_is_stamped_when_it_was_sent_not_when_it_is_taken() -> None:
    clock = GuestClock()
    link = GuestLink(now=clock.now, instant=clock.instant, alive=lambda: None)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link.attend(near)
    before_ns = clock.now()
    far.send(b"a repetition")
    after_ns = clock.now()
    clock.wait(after_ns + 20 * MS)
    link.send_bytes(b"an acknowledgement")
    (sent,), come = link.sent(), link.poll()
    assert come is not None
    assert before_ns - MS <= come.stamp_ns <= after_ns + MS < sent.stamp_ns
    link.close()


def test_the_link_waits_for_room_and_loses_nothing() -> None:
    asked: list[int] = []
    link = GuestLink(now=lambda: 7, instant=lambda stamp: 8, alive=lambda: asked.append(1))
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link.attend(near)
    link.send_bytes(b"to the guest")
    assert far.recv(100) == b"to the guest"
    far.send(b"from the guest")
    frame = link.poll()
    assert frame is not None
    assert (frame.data, frame.stamp_ns, link.poll()) == (b"from the guest", 8, None)
    far.send(b"sent before")
    link.send_bytes(b"and then we")
    far.recv(100)
    far.send(b"sent behind")
    assert [frame.data for frame in (link.poll(), link.poll()) if frame] == [b"sent before", b"sent behind"]
    assert link.burst(b"abcdef", 2) == 3
    assert [far.recv(9) for _ in range(3)] == [b"ab", b"cd", b"ef"]
    assert (link.lost(), asked) == (0, [1])
    descriptor = link.fileno()
    link.attend(None)
    link.send_bytes(b"to nobody")
    assert (link.poll(), link.fileno()) == (None, descriptor)
    link.close()


class Times:
    """Instead of a process: what it was busy, by the look."""

    def __init__(self, *busy_ns: int) -> None:
        self.total, self.busy = 0, list(busy_ns)

    def read(self) -> int:
        self.total += self.busy.pop(0) if self.busy else 0
        return self.total

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("busy_ms", "late_ms"), [
    ([1, 1, 1, 1], 2),             # a little each time: the two ends of what is timed
    ([20, 20, 20, 1], 61),         # busy without a break, and a little at another time
    ([20, 1, 20, 20, 1], 61),      # two busy times, the first with what followed its break
])
def test_a_guest_is_late_by_its_longest_busy_times(monkeypatch: pytest.MonkeyPatch, busy_ms: list[int],
                                                   late_ms: int) -> None:
    clock = GuestClock()
    instants = iter(range(0, 100 * 20 * MS, 20 * MS))
    monkeypatch.setattr(clock, "now", lambda: next(instants))
    clock.forget_lateness()
    clock._times = Times(*(ms * MS for ms in busy_ms))  # type: ignore[assignment]
    clock._seen_ns, clock._looked_ns = 0, clock.now()
    for _ in busy_ms:
        clock._look()
    clock._times = None
    assert clock.lateness_ns == pytest.approx(late_ms * MS, abs=MS)


def test_kvm_is_tried_once_and_the_answer_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def fails(means: Any, limit_s: float) -> None:
        tried.append(means)
        raise TargetError("it crawls")

    monkeypatch.setattr("harness.targets.vm.accelerator._DEVICE", "/dev/null")
    assert accelerator(fails) is TCG
    assert accelerator(fails) is TCG
    assert tried == [KVM]
    (cache / "kvm.json").unlink()
    assert accelerator(lambda means, limit_s: None) is KVM
    assert accelerator(fails) is KVM
    monkeypatch.setattr("harness.targets.vm.accelerator._this_boot", lambda: "another boot")
    assert accelerator(fails) is TCG
    monkeypatch.setattr("harness.targets.vm.accelerator._DEVICE", str(cache / "no such device"))
    assert accelerator(fails) is TCG
    assert len(tried) == 2


# -- whole runs -------------------------------------------------------------------------------------------------------

DYING = '''

@covers(RULE)
def test_1_before(peer):
    refused(peer)


@covers(RULE)
def test_2_panic(peer, target):
    refused(peer)
    target.guest.machine.command("inject-nmi")
    refused(peer.case.peer())


@covers(RULE)
def test_3_between(peer, listener):
    refused(peer.case.peer())


@covers(RULE)
def test_4_hang(peer, target):
    refused(peer)
    target.upper.agent._conversation.limit_s = 1
    target.guest.machine.command("stop")
    refused(peer.case.peer())


@covers(RULE)
def test_5_after(peer, listener):
    refused(peer.case.peer())
'''


def spec() -> str:
    return f"vm:{images()[0].name}"


@VM
def test_cases_on_a_guest(tmp_path: Path) -> None:
    status, results, said = run(spec(), tmp_path / "results.json", "cases/closed/test_reset.py", "-k",
                                "closed_once_its_listener or syn_is_refused")
    assert [case["verdict"] for case in results["cases"]] == ["pass"] * 6, said
    assert status == 0


@VM
def test_a_guest_that_panics_or_hangs_is_an_error_of_its_case_alone(tmp_path: Path) -> None:
    status, cases, said = run_own(spec(), tmp_path, DYING)
    verdicts = {case["id"].rpartition("::")[2]: case for case in cases}
    assert [case["verdict"] for case in cases] == ["pass", "error", "pass", "error", "pass"], said
    assert status == 3
    panic, hang = verdicts["2_panic"], verdicts["4_hang"]
    assert "Kernel panic - not syncing" in panic["reason"] or "Kernel panic - not syncing" in panic["log"]
    assert "did not answer within 1 s" in hang["log"]
    assert "NMI" in hang["log"], "a guest that hangs is made to say where"
    for case in (panic, hang):
        assert Path(case["capture"]).stat().st_size > 500, "what was said until then is kept"


@VM
def test_a_guest_leaves_nothing_behind() -> None:
    target = make_target(spec())
    pid = target.guest.machine.pid  # type: ignore[attr-defined]
    assert Path(f"/proc/{pid}").exists()
    assert target.version == find(spec().partition(":")[2]).version
    assert 0 < target.timing.tolerance_ns < 5 * SECOND
    target.close()
    assert not Path(f"/proc/{pid}").exists()


@VM
def test_no_command_to_the_agent_is_lost() -> None:
    target = make_target(spec())
    agent = target.upper.agent  # type: ignore[attr-defined]
    for _ in range(8000):
        assert agent.ask(Op.LISTENING, 0, endpoint(packed(TARGET["ipv4"]), 1)).error == ""
    target.close()


@VM
def test_a_kernel_that_cannot_be_booted_is_an_error_with_its_console() -> None:
    from harness.targets.vm.guest import Recipe

    image = find(spec().partition(":")[2])
    with pytest.raises(TargetError, match=r"ended in boot; its console: .*Kernel panic - not syncing"):
        Recipe(image=image, archive=archive([("nothing", 0o100644, b"")])).boot(TCG)
    assert isinstance(image, Image)
