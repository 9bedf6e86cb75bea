"""``config/spec`` of simulated chains: the presets of the specification, and what may differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.errors import ConfigurationError

_ZERO_ROOT: Final = "0x" + "00" * 32

_COMMON: Final[Mapping[str, str]] = {
    "TERMINAL_TOTAL_DIFFICULTY": "0",
    "TERMINAL_BLOCK_HASH": _ZERO_ROOT,
    "TERMINAL_BLOCK_HASH_ACTIVATION_EPOCH": str(FAR_FUTURE_EPOCH),
    "MIN_GENESIS_TIME": "1578009600",
    "GENESIS_DELAY": "300",
    "GENESIS_SLOT": "0",
    "GENESIS_EPOCH": "0",
    "FAR_FUTURE_EPOCH": str(FAR_FUTURE_EPOCH),
    "SECONDS_PER_ETH1_BLOCK": "14",
    "ETH1_FOLLOW_DISTANCE": "16",
    "INACTIVITY_SCORE_BIAS": "4",
    "INACTIVITY_SCORE_RECOVERY_RATE": "16",
    "EJECTION_BALANCE": "16000000000",
    "PROPOSER_SCORE_BOOST": "40",
    "REORG_HEAD_WEIGHT_THRESHOLD": "20",
    "REORG_PARENT_WEIGHT_THRESHOLD": "160",
    "REORG_MAX_EPOCHS_SINCE_FINALIZATION": "2",
    "DEPOSIT_CHAIN_ID": "5",
    "DEPOSIT_NETWORK_ID": "5",
    "DEPOSIT_CONTRACT_ADDRESS": "0x1234567890123456789012345678901234567890",
    "MIN_EPOCHS_FOR_BLOB_SIDECARS_REQUESTS": "4096",
    "MAX_VALIDATORS_PER_COMMITTEE": "2048",
    "HYSTERESIS_QUOTIENT": "4",
    "HYSTERESIS_DOWNWARD_MULTIPLIER": "1",
    "HYSTERESIS_UPWARD_MULTIPLIER": "5",
    "MIN_DEPOSIT_AMOUNT": "1000000000",
    "MAX_EFFECTIVE_BALANCE": "32000000000",
    "EFFECTIVE_BALANCE_INCREMENT": "1000000000",
    "MIN_ATTESTATION_INCLUSION_DELAY": "1",
    "MIN_SEED_LOOKAHEAD": "1",
    "MAX_SEED_LOOKAHEAD": "4",
    "MIN_EPOCHS_TO_INACTIVITY_PENALTY": "4",
    "HISTORICAL_ROOTS_LIMIT": "16777216",
    "VALIDATOR_REGISTRY_LIMIT": "1099511627776",
    "BASE_REWARD_FACTOR": "64",
    "WHISTLEBLOWER_REWARD_QUOTIENT": "512",
    "PROPOSER_REWARD_QUOTIENT": "8",
    "INACTIVITY_PENALTY_QUOTIENT": "67108864",
    "MIN_SLASHING_PENALTY_QUOTIENT": "128",
    "PROPORTIONAL_SLASHING_MULTIPLIER": "1",
    "MAX_PROPOSER_SLASHINGS": "16",
    "MAX_ATTESTER_SLASHINGS": "2",
    "MAX_ATTESTATIONS": "128",
    "MAX_DEPOSITS": "16",
    "MAX_VOLUNTARY_EXITS": "16",
    "INACTIVITY_PENALTY_QUOTIENT_ALTAIR": "50331648",
    "MIN_SLASHING_PENALTY_QUOTIENT_ALTAIR": "64",
    "PROPORTIONAL_SLASHING_MULTIPLIER_ALTAIR": "2",
    "MIN_SYNC_COMMITTEE_PARTICIPANTS": "1",
    "INACTIVITY_PENALTY_QUOTIENT_BELLATRIX": "16777216",
    "MIN_SLASHING_PENALTY_QUOTIENT_BELLATRIX": "32",
    "PROPORTIONAL_SLASHING_MULTIPLIER_BELLATRIX": "3",
    "MAX_BYTES_PER_TRANSACTION": "1073741824",
    "MAX_TRANSACTIONS_PER_PAYLOAD": "1048576",
    "BYTES_PER_LOGS_BLOOM": "256",
    "MAX_EXTRA_DATA_BYTES": "32",
    "MAX_BLS_TO_EXECUTION_CHANGES": "16",
    "FIELD_ELEMENTS_PER_BLOB": "4096",
    "MAX_BLOBS_PER_BLOCK": "6",
    "MAX_ATTESTER_SLASHINGS_ELECTRA": "1",
    "MAX_ATTESTATIONS_ELECTRA": "8",
    "MAX_PENDING_DEPOSITS_PER_EPOCH": "16",
    "MAX_EFFECTIVE_BALANCE_ELECTRA": "2048000000000",
    "MIN_SLASHING_PENALTY_QUOTIENT_ELECTRA": "4096",
    "MIN_ACTIVATION_BALANCE": "32000000000",
    "PENDING_DEPOSITS_LIMIT": "134217728",
    "WHISTLEBLOWER_REWARD_QUOTIENT_ELECTRA": "4096",
    "UNSET_DEPOSIT_REQUESTS_START_INDEX": str(FAR_FUTURE_EPOCH),
    "FULL_EXIT_REQUEST_AMOUNT": "0",
    "BLS_WITHDRAWAL_PREFIX": "0",
    "ETH1_ADDRESS_WITHDRAWAL_PREFIX": "1",
    "COMPOUNDING_WITHDRAWAL_PREFIX": "2",
    "TARGET_AGGREGATORS_PER_COMMITTEE": "16",
    "ATTESTATION_SUBNET_COUNT": "64",
    "SYNC_COMMITTEE_SUBNET_COUNT": "4",
    "EPOCHS_PER_ETH1_VOTING_PERIOD": "64",
    "MIN_PER_EPOCH_CHURN_LIMIT": "4",
    "MAX_COMMITTEES_PER_SLOT": "64",
    "TARGET_COMMITTEE_SIZE": "128",
    "SHUFFLE_ROUND_COUNT": "90",
    "SLOTS_PER_HISTORICAL_ROOT": "8192",
    "EPOCHS_PER_HISTORICAL_VECTOR": "65536",
    "EPOCHS_PER_SLASHINGS_VECTOR": "8192",
    "SYNC_COMMITTEE_SIZE": "512",
    "MIN_VALIDATOR_WITHDRAWABILITY_DELAY": "256",
    "SHARD_COMMITTEE_PERIOD": "256",
    "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD": "8192",
    "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD": "16",
    "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD": "2",
    "MAX_PENDING_PARTIALS_PER_WITHDRAWALS_SWEEP": "8",
    "PENDING_PARTIAL_WITHDRAWALS_LIMIT": "134217728",
    "PENDING_CONSOLIDATIONS_LIMIT": "262144",
    "MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA": "128000000000",
}

_PRESETS: Final[Mapping[str, Mapping[str, str]]] = {
    "mainnet": {
        "PRESET_BASE": "mainnet",
        "CONFIG_NAME": "mainnet-simulated",
        "SLOTS_PER_EPOCH": "32",
        "SECONDS_PER_SLOT": "12",
        "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": "256",
        "MAX_WITHDRAWALS_PER_PAYLOAD": "16",
        "MAX_VALIDATORS_PER_WITHDRAWALS_SWEEP": "16384",
        "CHURN_LIMIT_QUOTIENT": "65536",
        "MAX_PER_EPOCH_ACTIVATION_CHURN_LIMIT": "8",
        "MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT": "256000000000",
    },
    "gnosis": {
        "PRESET_BASE": "gnosis",
        "CONFIG_NAME": "gnosis-simulated",
        "SLOTS_PER_EPOCH": "16",
        "SECONDS_PER_SLOT": "5",
        "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": "512",
        "BASE_REWARD_FACTOR": "25",
        "MAX_WITHDRAWALS_PER_PAYLOAD": "8",
        "MAX_VALIDATORS_PER_WITHDRAWALS_SWEEP": "8192",
        "CHURN_LIMIT_QUOTIENT": "4096",
        "MAX_PER_EPOCH_ACTIVATION_CHURN_LIMIT": "2",
        "MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT": "64000000000",
    },
    # The delays after exits and the churn are those of the recorded devnet, a few epochs, so that
    # what happens to a validator in the end can be followed.
    "minimal": {
        "PRESET_BASE": "minimal",
        "CONFIG_NAME": "minimal-simulated",
        "SLOTS_PER_EPOCH": "8",
        "SECONDS_PER_SLOT": "6",
        "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": "8",
        "EPOCHS_PER_ETH1_VOTING_PERIOD": "4",
        "MAX_COMMITTEES_PER_SLOT": "4",
        "TARGET_COMMITTEE_SIZE": "4",
        "SHUFFLE_ROUND_COUNT": "10",
        "SLOTS_PER_HISTORICAL_ROOT": "64",
        "EPOCHS_PER_HISTORICAL_VECTOR": "64",
        "EPOCHS_PER_SLASHINGS_VECTOR": "64",
        "SYNC_COMMITTEE_SIZE": "32",
        "MIN_VALIDATOR_WITHDRAWABILITY_DELAY": "4",
        "SHARD_COMMITTEE_PERIOD": "4",
        "MAX_WITHDRAWALS_PER_PAYLOAD": "4",
        "MAX_VALIDATORS_PER_WITHDRAWALS_SWEEP": "16",
        "MIN_PER_EPOCH_CHURN_LIMIT": "2",
        "CHURN_LIMIT_QUOTIENT": "32",
        "MAX_PER_EPOCH_ACTIVATION_CHURN_LIMIT": "4",
        "MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT": "64000000000",
        "MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA": "64000000000",
        "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD": "4",
        "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD": "2",
        "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD": "1",
        "MAX_PENDING_PARTIALS_PER_WITHDRAWALS_SWEEP": "2",
        "PENDING_PARTIAL_WITHDRAWALS_LIMIT": "64",
        "PENDING_CONSOLIDATIONS_LIMIT": "64",
    },
}

PRESETS: Final = tuple(_PRESETS)
"""The names of the presets."""

_FORKS: Final = ("ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU", "GLOAS")


def config(
    preset: str = "minimal",
    *,
    electra_epoch: int | None = 0,
    fulu_epoch: int | None = None,
    slot_duration_ms: int | None = None,
    **values: int | str,
) -> dict[str, str]:
    """Return the ``config/spec`` of a chain that is at Deneb until ``electra_epoch``.

    ``None`` leaves a fork unscheduled; Fulu comes with or after Electra. ``slot_duration_ms`` is
    told as ``SLOT_DURATION_MS``, and as ``SECONDS_PER_SLOT`` too if it is whole seconds. Any other
    value by its name, e.g. ``config("minimal", SHARD_COMMITTEE_PERIOD=64)``.

    Raises:
        ConfigurationError: an unknown preset or name.
    """
    if preset not in _PRESETS:
        raise ConfigurationError(f"there is no preset {preset!r}; choose one of {list(_PRESETS)}")
    spec = {**_COMMON, **_PRESETS[preset], "GENESIS_FORK_VERSION": "0x00000001"}
    epochs = {"ELECTRA": electra_epoch, "FULU": fulu_epoch, "GLOAS": None}
    for number, fork in enumerate(_FORKS, start=1):
        epoch = epochs.get(fork, 0)
        spec[f"{fork}_FORK_VERSION"] = f"0x{number:02x}000001"
        spec[f"{fork}_FORK_EPOCH"] = str(FAR_FUTURE_EPOCH if epoch is None else epoch)
    if slot_duration_ms is not None:
        seconds, rest = divmod(slot_duration_ms, 1000)
        spec["SLOT_DURATION_MS"] = str(slot_duration_ms)
        if rest:
            del spec["SECONDS_PER_SLOT"]
        else:
            spec["SECONDS_PER_SLOT"] = str(seconds)
    unknown = sorted(values.keys() - spec.keys())
    if unknown:
        raise ConfigurationError(f"config/spec has no {', '.join(unknown)}")
    return spec | {name: str(value) for name, value in values.items()}
