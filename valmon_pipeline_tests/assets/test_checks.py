"""Each check fails when an answer is wrong in its way, it alone, and it names the offender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.config.watch import Watch
from valmon_pipeline_tests.assets.epochs import CHECKS, FEW, NETWORK, compute
from valmon_pipeline_tests.assets.faulty_node import Faults, Spoil
from valmon_pipeline_tests.recording import devnet

EPOCH = 11  # slots 88 to 95, all but 91 with blocks


@dataclass(frozen=True, slots=True)
class Lie:
    """One value of one answer that is not true, and the one check that must notice.

    What was paid shows in a balance as well: if it is ``booked``, the ledger notices too.
    """

    check: str
    path: str
    spoil: Spoil
    example: dict[str, str]
    watch: Watch = NETWORK
    booked: bool = False


def in_row(key: str, value: str, change: Callable[[dict[str, Any]], None], *place: str) -> Spoil:
    """Change the row whose ``key`` is ``value`` in the list at ``place`` of the body."""

    def spoil(body: Any) -> None:
        rows = body
        for part in place or ("data",):
            rows = rows[part]
        matching = [row for row in rows if row[key] == value]
        assert len(matching) == 1
        change(matching[0])

    return spoil


def without_row(key: str, value: str, *place: str) -> Spoil:
    """Leave out the row whose ``key`` is ``value``."""

    def spoil(body: Any) -> None:
        rows = body
        for part in place:
            rows = rows[part]
        before = len(rows)
        rows[:] = [row for row in rows if row[key] != value]
        assert len(rows) == before - 1

    return spoil


def adding(field: str, gwei: int) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row[field] = str(int(row[field]) + gwei)

    return change


def setting(field: str, value: str) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        assert row[field] != value
        row[field] = value

    return change


def activated_later(row: dict[str, Any]) -> None:
    row["validator"]["activation_epoch"] = "40"


REWARDS = rf"/eth/v1/beacon/rewards/attestations/{EPOCH}"
TOTAL = ("data", "total_rewards")
IDEAL = ("data", "ideal_rewards")

BLOCK = f"0x{devnet().blocks(8 * EPOCH + 2, 8 * EPOCH + 2)[0].parent_root.hex()}"
LEDGER_CHECK = "balance_ledger.every_gwei_is_accounted_for"

LIES = [
    Lie(
        "attestation_duties.every_active_validator_has_one_duty",
        rf"/eth/v1/beacon/states/{8 * EPOCH}/validators",
        in_row("index", "90", activated_later),
        {"validator_index": "90", "found": "duty though not active"},
        FEW,  # with the whole registry, the total active balance would be wrong as well
    ),
    Lie(
        "proposer_duties.proposers_match_blocks",
        rf"/eth/v1/validator/duties/proposer/{EPOCH}",
        in_row("slot", "90", setting("validator_index", "0")),
        {"slot": "90", "duty": "0"},
    ),
    Lie(
        "attestation_outcomes.flags_match_rewards",
        REWARDS,
        in_row("validator_index", "0", setting("head", "0"), *TOTAL),
        {"validator_index": "0", "head_timely": "True", "head_reward": "0"},
    ),
    Lie(
        "attestation_rewards.every_eligible_validator_has_a_reward",
        REWARDS,
        without_row("validator_index", "0", *TOTAL),
        {"validator_index": "0"},
    ),
    Lie(
        "attestation_rewards.ideal_rewards_match_node",
        REWARDS,
        in_row("effective_balance", "32000000000", adding("target", 1), *IDEAL),
        {"effective_balance": "32000000000"},
    ),
    Lie(
        "attestation_rewards.rewards_within_attainable",
        REWARDS,
        in_row("validator_index", "0", adding("source", 1), *TOTAL),
        {"validator_index": "0"},
    ),
    Lie(
        "sync_rewards.rewards_match_seats",
        f"/eth/v1/beacon/rewards/sync_committee/{BLOCK}",
        lambda body: adding("reward", 1)(body["data"][0]),
        {},
        booked=True,
    ),
    Lie(
        "block_rewards.rewards_go_to_proposers",
        f"/eth/v1/beacon/rewards/blocks/{BLOCK}",
        lambda body: setting("proposer_index", "127")(body["data"]),
        {"proposer_index": "127"},
        booked=True,
    ),
    Lie(
        LEDGER_CHECK,
        rf"/eth/v1/beacon/states/{8 * EPOCH + 8}/validators",
        in_row("index", "40", adding("balance", -1)),
        {"validator_index": "40", "residual": "-1"},
    ),
]


GROUPS_ADD_UP = "epoch_summaries.groups_add_up"
# The recorded chain has no states to lie about; see test_network_state.
OF_STATES = {
    "attestation_rewards.rewards_match_state",
    "network_bands.network_state_was_read",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.check)
def test_a_wrong_value_fails_its_check_and_only_that(
    faults: Faults, node_url: str, lie: Lie
) -> None:
    with faults.spoiling(lie.path, lie.spoil, times=1):
        computed = compute(node_url, lie.watch, [EPOCH])
    failing = computed.failing_checks()
    expected = {lie.check, LEDGER_CHECK} if lie.booked else {lie.check}
    assert set(failing) == {(EPOCH, check) for check in expected}
    result = failing[EPOCH, lie.check]
    assert result.failing == len(result.examples) == 1
    assert lie.example.items() <= dict(result.examples[0]).items()
    stored = computed.frames[EPOCH].tables["check_results"].set_index("check_name")
    assert set(stored.index) == CHECKS
    assert set(stored.index[~stored["passed"]]) == expected
    assert stored.loc[lie.check, "failing_count"] == 1
    assert stored.loc[lie.check, "detail"] == result.detail != ""


def test_every_check_has_its_lie() -> None:
    assert {lie.check for lie in LIES} | {GROUPS_ADD_UP} | OF_STATES == CHECKS


def test_labels_that_overlap_fail_the_check_of_the_groups(true_node_url: str) -> None:
    """No node can tell that lie: it takes somebody who edits the table of labels."""
    labels = merge_labels(no_labels(), [(0, "operator", "a"), (5, "operator", "b")], 0)
    twice = pd.concat([labels, labels.head(1).assign(from_epoch=EPOCH, value="b")])
    computed = compute(true_node_url, NETWORK, [EPOCH], twice)
    assert set(computed.failing_checks()) == {(EPOCH, GROUPS_ADD_UP)}
    result = computed.failing_checks()[EPOCH, GROUPS_ADD_UP]
    everybody = len(computed.answers[EPOCH].watched)
    assert {
        "category": "operator",
        "column": "validators",
        "sum": str(everybody + 1),
        "everybody": str(everybody),
    } in result.examples


def test_at_most_five_offenders_are_named_and_all_are_counted(
    faults: Faults, node_url: str
) -> None:
    def spoil(body: Any) -> None:
        for row in body["data"]["total_rewards"]:
            row["head"] = "0"

    with faults.spoiling(REWARDS, spoil):
        computed = compute(node_url, NETWORK, [EPOCH])
    result = computed.failing_checks()[EPOCH, "attestation_outcomes.flags_match_rewards"]
    assert result.failing > 100
    assert len(result.examples) == 5
