"""The Beacon API's JSON as msgspec structs: only the fields valmon uses.

Numbers are decoded leniently as ``Number`` (quoted or bare, integer or not) so that ``decode`` can
refuse a fraction by name; declaring ``int`` would silently turn ``"1.0"`` and ``1e3`` into 1 and
1000.
Structs of which an answer holds many are ``gc=False``: they cannot take part in cycles.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

import msgspec

Number: TypeAlias = int | float
T = TypeVar("T")


class Answer(msgspec.Struct, Generic[T]):
    """The envelope of every answer."""

    data: T
    execution_optimistic: bool = False
    version: str | None = None


class GenesisData(msgspec.Struct):
    genesis_time: Number
    genesis_validators_root: str
    genesis_fork_version: str


class VersionData(msgspec.Struct):
    version: str


class SyncingData(msgspec.Struct):
    head_slot: Number
    sync_distance: Number
    is_syncing: bool
    is_optimistic: bool = False
    el_offline: bool = False


class CheckpointData(msgspec.Struct, gc=False):
    epoch: Number
    root: str


class FinalityCheckpointsData(msgspec.Struct):
    previous_justified: CheckpointData
    current_justified: CheckpointData
    finalized: CheckpointData


class HeaderMessage(msgspec.Struct, gc=False):
    slot: Number
    proposer_index: Number
    parent_root: str


class SignedHeader(msgspec.Struct, gc=False):
    message: HeaderMessage


class HeaderData(msgspec.Struct):
    root: str
    header: SignedHeader


class AttestationDataData(msgspec.Struct, gc=False):
    slot: Number
    index: Number
    beacon_block_root: str
    source: CheckpointData
    target: CheckpointData


class AttestationBody(msgspec.Struct, gc=False):
    aggregation_bits: str
    data: AttestationDataData
    committee_bits: str | None = None


class ProposerSlashing(msgspec.Struct, gc=False):
    signed_header_1: SignedHeader


class IndexedAttestation(msgspec.Struct, gc=False):
    attesting_indices: list[Number]


class AttesterSlashing(msgspec.Struct, gc=False):
    attestation_1: IndexedAttestation
    attestation_2: IndexedAttestation


class SyncAggregate(msgspec.Struct, gc=False):
    sync_committee_bits: str


class DepositData(msgspec.Struct, gc=False):
    pubkey: str
    withdrawal_credentials: str
    amount: Number
    signature: str


class DepositOperation(msgspec.Struct, gc=False):
    data: DepositData


class VoluntaryExitMessage(msgspec.Struct, gc=False):
    validator_index: Number


class SignedVoluntaryExit(msgspec.Struct, gc=False):
    message: VoluntaryExitMessage


class CredentialChangeMessage(msgspec.Struct, gc=False):
    validator_index: Number


class SignedCredentialChange(msgspec.Struct, gc=False):
    message: CredentialChangeMessage


class WithdrawalData(msgspec.Struct, gc=False):
    validator_index: Number
    amount: Number


class ExecutionPayload(msgspec.Struct, gc=False):
    withdrawals: list[WithdrawalData] | None = None


class ExecutionPayloadHeader(msgspec.Struct, gc=False):
    """Of a blinded block; nothing of it is used but that it is there."""


class WithdrawalRequestData(msgspec.Struct, gc=False):
    source_address: str
    validator_pubkey: str
    amount: Number


class ConsolidationRequestData(msgspec.Struct, gc=False):
    source_address: str
    source_pubkey: str
    target_pubkey: str


class ExecutionRequests(msgspec.Struct, gc=False):
    deposits: list[DepositData]
    withdrawals: list[WithdrawalRequestData]
    consolidations: list[ConsolidationRequestData]


class BlockBody(msgspec.Struct):
    attestations: list[AttestationBody]
    proposer_slashings: list[ProposerSlashing]
    attester_slashings: list[AttesterSlashing]
    deposits: list[DepositOperation]
    voluntary_exits: list[SignedVoluntaryExit]
    bls_to_execution_changes: list[SignedCredentialChange] | None = None
    sync_aggregate: SyncAggregate | None = None
    execution_payload: ExecutionPayload | None = None
    execution_payload_header: ExecutionPayloadHeader | None = None
    execution_requests: ExecutionRequests | None = None


class BlockMessage(msgspec.Struct):
    slot: Number
    proposer_index: Number
    parent_root: str
    body: BlockBody


class SignedBlock(msgspec.Struct):
    message: BlockMessage


class ValidatorFields(msgspec.Struct, gc=False):
    pubkey: str
    withdrawal_credentials: str
    effective_balance: Number
    slashed: bool
    activation_eligibility_epoch: Number
    activation_epoch: Number
    exit_epoch: Number
    withdrawable_epoch: Number


class ValidatorRow(msgspec.Struct, gc=False):
    index: Number
    balance: Number
    validator: ValidatorFields


class CommitteeRow(msgspec.Struct, gc=False):
    """``length`` and ``named`` stand for ``validators`` in an answer that valmon has kept, see
    ``named_committees``."""

    index: Number
    slot: Number
    validators: list[Number] = []
    length: Number | None = None
    named: list[tuple[Number, Number]] = []


class SyncCommitteeData(msgspec.Struct):
    validators: list[Number]


class ProposerDutyRow(msgspec.Struct, gc=False):
    slot: Number
    validator_index: Number


class AttesterDutyRow(msgspec.Struct, gc=False):
    validator_index: Number
    slot: Number
    committee_index: Number
    validator_committee_index: Number
    committee_length: Number


class AttestationRewardsData(msgspec.Struct):
    """Both lists stay JSON text here: ``number_rows`` decodes them into columns."""

    ideal_rewards: msgspec.Raw
    total_rewards: msgspec.Raw


class BlockRewardsData(msgspec.Struct):
    proposer_index: Number
    total: Number
    attestations: Number
    sync_aggregate: Number
    proposer_slashings: Number
    attester_slashings: Number


class PendingDepositRow(msgspec.Struct, gc=False):
    pubkey: str
    withdrawal_credentials: str
    amount: Number
    signature: str
    slot: Number


class PendingConsolidationRow(msgspec.Struct, gc=False):
    source_index: Number
    target_index: Number
