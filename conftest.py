# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the checkout's own pytest load the plugin, installed or not.

The entry point of an installed tcpqual has the same name, so that pytest registers the plugin once.
"""

pytest_plugins = ["harness.plugin"]
