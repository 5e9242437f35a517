# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be qualified: a target is a link, a clock, an upper tester and a profile."""
