"""The step ``scores`` without Dagster: the frames of a batch of epochs, from their facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from valmon_pipeline.assets.fact_batch import joined
from valmon_pipeline.assets.metadata import Metadata, describe_epoch
from valmon_pipeline.epoch.checks import CheckResult, check_results_frame
from valmon_pipeline.epoch.fact_frames import FactFrames
from valmon_pipeline.epoch.score_frames import (
    SCORES,
    ScoredNetwork,
    ScoreFrames,
    StoredScores,
    compute_score_frames,
)
from valmon_pipeline.errors import EpochsFailedError
from valmon_pipeline.frames.epoch_rows import rows_of_epoch
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.storage.step_frames import ScoreStep, StepStore, StoredStep

LABELS: Final = "validator_labels"
FACTS_TAKEN: Final = tuple(
    sorted({*SCORES.given, "network_epochs"} - {LABELS}),
)
"""The fact tables that the step takes: what scores are made from, and when that was stored."""


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """Scores that were computed: the step to store, and what there is to say of its epochs."""

    step: ScoreStep
    described: Mapping[int, Mapping[str, Metadata]]
    checks: Sequence[CheckResult]


class ScoredFacts(NamedTuple):
    """The facts of one epoch, by table, and what else its scores are made from."""

    epoch: int
    tables: Mapping[str, pd.DataFrame]
    network: ScoredNetwork


def rescore_reason() -> str:
    """The reason that is entered in ``corrections`` with scores that move."""
    return f"rescored with formula version {FORMULA_VERSION}"


def handed_facts(parts: Mapping[int, FactFrames]) -> list[ScoredFacts]:
    """The facts that the step before in the same run has made."""
    return [ScoredFacts(epoch, part.tables, part.scored) for epoch, part in sorted(parts.items())]


def stored_facts(
    store: StepStore, epochs: Sequence[int], tables: Mapping[str, pd.DataFrame]
) -> list[ScoredFacts]:
    """The facts of ``epochs`` (ascending) cut out of loaded frames of all of them, by table.

    Raises:
        EpochsFailedError: facts of some epochs are not stored.
        StorageError: the database is away.
    """
    network = store.network()
    stored = set(tables["network_epochs"]["epoch"].tolist())
    if absent := [epoch for epoch in epochs if epoch not in stored]:
        raise EpochsFailedError(
            f"the facts of {len(absent)} of {len(epochs)} epochs are not stored",
            dict.fromkeys(absent, "its facts are not stored: materialize the group facts first"),
        )
    assert network is not None
    scores = store.read("effectiveness_scores", epochs=list(epochs))
    bands = store.read("network_bands", epochs=list(epochs))
    found = []
    for epoch in epochs:
        facts = {table: rows_of_epoch(frame, epoch) for table, frame in tables.items()}
        # Without the snapshots that were taken live, between the boundaries.
        borders = np.array([epoch, epoch + 1]) * network.slots_per_epoch
        snapshots = facts["validator_snapshots"]
        facts["validator_snapshots"] = snapshots[snapshots["slot"].isin(borders)]
        kept = StoredScores(rows_of_epoch(scores, epoch), rows_of_epoch(bands, epoch))
        found.append(ScoredFacts(epoch, facts, ScoredNetwork.of_stored(facts, kept)))
    return found


def score_batch(
    facts: Iterable[ScoredFacts],
    labels: pd.DataFrame,
    *,
    reason: str,
    wanted: Collection[str] | None = None,
    on_stored: Callable[[StoredStep], None] = lambda stored: None,
) -> ScoreBatch:
    """Compute the ``wanted`` score tables (all by default) of epochs by this version's formulas.

    ``labels`` is the frame ``validator_labels``.
    """
    at = datetime.now(UTC)
    parts: list[ScoreFrames] = []
    made_from: dict[int, datetime] = {}
    described: dict[int, Mapping[str, Metadata]] = {}
    for one in facts:
        made = compute_score_frames(one.epoch, one.tables, labels, one.network, wanted)
        described[one.epoch] = describe_epoch({**one.tables, **made.tables}, made.tables)
        if made.checks:
            results = {"check_results": check_results_frame(made.checks, at)}
            made = replace(made, tables={**made.tables, **results})
        parts.append(made)
        made_from[one.epoch] = one.tables["network_epochs"]["materialized_at"].iloc[0]
    step = ScoreStep(
        tuple(made_from),
        joined(parts),
        reason,
        on_stored=on_stored,
        made_from=made_from,
        all_scores=set(SCORES) <= set(wanted or SCORES),
    )
    return ScoreBatch(step, described, [check for part in parts for check in part.checks])
