"""What is known of an epoch stays known, and what is missing is filled in by a node that can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.devnet.clock import ManualClock
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.epoch.facts import FactSource
from valmon_pipeline.storage.queries.incomplete_epochs import incomplete_epochs
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, table_hashes
from valmon_pipeline_tests.reading.following import LAST_SLOT, ON_A_LARGE_NETWORK, recording

EPOCH: Final = 3


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


def node_of(client: str | None) -> Iterator[str]:
    clock = ManualClock()
    node = ReplayNode(recording(), live=True, now=clock, client=client)
    with BackgroundReplayNode(node) as served:
        clock.move_to(node.clock, LAST_SLOT)
        yield served.url


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    """A node that answers everything."""
    yield from node_of(None)


@pytest.fixture(scope="module")
def pruned() -> Iterator[str]:
    """A default Lodestar, days later: neither states nor rewards."""
    yield from node_of("lodestar")


@dataclass
class Stored:
    """What came of storing the epoch."""

    missing: list[FactSource]
    kept: bool
    corrections: int


def store(url: str, warehouse: Warehouse) -> Stored:
    loader = EpochLoader(client_opener(url), warehouse, ON_A_LARGE_NETWORK)
    reports: list[EpochReport] = []
    outcome = loader.run([EPOCH], on_stored=reports.append)
    assert outcome.failures == {}
    return Stored(reports[0].missing, EPOCH in loader.kept, outcome.corrections)


def test_a_node_that_knows_less_replaces_nothing(
    own_warehouse: Warehouse, archive: str, pruned: str
) -> None:
    assert not store(archive, own_warehouse).missing
    before = table_hashes(own_warehouse)
    assert store(pruned, own_warehouse).kept
    assert table_hashes(own_warehouse) == before
    assert own_warehouse.read("corrections").empty


def test_what_is_missing_comes_later_with_a_correction_for_each_value(
    own_warehouse: Warehouse, archive: str, pruned: str
) -> None:
    assert store(pruned, own_warehouse).missing
    (incomplete,) = incomplete_epochs(own_warehouse.database, 0, 100, 10)
    assert incomplete.epoch == EPOCH
    assert own_warehouse.read("attestation_rewards", epochs=[EPOCH])["total_reward"].isna().all()

    report = store(archive, own_warehouse)
    assert not report.missing
    assert incomplete_epochs(own_warehouse.database, 0, 100, 10) == []
    corrections = own_warehouse.read("corrections")
    assert len(corrections) == report.corrections
    of_rewards = corrections[
        (corrections["table_name"] == "attestation_rewards")
        & (corrections["column_name"] == "total_reward")
    ]
    stored = own_warehouse.read("attestation_rewards", epochs=[EPOCH])
    assert of_rewards["old_value"].isna().all()
    corrected = dict(
        zip(of_rewards["validator_index"], of_rewards["new_value"].astype("int64"), strict=True)
    )
    assert corrected == dict(zip(stored["validator_index"], stored["total_reward"], strict=True))
