"""A signed block's bytes as the parts that duties, rewards and events are computed from."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from valmon_pipeline.beacon.block_operations import requested_amount
from valmon_pipeline.beacon.block_ssz.containers import (
    CONSOLIDATION_REQUEST,
    CREDENTIAL_CHANGE,
    DEPOSIT,
    DEPOSIT_REQUEST,
    PROPOSER_SLASHING,
    VOLUNTARY_EXIT,
    WITHDRAWAL,
    WITHDRAWAL_REQUEST,
    BlockContainers,
    block_containers,
)
from valmon_pipeline.beacon.columns import INT64_MAX, FieldError, integer
from valmon_pipeline.beacon.ssz_container import UINT64_BYTES, Container, elements
from valmon_pipeline.chain.blocks import (
    Attestation,
    Block,
    ConsolidationRequest,
    Deposit,
    Operations,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec

_BODY: Final = "message.body."
_BITS_PER_BYTE: Final = 8


class BlockDecoder:
    """Decodes the signed blocks of one chain; keeps the layout of each fork that it met."""

    def __init__(self, spec: ChainSpec) -> None:
        self._spec = spec
        self._containers: dict[tuple[Fork, bool], BlockContainers] = {}

    def block(
        self, fork: Fork, content: bytes | bytearray | memoryview, *, blinded: bool = False
    ) -> Block:
        """Return the block that ``content`` holds, equal to what its JSON decodes to.

        ``fork`` is the one that the answer names. The withdrawals of a ``blinded`` block are
        unknown (None) since Capella: it only has their root.

        Raises:
            FieldError: the bytes are no block of that fork and chain.
            UnsupportedForkError: valmon cannot read blocks of ``fork`` in SSZ.
        """
        containers = self._containers.get((fork, blinded))
        if containers is None:
            containers = block_containers(self._spec, fork, blinded=blinded)
            self._containers[fork, blinded] = containers
        view = memoryview(content).cast("B")
        signed = Container(containers.signed_block, view, "signed block")
        signed.locate_lists()
        message = Container(containers.block, signed.content("message"), "block", "message.")
        message.locate_lists()
        slot = _integer(message, "slot")
        due = self._spec.fork_at_slot(slot)
        if fork is not due:
            raise FieldError(
                "Eth-Consensus-Version (header)",
                fork.name.lower(),
                f"{due.name.lower()}, the fork at slot {slot}",
            )
        kind = "blinded block body" if blinded else "block body"
        body = Container(containers.body, message.content("body"), kind, _BODY)
        body.locate_lists()
        return Block(
            slot=slot,
            proposer_index=_integer(message, "proposer_index"),
            parent_root=bytes(message.fixed("parent_root")),
            fork=fork,
            attestations=tuple(_attestations(containers, body, fork)),
            sync_committee_bits=(
                bytes(body.fixed("sync_committee_bits")) if fork >= Fork.ALTAIR else None
            ),
            operations=_operations(containers, body),
        )


def _operations(containers: BlockContainers, body: Container) -> Operations:
    def rows(name: str, row: Struct) -> list[tuple[Any, ...]]:
        return _rows(containers, body.content(name), name, row) if name in body else []

    requests = _requests(containers, body)
    return Operations(
        withdrawals=_withdrawals(containers, body),
        proposer_slashings=_indices(
            rows("proposer_slashings", PROPOSER_SLASHING),
            "proposer_slashings[{}].signed_header_1.message.proposer_index",
        ),
        attester_slashings=tuple(_attester_slashings(containers, body)),
        deposits=_deposits(rows("deposits", DEPOSIT), "deposits[{}].data"),
        voluntary_exits=_indices(
            rows("voluntary_exits", VOLUNTARY_EXIT), "voluntary_exits[{}].message.validator_index"
        ),
        credential_changes=_indices(
            rows("bls_to_execution_changes", CREDENTIAL_CHANGE),
            "bls_to_execution_changes[{}].message.validator_index",
        ),
        deposit_requests=_deposits(
            requests["deposits"] if requests else [], "execution_requests.deposits[{}]"
        ),
        withdrawal_requests=tuple(
            WithdrawalRequest(
                address,
                pubkey,
                requested_amount(amount, f"{_BODY}execution_requests.withdrawals[{number}].amount"),
            )
            for number, (address, pubkey, amount) in enumerate(
                requests["withdrawals"] if requests else []
            )
        ),
        consolidation_requests=tuple(
            ConsolidationRequest(*row) for row in (requests["consolidations"] if requests else [])
        ),
    )


def _attestations(
    containers: BlockContainers, body: Container, fork: Fork
) -> Iterator[Attestation]:
    """Attestations by one reading of the fixed part each; the bits follow it to the end."""
    fixed = containers.attestation
    most = containers.limits.get("attesters")
    parts = _elements(containers, body.content("attestations"), "attestations")
    for number, part in enumerate(parts):
        if len(part) <= fixed.size:
            raise FieldError(
                f"{_BODY}attestations[{number}] (size)",
                len(part),
                f"more than {fixed.size} bytes, the fixed part of an attestation of fork "
                f"{fork.name.lower()}",
            )
        start, slot, index, block_root, source, target, target_root, *committee_bits = (
            fixed.unpack_from(part)
        )
        if start != fixed.size:
            raise FieldError(
                f"{_BODY}attestations[{number}].aggregation_bits (offset)",
                start,
                f"{fixed.size}, the end of the attestation's fixed part",
            )
        if max(slot, index, source, target) > INT64_MAX:
            data = f"attestations[{number}].data"
            _bounded(slot, f"{data}.slot")
            _bounded(index, f"{data}.index")
            _bounded(source, f"{data}.source.epoch")
            _bounded(target, f"{data}.target.epoch")
        bits = bytes(part[fixed.size :])
        length = _BITS_PER_BYTE * (len(bits) - 1) + bits[-1].bit_length() - 1
        if not bits[-1] or (most is not None and length > most.most):
            limit = "" if most is None else f", of at most {most.most} bits ({most.name})"
            raise FieldError(
                f"{_BODY}attestations[{number}].aggregation_bits",
                f"0x{bits.hex()}",
                f"a bit list whose last byte is not zero{limit}",
            )
        yield Attestation(
            slot=slot,
            committee_index=index,
            beacon_block_root=block_root,
            source_epoch=source,
            target_epoch=target,
            target_root=target_root,
            aggregation_bits=bits,
            committee_bits=committee_bits[0] if committee_bits else None,
        )


def _attester_slashings(containers: BlockContainers, body: Container) -> Iterator[tuple[int, ...]]:
    """The validators present in both attestations of each slashing, ascending."""
    parts = _elements(containers, body.content("attester_slashings"), "attester_slashings")
    for number, part in enumerate(parts):
        path = f"{_BODY}attester_slashings[{number}]."
        slashing = Container(containers.attester_slashing, part, "attester slashing", path)
        slashing.locate_lists()
        first, second = (
            _attesting_indices(containers, slashing.content(name), f"{path}{name}.")
            for name in ("attestation_1", "attestation_2")
        )
        yield tuple(sorted(first & second))


def _attesting_indices(containers: BlockContainers, view: memoryview, path: str) -> set[int]:
    attestation = Container(containers.indexed_attestation, view, "indexed attestation", path)
    attestation.locate_lists()
    content = attestation.content("attesting_indices")
    count = len(content) // UINT64_BYTES
    _require_limit(containers, "attesters", count, f"{path}attesting_indices")
    indices = set(struct.unpack(f"<{count}Q", content))
    for index in indices:
        integer(index, f"{path}attesting_indices[]")
    return indices


def _withdrawals(containers: BlockContainers, body: Container) -> tuple[Withdrawal, ...] | None:
    """Those of the payload; None where the block has its header with their root instead."""
    if containers.payload is None:
        return ()
    name = "execution_payload"
    if name not in body:
        name = "execution_payload_header"
    payload = Container(
        containers.payload, body.content(name), name.replace("_", " "), f"{_BODY}{name}."
    )
    payload.locate_lists()
    if "withdrawals_root" in payload:
        return None
    if "withdrawals" not in payload:
        return ()
    path = f"{name}.withdrawals"
    return tuple(
        Withdrawal(
            _bounded(index, f"{path}[{number}].validator_index"),
            _bounded(amount, f"{path}[{number}].amount"),
        )
        for number, (index, amount) in enumerate(
            _rows(containers, payload.content("withdrawals"), path, WITHDRAWAL)
        )
    )


def _requests(
    containers: BlockContainers, body: Container
) -> dict[str, list[tuple[Any, ...]]] | None:
    if containers.requests is None:
        return None
    name = "execution_requests"
    requests = Container(
        containers.requests, body.content(name), name.replace("_", " "), f"{_BODY}{name}."
    )
    requests.locate_lists()
    return {
        kind: _rows(containers, requests.content(kind), f"{name}.{kind}", row)
        for kind, row in (
            ("deposits", DEPOSIT_REQUEST),
            ("withdrawals", WITHDRAWAL_REQUEST),
            ("consolidations", CONSOLIDATION_REQUEST),
        )
    }


def _deposits(rows: list[tuple[Any, ...]], path: str) -> tuple[Deposit, ...]:
    """``path`` holds ``{}`` where the row number belongs."""
    return tuple(
        Deposit(
            pubkey,
            credentials,
            _bounded(amount, f"{path.format(number)}.amount"),
            signature,
        )
        for number, (pubkey, credentials, amount, signature) in enumerate(rows)
    )


def _indices(rows: list[tuple[Any, ...]], path: str) -> tuple[int, ...]:
    """``path`` holds ``{}`` where the row number belongs."""
    return tuple(_bounded(index, path.format(number)) for number, (index,) in enumerate(rows))


def _rows(
    containers: BlockContainers, view: memoryview, name: str, row: Struct
) -> list[tuple[Any, ...]]:
    """The rows of a list of whole rows, refused beyond its limit."""
    _require_limit(containers, name, len(view) // row.size, f"{_BODY}{name}")
    return list(row.iter_unpack(view)) if len(view) else []


def _elements(containers: BlockContainers, view: memoryview, name: str) -> list[memoryview]:
    """The elements of a list of elements of variable size, refused beyond its limit."""
    parts = elements(view, f"{_BODY}{name}")
    _require_limit(containers, name, len(parts), f"{_BODY}{name}")
    return parts


def _require_limit(containers: BlockContainers, name: str, count: int, path: str) -> None:
    limit = containers.limits.get(name)
    if limit is not None and count > limit.most:
        raise FieldError(f"{path} (elements)", count, f"at most {limit.most}, {limit.name}")


def _integer(container: Container, name: str) -> int:
    return integer(container.uint64(name), f"message.{name}")


def _bounded(value: int, path: str) -> int:
    """An integer of the body, below 2**63 like all integers of this package."""
    return integer(value, f"{_BODY}{path}")
