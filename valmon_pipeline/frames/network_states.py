"""Of which epochs all validators are stored, and where."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "network_states",
    "The epochs of which every validator of the network is stored, the beacon state each was read "
    "from, and which rows of network_tiles hold it.",
    key=["epoch"],
    partitioned=False,
    columns={
        "epoch": integer("The epoch."),
        "state_slot": integer("Slot of the beacon state: the last one of the epoch after."),
        "validators": integer("Validators in the state: indices from 0 to one less."),
        "committees_per_slot": integer(
            "What committee numbers in network_tiles are divided by; 0 where committees were not "
            "read."
        ),
        "tile_epoch": integer("First epoch of the tiles that hold this one."),
        "tile_epochs": integer("Epochs in each of these tiles."),
        "tile_validators": integer("Validators in each of these tiles."),
    },
    checks=[
        rows_are(
            "is_in_its_tiles",
            "the tiles hold the epoch",
            lambda frame: (
                (frame["tile_epoch"] <= frame["epoch"])
                & (frame["epoch"] - frame["tile_epoch"] < frame["tile_epochs"])
                & (frame["tile_validators"] > 0)
            ),
        )
    ],
)
