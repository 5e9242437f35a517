# SPDX-License-Identifier: GPL-2.0-or-later
"""Anonymous network namespaces: held by a descriptor, gone with the process that holds it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

from .errors import LinkError, UsageError

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_RIGHTS: Final = (10, 12, 13, 21)
"""CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    # As machine words: an address does not fit the C int that ctypes would make of a Python one.
    if getattr(_LIBC, name)(*(ctypes.c_long(argument) for argument in arguments)) != 0:
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
    """Put this process into a user namespace of its own, with the rights that network namespaces need, and no more.

    The user stays who he is, so that files and temporary folders are his; the rights are ambient, so that the workers
    that this process starts have them too. Only a process with one thread may. Raises LinkError if the system forbids
    it.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        # With a network namespace of its own to come home to: nobody may enter again the one of the machine.
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        _keep_rights_across_exec()
    except OSError as error:
        raise LinkError(f"user namespace: {error.strerror}; run as root, or allow user namespaces "
                        "(tcpqual doctor says how)") from error
    if not can_make_namespaces():
        raise LinkError("user namespace: made, but without rights in it (AppArmor?); run as root, or allow them "
                        "(tcpqual doctor says how)")


def _keep_rights_across_exec() -> None:
    """Raise the rights into the ambient set (capabilities(7)): a user that is not root loses them on exec otherwise."""
    rights = sum(1 << right for right in _RIGHTS)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    # Effective, permitted, inheritable of the first 32 capabilities, then of the rest.
    data = ctypes.create_string_buffer(struct.pack("=6I", rights, rights, rights, 0, 0, 0), 24)
    _call("capset", ctypes.addressof(header), ctypes.addressof(data))
    for right in _RIGHTS:
        _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, right, 0, 0)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def get_rights() -> None:
    """What making namespaces takes, in a user namespace of our own if need be. Raises UsageError if it is refused."""
    if not can_make_namespaces():
        try:
            enter_user_namespace()
        except LinkError as error:
            raise UsageError(str(error)) from None
