"""Gauges per validator, for those who ask for them: a series per validator is what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import Metric

from valmon_pipeline.observability.families import gauges
from valmon_pipeline.storage.queries.newest_epoch import ValidatorFigures

_LABELS = ["validator_index", "pubkey"]


def validator_metrics(network: str, validators: Sequence[ValidatorFigures]) -> Iterator[Metric]:
    """How each validator stands after the newest stored epoch."""
    names = {one: (str(one.validator_index), f"0x{one.pubkey.hex()}") for one in validators}
    yield gauges(
        "valmon_validator_balance_gwei",
        "Balance at the start of the newest stored epoch.",
        network,
        _LABELS,
        {names[one]: one.balance for one in validators},
    )
    yield gauges(
        "valmon_validator_missed_streak",
        "Attestations missed in a row.",
        network,
        _LABELS,
        {names[one]: one.missed_streak for one in validators},
    )
    yield gauges(
        "valmon_validator_time_weighted_score",
        "Mean of the recent epoch scores, newer ones counted more.",
        network,
        _LABELS,
        {names[one]: one.time_weighted_score for one in validators},
    )
