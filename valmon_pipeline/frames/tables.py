"""All tables by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.frames import (
    alert_changes,
    alert_deliveries,
    alert_evaluations,
    alert_silences,
    alert_validators,
    alerts,
    attestation_duties,
    attestation_outcomes,
    attestation_rewards,
    balance_ledger,
    block_events,
    block_rewards,
    blocks,
    chain_head,
    check_results,
    corrections,
    effectiveness_scores,
    epoch_summaries,
    fact_sources,
    live_events,
    live_slots,
    network_bands,
    network_epochs,
    network_identity,
    network_outcomes,
    network_states,
    network_validator_days,
    node_budgets,
    process_counters,
    proposer_duties,
    rate_leases,
    standings_due,
    summed_days,
    sync_duties,
    sync_rewards,
    validator_day_summaries,
    validator_labels,
    validator_penalties,
    validator_snapshots,
    validator_standings,
    validators,
)
from valmon_pipeline.frames.contract import TableContract

TABLES: Final[Mapping[str, TableContract]] = MappingProxyType(
    {
        module.CONTRACT.name: module.CONTRACT
        for module in (
            network_identity,
            validators,
            validator_labels,
            validator_snapshots,
            blocks,
            attestation_duties,
            attestation_outcomes,
            proposer_duties,
            sync_duties,
            attestation_rewards,
            block_rewards,
            sync_rewards,
            block_events,
            validator_penalties,
            balance_ledger,
            effectiveness_scores,
            epoch_summaries,
            validator_standings,
            standings_due,
            network_bands,
            network_epochs,
            fact_sources,
            network_states,
            network_outcomes,
            network_validator_days,
            check_results,
            chain_head,
            live_slots,
            live_events,
            corrections,
            validator_day_summaries,
            summed_days,
            alerts,
            alert_validators,
            alert_changes,
            alert_evaluations,
            alert_deliveries,
            alert_silences,
            process_counters,
            node_budgets,
            rate_leases,
        )
    }
)


def contract_of(table: str) -> TableContract:
    """The contract of ``table``; ContractViolationError naming the tables if there is none."""
    try:
        return TABLES[table]
    except KeyError:
        raise ContractViolationError(
            f"there is no table {table!r}; the tables are {', '.join(TABLES)}"
        ) from None
