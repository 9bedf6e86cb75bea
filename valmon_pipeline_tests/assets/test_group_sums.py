"""Groups of the recorded devnet, summed up again one validator at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.sums import sum_columns
from valmon_pipeline.frames.validator_penalties import PENALTY_TYPES
from valmon_pipeline.scoring.miss_causes import MissCause
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, client_opener, compute
from valmon_pipeline_tests.assets.stored import fresh_warehouse

EPOCHS = range(14, 25)
"""Misses, proposals, slashings, exits, a fork and the beginning of a leak."""

MOVE = 18
FLOATS = [
    "attestation_effectiveness_sum",
    "attestation_effectiveness_weighted_sum",
    "reward_effectiveness_sum",
]
BALANCES = ["opening_balance", "closing_balance"]
EXACT = ["validators", *(name for name in sum_columns() if name not in FLOATS), *BALANCES]


def history() -> pd.DataFrame:
    """Every third validator without operator; those of ``a`` below 30 move to ``b`` at MOVE."""
    first = [(index, "operator", "ab"[index % 2]) for index in range(129) if index % 3]
    regions = [(index, "region", "x") for index in range(0, 129, 2)]
    moved = [(i, c, "b" if i < 30 else v) for i, c, v in first]
    return merge_labels(merge_labels(no_labels(), [*first, *regions], 0), [*moved, *regions], MOVE)


def operator_of(index: int, epoch: int) -> str:
    if index % 3 == 0:
        return ""
    return "b" if epoch >= MOVE and index < 30 else "ab"[index % 2]


@pytest.fixture(scope="module", params=[NETWORK, FEW], ids=["network", "few"])
def computed(request: pytest.FixtureRequest, true_node_url: str) -> Computed:
    return compute(true_node_url, request.param, EPOCHS, history())


def groups(computed: Computed, epoch: int) -> Iterator[tuple[tuple[str, str], pd.Series]]:
    frame = computed.frames[epoch].tables["epoch_summaries"]
    for _, row in frame.iterrows():
        yield (row["category"], row["value"]), row


def members_of(computed: Computed, epoch: int, name: tuple[str, str]) -> set[int]:
    category, value = name
    return {
        index
        for index in computed.answers[epoch].watched.tolist()
        if category == "all"
        or (category == "operator" and operator_of(index, epoch) == value)
        or (category == "region" and ("x" if index % 2 == 0 else "") == value)
    }


def one_by_one(computed: Computed, epoch: int, members: set[int]) -> dict[str, Any]:
    """The sums of a group, with Python's integers, a row at a time."""
    tables = computed.frames[epoch].tables

    def rows(table: str, validator: str = "validator_index") -> list[dict[Any, Any]]:
        frame = tables[table]
        return frame[frame[validator].isin(members)].to_dict("records")

    def summed(values: list[Any]) -> int:
        return sum(value for value in values if not pd.isna(value))

    def known(values: list[Any]) -> int | None:
        return None if any(pd.isna(value) for value in values) else sum(values)

    outcomes, rewards = rows("attestation_outcomes"), rows("attestation_rewards")
    scores, sync = rows("effectiveness_scores"), rows("sync_duties")
    sync_rewards, proposals = rows("sync_rewards"), rows("proposer_duties")
    blocks, penalties = rows("block_rewards", "proposer_index"), rows("validator_penalties")
    ledger = rows("balance_ledger")
    balances = {row["validator_index"]: row["effective_balance"] for row in rewards}
    judged = [row for row in scores if not pd.isna(row["attestation_effectiveness"])]
    of_ideal = [row["reward_effectiveness"] for row in scores]
    of_ideal = [value for value in of_ideal if not pd.isna(value)]
    scored = [row for row in rewards if not pd.isna(row["ideal_total"]) and row["ideal_total"] > 0]
    flags = ("source_timely", "target_timely", "head_timely", "target_correct", "head_correct")
    causes: dict[str, Any] = {}
    for cause in MissCause:
        of_cause = [row for row in outcomes if row["miss_cause"] == cause.value]
        causes[f"misses_{cause.value}"] = len(of_cause)
        causes[f"cost_{cause.value}"] = known([row["cost"] for row in of_cause])
    return causes | {
        "validators": len(members),
        "duties": len(outcomes),
        "included": sum(row["included"] for row in outcomes),
        "missed": sum(
            not row["included"] and not pd.isna(row["earliest_inclusion_slot"]) for row in outcomes
        ),
        "inclusion_delay_sum": sum(row["inclusion_delay"] for row in outcomes if row["included"]),
        **{name: sum(row[name] for row in outcomes) for name in flags},
        "attestation_effectiveness_sum": sum(row["attestation_effectiveness"] for row in judged),
        "attestation_effectiveness_duties": len(judged),
        "attestation_effectiveness_weighted_sum": sum(
            row["attestation_effectiveness"] * balances[row["validator_index"]] for row in judged
        ),
        "attestation_effectiveness_weight": sum(balances[row["validator_index"]] for row in judged),
        "effective_balance_epochs": sum(balances.values()),
        "reward": summed([row["total_reward"] for row in rewards]),
        "rewards_known": sum(not pd.isna(row["total_reward"]) for row in rewards),
        "ideal_reward": known([row["ideal_total"] for row in rewards]),
        "attainable_reward": known([row["attainable_total"] for row in rewards]),
        "scored_reward": sum(row["total_reward"] for row in scored),
        "scored_ideal_reward": sum(row["ideal_total"] for row in scored),
        "reward_effectiveness_sum": sum(of_ideal),
        "reward_effectiveness_count": len(of_ideal),
        "cost": known([row["cost"] for row in outcomes]),
        "sync_due": sum(row["due"] for row in sync),
        "sync_participated": sum(row["participated"] for row in sync),
        "sync_reward": summed([row["reward"] for row in sync_rewards]),
        "sync_due_rewarded": sum(
            duty["due"]
            for duty in sync
            for reward in sync_rewards
            if reward["validator_index"] == duty["validator_index"]
            and not pd.isna(reward["reward"])
        ),
        "sync_ideal_reward": known([row["ideal_reward"] for row in sync_rewards]),
        "proposals_due": len(proposals),
        "proposals_proposed": sum(row["outcome"] == "proposed" for row in proposals),
        "proposal_reward": summed([row["total"] for row in blocks]),
        "proposals_rewarded": sum(
            row["outcome"] == "proposed" and not pd.isna(row["total"]) for row in blocks
        ),
        "proposal_missed_estimate": known(
            [row["missed_estimate"] for row in blocks if row["outcome"] != "proposed"]
        ),
        "missed_reward": sum(
            row["ideal_total"] - row["total_reward"]
            for row in rewards
            if not pd.isna(row["ideal_total"])
        ),
        **{
            f"penalty_{kind}": sum(
                row["penalty_gwei"] for row in penalties if row["penalty_type"] == kind
            )
            for kind in PENALTY_TYPES
        },
        **{
            f"ledger_{name}": summed([row[name] for row in ledger])
            for name in (*COMPONENTS, "full_withdrawals", "residual")
        },
        "ledger_residual_rows": sum(
            not pd.isna(row["residual"]) and row["residual"] != 0 for row in ledger
        ),
        "ledger_unknown_rows": sum(pd.isna(row["residual"]) for row in ledger),
        **{name: sum(row[name] for row in ledger) for name in BALANCES},
    }


def test_sums_are_those_of_the_members_one_by_one(computed: Computed) -> None:
    seen = set()
    for epoch in EPOCHS:
        for name, row in groups(computed, epoch):
            members = members_of(computed, epoch, name)
            assert members, name
            expected = one_by_one(computed, epoch, members)
            assert expected.keys() == {"validators", *sum_columns(), *BALANCES}
            for column in EXACT:
                value = None if pd.isna(row[column]) else row[column]
                assert value == expected[column], (epoch, name, column)
            for column in FLOATS:
                assert row[column] == pytest.approx(expected[column], rel=1e-12)
            seen |= {column for column, value in expected.items() if value}
    # A sum that is zero everywhere has shown nothing.
    assert {"missed", "proposals_proposed", "sync_reward", "cost_not_included"} <= seen
    assert {"penalty_attestation_miss", "ledger_attestation", "opening_balance"} <= seen


def test_a_validator_that_moves_counts_for_its_old_operator_before(computed: Computed) -> None:
    def validators(epoch: int, value: str) -> int:
        return sum(row["validators"] for name, row in groups(computed, epoch) if name[1] == value)

    watched = computed.answers[MOVE - 1].watched.tolist()
    moving = [i for i in watched if i < 30 and operator_of(i, MOVE - 1) == "a"]
    assert moving
    before, since = validators(MOVE - 1, "b"), validators(MOVE, "b")
    joined = set(computed.answers[MOVE].watched.tolist()) - set(watched)
    assert since == before + len(moving) + sum(operator_of(i, MOVE) == "b" for i in joined)


def test_every_category_adds_up_to_everybody(computed: Computed) -> None:
    for epoch in EPOCHS:
        frame = computed.frames[epoch].tables["epoch_summaries"]
        everybody = frame[frame["category"] == "all"].reset_index(drop=True)
        for _, part in frame.groupby("category"):
            for column in EXACT:
                summed, total = part[column].sum(skipna=False), everybody[column].sum(skipna=False)
                assert pd.isna(summed) == pd.isna(total)
                assert pd.isna(summed) or summed == total


def test_stored_labels_group_the_epochs_of_a_run(database_url: str, true_node_url: str) -> None:
    with fresh_warehouse(database_url) as warehouse:
        warehouse.replace_table("validator_labels", history())
        EpochLoader(client_opener(true_node_url), warehouse, FEW).run([MOVE - 1, MOVE])
        stored = warehouse.read("epoch_summaries")
    names = stored[stored["epoch"] == MOVE][["category", "value"]].to_numpy(object).tolist()
    assert names == sorted(names)
    assert ["all", "all"] in names
    assert ["operator", ""] in names
    assert ["operator", "b"] in names
    assert np.all(stored["formula_version"] > 0)
