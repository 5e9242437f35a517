# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves behind: results, ladders, failure pages, summaries, one HTML page, Allure and JUnit material.

Everything here is made from *case records* (`harness.report.record`), plain data that goes through JSON unchanged.
"""
