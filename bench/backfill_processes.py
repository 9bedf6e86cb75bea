"""A long run in one process and in two: epochs per second and CPU, without Dagster.

    python -m bench.backfill_processes [--passes 5]

The recorded devnet has 41 epochs, too few for a long run, so they are materialized several times
in it, from a replay node in a process of its own into an embedded PostgreSQL. From the second pass
on, storing also compares every value with what is stored. Node, database and workers share the
machine's cores here: with two of them the gain is what node and database leave.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time

from bench.backfill import UNLIMITED, WATCHED, forget_epochs, replay_node
from valmon_pipeline.assets.parallel_materialization import ParallelMaterializer
from valmon_pipeline.deployment.databases import running_databases
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.pipeline import pipeline_of


def measure(node: str, processes: int, passes: int) -> tuple[float, float]:
    """Seconds that the run took, and CPU seconds of the processes that did it."""
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as home:
        installation = Installation.load(
            environ={
                "VALMON_HOME": home,
                "VALMON_NETWORK": "bench",
                "VALMON_BEACON_URL": node,
                "VALMON_BACKFILL__PROCESSES": str(processes),
                **UNLIMITED,
                **WATCHED["100 validators"],
            }
        )
        with running_databases(installation) as urls:
            pipeline = pipeline_of(installation.settings, lambda: urls.tables)
            materializer = pipeline.materializer()
            assert isinstance(materializer, ParallelMaterializer)
            forget_epochs(pipeline.warehouse)
            started, cpu = time.perf_counter(), _cpu_seconds()
            outcome = materializer.run([*range(1, 42)] * passes)
            taken = time.perf_counter() - started, _cpu_seconds() - cpu
            pipeline.warehouse.database.close()
    if outcome.failures:
        raise SystemExit(f"epochs failed: {outcome.failures}")
    return taken


def _cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> int:
    """Measure in turns and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    epochs = 41 * options.passes
    print(f"{epochs} epochs, 100 validators watched")
    with replay_node() as node:
        for turn in range(2):
            for processes in (1, 2):
                seconds, cpu = measure(node, processes, options.passes)
                print(
                    f"  turn {turn + 1}, {processes} processes: {epochs / seconds:.1f} epochs per "
                    f"second, {1000 * cpu / epochs:.0f} ms of CPU per epoch"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
