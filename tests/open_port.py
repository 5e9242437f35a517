# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device may have behind an open port: `open_port.py discard PORT`, for as long as it is not ended.

It listens on every address of both families and knows nothing of tests. `discard` reads what it is sent and closes when
the other side has (RFC 863); `holds` never closes.
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


async def main(application: str, port: int) -> None:
    """Serve for good."""
    server = await asyncio.start_server({"discard": discard, "holds": holds}[application], port=port,
                                        backlog=_BACKLOG)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
