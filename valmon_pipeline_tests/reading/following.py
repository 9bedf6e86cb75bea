"""Follows the recorded chain of mainnet's shape as valmon does, slot by slot, at one client's node.

The node answers within the windows of its client and with its errors; the clock is moved by hand.
What is captured and stored goes to PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.chain.blocks import BlockHeader
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.clock import ManualClock
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.reading.capture import BoundaryCapture, capture_blocks
from valmon_pipeline.storage.captured_answers import CapturedAnswers
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.recordings import MAINNET

SLOTS: Final = 32
LAST_SLOT: Final = 351
EPOCHS: Final = range(9)
"""The epochs of the recording whose windows are closed at its end. The state of slot 0, the
registry at the start of epoch 0, is not in it."""

SOME: Final = frozenset(range(0, 320, 17)) | {301, 310}
"""Validators that propose, sit in sync committees, and (from 300 on) never do anything."""
ON_A_LARGE_NETWORK: Final = Watch(indices=SOME, registry_limit=0)
"""As on mainnet: a few watched validators, whose rows alone are read of the registry."""
ON_A_SMALL_NETWORK: Final = Watch(indices=SOME)
"""As on a devnet: the whole registry is read, so that the specification tells every reward."""


@cache
def recording() -> Recording:
    """The recording, parsed once."""
    return Recording.load(MAINNET)


@dataclass(slots=True)
class Followed:
    """What became of the epochs, in ``warehouse``: reports of stored ones, reasons of others."""

    warehouse: Warehouse
    reports: dict[int, EpochReport] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    def tables(self, epoch: int, names: Sequence[str]) -> Mapping[str, pd.DataFrame]:
        """The stored rows of an epoch."""
        return {name: self.warehouse.read(name, epochs=[epoch]) for name in names}


@contextmanager
def followed_live(database_url: str, client: str, watch: Watch) -> Iterator[Followed]:
    """Look at every slot, capture what is current, store each epoch when its window has closed."""
    clock = ManualClock()
    node = ReplayNode(recording(), live=True, now=clock, client=client)
    with fresh_warehouse(database_url) as warehouse, BackgroundReplayNode(node) as served:
        captured = CapturedAnswers(warehouse.database)
        boundary = BoundaryCapture()
        found = Followed(warehouse)

        async def look(slot: int) -> BlockHeader | None:
            async with client_opener(served.url)() as beacon:
                head = await beacon.head()
                if head.slot != slot:
                    return None
                spec = await beacon.spec()
                if boundary.is_due(spec.epoch_of(slot)):
                    captured.keep((await boundary.capture(beacon, spec, watch, head)).answers)
                own = np.array(sorted(watch.indices), dtype=np.int64)
                captured.keep((await capture_blocks(beacon, spec, [head], own)).answers)
                return head

        for slot in range(LAST_SLOT + 1):
            clock.move_to(node.clock, slot)
            if asyncio.run(look(slot)) is None:
                continue
            closed = slot // SLOTS - 2
            if closed >= 0 and closed not in found.reports:
                _store(found, served.url, watch, [closed], captured)
        yield found


@contextmanager
def followed_after_an_outage(database_url: str, client: str, watch: Watch) -> Iterator[Followed]:
    """Nothing was captured: all epochs are caught up when the chain is at its end."""
    clock = ManualClock()
    node = ReplayNode(recording(), live=True, now=clock, client=client)
    with fresh_warehouse(database_url) as warehouse, BackgroundReplayNode(node) as served:
        clock.move_to(node.clock, LAST_SLOT)
        found = Followed(warehouse)
        _store(found, served.url, watch, EPOCHS, CapturedAnswers(warehouse.database))
        yield found


@contextmanager
def without_limits(database_url: str, watch: Watch) -> Iterator[Followed]:
    """The same epochs from a node that answers everything that was recorded."""
    with (
        fresh_warehouse(database_url) as warehouse,
        BackgroundReplayNode(ReplayNode(recording())) as served,
    ):
        found = Followed(warehouse)
        _store(found, served.url, watch, EPOCHS, CapturedAnswers(warehouse.database))
        yield found


def _store(
    found: Followed, url: str, watch: Watch, epochs: Sequence[int], captured: CapturedAnswers
) -> None:
    materializer = EpochLoader(
        client_opener(url), found.warehouse, watch, provisional=True, captured=captured
    )
    outcome = materializer.run(
        epochs, on_stored=lambda report: found.reports.update({report.epoch: report})
    )
    found.failures |= outcome.failures
