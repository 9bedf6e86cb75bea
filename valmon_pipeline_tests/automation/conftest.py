"""A Dagster instance that keeps its runs where a service keeps them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
import yaml
from psycopg import sql

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.automation.service import Service
from valmon_pipeline_tests.live_chain import LiveChain, live_chain


@pytest.fixture(scope="session")
def dagster_template(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with Dagster's tables, empty: making them takes longer than a copy."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    execute(database_url, "CREATE DATABASE {}", name)
    with dagster_instance(tmp_path_factory.mktemp("dagster"), database_url, name):
        pass
    end_connections(database_url, name)
    yield name
    execute(database_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def instance(
    database_url: str, dagster_template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with a database of its own, which writes events as in a service."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    execute(database_url, "CREATE DATABASE {} TEMPLATE {}", name, dagster_template)
    with dagster_instance(tmp_path, database_url, name) as made:
        yield made
    execute(database_url, "DROP DATABASE {} WITH (FORCE)", name)


def dagster_instance(path: Path, database_url: str, name: str) -> dg.DagsterInstance:
    """The instance that keeps its runs in a database beside ``database_url``."""
    url = sa.make_url(database_url).set(drivername="postgresql+psycopg2", database=name)
    storage = {
        "module": "valmon_pipeline.dagster_adapter.pooled_storage",
        "class": "PooledPostgresStorage",
        "config": {"postgres_url": url.render_as_string(hide_password=False)},
    }
    settings = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
    (path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return dg.DagsterInstance.from_config(str(path))


def end_connections(database_url: str, name: str) -> None:
    """End the connections that this process keeps to a database, so that it can be copied."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )


def execute(database_url: str, statement: LiteralString, *names: str) -> None:
    """Execute a statement about databases."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(scope="module")
def chain() -> Iterator[LiveChain]:
    """The recorded chain, at the slot that the test wants."""
    with live_chain(Recording.load(RECORDING_PATH)) as chain:
        yield chain


@pytest.fixture
def service(chain: LiveChain, database_url: str, instance: dg.DagsterInstance) -> Iterator[Service]:
    """The sensors of a network of its own."""
    with fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, chain.url)
        yield service
        service.pipeline.warehouse.database.close()
