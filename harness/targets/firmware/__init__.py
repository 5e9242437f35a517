# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot firmware that opens connections: iPXE in a virtual machine, driven by its keyboard and read off its screen."""
