# SPDX-License-Identifier: GPL-2.0-or-later
"""The raw client: what it shows, against the lab's target and over an interface of namespaces made here."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import doctor
from harness.connect import NO_ANSWER, OPENED, REFUSED, View, connect
from harness.way import Options
from harness.wire.capture import read_capture
from harness.wire.errors import LinkError, UsageError
from harness.wire.netns import NetworkNamespace
from harness.wire.segment import Flow

pytestmark = pytest.mark.skipif(doctor.missing("lab") is not None, reason=str(doctor.missing("lab")))

HOST = {4: "203.0.113.1", 6: "2001:db8:7::1"}
OWN = {4: "203.0.113.2", 6: "2001:db8:7::2"}
UNUSED = {4: "203.0.113.77", 6: "2001:db8:7::77"}
BEHIND = {4: "198.51.100.9", 6: "2001:db8:9::9"}
PORT = 8080

Play = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Plays a connection; returns the status and the lines, those of segments without their times and ports."""

    def call(host: str, port: int = PORT, **options: object) -> tuple[int, list[str]]:
        said: list[str] = []
        status = connect(Options(host=host, port=port, capture=str(tmp_path / "connect.pcapng"), **options),  # type: ignore[arg-type]
                         said.append)
        assert all(re.match(r"\d+\.\d{6}  | {10}", line) for line in said)
        return status, [line.split("  ", 2)[-1].strip() for line in said]

    return call


# -- the lab's target ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["target", "192.0.2.1", "target6", "2001:db8:0::1"])
def test_refused(play: Play, host: str, tmp_path: Path) -> None:
    status, lines = play(host)
    mss = 1440 if "6" in host or ":" in host else 1460
    assert status == REFUSED
    assert lines == [f"[SYN] Seq=0 Win=65535 Len=0 MSS={mss}", "[RST, ACK] Seq=0 Ack=1 Win=0 Len=0", "refused",
                     f"capture: {tmp_path / 'connect.pcapng'}"]
    frames = read_capture(tmp_path / "connect.pcapng")
    assert [frame.outgoing for frame, _ in frames] == [True, False]


def test_the_whole_exchange(play: Play) -> None:
    status, lines = play("target", listen=True, seq=2**32 - 1, window=4000, mss=1000, text=r"a\r\n\x41", wait_s=0.05)
    assert status == OPENED
    shown = [re.sub(r" Win=\d+", "", line) if "64" in line else line for line in lines[:-1]]
    # On a busy machine the target may acknowledge our FIN before its application has closed.
    assert [line for line in shown if line != "[ACK] Seq=5 Ack=6 Len=0"] == [
        "[SYN] Seq=0 Win=4000 Len=0 MSS=1000",
        "[SYN, ACK] Seq=0 Ack=1 Len=0 MSS=1460",
        "[ACK] Seq=1 Ack=1 Win=4000 Len=0",
        "[PSH, ACK] Seq=1 Ack=1 Win=4000 Len=4",
        "[ACK] Seq=1 Ack=5 Len=0",
        "[PSH, ACK] Seq=1 Ack=5 Len=4",
        "[ACK] Seq=5 Ack=5 Win=4000 Len=0",
        "[FIN, ACK] Seq=5 Ack=5 Win=4000 Len=0",
        "[FIN, ACK] Seq=5 Ack=6 Len=0",
        "[ACK] Seq=6 Ack=6 Win=4000 Len=0",
        "4 octets received",
    ]


@pytest.mark.parametrize(("close", "last"), [("rst", "[RST, ACK] Seq=1 Ack=1 Win=65535 Len=0"),
                                             ("none", "[ACK] Seq=1 Ack=1 Win=65535 Len=0")])
def test_other_ends(play: Play, close: str, last: str) -> None:
    status, lines = play("target", listen=True, close=close, wait_s=0, mss=0)
    assert status == OPENED
    assert lines[0] == "[SYN] Seq=0 Win=65535 Len=0"
    assert lines[-2] == last


@pytest.mark.parametrize(("options", "message"), [
    ({"host": "203.0.113.5"}, "HOST 203.0.113.5: not the lab's target (target, target6, 192.0.2.1, 2001:db8::1)"),
    ({"interface": "lo"}, "--interface: goes with --source"),
    ({"source": "192.0.2.9"}, "--source: goes with --interface"),
    ({"interface": "lo", "source": "192.0.2.9", "listen": True}, "--listen: only the lab's own target"),
    ({"text": "\\x4"}, "--send '\\\\x4': truncated"),
    ({"interface": "none0", "source": "192.0.2.9"}, "--interface none0: no such interface; there are"),
    ({"interface": "lo", "source": "192.0.2"}, "--source 192.0.2: no IPv4 or IPv6 address"),
    ({"interface": "lo", "source": "224.0.0.1"}, "--source 224.0.0.1: not an address that a host can have"),
    ({"interface": "lo", "source": "2001:db8::9", "host": "192.0.2.5"}, "HOST 192.0.2.5: "),
])
def test_what_cannot_be_asked(play: Play, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        play(**{"host": "target", **options})  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_capture_that_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="--capture /proc/none/x: cannot be written"):
        connect(Options(host="target", port=1, capture="/proc/none/x"), print)


# -- over an interface -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[NetworkNamespace, NetworkNamespace]]:
    """Two hosts on one link: `near`, where the client runs, and `far`, which has an address behind itself too."""
    from pyroute2.iproute.linux import IPRoute

    near, far = NetworkNamespace(), NetworkNamespace()
    with near.entered():
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        with IPRoute() as route:
            route.link("add", ifname="near", kind="veth", peer={"ifname": "far", "net_ns_fd": far.descriptor})
    for namespace, name, addresses in ((near, "near", OWN), (far, "far", HOST)):
        with namespace.entered(), IPRoute() as route:
            index, loopback = route.link_lookup(ifname=name)[0], route.link_lookup(ifname="lo")[0]
            route.link("set", index=loopback, state="up")
            route.link("set", index=index, state="up")
            for version, family, length, whole in ((4, socket.AF_INET, 24, 32), (6, socket.AF_INET6, 64, 128)):
                flags = {"flags": 0x02} if version == 6 else {}
                route.addr("add", index=index, family=family, address=addresses[version], prefixlen=length, **flags)
                if name == "far":
                    route.addr("add", index=loopback, family=family, address=BEHIND[version], prefixlen=whole, **flags)
                else:
                    route.route("add", family=family, dst="default", gateway=HOST[version])
    yield near, far
    near.close()
    far.close()


@contextlib.contextmanager
def server(far: NetworkNamespace, address: str) -> Iterator[None]:
    """A host that takes one connection, greets, and closes when the other side does."""
    with far.entered():
        listener = socket.create_server((address, PORT), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.settimeout(5)

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.sendall(b"hello")
            while connection.recv(100):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.close()
        thread.join()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("place", [HOST, BEHIND], ids=["on-link", "behind-a-gateway"])
def test_a_host_on_the_network(network: tuple[NetworkNamespace, NetworkNamespace], play: Play, version: int,
                               place: dict[int, str]) -> None:
    near, far = network
    with server(far, place[version]), near.entered():
        status, lines = play(place[version], interface="near", source=UNUSED[version], wait_s=0.1)
    assert status == OPENED
    shown = [re.sub(r" Win=\d+.*", "", line) for line in lines]
    # A busy host may acknowledge our FIN before its application has closed.
    assert [line for line in shown[:-1] if line != "[ACK] Seq=6 Ack=2"] == [
        "[SYN] Seq=0", "[SYN, ACK] Seq=0 Ack=1", "[ACK] Seq=1 Ack=1", "[PSH, ACK] Seq=1 Ack=1", "[ACK] Seq=1 Ack=6",
        "[FIN, ACK] Seq=1 Ack=6", "[FIN, ACK] Seq=6 Ack=2", "[ACK] Seq=2 Ack=7", "5 octets received"]


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_that_somebody_has(network: tuple[NetworkNamespace, NetworkNamespace], play: Play,
                                     version: int) -> None:
    near, _ = network
    with near.entered():
        with pytest.raises(UsageError, match=r"this host owns it \(on near\)"):
            play(HOST[version], interface="near", source=OWN[version])
        with pytest.raises(UsageError, match=r"has it already; allowed: an address that nobody has"):
            play(HOST[version], interface="near", source=HOST[version])
        with pytest.raises(UsageError, match="is this machine"):
            play(OWN[version], interface="near", source=UNUSED[version])


def test_nobody_there(network: tuple[NetworkNamespace, NetworkNamespace], play: Play) -> None:
    near, _ = network
    with near.entered(), pytest.raises(LinkError, match=r"nobody answers ARP for the next hop 203\.0\.113\.200"):
        play("203.0.113.200", interface="near", source=UNUSED[4])


def test_no_route(network: tuple[NetworkNamespace, NetworkNamespace], play: Play) -> None:
    _, far = network
    with far.entered(), pytest.raises(UsageError, match="no route by far"):
        play("2001:db8:aaaa::1", interface="far", source="2001:db8:7::78")


def test_no_answer(network: tuple[NetworkNamespace, NetworkNamespace], play: Play,
                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.connect._ANSWER_S", 0.2)
    near, _ = network
    with near.entered():
        # The far end forwards nothing, so an address behind it that nobody has is silence.
        status, lines = play("198.51.100.10", interface="near", source=UNUSED[4])
    assert status == NO_ANSWER
    assert lines[1] == "no answer in 0.2 s"


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_options_and_scaled_windows_are_shown_as_wireshark_does() -> None:
    from harness.wire.codec import encode
    from harness.wire.frame import Frame
    from harness.wire.segment import ACK, SYN, Kind, Option, Segment

    flow = Flow(local=bytes(4), local_port=1, target=bytes((1, 1, 1, 1)), target_port=2)
    back = Flow(local=flow.target, local_port=2, target=flow.local, target_port=1)
    offer = (Option.of(Kind.MSS, b"\x05\xb4"), Option.of(Kind.SACK_PERMITTED),
             Option.of(Kind.TIMESTAMPS, bytes(7) + b"\1"), Option.of(Kind.NOP), Option.of(Kind.WINDOW_SCALE, b"\x07"))
    said: list[str] = []
    view = View(flow, said.append)
    segments = [(Segment(flags=SYN, seq=100, options=offer), flow),
                (Segment(flags=SYN | ACK, seq=300, ack=101, window=10, options=offer), back),
                (Segment(flags=ACK, seq=301, ack=101, window=10), back)]
    view.add([Frame(data=bytes(14) + encode(segment, way), stamp_ns=at, outgoing=way is flow)
              for at, (segment, way) in enumerate(segments)])
    view.flush()
    assert [line.split("  ")[2] for line in said] == [
        "[SYN] Seq=0 Win=65535 Len=0 MSS=1460 SACK_PERM TSval=0 TSecr=1 WS=128",
        "[SYN, ACK] Seq=0 Ack=1 Win=10 Len=0 MSS=1460 SACK_PERM TSval=0 TSecr=1 WS=128",
        "[ACK] Seq=1 Ack=1 Win=1280 Len=0"]
