"""The table ``network_tiles``: what of an epoch is each validator's own, packed into arrays.

It is no frame, so no contract describes it: a row holds the arrays of several hundred validators,
or of some validators and all epochs of a day. ``storage.network_rows`` writes and reads them, the
view ``network_validators`` shows them as one row per validator and epoch.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

TILES: Final = "network_tiles"
TILE_KEY: Final = ("epoch", "epochs", "first_validator")
DESCRIPTION: Final = (
    "What of each validator's epoch is its own, for the whole network: a row is a tile of some "
    "validators and epochs, every array has an element per validator and epoch, first the first "
    "validator's epochs, then the next one's. An epoch comes in tiles of one epoch and is packed "
    "into tiles of a day once the day is final. network_states says which tiles hold an epoch; the "
    "view network_validators and the function network_validator_history unpack them."
)
KEY_COLUMNS: Final = {
    "epoch": "First epoch of the tile.",
    "epochs": "Epochs in the tile.",
    "first_validator": "First validator of the tile.",
}
ARRAYS: Final[dict[str, tuple[int, str]]] = {
    "outcome": (
        4,
        "Number of the outcome in network_outcomes; -1 without a validator, or an epoch.",
    ),
    "balance_ether": (
        4,
        "Balance in the state: whole ether; in a tile of several epochs, what that has changed by.",
    ),
    "balance_gwei": (4, "The rest of it, gwei, in the same way."),
    "committee": (
        2,
        "Slot in the epoch × committees_per_slot + index of the committee; -1 without a duty.",
    ),
    "committee_position": (2, "Position in the committee; -1 without."),
}
"""The arrays: bytes of an element, and what it means."""

KEPT_AS_CHANGES: Final = ("balance_ether", "balance_gwei")
"""Arrays that hold changes in tiles of several epochs. Most epochs change a balance by the same
amount, so that these compress to a fraction; 0 where the epoch is not stored."""

_TYPES: Final = {2: sa.SmallInteger, 4: sa.Integer}


def tile_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table to ``metadata``."""
    return sa.Table(
        TILES,
        metadata,
        *(
            sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False, comment=comment)
            for name, comment in KEY_COLUMNS.items()
        ),
        *(
            sa.Column(name, ARRAY(_TYPES[size]()), nullable=False, comment=comment)
            for name, (size, comment) in ARRAYS.items()
        ),
        comment=DESCRIPTION,
        postgresql_partition_by="RANGE (epoch)",
    )
