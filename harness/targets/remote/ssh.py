# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent started by the system's `ssh`: its file goes through the connection, and nothing of it stays there."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Final

from ...upper.streams import ByteStream, StreamEnded, over_process, wait, write
from ...wire.errors import TargetError, UsageError
from .device import Ssh

_AGENT: Final = Path("python", "tcpqual_agent.py")
_READ: Final = """\
import os
left, octets = {size}, b""
while left:
    got = os.read(0, left)
    if not got:
        raise SystemExit("tcpqual: the connection ended before the agent had come")
    left -= len(got)
    octets += got
exec(compile(octets, "tcpqual_agent.py", "exec"), {{"__name__": "__main__"}})
"""
"""What the device's Python is told: so many octets of input are the agent, what follows is for it."""


def agent_file() -> Path:
    """The agent in Python: the checkout's, else the one that was installed. Raises UsageError if there is none."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package.parent / "sdk", package / "_sdk"):
        if (folder / _AGENT).is_file():
            return folder / _AGENT
    raise UsageError(f"no {_AGENT.name}: this installation carries no sdk")


def command(where: Ssh, size: int) -> list[str]:
    """The command line: no question is ever asked, and nothing is forwarded."""
    remote = shlex.join([where.python, "-c", _READ.format(size=size), "--stdio"])
    return ["ssh", "-T", "-a", "-x", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(where.answer_limit_s))}",
            "-o", "ClearAllForwardings=yes", *where.options, "--", where.host, remote]


def over_ssh(where: Ssh, folder: Path) -> ByteStream:
    """The agent's standard input and output on the device; options may name files beside the target's, in `folder`.

    Raises TargetError with what ssh said.
    """
    octets = agent_file().read_bytes()
    stream = over_process(["env", f"--chdir={folder}", *command(where, len(octets))], f"ssh {where.host}")
    left, until = memoryview(octets), time.monotonic() + where.answer_limit_s
    try:
        while left:
            left = left[write(stream, left):]
            if left and (rest_s := until - time.monotonic()) > 0:
                wait(stream, writing=True, limit_s=rest_s)
            elif left:
                raise StreamEnded(f"no answer within {where.answer_limit_s:g} s")
    except StreamEnded as ended:
        stream.close()
        raise TargetError(f"ssh {where.host}: {stream.remarks() or ended}") from None
    return stream
