"""The most bytes of an answer that are read, by endpoint.

Most answers are a few kilobytes, so that a megabyte is plenty. Only where an answer grows with the
registry, the blocks or a queue is more allowed, with room for about ten million validators. A node
that sends more is broken or hostile, and is given up at the limit.
"""

from __future__ import annotations

from typing import Final

MEGABYTE: Final = 1 << 20
SMALL_BYTES: Final = MEGABYTE
"""The limit of every endpoint that is not listed, and of every answer that is not of status 200."""
_ROW_BYTES: Final = 1024
"""The most that one validator takes in an answer about validators that were named."""

_LIMITS: Final[dict[str, int]] = {
    # 0.5 kB a validator: mainnet's whole registry is about 1 GB.
    "/eth/v1/beacon/states/{}/validators": 4096 * MEGABYTE,
    "/eth/v1/beacon/states/{}/committees": 128 * MEGABYTE,  # 10 bytes a validator
    "/eth/v1/beacon/rewards/attestations/{}": 1024 * MEGABYTE,  # 0.1 kB a validator
    "/eth/v1/beacon/rewards/sync_committee/{}": 4 * MEGABYTE,
    "/eth/v1/validator/duties/attester/{}": 1024 * MEGABYTE,  # 0.3 kB a validator
    "/eth/v1/validator/duties/sync/{}": 64 * MEGABYTE,
    "/eth/v1/validator/duties/proposer/{}": MEGABYTE,
    # Gossip bounds a block to 10 MiB of SSZ, JSON doubles that.
    "/eth/v1/beacon/blinded_blocks/{}": 64 * MEGABYTE,
    "/eth/v2/beacon/blocks/{}": 64 * MEGABYTE,
    "/eth/v2/beacon/blocks/{}/attestations": 64 * MEGABYTE,
    # 0.5 kB a deposit; nothing but the price bounds the queue.
    "/eth/v1/beacon/states/{}/pending_deposits": 512 * MEGABYTE,
    "/eth/v1/beacon/states/{}/pending_consolidations": 64 * MEGABYTE,
    "/eth/v1/beacon/states/{}/pending_partial_withdrawals": 64 * MEGABYTE,
    # SSZ; the connection's own limit for states is lower.
    "/eth/v2/debug/beacon/states/{}": 4096 * MEGABYTE,
}


def body_limit(endpoint: str, named: int | None = None) -> int:
    """Return the most bytes of an answer of ``endpoint`` (see ``request_observer.endpoint_of``).

    ``named`` is the number of validators that the request names, None if it asks for all.
    """
    limit = _LIMITS.get(endpoint, SMALL_BYTES)
    if named is None or limit <= SMALL_BYTES:
        return limit
    return min(limit, SMALL_BYTES + named * _ROW_BYTES)
