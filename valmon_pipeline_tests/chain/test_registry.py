from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.registries import registry


def test_rows_are_found_in_any_order_and_for_index_zero() -> None:
    validators = registry(index=[0, 3, 9])
    assert validators.rows_of(np.array([9, 0, 9, 3])).tolist() == [2, 0, 2, 1]
    assert validators.rows_of(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("unknown", [1, 10, -1])
def test_an_index_beyond_the_registry_is_named(unknown: int) -> None:
    with pytest.raises(
        ChainRuleViolationError, match=f"validator {unknown} is not in the registry"
    ):
        registry(index=[0, 3, 9]).rows_of(np.array([3, unknown]))


def test_an_empty_registry_has_no_rows() -> None:
    with pytest.raises(ChainRuleViolationError, match="registry of 0 validators"):
        registry(index=[]).rows_of(np.array([0]))
