"""What a block does to validators, from the body of the Beacon API's block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from valmon_pipeline.beacon import schemas
from valmon_pipeline.beacon.columns import INT64_MAX, FieldError, bytes_of, integer
from valmon_pipeline.chain.blocks import (
    ConsolidationRequest,
    Deposit,
    Operations,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.forks import Fork

_LARGEST_UINT64: Final = 2**64 - 1
_ADDRESS_BYTES: Final = 20
_PUBKEY_BYTES: Final = 48
_ROOT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 96

T = TypeVar("T")


def operations(
    body: schemas.BlockBody, fork: Fork, path: str, *, blinded: bool = False
) -> Operations:
    """The operations of a block's body, found at ``path`` of the answer.

    The withdrawals of a ``blinded`` body are unknown (None) since Capella: it only has their root.

    Raises:
        FieldError: a part that blocks of ``fork`` have is missing, or a value is wrong.
    """
    requests = _required(body.execution_requests, fork, Fork.ELECTRA, f"{path}.execution_requests")
    changes = _required(
        body.bls_to_execution_changes, fork, Fork.CAPELLA, f"{path}.bls_to_execution_changes"
    )
    return Operations(
        withdrawals=(
            _no_withdrawals(body, fork, path) if blinded else _withdrawals(body, fork, path)
        ),
        proposer_slashings=tuple(
            integer(
                slashing.signed_header_1.message.proposer_index,
                f"{path}.proposer_slashings[{number}].signed_header_1.message.proposer_index",
            )
            for number, slashing in enumerate(body.proposer_slashings)
        ),
        attester_slashings=tuple(
            _slashed_attesters(slashing, f"{path}.attester_slashings[{number}]")
            for number, slashing in enumerate(body.attester_slashings)
        ),
        deposits=_deposits([row.data for row in body.deposits], f"{path}.deposits[{{}}].data"),
        voluntary_exits=tuple(
            integer(
                signed.message.validator_index,
                f"{path}.voluntary_exits[{number}].message.validator_index",
            )
            for number, signed in enumerate(body.voluntary_exits)
        ),
        credential_changes=tuple(
            integer(
                signed.message.validator_index,
                f"{path}.bls_to_execution_changes[{number}].message.validator_index",
            )
            for number, signed in enumerate(changes or [])
        ),
        deposit_requests=()
        if requests is None
        else _deposits(requests.deposits, f"{path}.execution_requests.deposits[{{}}]"),
        withdrawal_requests=()
        if requests is None
        else _withdrawal_requests(requests.withdrawals, f"{path}.execution_requests.withdrawals"),
        consolidation_requests=()
        if requests is None
        else _consolidation_requests(
            requests.consolidations, f"{path}.execution_requests.consolidations"
        ),
    )


def deposit(data: schemas.DepositData | schemas.PendingDepositRow, path: str) -> Deposit:
    """A deposit, found at ``path`` of the answer; FieldError for a wrong value."""
    return Deposit(
        pubkey=bytes_of(data.pubkey, f"{path}.pubkey", _PUBKEY_BYTES),
        withdrawal_credentials=bytes_of(
            data.withdrawal_credentials, f"{path}.withdrawal_credentials", _ROOT_BYTES
        ),
        amount=integer(data.amount, f"{path}.amount"),
        signature=bytes_of(data.signature, f"{path}.signature", _SIGNATURE_BYTES),
    )


def _required(value: T | None, fork: Fork, since: Fork, path: str) -> T | None:
    # Since Gloas a block holds a bid instead of a payload with its requests; its rules are refused
    # elsewhere, and the rest of such a block is still to be read.
    if value is None and since <= fork < Fork.GLOAS:
        raise FieldError(path, None, f"a value in a block of {fork.name}")
    return value


def _withdrawals(body: schemas.BlockBody, fork: Fork, path: str) -> tuple[Withdrawal, ...]:
    path += ".execution_payload"
    payload = _required(body.execution_payload, fork, Fork.CAPELLA, path)
    path += ".withdrawals"
    rows = None if payload is None else payload.withdrawals
    _required(rows, fork, Fork.CAPELLA, path)
    return tuple(
        Withdrawal(
            integer(row.validator_index, f"{path}[{number}].validator_index"),
            integer(row.amount, f"{path}[{number}].amount"),
        )
        for number, row in enumerate(rows or [])
    )


def _no_withdrawals(body: schemas.BlockBody, fork: Fork, path: str) -> tuple[()] | None:
    """The withdrawals of a blinded block: none before Capella, unknown since."""
    _required(body.execution_payload_header, fork, Fork.CAPELLA, f"{path}.execution_payload_header")
    return None if fork >= Fork.CAPELLA else ()


def _slashed_attesters(slashing: schemas.AttesterSlashing, path: str) -> tuple[int, ...]:
    """The validators present in both attestations, ascending."""
    first, second = (
        {
            integer(index, f"{path}.{name}.attesting_indices[]")
            for index in attestation.attesting_indices
        }
        for name, attestation in (
            ("attestation_1", slashing.attestation_1),
            ("attestation_2", slashing.attestation_2),
        )
    )
    return tuple(sorted(first & second))


def _deposits(rows: Sequence[schemas.DepositData], path: str) -> tuple[Deposit, ...]:
    """``path`` holds ``{}`` where the row number belongs."""
    return tuple(deposit(row, path.format(number)) for number, row in enumerate(rows))


def requested_amount(value: schemas.Number, path: str) -> int:
    """Return the gwei that a withdrawal request asks for, at most 2**63 - 1.

    Anybody can put any 64 bits there (EIP-7002), and more than a balance holds is paid out as what
    it holds, so a larger number means the same.
    """
    return min(integer(value, path, maximum=_LARGEST_UINT64), INT64_MAX)


def _withdrawal_requests(
    rows: Sequence[schemas.WithdrawalRequestData], path: str
) -> tuple[WithdrawalRequest, ...]:
    return tuple(
        WithdrawalRequest(
            bytes_of(row.source_address, f"{path}[{number}].source_address", _ADDRESS_BYTES),
            bytes_of(row.validator_pubkey, f"{path}[{number}].validator_pubkey", _PUBKEY_BYTES),
            requested_amount(row.amount, f"{path}[{number}].amount"),
        )
        for number, row in enumerate(rows)
    )


def _consolidation_requests(
    rows: Sequence[schemas.ConsolidationRequestData], path: str
) -> tuple[ConsolidationRequest, ...]:
    return tuple(
        ConsolidationRequest(
            bytes_of(row.source_address, f"{path}[{number}].source_address", _ADDRESS_BYTES),
            bytes_of(row.source_pubkey, f"{path}[{number}].source_pubkey", _PUBKEY_BYTES),
            bytes_of(row.target_pubkey, f"{path}[{number}].target_pubkey", _PUBKEY_BYTES),
        )
        for number, row in enumerate(rows)
    )
