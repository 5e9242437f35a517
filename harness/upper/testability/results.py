# SPDX-License-Identifier: GPL-2.0-or-later
"""Result ids: their names, which differ between the versions at one place, and the errno names that they mean."""

from __future__ import annotations

from typing import Final

E_OK: Final = 0x00
E_NOK: Final = 0x01
E_NTF: Final = 0xFF
E_PEN: Final = 0xFE

_COMMON: Final = {
    E_OK: "E_OK", E_NOK: "E_NOK", E_NTF: "E_NTF", E_PEN: "E_PEN", 0xFD: "E_ISB", 0xEF: "E_ISD", 0xEE: "E_UCS",
    0xED: "E_UBS", 0xEB: "E_TCP_PNA", 0xEA: "E_TCP_FSU", 0xE9: "E_TCP_ILP", 0xE8: "E_TCP_INR", 0xE7: "E_TCP_CAE",
    0xE6: "E_TCP_COC", 0xE5: "E_TCP_CNE", 0xE4: "E_TCP_CRE", 0xE3: "E_TCP_CAT", 0xE2: "E_TCP_COR",
}
RESULTS: Final[dict[str, dict[int, str]]] = {
    "1.1": _COMMON | {0xEC: "E_INV"},
    "1.2": _COMMON | {0xFC: "E_INV", 0xEC: "E_IIF"},
}
"""By version of the protocol: the names of result ids."""
MEANINGS: Final = {
    "E_OK": "done", "E_NOK": "not done", "E_NTF": "primitive not found", "E_PEN": "pending",
    "E_ISB": "insufficient buffer size", "E_INV": "invalid input", "E_ISD": "invalid socket id",
    "E_UCS": "cannot create a socket, or none is free", "E_UBS": "cannot bind: port taken",
    "E_IIF": "invalid interface", "E_TCP_PNA": "precedence not allowed", "E_TCP_FSU": "foreign socket unspecified",
    "E_TCP_ILP": "connection illegal for this process", "E_TCP_INR": "insufficient resources",
    "E_TCP_CAE": "connection already exists", "E_TCP_COC": "connection closing",
    "E_TCP_CNE": "connection does not exist", "E_TCP_CRE": "connection reset",
    "E_TCP_CAT": "connection aborted due to user time-out", "E_TCP_COR": "connection refused",
}
ERRNO: Final = {
    "E_OK": "", "E_ISB": "ENOBUFS", "E_INV": "EINVAL", "E_ISD": "EBADF", "E_UCS": "ENOBUFS", "E_UBS": "EADDRINUSE",
    "E_IIF": "ENODEV", "E_TCP_PNA": "EACCES", "E_TCP_FSU": "EDESTADDRREQ", "E_TCP_ILP": "EACCES",
    "E_TCP_INR": "ENOBUFS", "E_TCP_CAE": "EISCONN", "E_TCP_COC": "EPIPE", "E_TCP_CNE": "ENOTCONN",
    "E_TCP_CRE": "ECONNRESET", "E_TCP_CAT": "ETIMEDOUT", "E_TCP_COR": "ECONNREFUSED",
}
"""What an application would be told. What is not here says nothing of the kind."""


def name_of(result: int, version: str) -> str:
    """The name of a result id in this version (`"1.1"`, `"1.2"`); a number where it has none."""
    return RESULTS[version].get(result, f"result 0x{result:02X}")


def described(result: int, version: str) -> str:
    """The same with what it means."""
    name = name_of(result, version)
    return f"{name} ({MEANINGS[name]})" if name in MEANINGS else name
