"""Equal arguments make equal chains, another seed another one."""

from __future__ import annotations

import hashlib

import httpx

from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import Miss
from valmon_pipeline_tests.devnet.simulator.busy_chain import SCRIPT, VALIDATORS

SPEC = config("minimal", electra_epoch=4)
PATHS = [
    "/eth/v1/beacon/states/80/validators",
    "/eth/v1/beacon/states/80/committees",
    "/eth/v2/beacon/blocks/79",
    "/eth/v1/beacon/rewards/blocks/79",
    "/eth/v1/validator/duties/proposer/10",
]


def fingerprint(simulation: Simulation) -> str:
    """A digest of what the simulation's node answers."""
    digest = hashlib.sha256()
    with simulated_node(simulation) as node, httpx.Client(base_url=node.url) as client:
        for path in PATHS:
            digest.update(client.get(path).raise_for_status().content)
    return digest.hexdigest()


def chain(seed: int, *, hasty: bool = True) -> Simulation:
    simulation = Simulation(SPEC, VALIDATORS, seed=seed, incidents=SCRIPT, miss_rate=0.02)
    for slot in [85] if hasty else range(86):
        simulation.advance_to(slot)
    return simulation


def test_the_same_seed_makes_the_same_chain() -> None:
    assert fingerprint(chain(seed=1)) == fingerprint(chain(seed=1, hasty=False))


def test_another_seed_makes_another_chain() -> None:
    assert fingerprint(chain(seed=1)) != fingerprint(chain(seed=2))


def test_an_incident_added_on_the_way_is_as_good_as_one_of_the_script() -> None:
    miss = Miss([1, 2, 3], range(6, 8))
    scripted = Simulation(SPEC, VALIDATORS, incidents=[miss])
    added = Simulation(SPEC, VALIDATORS)
    added.advance_to_epoch(5)
    added.add(miss)
    for simulation in (scripted, added):
        simulation.advance_to(80)
    assert fingerprint(scripted) == fingerprint(added)
    untouched = Simulation(SPEC, VALIDATORS)
    untouched.advance_to(80)
    assert fingerprint(untouched) != fingerprint(added)
