"""What six clients give, as their profiles answer: while following, after an outage, and before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest

from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.clients.catalogue import CLIENTS
from valmon_pipeline.devnet.clock import ManualClock
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import ReplayNode
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.epoch.source_names import LADDERS, SourceName
from valmon_pipeline.errors import BeaconUnreachableError, ObjectUnavailableError
from valmon_pipeline.reading.client_options import CLIENT_OPTIONS, advice_for, option_for
from valmon_pipeline.reading.ladder import sources_of
from valmon_pipeline.reading.source_survey import (
    NULL_WITHOUT,
    Moment,
    Survey,
    SurveyLimits,
    survey_node,
)
from valmon_pipeline_tests.recordings import MAINNET

HEAD: Final = 32 * 8 + 3
"""A few blocks into an epoch: the time at which following live reads an epoch."""
FEW: Final = Watch(indices=frozenset({3}), registry_limit=0)
"""A few validators of a network that is too large to read whole."""
STATES: Final = {
    Fact.REGISTRY_AT_START,
    Fact.PROPOSERS,
    Fact.FINALITY,
    Fact.ATTESTATION_REWARDS,
    Fact.PENDING_QUEUES,
}
REWARDS_OF_BLOCKS: Final = {Fact.BLOCK_REWARDS, Fact.SYNC_REWARDS}
NODES_DOC: Final = Path(__file__).parents[2] / "docs" / "nodes.md"


@pytest.fixture(scope="module")
def mainnet() -> Recording:
    return Recording.load(MAINNET)


Surveyed = Callable[..., Survey]


@pytest.fixture(scope="module")
def survey(mainnet: Recording) -> Surveyed:
    """Survey the node of a client, whose head is a few blocks into an epoch."""

    def of(
        client: str,
        watch: Watch = FEW,
        *,
        head: int = HEAD,
        wrap: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] = lambda same: same,
        limits: SurveyLimits | None = None,
        history: bool = False,
        archive: bool = False,
        execution_layer: bool = True,
    ) -> Survey:
        clock = ManualClock()
        node = ReplayNode(
            mainnet,
            live=True,
            start_slot=0,
            now=clock,
            client=client,
            archive=archive,
            execution_layer=execution_layer,
        )
        clock.move_to(node.clock, head)
        options = NodeOptions(
            "http://node",
            requests_per_second=1e6,
            burst=100_000,
            retry=RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002),
        )

        async def ask() -> Survey:
            transport = wrap(httpx.ASGITransport(app=node.app))
            async with BeaconClient.open(options, transport=transport) as opened:
                return await survey_node(opened, watch, history=history, limits=limits)

        return asyncio.run(ask())

    return of


def missing(survey: Survey, moment: Moment) -> set[Fact]:
    return {one.fact for one in survey.reports if one.moment is moment and one.is_missing}


def source(survey: Survey, fact: Fact, moment: Moment) -> SourceName | None:
    report = survey.of(fact, moment)
    assert report is not None
    return report.source


@pytest.mark.parametrize("client", CLIENTS)
def test_following_live_every_client_gives_everything_but_one_fact_of_one(
    survey: Surveyed, client: str
) -> None:
    found = survey(client)
    assert found.client is ConsensusClient(client)
    assert missing(found, Moment.NOW) == ({Fact.PENDING_QUEUES} if client == "nimbus" else set())
    assert {one.fact for one in found.reports} == set(NULL_WITHOUT) - {Fact.NETWORK_STATE}
    without_route = client in ("nimbus", "grandine")
    assert source(found, Fact.ATTESTATION_REWARDS, Moment.NOW) is (
        SourceName.PARTICIPATION if without_route else SourceName.ATTESTATION_REWARDS
    )


@pytest.mark.parametrize(
    ("client", "facts"),
    [
        ("lodestar", STATES | REWARDS_OF_BLOCKS),
        ("lighthouse", STATES | REWARDS_OF_BLOCKS),
        ("teku", STATES | REWARDS_OF_BLOCKS),
        ("prysm", set()),
        ("nimbus", {Fact.PENDING_QUEUES}),
        ("grandine", set()),
    ],
)
def test_after_an_outage_default_nodes_lack_what_needs_a_state(
    survey: Surveyed, client: str, facts: set[Fact]
) -> None:
    found = survey(client)
    assert missing(found, Moment.OUTAGE) == facts
    always = (Fact.BLOCKS, Fact.WITHDRAWALS, Fact.COMMITTEES, Fact.SYNC_COMMITTEE)
    assert all(source(found, fact, Moment.OUTAGE) for fact in always)


@pytest.mark.parametrize(
    ("client", "committees"),
    [
        ("lodestar", SourceName.SHUFFLING),
        ("lighthouse", SourceName.HEAD_COMMITTEES),
        ("teku", SourceName.HEAD_COMMITTEES),
        ("prysm", SourceName.HEAD_COMMITTEES),
        ("nimbus", SourceName.HEAD_COMMITTEES),
        ("grandine", SourceName.COMMITTEES),
    ],
)
def test_old_committees_come_from_the_head_or_are_shuffled(
    survey: Surveyed, client: str, committees: SourceName
) -> None:
    assert source(survey(client), Fact.COMMITTEES, Moment.OUTAGE) is committees


@pytest.mark.parametrize("client", CLIENTS)
def test_the_archive_options_give_what_is_advised(survey: Surveyed, client: str) -> None:
    default, archive = survey(client), survey(client, archive=True)
    lacking = missing(default, Moment.OUTAGE)
    advised = {
        fact for fact in lacking if option_for(default.client, fact, Moment.OUTAGE) is not None
    }
    given = lacking - missing(archive, Moment.OUTAGE)
    if client == "nimbus":
        assert (advised, given) == ({Fact.PENDING_QUEUES}, set()), "a newer version, not an archive"
    else:
        assert advised == given


def test_a_refusal_is_told_in_the_nodes_words_with_the_option(survey: Surveyed) -> None:
    found = survey("lodestar")
    registry = found.of(Fact.REGISTRY_AT_START, Moment.OUTAGE)
    assert registry is not None
    assert registry.reason == (
        "states/{slot}/validators: HTTP 500 (Historical state regen is not enabled, set "
        "--serveHistoricalState to fetch this data)"
    )
    assert "--serveHistoricalState --chain.archiveStateEpochFrequency=1" in advice_for(
        found, registry
    )
    rewards = found.of(Fact.BLOCK_REWARDS, Moment.OUTAGE)
    assert rewards is not None
    assert advice_for(found, rewards).startswith("no option of Lodestar gives it")


def test_with_the_whole_registry_rewards_are_computed(survey: Surveyed) -> None:
    watch = Watch(indices=frozenset({3}))
    found = survey("grandine", watch)
    assert found.whole_registry
    assert source(found, Fact.ATTESTATION_REWARDS, Moment.OUTAGE) is SourceName.OUTCOMES
    assert source(found, Fact.SYNC_REWARDS, Moment.OUTAGE) is SourceName.SEATS
    lacking = survey("lighthouse", watch).of(Fact.SYNC_REWARDS, Moment.OUTAGE)
    assert lacking is not None
    assert lacking.reason is not None
    assert "it takes registry_at_start" in lacking.reason


def test_whole_states_are_a_fact_where_the_network_is_stored(survey: Surveyed) -> None:
    watch = Watch(indices=frozenset({3}), registry_limit=0, network_state=True)
    found = survey("nimbus", watch)
    assert source(found, Fact.NETWORK_STATE, Moment.NOW) is SourceName.STATE
    assert source(found, Fact.PENDING_QUEUES, Moment.NOW) is SourceName.STATE
    assert Fact.NETWORK_STATE in missing(survey("teku", watch), Moment.OUTAGE)


def test_without_its_execution_client_prysm_gives_no_withdrawals(survey: Surveyed) -> None:
    found = survey("prysm", execution_layer=False)
    assert missing(found, Moment.NOW) == {Fact.WITHDRAWALS}
    report = found.of(Fact.WITHDRAWALS, Moment.NOW)
    assert report is not None
    assert "--save-full-execution-payloads" in advice_for(found, report)


class Listening(httpx.AsyncBaseTransport):
    """Notes paths and bytes of states; paths with ``hangs`` in them are never answered."""

    def __init__(self, inner: httpx.AsyncBaseTransport, hangs: str = "nothing") -> None:
        self._inner = inner
        self._hangs = hangs
        self.paths: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if self._hangs in request.url.path:
            await asyncio.sleep(60)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def test_few_requests_and_no_whole_epoch(survey: Surveyed) -> None:
    heard: list[Listening] = []

    def listen(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        heard.append(Listening(inner))
        return heard[-1]

    survey("lodestar", wrap=listen)
    paths = heard[0].paths
    assert len(paths) <= 45
    assert sum("/beacon/blocks/" in path for path in paths) == 2


def test_a_node_that_replays_for_long_is_not_waited_for(survey: Surveyed) -> None:
    limits = SurveyLimits(question=0.3, moment=1.0)
    # The states of the epoch after the outage: first(3) of the registry and the queues.
    found = survey("prysm", wrap=lambda inner: Listening(inner, hangs="/states/96"), limits=limits)
    assert missing(found, Moment.NOW) == set()
    registry = found.of(Fact.REGISTRY_AT_START, Moment.OUTAGE)
    assert registry is not None
    assert registry.reason == "states/{slot}/validators: no answer within 0.3 s"
    slow = survey(
        "prysm",
        wrap=lambda inner: Listening(inner, hangs="/states/96"),
        limits=SurveyLimits(question=0.5, moment=0.5),
    )
    after = [one for one in slow.reports if one.moment is Moment.OUTAGE and not one.is_asked]
    assert Fact.PROPOSERS in {one.fact for one in after}
    assert all(not one.is_missing for one in after)


def test_history_is_asked_for_only_on_request(survey: Surveyed) -> None:
    assert survey("prysm").moments == (Moment.NOW, Moment.OUTAGE)
    young = survey("prysm", history=True)
    assert young.moments == (Moment.NOW, Moment.OUTAGE), "the chain is not a day old"
    assert survey("prysm", head=32 * 3).moments == (Moment.NOW,)
    assert survey("prysm", head=33).moments == ()


def test_a_node_without_a_head_has_no_survey(survey: Surveyed) -> None:
    with pytest.raises(BeaconUnreachableError):
        survey(
            "teku",
            wrap=lambda inner: Listening(inner, hangs="/headers/head"),
            limits=SurveyLimits(question=0.2, moment=0.3),
        )


def test_a_whole_state_is_asked_for_without_reading_it(mainnet: Recording) -> None:
    node = ReplayNode(mainnet)

    async def ask() -> int:
        options = NodeOptions("http://node")
        transport = httpx.ASGITransport(app=node.app)
        async with BeaconClient.open(options, transport=transport) as client:
            await client.require_state(128)
            with pytest.raises(ObjectUnavailableError):
                await client.require_state(129)
            return client.statistics.bytes_received

    assert asyncio.run(ask()) < 1000


def test_every_source_of_a_ladder_is_surveyed_or_explained() -> None:
    asked_otherwise = {Fact.REGISTRY_AT_END, Fact.PREVIOUS_ATTESTATION_REWARDS}
    only_when_needed = {Fact.LIFE_CYCLES, Fact.SLASHED_BALANCE}
    assert set(LADDERS) - set(NULL_WITHOUT) == asked_otherwise | only_when_needed
    assert set(Fact) == set(LADDERS)


def test_a_source_that_is_not_on_the_ladder_is_refused() -> None:
    async def nothing() -> None:
        return None

    with pytest.raises(ValueError, match="no sources of finality"):
        sources_of(Fact.FINALITY, {SourceName.BLOCKS: nothing})


def test_every_option_is_in_the_documentation() -> None:
    text = " ".join(NODES_DOC.read_text(encoding="utf-8").replace("`", "").split())
    assert [one.option for one in CLIENT_OPTIONS if one.option not in text] == []
