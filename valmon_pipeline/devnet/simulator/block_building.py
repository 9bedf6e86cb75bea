"""Which of the scripted operations go into a block, in the form that blocks hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.block_processing import (
    can_change_credentials,
    can_exit,
    is_slashable,
)
from valmon_pipeline.devnet.simulator.blocks import (
    ConsolidationRequest,
    CredentialChangeOperation,
    DepositOperation,
    Operations,
    VoluntaryExitOperation,
    WithdrawalRequest,
)
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.genesis import credentials, public_key
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import State


@dataclass(slots=True)
class ChosenOperations:
    """The operations of a block by kind, and for each incident where its request stands.

    ``requests`` lists incidents in the order of ``BlockEffects.ignored``; ``others`` are the rest.
    """

    proposer_slashings: list[int] = field(default_factory=list)
    attester_slashings: list[tuple[int, ...]] = field(default_factory=list)
    deposits: list[DepositOperation] = field(default_factory=list)
    voluntary_exits: list[VoluntaryExitOperation] = field(default_factory=list)
    credential_changes: list[CredentialChangeOperation] = field(default_factory=list)
    deposit_requests: list[DepositOperation] = field(default_factory=list)
    withdrawal_requests: list[WithdrawalRequest] = field(default_factory=list)
    consolidation_requests: list[ConsolidationRequest] = field(default_factory=list)
    withdrawing: list[words.Operation] = field(default_factory=list)
    consolidating: list[words.Operation] = field(default_factory=list)
    others: list[words.Operation] = field(default_factory=list)

    @property
    def requests(self) -> list[words.Operation]:
        """The incidents behind withdrawal and then consolidation requests."""
        return self.withdrawing + self.consolidating

    def as_block_content(self) -> Operations:
        """The operations as the block holds them."""
        return Operations(
            tuple(self.proposer_slashings),
            tuple(self.attester_slashings),
            tuple(self.deposits),
            tuple(self.voluntary_exits),
            tuple(self.credential_changes),
            tuple(self.deposit_requests),
            tuple(self.withdrawal_requests),
            tuple(self.consolidation_requests),
        )


def choose_operations(
    parameters: Parameters,
    entropy: Entropy,
    state: State,
    waiting: Sequence[words.Operation],
    deposit_number: Callable[[words.Operation], int],
) -> ChosenOperations:
    """Choose from ``waiting`` what a block at ``state.slot`` can hold; the rest waits on."""
    builder = _Builder(parameters, entropy, state, deposit_number)
    for operation in waiting:
        if operation.slot <= state.slot:
            builder.consider(operation)
    return builder.chosen


class _Builder:
    def __init__(
        self,
        parameters: Parameters,
        entropy: Entropy,
        state: State,
        deposit_number: Callable[[words.Operation], int],
    ) -> None:
        self._parameters = parameters
        self._entropy = entropy
        self._state = state
        self._deposit_number = deposit_number
        self._epoch = parameters.epoch_of(state.slot)
        self._electra = parameters.fork_at(self._epoch) >= Fork.ELECTRA
        self._touched: set[int] = set()
        self.chosen = ChosenOperations()

    def consider(self, operation: words.Operation) -> None:
        """Take an operation if it is valid now and there is room for it."""
        named = set(words.indices_of(operation))
        if any(index >= len(self._state.validators) for index in named):
            return
        match operation:
            case words.Deposit() | words.TopUp():
                taken = self._deposit(operation)
            case words.PartialWithdrawalRequest() | words.ExitRequest():
                taken = self._withdrawal_request(operation)
            case words.Consolidation() | words.SwitchToCompounding():
                taken = self._consolidation_request(operation)
            # One signed message per validator and block, so that each is checked as it is applied.
            case _ if named & self._touched:
                return
            case words.ProposerSlashing() | words.AttesterSlashing():
                taken = self._slashing(operation)
            case words.VoluntaryExit():
                taken = self._voluntary_exit(operation)
            case words.CredentialChange():
                taken = self._credential_change(operation)
            case _:
                raise TypeError(f"no block can hold {operation}")
        if taken:
            self._touched |= named

    def _slashing(self, operation: words.ProposerSlashing | words.AttesterSlashing) -> bool:
        chosen, parameters = self.chosen, self._parameters
        if isinstance(operation, words.ProposerSlashing):
            if len(chosen.proposer_slashings) == parameters.max_proposer_slashings or not (
                is_slashable(parameters, self._state, operation.validator)
            ):
                return False
            chosen.proposer_slashings.append(operation.validator)
        else:
            limit = (
                parameters.max_attester_slashings_electra
                if self._electra
                else parameters.max_attester_slashings
            )
            if len(chosen.attester_slashings) == limit or not any(
                is_slashable(parameters, self._state, index) for index in operation.validators
            ):
                return False
            chosen.attester_slashings.append(tuple(sorted(set(operation.validators))))
        chosen.others.append(operation)
        return True

    def _voluntary_exit(self, operation: words.VoluntaryExit) -> bool:
        message = VoluntaryExitOperation(operation.validator, self._epoch)
        if len(self.chosen.voluntary_exits) == self._parameters.max_voluntary_exits or not can_exit(
            self._parameters, self._state, message
        ):
            return False
        self.chosen.voluntary_exits.append(message)
        self.chosen.others.append(operation)
        return True

    def _credential_change(self, operation: words.CredentialChange) -> bool:
        address = self._entropy.bytes(20, "new address", operation.validator)
        change = CredentialChangeOperation(operation.validator, address)
        if len(
            self.chosen.credential_changes
        ) == self._parameters.max_bls_to_execution_changes or not can_change_credentials(
            self._state, change
        ):
            return False
        self.chosen.credential_changes.append(change)
        self.chosen.others.append(operation)
        return True

    def _deposit(self, operation: words.Deposit | words.TopUp) -> bool:
        chosen, parameters, state = self.chosen, self._parameters, self._state
        deposits = chosen.deposit_requests if self._electra else chosen.deposits
        limit = (
            parameters.max_deposit_requests_per_payload
            if self._electra
            else parameters.max_deposits
        )
        if len(deposits) == limit:
            return False
        if isinstance(operation, words.TopUp):
            pubkey = state.validators.pubkey[operation.validator].tobytes()
            target = state.validators.withdrawal_credentials[operation.validator].tobytes()
        else:
            number = self._deposit_number(operation)
            pubkey = public_key(self._entropy, "deposit", number)
            target = credentials(self._entropy, pubkey, operation.KINDS[operation.credentials])
        index = state.deposit_count + len(deposits)
        signature = self._entropy.hex(96, "deposit signature", index)
        deposits.append(DepositOperation(pubkey, target, operation.amount, signature, index))
        chosen.others.append(operation)
        return True

    def _withdrawal_request(
        self, operation: words.PartialWithdrawalRequest | words.ExitRequest
    ) -> bool:
        requests = self.chosen.withdrawal_requests
        if len(requests) == self._parameters.max_withdrawal_requests_per_payload:
            return False
        amount = operation.amount if isinstance(operation, words.PartialWithdrawalRequest) else 0
        validator = operation.validator
        requests.append(WithdrawalRequest(self._address(validator), self._key(validator), amount))
        self.chosen.withdrawing.append(operation)
        return True

    def _consolidation_request(
        self, operation: words.Consolidation | words.SwitchToCompounding
    ) -> bool:
        requests = self.chosen.consolidation_requests
        if len(requests) == self._parameters.max_consolidation_requests_per_payload:
            return False
        if isinstance(operation, words.Consolidation):
            source, target = operation.source, operation.target
        else:
            source = target = operation.validator
        requests.append(
            ConsolidationRequest(self._address(source), self._key(source), self._key(target))
        )
        self.chosen.consolidating.append(operation)
        return True

    def _address(self, index: int) -> bytes:
        return self._state.validators.withdrawal_credentials[index, 12:].tobytes()

    def _key(self, index: int) -> bytes:
        key: bytes = self._state.validators.pubkey[index].tobytes()
        return key
