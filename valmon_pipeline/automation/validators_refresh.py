"""When the validators and their labels have to be read anew: what is stored of them is of another
watch list than the configuration has, or is a day old."""

from __future__ import annotations

import time
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.registry import WATCH_LIST_METADATA
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import NETWORK_TAG, WORK_TAG
from valmon_pipeline.automation.under_way import UNFINISHED

REFRESH_WORK: Final = "refresh"
REFRESH_SECONDS: Final = 900
"""The deadline of a run: the whole registry of mainnet takes a minute or two."""
_DAY_SECONDS: Final = 86_400


def refresh_due(
    instance: dg.DagsterInstance, pipeline: Pipeline, epoch: int
) -> dg.RunRequest | None:
    """The run that reads them anew, None if there is no need or one is under way.

    What was stored last is asked of Dagster, so that a run that failed or was lost is requested
    again in another ``epoch``, and one that somebody else started counts.
    """
    network = pipeline.network
    fingerprint = pipeline.watch_list.fingerprint
    stored = instance.get_latest_materialization_event(asset_key(network, "validator_labels"))
    materialization = None if stored is None else stored.asset_materialization
    if stored is not None and materialization is not None:
        of_list = materialization.metadata.get(WATCH_LIST_METADATA)
        is_current = of_list is not None and of_list.value == fingerprint
        if is_current and time.time() - stored.timestamp < _DAY_SECONDS:
            return None
    under_way = dg.RunsFilter(
        tags={NETWORK_TAG: network, WORK_TAG: REFRESH_WORK}, statuses=UNFINISHED
    )
    if instance.get_runs(under_way, limit=1):
        return None
    return dg.RunRequest(
        run_key=f"validators:{network}:{fingerprint}:at:{epoch}",
        tags={NETWORK_TAG: network, WORK_TAG: REFRESH_WORK},
    )
