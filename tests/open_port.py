# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device may have behind an open port: `open_port.py discard PORT`, for as long as it is not ended.

It listens on every address of both families and knows nothing of tests. `discard` reads what it is sent and closes when
the other side has (RFC 863); `holds` never closes; `echo` sends back what it is sent (RFC 862), and three more do
so badly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_BACKLOG = 4096


async def discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, and close."""
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
    writer.close()


async def holds(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, and stay; only a reset ends it."""
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
        await asyncio.Event().wait()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, and close."""
    with contextlib.suppress(OSError):
        while octets := await reader.read(65536):
            writer.write(octets)
    writer.close()


async def echo_in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, 512 octets at a time."""
    while octets := await reader.read(512):
        writer.write(octets)


_served = asyncio.Lock()


async def echo_one_by_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve whoever has come first, and the next one when that is gone."""
    async with _served:
        await echo(reader, writer)


async def echo_of_others(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back as many octets as come."""
    while octets := await reader.read(65536):
        writer.write(b"?" * len(octets))


APPLICATIONS = {"discard": discard, "holds": holds, "echo": echo, "echo-in-pieces": echo_in_pieces,
                "echo-one-by-one": echo_one_by_one, "echo-of-others": echo_of_others}


async def main(application: str, port: int) -> None:
    """Serve for good."""
    server = await asyncio.start_server(APPLICATIONS[application], port=port, backlog=_BACKLOG)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
