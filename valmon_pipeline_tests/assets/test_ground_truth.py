"""On every recorded epoch: what valmon stores is what the node said, and what it derives agrees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.config.watch import Watch
from valmon_pipeline.frames import violations
from valmon_pipeline_tests.assets.epochs import CHECKS_OF_STATES, FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet

EPOCHS = range(FIRST_EPOCH, LAST_EPOCH + 1)
LEAK_EPOCHS = range(21, 27)


@pytest.fixture(scope="module", params=[NETWORK, FEW], ids=["network", "few"])
def watch(request: pytest.FixtureRequest) -> Watch:
    assert isinstance(request.param, Watch)
    return request.param


@pytest.fixture(scope="module")
def computed(true_node_url: str, watch: Watch) -> Computed:
    return compute(true_node_url, watch, EPOCHS)


def watched(watch: Watch, indices: set[int]) -> set[int]:
    return indices if watch.network else indices & watch.indices


def test_every_check_passes_for_every_epoch(computed: Computed) -> None:
    assert {key: result.detail for key, result in computed.failing_checks().items()} == {}
    compared = pd.DataFrame(
        [
            (result.name, epoch, result.compared)
            for epoch, frames in computed.frames.items()
            for result in frames.checks
        ],
        columns=["check", "epoch", "compared"],
    )
    # A check that compared nothing has shown nothing.
    compared = compared[~compared["check"].isin(CHECKS_OF_STATES)]
    assert (compared.groupby("check")["compared"].sum() > 0).all()


def test_every_frame_keeps_its_contract(computed: Computed) -> None:
    for name in next(iter(computed.frames.values())).tables:
        frames = [frames.tables[name] for frames in computed.frames.values()]
        assert violations(name, pd.concat(frames, ignore_index=True)) == ()


def test_attestation_rewards_are_those_of_the_node(computed: Computed, watch: Watch) -> None:
    for epoch, frames in computed.frames.items():
        reported = devnet().attestation_rewards(epoch).total
        rows = frames.tables["attestation_rewards"].set_index("validator_index")
        assert set(rows.index) == watched(watch, set(reported))
        for index, row in rows.iterrows():
            assert isinstance(index, int)
            assert {
                "source": row["source_reward"],
                "target": row["target_reward"],
                "head": row["head_reward"],
                "inactivity": -row["inactivity_penalty"],
            } == reported[index]


def test_ideal_rewards_are_those_of_the_node(computed: Computed) -> None:
    for epoch, frames in computed.frames.items():
        reported = devnet().attestation_rewards(epoch).ideal
        rows = frames.tables["attestation_rewards"]
        assert rows["ideal_total"].notna().all()
        by_balance = rows.groupby("effective_balance")[
            ["ideal_source", "ideal_target", "ideal_head"]
        ]
        assert (by_balance.nunique() == 1).all(axis=None)
        for balance, ideal in by_balance.first().iterrows():
            assert isinstance(balance, int)
            expected = reported[balance]
            assert ideal.tolist() == [expected["source"], expected["target"], expected["head"]]


def test_the_leak_pays_nothing(computed: Computed) -> None:
    for epoch, frames in computed.frames.items():
        leak = bool(frames.tables["network_epochs"]["leak"].iloc[0])
        assert leak == (epoch in LEAK_EPOCHS)
        assert ((frames.tables["attestation_rewards"]["ideal_total"] == 0) == leak).all()
        scores = frames.tables["effectiveness_scores"]
        if leak:
            assert scores["reward_effectiveness"].isna().all()


def test_losses_are_priced_and_laid_at_the_right_door(computed: Computed, watch: Watch) -> None:
    """What the incidents of the recorded chain cost, see its README."""
    outcomes = pd.concat(
        [frames.tables["attestation_outcomes"] for frames in computed.frames.values()]
    )
    rewards = pd.concat(
        [frames.tables["attestation_rewards"] for frames in computed.frames.values()]
    )
    assert (outcomes.loc[outcomes["miss_cause"].isna(), "cost"] == 0).all()
    missed = rewards[["missed_source", "missed_target", "missed_head"]].sum(axis=1)
    with_duty = rewards.assign(missed=missed).merge(outcomes, on=["epoch", "validator_index"])
    assert (with_duty["missed"] == with_duty["cost"]).all()

    causes = outcomes["miss_cause"].astype("str")
    slashed = outcomes[causes == "slashed"]
    assert set(slashed["validator_index"]) == {100, 121, 122}
    never_included = outcomes[(causes == "not_included") & (outcomes["validator_index"] == 127)]
    assert never_included["epoch"].tolist() == list(EPOCHS)
    if watch.network:
        assert causes.value_counts().to_dict() == {
            "not_included": 679,
            "next_block_missed": 576,
            "late_block": 105,
            "slashed": 18,
            "late_inclusion": 8,
        }
        # Blocks were delayed on purpose in epochs 13 to 16; reorgs left blocks behind elsewhere.
        assert set(outcomes[causes == "late_block"]["epoch"]) == {1, 2, 13, 15, 35, 36, 37}


def test_block_rewards_are_those_of_the_node(computed: Computed, watch: Watch) -> None:
    spec = devnet().spec
    seen = missed = 0
    for epoch, frames in computed.frames.items():
        rows = frames.tables["block_rewards"].set_index("slot").drop(columns="epoch")
        paid = ["proposer_index", "total", "attestations", "sync_aggregate"]
        paid += ["proposer_slashings", "attester_slashings"]
        slots = range(spec.first_slot(epoch), spec.first_slot(epoch + 1))
        ours = watched(watch, set(range(129)))
        duties = frames.tables["proposer_duties"].set_index("slot")["validator_index"]
        assert rows.index.tolist() == [slot for slot in slots if duties[slot] in ours]
        for slot, row in rows.iterrows():
            assert isinstance(slot, int)
            if devnet().header(slot) is None:
                assert row["outcome"] == "missed"
                assert row[paid].tolist() == [duties[slot], 0, 0, 0, 0, 0]
                assert 10**6 < row["missed_estimate"] < 10**7
                missed += 1
                continue
            assert row["outcome"] == "proposed"
            assert pd.isna(row["missed_estimate"])
            assert row[paid].to_dict() == devnet().block_rewards(slot)
            seen += 1
    assert missed > 3
    assert seen > 10


def test_sync_rewards_are_those_of_the_node_summed(computed: Computed, watch: Watch) -> None:
    spec = devnet().spec
    for epoch, frames in computed.frames.items():
        members = set(devnet().sync_committee(epoch).tolist())
        expected = dict.fromkeys(sorted(watched(watch, members)), 0)
        for slot in range(spec.first_slot(epoch), spec.first_slot(epoch + 1)):
            if devnet().header(slot):
                for index, reward in devnet().sync_rewards(slot).items():
                    if index in expected:
                        expected[index] += reward
        rows = frames.tables["sync_rewards"].set_index("validator_index")
        assert rows["reward"].to_dict() == expected
        assert rows["ideal_reward"].notna().all()
        assert (rows["reward"] <= rows["ideal_reward"]).all()
        duties = frames.tables["sync_duties"].set_index("validator_index")
        assert rows["seats"].to_dict() == duties["seats"].to_dict()
        net = duties["participated"].astype("int64") - duties["missed"]
        assert (net * rows["seat_reward"] == rows["reward"]).all()


def test_snapshots_are_the_recorded_states(computed: Computed, watch: Watch) -> None:
    spec = devnet().spec
    for epoch, frames in computed.frames.items():
        rows = frames.tables["validator_snapshots"]
        assert set(rows["slot"]) == {spec.first_slot(epoch), spec.first_slot(epoch + 1)}
        for state_epoch in (epoch, epoch + 1):
            registry = devnet().registry(state_epoch)
            recorded = pd.DataFrame(
                {
                    "validator_index": registry.validator_index,
                    "status": devnet().statuses(state_epoch),
                    "balance": registry.balance,
                    "effective_balance": registry.effective_balance,
                }
            )
            ours = watched(watch, set(registry.validator_index.tolist()))
            recorded = recorded[recorded["validator_index"].isin(ours)]
            snapshot = rows[rows["slot"] == spec.first_slot(state_epoch)]
            for column in recorded.columns:
                assert snapshot[column].tolist() == recorded[column].tolist(), column


def test_duties_are_those_announced_while_they_were_current(
    computed: Computed, watch: Watch
) -> None:
    columns = ["slot", "committee_index", "committee_position", "committee_length"]
    for epoch, frames in computed.frames.items():
        announced = devnet().attester_duties(epoch)
        rows = frames.tables["attestation_duties"].set_index("validator_index")[columns]
        assert set(rows.index) == watched(watch, set(announced))
        assert dict(zip(rows.index, rows.itertuples(index=False, name=None), strict=True)) == {
            index: announced[index] for index in rows.index
        }


def test_sync_duties_count_the_bits_of_the_blocks(computed: Computed, watch: Watch) -> None:
    spec = devnet().spec
    for epoch, frames in computed.frames.items():
        seats = devnet().sync_committee(epoch)
        last = spec.first_slot(epoch + 1) - 1
        signed = np.zeros(len(seats), dtype=np.int64)
        blocks = devnet().blocks(spec.first_slot(epoch), last)
        for block in blocks:
            assert block.sync_committee_bits is not None
            bits = int.from_bytes(block.sync_committee_bits, "little")
            signed += [bits >> seat & 1 for seat in range(len(seats))]
        for row in frames.tables["sync_duties"].itertuples():
            held = seats == row.validator_index
            assert row.seats == held.sum()
            assert row.due == held.sum() * len(blocks)
            assert row.participated == signed[held].sum()


def test_empty_slots_are_missed_by_their_proposers(computed: Computed) -> None:
    spec = devnet().spec
    missed = 0
    for epoch, frames in computed.frames.items():
        slots = list(range(spec.first_slot(epoch), spec.first_slot(epoch + 1)))
        empty = [devnet().header(slot) is None for slot in slots]
        for table, column in (("blocks", "status"), ("proposer_duties", "outcome")):
            frame = frames.tables[table]
            assert frame["slot"].tolist() == slots
            assert (frame[column] == "missed").tolist() == empty
            assert frame["block_root"].isna().tolist() == empty
        assert frames.tables["blocks"]["proposer_index"].notna().all()
        missed += sum(empty)
    assert missed == 48


def test_few_watched_validators_score_as_they_do_among_all(true_node_url: str) -> None:
    """Ideal rewards from the node's rows or from the whole registry: the same scores."""
    everybody = compute(true_node_url, NETWORK, range(18, 22))
    alone = compute(true_node_url, FEW, range(18, 22))
    with_registry = compute(
        true_node_url, Watch(indices=FEW.indices, registry_limit=20_000), range(18, 22)
    )
    for epoch in alone.frames:
        exact = with_registry.frames[epoch].tables
        for table, frame in alone.frames[epoch].tables.items():
            if table in ("network_bands", "network_epochs", "check_results", "fact_sources"):
                continue
            if table == "attestation_rewards":  # without the registry some penalties have no price
                for part in ("source", "target", "head", "total"):
                    attainable = frame[f"attainable_{part}"]
                    known = attainable.notna()
                    assert known.any()
                    assert (attainable == exact[table][attainable.name])[known].all()
                    frame = frame.drop(columns=str(attainable.name))
            if table == "epoch_summaries":  # nor has a sum of them
                frame = frame.drop(columns="attainable_reward")
            if table == "effectiveness_scores":  # nor is there a network to compare with
                ranks = ["network_percentile_rank", "band_percentile_rank"]
                assert frame[ranks].isna().all(axis=None)
                known = frame["attainable_effectiveness"].notna()
                attainable = exact[table]["attainable_effectiveness"]
                assert (frame["attainable_effectiveness"] == attainable)[known].all()
                frame = frame.drop(columns=[*ranks, "attainable_effectiveness"])
            pd.testing.assert_frame_equal(frame, exact[table][frame.columns])
        among_all = everybody.frames[epoch].tables["effectiveness_scores"]
        among_all = among_all[among_all["validator_index"].isin(FEW.indices)]
        among_all = among_all.drop(columns="percentile_rank").reset_index(drop=True)
        ours = exact["effectiveness_scores"].drop(columns="percentile_rank")
        pd.testing.assert_frame_equal(ours, among_all)
