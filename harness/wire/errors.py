# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors that are ours or the case author's, never the target's (DESIGN rule 9).

What the target does wrong is a `harness.lower.verdict.Mismatch`; nothing here is.
"""

from __future__ import annotations


class HarnessError(Exception):
    """Base of every error that says nothing about the target's conformance."""


class LinkError(HarnessError):
    """The path to the target failed: a socket, an interface, a right that is missing."""


class ScriptError(HarnessError):
    """A case or script says something that cannot be understood or sent."""


class TargetError(HarnessError):
    """The target could not be made, reached or driven: a lab, a profile, an upper tester."""


class UsageError(HarnessError):
    """The user named something that does not exist or is malformed; one line, exit status 2."""
