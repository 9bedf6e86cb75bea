"""``valmon alerts backtest``, as far as it is not judging: what may be asked, what is printed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Finished

Backtest = Callable[..., Finished]


@pytest.fixture
def ask(valmon: InProcess, warehouse: Warehouse, database_url: str) -> Backtest:
    """``valmon alerts backtest …`` on a database without epochs."""

    def run(*arguments: str) -> Finished:
        variables = {"VALMON_NETWORK": warehouse.schema, "VALMON_DATABASE_URL": database_url}
        return valmon("alerts", "backtest", *arguments, **variables)

    return run


def test_without_stored_epochs_nothing_is_paged(ask: Backtest) -> None:
    assert ask("all", "--epochs", "5..9").out == (
        "0 alerts, 0 messages in 0 stored epochs of 5..9\n"
    )
    assert ask("slashing", "-e", "5..9", "--json").json == {
        "epochs": 0,
        "messages": 0,
        "alerts": [],
        "epochs_lacking_facts": [],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("misses",), "misses is no rule; there are: missed_attestations, "),
        (("data_late",), "data_late is not about epochs; there are: "),
        (("all", "--open-after", "2"), "other settings are for one rule"),
        (("balance_drop", "--threshold", "0"), "threshold of balance_drop"),
        (
            ("balance_drop", "--open-after", "1000"),
            "balance_drop: open_after: expected a whole number",
        ),
    ],
)
def test_what_cannot_be_asked_is_said(ask: Backtest, arguments: tuple[str, ...], said: str) -> None:
    refused = ask(*arguments, "--epochs", "5..9")
    assert refused.code == 2
    assert said in refused.err.replace("\n", " ")
