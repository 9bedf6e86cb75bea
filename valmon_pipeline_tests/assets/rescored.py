"""Scores of stored epochs made again, as the step ``scores`` does without the facts in one run."""

from __future__ import annotations

from collections.abc import Sequence

from valmon_pipeline.assets.score_batch import (
    FACTS_TAKEN,
    rescore_reason,
    score_batch,
    stored_facts,
)
from valmon_pipeline.storage.step_frames import StoredStep
from valmon_pipeline.storage.warehouse import Warehouse


def rescore(warehouse: Warehouse, epochs: Sequence[int]) -> StoredStep:
    """Store the scores of stored epochs again; their standings are due afterwards."""
    tables = {table: warehouse.read(table, epochs=epochs) for table in FACTS_TAKEN}
    facts = stored_facts(warehouse, epochs, tables)
    labels = warehouse.read("validator_labels")
    return warehouse.store(score_batch(facts, labels, reason=rescore_reason()).step)
