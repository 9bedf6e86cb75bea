"""The parameters of one chain, read from a node's ``config/spec``, and the clock they define.

Every number that differs between mainnet, Gnosis and test networks lives here. The incentive
weights do not: nodes list them unreliably and no network changes them, see ``chain.weights``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec_values import SpecReader
from valmon_pipeline.errors import ChainRuleViolationError, UnsupportedForkError

_FORK_EPOCH_SUFFIX: Final = "_FORK_EPOCH"
_BLOCK_LIMITS: Final = (
    "MAX_PROPOSER_SLASHINGS",
    "MAX_ATTESTER_SLASHINGS",
    "MAX_ATTESTER_SLASHINGS_ELECTRA",
    "MAX_ATTESTATIONS",
    "MAX_ATTESTATIONS_ELECTRA",
    "MAX_VALIDATORS_PER_COMMITTEE",
    "MAX_DEPOSITS",
    "MAX_VOLUNTARY_EXITS",
    "MAX_BLS_TO_EXECUTION_CHANGES",
    "MAX_WITHDRAWALS_PER_PAYLOAD",
    "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD",
    "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD",
    "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD",
)

_INACTIVITY_PENALTY_QUOTIENT: Final = {
    Fork.PHASE0: "INACTIVITY_PENALTY_QUOTIENT",
    Fork.ALTAIR: "INACTIVITY_PENALTY_QUOTIENT_ALTAIR",
    Fork.BELLATRIX: "INACTIVITY_PENALTY_QUOTIENT_BELLATRIX",
}
_MIN_SLASHING_PENALTY_QUOTIENT: Final = {
    Fork.PHASE0: "MIN_SLASHING_PENALTY_QUOTIENT",
    Fork.ALTAIR: "MIN_SLASHING_PENALTY_QUOTIENT_ALTAIR",
    Fork.BELLATRIX: "MIN_SLASHING_PENALTY_QUOTIENT_BELLATRIX",
    Fork.ELECTRA: "MIN_SLASHING_PENALTY_QUOTIENT_ELECTRA",
}
_PROPORTIONAL_SLASHING_MULTIPLIER: Final = {
    Fork.PHASE0: "PROPORTIONAL_SLASHING_MULTIPLIER",
    Fork.ALTAIR: "PROPORTIONAL_SLASHING_MULTIPLIER_ALTAIR",
    Fork.BELLATRIX: "PROPORTIONAL_SLASHING_MULTIPLIER_BELLATRIX",
}
_WHISTLEBLOWER_REWARD_QUOTIENT: Final = {
    Fork.PHASE0: "WHISTLEBLOWER_REWARD_QUOTIENT",
    Fork.ELECTRA: "WHISTLEBLOWER_REWARD_QUOTIENT_ELECTRA",
}


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """Parameters of one chain under their specification names in lower case; amounts are gwei.

    ``fork_epochs`` holds every fork valmon knows, ``chain.epochs.NEVER`` if it is not scheduled;
    ``unknown_fork_epochs`` the scheduled forks it does not know. The four parameters that forks
    redefine are mappings from each fork to the value in effect at it. Parameters that lay out
    states and shuffle committees are None, and versions absent from ``fork_versions``, on a node
    that does not list them; whatever needs one asks for it by ``required``.
    ``block_limits`` holds those limits of a block's lists that the node lists, under their names as
    they are: bounds for what is read, and nothing else.
    """

    config_name: str
    preset_base: str
    fork_epochs: Mapping[Fork, int]
    unknown_fork_epochs: Mapping[str, int]

    slots_per_epoch: int
    slot_duration_ms: int
    epochs_per_sync_committee_period: int
    epochs_per_slashings_vector: int

    sync_committee_size: int
    max_committees_per_slot: int
    target_committee_size: int
    min_attestation_inclusion_delay: int

    effective_balance_increment: int
    max_effective_balance: int
    max_effective_balance_electra: int
    min_activation_balance: int
    ejection_balance: int
    min_deposit_amount: int
    shard_committee_period: int | None

    base_reward_factor: int
    min_epochs_to_inactivity_penalty: int
    inactivity_score_bias: int
    inactivity_score_recovery_rate: int
    inactivity_penalty_quotient: Mapping[Fork, int]
    min_slashing_penalty_quotient: Mapping[Fork, int]
    proportional_slashing_multiplier: Mapping[Fork, int]
    whistleblower_reward_quotient: Mapping[Fork, int]

    fork_versions: Mapping[Fork, bytes]
    slots_per_historical_root: int | None
    epochs_per_historical_vector: int | None
    min_seed_lookahead: int | None
    shuffle_round_count: int | None

    block_limits: Mapping[str, int]

    @classmethod
    def from_config(cls, data: Mapping[str, object]) -> ChainSpec:
        """Read the ``data`` object of ``/eth/v1/config/spec``.

        Values are decimal strings or integers. Names valmon does not use are ignored; a fork
        without an epoch is not scheduled; the slot duration is ``SLOT_DURATION_MS`` or, on nodes
        that do not send it, ``SECONDS_PER_SLOT``. Parameters that only Electra has may be absent
        while Electra is not scheduled: balances are then capped by ``MAX_EFFECTIVE_BALANCE``.

        Raises:
            ChainRuleViolationError: names every missing or malformed parameter at once.
        """
        reader = SpecReader(data)
        fork_epochs = {Fork.PHASE0: 0}
        for fork in Fork:
            if fork is not Fork.PHASE0:
                fork_epochs[fork] = reader.epoch(f"{fork.name}{_FORK_EPOCH_SUFFIX}")
        scheduled = _forks_in_effect(fork_epochs)
        electra_matters = any(fork >= Fork.ELECTRA for fork in scheduled)

        def since_electra(name: str) -> int:
            if electra_matters or name in data:
                return reader.positive(name)
            return reader.positive("MAX_EFFECTIVE_BALANCE")

        spec = cls(
            config_name=reader.text("CONFIG_NAME"),
            preset_base=reader.text("PRESET_BASE"),
            fork_epochs=fork_epochs,
            unknown_fork_epochs=_unknown_fork_epochs(reader, data),
            slots_per_epoch=reader.positive("SLOTS_PER_EPOCH"),
            slot_duration_ms=(
                reader.positive("SLOT_DURATION_MS")
                if "SLOT_DURATION_MS" in data
                else 1000 * reader.positive("SECONDS_PER_SLOT", instead_of="SLOT_DURATION_MS")
            ),
            epochs_per_sync_committee_period=reader.positive("EPOCHS_PER_SYNC_COMMITTEE_PERIOD"),
            epochs_per_slashings_vector=reader.positive("EPOCHS_PER_SLASHINGS_VECTOR"),
            sync_committee_size=reader.positive("SYNC_COMMITTEE_SIZE"),
            max_committees_per_slot=reader.positive("MAX_COMMITTEES_PER_SLOT"),
            target_committee_size=reader.positive("TARGET_COMMITTEE_SIZE"),
            min_attestation_inclusion_delay=reader.positive("MIN_ATTESTATION_INCLUSION_DELAY"),
            effective_balance_increment=reader.positive("EFFECTIVE_BALANCE_INCREMENT"),
            max_effective_balance=reader.positive("MAX_EFFECTIVE_BALANCE"),
            max_effective_balance_electra=since_electra("MAX_EFFECTIVE_BALANCE_ELECTRA"),
            min_activation_balance=since_electra("MIN_ACTIVATION_BALANCE"),
            ejection_balance=reader.integer("EJECTION_BALANCE"),
            # Not every node lists it; the deposit contract of every network takes no less than one
            # increment.
            min_deposit_amount=reader.positive(
                "MIN_DEPOSIT_AMOUNT"
                if "MIN_DEPOSIT_AMOUNT" in data
                else "EFFECTIVE_BALANCE_INCREMENT"
            ),
            shard_committee_period=reader.positive_if_listed("SHARD_COMMITTEE_PERIOD"),
            base_reward_factor=reader.positive("BASE_REWARD_FACTOR"),
            min_epochs_to_inactivity_penalty=reader.integer("MIN_EPOCHS_TO_INACTIVITY_PENALTY"),
            inactivity_score_bias=reader.integer("INACTIVITY_SCORE_BIAS"),
            inactivity_score_recovery_rate=reader.integer("INACTIVITY_SCORE_RECOVERY_RATE"),
            inactivity_penalty_quotient=reader.by_fork(_INACTIVITY_PENALTY_QUOTIENT, scheduled),
            min_slashing_penalty_quotient=reader.by_fork(_MIN_SLASHING_PENALTY_QUOTIENT, scheduled),
            proportional_slashing_multiplier=reader.by_fork(
                _PROPORTIONAL_SLASHING_MULTIPLIER, scheduled
            ),
            whistleblower_reward_quotient=reader.by_fork(_WHISTLEBLOWER_REWARD_QUOTIENT, scheduled),
            fork_versions={
                fork: reader.hex_bytes(f"{fork.name}_FORK_VERSION", 4)
                for fork in Fork
                if f"{fork.name}_FORK_VERSION" in data
            },
            slots_per_historical_root=reader.positive_if_listed("SLOTS_PER_HISTORICAL_ROOT"),
            epochs_per_historical_vector=reader.positive_if_listed("EPOCHS_PER_HISTORICAL_VECTOR"),
            min_seed_lookahead=reader.positive_if_listed("MIN_SEED_LOOKAHEAD"),
            shuffle_round_count=reader.positive_if_listed("SHUFFLE_ROUND_COUNT"),
            block_limits={name: reader.integer(name) for name in _BLOCK_LIMITS if name in data},
        )
        if reader.mistakes:
            raise ChainRuleViolationError(
                "/eth/v1/config/spec of the beacon node cannot be used: "
                + "; ".join(reader.mistakes)
                + ". Ask a node of a supported client and network."
            )
        return spec

    def required(self, name: str, consequence: str) -> int:
        """The parameter of field ``name``, which not every node lists; presets are not assumed.

        Raises:
            ChainRuleViolationError: the node does not list it; ``consequence`` completes the
                message: "without which ...".
        """
        value: int | None = getattr(self, name)
        if value is None:
            raise ChainRuleViolationError(
                f"the beacon node's /eth/v1/config/spec does not list {name.upper()}, without "
                f"which {consequence}. Ask another node."
            )
        return value

    def epoch_of(self, slot: int) -> int:
        """The epoch that ``slot`` belongs to."""
        return slot // self.slots_per_epoch

    def first_slot(self, epoch: int) -> int:
        """The first slot of ``epoch``, S_E."""
        return epoch * self.slots_per_epoch

    def last_slot(self, epoch: int) -> int:
        """The last slot of ``epoch``, L_E."""
        return (epoch + 1) * self.slots_per_epoch - 1

    @property
    def epoch_duration_ms(self) -> int:
        """Length of an epoch in milliseconds."""
        return self.slots_per_epoch * self.slot_duration_ms

    def slot_start_ms(self, genesis_time: int, slot: int) -> int:
        """Start of ``slot`` in milliseconds since 1970; ``genesis_time`` is in seconds."""
        return genesis_time * 1000 + slot * self.slot_duration_ms

    def slot_at(self, genesis_time: int, now_ms: int) -> int:
        """The slot of the wall clock at ``now_ms``; 0 before genesis."""
        return max(0, (now_ms - genesis_time * 1000) // self.slot_duration_ms)

    def fork_at_epoch(self, epoch: int) -> Fork:
        """The newest fork known to valmon whose epoch is not after ``epoch``."""
        return max(fork for fork, since in self.fork_epochs.items() if since <= epoch)

    def fork_at_slot(self, slot: int) -> Fork:
        """The fork whose rules a block at ``slot`` follows."""
        return self.fork_at_epoch(self.epoch_of(slot))

    def require_supported(self, epoch: int) -> Fork:
        """The fork at ``epoch``, if valmon implements its rules for attestations and rewards.

        The attestations of epoch E are included and rewarded under the rules of E and of E + 1: ask
        for both.

        Raises:
            UnsupportedForkError: the epoch is before Altair, since Gloas, or since an unknown fork.
        """
        for name, since in self.unknown_fork_epochs.items():
            if since <= epoch:
                raise UnsupportedForkError(
                    f"epoch {epoch} is at fork {name} (since epoch {since}), which this version of "
                    "valmon does not know; upgrade valmon"
                )
        fork = self.fork_at_epoch(epoch)
        since = self.fork_epochs[fork]
        if fork < Fork.ALTAIR:
            raise UnsupportedForkError(
                f"epoch {epoch} is at fork {fork.name}, whose rewards valmon does not implement; "
                f"choose epochs since Altair (epoch {self.fork_epochs[Fork.ALTAIR]})"
            )
        if fork >= Fork.GLOAS:
            raise UnsupportedForkError(
                f"epoch {epoch} is at fork {fork.name} (since epoch {since}), which this version "
                "of valmon does not support; upgrade valmon"
            )
        return fork


def _forks_in_effect(fork_epochs: Mapping[Fork, int]) -> frozenset[Fork]:
    """Forks whose rules apply to some epoch: scheduled, and not replaced in the same epoch."""
    in_effect = set()
    replaced_at = NEVER
    for fork in sorted(fork_epochs, reverse=True):
        if fork_epochs[fork] < replaced_at:
            in_effect.add(fork)
            replaced_at = fork_epochs[fork]
    return frozenset(in_effect)


def _unknown_fork_epochs(reader: SpecReader, data: Mapping[str, object]) -> dict[str, int]:
    """Scheduled ``<NAME>_FORK_EPOCH`` entries of forks that ``Fork`` does not list."""
    known = {fork.name for fork in Fork}
    unknown = {}
    for key in data:
        name = key.removesuffix(_FORK_EPOCH_SUFFIX)
        if name != key and name not in known:
            epoch = reader.epoch(key)
            if epoch != NEVER:
                unknown[name] = epoch
    return unknown
