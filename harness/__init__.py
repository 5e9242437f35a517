# SPDX-License-Identifier: GPL-2.0-or-later
"""tcpqual: scripted TCP segments against any stack, asserted on the wire and in the target's state."""

from __future__ import annotations

__version__ = "0.1.0"
