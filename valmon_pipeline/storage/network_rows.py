"""An epoch of the whole network as rows, and back: outcomes in one table, tiles in another.

See ``frames.network_outcomes``, ``frames.network_states`` and ``storage.tile_table``. Nothing here
loops over validators; reading loops over tiles, to take their arrays out of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.chain.network_epoch import (
    HEAD_TIMELY,
    SOURCE_TIMELY,
    TARGET_TIMELY,
    NetworkEpoch,
)
from valmon_pipeline.chain.network_outcomes import distinct_outcomes
from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.storage.binary_copy import (
    HEADER,
    TRAILER,
    Field,
    array_field,
    copied_rows,
)
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.table_reader import ARRAY_HEADER_BYTES, Selection, read_table
from valmon_pipeline.storage.tile_table import ARRAYS, KEPT_AS_CHANGES, TILE_KEY, TILES

TILE_VALIDATORS: Final = 512
"""Validators in a tile of one epoch. Measured (``bench.network_layouts``): fewer cost more bytes,
more make the history of one validator slower, since a tile is read as a whole."""

GWEI_PER_ETHER: Final = 10**9
_TILES_AT_ONCE: Final = 128
_NOTHING: Final = -1

_FLAGS: Final = {
    "source_timely": SOURCE_TIMELY,
    "target_timely": TARGET_TIMELY,
    "head_timely": HEAD_TIMELY,
}
_AS_THEY_ARE: Final = (
    "active",
    "eligible",
    "slashed",
    "effective_balance",
    "inactivity_score",
    "source_reward",
    "target_reward",
    "head_reward",
    "inactivity_penalty",
    "ideal_reward",
)
_SHARES: Final = ("reward_effectiveness", "percentile_rank")
"""32-bit floats in memory, double precision in PostgreSQL: no value changes on the way."""

Columns = Mapping[str, npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class NetworkRows:
    """An epoch ready to be stored: frames by table, and the arrays of ``network_tiles`` (n)."""

    epoch: int
    frames: dict[str, pd.DataFrame]
    columns: Columns


def network_rows(network: NetworkEpoch) -> NetworkRows:
    """Lay out an epoch of the whole network.

    Raises:
        ContractViolationError: a value that the columns cannot hold; none is ever cut off.
    """
    outcomes = distinct_outcomes(network)
    one_of_each = outcomes.example
    columns, committees = _own_columns(network)
    state = conform(
        "network_states",
        {
            "epoch": np.array([network.epoch]),
            "state_slot": network.state_slot,
            "validators": len(network),
            "committees_per_slot": committees,
            "tile_epoch": network.epoch,
            "tile_epochs": 1,
            "tile_validators": TILE_VALIDATORS,
        },
    )
    flags = network.flags[one_of_each]
    _refuse(flags > sum(_FLAGS.values()), "flags", flags)
    different = conform(
        "network_outcomes",
        {
            "epoch": np.full(len(one_of_each), network.epoch),
            "outcome": np.arange(len(one_of_each)),
            "validators": outcomes.validators,
            "status": network.status[one_of_each].astype(np.int64),
            **{name: (flags & bit) != 0 for name, bit in _FLAGS.items()},
            **{name: getattr(network, name)[one_of_each] for name in _AS_THEY_ARE},
            **{name: getattr(network, name)[one_of_each].astype(np.float64) for name in _SHARES},
        },
    )
    return NetworkRows(
        network.epoch,
        {"network_states": state, "network_outcomes": different},
        {"outcome": outcomes.number, **columns},
    )


def replace_tiles(connection: sa.Connection, target: sql.Identifier, rows: NetworkRows) -> int:
    """Make ``rows`` the tiles of their epoch, ``TILE_VALIDATORS`` each, in the table ``target``;
    how many.

    Tiles that the epoch is packed in with others stay: ``network_states`` no longer points there.
    """
    driver_connection(connection).execute(
        sql.SQL("DELETE FROM {} WHERE epoch = %s AND epochs = 1").format(target), [rows.epoch]
    )
    total = _tiles(rows)
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, (*TILE_KEY, *rows.columns)))
    )
    with driver_connection(connection).cursor() as cursor, cursor.copy(query) as copy:
        copy.write(HEADER)
        for start in range(0, total, _TILES_AT_ONCE):
            tiles = range(start, min(start + _TILES_AT_ONCE, total))
            for piece in copied_rows(tile_fields(rows, tiles)):
                copy.write(piece)
        copy.write(TRAILER)
    return total


def read_network_epoch(connection: sa.Connection, schema: str, epoch: int) -> NetworkEpoch | None:
    """The epoch as it was stored; None if the whole network is not stored of it. The transaction
    must ``hold_still``, or have the epoch's locks.

    An epoch that is packed with those of its day is read by taking apart the tiles of the day.

    Raises:
        StorageError: the database is away, or tiles are missing.
    """
    selected = Selection({"epoch": [epoch]})
    states = contract_of("network_states")
    state = read_table(connection, schema, states, states.columns, selected)
    if state.empty:
        return None
    place = {name: int(state[name].iloc[0]) for name in states.columns}
    contract = contract_of("network_outcomes")
    outcomes = read_table(connection, schema, contract, contract.columns, selected)
    own = _read_tiles(connection, schema, place)
    if (own["outcome"] < 0).any() or (own["outcome"] >= len(outcomes)).any():
        raise StorageError(
            f"the tiles of epoch {epoch} do not fit its outcomes: was the schema changed by hand?"
        )
    return _network_epoch(place, outcomes, own)


def hold_still(connection: sa.Connection, schema: str) -> None:
    """See states, outcomes and tiles as they are now until the transaction ends, whoever stores an
    epoch anew; packing waits. Must come first in the transaction."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    driver_connection(connection).execute(
        sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(sql.Identifier(schema, TILES))
    )


def decoded_arrays(values: Sequence[bytes], size: int) -> npt.NDArray[np.integer[Any]]:
    """SQL arrays of equal length in binary as the rows of a matrix; ``size`` bytes per element."""
    if not values:
        return np.empty((0, 0), dtype=f"i{size}")
    length = (len(values[0]) - ARRAY_HEADER_BYTES) // (4 + size)
    element = np.dtype([("size", ">i4"), ("value", f">i{size}")])
    array = np.dtype([("header", ">i4", (5,)), ("elements", element, (length,))])
    if {len(value) for value in values} != {array.itemsize}:
        raise StorageError("tiles differ in length: was the schema changed by hand?")
    matrix = np.frombuffer(b"".join(values), dtype=array)["elements"]["value"]
    return matrix.astype(f"i{size}")


def _own_columns(network: NetworkEpoch) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """The arrays of tiles but the outcome, and the number of committees per slot."""
    ether, gwei = np.divmod(network.balance, GWEI_PER_ETHER)
    _refuse((ether < 0) | (ether > np.iinfo(np.int32).max), "balance", network.balance)
    slot, index = (
        values.astype(np.int64) for values in (network.duty_slot_in_epoch, network.committee_index)
    )
    position = network.committee_position
    committees = int(index.max(initial=_NOTHING)) + 1
    committee = np.where(slot >= 0, slot * committees + index, _NOTHING)
    largest = np.iinfo(np.int16).max
    _refuse(committee > largest, "committee_index", network.committee_index)
    _refuse((position > largest) | (position < _NOTHING), "committee_position", position)
    for name, values in (("committee_index", index), ("committee_position", position)):
        _refuse((slot >= 0) != (values >= 0), name, values)
    return {
        "balance_ether": ether.astype(np.int32),
        "balance_gwei": gwei.astype(np.int32),
        "committee": committee.astype(np.int16),
        "committee_position": position.astype(np.int16),
    }, committees


def _refuse(wrong: npt.NDArray[np.bool_], name: str, values: npt.NDArray[Any]) -> None:
    if wrong.any():
        example = int(np.flatnonzero(wrong)[0])
        raise ContractViolationError(
            f"network_tiles cannot hold {name} {int(values[example])} ({int(wrong.sum())} such)",
            table=TILES,
        )


def tile_fields(rows: NetworkRows, tiles: range | None = None) -> list[Field]:
    """Some tiles of an epoch, or all, ready for COPY in the order of the table's columns."""
    if tiles is None:
        tiles = range(_tiles(rows))
    first = np.arange(tiles.start, tiles.stop, dtype=np.int32) * TILE_VALIDATORS
    start, stop = tiles.start * TILE_VALIDATORS, tiles.stop * TILE_VALIDATORS
    return [
        Field(np.full(len(first), rows.epoch, dtype=np.int32)),
        Field(np.ones(len(first), dtype=np.int32)),
        Field(first),
        *(
            array_field(_filled_up(values[start:stop], len(first)))
            for values in rows.columns.values()
        ),
    ]


def _tiles(rows: NetworkRows) -> int:
    return -(-len(rows.columns["outcome"]) // TILE_VALIDATORS)


def _filled_up(values: npt.NDArray[Any], tiles: int) -> npt.NDArray[Any]:
    """One row per tile; what the last one lacks is nothing."""
    lacking = tiles * TILE_VALIDATORS - len(values)
    padded = np.pad(values, (0, lacking), constant_values=_NOTHING) if lacking else values
    return padded.reshape(tiles, TILE_VALIDATORS)


def _read_tiles(
    connection: sa.Connection, schema: str, place: Mapping[str, int]
) -> dict[str, npt.NDArray[np.integer[Any]]]:
    """The arrays of one epoch's tiles by validator (n)."""
    epochs = place["tile_epochs"]
    query = sql.SQL(
        "SELECT {} FROM (SELECT first_validator, {} FROM {} "
        "WHERE epoch = %(tile_epoch)s AND epochs = %(tile_epochs)s OFFSET 0) t "
        "ORDER BY first_validator"
    ).format(
        sql.SQL(", ").join(
            _of_one_epoch(name, is_packed=epochs > 1).format(sql.Identifier(name))
            for name in ARRAYS
        ),
        # In memory, an array is not taken out of its row again for every element.
        sql.SQL(", ").join(
            sql.SQL("{0}" if epochs == 1 else "array_cat({0}, '{{}}') AS {0}").format(
                sql.Identifier(name)
            )
            for name in ARRAYS
        ),
        sql.Identifier(schema, TILES),
    )
    with driver_connection(connection).cursor(binary=True) as cursor:
        cursor.execute(query, place)
        result = cursor.pgresult
        assert result is not None
        found = {
            name: decoded_arrays(
                [result.get_value(row, field) or b"" for row in range(result.ntuples)], size
            ).reshape(-1)
            for field, (name, (size, _)) in enumerate(ARRAYS.items())
        }
    # Tiles of several epochs also hold validators that joined in a later one of them.
    if len(found["outcome"]) < place["validators"]:
        raise StorageError(
            f"tiles of epoch {place['epoch']} are missing: was the schema changed by hand?"
        )
    return {name: values[: place["validators"]] for name, values in found.items()}


def _of_one_epoch(name: str, *, is_packed: bool) -> sql.SQL:
    """How an epoch's elements are got out of an array of a tile, as an array."""
    if not is_packed:
        return sql.SQL("{0}")
    if name in KEPT_AS_CHANGES:
        return sql.SQL(
            "ARRAY(SELECT (SELECT sum(x) FROM unnest({0}[n * %(tile_epochs)s + 1:"
            "n * %(tile_epochs)s + %(epoch)s - %(tile_epoch)s + 1]) AS x)::integer "
            "FROM generate_series(0, %(tile_validators)s - 1) AS n)"
        )
    return sql.SQL(
        "ARRAY(SELECT {0}[n * %(tile_epochs)s + %(epoch)s - %(tile_epoch)s + 1] "
        "FROM generate_series(0, %(tile_validators)s - 1) AS n)"
    )


def _network_epoch(
    place: Mapping[str, int],
    outcomes: pd.DataFrame,
    own: Mapping[str, npt.NDArray[np.integer[Any]]],
) -> NetworkEpoch:
    number = own["outcome"]

    def shared(values: npt.NDArray[Any]) -> Any:
        return values[number]

    flags = sum(
        (outcomes[name].to_numpy() * np.uint8(bit) for name, bit in _FLAGS.items()),
        start=np.zeros(len(outcomes), dtype=np.uint8),
    )
    committee = own["committee"]
    slot, index = np.divmod(committee, np.int16(max(1, place["committees_per_slot"])))
    on_duty = committee >= 0
    return NetworkEpoch(
        epoch=place["epoch"],
        state_slot=place["state_slot"],
        status=shared(outcomes["status"].cat.codes.to_numpy(dtype=np.uint8)),
        flags=shared(flags),
        balance=own["balance_ether"].astype(np.int64) * GWEI_PER_ETHER + own["balance_gwei"],
        duty_slot_in_epoch=np.where(on_duty, slot, np.int16(_NOTHING)),
        committee_index=np.where(on_duty, index, np.int16(_NOTHING)),
        committee_position=own["committee_position"].astype(np.int32),
        **{name: shared(outcomes[name].to_numpy()) for name in _AS_THEY_ARE},
        **{name: shared(outcomes[name].to_numpy(dtype=np.float32)) for name in _SHARES},
    )
