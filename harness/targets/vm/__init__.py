# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets `vm:NAME`: an unmodified distribution kernel in a virtual machine that the run boots for itself.

`tcpqual vm fetch` unpacks a kernel (`fetch`, `images`); with a first process and an agent (`programs`, `initramfs`) it
is booted in QEMU (`machine`, `accelerator`), once for each worker of a run (`guest`). Frames go over `link`, the socket
API is the agent's, and `clock` measures how late the guest's timers may have become.

The targets `gated:NAME` are the same kernels on a clock that counts instructions and skips idle time: the guest runs
only in turns (`gate`, `gated_guest`), so that it goes no further than the harness is.
"""

from __future__ import annotations

from typing import Final

KIND: Final = "vm"
GATED: Final = "gated"


def is_vm(spec: str) -> bool:
    """True if a target's spec is of this kind."""
    return spec.partition(":")[0] == KIND


def is_gated(spec: str) -> bool:
    """True if it is a virtual machine whose clock skips idle time."""
    return spec.partition(":")[0] == GATED
