"""The constants of a simulated chain under their names in the specification, lower case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the rules of the simulated chain depend on; amounts are gwei.

    Only Deneb, Electra and Fulu are simulated.
    """

    slots_per_epoch: int
    slot_duration_ms: int
    electra_fork_epoch: int
    fulu_fork_epoch: int

    max_committees_per_slot: int
    target_committee_size: int
    max_seed_lookahead: int
    min_attestation_inclusion_delay: int
    max_attestations: int
    max_attestations_electra: int

    sync_committee_size: int
    epochs_per_sync_committee_period: int

    effective_balance_increment: int
    max_effective_balance: int
    max_effective_balance_electra: int
    min_activation_balance: int
    ejection_balance: int
    hysteresis_quotient: int
    hysteresis_downward_multiplier: int
    hysteresis_upward_multiplier: int

    base_reward_factor: int
    min_epochs_to_inactivity_penalty: int
    inactivity_score_bias: int
    inactivity_score_recovery_rate: int
    inactivity_penalty_quotient_bellatrix: int
    epochs_per_slashings_vector: int
    min_slashing_penalty_quotient_bellatrix: int
    min_slashing_penalty_quotient_electra: int
    proportional_slashing_multiplier_bellatrix: int
    whistleblower_reward_quotient: int
    whistleblower_reward_quotient_electra: int

    shard_committee_period: int
    min_validator_withdrawability_delay: int
    churn_limit_quotient: int
    min_per_epoch_churn_limit: int
    max_per_epoch_activation_churn_limit: int
    min_per_epoch_churn_limit_electra: int
    max_per_epoch_activation_exit_churn_limit: int

    max_proposer_slashings: int
    max_attester_slashings: int
    max_attester_slashings_electra: int
    max_deposits: int
    max_voluntary_exits: int
    max_bls_to_execution_changes: int
    max_deposit_requests_per_payload: int
    max_withdrawal_requests_per_payload: int
    max_consolidation_requests_per_payload: int
    max_withdrawals_per_payload: int
    max_validators_per_withdrawals_sweep: int
    max_pending_partials_per_withdrawals_sweep: int
    max_pending_deposits_per_epoch: int
    pending_partial_withdrawals_limit: int
    pending_consolidations_limit: int

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Parameters:
        """Read the ``data`` of ``config/spec``; values are integers or decimal strings.

        Raises:
            ConfigurationError: names every value that is missing or no integer, or forks in an
                order that is not simulated.
        """
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        for field in fields(cls):
            name = field.name.upper()
            if name == "SLOT_DURATION_MS" and name not in config:
                seconds = _integer(config, "SECONDS_PER_SLOT", mistakes)
                values[field.name] = 1000 * seconds
            elif name.endswith("_FORK_EPOCH"):
                epoch = _integer(config, name, mistakes) if name in config else NEVER
                values[field.name] = NEVER if epoch == FAR_FUTURE_EPOCH else epoch
            else:
                values[field.name] = _integer(config, name, mistakes)
        late = [
            name
            for name in ("ALTAIR", "BELLATRIX", "CAPELLA", "DENEB")
            if str(config.get(f"{name}_FORK_EPOCH")) != "0"
        ]
        if late:
            mistakes.append(f"{', '.join(late)}: a simulated chain starts at Deneb or later")
        if not mistakes and values["fulu_fork_epoch"] < values["electra_fork_epoch"]:
            mistakes.append("FULU_FORK_EPOCH is before ELECTRA_FORK_EPOCH")
        if mistakes:
            raise ConfigurationError("this chain cannot be simulated: " + "; ".join(mistakes))
        return cls(**values)

    def fork_at(self, epoch: int) -> Fork:
        """The fork whose rules hold in an epoch."""
        if epoch >= self.fulu_fork_epoch:
            return Fork.FULU
        return Fork.ELECTRA if epoch >= self.electra_fork_epoch else Fork.DENEB

    def epoch_of(self, slot: int) -> int:
        """The epoch of a slot."""
        return slot // self.slots_per_epoch

    def first_slot(self, epoch: int) -> int:
        """The first slot of an epoch."""
        return epoch * self.slots_per_epoch

    def activation_exit_epoch(self, epoch: int) -> int:
        """``compute_activation_exit_epoch``: the earliest that something decided now counts."""
        return epoch + 1 + self.max_seed_lookahead


def _integer(config: Mapping[str, object], name: str, mistakes: list[str]) -> int:
    value = config.get(name)
    if isinstance(value, bool) or not (isinstance(value, int) or str(value).isdecimal()):
        mistakes.append(f"{name} is {value!r}, expected an integer")
        return 0
    return int(str(value))
