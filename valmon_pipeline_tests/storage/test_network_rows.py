"""The whole network of an epoch, stored and read back: nothing changes on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.storage.network_rows import TILE_VALIDATORS, network_rows
from valmon_pipeline.storage.tile_table import TILES
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.network_epochs import (
    LARGEST_BALANCE,
    any_network,
    assert_same_network,
    networks,
    plain_network,
)
from valmon_pipeline_tests.sample_frames import sample_frame


def tiles_of(warehouse: Warehouse) -> list[tuple[int, int, int]]:
    with warehouse.database.transaction("look") as connection:
        rows = connection.exec_driver_sql(
            f"SELECT epoch, epochs, first_validator FROM {warehouse.schema}.{TILES} "
            "ORDER BY epoch, epochs, first_validator"
        )
        return [(row[0], row[1], row[2]) for row in rows]


@given(networks())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_network_comes_back_as_it_was(warehouse: Warehouse, network: NetworkEpoch) -> None:
    warehouse.replace_epoch(network.epoch, {}, network=network)
    assert_same_network(warehouse.read_network_epoch(network.epoch), network)


@pytest.mark.parametrize("n", [TILE_VALIDATORS - 1, TILE_VALIDATORS, 2 * TILE_VALIDATORS + 1])
def test_tiles_are_filled_up_and_cut_off_again(warehouse: Warehouse, n: int) -> None:
    network = any_network(7, n)
    stored = warehouse.replace_epoch(7, {}, network=network)
    assert stored[TILES] == len(tiles_of(warehouse)) == -(-n // TILE_VALIDATORS)
    assert_same_network(warehouse.read_network_epoch(7), network)


def test_an_epoch_without_its_network_has_none(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {"network_epochs": sample_frame("network_epochs", 7)})
    assert warehouse.read_network_epoch(7) is None


def test_committees_that_were_not_read_stay_unknown(warehouse: Warehouse) -> None:
    network = plain_network(7, 30)
    absent = {
        name: np.full_like(getattr(network, name), -1)
        for name in ("duty_slot_in_epoch", "committee_index", "committee_position")
    }
    network = replace(network, **absent)
    warehouse.replace_epoch(7, {}, network=network)
    assert_same_network(warehouse.read_network_epoch(7), network)


def test_storing_again_replaces_what_was_there(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {}, network=any_network(7, 3 * TILE_VALIDATORS))
    warehouse.replace_epoch(8, {}, network=plain_network(8, 20))
    smaller = any_network(7, 10, seed=1)
    for _ in range(2):
        warehouse.replace_epoch(7, {}, network=smaller)
    assert tiles_of(warehouse) == [(7, 1, 0), (8, 1, 0)]
    assert_same_network(warehouse.read_network_epoch(7), smaller)
    assert_same_network(warehouse.read_network_epoch(8), plain_network(8, 20))


def test_frames_and_network_are_stored_together_or_not_at_all(warehouse: Warehouse) -> None:
    before = plain_network(7, 20)
    frame = sample_frame("network_epochs", 7)
    warehouse.replace_epoch(7, {"network_epochs": frame}, network=before)
    with warehouse.database.transaction("break the table") as connection:
        connection.exec_driver_sql(
            f"ALTER TABLE {warehouse.schema}.{TILES} ADD CHECK (epoch <> 7) NOT VALID"
        )
    with pytest.raises(StorageError):
        warehouse.replace_epoch(
            7,
            {"network_epochs": frame.assign(finalized=~frame["finalized"])},
            network=any_network(7, 30),
        )
    assert_same_network(warehouse.read_network_epoch(7), before)
    assert warehouse.read("network_epochs")["finalized"].tolist() == frame["finalized"].tolist()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("balance", LARGEST_BALANCE + 1),
        ("balance", -1),
        ("committee_position", 2**15),
        ("committee_position", -2),
        ("committee_index", -1),
        ("flags", 8),
        ("status", 9),
    ],
)
def test_what_the_columns_cannot_hold_is_refused(column: str, value: int) -> None:
    network = plain_network(7, 20)
    values = getattr(network, column).copy()
    values[3] = value
    with pytest.raises(ContractViolationError):
        network_rows(replace(network, **{column: values}))


def test_more_committees_than_a_number_can_tell_apart_are_refused() -> None:
    network = plain_network(7, 20)
    committees = network.committee_index.copy()
    committees[0] = 2**14
    with pytest.raises(ContractViolationError, match="committee_index"):
        network_rows(replace(network, committee_index=committees))


def test_a_missing_tile_is_told(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {}, network=plain_network(7, 2 * TILE_VALIDATORS))
    with warehouse.database.transaction("lose a tile") as connection:
        connection.exec_driver_sql(
            f"DELETE FROM {warehouse.schema}.{TILES} WHERE first_validator = 0"
        )
    with pytest.raises(StorageError, match="are missing"):
        warehouse.read_network_epoch(7)
