"""The validators and the state that a simulated chain starts with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.epoch_processing import sync_committee_drawn_at
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import (
    BLS_PREFIX,
    COMPOUNDING_PREFIX,
    EXECUTION_PREFIX,
    Bytes,
    Int64Array,
    State,
    Validators,
)
from valmon_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first validators, all active from epoch 0: balances (n) in gwei, credential prefixes (n).

    Keys and execution addresses follow from the simulation's seed.
    """

    balance: Int64Array
    credential_prefix: Bytes

    def __post_init__(self) -> None:
        if len(self.balance) != len(self.credential_prefix) or len(self.balance) == 0:
            raise ConfigurationError(
                f"genesis has {len(self.balance)} balances and {len(self.credential_prefix)} kinds "
                "of credentials; both must be given for every validator, and there must be one"
            )

    @classmethod
    def of(cls, count: int, balance: int = 32_000_000_000) -> Genesis:
        """``count`` validators with ``balance`` gwei each.

        Credentials as on the recorded devnet: BLS keys where index % 8 = 0, compounding where
        index % 8 = 1, else an execution address.
        """
        if count < 1:
            raise ConfigurationError(f"a chain cannot start with {count} validators")
        kinds = np.full(8, EXECUTION_PREFIX, np.uint8)
        kinds[:2] = BLS_PREFIX, COMPOUNDING_PREFIX
        return cls(np.full(count, balance, np.int64), np.resize(kinds, count))

    def __len__(self) -> int:
        return len(self.balance)


def public_key(entropy: Entropy, *purpose: int | str) -> bytes:
    """A key of 48 bytes that looks like a compressed point."""
    key = bytearray(entropy.bytes(48, "public key", *purpose))
    key[0] = 0x80 | key[0] & 0x1F
    return bytes(key)


def credentials(entropy: Entropy, pubkey: bytes, prefix: int) -> bytes:
    """Withdrawal credentials of a kind for a key."""
    if prefix == BLS_PREFIX:
        return bytes([BLS_PREFIX]) + hashlib.sha256(pubkey).digest()[1:]
    return bytes([prefix]) + bytes(11) + entropy.bytes(20, "address", pubkey)


def genesis_state(parameters: Parameters, entropy: Entropy, genesis: Genesis, root: str) -> State:
    """The state at slot 0, whose block has ``root``."""
    count = len(genesis)
    keys = [public_key(entropy, index) for index in range(count)]
    pairs = zip(keys, genesis.credential_prefix.tolist(), strict=True)
    all_credentials = b"".join(credentials(entropy, key, prefix) for key, prefix in pairs)
    increment = parameters.effective_balance_increment
    validators = Validators(
        balance=genesis.balance.astype(np.int64),
        effective_balance=np.zeros(count, np.int64),
        slashed=np.zeros(count, np.bool_),
        activation_eligibility_epoch=np.zeros(count, np.int64),
        activation_epoch=np.zeros(count, np.int64),
        exit_epoch=np.full(count, NEVER),
        withdrawable_epoch=np.full(count, NEVER),
        pubkey=np.frombuffer(b"".join(keys), np.uint8).reshape(count, 48).copy(),
        withdrawal_credentials=np.frombuffer(all_credentials, np.uint8).reshape(count, 32).copy(),
        inactivity_score=np.zeros(count, np.int64),
        previous_participation=np.zeros(count, np.uint8),
        current_participation=np.zeros(count, np.uint8),
    )
    no_committee = np.zeros(parameters.sync_committee_size, np.int64)
    state = State(
        slot=0,
        validators=validators,
        index_of={key: index for index, key in enumerate(keys)},
        roots=[root],
        slashings=np.zeros(parameters.epochs_per_slashings_vector, np.int64),
        current_sync_committee=no_committee,
        next_sync_committee=no_committee,
        deposit_count=count,
        eth1_deposit_index=count,
    )
    balance = validators.balance
    validators.effective_balance = np.minimum(
        balance - balance % increment, state.max_effective_balance(parameters)
    )
    if not validators.effective_balance.any():
        raise ConfigurationError("no validator has a whole increment of balance at genesis")
    state.refresh_total_active_balance(parameters)
    state.current_sync_committee = sync_committee_drawn_at(parameters, entropy, state, 0)
    period = parameters.epochs_per_sync_committee_period
    state.next_sync_committee = sync_committee_drawn_at(parameters, entropy, state, period)
    return state
