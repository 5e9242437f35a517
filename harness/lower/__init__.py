# SPDX-License-Identifier: GPL-2.0-or-later
"""The injector: it plays the other end of the target's connections, matches the answers and finds the verdict."""
