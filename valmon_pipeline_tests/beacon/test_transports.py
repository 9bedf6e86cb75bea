from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.beacon.archive import ArchiveWriter, Exchange, body_as_json, read_exchanges
from valmon_pipeline.beacon.request_budget import LocalBudget, RequestLimits
from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.transports.archive import (
    NotInArchiveError,
    RecordingTransport,
    ReplayTransport,
)
from valmon_pipeline.beacon.transports.node_address import NodeAddressTransport
from valmon_pipeline.beacon.transports.rate_limit import RateLimitTransport
from valmon_pipeline.beacon.transports.retry import (
    DEADLINE,
    RetryPolicy,
    RetryTransport,
    is_untrusted_certificate,
)
from valmon_pipeline.beacon.transports.whole_body import OversizedAnswerError, WholeBodyTransport
from valmon_pipeline.errors import ConfigurationError

JSON = {"content-type": "application/json"}
QUICK = RetryPolicy(attempts=4, first_wait=0.001)


class Answers(httpx.AsyncBaseTransport):
    """Answers (or raises) in turn, the last one for ever, and remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(content: bytes = b"{}") -> httpx.Response:
    return httpx.Response(200, headers=JSON, content=content)


def send(transport: httpx.AsyncBaseTransport, deadline: float | None = None) -> httpx.Response:
    async def run() -> httpx.Response:
        prepared = httpx.Request("GET", "http://beacon-node/eth/v1/node/version")
        if deadline is not None:
            prepared.extensions[DEADLINE] = time.monotonic() + deadline
        return await transport.handle_async_request(prepared)

    return asyncio.run(run())


class TestRetry:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_a_busy_node_is_asked_again(self, status: int) -> None:
        node, statistics = Answers(httpx.Response(status), ok()), ClientStatistics()
        assert send(RetryTransport(node, statistics, QUICK)).status_code == 200
        assert statistics.retries == 1
        assert statistics.seconds_waited > 0

    @pytest.mark.parametrize("status", [400, 401, 404, 405, 413, 501])
    def test_an_answer_is_not_questioned(self, status: int) -> None:
        node = Answers(httpx.Response(status), ok())
        assert send(RetryTransport(node, ClientStatistics(), QUICK)).status_code == status

    @pytest.mark.parametrize(
        "error",
        [
            httpx.ReadTimeout("slow"),
            httpx.ConnectError("refused"),
            httpx.RemoteProtocolError("cut"),
        ],
    )
    def test_a_lost_connection_is_opened_again(self, error: Exception) -> None:
        assert send(RetryTransport(Answers(error, ok()), ClientStatistics(), QUICK)).is_success

    def test_json_that_ends_early_is_asked_for_again(self) -> None:
        node = Answers(ok(b'{"data": [1, 2'), ok(b'{"data": [1, 2]}\n'))
        assert send(RetryTransport(node, ClientStatistics(), QUICK)).json() == {"data": [1, 2]}

    def test_the_last_answer_is_returned_when_the_attempts_are_used_up(self) -> None:
        node = Answers(httpx.Response(500))
        assert send(RetryTransport(node, ClientStatistics(), QUICK)).status_code == 500
        assert len(node.requests) == QUICK.attempts

    def test_the_last_error_is_raised_when_the_attempts_are_used_up(self) -> None:
        node = Answers(httpx.ConnectError("refused"))
        with pytest.raises(httpx.ConnectError):
            send(RetryTransport(node, ClientStatistics(), QUICK))
        assert len(node.requests) == QUICK.attempts

    def test_other_errors_are_not_swallowed(self) -> None:
        node = Answers(OversizedAnswerError("too long"))
        with pytest.raises(OversizedAnswerError):
            send(RetryTransport(node, ClientStatistics(), QUICK))
        assert len(node.requests) == 1

    def test_nothing_is_started_that_cannot_end_before_the_deadline(self) -> None:
        node = Answers(httpx.Response(503, headers={"Retry-After": "60"}))
        started = time.monotonic()
        retry = RetryTransport(node, ClientStatistics(), QUICK)
        assert send(retry, deadline=30).status_code == 503
        assert time.monotonic() - started < 5
        assert len(node.requests) == 1

    def test_the_deadline_ends_an_attempt_that_hangs(self) -> None:
        class Hangs(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await asyncio.Event().wait()
                raise AssertionError

        with pytest.raises(TimeoutError):
            send(RetryTransport(Hangs(), ClientStatistics(), QUICK), deadline=0.05)

    def test_a_node_that_asks_for_too_much_patience_is_left(self) -> None:
        node = Answers(httpx.Response(429, headers={"Retry-After": "86400"}))
        retry = RetryTransport(node, ClientStatistics(), QUICK)
        assert send(retry).status_code == 429
        assert len(node.requests) == 1

    @given(st.integers(1, 60))
    def test_waits_double_up_to_thirty_seconds_give_or_take_a_fifth(self, attempt: int) -> None:
        expected = min(30.0, 0.1 * 2 ** (attempt - 1))
        assert 0.8 * expected <= RetryPolicy().wait(attempt) <= 1.2 * expected

    def test_a_longer_retry_after_counts(self) -> None:
        assert RetryPolicy().wait(1, retry_after=7) == 7

    @pytest.mark.parametrize("value", ["0", "soon", "", "-5", "Wed, 99 Foo 2020"])
    def test_an_unreadable_or_past_retry_after_does_not_matter(self, value: str) -> None:
        node = Answers(httpx.Response(503, headers={"Retry-After": value}), ok())
        assert send(RetryTransport(node, ClientStatistics(), QUICK)).is_success

    def test_retry_after_may_be_a_date(self) -> None:
        at = format_datetime(datetime.now(UTC) + timedelta(hours=10), usegmt=True)
        node = Answers(httpx.Response(503, headers={"Retry-After": at}), ok())
        assert send(RetryTransport(node, ClientStatistics(), QUICK)).status_code == 503


class TestRateLimit:
    def test_no_more_than_allowed_are_in_flight(self) -> None:
        class Counting(httpx.AsyncBaseTransport):
            now = most = 0

            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(0)
                self.now -= 1
                return ok()

        node = Counting()

        async def run() -> None:
            limit = RateLimitTransport(
                node, ClientStatistics(), LocalBudget(RequestLimits(1e6, 1000, 3))
            )
            request = httpx.Request("GET", "http://beacon-node/")
            await asyncio.gather(*(limit.handle_async_request(request) for _ in range(20)))

        asyncio.run(run())
        assert node.most == 3

    def test_a_burst_passes_and_what_follows_is_slowed_down(self) -> None:
        statistics = ClientStatistics()

        async def run() -> tuple[float, float]:
            limit = RateLimitTransport(
                Answers(ok()), statistics, LocalBudget(RequestLimits(100, 5, 10))
            )
            request = httpx.Request("GET", "http://beacon-node/")
            started = time.monotonic()
            for _ in range(5):
                await limit.handle_async_request(request)
            burst = time.monotonic() - started
            for _ in range(10):
                await limit.handle_async_request(request)
            return burst, time.monotonic() - started

        burst, total = asyncio.run(run())
        assert burst < 0.05
        assert total >= 0.09
        assert statistics.seconds_waited >= 0.09

    def test_what_would_be_admitted_too_late_is_not_waited_for(self) -> None:
        budget = LocalBudget(RequestLimits(0.1, 1, 10))
        limit = RateLimitTransport(Answers(ok()), ClientStatistics(), budget)
        send(limit)
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="rate limit has no room"):
            send(limit, deadline=5)
        assert time.monotonic() - started < 2

    def test_a_request_that_is_cancelled_gives_back_its_place(self) -> None:
        budget = LocalBudget(RequestLimits(1e6, 1000, 1))

        class Hangs(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await asyncio.Event().wait()
                raise AssertionError

        async def run() -> None:
            request = httpx.Request("GET", "http://beacon-node/")
            hanging = RateLimitTransport(Hangs(), ClientStatistics(), budget)
            waiting = RateLimitTransport(Answers(ok()), ClientStatistics(), budget)
            for limit in (hanging, waiting):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await asyncio.gather(
                            hanging.handle_async_request(request),
                            limit.handle_async_request(request),
                        )
            assert (await waiting.handle_async_request(request)).is_success

        asyncio.run(run())


class TestWholeBody:
    def test_size_is_counted_and_bounded(self) -> None:
        statistics = ClientStatistics()
        assert send(WholeBodyTransport(Answers(ok(b"12345")), statistics, 5)).content == b"12345"
        assert statistics.requests == 1
        assert statistics.bytes_received == 5
        with pytest.raises(OversizedAnswerError):
            send(WholeBodyTransport(Answers(ok(b"123456")), statistics, 5))


class TestNodeAddress:
    def test_prefix_login_and_token_are_added_on_the_last_step_only(self) -> None:
        node = Answers(ok())
        response = send(NodeAddressTransport("https://me:p%40ss@node.example:1/x/?key=1#f", node))
        (request,) = node.requests
        assert str(request.url) == "https://node.example:1/x/eth/v1/node/version?key=1"
        assert request.headers["Host"] == "node.example:1"
        assert request.headers["Authorization"] == "Basic bWU6cEBzcw=="
        assert response.is_success

    @pytest.mark.parametrize("url", ["", "node:5052", "ftp://node", "http://", "http://a:secret"])
    def test_what_is_no_address_is_refused_without_being_shown(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="is not an address like") as raised:
            NodeAddressTransport(url, Answers(ok()))
        assert "secret" not in str(raised.value)


class TestArchive:
    def exchange(self, phase: str, body: bytes) -> Exchange:
        return Exchange(
            method="GET",
            path="/eth/v1/node/version",
            status=200,
            phase=phase,
            body=body_as_json(body),
            headers=JSON,
        )

    def test_what_was_recorded_is_replayed(self, tmp_path: Path) -> None:
        archive = tmp_path / "a.jsonl.zst"
        with ArchiveWriter(archive) as writer:
            answer = httpx.Response(404, headers=JSON, content=b'{"code":404}')
            send(RecordingTransport(Answers(answer), writer, phase="final"))
        (exchange,) = read_exchanges(archive)
        assert exchange.phase == "final"
        replayed = send(ReplayTransport([exchange]))
        assert (replayed.status_code, replayed.content) == (404, b'{"code":404}')
        assert replayed.headers["content-type"] == "application/json"

    def test_the_final_answer_is_preferred_and_of_those_the_last(self) -> None:
        exchanges = [
            self.exchange("live", b"[1]"),
            self.exchange("final", b"[2]"),
            self.exchange("final", b"[3]"),
            self.exchange("head", b"[4]"),
        ]
        assert send(ReplayTransport(exchanges)).content == b"[3]"

    def test_what_was_not_recorded_is_named(self) -> None:
        with pytest.raises(NotInArchiveError, match="GET /eth/v1/node/version"):
            send(ReplayTransport([]))


def test_causes_that_lead_back_to_where_they_began_end_the_search() -> None:
    """A dead node's connection errors were seen to do so: the run hung."""
    first, second = httpx.ConnectError("refused"), OSError("reset")
    first.__cause__, second.__cause__ = second, None
    second.__context__ = first
    assert not is_untrusted_certificate(first)
