# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of QEMU's two ways of running a guest's code works here: KVM, or its own translator (TCG).

That there is a /dev/kvm says nothing: on some machines a guest crawls with it, or ends. So it is tried once, a boot to
where the agent speaks, and what came of it is kept until the machine itself boots anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...wire.errors import TargetError
from .images import image_lock, images_folder
from .machine import KVM, TCG, Accelerator

LIMIT_S: Final = 5.0
"""A boot with KVM takes about one second where it works."""
_DEVICE: Final = "/dev/kvm"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def accelerator(boot: Callable[[Accelerator, float], None]) -> Accelerator:
    """What to run guests with. `boot` boots one and raises TargetError if its agent has not spoken by then."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return TCG
    with image_lock("kvm"):
        works = _known()
        if works is None:
            try:
                boot(KVM, LIMIT_S)
                works = True
            except TargetError:
                works = False
            _file().write_text(json.dumps({"boot": _this_boot(), "works": works}), encoding="utf-8")
    return KVM if works else TCG


def known_accelerator() -> str:
    """What is known of it without trying, for people to read."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "TCG, there is no KVM to be had"
    return {True: "KVM", False: "TCG, KVM was tried and does not work here", None: "KVM is not tried yet"}[_known()]


def _file() -> Path:
    return images_folder() / "kvm.json"


def _this_boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _known() -> bool | None:
    try:
        record: Any = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("boot") != _this_boot():
        return None
    return record.get("works") if isinstance(record.get("works"), bool) else None
