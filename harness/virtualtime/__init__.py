# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: the suite in a kernel whose clock skips idle time, and how such a kernel is built."""
