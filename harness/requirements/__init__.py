# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules that a case can check: one TOML file an RFC, and their loader."""

from __future__ import annotations

from .catalogue import Catalogue, Level, Requirement, Row, load

__all__ = ["Catalogue", "Level", "Requirement", "Row", "load"]
