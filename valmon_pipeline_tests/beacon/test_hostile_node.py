"""A node that is broken, or means harm: it costs neither memory, nor time, nor the other nodes."""

from __future__ import annotations

import asyncio
import gzip
import logging
import resource
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.body_limits import SMALL_BYTES, body_limit
from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.node_health import NodeState
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.beacon.subject import asking_about
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    MalformedAnswerError,
    ObjectUnavailableError,
)
from valmon_pipeline_tests.beacon.hostile_node import Answering, hostile_node
from valmon_pipeline_tests.moody_node import GENESIS, SPEC, SYNCING, Mood, moody_node, options

T = TypeVar("T")
VERSION = "/eth/v1/node/version"
DEEP = b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
ONCE = RetryPolicy(attempts=1)
QUESTIONS: dict[str, Callable[[BeaconClient], Awaitable[object]]] = {
    "spec": BeaconClient.spec,
    "genesis": BeaconClient.genesis,
    "version": BeaconClient.node_version,
    "syncing": BeaconClient.syncing,
    "finality": lambda client: client.finality_checkpoints("head"),
    "header": lambda client: client.header(8),
    "block": lambda client: client.block(8),
    "validators": lambda client: client.validators(8, EVERYONE),
    "committees": lambda client: client.committees(8, 1),
    "attester duties": lambda client: client.attester_duties(1, [1]),
    "attestation rewards": lambda client: client.attestation_rewards(1, EVERYONE),
    "block rewards": lambda client: client.block_rewards(8),
    "sync rewards": lambda client: client.sync_committee_rewards(8, EVERYONE),
    "pending deposits": lambda client: client.pending_deposits(8),
    "pending consolidations": lambda client: client.pending_consolidations(8),
}


def ask(url: str, question: Callable[[BeaconClient], Awaitable[T]], **more: Any) -> T:
    async def run() -> T:
        node = NodeOptions(url, **{"retry": ONCE, "timeout_seconds": 5.0, **more})
        async with BeaconClient.open(node) as client:
            return await question(client)

    return asyncio.run(run())


def peak_memory() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(scope="module")
def truth() -> Iterator[BackgroundReplayNode]:
    with BackgroundReplayNode(ReplayNode(Recording.load(RECORDING_PATH))) as node:
        yield node


class TestDeepJson:
    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
    def test_an_answer_of_any_endpoint_is_malformed(
        self, question: Callable[[BeaconClient], Awaitable[object]]
    ) -> None:
        with (
            hostile_node(lambda _, answer: answer.whole(DEEP)) as node,
            pytest.raises(MalformedAnswerError, match=r"GET|POST"),
        ):
            ask(node.url, question)

    @pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "503 Busy"])
    def test_a_refusal_is_a_refusal(self, status: str) -> None:
        with (
            hostile_node(lambda _, answer: answer.whole(DEEP, status=status)) as node,
            pytest.raises(BeaconApiError, match=f"HTTP {status[:3]}") as raised,
        ):
            ask(node.url, lambda client: client.block(8))
        assert len(str(raised.value)) < 1000

    def test_it_can_be_kept_for_the_archive(self) -> None:
        async def question(url: str) -> None:
            keeper = AnswerKeeper("node")
            with asking_about("epoch-1"):
                async with BeaconClient.open(
                    NodeOptions(url, retry=ONCE), archive=keeper
                ) as client:
                    await client.block(8)

        with (
            hostile_node(lambda _, answer: answer.whole(DEEP)) as node,
            pytest.raises(MalformedAnswerError),
        ):
            asyncio.run(question(node.url))

    @pytest.mark.parametrize("path", [SYNCING, GENESIS, SPEC])
    def test_the_next_node_is_chosen(self, truth: BackgroundReplayNode, path: str) -> None:
        def answer(asked: str, to: Answering) -> None:
            to.whole(DEEP if asked == path else truth_of(truth, asked))

        with hostile_node(answer) as node:
            pool = NodePool([options(node.url), options(truth.url)])
            assert chosen(pool) == truth.url
            report = asyncio.run(pool.reports())[0]
        assert report.health.state is NodeState.UNUSABLE


class TestCompression:
    def test_what_is_compressed_twice_is_refused_before_it_is_decompressed(self) -> None:
        bomb = gzip.compress(gzip.compress(b"\0" * (64 << 20)))

        def answer(_: str, to: Answering) -> None:
            to.whole(bomb, "Content-Encoding: gzip, gzip")

        before = peak_memory()
        with (
            hostile_node(answer) as node,
            pytest.raises(MalformedAnswerError, match=r"'gzip, gzip'.*once"),
        ):
            ask(node.url, BeaconClient.node_version)
        assert peak_memory() - before < 16 << 20

    @pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br"])
    def test_an_encoding_that_was_not_asked_for_is_refused(self, encoding: str) -> None:
        def answer(_: str, to: Answering) -> None:
            to.whole(b"{}", f"Content-Encoding: {encoding}")

        with (
            hostile_node(answer) as node,
            pytest.raises(MalformedAnswerError, match="is encoded as"),
        ):
            ask(node.url, BeaconClient.node_version)

    def test_a_bomb_ends_at_the_limit_and_keeps_nobody_waiting(self) -> None:
        compressor = zlib.compressobj(9, wbits=31)
        bomb = b"".join(compressor.compress(b"\0" * (1 << 20)) for _ in range(300))
        bomb += compressor.flush()
        assert len(bomb) < SMALL_BYTES

        def answer(_: str, to: Answering) -> None:
            to.whole(bomb, "Content-Encoding: gzip")

        longest = 0.0

        async def others() -> None:
            nonlocal longest
            while True:
                started = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - started)

        async def question(client: BeaconClient) -> None:
            waiting = asyncio.create_task(others())
            try:
                # 4 GB are allowed here: the bomb's 300 MB are decompressed and are no JSON.
                await client.validators(8, EVERYONE)
            finally:
                waiting.cancel()

        before = peak_memory()
        with hostile_node(answer) as node:
            with pytest.raises(MalformedAnswerError, match=f"longer than the {SMALL_BYTES} bytes"):
                ask(node.url, BeaconClient.node_version)
            assert peak_memory() - before < 32 << 20
            with pytest.raises(MalformedAnswerError, match="not complete JSON"):
                ask(node.url, question)
        assert longest < 1.0

    def test_a_compressed_answer_is_read(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.whole(gzip.compress(b'{"data":{"version":"Node/v1"}}'), "Content-Encoding: gzip")

        with hostile_node(answer) as node:
            assert ask(node.url, BeaconClient.node_version) == "Node/v1"
        assert b"accept-encoding: gzip\r\n" in node.requests[0].lower() + b"\r\n"

    def test_a_compressed_answer_that_is_cut_off_is_asked_for_again(self) -> None:
        whole = gzip.compress(b'{"data":{"version":"Node/v1"}}')
        parts = iter([whole[:-12], whole])

        def answer(_: str, to: Answering) -> None:
            to.whole(next(parts), "Content-Encoding: gzip")

        with hostile_node(answer) as node:
            retry = RetryPolicy(attempts=2, first_wait=0.001)
            assert ask(node.url, BeaconClient.node_version, retry=retry) == "Node/v1"


class TestSize:
    def test_an_announced_length_is_enough_to_refuse(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head(f"Content-Length: {10**12}")
            to.wait(30)

        with hostile_node(answer) as node:
            with pytest.raises(MalformedAnswerError, match=f"longer than the {SMALL_BYTES} bytes"):
                ask(node.url, BeaconClient.node_version)
            assert node.hung_up.wait(5), "the connection is kept"

    def test_an_endless_stream_ends_at_the_limit(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head("Transfer-Encoding: chunked")
            while True:
                to.send(b"10000\r\n" + b" " * 65536 + b"\r\n")

        with hostile_node(answer) as node:
            with pytest.raises(MalformedAnswerError, match=f"longer than the {SMALL_BYTES} bytes"):
                ask(node.url, BeaconClient.node_version)
            assert node.hung_up.wait(5), "the connection is kept"
            assert node.bytes_sent < 32 << 20

    def test_an_endless_refusal_ends_there_too(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head("Transfer-Encoding: chunked", status="404 Not Found")
            while True:
                to.send(b"10000\r\n" + b" " * 65536 + b"\r\n")

        with (
            hostile_node(answer) as node,
            pytest.raises(MalformedAnswerError, match=f"longer than the {SMALL_BYTES} bytes"),
        ):
            ask(node.url, lambda client: client.validators(8, EVERYONE))

    def test_only_answers_that_grow_may_be_long(self) -> None:
        assert body_limit("/eth/v1/node/version") == SMALL_BYTES
        assert body_limit("/eth/v1/beacon/states/{}/sync_committees") == SMALL_BYTES
        assert body_limit("/eth/v1/beacon/states/{}/validators") > 1 << 30
        assert body_limit("/eth/v1/beacon/states/{}/validators", named=100) < 2 * SMALL_BYTES


class TestTime:
    def test_the_timeout_is_for_the_whole_request(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head("Content-Length: 100")
            while not to.wait(0.1):
                to.send(b" ")

        with hostile_node(answer) as node:
            started = time.monotonic()
            with pytest.raises(BeaconUnreachableError, match=r"no whole answer within 0.5 s"):
                ask(node.url, BeaconClient.node_version, timeout_seconds=0.5)
            assert time.monotonic() - started < 2
            assert node.hung_up.wait(5), "the connection is kept"

    def test_headers_that_drip_do_not_last_longer(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not to.wait(0.1):
                to.send(b"a")

        with hostile_node(answer) as node:
            started = time.monotonic()
            with pytest.raises(BeaconUnreachableError, match=r"no whole answer within 0.5 s"):
                ask(node.url, BeaconClient.node_version, timeout_seconds=0.5)
            assert time.monotonic() - started < 2

    def test_an_answer_that_keeps_coming_may_take_longer(self) -> None:
        part = b'{"pubkey":"' + b"0" * (1 << 20) + b'"},'

        def answer(_: str, to: Answering) -> None:
            to.head(f"Content-Length: {8 * len(part) + 9}")
            to.send(b'{"data":[')
            for _part in range(8):
                if to.wait(0.1):
                    return
                to.send(part)

        with (
            hostile_node(answer) as node,
            pytest.raises(MalformedAnswerError, match=r"missing required field"),
        ):
            ask(
                node.url,
                lambda client: client.validators(8, EVERYONE),
                timeout_seconds=0.4,
            )

    def test_of_nested_deadlines_the_earliest_ends_the_request_and_the_connection(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head("Content-Length: 100")
            while not to.wait(0.1):
                to.send(b" ")

        async def question(client: BeaconClient) -> None:
            with client.deadline(30), client.deadline(0.3), client.deadline(10):
                await client.node_version()

        with hostile_node(answer) as node:
            started = time.monotonic()
            with pytest.raises(BeaconUnreachableError, match="TimeoutError"):
                ask(node.url, question)
            assert time.monotonic() - started < 2
            assert node.hung_up.wait(5), "the connection is kept"

    def test_a_cancelled_question_closes_its_connection(self) -> None:
        def answer(_: str, to: Answering) -> None:
            to.head("Content-Length: 100")
            while not to.wait(0.05):
                to.send(b" ")

        async def question(client: BeaconClient) -> None:
            task = asyncio.create_task(client.node_version())
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(node.hung_up.wait, 5), "the connection is kept"

        with hostile_node(answer) as node:
            ask(node.url, question)


class TestClock:
    @pytest.fixture
    def nodes(self, truth: BackgroundReplayNode) -> Iterator[tuple[str, Mood, str]]:
        recording = Recording.load(RECORDING_PATH)
        with ExitStack() as stack:
            url, mood = stack.enter_context(moody_node(recording, truth.url))
            yield url, mood, truth.url

    @pytest.mark.parametrize("slot", [2**40 - 1, 2**62, 2**63])
    def test_a_head_in_the_future_is_a_fault(self, nodes: tuple[str, Mood, str], slot: int) -> None:
        bad, mood, good = nodes
        mood.changed[SYNCING] = {"head_slot": str(slot)}
        pool = NodePool([options(bad), options(good)])
        assert chosen(pool) == good
        first, second = (report.health for report in asyncio.run(pool.reports()))
        assert first.state in (NodeState.AHEAD, NodeState.UNUSABLE)
        assert str(slot) in first.reason
        assert second.is_ready

    @pytest.mark.parametrize("genesis", [2**34, 2**62, 2**63 - 1])
    def test_a_genesis_in_the_far_future_decides_about_nothing(
        self, nodes: tuple[str, Mood, str], genesis: int
    ) -> None:
        bad, mood, good = nodes
        mood.changed[GENESIS] = {"genesis_time": str(genesis)}
        pool = NodePool([options(bad), options(good)])
        assert chosen(pool) == good
        assert asyncio.run(pool.reports())[0].health.state is not NodeState.READY

    def test_clocks_may_differ_by_a_few_slots(self, nodes: tuple[str, Mood, str]) -> None:
        url, _, _ = nodes
        at_head = asyncio.run(time_of_head(url))

        def state(now: float) -> NodeState:
            pool = NodePool([options(url)], now=lambda: now)
            return asyncio.run(pool.reports())[0].health.state

        assert state(at_head) is NodeState.READY
        assert state(at_head - 15) is NodeState.READY
        assert state(at_head - 100) is NodeState.AHEAD


class TestOneFaultyNode:
    @pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), ZeroDivisionError()])
    def test_any_error_while_looking_at_it_is_its_fault_alone(
        self, truth: BackgroundReplayNode, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        asked = BeaconClient.syncing

        async def syncing(client: BeaconClient) -> Any:
            if "bad" in client.name:
                raise error
            return await asked(client)

        monkeypatch.setattr(BeaconClient, "syncing", syncing)
        pool = NodePool([NodeOptions(truth.url, name="bad"), options(truth.url)])
        assert chosen(pool) == truth.url
        report = asyncio.run(pool.reports())[0]
        assert report.health.state is NodeState.UNUSABLE
        assert type(error).__name__ in report.health.reason


class TestSecrets:
    TOKEN = "tok3n-AbCdEf123"

    def test_a_token_that_the_node_repeats_is_shown_nowhere(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def answer(path: str, to: Answering) -> None:
            words = f'{{"code":404,"message":"no route {path} (key=sEcretValue, user alice-x)"}}'
            to.whole(words.encode(), status="404 Not Found")

        caplog.set_level(logging.DEBUG)
        with hostile_node(answer) as node:
            host = node.url.removeprefix("http://")
            url = f"http://alice-x:pa%24%24word@{host}/{self.TOKEN}/?key=sEcretValue"
            keeper = AnswerKeeper("node")

            async def question() -> None:
                async with BeaconClient.open(
                    NodeOptions(url, retry=ONCE), archive=keeper
                ) as client:
                    with asking_about("epoch-1"):
                        await client.block(8)

            with pytest.raises(ObjectUnavailableError) as raised:
                asyncio.run(question())
            pool = NodePool(
                [NodeOptions(url, retry=ONCE)], breakers=BreakerFile(tmp_path / "nodes.json")
            )
            with pytest.raises(BeaconApiError) as unready:
                chosen(pool)
        stored = (tmp_path / "nodes.json").read_text()
        kept = keeper.archive_of("epoch-1")
        shown = "\n".join([str(raised.value), raised.value.said, str(unready.value), stored])
        assert "no route" in shown
        shown += caplog.text + kept.decode("latin-1")
        for secret in (self.TOKEN, "sEcretValue", "alice-x", "pa$$word", "pa%24%24word"):
            assert secret not in shown

    def test_nor_what_it_repeats_in_an_answer(self) -> None:
        def answer(path: str, to: Answering) -> None:
            to.whole(f'{{"data":{{"head_slot":"{path}"}}}}'.encode())

        with hostile_node(answer) as node, pytest.raises(MalformedAnswerError) as raised:
            ask(f"{node.url}/{self.TOKEN}", BeaconClient.syncing)
        error: BaseException | None = raised.value
        while error is not None:
            assert self.TOKEN not in str(error)
            error = error.__cause__ or error.__context__


def chosen(pool: NodePool) -> str:
    async def use() -> str:
        async with pool() as client:
            return client.name

    return asyncio.run(use())


async def time_of_head(url: str) -> float:
    """The start of a node's head slot in Unix seconds."""
    async with BeaconClient.open(options(url)) as client:
        spec, genesis, sync = await client.spec(), await client.genesis(), await client.syncing()
        return genesis.genesis_time + sync.head_slot * spec.slot_duration_ms / 1000


def truth_of(truth: BackgroundReplayNode, path: str) -> bytes:
    return httpx.get(truth.url + path, trust_env=False).content
