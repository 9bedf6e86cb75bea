"""How much Dagster writes per run of one epoch: rows and bytes of its tables, and what stays.

Run: ``python -m bench.dagster_growth [RUNS]``. Real runs of the whole graph on the recorded devnet,
one epoch each, in this process; a run that the daemon launches writes about ten events more.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg

from valmon_pipeline.automation.dagster_pruning import describe, prune
from valmon_pipeline.config import load_settings
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS, build_definitions
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.partitions import epoch_key, register_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.embedded import EmbeddedPostgres

FIRST_EPOCH = 5
EPOCHS_PER_DAY = 225
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def sizes(server: EmbeddedPostgres) -> Mapping[str, tuple[int, int]]:
    """Rows and bytes, indexes included, of every table that Dagster fills."""
    with psycopg.connect(server.url("dagster"), autocommit=True) as connection:
        connection.execute("VACUUM")
        tables = connection.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        found = {}
        for name, size in tables:
            count = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
            assert count is not None
            found[name] = (int(count[0]), int(size))
    return found


def show(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]], n: int
) -> None:
    """Print the growth per run and per day of mainnet."""
    print(f"{'table':26} {'rows/run':>9} {'kB/run':>8} {'rows/day':>9} {'MB/day':>8}")
    growth = {name: (after[name][0] - b[0], after[name][1] - b[1]) for name, b in before.items()}
    growth["all"] = (sum(g[0] for g in growth.values()), sum(g[1] for g in growth.values()))
    for name, (rows, size) in growth.items():
        if rows or size:
            per_run, kilobytes = rows / n, size / n / 1e3
            print(
                f"{name:26} {per_run:9.1f} {kilobytes:8.1f} {per_run * EPOCHS_PER_DAY:9.0f} "
                f"{kilobytes * EPOCHS_PER_DAY / 1e3:8.1f}"
            )


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with (
        tempfile.TemporaryDirectory(prefix="valmon-bench-") as home,
        BackgroundReplayNode(ReplayNode(Recording.load(RECORDING_PATH))) as node,
    ):
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            for name in ("valmon", "dagster"):
                server.ensure_database(name)
            migrate.upgrade(server.url(), "devnet")
            Path(home, "dagster.yaml").write_text(
                f"storage:\n  postgres:\n    postgres_url: '{server.dagster_url()}'\n"
                "telemetry: {enabled: false}\n"
            )
            environment = {
                "VALMON_HOME": home,
                "VALMON_NETWORK": "devnet",
                "VALMON_WATCH": "network",
                "VALMON_BEACON_URL": node.url,
            }
            settings = load_settings(None, environment)
            definitions = build_definitions(settings, pipeline_of(settings, server.url))
            job = definitions.resolve_job_def(MATERIALIZE_EPOCHS)
            with dg.DagsterInstance.from_config(home) as instance:
                epochs = range(FIRST_EPOCH, FIRST_EPOCH + runs + 1)
                register_epochs(instance, "devnet", epochs)
                for epoch in epochs:
                    if epoch == epochs[1]:  # the first run also writes what is written once
                        before = sizes(server)
                    job.execute_in_process(
                        instance=instance, partition_key=epoch_key(epoch), run_config=QUIET
                    )
                show(before, sizes(server), runs)
                now = datetime.now(UTC) + timedelta(minutes=1)
                print(
                    "pruned:", describe(prune(instance, "devnet", older_than=now, first_epoch=None))
                )
                after = sizes(server)
                left = after["event_logs"][0] / (runs + 1)
                print(f"events left per epoch: {left:.1f}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
