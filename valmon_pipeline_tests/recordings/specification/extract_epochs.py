"""Cut one epoch out of a chain made by the executable specification, as a small file of JSON.

    python -m valmon_pipeline_tests.recordings.specification.extract_epochs CHAIN EPOCH FILE

``CHAIN`` is a pickle that ``gen.py`` of the project's ``shared/spec`` wrote in an environment with
``eth-consensus-specs`` 1.7.0b4 (its README says how), with sync committee periods of two epochs:

    gen.py electra minimal 10 14 '{"o":{"EPOCHS_PER_SYNC_COMMITTEE_PERIOD":2}}'
    gen.py deneb minimal 40 44 '{"o":{…}}'
    gen.py fulu minimal 30 33 '{"o":{…}}'
    gen.py deneb minimal 100 103 '{"o":{…},"transition":"electra","name":"deneb2electra",
        "n_epochs":7}'
    gen.py deneb minimal 103 106 '{… the same …,"start":3}'
    gen.py electra minimal 50 53 '{"o":{…},"transition":"fulu","name":"electra2fulu",
        "n_epochs":7}'

| file of ``epochs/`` | chain | epoch |
|---|---|---|
| deneb | deneb_minimal_43 | 4 |
| electra_first | deneb2electra_100 | 23, Electra's first |
| electra_first_of_period | deneb2electra_105 | 6, Electra's first and a period's first |
| electra | electra_minimal_13 | 22 |
| fulu_first | electra2fulu_51 | 6, Fulu's first |
| fulu | fulu_minimal_32 | 14 |

``valmon_pipeline_tests.specification_epochs`` reads them.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any, Final

_FAR_FUTURE: Final = str(2**64 - 1)
_CONFIG: Final = (
    *("PRESET_BASE", "CONFIG_NAME", "SLOTS_PER_EPOCH", "SLOT_DURATION_MS"),
    *("EPOCHS_PER_SYNC_COMMITTEE_PERIOD", "EPOCHS_PER_SLASHINGS_VECTOR", "SYNC_COMMITTEE_SIZE"),
    *("MAX_COMMITTEES_PER_SLOT", "TARGET_COMMITTEE_SIZE", "MIN_ATTESTATION_INCLUSION_DELAY"),
    *("EFFECTIVE_BALANCE_INCREMENT", "MAX_EFFECTIVE_BALANCE", "MAX_EFFECTIVE_BALANCE_ELECTRA"),
    *("MIN_ACTIVATION_BALANCE", "EJECTION_BALANCE", "BASE_REWARD_FACTOR"),
    *("MIN_EPOCHS_TO_INACTIVITY_PENALTY", "INACTIVITY_SCORE_BIAS"),
    *("INACTIVITY_SCORE_RECOVERY_RATE", "INACTIVITY_PENALTY_QUOTIENT_BELLATRIX"),
    *("MIN_SLASHING_PENALTY_QUOTIENT_BELLATRIX", "MIN_SLASHING_PENALTY_QUOTIENT_ELECTRA"),
    *("PROPORTIONAL_SLASHING_MULTIPLIER_BELLATRIX", "WHISTLEBLOWER_REWARD_QUOTIENT"),
    *("WHISTLEBLOWER_REWARD_QUOTIENT_ELECTRA", "MIN_SEED_LOOKAHEAD", "SHUFFLE_ROUND_COUNT"),
    *("ALTAIR_FORK_EPOCH", "BELLATRIX_FORK_EPOCH", "CAPELLA_FORK_EPOCH", "DENEB_FORK_EPOCH"),
    *("ELECTRA_FORK_EPOCH", "FULU_FORK_EPOCH"),
)
_EPOCHS: Final = ("activation_epoch", "exit_epoch", "withdrawable_epoch")
_PARTS: Final = (
    *("proposer_index", "attestations", "sync_aggregate", "proposer_slashings"),
    "attester_slashings",
)

Json = Any


def extract(chain: Json, epoch: int) -> Json:
    """What the specification did in ``epoch`` and in the one before, and what it came to."""
    slots_per_epoch = chain["meta"]["SPE"]
    first = epoch * slots_per_epoch
    state, before = chain["states"][first], chain["states"][first - 1]
    slots = [slot for slot in sorted(chain["headers"]) if first - slots_per_epoch <= slot]
    slots = [slot for slot in slots if slot <= first + slots_per_epoch]
    roots: dict[str, int] = {}

    def numbered(root: str) -> int:
        return roots.setdefault(root, len(roots))

    period = int(chain["spec"]["EPOCHS_PER_SYNC_COMMITTEE_PERIOD"])
    drawn = chain["states"].get((epoch + period) * slots_per_epoch)
    mixes = state["fields"]["randao"]
    kept = len(mixes) // 32
    truth = chain["truth"][epoch - 1]
    rewards = chain["att_rewards"][epoch - 1]["total_rewards"]
    blocks = [_block(chain, slot, numbered) for slot in slots]
    return {
        "config": {name: chain["spec"][name] for name in _CONFIG if name in chain["spec"]},
        "epoch": epoch,
        "registry": {
            **{name: _epochs(state, name) for name in _EPOCHS},
            "effective_balance": _column(state, "effective_balance"),
            "slashed": [int(row["validator"]["slashed"]) for row in state["validators"]],
        },
        "slashed_before": [int(row["validator"]["slashed"]) for row in before["validators"]],
        "inactivity_scores": state["fields"]["scores"],
        "randao_mixes": {
            str(one % kept): mixes[32 * (one % kept) : 32 * (one % kept) + 32].hex()
            for one in (epoch - 3, epoch - 2)
        },
        "proposer_lookahead": state["fields"]["lookahead"],
        "previous_participation": state["fields"]["pp"],
        "current_participation": state["fields"]["cp"],
        "committees": {
            str(one): [
                [int(index) for index in row["validators"]]
                for row in chain["states"][one * slots_per_epoch]["committees"]
            ]
            for one in (epoch - 1, epoch)
        },
        "proposers": [index for _, index in chain["proposers"][epoch]],
        "sync_committee": [int(index) for index in state["sync"]],
        "next_sync_committee": (
            [int(index) for index in drawn["sync"]] if drawn and epoch % period == 0 else None
        ),
        "blocks": blocks,
        "block_rewards": [_block_rewards(chain, slot) for slot in slots if slot >= first],
        "sync_rewards": [
            _sync_rewards(chain, slot) for slot in slots if slot // slots_per_epoch == epoch
        ],
        "first_of_next": _registry_of_next(chain, epoch),
        "inactivity_leak": truth["leak"],
        "attestation_rewards": [
            [int(row[name]) for name in row if name != "inclusion_delay"] for row in rewards
        ],
    }


def _block(chain: Json, slot: int, numbered: Any) -> Json:
    header = chain["headers"][slot]
    fork, text = chain["blocks"][header["root"]]
    message = json.loads(text)["data"]["message"]
    body = message["body"]
    return {
        "slot": slot,
        "fork": fork,
        "proposer_index": int(message["proposer_index"]),
        "root": numbered(header["root"]),
        "parent_root": numbered(message["parent_root"]),
        "sync_committee_bits": body["sync_aggregate"]["sync_committee_bits"],
        "proposer_slashings": [
            int(one["signed_header_1"]["message"]["proposer_index"])
            for one in body["proposer_slashings"]
        ],
        "attester_slashings": [
            sorted(
                {int(i) for i in one["attestation_1"]["attesting_indices"]}
                & {int(i) for i in one["attestation_2"]["attesting_indices"]}
            )
            for one in body["attester_slashings"]
        ],
        "attestations": [
            [
                *(int(one["data"]["slot"]), int(one["data"]["index"])),
                numbered(one["data"]["beacon_block_root"]),
                int(one["data"]["source"]["epoch"]),
                int(one["data"]["target"]["epoch"]),
                numbered(one["data"]["target"]["root"]),
                one["aggregation_bits"],
                one.get("committee_bits"),
            ]
            for one in body["attestations"]
        ],
    }


def _block_rewards(chain: Json, slot: int) -> list[int]:
    rewards = chain["block_rewards"][chain["headers"][slot]["root"]]
    return [slot, *(int(rewards[part]) for part in _PARTS)]


def _sync_rewards(chain: Json, slot: int) -> list[list[int]]:
    rows = chain["sync_rewards"][chain["headers"][slot]["root"]]
    return [[int(row["validator_index"]), int(row["reward"])] for row in rows]


def _registry_of_next(chain: Json, epoch: int) -> Json:
    """What the first block of the next epoch needs."""
    slots_per_epoch = chain["meta"]["SPE"]
    state = chain["states"][(epoch + 1) * slots_per_epoch]
    before = chain["states"][(epoch + 1) * slots_per_epoch - 1]
    return {
        **{name: _epochs(state, name) for name in _EPOCHS},
        "effective_balance": _column(state, "effective_balance"),
        "slashed": [int(row["validator"]["slashed"]) for row in state["validators"]],
        "slashed_before": [int(row["validator"]["slashed"]) for row in before["validators"]],
    }


def _column(state: Json, name: str) -> list[int]:
    return [int(row["validator"][name]) for row in state["validators"]]


def _epochs(state: Json, name: str) -> list[int | None]:
    values = [row["validator"][name] for row in state["validators"]]
    return [None if value == _FAR_FUTURE else int(value) for value in values]


def main(chain_path: str, epoch: str, file: str) -> None:
    """Read the chain, write the epoch."""
    # The file is one's own, made a minute ago.
    chain = pickle.loads(Path(chain_path).read_bytes())
    text = json.dumps(extract(chain, int(epoch)), separators=(",", ":"))
    Path(file).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
