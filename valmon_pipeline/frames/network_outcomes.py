"""What validators of the whole network came to, once for all that came to the same."""

from __future__ import annotations

from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.frames.columns import (
    enumeration,
    flag,
    gwei,
    integer,
    long_integer,
    ratio,
)
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "network_outcomes",
    "The different outcomes of an epoch among all validators of the network, the most frequent "
    "first; network_tiles says which one each validator had, and the view network_validators joins "
    "the two. How the network is distributed in an epoch is a sum over this table. Filled with "
    "`whole_network: full`. Amounts are gwei.",
    key=["epoch", "outcome"],
    columns={
        "epoch": integer("The epoch."),
        "outcome": integer("Number of the outcome in this epoch, from 0."),
        "validators": integer("How many validators had it."),
        "status": enumeration("Status in the epoch.", [*ValidatorStatus]),
        "active": flag("Whether they had an attestation duty."),
        "eligible": flag("Whether they got rewards or penalties."),
        "slashed": flag("Whether they were slashed."),
        "source_timely": flag("Whether they earned TIMELY_SOURCE."),
        "target_timely": flag("Whether they earned TIMELY_TARGET."),
        "head_timely": flag("Whether they earned TIMELY_HEAD."),
        "effective_balance": gwei("Effective balance in the state."),
        "inactivity_score": long_integer("Inactivity score that the penalty goes by."),
        "source_reward": gwei("For the source vote, negative where fined.", signed=True),
        "target_reward": gwei("For the target vote, negative where fined.", signed=True),
        "head_reward": gwei("For the head vote.", signed=True),
        "inactivity_penalty": gwei("Penalty in an inactivity leak, a positive amount."),
        "ideal_reward": gwei("Of perfect attestations."),
        "reward_effectiveness": ratio(
            "Rewards less penalties, as a share of the ideal; NULL where nothing was due.",
            minimum=None,
            maximum=None,
        ),
        "percentile_rank": ratio(
            "Rank of the reward effectiveness among all, from 0 to 1; NULL where nothing was due."
        ),
    },
    checks=[
        rows_are("has_members", "somebody had it", lambda frame: frame["validators"] > 0),
    ],
)
