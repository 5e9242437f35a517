# SPDX-License-Identifier: GPL-2.0-or-later
"""Says which packages there are: the one thing of the wheel that pyproject.toml cannot say.

The conformance suite stands in `cases/` of the checkout, next to the harness; a wheel carries it as `harness._cases`.
So it does the kit of `sdk/`, as `harness._sdk`, since the adapters that tcpqual builds are made with it.
"""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["harness", "harness.*"]), "harness._cases", "harness._sdk"],
    package_dir={"harness._cases": "cases", "harness._sdk": "sdk"},
)
