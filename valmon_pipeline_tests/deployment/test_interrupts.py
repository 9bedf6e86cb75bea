"""Signals end a command once, however many come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from valmon_pipeline.deployment.interrupts import SIGNALS, interruptible, uninterrupted


@pytest.fixture(autouse=True)
def signals_that_are_heard() -> Iterator[None]:
    """Not those that whoever started the tests ignores, as nohup does."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_and_the_next_ones_are_ignored(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    steps: list[str] = []

    def clean_up() -> None:
        for each in SIGNALS:
            signal.raise_signal(each)
        steps.append("cleaned up")

    def command() -> None:
        with ExitStack() as stack:
            stack.callback(clean_up)
            signal.raise_signal(number)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt), interruptible():
        command()
    assert steps == ["cleaned up"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_background_job_whose_shell_ignores_sigint_can_be_interrupted() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_must_not_be_interrupted_is_finished_first() -> None:
    steps: list[str] = []

    def command() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            steps.append("finished")
        steps.append("never")

    with pytest.raises(KeyboardInterrupt), interruptible():
        command()
    assert steps == ["finished"]


def test_without_a_signal_nothing_happens() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible(), uninterrupted():
        pass
    assert [signal.getsignal(each) for each in SIGNALS] == before
