"""Follows the head of the chain: one look at a time, each stored in one transaction.

What was seen last is in the tables themselves (``chain_head``, written in the same transaction as
the rows), so that a process that dies at any moment goes on where its last transaction ended:
nothing is handled twice or left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.assets.fact_batch import network_identity
from valmon_pipeline.assets.live_frames import (
    Event,
    chain_head_frame,
    live_events_frame,
    live_slots_frame,
    live_snapshot_frame,
    proposal_events,
    status_events,
)
from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.beacon.connection import deadline
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.errors import BeaconApiError, BeaconUnreachableError
from valmon_pipeline.reading.capture import capture_blocks
from valmon_pipeline.reading.duties_ahead import DutiesAhead, read_duties_ahead
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.reading.live_reader import Head, LiveAnswers, LiveReader
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse

LOOK_SECONDS: Final = 8.0
"""Most that a look may take with the node; the next one then starts anew."""
_ANSWER_SHARE: Final = 7 / 8
"""Of that, what the node may take: so that one that is too slow is named, and the failure counts
against it, before the look is given up as a whole. Otherwise it would be asked for ever."""


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What one look found and stored.

    ``slots_behind`` is how far the head is behind the clock; ``slots`` how many slots were judged.
    ``duties_ahead`` are the duties that were stored ahead, None if there were none to store;
    ``duties_problem`` says why they could not be read: the next look tries again.
    ``capture_problem`` says which block could not be kept; it is read with its epoch then.
    """

    node: str
    head_slot: int
    head_epoch: int
    finalized_epoch: int
    slots_behind: int
    slots: int
    snapshot_rows: int
    events: tuple[Event, ...]
    duties_ahead: DutiesAhead | None
    duties_problem: str | None
    seconds: float
    capture_problem: str | None = None

    def summary(self) -> str:
        """One line for people."""
        clock = f"{self.slots_behind} behind the clock"
        parts = [
            f"head slot {self.head_slot} (epoch {self.head_epoch}, {clock})",
            f"finalized epoch {self.finalized_epoch}",
            f"{self.slots} slots, {self.snapshot_rows} snapshot rows, {len(self.events)} events",
        ]
        if self.duties_ahead is not None:
            parts.append(f"duties of epoch {self.duties_ahead.epoch} stored")
        if self.duties_problem is not None:
            parts.append(f"no duties ahead yet: {self.duties_problem}")
        if self.capture_problem is not None:
            parts.append(f"not kept: {self.capture_problem}")
        return f"{'; '.join(parts)} [{self.seconds:.2f} s]"


class LiveFollower:
    """Looks at the head whenever told to. One process at a time follows a network.

    Args:
        open_client: opens a client of a node that is ready.
        open_warehouse: the tables, opened at the first look.
        watch: whom to watch. Of ``watch: network`` only validators that are also named one by one
            get live snapshots and duties ahead: a whole registry does not fit in a slot. Missed
            proposals are noticed of everybody then.
        open_captured: where the blocks of the slots looked at and the rewards of own ones are kept;
            None: they are not.
        polling_interval_slots: a snapshot is taken when the head enters another such interval.
        now_ms: the clock, in milliseconds of Unix time.
    """

    def __init__(
        self,
        open_client: OpenClient,
        open_warehouse: Callable[[], Warehouse],
        watch: Watch,
        polling_interval_slots: int,
        *,
        open_captured: Callable[[], AnswerStore] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._open_client = open_client
        self._open_warehouse = open_warehouse
        self._watch = watch
        self._interval = polling_interval_slots
        self._open_captured = open_captured
        self._now_ms = now_ms
        self._identity: NetworkIdentity | None = None
        self._snapshot: pd.DataFrame | None = None
        self._duties_epoch = -1
        self._watch_is_new = False
        self._head_slot: int | None = None

    def waits_for_slot(self) -> int | None:
        """The slot before which a look would find nothing new, None if one is due.

        Until the clock's slot is over, the block that was seen of it is the head.
        """
        chain, head = self._identity, self._head_slot
        if chain is None or head is None or self._watch_is_new:
            return None
        if self._duties_epoch < head // chain.slots_per_epoch:
            return None
        clock = (self._now_ms() - chain.genesis_time * 1000) // chain.slot_duration_ms
        return head + 1 if clock == head else None

    def watch(self, watch: Watch) -> None:
        """Watch others from the next new head on: it gets a snapshot, whatever the interval, and
        duties ahead are stored anew."""
        self._watch = watch
        self._duties_epoch = -1
        self._watch_is_new = True

    def look(self) -> LiveReport:
        """Look once, and store what is new.

        Raises:
            BeaconApiError: no node is ready, or its answers cannot be used; nothing was stored.
            ChainChangedError: the chain changed while it was read; nothing was stored.
            StorageError: the database is away or holds another network; nothing was stored.
        """
        try:
            return asyncio.run(self._look())
        except TimeoutError:
            raise BeaconUnreachableError(
                f"no beacon node answered within {LOOK_SECONDS:g} s; asked again at the next look"
            ) from None

    async def _look(self) -> LiveReport:
        started = time.monotonic()
        with deadline(LOOK_SECONDS * _ANSWER_SHARE):
            async with asyncio.timeout(LOOK_SECONDS), self._open_client() as client:
                reader = await EpochReader.open(client, self._watch)
                warehouse = self._bound(reader)
                spec = reader.spec
                last = self._recall(spec, warehouse)
                live = LiveReader(client, spec, self._now_ms)
                choose = partial(self._snapshot_slots, spec, warehouse)
                answers = await live.look(last, self._watch.ids, choose)
                report = self._store(reader, warehouse, answers, last, started)
                report = await self._with_duties_ahead(reader, warehouse, report, started)
                return await self._with_blocks(reader, answers, report, started)

    def _bound(self, reader: EpochReader) -> Warehouse:
        """The warehouse, once it is known to be of the node's network."""
        warehouse = self._open_warehouse()
        identity = network_identity(reader)
        if identity != self._identity:
            warehouse.bind_network(identity)
            self._identity = identity
        return warehouse

    def _recall(self, spec: ChainSpec, warehouse: Warehouse) -> Head | None:
        """What the last look saw, of whatever process."""
        rows = warehouse.read("chain_head", columns=["head_slot", "head_root", "seen_at"])
        if rows.empty:
            return None
        row = rows.iloc[0]
        asked_at_ms = int(row["seen_at"].timestamp() * 1000)
        last = Head(int(row["head_slot"]), row["head_root"], asked_at_ms)
        if self._snapshot is None:
            epoch = spec.epoch_of(last.slot)
            stored = warehouse.read("validator_snapshots", epochs=[epoch - 1, epoch])
            # Without a status, nothing can be compared with it.
            stored = stored[(stored["slot"] <= last.slot) & stored["status"].notna()]
            if len(stored):
                self._snapshot = stored[stored["slot"] == stored["slot"].max()]
        return last

    def _snapshot_slots(
        self, spec: ChainSpec, warehouse: Warehouse, head_slot: int, changed_since: int | None
    ) -> Sequence[int]:
        """Where to take snapshots: at the head if one is due, and again where the chain that a
        stored one shows may have been left."""
        latest = -1 if self._snapshot is None else int(self._snapshot["slot"].iloc[0])
        again: list[int] = []
        if changed_since is not None and latest >= changed_since:
            epochs = range(spec.epoch_of(changed_since), spec.epoch_of(head_slot) + 1)
            stored = warehouse.read("validator_snapshots", epochs=epochs, columns=["slot"])["slot"]
            again = [slot for slot in stored.unique().tolist() if changed_since <= slot < head_slot]
        due = head_slot // self._interval != latest // self._interval or latest >= head_slot
        return [*again, head_slot] if due or self._watch_is_new else again

    def _store(
        self,
        reader: EpochReader,
        warehouse: Warehouse,
        answers: LiveAnswers,
        last: Head | None,
        started: float,
    ) -> LiveReport:
        spec, genesis, node = reader.spec, reader.genesis, reader.client.name
        snapshots = [
            live_snapshot_frame(spec, registry, slot)
            for slot, registry in sorted(answers.snapshots.items())
        ]
        newest = snapshots[-1] if snapshots and len(snapshots[-1]) else self._snapshot
        slots = live_slots_frame(
            spec, genesis, answers, last, self._stored_slots(spec, warehouse, answers, last), node
        )
        events = proposal_events(slots, answers, self._watched(newest))
        if self._snapshot is not None and snapshots:
            events += status_events(self._snapshot, snapshots[-1])
        frames = {
            "chain_head": chain_head_frame(spec, answers, node),
            "live_slots": slots,
            "live_events": live_events_frame(spec, events, answers),
            "validator_snapshots": pd.concat(snapshots, ignore_index=True) if snapshots else None,
        }
        warehouse.replace_rows(
            {table: frame for table, frame in frames.items() if frame is not None and len(frame)}
        )
        head = answers.head
        if head.slot in answers.snapshots:
            self._watch_is_new = False
        if answers.reorganized and self._duties_epoch > spec.epoch_of(int(slots["slot"].min())):
            # Duties are drawn by the chain up to the start of their epoch's predecessor.
            self._duties_epoch = -1
        self._snapshot = newest
        self._head_slot = head.slot
        clock = spec.slot_at(genesis.genesis_time, self._now_ms())
        return LiveReport(
            node=node,
            head_slot=head.slot,
            head_epoch=spec.epoch_of(head.slot),
            finalized_epoch=answers.checkpoints.finalized.epoch,
            slots_behind=max(0, clock - head.slot),
            slots=len(slots),
            snapshot_rows=sum(map(len, snapshots)),
            events=tuple(events),
            duties_ahead=None,
            duties_problem=None,
            seconds=time.monotonic() - started,
        )

    def _stored_slots(
        self, spec: ChainSpec, warehouse: Warehouse, answers: LiveAnswers, last: Head | None
    ) -> pd.DataFrame | None:
        """Rows there are of the slots looked at; only a reorganisation looks at any again."""
        if not answers.reorganized:
            return None
        first = next(iter(answers.headers))
        final = max(answers.head.slot, answers.head.slot if last is None else last.slot)
        epochs = range(spec.epoch_of(first), spec.epoch_of(final) + 1)
        stored = warehouse.read("live_slots", epochs=epochs)
        return stored[stored["slot"] >= first]

    def _watched(self, snapshot: pd.DataFrame | None) -> Int64Array | None:
        """Indices of the watched validators, those watched by public key as far as known; None for
        everybody."""
        if self._watch.network:
            return None
        known = np.array(sorted(self._watch.indices), dtype=np.int64)
        if snapshot is None:
            return known
        return np.union1d(known, snapshot["validator_index"].to_numpy(dtype=np.int64))

    async def _with_duties_ahead(
        self, reader: EpochReader, warehouse: Warehouse, report: LiveReport, started: float
    ) -> LiveReport:
        """Store the next epoch's duties, once in each epoch."""
        if self._duties_epoch >= report.head_epoch:
            return report
        watched = self._watched(self._snapshot) if self._watch.ids else None
        indices = np.empty(0, np.int64) if watched is None else watched
        duties: DutiesAhead | None = None
        problem: str | None = None
        try:
            duties = await read_duties_ahead(reader.client, reader.spec, report.head_epoch, indices)
        except BeaconApiError as error:
            problem = str(error)
        else:
            for epoch, frames in duties.frames.items():
                warehouse.store_ahead(epoch, frames)
            self._duties_epoch = report.head_epoch
        return replace(
            report,
            duties_ahead=duties,
            duties_problem=problem,
            seconds=time.monotonic() - started,
        )

    async def _with_blocks(
        self, reader: EpochReader, answers: LiveAnswers, report: LiveReport, started: float
    ) -> LiveReport:
        """Keep the blocks that are new, and the rewards of own ones while they are told."""
        if self._open_captured is None:
            return report
        headers = [header for header in answers.headers.values() if header is not None]
        captured = await capture_blocks(
            reader.client, reader.spec, headers, self._watched(self._snapshot)
        )
        self._open_captured().keep(captured.answers)
        return replace(
            report,
            capture_problem=next(iter(captured.problems), None),
            seconds=time.monotonic() - started,
        )
