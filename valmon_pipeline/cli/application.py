"""The application object, the options every command shares, and how results are printed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import pandas as pd
import typer
from rich.console import Console

from valmon_pipeline.deployment.installation import Installation

app = typer.Typer(
    name="valmon",
    help="Ethereum validator monitoring: duties, rewards and scores of every epoch, in PostgreSQL "
    "and in the Dagster UI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Without emoji: a label such as `operator:a:` is not one.
output = Console(emoji=False)
errors = Console(stderr=True, emoji=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file. Default: VALMON_CONFIG, else valmon.yaml in VALMON_HOME.",
    ),
]
HIGHEST_PORT: Final = 65535
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load(config: Path | None) -> Installation:
    """The installation a command works on; makes its home directory."""
    installation = Installation.load(config)
    installation.home.mkdir(parents=True, exist_ok=True)
    return installation


def say(text: str, style: str | None = None) -> None:
    """Print a line of the result as it is: no markup in it, and not broken at any width."""
    output.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print what went wrong, on stderr."""
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def mention(text: str) -> None:
    """Print how it goes on, on stderr."""
    errors.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def working_on(what: str) -> Iterator[None]:
    """Show what takes a while: as it happens on a terminal, as a plain line otherwise."""
    started = time.monotonic()
    if not errors.is_terminal:
        mention(f"{what} …")
    with errors.status(what):
        yield
    if errors.is_terminal:
        mention(f"{what}: {time.monotonic() - started:.1f} s")


def print_json(value: object) -> None:
    """Print a result as JSON: integers stay exact, bytes are 0x…, times ISO 8601, NULL is null."""
    output.out(json.dumps(_plain(value), indent=2), highlight=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.astype(object).to_dict("records")]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if value is None or value is pd.NaT or (not isinstance(value, str) and pd.isna(value)):
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return value
