"""``valmon silence``: alerts of a planned time are recorded, and nobody is told of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from pydantic_core import PydanticCustomError
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from valmon_pipeline.alerting.rules import RULES
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
from valmon_pipeline.cli.signature import ByOption, signed
from valmon_pipeline.config.labels import AlertSubject
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.silences import Silence, add_silence, end_silence, list_silences

LONGEST: Final = timedelta(days=90)
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}

silence_app = typer.Typer(
    invoke_without_command=True, help="Maintenance: tell nobody of some alerts for a while."
)
app.add_typer(silence_app, name="silence")


@silence_app.callback()
def silence(
    context: typer.Context,
    label: Annotated[
        str | None,
        typer.Option(help="Alerts about those with a label, e.g. operator=a; or node, data."),
    ] = None,
    validator: Annotated[
        int | None, typer.Option(help="Alerts about one validator.", min=0)
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Alerts of one rule.")] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, e.g. 30m, 2h, 1d12h.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="The reason.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell nobody of alerts that meet every condition given. Alone: see `list` and `end`.

    They are recorded as always; what is still wrong at the end is told then.
    """
    if context.invoked_subcommand is not None:
        return
    if duration is None or why is None:
        raise ConfigurationError("say how long and why: --for 2h --why 'node upgrade'")
    if label is None and validator is None and rule is None:
        raise ConfigurationError("say which alerts: --label, --validator, --rule")
    if label is not None and validator is not None:
        raise ConfigurationError("say either --label or --validator")
    if rule is not None and rule not in RULES:
        raise ConfigurationError(f"{rule} is no rule; there are: {', '.join(RULES)}")
    subject = f"validator:{validator}" if validator is not None else label
    if label is not None:
        subject = _subject(label)
    now = datetime.now(UTC)
    ends_at = now + parsed_duration(duration)
    with (
        opened_warehouse(load(config)) as warehouse,
        alert_transaction(warehouse.database, "add a silence", now) as transaction,
    ):
        made = add_silence(transaction, subject, rule, ends_at, signed(why, by))
    say(f"silence {made.silence_id} holds until {_moment(made.ends_at)}: {_about(made)}")


@silence_app.command("list")
def silence_list(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the silences that hold."""
    with opened_warehouse(load(config)) as warehouse:
        silences = list_silences(warehouse.database, datetime.now(UTC))
    if as_json:
        print_json({"silences": silences})
        return
    if not silences:
        say("no silences")
        return
    table = Table("no.", "about", "until", "why", box=SIMPLE_HEAD)
    for one in silences:
        cells = (str(one.silence_id), _about(one), _moment(one.ends_at), one.reason)
        table.add_row(*map(escape, cells))
    output.print(table)


@silence_app.command("end")
def silence_end(
    number: Annotated[int, typer.Argument(help="Number of the silence.", min=1)],
    config: ConfigOption = None,
) -> None:
    """End a silence now: what it held back is told."""
    with (
        opened_warehouse(load(config)) as warehouse,
        alert_transaction(warehouse.database, "end a silence", datetime.now(UTC)) as transaction,
    ):
        if end_silence(transaction, number) is None:
            raise ConfigurationError(f"there is no silence {number} that holds")
    say(f"silence {number} is over")


def parsed_duration(text: str) -> timedelta:
    """A duration such as ``30m``, ``2h`` or ``1d12h``.

    Raises:
        ConfigurationError: it is something else, nothing, or longer than 90 days.
    """
    if not re.fullmatch(r"(\d{1,6}[dhm])+", text):
        raise ConfigurationError(f"expected a duration such as 30m, 2h or 1d12h, not {text!r}")
    total = timedelta()
    for number, unit in re.findall(r"(\d+)([dhm])", text):
        total += timedelta(**{_UNITS[unit]: int(number)})
    if not timedelta(0) < total <= LONGEST:
        raise ConfigurationError(f"a silence lasts up to {LONGEST.days} days, not {text}")
    return total


def _subject(label: str) -> str:
    subject = re.sub(r"^([^:=]+)=", r"\1:", label)
    try:
        return AlertSubject().parse(subject)
    except PydanticCustomError as error:
        raise ConfigurationError(f"--label {label}: {error.message()}") from None


def _about(silence: Silence) -> str:
    parts = [silence.subject, silence.alert_type]
    return ", ".join(part for part in parts if part is not None)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
