"""What a client did, for the metadata of a materialization and for benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ClientStatistics:
    """Running totals of one client.

    ``requests`` counts what was sent, retries included; ``bytes_received`` is the size of the
    answers after decompression; ``seconds_waited`` the time spent in back-off and rate limiting,
    summed over concurrent requests.
    """

    requests: int = 0
    retries: int = 0
    bytes_received: int = 0
    seconds_waited: float = 0.0
