# SPDX-License-Identifier: GPL-2.0-or-later
"""A pytest plugin for tests alone: the target `linux` is driven by an agent in its namespace, named by TCPQUAL_AGENT.

Runs with it are compared with runs without: the wire is the same, and so have the verdicts to be. Who drove is written
into the file TCPQUAL_AGENT_LOG.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from agents import over_pair

from harness.targets import namespace
from harness.targets.base import Target
from harness.targets.profile import Profile
from harness.upper.agent import Agent, AgentUpperTester

make_linux = namespace.make_linux


@dataclass(kw_only=True)
class AgentTarget(Target):
    """Begins each case with an agent that lives."""

    agent: AgentUpperTester

    def come_to_rest(self, name: str) -> None:
        self.agent.revive()
        super().come_to_rest(name)


def make_by_agent(profile: Profile, *, worker: int = 0, skipping: bool = False) -> Target:
    lab_of: list[namespace.Lab] = []

    class Lab(namespace.Lab):
        def __init__(self) -> None:
            super().__init__()
            lab_of.append(self)

    ordinary, namespace.Lab = namespace.Lab, Lab  # type: ignore[misc]
    try:
        made = make_linux(profile, worker=worker, skipping=skipping)
    finally:
        namespace.Lab = ordinary  # type: ignore[misc]
    name = os.environ["TCPQUAL_AGENT"]
    upper = AgentUpperTester(Agent(lambda: over_pair(name, inside=lab_of[0].target_side.entered)))
    with open(os.environ["TCPQUAL_AGENT_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{upper.agent.name}\n")
    return AgentTarget(**{field: getattr(made, field) for field in Target.__dataclass_fields__} |
                       {"upper": upper, "closers": [*made.closers, upper.close_driver]}, agent=upper)


if os.environ.get("TCPQUAL_AGENT"):
    namespace.make_linux = make_by_agent
