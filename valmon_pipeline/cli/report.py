"""``valmon report``: groups or validators over any range of epochs or days."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    load,
    output,
    print_json,
    say,
)
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.reporting.files import to_csv, write_parquet
from valmon_pipeline.reporting.page import page
from valmon_pipeline.reporting.report import Report, group_report, report_span, validator_report


class Format(StrEnum):
    """What a report is written as."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"
    HTML = "html"


@app.command()
def report(
    first: Annotated[str, typer.Option("--from", help="First epoch or UTC day.")],
    last: Annotated[str, typer.Option("--to", help="Last epoch or UTC day, included.")],
    group: Annotated[str, typer.Option("--group", help="Category of labels, or all.")] = "all",
    validators: Annotated[
        list[int] | None, typer.Option("--validator", help="These validators instead of groups.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.TABLE,
    path: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; Parquet needs one.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what groups or validators owed, did, earned and missed, and where balances went."""
    if form is Format.PARQUET and path is None:
        raise ConfigurationError("a Parquet file needs a name: give --output FILE")
    with opened_warehouse(load(config)) as warehouse:
        span = report_span(warehouse, first, last)
        made = (
            validator_report(warehouse, span, sorted(set(validators)))
            if validators
            else group_report(warehouse, span, group)
        )
    if as_json:
        print_json(
            {
                "first_epoch": span.first,
                "last_epoch": span.last,
                "incomplete_epochs": made.incomplete,
                "groups": made.groups,
            }
        )
        return
    if made.groups.empty:
        say(f"nothing is stored of epochs {span.first} to {span.last}")
        return
    if form is Format.PARQUET and path is not None:
        write_parquet(made.groups, path)
    elif form is Format.TABLE and path is None:
        output.print(_table(made))
        if made.incomplete:
            say(
                f"{len(made.incomplete)} of these epochs lack facts, {made.incomplete[0]} to "
                f"{made.incomplete[-1]}: sums are over what is known of them; "
                f"`valmon status --epoch {made.incomplete[-1]}` says what is not"
            )
    else:
        _write(_text(made, form), path)


def _text(made: Report, form: Format) -> str:
    if form is Format.TABLE:
        raise ConfigurationError("a table is printed; for a file choose --format csv or html")
    return page(made) if form is Format.HTML else to_csv(made.groups)


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def _table(made: Report) -> Table:
    table = Table(
        title=f"Epochs {made.span.first}..{made.span.last}",
        title_justify="left",
        caption="effective: promptness of attestations; of ideal: rewards earned; amounts in gwei",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column(f"{made.category} (validators)")
    for name in ("duties", "missed", "effective", "of ideal", "earned", "cost", "closing balance"):
        table.add_column(name, justify="right")
    for row in made.groups.to_dict("records"):
        name = escape(str(row["group"]) or "(no label)")
        shares = [row["attestation_effectiveness"], row["reward_effectiveness"]]
        table.add_row(
            f"{name} ({row['validators']:,})",
            f"{row['duties']:,}",
            f"{row['missed']:,}",
            *("–" if pd.isna(share) else f"{share:.1%}" for share in shares),
            *(
                "–" if pd.isna(row[column]) else f"{row[column]:,}"
                for column in ("earned", "cost", "closing_balance")
            ),
        )
    return table
