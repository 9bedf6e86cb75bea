"""The sensor that turns provisional epochs final, or has them materialized again after a reorg.

An epoch's rows rest on the root of the last block of its window. When that root is on the
finalized chain, the epoch is marked final in the tick, with one update. When it is not, the epoch
is materialized again, and every value that differs becomes a correction.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import FINALITY
from valmon_pipeline.automation.epoch_runs import epoch_run
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.automation.under_way import read_under_way
from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import Settings
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.partitions import epoch_key, register_epochs
from valmon_pipeline.reading.epoch_reader import newest_epoch_readable
from valmon_pipeline.reading.raw_answers import confirm
from valmon_pipeline.reading.side_by_side import all_of
from valmon_pipeline.storage.chain_head import read_chain_head
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.finality import ProvisionalEpoch, mark_final, provisional_epochs

TICK_SECONDS: Final = 60
EPOCHS_PER_TICK: Final = 64
"""When finality returns after days without, thousands of epochs become final at once."""
HEADERS_PER_TICK: Final = 128
"""About how many slots after a window are asked for, where the first ones have no block: few
enough to be answered within the tick."""
RUNS_PER_TICK: Final = 8


@dataclass(frozen=True, slots=True)
class _Finalized:
    """The newest epoch that can be final, and the finalized chain's root at each window's end.

    The root is None where the node does not tell it; epochs that there was no time for are missing,
    the first of them is ``left_out`` (None: all were looked at). ``proof`` is the
    archive of what the node said about its finality, None if its answers are not kept.
    """

    newest: int
    roots: Mapping[int, bytes | None]
    left_out: int | None
    proof: bytes | None


def finality_sensor(settings: Settings, job_name: str) -> dg.SensorDefinition:
    """The sensor ``finality_sensor``; what it finds changed is run by the job of that name.

    Its cursor is the epoch to go on from where one tick cannot look at all that are provisional:
    those that stay so, since the node does not have their blocks, keep no others waiting.
    """
    network = settings.network
    reasons = ReasonLog()

    @dg.sensor(
        name="finality_sensor",
        job_name=job_name,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Marks epochs final when the block they rest on is finalized, and has those "
        "materialized again whose chain was reorganized.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        try:
            database = pipeline.warehouse.database
            waiting = _waiting(database, int(context.cursor or 0))
            if not waiting:
                return dg.SensorResult(skip_reason="every stored epoch is final")
            final = _final_by_the_head(pipeline)
            if final is not None and final < waiting[0].epoch:
                return dg.SensorResult(skip_reason=_none_is_final(final, waiting))
            finalized = _finalized(pipeline, waiting)
            following = str(_next_to_look_at(waiting, finalized))
            same = {
                epoch.epoch: epoch.window_root
                for epoch in waiting
                if finalized.roots.get(epoch.epoch) == epoch.window_root
            }
            if pipeline.archive is not None and finalized.proof is not None:
                # Before the rows: what is not confirmed yet is found again by the next tick.
                confirm(pipeline.archive, same, finalized.proof)
            marked = mark_final(database, same)
        except ValmonError as error:
            return dg.SensorResult(skip_reason=reasons.note(error, context.log))
        reasons.all_is_well()
        events = [_observation(network, epoch, same[epoch]) for epoch in marked]
        reorganized = [
            epoch.epoch
            for epoch in waiting
            if finalized.roots.get(epoch.epoch) and epoch.epoch not in same
        ]
        if reorganized:
            chain = pipeline.warehouse.network()
            under_way = read_under_way(context.instance, network, chain).epochs
            requests = _requests(
                context.instance, network, sorted({*reorganized} - under_way), finalized
            )
            if requests:
                return dg.SensorResult(run_requests=requests, asset_events=events, cursor=following)
        return dg.SensorResult(
            skip_reason=_summary(waiting, finalized, marked, reorganized),
            asset_events=events,
            cursor=following,
        )

    return sensor


def _final_by_the_head(pipeline: Pipeline) -> int | None:
    """The newest epoch that can be final, as the slot sensor saw it last; None if that is not of
    now."""
    head = read_chain_head(pipeline.warehouse, datetime.now(UTC))
    if head is None or head.seconds_since_seen > TICK_SECONDS:
        return None
    return newest_epoch_readable(head.finalized_epoch)


def _none_is_final(newest: int, waiting: Sequence[ProvisionalEpoch]) -> str:
    return f"epochs up to {newest} can be final; the oldest provisional epoch is {waiting[0].epoch}"


def _waiting(database: Database, first: int) -> list[ProvisionalEpoch]:
    """The provisional epochs to look at: from ``first`` on, or from the oldest where that is all
    there is."""
    for start in (first, 0) if first else (0,):
        found = provisional_epochs(database, first=start, limit=EPOCHS_PER_TICK)
        if found:
            return found
    return []


def _next_to_look_at(waiting: Sequence[ProvisionalEpoch], finalized: _Finalized) -> int:
    """Where the next tick goes on; 0, with the oldest, if this one has seen all that can be
    final."""
    if finalized.left_out is not None:
        return finalized.left_out
    last = waiting[-1].epoch
    return last + 1 if len(waiting) == EPOCHS_PER_TICK and last <= finalized.newest else 0


def _finalized(pipeline: Pipeline, waiting: Sequence[ProvisionalEpoch]) -> _Finalized:
    async def read(client: BeaconClient) -> _Finalized:
        checkpoints = await client.finality_checkpoints("head")
        newest = newest_epoch_readable(checkpoints.finalized.epoch)
        roots, left_out = await _roots_at_ends(client, waiting, newest)
        kept = client.archive
        proof = kept.archive_of_node() if isinstance(kept, AnswerKeeper) else None
        return _Finalized(newest, roots, left_out, proof)

    return ask_node(pipeline, read)


async def _roots_at_ends(
    client: BeaconClient, waiting: Sequence[ProvisionalEpoch], newest: int
) -> tuple[dict[int, bytes | None], int | None]:
    """The canonical roots at the last slots of the epochs' windows, None where the node does not
    tell; and the first epoch that ``HEADERS_PER_TICK`` did not suffice for, None if it did.

    A node can answer 404 for a slot whose block it has not moved to its index of finalized blocks
    yet. So the root is not looked up by slot: the first block after the window names its parent,
    and that by its root says which slot it is of.
    """
    spec = await client.spec()
    epochs = [epoch for epoch in waiting if epoch.epoch <= newest]
    after = await all_of(*(client.header(spec.first_slot(epoch.epoch + 2)) for epoch in epochs))
    roots: dict[int, bytes | None] = {}
    left_out: int | None = None
    left = HEADERS_PER_TICK
    for epoch, child in zip(epochs, after, strict=True):
        last = spec.last_slot(epoch.epoch + 1)
        slot = last + 1
        while child is None and left and slot < spec.first_slot(epoch.epoch + 4):
            slot, left = slot + 1, left - 1
            child = await client.header(slot)
        if child is None:
            if not left:
                left_out = epoch.epoch if left_out is None else left_out
            else:
                roots[epoch.epoch] = None
            continue
        if child.parent_root == epoch.window_root:
            roots[epoch.epoch] = child.parent_root
            continue
        before = await client.header(child.parent_root)
        while before is not None and before.slot > last:
            before = await client.header(before.parent_root)
        roots[epoch.epoch] = None if before is None else before.root
    return roots, left_out


def _requests(
    instance: dg.DagsterInstance, network: str, epochs: Sequence[int], finalized: _Finalized
) -> list[dg.RunRequest]:
    """Runs for reorganized epochs; a run that failed is repeated when finality has moved on."""
    register_epochs(instance, network, epochs)
    return [
        epoch_run(
            network,
            epoch,
            FINALITY,
            f"finality:{network}:{epoch}:at:{finalized.newest}",
            reason="reorg",
        )
        for epoch in epochs[:RUNS_PER_TICK]
    ]


def _observation(network: str, epoch: int, window_root: bytes) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key(network, "network_epochs"),
        partition=epoch_key(epoch),
        description=f"epoch {epoch} is final",
        metadata={"finalized": True, "window_root": f"0x{window_root.hex()}"},
    )


def _summary(
    waiting: Sequence[ProvisionalEpoch],
    finalized: _Finalized,
    marked: Sequence[int],
    reorganized: Sequence[int],
) -> str:
    parts = [f"epochs up to {finalized.newest} can be final"]
    if marked:
        parts.append(f"marked final: {marked[0]}..{marked[-1]} ({len(marked)})")
    if reorganized:
        parts.append(f"being materialized again after a reorg: {list(reorganized)[:5]}")
    if unknown := [epoch for epoch, root in finalized.roots.items() if root is None]:
        parts.append(f"the node does not tell the chain of {unknown[:5]}")
    if not finalized.roots:
        parts.append(f"the oldest provisional epoch is {waiting[0].epoch}")
    return "; ".join(parts)
