"""Every gwei of two chains: the recorded one, and a simulated one on which everything happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.chain.block_events import EventType
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.simulator import Simulation, simulated_node
from valmon_pipeline.epoch.movements import epoch_movements
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.devnet.simulator.busy_chain import LAST_EPOCH, busy_chain
from valmon_pipeline_tests.recording import FIRST_EPOCH
from valmon_pipeline_tests.recording import LAST_EPOCH as LAST_RECORDED

# Of the simulated chain: both kinds of credentials, who is topped up, exits, is slashed, switches
# to compounding, is consolidated and is consolidated into, and the three that join.
SOME = frozenset({0, 2, 5, 8, 10, 16, 18, 26, 27, 33, 100, 121, 122, 123, 128, 129, 130})


def stored(computed: Computed, table: str) -> pd.DataFrame:
    return pd.concat([frames.tables[table] for frames in computed.frames.values()])


@pytest.fixture(scope="module")
def recorded(true_node_url: str) -> Computed:
    return compute(true_node_url, NETWORK, range(FIRST_EPOCH, LAST_RECORDED + 1))


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return busy_chain()


@pytest.fixture(scope="module", params=["network", "some with registry", "some"])
def simulated(simulation: Simulation, request: pytest.FixtureRequest) -> Computed:
    watch = {
        "network": NETWORK,
        "some with registry": Watch(indices=SOME),
        "some": Watch(indices=SOME, registry_limit=0),
    }[request.param]
    with simulated_node(simulation) as node:
        return compute(node.url, watch, range(1, LAST_EPOCH - 4))


def residuals(computed: Computed) -> list[tuple[int, int, int, str]]:
    ledger = stored(computed, "balance_ledger")
    left = ledger[ledger["residual_class"].notna()]
    columns = ["epoch", "validator_index", "residual", "residual_class"]
    return list(left[columns].itertuples(index=False, name=None))


def test_the_recorded_chain_adds_up_but_for_what_its_node_cannot_tell(recorded: Computed) -> None:
    """The node has no queue of deposits or consolidations, and no rewards of epoch 0."""
    found = residuals(recorded)
    first = [row for row in found if row[0] == 1]
    # Each balance at the end of epoch 1 has the rewards of target epoch 0.
    assert len(first) == 128
    assert {residual for *_, residual, _ in first} == {pd.NA}
    assert {name for *_, name in first} == {"attestation_unknown"}
    # What the upgrade to Electra took from compounding validators at the end of epoch 3 comes back.
    upgrade = stored(recorded, "balance_ledger").query("other != 0")
    assert upgrade["epoch"].unique().tolist() == [3]
    came_back = {validator: gwei for epoch, validator, gwei, _ in found if epoch == 4}
    assert came_back == dict(zip(upgrade["validator_index"], -upgrade["other"], strict=True))
    assert {name for epoch, *_, name in found if epoch == 4} == {"pending_deposit"}
    assert [row for row in found if row[0] > 4] == [
        (7, 5, 1_000_000_000, "pending_deposit"),
        (20, 25, -32_012_312_006, "consolidation"),
        (20, 33, 32_012_312_006, "consolidation"),
    ]


def test_few_watched_validators_are_accounted_for_as_among_all(
    recorded: Computed, true_node_url: str
) -> None:
    few = stored(
        compute(true_node_url, FEW, range(FIRST_EPOCH, LAST_RECORDED + 1)), "balance_ledger"
    )
    everybody = stored(recorded, "balance_ledger")
    ours = everybody[everybody["validator_index"].isin(FEW.indices)].reset_index(drop=True)
    few = few.reset_index(drop=True)
    # Without the registry of the network, the correlation penalty has no price.
    due = (ours["slashing_correlation"] != 0).to_numpy()
    assert ours.loc[due, ["epoch", "validator_index"]].to_numpy().tolist() == [
        [39, 100],
        [40, 121],
        [40, 122],
    ]
    assert (few.loc[due, "residual"] == ours.loc[due, "slashing_correlation"]).all()
    assert (few.loc[due, "residual_class"] == "slashing_correlation").all()
    pd.testing.assert_frame_equal(few[~due], ours[~due])


def test_a_chain_where_everything_happens_adds_up(simulated: Computed) -> None:
    left = residuals(simulated)
    if any(answers.whole_registry for answers in simulated.answers.values()):
        assert left == []
    else:
        assert {name for *_, name in left} == {"slashing_correlation"}
        assert {validator for _, validator, *_ in left} <= {100, 121, 122, 123}
    ledger = stored(simulated, "balance_ledger")
    happened = (ledger[[*COMPONENTS, "full_withdrawals"]] != 0).any()
    whistleblowers = {"whistleblower", "slashing_correlation"}
    assert set(happened.index[~happened]) <= whistleblowers


def test_ledgers_of_neighbouring_epochs_meet(simulated: Computed) -> None:
    ledger = stored(simulated, "balance_ledger").set_index(["epoch", "validator_index"])
    closing = ledger["closing_balance"]
    following = ledger["opening_balance"].rename(lambda epoch: epoch - 1, level="epoch")
    both = pd.concat([closing, following], axis=1, join="inner")
    assert len(both) > 500
    assert (both["closing_balance"] == both["opening_balance"]).all()


def test_balances_are_those_of_the_simulated_states(
    simulation: Simulation, simulated: Computed
) -> None:
    spec = simulated.spec
    for epoch, frames in simulated.frames.items():
        ledger = frames.tables["balance_ledger"]
        validators = ledger["validator_index"].to_numpy()
        balances = simulation.balances(spec.first_slot(epoch + 1))
        assert ledger["closing_balance"].tolist() == balances[validators].tolist()


def test_ledger_columns_are_sums_over_the_events(simulated: Computed) -> None:
    columns = {
        "partial_withdrawal": ("withdrawals", -1),
        "full_withdrawal": ("withdrawals", -1),
        "proposer_slashing": ("slashing", -1),
        "attester_slashing": ("slashing", -1),
        "deposit": ("deposits", 1),
        "deposit_applied": ("deposits", 1),
        "compounding_request": ("compounding_switch", -1),
        "consolidation_applied": ("consolidations", -1),
    }
    events = stored(simulated, "block_events")
    events = events[events["effective"].fillna(False) & events["amount_gwei"].notna()]
    parts = [events]
    # A consolidation is taken from one validator and given to another.
    given = events[events["event_type"] == "consolidation_applied"]
    parts.append(
        given.assign(validator_index=given["target_index"], amount_gwei=-given["amount_gwei"])
    )
    booked = pd.concat(parts)
    booked = booked[booked["event_type"].isin(columns)].reset_index(drop=True)
    kinds = booked["event_type"].astype("str")
    sign = kinds.map({name: sign for name, (_, sign) in columns.items()})
    booked = booked.assign(
        column=kinds.map({name: column for name, (column, _) in columns.items()}),
        amount_gwei=booked["amount_gwei"].astype(np.int64) * sign,
    )
    sums = booked.groupby(["epoch", "validator_index", "column"])["amount_gwei"].sum()
    ledger = stored(simulated, "balance_ledger").set_index(["epoch", "validator_index"])
    for column in sorted({column for column, _ in columns.values()}):
        theirs = sums.xs(column, level="column")
        ours = ledger[column]
        theirs = theirs[theirs.index.isin(ours.index)]
        assert ours[ours != 0].to_dict() == theirs[theirs != 0].to_dict(), column


def test_requests_that_the_chain_ignored_took_no_effect(
    simulation: Simulation, simulated: Computed
) -> None:
    events = stored(simulated, "block_events")
    ignored = {
        (happening.slot, type(happening.incident).__name__)
        for happening in simulation.happenings
        if happening.ignored is not None
    }
    names = {
        "withdrawal_request": "PartialWithdrawalRequest",
        "consolidation_request": "Consolidation",
    }
    refused = events[events["effective"].eq(False).fillna(False)]
    refused = refused[refused["event_type"].isin(names)]
    found = {
        (slot, names[kind])
        for slot, kind in zip(refused["slot"], refused["event_type"], strict=True)
    }
    # Of requests by others nothing is stored: validators 28 and 29 are watched only among all.
    watched = {index for answers in simulated.answers.values() for index in answers.watched}
    assert found == {each for each in ignored if 28 in watched or each[1] != "Consolidation"}


def test_a_bridge_deposit_since_electra_is_queued(simulated: Computed) -> None:
    """As on the real chains for some days after the upgrade, until the old bridge was drained."""
    slot = 46  # validator 33 is topped up
    answers = simulated.answers[simulated.spec.epoch_of(slot)]
    block = answers.blocks[slot]
    assert len(block.operations.deposit_requests) == 1
    operations = block.operations
    bridged = replace(
        block,
        operations=replace(operations, deposits=operations.deposit_requests, deposit_requests=()),
    )
    instead = replace(answers, blocks={**answers.blocks, slot: bridged})
    found = epoch_movements(simulated.spec, instead)
    assert {event.event_type for event in found.events} >= {EventType.DEPOSIT}
    assert (found.residual == epoch_movements(simulated.spec, answers).residual).all()


def test_penalties_are_what_was_taken(simulated: Computed) -> None:
    penalties = stored(simulated, "validator_penalties")
    by_type = penalties.groupby("penalty_type", observed=True)["penalty_gwei"].sum()
    rewards = stored(simulated, "attestation_rewards")
    taken = -rewards[["source_reward", "target_reward"]].clip(upper=0).sum().sum()
    assert by_type["attestation_miss"] == taken
    assert by_type["inactivity_leak"] == rewards["inactivity_penalty"].sum()
    ledger = stored(simulated, "balance_ledger")
    assert by_type["slashing"] == -ledger["slashing"].sum()
    inferred = ledger.loc[ledger["residual_class"] == "slashing_correlation", "residual"].sum()
    assert by_type["slashing_correlation"] == -ledger["slashing_correlation"].sum() - inferred
    seats = stored(simulated, "sync_duties").merge(
        stored(simulated, "sync_rewards"), on=["epoch", "validator_index"]
    )
    missed = (seats["missed"].astype(np.int64) * seats["seat_reward"]).sum()
    assert by_type["sync_miss"] == missed > 0
