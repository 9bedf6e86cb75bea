"""``valmon alerts``: what is wrong, since when, and what was done about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from valmon_pipeline.alerting.life_cycle import Alert, Change, acknowledged, resolved
from valmon_pipeline.alerting.messages import listed
from valmon_pipeline.alerting.templates import VALIDATORS_NAMED, Message
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    app,
    complain,
    load,
    output,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.cli.signature import ByOption, signed
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.notify.wiring import channels_of, notifier_of, send_to
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.outbox import retry_dead
from valmon_pipeline.storage.queries import (
    alert_deliveries,
    alert_history,
    alert_validators,
    count_dead_deliveries,
    list_alerts,
)

alerts_app = typer.Typer(no_args_is_help=True, help="Alerts: list, show, acknowledge, resolve.")
app.add_typer(alerts_app, name="alerts")

NumberArgument = Annotated[int, typer.Argument(help="Number of the alert.", min=1)]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, kept with the alert.")]


@alerts_app.command("list")
def alerts_list(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are resolved or retracted.")
    ] = False,
    limit: Annotated[int, typer.Option(help="So many, the newest.", min=1)] = 100,
    validator: Annotated[
        int | None, typer.Option(help="Only alerts about one validator.", min=0)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the alerts that are open or acknowledged, the newest first."""
    with opened_warehouse(load(config)) as warehouse:
        alerts = list_alerts(warehouse, live_only=not everything, limit=limit, validator=validator)
        dead = count_dead_deliveries(warehouse)
    if as_json:
        print_json({"alerts": alerts, "dead_deliveries": dead})
        return
    if dead:
        complain(f"{dead} messages were given up: `valmon alerts retry` when the channel is mended")
    if alerts.empty:
        say("no alerts")
        return
    table = Table("no.", "severity", "status", "epoch", "message", box=SIMPLE_HEAD)
    for row in alerts.to_dict("records"):
        cells = (row[name] for name in ("alert_id", "severity", "status", "epoch", "message"))
        table.add_row(*(escape(str(cell)) for cell in cells))
    output.print(table)


@alerts_app.command("show")
def alerts_show(
    number: NumberArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show an alert and everything that happened to it."""
    with opened_warehouse(load(config)) as warehouse:
        alerts, changes = alert_history(warehouse, number)
        deliveries = alert_deliveries(warehouse, number)
        validators = alert_validators(warehouse, number)
    if alerts.empty:
        raise ConfigurationError(f"there is no alert {number}")
    (alert,) = alerts.to_dict("records")
    if as_json:
        print_json(
            {
                "alert": alert,
                "validator_indices": validators,
                "changes": changes,
                "deliveries": deliveries,
            }
        )
        return
    for name, value in alert.items():
        shown = "–" if value is None else str(value).replace("\n", ", ")
        say(f"{name:17} {shown}")
    if validators:
        say(f"{'indices':17} {listed(validators, VALIDATORS_NAMED)}")
    for row in changes.to_dict("records"):
        say(f"{row['at']:%Y-%m-%d %H:%M:%S} {row['change']}: {row['reason']}")
    for row in deliveries.to_dict("records"):
        problem = "" if row["last_error"] is None else f", last error: {row['last_error']}"
        say(
            f"{row['created_at']:%Y-%m-%d %H:%M:%S} {row['kind']} to {row['channel']}: "
            f"{row['status']}, attempts: {row['attempts']}{problem}"
        )


@alerts_app.command("ack")
def alerts_ack(
    number: NumberArgument,
    why: WhyOption = "seen",
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Acknowledge an open alert: somebody looks after it."""
    _change(number, lambda alert: acknowledged(alert, signed(why, by)), config)


@alerts_app.command("resolve")
def alerts_resolve(
    number: NumberArgument,
    why: WhyOption = "resolved by hand",
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Resolve an alert by hand. What goes on is an alert anew with the next epoch."""
    _change(number, lambda alert: resolved(alert, signed(why, by)), config)


def _change(number: int, decide: Callable[[Alert], Change | None], config: ConfigOption) -> None:
    installation = load(config)
    with (
        opened_warehouse(installation) as warehouse,
        alert_transaction(
            warehouse.database, f"change alert {number}", datetime.now(UTC)
        ) as transaction,
    ):
        alert = transaction.alert(number)
        if alert is None:
            raise ConfigurationError(f"there is no alert {number}")
        change = decide(alert)
        if change is not None:
            stored = transaction.store([change])
            notifier_of(installation.settings)(transaction, stored)
    said = f"alert {number} is {(alert if change is None else change.alert).status.value}"
    say(f"{said} already" if change is None else said)


@alerts_app.command("retry")
def alerts_retry(
    number: Annotated[
        int | None, typer.Argument(help="Number of the alert. Default: all.", min=1)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Send messages again that were given up."""
    with (
        opened_warehouse(load(config)) as warehouse,
        alert_transaction(warehouse.database, "retry messages", datetime.now(UTC)) as transaction,
    ):
        count = retry_dead(transaction, number)
    say(f"{count} messages are to be sent again")


@alerts_app.command("test")
def alerts_test(
    channel: Annotated[str, typer.Argument(help="Name of the channel.")],
    config: ConfigOption = None,
) -> None:
    """Send a message to a channel now, to see whether it arrives."""
    settings = load(config).settings
    wanted = next((one for one in channels_of(settings) if one.name == channel), None)
    if wanted is None:
        known = ", ".join(one.name for one in channels_of(settings)) or "none"
        raise ConfigurationError(f"there is no channel {channel}; there are: {known}")
    message = Message(f"[{settings.network}] test", "valmon can reach this channel.")
    try:
        with working_on(f"Sending to {channel}"):
            send_to(wanted)(message, "info")
    except DeliveryError as error:
        complain(f"channel {channel}: {error}")
        raise typer.Exit(1) from None
    say(f"channel {channel} accepted the message")
