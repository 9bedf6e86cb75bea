from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker

POLICY = BreakerPolicy(failures=3, cool_down_seconds=30)


def failed(times: int, *, in_use: bool = False, at: float = 100.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(times):
        breaker = breaker.after_failure(POLICY, at, "no answer", in_use=in_use)
    return breaker


def test_it_opens_at_the_last_failure_allowed_and_half_opens_after_the_cool_down() -> None:
    assert failed(2).state(POLICY, 101) is BreakerState.CLOSED
    assert failed(3).state(POLICY, 101) is BreakerState.OPEN
    assert failed(3).state(POLICY, 129.9) is BreakerState.OPEN
    assert failed(3).state(POLICY, 130) is BreakerState.HALF_OPEN


def test_a_failed_last_chance_opens_it_again() -> None:
    again = failed(3).after_failure(POLICY, 130, "no answer", in_use=False)
    assert again.state(POLICY, 159) is BreakerState.OPEN


def test_a_success_closes_it_and_the_last_error_is_remembered() -> None:
    closed = failed(3).after_success(in_use=False)
    assert closed.state(POLICY, 101) is BreakerState.CLOSED
    assert (closed.failures, closed.last_error) == (0, "no answer")


def test_an_answered_probe_does_not_outweigh_a_failed_reading() -> None:
    breaker = failed(2, in_use=True)
    assert breaker.after_success(in_use=False) == breaker
    assert breaker.after_success(in_use=True).failures == 0


def test_a_clock_that_was_set_back_keeps_no_node_out() -> None:
    assert failed(3, at=1e9).state(POLICY, 100) is BreakerState.HALF_OPEN


@given(st.lists(st.sampled_from(["failed", "failed in use", "answered", "read"])))
def test_whatever_happened_a_clean_reading_closes_it(events: list[str]) -> None:
    breaker = CircuitBreaker()
    for event in events:
        if event.startswith("failed"):
            breaker = breaker.after_failure(POLICY, 100, "x", in_use="use" in event)
        else:
            breaker = breaker.after_success(in_use=event == "read")
        assert (breaker.opened_at is not None) == (breaker.failures >= POLICY.failures)
    assert breaker.after_success(in_use=True).state(POLICY, 100) is BreakerState.CLOSED


def test_processes_share_what_they_learnt(tmp_path: Path) -> None:
    path = tmp_path / "home" / "nodes.json"
    BreakerFile(path).update("a", lambda _: failed(3))
    BreakerFile(path).update("b", lambda _: failed(1))
    assert BreakerFile(path).read() == {"a": failed(3), "b": failed(1)}


def test_nothing_is_written_while_all_is_well(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    BreakerFile(path).update("a", lambda breaker: breaker.after_success(in_use=True))
    assert not path.exists()


def test_a_damaged_or_unwritable_file_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text("{half")
    breakers = BreakerFile(path)
    assert breakers.read() == {}
    breakers.update("a", lambda _: failed(1))
    assert msgspec.json.decode(path.read_bytes())["a"]["failures"] == 1
    (tmp_path / "file").write_text("")
    nowhere = BreakerFile(tmp_path / "file" / "nodes.json")
    nowhere.update("a", lambda _: failed(2))
    assert nowhere.read()["a"].failures == 2
