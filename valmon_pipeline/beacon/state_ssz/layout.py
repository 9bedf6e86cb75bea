"""What a beacon state consists of at each fork, and at which byte each field lies.

Sizes depend on the preset, so nothing is written down but the order and the specification's names.
Source: consensus-specs, ``BeaconState`` of Deneb, Electra and Fulu.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from valmon_pipeline.beacon.ssz_container import (
    CHECKPOINT_BYTES,
    ETH1_DATA_BYTES,
    PUBKEY_BYTES,
    ROOT_BYTES,
    UINT64_BYTES,
    ContainerLayout,
    Fixed,
    Variable,
    container_layout,
)
from valmon_pipeline.chain.beacon_state import (
    PENDING_CONSOLIDATION,
    PENDING_DEPOSIT,
    PENDING_PARTIAL_WITHDRAWAL,
    VALIDATOR,
)
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import UnsupportedForkError


def _constant(spec: ChainSpec, name: str) -> int:
    return spec.required(name, "its states cannot be read")


def _roots(name: str) -> Callable[[ChainSpec], int]:
    return lambda spec: ROOT_BYTES * _constant(spec, name)


def _sync_committee(spec: ChainSpec) -> int:
    return PUBKEY_BYTES * (spec.sync_committee_size + 1)


def _proposer_lookahead(spec: ChainSpec) -> int:
    return UINT64_BYTES * (_constant(spec, "min_seed_lookahead") + 1) * spec.slots_per_epoch


_DENEB: Final = (
    Fixed("genesis_time", UINT64_BYTES),
    Fixed("genesis_validators_root", ROOT_BYTES),
    Fixed("slot", UINT64_BYTES),
    Fixed("fork", 4 + 4 + UINT64_BYTES),
    Fixed("latest_block_header", 2 * UINT64_BYTES + 3 * ROOT_BYTES),
    Fixed("block_roots", _roots("slots_per_historical_root")),
    Fixed("state_roots", _roots("slots_per_historical_root")),
    Variable("historical_roots", ROOT_BYTES),
    Fixed("eth1_data", ETH1_DATA_BYTES),
    Variable("eth1_data_votes", ETH1_DATA_BYTES),
    Fixed("eth1_deposit_index", UINT64_BYTES),
    Variable("validators", VALIDATOR.itemsize),
    Variable("balances", UINT64_BYTES),
    Fixed("randao_mixes", _roots("epochs_per_historical_vector")),
    Fixed("slashings", lambda spec: UINT64_BYTES * spec.epochs_per_slashings_vector),
    Variable("previous_epoch_participation", 1),
    Variable("current_epoch_participation", 1),
    Fixed("justification_bits", 1),
    Fixed("previous_justified_checkpoint", CHECKPOINT_BYTES),
    Fixed("current_justified_checkpoint", CHECKPOINT_BYTES),
    Fixed("finalized_checkpoint", CHECKPOINT_BYTES),
    Variable("inactivity_scores", UINT64_BYTES),
    Fixed("current_sync_committee", _sync_committee),
    Fixed("next_sync_committee", _sync_committee),
    Variable("latest_execution_payload_header", 1),
    Fixed("next_withdrawal_index", UINT64_BYTES),
    Fixed("next_withdrawal_validator_index", UINT64_BYTES),
    Variable("historical_summaries", 2 * ROOT_BYTES),
)
_ELECTRA: Final = (
    *_DENEB,
    Fixed("deposit_requests_start_index", UINT64_BYTES),
    Fixed("deposit_balance_to_consume", UINT64_BYTES),
    Fixed("exit_balance_to_consume", UINT64_BYTES),
    Fixed("earliest_exit_epoch", UINT64_BYTES),
    Fixed("consolidation_balance_to_consume", UINT64_BYTES),
    Fixed("earliest_consolidation_epoch", UINT64_BYTES),
    Variable("pending_deposits", PENDING_DEPOSIT.itemsize),
    Variable("pending_partial_withdrawals", PENDING_PARTIAL_WITHDRAWAL.itemsize),
    Variable("pending_consolidations", PENDING_CONSOLIDATION.itemsize),
)
_FULU: Final = (*_ELECTRA, Fixed("proposer_lookahead", _proposer_lookahead))

_FIELDS: Final = {Fork.DENEB: _DENEB, Fork.ELECTRA: _ELECTRA, Fork.FULU: _FULU}


def state_layout(spec: ChainSpec, fork: Fork) -> ContainerLayout:
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
    return container_layout(spec, fields)
