"""The port that a command or a service serves at, bound before its address is told."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

from valmon_pipeline.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; with port 0 at any free one, ``address_of`` says which.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. "
            "Stop what is there, or choose another address with --port and --host."
        ) from None


def socket_at(preferred: int | None) -> socket.socket:
    """A socket that listens at ``preferred`` of the loopback interface if that is free, else at any
    free port of it. Nobody else can take the port as long as it is open.

    Raises:
        ConfigurationError: this machine has no free port.
    """
    if preferred:
        with suppress(OSError):
            return socket.create_server((LOOPBACK, preferred))
    return listening_socket(LOOPBACK, 0)


def address_of(listening: socket.socket) -> str:
    """Where it listens, as in ``http://127.0.0.1:9464``."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
