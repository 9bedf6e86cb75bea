"""A node of a made-up network of mainnet's shape that knows one epoch, for benchmarks.

    python -m bench.network_node ACTIVE

Everything it says about epoch ``EPOCH`` fits together: whoever has a flag in the state has a vote
in a block that earns it, and rewards are those of the state. It prints its address when it is
ready.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import numpy as np

from bench.state_sample import CONFIG, GENESIS_ROOT, sample_state
from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state
from valmon_pipeline.beacon.state_ssz.layout import state_layout
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.rewards import ideal_attestation_rewards
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import state_rewards

EPOCH: Final = 400_000
COMMITTEES: Final = 64
ATTESTATIONS: Final = 8
WITHDRAWALS: Final = 16
ZERO: Final = "0x" + "00" * 32


def root(slot: int) -> str:
    """The root of the block of a slot; every slot has one."""
    return "0x" + slot.to_bytes(32, "big").hex()


class Network:
    """What there is to say of the epoch; ``answers`` by path, ``posts`` take the body."""

    def __init__(self, active: int) -> None:
        self.spec = spec = ChainSpec.from_config(CONFIG)
        self.random = np.random.default_rng(5)
        self.first, self.last = spec.first_slot(EPOCH), spec.last_slot(EPOCH + 1)
        self.content = sample_state(self.last, active)
        self._write_roots()
        expected = ExpectedState(self.last, GENESIS_ROOT)
        self.state = decode_state(spec, Fork.FULU, self.content, expected)
        self.rewards = state_rewards(spec, self.state)
        members = self.random.permutation(np.flatnonzero(self.rewards.active))
        self.committees = np.array_split(members, spec.slots_per_epoch * COMMITTEES)
        self.proposers = self.random.choice(members, self.last - self.first + 2)
        self.answers: dict[str, bytes] = {}
        self._describe_chain()
        self._describe_epoch(members)
        for slot in range(self.first, self.last + 2):
            self._describe_block(slot)

    def _write_roots(self) -> None:
        places = state_layout(self.spec, Fork.FULU).places
        ring = places["block_roots"]
        for slot in range(self.first, self.last):
            at = ring.at + 32 * (slot % (ring.size // 32))
            self.content[at : at + 32] = bytes.fromhex(root(slot)[2:])
        header = places["latest_block_header"].at
        self.content[header : header + 8] = self.last.to_bytes(8, "little")

    def _data(self, path: str, data: object, **envelope: object) -> None:
        told = {"data": data, "execution_optimistic": False, "finalized": True, **envelope}
        self.answers[path] = json.dumps(told).encode()

    def _describe_chain(self) -> None:
        head = self.last + 33
        self._data("/eth/v1/config/spec", CONFIG)
        self._data(
            "/eth/v1/beacon/genesis",
            {
                "genesis_time": "1606824023",
                "genesis_validators_root": "0x" + GENESIS_ROOT.hex(),
                "genesis_fork_version": "0x00000000",
            },
        )
        self._data("/eth/v1/node/version", {"version": "made-up/v1"})
        self._data(
            "/eth/v1/node/syncing",
            {
                "head_slot": str(head),
                "sync_distance": "0",
                "is_syncing": False,
                "is_optimistic": False,
                "el_offline": False,
            },
        )
        self._header("head", head)
        for state, epoch in (
            ("head", EPOCH + 2),
            (str(self.last + 1), self.rewards.finalized_epoch),
        ):
            checkpoint = {"epoch": str(epoch), "root": root(epoch * 32)}
            self._data(
                f"/eth/v1/beacon/states/{state}/finality_checkpoints",
                {
                    "previous_justified": checkpoint,
                    "current_justified": checkpoint,
                    "finalized": checkpoint,
                },
            )

    def _describe_epoch(self, members: Any) -> None:
        state = f"/eth/v1/beacon/states/{self.first}"
        self._data(
            f"{state}/committees",
            [
                {
                    "slot": str(self.first + number // COMMITTEES),
                    "index": str(number % COMMITTEES),
                    "validators": [str(index) for index in committee.tolist()],
                }
                for number, committee in enumerate(self.committees)
            ],
        )
        seats = self.random.choice(members, self.spec.sync_committee_size)
        self.seats = [str(index) for index in seats.tolist()]
        self._data(
            f"{state}/sync_committees", {"validators": self.seats, "validator_aggregates": []}
        )
        self._data(
            f"/eth/v2/validator/duties/proposer/{EPOCH}",
            [
                {"slot": str(self.first + number), "validator_index": str(index), "pubkey": ZERO}
                for number, index in enumerate(self.proposers[:32].tolist())
            ],
        )

    def _header(self, name: str, slot: int) -> None:
        message = {
            "slot": str(slot),
            "proposer_index": str(self._proposer(slot)),
            "parent_root": root(slot - 1),
        }
        self._data(
            f"/eth/v1/beacon/headers/{name}",
            {"root": root(slot), "canonical": True, "header": {"message": message}},
        )

    def _proposer(self, slot: int) -> int:
        return int(self.proposers[min(slot - self.first, len(self.proposers) - 1)])

    def _vote(self, slot: int, flags: int, *, right_target: bool = True) -> list[object]:
        """The votes of those attesters of ``slot`` whose flags in the state are ``flags``, as one
        attestation; none if there are none."""
        first = (slot - self.first) * COMMITTEES
        if slot < self.first + 32:
            in_state = self.state.previous_epoch_participation
            votes = [in_state[one] == flags for one in self.committees[first : first + COMMITTEES]]
        else:  # of the next epoch, whose committees nobody asks for
            votes = [self.random.random(len(one)) < 0.97 for one in self.committees[:COMMITTEES]]
        # A committee without a vote is not part of an aggregate.
        voted = np.array([one.any() for one in votes])
        if not voted.any():
            return []
        bits = np.concatenate([one for one in votes if one.any()])
        epoch = slot // 32
        target = root(epoch * 32) if right_target else ZERO
        packed = np.packbits(np.append(bits, True), bitorder="little").tobytes()
        vote = {
            "aggregation_bits": "0x" + packed.hex(),
            "committee_bits": "0x" + np.packbits(voted, bitorder="little").tobytes().hex(),
            "data": {
                "slot": str(slot),
                "index": "0",
                "beacon_block_root": root(slot),
                "source": {"epoch": str(epoch - 1), "root": ZERO},
                "target": {"epoch": str(epoch), "root": target},
            },
        }
        return [vote]

    def _describe_block(self, slot: int) -> None:
        self._header(str(slot), slot)
        votes: list[object] = []
        if slot > self.first:
            votes += self._vote(slot - 1, 7) + self._vote(slot - 1, 1, right_target=False)
        if slot > self.first + 1:
            votes += self._vote(slot - 2, 3)
        if slot > self.first + 2:
            # Blocks are full, mostly of votes that others hold already.
            votes += self._vote(slot - 3, 7) * (ATTESTATIONS - 3)
        swept = self.random.choice(len(self.rewards.active), WITHDRAWALS)
        body = {
            "attestations": votes,
            "proposer_slashings": [],
            "attester_slashings": [],
            "deposits": [],
            "voluntary_exits": [],
            "bls_to_execution_changes": [],
            "sync_aggregate": {"sync_committee_bits": "0x" + "ff" * (len(self.seats) // 8)},
            "execution_payload": {
                "withdrawals": [
                    {"index": "0", "validator_index": str(one), "address": ZERO, "amount": "9"}
                    for one in swept.tolist()
                ]
            },
            "execution_requests": {"deposits": [], "withdrawals": [], "consolidations": []},
        }
        message = {
            "slot": str(slot),
            "proposer_index": str(self._proposer(slot)),
            "parent_root": root(slot - 1),
            "body": body,
        }
        self._data(f"/eth/v2/beacon/blocks/{root(slot)}", {"message": message}, version="fulu")
        self._data(
            f"/eth/v1/beacon/rewards/blocks/{root(slot)}",
            {
                "proposer_index": str(self._proposer(slot)),
                "total": "40000000",
                "attestations": "40000000",
                "sync_aggregate": "0",
                "proposer_slashings": "0",
                "attester_slashings": "0",
            },
        )

    def validators(self, body: Any) -> object:
        """Rows of the registry by index."""
        rows = []
        for index in map(int, body["ids"]):
            row = self.state.validators[index]
            rows.append(
                {
                    "index": str(index),
                    "balance": str(self.state.balances[index]),
                    "status": "active_ongoing",
                    "validator": {
                        name: "0x" + bytes(row[name]).hex()
                        if name in ("pubkey", "withdrawal_credentials")
                        else bool(row[name])
                        if name == "slashed"
                        else str(row[name])
                        for name in row.dtype.names
                    },
                }
            )
        return rows

    def attestation_rewards(self, body: Any) -> object:
        """Rewards of the epoch, of those asked for, and the ideal ones."""
        rewards, groups = self.rewards, self.rewards.groups
        balances = np.arange(2049) * 10**9
        ideal = ideal_attestation_rewards(
            self.spec,
            balances,
            rewards.total_active_balance,
            rewards.participating,
            rewards.inactivity_leak,
        )
        return {
            "ideal_rewards": [
                {
                    "effective_balance": str(balance),
                    "head": str(ideal.head[row]),
                    "target": str(ideal.target[row]),
                    "source": str(ideal.source[row]),
                    "inactivity": "0",
                }
                for row, balance in enumerate(balances.tolist())
            ],
            "total_rewards": [
                {
                    "validator_index": str(index),
                    "head": str(groups.head[group]),
                    "target": str(groups.target[group]),
                    "source": str(groups.source[group]),
                    "inactivity": str(-rewards.inactivity_penalty[index]),
                }
                for index in map(int, body)
                if groups.eligible[group := int(rewards.group[index])]
            ],
        }

    def sync_rewards(self, body: Any) -> object:
        """What each member of the sync committee got for a block."""
        return [{"validator_index": seat, "reward": "22502"} for seat in sorted(set(self.seats))]

    def handler_of(self, path: str) -> Callable[[Any], object] | None:
        """What answers a POST."""
        if path.endswith("/validators"):
            return self.validators
        if "/rewards/attestations/" in path:
            return self.attestation_rewards
        return self.sync_rewards if "/rewards/sync_committee/" in path else None


def main() -> None:
    network = Network(int(sys.argv[1]))
    state_path = f"/eth/v2/debug/beacon/states/{network.last}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _send(self, content: bytes | bytearray | None, kind: str = "application/json") -> None:
            body = b'{"code":404,"message":"not known"}' if content is None else content
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Eth-Consensus-Version", "fulu")
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == state_path:
                self._send(network.content, "application/octet-stream")
            else:
                self._send(network.answers.get(path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            handler = network.handler_of(self.path)
            answer = None if handler is None else {"data": handler(body)}
            self._send(None if answer is None else json.dumps(answer).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
