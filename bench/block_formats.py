"""A mainnet-sized block in SSZ and in JSON: bytes on the wire, and CPU to decode it.

    python -m bench.block_formats

The block is made up: eight on-chain aggregates over 64 committees (32,768 attesters each), a full
sync aggregate, 16 withdrawals, six blobs and 200 transactions of about 100 kB. Both formats hold
the same block, and both are decoded to equal objects in turn, in one process; CPU is the median of
the rounds. ``gzip`` is level 6, what most servers use.
"""

from __future__ import annotations

import gzip
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from bench.state_sample import CONFIG
from valmon_pipeline.beacon import decode
from valmon_pipeline.beacon.block_ssz.signed_block import BlockDecoder
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline_tests.beacon.ssz_blocks import signed_block

SLOT: Final = 400_001 * 32 + 31
ROUNDS: Final = 41
ATTESTATIONS: Final = 8
ATTESTERS: Final = 32_768
WITHDRAWALS: Final = 16
BLOBS: Final = 6
TRANSACTIONS: Final = 200
CALLDATA_WORDS: Final = 11
CPU_LIMIT: Final = 0.5
BYTES_LIMIT: Final = 0.55

random = np.random.default_rng(1)


def entropy(length: int) -> str:
    """Bytes that no compression makes smaller: signatures, roots, addresses."""
    return "0x" + random.bytes(length).hex()


def number(most: int) -> str:
    return str(int(random.integers(most)))


def transaction() -> str:
    """Nonce, fees, addresses and signature, and calldata of words: half addresses, half amounts."""
    words = b"".join(
        bytes(12) + random.bytes(20) if random.random() < 0.5 else bytes(24) + random.bytes(8)
        for _ in range(int(random.integers(2 * CALLDATA_WORDS + 1)))
    )
    return "0x02" + (random.bytes(150) + words).hex()


def attestation() -> dict[str, object]:
    bits = random.random(ATTESTERS) < 0.98
    packed = np.packbits(np.append(bits, True), bitorder="little").tobytes()
    return {
        "aggregation_bits": "0x" + packed.hex(),
        "data": {
            "slot": str(SLOT - 1),
            "index": "0",
            "beacon_block_root": entropy(32),
            "source": {"epoch": "400000", "root": entropy(32)},
            "target": {"epoch": "400001", "root": entropy(32)},
        },
        "signature": entropy(96),
        "committee_bits": "0x" + "ff" * 8,
    }


def block(spec: ChainSpec) -> dict[str, object]:
    """A signed block as the Beacon API writes it."""
    payload = {
        "parent_hash": entropy(32),
        "fee_recipient": entropy(20),
        "state_root": entropy(32),
        "receipts_root": entropy(32),
        "logs_bloom": entropy(256),
        "prev_randao": entropy(32),
        "block_number": number(2**25),
        "gas_limit": "45000000",
        "gas_used": number(45_000_000),
        "timestamp": number(2**31),
        "extra_data": entropy(16),
        "base_fee_per_gas": number(2**33),
        "block_hash": entropy(32),
        "transactions": [transaction() for _ in range(TRANSACTIONS)],
        "withdrawals": [
            {
                "index": number(2**27),
                "validator_index": number(2**21),
                "address": entropy(20),
                "amount": number(2**25),
            }
            for _ in range(WITHDRAWALS)
        ],
        "blob_gas_used": str(BLOBS << 17),
        "excess_blob_gas": number(2**27),
    }
    body = {
        "randao_reveal": entropy(96),
        "eth1_data": {
            "deposit_root": entropy(32),
            "deposit_count": number(2**21),
            "block_hash": entropy(32),
        },
        "graffiti": "0x" + b"valmon".ljust(32, b"\0").hex(),
        "proposer_slashings": [],
        "attester_slashings": [],
        "attestations": [attestation() for _ in range(ATTESTATIONS)],
        "deposits": [],
        "voluntary_exits": [],
        "sync_aggregate": {
            "sync_committee_bits": "0x" + "ff" * (spec.sync_committee_size // 8),
            "sync_committee_signature": entropy(96),
        },
        "execution_payload": payload,
        "bls_to_execution_changes": [],
        "blob_kzg_commitments": [entropy(48) for _ in range(BLOBS)],
        "execution_requests": {"deposits": [], "withdrawals": [], "consolidations": []},
    }
    message = {
        "slot": str(SLOT),
        "proposer_index": number(2**21),
        "parent_root": entropy(32),
        "state_root": entropy(32),
        "body": body,
    }
    return {"message": message, "signature": entropy(96)}


def cpu_seconds(read: Callable[[], object]) -> float:
    started = time.process_time()
    read()
    return time.process_time() - started


def main() -> None:
    spec = ChainSpec.from_config(CONFIG)
    fork = spec.fork_at_slot(SLOT)
    made = block(spec)
    envelope = {"version": fork.name.lower(), "execution_optimistic": False, "finalized": True}
    json = msgspec.json.encode({**envelope, "data": made})
    ssz = signed_block(spec, fork).serialize(made)
    zipped_json, zipped_ssz = gzip.compress(json, 6), gzip.compress(ssz, 6)
    decoder = BlockDecoder(spec)

    def from_json(content: bytes) -> Block:
        return decode.block(content)

    def from_ssz(content: bytes) -> Block:
        return decoder.block(fork, content)

    assert from_json(json) == from_ssz(ssz)
    reads: tuple[Callable[[], object], ...] = (
        lambda: from_json(json),
        lambda: from_ssz(ssz),
        lambda: from_json(gzip.decompress(zipped_json)),
        lambda: from_ssz(gzip.decompress(zipped_ssz)),
    )
    rounds = [[cpu_seconds(read) for read in reads] for _ in range(ROUNDS)]
    plain_json, plain_ssz, gzip_json, gzip_ssz = (
        statistics.median(times) * 1e3 for times in zip(*rounds, strict=True)
    )
    cpu, size = plain_ssz / plain_json, len(ssz) / len(json)
    size_gzip, cpu_gzip = len(zipped_ssz) / len(zipped_json), gzip_ssz / gzip_json
    print(f"block of {fork.name.lower()}, {ATTESTATIONS} aggregates, {TRANSACTIONS} transactions")
    print(f"  plain: JSON {len(json) / 1e3:.0f} kB, {plain_json:.2f} ms CPU to decode")
    print(f"  plain: SSZ {len(ssz) / 1e3:.0f} kB, {plain_ssz:.2f} ms")
    print(f"  gzip: JSON {len(zipped_json) / 1e3:.0f} kB, {gzip_json:.2f} ms to unzip and decode")
    print(f"  gzip: SSZ {len(zipped_ssz) / 1e3:.0f} kB, {gzip_ssz:.2f} ms")
    print(f"  SSZ to JSON bytes {size:.2f} (target: at most {BYTES_LIMIT})")
    print(f"  SSZ to JSON bytes as gzip {size_gzip:.2f} (no target)")
    print(f"  SSZ to JSON CPU {cpu:.3f} (target: at most {CPU_LIMIT})")
    print(f"  SSZ to JSON CPU with gzip {cpu_gzip:.2f} (no target)")
    sys.exit(cpu > CPU_LIMIT or size > BYTES_LIMIT)


if __name__ == "__main__":
    main()
