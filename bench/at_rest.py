"""CPU and database connections of ``valmon up`` while nothing but slots happens.

    python -m bench.at_rest [--seconds 180] [--slot-ms 12000] [--keys 3]

A simulated chain with mainnet's preset and slots, in a process of its own, has just begun: no epoch
is due before its third one. The service is as it is shipped, and has been up for a minute when the
measurement begins. CPU is that of each process and of all that it started meanwhile, PostgreSQL's
included, as a share of one core. Connections are those opened to Dagster's database, and to both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg

from bench.soak import children, service, simulated_chain
from valmon_pipeline.deployment.up_state import UpState
from valmon_pipeline.storage.embedded import EmbeddedPostgres

WARM_SECONDS: Final = 60.0
VALIDATORS: Final = 1000
TARGET_PERCENT: Final = 5
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(
    up: subprocess.Popen[bytes], home: Path, server: EmbeddedPostgres
) -> dict[str, float]:
    """CPU that each process and its descendants have used, those that have ended included."""
    state = UpState.read(home / "up.json")
    assert state is not None
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    named = {name.removesuffix(".log"): pid for name, pid in state.processes.items()}
    found = {name: cpu_of_tree(pid) for name, pid in named.items()}
    found["PostgreSQL"] = cpu_of_tree(postmaster)
    found["valmon up"] = cpu_of_tree(up.pid) - sum(
        seconds for name, seconds in found.items() if name in named
    )
    return found


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and all that it started, those that have ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has just ended, and counts as its parent's from now on
    own = sum(map(int, fields[11:15])) / _TICKS_PER_SECOND  # utime stime cutime cstime
    return own + sum(cpu_of_tree(child) for child in children(pid))


def connections(server: EmbeddedPostgres) -> Mapping[str, int]:
    """Connections that were opened to each database so far."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        query = "SELECT datname, sessions FROM pg_stat_database WHERE datname IS NOT NULL"
        return dict(connection.execute(query).fetchall())


def main() -> int:
    """Run the service and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--slot-ms", type=int, default=12_000)
    parser.add_argument("--keys", type=int, default=3)
    options = parser.parse_args()
    watched = {"VALMON_VALIDATORS": ",".join(map(str, range(options.keys)))}
    with (
        tempfile.TemporaryDirectory(prefix="valmon-bench-") as directory,
        simulated_chain(VALIDATORS, options.slot_ms) as node,
    ):
        home = Path(directory)
        server = EmbeddedPostgres(home)
        with service(home, node, watched) as up:
            time.sleep(WARM_SECONDS)
            began = time.monotonic()
            cpu, opened = cpu_seconds(up, home, server), connections(server)
            time.sleep(options.seconds)
            seconds = time.monotonic() - began
            after, now = cpu_seconds(up, home, server), connections(server)
            used = {name: 100 * (after[name] - cpu[name]) / seconds for name in after}
            rates = {name: (now[name] - opened.get(name, 0)) / seconds for name in now}
            both = rates["dagster"] + rates["valmon"]
            print(f"service at rest for {seconds:.0f} s, {options}")
            for name, percent in sorted(used.items(), key=lambda item: -item[1]):
                print(f"  {name:16} {percent:5.1f} % of a core")
            print(f"  CPU {sum(used.values()):.1f} percent (target at most {TARGET_PERCENT})")
            print(f"  connections to Dagster {rates['dagster']:.2f} Hz (no target)")
            print(f"  connections to both {both:.2f} Hz (no target)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
