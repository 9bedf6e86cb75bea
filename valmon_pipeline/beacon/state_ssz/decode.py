"""A state's bytes as views, checked against the layout of its fork and against the chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.beacon.columns import FieldError
from valmon_pipeline.beacon.ssz_container import PUBKEY_BYTES, Container
from valmon_pipeline.beacon.state_ssz.layout import state_layout
from valmon_pipeline.chain.beacon_state import (
    PENDING_CONSOLIDATION,
    PENDING_DEPOSIT,
    PENDING_PARTIAL_WITHDRAWAL,
    VALIDATOR,
    BeaconState,
    RowArray,
)
from valmon_pipeline.chain.finality import Checkpoint, FinalityCheckpoints
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import UnsupportedForkError

_ALL_FLAGS: Final = 0b111
_PER_VALIDATOR: Final = (
    "balances",
    "previous_epoch_participation",
    "current_epoch_participation",
    "inactivity_scores",
)


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """What was asked for, and what is known of the network: a state of anything else is refused.

    ``least_validators`` and ``most_validators`` bound its registry, which never shrinks: those of
    an earlier and of a later state that was seen.
    """

    slot: int
    genesis_validators_root: bytes
    least_validators: int = 1
    most_validators: int | None = None


def fork_of_version(version: str | None) -> Fork:
    """The fork of an answer's ``Eth-Consensus-Version``.

    Raises:
        FieldError: there is no such header.
        UnsupportedForkError: valmon does not know the fork.
    """
    if not version:
        raise FieldError("Eth-Consensus-Version (header)", version, "the name of a fork")
    try:
        return Fork[version.upper()]
    except KeyError:
        raise UnsupportedForkError(
            f"the state is of fork {version[:40]!r}, which this version of valmon does not know; "
            "upgrade valmon, or set whole_network: off"
        ) from None


def decode_state(
    spec: ChainSpec, fork: Fork, content: bytes | bytearray | memoryview, expected: ExpectedState
) -> BeaconState:
    """Return the views of a state; they keep ``content`` alive, and nothing of it is copied.

    Raises:
        FieldError: the bytes are no state of that fork and chain, or not the one asked for.
        UnsupportedForkError: valmon cannot read states of ``fork``.
        ChainRuleViolationError: the node does not list a constant that the layout depends on.
    """
    view = memoryview(content).cast("B")
    reader = _Reader(state_layout(spec, fork), view, f"state of fork {fork.name.lower()}")
    _require_expected(spec, fork, reader, expected)
    reader.locate_lists()
    state = _state(fork, reader)
    _require_consistent(state, expected)
    return state


class _Reader(Container):
    """The fields of a state as checkpoints and arrays."""

    __slots__ = ()

    def checkpoint(self, name: str) -> Checkpoint:
        content = self.fixed(name)
        return Checkpoint(int.from_bytes(content[:8], "little"), bytes(content[8:]))

    def vector(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.frombuffer(self.fixed(name), dtype)

    def seats(self, name: str) -> npt.NDArray[Any]:
        """The keys of a sync committee, without the aggregate of all that follows them."""
        return np.frombuffer(self.fixed(name), "u1").reshape(-1, PUBKEY_BYTES)[:-1]

    def rows(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        content = self.content(name)
        return np.frombuffer(content, dtype) if len(content) else np.empty(0, dtype)


def _require_expected(
    spec: ChainSpec, fork: Fork, reader: _Reader, expected: ExpectedState
) -> None:
    """The fields that say whose state it is, before anything that depends on its content."""
    root = bytes(reader.fixed("genesis_validators_root"))
    if root != expected.genesis_validators_root:
        raise FieldError(
            "genesis_validators_root",
            f"0x{root.hex()}",
            f"0x{expected.genesis_validators_root.hex()}, that of the network",
        )
    slot = reader.uint64("slot")
    if slot != expected.slot:
        raise FieldError("slot", slot, f"{expected.slot}, as was asked for")
    due = spec.fork_at_slot(slot)
    if fork is not due:
        raise FieldError(
            "Eth-Consensus-Version (header)",
            fork.name.lower(),
            f"{due.name.lower()}, the fork at slot {slot}",
        )
    of_state = reader.fixed("fork")
    version, since = bytes(of_state[4:8]), int.from_bytes(of_state[8:], "little")
    known = spec.fork_versions.get(fork)
    if known is not None and version != known:
        raise FieldError(
            "fork.current_version",
            f"0x{version.hex()}",
            f"0x{known.hex()}, {fork.name}_FORK_VERSION",
        )
    if since != spec.fork_epochs[fork]:
        raise FieldError("fork.epoch", since, f"{spec.fork_epochs[fork]}, {fork.name}_FORK_EPOCH")


def _state(fork: Fork, reader: _Reader) -> BeaconState:
    def queue(name: str, dtype: np.dtype[Any]) -> RowArray | None:
        return reader.rows(name, dtype) if name in reader else None

    return BeaconState(
        fork=fork,
        genesis_time=reader.uint64("genesis_time"),
        genesis_validators_root=bytes(reader.fixed("genesis_validators_root")),
        slot=reader.uint64("slot"),
        latest_block_slot=int.from_bytes(reader.fixed("latest_block_header")[:8], "little"),
        validators=reader.rows("validators", VALIDATOR),
        balances=reader.rows("balances", "<u8"),
        previous_epoch_participation=reader.rows("previous_epoch_participation", "u1"),
        current_epoch_participation=reader.rows("current_epoch_participation", "u1"),
        inactivity_scores=reader.rows("inactivity_scores", "<u8"),
        slashings=reader.vector("slashings", "<u8"),
        block_roots=reader.vector("block_roots", "u1").reshape(-1, 32),
        randao_mixes=reader.vector("randao_mixes", "u1").reshape(-1, 32),
        current_sync_committee=reader.seats("current_sync_committee"),
        next_sync_committee=reader.seats("next_sync_committee"),
        justification_bits=reader.uint64("justification_bits"),
        checkpoints=FinalityCheckpoints(
            previous_justified=reader.checkpoint("previous_justified_checkpoint"),
            current_justified=reader.checkpoint("current_justified_checkpoint"),
            finalized=reader.checkpoint("finalized_checkpoint"),
        ),
        pending_deposits=queue("pending_deposits", PENDING_DEPOSIT),
        pending_partial_withdrawals=queue(
            "pending_partial_withdrawals", PENDING_PARTIAL_WITHDRAWAL
        ),
        pending_consolidations=queue("pending_consolidations", PENDING_CONSOLIDATION),
        proposer_lookahead=(
            reader.vector("proposer_lookahead", "<u8") if "proposer_lookahead" in reader else None
        ),
    )


def _require_consistent(state: BeaconState, expected: ExpectedState) -> None:
    count = len(state)
    if count < expected.least_validators:
        raise FieldError(
            "validators (rows)",
            count,
            f"at least {expected.least_validators}: a registry never shrinks",
        )
    if expected.most_validators is not None and count > expected.most_validators:
        raise FieldError(
            "validators (rows)",
            count,
            f"at most {expected.most_validators}, the registry of a later state",
        )
    for name in _PER_VALIDATOR:
        rows = len(getattr(state, name))
        if rows != count:
            raise FieldError(f"{name} (rows)", rows, f"{count}, one per validator")
    for name, values, most in (
        ("validators[{}].slashed", state.validators["slashed"], 1),
        ("previous_epoch_participation[{}]", state.previous_epoch_participation, _ALL_FLAGS),
        ("current_epoch_participation[{}]", state.current_epoch_participation, _ALL_FLAGS),
    ):
        if values.max(initial=0) > most:
            row = int(np.argmax(values > most))
            raise FieldError(name.format(row), int(values[row]), f"a number from 0 to {most}")
