# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes a kernel out of Debian's package: downloaded by apt, unpacked, never installed.

Of a package's thousands of modules a guest needs a handful, and these are kept as they are. The kernel itself is
kept twice where it is packed with something that takes an emulated processor seconds: as it came, and unpacked.
"""

from __future__ import annotations

import bz2
import json
import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ...wire.errors import TargetError, UsageError
from .. import apt
from ..apt import Tell
from ..versions import numbers
from .images import HZ, MODULES, RECORD, Image, find, images_folder, releases_of

FLAVOURS: Final = ("cloud", "rt")
_NAME: Final = re.compile(r"(\d+\.\d+)(?:-(cloud|rt))?")
_BUILD: Final = r"[0-9.]+([-+~][a-z0-9.+~]+)*"
_SUFFIX: Final = re.compile(r"\.ko(\.xz|\.gz)?$")
_DEPENDS: Final = re.compile(rb"[\0]depends=([^\0]*)\0")
_PACKERS: Final[tuple[tuple[bytes, Callable[[bytes], bytes]], ...]] = (
    (b"\xfd7zXZ\0", lambda octets: lzma.LZMADecompressor().decompress(octets)),
    (b"\x5d\x00\x00\x00", lambda octets: lzma.LZMADecompressor().decompress(octets)),
    (b"\x1f\x8b\x08", lambda octets: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(octets)),
    (b"BZh", lambda octets: bz2.BZ2Decompressor().decompress(octets)),
)
"""How a packed kernel begins, and how it is unpacked; what is not named here an emulated processor unpacks quickly."""
_ELF: Final = b"\x7fELF"


def fetch(name: str, tell: Tell) -> tuple[Image, bool]:
    """Bring the newest of Debian's kernels of a release (`6.1`, `6.12-cloud`) into the cache.

    Returns it, and whether it is a new one. Raises UsageError if apt has none, TargetError if a package is damaged.
    """
    wanted = _NAME.fullmatch(name)
    if wanted is None:
        raise UsageError(f"{name!r}: no name of a release; allowed: 6.1, 6.12 and the like, or with -cloud or -rt "
                         "behind it for Debian's kernels of that kind")
    packages = _packages(wanted[1], wanted[2] or "")
    versions = {package: apt.candidate(package) for package in packages}
    source = " and ".join(f"{package} {version}" for package, version in versions.items())
    try:
        known = find(name)
        if known.source == source:
            return known, False
    except UsageError:
        pass
    images_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=images_folder()) as place:
        for package, version in versions.items():
            _unpacked(f"{package}={version}", Path(place), tell)
        tell(f"keeping {name}")
        _keep(Path(place) / "tree", Path(place) / "image", name, source)
        final = images_folder() / name
        shutil.rmtree(final, ignore_errors=True)
        (Path(place) / "image").rename(final)
    return find(name), True


def _packages(release: str, flavour: str) -> list[str]:
    """The packages that make the newest kernel of a release. Raises UsageError if there is none."""
    ending = f"-{flavour}-amd64" if flavour else "-amd64"
    stem = release.replace(".", r"\.") + r"\." + _BUILD
    for kinds in (("linux-binary", "linux-modules"), ("linux-image",)):
        # From 7.2 on Debian has kernel and modules in packages of their own.
        found = apt.names(f"{kinds[0]}-{stem}{ending}")
        builds = [name.removeprefix(f"{kinds[0]}-") for name in found]
        builds = [build for build in builds if flavour or not build.endswith(tuple(f"-{kind}-amd64"
                                                                                  for kind in FLAVOURS))]
        if builds:
            newest = max(builds, key=lambda build: _order(build, kinds[0]))
            return [f"{kind}-{newest}" for kind in kinds]
    if apt.is_empty():
        raise UsageError(f"{release}: apt has no lists of packages yet; apt-get update as root fetches them")
    there = sorted({match[1] for name in apt.names(r"linux-(image|binary)-[0-9]+\.[0-9]+.*-amd64")
                    if (match := re.match(r"linux-(?:image|binary)-(\d+\.\d+)", name))}, key=numbers)
    kind = f" of kind {flavour}" if flavour else ""
    raise UsageError(f"{release}{kind}: apt has no such kernel; it has {', '.join(there) or 'none for amd64'}; or name "
                     "a kernel file in a profile of kind 'vm'")


def _order(build: str, kind: str) -> tuple[int, ...]:
    return numbers(re.sub(r"[^0-9.]+", ".", build.removesuffix("-amd64")).strip("."))


def _unpacked(what: str, place: Path, tell: Tell) -> None:
    """Download a package and unpack it into the folder `tree`."""
    folder = place / what.partition("=")[0]
    folder.mkdir()
    problem = apt.download(what, folder, tell)
    packages = list(folder.glob("*.deb"))
    if not packages:
        raise UsageError(f"{what} cannot be downloaded: {problem}")
    tell(f"unpacking {packages[0].name}")
    try:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(packages[0])], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                _extract(archive, place / "tree")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise TargetError(f"{packages[0].name}: cannot be unpacked: {error}") from None


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Kernel, configuration and modules, each by its name alone, which is the same for no two of them."""
    folder.mkdir(exist_ok=True)
    for member in archive:
        name = Path(member.name).name
        wanted = member.isfile() and (name.startswith(("vmlinuz", "config-")) or _SUFFIX.search(name))
        if wanted and (content := archive.extractfile(member)) is not None:
            with (folder / name).open("wb") as out:
                shutil.copyfileobj(content, out)


def _keep(tree: Path, image: Path, name: str, source: str) -> None:
    """Make the image's folder of what a package had."""
    kernels = sorted(tree.rglob("vmlinuz*"))
    if not kernels:
        raise TargetError(f"{source}: has no kernel")
    (image / "modules").mkdir(parents=True)
    kernels[0].rename(image / "vmlinuz")
    if (unpacked := _unpacked_kernel((image / "vmlinuz").read_bytes())) is not None:
        (image / "vmlinux").write_bytes(unpacked)
    order = []
    for module, octets in modules_of(tree).items():
        (image / "modules" / f"{module}.ko").write_bytes(octets)
        order.append(f"{module}.ko")
    release, version = releases_of(image / "vmlinuz")
    record = {"name": name, "release": release, "version": version, "hz": _hz(tree), "source": source, "modules": order,
              "fetched": datetime.now(UTC).isoformat(timespec="seconds")}
    (image / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _unpacked_kernel(octets: bytes) -> bytes | None:
    """The kernel within a bzImage, None where it is not packed in one of the ways known here."""
    for start, unpack in _PACKERS:
        at = octets.find(start)
        while at >= 0:
            try:
                found = unpack(octets[at:])
                if found.startswith(_ELF):
                    return found
            except (lzma.LZMAError, zlib.error, OSError, EOFError):
                pass
            at = octets.find(start, at + 1)
    return None


def modules_of(tree: Path) -> dict[str, bytes]:
    """The modules of `MODULES` below a folder, each behind those that it depends on; what is not there is built in.

    Raises TargetError if one is damaged.
    """
    files = {_SUFFIX.sub("", path.name).replace("-", "_"): path for path in tree.rglob("*.ko*")
             if _SUFFIX.search(path.name)}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in files:
            return
        octets = _octets(files[name])
        depends = _DEPENDS.search(octets)
        for other in depends[1].decode().split(",") if depends else ():
            add(other.replace("-", "_"))
        found[name] = octets

    for name in MODULES:
        add(name)
    return found


def _octets(path: Path) -> bytes:
    octets = path.read_bytes()
    try:
        if path.suffix == ".xz":
            return lzma.decompress(octets)
        return zlib.decompress(octets, zlib.MAX_WBITS | 16) if path.suffix == ".gz" else octets
    except (lzma.LZMAError, zlib.error) as error:
        raise TargetError(f"{path.name}: cannot be unpacked: {error}") from None


def _hz(tree: Path) -> int:
    for path in tree.rglob("config-*"):
        if found := re.search(r"^CONFIG_HZ=(\d+)$", path.read_text(errors="replace"), re.MULTILINE):
            return int(found[1])
    return HZ
