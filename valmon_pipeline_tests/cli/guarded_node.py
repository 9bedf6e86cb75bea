"""A replay node behind a token in the path, as hosted nodes are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.replay_node import ReplayNode


@contextmanager
def guarded_node(user: str, password: str, token: str) -> Iterator[str]:
    """Serve the recorded devnet under ``/token``; yields an address with all the secrets in it."""
    node = ReplayNode(RECORDING_PATH)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=[Mount(f"/{token}", app=node.app)]),
                log_level="critical",
                lifespan="off",
                ws="none",
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://{user}:{password}@127.0.0.1:{listening.getsockname()[1]}/{token}"
        server.should_exit = True
        thread.join()
