"""Kiln's eth-validator-watcher beside valmon: one epoch's answer about all validators, processed.

    python -m bench.peer_kiln --peer /environment/of/the/watcher/bin/python [--validators 200000]

The watcher is another program with other dependencies, so it runs in an environment of its own that
has it installed; without ``--peer`` there is nothing to compare with, and nothing is measured. Each
side is a process of its own that reads the same bytes, the node's answer to
``/eth/v1/beacon/states/{id}/validators``, and processes it twice, as in two epochs: from JSON to
what it keeps of every validator, with the number of validators by status. The watcher's metrics by
label and its HTTP are left out, on both sides; so are rewards and attestations, which both read
from further answers. CPU is that of the second epoch, memory the peak less what the process had
with its modules and the answer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

PEER: Final = """
import collections, resource, sys, time
from eth_validator_watcher.models import Validators
from eth_validator_watcher.watched_validators import WatchedValidators
body = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
watched = WatchedValidators()
for _ in range(2):
    started = time.process_time()
    watched.process_epoch(Validators.model_validate_json(body))
    counts = collections.Counter(str(v.status.value) for v in watched.validators().values())
    seconds = time.process_time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, (peak - before) / 1000, sorted(counts.items()))
"""
OURS: Final = """
import resource, sys, time
import numpy as np
from valmon_pipeline.beacon.decode import validators
from valmon_pipeline.chain.status import ValidatorStatus, validator_status
body = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kept = None
for _ in range(2):
    started = time.process_time()
    kept = validators(body)
    counts = np.bincount(validator_status(kept, 1000), minlength=len(ValidatorStatus))
    seconds = time.process_time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = zip(ValidatorStatus, counts.tolist(), strict=True)
print(seconds, (peak - before) / 1000, sorted((str(s), n) for s, n in pairs if n))
"""
FAR: Final = str(2**64 - 1)
GOALS: Final = (3.0, 2.0)
"""So many times less CPU, and less memory."""


def answer(validators: int) -> bytes:
    """A registry: nine in ten are active, the others have left."""
    gone = np.random.default_rng(1).random(validators) < 0.1
    rows = [
        {
            "index": str(index),
            "balance": "0" if left else str(32_000_000_000 + index % 10**7),
            "status": "withdrawal_done" if left else "active_ongoing",
            "validator": {
                "pubkey": f"0x{index:096x}",
                "withdrawal_credentials": f"0x01{index:062x}",
                "effective_balance": "0" if left else "32000000000",
                "slashed": False,
                "activation_eligibility_epoch": "0",
                "activation_epoch": "0",
                "exit_epoch": "500" if left else FAR,
                "withdrawable_epoch": "756" if left else FAR,
            },
        }
        for index, left in enumerate(gone.tolist())
    ]
    return msgspec.json.encode({"execution_optimistic": False, "finalized": True, "data": rows})


def measured(python: str, program: str, file: Path) -> tuple[float, float, str]:
    """CPU seconds and megabytes of one side, and what it counted."""
    done = subprocess.run(
        [python, "-c", program, str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{python} could not do it:\n{done.stderr.strip()[-2000:]}")
    seconds, megabytes, counts = done.stdout.strip().split(maxsplit=2)
    return float(seconds), float(megabytes), counts


def main() -> int:
    """Print both sides and the ratios; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of an environment with eth-validator-watcher.")
    parser.add_argument("--validators", type=int, default=200_000)
    options = parser.parse_args()
    if options.peer is None:
        print("nothing to compare with: name the Python of an environment with the watcher, --peer")
        return 0
    with tempfile.TemporaryDirectory(prefix="valmon-bench-") as directory:
        file = Path(directory) / "validators.json"
        content = answer(options.validators)
        file.write_bytes(content)
        theirs = measured(options.peer, PEER, file)
        ours = measured(sys.executable, OURS, file)
    if theirs[2] != ours[2]:
        raise SystemExit(f"they do not agree: {theirs[2]} and {ours[2]}")
    print(f"{options.validators:,} validators, {len(content) / 1e6:.0f} MB of JSON")
    for name, side in (("watcher", theirs), ("valmon", ours)):
        print(f"  {name:8} {side[0]:.2f} s of CPU, {side[1]:.0f} MB")
    ratios = theirs[0] / ours[0], theirs[1] / ours[1]
    print(f"  times less CPU {ratios[0]:.1f} (goal: at least {GOALS[0]})")
    print(f"  times less memory {ratios[1]:.1f} (goal: at least {GOALS[1]})")
    return int(any(ratio < goal for ratio, goal in zip(ratios, GOALS, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
