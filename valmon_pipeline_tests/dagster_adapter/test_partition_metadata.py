# No postponed annotations here: Dagster reads the type of `context` at definition time.
from collections.abc import Iterator

import dagster as dg
import pytest

from valmon_pipeline.dagster_adapter.partition_metadata import add_partition_metadata
from valmon_pipeline.partitions import (
    contiguous_chunks,
    epoch_key,
    epoch_partitions,
    range_tags,
    register_epochs,
    registered_epochs,
)

NETWORK = "net"
KEYS = [dg.AssetKey([NETWORK, "blocks"]), dg.AssetKey([NETWORK, "duties"])]
EPOCHS = [5, 6, 7]


def _values(key: dg.AssetKey, epoch: int) -> dict[str, object]:
    return {"table": key.path[-1], "epoch": epoch}


@dg.multi_asset(specs=[dg.AssetSpec(key) for key in KEYS], partitions_def=epoch_partitions(NETWORK))
def one_by_one(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    for key in KEYS:
        for epoch in EPOCHS:
            context.add_asset_metadata(_values(key, epoch), key, epoch_key(epoch))
    for key in KEYS:
        yield dg.MaterializeResult(asset_key=key, metadata={"of_all": True})


@dg.multi_asset(specs=[dg.AssetSpec(key) for key in KEYS], partitions_def=epoch_partitions(NETWORK))
def at_once(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    add_partition_metadata(
        context,
        {key: {epoch_key(epoch): _values(key, epoch) for epoch in EPOCHS} for key in KEYS},
    )
    for key in KEYS:
        yield dg.MaterializeResult(asset_key=key, metadata={"of_all": True})


def _stored(assets: dg.AssetsDefinition) -> dict[tuple[str, str | None], dict[str, object]]:
    """What Dagster shows: metadata by asset and partition."""
    with dg.DagsterInstance.ephemeral() as instance:
        register_epochs(instance, NETWORK, EPOCHS)
        chunks = contiguous_chunks(registered_epochs(instance, NETWORK), EPOCHS, 10)
        job = dg.Definitions(
            assets=[assets], jobs=[dg.define_asset_job("job", [assets])]
        ).resolve_job_def("job")
        result = job.execute_in_process(instance=instance, tags=dict(range_tags(chunks[0])))
        events = result.get_asset_materialization_events()
    return {
        (event.asset_key.to_user_string(), event.partition): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in events
        if event.asset_key is not None
    }


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_partitions_show_the_same_metadata_as_if_given_one_by_one() -> None:
    at_once_stored = _stored(at_once)
    assert len(at_once_stored) == len(KEYS) * len(EPOCHS)
    assert at_once_stored == _stored(one_by_one)
