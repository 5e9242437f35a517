# SPDX-License-Identifier: GPL-2.0-or-later
"""Anonymous network namespaces: held by a descriptor, gone with the process that holds it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

from .errors import LinkError

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _present() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class NetworkNamespace:
    """A network namespace without a name; `with namespace.entered():` runs the calling thread inside it.

    Raises LinkError if the rights to make one are missing.
    """

    def __init__(self) -> None:
        home = _present()
        try:
            _call("unshare", _CLONE_NEWNET)
            self.descriptor = _present()
            _call("setns", home, _CLONE_NEWNET)
        except OSError as error:
            raise LinkError(f"network namespace: {error.strerror}; needs root or user namespaces "
                            "(tcpqual doctor)") from error
        finally:
            os.close(home)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the calling thread in this namespace; sockets made meanwhile stay in it for good."""
        home = _present()
        try:
            _call("setns", self.descriptor, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go of the namespace; it ends with the last socket and descriptor in it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def can_make_namespaces() -> bool:
    """True if this process may make network namespaces as it is."""
    try:
        NetworkNamespace().close()
    except LinkError:
        return False
    return True


def enter_user_namespace() -> None:
    """Put this process into a user namespace of its own, as its root: the rights that namespaces need, and no more.

    Only a process with one thread may. Raises LinkError if the system forbids it.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        # With a network namespace of its own to come home to: nobody may enter again the one of the machine.
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    except OSError as error:
        raise LinkError(f"user namespace: {error.strerror}; run as root, or allow user namespaces "
                        "(tcpqual doctor says how)") from error
    if not can_make_namespaces():
        raise LinkError("user namespace: made, but without rights in it (AppArmor?); run as root, or allow them "
                        "(tcpqual doctor says how)")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
