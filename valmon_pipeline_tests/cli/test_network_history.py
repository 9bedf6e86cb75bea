"""``valmon validator N --network-history``: anybody's epochs, from the stored network."""

from __future__ import annotations

import pytest

from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.network_epochs import plain_network


@pytest.fixture
def environment(warehouse: Warehouse, valmon: InProcess, database_url: str) -> dict[str, str]:
    """The variables of an installation in which three epochs of everybody are stored."""
    for epoch in (3, 4, 6):
        warehouse.replace_epoch(epoch, {}, network=plain_network(epoch, 100))
    variables = {"VALMON_DATABASE_URL": database_url, "VALMON_NETWORK": warehouse.schema}
    assert valmon("migrate", **variables).code == 0
    return variables


def test_a_validator_that_nobody_watches_is_shown(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    shown = valmon("validator", "17", "--network-history", "--json", **environment)
    found = shown.json["epochs"]
    assert [row["epoch"] for row in found] == [3, 4, 6]
    networks = [plain_network(epoch, 100) for epoch in (3, 4, 6)]
    assert [row["balance"] for row in found] == [network.balance[17] for network in networks]
    assert [row["total_reward"] for row in found] == [net.total_reward[17] for net in networks]
    table = valmon("validator", "17", "--network-history", **environment)
    assert table.code == 0, table.err
    assert f"{networks[0].balance[17]:,}" in table.out


def test_epochs_without_the_whole_network_are_told(
    valmon: InProcess, environment: dict[str, str]
) -> None:
    asked = ("validator", "17", "--network-history", "--epochs", "4..5")
    shown = valmon(*asked, **environment)
    assert "1 of these epochs are not stored of the whole network, e.g. 5" in shown.out
    assert valmon(*asked, "--ledger", **environment).code == 2
