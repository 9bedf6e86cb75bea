"""Answers of a beacon node, from bytes to columns: one function per endpoint.

The functions raise what they find wrong without knowing which request it was; :func:`decoded`
adds that, so that every error names endpoint, field and value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from valmon_pipeline.beacon import schemas
from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    AttesterDuties,
    BlockRewards,
    Genesis,
    PendingConsolidations,
    PendingDeposit,
    ProposerDuties,
    SyncCommitteeRewards,
    SyncStatus,
)
from valmon_pipeline.beacon.block_operations import deposit, operations
from valmon_pipeline.beacon.columns import (
    INT64_MIN,
    LAST_SLOT,
    LATEST_TIME,
    FieldError,
    byte_matrix,
    bytes_of,
    epoch_column,
    int64_column,
    integer,
    require_unique,
)
from valmon_pipeline.beacon.field_path import value_at
from valmon_pipeline.beacon.number_rows import decode_number_rows
from valmon_pipeline.beacon.question_words import wrong_address
from valmon_pipeline.chain.blocks import Attestation, Block, BlockHeader
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.finality import Checkpoint, FinalityCheckpoints
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import (
    ChainRuleViolationError,
    MalformedAnswerError,
    NodeNotReadyError,
    UnsupportedForkError,
)

T = TypeVar("T")
_ERROR_PATH = re.compile(r"`\$(?P<path>[^`]*)`$")


class OptimisticAnswerError(Exception):
    """The node has not verified the block behind its answer."""


def decoded(decode: Callable[[bytes], T], content: bytes, where: str) -> T:
    """Decode an answer in JSON. ``where`` names the request and goes into every error.

    Raises:
        MalformedAnswerError: not JSON, truncated, a field missing, of a wrong type or value.
        NodeNotReadyError: the answer is optimistic.
        UnsupportedForkError: the answer is of a fork this version does not know.
    """
    try:
        return checked(lambda: decode(content), where)
    except msgspec.ValidationError as error:
        if (address := wrong_address(content)) is not None:
            raise MalformedAnswerError(f"{where}: {address}.") from error
        raise _malformed(where, _with_value(str(error), content)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (address := wrong_address(content)) is not None:
            raise MalformedAnswerError(f"{where}: {address}.") from error
        shown = content[:60].decode("utf-8", errors="replace")
        raise _malformed(
            where, f"not complete JSON ({error}); {len(content)} bytes, starting with {shown!r}"
        ) from error


def checked(read: Callable[[], T], where: str) -> T:
    """Read an answer in any format. ``where`` names the request and goes into every error.

    Raises:
        MalformedAnswerError: a field is missing, of a wrong type or value.
        NodeNotReadyError: the answer is optimistic.
        UnsupportedForkError: the answer is of a fork this version does not know.
    """
    try:
        return read()
    except (FieldError, ChainRuleViolationError) as error:
        raise _malformed(where, str(error)) from error
    except UnsupportedForkError as error:
        raise UnsupportedForkError(f"{where}: {error}") from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise _malformed(where, f"the answer cannot be taken in ({type(error).__name__})") from None
    except OptimisticAnswerError as error:
        raise NodeNotReadyError(
            f"{where}: the node has not verified this answer (execution_optimistic: true). "
            "Check its execution client, or wait until it has caught up."
        ) from error


def spec(content: bytes) -> ChainSpec:
    """Decode ``config/spec``."""
    return ChainSpec.from_config(_data(content, dict[str, object]))


def genesis(content: bytes) -> Genesis:
    """Decode ``beacon/genesis``."""
    data = _data(content, schemas.GenesisData)
    return Genesis(
        integer(data.genesis_time, "data.genesis_time", maximum=LATEST_TIME),
        bytes_of(data.genesis_validators_root, "data.genesis_validators_root", 32),
        bytes_of(data.genesis_fork_version, "data.genesis_fork_version", 4),
    )


def node_version(content: bytes) -> str:
    """Decode ``node/version``."""
    return _data(content, schemas.VersionData).version


def syncing(content: bytes) -> SyncStatus:
    """Decode ``node/syncing``."""
    data = _data(content, schemas.SyncingData)
    return SyncStatus(
        integer(data.head_slot, "data.head_slot", maximum=LAST_SLOT),
        integer(data.sync_distance, "data.sync_distance", maximum=LAST_SLOT),
        data.is_syncing,
        data.is_optimistic,
        data.el_offline,
    )


def finality_checkpoints(content: bytes) -> FinalityCheckpoints:
    """Decode ``states/{state_id}/finality_checkpoints``."""
    data = _data(content, schemas.FinalityCheckpointsData)

    def checkpoint(name: str) -> Checkpoint:
        value: schemas.CheckpointData = getattr(data, name)
        return Checkpoint(
            integer(value.epoch, f"data.{name}.epoch", maximum=LAST_SLOT),
            bytes_of(value.root, f"data.{name}.root", 32),
        )

    return FinalityCheckpoints(
        checkpoint("previous_justified"), checkpoint("current_justified"), checkpoint("finalized")
    )


def header(content: bytes) -> BlockHeader:
    """Decode ``headers/{block_id}``."""
    data = _data(content, schemas.HeaderData)
    path = "data.header.message"
    message = data.header.message
    return BlockHeader(
        slot=integer(message.slot, f"{path}.slot", maximum=LAST_SLOT),
        root=bytes_of(data.root, "data.root", 32),
        parent_root=bytes_of(message.parent_root, f"{path}.parent_root", 32),
        proposer_index=integer(message.proposer_index, f"{path}.proposer_index"),
    )


def block(content: bytes, version: str | None = None, *, blinded: bool = False) -> Block:
    """Decode ``v2/beacon/blocks/{block_id}``, or ``v1/beacon/blinded_blocks/{block_id}``.

    ``version`` is the fork named by the ``Eth-Consensus-Version`` header, used when the body does
    not say.
    """
    answer = _answer(content, schemas.SignedBlock)
    fork = block_fork(answer.version or version)
    message, path = answer.data.message, "data.message"
    body = message.body
    if body.sync_aggregate is None and fork >= Fork.ALTAIR:
        raise FieldError(f"{path}.body.sync_aggregate", None, f"a sync aggregate ({fork.name})")
    return Block(
        slot=integer(message.slot, f"{path}.slot"),
        proposer_index=integer(message.proposer_index, f"{path}.proposer_index"),
        parent_root=bytes_of(message.parent_root, f"{path}.parent_root", 32),
        fork=fork,
        attestations=tuple(
            _attestation(attestation, fork, f"{path}.body.attestations[{number}]")
            for number, attestation in enumerate(body.attestations)
        ),
        sync_committee_bits=None
        if body.sync_aggregate is None
        else bytes_of(
            body.sync_aggregate.sync_committee_bits,
            f"{path}.body.sync_aggregate.sync_committee_bits",
        ),
        operations=operations(body, fork, f"{path}.body", blinded=blinded),
    )


def block_fork(version: str | None) -> Fork:
    """The fork that an answer names as its block's.

    Raises:
        FieldError: it names none.
        UnsupportedForkError: valmon does not know the fork.
    """
    if version is None:
        raise FieldError("version", None, "the name of the block's fork")
    try:
        return Fork[version.upper()]
    except KeyError as error:
        raise UnsupportedForkError(
            f"the block is of fork {version!r}, which this version of valmon does not know; "
            "upgrade valmon"
        ) from error


def validators(content: bytes) -> ValidatorRegistry:
    """Decode ``states/{state_id}/validators``: any order, repeated rows taken once."""
    rows = _data(content, list[schemas.ValidatorRow])
    fields = [row.validator for row in rows]

    def epochs(name: str) -> Int64Array:
        return epoch_column(_values(fields, name), f"data[{{}}].validator.{name}")

    index = int64_column(_values(rows, "index"), "data[{}].index")
    registry = ValidatorRegistry(
        validator_index=index,
        balance=int64_column(_values(rows, "balance"), "data[{}].balance"),
        effective_balance=int64_column(
            _values(fields, "effective_balance"), "data[{}].validator.effective_balance"
        ),
        slashed=np.fromiter(_values(fields, "slashed"), np.bool_, len(rows)),
        activation_eligibility_epoch=epochs("activation_eligibility_epoch"),
        activation_epoch=epochs("activation_epoch"),
        exit_epoch=epochs("exit_epoch"),
        withdrawable_epoch=epochs("withdrawable_epoch"),
        pubkey=byte_matrix(_values(fields, "pubkey"), "data[{}].validator.pubkey", 48),
        withdrawal_credentials=byte_matrix(
            _values(fields, "withdrawal_credentials"),
            "data[{}].validator.withdrawal_credentials",
            32,
        ),
    )
    return select_rows(registry, np.unique(index, return_index=True)[1])


def select_rows(registry: ValidatorRegistry, rows: Int64Array) -> ValidatorRegistry:
    """Return the registry's rows with the given numbers, in that order."""
    return ValidatorRegistry(
        *(getattr(registry, name)[rows] for name in ValidatorRegistry.__dataclass_fields__)
    )


def concatenate(registries: Collection[ValidatorRegistry]) -> ValidatorRegistry:
    """Join parts of one registry, ascending by index, validators in several parts taken once."""
    joined = ValidatorRegistry(
        *(
            np.concatenate([getattr(registry, name) for registry in registries])
            for name in ValidatorRegistry.__dataclass_fields__
        )
    )
    return select_rows(joined, np.unique(joined.validator_index, return_index=True)[1])


def committees(content: bytes) -> Committees:
    """Decode ``states/{state_id}/committees`` of one epoch.

    Members that a kept answer does not name are negative, each once.
    """
    rows = _data(content, list[schemas.CommitteeRow])
    if rows and rows[0].length is not None:
        return _named_committees(rows)
    lengths = [len(row.validators) for row in rows]
    members: list[schemas.Number] = [index for row in rows for index in row.validators]
    return Committees.from_rows(
        int64_column(_values(rows, "slot"), "data[{}].slot"),
        int64_column(_values(rows, "index"), "data[{}].index"),
        np.array(lengths, np.int64),
        int64_column(members, "data[].validators[] number {}"),
    )


def _named_committees(rows: list[schemas.CommitteeRow]) -> Committees:
    lengths = int64_column([row.length or 0 for row in rows], "data[{}].length")
    members = -np.arange(1, int(lengths.sum()) + 1, dtype=np.int64)
    offset = np.cumsum(lengths) - lengths
    counts = [len(row.named) for row in rows]
    pairs = [pair for row in rows for pair in row.named]
    place = int64_column([one for one, _ in pairs], "data[].named[].place number {}")
    index = int64_column([other for _, other in pairs], "data[].named[].index number {}")
    members[np.repeat(offset, counts) + place] = index
    return Committees.from_rows(
        int64_column(_values(rows, "slot"), "data[{}].slot"),
        int64_column(_values(rows, "index"), "data[{}].index"),
        lengths,
        members,
        named_only=True,
    )


def sync_committee(content: bytes) -> Int64Array:
    """Decode ``states/{state_id}/sync_committees``: the validator of each seat."""
    data = _data(content, schemas.SyncCommitteeData)
    return int64_column(data.validators, "data.validators[{}]")


def proposer_duties(content: bytes) -> ProposerDuties:
    """Decode ``duties/proposer/{epoch}``. Slot 0, which has no proposer, is dropped."""
    rows = _data(content, list[schemas.ProposerDutyRow])
    slot = int64_column(_values(rows, "slot"), "data[{}].slot")
    index = int64_column(_values(rows, "validator_index"), "data[{}].validator_index")
    order = np.argsort(slot, kind="stable")
    order = order[slot[order] > 0]
    slot = slot[order]
    require_unique(slot, "data[].slot")
    return ProposerDuties(slot, index[order])


def attester_duties(content: bytes) -> AttesterDuties:
    """Decode ``duties/attester/{epoch}``."""
    rows = _data(content, list[schemas.AttesterDutyRow])
    index, slot, committee_index, position, length = (
        int64_column(_values(rows, name), f"data[{{}}].{name}")
        for name in schemas.AttesterDutyRow.__struct_fields__
    )
    order = np.unique(index, return_index=True)[1]
    return AttesterDuties(
        index[order], slot[order], committee_index[order], position[order], length[order]
    )


def attestation_rewards(content: bytes) -> AttestationRewards:
    """Decode ``rewards/attestations/{epoch}``."""
    data = _data(content, schemas.AttestationRewardsData)
    index, source, target, head, inactivity = decode_number_rows(
        data.total_rewards,
        ("validator_index", "source", "target", "head", "inactivity"),
        "data.total_rewards",
        minimum=(0, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN),
    )
    balance, ideal_source, ideal_target, ideal_head = decode_number_rows(
        data.ideal_rewards,
        ("effective_balance", "source", "target", "head"),
        "data.ideal_rewards",
        minimum=(0, 0, 0, 0),
    )
    index, source, target, head, inactivity = _unique_rows(
        (index, source, target, head, inactivity)
    )
    balance, ideal_source, ideal_target, ideal_head = _unique_rows(
        (balance, ideal_source, ideal_target, ideal_head)
    )
    return AttestationRewards(
        validator_index=index,
        source=source,
        target=target,
        head=head,
        inactivity=inactivity,
        ideal_effective_balance=balance,
        ideal_source=ideal_source,
        ideal_target=ideal_target,
        ideal_head=ideal_head,
    )


def block_rewards(content: bytes) -> BlockRewards:
    """Decode ``rewards/blocks/{block_id}``."""
    data = _data(content, schemas.BlockRewardsData)
    rewards = BlockRewards(
        **{
            name: integer(getattr(data, name), f"data.{name}")
            for name in schemas.BlockRewardsData.__struct_fields__
        }
    )
    parts = (
        rewards.attestations
        + rewards.sync_aggregate
        + rewards.proposer_slashings
        + rewards.attester_slashings
    )
    if rewards.total != parts:
        raise FieldError("data.total", rewards.total, f"the sum of its parts, {parts}")
    return rewards


def sync_committee_rewards(content: bytes) -> SyncCommitteeRewards:
    """Decode ``rewards/sync_committee/{block_id}``; rows of one validator are summed."""
    index, reward = decode_number_rows(
        _data(content, msgspec.Raw),
        ("validator_index", "reward"),
        "data",
        minimum=(0, INT64_MIN),
    )
    unique, row = np.unique(index, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, row, reward)
    return SyncCommitteeRewards(unique, total)


def pending_deposits(content: bytes) -> tuple[PendingDeposit, ...]:
    """Decode ``states/{state_id}/pending_deposits``, in the order of the queue."""
    rows = _data(content, list[schemas.PendingDepositRow])
    return tuple(
        PendingDeposit(deposit(row, f"data[{number}]"), integer(row.slot, f"data[{number}].slot"))
        for number, row in enumerate(rows)
    )


def pending_consolidations(content: bytes) -> PendingConsolidations:
    """Decode ``states/{state_id}/pending_consolidations``, in the order of the queue."""
    rows = _data(content, list[schemas.PendingConsolidationRow])
    return PendingConsolidations(
        int64_column(_values(rows, "source_index"), "data[{}].source_index"),
        int64_column(_values(rows, "target_index"), "data[{}].target_index"),
    )


def _data(content: bytes, data_type: type[T]) -> T:
    return _answer(content, data_type).data


def _answer(content: bytes, data_type: type[T]) -> schemas.Answer[T]:
    answer: schemas.Answer[T] = _decoder(cast(Any, data_type)).decode(content)
    if answer.execution_optimistic:
        raise OptimisticAnswerError
    return answer


@cache
def _decoder(data_type: Any) -> msgspec.json.Decoder[schemas.Answer[Any]]:
    return msgspec.json.Decoder(schemas.Answer[data_type], strict=False)


def _values(rows: Collection[msgspec.Struct], name: str) -> list[Any]:
    return list(map(attrgetter(name), rows))


def _unique_rows(columns: tuple[Int64Array, ...]) -> tuple[Int64Array, ...]:
    """Sort by the first column; a row that is repeated counts once (the first one)."""
    key = columns[0]
    if bool((key[1:] > key[:-1]).all()):
        return columns
    rows = np.unique(key, return_index=True)[1]
    return tuple(column[rows] for column in columns)


def _attestation(attestation: schemas.AttestationBody, fork: Fork, path: str) -> Attestation:
    data = attestation.data
    bits = attestation.committee_bits
    if (bits is not None) != (fork >= Fork.ELECTRA):
        raise FieldError(
            f"{path}.committee_bits",
            bits,
            f"{'a value' if fork >= Fork.ELECTRA else 'nothing'} in a block of {fork.name}",
        )
    return Attestation(
        slot=integer(data.slot, f"{path}.data.slot"),
        committee_index=integer(data.index, f"{path}.data.index"),
        beacon_block_root=bytes_of(data.beacon_block_root, f"{path}.data.beacon_block_root", 32),
        source_epoch=integer(data.source.epoch, f"{path}.data.source.epoch"),
        target_epoch=integer(data.target.epoch, f"{path}.data.target.epoch"),
        target_root=bytes_of(data.target.root, f"{path}.data.target.root", 32),
        aggregation_bits=bytes_of(attestation.aggregation_bits, f"{path}.aggregation_bits"),
        committee_bits=None if bits is None else bytes_of(bits, f"{path}.committee_bits"),
    )


def _malformed(where: str, problem: str) -> MalformedAnswerError:
    return MalformedAnswerError(
        f"{where}: {problem}. Nothing was stored; the node breaks the Beacon API here: "
        "upgrade it or ask another one."
    )


def _with_value(message: str, content: bytes) -> str:
    """Add the offending value to msgspec's message, which only says where it is."""
    match = _ERROR_PATH.search(message)
    if match is None:
        return message
    shown = repr(value_at(content, match["path"]))
    return f"{message}, value {shown if len(shown) <= 100 else shown[:97] + '…'}"
