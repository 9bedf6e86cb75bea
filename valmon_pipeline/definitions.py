"""The wired graph of one network: assets, checks, jobs, sensors and resources. Nothing else.

Loading opens no connection: neither the node nor the database has to be there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import dagster as dg
from dagster import MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.assets.alert_checks import alert_check_keys, alert_checks
from valmon_pipeline.assets.asset_graph import EPOCH_TABLES, SCORE_TABLES, asset_key
from valmon_pipeline.assets.batch_size import epochs_per_run
from valmon_pipeline.assets.column_schema import column_schema
from valmon_pipeline.assets.day_summaries import day_summaries_asset
from valmon_pipeline.assets.history import EPOCH_HISTORY, LOAD_HISTORY, history_asset
from valmon_pipeline.assets.registry import registry_assets
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import NETWORK_TAG
from valmon_pipeline.assets.steps import FRAMES, step_assets
from valmon_pipeline.automation.alert_sensor import alert_sensor
from valmon_pipeline.automation.completion_sensor import completion_sensor
from valmon_pipeline.automation.day_sensor import SUM_UP_DAYS, day_sensor
from valmon_pipeline.automation.epoch_sensor import epoch_sensor
from valmon_pipeline.automation.finality_sensor import finality_sensor
from valmon_pipeline.automation.maintenance import maintenance_job, maintenance_schedule
from valmon_pipeline.automation.slot_sensor import live_assets, slot_sensor
from valmon_pipeline.automation.split_sensor import split_sensor
from valmon_pipeline.automation.validators_refresh import REFRESH_SECONDS
from valmon_pipeline.config import CurrentWatchList, Settings, load_settings
from valmon_pipeline.config.secrets import secrets_of
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.notify.wiring import reminders_of, sender_of
from valmon_pipeline.pipeline import configured_database_url, pipeline_of
from valmon_pipeline.storage.io_manager import StepIOManager
from valmon_pipeline.storage.standings_due import STANDINGS
from valmon_pipeline.storage.stored_days import DAY_SUMMARIES
from valmon_pipeline.telemetry.json_logs import use_json_logs

MATERIALIZE_EPOCHS = "materialize_epochs"
RESCORE_EPOCHS = "rescore_epochs"
REFRESH_VALIDATORS = "refresh_validators"


OWNER = "team:valmon"
EPOCHS_ARE_FRESH = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(minutes=30), fail_window=timedelta(hours=2)
)
"""An epoch of mainnet closes every 6.4 minutes, and is stored two epochs later."""


def build_definitions(settings: Settings, pipeline: Pipeline) -> dg.Definitions:
    """The graph for a network, run with the given pipeline."""
    network = settings.network
    with warnings.catch_warnings():
        # Backfill policies and code links are announced as beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
            registry_assets(network),
            *step_assets(network, epochs_per_run(settings)),
            history_asset(network, settings.history.first_day),
            day_summaries_asset(network, settings.history.first_day),
            *live_assets(network),
        ]
        assets = [*_presented(assets)]
        checks = alert_checks(network)
    not_by_runs = dg.AssetSelection.checks(*alert_check_keys(network))
    materialize_epochs = dg.define_asset_job(
        MATERIALIZE_EPOCHS,
        _assets(network, EPOCH_TABLES) - not_by_runs,
        tags={NETWORK_TAG: network},
        description="Materialize epochs: facts, scores, standings.",
    )
    rescore_epochs = dg.define_asset_job(
        RESCORE_EPOCHS,
        _assets(network, (*SCORE_TABLES, STANDINGS)) - not_by_runs,
        tags={NETWORK_TAG: network},
        description="Compute scores and standings of stored epochs again, without a node.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[
            materialize_epochs,
            rescore_epochs,
            dg.define_asset_job(
                REFRESH_VALIDATORS,
                dg.AssetSelection.assets(
                    asset_key(network, "validators"), asset_key(network, "validator_labels")
                ),
                tags={MAX_RUNTIME_SECONDS_TAG: str(REFRESH_SECONDS)},
                description="Read the watched validators and their labels anew.",
            ),
            dg.define_asset_job(
                LOAD_HISTORY,
                dg.AssetSelection.assets(asset_key(network, EPOCH_HISTORY)),
                tags={NETWORK_TAG: network},
                description="Load the epochs of UTC days.",
            ),
            dg.define_asset_job(
                SUM_UP_DAYS,
                dg.AssetSelection.assets(asset_key(network, DAY_SUMMARIES)),
                tags={"dagster/max_runtime": "3600"},
                description="Sum up UTC days per validator, from the stored epochs.",
            ),
            maintenance_job(settings),
        ],
        sensors=[
            slot_sensor(settings, REFRESH_VALIDATORS),
            epoch_sensor(settings, MATERIALIZE_EPOCHS),
            finality_sensor(settings, MATERIALIZE_EPOCHS),
            completion_sensor(settings, MATERIALIZE_EPOCHS),
            split_sensor(network, [materialize_epochs, rescore_epochs]),
            day_sensor(network, settings.history.first_day),
            alert_sensor(network, reminders_of(settings), sender_of(settings)),
        ],
        schedules=[maintenance_schedule()],
        resources={
            "pipeline": dg.ResourceDefinition.hardcoded_resource(pipeline),
            FRAMES: dg.IOManagerDefinition(
                lambda _: StepIOManager(pipeline.warehouse), description="PostgreSQL tables"
            ),
        },
        executor=dg.in_process_executor,
    )


def _presented(assets: Sequence[Any]) -> Sequence[Any]:
    """Every asset with its owner, kind, columns, freshness and a link to its code."""

    def presented(spec: dg.AssetSpec) -> dg.AssetSpec:
        table = spec.key.path[-1]
        if table in EPOCH_TABLES:
            spec = spec.replace_attributes(freshness_policy=EPOCHS_ARE_FRESH)
        if table in TABLES:
            spec = spec.replace_attributes(
                description=spec.description or TABLES[table].description,
                kinds={"postgres"},
                metadata={
                    **spec.metadata,
                    "dagster/table_name": ".".join(spec.key.path),
                    "dagster/column_schema": column_schema(TABLES[table]),
                },
            )
        return spec.replace_attributes(owners=[OWNER])

    return dg.with_source_code_references(dg.map_asset_specs(presented, assets))


def _assets(network: str, tables: Iterable[str]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(network, table) for table in tables))


@dg.definitions
def defs() -> dg.Definitions:
    """The graph of the network that the configuration names."""
    settings = load_settings()
    if settings.logs.as_json:
        use_json_logs(secrets_of(settings), loggers=["dagster"])
    pipeline = pipeline_of(
        settings,
        partial(configured_database_url, settings),
        read_watch_list=CurrentWatchList(settings.watch_list),
    )
    return build_definitions(settings, pipeline)
