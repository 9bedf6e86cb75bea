"""The parts of a beacon block that duties, rewards and events are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field

from valmon_pipeline.chain.forks import Fork


@dataclass(frozen=True, slots=True)
class Attestation:
    """One aggregate attestation as a block carries it.

    ``committee_bits`` is None before Electra. Both bit fields are the raw SSZ bytes; see
    ``chain.bits`` for their encodings.
    """

    slot: int
    committee_index: int
    beacon_block_root: bytes
    source_epoch: int
    target_epoch: int
    target_root: bytes
    aggregation_bits: bytes
    committee_bits: bytes | None


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """A block header together with the root that identifies the block."""

    slot: int
    root: bytes
    parent_root: bytes
    proposer_index: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Gwei that a block moved from a validator's balance to its withdrawal address."""

    validator_index: int
    amount: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Gwei deposited for a public key: credited by the block before Electra, queued since then."""

    pubkey: bytes
    withdrawal_credentials: bytes
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class WithdrawalRequest:
    """An execution-layer request (EIP-7002): ``amount`` gwei, or an exit if it is 0."""

    source_address: bytes
    pubkey: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class ConsolidationRequest:
    """An execution-layer request (EIP-7251); source = target asks for compounding credentials."""

    source_address: bytes
    source_pubkey: bytes
    target_pubkey: bytes


@dataclass(frozen=True, slots=True)
class Operations:
    """What a block does to validators, each kind in the order of the block.

    ``proposer_slashings`` name one validator each; of an attester slashing those validators count
    that are present in both attestations. ``deposits`` are those of blocks before Electra,
    ``deposit_requests`` those since. ``credential_changes`` name the validator. ``withdrawals`` is
    None where they are unknown: the block was read blinded.
    """

    withdrawals: tuple[Withdrawal, ...] | None = ()
    proposer_slashings: tuple[int, ...] = ()
    attester_slashings: tuple[tuple[int, ...], ...] = ()
    deposits: tuple[Deposit, ...] = ()
    voluntary_exits: tuple[int, ...] = ()
    credential_changes: tuple[int, ...] = ()
    deposit_requests: tuple[Deposit, ...] = ()
    withdrawal_requests: tuple[WithdrawalRequest, ...] = ()
    consolidation_requests: tuple[ConsolidationRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A beacon block. ``sync_committee_bits`` is None before Altair."""

    slot: int
    proposer_index: int
    parent_root: bytes
    fork: Fork
    attestations: tuple[Attestation, ...]
    sync_committee_bits: bytes | None
    operations: Operations = field(default_factory=Operations)

    @property
    def slashed_indices(self) -> tuple[int, ...]:
        """The validators that the block's slashings name, ascending, each once."""
        named = set(self.operations.proposer_slashings)
        return tuple(sorted(named.union(*self.operations.attester_slashings)))
