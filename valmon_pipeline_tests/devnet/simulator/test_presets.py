"""Parameters of simulated chains: what valmon reads of them, and which are refused."""

from __future__ import annotations

import pytest

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet.simulator import Genesis, Simulation, config
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.presets import PRESETS
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline_tests.chain.presets import GNOSIS, MAINNET, MINIMAL

COMPARED = (
    "slots_per_epoch",
    "slot_duration_ms",
    "epochs_per_sync_committee_period",
    "epochs_per_slashings_vector",
    "sync_committee_size",
    "max_committees_per_slot",
    "target_committee_size",
    "base_reward_factor",
)


@pytest.mark.parametrize(
    ("preset", "known"), [("mainnet", MAINNET), ("gnosis", GNOSIS), ("minimal", MINIMAL)]
)
def test_presets_have_the_values_of_their_networks(preset: str, known: ChainSpec) -> None:
    spec = ChainSpec.from_config(config(preset))
    for name in COMPARED:
        assert getattr(spec, name) == getattr(known, name), name
    assert spec.min_slashing_penalty_quotient == known.min_slashing_penalty_quotient


def test_forks_are_where_they_are_wanted() -> None:
    parameters = Parameters.from_config(config("minimal", electra_epoch=4, fulu_epoch=9))
    assert [parameters.fork_at(epoch) for epoch in (3, 4, 8, 9)] == [
        Fork.DENEB,
        Fork.ELECTRA,
        Fork.ELECTRA,
        Fork.FULU,
    ]
    never = ChainSpec.from_config(config("minimal", electra_epoch=None))
    assert never.fork_epochs[Fork.ELECTRA] == NEVER


def test_the_slot_duration_is_told_as_nodes_do() -> None:
    assert config("minimal", slot_duration_ms=2000)["SECONDS_PER_SLOT"] == "2"
    fast = config("minimal", slot_duration_ms=250)
    assert "SECONDS_PER_SLOT" not in fast
    assert ChainSpec.from_config(fast).slot_duration_ms == 250


def test_every_preset_can_be_simulated() -> None:
    for preset in PRESETS:
        simulation = Simulation(config(preset), 40)
        simulation.advance_to(3)
        assert simulation.block(3) is not None


@pytest.mark.parametrize(
    ("spec", "mistake"),
    [
        ({**config(), "SLOTS_PER_EPOCH": "many"}, "SLOTS_PER_EPOCH is 'many'"),
        ({**config(), "DENEB_FORK_EPOCH": "3"}, "DENEB: a simulated chain starts at Deneb"),
        (config(electra_epoch=5, fulu_epoch=2), "FULU_FORK_EPOCH is before ELECTRA"),
        ({}, "MAX_COMMITTEES_PER_SLOT is None"),
    ],
)
def test_other_chains_are_refused(spec: dict[str, str], mistake: str) -> None:
    with pytest.raises(ConfigurationError, match=mistake):
        Simulation(spec, 64)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no preset 'holesky'"):
        config("holesky")
    with pytest.raises(ConfigurationError, match="has no SHARD_PERIOD"):
        config("minimal", SHARD_PERIOD=4)


def test_a_genesis_without_stake_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0 validators"):
        Simulation(config(), 0)
    with pytest.raises(ConfigurationError, match="no validator has a whole increment"):
        Simulation(config(), Genesis.of(8, balance=5))
    with pytest.raises(ConfigurationError, match="miss rate"):
        Simulation(config(), 8, miss_rate=1.0)
    with pytest.raises(ConfigurationError, match="history"):
        Simulation(config(), 8, history_epochs=1)
