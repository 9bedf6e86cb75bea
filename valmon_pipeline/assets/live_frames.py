"""Frames of one look at the head: slots, events and snapshots. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from valmon_pipeline.beacon.answers import Genesis
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import ValidatorStatus, validator_status
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.live_events import EVENT_TYPES
from valmon_pipeline.reading.live_reader import Head, LiveAnswers

_STATUS_NAMES: Final = np.array([status.value for status in ValidatorStatus])


@dataclass(frozen=True, slots=True)
class Event:
    """One row of ``live_events``, without when it was seen."""

    slot: int
    event_type: str
    validator_index: int | None
    detail: str

    @property
    def position(self) -> int:
        """The same for the same event, different for the others of its slot."""
        kind = EVENT_TYPES.index(self.event_type)
        # Index 0 belongs to the events about no validator.
        subject = 0 if self.validator_index is None else self.validator_index + 1
        return subject * len(EVENT_TYPES) + kind


def chain_head_frame(spec: ChainSpec, answers: LiveAnswers, node: str) -> pd.DataFrame:
    """Frame ``chain_head``: one row."""
    head, checkpoints = answers.head, answers.checkpoints
    return conform(
        "chain_head",
        {
            "only_row": np.array([True]),
            "head_slot": head.slot,
            "head_root": head.root,
            "head_epoch": spec.epoch_of(head.slot),
            "justified_epoch": checkpoints.current_justified.epoch,
            "finalized_epoch": checkpoints.finalized.epoch,
            "node": node,
            # An optimistic answer is refused before it gets here.
            "is_optimistic": False,
            "seen_at": _moments([answers.asked_at_ms]),
        },
    )


def live_slots_frame(
    spec: ChainSpec,
    genesis: Genesis,
    answers: LiveAnswers,
    last: Head | None,
    stored: pd.DataFrame | None,
    node: str,
) -> pd.DataFrame:
    """Frame ``live_slots``: the slots that are new, or not what they were in ``stored``.

    ``stored`` are the rows there are of the slots looked at, and of slots after the head; None if
    there are none.
    """
    known = {} if stored is None else {int(row["slot"]): row for row in stored.to_dict("records")}
    rows: list[dict[str, object]] = []
    for slot, header in answers.headers.items():
        before = known.get(slot)
        if before is None and last is not None and slot <= last.slot:
            continue  # from before anybody followed this chain
        root_before = None if before is None else before["block_root"]
        status = "missed"
        root: bytes | None = None
        proposer: int | None = answers.proposers.get(slot)
        if header is not None:
            status, root, proposer = "proposed", header.root, header.proposer_index
        elif root_before is not None:
            assert before is not None
            status, root, proposer = "orphaned", root_before, before["proposer_index"]
        if before is not None and before["status"] == status and root_before == root:
            continue
        late = _late(spec, genesis, slot, answers, last) if before is None and header else None
        if before is not None and root == root_before:
            late = before["late"]
        rows.append(_slot_row(slot, status, proposer, root, late))
    for slot, before in known.items():
        # A head that went back: what was after it is not on its chain.
        if slot > answers.head.slot and before["status"] == "proposed":
            rows.append(
                _slot_row(
                    slot, "orphaned", before["proposer_index"], before["block_root"], before["late"]
                )
            )
    return _slots(spec, rows, answers, node)


def proposal_events(
    slots: pd.DataFrame, answers: LiveAnswers, watched: Int64Array | None
) -> list[Event]:
    """Missed and late proposals of the ``watched`` (None: everybody), and the reorganisation that
    orphaned blocks."""
    events: list[Event] = []
    ours = (
        slots["proposer_index"].notna()
        if watched is None
        else slots["proposer_index"].isin(watched).fillna(False).astype(bool)
    )
    for row in slots[ours].to_dict("records"):
        slot, proposer = int(row["slot"]), int(row["proposer_index"])
        if row["status"] == "missed":
            detail = f"no block in slot {slot}: the chain goes on without it"
            events.append(Event(slot, "proposal_missed", proposer, detail))
        elif row["status"] == "orphaned":
            detail = f"the block of slot {slot}, 0x{row['block_root'].hex()}, was left behind"
            events.append(Event(slot, "proposal_missed", proposer, detail))
        elif row["late"] is not pd.NA and row["late"]:
            detail = f"the block of slot {slot} was not there when half the slot had passed"
            events.append(Event(slot, "proposal_late", proposer, detail))
    orphaned = slots.loc[(slots["status"] == "orphaned"), "slot"].tolist()
    if answers.reorganized and orphaned:
        head = answers.head
        detail = (
            f"{len(orphaned)} block{'s' * (len(orphaned) > 1)} left behind (slot"
            f"{'s' * (len(orphaned) > 1)} {', '.join(map(str, orphaned))}); the head is now "
            f"0x{head.root.hex()} of slot {head.slot}"
        )
        events.append(Event(head.slot, "reorg", None, detail))
    return events


def live_snapshot_frame(spec: ChainSpec, registry: ValidatorRegistry, slot: int) -> pd.DataFrame:
    """Frame ``validator_snapshots`` of the validators of ``registry`` in the state of ``slot``."""
    epoch = spec.epoch_of(slot)
    return conform(
        "validator_snapshots",
        {
            "epoch": np.full(len(registry), epoch),
            "slot": np.full(len(registry), slot),
            "validator_index": registry.validator_index,
            "status": _STATUS_NAMES[validator_status(registry, epoch)],
            "balance": registry.balance,
            "effective_balance": registry.effective_balance,
        },
    )


def status_events(before: pd.DataFrame, after: pd.DataFrame) -> list[Event]:
    """Changes between two snapshots; validators that are in one only, or whose status is not
    known in one, are left out."""
    before, after = before.dropna(subset=["status"]), after.dropna(subset=["status"])
    both = before[["validator_index", "slot", "status"]].merge(
        after[["validator_index", "slot", "status"]], on="validator_index", suffixes=("", "_now")
    )
    changed = both[both["status"].astype(str) != both["status_now"].astype(str)]
    return [
        Event(
            int(row["slot_now"]),
            _kind_of_change(str(row["status"]), str(row["status_now"])),
            int(row["validator_index"]),
            f"{row['status']} in slot {row['slot']}, {row['status_now']} in slot {row['slot_now']}",
        )
        for row in changed.to_dict("records")
    ]


def live_events_frame(
    spec: ChainSpec, events: Sequence[Event], answers: LiveAnswers
) -> pd.DataFrame:
    """Frame ``live_events`` of ``events`` noticed in ``answers``."""
    rows = sorted(events, key=lambda event: (event.slot, event.position))
    absent = [event.validator_index is None for event in rows]
    return conform(
        "live_events",
        {
            "epoch": np.array([spec.epoch_of(event.slot) for event in rows], dtype=np.int64),
            "slot": np.array([event.slot for event in rows], dtype=np.int64),
            "position": np.array([event.position for event in rows], dtype=np.int64),
            "event_type": [event.event_type for event in rows],
            "validator_index": np.ma.array(
                np.array([event.validator_index or 0 for event in rows], dtype=np.int64),
                mask=absent,
            ),
            "detail": [event.detail for event in rows],
            "seen_at": _moments([answers.answered_at_ms] * len(rows)),
        },
    )


def _kind_of_change(before: str, after: str) -> str:
    slashed = {"active_slashed", "exited_slashed"}
    if after in slashed and before not in slashed:
        return "slashed"
    if after == "active_exiting":
        return "exit_initiated"
    return "status_changed"


def _late(
    spec: ChainSpec, genesis: Genesis, slot: int, answers: LiveAnswers, last: Head | None
) -> bool | None:
    """Whether the block came after half the slot; None if nobody looked at the right time."""
    half = spec.slot_start_ms(genesis.genesis_time, slot) + spec.slot_duration_ms // 2
    if answers.answered_at_ms <= half:
        return False
    # The last look did not see the block, which is new.
    return True if last is not None and last.asked_at_ms >= half else None


def _slot_row(
    slot: int, status: str, proposer: object, root: object, late: object
) -> dict[str, object]:
    return {
        "slot": slot,
        "status": status,
        "proposer_index": proposer,
        "block_root": root,
        "late": late,
    }


def _slots(
    spec: ChainSpec, rows: Sequence[Mapping[str, object]], answers: LiveAnswers, node: str
) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        name: [row[name] for row in rows]
        for name in ("slot", "status", "proposer_index", "block_root", "late")
    }
    slots = np.array(columns["slot"], dtype=np.int64)
    return conform(
        "live_slots",
        {
            "epoch": slots // spec.slots_per_epoch,
            "slot": slots,
            "status": columns["status"],
            "proposer_index": pd.array(columns["proposer_index"], dtype=pd.Int64Dtype()),
            "block_root": columns["block_root"],
            "late": pd.array(columns["late"], dtype=pd.BooleanDtype()),
            "seen_at": _moments([answers.answered_at_ms] * len(rows)),
            "node": [node] * len(rows),
        },
    )


def _moments(unix_ms: Sequence[int]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(
        [datetime.fromtimestamp(moment / 1000, tz=UTC) for moment in unix_ms], tz=UTC
    )
