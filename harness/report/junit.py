# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case leaves in JUnit XML: properties for pytest's `user_properties`, which `xunit1` writes out."""

from __future__ import annotations

from .record import Record
from .rules import ids


def properties(record: Record) -> list[tuple[str, str]]:
    """Name and value of each property: one entry a requirement, behaviour and TC8 id, then family, variant, verdict.

    A reason is added where the verdict is not a pass, and the capture's path where there is one.
    """
    found = [("requirement", id) for id in ids(record)]
    found += [("behaviour", id) for id in record["behaviours"]]
    found += [("tc8", id) for id in record["tc8"]]
    found += [("case", record["id"]), ("family", record["family"])]
    if record["variant"]:
        found.append(("variant", record["variant"]))
    found.append(("verdict", record["verdict"]))
    if record["verdict"] != "pass" and record["reason"]:
        found.append(("reason", record["reason"]))
    if record["capture"]:
        found.append(("capture", str(record["capture"])))
    return found
