"""No password and no token in anything that is printed, logged or stored."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator, Mapping

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from valmon_pipeline_tests.cli.guarded_node import guarded_node
from valmon_pipeline_tests.cli.home import Home

pytestmark = pytest.mark.slow

SECRETS = ("n0de-us3r", "n0de-s3cret", "t0ken-of-the-node", "pg-s3cret", "ch4nnel-s3cret")
GONE = "127.0.0.1:1/ch4nnel-s3cret"
"""Where no message can be sent to, so that errors tell of it."""


@pytest.fixture
def own_database(database_url: str) -> Iterator[str]:
    """The address, with a password, of a database with one for Dagster beside it to be made."""
    name = f"valmon_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield (
            make_url(database_url)
            .set(database=name, password="pg-s3cret")
            .render_as_string(hide_password=False)
        )
        for made in (name, f"{name}_dagster"):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(made))
            )


def test_secrets_stay_secret(home: Home, own_database: str) -> None:
    with guarded_node(*SECRETS[:3]) as node_url:
        home.variables = {
            "VALMON_BEACON_URL": node_url,
            "VALMON_WATCH": "network",
            "VALMON_DATABASE_URL": own_database,
            "VALMON_ALERTS__CHANNELS": '[{"name": "gone", "digest": true}]',
            "VALMON_CHANNEL_GONE_URL": f"json://me:ch4nnel-s3cret@{GONE}",
            "VALMON_ALERTS__HEARTBEAT__URL": f"http://{GONE}",
        }
        printed: dict[str, str] = {}
        refused = home.run("up", "--port", "0")
        assert refused.code == 1
        assert "valmon migrate" in refused.err
        printed["refused"] = refused.out + refused.err
        migrated = home.run("migrate")
        assert migrated.code == 0, migrated.err
        printed["migrate"] = migrated.out + migrated.err
        with home.up("--epochs", "41..42", "--port", "0") as up:
            up.wait_for("Dagster UI:")
            assert "epoch 42 is not final yet" in up.printed
            # What the UI shows of the process's environment and configuration.
            printed["instance"] = str(up.ask("{ instance { info } }"))
            for command in (("status",), ("config", "check"), ("database", "url")):
                shown = home.run(*command)
                assert shown.code == 0, shown.err
                printed[" ".join(command)] = shown.out + shown.err
            assert up.end(signal.SIGINT) == 0
            printed["up"] = up.printed
    logs = {log.name: log.read_text() for log in (home.path / "logs").iterdir()}
    assert logs.keys() == {"code-server.log", "webserver.log", "daemon.log", "metrics.log"}
    tables = texts_of(own_database) | texts_of(dagster_database_of(own_database))
    assert any("epoch 42 is not final yet" in text for text in tables.values())
    assert leaks({"the addresses themselves": node_url + own_database + GONE}) != []
    assert leaks(printed | logs | tables) == []
    assert home.processes() == []


def leaks(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where which secret is found."""
    return [
        (where, secret) for where, text in texts.items() for secret in SECRETS if secret in text
    ]


def dagster_database_of(url: str) -> str:
    parsed = make_url(url)
    return parsed.set(database=f"{parsed.database}_dagster").render_as_string(hide_password=False)


def texts_of(url: str) -> dict[str, str]:
    """Every table of a database, as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = {
            name: connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t").format(sql.SQL(name))
            ).fetchall()
            for (name,) in tables
        }
    return {name: "\n".join(row[0] for row in found) for name, found in rows.items()}
