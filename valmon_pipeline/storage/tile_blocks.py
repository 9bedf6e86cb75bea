"""Blocks of tiles as matrices: some validators in some epochs, however the epochs are packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.network_rows import decoded_arrays
from valmon_pipeline.storage.tile_table import ARRAYS, KEPT_AS_CHANGES, TILES

BLOCK_VALIDATORS: Final = 8192
"""Validators at a time: a day of mainnet's epochs is 30 MB of matrices then, and twice that on the
wire. A multiple of what tiles hold, so that no tile is in two blocks."""

Matrices = dict[str, npt.NDArray[np.integer[Any]]]


def blocks_of(validators: int) -> Iterator[range]:
    """The blocks that ``validators`` validators are in; the last one is whole as well."""
    for first in range(0, validators, BLOCK_VALIDATORS):
        yield range(first, first + BLOCK_VALIDATORS)


def read_block(
    connection: sa.Connection,
    schema: str,
    states: pd.DataFrame,
    block: range,
    columns: Sequence[str],
) -> Matrices:
    """``columns`` of the epochs of ``states`` (rows of ``network_states``): a matrix each (epochs,
    validators); where ``outcome`` is -1 there is nothing, whatever the others say.

    Raises:
        StorageError: the database is away, or tiles are missing.
    """
    found = {
        name: np.full((len(states), len(block)), -1, dtype=f"i{ARRAYS[name][0]}")
        for name in columns
    }
    single = states["tile_epochs"] == 1
    _read_single(connection, schema, states[single], np.flatnonzero(single), block, found)
    packed = states[~single]
    for epoch in np.unique(packed["tile_epoch"]).tolist():
        chosen = packed[packed["tile_epoch"] == epoch]
        tiles = (epoch, int(chosen["tile_epochs"].iloc[0]))
        rows = np.searchsorted(states["epoch"], chosen["epoch"])
        places = chosen["epoch"].to_numpy() - epoch
        _read_packed(connection, schema, tiles, rows, places, block, found)
    present = np.clip(states["validators"].to_numpy() - block.start, 0, len(block))
    if "outcome" in found and ((found["outcome"] >= 0).sum(axis=1) != present).any():
        raise StorageError(
            f"tiles of epochs {states['epoch'].min()} to {states['epoch'].max()} are missing: was "
            "the schema changed by hand?"
        )
    return found


def _read_single(
    connection: sa.Connection,
    schema: str,
    states: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    block: range,
    found: Matrices,
) -> None:
    """Epochs that have tiles of their own go to ``rows`` of the matrices ``found``."""
    if states.empty:
        return
    epochs, firsts, arrays = _select(
        connection, schema, states["epoch"].tolist(), 1, block, list(found)
    )
    row_of = dict(zip(states["epoch"].tolist(), rows.tolist(), strict=True))
    for name, matrix in arrays.items():
        width = matrix.shape[1]
        for epoch, first, values in zip(epochs, firsts, matrix, strict=True):
            start = first - block.start
            found[name][row_of[epoch], start : start + width] = values


def _read_packed(
    connection: sa.Connection,
    schema: str,
    tiles: tuple[int, int],
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    block: range,
    found: Matrices,
) -> None:
    """Epochs at ``places`` of tiles of several go to ``rows`` of the matrices ``found``."""
    epoch, epochs = tiles
    _, firsts, arrays = _select(connection, schema, [epoch], epochs, block, list(found))
    for name, matrix in arrays.items():
        by_validator = matrix.reshape(-1, epochs)
        if name in KEPT_AS_CHANGES:
            by_validator = by_validator.cumsum(axis=1, dtype=matrix.dtype)
        width = len(by_validator) // max(1, len(firsts))
        validators = (np.array(firsts)[:, np.newaxis] + np.arange(width)).reshape(-1)
        found[name][np.ix_(rows, validators - block.start)] = by_validator.T[places]


def _select(
    connection: sa.Connection,
    schema: str,
    epochs: Sequence[int],
    tile_epochs: int,
    block: range,
    columns: Sequence[str],
) -> tuple[list[int], list[int], Matrices]:
    """First epoch and first validator of each tile of a block, and its arrays, a row each."""
    query = sql.SQL(
        "SELECT epoch, first_validator, {} FROM {} WHERE epoch = ANY(%s) AND epochs = %s "
        "AND first_validator >= %s AND first_validator < %s"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, TILES))
    with driver_connection(connection).cursor(binary=True) as cursor:
        cursor.execute(query, [[*epochs], tile_epochs, block.start, block.stop])
        result = cursor.pgresult
        assert result is not None
        tiles = range(result.ntuples)
        keys = [
            [int.from_bytes(result.get_value(tile, field) or b"", "big") for tile in tiles]
            for field in (0, 1)
        ]
        arrays = {
            name: decoded_arrays(
                [result.get_value(tile, field) or b"" for tile in tiles], ARRAYS[name][0]
            )
            for field, name in enumerate(columns, start=2)
        }
    return keys[0], keys[1], arrays
