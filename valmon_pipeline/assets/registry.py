"""The assets ``validators`` and ``validator_labels``: the dimension that facts are joined with."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import asyncio
from collections.abc import Iterator, Mapping

import dagster as dg
import pandas as pd

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.fact_batch import network_identity
from valmon_pipeline.assets.label_history import merge_labels
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.subject import VALIDATORS_SUBJECT, asking_about
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.config import WatchList
from valmon_pipeline.epoch.validators import validators_frame
from valmon_pipeline.frames.tables import TABLES
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.reading.raw_answers import keep

KNOWN_CHECK = "configured_validators_exist"
WATCH_LIST_METADATA = "watch_list"
"""Which configured watch list the rows are of: its fingerprint."""


def registry_assets(network: str) -> dg.AssetsDefinition:
    """The unpartitioned assets of the watched validators and their labels."""

    def spec(table: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            asset_key(network, table),
            group_name="validators",
            description=TABLES[table].description,
            kinds={"postgres"},
            metadata={"dagster/table_name": f"{network}.{table}"},
        )

    @dg.multi_asset(
        name="registry",
        outs={
            "validators": dg.AssetOut.from_spec(
                spec("validators"), io_manager_key="frames", dagster_type=dg.Any
            ),
            # Stored by the step itself: new labels are merged with those that are stored.
            "validator_labels": dg.AssetOut.from_spec(
                spec("validator_labels"), dagster_type=dg.Nothing
            ),
        },
        check_specs=[
            dg.AssetCheckSpec(
                KNOWN_CHECK,
                asset=asset_key(network, "validators"),
                description="Every validator of the configuration is in the registry.",
            )
        ],
        required_resource_keys={"pipeline"},
    )
    def registry(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.Output[pd.DataFrame] | dg.Output[None] | dg.AssetCheckResult]:
        pipeline: Pipeline = context.resources.pipeline
        registry, epoch = asyncio.run(read_watched(pipeline))
        labels = label_rows(pipeline.watch_list, registry)
        unknown = unknown_ids(pipeline.watch_list, registry)
        yield dg.Output(
            validators_frame(registry),
            "validators",
            metadata={"validators": len(registry), "unknown": len(unknown)},
        )
        rows = pipeline.warehouse.change_table(
            "validator_labels", lambda stored: merge_labels(stored, labels, epoch)
        )
        yield dg.Output(
            None,
            "validator_labels",
            metadata={
                "dagster/row_count": rows,
                "labels": len(labels),
                "epoch": epoch,
                WATCH_LIST_METADATA: pipeline.watch_list.fingerprint,
            },
        )
        pipeline.store_counts()
        yield dg.AssetCheckResult(
            passed=not unknown,
            asset_key=asset_key(network, "validators"),
            check_name=KNOWN_CHECK,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"not in the registry: {', '.join(map(str, unknown[:5]))}"
            if unknown
            else None,
            metadata={"unknown": str(unknown[:100]), "unknown_count": len(unknown)},
        )

    return registry


async def read_watched(pipeline: Pipeline) -> tuple[ValidatorRegistry, int]:
    """The watched validators, and the epoch of the node's head."""
    ids = EVERYONE if pipeline.watch.network else pipeline.watch.ids
    with asking_about(VALIDATORS_SUBJECT):
        async with pipeline.open_client() as client:
            reader = await EpochReader.open(client, pipeline.watch)
            pipeline.warehouse.bind_network(network_identity(reader))
            registry = await client.validators("finalized", ids)
            if pipeline.archive is not None and isinstance(client.archive, AnswerKeeper):
                raw = client.archive.archive_of(VALIDATORS_SUBJECT)
                keep(pipeline.archive, VALIDATORS_SUBJECT, raw, final=True)
    return registry, reader.head_epoch


def label_rows(watch_list: WatchList, registry: ValidatorRegistry) -> list[tuple[int, str, str]]:
    """(validator index, category, value) for every label whose validator is in the registry."""
    known = set(registry.validator_index.tolist())
    by_key = _index_by_pubkey(registry) if watch_list.pubkeys else {}
    rows = []
    for identifier, labels in watch_list.labels.items():
        index = by_key.get(identifier) if isinstance(identifier, str) else identifier
        if index is not None and index in known:
            rows += [(index, category, value) for category, value in labels.items()]
    return rows


def unknown_ids(watch_list: WatchList, registry: ValidatorRegistry) -> list[int | str]:
    """Indices and public keys of the configuration that the registry does not hold."""
    known = set(registry.validator_index.tolist())
    by_key = _index_by_pubkey(registry) if watch_list.pubkeys else {}
    unknown: list[int | str] = [index for index in watch_list.indices if index not in known]
    return unknown + [key for key in watch_list.pubkeys if key not in by_key]


def _index_by_pubkey(registry: ValidatorRegistry) -> Mapping[str, int]:
    # Once per refresh of the dimension, and only when public keys are configured.
    keys = (f"0x{bytes(key).hex()}" for key in registry.pubkey)
    return dict(zip(keys, registry.validator_index.tolist(), strict=True))
