"""``valmon up`` for a day's epochs: memory of every process, growth of Dagster's storage, delays.

    python -m bench.soak [--epochs 225] [--slot-ms 125] [--validators 1000]

A simulated chain with mainnet's 32 slots per epoch runs faster than mainnet, in a process of its
own; everybody on it is watched by the service as it is shipped: daemon, code server, webserver and
embedded PostgreSQL. A day of mainnet is 225 epochs, 15 minutes of them at 125 ms per slot: that
takes an idle machine, since every epoch has a process of its own, as in real life (two cores have
some to spare at 250 ms). On a busy one, make the slots longer or the epochs fewer.

Measured are, from the moment the service has stored its first three epochs until it has followed
the chain for as many epochs as were asked for:

* the resident memory of each process at the start, after each quarter, and the largest in between;
* rows and bytes that Dagster's database grew by, per epoch and for a day of mainnet;
* the seconds from "the window of an epoch has closed" to "its provisional rows are visible";
* whether any epoch is missing, what the runs came to, and what failed ones said.

Slots are shorter than Dagster's sensor loop here: ``bench.live_slots`` measures live snapshots.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from bench.dagster_growth import EPOCHS_PER_DAY, sizes
from valmon_pipeline.deployment.processes import answers, free_port
from valmon_pipeline.deployment.up_state import UpState
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.queries import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse

NETWORK: Final = "soak"
WARM_EPOCHS: Final = 3
START_SECONDS: Final = 240.0
LOOK_SECONDS: Final = 2.0
PROVISIONAL_SECONDS: Final = 20
QUARTERS: Final = 4
WATCH_EVERYBODY: Final[Mapping[str, str]] = {
    "VALMON_WATCH": "network",
    "VALMON_POLLING_INTERVAL_SLOTS": "32",
    "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "1000",
    "VALMON_RATE_LIMIT__BURST": "10000",
}
CLOSED_AFTER_EPOCHS: Final = 2
"""The window of epoch E has closed when E + 2 begins."""


def wait_until(happened: object, seconds: float, what: str) -> None:
    """Wait for a condition (a callable without arguments)."""
    assert callable(happened)
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} has not happened after {seconds:.0f} s")
        time.sleep(0.5)


@contextmanager
def simulated_chain(validators: int, slot_ms: int) -> Iterator[str]:
    """A node in a process of its own; yields its address."""
    port = free_port()
    command = ["devnet", "simulate", "--preset", "mainnet", "--validators", str(validators)]
    command += ["--slot-ms", str(slot_ms), "--miss-rate", "0.01", "--port", str(port)]
    node = subprocess.Popen([sys.executable, "-m", "valmon_pipeline", *command])
    try:
        wait_until(lambda: answers(port), START_SECONDS, "the start of the node")
        yield f"http://127.0.0.1:{port}"
    finally:
        node.terminate()
        node.wait()


@contextmanager
def service(
    home: Path, node: str, configuration: Mapping[str, str] = WATCH_EVERYBODY
) -> Iterator[subprocess.Popen[bytes]]:
    """``valmon up``, ready."""
    variables = {
        "VALMON_HOME": str(home),
        "VALMON_NETWORK": NETWORK,
        "VALMON_BEACON_URL": node,
        **configuration,
    }
    with (home / "printed.txt").open("wb") as printed:
        up = subprocess.Popen(
            [sys.executable, "-m", "valmon_pipeline", "up", "--epochs", "none", "--port", "0"],
            env={**os.environ, **variables},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: "Dagster UI:" in (home / "printed.txt").read_text() or up.poll() is not None,
            START_SECONDS,
            "the start of valmon up",
        )
        if up.poll() is not None:
            raise SystemExit((home / "printed.txt").read_text())
        yield up
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
        up.wait(180)


def memory(up: subprocess.Popen[bytes], home: Path, server: EmbeddedPostgres) -> dict[str, float]:
    """Resident megabytes by process; those of a run are not among them, they come and go.

    PostgreSQL's processes share their memory: theirs is the sum of their proportional shares.
    """
    state = UpState.read(home / "up.json")
    assert state is not None
    named = {"valmon up": up.pid, **{name[:-4]: pid for name, pid in state.processes.items()}}
    found = {name: _megabytes(pid, "VmRSS", "status") for name, pid in named.items()}
    # `dagster code-server start` serves through a process that it starts anew at a reload.
    grpc = [pid for pid in children(named["code-server"]) if "grpc" in _command(pid)]
    found["code-server (code)"] = sum(_megabytes(pid, "VmRSS", "status") for pid in grpc)
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    backends = [postmaster, *children(postmaster)]
    found["PostgreSQL (all)"] = sum(_megabytes(pid, "Pss", "smaps_rollup") for pid in backends)
    return found


def _megabytes(pid: int, field: str, file: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0  # it has just ended
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0)


def children(pid: int) -> list[int]:
    children = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            children.append(int(directory.name))
    return children


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def delays(warehouse: Warehouse, since: int) -> list[float]:
    """Seconds from the start of E + 2 to the rows of E, for epochs E from ``since`` on."""
    network = warehouse.network()
    assert network is not None
    epochs = warehouse.read("network_epochs", columns=["epoch", "materialized_at"])
    epochs = epochs[epochs["epoch"] >= since]
    seconds_per_epoch = network.slots_per_epoch * network.slot_duration_ms / 1000
    closed = network.genesis_time + (epochs["epoch"] + CLOSED_AFTER_EPOCHS) * seconds_per_epoch
    stored = epochs["materialized_at"].map(lambda at: at.timestamp())
    return [float(value) for value in stored - closed]


def main() -> int:
    """Run the service and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS_PER_DAY)
    parser.add_argument("--slot-ms", type=int, default=125)
    parser.add_argument("--validators", type=int, default=1000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="valmon-bench-") as directory,
        simulated_chain(options.validators, options.slot_ms) as node,
    ):
        home = Path(directory)
        server = EmbeddedPostgres(home)
        with service(home, node) as up:
            database = Database(server.url(), NETWORK)
            warehouse = Warehouse(database)
            wait_until(
                lambda: len(stored_epochs(warehouse)) >= WARM_EPOCHS,
                START_SECONDS + WARM_EPOCHS * 32 * options.slot_ms / 1000,
                "the first epochs",
            )
            report(up, home, server, warehouse, options)
            database.close()
    return 0


def report(
    up: subprocess.Popen[bytes],
    home: Path,
    server: EmbeddedPostgres,
    warehouse: Warehouse,
    options: argparse.Namespace,
) -> None:
    """Let it run, and print what it took."""
    before, largest = sizes(server), dict[str, float]()
    moments = [memory(up, home, server)]
    known = set(stored_epochs(warehouse))
    first, began = max(known) + 1, time.monotonic()
    seconds_in_all = options.epochs * 32 * options.slot_ms / 1000
    for quarter in range(1, QUARTERS + 1):
        while time.monotonic() < began + seconds_in_all * quarter / QUARTERS:
            time.sleep(LOOK_SECONDS)
            now = memory(up, home, server)
            largest = {name: max(value, largest.get(name, 0.0)) for name, value in now.items()}
            if up.poll() is not None:
                raise SystemExit((home / "printed.txt").read_text())
        moments.append(memory(up, home, server))
        print(
            f"  quarter {quarter}: {len(stored_epochs(warehouse)) - len(known)} epochs", flush=True
        )
    after = sizes(server)
    stored = set(stored_epochs(warehouse))
    new = sorted(stored - known)
    missing = sorted(set(range(first, max(stored) + 1)) - stored)
    print(f"soak of {len(new)} epochs, {options.validators} validators, {options.slot_ms} ms slots")
    print(f"  took {time.monotonic() - began:.0f} s; epochs not stored so far: {missing}")
    show_runs(server)
    columns = ["start", *(f"{quarter}/{QUARTERS}" for quarter in range(1, QUARTERS + 1)), "largest"]
    print(f"  {'MB of memory':22}" + "".join(f" {column:>8}" for column in columns))
    for name in moments[0]:
        values = [*(moment[name] for moment in moments), largest[name]]
        print(f"  {name:22}" + "".join(f" {value:8.0f}" for value in values))
    show_growth(before, after, len(new))
    seconds = delays(warehouse, first)
    median = statistics.median(seconds)
    print(
        f"  window closed to provisional median {median:.1f} s (target < {PROVISIONAL_SECONDS} s)"
    )
    print(f"  window closed to provisional slowest {max(seconds):.1f} s (no target)")


def show_runs(server: EmbeddedPostgres) -> None:
    """Print how many runs there were by status, and what the failures were."""
    with psycopg.connect(server.url("dagster"), autocommit=True) as connection:
        found = connection.execute("SELECT status, count(*) FROM runs GROUP BY 1 ORDER BY 1")
        print("  runs: " + ", ".join(f"{count} {status}" for status, count in found))
        failures = connection.execute(
            "SELECT left(event, 3000) FROM event_logs "
            "WHERE dagster_event_type IN ('STEP_FAILURE', 'PIPELINE_FAILURE') ORDER BY id LIMIT 20"
        )
        for (event,) in failures:
            print(f"  failure: {event}")


def show_growth(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]], epochs: int
) -> None:
    """Print what Dagster's database grew by."""
    rows = sum(count for count, _ in after.values()) - sum(count for count, _ in before.values())
    size = sum(size for _, size in after.values()) - sum(size for _, size in before.values())
    print(f"  Dagster per epoch: {rows / epochs:.0f} rows, {size / epochs / 1e3:.0f} kB")
    per_day = EPOCHS_PER_DAY / epochs
    print(f"  Dagster for 225 epochs: {rows * per_day:.0f} rows, {size * per_day / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
