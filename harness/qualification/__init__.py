# SPDX-License-Identifier: GPL-2.0-or-later
"""Several targets at once: their matrix, and the bundle of a qualification."""
