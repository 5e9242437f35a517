# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit: what a target said is changed on its way to the injector, and the suite has to notice."""
