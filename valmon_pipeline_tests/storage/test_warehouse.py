"""Storing and reading facts: whole, exact, and only one network's."""

from __future__ import annotations

import os
import pwd
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames import TABLES, conform
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.epoch_partitions import (
    EpochPartition,
    drop_partitions,
    ensure_partitions,
    list_partitions,
    partition_of,
)
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.conftest import DEVNET
from valmon_pipeline_tests.sample_frames import sample_frame

BY_EPOCH = [name for name, contract in TABLES.items() if contract.by_epoch]
WHOLE = [name for name, contract in TABLES.items() if not contract.by_epoch]
REPLACED_BY_EPOCH = [name for name in BY_EPOCH if TABLES[name].replaced_by == ("epoch",)]


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_exact=True)


@pytest.mark.parametrize("table", BY_EPOCH)
def test_what_is_stored_is_what_is_read(warehouse: Warehouse, table: str) -> None:
    frame = sample_frame(table, rows=50)
    shuffled = frame.sample(frac=1, random_state=3)
    assert warehouse.replace_epoch(7, {table: shuffled}) == {table: len(frame)}
    same(warehouse.read(table), frame)


@pytest.mark.parametrize("table", WHOLE)
def test_whole_tables_are_stored_and_read(warehouse: Warehouse, table: str) -> None:
    frame = sample_frame(table, rows=50)
    rows = len(frame)  # 1 in the tables of one row
    assert warehouse.replace_table(table, frame.sample(frac=1, random_state=3)) == rows
    same(warehouse.read(table), frame)
    assert warehouse.replace_table(table, frame.head(3)) == min(rows, 3)
    same(warehouse.read(table), frame.head(3))


@pytest.mark.parametrize("table", BY_EPOCH)
def test_postgresql_itself_sees_the_same_values(warehouse: Warehouse, table: str) -> None:
    """Read by another way than ours: psycopg's own rows."""
    frame = sample_frame(table, rows=10)
    warehouse.replace_epoch(7, {table: frame})
    # By name: columns that a migration adds come last in the database.
    columns = ", ".join(TABLES[table].columns)
    with warehouse.database.transaction("look") as connection:
        rows = connection.execute(
            sa.text(f"SELECT {columns} FROM {warehouse.schema}.{table}")
        ).all()
    expected = [tuple(map(plain, row)) for row in frame.itertuples(index=False, name=None)]
    assert sorted(map(tuple, rows), key=in_text) == sorted(expected, key=in_text)


def in_text(row: tuple[object, ...]) -> list[str]:
    """An order that NULLs do not disturb."""
    return [str(value) for value in row]


def plain(value: object) -> object:
    """A frame's value as psycopg gives it."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    if value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("table", REPLACED_BY_EPOCH)
def test_empty_frames_store_and_read_as_empty(warehouse: Warehouse, table: str) -> None:
    empty = conform(table, {name: [] for name in TABLES[table].columns})
    warehouse.replace_epoch(7, {table: sample_frame(table)})
    assert warehouse.replace_epoch(7, {table: empty})[table] == 0
    same(warehouse.read(table), empty)


def test_an_epoch_is_replaced_and_its_neighbours_stay(warehouse: Warehouse) -> None:
    for epoch in (9, 10, 11):
        warehouse.replace_epoch(epoch, {"blocks": sample_frame("blocks", epoch)})
    again = sample_frame("blocks", 10, rows=5, seed=2)
    warehouse.replace_epoch(10, {"blocks": again})
    same(warehouse.read("blocks", epochs=[10]), again)
    same(warehouse.read("blocks", epochs=[9]), sample_frame("blocks", 9))
    same(warehouse.read("blocks", epochs=[11]), sample_frame("blocks", 11))


def snapshots(epoch: int, slot: int, indices: list[int], balance: int = 1) -> pd.DataFrame:
    return conform(
        "validator_snapshots",
        {
            "epoch": epoch,
            "slot": slot,
            "validator_index": indices,
            "status": ["active_ongoing"] * len(indices),
            "balance": balance,
            "effective_balance": 32,
        },
    )


def test_snapshots_of_other_slots_survive_their_epoch(warehouse: Warehouse) -> None:
    live = snapshots(7, 60, [1, 2])
    warehouse.replace_epoch(7, {"validator_snapshots": snapshots(7, 56, [1, 2, 3])})
    warehouse.replace_rows({"validator_snapshots": live})
    boundary = snapshots(7, 56, [2], balance=5)
    warehouse.replace_epoch(7, {"validator_snapshots": boundary})
    same(warehouse.read("validator_snapshots"), pd.concat([boundary, live]))


def test_rows_of_several_epochs_and_tables_are_replaced_at_once(warehouse: Warehouse) -> None:
    first = pd.concat([snapshots(6, 55, [1, 2]), snapshots(7, 56, [1])])
    events = sample_frame("live_events", 7, rows=5)
    head = sample_frame("chain_head")
    frames = {"validator_snapshots": first, "live_events": events, "chain_head": head}
    assert warehouse.replace_rows(frames) == {
        "validator_snapshots": 3,
        "live_events": 5,
        "chain_head": 1,
    }
    warehouse.replace_rows(frames)
    same(warehouse.read("validator_snapshots"), first)
    same(warehouse.read("live_events"), events)
    later = sample_frame("chain_head", seed=2)
    again = sample_frame("live_events", 7, rows=2, seed=2)
    warehouse.replace_rows({"chain_head": later, "live_events": again})
    same(warehouse.read("chain_head"), later)
    same(warehouse.read("live_events"), pd.concat([again, events.iloc[2:]]))


@pytest.mark.parametrize("table", TABLES)
def test_storing_rows_again_changes_nothing(warehouse: Warehouse, table: str) -> None:
    frame = sample_frame(table)
    for _ in range(2):
        warehouse.replace_rows({table: frame})
    same(warehouse.read(table), frame)


def test_rows_are_stored_together_or_not_at_all(warehouse: Warehouse) -> None:
    bad = sample_frame("chain_head")
    bad["head_slot"] = np.full(1, -1, dtype=np.int32)
    with pytest.raises(ContractViolationError, match="head_slot"):
        warehouse.replace_rows({"validator_snapshots": snapshots(7, 56, [1]), "chain_head": bad})
    assert warehouse.read("validator_snapshots").empty


def test_rows_ahead_give_way_to_the_epoch(warehouse: Warehouse) -> None:
    ahead = sample_frame("proposer_duties", 8, rows=8)
    assert warehouse.store_ahead(8, {"proposer_duties": ahead})
    assert warehouse.store_ahead(8, {"proposer_duties": ahead})
    same(warehouse.read("proposer_duties"), ahead)
    judged = sample_frame("proposer_duties", 8, rows=8, seed=2)
    warehouse.replace_epoch(
        8, {"proposer_duties": judged, "network_epochs": sample_frame("network_epochs", 8)}
    )
    assert not warehouse.store_ahead(8, {"proposer_duties": ahead})
    same(warehouse.read("proposer_duties"), judged)


def test_storing_twice_gives_the_same_rows(warehouse: Warehouse) -> None:
    for _ in range(2):
        warehouse.replace_epoch(7, {table: sample_frame(table) for table in BY_EPOCH})
    for table in BY_EPOCH:
        same(warehouse.read(table), sample_frame(table))


def test_a_frame_that_breaks_its_contract_stores_nothing(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {"blocks": sample_frame("blocks")})
    broken = sample_frame("attestation_duties")
    broken.loc[2, "slot"] = -1
    with pytest.raises(ContractViolationError, match="column slot: at least 0: 1 failing"):
        warehouse.replace_epoch(
            7, {"blocks": sample_frame("blocks", seed=2), "attestation_duties": broken}
        )
    same(warehouse.read("blocks"), sample_frame("blocks"))


def test_rows_of_another_epoch_are_refused(warehouse: Warehouse) -> None:
    frame = pd.concat([sample_frame("blocks", 7), sample_frame("blocks", 8)])
    with pytest.raises(ContractViolationError, match=r"20 rows of other epochs .*epoch 7: \[8\]"):
        warehouse.replace_epoch(7, {"blocks": frame})


def test_tables_go_with_the_method_that_fits(warehouse: Warehouse) -> None:
    with pytest.raises(ContractViolationError, match="use replace_table"):
        warehouse.replace_epoch(7, {"validators": sample_frame("validators")})
    with pytest.raises(ContractViolationError, match="use replace_epoch"):
        warehouse.replace_table("blocks", sample_frame("blocks"))
    with pytest.raises(ContractViolationError, match="not kept by epoch"):
        warehouse.read("validators", epochs=[7])


def refuse_inserts(warehouse: Warehouse, table: str, condition: str) -> None:
    """Make PostgreSQL refuse rows of ``table`` with a real error of its own."""
    with warehouse.database.transaction("arm the trigger") as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION {warehouse.schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION USING ERRCODE = '{condition}', "
            "MESSAGE = 'could not extend file'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {warehouse.schema}.{table} "
            f"FOR EACH ROW EXECUTE FUNCTION {warehouse.schema}.refuse()"
        )


@pytest.mark.parametrize(
    ("code", "advice"),
    [("53100", "disk of the database is full"), ("40P01", "deadlock"), ("XX000", "XX000")],
)
def test_an_error_in_one_table_leaves_all_as_they_were(
    warehouse: Warehouse, code: str, advice: str
) -> None:
    before = {table: sample_frame(table) for table in ("attestation_duties", "sync_duties")}
    warehouse.replace_epoch(7, before)
    refuse_inserts(warehouse, "sync_duties", code)
    after = {table: sample_frame(table, seed=2) for table in before}
    with pytest.raises(StorageError, match=advice) as raised:
        warehouse.replace_epoch(7, after)
    assert "store epoch 7 of attestation_duties, sync_duties" in str(raised.value)
    assert "could not extend file" in str(raised.value)
    for table, frame in before.items():
        same(warehouse.read(table), frame)


@pytest.fixture
def tiny_disk(database: Database, schema: str, postgres_home: Path) -> Iterator[str]:
    """A tablespace on a disk of two megabytes; needs root on Linux and a server on this machine."""

    if "VALMON_TEST_DATABASE_URL" in os.environ:
        pytest.skip("the server may be on another machine")
    mounted = postgres_home / "tiny"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can only be mounted by root")
    try:
        postgres_home.chmod(0o711)
        owner = pwd.getpwnam("pgserver")
        os.chown(mounted, owner.pw_uid, owner.pw_gid)
        with psycopg.connect(
            database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
        ) as connection:
            connection.execute(f"CREATE TABLESPACE {schema} LOCATION '{mounted}'".encode())
            yield schema
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
            connection.execute(f"DROP TABLESPACE {schema}".encode())
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_disk_that_is_really_full_stores_nothing(warehouse: Warehouse, tiny_disk: str) -> None:
    before = sample_frame("attestation_duties", rows=10)
    warehouse.replace_epoch(7, {"attestation_duties": before})
    child = f"{warehouse.schema}.{partition_of('attestation_duties', 7, 10).name}"
    with warehouse.database.transaction("move the table to the tiny disk") as connection:
        connection.exec_driver_sql(f"ALTER TABLE {child} SET TABLESPACE {tiny_disk}")
    with pytest.raises(StorageError, match="disk of the database is full") as raised:
        warehouse.replace_epoch(
            7, {"attestation_duties": sample_frame("attestation_duties", rows=100_000)}
        )
    assert "No space left on device" in str(raised.value)
    same(warehouse.read("attestation_duties"), before)


def test_writers_of_one_epoch_wait_and_readers_never_see_half(warehouse: Warehouse) -> None:
    def frame(slot: int) -> pd.DataFrame:
        rows = 2000
        return conform(
            "attestation_duties",
            {
                "epoch": 7,
                "validator_index": np.arange(rows),
                "slot": np.full(rows, slot),
                "committee_index": 0,
                "committee_position": 0,
                "committee_length": 1,
            },
        )

    warehouse.replace_epoch(7, {"attestation_duties": frame(0)})
    done = threading.Event()
    seen: list[set[int]] = []

    def watch() -> None:
        while not done.is_set():
            slots = warehouse.read("attestation_duties", epochs=[7], columns=["slot"])["slot"]
            assert len(slots) == 2000
            seen.append(set(slots.tolist()))

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(watch)
        writers = [
            pool.submit(warehouse.replace_epoch, 7, {"attestation_duties": frame(slot)})
            for slot in range(1, 13)
        ]
        assert [writer.result() for writer in writers] == [{"attestation_duties": 2000}] * 12
        done.set()
        reader.result()
    assert all(len(slots) == 1 for slots in seen)


def test_children_hold_the_epochs_of_a_day(warehouse: Warehouse) -> None:
    for epoch in (0, 9, 10, 25):
        warehouse.replace_epoch(epoch, {"blocks": sample_frame("blocks", epoch)})
    with warehouse.database.transaction("list") as connection:
        found = list_partitions(connection, warehouse.schema, "blocks")
    assert found == [
        EpochPartition("blocks", 0, 10),
        EpochPartition("blocks", 10, 20),
        EpochPartition("blocks", 20, 30),
    ]
    assert [partition.name for partition in found][1] == "blocks_e0000010"


def test_children_are_dropped_with_their_rows_and_made_again(warehouse: Warehouse) -> None:
    for epoch in (9, 10):
        warehouse.replace_epoch(epoch, {"blocks": sample_frame("blocks", epoch)})
    with warehouse.database.transaction("drop") as connection:
        drop_partitions(connection, warehouse.schema, [partition_of("blocks", 9, 10)])
    assert set(warehouse.read("blocks")["epoch"]) == {10}
    warehouse.replace_epoch(9, {"blocks": sample_frame("blocks", 9)})
    assert set(warehouse.read("blocks")["epoch"]) == {9, 10}


def test_children_may_be_made_by_several_at_once(warehouse: Warehouse) -> None:
    wanted = [
        partition_of(table, epoch, 10)
        for table in ("blocks", "sync_duties", "attestation_duties")
        for epoch in (0, 10, 20)
    ]

    def make(_: int) -> None:
        with warehouse.database.transaction("make children") as connection:
            ensure_partitions(connection, warehouse.schema, wanted)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))
    with warehouse.database.transaction("list") as connection:
        assert len(list_partitions(connection, warehouse.schema, "sync_duties")) == 3


def test_reading_takes_epochs_columns_and_validators(warehouse: Warehouse) -> None:
    for epoch in (8, 9, 12):
        frame = sample_frame("attestation_duties", epoch)
        warehouse.replace_epoch(epoch, {"attestation_duties": frame})
    found = warehouse.read(
        "attestation_duties",
        epochs=[12, 8, 10],
        columns=["slot", "epoch"],
        validator_indices=[3, 0, 99],
    )
    assert found.columns.tolist() == ["slot", "epoch"]
    assert found["epoch"].tolist() == [8, 8, 12, 12]
    expected = sample_frame("attestation_duties", 12)["slot"][[0, 3]].tolist()
    assert found["slot"].tolist()[2:] == expected


def test_validators_of_blocks_are_their_proposers(warehouse: Warehouse) -> None:
    frame = sample_frame("block_rewards")
    warehouse.replace_epoch(7, {"block_rewards": frame})
    proposer = int(frame["proposer_index"][4])
    assert warehouse.read("block_rewards", validator_indices=[proposer])["slot"].tolist() == [4]


def test_no_epochs_are_no_rows(warehouse: Warehouse) -> None:
    warehouse.replace_epoch(7, {"blocks": sample_frame("blocks")})
    assert len(warehouse.read("blocks", epochs=[])) == 0
    assert len(warehouse.read("check_results", epochs=[])) == 0


def test_a_column_that_is_not_there_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(ContractViolationError, match=r"blocks has no columns .'colour'."):
        warehouse.read("blocks", columns=["epoch", "colour"])


def test_a_schema_belongs_to_one_network(warehouse: Warehouse) -> None:
    assert warehouse.bind_network(DEVNET) == DEVNET
    other = replace(DEVNET, genesis_time=5, genesis_validators_root=bytes(32))
    with pytest.raises(StorageError, match="genesis_time 1700000000 there, 5 here") as raised:
        warehouse.bind_network(other)
    assert "genesis_validators_root 0x000102" in str(raised.value)
    assert Warehouse(warehouse.database).network() == DEVNET


def test_the_span_of_children_is_fixed_by_the_first_run(warehouse: Warehouse) -> None:
    assert warehouse.bind_network(replace(DEVNET, partition_epochs=225)).partition_epochs == 10


def test_nothing_is_stored_before_the_network_is_known(database: Database) -> None:
    warehouse = Warehouse(database)
    assert warehouse.network() is None
    with pytest.raises(StorageError, match="call bind_network first"):
        warehouse.replace_epoch(7, {"blocks": sample_frame("blocks")})


def test_networks_bound_at_once_agree(database: Database) -> None:
    def bind(number: int) -> NetworkIdentity | None:
        try:
            return Warehouse(database).bind_network(replace(DEVNET, genesis_time=number))
        except StorageError:
            return None

    with ThreadPoolExecutor(4) as pool:
        bound = [identity for identity in pool.map(bind, range(4)) if identity is not None]
    assert len(bound) == 1
