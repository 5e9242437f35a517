# SPDX-License-Identifier: GPL-2.0-or-later
"""The AUTOSAR testability protocol (TPSP, AUTOSAR document 778, versions 1.1.0 and 1.2.0) as an upper tester.

`parameters` and `message` have the octets, `primitives` and `results` the tables, `channel` the exchange over UDP or
TCP, `client` the calls by name, `upper` what cases ask, `settings` what a target's file says.
"""
