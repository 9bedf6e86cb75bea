"""What a report holds: a row per group and one of everybody, and a series of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.frames.distributions import quantile_names
from valmon_pipeline.scoring.groups import EVERYBODY
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries.buckets import Granularity, Span, bucket_spans
from valmon_pipeline.storage.queries.ledgers import (
    ledger_by_epoch,
    ledger_of_validators,
    ledger_over_epochs,
)
from valmon_pipeline.storage.queries.series import (
    group_series,
    network_of,
    network_series,
    validator_series,
)
from valmon_pipeline.storage.queries.sums import add_up, with_ratios
from valmon_pipeline.storage.warehouse import Warehouse

_LONG: Final = 48
"""Series of more epochs than this are drawn by the hour or day."""


@dataclass(frozen=True, slots=True)
class Report:
    """A range of epochs, summed up. Amounts are exact gwei.

    ``groups``: per ``group`` the ``epochs`` summed up, ``validators`` (the most in an epoch), the
    sums and ratios of ``storage.queries``, ``earned`` (as far as known, NULL where no reward is),
    and the ledger (``opening_balance``, ``ledger_*``, ``unknown``, ``moved``, ``gaps``,
    ``closing_balance``); the last row, ``all``, is everybody.
    ``series``: the same sums and ratios per bucket and group. ``network``: see ``network_series``.
    ``distribution``: by epoch the quantiles of everybody's reward effectiveness (p05 … p95), NULL
    where they are unknown. ``incomplete`` are the stored epochs that lack facts: sums are over what
    is known of them.
    """

    network_name: str
    category: str
    span: Span
    groups: pd.DataFrame
    series: pd.DataFrame
    network: pd.DataFrame
    distribution: pd.DataFrame
    incomplete: tuple[int, ...] = ()


def span_of(network: NetworkIdentity, first: str, last: str) -> Span:
    """The epochs from ``first`` to ``last``, both included: each an epoch or a UTC day.

    Raises:
        ConfigurationError: one is neither, or the range is empty.
    """
    span = Span(_epochs(network, first)[0], _epochs(network, last)[1])
    if span.last < span.first:
        raise ConfigurationError(f"the range from {first} to {last} holds no epoch")
    return span


def group_report(warehouse: Warehouse, span: Span, category: str) -> Report:
    """The report of every value of a label's category.

    Raises:
        StorageError: nothing is stored, or the database is away or refuses.
    """
    by_epoch = group_series(warehouse, span, Granularity.EPOCH, category)
    everybody = group_series(warehouse, span, Granularity.EPOCH)
    ledger = ledger_by_epoch(warehouse, span)
    if category != EVERYBODY[0]:
        everybody = pd.concat([by_epoch, everybody], ignore_index=True)
        ledger = pd.concat([ledger_by_epoch(warehouse, span, category), ledger])
    by = _granularity(span)
    series = group_series(warehouse, span, by, category)
    return _report(warehouse, span, category, everybody, ledger, series, by)


def validator_report(warehouse: Warehouse, span: Span, validators: Sequence[int]) -> Report:
    """The report of some validators: each a group, and all of them together.

    Raises:
        StorageError: nothing is stored, or the database is away or refuses.
    """

    def named(series: pd.DataFrame) -> pd.DataFrame:
        return series.assign(value=series["validator_index"].astype("str"), validators=1)

    by_epoch = named(validator_series(warehouse, validators, span, Granularity.EPOCH))
    together = by_epoch.assign(value=EVERYBODY[1])
    ledgers = [
        ledger_of_validators(warehouse, [index], span).assign(value=str(index))
        for index in validators
    ]
    together_ledger = ledger_of_validators(warehouse, validators, span)
    by = _granularity(span)
    return _report(
        warehouse,
        span,
        "validator",
        pd.concat([by_epoch, together], ignore_index=True),
        pd.concat([*ledgers, together_ledger.assign(value=EVERYBODY[1])]),
        named(validator_series(warehouse, validators, span, by)),
        by,
    )


def _report(
    warehouse: Warehouse,
    span: Span,
    category: str,
    by_epoch: pd.DataFrame,
    ledger: pd.DataFrame,
    series: pd.DataFrame,
    by: Granularity,
) -> Report:
    names = sorted(set(by_epoch["value"]) - {EVERYBODY[1]})
    names += [EVERYBODY[1]] if len(by_epoch) else []
    codes = pd.Index(names).get_indexer(pd.Index(by_epoch["value"])).astype(np.int64)
    sums = pd.DataFrame(add_up(by_epoch, codes, len(names)))
    members = by_epoch.groupby(["value", "first_epoch"])["validators"].sum()
    groups = with_ratios(sums)
    groups.insert(0, "group", pd.Series(names, dtype="str"))
    groups.insert(1, "epochs", by_epoch.groupby("value")["first_epoch"].nunique()[names].to_numpy())
    groups.insert(2, "validators", members.groupby("value").max()[names].to_numpy())
    known = groups["rewards_known"] + groups["sync_due_rewarded"] + groups["proposals_rewarded"]
    earned = groups["reward"] + groups["sync_reward"] + groups["proposal_reward"]
    groups["earned"] = earned.where(known > 0)
    over = ledger_over_epochs(ledger).set_index("value").reindex(names)
    for name in ("opening_balance", "unknown", "moved", "gaps", "closing_balance"):
        groups[name] = over[name].astype("Int64").array
    network = network_series(warehouse, span, by)
    quantiles = [*quantile_names("reward_effectiveness")]
    distribution = warehouse.read(
        "network_epochs", epochs=span.epochs, columns=["epoch", "missing_facts", *quantiles]
    ).set_index("epoch")
    incomplete = distribution.index[distribution.pop("missing_facts") > 0].tolist()
    return Report(
        warehouse.schema,
        category,
        span,
        groups,
        series,
        network,
        distribution,
        tuple(incomplete),
    )


def _granularity(span: Span) -> Granularity:
    if len(span.epochs) <= _LONG:
        return Granularity.EPOCH
    return Granularity.HOUR if len(span.epochs) <= 10 * _LONG else Granularity.DAY


def _epochs(network: NetworkIdentity, text: str) -> tuple[int, int]:
    if text.isdecimal():
        return int(text), int(text)
    try:
        day = np.array([date.fromisoformat(text)], dtype="datetime64[ms]")
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is neither an epoch nor a day: write 1234 or 2026-11-25"
        ) from None
    first, end = bucket_spans(network, day, Granularity.DAY)
    return int(first[0]), int(end[0]) - 1


def report_span(warehouse: Warehouse, first: str, last: str) -> Span:
    """``span_of`` for the stored network. StorageError before the first run."""
    return span_of(network_of(warehouse), first, last)
