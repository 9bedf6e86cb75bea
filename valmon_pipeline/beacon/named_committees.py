"""Committees without the members that nobody watches: what is kept of an answer of 10 MB.

Decoding votes takes the length of every committee and the places of those whose votes matter. A
row of a kept answer has ``length`` and ``named``, pairs of place and validator index, in place of
``validators``.
"""

from __future__ import annotations

import msgspec
import numpy as np

from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array


def named_committees(committees: Committees, watched: Int64Array) -> bytes:
    """Return the body of an answer that names only ``watched`` members."""
    rows = np.flatnonzero(np.isin(committees.validator_index, watched))
    of_committee = np.searchsorted(committees.offset, rows, side="right") - 1
    named: dict[int, list[tuple[str, str]]] = {}
    for committee, place, index in zip(
        of_committee.tolist(),
        (rows - committees.offset[of_committee]).tolist(),
        committees.validator_index[rows].tolist(),
        strict=True,
    ):
        named.setdefault(committee, []).append((str(place), str(index)))
    columns = (committees.slot, committees.committee_index, committees.length)
    return msgspec.json.encode(
        {
            "data": [
                {
                    "index": str(index),
                    "slot": str(slot),
                    "length": str(length),
                    "named": named.get(number, []),
                }
                for number, (slot, index, length) in enumerate(
                    zip(*(column.tolist() for column in columns), strict=True)
                )
            ]
        }
    )
