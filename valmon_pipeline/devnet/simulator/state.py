"""The beacon state of a simulated chain, in columns: what the rules read and change."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.shuffling import Shuffling

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

BLS_PREFIX: Final = 0x00
EXECUTION_PREFIX: Final = 0x01
COMPOUNDING_PREFIX: Final = 0x02

ZERO_ROOT: Final = "0x" + "00" * 32


@dataclass(slots=True)
class Validators:
    """The registry, n rows: gwei and epochs as int64, "not set" is ``chain.epochs.NEVER``.

    ``pubkey`` is (n, 48), ``withdrawal_credentials`` (n, 32) bytes; the participation columns hold
    the flag bits of the previous and the current epoch.
    """

    balance: Int64Array
    effective_balance: Int64Array
    slashed: BoolArray
    activation_eligibility_epoch: Int64Array
    activation_epoch: Int64Array
    exit_epoch: Int64Array
    withdrawable_epoch: Int64Array
    pubkey: Bytes
    withdrawal_credentials: Bytes
    inactivity_score: Int64Array
    previous_participation: Bytes
    current_participation: Bytes

    def __len__(self) -> int:
        return len(self.balance)

    def copy(self) -> Validators:
        """An independent copy."""
        return Validators(*(getattr(self, column.name).copy() for column in fields(self)))

    def append(
        self, pubkey: bytes, credentials: bytes, balance: int, effective_balance: int
    ) -> None:
        """Add a validator that is not even queued for activation yet."""
        added = Validators(
            balance=np.array([balance]),
            effective_balance=np.array([effective_balance]),
            slashed=np.zeros(1, np.bool_),
            activation_eligibility_epoch=np.array([NEVER]),
            activation_epoch=np.array([NEVER]),
            exit_epoch=np.array([NEVER]),
            withdrawable_epoch=np.array([NEVER]),
            pubkey=np.frombuffer(pubkey, np.uint8).reshape(1, 48),
            withdrawal_credentials=np.frombuffer(credentials, np.uint8).reshape(1, 32),
            inactivity_score=np.zeros(1, np.int64),
            previous_participation=np.zeros(1, np.uint8),
            current_participation=np.zeros(1, np.uint8),
        )
        for column in fields(self):
            joined = np.concatenate([getattr(self, column.name), getattr(added, column.name)])
            setattr(self, column.name, joined)

    def is_active(self, epoch: int) -> BoolArray:
        """``is_active_validator`` of everybody."""
        return (self.activation_epoch <= epoch) & (epoch < self.exit_epoch)

    def prefix(self) -> Bytes:
        """The kind of everybody's withdrawal credentials."""
        return self.withdrawal_credentials[:, 0]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An epoch, and the root of the block at or before its first slot."""

    epoch: int
    root: str


@dataclass(frozen=True, slots=True)
class PendingDeposit:
    """An entry of ``pending_deposits``; slot 0 marks what came from no deposit request."""

    pubkey: bytes
    withdrawal_credentials: bytes
    amount: int
    signature: str
    slot: int


@dataclass(frozen=True, slots=True)
class PendingPartialWithdrawal:
    """An entry of ``pending_partial_withdrawals``."""

    validator_index: int
    amount: int
    withdrawable_epoch: int


@dataclass(frozen=True, slots=True)
class PendingConsolidation:
    """An entry of ``pending_consolidations``."""

    source_index: int
    target_index: int


@dataclass(slots=True)
class State:
    """The state after a slot.

    ``roots[slot]`` is the root of the block at or before the slot, for every slot until this one.
    ``shufflings`` and ``proposers`` hold what is fixed for the epochs around the current one.
    """

    slot: int
    validators: Validators
    index_of: dict[bytes, int]
    roots: list[str]
    slashings: Int64Array
    current_sync_committee: Int64Array
    next_sync_committee: Int64Array
    shufflings: dict[int, Shuffling] = field(default_factory=dict)
    proposers: dict[int, Int64Array] = field(default_factory=dict)

    justification_bits: tuple[bool, bool, bool, bool] = (False, False, False, False)
    previous_justified: Checkpoint = Checkpoint(0, ZERO_ROOT)
    current_justified: Checkpoint = Checkpoint(0, ZERO_ROOT)
    finalized: Checkpoint = Checkpoint(0, ZERO_ROOT)

    next_withdrawal_index: int = 0
    next_withdrawal_validator_index: int = 0
    deposit_count: int = 0
    eth1_deposit_index: int = 0
    deposit_requests_start_index: int | None = None
    deposit_balance_to_consume: int = 0
    exit_balance_to_consume: int = 0
    earliest_exit_epoch: int = 0
    consolidation_balance_to_consume: int = 0
    earliest_consolidation_epoch: int = 0
    pending_deposits: list[PendingDeposit] = field(default_factory=list)
    pending_partial_withdrawals: list[PendingPartialWithdrawal] = field(default_factory=list)
    pending_consolidations: list[PendingConsolidation] = field(default_factory=list)

    total_active_balance: int = 0

    def copy(self) -> State:
        """An independent copy; what is never changed in place is shared."""
        twin = copy(self)
        twin.validators = self.validators.copy()
        twin.slashings = self.slashings.copy()
        for name in ("index_of", "roots", "shufflings", "proposers"):
            setattr(twin, name, copy(getattr(self, name)))
        for name in ("pending_deposits", "pending_partial_withdrawals", "pending_consolidations"):
            setattr(twin, name, list(getattr(self, name)))
        return twin

    def refresh_total_active_balance(self, parameters: Parameters) -> None:
        """``get_total_active_balance``; it changes with the epoch only."""
        active = self.validators.is_active(parameters.epoch_of(self.slot))
        total = int(self.validators.effective_balance[active].sum())
        self.total_active_balance = max(parameters.effective_balance_increment, total)

    def max_effective_balance(self, parameters: Parameters) -> Int64Array:
        """``get_max_effective_balance`` of everybody."""
        if parameters.epoch_of(self.slot) < parameters.electra_fork_epoch:
            return np.full(len(self.validators), parameters.max_effective_balance)
        return np.where(
            self.validators.prefix() == COMPOUNDING_PREFIX,
            parameters.max_effective_balance_electra,
            parameters.min_activation_balance,
        )

    def pending_balance_to_withdraw(self, index: int) -> int:
        """``get_pending_balance_to_withdraw``, gwei."""
        return sum(
            entry.amount
            for entry in self.pending_partial_withdrawals
            if entry.validator_index == index
        )

    def decrease_balance(self, index: int, amount: int) -> None:
        """``decrease_balance``: not below 0."""
        balance = self.validators.balance
        balance[index] = max(0, int(balance[index]) - amount)
