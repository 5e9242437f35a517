# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that `tcpqual vm fetch` has unpacked, or that a user's profile names: what a virtual machine boots.

The cache folder has one folder an image, `vm/NAME/`: the kernel `vmlinuz`, the same unpacked as `vmlinux` where this
machine could do that, the modules of `MODULES` and those that they need in `modules/`, and `image.json`, which is
written last. Without that file there is no image.
"""

from __future__ import annotations

import re
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...wire.errors import UsageError
from ..cache import folder, locked, record
from ..versions import numbers

RECORD: Final = "image.json"
MODULES: Final = ("virtio_pci", "virtio_console", "tcp_diag", "virtio_net")
"""What a guest loads where its kernel has it not built in, the network last."""
HZ: Final = 250
"""Ticks in a second of Debian's kernels; an image whose configuration is not known is taken to have so many."""
_FIELDS: Final = {"name": str, "release": str, "version": str, "hz": int, "source": str, "modules": list,
                  "fetched": str}
_RELEASE_AT: Final = 0x20E
_MAGIC_AT: Final = 0x202
_MAGIC: Final = b"HdrS"
_ELF: Final = b"\x7fELF"
_BANNER: Final = re.compile(rb"Linux version (\d[ -~]{3,400})")
_DEBIAN: Final = re.compile(rb" Debian (\d[!-~]*)")
_LONGEST: Final = 200
_HEADER: Final = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A kernel that a virtual machine boots.

    `release` is what `uname -r` says in it, `version` which one it is (Debian's releases keep their name from one to
    the next), `hz` its ticks in a second, `source` the Debian package with its version or the user's file, `modules`
    the files to load, in this order; `fetched` is an ISO date in UTC.
    """

    name: str
    release: str
    version: str
    hz: int
    source: str
    kernel: Path
    modules: tuple[Path, ...] = ()
    fetched: str = ""

    @property
    def size(self) -> int:
        """Octets of the kernel and its modules."""
        return sum(path.stat().st_size for path in (self.kernel, *self.modules))


def images_folder() -> Path:
    """Where the images are, which need not exist."""
    return folder() / "vm"


def image_lock(name: str) -> AbstractContextManager[int]:
    """Hold a lock of the images' folder, for which the workers of a run wait in turn. Raises UsageError."""
    return locked(images_folder() / f".{name}.lock", "kernels of virtual machines")


def images() -> list[Image]:
    """Every image that is whole, oldest release first."""
    try:
        folders = sorted(path for path in images_folder().iterdir() if path.is_dir())
    except OSError:
        return []
    found = [image for path in folders if (image := _read(path)) is not None]
    return sorted(found, key=lambda image: (numbers(image.release), image.name))


def find(name: str) -> Image:
    """The image of that name; without a name the only one there is. Raises UsageError saying what there is."""
    known = images()
    names = ", ".join(image.name for image in known)
    for image in known:
        if image.name == name:
            return image
    if not known:
        raise UsageError(f"no kernel is fetched; fetch one with `tcpqual vm fetch {name or '6.1'}`")
    if not name and len(known) == 1:
        return known[0]
    if not name:
        raise UsageError(f"more than one kernel is fetched: name one of {names}")
    raise UsageError(f"no such kernel {name!r}; fetched: {names}; fetch it with `tcpqual vm fetch {name}`")


def of_file(kernel: Path, modules: tuple[Path, ...]) -> Image:
    """The image that a user's own files make. Raises UsageError if they are none."""
    for path in (kernel, *modules):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    release, version = releases_of(kernel)
    return Image(name=kernel.name, release=release, version=version, hz=HZ, source=str(kernel), kernel=kernel,
                 modules=modules)


def releases_of(kernel: Path) -> tuple[str, str]:
    """The release that a kernel file says it is, and the version behind it, which is the same if nothing else is said.

    Raises UsageError if it is no kernel.
    """
    with kernel.open("rb") as file:
        octets = file.read(_HEADER)
        if octets[:4] == _ELF:
            octets += file.read()
    told = b""
    if octets[_MAGIC_AT:_MAGIC_AT + 4] == _MAGIC:
        at = struct.unpack_from("<H", octets, _RELEASE_AT)[0] + 0x200
        told = octets[at:at + _LONGEST].split(b"\0")[0]
    elif octets[:4] == _ELF and (found := _BANNER.search(octets)):
        told = found[1]
    if not re.match(rb"\d", told):
        raise UsageError(f"{kernel}: no x86 kernel; allowed: a bzImage such as Debian's vmlinuz, or an ELF vmlinux")
    release = told.split(b" ")[0].decode(errors="replace")
    debian = _DEBIAN.search(told)
    return release, debian[1].decode(errors="replace") if debian else release


def _read(path: Path) -> Image | None:
    """The image in a folder, None if it is not whole."""
    known = record(path / RECORD, _FIELDS)
    if known is None:
        return None
    unpacked = path / "vmlinux"
    kernel = unpacked if unpacked.is_file() else path / "vmlinuz"
    modules = tuple(path / "modules" / str(name) for name in known["modules"])
    if known["name"] != path.name or not all(file.is_file() for file in (kernel, *modules)):
        return None
    return Image(kernel=kernel, **known | {"modules": modules})
