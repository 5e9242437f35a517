# SPDX-License-Identifier: GPL-2.0-or-later
"""Anonymous network namespaces, for root and for an ordinary user."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.wire import netns
from harness.wire.errors import LinkError
from harness.wire.netns import NetworkNamespace, can_make_namespaces, enter_user_namespace

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
_DROP = """
import ctypes
from harness.wire.errors import LinkError
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""
"""Gives up every capability, so that root is as poor as anybody."""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def as_nobody(act: Callable[[], str]) -> str:
    """What `act` returns (or its error) in a child of an ordinary user, who has no rights but those of everybody."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "died"
        try:
            if os.geteuid() == 0 and not in_user_namespace():
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is to be ours
            said = act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def in_user_namespace() -> bool:
    """True if these tests run in one already: there is no other user to become."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_namespace_is_entered_and_left(rights):
    home = inode()
    namespace = NetworkNamespace()
    assert inode() == home
    with namespace.entered():
        assert inode() == os.fstat(namespace.descriptor).st_ino != home
        assert interfaces() == ["lo"]
    assert inode() == home
    namespace.close()
    namespace.close()


def test_it_is_left_by_an_error_too_and_may_be_entered_from_another(rights):
    home = inode()
    one, two = NetworkNamespace(), NetworkNamespace()
    with pytest.raises(KeyError), one.entered(), two.entered():
        raise KeyError
    assert inode() == home
    one.close()
    two.close()


def test_a_socket_stays_where_it_was_made(rights):
    namespace = NetworkNamespace()
    with namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock, pytest.raises(OSError, match=r"unreachable|assign"):
        sock.connect(("127.0.0.1", 9))
    namespace.close()


def test_only_the_calling_thread_goes_there(rights):
    namespace, home, seen = NetworkNamespace(), inode(), []
    with namespace.entered():
        thread = threading.Thread(target=lambda: seen.append(os.stat("/proc/self/ns/net").st_ino))
        thread.start()
        thread.join()
    assert inode() == home
    namespace.close()


def test_without_rights_it_is_one_line():
    said = run(_DROP + """
from harness.wire.netns import NetworkNamespace, can_make_namespaces
print(can_make_namespaces())
try:
    NetworkNamespace()
except LinkError as error:
    print(error)
""")
    assert said.splitlines() == ["False", "network namespace: Operation not permitted; needs root or user namespaces "
                                 "(tcpqual doctor)"]


def test_a_user_namespace_gives_the_rights(rights):
    said = run("""
import os, socket
from harness.wire.netns import can_make_namespaces, enter_user_namespace
before = os.geteuid(), os.getegid()
enter_user_namespace()
print(can_make_namespaces(), (os.geteuid(), os.getegid()) == before, *(name for _, name in socket.if_nameindex()))
""")
    assert said == "True True lo"


def test_an_ordinary_user_plays_a_whole_handshake(rights):
    from harness.lower import states
    from harness.lower.application import Application
    from harness.lower.case import Case
    from harness.targets.base import addresses
    from harness.targets.namespace import make_linux
    from harness.targets.registry import parse_spec

    parse_spec("linux")
    pytest.importorskip("pyroute2.iproute.linux")

    def act() -> str:
        before = os.geteuid()
        if not can_make_namespaces():
            enter_user_namespace()
        target = make_linux(parse_spec("linux"))
        for family in ("ipv4", "ipv6"):
            case = Case(name="x", injector=target.injector, upper=target.upper, profile=target.profile,
                        timing=target.timing, addresses=addresses(family), ports=target.ports, requirements={})
            listener = Application(case).listen()
            states.established(case.peer(target_port=listener.port), listener)
            case.finish()
            case.close()
        target.close()
        return f"established as {before}, {os.geteuid()} still"

    user = NOBODY if os.geteuid() == 0 and not in_user_namespace() else os.geteuid()
    assert as_nobody(act) == f"established as {user}, {user} still"


def test_a_process_with_threads_may_not():
    said = run("""
import threading, time
from harness.wire.errors import LinkError
from harness.wire.netns import enter_user_namespace
threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
try:
    enter_user_namespace()
except LinkError as error:
    print(error)
""")
    assert said == ("user namespace: Invalid argument; run as root, or allow user namespaces (tcpqual doctor says how)")


def test_a_user_namespace_without_rights_in_it_is_said(monkeypatch):
    """As where AppArmor takes them away."""
    written: list[str] = []
    monkeypatch.setattr(netns, "_call", lambda *words: None)
    monkeypatch.setattr(netns, "_write", lambda path, text: written.append(path))
    monkeypatch.setattr(netns, "can_make_namespaces", lambda: False)
    with pytest.raises(LinkError, match=r"user namespace: made, but without rights in it \(AppArmor\?\)"):
        enter_user_namespace()
    assert written == ["/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"]
