"""The step ``standings`` without Dagster: the standings that are due, from stored facts.

Storing standings takes their epochs off the list ``standings_due``, in the same transaction. What
a killed process leaves on the list, the next one makes. In memory are the window (see
``StandingsWindow``) and about ``ROWS_AT_ONCE`` rows of each table that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.assets.metadata import Metadata, standings_metadata
from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.frames.epoch_rows import rows_of_epoch
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.scoring.health import LifeCycle, judge_health
from valmon_pipeline.scoring.miss_causes import MissCause
from valmon_pipeline.scoring.standings import (
    NO_DUTY,
    EpochFacts,
    StandingRules,
    StandingsWindow,
    duty_results,
    epoch_score,
)
from valmon_pipeline.storage.standings_due import STANDINGS, DueStandings
from valmon_pipeline.storage.step_frames import StandingStep, StepStore, StoredStep

ROWS_AT_ONCE: Final = 500_000

_PENDING: Final = ("pending_initialized", "pending_queued")
_EXITED: Final = ("exited_unslashed", "exited_slashed", "withdrawal_possible", "withdrawal_done")
_SLASHED: Final = ("active_slashed", "exited_slashed")


@dataclass(frozen=True, slots=True)
class StandingBatch:
    """Standings that were computed: the step to store, and what there is to say of its epochs."""

    step: StandingStep
    described: Mapping[int, Metadata]


@dataclass(slots=True)
class StandingsOutcome:
    """The epochs whose standings were stored, and those whose frame was refused, with the reason.

    ``described`` has the metadata of the former, ``corrections`` counts the values of final rows
    that changed.
    """

    described: dict[int, Metadata] = field(default_factory=dict)
    corrections: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def made(self) -> set[int]:
        """The epochs whose standings were stored."""
        return set(self.described)


def make_due_standings(
    store: StepStore,
    rules: StandingRules,
    *,
    but: Collection[int] = (),
    rows_at_once: int = ROWS_AT_ONCE,
    on_stored: Callable[[StoredStep], None] = lambda stored: None,
) -> StandingsOutcome:
    """Make and store the standings of all epochs that are due, ascending, until none is left;
    except those of ``but``.

    An epoch whose frame breaks its contract stays on the list, and the others are made.

    Raises:
        StorageError: the database is away or refuses; what was made stays.
    """
    outcome = StandingsOutcome()
    while True:
        skipped = {*outcome.failures, *but}
        listed = store.due_standings(rules.window_epochs)
        due = [one for one in listed if one.epoch not in skipped]
        if not due:
            return outcome
        for batch in standing_batches(store, rules, due, rows_at_once=rows_at_once):
            try:
                stored = store.store(batch.step)
            except ContractViolationError as error:
                outcome.failures |= dict.fromkeys(error.epochs or batch.step.epochs, str(error))
                continue
            # The others were made by somebody else, or are listed again: the next round has them.
            outcome.described |= {epoch: batch.described[epoch] for epoch in stored.epochs}
            outcome.corrections += stored.corrections
            on_stored(stored)


def standing_batches(
    store: StepStore,
    rules: StandingRules,
    due: Sequence[DueStandings],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    on_stored: Callable[[StoredStep], None] = lambda stored: None,
) -> Iterator[StandingBatch]:
    """The standings of ``due`` epochs (ascending), in batches of about ``rows_at_once`` rows.

    One sweep over neighbours reads each epoch of their windows once.
    """
    epochs = [one.epoch for one in due]
    frames = standings_frames(store, rules, epochs, rows_at_once=rows_at_once)
    batch: dict[int, pd.DataFrame] = {}
    by_epoch = {one.epoch: one for one in due}
    rows = 0
    for epoch, frame in zip(epochs, frames, strict=True):
        batch[epoch] = frame
        rows += len(frame)
        if rows >= rows_at_once or epoch == epochs[-1]:
            yield StandingBatch(
                StandingStep(
                    tuple(batch),
                    {STANDINGS: pd.concat(batch.values(), ignore_index=True)},
                    on_stored=on_stored,
                    due={one: by_epoch[one] for one in batch},
                ),
                {one: standings_metadata(made) for one, made in batch.items()},
            )
            batch, rows = {}, 0


def standings_frames(
    store: StepStore,
    rules: StandingRules,
    epochs: Sequence[int],
    facts: Callable[[Sequence[int]], Iterator[EpochFacts]] | None = None,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[pd.DataFrame]:
    """Frame ``validator_standings`` of each of ``epochs``, which ascend and are stored.

    ``facts`` gives the facts of epochs, ascending; by default they are read as they are stored.
    """
    reader = StoredFacts(store, rows_at_once)
    in_windows = _in_windows(store, rules, epochs)
    ahead = (facts or reader.facts)(in_windows)
    window = StandingsWindow(rules)
    for epoch, leak, snapshot in reader.snapshots(epochs):
        while window.newest < epoch:
            window.add(next(ahead))
        yield standings_frame(rules, window, snapshot, leak=leak)


def standings_frame(
    rules: StandingRules, window: StandingsWindow, snapshot: pd.DataFrame, *, leak: bool
) -> pd.DataFrame:
    """Frame ``validator_standings`` of the newest epoch of ``window``.

    ``snapshot`` has ``validator_index`` (ascending) and ``status`` of every watched validator at
    the end of the epoch; ``leak`` says whether its rewards fell into an inactivity leak.
    """
    validators = snapshot["validator_index"].to_numpy(np.int64)
    standings = window.standings(validators)
    status = snapshot["status"]
    life = LifeCycle(
        *(status.isin(names).to_numpy(np.bool_) for names in (_PENDING, _EXITED, _SLASHED))
    )
    health, reasons = judge_health(
        rules.health,
        life,
        score=standings.time_weighted_score,
        judged_epochs=standings.judged_epochs,
        missed_streak=standings.missed_streak,
        had_duty=standings.had_duty,
        leak=leak,
        duties_known=standings.duties_known,
    )
    return conform(
        "validator_standings",
        {
            "epoch": np.full(len(validators), window.newest),
            "validator_index": validators,
            "time_weighted_score": standings.time_weighted_score,
            "missed_streak": standings.missed_streak,
            "health": health,
            "health_reasons": pd.Series(reasons, dtype="str"),
            "window_epochs": np.full(len(validators), standings.window_epochs),
            "window_complete": np.full(len(validators), standings.window_complete),
            "formula_version": np.full(len(validators), FORMULA_VERSION),
        },
    )


def epoch_facts(
    epoch: int, scores: pd.DataFrame, outcomes: pd.DataFrame, *, duties_known: bool = True
) -> EpochFacts:
    """What standings need of an epoch, from its ``effectiveness_scores`` and
    ``attestation_outcomes``, as stored. ``duties_known``: its committees are known."""
    validators = scores["validator_index"].to_numpy(np.int64)
    duty = np.full(len(validators), NO_DUTY, dtype=np.int8)
    rows = np.searchsorted(validators, outcomes["validator_index"].to_numpy(np.int64))
    cause = outcomes["miss_cause"]
    # Without a cause it is not known whether a vote that is not included was excused.
    excused = (cause == MissCause.EXIT_BOUNDARY.value) | cause.isna()
    duty[rows] = duty_results(
        outcomes["included"].to_numpy(np.bool_),
        outcomes["earliest_inclusion_slot"].notna().to_numpy(np.bool_),
        excused.to_numpy(np.bool_),
    )
    slashed = np.zeros(len(validators), dtype=np.bool_)
    slashed[rows] = (cause == MissCause.SLASHED.value).to_numpy(np.bool_)
    score = epoch_score(
        duty,
        slashed,
        scores["attainable_effectiveness"].to_numpy(np.float64),
        scores["attestation_effectiveness"].to_numpy(np.float64),
    )
    return EpochFacts(epoch, validators, score, duty, duties_known)


SCORE_COLUMNS: Final = (
    *("epoch", "validator_index"),
    *("attainable_effectiveness", "attestation_effectiveness"),
)
OUTCOME_COLUMNS: Final = (
    *("epoch", "validator_index"),
    *("included", "earliest_inclusion_slot", "miss_cause"),
)


STANDINGS_TAKE: Final[Mapping[str, tuple[str, ...]]] = {
    "effectiveness_scores": SCORE_COLUMNS,
    "attestation_outcomes": OUTCOME_COLUMNS,
    "validator_snapshots": ("epoch", "slot", "validator_index", "status"),
    "network_epochs": ("epoch", "leak"),
}
"""The tables that standings are made from, and the columns of them that are read."""


class StoredFacts:
    """Reads what standings are made from, some epochs at a time, as it is asked for."""

    def __init__(self, store: StepStore, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._store = store
        self._rows_at_once = rows_at_once

    def facts(self, epochs: Sequence[int]) -> Iterator[EpochFacts]:
        """The facts of stored epochs, in their order (ascending)."""
        for piece in self._pieces(epochs):
            read = self._store.read
            scores = read("effectiveness_scores", epochs=piece, columns=SCORE_COLUMNS)
            outcomes = read("attestation_outcomes", epochs=piece, columns=OUTCOME_COLUMNS)
            unknown = self._store.unknown_committees(list(piece))
            for epoch in piece:
                of_outcomes = rows_of_epoch(outcomes, epoch)
                known = epoch not in unknown or len(of_outcomes) > 0
                yield epoch_facts(
                    epoch, rows_of_epoch(scores, epoch), of_outcomes, duties_known=known
                )

    def snapshots(self, epochs: Sequence[int]) -> Iterator[tuple[int, bool, pd.DataFrame]]:
        """Each epoch with whether it was in a leak, and the watched validators' status at its
        end."""
        network = self._store.network()
        assert network is not None
        for piece in self._pieces(epochs):
            network_epochs = self._store.read(
                "network_epochs", epochs=piece, columns=STANDINGS_TAKE["network_epochs"]
            )
            # Whether there was one may be unknown (NULL).
            leaks = set(network_epochs.loc[network_epochs["leak"].eq(True), "epoch"])
            snapshots = self._store.read(
                "validator_snapshots",
                epochs=piece,
                slots=[(epoch + 1) * network.slots_per_epoch for epoch in piece],
                columns=STANDINGS_TAKE["validator_snapshots"],
            )
            # The end of one epoch is the beginning of the next, which has its own rows of it.
            at_end = snapshots["slot"] == (snapshots["epoch"] + 1) * network.slots_per_epoch
            snapshots = snapshots[at_end]
            for epoch in piece:
                yield epoch, epoch in leaks, rows_of_epoch(snapshots, epoch)

    def _pieces(self, epochs: Sequence[int]) -> Iterator[Sequence[int]]:
        """The epochs in pieces whose tables have about ``rows_at_once`` rows."""
        if not epochs:
            return
        # Not by the rows of an epoch: one that lacks its facts has few, its neighbours may not.
        watched = self._store.read("validators", columns=["validator_index"])
        length = max(1, self._rows_at_once // max(1, len(watched)))
        for first in range(0, len(epochs), length):
            yield epochs[first : first + length]


def _in_windows(store: StepStore, rules: StandingRules, epochs: Sequence[int]) -> Sequence[int]:
    """The stored epochs that are in the window of one of ``epochs``, ascending."""
    if not epochs:
        return []
    ends = np.asarray(epochs, dtype=np.int64)
    stored = np.array(
        store.scored_epochs(rules.first_epoch(epochs[0]), epochs[-1]),
        dtype=np.int64,
    )
    gone = np.setdiff1d(ends, stored)
    if len(gone):
        raise StorageError(f"epoch {gone[0]} was dropped while its standings were being made")
    # The first window that has not ended before an epoch: if that begins later, none contains it.
    following = ends[np.searchsorted(ends, stored)]
    found: list[int] = stored[following - stored < rules.window_epochs].tolist()
    return found
