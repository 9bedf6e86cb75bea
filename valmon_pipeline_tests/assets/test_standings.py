"""Standings of the recorded devnet: the same whatever the order, and true of everybody's fate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pandas as pd
import pytest

from valmon_pipeline.assets.standings import make_due_standings, standings_frames
from valmon_pipeline.errors import ContractViolationError
from valmon_pipeline.scoring.health import HealthRules
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.standings_due import DueStandings, due_standings, spread_marks
from valmon_pipeline.storage.step_frames import StandingStep, StepFrames, StoredStep
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.assets.stored_devnet import bind, store

EPOCHS: Final = range(5, 21)
SHORT: Final = StandingRules(
    half_life_epochs=2.5, window_epochs=6, health=HealthRules(minimum_judged_epochs=3)
)
DEFAULT: Final = StandingRules()
NEVER_ON: Final = range(120, 128)


@pytest.fixture(scope="module")
def computed(true_node_url: str) -> Computed:
    """Everybody's epochs, up to well into the leak."""
    return compute(true_node_url, NETWORK, range(EPOCHS[0], 27))


@pytest.fixture
def warehouse(database_url: str, computed: Computed) -> Iterator[Warehouse]:
    """A warehouse of the recorded network, in which nothing is stored."""
    with fresh_warehouse(database_url) as warehouse:
        bind(warehouse, computed)
        yield warehouse


def standings(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.read("validator_standings")


def in_runs(
    warehouse: Warehouse,
    computed: Computed,
    runs: Sequence[Sequence[int]],
    rules: StandingRules,
    rows_at_once: int = 500_000,
) -> pd.DataFrame:
    """Store epochs in runs, making what is due after each; the standings in the end."""
    for epochs in runs:
        store(warehouse, computed, epochs)
        outcome = make_due_standings(warehouse, rules, rows_at_once=rows_at_once)
        assert outcome.failures == {}
        assert outcome.made >= set(epochs)
    assert len(warehouse.read("standings_due")) == 0
    return standings(warehouse)


ONE_BY_ONE = [[epoch] for epoch in EPOCHS]
ORDERS: Final[Mapping[str, Sequence[Sequence[int]]]] = {
    "one by one": ONE_BY_ONE,
    "one by one, backwards": ONE_BY_ONE[::-1],
    "backwards": [EPOCHS[::-1]],
    "every other one, then the gaps": [EPOCHS[::2], EPOCHS[1::2]],
    "the middle, the end, the beginning": [range(10, 14), range(14, 21), range(5, 10)],
    "twice": [EPOCHS, EPOCHS[3:7]],
}


@pytest.mark.parametrize("rules", [SHORT, DEFAULT], ids=["window of 6", "default"])
def test_any_order_gives_the_same_standings(
    database_url: str, computed: Computed, warehouse: Warehouse, rules: StandingRules
) -> None:
    at_once = in_runs(warehouse, computed, [EPOCHS], rules)
    assert sorted(set(at_once["epoch"])) == list(EPOCHS)
    for name, runs in ORDERS.items():
        with fresh_warehouse(database_url) as other:
            bind(other, computed)
            found = in_runs(other, computed, runs, rules, rows_at_once=1 if "gaps" in name else 300)
            pd.testing.assert_frame_equal(found, at_once, check_exact=True, obj=name)


def test_filling_a_gap_makes_the_following_epochs_again(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, [*range(5, 10), *range(11, 21)])
    make_due_standings(warehouse, SHORT)
    store(warehouse, computed, [10])
    assert make_due_standings(warehouse, SHORT).made == set(range(10, 16))
    window = standings(warehouse).groupby("epoch")["window_epochs"].agg(["min", "max"])
    assert window["min"].tolist() == [1, 2, 3, 4, 5] + 11 * [6] == window["max"].tolist()


class Killed(BaseException):
    """Nothing catches this, as nothing catches a kill."""


def killed_after(count: int) -> Callable[[StoredStep], None]:
    seen: list[int] = []

    def on_stored(stored: StoredStep) -> None:
        seen.extend(stored.epochs)
        if len(seen) == count:
            raise Killed

    return on_stored


def test_what_a_kill_leaves_undone_the_next_run_makes(
    database_url: str, warehouse: Warehouse, computed: Computed
) -> None:
    undisturbed = in_runs(warehouse, computed, [EPOCHS], SHORT)
    with fresh_warehouse(database_url) as other:
        bind(other, computed)
        # Killed after storing, before any standings are made; then thrice while they are made.
        store(other, computed, EPOCHS[:8])
        for count in (1, 2, 1):
            with pytest.raises(Killed):
                make_due_standings(other, SHORT, rows_at_once=1, on_stored=killed_after(count))
        assert sorted(set(standings(other)["epoch"])) == list(EPOCHS[:4])
        found = in_runs(other, computed, [EPOCHS[8:]], SHORT)
        pd.testing.assert_frame_equal(found, undisturbed, check_exact=True)


def test_facts_stored_meanwhile_are_not_lost(warehouse: Warehouse, computed: Computed) -> None:
    store(warehouse, computed, EPOCHS)
    stored_again: list[int] = []

    def store_once_more(stored: StoredStep) -> None:
        if stored.epochs == (9,) and not stored_again:
            # 7 was read already and is in the window of 10, 11 and 12, which are not made yet.
            stored_again.append(7)
            tables = dict(computed.frames[7].tables)
            scores = tables["effectiveness_scores"]
            tables["effectiveness_scores"] = scores.assign(attainable_effectiveness=0.25)
            warehouse.replace_epoch(7, tables)

    make_due_standings(warehouse, SHORT, rows_at_once=1, on_stored=store_once_more)
    found = standings(warehouse)
    warehouse.replace_epoch(7, warehouse_tables(warehouse, 7))
    make_due_standings(warehouse, SHORT)
    pd.testing.assert_frame_equal(found, standings(warehouse), check_exact=True)
    assert stored_again


def warehouse_tables(warehouse: Warehouse, epoch: int) -> dict[str, pd.DataFrame]:
    """What is stored of an epoch in the tables that standings are made from."""
    return {
        table: warehouse.read(table, epochs=[epoch])
        for table in ("effectiveness_scores", "attestation_outcomes")
    }


def test_many_who_store_and_make_at_once_leave_what_one_would(
    database_url: str, warehouse: Warehouse, computed: Computed
) -> None:
    some = EPOCHS[:8]
    alone = in_runs(warehouse, computed, [some], SHORT)
    with fresh_warehouse(database_url) as other, ThreadPoolExecutor(4) as threads:
        bind(other, computed)

        def run(epochs: Sequence[int]) -> None:
            for epoch in epochs:
                store(other, computed, [epoch])
                assert make_due_standings(other, SHORT).failures == {}

        halves = (some[::2], some[1::2])
        running = [threads.submit(run, epochs) for epochs in (*halves, *(h[::-1] for h in halves))]
        for one in running:
            one.result()
        assert other.read("standings_due").empty
        pd.testing.assert_frame_equal(standings(other), alone, check_exact=True)


def test_a_mark_that_was_renewed_stores_nothing(warehouse: Warehouse, computed: Computed) -> None:
    store(warehouse, computed, [5])
    spread_marks(warehouse.database, 6)
    (due,) = due_standings(warehouse.database)
    store(warehouse, computed, [5])
    (frame,) = standings_frames(warehouse, SHORT, [5])

    def stored(due: DueStandings) -> tuple[int, ...]:
        tables = {"validator_standings": frame}
        return warehouse.store(StandingStep((5,), tables, due={5: due})).epochs

    assert stored(due) == ()
    spread_marks(warehouse.database, 6)
    (renewed,) = due_standings(warehouse.database)
    assert stored(due) == ()
    assert stored(renewed) == (5,)
    assert stored(renewed) == ()
    assert len(standings(warehouse)) == len(frame)


def test_a_frame_that_breaks_its_contract_stays_due_and_the_others_are_made(
    warehouse: Warehouse, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(warehouse, computed, EPOCHS)
    store_step = warehouse.store

    def refuse_9(step: StepFrames) -> StoredStep:
        if 9 in step.epochs:
            raise ContractViolationError(
                "health: no such verdict", table="validator_standings", epochs=(9,)
            )
        return store_step(step)

    monkeypatch.setattr(warehouse, "store", refuse_9)
    outcome = make_due_standings(warehouse, SHORT)
    assert outcome.failures == {9: "health: no such verdict"}
    assert outcome.made == set(EPOCHS) - {9}
    assert warehouse.read("standings_due")["epoch"].tolist() == [9]


@pytest.fixture(scope="module")
def fates(database_url: str, computed: Computed) -> pd.DataFrame:
    with fresh_warehouse(database_url) as warehouse:
        bind(warehouse, computed)
        found = in_runs(warehouse, computed, [range(5, 27)], DEFAULT)
    return found.set_index(["validator_index", "epoch"])


class TestFates:
    """What became of the validators that something happened to."""

    def healths(self, fates: pd.DataFrame, validator: int) -> dict[int, str]:
        """Verdict and reasons by epoch."""
        rows = fates.loc[validator]
        reasons = rows["health_reasons"].fillna("")
        told = (rows["health"].astype(str) + " " + reasons).str.strip()
        return dict(zip(rows.index.tolist(), told.tolist(), strict=True))

    def scores(self, fates: pd.DataFrame, validator: int) -> pd.Series:
        return fates.loc[validator]["time_weighted_score"]

    def test_who_never_ran_is_critical_by_a_streak_that_grows(self, fates: pd.DataFrame) -> None:
        for validator in set(NEVER_ON) - {121, 122}:
            told = self.healths(fates, validator)
            assert [told[epoch] for epoch in (5, 6, 9)] == [
                "healthy",
                "degraded missed_streak:2",
                "critical missed_streak:5",
            ]
            assert told[26] == "critical missed_streak:22,leak"
            assert (self.scores(fates, validator) < 0).all()

    def test_slashed_is_critical_until_the_exit_and_scores_nothing(
        self, fates: pd.DataFrame
    ) -> None:
        # 100 goes on attesting after its slashing in slot 59: its attestations earn nothing.
        told = self.healths(fates, 100)
        assert told[6] == "healthy"
        assert {told[epoch] for epoch in range(7, 11)} == {"critical slashed"}
        assert {told[epoch] for epoch in range(11, 27)} == {"inactive exited,slashed"}
        assert self.scores(fates, 100).nunique() == 1
        # 121 was never on, and is slashed in slot 67.
        told = self.healths(fates, 121)
        assert (told[7], told[8]) == (
            "degraded missed_streak:3",
            "critical slashed,missed_streak:4",
        )

    @pytest.mark.parametrize(("validator", "last_active"), [(10, 9), (16, 9), (17, 12), (25, 15)])
    def test_an_exit_and_a_consolidation_end_in_inactivity(
        self, fates: pd.DataFrame, validator: int, last_active: int
    ) -> None:
        told = self.healths(fates, validator)
        assert {told[epoch] for epoch in range(5, last_active + 1)} == {"healthy"}
        assert {told[epoch] for epoch in range(last_active + 1, 27)} == {"inactive exited"}

    def test_pending_then_active_without_a_duty_yet_then_healthy(self, fates: pd.DataFrame) -> None:
        told = self.healths(fates, 128)
        assert min(told) == 7
        assert {told[epoch] for epoch in range(7, 14)} == {"inactive pending"}
        assert told[14] == "inactive no_duty"
        assert {told[epoch] for epoch in range(15, 27)} == {"healthy"}
        scores = self.scores(fates, 128)
        assert scores.loc[7:14].isna().all()
        assert scores.loc[15:].notna().all()

    def test_a_cluster_that_stops_is_noticed_and_one_that_comes_back_recovers(
        self, fates: pd.DataFrame
    ) -> None:
        told = self.healths(fates, 90)
        assert told[17] == "healthy"
        assert told[19].startswith("degraded missed_streak:2")
        assert told[22].startswith("critical missed_streak:5")
        assert "missed_streak" not in told[26]
        scores = self.scores(fates, 90)
        assert scores.loc[26] > scores.loc[25]

    def test_neither_missed_blocks_nor_the_leak_make_anybody_critical(
        self, fates: pd.DataFrame, computed: Computed
    ) -> None:
        assert computed.frames[22].tables["network_epochs"]["leak"].all()
        missed = pd.concat(
            [frames.tables["attestation_outcomes"] for frames in computed.frames.values()]
        ).query("not included and epoch >= 5")
        misses = missed.groupby("validator_index").size()
        never_slashed = set(range(128)) - {100, 121, 122}
        for validator in never_slashed - set(misses[misses > 1].index):
            assert not {told for told in self.healths(fates, validator).values() if "crit" in told}


def test_who_else_is_watched_makes_no_difference(
    database_url: str, warehouse: Warehouse, true_node_url: str, computed: Computed
) -> None:
    of_everybody = in_runs(warehouse, computed, [EPOCHS[:6]], SHORT)
    few = compute(true_node_url, FEW, EPOCHS[:6])
    with fresh_warehouse(database_url) as other:
        bind(other, few)
        of_few = in_runs(other, few, [EPOCHS[:6]], SHORT)
    chosen = of_everybody[of_everybody["validator_index"].isin(FEW.indices)]
    pd.testing.assert_frame_equal(of_few, chosen.reset_index(drop=True), check_exact=True)
