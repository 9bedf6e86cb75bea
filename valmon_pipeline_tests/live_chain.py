"""The recorded chain as it was when it was young: the test says which slot it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import httpx
from starlette.responses import Response

from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.assets.faulty_node import Faults
from valmon_pipeline_tests.recording import devnet

HEADERS = "/eth/v1/beacon/headers"
BLOCKS = "/eth/v2/beacon/blocks"
CHECKPOINTS = "/eth/v1/beacon/states/head/finality_checkpoints"
NOT_FOUND = '{"code":404,"message":"No block found"}'


class LiveChain:
    """A live node at ``url`` that can be made to lie with ``faults``."""

    def __init__(self, recording: Recording, stack: ExitStack) -> None:
        self._seconds = 1_700_000_000.0
        truth = stack.enter_context(BackgroundReplayNode(self._node(recording)))
        client = stack.enter_context(httpx.Client(base_url=truth.url, trust_env=False))
        self.faults = Faults(client)
        self._replay = self._node(recording, self.faults)
        self.url = stack.enter_context(BackgroundReplayNode(self._replay)).url

    def _node(self, recording: Recording, faults: Faults | None = None) -> ReplayNode:
        return ReplayNode(
            recording,
            live=True,
            start_slot=recording.slots[0],
            faults=faults,
            now=lambda: self._seconds,
        )

    @property
    def seconds(self) -> float:
        """The chain's clock, Unix time."""
        return self._seconds

    def go_to(self, slot: int) -> None:
        """Let it be the middle of a slot."""
        clock = self._replay.clock
        assert isinstance(clock, LiveClock)
        self._seconds = clock.genesis_time + (slot + 0.5) * clock.slot_duration_ms / 1000

    def close_window(self, epoch: int) -> None:
        """Let it be the first slot with a block that closes the window of an epoch."""
        slot = devnet().spec.first_slot(epoch + 2)
        while devnet().header(slot) is None:
            slot += 1
        self.go_to(slot)

    def finalize(self, epoch: int) -> int:
        """Let it be the first slot with a block in which an epoch is final; that slot."""
        slot = devnet().spec.first_slot(epoch + 2)
        while devnet().header(slot) is None or devnet().finalized_epoch(slot // 8 * 8) < epoch + 2:
            slot += 1
        self.go_to(slot)
        return slot

    @contextmanager
    def without(self, *slots: int) -> Iterator[None]:
        """Another branch: these slots have no block, and the next block follows the one before."""
        with ExitStack() as stack:
            for slot in slots:
                for path in (f"{HEADERS}/{slot}", f"{BLOCKS}/{slot}"):
                    stack.enter_context(self.maybe(path, self.faults.replacing(path, _not_found)))
            child = self.next_block(max(slots) + 1)
            parent = min(slots) - 1
            while devnet().header(parent) is None:
                parent -= 1
            before = devnet().header(parent)
            assert before is not None
            root = "0x" + before.root.hex()
            block = devnet().header(child)
            assert block is not None
            for name in (str(child), f"0x{block.root.hex()}"):
                spoil = setting("data", "header", "message", "parent_root", to=root)
                path = f"{HEADERS}/{name}"
                stack.enter_context(self.maybe(path, self.faults.spoiling(path, spoil)))
                spoil = setting("data", "message", "parent_root", to=root)
                path = f"{BLOCKS}/{name}"
                stack.enter_context(self.maybe(path, self.faults.spoiling(path, spoil)))
            yield

    @contextmanager
    def hiding_by_slot(self, slot: int, *, times: int | None = None) -> Iterator[None]:
        """The node does not find the block of a slot when asked for it by slot."""

        with self.faults.replacing(f"{BLOCKS}/{slot}", _not_found, times=times):
            yield

    @contextmanager
    def losing(self, slot: int) -> Iterator[None]:
        """The node does not know the block of a slot, by slot or by root."""

        header = devnet().header(slot)
        assert header is not None
        root = f"0x{header.root.hex()}"
        with (
            self.faults.replacing(f"{BLOCKS}/{slot}", _not_found),
            self.faults.replacing(f"{HEADERS}/{root}", _not_found),
        ):
            yield

    @contextmanager
    def maybe(self, path: str, fault: AbstractContextManager[None]) -> Iterator[None]:
        """Spoil answers that are not necessarily asked for."""
        with fault:
            # Ask once, so that the fault has been used.
            httpx.get(self.url + path, trust_env=False)
            yield

    @staticmethod
    def next_block(slot: int) -> int:
        """The first slot with a block at or after ``slot``."""
        while devnet().header(slot) is None:
            slot += 1
        return slot


def _not_found(body: bytes) -> Response:
    return Response(NOT_FOUND, 404, media_type="application/json")


@contextmanager
def live_chain(recording: Recording) -> Iterator[LiveChain]:
    """A live chain, at its first slot."""
    with ExitStack() as stack:
        yield LiveChain(recording, stack)


def setting(*place: str, to: object) -> Callable[[Any], None]:
    """A spoiler that sets one value of an answer."""

    def spoil(body: Any) -> None:
        for part in place[:-1]:
            body = body[part]
        body[place[-1]] = to

    return spoil
