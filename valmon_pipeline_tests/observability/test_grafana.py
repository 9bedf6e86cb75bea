"""Every panel's query, as Grafana sends it, on a filled database, by the role that reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from sqlalchemy import make_url

from valmon_pipeline.observability.grafana import DASHBOARDS
from valmon_pipeline.observability.grafana.dashboard import Dashboard, Panel
from valmon_pipeline.observability.grafana.expansion import expanded
from valmon_pipeline.storage.reader_role import make_reader
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.observability.times import EPOCHS, HEAD_SLOT, time_of

DEPLOY = Path(__file__).parents[2] / "deploy" / "grafana"
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
UNTIL = time_of(HEAD_SLOT)


@pytest.fixture(scope="module")
def reader(filled: Warehouse, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the role that ``valmon migrate --reader`` makes."""
    role = f"{filled.schema}_reader"
    make_reader(filled.database, role=role, password="hunter2")
    url = make_url(database_url).set(username=role, password="hunter2")
    try:
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            yield connection
    finally:
        with psycopg.connect(database_url, autocommit=True) as owner:
            name = sql.Identifier(role)
            owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
            owner.execute(sql.SQL("DROP ROLE {}").format(name))


def asked(
    reader: psycopg.Connection[Any], panel: Panel, schema: str, since: datetime, points: int = 1000
) -> list[dict[str, Any]]:
    variables = {"network": schema, "category": "operator", "validator": "17"}
    query = expanded(panel.query, variables, since, UNTIL, points)
    cursor = reader.execute(query.encode())
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    reader.rollback()
    return rows


@pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{d.uid}: {p.title}" for d, p in PANELS]
)
def test_every_panel_returns_rows_to_the_reader(
    reader: psycopg.Connection[Any], filled: Warehouse, dashboard: Dashboard, panel: Panel
) -> None:
    rows = asked(reader, panel, filled.schema, time_of(0))
    assert rows or panel.title == "Missing facts"
    if panel.kind == "timeseries":
        assert all(isinstance(row["time"], datetime) for row in rows)
        assert len({row["time"] for row in rows}) >= 1
        values = [name for name in rows[0] if name not in ("time", *panel.hidden)]
        assert any(row[name] is not None for row in rows for name in values)


def test_missing_facts_are_shown_with_their_most_frequent_reason(
    reader: psycopg.Connection[Any], filled: Warehouse
) -> None:
    reasons = ["pruned", "refused", "pruned"]
    newest = EPOCHS[-1]
    rows = [(newest - age, "committees", reason) for age, reason in enumerate(reasons)]
    sources = f"{filled.schema}.fact_sources"
    with filled.database.transaction("lack facts") as connection:
        connection.exec_driver_sql(f"DELETE FROM {sources} WHERE fact = 'committees'")
        for row in rows:
            connection.exec_driver_sql(
                f"INSERT INTO {sources} (epoch, fact, reason) VALUES (%s, %s, %s)", row
            )
    (shown,) = asked(reader, panel_of("Missing facts"), filled.schema, time_of(0))
    assert (shown["fact"], shown["epochs"], shown["reason"]) == ("committees", 3, "pruned")
    assert (shown["oldest"], shown["newest"]) == (newest - 2, newest)


def panel_of(title: str) -> Panel:
    return next(panel for _, panel in PANELS if panel.title == title)


def test_a_plot_has_the_epochs_of_the_chosen_time_at_their_time(
    reader: psycopg.Connection[Any], filled: Warehouse
) -> None:
    since = time_of(8 * EPOCHS[2] + 1)
    rows = asked(reader, panel_of("Attestation rewards, gwei"), filled.schema, since)
    assert [row["point"] for row in rows] == list(EPOCHS[2:])
    assert rows[0]["time"] == since - timedelta(minutes=15)
    summaries = filled.read("epoch_summaries", epochs=list(EPOCHS[2:]))
    everybody = summaries[summaries["category"] == "all"]
    assert [row["earned"] for row in rows] == everybody["reward"].tolist()


def test_a_plot_without_room_adds_epochs_up(
    reader: psycopg.Connection[Any], filled: Warehouse
) -> None:
    panel = panel_of("Attestation rewards, gwei")
    since = time_of(8 * EPOCHS[0])
    each = asked(reader, panel, filled.schema, since)
    together = asked(reader, panel, filled.schema, since, points=2)
    assert len(together) < len(each)
    assert sum(row["earned"] for row in together) == sum(row["earned"] for row in each)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {}.standings_due VALUES (1, false, '', 1)",
        "DELETE FROM {}.network_epochs",
        "DROP TABLE {}.network_epochs",
        "CREATE TABLE {}.mine ()",
        "SET LOCAL transaction_read_only = off; DELETE FROM {}.network_epochs",
    ],
)
def test_the_reader_cannot_write(
    reader: psycopg.Connection[Any], filled: Warehouse, statement: str
) -> None:
    refusals = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)
    with pytest.raises(refusals):
        reader.execute(statement.format(filled.schema).encode())
    reader.rollback()


def test_the_reader_sees_tables_that_are_made_later(
    reader: psycopg.Connection[Any], filled: Warehouse
) -> None:
    with filled.database.transaction("make a table") as connection:
        connection.exec_driver_sql(f"CREATE TABLE {filled.schema}.later AS SELECT 7 AS n")
    try:
        row = reader.execute(f"SELECT n FROM {filled.schema}.later".encode()).fetchone()
        assert row == (7,)
    finally:
        reader.rollback()
        with filled.database.transaction("drop it") as connection:
            connection.exec_driver_sql(f"DROP TABLE {filled.schema}.later")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_files_are_those_that_the_code_makes(dashboard: Dashboard) -> None:
    file = DEPLOY / "dashboards" / f"{dashboard.uid}.json"
    assert json.loads(file.read_text(encoding="utf-8")) == dashboard.as_json(), (
        "run python -m valmon_pipeline.observability.grafana deploy/grafana/dashboards"
    )


def test_panels_do_not_overlap() -> None:
    for dashboard in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard.as_json()["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_a_variable_that_a_dashboard_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not a variable"):
        expanded("SELECT ${other:sqlstring}", {"network": "hoodi"}, UNTIL, UNTIL)


def test_the_data_source_is_provisioned_with_the_reader() -> None:
    provisioned = yaml.safe_load((DEPLOY / "provisioning/datasources/valmon.yaml").read_text())
    postgres = next(one for one in provisioned["datasources"] if one["uid"] == "valmon")
    assert postgres["user"] == "valmon_reader"
    assert postgres["secureJsonData"]["password"] == "${VALMON_READER_PASSWORD}"
