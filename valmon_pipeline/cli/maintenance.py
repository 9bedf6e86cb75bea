"""``valmon maintenance``: what the daily job does, now and in this process."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from valmon_pipeline.automation.maintenance import maintain, summary
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    load,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.cli.backfill import dagster_ready
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.storage.warehouse import Warehouse

maintenance_app = typer.Typer(no_args_is_help=True, help="Keeping the databases small.")
app.add_typer(maintenance_app, name="maintenance")


@maintenance_app.command("run")
def maintenance_run(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Drop epochs older than retention_days, and prune Dagster's runs and events.

    Epochs go only when their day is summed up; days that are not are named.
    """
    installation = load(config)
    with dagster_ready(installation) as (database_url, instance):
        warehouse = Warehouse(open_database(installation.settings, database_url))
        try:
            with working_on("Maintaining the databases"):
                report = maintain(installation.settings, warehouse, instance, datetime.now(UTC))
        finally:
            warehouse.database.close()
    if as_json:
        print_json(report)
        return
    for subject, told in summary(report).items():
        say(f"{subject:10} {told}")
