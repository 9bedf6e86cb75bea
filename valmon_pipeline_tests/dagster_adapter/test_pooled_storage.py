"""Dagster's storage over a pool: what it costs in connections, and what it survives."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.storage.event_log.schema import DynamicPartitionsTable

from valmon_pipeline.dagster_adapter import pooled_storage
from valmon_pipeline.dagster_adapter.pooled_storage import (
    POOL_SIZE,
    PooledPostgresStorage,
    forget_partition_keys,
)
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline_tests.automation.conftest import end_connections, execute

EPOCHS = "epoch_devnet"
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def template(database_url: str) -> Iterator[str]:
    """The name of a database with Dagster's tables."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    execute(database_url, "CREATE DATABASE {}", name)
    PooledPostgresStorage(dagster_url(database_url, name))
    end_connections(database_url, name)
    yield name
    execute(database_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def url(database_url: str, template: str) -> Iterator[str]:
    """The address of a database with Dagster's tables, nobody connected to it."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    execute(database_url, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield dagster_url(database_url, name)
    execute(database_url, "DROP DATABASE {} WITH (FORCE)", name)


def dagster_url(database_url: str, name: str) -> str:
    url = sa.make_url(database_url).set(drivername="postgresql+psycopg2", database=name)
    return url.render_as_string(hide_password=False)


@contextmanager
def instance_at(url: str, home: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose file names the database by a variable, as the shipped one does."""
    storage = {
        "module": PooledPostgresStorage.__module__,
        "class": PooledPostgresStorage.__name__,
        "config": {"postgres_url": {"env": "TEST_DAGSTER_URL"}},
    }
    home.mkdir(exist_ok=True)
    settings = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_DAGSTER_URL", url)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance


def backends(url: str) -> dict[int, str]:
    """Process id and state of each connection to the database, but for our own."""
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        return dict(
            connection.execute(
                "SELECT pid, state FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
        )


def libpq(url: str) -> str:
    return url.replace("postgresql+psycopg2", "postgresql")


def use(instance: dg.DagsterInstance) -> None:
    """Ask each of the three storages something, and write something."""
    instance.get_run_records(limit=1)
    instance.get_runs(dg.RunsFilter(tags={"valmon/network": "devnet"}))
    instance.all_instigator_state()
    instance.get_instigator_state("none", "none")
    instance.report_runless_asset_event(dg.AssetMaterialization("an_asset"))
    instance.add_dynamic_partitions(EPOCHS, ["0000001"])
    instance.get_dynamic_partitions(EPOCHS)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_calls_of_a_process_share_two_connections(url: str, tmp_path: Path) -> None:
    seen = set[int]()
    for number in range(5):
        with instance_at(url, tmp_path / str(number)) as instance:
            for _ in range(5):
                use(instance)
                seen |= backends(url).keys()
    assert len(seen) <= 2  # Dagster asks for a second one while it uses the first


def test_a_burst_gives_its_connections_back(url: str, tmp_path: Path) -> None:
    threads = 3 * POOL_SIZE
    together = threading.Barrier(threads)
    with instance_at(url, tmp_path) as instance, ThreadPoolExecutor(threads) as pool:

        def hold_one(_: int) -> None:
            with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
                connection.execute(sa.text("SELECT 1"))
                together.wait(PATIENCE_SECONDS)

        list(pool.map(hold_one, range(threads)))
        wait_until(lambda: len(backends(url)) <= POOL_SIZE)
        use(instance)
        assert set(backends(url).values()) == {"idle"}


def test_a_transaction_does_not_outlive_its_use(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        storage = instance.event_log_storage
        with storage.index_transaction() as connection:  # type: ignore[attr-defined]
            connection.execute(sa.text("SELECT 1"))
            assert set(backends(url).values()) == {"idle in transaction"}
        assert set(backends(url).values()) == {"idle"}
        with storage.index_connection() as connection:  # type: ignore[attr-defined]
            assert connection.connection.dbapi_connection.autocommit is True


def test_connections_that_the_server_closed_are_replaced(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        use(instance)
        before = backends(url)
        with psycopg.connect(libpq(url), autocommit=True) as connection:
            for pid in before:
                connection.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        use(instance)
        assert not backends(url).keys() & before.keys()


def test_a_restart_of_the_database_in_between_is_not_noticed(
    postgres_home: Path, tmp_path: Path
) -> None:
    server = EmbeddedPostgres(postgres_home, settings={"fsync": "off"})
    server.start()
    try:
        server.ensure_database("dagster")
        with instance_at(server.dagster_url(), tmp_path) as instance:
            use(instance)
            server.stop()
            server.start()
            use(instance)
            assert instance.get_dynamic_partitions(EPOCHS) == ["0000001"]
    finally:
        server.stop()


def test_a_forked_process_has_connections_of_its_own(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        ours = backend_of(instance)
        theirs, end = multiprocessing.Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, from 3.12 on
            child = multiprocessing.get_context("fork").Process(
                target=send_backend, args=(instance, end)
            )
            child.start()
        assert theirs.poll(PATIENCE_SECONDS)
        assert theirs.recv() != ours
        child.join(PATIENCE_SECONDS)
        assert child.exitcode == 0
        assert backend_of(instance) == ours


def backend_of(instance: dg.DagsterInstance) -> int:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar())


def send_backend(instance: dg.DagsterInstance, end: Connection) -> None:
    end.send(backend_of(instance))
    os._exit(0)


def test_the_webserver_gives_up_long_statements_and_others_do_not(url: str, tmp_path: Path) -> None:
    with (
        instance_at(url, tmp_path / "web") as web,
        instance_at(url, tmp_path / "daemon") as daemon,
    ):
        web.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        use(web)
        assert (statement_timeout(web), statement_timeout(daemon)) == ("15s", "0")
        assert web.run_storage._engine is web.event_log_storage._engine  # type: ignore[attr-defined]


def statement_timeout(instance: dg.DagsterInstance) -> str:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        return str(connection.execute(sa.text("SHOW statement_timeout")).scalar())


def test_the_address_is_not_in_what_is_handed_to_runs(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        handed_on = instance.get_ref()
        assert url not in str(handed_on)
        again = dg.DagsterInstance.from_ref(handed_on)
        use(again)
        assert len(backends(url)) <= 2
    assert "postgresql" not in repr(pooled_storage._PoolOptions(url))


def test_missing_tables_are_made_and_can_be_migrated(database_url: str, tmp_path: Path) -> None:
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    execute(database_url, "CREATE DATABASE {}", name)
    with instance_at(dagster_url(database_url, name), tmp_path) as instance:
        use(instance)
        instance.upgrade()
        instance.reindex()
        use(instance)
    execute(database_url, "DROP DATABASE {} WITH (FORCE)", name)


class Reads:
    """How often the keys of a definition are read whole."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.count = 0
        self.then: Callable[[], None] = lambda: None
        engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
        sa.event.listen(engine, "after_cursor_execute", self._executed)

    def _executed(self, _: object, __: object, statement: str, *___: object) -> None:
        if "dynamic_partitions.partition \n" in statement:
            self.count += 1
            then, self.then = self.then, lambda: None
            then()


def test_tables_and_migrations_are_asked_for_once(url: str, tmp_path: Path) -> None:
    asked = list[str]()

    def listen(_: object, __: object, statement: str, *___: object) -> None:
        if "pg_catalog" in statement or "secondary_indexes" in statement:
            asked.append(statement)

    with instance_at(url, tmp_path / "first") as instance:
        engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
        sa.event.listen(engine, "after_cursor_execute", listen)
        use(instance)
        assert asked
    asked.clear()
    with instance_at(url, tmp_path / "second") as instance:
        use(instance)
    assert asked == []


def test_keys_are_read_once_in_two_seconds(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{epoch:07d}" for epoch in (7, 3, 11)]
    with instance_at(url, tmp_path) as instance:
        instance.add_dynamic_partitions(EPOCHS, keys)
        reads = Reads(instance)
        for _ in range(3):
            assert instance.get_dynamic_partitions(EPOCHS) == keys
            assert instance.get_dynamic_partitions("epoch_other") == []
        assert reads.count == 2
        monkeypatch.setattr(pooled_storage, "KEYS_SECONDS", 0.0)
        assert instance.get_dynamic_partitions(EPOCHS) == keys
        assert reads.count == 3


def test_keys_that_this_process_adds_or_deletes_are_seen_at_once(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        for key in ("0000002", "0000001"):
            instance.add_dynamic_partitions(EPOCHS, [key])
            assert instance.get_dynamic_partitions(EPOCHS)[-1] == key
        instance.delete_dynamic_partition(EPOCHS, "0000002")
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000001"]
        instance.delete_dynamic_partition(EPOCHS, "0000001")
        assert instance.get_dynamic_partitions(EPOCHS) == []


def test_the_list_that_a_caller_got_is_its_own(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        instance.add_dynamic_partitions(EPOCHS, ["0000001"])
        for _ in range(2):
            keys = instance.get_dynamic_partitions(EPOCHS)
            assert isinstance(keys, list)
            keys.clear()
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000001"]


def test_keys_that_are_deleted_while_they_are_read_are_not_kept(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        instance.add_dynamic_partitions(EPOCHS, ["0000001", "0000002"])
        reads = Reads(instance)
        reads.then = lambda: instance.delete_dynamic_partition(EPOCHS, "0000001")
        instance.get_dynamic_partitions(EPOCHS)
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000002"]


ADD = """
import sys
from valmon_pipeline.dagster_adapter.pooled_storage import PooledPostgresStorage
storage = PooledPostgresStorage(sys.argv[1]).event_log_storage
assert storage.get_dynamic_partitions(sys.argv[2]) == ["0000001"]
storage.add_dynamic_partitions(sys.argv[2], ["0000002"])
print(storage.get_dynamic_partitions(sys.argv[2]))
"""


def test_keys_that_another_process_adds_are_seen_at_once(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        instance.add_dynamic_partitions(EPOCHS, ["0000001"])
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000001"]
        added = subprocess.run(
            [sys.executable, "-c", ADD, url, EPOCHS], capture_output=True, text=True, check=True
        )
        assert added.stdout == "['0000001', '0000002']\n"
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000001", "0000002"]


def test_keys_that_are_deleted_elsewhere_go_within_two_seconds(url: str, tmp_path: Path) -> None:
    with instance_at(url, tmp_path) as instance:
        instance.add_dynamic_partitions(EPOCHS, ["0000001", "0000002"])
        instance.get_dynamic_partitions(EPOCHS)
        with psycopg.connect(libpq(url), autocommit=True) as connection:
            connection.execute("DELETE FROM dynamic_partitions WHERE partition = '0000001'")
        started = time.monotonic()
        wait_until(lambda: instance.get_dynamic_partitions(EPOCHS) == ["0000002"])
        assert time.monotonic() - started < pooled_storage.KEYS_SECONDS + 1
        with psycopg.connect(libpq(url), autocommit=True) as connection:
            connection.execute(
                "INSERT INTO dynamic_partitions (partitions_def_name, partition) "
                "VALUES (%s, '0000003'), (%s, '0000004')",
                [EPOCHS, EPOCHS],
            )
            assert len(instance.get_dynamic_partitions(EPOCHS)) == 3
            connection.execute("DELETE FROM dynamic_partitions WHERE partition = '0000003'")
        forget_partition_keys()
        assert instance.get_dynamic_partitions(EPOCHS) == ["0000002", "0000004"]


def test_dagster_has_the_table_of_keys_that_is_asked_for_the_newest() -> None:
    assert {"id", "partitions_def_name", "partition"} <= {
        column.name for column in DynamicPartitionsTable.columns
    }
