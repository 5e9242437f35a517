# SPDX-License-Identifier: GPL-2.0-or-later
"""What a link carries: one Ethernet frame and when it passed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One Ethernet frame as the link saw it.

    `stamp_ns` is an instant of the target's clock: nanoseconds since the lab began. `outgoing` is True for what the
    injector sent. `offloaded` says that the kernel had not yet computed the transport checksum when it handed the frame
    over (PACKET_AUXDATA's TP_STATUS_CSUMNOTREADY), so that a wrong one is no fault of the target.
    """

    data: bytes
    stamp_ns: int
    outgoing: bool = False
    offloaded: bool = False
