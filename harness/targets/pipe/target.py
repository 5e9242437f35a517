# SPDX-License-Identifier: GPL-2.0-or-later
"""A pipe target: process, link and upper tester put together, and what its hello says of its profile."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...lower.injector import Injector
from ...wire.clock import CLOCK_STEP_NS, SECOND
from ...wire.errors import TargetError, UsageError
from ..base import PHANTOM, PREFIX, TARGET, Target, packed, phantom_neighbour, timing_of
from ..profile import Profile
from ..vocabulary import FEATURES, names, suggestion
from .conversation import Conversation
from .link import PipeLink
from .process import Process
from .protocol import VERSION, Greeting, Hello
from .upper import PipeUpperTester


@dataclass(kw_only=True)
class PipeTarget(Target):
    """A target that begins each case with a process that lives; `revive` sees to it.

    With `fresh` in its profile each case has a process of its own: `renew` starts it.
    """

    revive: Callable[[], None]
    renew: Callable[[], None]

    def come_to_rest(self, name: str) -> None:
        """Start a process, if the last case has ended the one before or each has its own. Raises TargetError.

        One of its own has run for a second and a part that only the case's `name` chooses, so that its timers stand
        anywhere, and as they do where the case is played alone.
        """
        if not self.profile.fresh:
            self.revive()
            super().come_to_rest(name)
            return
        self.renew()
        begins = self.clock.now() + SECOND + zlib.crc32(name.encode()) % (SECOND // CLOCK_STEP_NS) * CLOCK_STEP_NS
        while self.injector.wait(begins) is not None:
            pass


def make(profile: Profile, spec: str, *, seed: int = 0, worker: int = 0) -> PipeTarget:
    """The stack that the profile's command starts. Raises TargetError if it does not come to a hello."""
    conversation = converse(profile, seed)
    try:
        known = introduced(profile, conversation.hello)
    except TargetError:
        conversation.close()
        raise
    link = PipeLink(conversation)
    injector = Injector(link=link, clock=link.clock, neighbour=phantom_neighbour())
    return PipeTarget(name=spec, kind="pipe", version=conversation.hello.stack_version, profile=known,
                      clock=link.clock, link=link, upper=PipeUpperTester(conversation, now=link.clock.now),
                      injector=injector, timing=timing_of(known, 0), revive=link.revive, renew=link.renew)


def converse(profile: Profile, seed: int = 0) -> Conversation:
    """The conversation with the process that a profile names, after its hello. Raises UsageError, TargetError."""
    command = _command(profile)
    folder = (Path(profile.file).parent / profile.cwd).absolute()

    def start() -> Process:
        # An adapter of ours whose process is started for each case sees to its own end.
        return Process(command, cwd=folder, limit_s=profile.answer_limit_s, name=profile.name,
                       binds_itself=bool(profile.stack) and profile.fresh)

    return Conversation(start, greeting(seed))


def _command(profile: Profile) -> tuple[str, ...]:
    """What starts the stack. Raises UsageError if it is to be built first."""
    if profile.stack:
        from ..stacks.store import find

        return (str(find(profile.stack).program),)
    if not profile.command:
        raise UsageError(f"{profile.file}: command: missing; a profile of kind 'pipe' names the program to start")
    return profile.command


def greeting(seed: int) -> Greeting:
    """What each process is told: its addresses are the lab's, and all that is not on its link goes to the injector."""
    return Greeting(version=VERSION, seed=seed % (1 << 64),
                    ipv4=packed(TARGET["ipv4"]), ipv4_prefix=PREFIX["ipv4"], ipv4_gateway=packed(PHANTOM["ipv4"]),
                    ipv6=packed(TARGET["ipv6"]), ipv6_prefix=PREFIX["ipv6"], ipv6_gateway=packed(PHANTOM["ipv6"]))


def introduced(profile: Profile, hello: Hello) -> Profile:
    """The profile of the very stack that said hello: its version, its name where the profile has no title, and no more
    than both of them claim.

    Raises TargetError for a feature that there is none of.
    """
    allowed = names(FEATURES)
    for name in hello.features:
        if name not in allowed:
            raise TargetError(f"{profile.name}: says hello with the feature {name!r}: no such feature; "
                              f"{suggestion(name, allowed)}")
    spoken = {"ipv4": hello.ipv4, "ipv6": hello.ipv6}
    features = {name: claimed and spoken.get(name, not hello.features or name in hello.features)
                for name, claimed in profile.features.items()}
    return replace(profile, features=features, title=profile.title or hello.name).with_version(hello.stack_version)


def version(profile: Profile, spec: str) -> str:
    """The version that the stack says it is; "" if it does not come to say so."""
    try:
        conversation = converse(profile)
    except TargetError:
        return ""
    conversation.close()
    return conversation.hello.stack_version
