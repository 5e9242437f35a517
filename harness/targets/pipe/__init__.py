# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipe targets: a stack that is a process of ours and speaks the pipe protocol, in stepped time.

`docs/reference/pipe-protocol.md` has the protocol octet by octet, `sdk/` what a vendor builds his end from.
"""
