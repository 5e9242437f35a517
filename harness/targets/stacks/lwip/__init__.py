# SPDX-License-Identifier: GPL-2.0-or-later
"""lwIP, the TCP/IP of many small devices, on its raw API and without an operating system."""

from __future__ import annotations

from typing import Final

from ..recipe import Recipe, Workshop, compiles, kit


def _make(shop: Workshop) -> None:
    tree = shop.source("lwip") / "src"
    sources = [*tree.glob("core/*.c"), *tree.glob("core/ipv4/*.c"), *tree.glob("core/ipv6/*.c")]
    shop.tell(f"compiling {len(sources) + 1} files")
    shop.run("gcc", "-std=gnu99", "-O1", "-g", "-w", f"-ffile-prefix-map={tree}/=",
             f"-I{shop.adapter}", f"-I{tree / 'include'}", f"-I{kit()}",
             "-o", str(shop.program), str(shop.adapter / "adapter.c"), *map(str, sorted(sources)))


RECIPE: Final = Recipe(
    name="lwip", title="lwIP", releases={"2.1.3": "bookworm", "2.2.1": "trixie"},
    tools={"apt-get": "apt", "dpkg-source": "dpkg-dev", "gcc": "gcc"}, needs={"libc6-dev": compiles("stdio.h")},
    make=_make)
