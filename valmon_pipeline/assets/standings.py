"""Making the standings that are due, from stored facts.

Every due epoch is made by itself, in a transaction of its own that also takes it off the list
``standings_due``. What a killed process leaves on the list, the next one makes. In memory are the
window (see ``StandingsWindow``) and about ``ROWS_AT_ONCE`` rows of each table that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames.conform import conform
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
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.queries.incomplete_epochs import missing_facts
from valmon_pipeline.storage.standings_due import DueStandings, due_standings, spread_marks
from valmon_pipeline.storage.warehouse import Warehouse

ROWS_AT_ONCE: Final = 500_000

_PENDING: Final = ("pending_initialized", "pending_queued")
_EXITED: Final = ("exited_unslashed", "exited_slashed", "withdrawal_possible", "withdrawal_done")
_SLASHED: Final = ("active_slashed", "exited_slashed")


@dataclass(frozen=True, slots=True)
class MadeStandings:
    """The standings of an epoch as they were stored; ``corrections`` counts final values that
    changed."""

    epoch: int
    frame: pd.DataFrame
    corrections: int


@dataclass(slots=True)
class StandingsOutcome:
    """The epochs whose standings were made, and those whose frame was refused, with the reason.

    ``corrections`` counts the values of final rows that changed.
    """

    made: set[int] = field(default_factory=set)
    corrections: int = 0
    failures: dict[int, str] = field(default_factory=dict)


def make_due_standings(
    warehouse: Warehouse,
    rules: StandingRules,
    on_made: Callable[[MadeStandings], None] = lambda made: None,
    *,
    first: Collection[int] = (),
    rows_at_once: int = ROWS_AT_ONCE,
) -> StandingsOutcome:
    """Make the standings of all epochs that are due, ascending, until none is left.

    Those of ``first`` come before all others: what happens now need not wait for a long list. An
    epoch whose frame breaks its contract stays on the list, and the others are made.

    Raises:
        StorageError: the database is away or refuses; what was made stays.
    """
    outcome = StandingsOutcome()
    while True:
        spread_marks(warehouse.database, rules.window_epochs)
        listed = due_standings(warehouse.database)
        due = [one for one in listed if one.epoch not in outcome.failures]
        if not due:
            return outcome
        # One sweep over neighbours reads each epoch of their windows once.
        urgent = [one for one in due if one.epoch in first]
        for one, frame in _swept(warehouse, rules, urgent or due, rows_at_once):
            try:
                corrections = warehouse.replace_standings(one, frame)
            except ContractViolationError as error:
                outcome.failures[one.epoch] = str(error)
                continue
            # None: somebody else has made them, or they are listed anew and come in the next round.
            if corrections is not None:
                outcome.made.add(one.epoch)
                outcome.corrections += corrections
                on_made(MadeStandings(one.epoch, frame, corrections))


def _swept(
    warehouse: Warehouse, rules: StandingRules, due: Sequence[DueStandings], rows_at_once: int
) -> Iterator[tuple[DueStandings, pd.DataFrame]]:
    epochs = [one.epoch for one in due]
    return zip(
        due, standings_frames(warehouse, rules, epochs, rows_at_once=rows_at_once), strict=True
    )


def standings_frames(
    warehouse: Warehouse,
    rules: StandingRules,
    epochs: Sequence[int],
    facts: Callable[[Sequence[int]], Iterator[EpochFacts]] | None = None,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[pd.DataFrame]:
    """Frame ``validator_standings`` of each of ``epochs``, which ascend and are stored.

    ``facts`` gives the facts of epochs, ascending; by default they are read as they are stored.
    """
    reader = StoredFacts(warehouse, rows_at_once)
    in_windows = _in_windows(warehouse, rules, epochs)
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


class StoredFacts:
    """Reads what standings are made from, some epochs at a time, as it is asked for."""

    def __init__(self, warehouse: Warehouse, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._warehouse = warehouse
        self._rows_at_once = rows_at_once

    def facts(self, epochs: Sequence[int]) -> Iterator[EpochFacts]:
        """The facts of stored epochs, in their order (ascending)."""
        for piece in self._pieces(epochs):
            read = self._warehouse.read
            scores = _by_epoch(
                read("effectiveness_scores", epochs=piece, columns=SCORE_COLUMNS), piece
            )
            outcomes = _by_epoch(
                read("attestation_outcomes", epochs=piece, columns=OUTCOME_COLUMNS), piece
            )
            missing = missing_facts(self._warehouse.database, piece)
            for epoch, of_scores, of_outcomes in zip(piece, scores, outcomes, strict=True):
                known = "committees" not in missing.get(epoch, ()) or len(of_outcomes) > 0
                yield epoch_facts(epoch, of_scores, of_outcomes, duties_known=known)

    def snapshots(self, epochs: Sequence[int]) -> Iterator[tuple[int, bool, pd.DataFrame]]:
        """Each epoch with whether it was in a leak, and the watched validators' status at its
        end."""
        network = self._warehouse.network()
        assert network is not None
        for piece in self._pieces(epochs):
            network_epochs = self._warehouse.read(
                "network_epochs", epochs=piece, columns=["epoch", "leak"]
            )
            # Whether there was one may be unknown (NULL).
            leaks = set(network_epochs.loc[network_epochs["leak"].eq(True), "epoch"])
            snapshots = self._warehouse.read(
                "validator_snapshots",
                epochs=piece,
                slots=[(epoch + 1) * network.slots_per_epoch for epoch in piece],
                columns=["epoch", "slot", "validator_index", "status"],
            )
            # The end of one epoch is the beginning of the next, which has its own rows of it.
            at_end = snapshots["slot"] == (snapshots["epoch"] + 1) * network.slots_per_epoch
            snapshots = snapshots[at_end]
            for epoch, snapshot in zip(piece, _by_epoch(snapshots, piece), strict=True):
                yield epoch, epoch in leaks, snapshot

    def _pieces(self, epochs: Sequence[int]) -> Iterator[Sequence[int]]:
        """The epochs in pieces whose tables have about ``rows_at_once`` rows."""
        if not epochs:
            return
        # Not by the rows of an epoch: one that lacks its facts has few, its neighbours may not.
        watched = self._warehouse.read("validators", columns=["validator_index"])
        length = max(1, self._rows_at_once // max(1, len(watched)))
        for first in range(0, len(epochs), length):
            yield epochs[first : first + length]


def _in_windows(warehouse: Warehouse, rules: StandingRules, epochs: Sequence[int]) -> Sequence[int]:
    """The stored epochs that are in the window of one of ``epochs``, ascending."""
    if not epochs:
        return []
    ends = np.asarray(epochs, dtype=np.int64)
    stored = np.array(
        stored_epochs(warehouse.database, first=rules.first_epoch(epochs[0]), last=epochs[-1]),
        dtype=np.int64,
    )
    gone = np.setdiff1d(ends, stored)
    if len(gone):
        raise StorageError(f"epoch {gone[0]} was dropped while its standings were being made")
    # The first window that has not ended before an epoch: if that begins later, none contains it.
    following = ends[np.searchsorted(ends, stored)]
    found: list[int] = stored[following - stored < rules.window_epochs].tolist()
    return found


def _by_epoch(frame: pd.DataFrame, epochs: Sequence[int]) -> Iterator[pd.DataFrame]:
    """The rows of each of ``epochs``, cut out of a frame in the order of epochs."""
    bounds = frame["epoch"].to_numpy(np.int64)
    wanted: Int64Array = np.asarray(epochs, dtype=np.int64)
    starts = np.searchsorted(bounds, wanted, side="left").tolist()
    ends = np.searchsorted(bounds, wanted, side="right").tolist()
    for start, end in zip(starts, ends, strict=True):
        yield frame.iloc[start:end].reset_index(drop=True)
