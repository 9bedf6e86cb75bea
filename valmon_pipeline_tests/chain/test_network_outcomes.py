"""Outcomes are told apart exactly, and numbered the same way every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.chain.network_outcomes import OUTCOME_COLUMNS, distinct_outcomes
from valmon_pipeline_tests.network_epochs import any_network, networks, plain_network


def results(network: NetworkEpoch) -> list[tuple[object, ...]]:
    """What each validator came to, comparable: NaN as a word."""
    columns = [getattr(network, name).tolist() for name in OUTCOME_COLUMNS]
    return [
        tuple("nan" if value != value else value for value in row)
        for row in zip(*columns, strict=True)
    ]


@given(networks())
def test_two_validators_share_an_outcome_if_all_columns_agree(network: NetworkEpoch) -> None:
    outcomes = distinct_outcomes(network)
    found = results(network)
    assert [found[example] for example in outcomes.example[outcomes.number]] == found
    assert len(set(found)) == len(outcomes.example)
    assert outcomes.validators.tolist() == np.bincount(outcomes.number).tolist()


@given(networks())
def test_the_most_frequent_outcome_comes_first(network: NetworkEpoch) -> None:
    outcomes = distinct_outcomes(network)
    order = [*zip(-outcomes.validators, outcomes.example, strict=True)]
    assert order == sorted(order)


def test_nobody_has_no_outcome() -> None:
    outcomes = distinct_outcomes(any_network(3, 0))
    assert (len(outcomes.number), len(outcomes.example), len(outcomes.validators)) == (0, 0, 0)


def test_a_column_that_follows_from_no_other_makes_outcomes_of_its_own() -> None:
    network = plain_network(3, 100)
    before = len(distinct_outcomes(network).example)
    ranks = np.linspace(0, 1, 100, dtype=np.float32)
    assert before < 12
    assert len(distinct_outcomes(replace(network, percentile_rank=ranks)).example) == 100
