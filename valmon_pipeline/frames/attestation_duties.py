"""When and where each validator had to attest."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "attestation_duties",
    "The one attestation each active validator owes per epoch.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("Epoch of the duty."),
        "validator_index": integer("The validator."),
        "slot": integer("Slot to attest to."),
        "committee_index": integer("Committee within the slot."),
        "committee_position": integer("Position in the committee: its bit in the attestation."),
        "committee_length": integer("Members of the committee."),
    },
    checks=[
        rows_are(
            "position_in_committee",
            "committee_position is below committee_length",
            lambda frame: frame["committee_position"] < frame["committee_length"],
        )
    ],
)
