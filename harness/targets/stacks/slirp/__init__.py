# SPDX-License-Identifier: GPL-2.0-or-later
"""libslirp, the user-mode network of many virtual machines, as Debian has built it.

The library itself is not compiled here, so that what is judged is what is in use.
"""

from __future__ import annotations

import ctypes.util
import shutil
from typing import Final

from ..recipe import Recipe, Workshop, compiles, kit

_LIBRARY: Final = "libslirp.so.0"
_PARTS: Final = ("slirp.c", "lines.c", "sockets.c", "host.c")


def _make(shop: Workshop) -> None:
    root = shop.packages("libslirp-dev", "libslirp0")
    library = next(root.glob(f"usr/lib/*/{_LIBRARY}"))
    shutil.copy(library, shop.program.parent / _LIBRARY)  # and it is found beside the program
    shop.tell(f"compiling {len(_PARTS)} files")
    shop.run("gcc", "-std=c99", "-O1", "-g", "-Wall", "-Werror", f"-ffile-prefix-map={shop.adapter}/=",
             f"-I{root / 'usr/include'}", f"-I{root / 'usr/include/slirp'}", f"-I{kit()}", "-o", str(shop.program),
             *(str(shop.adapter / part) for part in _PARTS),
             f"-L{shop.program.parent}", f"-l:{_LIBRARY}", "-Wl,-rpath,$ORIGIN")


def _has_glib() -> bool:
    """True if the machine has the library that libslirp itself needs."""
    return ctypes.util.find_library("glib-2.0") is not None


RECIPE: Final = Recipe(
    name="slirp", title="libslirp", releases={"4.7.0": "bookworm"},
    tools={"apt-get": "apt", "dpkg-deb": "dpkg", "gcc": "gcc"},
    needs={"libc6-dev": compiles("stdio.h"), "libglib2.0-0": _has_glib}, make=_make)
