"""Series, ledgers and events of the recorded chain, asked of the database in every way.

Its epochs are told to last four hours, so that a dozen of them are days and months.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.frames import conform
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.frames.sums import sum_columns
from valmon_pipeline.reporting.files import to_csv, write_parquet
from valmon_pipeline.reporting.page import page
from valmon_pipeline.reporting.report import group_report, report_span, validator_report
from valmon_pipeline.scoring.facts import PENALTY_TYPES
from valmon_pipeline.storage.queries import (
    Granularity,
    Span,
    find_validators,
    group_series,
    group_summary,
    ledger_by_epoch,
    ledger_of_validators,
    ledger_over_epochs,
    losses_by_cause,
    network_series,
    validator_events,
    validator_ledger,
    validator_penalties,
    validator_series,
)
from valmon_pipeline.storage.queries.series import network_of
from valmon_pipeline.storage.queries.sums import RATIOS, REAL
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import fresh_warehouse

EPOCHS = range(8, 25)
SPAN = Span(EPOCHS[0], EPOCHS[-1])
MOVE = 14
EXACT = [name for name in sum_columns() if name not in REAL]
FOUR_HOURS_MS = 4 * 3_600_000
# Epochs 6 to 11 are the last day of a month, 12 to 17 and 18 to 23 the first two of the next one.
GENESIS = int(datetime(2025, 11, 29, tzinfo=UTC).timestamp())
NOVEMBER_30, DECEMBER_1, DECEMBER_2 = date(2025, 11, 30), date(2025, 12, 1), date(2025, 12, 2)


def labels() -> pd.DataFrame:
    """Every third validator without operator; those of ``a`` below 30 move to ``b`` at MOVE."""
    first = [(index, "operator", "ab"[index % 2]) for index in range(129) if index % 3]
    moved = [(i, c, "b" if i < 30 else v) for i, c, v in first]
    return merge_labels(merge_labels(no_labels(), first, 0), moved, MOVE)


@pytest.fixture(scope="module")
def warehouse(database_url: str, true_node_url: str) -> Iterator[Warehouse]:
    """Misses, proposals, slashings, exits, withdrawals, a fork and the beginning of a leak."""
    with fresh_warehouse(database_url) as warehouse:
        warehouse.replace_table("validator_labels", labels())
        EpochLoader(client_opener(true_node_url), warehouse, NETWORK).run(EPOCHS)
        with warehouse.database.transaction("tell another time") as connection:
            connection.exec_driver_sql(
                f"UPDATE {warehouse.schema}.network_identity SET genesis_time = {GENESIS}, "
                f"slot_duration_ms = {FOUR_HOURS_MS} / slots_per_epoch"
            )
        yield Warehouse(warehouse.database)


@pytest.fixture(scope="module")
def everybody(warehouse: Warehouse) -> list[int]:
    found: list[int] = warehouse.read("validator_snapshots")["validator_index"].unique().tolist()
    return sorted(found)


def assert_equal_sums(left: pd.DataFrame, right: pd.DataFrame) -> None:
    for name in sum_columns():
        ours, theirs = left[name].astype(object), right[name].astype(object)
        assert ours.isna().tolist() == theirs.isna().tolist(), name
        pairs = zip(ours.tolist(), theirs.tolist(), strict=True)
        for one, other in pairs:
            if name in REAL:
                assert one == pytest.approx(other, rel=1e-12), name
            else:
                assert pd.isna(one) or one == other, name


def summed(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows added up with Python's integers; NULL when any is."""
    return pd.DataFrame(
        [
            {
                name: None if part[name].isna().any() else sum(part[name].tolist())
                for name in sum_columns()
            }
            for _, part in rows.groupby(by, sort=True)
        ]
    )


@pytest.mark.parametrize("by", Granularity)
def test_validators_add_up_to_everybody(
    warehouse: Warehouse, everybody: list[int], by: Granularity
) -> None:
    one_by_one = validator_series(warehouse, everybody, SPAN, by)
    all_of_them = group_series(warehouse, SPAN, by)
    assert_equal_sums(summed(one_by_one, ["start"]), all_of_them)
    assert all_of_them["misses_not_included"].sum() > 0
    assert all_of_them["proposals_proposed"].sum() > 0


@pytest.mark.parametrize("by", Granularity)
def test_every_category_adds_up_to_everybody(warehouse: Warehouse, by: Granularity) -> None:
    operators = group_series(warehouse, SPAN, by, "operator")
    assert set(operators["value"]) == {"", "a", "b"}
    assert_equal_sums(summed(operators, ["start"]), group_series(warehouse, SPAN, by))
    of_a = group_series(warehouse, SPAN, by, "operator", "a")
    expected = operators[operators["value"] == "a"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_a, expected)


@pytest.mark.parametrize("by", [Granularity.HOUR, Granularity.DAY, Granularity.MONTH])
def test_sums_of_sums_are_those_of_the_epochs(warehouse: Warehouse, by: Granularity) -> None:
    epochs = validator_series(warehouse, [0, 9, 16], SPAN, Granularity.EPOCH)
    network = network_of(warehouse)
    coarse = validator_series(warehouse, [0, 9, 16], SPAN, by)
    unit = {"hour": "h", "day": "D", "month": "M"}[by.value]
    naive = epochs["start"].dt.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]")
    rows = epochs.assign(bucket=naive.astype("datetime64[ms]"))
    assert_equal_sums(summed(rows, ["bucket", "validator_index"]), coarse)
    assert network.genesis_time == GENESIS


def test_buckets_say_whether_they_are_whole(warehouse: Warehouse) -> None:
    days = group_series(warehouse, SPAN, Granularity.DAY)
    assert days["start"].dt.date.tolist()[:3] == [NOVEMBER_30, DECEMBER_1, DECEMBER_2]
    assert days["epochs"].tolist() == [4, 6, 6, 1]
    assert days["complete"].tolist() == [False, True, True, False]
    assert days["first_epoch"].tolist() == [6, 12, 18, 24]
    assert days["last_epoch"].tolist() == [11, 17, 23, 29]
    months = validator_series(warehouse, [0], SPAN, Granularity.MONTH)
    assert months["epochs"].tolist() == [4, 13]
    assert not months["complete"].any()
    part = group_series(warehouse, Span(13, 17), Granularity.DAY)
    assert (part["epochs"].tolist(), part["complete"].tolist()) == ([5], [False])
    assert group_series(warehouse, SPAN, Granularity.EPOCH)["complete"].all()


def test_ratios_are_sums_over_sums_and_null_where_nothing_was_due(
    warehouse: Warehouse, everybody: list[int]
) -> None:
    series = validator_series(warehouse, everybody, SPAN, Granularity.EPOCH)
    for name, (numerator, denominator) in RATIOS.items():
        nothing = series[denominator].astype(object) == 0
        assert series[name].isna().tolist() == nothing.tolist(), name
        known = series[~nothing]
        expected = known[numerator].astype(float) / known[denominator].astype(float)
        assert known[name].tolist() == expected.tolist()
    idle = series[series["duties"] == 0]
    assert len(idle) > 0
    assert idle["attestation_effectiveness"].isna().all()
    days = group_series(warehouse, SPAN, Granularity.DAY)
    totals = group_summary(warehouse, range(12, 18)).iloc[0]
    assert days["reward_effectiveness"][1] == pytest.approx(totals["reward_effectiveness"])
    assert days["attestation_effectiveness"][1] == pytest.approx(
        totals["attestation_effectiveness"]
    )


def test_days_whose_epochs_are_gone_come_from_their_summaries(
    warehouse: Warehouse, everybody: list[int]
) -> None:
    sum_up_day(warehouse, DECEMBER_1)
    before = {
        by: validator_series(warehouse, everybody, SPAN, by)
        for by in (Granularity.DAY, Granularity.MONTH)
    }
    groups = group_series(warehouse, SPAN, Granularity.DAY, "operator")
    tables = (
        *("attestation_outcomes", "attestation_rewards", "effectiveness_scores", "sync_duties"),
        *("sync_rewards", "proposer_duties", "block_rewards", "network_epochs"),
        *("balance_ledger", "validator_penalties"),
    )
    with warehouse.database.engine.connect() as connection, connection.begin() as transaction:
        for table in tables:
            connection.exec_driver_sql(
                f"CREATE TABLE kept_{warehouse.schema}_{table} AS "
                f"SELECT * FROM {warehouse.schema}.{table} WHERE epoch BETWEEN 12 AND 17"
            )
            connection.exec_driver_sql(
                f"DELETE FROM {warehouse.schema}.{table} WHERE epoch BETWEEN 12 AND 17"
            )
        transaction.commit()
    try:
        for by, expected in before.items():
            after = validator_series(warehouse, everybody, SPAN, by)
            assert_equal_sums(after, expected)
            columns = ["start", "validator_index", "epochs", "complete"]
            pd.testing.assert_frame_equal(after[columns], expected[columns])
        # Groups never needed the epochs; hours and parts of the day are gone with them.
        pd.testing.assert_frame_equal(
            group_series(warehouse, SPAN, Granularity.DAY, "operator"), groups
        )
        assert validator_series(warehouse, [0], Span(12, 17), Granularity.HOUR).empty
        assert validator_series(warehouse, [0], Span(13, 17), Granularity.DAY).empty
        bands = network_series(warehouse, Span(12, 17), Granularity.DAY)
        assert bands["epochs"].tolist() == [6]
        assert bands["source_participation"].isna().all()
        assert bands["attestation_effectiveness"].notna().all()
    finally:
        with warehouse.database.transaction("put it back") as connection:
            for table in tables:
                kept = f"kept_{warehouse.schema}_{table}"
                connection.exec_driver_sql(
                    f"INSERT INTO {warehouse.schema}.{table} SELECT * FROM {kept}"
                )
                connection.exec_driver_sql(f"DROP TABLE {kept}")


@pytest.mark.parametrize("by", Granularity)
def test_the_network_is_summed_up_before_it_is_divided(
    warehouse: Warehouse, by: Granularity
) -> None:
    series = network_series(warehouse, SPAN, by)
    epochs = warehouse.read("network_epochs")
    bands = warehouse.read("network_bands")
    assert series["epochs"].sum() == len(EPOCHS)
    for row in series.to_dict("records"):
        inside = epochs["epoch"].between(row["first_epoch"], row["last_epoch"])
        total = int(epochs.loc[inside, "total_active_balance"].sum())
        heads = int(epochs.loc[inside, "head_participating_balance"].sum())
        assert row["head_participation"] == pytest.approx(heads / total)
        assert row["blocks_missed"] == epochs.loc[inside, "blocks_missed"].sum()
        ours = bands[bands["epoch"].between(row["first_epoch"], row["last_epoch"])]
        assert row["ideal_reward"] == ours["ideal_reward"].sum()
        if ours["reward"].isna().any():
            assert pd.isna(row["reward"])
        else:
            assert row["reward"] == ours["reward"].sum()


def test_losses_are_the_sums_of_each_cause(warehouse: Warehouse) -> None:
    series = group_series(warehouse, SPAN, Granularity.MONTH, "operator")
    losses = losses_by_cause(series, ["start", "value"])
    outcomes = warehouse.read("attestation_outcomes")
    by_cause = losses.groupby("miss_cause")["misses"].sum()
    counted = outcomes["miss_cause"].value_counts()
    assert by_cause[by_cause > 0].to_dict() == counted[counted > 0].to_dict()
    assert losses["cost"].sum() == outcomes.loc[outcomes["miss_cause"].notna(), "cost"].sum()


def accounted(row: pd.Series) -> int:
    names = ("opening_balance", *COMPONENTS, "residual", "moved", "gaps")
    return sum(int(row[name]) for name in names)


def test_the_ledger_of_groups_adds_up_over_any_epochs(warehouse: Warehouse) -> None:
    stored = warehouse.read("balance_ledger")
    for category in ("all", "operator"):
        for first, last in ((8, 24), (13, 15), (9, 9)):
            by_epoch = ledger_by_epoch(warehouse, Span(first, last), category)
            over = ledger_over_epochs(by_epoch)
            inside = stored[stored["epoch"].between(first, last)]
            for name in (*COMPONENTS, "residual", "full_withdrawals"):
                assert over[name].sum() == inside[name].sum()
            for _, row in over.iterrows():
                assert accounted(row) == row["closing_balance"]
            assert over["gaps"].eq(0).all()
            opening = inside.loc[inside["epoch"] == first, "opening_balance"].sum()
            assert over["opening_balance"].sum() == opening
    assert (over["moved"] == 0).all()


def test_a_validator_that_changes_groups_takes_its_balance_along(warehouse: Warehouse) -> None:
    over = ledger_over_epochs(ledger_by_epoch(warehouse, Span(MOVE - 1, MOVE), "operator"))
    moved = over.set_index("value")["moved"]
    labelled = labels()
    movers = labelled.loc[labelled["until_epoch"] == MOVE, "validator_index"].tolist()
    balances = warehouse.read("balance_ledger", epochs=[MOVE], validator_indices=movers)
    assert moved["b"] >= balances["opening_balance"].sum() > 0
    assert moved["a"] == -balances["opening_balance"].sum()


def test_epochs_that_are_not_stored_are_a_gap_in_the_ledger(warehouse: Warehouse) -> None:
    by_epoch = ledger_by_epoch(warehouse, SPAN)
    whole = ledger_over_epochs(by_epoch).iloc[0]
    holed = ledger_over_epochs(by_epoch[~by_epoch["epoch"].between(11, 13)]).iloc[0]
    assert holed["gaps"] != 0
    assert accounted(holed) == holed["closing_balance"] == whole["closing_balance"]


def test_a_validators_ledger_runs_from_balance_to_balance(warehouse: Warehouse) -> None:
    for index in (0, 9, 16, 121):
        rows = validator_ledger(warehouse, index, SPAN)
        some = ledger_of_validators(warehouse, [index], SPAN)
        assert rows["closing_balance"].tolist() == some["closing_balance"].tolist()
        assert rows["opening_balance"].tolist()[1:] == rows["closing_balance"].tolist()[:-1]


def test_penalties_and_events_of_one_are_among_those_of_all(warehouse: Warehouse) -> None:
    penalties = warehouse.read("validator_penalties")
    counts = penalties["validator_index"].value_counts()
    for index in counts.index[:3].tolist():
        ours = validator_penalties(warehouse, index, SPAN)
        assert len(ours) == counts[index]
        theirs = penalties.loc[penalties["validator_index"] == index, "penalty_gwei"]
        assert ours["penalty_gwei"].sum() == theirs.sum()
    series = group_series(warehouse, SPAN, Granularity.MONTH, "operator")
    summed_up = sum(series[f"penalty_{kind}"].sum() for kind in PENALTY_TYPES)
    assert summed_up == penalties["penalty_gwei"].sum() > 0
    events = warehouse.read("block_events")
    both = pd.concat([events["validator_index"], events["target_index"]]).dropna()
    concerned = both.unique().tolist()
    assert len(concerned) > 3
    for index in concerned:
        expected = events[
            events["validator_index"].eq(index).fillna(False)
            | events["target_index"].eq(index).fillna(False)
        ]
        found = validator_events(warehouse, int(index), SPAN)
        assert found["position"].tolist() == expected["position"].tolist()
        assert found["slot"].tolist() == expected["slot"].tolist()
    assert validator_events(warehouse, int(concerned[0]), Span(0, 1)).empty


def test_missed_proposals_are_estimated(warehouse: Warehouse) -> None:
    rewards = warehouse.read("block_rewards")
    missed = rewards[rewards["outcome"] != "proposed"]
    series = group_series(warehouse, SPAN, Granularity.EPOCH)
    assert series["proposal_missed_estimate"].sum() == missed["missed_estimate"].sum() > 0
    assert (series["proposals_due"] - series["proposals_proposed"]).sum() == len(missed)


def test_validators_are_found_by_everything_that_names_them(warehouse: Warehouse) -> None:
    snapshots = warehouse.read("validator_snapshots", epochs=[EPOCHS[-1]])
    newest = snapshots[snapshots["slot"] == snapshots["slot"].max()]
    registry = pd.DataFrame({"validator_index": newest["validator_index"].to_numpy()})
    count = len(registry)
    keys = np.zeros((count, 48), dtype=np.uint8)
    keys[:, 0] = np.arange(count)
    warehouse.replace_table(
        "validators",
        conform(
            "validators",
            {
                "validator_index": registry["validator_index"].to_numpy(),
                "pubkey": keys,
                "withdrawal_credentials": np.zeros((count, 32), dtype=np.uint8),
                "credential_type": "bls",
                "slashed": False,
                "activation_eligibility_epoch": None,
                "activation_epoch": 0,
                "exit_epoch": None,
                "withdrawable_epoch": None,
            },
        ),
    )
    (zero,) = find_validators(warehouse, indices=[0]).to_dict("records")
    assert zero["balance"] == newest.loc[newest["validator_index"] == 0, "balance"].item()
    found = find_validators(warehouse, pubkeys=[keys[5].tobytes(), bytes(47) + b"?"])
    assert found["validator_index"].tolist() == [registry["validator_index"][5]]
    for status, expected in newest.groupby("status", observed=True):
        by_status = find_validators(warehouse, statuses=[ValidatorStatus(status)])
        assert by_status["validator_index"].tolist() == expected["validator_index"].tolist()
    current = labels()
    of_b = current[current["until_epoch"].isna() & (current["value"] == "b")]
    by_label = find_validators(warehouse, label=("operator", "b"))
    assert by_label["validator_index"].tolist() == of_b["validator_index"].tolist()
    assert find_validators(warehouse, indices=[]).empty
    assert len(find_validators(warehouse)) == count


def test_a_report_holds_every_group_and_everybody_exactly(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    report = group_report(warehouse, SPAN, "operator")
    groups = report.groups.set_index("group")
    assert groups.index.tolist() == ["", "a", "b", "all"]
    for name in (*EXACT, "earned", "opening_balance", "closing_balance"):
        parts, total = groups[name].iloc[:3], groups[name].iloc[3]
        assert pd.isna(total) or sum(parts.tolist()) == total, name
    for _, row in groups.iterrows():
        flows = [f"ledger_{name}" for name in (*COMPONENTS, "residual")]
        explained = sum(int(row[name]) for name in ("opening_balance", *flows, "moved", "gaps"))
        assert explained == row["closing_balance"]
    read = pd.read_csv(StringIO(to_csv(report.groups)), keep_default_na=False)
    assert read["reward"].tolist() == report.groups["reward"].tolist()
    write_parquet(report.groups, tmp_path / "report.parquet")
    with duckdb.connect() as connection:
        query = "SELECT reward, effective_balance_epochs, cost FROM read_parquet(?)"
        stored = connection.execute(query, [str(tmp_path / "report.parquet")]).fetchall()
    wanted = report.groups[["reward", "effective_balance_epochs", "cost"]].astype(object)
    expected = wanted.where(wanted.notna(), None).itertuples(index=False, name=None)
    assert stored == list(expected)
    text = page(report)
    assert "http" not in text
    assert "<script" not in text
    plots = ["Reward effectiveness over time", "Missed by cause", "What moved the balances"]
    assert all(f'aria-label="{plot}"' in text for plot in plots)
    assert f"{groups['closing_balance'].iloc[3]:,}" in text


def test_a_report_of_validators_has_each_and_all_of_them(warehouse: Warehouse) -> None:
    report = validator_report(warehouse, SPAN, [0, 9])
    groups = report.groups.set_index("group")
    assert groups.index.tolist() == ["0", "9", "all"]
    assert groups["reward"].iloc[2] == groups["reward"].iloc[:2].sum()
    assert groups["validators"].tolist() == [1, 1, 2]


def test_a_report_takes_days_and_epochs(warehouse: Warehouse) -> None:
    assert report_span(warehouse, "2025-12-01", "2025-12-01") == Span(12, 17)
    assert report_span(warehouse, "9", "2025-12-01") == Span(9, 17)
    with pytest.raises(ConfigurationError, match="neither an epoch nor a day"):
        report_span(warehouse, "soon", "17")
    with pytest.raises(ConfigurationError, match="holds no epoch"):
        report_span(warehouse, "9", "8")
