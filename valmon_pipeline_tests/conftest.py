"""A real PostgreSQL for every test that wants one: nothing here is imitated."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.migrated_schema import make_migrated_schema

DEVNET = NetworkIdentity(
    config_name="devnet",
    genesis_time=1_700_000_000,
    genesis_validators_root=bytes(range(32)),
    slots_per_epoch=8,
    slot_duration_ms=6000,
    partition_epochs=10,
)
"""A network whose child tables hold ten epochs, so that small tests cross their borders."""


# A property holds or it does not; how long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no worker is left alone with one in the
    end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """An empty database: ``VALMON_TEST_DATABASE_URL``, else one of an embedded server of this
    worker's own, without the waits for the disk that only matter after a power cut."""
    given = os.environ.get("VALMON_TEST_DATABASE_URL")
    if given:
        yield given
        return
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with temporary_home() as home:
        server = EmbeddedPostgres(home, settings=settings)
        server.start()
        server.ensure_database("valmon")
        yield server.url()
        server.stop()


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A directory to run an embedded server in.

    Not one of pytest's own: each new session of pytest closes the directory above those to
    everybody but root, and for root the server runs as somebody else.
    """
    with tempfile.TemporaryDirectory(prefix="valmon-test-") as directory:
        yield Path(directory)


@pytest.fixture
def postgres_home() -> Iterator[Path]:
    """An empty home for an embedded server; stop the server before the test ends."""
    with temporary_home() as home:
        yield home


@pytest.fixture
def schema(database_url: str) -> Iterator[str]:
    """The name of a schema that nobody else uses; it need not exist, and is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def database(database_url: str, schema: str) -> Iterator[Database]:
    """A database whose schema has all tables, empty."""
    make_migrated_schema(database_url, schema)
    database = Database(database_url, schema)
    yield database
    database.close()


@pytest.fixture
def warehouse(database: Database) -> Warehouse:
    """A warehouse in a fresh schema, tied to ``DEVNET``."""
    warehouse = Warehouse(database)
    warehouse.bind_network(DEVNET)
    return warehouse
