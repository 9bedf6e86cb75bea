"""Every question has an index behind it: the plans that PostgreSQL makes for filled tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.storage import network_rows
from valmon_pipeline.storage.queries import (
    Granularity,
    Span,
    find_validators,
    group_series,
    group_summary,
    label_history,
    labels_of,
    ledger_by_epoch,
    ledger_of_validators,
    network_distribution,
    network_series,
    validator_events,
    validator_history,
    validator_ledger,
    validator_penalties,
    validator_series,
)
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.network_epochs import plain_network
from valmon_pipeline_tests.sample_frames import sample_frame

EPOCHS = range(20, 60)
VALIDATORS = 400
BY_EPOCH = (
    *("attestation_outcomes", "attestation_rewards", "effectiveness_scores", "sync_duties"),
    *("sync_rewards", "proposer_duties", "block_rewards", "network_epochs", "balance_ledger"),
    *("validator_penalties", "block_events", "validator_snapshots"),
)
SPAN = Span(30, 39)

Ask = Callable[[Warehouse], object]
QUESTIONS: dict[str, tuple[Ask, set[str]]] = {
    "history": (lambda w: validator_history(w, 5, [30, 31]), set()),
    "series of a validator": (
        lambda w: validator_series(w, [5], SPAN, Granularity.DAY),
        set(),
    ),
    "series of a group": (
        lambda w: group_series(w, SPAN, Granularity.DAY, "operator", "a7"),
        set(),
    ),
    "series of the network": (
        lambda w: network_series(w, Span(30, 31), Granularity.EPOCH),
        set(),
    ),
    "ledger of a validator": (lambda w: validator_ledger(w, 5, SPAN), set()),
    "penalties of a validator": (lambda w: validator_penalties(w, 5, SPAN), set()),
    "events of a validator": (lambda w: validator_events(w, 5, SPAN), set()),
    "validator by index": (lambda w: find_validators(w, indices=[5]), set()),
    "validator by key": (lambda w: find_validators(w, pubkeys=[bytes(47) + b"k"]), set()),
    "validators of a group": (lambda w: find_validators(w, label=("operator", "a7")), set()),
    "validators by status": (
        # Whoever has the status: that may be everybody.
        lambda w: find_validators(w, statuses=[ValidatorStatus.ACTIVE_SLASHED]),
        {"validators"},
    ),
    "labels of a validator": (lambda w: labels_of(w, 5), set()),
    "history of its labels": (lambda w: label_history(w, [5]), set()),
    # Few epochs of all: of a quarter of a table, a plan may rightly read the whole.
    "ledger of groups": (lambda w: ledger_by_epoch(w, Span(30, 31), "operator"), set()),
    "ledger of some validators": (lambda w: ledger_of_validators(w, [5, 6], SPAN), set()),
    "distribution of the network": (
        lambda w: network_distribution(w, 30, "reward_effectiveness"),
        set(),
    ),
    "totals of groups": (lambda w: group_summary(w, [30, 31], "operator"), set()),
}
"""What is asked, and the tables that may be read from end to end."""


@pytest.fixture
def filled(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setattr(network_rows, "TILE_VALIDATORS", 4)
    for epoch in EPOCHS:
        frames = {name: sample_frame(name, epoch, VALIDATORS) for name in BY_EPOCH}
        summaries = sample_frame("epoch_summaries", epoch, 200)
        summaries["category"] = "operator"
        summaries["value"] = [f"a{number:03d}" for number in range(200)]
        frames["epoch_summaries"] = summaries
        # Everybody with a rank of their own: as many outcomes as validators.
        ranks = np.linspace(0, 1, VALIDATORS, dtype=np.float32)
        network = replace(plain_network(epoch, len(ranks)), percentile_rank=ranks)
        whole = network if epoch in SPAN.epochs else None
        warehouse.replace_epoch(epoch, frames, network=whole)
        warehouse.replace_epoch(epoch, {"network_bands": sample_frame("network_bands", epoch, 6)})
    indices = np.arange(20_000)
    keys = np.zeros((len(indices), 48), dtype=np.uint8)
    keys[:, :4] = indices.astype(">i4").view(np.uint8).reshape(-1, 4)
    warehouse.replace_table(
        "validators",
        conform(
            "validators",
            {
                "validator_index": indices,
                "pubkey": keys,
                "withdrawal_credentials": np.zeros((len(indices), 32), dtype=np.uint8),
                "credential_type": "bls",
                "slashed": False,
                **{
                    name: None
                    for name in contract_of("validators").columns
                    if name.endswith("_epoch")
                },
            },
        ),
    )
    warehouse.replace_table(
        "validator_labels",
        conform(
            "validator_labels",
            {
                "validator_index": indices,
                "category": "operator",
                "from_epoch": 0,
                "value": [f"a{index % 200}" for index in indices],
                "until_epoch": None,
            },
        ),
    )
    with warehouse.database.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("ANALYZE")
    return warehouse


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, Any]]]:
    """Every SELECT that is sent, with its parameters."""
    sent: list[tuple[Any, Any]] = []
    execute = psycopg.Cursor.execute

    def record(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        text = query if isinstance(query, str) else query.as_string(self)
        if text.lstrip().startswith(("SELECT", "WITH")) and "FROM" in text:
            sent.append((text, params))
        return execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", record)
    yield sent
    monkeypatch.undo()


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", []):
        yield from scanned(part)


def test_every_question_has_an_index_behind_it(
    filled: Warehouse, asked: list[tuple[Any, Any]]
) -> None:
    filled.network()
    for question, (ask, whole) in QUESTIONS.items():
        asked.clear()
        ask(filled)
        statements = list(asked)
        assert statements, question
        for text, parameters in statements:
            with filled.database.transaction("explain") as connection:
                driver = connection.connection.driver_connection
                assert isinstance(driver, psycopg.Connection)
                explain = sql.SQL("EXPLAIN (FORMAT JSON) ") + sql.SQL(text)
                ((plan,),) = driver.execute(explain, parameters).fetchall()
            read = {name.split("_e0")[0] for name in scanned(plan[0]["Plan"])}
            # Tables of a handful of rows are read whole by any sensible plan.
            read -= {"network_epochs", "network_bands", "validator_day_summaries"}
            read -= {"network_identity", "network_states"}
            assert read <= whole, (question, text)


def test_a_validator_of_the_network_is_found_by_indexes(
    filled: Warehouse, database_url: str
) -> None:
    """EXPLAIN does not look into the function: what it reads is counted, in a session of its own,
    since counts that are not published yet are those of the session."""
    schema = filled.schema
    with psycopg.connect(database_url) as connection:
        history = f"SELECT * FROM {schema}.network_validator_history(5, {SPAN.first}, {SPAN.last})"
        assert len(connection.execute(history.encode()).fetchall()) == len(SPAN.epochs)
        counted = connection.execute(
            "SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables "
            "WHERE schemaname = %s AND relname ~ '^network_(tiles|outcomes)_e'",
            [schema],
        ).fetchall()
    assert sum(whole for _, whole, _ in counted) == 0
    by_index = {name.split("_e0")[0] for name, _, scans in counted if scans}
    assert by_index == {"network_tiles", "network_outcomes"}
