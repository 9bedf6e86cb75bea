"""The validators that are or were watched."""

from __future__ import annotations

from valmon_pipeline.frames.columns import (
    PUBKEY_LENGTH,
    ROOT_LENGTH,
    binary,
    enumeration,
    flag,
    integer,
)
from valmon_pipeline.frames.contract import table

CREDENTIAL_TYPES = ("bls", "execution", "compounding", "unknown")
"""By the first byte of the withdrawal credentials: 0x00, 0x01, 0x02, and anything else, which the
deposit contract does not prevent."""

CONTRACT = table(
    "validators",
    "Validators as the registry describes them: the identity and life cycle of each.",
    key=["validator_index"],
    partitioned=False,
    columns={
        "validator_index": integer("Position in the registry; never changes."),
        "pubkey": binary("BLS public key, 48 bytes.", PUBKEY_LENGTH),
        "withdrawal_credentials": binary("Withdrawal credentials, 32 bytes.", ROOT_LENGTH),
        "credential_type": enumeration(
            "Kind of the withdrawal credentials by their first byte: bls 0x00, execution 0x01, "
            "compounding 0x02, unknown otherwise.",
            CREDENTIAL_TYPES,
        ),
        "slashed": flag("Whether the validator was slashed."),
        "activation_eligibility_epoch": integer(
            "Epoch since which it may be activated; NULL while not set.", nullable=True
        ),
        "activation_epoch": integer("First epoch with duties; NULL while not set.", nullable=True),
        "exit_epoch": integer("First epoch without duties; NULL while not set.", nullable=True),
        "withdrawable_epoch": integer(
            "Epoch since which the whole balance may be withdrawn; NULL while not set.",
            nullable=True,
        ),
    },
)
