"""Simulated states as nodes serve them whole: SSZ, Deneb, Electra and Fulu.

Source: consensus-specs, ``BeaconState`` of each fork, and ``ssz/simple-serialize.md``: fields of
fixed size one after the other, for every list the offset of its content, then the contents.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.history import SlotRecord
from valmon_pipeline.devnet.simulator.simulation import Simulation
from valmon_pipeline.devnet.simulator.state import Bytes, Checkpoint, Int64Array

_VALIDATOR: Final = np.dtype(
    [
        ("pubkey", "V48"),
        ("withdrawal_credentials", "V32"),
        ("effective_balance", "<u8"),
        ("slashed", "?"),
        ("activation_eligibility_epoch", "<u8"),
        ("activation_epoch", "<u8"),
        ("exit_epoch", "<u8"),
        ("withdrawable_epoch", "<u8"),
    ]
)
_OFFSET_BYTES: Final = 4
_EXTRA_DATA_OFFSET: Final = 584  # the size of the payload header's fixed part


class StateNotKeptError(Exception):
    """The participation of this state was not kept: only the first and last of each epoch are."""


def encode_state(simulation: Simulation, record: SlotRecord, genesis_time: int) -> bytes:
    """Return the state after ``record.slot`` as ``/eth/v2/debug/beacon/states/{slot}`` serves it.

    Raises:
        StateNotKeptError: for a slot that is neither the first nor the last of its epoch.
    """
    if record.participation is None:
        raise StateNotKeptError(f"the participation of slot {record.slot} was not kept")
    fields = [*_fields(simulation, record, genesis_time)]
    at = sum(_OFFSET_BYTES if is_list else len(content) for content, is_list in fields)
    fixed, lists = [], []
    for content, is_list in fields:
        if is_list:
            fixed.append(struct.pack("<I", at))
            lists.append(content)
            at += len(content)
        else:
            fixed.append(content)
    return b"".join([*fixed, *lists])


def _fields(
    simulation: Simulation, record: SlotRecord, genesis_time: int
) -> Iterator[tuple[bytes, bool]]:
    """Yield the state's fields in their order: content, and whether it is a list."""
    parameters, entropy, config = simulation.parameters, simulation.entropy, simulation.config
    epoch = parameters.epoch_of(record.slot)
    fork = parameters.fork_at(epoch)
    roots_kept = int(str(config["SLOTS_PER_HISTORICAL_ROOT"]))

    def fixed(*parts: bytes | int) -> tuple[bytes, bool]:
        return b"".join(_u64(p) if isinstance(p, int) else p for p in parts), False

    def roots(of: Callable[[SlotRecord], str]) -> tuple[bytes, bool]:
        ring = np.zeros((roots_kept, 32), np.uint8)
        for slot in range(max(0, record.slot - roots_kept), record.slot):
            known = simulation.history.records.get(slot)
            if known is not None:
                ring[slot % roots_kept] = np.frombuffer(_bytes(of(known)), np.uint8)
        return ring.tobytes(), False

    previous_version = config[f"{Fork(fork - 1).name}_FORK_VERSION"]
    current_version = config[f"{fork.name}_FORK_VERSION"]
    scalars, head = record.scalars, record.head
    yield fixed(genesis_time, _bytes(entropy.hex(32, "genesis validators")), record.slot)
    yield fixed(
        _bytes(str(previous_version)),
        _bytes(str(current_version)),
        int(str(config[f"{fork.name}_FORK_EPOCH"])),
    )
    yield fixed(
        head.slot,
        head.proposer_index,
        _bytes(head.parent_root),
        bytes(32) if head.slot == record.slot else _bytes(head.state_root),
        entropy.bytes(32, "body", head.root),
    )
    yield roots(lambda known: known.head.root)
    yield roots(lambda known: known.state_root)
    yield b"", True  # historical_roots, frozen since Capella
    yield fixed(
        entropy.bytes(32, "deposits"), scalars.deposit_count, entropy.bytes(32, "eth1 block")
    )
    yield b"", True  # eth1_data_votes
    yield fixed(scalars.eth1_deposit_index)
    yield _validators(record), True
    yield _u64s(record.column("balance")), True
    mixes = int(str(config["EPOCHS_PER_HISTORICAL_VECTOR"]))
    yield entropy.bytes(32 * mixes, "randao mixes", epoch), False
    yield _u64s(record.slashings), False
    previous, current = record.participation or (b"", b"")
    yield bytes(previous), True
    yield bytes(current), True
    bits = sum(bit << number for number, bit in enumerate(scalars.justification_bits))
    yield fixed(bytes([bits]))
    for known in (record.previous_justified, record.current_justified, record.finalized):
        yield _checkpoint(known), False
    yield _u64s(record.column("inactivity_score")), True
    keys = record.column("pubkey")
    for seats in (record.current_sync_committee, record.next_sync_committee):
        yield fixed(keys[seats].tobytes(), entropy.bytes(48, "aggregate key", seats.tobytes()))
    yield _payload_header(simulation, record, genesis_time), True
    yield fixed(scalars.next_withdrawal_index, scalars.next_withdrawal_validator_index)
    summaries = record.slot // roots_kept
    yield entropy.bytes(64 * summaries, "historical summaries"), True
    if fork < Fork.ELECTRA:
        return
    start_index = scalars.deposit_requests_start_index
    yield fixed(
        FAR_FUTURE_EPOCH if start_index is None else start_index,
        scalars.deposit_balance_to_consume,
        scalars.exit_balance_to_consume,
        scalars.earliest_exit_epoch,
        scalars.consolidation_balance_to_consume,
        scalars.earliest_consolidation_epoch,
    )
    yield (
        b"".join(
            entry.pubkey
            + entry.withdrawal_credentials
            + _u64(entry.amount)
            + _bytes(entry.signature)
            + _u64(entry.slot)
            for entry in record.pending_deposits
        ),
        True,
    )
    yield (
        b"".join(
            struct.pack("<3Q", entry.validator_index, entry.amount, entry.withdrawable_epoch)
            for entry in record.pending_partial_withdrawals
        ),
        True,
    )
    yield (
        b"".join(
            struct.pack("<2Q", entry.source_index, entry.target_index)
            for entry in record.pending_consolidations
        ),
        True,
    )
    if fork >= Fork.FULU:
        ahead = np.concatenate([record.proposers[epoch], record.proposers[epoch + 1]])
        yield _u64s(ahead), False


def _validators(record: SlotRecord) -> bytes:
    rows = np.zeros(len(record), _VALIDATOR)
    for name in _VALIDATOR.names or ():
        column: Any = record.column(name)
        if name in ("pubkey", "withdrawal_credentials"):
            rows[name] = _as_rows(column)
        elif name.endswith("_epoch"):
            rows[name] = _epochs(column)
        else:
            rows[name] = column
    return rows.tobytes()


def _as_rows(matrix: Bytes) -> Any:
    return np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}").reshape(-1)


def _epochs(column: Int64Array) -> Any:
    unsigned = column.astype(np.uint64)
    unsigned[column == NEVER] = FAR_FUTURE_EPOCH
    return unsigned


def _payload_header(simulation: Simulation, record: SlotRecord, genesis_time: int) -> bytes:
    entropy, head = simulation.entropy, record.head
    seconds = head.slot * simulation.parameters.slot_duration_ms // 1000
    return b"".join(
        [
            entropy.bytes(32, "payload", head.parent_root),
            bytes(19) + b"\xaa",
            bytes(32 + 32 + 256),
            entropy.bytes(32, "randao", head.root),
            struct.pack("<4Q", head.number, 30_000_000, 15_000_000, genesis_time + seconds),
            struct.pack("<I", _EXTRA_DATA_OFFSET),
            bytes(32),
            entropy.bytes(32, "payload", head.root),
            entropy.bytes(32, "transactions_root", head.root),
            entropy.bytes(32, "withdrawals_root", head.root),
            struct.pack("<2Q", 0, 0),
        ]
    )


def _checkpoint(known: Checkpoint) -> bytes:
    return _u64(known.epoch) + _bytes(known.root)


def _u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def _u64s(numbers: Int64Array) -> bytes:
    return numbers.astype("<u8").tobytes()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
