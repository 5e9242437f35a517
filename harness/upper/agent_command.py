# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `tcpqual agent`. Nothing but click is imported before it runs."""

from __future__ import annotations

from typing import Final

import click

from ..wire.errors import UsageError

_SOURCES: Final = {"c": "c/tcpqual_agent.c", "python": "python/tcpqual_agent.py"}


@click.command("agent", short_help="Drive this machine's sockets for a tcpqual elsewhere.")
@click.option("--listen", metavar="ADDR:PORT",
              help="Wait for a harness on this one address, an IPv6 address in brackets; needs --key.")
@click.option("--stdio", is_flag=True, help="Speak over standard input and output, as ssh wants it.")
@click.option("--device", metavar="FILE", help="Speak over a character device: virtio-serial, a serial line.")
@click.option("--key", metavar="FILE", help="What the harness has to know: 16 to 4096 octets.")
@click.option("--procfs", is_flag=True, help="States from /proc/net/tcp, also where the kernel has sock_diag.")
@click.option("--source", type=click.Choice(list(_SOURCES)), help="Print the agent's one file, to bring it elsewhere.")
def agent(listen: str | None, stdio: bool, device: str | None, key: str | None, procfs: bool,
          source: str | None) -> int:
    """Make sockets on this machine as a tcpqual elsewhere says, until interrupted.

    One harness at a time is served; the next one ends what the one before has left. The agent is one file, which runs
    without tcpqual as well: `tcpqual agent --source python > tcpqual_agent.py` (Python 3.8, its library alone), or in
    C99 with `--source c`.

    Exit status: 0 its input has ended, 1 the harness did not keep the protocol, 2 usage.
    """
    from ..kit import kit_file

    if source:
        click.echo(kit_file(_SOURCES[source]).read_text(encoding="utf-8"), nl=False)
        return 0
    way = [word for option, value in (("--listen", listen), ("--device", device)) if value for word in (option, value)]
    way += ["--stdio"] if stdio else []
    if (listen is not None) + (device is not None) + stdio != 1:
        raise UsageError("one of --listen ADDR:PORT, --stdio, --device FILE and --source is wanted")
    import runpy

    words = [*way, *(["--key", key] if key else []), *(["--procfs"] if procfs else [])]
    program = runpy.run_path(str(kit_file(_SOURCES["python"])))
    status: int = program["main"](words)
    return status
