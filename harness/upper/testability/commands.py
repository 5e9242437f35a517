# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `tcpqual testability-server`. Nothing but click is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from ...wire.errors import UsageError

_SERVER: Final = "python/tcpqual_testability_server.py"


@click.command("testability-server", short_help="Drive this machine by AUTOSAR's testability protocol.")
@click.option("--bind", metavar="ADDR:PORT", required=True,
              help="The one address and port to listen on; an IPv6 address in brackets.")
@click.option("--udp", "transport", flag_value="udp", default="udp", help="Messages in datagrams. [default]")
@click.option("--tcp", "transport", flag_value="tcp", help="Messages over a connection.")
@click.option("--protocol", type=click.Choice(["1.1", "1.2"]), default="1.2", show_default=True,
              help="The version to speak.")
@click.option("--service", metavar="ID", default="0x0105", show_default=True, help="The service id.")
@click.option("--tester", metavar="ADDR", help="The only address that is answered. [default: any]")
@click.option("--end-event", is_flag=True,
              help="Tell the end of a stream by an event without octets, which the document does not know.")
def testability_server(bind: str, transport: str, protocol: str, service: str, tester: str | None,
                       end_event: bool) -> int:
    """Serve testers that speak the AUTOSAR testability protocol, until interrupted.

    The protocol has no authentication: serve on an address of a test network alone. The server is one file, which runs
    without tcpqual as well: sdk/python/tcpqual_testability_server.py.

    Exit status: 0 ended by a signal, 2 usage, 3 the address cannot be had.
    """
    from ...kit import kit_file

    module = _load(kit_file(_SERVER))
    try:
        module.endpoint(bind)
        int(service, 0)
    except ValueError as error:
        raise UsageError(f"--bind {bind}, --service {service}: {error}; ADDR:PORT and a number are wanted") from None
    words = ["--bind", bind, f"--{transport}", "--protocol", protocol, "--service", service]
    words += ["--tester", tester] if tester else []
    words += ["--end-event"] if end_event else []
    return int(module.main(words))


def _load(file: Path) -> Any:
    """A file of the sdk as a module, which it is of no package."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
