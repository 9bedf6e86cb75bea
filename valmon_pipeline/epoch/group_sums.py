"""Group ``scores``: an epoch summed up by group, from the facts of this epoch alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.scoring.facts import add_facts
from valmon_pipeline.scoring.groups import groups_in_epoch
from valmon_pipeline.scoring.rollup import SumsByValidator

_BALANCES: Final = ("opening_balance", "closing_balance")


def epoch_summaries_frame(
    epoch: int, facts: Mapping[str, pd.DataFrame], labels: pd.DataFrame, watched: Int64Array
) -> pd.DataFrame:
    """Frame ``epoch_summaries``: a row per group that has members, and one of everybody.

    Sums leave out what is NULL, and are NULL themselves where nothing of it is known.

    Args:
        epoch: the epoch.
        facts: its other frames by table, as stored: see ``scoring.facts``.
        labels: frame ``validator_labels``; those that hold in the epoch count.
        watched: the watched validators (n), ascending.
    """
    sums = SumsByValidator()
    sums.include(watched)
    add_facts(sums, facts)
    ledger = facts["balance_ledger"]
    sums.add(
        ledger["validator_index"].to_numpy(np.int64),
        {name: ledger[name].to_numpy(np.int64) for name in _BALANCES},
    )
    # Whoever has a balance has a row, if the states are known.
    unknown = ledger.empty and len(watched) > 0
    groups = groups_in_epoch(sums.validators, labels, epoch)
    return conform(
        "epoch_summaries",
        {
            "epoch": np.full(len(groups.names), epoch),
            "category": np.array([category for category, _ in groups.names], dtype=object),
            "value": np.array([value for _, value in groups.names], dtype=object),
            "validators": groups.total(np.ones(len(sums.validators), dtype=np.int64)),
            **{name: groups.total(sums.total(name)) for name in SUM_NAMES},
            **{
                name: np.ma.array(
                    groups.total(sums.total(name)), mask=np.full(len(groups.names), unknown)
                )
                for name in _BALANCES
            },
            "formula_version": np.full(len(groups.names), FORMULA_VERSION),
        },
    )
