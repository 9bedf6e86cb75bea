"""Epochs of the recorded devnet, read and computed as the pipeline does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.checks import EPOCH_CHECKS, CheckResult
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.epoch_frames import EpochFrames, compute_epoch_frames
from valmon_pipeline.errors import BeaconUnreachableError
from valmon_pipeline.reading.epoch_reader import EpochReader

AT: Final = datetime(2026, 11, 22, tzinfo=UTC)
NETWORK: Final = Watch(network=True)

# Index 0, both kinds of exit, a compounding and a consolidated validator, slashed ones, one that
# never runs, one that pauses, and one that joins late: all that happens to anybody on this chain.
FEW: Final = Watch(
    indices=frozenset({0, 5, 9, 10, 16, 17, 25, 33, 90, 100, 121, 122, 127, 128}), registry_limit=0
)
CHECKS: Final = frozenset(f"{check.asset}.{check.name}" for check in EPOCH_CHECKS)
CHECKS_OF_STATES: Final = frozenset({"rewards_match_state", "network_state_was_read"})
"""They compare nothing where no beacon state is read; test_network_state is about them."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What the node said about epochs, and what became of it."""

    spec: ChainSpec
    answers: Mapping[int, EpochAnswers]
    frames: Mapping[int, EpochFrames]

    def failing_checks(self) -> dict[tuple[int, str], CheckResult]:
        """Failed checks by epoch and ``asset.check``."""
        return {
            (epoch, f"{result.asset}.{result.name}"): result
            for epoch, frames in self.frames.items()
            for result in frames.checks
            if result.failed
        }


def node_options(url: str) -> NodeOptions:
    """A node that is asked as fast as it can answer, and twice if it fails."""
    return NodeOptions(
        url,
        requests_per_second=1e6,
        burst=100_000,
        retry=RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.001),
    )


def client_opener(url: str) -> OpenClient:
    """What an ``EpochMaterializer`` opens its client with: there is one node and no other."""

    @asynccontextmanager
    async def open_client(
        avoid: Collection[str] = (), *, archive: bool = False
    ) -> AsyncIterator[BeaconClient]:
        async with BeaconClient.open(node_options(url)) as client:
            if client.name in avoid:
                raise BeaconUnreachableError("there is no other node")
            yield client

    return open_client


def compute(
    url: str, watch: Watch, epochs: Iterable[int], labels: pd.DataFrame | None = None
) -> Computed:
    """Read epochs from the node at ``url`` and compute their frames, by ``labels`` if any."""
    labels = no_labels() if labels is None else labels

    # Not the result of the task: asyncio's signal handling writes that out as text, twice.
    found: list[Computed] = []

    async def read() -> None:
        async with client_opener(url)() as client:
            reader = await EpochReader.open(client, watch)
            answers = {epoch: await reader.read(epoch) for epoch in epochs}
        frames = {
            epoch: compute_epoch_frames(reader.spec, answer, watch=watch, labels=labels, at=AT)
            for epoch, answer in answers.items()
        }
        found.append(Computed(reader.spec, answers, frames))

    asyncio.run(read())
    return found[0]
