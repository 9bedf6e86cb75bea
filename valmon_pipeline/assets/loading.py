"""Load epochs outside of a run of the graph: the same steps, through the same door.

A day of history is loaded so. Runs of the graph itself are cut into batches by Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from valmon_pipeline.assets.fact_batch import EpochReport, FactReader
from valmon_pipeline.assets.score_batch import handed_facts, score_batch
from valmon_pipeline.errors import ContractViolationError, EpochsFailedError
from valmon_pipeline.partitions import stretches_around


@dataclass(slots=True)
class LoadOutcome:
    """The epochs that were stored, in the order they were, and the reason for each that was not.

    ``corrections`` counts the values that differ from those that were stored before.
    """

    stored: list[int] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    corrections: int = 0


def load_epochs(
    reader: FactReader,
    epochs: Sequence[int],
    *,
    batch_epochs: int = 32,
    on_stored: Callable[[EpochReport], None] = lambda report: None,
) -> LoadOutcome:
    """Store facts and scores of ``epochs``, ``batch_epochs`` in a transaction.

    If epochs of a batch fail, the stretches around them are loaded by themselves. The standings
    that rest on them are due afterwards.

    Raises:
        BeaconApiError: no node is ready to be read from at all.
        StorageError: the database is away or refuses; what was stored before stays.
    """
    outcome = LoadOutcome()
    batches = [
        list(epochs[start : start + batch_epochs]) for start in range(0, len(epochs), batch_epochs)
    ]
    while batches:
        batch = batches.pop(0)
        try:
            reports = _load(reader, batch, outcome)
        except EpochsFailedError as error:
            reasons = error.reasons
        except ContractViolationError as error:
            named = error.epochs or (tuple(batch) if len(batch) == 1 else ())
            reasons = dict.fromkeys(named, str(error))
        else:
            for report in reports:
                outcome.stored.append(report.epoch)
                on_stored(report)
            continue
        outcome.failures |= reasons
        batches = [*stretches_around(batch, reasons), *batches]
    return outcome


def _load(reader: FactReader, epochs: Sequence[int], outcome: LoadOutcome) -> Sequence[EpochReport]:
    facts = reader.read(epochs)
    stored = reader.store.store(facts.step)
    facts.step.on_stored(stored)
    labels = reader.store.read("validator_labels")
    scores = score_batch(handed_facts(facts.step.parts), labels, reason=reader.reason)
    outcome.corrections += stored.corrections + reader.store.store(scores.step).corrections
    return facts.reports
