"""Which network a schema's data belong to."""

from __future__ import annotations

from valmon_pipeline.frames.columns import ROOT_LENGTH, binary, flag, integer, long_integer, text
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "network_identity",
    "The network whose data this schema holds: one row, written by the first run; data of any "
    "other network are refused.",
    key=["only_row"],
    partitioned=False,
    columns={
        "only_row": flag("Always true: the key that keeps this table at one row."),
        "config_name": text("CONFIG_NAME of the node's specification."),
        "genesis_time": long_integer("Unix time of slot 0, in seconds."),
        "genesis_validators_root": binary("Root that identifies the chain.", ROOT_LENGTH),
        "slots_per_epoch": integer("SLOTS_PER_EPOCH."),
        "slot_duration_ms": integer("Duration of a slot in milliseconds."),
        "partition_epochs": integer(
            "Epochs per child table of the partitioned tables: those of one UTC day."
        ),
    },
    checks=[
        rows_are("one_row", "only_row is true", lambda frame: frame["only_row"]),
        rows_are(
            "partition_epochs_positive",
            "partition_epochs is at least 1",
            lambda frame: frame["partition_epochs"] > 0,
        ),
    ],
)
