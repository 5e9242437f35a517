# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes in, bytes out: segments, their codec and notation, clocks, links and captures."""
