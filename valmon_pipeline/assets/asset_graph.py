"""The shape of the graph: which tables each step makes, and from what, as the functions say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import dagster as dg

from valmon_pipeline.assets.standings import STANDINGS_TAKE
from valmon_pipeline.epoch.fact_frames import FACTS
from valmon_pipeline.epoch.score_frames import SCORES
from valmon_pipeline.storage.standings_due import STANDINGS

FACT_TABLES: Final = tuple(FACTS)
SCORE_TABLES: Final = tuple(SCORES)
EPOCH_TABLES: Final = (*FACT_TABLES, *SCORE_TABLES, STANDINGS)
"""The assets of an epoch, step by step."""

LINEAGE: Final[Mapping[str, tuple[str, ...]]] = {
    **{table: FACTS.inputs(table) for table in FACTS},
    # The version of the facts that scores are made from is in network_epochs.
    **{table: (*SCORES.inputs(table), "network_epochs") for table in SCORES},
    STANDINGS: tuple(STANDINGS_TAKE),
}
"""Table to the tables that it is made from."""

CONTRACT_CHECK: Final = "contract"


def asset_key(network: str, table: str) -> dg.AssetKey:
    """The key of a table's asset: the network comes first, so that networks share one instance."""
    return dg.AssetKey([network, table])
