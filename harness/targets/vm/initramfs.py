# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest finds when its kernel has booted: the first process, the agent, modules, and what to do with them.

All that is particular to a guest (its addresses, its sysctls) stands in the file `setup`, a row of orders that
`init.c` obeys; so neither it nor the agent knows anything of the lab.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..base import FAMILIES, FORGED, PHANTOM, PHANTOM_MAC, PREFIX, TARGET
from ..namespace import MTU, OFFLOADS

NETWORK: Final = "eth0"
PORT: Final = "tcpqual"
"""The name of the virtio port that is the agent's standard input and output."""
_FILE: Final = 0o100644
_PROGRAM: Final = 0o100755
_FOLDER: Final = 0o40755
_MAGIC: Final = b"070701"
_LAST: Final = "TRAILER!!!"
_REQUEST_ACK: Final = 0x5
_CREATE: Final = 0x600
_UP: Final = 0x1
_PERMANENT: Final = 0x80
_NO_DETECTION: Final = 0x02
_LOOPBACK: Final = 1

Order = tuple[str, bytes]


def archive(entries: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive of the form that kernels unpack (newc): each entry its path, its mode and its octets."""
    out = bytearray()
    for number, (path, mode, octets) in enumerate((*entries, (_LAST, 0, b"")), start=1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(octets), 0, 0, 0, 0, len(name), 0)
        out += _MAGIC + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + octets
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(*, init: Path, programs: Sequence[Path], modules: Sequence[Path], orders: Sequence[Order]) -> bytes:
    """The archive of a guest; `programs` are what the orders may start."""
    folders = [(name, _FOLDER, b"") for name in ("dev", "proc", "sys", "modules")]
    return archive([
        *folders, ("init", _PROGRAM, init.read_bytes()),
        *((path.name, _PROGRAM, path.read_bytes()) for path in programs),
        *((f"modules/{path.name}", _FILE, path.read_bytes()) for path in modules),
        ("setup", _FILE, b"".join(order.encode() + struct.pack("<I", len(text)) + text for order, text in orders))])


def orders_for(*, modules: Sequence[Path], quiet: Mapping[str, str], sysctls: Mapping[str, str],
               command: Sequence[str]) -> list[Order]:
    """What the first process has to do: modules, sysctls, the lab's addresses; at last it becomes the agent.

    `quiet` are sysctls that have to be written before the network is up.
    """
    # What is the default when the network appears is too late where its driver is built in: so it is set there as well.
    own = {name.replace(".default.", f".{NETWORK}."): value for name, value in quiet.items() if ".default." in name}
    return [
        *(_sysctl(name, value) for name, value in quiet.items()),
        *(("L", f"/modules/{path.name}".encode()) for path in modules),
        ("N", _link(0, MTU, up=False)),
        *(("E", struct.pack("=II", command, 0)) for command in OFFLOADS.values()),
        *(_sysctl(name, value) for name, value in {**own, **sysctls}.items()),
        ("N", _link(_LOOPBACK, 0, up=True)), ("N", _link(0, MTU, up=True)),
        *(("N", message) for family in FAMILIES for message in _addresses(family)),
        ("P", PORT.encode()),
        ("X", b"\0".join(word.encode() for word in command) + b"\0"),
    ]


def _sysctl(name: str, value: str) -> Order:
    return "W", f"/proc/sys/{name.replace('.', '/')}".encode() + b"\0" + value.encode()


# -- requests to the routing socket; an index of 0 becomes that of the network ----------------------------------------

def _encoded(message: Any, kind: int, flags: int) -> bytes:
    message["header"]["type"], message["header"]["flags"] = kind, _REQUEST_ACK | flags
    message.encode()
    return bytes(message.data)


def _link(index: int, mtu: int, *, up: bool) -> bytes:
    from pyroute2.netlink.rtnl import RTM_NEWLINK
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    message = ifinfmsg()
    message["index"] = index
    message["flags"] = message["change"] = _UP if up else 0
    message["attrs"] = [("IFLA_MTU", mtu)] if mtu else []
    return _encoded(message, RTM_NEWLINK, 0)


def _addresses(family: str) -> Iterator[bytes]:
    """The target's address, its neighbour for good, and the way to where forged segments come from."""
    from pyroute2.netlink.rtnl import RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWROUTE
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    number = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
    message: Any = ifaddrmsg()
    message |= {"family": number, "prefixlen": PREFIX[family]}
    message["flags"] = _NO_DETECTION if family == "ipv6" else 0
    message["attrs"] = [("IFA_ADDRESS", TARGET[family]), ("IFA_LOCAL", TARGET[family])]
    yield _encoded(message, RTM_NEWADDR, _CREATE)
    message = ndmsg()
    message |= {"family": number, "state": _PERMANENT}
    message["attrs"] = [("NDA_DST", PHANTOM[family]), ("NDA_LLADDR", PHANTOM_MAC.hex(":"))]
    yield _encoded(message, RTM_NEWNEIGH, _CREATE)
    network, _, length = FORGED[family].partition("/")
    message = rtmsg()
    # The main table, of a static route, to everywhere, a unicast one.
    message |= {"family": number, "dst_len": int(length), "table": 254, "proto": 4, "scope": 0, "type": 1}
    message["attrs"] = [("RTA_DST", network), ("RTA_GATEWAY", PHANTOM[family])]
    yield _encoded(message, RTM_NEWROUTE, _CREATE)
