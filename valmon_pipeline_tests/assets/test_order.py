"""The same epochs give the same rows, whatever the order and however many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes

EPOCHS = range(5, 21)


def materialize(url: str, warehouse: Warehouse, runs: Sequence[Sequence[int]]) -> dict[str, str]:
    """Materialize in as many runs; the hash of each table afterwards."""
    for epochs in runs:
        outcome = EpochLoader(client_opener(url), warehouse, NETWORK).run(epochs)
        assert outcome.failures == {}
        assert outcome.stored == sorted(epochs)
    assert stored_epochs(warehouse) == list(EPOCHS)
    return table_hashes(warehouse)


@pytest.fixture(scope="module")
def warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def forwards(warehouse: Warehouse, true_node_url: str) -> dict[str, str]:
    """The tables after one run through all epochs."""
    hashes = materialize(true_node_url, warehouse, [EPOCHS])
    assert all(not hash_.startswith("0 ") for hash_ in hashes.values())
    return hashes


@pytest.mark.parametrize(
    "runs",
    [[EPOCHS[::-1]], [[epoch] for epoch in EPOCHS]],
    ids=["backwards", "one by one"],
)
def test_any_order_gives_the_same_tables(
    database_url: str, true_node_url: str, forwards: dict[str, str], runs: Sequence[Sequence[int]]
) -> None:
    with fresh_warehouse(database_url) as warehouse:
        assert materialize(true_node_url, warehouse, runs) == forwards


def test_once_more_over_what_is_stored_changes_nothing(
    warehouse: Warehouse, true_node_url: str, forwards: dict[str, str]
) -> None:
    assert materialize(true_node_url, warehouse, [[8], EPOCHS[:3]]) == forwards
