"""What single rules make of the frames of one epoch."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.rule import EpochFacts
from valmon_pipeline.alerting.rules import BELOW_NETWORK


def test_what_a_group_lost_is_exact_to_the_gwei_and_nothing_where_it_is_unknown() -> None:
    sums = pd.DataFrame(
        {
            "category": ["operator", "operator"],
            "value": ["large", "unknown"],
            "scored_reward": pd.array([2**60 - 12_345, None], dtype="Int64"),
            "scored_ideal_reward": pd.array([2**60 + 1, None], dtype="Int64"),
        }
    )
    network = pd.DataFrame({"reward_effectiveness_p50": [0.99]})
    facts = EpochFacts(7, 32, {"epoch_summaries": sums, "network_epochs": network}, leak=False)
    judged = BELOW_NETWORK.judge(facts, AlertRules().settings("below_network"))
    assert judged.subjects.tolist() == ["operator:large", "operator:unknown"]
    assert judged.cost.tolist() == [12_346, 0]
