# SPDX-License-Identifier: GPL-2.0-or-later
"""Rights and labs for the tests that need a real kernel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from harness.lower.case import Case
from harness.requirements.catalogue import load
from harness.targets.base import Target, addresses
from harness.wire.errors import LinkError
from harness.wire.netns import can_make_namespaces, enter_user_namespace

if TYPE_CHECKING:
    from remote_device import RemoteDevice

pytest_plugins = ["pytester"]

MakeCase = Callable[..., Case]


def pytest_configure(config: pytest.Config) -> None:
    """An ordinary user's tests run in a user namespace, entered before there are workers or threads."""
    if not hasattr(config, "workerinput") and not can_make_namespaces():
        with contextlib.suppress(LinkError):
            enter_user_namespace()


@pytest.fixture(scope="session", autouse=True)
def only_the_tests_are_measured() -> None:
    """The runs that tests start are not: measuring takes half as long again as they do, and covers nothing more."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def rights() -> None:
    """Skip where no lab can be made, and say why."""
    from harness.doctor import missing

    if reason := missing("lab"):
        pytest.skip(reason)


@pytest.fixture(scope="module")
def linux(rights: None) -> Iterator[Target]:
    """This machine's kernel as a target, in a lab of the module's own."""
    from harness.targets.namespace import make_linux
    from harness.targets.registry import parse_spec

    made = make_linux(parse_spec("linux"))
    yield made
    made.close()


@pytest.fixture
def new_case(linux: Target) -> Iterator[MakeCase]:
    """Make a case on the kernel; it is closed behind the test."""
    made: list[Case] = []

    def make(family: str = "ipv4", target: Target = linux) -> Case:
        catalogue = load()
        made.append(Case(name=f"tests/{len(made)}", injector=target.injector, upper=target.upper,
                         profile=target.profile, timing=target.timing, addresses=addresses(family),
                         ports=target.ports, requirements={"RFC9293-MUST-2": catalogue.get("RFC9293-MUST-2")}))
        return made[-1]

    yield make
    for case in made:
        case.close()


@pytest.fixture(scope="module")
def device(rights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteDevice]:
    """A device of the module's own, reached as one on a bench, whose timers are short."""
    from remote_device import remote_device

    with remote_device(tmp_path_factory.mktemp("device"), short=True) as made:
        yield made


@pytest.fixture(scope="session")
def kernel() -> str:
    """The name of a kernel for virtual time; skip where there is none, and say why."""
    from harness.doctor import missing
    from harness.targets.kernels import find

    if reason := missing("guest"):
        pytest.skip(reason)
    return find().name
