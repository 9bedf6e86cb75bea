"""CPU and connections that Dagster's storage costs a run, with a pool and without.

    python -m bench.dagster_storage

A run of 17 assets that compute and store nothing, of one partition key and of 32 among 20,250: what
is left is Dagster and its database. It is executed in this process over ``storage: postgres`` and
over the pooled storage that valmon ships, twice each in turn; the second figures count.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg
import yaml

from bench.at_rest import connections, cpu_of_tree
from valmon_pipeline.dagster_adapter.pooled_storage import PooledPostgresStorage
from valmon_pipeline.partitions import epoch_key, range_tags
from valmon_pipeline.storage.embedded import EmbeddedPostgres

KEYS: Final = 20_250
FIRST: Final = 100
FACTS: Final = tuple(f"fact_{number}" for number in range(13))
SCORES: Final = ("scores", "summaries", "bands")
RATIOS: Final = {1: 0.4, 32: 0.2}
"""Largest share of the CPU without a pool that a run may take with it, by number of epochs."""
_EPOCHS: Final = dg.DynamicPartitionsDefinition(name="epoch_bench")
_STATISTICS_SECONDS: Final = 1.5


class _NothingStored(dg.IOManager):
    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Store nothing."""

    def load_input(self, context: dg.InputContext) -> object:
        """Read which keys are wanted, as an IO manager must, and load nothing."""
        return context.asset_partition_keys


def assets() -> list[dg.AssetsDefinition]:
    """Three steps in the shape of valmon's."""
    shared: Mapping[str, Any] = {
        "partitions_def": _EPOCHS,
        "backfill_policy": dg.BackfillPolicy.multi_run(225),
    }

    @dg.multi_asset(outs={name: dg.AssetOut() for name in FACTS}, **shared)
    def facts() -> Iterator[dg.Output[int]]:
        for name in FACTS:
            yield dg.Output(0, output_name=name)

    @dg.multi_asset(
        ins={name: dg.AssetIn(name) for name in FACTS},
        outs={name: dg.AssetOut() for name in SCORES},
        **shared,
    )
    def scores(**inputs: object) -> Iterator[dg.Output[int]]:
        for name in SCORES:
            yield dg.Output(len(inputs), output_name=name)

    @dg.multi_asset(
        ins={name: dg.AssetIn(name) for name in SCORES},
        outs={"standings": dg.AssetOut()},
        **shared,
    )
    def standings(**inputs: object) -> int:
        return len(inputs)

    return [facts, scores, standings]


def storage(kind: str, url: str) -> Mapping[str, Any]:
    """The section of ``dagster.yaml``."""
    if kind == "postgres":
        return {"postgres": {"postgres_url": url}}
    custom = {
        "module": PooledPostgresStorage.__module__,
        "class": PooledPostgresStorage.__name__,
        "config": {"postgres_url": url},
    }
    return {"custom": custom}


def measure(kind: str, server: EmbeddedPostgres, home: Path) -> dict[int, tuple[float, int]]:
    """CPU of a run, here and in PostgreSQL, and connections it opened, by number of epochs."""
    server.ensure_database(kind)
    home.mkdir(exist_ok=True)
    settings = {"storage": storage(kind, server.dagster_url(kind)), "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    found = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        name = _EPOCHS.name
        assert name is not None
        instance.add_dynamic_partitions(name, [epoch_key(epoch) for epoch in range(KEYS)])
        for epochs in RATIOS:
            time.sleep(_STATISTICS_SECONDS)
            opened, theirs = connections(server)[kind], cpu_of_tree(postmaster)
            ours = time.process_time()
            result = dg.materialize(
                assets(),
                instance=instance,
                tags=range_tags(range(FIRST, FIRST + epochs)),
                resources={"io_manager": _NothingStored()},
            )
            assert result.success
            cpu = time.process_time() - ours
            time.sleep(_STATISTICS_SECONDS)
            cpu += cpu_of_tree(postmaster) - theirs
            found[epochs] = (cpu, connections(server)[kind] - opened)
    return found


def main() -> int:
    """Print the figures; the exit code says whether they keep the targets."""
    warnings.simplefilter("ignore", dg.BetaWarning)
    logging.disable(logging.CRITICAL)
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "500"
    os.environ["DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"] = "true"
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as directory:
        home = Path(directory)
        server = EmbeddedPostgres(home)
        server.start()
        for _ in range(2):
            plain = measure("postgres", server, home / "plain")
            pooled = measure("pooled", server, home / "pooled")
        server.stop()
    met = True
    for epochs, limit in RATIOS.items():
        (before, opened), (after, opened_after) = plain[epochs], pooled[epochs]
        print(f"run of {epochs} epochs, 17 assets, {KEYS} keys")
        print(f"  without a pool {before:.2f} s (no target)")
        print(f"  with a pool {after:.2f} s (no target)")
        print(f"  ratio {after / before:.2f} (target < {limit})")
        print(f"  connections without a pool {opened} (no target)")
        print(f"  connections with a pool {opened_after} (no target)")
        met &= after / before < limit
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
