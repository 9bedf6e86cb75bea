"""Valid frames of every table, filled at random from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from valmon_pipeline.frames import TABLES, conform
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.fact_sources import FACTS
from valmon_pipeline.frames.network_validator_days import SUMMED_FLAGS
from valmon_pipeline.ledger.residuals import ResidualClass
from valmon_pipeline.scoring.facts import LEDGER_SUMS

Columns = dict[str, Any]


def sample_frame(table: str, epoch: int = 7, rows: int = 20, seed: int = 1) -> pd.DataFrame:
    """``rows`` random rows of ``table`` for ``epoch`` that keep its contract, in key order; fewer
    where there are not as many keys."""
    random = np.random.default_rng([seed, epoch, len(table)])
    contract = TABLES[table]
    if contract.key in (("epoch",), ("only_row",)):
        rows = 1
    if "fact" in contract.key:
        rows = min(rows, len(FACTS))
    columns: Columns = {
        name: _random(random, column, rows) for name, column in contract.schema.columns.items()
    }
    for name in ("slot", "validator_index", "effective_balance_band"):
        if name in contract.key:
            columns[name] = np.arange(rows)
    columns |= {"epoch": np.full(rows, epoch)} if "epoch" in columns else {}
    numbers = ("position", "correction_id", "alert_id", "delivery_id", "silence_id", "outcome")
    for name in numbers:
        if name in contract.key:
            columns[name] = np.arange(rows)
    if "metric" in columns:
        columns["metric"] = [f"metric_{row:04d}" for row in range(rows)]
    if "node" in contract.key:
        columns["node"] = [f"node {row:04d}" for row in range(rows)]
    if "check_name" in columns:
        columns["check_name"] = [f"check {row:04d}" for row in range(rows)]
    if table == "network_epochs":
        columns["formula_version"] = np.ones(rows, dtype=np.int64)  # it is stored with its scores
    if table in _RELATED:
        _RELATED[table](columns, rows)
    return conform(table, columns)


def _random(random: np.random.Generator, column: pa.Column, rows: int) -> Any:
    assert column.dtype is not None
    dtype = column.dtype.type
    metadata = column.metadata or {}
    absent = random.random(rows) < 0.3
    if "categories" in metadata:
        codes = random.integers(0, len(metadata["categories"]), rows)
        return np.ma.array(codes, mask=absent) if column.nullable else codes
    if "length" in metadata:
        # Zero bytes at the end are part of the value.
        matrix = random.integers(0, 3, (rows, metadata["length"])).astype(np.uint8)
        values = np.empty(rows, dtype=object)
        values[:] = [row.tobytes() for row in matrix]
        return np.ma.array(values, mask=absent) if column.nullable else values
    if isinstance(dtype, pd.StringDtype):
        texts = ["" if row % 3 == 0 else "ß" * row + "|\\N\n" for row in range(rows)]
        return pd.Series(texts, dtype="str").mask(absent) if column.nullable else texts
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = random.integers(-(10**15), 2 * 10**15, rows)
        instants = pd.Series(pd.to_datetime(moments, unit="us", utc=True))
        return instants.mask(absent) if column.nullable else instants
    if dtype == np.dtype("datetime64[ns]"):
        return np.datetime64("1999-12-25", "ns") + np.arange(rows) // 3 * np.timedelta64(1, "D")
    plain = np.dtype(dtype.type if isinstance(dtype, pd.api.extensions.ExtensionDtype) else dtype)
    values = _numbers(random, plain, rows)
    if plain.kind == "f":
        values[absent & column.nullable] = np.nan
        return values
    return np.ma.array(values, mask=absent) if column.nullable else values


def _numbers(random: np.random.Generator, dtype: np.dtype[Any], rows: int) -> npt.NDArray[Any]:
    if dtype.kind == "b":
        return random.integers(0, 2, rows).astype(np.bool_)
    if dtype.kind == "f":
        return random.random(rows)
    return random.integers(0, 2**31 if dtype.itemsize == 4 else 2**59, rows, dtype=np.int64)


def _blocks(columns: Columns, rows: int) -> None:
    status = np.asarray(columns["status"])
    for name in ("block_root", "parent_root"):
        values = np.empty(rows, dtype=object)
        values[:] = [None if code == 1 else bytes(31) + b"r" for code in status]
        columns[name] = values


def _labels(columns: Columns, rows: int) -> None:
    columns["category"] = ["operator"] * rows
    columns["from_epoch"] = np.arange(rows)
    columns["until_epoch"] = np.ma.array(np.arange(rows) + 3, mask=np.arange(rows) % 2 == 0)


def _network_days(columns: Columns, rows: int) -> None:
    columns["day"] = np.full(rows, np.datetime64("2026-01-31", "ns"))
    columns["epochs"] = np.arange(rows) + 3
    for name in SUMMED_FLAGS:
        columns[name] = np.arange(rows) + 2


def _states(columns: Columns, rows: int) -> None:
    columns["tile_epoch"] = columns["epoch"]


def _duties(columns: Columns, rows: int) -> None:
    columns["committee_length"] = np.arange(rows) + 5
    columns["committee_position"] = np.arange(rows) % 5


def _outcomes(columns: Columns, rows: int) -> None:
    included = np.arange(rows) % 4 != 0
    delay = np.arange(rows) % 3 + 1
    columns["slot"] = np.arange(rows) + 56
    columns["included"] = included
    columns["inclusion_slot"] = np.ma.array(columns["slot"] + delay, mask=~included)
    columns["inclusion_delay"] = np.ma.array(delay, mask=~included)
    columns["earliest_inclusion_slot"] = columns["slot"] + 1
    for name in ("target_correct", "head_correct", "source_timely", "target_timely"):
        columns[name] = included & columns[name]
    columns["head_timely"] = included & (delay == 1)
    earned = columns["source_timely"] & columns["target_timely"] & columns["head_timely"]
    columns["miss_cause"] = np.ma.array(np.arange(rows) % 9, mask=earned)


def _sync_duties(columns: Columns, rows: int) -> None:
    columns["participated"] = np.arange(rows) % 7
    columns["missed"] = np.arange(rows) % 2
    columns["due"] = columns["participated"] + columns["missed"]


def _attestation_rewards(columns: Columns, rows: int) -> None:
    parts = [np.ma.getdata(columns[f"{name}_reward"]) // 8 for name in ("source", "target", "head")]
    for name, part in zip(("source", "target", "head"), parts, strict=True):
        columns[f"{name}_reward"] = np.ma.array(
            np.where(np.arange(rows) % 5 == 0, -part, part),
            mask=np.ma.getmaskarray(columns[f"{name}_reward"]),
        )
    earned = sum(columns[f"{name}_reward"] for name in ("source", "target", "head"))
    columns["total_reward"] = earned - columns["inactivity_penalty"]
    unknown = np.arange(rows) % 6 == 0
    for name, part in zip(("source", "target", "head"), parts, strict=True):
        columns[f"ideal_{name}"] = np.ma.array(part, mask=unknown)
        columns[f"missed_{name}"] = columns[f"ideal_{name}"] - columns[f"{name}_reward"]
        columns[f"attainable_{name}"] = np.ma.array(part - 1, mask=unknown)
    columns["ideal_total"] = np.ma.array(sum(parts), mask=unknown)
    columns["attainable_total"] = columns["ideal_total"] - 3


def _snapshots(columns: Columns, rows: int) -> None:
    columns["effective_balance"].mask = np.ma.getmaskarray(columns["balance"])


def _proposer_duties(columns: Columns, rows: int) -> None:
    missed = np.asarray(columns["outcome"]) == 1
    columns["validator_index"] = np.ma.array(np.arange(rows), mask=missed)


def _fact_sources(columns: Columns, rows: int) -> None:
    columns["fact"] = np.arange(rows)
    known = np.arange(rows) % 3 != 0
    columns["source"] = pd.Series(["rewards/attestations"] * rows, dtype="str").where(known)
    columns["reason"] = pd.Series(["pruned: 404"] * rows, dtype="str").mask(known)
    columns["deviating"] = columns["compared"] // 2


def _balance_ledger(columns: Columns, rows: int) -> None:
    known = [found.value for found in ResidualClass if not found.is_unknown]
    unknown = [found.value for found in ResidualClass if found.is_unknown]
    for name in COMPONENTS:
        columns[name] = np.ma.getdata(columns[name]) % 10**9 - 7
    columns["full_withdrawals"] = -(np.ma.getdata(columns["full_withdrawals"]) % 10**9)
    columns["withdrawals"] = 2 * columns["full_withdrawals"]
    residual = np.arange(rows) % 3 - 1
    columns["opening_balance"] = columns["opening_balance"] % 10**9 + 10**10
    columns["closing_balance"] = columns["opening_balance"] + residual
    for name in COMPONENTS:
        columns["closing_balance"] = columns["closing_balance"] + columns[name]
    lacks_sync = np.arange(rows) % 5 == 0
    columns["sync"] = np.ma.array(columns["sync"], mask=lacks_sync)
    columns["residual"] = np.ma.array(residual, mask=lacks_sync)
    columns["residual_class"] = [
        unknown[row % len(unknown)]
        if lacks_sync[row]
        else known[row % len(known)]
        if residual[row]
        else None
        for row in range(rows)
    ]


def _penalties(columns: Columns, rows: int) -> None:
    columns["penalty_type"] = np.arange(rows) % 5
    columns["penalty_gwei"] = columns["penalty_gwei"] + 1


def _block_rewards(columns: Columns, rows: int) -> None:
    names = ("attestations", "sync_aggregate", "proposer_slashings", "attester_slashings")
    columns["outcome"] = np.arange(rows) % 3
    unknown = np.arange(rows) % 6 == 0
    for name in names:
        columns[name] = np.ma.array(np.ma.getdata(columns[name]) // 8, mask=unknown)
    columns["total"] = sum(columns[name] for name in names)


def _standings(columns: Columns, rows: int) -> None:
    columns["missed_streak"] = np.arange(rows) % 9
    columns["window_epochs"] = np.arange(rows) + 9
    healthy = np.asarray(columns["health"]) == 0
    texts = pd.Series([f"missed_streak:{row}" for row in range(rows)], dtype="str")
    columns["health_reasons"] = texts.mask(healthy)


def _only_row(columns: Columns, rows: int) -> None:
    columns["only_row"] = np.ones(rows, dtype=np.bool_)


def _live_slots(columns: Columns, rows: int) -> None:
    missed = np.asarray(columns["status"]) == 1
    columns["block_root"] = [None if skipped else bytes(31) + b"r" for skipped in missed]


def _sums(columns: Columns, rows: int) -> None:
    columns["duties"] = np.arange(rows) + 3
    columns["missed"] = np.arange(rows) % 3
    columns["included"] = columns["duties"] - columns["missed"]
    for name in ("source_timely", "target_timely", "head_timely"):
        columns[name] = np.arange(rows) + 1
    columns["target_correct"] = columns["head_correct"] = columns["included"]
    columns["attestation_effectiveness_duties"] = np.arange(rows) + 2
    columns["reward_effectiveness_count"] = np.arange(rows)
    for name in [name for name in columns if name.startswith("misses_")]:
        columns[name] = np.zeros(rows, dtype=np.int64)
    columns["sync_due"] = np.arange(rows) * 7
    columns["sync_participated"] = np.arange(rows) * 5
    columns["proposals_due"] = np.arange(rows) % 4
    columns["proposals_proposed"] = np.arange(rows) % 2 * columns["proposals_due"]
    columns["sync_due_rewarded"] = columns["sync_due"] // 2
    columns["proposals_rewarded"] = columns["proposals_proposed"]


def _summed_days(columns: Columns, rows: int) -> None:
    columns["day"] = np.datetime64("2026-01-01", "ns") + np.arange(rows) * np.timedelta64(1, "D")


def _groups(columns: Columns, rows: int) -> None:
    _sums(columns, rows)
    for name in [name for name in columns if name.startswith("ledger_")]:
        columns[name] = np.arange(rows) - 5
    components = [name for name in LEDGER_SUMS if name != "full_withdrawals"]
    columns["opening_balance"] = columns["opening_balance"] % 10**12 + 1000
    columns["closing_balance"] = columns["opening_balance"] + sum(
        columns[f"ledger_{name}"] for name in components
    )
    columns["ledger_residual_rows"] = np.arange(rows)
    columns["ledger_unknown_rows"] = np.zeros(rows, dtype=np.int64)
    columns["category"] = ["operator"] * rows
    columns["value"] = [f"{row:03d}" * (row > 0) for row in range(rows)]


def _bands(columns: Columns, rows: int) -> None:
    columns["validators"] = np.arange(rows) + 1


def _alerts(columns: Columns, rows: int) -> None:
    for distance, name in enumerate(("since_epoch", "epoch", "last_epoch")):
        columns[name] = 7 * np.arange(rows) + distance
    columns["subject"] = [f"validator:{row}" for row in range(rows)]


def _deliveries(columns: Columns, rows: int) -> None:
    columns["delivery_key"] = [f"alert:{row}:0:oncall" for row in range(rows)]


def _silences(columns: Columns, rows: int) -> None:
    columns["starts_at"], columns["ends_at"] = (
        pd.Series(pd.Timestamp("2026-11-26T12:00", tz="UTC") + pd.to_timedelta(hours, unit="h"))
        for hours in (np.arange(rows), np.arange(rows) + 2)
    )


_RELATED: Mapping[str, Callable[[Columns, int], None]] = {
    "alerts": _alerts,
    "alert_deliveries": _deliveries,
    "alert_silences": _silences,
    "network_identity": _only_row,
    "chain_head": _only_row,
    "live_slots": _live_slots,
    "validator_day_summaries": _sums,
    "summed_days": _summed_days,
    "epoch_summaries": _groups,
    "validator_standings": _standings,
    "network_bands": _bands,
    "network_states": _states,
    "network_validator_days": _network_days,
    "blocks": _blocks,
    "validator_labels": _labels,
    "validator_snapshots": _snapshots,
    "proposer_duties": _proposer_duties,
    "fact_sources": _fact_sources,
    "attestation_duties": _duties,
    "attestation_outcomes": _outcomes,
    "sync_duties": _sync_duties,
    "attestation_rewards": _attestation_rewards,
    "block_rewards": _block_rewards,
    "balance_ledger": _balance_ledger,
    "validator_penalties": _penalties,
}
