# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers of a target's socket API: what ISO/IEC 9646 calls the upper tester."""
