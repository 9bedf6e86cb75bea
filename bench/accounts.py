"""What accounting for every gwei costs: CPU per epoch, beside everything else that is computed.

    python -m bench.accounts [--validators 1000] [--epochs 6]

A simulated chain with mainnet's parameters is read over HTTP, everybody watched. Then the ledger
and the events of each epoch are computed from the answers, and then all frames and checks.
A day has 225 epochs: the target is a minute of CPU for those of 1,000 validators.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.epoch.accounting import (
    balance_ledger_frame,
    block_events_frame,
    ledger_of,
)
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.epoch_frames import compute_epoch_frames
from valmon_pipeline.epoch.movements import epoch_movements
from valmon_pipeline.reading.epoch_reader import EpochReader

EPOCHS_PER_DAY = 225
TARGET_SECONDS = 60.0


async def read(url: str, epochs: int) -> tuple[ChainSpec, list[EpochAnswers]]:
    """The answers about the first epochs after genesis."""
    options = NodeOptions(url, requests_per_second=1e6, burst=100_000)
    async with BeaconClient.open(options) as client:
        reader = await EpochReader.open(client, Watch(network=True))
        return reader.spec, [await reader.read(epoch) for epoch in range(1, epochs + 1)]


def accounts(spec: ChainSpec, answers: EpochAnswers) -> None:
    """The ledger and the events."""
    movements = epoch_movements(spec, answers)
    ledger = ledger_of(movements)
    balance_ledger_frame(answers, movements, ledger)
    block_events_frame(answers, movements, everybody=True)


def everything(spec: ChainSpec, answers: EpochAnswers) -> None:
    """All frames and checks of an epoch."""
    compute_epoch_frames(
        spec, answers, watch=Watch(network=True), labels=no_labels(), at=datetime.now(UTC)
    )


def cpu_seconds(
    work: Callable[[ChainSpec, EpochAnswers], None], spec: ChainSpec, answers: EpochAnswers
) -> float:
    """CPU of this process for one epoch."""
    started = time.process_time()
    work(spec, answers)
    return time.process_time() - started


def main() -> int:
    """Measure, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    simulation = Simulation(config("mainnet"), arguments.validators, seed=1, miss_rate=0.01)
    simulation.advance_to_epoch(arguments.epochs + 5)
    with simulated_node(simulation) as node:
        spec, answers = asyncio.run(read(node.url, arguments.epochs))
    print(f"{arguments.validators} validators, mainnet's parameters, CPU for a day's epochs")
    met = True
    for name, work, limit in (
        ("accounts", accounts, TARGET_SECONDS),
        ("all frames and checks", everything, None),
    ):
        epoch = statistics.median(cpu_seconds(work, spec, each) for each in answers)
        day = epoch * EPOCHS_PER_DAY
        met &= limit is None or day < limit
        target = "(no target)" if limit is None else f"(target: < {limit:g})"
        print(f"  {name} {day:.1f} s {target}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
