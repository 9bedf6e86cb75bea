"""``valmon alerts backtest``: what a rule would have paged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from valmon_pipeline.alerting.backtest import PastAlert
from valmon_pipeline.alerting.configured import AlertRules, Override
from valmon_pipeline.alerting.rule import EpochRule
from valmon_pipeline.alerting.rules import EPOCH_RULES, RULES
from valmon_pipeline.assets.alert_backtest import backtest
from valmon_pipeline.cli.alerts import alerts_app
from valmon_pipeline.cli.application import (
    ConfigOption,
    JsonOption,
    load,
    output,
    print_json,
    say,
    working_on,
)
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.config.alerts import RuleEntry
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.partitions import EpochRange
from valmon_pipeline.storage.queries import missing_facts


@alerts_app.command("backtest")
def alerts_backtest(
    rule: Annotated[str, typer.Argument(help="The rule, or `all`.")],
    epochs: Annotated[str, typer.Option("--epochs", "-e", help="FIRST..LAST, both included.")],
    threshold: Annotated[
        float | None, typer.Option(help="Another threshold than the configured one.")
    ] = None,
    open_after: Annotated[
        int | None, typer.Option(help="Another number of bad epochs in a row.")
    ] = None,
    resolve_after: Annotated[
        int | None, typer.Option(help="Another number of good epochs in a row.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a rule would have paged in epochs that are stored. Nothing is changed or sent.

    With the rules as they are configured, or with other settings for this one.
    """
    only = _rules(rule)
    other = (threshold, open_after, resolve_after)
    changed = any(value is not None for value in other)
    if changed and len(only) != 1:
        raise ConfigurationError("other settings are for one rule: name it instead of `all`")
    installation = load(config)
    rules = installation.settings.alerts.alert_rules
    if changed:
        rules = _with_settings(rules, only[0].name, *other)
    wanted = [*EpochRange.parse(epochs)]
    with (
        opened_warehouse(installation) as warehouse,
        working_on(f"Judging {len(wanted)} epochs"),
    ):
        alerts, judged = backtest(warehouse, rules, only, wanted)
        needed = frozenset[str]().union(*(one.needs for one in only))
        lacking = sorted(
            epoch
            for epoch, facts in missing_facts(warehouse.database, wanted).items()
            if facts & needed
        )
    if as_json:
        print_json(
            {
                "epochs": judged,
                "epochs_lacking_facts": lacking,
                "messages": sum(past.messages for past in alerts),
                "alerts": [_as_json(past) for past in alerts],
            }
        )
        return
    if alerts:
        output.print(_table(alerts))
    say(
        f"{len(alerts)} alerts, {sum(past.messages for past in alerts)} messages in {judged} "
        f"stored epochs of {epochs}"
    )
    if lacking:
        say(
            f"{len(lacking)} of these epochs lack a fact that the rules judge by: that nothing was "
            f"found in them says nothing; `valmon status --epoch {lacking[-1]}` says why"
        )


def _rules(name: str) -> tuple[EpochRule, ...]:
    if name == "all":
        return tuple(EPOCH_RULES.values())
    if name not in EPOCH_RULES:
        known = ", ".join(EPOCH_RULES)
        why = "is not about epochs" if name in RULES else "is no rule"
        raise ConfigurationError(f"{name} {why}; there are: {known}, or all of them: all")
    return (EPOCH_RULES[name],)


def _with_settings(
    rules: AlertRules,
    rule: str,
    threshold: float | None,
    open_after: int | None,
    resolve_after: int | None,
) -> AlertRules:
    """The rules with other settings of ``rule``, for everybody; None: as configured."""
    before = rules.settings(rule)
    written = {
        "rule": rule,
        "threshold": threshold,
        "open_after": before.open_after if open_after is None else open_after,
        "resolve_after": before.resolve_after if resolve_after is None else resolve_after,
    }
    try:
        entry = RuleEntry.model_validate(
            {name: value for name, value in written.items() if value is not None}
        )
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        place = ": ".join([rule, *map(str, mistake["loc"])])
        raise ConfigurationError(f"{place}: {mistake['msg']}") from None
    after = replace(entry.settings, severity=before.severity)
    if threshold is None:
        after = replace(after, threshold=before.threshold, clear=before.clear)
    kept = tuple(one for one in rules.overrides if one.rule != rule)
    return replace(rules, overrides=(*kept, Override(rule, None, after)))


def _table(alerts: Sequence[PastAlert]) -> Table:
    table = Table(
        *("epochs", "severity", "message"),
        Column("sent", justify="right"),
        "end",
        box=SIMPLE_HEAD,
        caption="sent: messages about it; end: why it was over",
        caption_justify="left",
    )
    for past in alerts:
        finding = past.alert.finding
        until = "…" if past.over_epoch is None else str(past.over_epoch)
        table.add_row(
            f"{finding.epoch}..{until}",
            finding.severity.value,
            escape(finding.message),
            str(past.messages),
            escape(past.resolution),
        )
    return table


def _as_json(past: PastAlert) -> dict[str, Any]:
    finding = past.alert.finding
    return {
        "rule": finding.kind,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "validators": finding.validators,
        "validator_indices": finding.validator_indices,
        "epoch": finding.epoch,
        "since_epoch": finding.since_epoch,
        "over_epoch": past.over_epoch,
        "resolution": past.resolution,
        "messages": past.messages,
        "cost_gwei": finding.cost,
        "message": finding.message,
    }
