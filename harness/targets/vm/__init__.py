# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets `vm:NAME`: an unmodified distribution kernel in a virtual machine that the run boots for itself.

`tcpqual vm fetch` unpacks a kernel (`fetch`, `images`); with a first process and an agent (`programs`, `initramfs`) it
is booted in QEMU (`machine`, `accelerator`), once for each worker of a run (`guest`). Frames go over `link`, the socket
API is the agent's, and `clock` measures how late the guest's timers may have become.
"""

from __future__ import annotations

from typing import Final

KIND: Final = "vm"


def is_vm(spec: str) -> bool:
    """True if a target's spec is of this kind."""
    return spec.partition(":")[0] == KIND
