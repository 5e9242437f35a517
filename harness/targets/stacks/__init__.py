# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks of others that the harness builds and puts behind the pipe: their recipes, and what has been built.

A stack is a package of this package: its recipe, and the adapter between it and the pipe protocol.
"""
