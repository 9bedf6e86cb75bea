"""A chain that moves when the test says so, and a follower of its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from valmon_pipeline.assets.live import LiveFollower
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.node_server import FaultInjector
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.migrated_schema import make_migrated_schema

ALL = Watch(indices=frozenset(range(129)))
SLOT_SECONDS = 2


@dataclass(slots=True)
class Chain:
    """A replay node whose clock the test sets; ``skew`` is how far the follower's is ahead."""

    node: ReplayNode
    url: str
    seconds: float
    start_slot: int
    started: float
    skew: float = 0.0

    def go_to(self, slot: int, into_slot: float = 0.5) -> None:
        """Move to ``into_slot`` seconds after the start of ``slot``."""
        self.seconds = self.started + (slot - self.start_slot) * SLOT_SECONDS + into_slot

    def follower(self, warehouse: Warehouse, watch: Watch = ALL, interval: int = 1) -> LiveFollower:
        """A new follower, as after a start of the process."""
        return LiveFollower(
            client_opener(self.url),
            lambda: warehouse,
            watch,
            interval,
            now_ms=lambda: round((self.seconds + self.skew) * 1000),
        )


OpenChain = Callable[..., Chain]


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording.load(RECORDING_PATH)


@pytest.fixture
def open_chain(recording: Recording) -> Iterator[OpenChain]:
    """Opens chains that stand at the start of a slot."""
    with ExitStack() as opened:

        def open_at(
            slot: int, faults: FaultInjector | None = None, started: float = 1_800_000_000.0
        ) -> Chain:
            return opened.enter_context(_chain(recording, slot, faults, started))

        yield open_at


@contextmanager
def _chain(
    recording: Recording, slot: int, faults: FaultInjector | None, started: float
) -> Iterator[Chain]:
    now = [lambda: started]
    node = ReplayNode(recording, live=True, start_slot=slot, now=lambda: now[0](), faults=faults)
    with BackgroundReplayNode(node) as background:
        chain = Chain(node, background.url, started, slot, started)
        now[0] = lambda: chain.seconds
        yield chain


@pytest.fixture
def tables(database: Database) -> Warehouse:
    """Empty tables, of no network yet."""
    return Warehouse(database)


@pytest.fixture
def database_pair(database: Database, database_url: str) -> Iterator[tuple[Warehouse, Warehouse]]:
    """Empty tables, twice."""
    other = Database(database_url, f"{database.schema}_other")
    make_migrated_schema(database_url, other.schema)
    yield Warehouse(database), Warehouse(other)
    migrate.downgrade(database_url, other.schema)
    other.close()
