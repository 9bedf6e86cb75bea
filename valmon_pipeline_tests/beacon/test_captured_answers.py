"""A captured answer stands in for its request, while the chain it was given on is the chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from valmon_pipeline.beacon.archive import request_key
from valmon_pipeline.beacon.captured_answers import (
    CapturedAnswer,
    Shelf,
    captured_nodes,
    capturing,
)
from valmon_pipeline.beacon.transports.captured import CapturedTransport

HEAD = bytes([7] * 32)
OTHER_HEAD = bytes([8] * 32)
OF_HEAD = "/eth/v1/beacon/states/head/committees"
OF_SLOT = "/eth/v1/beacon/states/64/validators"
OF_ROOT = "/eth/v2/beacon/blocks/0x" + "ab" * 32


class Node(httpx.AsyncBaseTransport):
    """Answers with the number of requests it has had, or refuses."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        return httpx.Response(self.status, json={"nr": len(self.asked)}, request=request)


@asynccontextmanager
async def client(node: Node, shelf: Shelf) -> AsyncIterator[httpx.AsyncClient]:
    transport = CapturedTransport(node, shelf)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as opened:
        yield opened


def capture(path: str, epoch: int, *, body: bytes = b"") -> list[CapturedAnswer]:
    """The answer to one request, captured at ``HEAD``."""

    async def ask() -> list[CapturedAnswer]:
        async with client(Node(), Shelf()) as node:
            with capturing() as captured:
                await (node.post(path, content=body) if body else node.get(path))
        return captured.answers(epoch, "the node", HEAD, is_kept=lambda path: True)

    return asyncio.run(ask())


def asked(path: str, shelf: Shelf, *, body: bytes = b"") -> bool:
    """Whether the node is asked although something is on the shelf."""

    async def ask() -> bool:
        node = Node()
        async with client(node, shelf) as opened:
            answer = await (opened.post(path, content=body) if body else opened.get(path))
        assert answer.json() == {"nr": 1}
        return bool(node.asked)

    return asyncio.run(ask())


def shelf_of(answers: list[CapturedAnswer], epoch: int) -> Shelf:
    shelf = Shelf()
    shelf.put([epoch], answers)
    shelf.epoch = epoch
    shelf.canonical = {HEAD}
    return shelf


def test_a_captured_answer_is_not_asked_for_again() -> None:
    shelf = shelf_of(capture(OF_SLOT, 2), 2)
    with captured_nodes() as whose:
        assert not asked(OF_SLOT, shelf)
        assert asked(OF_SLOT + "?id=1", shelf)
    assert whose == {"the node"}


def test_what_a_request_asks_for_in_its_body_counts() -> None:
    shelf = shelf_of(capture(OF_SLOT, 2, body=b'["1"]'), 2)
    assert not asked(OF_SLOT, shelf, body=b'["1"]')
    assert asked(OF_SLOT, shelf, body=b'["2"]')
    assert asked(OF_SLOT, shelf)


def test_an_answer_given_at_a_head_that_is_not_canonical_is_ignored() -> None:
    shelf = shelf_of(capture(OF_SLOT, 2), 2)
    shelf.canonical = {OTHER_HEAD}
    assert asked(OF_SLOT, shelf)


def test_a_block_by_its_root_is_true_whatever_the_chain_does() -> None:
    shelf = shelf_of(capture(OF_ROOT, 2), 2)
    shelf.canonical = set()
    assert not asked(OF_ROOT, shelf)
    assert shelf.blocks() == [bytes([0xAB] * 32)]


def test_what_was_said_of_the_head_counts_for_its_own_epoch_only() -> None:
    shelf = shelf_of([*capture(OF_HEAD, 2), *capture(OF_SLOT, 2)], 2)
    assert not asked(OF_HEAD, shelf)
    shelf.epoch = 3
    assert asked(OF_HEAD, shelf)
    assert not asked(OF_SLOT, shelf)
    shelf.drop_before(3)
    assert asked(OF_SLOT, shelf)


def test_a_refusal_is_not_captured() -> None:
    async def ask() -> int:
        node = Node()
        node.status = 404
        async with client(node, Shelf()) as opened:
            with capturing() as captured:
                await opened.get(OF_SLOT)
        return len(captured.pairs)

    assert asyncio.run(ask()) == 0


def test_what_a_source_got_counts_only_once_it_is_handed_over() -> None:
    async def ask() -> list[str]:
        async with client(Node(), Shelf()) as opened:
            with capturing() as outer:
                with capturing():
                    await opened.get("/wrong")
                with capturing() as right:
                    await asyncio.gather(opened.get("/right"), opened.get("/too"))
                right.hand_over()
        return sorted(request.url.path for request, _ in outer.pairs)

    assert asyncio.run(ask()) == ["/right", "/too"]


def test_a_captured_answer_comes_back_as_it_was_given() -> None:
    (kept,) = capture(OF_SLOT, 2)
    assert (kept.epoch, kept.node, kept.block_root) == (2, "the node", HEAD)
    assert kept.exchange.content == b'{"nr":1}'
    assert kept.exchange.node == "the node"
    key = request_key("GET", OF_SLOT, "", b"")
    assert shelf_of([kept], 2).find(key) == kept.exchange
