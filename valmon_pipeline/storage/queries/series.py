"""Time series by validator, by group and of the network, in buckets of epochs, hours, days, months.

Every row begins with ``start`` (UTC), ``first_epoch`` and ``last_epoch`` of the bucket, ``epochs``
(how many of them are summed up) and ``complete`` (whether that is all of them), goes on with exact
sums (``frames.sums``) and ends with the ratios made from these (``queries.sums.RATIOS``).

Where the rows come from, and what remains when retention has dropped epochs:

- of groups always from ``epoch_summaries``, which is kept;
- of the network from ``network_bands``, which is kept, and ``network_epochs``, which is not;
- of validators from the facts. For days and months, a day whose summary holds more epochs than are
  stored comes from ``validator_day_summaries``, if the span contains it whole. Where both hold the
  same epochs they are equal. Epochs and hours of validators end with retention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames.sums import SUM_NAMES
from valmon_pipeline.scoring.facts import FACT_COLUMNS, TELL_WHO, add_facts
from valmon_pipeline.scoring.groups import EVERYBODY
from valmon_pipeline.scoring.rollup import SumsByValidator
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries.buckets import (
    Granularity,
    Int64Array,
    Moments,
    Span,
    bucket_columns,
    bucket_spans,
    bucket_sql,
    bucket_starts,
)
from valmon_pipeline.storage.queries.sums import REAL, UNBOUNDED, add_up, ratio, with_ratios
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

ROWS_AT_ONCE: Final = 500_000
"""About how many rows of a table are in memory at once."""


def validator_series(
    warehouse: Warehouse, validators: Sequence[int], span: Span, by: Granularity
) -> pd.DataFrame:
    """A row per bucket and validator, in this order, wherever the validator was watched.

    Columns after those of the bucket: ``validator_index``, the sums, the ratios.

    Raises:
        StorageError: nothing was ever stored, or the database is away or refuses.
    """
    network = network_of(warehouse)
    wanted = np.unique(np.asarray(validators, dtype=np.int64))
    epochs = _stored_epochs(warehouse, span)
    days, summed_up = _days_without_their_epochs(warehouse, network, span, epochs, by)
    epochs = epochs[~np.isin(bucket_starts(network, epochs, Granularity.DAY), days)]
    # An epoch is summed up of everybody: what is there of a bucket is the same for all its rows.
    buckets, rows_of = np.unique(
        np.concatenate([bucket_starts(network, epochs, by), _bucket_of_days(days, by)]),
        return_inverse=True,
    )
    counts = np.zeros(len(buckets), dtype=np.int64)
    np.add.at(counts, rows_of, np.concatenate([np.ones(len(epochs), dtype=np.int64), summed_up]))
    parts = [
        _from_facts(warehouse, network, wanted, epochs, by),
        _from_days(warehouse, wanted, days, by),
    ]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    keys = (
        rows[["bucket", "validator_index"]]
        .drop_duplicates()
        .sort_values(["bucket", "validator_index"], ignore_index=True)
    )
    groups = pd.MultiIndex.from_frame(keys).get_indexer(
        pd.MultiIndex.from_frame(rows[["bucket", "validator_index"]])
    )
    starts = keys["bucket"].to_numpy("datetime64[ms]")
    return with_ratios(
        pd.DataFrame(
            {
                **bucket_columns(network, starts, counts[np.searchsorted(buckets, starts)], by),
                "validator_index": keys["validator_index"].to_numpy(np.int64),
                **add_up(rows, groups.astype(np.int64), len(keys)),
            }
        )
    )


def group_series(
    warehouse: Warehouse,
    span: Span,
    by: Granularity,
    category: str = EVERYBODY[0],
    value: str | None = None,
) -> pd.DataFrame:
    """A row per bucket and value of a label's ``category`` (or of one ``value``), in this order.

    ``all`` is the category of everybody watched; the empty value is that of those without a label.
    Columns after those of the bucket: ``value``, ``validators`` (the most there were in an epoch),
    the sums, the ratios.

    Raises:
        StorageError: nothing was ever stored, or the database is away or refuses.
    """
    network = network_of(warehouse)
    query = sql.SQL(
        "SELECT {bucket} AS bucket, value, count(*), max(validators), {sums} FROM {table} "
        "WHERE category = %(category)s {condition} AND epoch BETWEEN %(first)s AND %(last)s "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    ).format(
        bucket=bucket_sql(network, by),
        sums=sql.SQL(", ").join(_summed(name) for name in SUM_NAMES),
        table=sql.Identifier(warehouse.schema, "epoch_summaries"),
        condition=sql.SQL("" if value is None else "AND value = %(value)s"),
    )
    parameters = {"category": category, "value": value, "first": span.first, "last": span.last}
    with warehouse.database.transaction("read a series of groups") as connection:
        rows = driver_connection(connection).execute(query, parameters).fetchall()
    names = ["bucket", "value", "epochs", "validators", *SUM_NAMES]
    read = pd.DataFrame(rows, columns=names, dtype=object)
    starts = read["bucket"].to_numpy("datetime64[ms]")
    epochs = read["epochs"].to_numpy(np.int64)
    return with_ratios(
        pd.DataFrame(
            {
                **bucket_columns(network, starts, epochs, by),
                "value": read["value"].astype("str"),
                "validators": read["validators"].to_numpy(np.int64),
                **{name: _typed(name, read[name]) for name in SUM_NAMES},
            }
        )
    )


def network_series(warehouse: Warehouse, span: Span, by: Granularity) -> pd.DataFrame:
    """A row per bucket: the whole network, as far as it was read.

    Columns after those of the bucket: ``blocks_proposed``, ``blocks_missed``, ``leak_epochs``
    (known to be in a leak), ``source_participation``, ``target_participation``,
    ``head_participation`` (Σ participating / Σ active balance of the epochs in which both are
    known); ``validators`` (the most in an epoch), ``reward`` and ``ideal_reward`` (gwei;
    NULL when unknown in any epoch), ``reward_effectiveness`` and ``attestation_effectiveness``
    (Σ/Σ). NULL where the registry was not read, or the epochs were dropped.

    Raises:
        StorageError: nothing was ever stored, or the database is away or refuses.
    """
    network = network_of(warehouse)
    query = sql.SQL(_NETWORK_SERIES).format(
        bucket=bucket_sql(network, by),
        network_epochs=sql.Identifier(warehouse.schema, "network_epochs"),
        network_bands=sql.Identifier(warehouse.schema, "network_bands"),
    )
    parameters = {"first": span.first, "last": span.last}
    with warehouse.database.transaction("read a series of the network") as connection:
        rows = driver_connection(connection).execute(query, parameters).fetchall()
    read = pd.DataFrame(rows, columns=["bucket", "epochs", *_NETWORK_COLUMNS], dtype=object)
    starts = read["bucket"].to_numpy("datetime64[ms]")
    series = pd.DataFrame(
        {
            **bucket_columns(network, starts, read["epochs"].to_numpy(np.int64), by),
            **read[list(_NETWORK_COLUMNS)].astype(_NETWORK_COLUMNS),
        }
    )
    judged = [series.pop(name) for name in ("effectiveness_sum", "effectiveness_duties")]
    return series.assign(
        reward_effectiveness=ratio(series["reward"], series["ideal_reward"]),
        attestation_effectiveness=ratio(*judged),
    )


_NETWORK_COLUMNS: Final = {
    "blocks_proposed": "Int64",
    "blocks_missed": "Int64",
    "leak_epochs": "Int64",
    "source_participation": "float64",
    "target_participation": "float64",
    "head_participation": "float64",
    "validators": "Int64",
    "reward": "Int64",
    "ideal_reward": "Int64",
    "effectiveness_sum": "float64",
    "effectiveness_duties": "Int64",
}

# Balances of everybody over many epochs outgrow bigint: they are divided as numeric.
_NETWORK_SERIES: Final = """
WITH bands AS (
    SELECT epoch, sum(validators)::bigint AS validators,
           CASE WHEN count(reward) = count(*) THEN sum(reward)::bigint END AS reward,
           sum(ideal_reward)::bigint AS ideal_reward,
           sum(attestation_effectiveness_sum ORDER BY effective_balance_band) AS effectiveness_sum,
           sum(attestation_effectiveness_duties) AS effectiveness_duties
      FROM {network_bands} WHERE epoch BETWEEN %(first)s AND %(last)s GROUP BY epoch
)
SELECT {bucket} AS bucket, count(*),
       sum(blocks_proposed), sum(blocks_missed), sum(leak::integer),
       sum(source_participating_balance) / nullif(sum(total_active_balance)
           FILTER (WHERE source_participating_balance IS NOT NULL), 0),
       sum(target_participating_balance) / nullif(sum(total_active_balance)
           FILTER (WHERE target_participating_balance IS NOT NULL), 0),
       sum(head_participating_balance) / nullif(sum(total_active_balance)
           FILTER (WHERE head_participating_balance IS NOT NULL), 0),
       max(bands.validators),
       CASE WHEN count(reward) = count(*) THEN sum(reward)::bigint END,
       CASE WHEN count(ideal_reward) = count(*) THEN sum(ideal_reward)::bigint END,
       sum(effectiveness_sum ORDER BY epoch),
       sum(effectiveness_duties)
  FROM (SELECT * FROM {network_epochs} WHERE epoch BETWEEN %(first)s AND %(last)s) AS epochs
  FULL JOIN bands USING (epoch)
 GROUP BY 1 ORDER BY 1
"""


def network_of(warehouse: Warehouse) -> NetworkIdentity:
    """The stored network, which knows the time of each slot. StorageError before the first run."""
    network = warehouse.network()
    if network is None:
        raise StorageError("nothing is stored yet: `valmon backfill FIRST..LAST` loads epochs")
    return network


def _summed(name: str) -> sql.Composable:
    column = sql.Identifier(name)
    if name in REAL:
        return sql.SQL("sum({} ORDER BY epoch)").format(column)
    return sql.SQL("CASE WHEN count({0}) = count(*) THEN sum({0}) END").format(column)


def _typed(name: str, values: pd.Series) -> Any:
    if name in REAL:
        return values.astype("float64")
    if name in UNBOUNDED:
        return values.map(int).astype(object)
    return values.astype("Int64")


def _stored_epochs(warehouse: Warehouse, span: Span) -> Int64Array:
    epoch = table_of(warehouse.schema, "network_epochs").c.epoch
    with warehouse.database.transaction("read which epochs are stored") as connection:
        found = connection.execute(
            sa.select(epoch).where(epoch.between(span.first, span.last)).order_by(epoch)
        ).scalars()
        return np.array(list(found), dtype=np.int64)


def _days_without_their_epochs(
    warehouse: Warehouse,
    network: NetworkIdentity,
    span: Span,
    stored: Int64Array,
    by: Granularity,
) -> tuple[Moments, Int64Array]:
    """The days (n) of the span that are there as summaries only, or more fully than as epochs, and
    how many epochs each summary holds."""
    if by not in (Granularity.DAY, Granularity.MONTH):
        return np.zeros(0, dtype="datetime64[ms]"), np.zeros(0, dtype=np.int64)
    summaries = table_of(warehouse.schema, "validator_day_summaries").c
    ends = np.array([span.first, span.last], dtype=np.int64)
    first_day, last_day = bucket_starts(network, ends, Granularity.DAY).astype("datetime64[D]")
    days = np.arange(first_day, last_day + 1).astype("datetime64[ms]")
    first, end = bucket_spans(network, days, Granularity.DAY)
    whole = (first >= span.first) & (end - 1 <= span.last) & (end > first)
    counts = np.searchsorted(stored, end) - np.searchsorted(stored, first)
    dropped: dict[np.datetime64, int] = {}
    with warehouse.database.transaction("read which days are summed up") as connection:
        for day, count in zip(days[whole], counts[whole].tolist(), strict=True):
            # Every row of a day says how many epochs it sums up: one is enough.
            summed_up = connection.execute(
                sa.select(summaries.epochs)
                .where(summaries.day == day.astype("datetime64[D]").item())
                .limit(1)
            ).scalar_one_or_none()
            if summed_up is not None and summed_up > count:
                dropped[day] = summed_up
    return (
        np.array(list(dropped), dtype="datetime64[ms]"),
        np.array(list(dropped.values()), dtype=np.int64),
    )


def _bucket_of_days(days: Moments, by: Granularity) -> Moments:
    if by is Granularity.MONTH:
        return days.astype("datetime64[M]").astype("datetime64[ms]")
    return days


def _from_facts(
    warehouse: Warehouse,
    network: NetworkIdentity,
    wanted: Int64Array,
    epochs: Int64Array,
    by: Granularity,
) -> pd.DataFrame:
    """Sums per bucket and validator: ``bucket``, ``validator_index``, the sums."""
    starts = bucket_starts(network, epochs, by)
    buckets, bucket_of_epoch = np.unique(starts, return_inverse=True)
    sums = SumsByValidator()
    for piece in _pieces(epochs, len(wanted)):
        codes = bucket_of_epoch[np.searchsorted(epochs, piece)]
        facts = {table: _coded(table, warehouse, piece, codes, wanted) for table in FACT_COLUMNS}
        for table in TELL_WHO:
            sums.include(facts[table]["validator_index"].to_numpy(np.int64))
        add_facts(sums, facts)
    bucket, validator = np.divmod(sums.validators, max(1, len(wanted)))
    return pd.DataFrame(
        {
            "bucket": buckets[bucket] if len(buckets) else np.zeros(0, dtype="datetime64[ms]"),
            "validator_index": wanted[validator] if len(wanted) else validator,
            **{name: _nullable(sums.total(name)) for name in SUM_NAMES},
        }
    )


def _coded(
    table: str, warehouse: Warehouse, epochs: Int64Array, codes: Int64Array, wanted: Int64Array
) -> pd.DataFrame:
    """Rows of a table whose validator column names bucket and validator in one number, ascending
    with both: so that the sums of validators are those of buckets and validators."""
    columns = list(dict.fromkeys(["epoch", *FACT_COLUMNS[table]]))
    rows = warehouse.read(
        table, epochs=epochs.tolist(), columns=columns, validator_indices=wanted.tolist()
    )
    column = "proposer_index" if "proposer_index" in columns else "validator_index"
    bucket = codes[np.searchsorted(epochs, rows["epoch"].to_numpy(np.int64))]
    position = np.searchsorted(wanted, rows[column].to_numpy(np.int64))
    return rows.assign(**{column: bucket * len(wanted) + position})


def _pieces(epochs: Int64Array, validators: int) -> Iterator[Int64Array]:
    length = max(1, ROWS_AT_ONCE // max(1, validators))
    for first in range(0, len(epochs), length):
        yield epochs[first : first + length]


def _nullable(values: Any) -> Any:
    if isinstance(values, np.ma.MaskedArray):
        return pd.arrays.IntegerArray(values.filled(0), np.ma.getmaskarray(values).copy())
    return values


def _from_days(
    warehouse: Warehouse, wanted: Int64Array, days: Moments, by: Granularity
) -> pd.DataFrame:
    """The stored sums of days in the form of ``_from_facts``."""
    summaries = table_of(warehouse.schema, "validator_day_summaries")
    dates = [day.astype("datetime64[D]").item() for day in days]
    names = ["day", "validator_index", *SUM_NAMES]
    with warehouse.database.transaction("read sums of days") as connection:
        rows = connection.execute(
            sa.select(*(summaries.c[name] for name in names))
            .where(summaries.c.day.in_(dates), summaries.c.validator_index.in_(wanted.tolist()))
            .order_by(summaries.c.day, summaries.c.validator_index)
        ).all()
    read = pd.DataFrame(rows, columns=names, dtype=object)
    day = read["day"].to_numpy("datetime64[D]").astype("datetime64[ms]")
    return pd.DataFrame(
        {
            "bucket": _bucket_of_days(day, by),
            "validator_index": read["validator_index"].to_numpy(np.int64),
            **{
                name: read[name].astype("float64" if name in REAL else "Int64")
                for name in SUM_NAMES
            },
        }
    )
