# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets that are machines of their own, reached over an interface of this one."""
