# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine has for a run, what it lacks, and how to mend it.

Whatever needs rights is really tried, in a child process: it makes the lab of a run, bit by bit, and says how far it
came. `missing` is for tests that cannot run without one of these things.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .wire.errors import HarnessError, TargetError, UsageError

if TYPE_CHECKING:
    from .targets.namespace import Lab
    from .wire.clock import RealClock
    from .wire.link import PacketLink

Outcome = Literal["ok", "limited", "missing"]

_MARKS: Final = {"ok": "ok", "limited": "limited", "missing": "MISSING"}
_PARTS: Final = ("python", "kernel", "lab", "virtual_time", "virtual_machines", "firmware", "stacks", "tools")
"""What is looked at, each by the function of its name."""
_SLOW: Final = ("lab", "virtual_time")
"""Those that make a lab or boot a guest."""
_OLDEST_PYTHON: Final = (3, 11)
_LOSSLESS_BYTES: Final = 1 << 20
_ANSWER_S: Final = 1.0
_TOOLS: Final = {
    "tshark": "to read captures here: apt-get install tshark (or open them in Wireshark elsewhere)",
    "chromium": "for the tests of the matrix's page alone: apt-get install chromium",
    "ssh": "for devices driven by ssh: apt-get install openssh-client",
    "sshd": "for the tests of that alone: apt-get install openssh-server",
    "allure": "to see the Allure results as pages: install Allure from https://allurereport.org/docs/install",
    "git": "for a checkout and its two commands: apt-get install git",
}
_USER_NAMESPACES: Final = (
    ("user/max_user_namespaces", "0", "user namespaces are switched off: sysctl -w user.max_user_namespaces=15000"),
    ("user/max_net_namespaces", "0", "network namespaces are switched off: sysctl -w user.max_net_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0",
     "user namespaces are for root alone: sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "AppArmor takes their rights away: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: whether it is there, what was found, and in one line how to mend it ("" if ok).

    `missing` keeps the default target from running, `limited` does not.
    """

    name: str
    outcome: Outcome
    found: str
    mend: str = ""


def examine() -> tuple[Check, ...]:
    """Look at everything, once for this process."""
    return tuple(check for part in _PARTS for check in _look(part))


@cache
def _look(part: str) -> tuple[Check, ...]:
    """Look at one part of it."""
    found: Check | Iterable[Check] = globals()[f"_{part}"]()
    return (found,) if isinstance(found, Check) else tuple(found)


def can_run(checks: Sequence[Check]) -> bool:
    """True if a run with the default target is possible."""
    return all(check.outcome != "missing" for check in checks)


def missing(what: str) -> str | None:
    """Why `what` (the name of a check, or `lab` for all that a run needs) is not to be had here; None if it is.

    Nothing is tried for it that takes longer than to find it. Raises KeyError for a name that no check has.
    """
    if what == "lab":
        wanted = [check for part in ("python", "kernel", "lab") for check in _look(part)]
        wrong = next((check for check in wanted if check.outcome == "missing"), None)
    else:
        known = (check for part in sorted(_PARTS, key=_SLOW.count) for check in _look(part))
        check = next((check for check in known if check.name == what), None)
        if check is None:
            raise KeyError(what)
        wrong = check if check.outcome != "ok" else None
    return None if wrong is None else f"{wrong.name}: {wrong.found}; {wrong.mend}"


def as_json(checks: Sequence[Check]) -> str:
    """The checks as a JSON document."""
    return json.dumps({"possible": can_run(checks), "checks": [asdict(check) for check in checks]}, indent=1,
                      ensure_ascii=False)


def as_text(checks: Sequence[Check]) -> str:
    """The checks as people read them."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.name:<{width}}  {_MARKS[check.outcome]:<7}  {check.found}")
        if check.mend:
            lines.append(f"{'':<{width}}           {check.mend}")
    verdict = "A run with the default target is possible." if can_run(checks) else \
        "A run with the default target is not possible."
    return "\n".join([*lines, "", verdict])


# -- what needs no rights ---------------------------------------------------------------------------------------------


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        return Check(name="python", outcome="ok", found=version)
    return Check(name="python", outcome="missing", found=version, mend="needs Python 3.11 or later")


def _kernel() -> Check:
    system = f"{platform.system()} {platform.release()}"
    if platform.system() == "Linux":
        return Check(name="kernel", outcome="ok", found=system)
    return Check(name="kernel", outcome="missing", found=system, mend="the default target needs a Linux machine")


def _tools() -> Iterator[Check]:
    for name, mend in _TOOLS.items():
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if path:
            yield Check(name=name, outcome="ok", found=path)
        else:
            yield Check(name=name, outcome="limited", found="not found", mend=mend)


def _virtual_time() -> Iterator[Check]:
    """Whether a kernel for virtual time can be built here, and whether the one that a run would take starts."""
    from .targets.kernels import find, kernels
    from .virtualtime.build import check_machine
    from .virtualtime.guest import check

    try:
        check_machine()
        yield Check(name="kernel build", outcome="ok", found="what it needs is there")
    except UsageError as error:
        what, _, mend = str(error).removeprefix("kernel build: ").partition("; ")
        yield Check(name="kernel build", outcome="limited", found=what, mend=f"for virtual time: {mend}")
    known = ", ".join(kernel.name for kernel in kernels())
    if not known:
        yield Check(name="guest", outcome="limited", found="no kernel is built",
                    mend="for virtual time: tcpqual kernel build")
        return
    try:
        check(find())
        yield Check(name="guest", outcome="ok", found=f"starts; kernels {known}")
    except UsageError as error:
        yield Check(name="guest", outcome="limited", found=known, mend=f"for virtual time: {error}")
    except TargetError as error:
        yield Check(name="guest", outcome="limited", found=str(error).splitlines()[0],
                    mend="for virtual time: a machine that allows ptrace(2), and an executable /dev/shm or TMPDIR")


def _stacks() -> Iterator[Check]:
    """Which versions of each stack that can be built are, and what a build lacks."""
    from .targets.stacks.recipe import names, recipe
    from .targets.stacks.store import builds

    for name in names():
        known = recipe(name)
        built = [version for version in known.releases if any(stack.current for stack in builds(known, version))]
        missing = known.missing()
        if built:
            yield Check(name=name, outcome="ok", found=f"built: {', '.join(built)}")
        elif missing:
            yield Check(name=name, outcome="limited", found=f"not built, and {', '.join(missing)} not installed",
                        mend=f"for the target {name}: apt-get install {' '.join(missing)}, "
                             f"then tcpqual target build {name}")
        else:
            yield Check(name=name, outcome="limited", found="not built",
                        mend=f"for the target {name}: tcpqual target build {name}")


def _virtual_machines() -> Check:
    """Whether a target vm:NAME can be booted here: QEMU, a compiler for its agent, and a kernel that was fetched."""
    from .targets.qemu import program
    from .targets.vm.accelerator import known_accelerator
    from .targets.vm.images import images
    from .targets.vm.programs import programs

    known = ", ".join(image.name for image in images())
    try:
        program()
        programs()
    except (UsageError, TargetError) as error:
        what, _, mend = str(error).partition("; ")
        return Check(name="vm", outcome="limited", found=what, mend=f"for virtual machines: {mend}")
    if not known:
        return Check(name="vm", outcome="limited", found="no kernel is fetched",
                     mend="for virtual machines: tcpqual vm fetch 6.1")
    return Check(name="vm", outcome="ok", found=f"kernels {known}; {known_accelerator()}")


def _firmware() -> Check:
    """Whether there is an iPXE, and a machine for it."""
    from .targets.firmware.machine import image
    from .targets.qemu import program

    try:
        program()
        return Check(name="ipxe", outcome="ok", found=str(image()))
    except UsageError:
        return Check(name="ipxe", outcome="limited", found="not found, or no QEMU for it",
                     mend="for the target ipxe: apt-get install ipxe qemu-system-x86")


# -- what has to be tried ---------------------------------------------------------------------------------------------


def _lab() -> list[Check]:
    """The checks of a lab, from a child process that makes one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(reading)
            for check in _try_lab():
                os.write(writing, json.dumps(asdict(check)).encode() + b"\n")
            status = 0
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        checks = [Check(**json.loads(line)) for line in pipe]
    _, status = os.waitpid(child, 0)
    if status and all(check.outcome != "missing" for check in checks):
        checks.append(Check(name="lab", outcome="missing", found=f"the trial ended with status {status}",
                            mend="this is an error of tcpqual: report it with the output of this command"))
    return checks


def _try_lab() -> Iterator[Check]:
    """Make a lab step by step; the first thing that is missing ends it, since the rest stands on it."""
    for step in (_rights, _ipv6, _make_lab):
        for check in step():
            yield check
            if check.outcome == "missing":
                return


def _rights() -> Iterator[Check]:
    from .wire.netns import can_make_namespaces, enter_user_namespace

    if can_make_namespaces():
        yield Check(name="rights", outcome="ok", found="root" if os.geteuid() == 0 else "network namespaces")
        return
    try:
        enter_user_namespace()
    except HarnessError as error:
        found = str(error).partition(";")[0]
        yield Check(name="rights", outcome="missing", found=found, mend=_how_to_allow_namespaces())
        return
    yield Check(name="rights", outcome="ok", found="a user namespace of the run's own")


def _how_to_allow_namespaces(sysctls: Path = Path("/proc/sys")) -> str:
    for name, forbidding, mend in _USER_NAMESPACES:
        try:
            value = (sysctls / name).read_text().strip()
        except OSError:
            continue
        if value == forbidding:
            return f"{mend}; or run as root"
    return ("run as root; in a container, allow it namespaces "
            "(docker run --cap-add=SYS_ADMIN --cap-add=NET_ADMIN --security-opt seccomp=unconfined)")


def _ipv6() -> Iterator[Check]:
    if Path("/proc/sys/net/ipv6").is_dir():
        yield Check(name="ipv6", outcome="ok", found="in the kernel")
    else:
        yield Check(name="ipv6", outcome="missing", found="not in the kernel",
                    mend="boot without ipv6.disable=1, or with a kernel that has IPv6")


def _make_lab() -> Iterator[Check]:
    from .targets.namespace import Lab, set_sysctls
    from .targets.registry import parse_spec
    from .wire.clock import RealClock

    made: list[Lab] = []
    yield _tried("veth and offloads", "a pair of veth, every offload off", "modprobe veth; ethtool must be allowed "
                 "on it (kernel 4.x or later)", lambda: made.append(Lab()))
    if not made:
        return
    lab, clock = made[0], RealClock()
    profile = parse_spec("linux")
    values = profile.sysctls()

    def write() -> None:
        with lab.target_side.entered():
            set_sysctls(values)

    yield _tried("sysctls", f"{len(values)} of the profile, in the target's namespace",
                 "a newer kernel, or a profile file without it (--target my-linux.toml)", write)
    yield from _sock_diag(lab)
    yield from _link(lab, clock)


def _tried(name: str, found: str, mend: str, act: Callable[[], object]) -> Check:
    try:
        act()
    except (HarnessError, OSError) as error:
        return Check(name=name, outcome="missing", found=" ".join(str(error).split()), mend=mend)
    return Check(name=name, outcome="ok", found=found)


def _sock_diag(lab: Lab) -> Iterator[Check]:
    from .targets.base import addresses
    from .upper.sockets import SocketUpperTester


    def look() -> None:
        upper = SocketUpperTester(lab.target_side)
        address = addresses("ipv4").target
        listener = upper.listen(address, 20000, backlog=1, options={})
        there = upper.listening(address, 20000)
        listener.close()
        upper.close_driver()
        if not there:
            raise OSError("a listener is not reported")

    yield _tried("sock_diag", "states of sockets", "modprobe inet_diag tcp_diag", look)


def _link(lab: Lab, clock: RealClock) -> Iterator[Check]:
    links: list[PacketLink] = []
    check = _tried("packet socket", "in the injector's namespace", "modprobe af_packet",
                   lambda: links.append(lab.link(clock)))
    yield check
    if not links:
        return
    yield _stamps(links[0], clock)
    yield _buffer(links[0])


def _stamps(link: PacketLink, clock: RealClock) -> Check:
    """A SYN to a closed port of the lab's target, and the stamps of what went out and came in."""
    from .targets.base import addresses
    from .wire.codec import encode
    from .wire.segment import SYN, Flow, Segment

    ends = addresses("ipv4")
    packet = encode(Segment(flags=SYN), Flow(local=ends.local, local_port=20001, target=ends.target, target_port=20001))
    before = clock.now()
    link.send_bytes(link.target_mac + link.mac + b"\x08\0" + packet)
    answer = None
    until = time.monotonic() + _ANSWER_S
    while answer is None and time.monotonic() < until:
        answer = link.recv_frame()
    after = clock.now()
    if answer is None:
        return Check(name="stamps", outcome="missing", found="the lab's target does not answer a SYN",
                     mend="a packet filter of the kernel's may drop it: look at nft list ruleset")
    sent = link.sent()
    # The two clocks of the machine are read one after the other, so a stamp may seem to lie a little outside.
    slack_ns = 1_000_000
    stamps = [frame.stamp_ns for frame in (*sent, answer)]
    if not sent or not all(before - slack_ns <= stamp <= after + slack_ns for stamp in stamps):
        return Check(name="stamps", outcome="limited", found="the kernel's stamps do not fit the machine's clock",
                     mend="times in reports and captures are wrong: let no one set the clock during a run")
    return Check(name="stamps", outcome="ok",
                 found=f"a reset came {(answer.stamp_ns - sent[0].stamp_ns) / 1000:.0f} us after its SYN")


def _buffer(link: PacketLink) -> Check:
    import socket

    with socket.fromfd(link.fileno(), socket.AF_PACKET, socket.SOCK_RAW) as sock:
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if size >= _LOSSLESS_BYTES:
        return Check(name="buffer", outcome="ok", found=f"{size >> 10} KiB for what has arrived")
    return Check(name="buffer", outcome="limited", found=f"{size >> 10} KiB for what has arrived",
                 mend="cases with very many segments may lose some: sysctl -w net.core.rmem_max=8388608")
