# SPDX-License-Identifier: GPL-2.0-or-later
"""The agents as tests start them: the C agent built once a session, the Python one as it is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from harness.upper.streams import ByteStream, over_socket

ROOT = Path(__file__).resolve().parent.parent
C_SOURCE = ROOT / "sdk" / "c" / "tcpqual_agent.c"
PYTHON_SOURCE = ROOT / "sdk" / "python" / "tcpqual_agent.py"
CC = shutil.which("cc")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-O1", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all")
NAMES = ("c", "python") if CC else ("python",)


@cache
def built(*flags: str) -> Path:
    """The C agent, built with these flags, once for all processes."""
    assert CC is not None
    start = [CC, *(flags or FLAGS)]
    key = hashlib.sha256(C_SOURCE.read_bytes() + repr(start).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tcpqual" / "test-agents"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / key
    with open(folder / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".new")
            subprocess.run([*start, "-o", str(unfinished), str(C_SOURCE)], check=True)
            unfinished.rename(program)
    return program


def command(name: str) -> list[str]:
    """How to start an agent: `c`, `python`, or `elsewhere`, the one in C as it is where nothing is known of Linux."""
    if name == "elsewhere":
        return [str(built("-std=c99", "-U__linux__", "-D_GNU_SOURCE"))]
    # Nothing but the interpreter's own library, as on a device; it also starts in a third of the time.
    return [str(built())] if name == "c" else [sys.executable, "-I", "-S", str(PYTHON_SOURCE)]


def host_agent(name: str, key: Path, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """An agent that listens on this machine's loopback address, and its port."""
    process = subprocess.Popen([*command(name), "--listen", "127.0.0.1:0", "--key", str(key), *words],
                               stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.readline().decode()
    assert said.startswith("tcpqual_agent: listening on 127.0.0.1:"), said
    return process, int(said.rpartition(":")[2])


def over_pair(name: str, *words: str, inside: Callable[[], AbstractContextManager[object]] | None = None,
              processes: list[subprocess.Popen[bytes]] | None = None) -> ByteStream:
    """An agent on one end of a pair of sockets, which are its standard input and output."""
    ours, theirs = socket.socketpair()
    with theirs:
        start = [*command(name), "--stdio", *words]
        if inside is None:
            process = subprocess.Popen(start, stdin=theirs, stdout=theirs)
        else:
            with inside():
                process = subprocess.Popen(start, stdin=theirs, stdout=theirs)
    if processes is not None:
        processes.append(process)
    return over_socket(ours, f"the {name} agent")
