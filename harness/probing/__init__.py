# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures a target that nobody has described yet, and writes the first profile of it."""
