"""A server on loopback that writes what a test wants to its socket, for ever if need be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class HostileNode:
    """``hung_up`` is set when a client closes a connection that was still being written to."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    bytes_sent: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Answering:
    """One connection with a request to answer; ``wait`` ends early when the test is over."""

    def __init__(self, node: HostileNode, connection: socket.socket) -> None:
        self._node = node
        self._connection = connection

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)
        self._node.bytes_sent += len(content)

    def head(self, *headers: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def whole(self, content: bytes, *headers: str, status: str = "200 OK") -> None:
        self.head(f"Content-Length: {len(content)}", *headers, status=status)
        self.send(content)

    def wait(self, seconds: float) -> bool:
        """Wait for the test's end or the client's; tells whether it came."""
        self._connection.settimeout(seconds)
        with suppress(TimeoutError):
            if self._connection.recv(1) == b"":
                raise BrokenPipeError
        return self._node.over.is_set()


Script = Callable[[str, Answering], None]
"""Answers the request of a path."""


@contextmanager
def hostile_node(script: Script) -> Iterator[HostileNode]:
    """Run a node for the length of a test; every request is answered by ``script``."""
    server = socket.create_server(("127.0.0.1", 0))
    node = HostileNode(f"http://127.0.0.1:{server.getsockname()[1]}")

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError, OSError):
            received = b""
            while not node.over.is_set():
                connection.settimeout(None)
                while b"\r\n\r\n" not in received:
                    more = connection.recv(65536)
                    if not more:
                        return
                    received += more
                request, _, received = received.partition(b"\r\n\r\n")
                node.requests.append(request)
                path = request.split(b" ")[1].decode().partition("?")[0]
                try:
                    script(path, Answering(node, connection))
                except (BrokenPipeError, ConnectionResetError):
                    node.hung_up.set()
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield node
    finally:
        node.over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
