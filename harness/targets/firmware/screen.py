# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands on the screen of a machine in text mode, and what iPXE says there of a download."""

from __future__ import annotations

import re
from typing import Final

ADDRESS: Final = 0xB8000
"""Where a VGA card has its text: a letter and its colour for each place."""

_WIDTH: Final = 80
OCTETS: Final = _WIDTH * 25 * 2

QUESTION: Final = "port:"
"""What the script says when it waits for a port number."""

_ENDED: Final = re.compile(r"(?P<words>[^.]*?) ?\(http://ipxe\.org/(?P<code>[0-9a-f]{8})\)")
_RELEASE: Final = re.compile(r"iPXE (?P<version>\d\S*)")
_ERRORS: Final = {0x0F: "ECONNRESET", 0x4C: "ETIMEDOUT", 0x28: "EHOSTUNREACH", 0x38: "ENETUNREACH", 0x0B: "ECANCELED"}
"""The first octet of iPXE's error numbers, and the errno name of the same meaning."""


def lines(memory: bytes) -> list[str]:
    """The lines on the screen, blank ones left out; what was too long for a row is one line."""
    letters = memory[::2].decode("cp437").replace("\0", " ")
    found: list[str] = []
    goes_on = False
    for at in range(0, len(letters), _WIDTH):
        row = letters[at:at + _WIDTH]
        if goes_on:
            found[-1] += row.rstrip()
        elif row.strip():
            found.append(row.rstrip())
        goes_on = bool(row.strip()) and not row.endswith(" ")
    return found


def release(memory: bytes) -> str:
    """The version of iPXE, "" if it has scrolled away."""
    found = (_RELEASE.match(line) for line in lines(memory))
    return next((match["version"] for match in found if match), "")


def asks(memory: bytes) -> bool:
    """True if the script waits for a port number."""
    shown = lines(memory)
    return bool(shown) and shown[-1].strip() == QUESTION


def failure(memory: bytes, url: str) -> str | None:
    """The errno name of what ended the last download of this URL, "" if it worked, None if it goes on."""
    for line in reversed(lines(memory)):
        if not line.startswith(url):
            continue
        ended = _ENDED.search(line, len(url))
        if ended is not None:
            return _ERRORS.get(int(ended["code"][:2], 16), f"iPXE_{ended['code']}")
        return "" if line.rstrip().endswith("ok") else None
    return None
