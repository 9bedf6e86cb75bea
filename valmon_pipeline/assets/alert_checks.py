"""Each alert rule as an asset check of ``validator_standings``, epoch by epoch; and one on whether
messages about alerts are delivered.

``alert_sensor`` reports what a rule found when it evaluates an epoch. The checks can also be
executed: then the epochs of the run are judged again, and no alert is opened or ended by it. A rule
that evaluated nothing reports no result.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import warnings
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import dagster as dg

from valmon_pipeline.alerting.evaluation import Evaluation, evaluate_epoch
from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import Finding
from valmon_pipeline.alerting.rule import EpochRule
from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline.assets.alert_backtest import histories
from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.partitions import epoch_key, epoch_partitions, epochs_of_keys
from valmon_pipeline.storage.queries import count_dead_deliveries
from valmon_pipeline.storage.standings_due import STANDINGS

OFFENDERS_SHOWN: Final = 20
MESSAGES_CHECK: Final = "alert_messages"


def alert_check_keys(network: str) -> list[dg.AssetCheckKey]:
    """The checks of this module, which no run that materializes epochs executes."""
    standings = asset_key(network, STANDINGS)
    return [dg.AssetCheckKey(standings, name) for name in (*EPOCH_RULES, MESSAGES_CHECK)]


def alert_checks(network: str) -> list[dg.AssetChecksDefinition]:
    """A check per rule about epochs, and the one on messages. None blocks anything: the rows are
    true, and bad news."""
    standings, partitions = asset_key(network, STANDINGS), epoch_partitions(network)
    with warnings.catch_warnings():
        # Without partitions of its own, a check has one result, whatever the epoch.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                rule.name,
                asset=standings,
                description=f"Alert rule about validators: {rule.title}. See docs/alerts.md.",
                partitions_def=partitions,
                blocking=False,
            )
            for rule in EPOCH_RULES.values()
        ]

    @dg.multi_asset_check(
        name="alert_rules", specs=specs, can_subset=True, required_resource_keys={"pipeline"}
    )
    def alert_rules(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckEvaluation]:
        if context.run.asset_selection and context.run.asset_check_selection is None:
            # A backfill of assets has all their checks executed; those of history pay for nothing.
            context.log.info("nobody asked for these checks: `alert_sensor` evaluates the epochs")
            return
        pipeline: Pipeline = context.resources.pipeline
        chosen = {key.name for key in context.selected_asset_check_keys}
        rules = [rule for rule in EPOCH_RULES.values() if rule.name in chosen]
        # Results are one a run and check; evaluations are one an epoch.
        for evaluation in _judged_again(pipeline, epochs_of_keys(context.partition_keys), rules):
            yield from alert_check_events(network, evaluation, rules)

    @dg.asset_check(
        asset=standings,
        name=MESSAGES_CHECK,
        description="Every message about an alert was delivered. See docs/alerts.md.",
        required_resource_keys={"pipeline"},
    )
    def alert_messages(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline: Pipeline = context.resources.pipeline
        event = messages_event(network, count_dead_deliveries(pipeline.warehouse))
        return dg.AssetCheckResult(
            passed=event.passed,
            severity=event.severity,
            description=event.description,
            metadata=event.metadata,
        )

    return [alert_rules, alert_messages]


def alert_check_events(
    network: str, evaluation: Evaluation, rules: Iterable[EpochRule] = tuple(EPOCH_RULES.values())
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check of each rule that evaluated something in an epoch: failed where it found anything.

    Severity ERROR where a finding is critical, WARN otherwise.
    """
    for rule in rules:
        found = evaluation.findings_of(rule)
        if found is None:
            continue
        is_critical = any(finding.severity is Severity.CRITICAL for finding in found)
        yield dg.AssetCheckEvaluation(
            asset_key=asset_key(network, STANDINGS),
            check_name=rule.name,
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN,
            description=found[-1].message if found else None,
            metadata={
                "judged": evaluation.judged[rule.name],
                "findings": len(found),
                **({"offenders": _offenders(found)} if found else {}),
            },
            partition=epoch_key(evaluation.epoch),
        )


def messages_event(network: str, given_up: int) -> dg.AssetCheckEvaluation:
    """The check on messages: failed while ``given_up`` messages could not be delivered."""
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(network, STANDINGS),
        check_name=MESSAGES_CHECK,
        passed=not given_up,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{given_up} alert notifications could not be delivered: `valmon alerts list --all` "
            "and `valmon alerts show N` say why, `valmon alerts retry` sends them again"
            if given_up
            else None
        ),
        metadata={"messages_given_up": given_up},
    )


def _judged_again(
    pipeline: Pipeline, epochs: Collection[int], rules: Collection[EpochRule]
) -> Iterator[Evaluation]:
    """Evaluations of those of ``epochs`` (ascending) that are stored, without regard to alerts."""
    settings = pipeline.alerting.rules
    labels = pipeline.warehouse.read("validator_labels")
    for history in histories(pipeline.warehouse, settings, epochs):
        held = Labels.in_epoch(labels, history[0].epoch, settings.group_by)
        yield evaluate_epoch(settings, history, held, (), is_newest=True, only=rules)


def _offenders(found: list[Finding]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "subject": finding.subject,
                    "severity": finding.severity.value,
                    "validators": finding.validators,
                    "since_epoch": finding.since_epoch,
                    "cost_gwei": finding.cost,
                    "message": finding.message,
                }
            )
            for finding in found[-OFFENDERS_SHOWN:]
        ]
    )
