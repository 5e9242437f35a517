# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of our own, reached as one on a bench: a namespace behind a link, known by its addresses alone.

Two namespaces are joined by a veth pair: the tester's, whose kernel has an address for control connections, and the
device's, in which nothing runs but what a device would have. The injector's addresses belong to nobody. As a command it
makes a device, writes target files for it, and runs a command in the tester's namespace:

    python tests/remote_device.py tcpqual run closed --target '{none}'

`{none}` stands for the target file of a device without an upper tester, `{agent}` of one with tcpqual's agent, and so
on for each name of `UPPERS`. The exit status is the command's.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents import command

from harness.targets.namespace import set_sysctls, switch_offloads_off
from harness.targets.profile import load_profile
from harness.wire.netns import NetworkNamespace

DEVICE: Final = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
INJECTOR: Final = {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}
TESTER: Final = {"ipv4": "192.0.2.3", "ipv6": "2001:db8::3"}
FORGED: Final = {"ipv4": "198.51.100.0/24", "ipv6": "2001:db8:f::/64"}
DEVICE_MAC: Final = "02:00:00:00:00:d1"
TESTER_MAC: Final = "02:00:00:00:00:71"
DISCARD: Final = 9
ECHO: Final = 7
AGENT_PORT: Final = 7070
SSH_PORT: Final = 2222
KNOWN: Final = {"pass", "not-applicable", "advice", "known-deviation"}
"""The verdicts of a run in which nothing is wrong."""
LIMIT_S: Final = 120
"""How long a run of tcpqual against a device may take."""
UPPERS: Final = ("none", "echo", "agent", "agent-c", "ssh", "testability", "testability-tcp", "testability-1.1",
                 "testability-tcp-1.1")
"""Target files by name: without an upper tester, and with an echo port beside, by the agent in Python and in C, by ssh,
by AUTOSAR's protocol."""
_TESTABILITY: Final = 10000
_OPEN_PORT: Final = Path(__file__).with_name("open_port.py")
_SERVER: Final = Path(__file__).resolve().parent.parent / "sdk" / "python" / "tcpqual_testability_server.py"

_PREFIX: Final = {"ipv4": 24, "ipv6": 64}
_NUMBER: Final = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_QUIET: Final = {"net.ipv6.conf.all.accept_dad": "0", "net.ipv6.conf.default.accept_dad": "0",
                 "net.ipv6.conf.default.router_solicitations": "0"}


class RemoteDevice:
    """The two namespaces and what runs in the device's; `close` ends it all."""

    def __init__(self, folder: Path, *, short: bool = False) -> None:
        self.folder = folder
        self.short = short
        self.key = folder / "key"
        self.key.write_text(secrets.token_hex(32) + "\n")
        self.key.chmod(0o600)
        self.tester, self.device = NetworkNamespace(), NetworkNamespace()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._servers = 0
        self._started: set[str] = set()
        self._join()
        self.start(sys.executable, str(_OPEN_PORT), "discard", str(DISCARD))

    def _join(self) -> None:
        from pyroute2.iproute.linux import IPRoute

        for namespace in (self.tester, self.device):
            with namespace.entered():
                set_sysctls(_QUIET)
        with self.tester.entered(), IPRoute() as route:
            route.link("add", ifname="bench0", kind="veth", address=TESTER_MAC,
                       peer={"ifname": "eth0", "address": DEVICE_MAC, "net_ns_fd": self.device.descriptor})
        for namespace, name, addresses in ((self.device, "eth0", DEVICE), (self.tester, "bench0", TESTER)):
            with namespace.entered(), IPRoute() as route:
                self._set_up(route, name, addresses)
                switch_offloads_off(name)
        with self.device.entered():
            profile = load_profile("linux")
            set_sysctls((profile.with_short() if self.short else profile).sysctls())

    def _set_up(self, route: Any, name: str, addresses: dict[str, str]) -> None:
        index = route.link_lookup(ifname=name)[0]
        route.link("set", index=route.link_lookup(ifname="lo")[0], state="up")
        route.link("set", index=index, state="up")
        for family, address in addresses.items():
            flags = {"flags": 0x02} if family == "ipv6" else {}  # IFA_F_NODAD
            route.addr("add", index=index, family=_NUMBER[family], address=address, prefixlen=_PREFIX[family], **flags)
            if addresses is DEVICE:
                route.route("add", family=_NUMBER[family], dst=FORGED[family], gateway=INJECTOR[family], oif=index)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in the device, which says in a line that it is ready."""
        with self.device.entered():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._processes.append(process)
        assert process.stdout is not None
        if not (said := process.stdout.readline()) or process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)}: ended with status {process.wait()}: {said.decode()}")
        return process

    @property
    def last(self) -> subprocess.Popen[bytes]:
        """The program that was started last."""
        return self._processes[-1]

    def stop_last(self) -> None:
        """End the program that was started last."""
        self.last.kill()
        self.last.wait()

    def start_last_anew(self) -> None:
        """End the program that was started last, and start it again."""
        command = self.last.args
        self.stop_last()
        assert isinstance(command, tuple)
        self.start(*command)

    def _start_once(self, name: str, *command: str) -> None:
        if name not in self._started:
            self._started.add(name)
            self.start(*command)

    def _driven(self, upper: str) -> str:
        """See to what the agent or ssh needs on the device; returns the table of the upper tester, as TOML."""
        if upper not in self._started:
            self._started.add(upper)
            self._start_sshd() if upper == "ssh" else self.start_agent(upper)
        if upper == "ssh":
            return (f'{{ host = "root@{DEVICE["ipv4"]}", options = ["-F", "none", "-p", "{SSH_PORT}", "-i", "id", '
                    f'"-o", "UserKnownHostsFile=known_hosts"], python = "{sys.executable}" }}')
        return f'{{ address = "{DEVICE["ipv4"]}", port = {AGENT_PORT + (upper == "agent-c")}, key = "key" }}'

    def start_agent(self, upper: str) -> None:
        """Start an agent: `agent`, the one in Python, or `agent-c`."""
        port = AGENT_PORT + (upper == "agent-c")
        agent = command("c" if upper == "agent-c" else "python")
        self.start(*agent, "--listen", f"{DEVICE['ipv4']}:{port}", "--key", str(self.key))

    def _start_sshd(self) -> None:
        """A daemon that knows one key, and nothing of this machine's own set-up."""
        for name in ("id", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        public = (self.folder / "host.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[{DEVICE['ipv4']}]:{SSH_PORT} {' '.join(public)}\n")
        settings = {"ListenAddress": f"{DEVICE['ipv4']}:{SSH_PORT}", "HostKey": self.folder / "host", "UsePAM": "no",
                    "PidFile": "none", "AuthorizedKeysFile": self.folder / "id.pub", "StrictModes": "no",
                    "PasswordAuthentication": "no", "PermitRootLogin": "prohibit-password"}
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # what its unit does where it is installed
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        self.start(sshd, "-D", "-e", "-f", str(config))

    def file(self, upper: str = "none", *, answer_limit_s: str = "2", **other: str) -> Path:
        """The target file of this device with that upper tester; `other` are further lines of `[remote]`, as TOML."""
        lines = {"interface": '"bench0"', "upper": f'"{upper}"', "timers": '"short"' if self.short else '"default"',
                 "version": f'"{os.uname().release}"', "rate_limit": "20000"}
        for family in ("ipv4", "ipv6"):
            lines |= {family: f'"{DEVICE[family]}"', f"injector_{family}": f'"{INJECTOR[family]}"',
                      f"forged_{family}": f'"{FORGED[family]}"'}
        if upper in ("none", "echo"):
            lines["upper"] = '"none"'
            lines["open"] = f'{{ port = {DISCARD}, application = "discard" }}'
        if upper == "echo":
            lines["echo"] = f"{{ port = {ECHO} }}"
            self._start_once("echo", sys.executable, str(_OPEN_PORT), "echo", str(ECHO))
        if upper.startswith("testability"):
            lines |= self._testability(upper, answer_limit_s)
        elif upper not in ("none", "echo"):
            lines |= {"upper": f'"{upper.removesuffix("-c")}"', upper.removesuffix("-c"): self._driven(upper)}
        lines |= other
        table = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
        file = self.folder / f"{upper}.toml"
        file.write_text(f'name = "device-{upper}"\nkind = "remote"\ntitle = "A device, upper tester: {upper}"\n'
                        f'extends = "linux"\n\n[remote]\n{table}')
        return file

    def _testability(self, upper: str, answer_limit_s: str) -> dict[str, str]:
        """The reference server, started in the device, and where it is: by `-tcp` or UDP, of version `-1.1` or 1.2."""
        way, version = "tcp" if "-tcp" in upper else "udp", "1.1" if upper.endswith("-1.1") else "1.2"
        self._servers += 1
        port = _TESTABILITY + self._servers
        bind = f"{DEVICE['ipv4']}:{port}"
        self.start(sys.executable, str(_SERVER), "--bind", bind, f"--{way}", "--protocol", version)
        return {"upper": '"testability"',
                "testability": f'{{ transport = "{way}", address = "{DEVICE["ipv4"]}", port = {port}, '
                               f'answer_limit_s = {answer_limit_s}, receive_tells = true, nagle_on = 1 }}'}

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in the tester's namespace."""
        with self.tester.entered():
            return subprocess.run(command, check=False, **options)

    def tcpqual(self, order: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of tcpqual's in the tester's namespace, such as `target check`, and keep what it says."""
        done: subprocess.CompletedProcess[str] = self.run(
            [sys.executable, "-m", "harness", *order.split(), *words], capture_output=True, text=True, timeout=LIMIT_S)
        return done

    def play(self, file: Path, *words: str) -> tuple[int, dict[str, Any], str]:
        """Run a part of the suite with that target file: exit status, results, and what was said."""
        results = self.folder / "run" / "results.json"
        results.unlink(missing_ok=True)
        done = self.tcpqual("run", *words, "--target", str(file), "--results", str(results), "--no-allure")
        return done.returncode, json.loads(results.read_text()) if results.exists() else {}, done.stdout + done.stderr

    def verdicts(self, file: Path, *words: str) -> tuple[int, dict[str, list[Any]], str]:
        """The same, but for the results the cases by their verdicts."""
        status, results, said = self.play(file, *words)
        found: dict[str, list[Any]] = {}
        for case in results.get("cases", ()):
            found.setdefault(case["verdict"], []).append(case)
        return status, found, said

    def watched(self, command: Sequence[str], *acts: tuple[str, Callable[[], object]]) -> tuple[int, str]:
        """Run a command in the tester's namespace, and act when it says something: exit status, and what it said.

        Each of `acts` is a word and what to do once a line has it, one after the other.
        """
        with self.tester.entered():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                       env={**os.environ, "PYTHONUNBUFFERED": "1"})
        left, said = list(acts), []
        with process:
            for line in process.stdout or ():
                said.append(line)
                if left and left[0][0] in line:
                    left.pop(0)[1]()
        return process.returncode, "".join(said)

    def close(self) -> None:
        """End what runs in the device, and let go of the namespaces."""
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self.tester.close()
        self.device.close()


@contextlib.contextmanager
def remote_device(folder: Path, **options: Any) -> Iterator[RemoteDevice]:
    """A device that is there as long as the context."""
    device = RemoteDevice(folder, **options)
    try:
        yield device
    finally:
        device.close()


def main(arguments: list[str]) -> int:
    """The command: `[--short] COMMAND...`."""
    short = arguments[:1] == ["--short"]
    words = arguments[short:]
    if not words:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tcpqual-device-") as folder, \
            remote_device(Path(folder), short=short) as device:
        for upper in UPPERS:
            if any(f"{{{upper}}}" in word for word in words):
                file = str(device.file(upper))
                words = [word.replace(f"{{{upper}}}", file) for word in words]
        return device.run(words).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
