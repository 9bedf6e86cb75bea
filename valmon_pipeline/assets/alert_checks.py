"""Each alert rule as an asset check: what it found in the epochs that a run evaluated; and one on
whether people are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg

from valmon_pipeline.alerting.judgements import NEEDED_FACTS
from valmon_pipeline.alerting.kinds import AlertType, Severity
from valmon_pipeline.alerting.rules import EPOCH_RULES, RULES
from valmon_pipeline.assets.alerts import AlertsOutcome
from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.storage.standings_due import STANDINGS

OFFENDERS_SHOWN: Final = 20
MESSAGES_CHECK: Final = "alert_messages"


def alert_check_specs(network: str) -> Iterator[dg.AssetCheckSpec]:
    """A check per rule about epochs. None blocks anything: the rows are true, and bad news."""
    for kind in EPOCH_RULES:
        yield dg.AssetCheckSpec(
            kind.value,
            asset=asset_key(network, STANDINGS),
            description=f"Alert rule: {RULES[kind].title}. See docs/alerts.md.",
            blocking=False,
        )
    yield dg.AssetCheckSpec(
        MESSAGES_CHECK,
        asset=asset_key(network, STANDINGS),
        description="No message about an alert was given up. See docs/alerts.md.",
        blocking=False,
    )


def alert_check_results(network: str, outcome: AlertsOutcome) -> list[dg.AssetCheckResult]:
    """A result per rule over the epochs evaluated: failed where anything was found in them. And one
    over the messages about alerts: failed while any stands given up.

    Severity ERROR where a finding is critical, WARN otherwise. ``epochs_not_judged`` are those that
    lack a fact the rule judges by: that nothing was found in them says nothing.
    """
    results = []
    for kind in EPOCH_RULES:
        found = [
            finding
            for findings in outcome.findings.values()
            for finding in findings
            if finding.kind is kind
        ]
        blind = sorted(epoch for epoch, kinds in outcome.blind.items() if kind in kinds)
        is_critical = any(finding.severity is Severity.CRITICAL for finding in found)
        offenders = [
            dg.TableRecord(
                {
                    "epoch": finding.epoch,
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
        results.append(
            dg.AssetCheckResult(
                passed=not found,
                asset_key=asset_key(network, STANDINGS),
                check_name=kind.value,
                severity=(
                    dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN
                ),
                description=found[-1].message if found else _unjudged(kind, blind),
                metadata={
                    "epochs_evaluated": len(outcome.findings),
                    **({"epochs_not_judged": str(blind)} if blind else {}),
                    "findings": len(found),
                    **({"offenders": dg.MetadataValue.table(records=offenders)} if found else {}),
                },
            )
        )
    results.append(_messages_result(network, outcome.messages_given_up))
    return results


def _unjudged(kind: AlertType, epochs: Sequence[int]) -> str | None:
    """The sentence about epochs in which the rule had too little to judge by; None without any."""
    if not epochs:
        return None
    needed = ", ".join(sorted(NEEDED_FACTS[kind]))
    return (
        f"not judged in {len(epochs)} epochs, e.g. {epochs[-1]}: they lack one of the facts that "
        f"the rule needs ({needed}); `valmon status --epoch {epochs[-1]}` says why"
    )


def _messages_result(network: str, given_up: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not given_up,
        asset_key=asset_key(network, STANDINGS),
        check_name=MESSAGES_CHECK,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{given_up} messages about alerts were given up, nobody got them: `valmon alerts "
            "list --all` and `valmon alerts show N` say why, `valmon alerts retry` sends them again"
            if given_up
            else None
        ),
        metadata={"messages_given_up": given_up},
    )
