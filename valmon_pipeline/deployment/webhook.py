"""A webhook on the loopback interface that keeps what it is told, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

_LONGEST = 1_000_000


class _Told(msgspec.Struct):
    """The fields of Apprise's JSON that are of interest."""

    title: str
    message: str


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message, and when it arrived by the clock of ``time.monotonic``."""

    title: str
    body: str
    at: float


@dataclass
class Webhook:
    """``address`` is Apprise's."""

    address: str
    received: list[ReceivedMessage] = field(default_factory=list)


@contextmanager
def local_webhook() -> Iterator[Webhook]:
    """Run a webhook for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _LONGEST))
            try:
                told = msgspec.json.decode(body, type=_Told)
            except msgspec.MsgspecError:
                self.send_error(400)
                return
            hook.received.append(ReceivedMessage(told.title, told.message, time.monotonic()))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What it is told is shown by whoever runs it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook = Webhook(f"json://127.0.0.1:{server.server_address[1]}/drill")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
