"""What a beacon state consists of at each fork, and at which byte each field lies.

Fields of fixed size follow one another; for every field of variable size there is the offset of its
content, and the contents follow in the same order. Sizes depend on the preset, so nothing is
written down but the order and the specification's names. Sources: consensus-specs, ``BeaconState``
of Deneb, Electra and Fulu; ``ssz/simple-serialize.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from valmon_pipeline.chain.beacon_state import (
    PENDING_CONSOLIDATION,
    PENDING_DEPOSIT,
    PENDING_PARTIAL_WITHDRAWAL,
    VALIDATOR,
)
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import UnsupportedForkError

OFFSET_BYTES: Final = 4
_UINT64: Final = 8
_ROOT: Final = 32
PUBKEY_BYTES: Final = 48
_CHECKPOINT: Final = _UINT64 + _ROOT
_ETH1_DATA: Final = _ROOT + _UINT64 + _ROOT


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field of the same size in every state of a chain."""

    name: str
    size: int | Callable[[ChainSpec], int]


@dataclass(frozen=True, slots=True)
class Variable:
    """A list of rows of ``row_size`` bytes; with row size 1 also anything else of any length."""

    name: str
    row_size: int


def _constant(spec: ChainSpec, name: str) -> int:
    return spec.required(name, "its states cannot be read")


def _roots(name: str) -> Callable[[ChainSpec], int]:
    return lambda spec: _ROOT * _constant(spec, name)


def _sync_committee(spec: ChainSpec) -> int:
    return PUBKEY_BYTES * (spec.sync_committee_size + 1)


def _proposer_lookahead(spec: ChainSpec) -> int:
    return _UINT64 * (_constant(spec, "min_seed_lookahead") + 1) * spec.slots_per_epoch


_DENEB: Final = (
    Fixed("genesis_time", _UINT64),
    Fixed("genesis_validators_root", _ROOT),
    Fixed("slot", _UINT64),
    Fixed("fork", 4 + 4 + _UINT64),
    Fixed("latest_block_header", 2 * _UINT64 + 3 * _ROOT),
    Fixed("block_roots", _roots("slots_per_historical_root")),
    Fixed("state_roots", _roots("slots_per_historical_root")),
    Variable("historical_roots", _ROOT),
    Fixed("eth1_data", _ETH1_DATA),
    Variable("eth1_data_votes", _ETH1_DATA),
    Fixed("eth1_deposit_index", _UINT64),
    Variable("validators", VALIDATOR.itemsize),
    Variable("balances", _UINT64),
    Fixed("randao_mixes", _roots("epochs_per_historical_vector")),
    Fixed("slashings", lambda spec: _UINT64 * spec.epochs_per_slashings_vector),
    Variable("previous_epoch_participation", 1),
    Variable("current_epoch_participation", 1),
    Fixed("justification_bits", 1),
    Fixed("previous_justified_checkpoint", _CHECKPOINT),
    Fixed("current_justified_checkpoint", _CHECKPOINT),
    Fixed("finalized_checkpoint", _CHECKPOINT),
    Variable("inactivity_scores", _UINT64),
    Fixed("current_sync_committee", _sync_committee),
    Fixed("next_sync_committee", _sync_committee),
    Variable("latest_execution_payload_header", 1),
    Fixed("next_withdrawal_index", _UINT64),
    Fixed("next_withdrawal_validator_index", _UINT64),
    Variable("historical_summaries", 2 * _ROOT),
)
_ELECTRA: Final = (
    *_DENEB,
    Fixed("deposit_requests_start_index", _UINT64),
    Fixed("deposit_balance_to_consume", _UINT64),
    Fixed("exit_balance_to_consume", _UINT64),
    Fixed("earliest_exit_epoch", _UINT64),
    Fixed("consolidation_balance_to_consume", _UINT64),
    Fixed("earliest_consolidation_epoch", _UINT64),
    Variable("pending_deposits", PENDING_DEPOSIT.itemsize),
    Variable("pending_partial_withdrawals", PENDING_PARTIAL_WITHDRAWAL.itemsize),
    Variable("pending_consolidations", PENDING_CONSOLIDATION.itemsize),
)
_FULU: Final = (*_ELECTRA, Fixed("proposer_lookahead", _proposer_lookahead))

_FIELDS: Final = {Fork.DENEB: _DENEB, Fork.ELECTRA: _ELECTRA, Fork.FULU: _FULU}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies in the fixed part: its bytes there, or those of its offset.

    ``row_size`` is None for a field of fixed size.
    """

    at: int
    size: int
    row_size: int | None


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The fields of a fork's states in their order, and the size of the fixed part (bytes)."""

    fork: Fork
    places: dict[str, Place]
    fixed_size: int


def state_layout(spec: ChainSpec, fork: Fork) -> StateLayout:
    """Return where everything lies in the states of ``fork``.

    Raises:
        UnsupportedForkError: valmon does not know the states of that fork.
        ChainRuleViolationError: the node does not list a constant that sizes depend on.
    """
    fields = _FIELDS.get(fork)
    if fields is None:
        known = ", ".join(one.name.lower() for one in _FIELDS)
        raise UnsupportedForkError(
            f"states of fork {fork.name.lower()} cannot be read by this version of valmon "
            f"({known} can); upgrade valmon, or set whole_network: off"
        )
    sizes = [
        OFFSET_BYTES
        if isinstance(field, Variable)
        else field.size
        if isinstance(field.size, int)
        else field.size(spec)
        for field in fields
    ]
    starts = accumulate(sizes, initial=0)
    places = {
        field.name: Place(at, size, field.row_size if isinstance(field, Variable) else None)
        for field, at, size in zip(fields, starts, sizes, strict=False)
    }
    return StateLayout(fork, places, sum(sizes))
