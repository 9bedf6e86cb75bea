"""Commands that show what is stored: ``status`` and ``validator``, and the summary of ``up``."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import dagster as dg
import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from valmon_pipeline.automation.run_outcomes import FailedRun, last_failed_run
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    load,
    mention,
    output,
    print_json,
    say,
)
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.cli.provenance import (
    LEDGER_FACTS,
    PERFORMANCE_FACTS,
    incomplete_lines,
    missing_line,
    show_sources,
)
from valmon_pipeline.deployment.databases import running_databases
from valmon_pipeline.deployment.environment import (
    dagster_environment,
    environment,
    prepare_dagster_home,
)
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.up_state import running_up
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.partitions import EpochRange
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.scoring.miss_causes import MissCause
from valmon_pipeline.storage.chain_head import ChainHead, read_chain_head
from valmon_pipeline.storage.queries import (
    Span,
    group_summary,
    incompleteness,
    lacks_of,
    network_epochs,
    network_validator_history,
    storage_status,
    stored_epochs,
    validator_history,
)
from valmon_pipeline.storage.queries.stale_scores import stale_epochs
from valmon_pipeline.storage.warehouse import Warehouse

_MISSING: Final = "–"
_FAULTS_OF_OTHERS: Final = frozenset(
    {MissCause.NO_OPPORTUNITY, MissCause.NEXT_BLOCK_MISSED, MissCause.LATE_BLOCK}
)


@app.command()
def status(
    epoch: Annotated[
        int | None,
        typer.Option("--epoch", help="Where the facts of this epoch came from instead.", min=0),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs and what is stored: epochs, gaps, missing facts, rows and bytes per table.

    With --epoch: where each fact of that epoch came from, and why it is missing if it is.
    """
    installation = load(config)
    if epoch is not None:
        with opened_warehouse(installation) as warehouse:
            show_sources(warehouse, epoch, as_json=as_json)
        return
    up = running_up(installation)
    ui = None if up is None else up.ui_url
    with opened_warehouse(installation) as warehouse:
        stored = storage_status(warehouse)
        incomplete = incompleteness(warehouse.database)
        stale = stale_epochs(warehouse)
        head = read_chain_head(warehouse, datetime.now(UTC))
        address = warehouse.database.address
    failure = None if stored.epoch_count else _last_failure(installation)
    if as_json:
        print_json(
            {
                "up": up is not None,
                "ui_url": ui,
                "database": address,
                "head": head,
                "stored": stored,
                "incomplete": incomplete,
                "stale_scores": stale,
                "last_failure": failure,
            }
        )
        return
    services = "not running" if up is None else f"up, {ui or 'still starting'}"
    say(f"network   {installation.settings.network}")
    say(f"database  {address}")
    say(f"services  {services}")
    say(f"head      {_head(head)}")
    if stored.epoch_count == 0:
        say(f"epochs    none stored yet: {_why_none(failure, is_up=up is not None)}")
        return
    gaps = ", ".join(f"{first}..{last}" for first, last in stored.gaps) or "none"
    say(
        f"epochs    {stored.first_epoch}..{stored.last_epoch}: {stored.epoch_count} stored, "
        f"{stored.finalized_count} final, gaps: {gaps}"
    )
    for line in incomplete_lines(incomplete):
        say(line)
    if stale:
        say(
            f"stale     {len(stale)} epochs ({stale[0]}..{stale[-1]}) lack scores of formula "
            f"version {FORMULA_VERSION}: `valmon rescore --stale`"
        )
    table = _table("table", _right("rows"), _right("size"))
    for row in stored.tables:
        rows = f"{'≈ ' if row.rows_estimated else ''}{row.rows:,}"
        table.add_row(row.name, rows, _size(row.size_bytes))
    output.print(table)


@app.command()
def validator(
    index: Annotated[int, typer.Argument(help="Validator index.", min=0)],
    epochs: Annotated[
        str | None, typer.Option("--epochs", "-e", help="FIRST..LAST; default: all stored.")
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="What moved its balance instead, in gwei.")
    ] = False,
    network_history: Annotated[
        bool,
        typer.Option(
            "--network-history",
            help="What is stored of it with the whole network, also if it is not watched.",
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a validator owed, did and earned, epoch by epoch, or what moved its balance."""
    if ledger and network_history:
        raise typer.BadParameter("choose one of --ledger and --network-history")
    wanted = None if epochs is None else [*EpochRange.parse(epochs)]
    with opened_warehouse(load(config)) as warehouse:
        known = set(network_epochs(warehouse) if network_history else stored_epochs(warehouse))
        asked = sorted(known if wanted is None else known.intersection(wanted))
        if not asked:
            history = pd.DataFrame()
        elif network_history:
            history = network_validator_history(warehouse, index, Span(asked[0], asked[-1]))
        elif ledger:
            history = warehouse.read("balance_ledger", epochs=asked, validator_indices=[index])
        else:
            history = validator_history(warehouse, index, asked)
        facts = LEDGER_FACTS if ledger else PERFORMANCE_FACTS
        missing = [
            lack
            for lack in ([] if network_history else lacks_of(warehouse.database, asked))
            if lack.fact in facts
        ]
    absent = [] if wanted is None else [epoch for epoch in wanted if epoch not in known]
    if as_json:
        print_json(
            {
                "validator_index": index,
                "epochs": history,
                "epochs_not_stored": absent,
                "missing": [lack._asdict() for lack in missing],
            }
        )
        return
    unknown = {lack.epoch for lack in missing if lack.fact == "committees"}
    if history.empty:
        say(f"nothing is stored about validator {index} in these epochs")
    else:
        if network_history:
            output.print(_network_table(index, history))
        elif ledger:
            output.print(_ledger_table(index, history))
        else:
            output.print(_history_table(index, history, unknown))
    if missing:
        say(missing_line(missing))
    if absent:
        what = " of the whole network" if network_history else ""
        say(
            f"{len(absent)} of these epochs are not stored{what}, e.g. {absent[0]}: "
            f"`valmon backfill {absent[0]}` reads them"
            + (" with `whole_network: full`" if network_history else "")
        )


def print_summary(warehouse: Warehouse, epochs: Sequence[int], category: str | None) -> None:
    """The table that ``valmon up`` ends its backfill with: totals per label group."""
    summary = group_summary(warehouse, epochs, category)
    table = _table(
        f"{category} (validators)" if category else "validators",
        *map(_right, ("duties", "missed", "effective", "of ideal")),
        *map(_right, ("gwei earned", "gwei missed")),
        caption="effective: how promptly attestations were included; of ideal: rewards earned",
        title=f"Epochs {min(epochs)}..{max(epochs)}",
    )
    for row in summary.to_dict("records"):
        name = escape(str(row["group"])) if row["group"] is not None else "(no label)"
        table.add_row(
            f"{name} ({_count(row['validators'])})",
            _count(row["duties"]),
            _count(row["missed"]),
            _percent(row["attestation_effectiveness"]),
            _percent(row["reward_effectiveness"]),
            _count(row["earned_gwei"]),
            _count(row["missed_gwei"]),
        )
    output.print(table)


def _last_failure(installation: Installation) -> FailedRun | None:
    """The last run that failed, as Dagster recorded it."""
    with running_databases(installation) as urls:
        prepare_dagster_home(installation, mention)
        with (
            environment(dagster_environment(installation, urls)),
            dg.DagsterInstance.get() as instance,
        ):
            return last_failed_run(instance, installation.settings.network)


def _why_none(failure: FailedRun | None, *, is_up: bool) -> str:
    if failure is not None:
        minutes = (datetime.now(UTC) - failure.failed_at).total_seconds() / 60
        return f"the last run failed {minutes:.0f} min ago: {failure.reason}"
    if is_up:
        return "the first is stored when its attestation window has closed"
    return "start `valmon up`, or run `valmon backfill FIRST..LAST`"


def _head(head: ChainHead | None) -> str:
    if head is None:
        return "not followed yet: `valmon up` does"
    return (
        f"slot {head.slot} (epoch {head.epoch}), {head.slots_behind} slots behind the clock; "
        f"finalized epoch {head.finalized_epoch}; seen {head.seconds_since_seen:.0f} s ago at "
        f"{head.node}"
    )


def _history_table(index: int, history: pd.DataFrame, unknown: Set[int]) -> Table:
    """The epochs; sync committee and proposals only if there were any. Duties of the epochs
    ``unknown`` are not known: these have a row each, whatever is known of them."""
    wanted = pd.DataFrame({"epoch": sorted(unknown | {*history["epoch"].tolist()})})
    history = wanted.merge(history, on="epoch", how="left")
    in_committee = bool(history["sync_due"].fillna(0).any())
    proposes = bool(history["proposals"].fillna(0).any())
    table = _table(
        *map(_right, ("epoch", "slot")),
        Column("result", no_wrap=True),
        _right("delay"),
        Column("flags", no_wrap=True),
        *map(_right, ("earned", "ideal", "eff.")),
        *((_right("sync"),) if in_committee else ()),
        *((_right("blocks"),) if proposes else ()),
        title=f"Validator {index}",
        caption="result: why less than all was earned; flags earned: S source, T target, H head; "
        "earned of ideal: gwei; eff.: how promptly it was included; sync: signed/due; "
        "blocks: proposed/due",
    )
    for row in history.to_dict("records"):
        table.add_row(
            str(row["epoch"]),
            _count(row["slot"], separator=""),
            _outcome(row, known=row["epoch"] not in unknown),
            _count(row["inclusion_delay"]),
            _flags(row),
            _count(row["total_reward"]),
            _count(row["ideal_total"]),
            _percent(row["attestation_effectiveness"]),
            *((_share(row["sync_participated"], row["sync_due"]),) if in_committee else ()),
            *((_share(row["blocks_proposed"], row["proposals"]),) if proposes else ()),
        )
    return table


def _ledger_table(index: int, ledger: pd.DataFrame) -> Table:
    """The components that moved anything in these epochs, or may have, a column each."""
    components = [name for name in COMPONENTS if ledger[name].fillna(1).any()]
    shown = ["opening_balance", *components, "residual", "closing_balance"]
    table = _table(
        _right("epoch"),
        *(_right(name.replace("_", " ")) for name in shown),
        "class",
        title=f"Validator {index}, gwei",
        caption="opening + all that moved it + residual = closing; class: what the residual is, or "
        "which component is not known",
    )
    for row in ledger.to_dict("records"):
        known = "" if pd.isna(row["residual_class"]) else str(row["residual_class"])
        table.add_row(str(row["epoch"]), *(_count(row[name]) for name in shown), known)
    return table


def _network_table(index: int, history: pd.DataFrame) -> Table:
    table = _table(
        _right("epoch"),
        "status",
        "flags",
        *map(_right, ("earned", "ideal", "effective", "rank", "balance")),
        title=f"Validator {index} in the whole network, gwei",
        caption="flags earned: S source, T target, H head; rank: in the network, 0 to 100 %",
    )
    for row in history.to_dict("records"):
        table.add_row(
            str(row["epoch"]),
            str(row["status"]),
            _earned(row) if row["active"] else _MISSING,
            _count(row["total_reward"]),
            _count(row["ideal_reward"]),
            _percent(row["reward_effectiveness"]),
            _percent(row["percentile_rank"]),
            _count(row["balance"]),
        )
    return table


def _outcome(row: dict[Any, Any], *, known: bool) -> str:
    if pd.isna(row["included"]):
        return "no duty" if known else "not known"
    if pd.isna(row["miss_cause"]):
        return "included" if row["included"] else "missed, cause not known"
    cause = MissCause(row["miss_cause"])
    colour = "yellow" if cause in _FAULTS_OF_OTHERS else "red"
    return f"[{colour}]{cause.value.replace('_', ' ')}[/]"


def _flags(row: dict[Any, Any]) -> str:
    if pd.isna(row["included"]):
        return _MISSING
    return _earned(row)


def _earned(row: dict[Any, Any]) -> str:
    flags = {"S": "source_timely", "T": "target_timely", "H": "head_timely"}
    return "".join(f"[green]{letter}[/]" if row[name] else "·" for letter, name in flags.items())


def _table(*headers: Column | str, title: str | None = None, caption: str | None = None) -> Table:
    """A plain table that fits 80 columns: no frame, numbers never cut off."""
    return Table(
        *(Column(header) if isinstance(header, str) else header for header in headers),
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )


def _right(header: str) -> Column:
    return Column(header, justify="right", no_wrap=True)


def _count(value: Any, separator: str = ",") -> str:
    return _MISSING if pd.isna(value) else format(int(value), f"{separator}d")


def _percent(value: Any) -> str:
    return _MISSING if pd.isna(value) else f"{value:.1%}"


def _share(part: Any, whole: Any) -> str:
    return _MISSING if pd.isna(whole) or not whole else f"{int(part)}/{int(whole)}"


def _size(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    magnitude = min(3, (size.bit_length() - 1) // 10)
    return f"{size / 1024**magnitude:.1f} {('kB', 'MB', 'GB')[magnitude - 1]}"
