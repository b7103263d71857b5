"""Where a server listens: `unix:/path` or `tcp:host:port`."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from cipherformer.errors import DataError, ProtocolError

_BACKLOG = 16
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Address:
    """A stream socket's address.

    Args:
        path: file of a Unix socket, or empty.
        host: TCP host, or empty.
        port: TCP port; 0 lets the system choose one when listening.
    """

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `unix:/path` or `tcp:host:port`.

        Raises:
            DataError: on any other form.
        """
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest:
            if len(os.fsencode(rest)) > 100:
                raise DataError(
                    "the path of the socket is too long", where=text, fix="use a path of at most 100 bytes"
                )
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and host and port.isascii() and port.isdigit() and int(port) < 65536:
            return cls(host=host.strip("[]"), port=int(port))
        raise DataError(
            "this is not an address", where=repr(text), fix="write unix:/path/to/socket or tcp:127.0.0.1:7400"
        )

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """True if only this machine can connect."""
        return bool(self.path) or self.host in _LOOPBACK


class UnreachableError(ProtocolError):
    """Nobody listens at an address."""


def listen(address: Address) -> tuple[socket.socket, Address]:
    """Opens a listening socket and returns it with its final address (the port chosen by the system).

    A Unix socket gets mode 0600, and replaces the file of a server that is gone.

    Raises:
        ProtocolError: if the address is in use or cannot be bound.
    """
    try:
        if address.path:
            return _listen_unix(address.path), address
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
        return listener, Address(host=address.host, port=listener.getsockname()[1])
    except OSError as error:
        raise ProtocolError(
            "cannot listen here",
            where=str(address),
            why=str(error),
            fix="choose another address",
        ) from error


def connect(address: Address, timeout_s: float) -> socket.socket:
    """Connects within `timeout_s` seconds.

    Raises:
        UnreachableError: if nobody listens there.
    """
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(address.path or (address.host, address.port))
        if not address.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        raise UnreachableError(
            "cannot reach the server",
            where=str(address),
            why=str(error),
            fix="start it with `cipherformer serve`, or correct the address",
        ) from error
    return sock


def unlink_socket(address: Address) -> None:
    """Removes the file of a Unix socket, if it is one."""
    if address.path:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.lstat(address.path).st_mode):
                os.unlink(address.path)


def _listen_unix(path: str) -> socket.socket:
    if Path(path).exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.settimeout(1.0)
                probe.connect(path)
            except ConnectionRefusedError:
                unlink_socket(Address(path=path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
