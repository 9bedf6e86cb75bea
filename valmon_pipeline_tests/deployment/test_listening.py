"""Ports are bound before their address is told."""

from __future__ import annotations

import socket

import pytest

from valmon_pipeline.deployment.listening import address_of, listening_socket
from valmon_pipeline.errors import ConfigurationError


def test_any_free_port_is_told_as_the_one_it_is() -> None:
    with listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address_of(listening) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0: .*--host"):
        listening_socket("192.0.2.1", 0)
