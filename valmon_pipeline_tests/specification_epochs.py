"""Epochs of chains that the executable specification made, and what it says about them.

``recordings/specification/epochs``: one file of JSON each, cut out by ``extract_epochs.py`` beside
it, which says how the chains were made. Balances, slashings, leaks and late votes are random there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.blocks import Attestation, Block, BlockHeader, Operations
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.proposer_rewards import KnownParticipation
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline_tests.chain.registries import registry
from valmon_pipeline_tests.chain.states import made_up_state

_FOLDER: Final = Path(__file__).parent / "recordings" / "specification" / "epochs"
SPECIFICATION_EPOCHS: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))
BLOCK_PARTS: Final = (
    *("slot", "proposer_index", "attestations", "sync_aggregate"),
    *("proposer_slashings", "attester_slashings"),
)


@dataclass(frozen=True, slots=True)
class SpecificationEpoch:
    """One epoch E (``epoch``) and the specification's ``truth`` about it, as plain JSON."""

    spec: ChainSpec
    epoch: int
    truth: Any

    def registry(self) -> ValidatorRegistry:
        """The registry of the first slot of E."""
        return _registry(self.truth["registry"])

    def registry_of_next(self) -> ValidatorRegistry:
        """The registry of the first slot of E + 1."""
        return _registry(self.truth["first_of_next"])

    def slashed_before(self) -> BoolArray:
        """The slashed flags before the block of the first slot of E."""
        return _padded(self.truth["slashed_before"], len(self.truth["registry"]["slashed"]))

    def slashed_before_next(self) -> BoolArray:
        """The slashed flags before the block of the first slot of E + 1."""
        rows = self.truth["first_of_next"]
        return _padded(rows["slashed_before"], len(rows["slashed"]))

    def state(self) -> BeaconState:
        """The state of the first slot of E, as far as it is kept."""
        rows = self.truth["registry"]
        names = ("activation_epoch", "exit_epoch", "withdrawable_epoch")
        columns = {
            **{name: [FAR_FUTURE_EPOCH if e is None else e for e in rows[name]] for name in names},
            "effective_balance": rows["effective_balance"],
            "slashed": rows["slashed"],
            "score": self.truth["inactivity_scores"],
            "flags": self.truth["previous_participation"],
            "current_flags": self.truth["current_participation"],
        }
        validators = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        mixes = np.zeros((64, 32), np.uint8)
        for row, mix in self.truth["randao_mixes"].items():
            mixes[int(row)] = np.frombuffer(bytes.fromhex(mix), np.uint8)
        lookahead = self.truth["proposer_lookahead"]
        slot = self.spec.first_slot(self.epoch)
        return replace(
            made_up_state(slot, validators),
            fork=self.spec.fork_at_slot(slot),
            randao_mixes=mixes,
            proposer_lookahead=None if lookahead is None else np.array(lookahead, np.uint64),
        )

    def committees(self) -> Mapping[int, Committees]:
        """The committees of E - 1 and E."""
        return {int(epoch): self._committees(int(epoch)) for epoch in self.truth["committees"]}

    def chain(self, last_slot: int) -> CanonicalChain:
        """The chain from the first slot of E - 1 on."""
        first = self.spec.first_slot(self.epoch - 1)
        headers = [
            BlockHeader(
                row["slot"], _root(row["root"]), _root(row["parent_root"]), row["proposer_index"]
            )
            for row in self.truth["blocks"]
            if first <= row["slot"] <= last_slot
        ]
        return CanonicalChain.from_headers(headers, first_slot=first, last_slot=last_slot)

    def blocks(self) -> list[Block]:
        """All blocks from the first slot of E - 1 to that of E + 1."""
        return [_block(row) for row in self.truth["blocks"]]

    def participation(self) -> KnownParticipation:
        """What the state of the first slot of E has recorded."""
        return KnownParticipation.of_state(self.spec, self.state())

    def _committees(self, epoch: int) -> Committees:
        rows = self.truth["committees"][str(epoch)]
        per_slot = len(rows) // self.spec.slots_per_epoch
        first = self.spec.first_slot(epoch)
        return Committees.from_rows(
            [first + row // per_slot for row in range(len(rows))],
            [row % per_slot for row in range(len(rows))],
            [len(row) for row in rows],
            [index for row in rows for index in row],
        )


@cache
def specification_epoch(name: str) -> SpecificationEpoch:
    """Read one of ``SPECIFICATION_EPOCHS``."""
    truth = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return SpecificationEpoch(ChainSpec.from_config(truth["config"]), truth["epoch"], truth)


def _registry(rows: Any) -> ValidatorRegistry:
    def epochs(name: str) -> list[int]:
        return [np.iinfo(np.int64).max if epoch is None else epoch for epoch in rows[name]]

    return registry(
        index=range(len(rows["slashed"])),
        effective_balance=rows["effective_balance"],
        slashed=[bool(flag) for flag in rows["slashed"]],
        activation=epochs("activation_epoch"),
        exit_epoch=epochs("exit_epoch"),
        withdrawable=epochs("withdrawable_epoch"),
    )


def _padded(flags: list[int], count: int) -> BoolArray:
    """Flags of a state in which the newest validators are not yet."""
    return np.array([*flags, *[0] * (count - len(flags))], dtype=np.bool_)


def _root(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _block(row: Any) -> Block:
    return Block(
        slot=row["slot"],
        proposer_index=row["proposer_index"],
        parent_root=_root(row["parent_root"]),
        fork=Fork[row["fork"].upper()],
        attestations=tuple(_attestation(*values) for values in row["attestations"]),
        sync_committee_bits=bytes.fromhex(row["sync_committee_bits"][2:]),
        operations=Operations(
            proposer_slashings=tuple(row["proposer_slashings"]),
            attester_slashings=tuple(tuple(named) for named in row["attester_slashings"]),
        ),
    )


def _attestation(
    slot: int,
    index: int,
    head: int,
    source_epoch: int,
    target_epoch: int,
    target: int,
    aggregation_bits: str,
    committee_bits: str | None,
) -> Attestation:
    return Attestation(
        slot=slot,
        committee_index=index,
        beacon_block_root=_root(head),
        source_epoch=source_epoch,
        target_epoch=target_epoch,
        target_root=_root(target),
        aggregation_bits=bytes.fromhex(aggregation_bits[2:]),
        committee_bits=None if committee_bits is None else bytes.fromhex(committee_bits[2:]),
    )


def scores_of(epoch: SpecificationEpoch) -> Int64Array:
    """The inactivity scores (n) in the state of the first slot of E."""
    return np.array(epoch.truth["inactivity_scores"], dtype=np.int64)
