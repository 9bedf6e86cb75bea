"""A real HTTP server on loopback that answers as a test tells it to, faults included."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """One answer. ``truncated`` promises more bytes than it sends; ``hangs`` never answers."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    truncated: bool = False
    hangs: bool = False

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    body: bytes
    headers: dict[str, str]


Script = Callable[[Received], Reply]


class ScriptedNode:
    """Answers by path: the replies in turn, the last one for ever; 404 for other paths."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.released = threading.Event()
        self._replies: dict[str, list[Reply | Script]] = defaultdict(list)

    def reply(self, path: str, *replies: Reply | Script) -> None:
        self._replies[path].extend(replies)

    def data(self, path: str, data: object, **envelope: object) -> None:
        self.reply(path, Reply(body={"data": data, **envelope}))

    def answer(self, request: Received) -> Reply:
        self.received.append(request)
        replies = self._replies.get(request.path)
        if not replies:
            return Reply(404, {"code": 404, "message": "no such thing"})
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply(request) if callable(reply) else reply


@contextmanager
def scripted_node() -> Iterator[ScriptedNode]:
    """Run a node for the length of a test."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

        def handle_any(self) -> None:
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            reply = node.answer(Received(self.command, path, query, body, headers))
            if reply.hangs:
                node.released.wait(10)
                self.close_connection = True
                return
            content = reply.content()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + 10 * reply.truncated))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or reply.truncated

        do_GET = do_POST = handle_any  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    node = ScriptedNode(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield node
    finally:
        node.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
