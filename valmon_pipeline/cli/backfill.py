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

from valmon_pipeline.cli.application import ConfigOption, app, errors, load, output, working_on
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.deployment.databases import running_databases
from valmon_pipeline.deployment.environment import (
    apply_environment,
    dagster_environment,
    prepare_dagster_home,
)
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.supervisor import replay_node
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import EpochRange


@app.command()
def backfill(
    epochs: Annotated[str, typer.Argument(help="FIRST..LAST, both included, e.g. 5..20.")],
    config: ConfigOption = None,
) -> None:
    """Materialize epochs: read, compute and store each; what was stored of them is replaced.

    Ends with an exit code other than 0 if an epoch failed, and says why for each.
    """
    wanted = EpochRange.parse(epochs)
    installation = load(config)
    with with_node(installation) as ready:
        ready.require_node()
        with dagster_ready(ready) as (database_url, instance):
            run_epochs(ready, database_url, instance, [*wanted])


@contextmanager
def dagster_ready(installation: Installation) -> Iterator[tuple[str, dg.DagsterInstance]]:
    """The databases up and migrated, and Dagster's instance: yields the tables' address with it."""
    with ExitStack() as stack:
        with working_on("Starting the database"):
            urls = stack.enter_context(running_databases(installation))
            prepare_dagster_home(installation)
            apply_environment(dagster_environment(installation, urls))
            instance = stack.enter_context(dg.DagsterInstance.get())
        yield urls.tables, instance


def run_epochs(
    installation: Installation,
    database_url: str,
    instance: dg.DagsterInstance,
    epochs: Collection[int],
) -> None:
    """Refresh the validators and materialize epochs behind a progress bar.

    Raises:
        PartitionsFailedError: some epochs failed; with the reason for each.
    """
    with _progress_bar(len(epochs)) as progress:
        runner = Backfill(installation.settings, database_url, instance, progress)
        runner.refresh_validators()
        runner.run(epochs)
    output.print(f"{len(progress.stored_epochs)} of {len(epochs)} epochs stored", highlight=False)
    if progress.failures:
        reasons = "\n".join(
            f"epoch {epoch}: {reason}" for epoch, reason in sorted(progress.failures.items())
        )
        raise PartitionsFailedError(
            f"{len(progress.failures)} of {len(epochs)} epochs failed:\n{reasons}"
        )


@contextmanager
def with_node(installation: Installation) -> Iterator[Installation]:
    """The installation with a node to ask: the demo gets a replay node for the time being."""
    if not installation.demo:
        yield installation
        return
    with replay_node(installation) as (_, url):
        yield installation.with_node(url)


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
    with bar if errors.is_terminal else nullcontext():
        task = bar.add_task("Materializing", total=total, failed="")

        def show() -> None:
            failed = len(progress.failures)
            bar.update(
                task,
                completed=len(progress.stored_epochs) + failed,
                failed=f"{failed} failed" if failed else "",
            )
            done = len(progress.stored_epochs) + failed
            if not errors.is_terminal and (done % 10 == 0 or done == total):
                errors.print(f"{done} of {total} epochs", highlight=False)

        progress.on_change = show
        yield progress
