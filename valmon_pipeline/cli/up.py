"""``valmon up``: everything of one home, in the foreground, until Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Final

import dagster as dg
import typer

from valmon_pipeline.cli.application import ConfigOption, app, errors, load, output, working_on
from valmon_pipeline.cli.backfill import dagster_ready, run_epochs
from valmon_pipeline.cli.reports import print_summary
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.supervisor import (
    Services,
    UpState,
    claimed_home,
    replay_node,
)
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import EpochRange
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.storage.queries import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse

RECENT_EPOCHS: Final = 5


@app.command()
def up(
    config: ConfigOption = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            "--epochs",
            "-e",
            help="FIRST..LAST to materialize at the start, or `none`. Default: those of the newest "
            f"{RECENT_EPOCHS} final epochs that are not stored yet; all of the recorded devnet.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI, if it is free.")] = 3000,
) -> None:
    """Start everything and stay: database, node replay if none is configured, Dagster's services.

    Ctrl-C (or `valmon down`) stops every process it started.
    """
    installation = load(config)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        stack.enter_context(claimed_home(installation))
        watched = []
        if installation.demo:
            output.print("No beacon node is configured: showing the recorded devnet.")
            process, url = stack.enter_context(replay_node(installation))
            watched.append(process)
            installation = installation.with_node(url)
        installation.require_node()
        database_url, instance = stack.enter_context(dagster_ready(installation))
        services = Services(installation, os.environ, port)
        stack.callback(services.stop)
        with working_on("Starting Dagster"):
            services.start()
        _announce(installation, services)
        _materialize(installation, database_url, instance, epochs)
        with working_on("Waiting for the Dagster UI"):
            services.wait_ready()
        output.print(f"Dagster UI: {services.ui_url}   (Ctrl-C stops everything)", style="bold")
        try:
            services.watch(also=watched)
        except KeyboardInterrupt:
            errors.print("Stopping", highlight=False)


def _materialize(
    installation: Installation,
    database_url: str,
    instance: dg.DagsterInstance,
    epochs: str | None,
) -> None:
    """Materialize what is wanted at the start and print the totals; failures do not end ``up``."""
    warehouse = Warehouse(open_database(installation.settings, database_url))
    try:
        wanted = _wanted_epochs(installation, database_url, instance, warehouse, epochs)
        if wanted:
            try:
                run_epochs(installation, database_url, instance, wanted)
            except PartitionsFailedError as error:
                errors.print(str(error), style="red", markup=False, highlight=False)
        stored = stored_epochs(warehouse)
        if stored:
            categories = sorted(
                {
                    category
                    for labels in installation.settings.watch_list.labels.values()
                    for category in labels
                }
            )
            print_summary(warehouse, stored, categories[0] if categories else None)
    finally:
        warehouse.database.close()


def _wanted_epochs(
    installation: Installation,
    database_url: str,
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    epochs: str | None,
) -> list[int]:
    if epochs == "none":
        return []
    if epochs is not None:
        return [*EpochRange.parse(epochs)]
    if installation.demo:
        recorded = Recording.load(RECORDING_PATH).epochs
        candidates = range(recorded.start, recorded.stop)
    else:
        backfill = Backfill(installation.settings, database_url, instance, BackfillProgress())
        newest = backfill.newest_epoch()
        candidates = range(max(0, newest - RECENT_EPOCHS + 1), newest + 1)
    stored = set(stored_epochs(warehouse))
    return [epoch for epoch in candidates if epoch not in stored]


def _announce(installation: Installation, services: Services) -> None:
    """Tell other commands what runs, and which processes are ours should this one be killed."""
    groups = tuple(process.pid for process in services.processes if process.pid is not None)
    UpState(os.getpid(), installation.settings.network, services.ui_url, groups).write(
        installation.state_file
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C; a SIGINT that was ignored by the parent is obeyed again.

    A shell that starts a background job makes it ignore SIGINT, and children would inherit that:
    Dagster then ignores SIGTERM for ever.
    """
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
