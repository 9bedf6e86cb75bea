"""The port that a command serves at, bound before its address is told."""

from __future__ import annotations

import socket

from valmon_pipeline.errors import ConfigurationError


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


def address_of(listening: socket.socket) -> str:
    """Where it listens, as in ``http://127.0.0.1:9464``."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
