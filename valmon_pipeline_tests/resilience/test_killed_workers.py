"""Workers killed at random moments: no half epoch is ever seen, and a resume leaves no trace."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd
import psycopg
import pytest

from valmon_pipeline.assets.asset_graph import SCORE_TABLES
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.resilience.epoch_hashes import EPOCHS, EpochHashes, epoch_hashes
from valmon_pipeline_tests.resilience.worker import (
    COMPLETED,
    INTERRUPTED,
    INTERRUPTED_OUTSIDE,
    Work,
)

KILLS = 50
SEED = 3
STORE_SECONDS = 30.0
STOP_SECONDS = 20.0
"""What `valmon up` grants its processes before it kills them: a run must be over by then."""


@pytest.fixture
def work(database_url: str, node_url: str) -> Iterator[Work]:
    """Work in a fresh schema."""
    with fresh_warehouse(database_url) as warehouse:
        yield Work(node_url, database_url, warehouse.schema, EPOCHS)


def stored(work: Work) -> EpochHashes:
    """What is visible now; waits for the server to roll back what killed clients left open."""
    with psycopg.connect(work.database_url, autocommit=True) as connection:
        deadline = time.monotonic() + STOP_SECONDS
        while connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = %s", [f"valmon {work.schema}"]
        ).fetchone():
            assert time.monotonic() < deadline, "a killed worker's session stays open"
            time.sleep(0.02)
    warehouse = work.warehouse()
    try:
        return epoch_hashes(warehouse)
    finally:
        warehouse.database.close()


def scored_epochs(work: Work) -> list[int]:
    """The epochs that are stored with their scores."""
    warehouse = work.warehouse()
    try:
        return warehouse.scored_epochs(EPOCHS[0], EPOCHS[-1])
    finally:
        warehouse.database.close()


def is_whole(tables: Mapping[str, str], undisturbed: Mapping[str, str]) -> bool:
    """Whether the facts are all there, and the scores all or not at all."""
    facts = {table: found for table, found in undisturbed.items() if table not in SCORE_TABLES}
    return tables in (undisturbed, facts)


def wait_for_epochs(work: Work, count: int) -> None:
    """Wait until ``count`` epochs were stored, anew or again, however busy the machine is."""
    query = f"SELECT max(materialized_at) FROM {work.schema}.network_epochs".encode()
    with psycopg.connect(work.database_url, autocommit=True) as connection:
        newest = connection.execute(query).fetchone()
        deadline = time.monotonic() + STORE_SECONDS
        while count and time.monotonic() < deadline:
            time.sleep(0.01)
            found = connection.execute(query).fetchone()
            count -= found != newest
            newest = found


def wait_for_standings(work: Work, left: int) -> None:
    """Wait until a worker has left only so many epochs on the list, however busy the machine is."""
    query = (
        f"SELECT count(*) + 99 * count(*) FILTER (WHERE spreads) FROM {work.schema}.standings_due"
    )
    with psycopg.connect(work.database_url, autocommit=True) as connection:
        deadline = time.monotonic() + STORE_SECONDS
        while time.monotonic() < deadline:
            row = connection.execute(query.encode()).fetchone()
            if row is not None and row[0] <= left:
                return
            time.sleep(0.002)
    raise AssertionError(f"no standings are made within {STORE_SECONDS} s")


@pytest.mark.slow
def test_fifty_kills_and_a_resume_give_the_tables_of_an_undisturbed_run(
    work: Work, undisturbed: EpochHashes, undisturbed_standings: pd.DataFrame
) -> None:
    chance = random.Random(SEED)
    epochs_after_kill = set()
    for kill in range(KILLS):
        before = stored(work)
        missing = [epoch for epoch in EPOCHS if epoch not in before]
        # What is stored is stored again, so that replacing is hit as well as storing anew.
        again = chance.sample(sorted(before), len(before))
        process = replace(work, epochs=missing + again).start()
        wait_for_epochs(work, chance.randrange(3))
        process.join(chance.uniform(0.0, 0.4))
        assert process.exitcode is None, f"kill {kill}: the worker ended by itself"
        process.kill()
        process.join()
        seen = stored(work)
        assert seen.keys() >= before.keys(), f"kill {kill}: an epoch was lost"
        for epoch, tables in seen.items():
            assert is_whole(tables, undisturbed[epoch]), f"kill {kill}: epoch {epoch} is not whole"
        epochs_after_kill.add(len(seen))
    assert len(epochs_after_kill) > 2, "the kills hit too few different moments"
    work.finish([epoch for epoch in EPOCHS if epoch not in scored_epochs(work)])
    assert stored(work) == undisturbed
    warehouse = work.warehouse()
    # Killed between storing and making, or while making, nothing is forgotten or stays outdated.
    pd.testing.assert_frame_equal(
        warehouse.read("validator_standings"), undisturbed_standings, check_exact=True
    )
    assert warehouse.read("standings_due").empty
    warehouse.database.close()


@pytest.mark.slow
def test_a_worker_killed_while_it_makes_standings_leaves_whole_epochs(
    work: Work, undisturbed_standings: pd.DataFrame
) -> None:
    work.finish(EPOCHS)
    chance = random.Random(SEED)
    warehouse = work.warehouse()
    whole = undisturbed_standings.groupby("epoch").size().to_dict()
    left_over = set()
    for _ in range(12):
        for epoch in EPOCHS[:2]:
            facts = {
                table: warehouse.read(table, epochs=[epoch])
                for table in ("effectiveness_scores", "attestation_outcomes")
            }
            warehouse.replace_epoch(epoch, facts)
        process = work.start_making()
        wait_for_standings(work, chance.randrange(6))
        process.kill()
        process.join()
        assert warehouse.read("validator_standings").groupby("epoch").size().to_dict() == whole
        left_over.add(len(warehouse.read("standings_due")))
    assert len(left_over) > 1, "the kills hit too few different moments"
    work.finish([])
    assert warehouse.read("standings_due").empty
    pd.testing.assert_frame_equal(
        warehouse.read("validator_standings"), undisturbed_standings, check_exact=True
    )
    warehouse.database.close()


@pytest.mark.slow
def test_a_terminated_run_ends_in_time_with_whole_epochs_only(
    work: Work, undisturbed: EpochHashes
) -> None:
    chance = random.Random(SEED)
    endings = []
    for _ in range(7):
        process = work.start_run()
        assert process.pid is not None
        wait_for_epochs(work, chance.randrange(4))
        process.join(chance.uniform(0.0, 0.5))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGTERM)
        process.join(STOP_SECONDS)
        endings.append(process.exitcode)
        process.kill()
        for epoch, tables in stored(work).items():
            assert is_whole(tables, undisturbed[epoch])
    assert INTERRUPTED in endings
    assert set(endings) <= {INTERRUPTED, INTERRUPTED_OUTSIDE, COMPLETED}
    work.finish([epoch for epoch in EPOCHS if epoch not in scored_epochs(work)])
    assert stored(work) == undisturbed
