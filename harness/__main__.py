# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m harness` is `tcpqual`."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
