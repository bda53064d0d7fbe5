"""Listening sockets of the service: a Unix socket, or an address of TCP."""

from __future__ import annotations

import errno
import fcntl
import grp
import ipaddress
import os
import socket
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 512
_LONGEST_PATH = 107  # bytes, of sockaddr_un


@dataclass(frozen=True)
class UnixAddress:
    """Unix socket to listen on.

    Attributes:
        path: Path of the socket.
        group: Group that may connect besides the owner, or None for the owner alone.
    """

    path: Path
    group: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True)
class TcpAddress:
    """Address of TCP to listen on.

    Attributes:
        host: Number of an interface, such as "127.0.0.1".
        port: Port; 0 for one that is free.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> TcpAddress:
        """Return the address that `HOST:PORT` names.

        Raises:
            UsageError: It is none.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        host = "127.0.0.1" if host == "localhost" else host
        try:
            ipaddress.ip_address(host)
            number = int(port)
        except ValueError:
            number = -1
        if not 0 <= number <= 65_535:
            raise UsageError(f"--http is {text!r}, expected NUMBER:PORT, such as 127.0.0.1:8765")
        return cls(host, number)

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@contextmanager
def listening(address: UnixAddress | TcpAddress) -> Iterator[socket.socket]:
    """Yield a socket that listens on an address; a Unix socket's file is removed at the end.

    Raises:
        UsageError: The address is taken or cannot be had.
    """
    if isinstance(address, TcpAddress):
        with _tcp(address) as listener:
            yield listener
        return
    with _lock_of(address.path), _unix(address) as listener:
        found = address.path.lstat()
        try:
            yield listener
        finally:
            with suppress(OSError):
                left = address.path.lstat()
                if (left.st_dev, left.st_ino) == (found.st_dev, found.st_ino):
                    address.path.unlink()


def _tcp(address: TcpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"{address} is taken by another process: end it (`ss -ltnp` names it), or give "
                "another port"
            ) from error
        raise UsageError(f"cannot listen on {address}: {error.strerror}") from error
    return listener


def _unix(address: UnixAddress) -> socket.socket:
    path = address.path
    _remove_stale(path)
    group = None if address.group is None else _group_id(address.group)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)  # so that nobody else reaches it from its first moment
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    try:
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        path.unlink(missing_ok=True)
        raise UsageError(f"cannot open {path} to its group: {error.strerror}") from error
    return listener


@contextmanager
def _lock_of(path: Path) -> Iterator[None]:
    """Keep other services from the same path, such as two that start at once.

    Raises:
        UsageError: One has it, or the folder is none where files can be made.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise UsageError(
            f"--socket {path} has {len(os.fsencode(path))} bytes, expected at most {_LONGEST_PATH}"
        )
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"cannot make {lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _taken(path) from error
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody listens.

    Raises:
        UsageError: Somebody listens there, or it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"--socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"--socket {path} is there and is no socket: give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)  # a full one of a process that is stopped is taken all the same
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise UsageError(f"--socket {path}: {error.strerror}") from error
    raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"--socket {path} is taken by another process: end it (`fuser {path}` names it), or give "
        "another path"
    )


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(
            f"--socket-group {name!r} is no group of this machine: `groupadd --system {name}`"
        ) from None
