# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast link, flood, cases and plugin are on this machine, each figure against its bound (`tcpqual bench`).

What is compared with another tool is measured beside it, in one lab and one run, so that a figure is a ratio and the
machine falls out of it. Probes are judged by the best of several medians, CPU time by the least.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from .lower.application import Application
from .lower.case import Case
from .lower.ends import Ports
from .lower.flood import Flood
from .lower.injector import Injector
from .lower.timing import Timing
from .targets.base import PHANTOM, PHANTOM_MAC, TARGET, TARGET_MAC, addresses, phantom_neighbour
from .targets.namespace import Lab, set_sysctls
from .targets.registry import parse_spec
from .upper.sockets import SocketUpperTester
from .wire.clock import RealClock
from .wire.codec import encode
from .wire.errors import TargetError
from .wire.link import PacketLink
from .wire.segment import RST, SYN, Flow, Kind, Option, Segment

PROBE_BOUND: Final = 1000
BARE_BOUND: Final = 2
FLOOD_BOUND: Final = 100
CASE_BOUND_MS: Final = 3
IMPORT_BOUND_MS: Final = 150

_PROBES: Final = 3000
_SCAPY_PROBES: Final = 15
_SYNS: Final = 50_000
_SCAPY_SYNS: Final = 2000
_VOLLEYS: Final = 5
_FEW_CASES: Final = 50
_MANY_CASES: Final = 350
_REPEATS: Final = 3
_INJECTOR_END: Final = "injector"
_FIRST_PORT: Final = 10_000

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure and its bound: at least it (`least`) or at most it. `detail` says what it was made of."""

    name: str
    value: float
    unit: str
    bound: float
    least: bool
    detail: str

    @property
    def reached(self) -> bool:
        """True if the figure is within its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def bench(file: str | None, agree: int, say: Say) -> int:
    """Measure everything, print a table, write JSON if a file is named; returns 0 if every bound is reached, else 1."""
    figures: list[Figure] = []
    for measure in (_wire, _case, _plugin, lambda: _agreement(agree)):
        figures += measure()
    document = {"schema": 1, "machine": _machine(),
                "figures": [asdict(figure) | {"reached": figure.reached} for figure in figures]}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    if file == "-":
        say(text)
    else:
        say(table(figures))
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(text + "\n", encoding="utf-8")
    return 0 if all(figure.reached for figure in figures) else 1


def _machine() -> dict[str, Any]:
    import platform

    return {"kernel": platform.release(), "python": platform.python_version(), "processors": os.cpu_count()}


def table(figures: Sequence[Figure]) -> str:
    """The figures as people read them."""
    from io import StringIO

    from rich.table import Table

    from .report.terminal import console

    text = StringIO()
    out = console(sys.stdout, into=text)
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header, justify in (("figure", "left"), ("measured", "right"), ("bound", "right"), ("", "left"),
                            ("made of", "left")):
        made.add_column(header, justify="right" if justify == "right" else "left", overflow="fold")
    for figure in figures:
        sign = "≥" if figure.least else "≤"
        made.add_row(figure.name, f"{_number(figure.value)} {figure.unit}", f"{sign} {_number(figure.bound)}",
                     "ok" if figure.reached else "NOT REACHED", figure.detail,
                     style=None if figure.reached else "bold red")
    out.print(made)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# -- the wire ---------------------------------------------------------------------------------------------------------


class _Bench:
    """A lab of our own, with a listener that has room for many half-open connections."""

    def __init__(self) -> None:
        self.lab = Lab()
        profile = parse_spec("linux")
        with self.lab.target_side.entered():
            set_sysctls(profile.sysctls())
        self.clock = RealClock()
        self.link: PacketLink = self.lab.link(self.clock)
        self.upper = SocketUpperTester(self.lab.target_side)
        injector = Injector(link=self.link, clock=self.clock, neighbour=phantom_neighbour())
        self.case = Case(name="bench", injector=injector, upper=self.upper, profile=profile,
                         timing=Timing(rounding=0, tick_ns=0, tolerance_ns=0), addresses=addresses("ipv4"),
                         ports=Ports(), requirements={})
        self.port = Application(self.case).listen(backlog=1024).port
        injector.drain()

    def frame(self, flags: int, seq: int, source_port: int) -> bytes:
        """A frame to the listener."""
        ends = addresses("ipv4")
        options = (Option.of(Kind.MSS, b"\x05\xb4"),) if flags & SYN else ()
        flow = Flow(local=ends.local, local_port=source_port, target=ends.target, target_port=self.port)
        return TARGET_MAC + PHANTOM_MAC + b"\x08\0" + encode(Segment(flags=flags, seq=seq, options=options), flow)

    def pairs(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """A SYN from a fresh port and the reset that ends what it began, for each probe."""
        return [(self.frame(SYN, 1000, port), self.frame(RST, 1001, port)) for port in range(first, first + count)]

    def close(self) -> None:
        """Give everything back."""
        self.case.close()
        self.link.close()
        self.upper.close_driver()
        self.lab.close()


def _wire() -> Iterator[Figure]:
    made = _Bench()
    try:
        ports = iter(range(_FIRST_PORT, 1 << 16, _PROBES))
        rounds = [(_product_probes(made, next(ports)), _bare_probes(made, next(ports))) for _ in range(_REPEATS)]
        product_ns, bare_ns = (min(column) for column in zip(*rounds, strict=True))
        probe_ns = _scapy_probes(made)
        flood = Flood(made.case, made.port)
        rate = max(_volley(made, flood) for _ in range(_VOLLEYS))
        sendp = _scapy_flood(made)
    finally:
        made.close()
    yield Figure(name="SYN to SYN,ACK, scapy's sr1", value=probe_ns / product_ns, unit="x faster", bound=PROBE_BOUND,
                 least=True, detail=f"{product_ns / 1000:.2f} us, not {probe_ns / 1e6:.1f} ms")
    yield Figure(name="SYN to SYN,ACK, a bare socket", value=product_ns / bare_ns, unit="x as long",
                 bound=BARE_BOUND, least=False, detail=f"{product_ns / 1000:.2f} us, not {bare_ns / 1000:.2f} us")
    yield Figure(name="SYN flood, scapy's sendp(list)", value=rate / sendp, unit="x faster",
                 bound=FLOOD_BOUND, least=True, detail=f"{rate:,.0f}/s, not {sendp:,.0f}/s")


def _product_probes(made: _Bench, first: int) -> float:
    """The median time of one probe through the link, in nanoseconds."""
    send, receive, now = made.link.send_bytes, made.link.recv_frame, time.perf_counter_ns
    times = []
    for syn, reset in made.pairs(first, _PROBES):
        began = now()
        send(syn)
        while receive() is None:
            pass
        times.append(now() - began)
        send(reset)
    made.link.discard()
    return median(times)


def _bare_probes(made: _Bench, first: int) -> float:
    """The same on a packet socket that has nothing to it."""
    with made.lab.injector_side.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
    sock.bind((_INJECTOR_END, 0))
    now = time.perf_counter_ns
    times = []
    for syn, reset in made.pairs(first, _PROBES):
        began = now()
        sock.send(syn)
        while True:
            try:
                sock.recv(65536)
                break
            except BlockingIOError:
                continue
        times.append(now() - began)
        sock.send(reset)
    sock.close()
    made.link.discard()
    return median(times)


def _volley(made: _Bench, flood: Flood) -> float:
    """SYNs a second of one volley to the listener, building included. Raises TargetError if some did not go out."""
    volley = flood.send(_SYNS)
    if volley.count != _SYNS:
        raise TargetError(f"bench: only {volley.count} of {_SYNS} SYNs went out")
    made.link.discard()
    return volley.rate_per_s


@contextlib.contextmanager
def _scapy(made: _Bench) -> Iterator[None]:
    """Inside the injector's namespace, with scapy knowing of it."""
    with made.lab.injector_side.entered():
        logging.getLogger("scapy").setLevel(logging.ERROR)
        # Without these scapy's configuration has neither interfaces nor a place for addresses.
        from scapy import sendrecv
        from scapy.config import conf
        from scapy.layers import l2

        assert sendrecv is not None
        assert l2 is not None

        # scapy may have looked at another namespace's interfaces and routes when it was imported.
        conf.ifaces.reload()
        conf.route.routes = []
        conf.route.add(net=f"{TARGET['ipv4']}/32", dev=_INJECTOR_END)
        conf.netcache.arp_cache[TARGET["ipv4"]] = TARGET_MAC.hex(":")
        conf.verb = 0
        yield
    made.link.discard()


def _scapy_probes(made: _Bench) -> float:
    """The median time of `sr1` with a SYN, in nanoseconds."""
    with _scapy(made):
        from scapy.layers.inet import IP, TCP
        from scapy.sendrecv import sr1

        times = []
        for number in range(_SCAPY_PROBES):
            probe = IP(src=PHANTOM["ipv4"], dst=TARGET["ipv4"]) / TCP(sport=6000 + number, dport=made.port, seq=1000)
            began = time.perf_counter_ns()
            answer = sr1(probe, timeout=2, iface=_INJECTOR_END)
            if answer is not None:
                times.append(time.perf_counter_ns() - began)
    if not times:
        raise TargetError("bench: scapy's sr1 drew no answer in this lab")
    return median(times)


def _scapy_flood(made: _Bench) -> float:
    """SYNs a second of `sendp` with a list of packets that are there already."""
    with _scapy(made):
        from scapy.layers.inet import IP, TCP
        from scapy.layers.l2 import Ether
        from scapy.sendrecv import sendp

        frames = [Ether(src=PHANTOM_MAC.hex(":"), dst=TARGET_MAC.hex(":"))
                  / IP(src=f"198.51.100.{129 + number % 100}", dst=TARGET["ipv4"])
                  / TCP(sport=1024 + number, dport=made.port, seq=number, options=[("MSS", 1460)])
                  for number in range(_SCAPY_SYNS)]
        began = time.perf_counter()
        sendp(frames, iface=_INJECTOR_END)
        return _SCAPY_SYNS / (time.perf_counter() - began)


# -- cases ------------------------------------------------------------------------------------------------------------

_MODULE: Final = '''
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_full(peer, listener, number):
    """Handshake, two segments, reset."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <...>")
    peer.send(". 1:1(0) ack 1")
    peer.send("P. 1:101(100) ack 1")
    peer.expect(". 1:1(0) ack 101")
    peer.send("P. 101:201(100) ack 1")
    peer.expect(". 1:1(0) ack 201")
    peer.send("R 201:201(0)")
'''
_EMPTY_MODULE: Final = '''
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_empty(number):
    """Nothing."""
'''


def _case() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rounds = [(_slope_s(folder, _MODULE), _slope_s(folder, _EMPTY_MODULE)) for _ in range(_REPEATS)]
    full_ms, empty_ms = (1000 * min(column) for column in zip(*rounds, strict=True))
    yield Figure(name="CPU of a case beyond an empty test", value=full_ms - empty_ms, unit="ms", bound=CASE_BOUND_MS,
                 least=False, detail=f"{full_ms:.2f} ms less {empty_ms:.2f} ms")


def _slope_s(folder: Path, module: str) -> float:
    """CPU seconds for one more test of the kind: what a run costs in any case falls out."""
    few, many = (_cpu_s(folder, module.format(count=count)) for count in (_FEW_CASES, _MANY_CASES))
    return (many - few) / (_MANY_CASES - _FEW_CASES)


def _cpu_s(folder: Path, module: str) -> float:
    path = folder / "topic" / "test_bench.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(module)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "harness.plugin", "-p", "no:cacheprovider", "-q", "-c", os.devnull,
         f"--rootdir={folder}", "--target=linux", "--family=ipv4", f"--results={folder / 'results.json'}", str(path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTHONPATH": _pythonpath()},
        capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetError(f"bench: pytest ended with {done.returncode}: {' '.join(done.stdout.split())[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pythonpath() -> str:
    """Lets a child import this very package, installed or not."""
    return os.pathsep.join([str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")])


# -- the plugin -------------------------------------------------------------------------------------------------------


def _plugin() -> Iterator[Figure]:
    program = ("import time, pytest; began = time.perf_counter(); import harness.plugin; "
               "print(time.perf_counter() - began)")
    times_ms = []
    for _ in range(2 * _REPEATS):
        done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": _pythonpath()},
                              capture_output=True, text=True, check=True)
        times_ms.append(1000 * float(done.stdout))
    yield Figure(name="import of the plugin", value=median(times_ms), unit="ms", bound=IMPORT_BOUND_MS, least=False,
                 detail=f"median of {len(times_ms)}, best {min(times_ms):.0f} ms")


# -- agreement --------------------------------------------------------------------------------------------------------


def _agreement(runs: int) -> Iterator[Figure]:
    """How many cases had another verdict with `-n 16` than with `-n 0`, over so many runs."""
    if not runs:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = _verdicts(folder, 0)
        differing: dict[str, str] = {}
        for _ in range(runs):
            crowded = _verdicts(folder, 16)
            for case in alone.keys() | crowded.keys():
                was, became = alone.get(case, ("not run", "")), crowded.get(case, ("not run", ""))
                if was[0] != became[0]:
                    differing[case] = f"{case}: {was[0]}, then {became[0]} ({became[1]})"
    detail = f"{len(alone)} cases, {runs} run{'s' if runs > 1 else ''}"
    if differing:
        detail += f"; {'; '.join(differing[case] for case in sorted(differing)[:10])}"
    yield Figure(name="verdicts that -n 16 changes", value=len(differing), unit="cases", bound=0, least=False,
                 detail=detail)


def _verdicts(folder: Path, workers: int) -> dict[str, tuple[str, str]]:
    """Verdict and reason of each case."""
    results = folder / "results.json"
    done = subprocess.run([sys.executable, "-m", "harness", "run", "-n", str(workers), "--no-allure",
                           f"--results={results}"], env={**os.environ, "PYTHONPATH": _pythonpath()},
                          capture_output=True, text=True, check=False)
    if not results.exists():
        raise TargetError(f"bench: the run ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    document = json.loads(results.read_text())
    return {f"{case['id']} {case['family']} {case['variant']}".strip(): (case["verdict"], case["reason"])
            for case in document["cases"]}
