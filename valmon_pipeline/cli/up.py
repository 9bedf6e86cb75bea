"""``valmon up``: everything of one home, in the foreground, until Ctrl-C."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Final

import dagster as dg
import typer

from valmon_pipeline.beacon.node_health import waiting_sentence
from valmon_pipeline.cli.application import (
    HIGHEST_PORT,
    ConfigOption,
    app,
    complain,
    errors,
    load,
    mention,
    say,
    working_on,
)
from valmon_pipeline.cli.backfill import dagster_ready, run_epochs
from valmon_pipeline.cli.reports import print_summary
from valmon_pipeline.cli.state_line import StateLine
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.deployment.databases import EmbeddedServerGuard
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.node_check import NodeWait, node_healths
from valmon_pipeline.deployment.services import DagsterServices, metrics_server, replay_node
from valmon_pipeline.deployment.supervisor import claimed_home
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.errors import BeaconApiError, PartitionsFailedError
from valmon_pipeline.notify.wiring import sender_of
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
    port: Annotated[
        int,
        typer.Option(
            min=0, max=HIGHEST_PORT, help="Port of the Dagster UI, if it is free; 0: any free one."
        ),
    ] = 3000,
) -> None:
    """Start everything and stay: database, node replay if none is configured, Dagster's services.

    It starts without a beacon node that is ready, and says what it waits for.
    Ctrl-C (or `valmon down`) stops every process it started. Then it ends with exit code 0, or with
    130 if it was interrupted before everything was up.
    """
    wanted = None if epochs in (None, "none") else EpochRange.parse(str(epochs))
    installation = load(config)
    sender_of(installation.settings)  # a channel with a wrong address is told now
    with ExitStack() as stack:
        claim = stack.enter_context(claimed_home(installation))
        watched = []
        if installation.demo:
            say("No beacon node is configured: showing the recorded devnet.")
            with working_on("Starting the replay node"):
                process, url = stack.enter_context(replay_node(installation, claim.started))
            claim.node_is_at(url)
            watched.append(process)
            installation = installation.with_node(url)
        sentence = _missing_node(installation)
        if sentence is not None:
            mention(sentence)
        database_url, instance = stack.enter_context(dagster_ready(installation))
        services = DagsterServices(installation, os.environ, port, claim.started)
        if port and services.ui_port != port:
            mention(f"Port {port} is taken: the Dagster UI gets port {services.ui_port}.")
        stack.callback(services.stop)
        with working_on("Starting Dagster"):
            services.start()
        claim.code_server_is_at(services.code_server)
        metrics, metrics_url = stack.enter_context(
            metrics_server(installation, services.environment, claim.started)
        )
        claim.metrics_are_at(metrics_url)
        watched.append(metrics)
        materialize = partial(_materialize, installation, database_url, instance, wanted)
        if sentence is None and epochs != "none":
            materialize()
        with working_on("Waiting for the Dagster UI"):
            services.wait_ready()
        claim.ui_is_at(services.ui_url)
        say(f"Metrics: {metrics_url}/metrics")
        say(f"Dagster UI: {services.ui_url}   (Ctrl-C stops everything)", style="bold")
        checks = [
            EmbeddedServerGuard(installation, mention).check,
            services.code_location_guard(mention).check,
        ]
        if sentence is not None:
            line = StateLine(errors, sentence)
            stack.callback(line.clear)

            def ready(node: str) -> None:
                line.clear()
                mention(f"Beacon node {node} is ready.")
                if epochs != "none":
                    materialize()

            checks.append(NodeWait(installation.settings, line.show, ready).check)
        try:
            services.watch(also=watched, checks=checks)
        except KeyboardInterrupt:
            mention("Stopping …")


def _missing_node(installation: Installation) -> str | None:
    """Say what is waited for; None if a node is ready."""
    installation.require_node()
    with working_on("Checking the beacon node"):
        nodes = node_healths(installation.settings)
    return None if any(node.is_ready for node in nodes) else waiting_sentence(nodes)


def _materialize(
    installation: Installation,
    database_url: str,
    instance: dg.DagsterInstance,
    epochs: EpochRange | None,
) -> None:
    """Materialize what is wanted at the start and print the totals; failures do not end ``up``."""
    warehouse = Warehouse(open_database(installation.settings, database_url))
    try:
        try:
            wanted = _wanted_epochs(installation, database_url, instance, warehouse, epochs)
            if wanted:
                run_epochs(installation, database_url, instance, wanted)
        except (PartitionsFailedError, BeaconApiError) as error:
            complain(str(error))
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
    epochs: EpochRange | None,
) -> list[int]:
    if epochs is not None:
        return [*epochs]
    if installation.demo:
        recorded = Recording.load(RECORDING_PATH).epochs
        candidates = range(recorded.start, recorded.stop)
    else:
        with Backfill(
            installation.settings, database_url, instance, BackfillProgress()
        ) as backfill:
            newest = backfill.newest_epoch()
        candidates = range(max(0, newest - RECENT_EPOCHS + 1), newest + 1)
    stored = set(stored_epochs(warehouse))
    return [epoch for epoch in candidates if epoch not in stored]
