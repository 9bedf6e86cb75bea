"""A node on the recorded chain, in a thread of this process: only the workers are killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.resilience.drill import PatientNode, patient_node
from valmon_pipeline_tests.resilience.epoch_hashes import EPOCHS, EpochHashes, epoch_hashes
from valmon_pipeline_tests.resilience.worker import Work


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    """The address of a node that answers as recorded."""
    with BackgroundReplayNode(ReplayNode(Recording.load(RECORDING_PATH))) as node:
        yield node.url


@pytest.fixture
def node() -> Iterator[PatientNode]:
    """A node of this test's own, whose clock and patience the test controls."""
    with patient_node() as node:
        yield node


@dataclass(frozen=True, slots=True)
class Tables:
    """What a run that nobody disturbs leaves."""

    epochs: EpochHashes
    standings: pd.DataFrame


@pytest.fixture(scope="session")
def undisturbed_tables(database_url: str, node_url: str) -> Tables:
    with fresh_warehouse(database_url) as warehouse:
        Work(node_url, database_url, warehouse.schema, EPOCHS).finish(EPOCHS)
        tables = Tables(epoch_hashes(warehouse), warehouse.read("validator_standings"))
    assert sorted(tables.epochs) == sorted(set(tables.standings["epoch"])) == list(EPOCHS)
    return tables


@pytest.fixture(scope="session")
def undisturbed(undisturbed_tables: Tables) -> EpochHashes:
    """What is to be stored of each epoch."""
    return undisturbed_tables.epochs


@pytest.fixture(scope="session")
def undisturbed_standings(undisturbed_tables: Tables) -> pd.DataFrame:
    """The standings in the end, however often they were made."""
    return undisturbed_tables.standings
