"""``valmon backfill``: materialize epochs now, in this process, with a progress bar."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Annotated

import dagster as dg
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from valmon_pipeline.cli.application import (
    ConfigOption,
    app,
    errors,
    load,
    mention,
    say,
    working_on,
)
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.deployment.databases import running_databases
from valmon_pipeline.deployment.demo_node import node_to_ask
from valmon_pipeline.deployment.environment import (
    dagster_environment,
    environment,
    prepare_dagster_home,
)
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.node_check import require_ready_node
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import EpochRange
from valmon_pipeline.pipeline import require_archive


@app.command()
def backfill(
    epochs: Annotated[str, typer.Argument(help="FIRST..LAST, both included, e.g. 5..20.")],
    from_archive: Annotated[
        bool,
        typer.Option(
            "--from-archive", help="Ask no node: compute the epochs from archived answers."
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Materialize epochs: read, compute and store each; what was stored of them is replaced.

    Ends with an exit code other than 0 if an epoch failed, and says why for each.
    """
    wanted = EpochRange.parse(epochs)
    installation = load(config)
    if from_archive:
        require_archive(installation.settings)
        with dagster_ready(installation) as (database_url, instance):
            run_epochs(installation, database_url, instance, [*wanted], from_archive=True)
        return
    with node_to_ask(installation) as ready:
        check_node(ready)
        with dagster_ready(ready) as (database_url, instance):
            run_epochs(ready, database_url, instance, [*wanted])


def check_node(installation: Installation) -> None:
    """Fail now, with a reason, if there is no node that can be asked."""
    installation.require_node()
    with working_on("Checking the beacon node"):
        require_ready_node(installation.settings)


@contextmanager
def dagster_ready(installation: Installation) -> Iterator[tuple[str, dg.DagsterInstance]]:
    """The databases up and migrated, and Dagster's instance: yields the tables' address with it."""
    with ExitStack() as stack:
        with working_on("Starting the database"):
            urls = stack.enter_context(running_databases(installation))
        with working_on("Opening Dagster's instance"):
            prepare_dagster_home(installation, mention)
            stack.enter_context(environment(dagster_environment(installation, urls)))
            instance = stack.enter_context(dg.DagsterInstance.get())
        yield urls.tables, instance


def run_epochs(
    installation: Installation,
    database_url: str,
    instance: dg.DagsterInstance,
    epochs: Collection[int],
    *,
    from_archive: bool = False,
) -> None:
    """Refresh the validators and materialize epochs behind a progress bar.

    Raises:
        PartitionsFailedError: some epochs failed; with the reason for each.
    """
    with (
        _progress_bar(len(epochs)) as progress,
        Backfill(
            installation.settings, database_url, instance, progress, from_archive=from_archive
        ) as runner,
    ):
        runner.refresh_validators()
        runner.run(epochs)
    say(f"{len(progress.stored_epochs)} of {len(epochs)} epochs stored")
    if progress.failures:
        reasons = "\n".join(
            f"epoch {epoch}: {reason}" for epoch, reason in sorted(progress.failures.items())
        )
        raise PartitionsFailedError(
            f"{len(progress.failures)} of {len(epochs)} epochs failed:\n{reasons}"
        )


@contextmanager
def _progress_bar(total: int) -> Iterator[BackfillProgress]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        console=errors,
    )
    progress = BackfillProgress()
    if not errors.is_terminal:
        mention(f"Materializing {total} epochs …")
    with bar if errors.is_terminal else nullcontext():
        task = bar.add_task("Materializing", total=total, failed="")

        told = [0]

        def show() -> None:
            failed = len(progress.failures)
            done = len(progress.read_epochs.union(progress.failures))
            bar.update(task, completed=done, failed=f"{failed} failed" if failed else "")
            if not errors.is_terminal and done > told[0] and (done % 10 == 0 or done == total):
                mention(f"{done} of {total} epochs")
                told[0] = done

        progress.on_change = show
        progress.on_interrupt = lambda: mention("Stopping: epochs of finished runs stay stored …")
        yield progress
