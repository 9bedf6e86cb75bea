"""Group ``chain``: the blocks of the epoch and the network as a whole."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from valmon_pipeline.chain.bits import decode_bitvector
from valmon_pipeline.chain.rewards import is_inactivity_leak
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_scores import NetworkScores, quantile_values
from valmon_pipeline.epoch.network_totals import NetworkTotals
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION


def blocks_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``blocks``: one row per slot of the epoch.

    A final slot without a canonical block is ``missed``; whether a block was seen and orphaned is
    only knowable live, since nodes forget orphans once the chain is final.
    """
    first, last = spec.first_slot(answers.epoch), spec.last_slot(answers.epoch)
    slots = np.arange(first, last + 1)
    blocks = [answers.blocks.get(slot) for slot in slots.tolist()]
    absent = np.array([block is None for block in blocks])
    proposer = dict(
        zip(
            answers.proposer_duties.slot.tolist(),
            answers.proposer_duties.validator_index.tolist(),
            strict=True,
        )
    )
    # Nobody proposed the genesis block, and nobody signed for it: what its fields say is nothing.
    proposer_index = [
        proposer.get(slot, -1) if block is None or slot == 0 else block.proposer_index
        for slot, block in zip(slots.tolist(), blocks, strict=True)
    ]
    return conform(
        "blocks",
        {
            "epoch": np.full(len(slots), answers.epoch),
            "slot": slots,
            "status": np.where(absent, "missed", "proposed"),
            "proposer_index": np.ma.masked_equal(proposer_index, -1),
            "block_root": [
                None if block is None else answers.canonical.root_at(block.slot) for block in blocks
            ],
            "parent_root": [None if block is None else block.parent_root for block in blocks],
            "attestation_count": np.ma.array(
                [0 if block is None else len(block.attestations) for block in blocks], mask=absent
            ),
            "sync_participants": np.ma.masked_equal(
                [
                    -1
                    if block is None or block.slot == 0 or block.sync_committee_bits is None
                    else int(
                        decode_bitvector(block.sync_committee_bits, spec.sync_committee_size).sum()
                    )
                    for block in blocks
                ],
                -1,
            ),
        },
    )


def network_epochs_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    totals: NetworkTotals | None,
    scores: NetworkScores | None,
    at: datetime,
) -> pd.DataFrame:
    """Frame ``network_epochs``: one row; sums and quantiles if the whole registry is known."""
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    proposed = int(np.count_nonzero(answers.canonical.slot < end))

    def known(value: int | None) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        return np.ma.array([0 if value is None else value], mask=[value is None])

    def participating(flag: str) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        return known(None if totals is None else getattr(totals.participating, flag))

    return conform(
        "network_epochs",
        {
            "epoch": np.array([answers.epoch]),
            "finalized": np.array([answers.finalized]),
            "window_root": [answers.canonical.root_at(answers.canonical.last_slot)],
            "node": [answers.node],
            "active_validators": known(len(answers.committees.validator_index)),
            "total_active_balance": known(None if totals is None else totals.total_active_balance),
            "base_reward_per_increment": known(
                None if totals is None else totals.base_reward_per_increment
            ),
            "source_participating_balance": participating("source"),
            "target_participating_balance": participating("target"),
            "head_participating_balance": participating("head"),
            **quantile_values([scores]),
            "leak": np.array(
                [is_inactivity_leak(spec, answers.epoch, answers.finalized_epoch_at_transition)]
            ),
            "blocks_proposed": np.array([proposed]),
            "blocks_missed": np.array([end - first - proposed]),
            "formula_version": np.array([FORMULA_VERSION]),
            "materialized_at": pd.DatetimeIndex([at]),
        },
    )
