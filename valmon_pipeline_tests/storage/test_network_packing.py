"""Final spans are packed into tiles of all their epochs, and nobody who reads can tell."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import migrate, network_packing
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.epoch_partitions import list_partitions
from valmon_pipeline.storage.network_packing import (
    PACKED_VALIDATORS,
    PackedSpan,
    pack_span,
    spans_to_pack,
)
from valmon_pipeline.storage.network_rows import TILE_VALIDATORS
from valmon_pipeline.storage.queries import Span, network_validator_history
from valmon_pipeline.storage.tile_table import TILES
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.network_epochs import (
    any_network,
    assert_same_network,
    plain_network,
)
from valmon_pipeline_tests.sample_frames import sample_frame

SPAN = range(10, 10 + DEVNET.partition_epochs)
EPOCHS = (10, 11, 14, 19)
Networks = dict[int, NetworkEpoch]

INDEXES = """
SELECT indexrelid, substring(pg_get_indexdef(indexrelid) FROM '\\(.*\\)') AS columns
FROM pg_index JOIN pg_inherits ON inhrelid = indrelid
WHERE inhparent = '{schema}.network_outcomes'::regclass
"""


def store(warehouse: Warehouse, network: NetworkEpoch, *, finalized: bool = True) -> None:
    frame = sample_frame("network_epochs", network.epoch).assign(finalized=finalized)
    warehouse.replace_epoch(network.epoch, {"network_epochs": frame}, network=network)


@pytest.fixture
def networks(warehouse: Warehouse) -> Networks:
    """Some epochs of a span, with a registry that grows, and one of the next span."""
    stored = {
        epoch: plain_network(epoch, 2 * TILE_VALIDATORS + 3 * epoch) for epoch in (*EPOCHS, 20)
    }
    for network in stored.values():
        store(warehouse, network)
    return stored


def unpacked(warehouse: Warehouse) -> pd.DataFrame:
    with warehouse.database.transaction("read the view") as connection:
        return pd.read_sql(
            f"SELECT * FROM {warehouse.schema}.network_validators ORDER BY 1, 2", connection
        )


def assert_stored(warehouse: Warehouse, networks: Networks) -> None:
    for epoch, network in networks.items():
        assert_same_network(warehouse.read_network_epoch(epoch), network)


def tile_epochs(warehouse: Warehouse) -> dict[int, int]:
    states = warehouse.read("network_states")
    return dict(zip(states["epoch"].tolist(), states["tile_epochs"].tolist(), strict=True))


def test_a_span_that_is_packed_reads_as_before(warehouse: Warehouse, networks: Networks) -> None:
    view = unpacked(warehouse)
    histories = [
        network_validator_history(warehouse, validator, Span(0, 100)) for validator in (0, 17, 1060)
    ]
    packed = pack_span(warehouse, SPAN)
    tiles = -(-len(networks[19]) // PACKED_VALIDATORS)
    assert packed == PackedSpan(first=10, last=19, epochs=4, tiles=tiles)
    assert tile_epochs(warehouse) == {**dict.fromkeys(EPOCHS, 10), 20: 1}
    assert_stored(warehouse, networks)
    pd.testing.assert_frame_equal(unpacked(warehouse), view)
    for validator, before in zip((0, 17, 1060), histories, strict=True):
        after = network_validator_history(warehouse, validator, Span(0, 100))
        pd.testing.assert_frame_equal(after, before)


def test_any_values_survive_packing(warehouse: Warehouse) -> None:
    networks = {epoch: any_network(epoch, 40 + epoch) for epoch in SPAN}
    for network in networks.values():
        warehouse.replace_epoch(network.epoch, {}, network=network)
    pack_span(warehouse, SPAN)
    assert_stored(warehouse, networks)


def test_registries_larger_than_a_block_are_packed_block_by_block(
    warehouse: Warehouse, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valmon_pipeline.storage.tile_blocks.BLOCK_VALIDATORS", TILE_VALIDATORS)
    pack_span(warehouse, SPAN)
    assert_stored(warehouse, networks)


def test_packed_balances_are_converted_with_their_version(
    warehouse: Warehouse, networks: Networks, database_url: str
) -> None:
    view = unpacked(warehouse)
    pack_span(warehouse, SPAN)
    migrate.downgrade(database_url, warehouse.schema, "0014")
    pd.testing.assert_frame_equal(unpacked(warehouse), view)
    migrate.upgrade(database_url, warehouse.schema)
    pd.testing.assert_frame_equal(unpacked(warehouse), view)
    assert_stored(warehouse, networks)


def test_packing_twice_changes_nothing(warehouse: Warehouse, networks: Networks) -> None:
    pack_span(warehouse, SPAN)
    assert pack_span(warehouse, SPAN) is None
    assert_stored(warehouse, networks)


def test_an_epoch_stored_after_packing_is_packed_in_the_next_time(
    warehouse: Warehouse, networks: Networks
) -> None:
    pack_span(warehouse, SPAN)
    networks |= {12: plain_network(12, 700), 14: any_network(14, 900)}
    for epoch in (12, 14):
        store(warehouse, networks[epoch])
    assert tile_epochs(warehouse)[14] == 1
    assert_stored(warehouse, networks)
    assert spans_to_pack(warehouse) == [SPAN]
    again = pack_span(warehouse, SPAN)
    assert again is not None
    assert again.epochs == 5
    assert set(tile_epochs(warehouse).values()) == {1, 10}
    assert_stored(warehouse, networks)
    assert spans_to_pack(warehouse) == []


def test_a_span_is_due_when_it_is_over_and_final(warehouse: Warehouse) -> None:
    for epoch in (10, 12):
        store(warehouse, plain_network(epoch, 20), finalized=epoch != 12)
    assert spans_to_pack(warehouse) == []
    store(warehouse, plain_network(20, 20))
    assert spans_to_pack(warehouse) == []
    store(warehouse, plain_network(12, 20))
    assert spans_to_pack(warehouse) == [SPAN]


def test_a_packed_history_is_read_by_the_index_that_lies_as_the_rows_do(
    warehouse: Warehouse, networks: Networks, database_url: str
) -> None:
    pack_span(warehouse, SPAN)
    # A session of its own: counts that are not published yet are those of the session.
    with psycopg.connect(database_url) as connection:
        # The tables are so small that PostgreSQL would read them whole.
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_bitmapscan = off")
        history = f"SELECT * FROM {warehouse.schema}.network_validator_history(17, 10, 19)"
        assert len(connection.execute(history.encode()).fetchall()) == len(EPOCHS)
        query = f"SELECT columns, pg_stat_get_xact_numscans(indexrelid) FROM ({INDEXES}) i"
        counted = connection.execute(query.format(schema=warehouse.schema).encode()).fetchall()
    assert {columns for columns, _ in counted} == {"(outcome, epoch)", "(epoch, outcome)"}
    assert {columns for columns, scans in counted if scans > 0} == {"(outcome, epoch)"}


def test_days_packed_before_get_their_index_anew(
    warehouse: Warehouse, networks: Networks, database_url: str
) -> None:
    def history() -> pd.DataFrame:
        return network_validator_history(warehouse, 17, Span(0, 100))

    def indexes() -> set[int]:
        query = f"SELECT indexrelid FROM ({INDEXES}) i WHERE columns = '(outcome, epoch)'"
        with warehouse.database.transaction("list indexes") as connection:
            rows = connection.exec_driver_sql(query.format(schema=warehouse.schema))
            return set(rows.scalars())

    pack_span(warehouse, SPAN)
    before, rows = indexes(), history()
    migrate.downgrade(database_url, warehouse.schema, "0016")
    pd.testing.assert_frame_equal(history(), rows)
    migrate.upgrade(database_url, warehouse.schema)
    assert len(indexes()) == len(before) == 1
    assert indexes().isdisjoint(before)
    pd.testing.assert_frame_equal(history(), rows)


@pytest.mark.parametrize("step", ["read_block", "_copy_packed", "swap_partition"])
def test_what_is_killed_halfway_leaves_all_as_it_was(
    warehouse: Warehouse,
    networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    step: str,
) -> None:
    """The server ends our session right after the step, as a power cut would."""
    real: Callable[..., object] = getattr(network_packing, step)

    def step_and_be_killed(connection: sa.Connection, *arguments: object) -> object:
        done = real(connection, *arguments)
        driver = driver_connection(connection)
        with psycopg.connect(database_url) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", [driver.info.backend_pid])
        return done

    monkeypatch.setattr(network_packing, step, step_and_be_killed)
    with pytest.raises(StorageError):
        pack_span(warehouse, SPAN)
    monkeypatch.undo()
    assert set(tile_epochs(warehouse).values()) == {1}
    assert_stored(warehouse, networks)
    assert pack_span(warehouse, SPAN) is not None
    assert_stored(warehouse, networks)
    with warehouse.database.transaction("list") as connection:
        children = list_partitions(connection, warehouse.schema, TILES)
    assert [child.first_epoch for child in children] == [10, 20]


def test_a_reader_keeps_the_tiles_that_it_reads(
    warehouse: Warehouse, networks: Networks, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_packing, "LOCK_SECONDS", 1)
    with psycopg.connect(database_url) as reader:
        reader.execute(f"SELECT count(*) FROM {warehouse.schema}.{TILES}".encode())
        with pytest.raises(StorageError, match="holds a lock on the table"):
            pack_span(warehouse, SPAN)
    assert_stored(warehouse, networks)
