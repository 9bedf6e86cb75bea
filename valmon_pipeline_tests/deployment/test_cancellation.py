"""Readers in another thread end when they are told to."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.deployment.cancellation import CancellableClients


def clients() -> CancellableClients:
    return CancellableClients(lambda: BeaconClient.open(NodeOptions("http://127.0.0.1:9")))


def test_who_uses_a_client_is_cancelled() -> None:
    cancellable = clients()
    reading = threading.Event()

    async def read_for_ever() -> None:
        async with cancellable():
            reading.set()
            await asyncio.sleep(60)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(lambda: asyncio.run(read_for_ever()))
        assert reading.wait(10)
        cancellable.cancel()
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            result.result(10)


def test_who_opens_a_client_afterwards_is_cancelled_too() -> None:
    cancellable = clients()
    cancellable.cancel()

    async def read() -> None:
        async with cancellable():
            raise AssertionError("it was opened")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(read())


def test_who_is_done_with_it_is_left_alone() -> None:
    cancellable = clients()

    async def read() -> str:
        async with cancellable() as client:
            name = client.name
        cancellable.cancel()
        await asyncio.sleep(0)
        return name

    assert asyncio.run(read()) == "http://127.0.0.1:9"
