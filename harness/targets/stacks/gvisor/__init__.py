# SPDX-License-Identifier: GPL-2.0-or-later
"""gVisor's netstack, a TCP/IP in Go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from ....wire.errors import TargetError
from ..recipe import Recipe, Workshop, kit

_NETSTACK: Final = "golang-gvisor-gvisor-dev"
_PACKAGES: Final = (_NETSTACK, "golang-github-google-btree-dev", "golang-golang-x-sys-dev", "golang-golang-x-time-dev")
"""Netstack, and what those of its packages import that the adapter uses."""


def _make(shop: Workshop) -> None:
    root = shop.packages(*_PACKAGES)
    version = shop.sources[0]
    if f"~{shop.version}-" not in version:
        raise TargetError(f"{shop.suite} has {version}, not {shop.version}")
    own = shop.folder / "go"
    for source, package in ((shop.adapter, "gvisor"), (kit("go"), "tcpqualpipe")):
        _copy(source, own / "src" / "tcpqual" / package)
    shop.tell("compiling; this takes half a minute")
    shop.run("go", "build", "-trimpath", "-ldflags", f"-X main.version={shop.version}", "-o", str(shop.program),
             "tcpqual/gvisor", folder=own, GOPATH=f"{own}:{root / 'usr' / 'share' / 'gocode'}", GO111MODULE="off",
             GOFLAGS="", GOTOOLCHAIN="local", GOCACHE=str(shop.folder / "cache"), CGO_ENABLED="0")


def _copy(source: Path, target: Path) -> None:
    """The Go files of a folder, as a package."""
    target.mkdir(parents=True)
    for file in source.glob("*.go"):
        shutil.copy(file, target)


RECIPE: Final = Recipe(
    name="gvisor", title="gVisor's netstack", releases={"20221219.0": "bookworm"}, language="go",
    tools={"apt-get": "apt", "dpkg-deb": "dpkg", "go": "golang-go"}, needs={}, make=_make)
