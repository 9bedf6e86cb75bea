"""Beacon states for tests: of simulated chains, through SSZ, and made up ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state
from valmon_pipeline.chain.beacon_state import VALIDATOR, BeaconState
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.chain.finality import Checkpoint, FinalityCheckpoints
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet.simulator import Simulation
from valmon_pipeline.devnet.simulator.state_ssz import encode_state

ETH = 1_000_000_000


def simulated_state(simulation: Simulation, slot: int) -> BeaconState:
    """The state after ``slot`` as a node would serve it."""
    spec = ChainSpec.from_config(simulation.config)
    content = encode_state(simulation, simulation.record(slot), 0)
    root = simulation.entropy.bytes(32, "genesis validators")
    return decode_state(spec, spec.fork_at_slot(slot), content, ExpectedState(slot, root))


def made_up_state(
    slot: int,
    validators: Sequence[Mapping[str, Any]],
    *,
    justification_bits: int = 0b1111,
    justified: tuple[int, int] = (0, 0),
    finalized: int = 0,
) -> BeaconState:
    """A state of given validators, by default active ones of 32 ETH that voted for everything.

    Besides the fields of ``VALIDATOR``: ``balance``, ``flags``, ``current_flags``, ``score``.
    """
    defaults = {
        "effective_balance": 32 * ETH,
        "slashed": 0,
        "activation_eligibility_epoch": 0,
        "activation_epoch": 0,
        "exit_epoch": FAR_FUTURE_EPOCH,
        "withdrawable_epoch": FAR_FUTURE_EPOCH,
    }
    registry = np.zeros(len(validators), VALIDATOR)
    for name, value in defaults.items():
        registry[name] = [row.get(name, value) for row in validators]

    def column(name: str, default: int, dtype: str) -> Any:
        return np.array([row.get(name, default) for row in validators], dtype)

    return BeaconState(
        fork=Fork.ELECTRA,
        genesis_time=0,
        genesis_validators_root=bytes(32),
        slot=slot,
        latest_block_slot=slot,
        validators=registry,
        balances=column("balance", 32 * ETH, "<u8"),
        previous_epoch_participation=column("flags", 7, "u1"),
        current_epoch_participation=column("current_flags", 7, "u1"),
        inactivity_scores=column("score", 0, "<u8"),
        slashings=np.zeros(8, np.uint64),
        block_roots=np.zeros((8, 32), np.uint8),
        randao_mixes=np.zeros((8, 32), np.uint8),
        current_sync_committee=np.zeros((32, 48), np.uint8),
        next_sync_committee=np.zeros((32, 48), np.uint8),
        justification_bits=justification_bits,
        checkpoints=FinalityCheckpoints(
            *(Checkpoint(epoch, bytes(32)) for epoch in (*justified, finalized))
        ),
        pending_deposits=None,
        pending_partial_withdrawals=None,
        pending_consolidations=None,
        proposer_lookahead=None,
    )
