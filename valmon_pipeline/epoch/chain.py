"""Group ``chain``: the blocks of the epoch and the network as a whole."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from valmon_pipeline.chain.bits import decode_bitvector
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.duties import slot_proposers
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.facts import missing_facts
from valmon_pipeline.epoch.network_scores import NetworkScores, quantile_values
from valmon_pipeline.epoch.network_totals import NetworkTotals, leak_of
from valmon_pipeline.frames.conform import conform


def blocks_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``blocks``: one row per slot of the epoch.

    A final slot without a canonical block is ``missed``; whether a block was seen and orphaned is
    only knowable live, since nodes forget orphans once the chain is final.
    """
    first, last = spec.first_slot(answers.epoch), spec.last_slot(answers.epoch)
    slots = np.arange(first, last + 1)
    blocks = [answers.blocks.get(slot) for slot in slots.tolist()]
    absent = np.array([block is None for block in blocks])
    owned, owners = slot_proposers(spec, answers)
    proposer = dict(zip(owned.tolist(), owners.filled(-1).tolist(), strict=True))
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
    totals: NetworkTotals,
    scores: NetworkScores | None,
    at: datetime,
) -> pd.DataFrame:
    """Frame ``network_epochs``: one row; sums and quantiles as far as the whole network is
    known."""
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    proposed = int(np.count_nonzero(answers.canonical.slot < end))
    leak = leak_of(spec, answers)

    def known(value: int | None) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        return np.ma.array([0 if value is None else value], mask=[value is None])

    def participating(flag: str) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        balances = totals.participating
        return known(None if balances is None else getattr(balances, flag))

    return conform(
        "network_epochs",
        {
            "epoch": np.array([answers.epoch]),
            "finalized": np.array([answers.finalized]),
            "window_root": [answers.canonical.root_at(answers.canonical.last_slot)],
            "node": [answers.node],
            "missing_facts": np.array([len(missing_facts(answers.sources))]),
            "active_validators": known(
                None if answers.committees is None else len(answers.committees.validator_index)
            ),
            "total_active_balance": known(totals.total_active_balance),
            "base_reward_per_increment": known(totals.base_reward_per_increment),
            "source_participating_balance": participating("source"),
            "target_participating_balance": participating("target"),
            "head_participating_balance": participating("head"),
            **quantile_values([scores]),
            "leak": np.ma.array([bool(leak)], mask=[leak is None]),
            "blocks_proposed": np.array([proposed]),
            "blocks_missed": np.array([end - first - proposed]),
            # Scores enter it when they are stored.
            "formula_version": known(None),
            "materialized_at": pd.DatetimeIndex([at]),
        },
    )


def fact_sources_frame(answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``fact_sources``: a row per fact that was asked for, and where it came from."""
    sources = sorted(answers.sources, key=lambda source: source.fact)

    def numbers(name: str) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        values = [getattr(source, name) for source in sources]
        return np.ma.array(
            [value or 0 for value in values],
            mask=[value is None for value in values],
            dtype=np.int64,
        )

    return conform(
        "fact_sources",
        {
            "epoch": np.full(len(sources), answers.epoch),
            "fact": np.array([source.fact.value for source in sources], dtype=object),
            **{
                name: pd.Series([getattr(source, name) for source in sources], dtype="str")
                for name in ("source", "node", "reason")
            },
            **{name: numbers(name) for name in ("compared", "deviating", "largest_deviation")},
        },
    )
