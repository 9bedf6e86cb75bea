"""How long each panel of Grafana's dashboards takes over 90 days of 1,000 validators.

    python -m bench.grafana_panels

Every query is sent as Grafana sends it for the last 90 days and a plot of as many points as it
allows, by the role that reads, five times; the median counts. Facts per validator and epoch, which
only the panel about a validator's newest epochs reads, are filled in for the newest two days; their
child tables exist for all days. Rows are made by the server: what they say does not matter here,
how many there are and how wide they are does.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import make_url

from valmon_pipeline.frames import TABLES
from valmon_pipeline.observability.grafana import DASHBOARDS
from valmon_pipeline.observability.grafana.expansion import expanded
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.epoch_partitions import ensure_partitions, partition_of
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.reader_role import make_reader
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

DAYS: Final = 90
EPOCHS_A_DAY: Final = 225
EPOCHS: Final = DAYS * EPOCHS_A_DAY
VALIDATORS: Final = 1000
RECENT_EPOCHS: Final = 2 * EPOCHS_A_DAY
TARGET_MS: Final = 200.0
TURNS: Final = 5
SCHEMA: Final = "mainnet"
GENESIS: Final = datetime(2026, 6, 1, tzinfo=UTC)
UNTIL: Final = GENESIS + timedelta(days=DAYS)
GROUPS: Final = (
    "(VALUES ('all', 'all', 1000), ('operator', '', 0), ('region', '', 0)) AS g(category, value, n)"
    " WHERE true UNION ALL SELECT e, 'operator', 'operator ' || o, 100 FROM {epochs},"
    " generate_series(0, 9) AS o"
    " UNION ALL SELECT e, 'region', 'region ' || r, 200 FROM {epochs}, generate_series(0, 4) AS r"
)
PER_VALIDATOR: Final = ("attestation_outcomes", "effectiveness_scores", "validator_standings")


def fill(connection: sa.Connection, table: str, rows: str, given: Mapping[str, str]) -> None:
    """Insert a row for each of ``rows`` (SQL after FROM); columns that are not ``given`` get some
    value of their type."""
    columns = {
        column.name: given.get(column.name) or _some(table, column)
        for column in table_of(SCHEMA, table).columns
    }
    connection.exec_driver_sql(
        f"INSERT INTO {SCHEMA}.{table} ({', '.join(columns)}) "
        f"SELECT {', '.join(columns.values())} FROM {rows}"
    )


def _some(table: str, column: sa.Column[Any]) -> str:
    metadata = TABLES[table].schema.columns[column.name].metadata or {}
    if "categories" in metadata:
        return "NULL" if column.nullable else f"'{metadata['categories'][0]}'"
    if "length" in metadata:
        return f"decode(repeat('ab', {metadata['length']}), 'hex')"
    by_type: dict[type[Any], str] = {
        sa.Boolean: "true",
        sa.Integer: "1",
        sa.BigInteger: "1234567890",
        sa.Double: "0.987654321",
        sa.Text: "'text'",
        sa.DateTime: "now()",
    }
    return next(value for kind, value in by_type.items() if type(column.type) is kind)


def fill_everything(database: Database) -> None:
    """All tables that panels read."""
    Warehouse(database).bind_network(
        NetworkIdentity("mainnet", int(GENESIS.timestamp()), bytes(32), 32, 12_000, EPOCHS_A_DAY)
    )
    epochs = f"generate_series(0, {EPOCHS - 1}) AS e"
    validators = f"generate_series(0, {VALIDATORS - 1}) AS v"
    with database.transaction("fill the tables") as connection:
        ensure_partitions(
            connection,
            SCHEMA,
            [
                partition_of(table, epoch, EPOCHS_A_DAY)
                for table in PER_VALIDATOR
                for epoch in range(0, EPOCHS, EPOCHS_A_DAY)
            ],
        )
        at = f"timestamptz '{GENESIS.isoformat()}' + (e + 2) * interval '384 seconds'"
        fill(connection, "network_epochs", epochs, {"epoch": "e", "materialized_at": at})
        fill(
            connection,
            "epoch_summaries",
            f"(SELECT e, category, value, n FROM {epochs}, {GROUPS.format(epochs=epochs)}"
            " ORDER BY 1, 2, 3) AS all_groups",
            {"epoch": "e", "category": "category", "value": "value", "validators": "n"},
        )
        pubkey = "decode(lpad(to_hex(v), 96, '0'), 'hex')"
        fill(connection, "validators", validators, {"validator_index": "v", "pubkey": pubkey})
        for category, count in (("operator", 10), ("region", 5)):
            fill(
                connection,
                "validator_labels",
                validators,
                {
                    "validator_index": "v",
                    "category": f"'{category}'",
                    "value": f"'{category} ' || mod(v, {count})",
                    "from_epoch": "0",
                    "until_epoch": "NULL",
                },
            )
        fill(
            connection,
            "validator_day_summaries",
            f"generate_series(0, {DAYS - 1}) AS d, {validators}",
            {"day": f"date '{GENESIS.date()}' + d", "validator_index": "v"},
        )
        recent = f"generate_series({EPOCHS - RECENT_EPOCHS}, {EPOCHS - 1}) AS e, {validators}"
        for table in PER_VALIDATOR:
            fill(connection, table, recent, {"epoch": "e", "validator_index": "v"})
        checks = "generate_series(1, 15) AS c"
        fill(
            connection,
            "check_results",
            f"{epochs}, {checks}",
            {"epoch": "e", "check_name": "'check ' || c", "passed": "mod(e, 100) <> c"},
        )
        fill(
            connection,
            "corrections",
            "generate_series(1, 20000) AS n",
            {"correction_id": "n", "epoch": "n", "table_name": "'blocks'"},
        )
        fill(
            connection,
            "alerts",
            "generate_series(1, 5000) AS n",
            {
                "alert_id": "n",
                "subject": "'validator:' || n",
                "status": "CASE WHEN mod(n, 100) = 0 THEN 'open' ELSE 'resolved' END",
            },
        )
        head = {"only_row": "true", "head_slot": str(EPOCHS * 32)}
        fill(connection, "chain_head", "(VALUES (1)) AS one", head)


@contextmanager
def filled() -> Iterator[psycopg.Connection[Any]]:
    """A connection of the reader to filled tables."""
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home), settings={"fsync": "off"})
        server.start()
        try:
            server.ensure_database("valmon")
            migrate.upgrade(server.url(), SCHEMA)
            database = Database(server.url(), SCHEMA)
            fill_everything(database)
            make_reader(database)
            database.close()
            with psycopg.connect(server.url(), autocommit=True) as owner:
                owner.execute("VACUUM ANALYZE")
            url = make_url(server.url()).set(username="valmon_reader")
            with psycopg.connect(url.render_as_string(hide_password=False)) as reader:
                yield reader
        finally:
            server.stop()


def main() -> int:
    """Print the median of each panel; 1 if one misses the target."""
    started = time.monotonic()
    slow = 0
    with filled() as reader:
        print(f"filled in {time.monotonic() - started:.0f} s")
        variables = {"network": SCHEMA, "category": "operator", "validator": "17"}
        for dashboard in DASHBOARDS:
            for panel in dashboard.panels:
                query = expanded(
                    panel.query, variables, UNTIL - timedelta(days=DAYS), UNTIL, panel.points
                )
                times = []
                for _ in range(TURNS):
                    begun = time.perf_counter()
                    rows = reader.execute(query.encode()).fetchall()
                    times.append((time.perf_counter() - begun) * 1000)
                    reader.rollback()
                median = statistics.median(times)
                slow += median >= TARGET_MS or not rows
                sign = "" if median < TARGET_MS else "   <-- too slow"
                name = f"{dashboard.uid}: {panel.title}"
                print(f"{name:60} {median:7.1f} ms {len(rows):6} rows{sign}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
