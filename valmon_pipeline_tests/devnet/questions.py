"""Requests to a node's application without a server, one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from valmon_pipeline.devnet.node_server import ServedNode
from valmon_pipeline.devnet.question import Question


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and headers of a response."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    @property
    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.content)


def ask(node: ServedNode, method: str, path: str, body: object = None) -> Reply:
    """Return what a node answers; whole states are asked for in SSZ."""
    accept = "application/octet-stream" if "/debug/" in path else "application/json"

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app=node.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            json_body = None if method == "GET" else body
            return await client.request(method, path, json=json_body, headers={"accept": accept})

    response = asyncio.run(answer())
    return Reply(response.status_code, response.content, response.headers)


def question(method: str, path: str, body: object = None) -> Question:
    """Return a request as the node's application reads it."""
    path, _, query = path.partition("?")
    content = b"" if body is None else json.dumps(body).encode()
    return Question(method, path, query, content, "application/json")
