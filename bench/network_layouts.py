"""Layouts for a row per validator and epoch of a whole network: bytes, cost of storing, of reading.

    python -m bench.network_layouts [--active 100000]

An epoch of ``bench.network_sample`` goes into one table per layout, by binary COPY:

- ``narrow``: a row per validator, a column per fact, key (epoch, validator_index);
- ``arrays``: a row per K validators, an array per fact;
- ``outcomes``: a row per K validators with what is each validator's own (balance, place in the
  committees) and the number of its outcome; a table of the epoch's different outcomes has the rest;
- ``tiles``: the same, a row per G validators and all epochs of a day, made once the day is final.

CPU is that of the server's process, by ``/proc``; bytes are those of table, TOAST and indexes, per
active validator and epoch. Reads are of one validator, per 20,250 epochs (90 days of mainnet).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import psycopg

from bench.network_sample import network_epoch
from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.storage.binary_copy import (
    HEADER,
    TRAILER,
    Field,
    array_field,
    copied_rows,
)
from valmon_pipeline.storage.embedded import EmbeddedPostgres

EPOCHS_OF_90_DAYS: Final = 20_250
FACTS: Final = {
    "status": "smallint",
    "active": "boolean",
    "eligible": "boolean",
    "slashed": "boolean",
    "flags": "smallint",
    "effective_balance": "bigint",
    "inactivity_score": "bigint",
    "source_reward": "bigint",
    "target_reward": "bigint",
    "head_reward": "bigint",
    "inactivity_penalty": "bigint",
    "ideal_reward": "bigint",
    "reward_effectiveness": "real",
    "percentile_rank": "real",
}
"""What validators have in common: few different combinations in an epoch."""
OWN: Final = {
    "balance": "bigint",
    "duty_slot_in_epoch": "smallint",
    "committee_index": "smallint",
    "committee_position": "smallint",
}
SPLIT: Final = {
    "outcome": "integer",
    "balance_ether": "integer",
    "balance_gwei": "integer",
    "committee": "smallint",
    "committee_position": "smallint",
}
WIRE: Final = {
    "smallint": ">i2",
    "integer": ">i4",
    "bigint": ">i8",
    "real": ">f4",
    "boolean": "?",
}
"""The types on the wire."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One layout: per active validator and epoch, and the read."""

    layout: str
    bytes_each: float
    server_seconds: float
    python_seconds: float
    read_milliseconds: float


def matrix(values: npt.NDArray[Any], width: int, filler: Any = 0) -> npt.NDArray[Any]:
    """A column by validator in rows of ``width``, the last filled up."""
    rows = -(-len(values) // width)
    padded = np.full(rows * width, filler, dtype=values.dtype)
    padded[: len(values)] = values
    return padded.reshape(rows, width)


def outcomes(network: NetworkEpoch) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The outcome of each validator, the most frequent first, and one validator of each."""
    codes = np.zeros(len(network), dtype=np.int64)
    for name in FACTS:
        found, values = pd.factorize(getattr(network, name), use_na_sentinel=False)
        codes, _ = pd.factorize(codes * len(values) + found)
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order))
    return number[codes], first[order]


def split(network: NetworkEpoch) -> dict[str, npt.NDArray[Any]]:
    """The columns of ``SPLIT``."""
    ether, gwei = np.divmod(network.balance, 10**9)
    duty = network.duty_slot_in_epoch >= 0
    committee = network.duty_slot_in_epoch.astype(np.int32) * 64 + network.committee_index
    return {
        "outcome": outcomes(network)[0],
        "balance_ether": ether.astype(np.int32),
        "balance_gwei": gwei.astype(np.int32),
        "committee": np.where(duty, committee, -1).astype(np.int16),
        "committee_position": network.committee_position.astype(np.int16),
    }


class Bench:
    """A database, and the process that serves us in it."""

    def __init__(self, url: str, active: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.active = active
        self._pid = self.connection.info.backend_pid

    def server_cpu(self) -> float:
        """Seconds of CPU that our server process has taken."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def copy(self, table: str, columns: Mapping[str, Field]) -> None:
        """One COPY, in pieces of some rows."""
        with self.connection.cursor().copy(
            f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.write(HEADER)
            for piece in copied_rows([*columns.values()]):
                copy.write(piece)
            copy.write(TRAILER)

    def size(self, *tables: str) -> float:
        """Bytes per active validator."""
        total = 0
        for table in tables:
            ((size,),) = self.connection.execute(
                "SELECT pg_total_relation_size(%s::regclass)", [table]
            ).fetchall()
            total += size
        return total / self.active

    def milliseconds(self, query: str, times: int = 300) -> float:
        """Of one run of ``query``, warm."""
        self.connection.execute(query).fetchall()
        started = time.perf_counter()
        for _ in range(times):
            self.connection.execute(query).fetchall()
        return (time.perf_counter() - started) / times * 1000

    def repeated(self, expression: str, table: str, condition: str) -> float:
        """Milliseconds of as many rows as 90 days have epochs, all of them the same one."""
        query = (
            f"SELECT sum(x) FROM generate_series(1, {EPOCHS_OF_90_DAYS}) AS e(n), LATERAL "
            f"(SELECT ({expression}) AS x FROM {table} WHERE {condition} AND n > 0 OFFSET 0) AS r"
        )
        started = time.perf_counter()
        self.connection.execute(query).fetchall()
        return (time.perf_counter() - started) * 1000


def narrow(bench: Bench, network: NetworkEpoch) -> Measured:
    """A row per validator."""
    columns = {"validator_index": "integer"} | FACTS | OWN
    bench.connection.execute(
        "CREATE TABLE narrow (epoch integer, "
        + ", ".join(f"{name} {kind}" for name, kind in columns.items())
        + ", PRIMARY KEY (epoch, validator_index))"
    )
    python, server = time.process_time(), bench.server_cpu()
    fields = {"epoch": Field(np.full(len(network), network.epoch, dtype=">i4"))}
    for name, kind in columns.items():
        values = np.arange(len(network)) if name == "validator_index" else getattr(network, name)
        fields[name] = Field(values.astype(WIRE[kind]))
    # Those long gone have no row.
    kept = network.active
    bench.copy("narrow", {name: Field(field.values[kept]) for name, field in fields.items()})
    python, server = time.process_time() - python, bench.server_cpu() - server
    probe = int(np.flatnonzero(kept)[len(kept) // 5])
    read = bench.repeated(
        "balance + source_reward", "narrow", f"epoch = 1 AND validator_index = {probe}"
    )
    return Measured("narrow", bench.size("narrow"), server, python, read)


def arrays(bench: Bench, network: NetworkEpoch, width: int) -> Measured:
    """A row per ``width`` validators, an array per fact."""
    # Rewards fit in four bytes on mainnet; NaN of the two shares would be NULL, here -1.
    columns = {
        name: {"bigint": "integer", "boolean": "smallint", "real": "integer"}.get(kind, kind)
        for name, kind in (FACTS | OWN).items()
    }
    columns |= {"balance": "bigint", "effective_balance": "bigint"}
    values = {name: getattr(network, name) for name in columns}
    for name in ("reward_effectiveness", "percentile_rank"):
        values[name] = np.nan_to_num(values[name] * 10**6, nan=-1)
    table = f"arrays_{width}"
    _make(bench, table, columns)
    python, server = time.process_time(), bench.server_cpu()
    _copy_chunks(bench, table, network, values, columns, width)
    python, server = time.process_time() - python, bench.server_cpu() - server
    return Measured(
        f"arrays, K {width}",
        bench.size(table),
        server,
        python,
        _read(bench, table, network, width, "balance[{0}] + source_reward[{0}] + flags[{0}]"),
    )


def by_outcome(bench: Bench, network: NetworkEpoch, width: int) -> Measured:
    """A row per ``width`` validators, and the epoch's outcomes."""
    table = f"outcomes_{width}"
    _make(bench, table, SPLIT)
    bench.connection.execute(
        f"CREATE TABLE {table}_list (epoch integer, outcome integer, "
        + ", ".join(f"{name} {kind}" for name, kind in FACTS.items())
        + ", PRIMARY KEY (epoch, outcome))"
    )
    python, server = time.process_time(), bench.server_cpu()
    _copy_chunks(bench, table, network, split(network), SPLIT, width)
    _, one_of_each = outcomes(network)
    listed = {
        "epoch": Field(np.full(len(one_of_each), network.epoch, dtype=">i4")),
        "outcome": Field(np.arange(len(one_of_each), dtype=">i4")),
    }
    for name, kind in FACTS.items():
        listed[name] = Field(getattr(network, name)[one_of_each].astype(WIRE[kind]))
    bench.copy(f"{table}_list", listed)
    python, server = time.process_time() - python, bench.server_cpu() - server
    return Measured(
        f"outcomes, K {width} ({len(one_of_each)} outcomes)",
        bench.size(table, f"{table}_list"),
        server,
        python,
        _read(
            bench,
            table,
            network,
            width,
            "outcome[{0}] + balance_ether[{0}] + balance_gwei[{0}] + committee[{0}] "
            "+ committee_position[{0}]",
        ),
    )


def tiles(bench: Bench, day: Mapping[str, npt.NDArray[Any]], group: int) -> Measured:
    """A row per ``group`` validators and a day: ``day`` is (validators, epochs) per column."""
    table = f"tiles_{group}"
    _make(bench, table, SPLIT)
    n, epochs = next(iter(day.values())).shape
    python, server = time.process_time(), bench.server_cpu()
    firsts = np.arange(0, n, group, dtype=">i4")
    fields = {
        "epoch": Field(np.zeros(len(firsts), dtype=">i4")),
        "first_validator": Field(firsts),
    }
    for name, kind in SPLIT.items():
        fields[name] = array_field(matrix(day[name].reshape(-1), group * epochs).astype(WIRE[kind]))
    bench.copy(table, fields)
    python, server = time.process_time() - python, bench.server_cpu() - server
    size = bench.size(table) / epochs
    low = (n // group // 2) % group * epochs + 1
    every = " + ".join(
        f"(SELECT sum(x) FROM unnest({name}[{low}:{low + epochs - 1}]) AS x)" for name in SPLIT
    )
    first = n // 2 // group * group
    read = bench.milliseconds(f"SELECT {every} FROM {table} WHERE first_validator = {first}")
    return Measured(
        f"tiles, G {group}, {epochs} epochs",
        size,
        server / epochs,
        python / epochs,
        read * EPOCHS_OF_90_DAYS / epochs,
    )


def day_of(active: int, epochs: int, validators: int) -> dict[str, npt.NDArray[Any]]:
    """Columns of ``SPLIT`` of some validators, (validators, epochs)."""
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in SPLIT}
    for epoch in range(epochs):
        network = network_epoch(epoch, active)
        chosen = np.flatnonzero(network.active)[:validators]
        for name, values in split(network).items():
            found[name].append(values[chosen])
    return {name: np.stack(values, axis=1) for name, values in found.items()}


def _make(bench: Bench, table: str, columns: Mapping[str, str]) -> None:
    bench.connection.execute(
        f"CREATE TABLE {table} (epoch integer, first_validator integer, "
        + ", ".join(f"{name} {kind}[]" for name, kind in columns.items())
        + ", PRIMARY KEY (epoch, first_validator))"
    )


def _copy_chunks(
    bench: Bench,
    table: str,
    network: NetworkEpoch,
    values: Mapping[str, npt.NDArray[Any]],
    columns: Mapping[str, str],
    width: int,
) -> None:
    firsts = np.arange(0, len(network), width, dtype=">i4")
    fields = {
        "epoch": Field(np.full(len(firsts), network.epoch, dtype=">i4")),
        "first_validator": Field(firsts),
    }
    for name, kind in columns.items():
        fields[name] = array_field(matrix(values[name], width).astype(WIRE[kind]))
    bench.copy(table, fields)


def _read(bench: Bench, table: str, network: NetworkEpoch, width: int, expression: str) -> float:
    probe = int(np.flatnonzero(network.active)[len(network) // 5])
    condition = f"epoch = {network.epoch} AND first_validator = {probe // width * width}"
    return bench.repeated(expression.format(probe % width + 1), table, condition)


def measured(bench: Bench, active: int) -> Iterator[Measured]:
    """Every layout, one after the other."""
    network = network_epoch(1, active)
    yield narrow(bench, network)
    for width in (256, 1024):
        yield arrays(bench, network, width)
    for width in (128, 256, 512, 1024, 2048, 4096):
        yield by_outcome(bench, network, width)
    bench.active = 4096
    day = day_of(active, 225, bench.active)
    for group in (4, 8, 16, 32):
        yield tiles(bench, day, group)


def main() -> None:
    """Print a line per layout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--active", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{'layout':40} {'bytes':>7} {'server s':>9} {'python s':>9} {'90 days ms':>11}")
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            bench = Bench(server.url("postgres"), options.active)
            for one in measured(bench, options.active):
                print(
                    f"{one.layout:40} {one.bytes_each:7.1f} {one.server_seconds:9.3f} "
                    f"{one.python_seconds:9.3f} {one.read_milliseconds:11.0f}",
                    flush=True,
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
