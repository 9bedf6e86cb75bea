"""``valmon rescore``: compute scores again from what is stored, without a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from valmon_pipeline.assets.rescoring import diff, stored_in, sum_up_days_again
from valmon_pipeline.assets.score_batch import rescore_reason
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    load,
    output,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.cli.backfill import dagster_ready
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.definitions import RESCORE_EPOCHS
from valmon_pipeline.deployment.backfill import Backfill, BackfillProgress
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import EpochRange
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.moves import ColumnMoves
from valmon_pipeline.storage.queries.stale_scores import stale_epochs
from valmon_pipeline.storage.warehouse import Warehouse


@app.command("rescore")
def rescore_command(
    epochs: Annotated[
        str | None, typer.Argument(help="FIRST..LAST, both included, e.g. 5..200.")
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="The epochs whose scores are of other formulas.")
    ] = False,
    only_diff: Annotated[
        bool, typer.Option("--diff", help="Store nothing: tell which values would move.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute scores, standings and summaries of stored epochs again, after a formula or a setting
    of `scoring` has changed.

    No node is asked. Epochs that are not stored are left out. Final values that move are entered in
    the table corrections.
    """
    if (epochs is None) != stale:
        raise typer.BadParameter("name a range of epochs, e.g. 5..200, or --stale")
    wanted = None if epochs is None else EpochRange.parse(epochs)
    installation = load(config)
    rules = installation.settings.scoring.rules
    if only_diff:
        with opened_warehouse(installation) as warehouse:
            stored = _chosen(warehouse, wanted)
            _tell_moves(warehouse, rules, stored, as_json=as_json)
        return
    progress = BackfillProgress()
    with dagster_ready(installation) as (database_url, instance):
        warehouse = Warehouse(open_database(installation.settings, database_url))
        try:
            stored = _chosen(warehouse, wanted)
            with (
                working_on(f"Rescoring {len(stored)} epochs"),
                Backfill(installation.settings, database_url, instance, progress) as runner,
            ):
                runner.run(stored, RESCORE_EPOCHS)
            with working_on("Summing up days again"):
                days = sum_up_days_again(warehouse, sorted(progress.stored_epochs))
        finally:
            warehouse.database.close()
    _report(progress, days, as_json=as_json)


def _chosen(warehouse: Warehouse, wanted: EpochRange | None) -> list[int]:
    """The stored epochs of a range; those whose scores are stale without one."""
    if wanted is not None:
        return stored_in(warehouse, wanted.first, wanted.last)
    return stale_epochs(warehouse)


def _report(progress: BackfillProgress, days: Mapping[date, str | None], *, as_json: bool) -> None:
    epochs = progress.stored_epochs
    if as_json:
        print_json(
            {
                "formula_version": FORMULA_VERSION,
                "epochs": len(epochs),
                "first_epoch": min(epochs, default=None),
                "last_epoch": max(epochs, default=None),
                "corrections": progress.corrections,
                "standings": len(progress.standings),
                "days": {day.isoformat(): why for day, why in sorted(days.items())},
            }
        )
    else:
        say(
            f"{len(epochs)} epochs {rescore_reason()}, standings of {len(progress.standings)} made "
            f"again, {sum(why is None for why in days.values())} days summed up again"
        )
        say(f"{progress.corrections:,} values moved: see the table corrections")
        for day, why in sorted(days.items()):
            if why is not None:
                say(f"{day} is kept as it is summed up: {why}")
    if progress.failures:
        failures = sorted(progress.failures.items())
        reasons = "\n".join(f"epoch {epoch}: {why}" for epoch, why in failures)
        raise PartitionsFailedError(f"{len(failures)} epochs failed:\n{reasons}")


def _tell_moves(
    warehouse: Warehouse, rules: StandingRules, epochs: Sequence[int], *, as_json: bool
) -> None:
    with working_on(f"Comparing {len(epochs)} epochs"):
        moves = diff(warehouse, rules, epochs)
    if as_json:
        print_json(
            {
                "formula_version": FORMULA_VERSION,
                "epochs": len(epochs),
                "first_epoch": epochs[0],
                "last_epoch": epochs[-1],
                "moves": moves,
            }
        )
        return
    told = f"{len(epochs)} epochs compared with formula version {FORMULA_VERSION}"
    if not moves:
        say(f"{told}: nothing would move")
        return
    say(f"{told}; nothing was stored")
    for _, columns in groupby(moves, key=attrgetter("table")):
        output.print(_table(list(columns)))


def _table(moves: Sequence[ColumnMoves]) -> Table:
    """The columns of one table, each with an example; fits 80 columns, names are never cut off."""
    right = [Column(header, justify="right") for header in ("move", "by up to", "epoch")]
    table = Table(
        Column("column", no_wrap=True),
        *right,
        *(Column(header, justify="right") for header in ("validator", "from", "to")),
        title=f"{moves[0].table}, {moves[0].rows:,} rows",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
    )
    for column in moves:
        example = column.examples[0]
        table.add_row(
            column.column,
            f"{column.moved:,}",
            "–" if column.largest is None else f"{column.largest:.4g}",
            str(example.epoch),
            "" if example.validator_index is None else str(example.validator_index),
            _shown(example.old),
            _shown(example.new),
        )
    return table


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value
