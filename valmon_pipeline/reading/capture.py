"""Asks, while it is current, what the reader of an epoch asks later.

A default node answers about an epoch for two or three epochs, some clients about its first block
for less. So each boundary's registry, committees, sync committee, proposers and finality are asked
for when the boundary is passed, the attestation rewards of an epoch at the first block after its
window, every block right after it, and the rewards of own blocks with it. The requests are those
of the reader, so that it finds the answers by them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from valmon_pipeline.beacon.captured_answers import CapturedAnswer, capturing
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.decode import committees
from valmon_pipeline.beacon.named_committees import named_committees
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.blocks import BlockHeader
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.errors import BeaconApiError, UnsupportedForkError
from valmon_pipeline.reading.registries import resolve_watched
from valmon_pipeline.reading.rewards_reader import MANY_VALIDATORS

logger = logging.getLogger(__name__)

_COMMITTEES: Final = "/states/head/committees"
_TRIES: Final = 3
"""A client that does not offer an endpoint is not asked again and again in every epoch."""


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What was captured, ready to be kept, and what could not be: by name, with the reason."""

    answers: tuple[CapturedAnswer, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Question:
    """One request: ``epoch`` is the one it is about, ``ask`` makes it."""

    name: str
    epoch: int
    ask: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class BoundaryCapture:
    """Captures what is known at the boundary of the head's epoch, each answer once.

    What fails is asked again at the next call, a few times in an epoch.
    """

    _epoch: int = -1
    _done: set[str] = field(default_factory=set)
    _tries: Counter[str] = field(default_factory=Counter)
    _whole: bool = False
    _watched: Int64Array | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether anything of the boundary of ``epoch`` is still to be asked for."""
        names = _NAMES if epoch >= 2 else _NAMES[:-1]
        return epoch != self._epoch or any(
            name not in self._done and self._tries[name] < _TRIES for name in names
        )

    def begin_again(self) -> None:
        """Ask for everything again: the watch list or the chain has changed."""
        self._epoch = -1

    async def capture(
        self, client: BeaconClient, spec: ChainSpec, watch: Watch, head: BlockHeader
    ) -> CaptureReport:
        """Ask for what is still missing of the epoch of ``head``, one after the other."""
        epoch = spec.epoch_of(head.slot)
        if epoch != self._epoch:
            self._epoch = epoch
            self._done.clear()
            self._tries.clear()
            self._watched = None
        answers: list[CapturedAnswer] = []
        problems: list[str] = []
        for question in self._questions(client, spec, watch):
            if question.name in self._done or self._tries[question.name] >= _TRIES:
                continue
            self._tries[question.name] += 1
            with capturing() as captured:
                try:
                    await question.ask()
                except (BeaconApiError, UnsupportedForkError) as error:
                    problems.append(f"{question.name} of epoch {question.epoch}: {error}")
                    logger.info("not captured: %s", problems[-1])
                    continue
            self._done.add(question.name)
            answers += captured.answers(
                question.epoch, client.name, head.root, is_kept=lambda path: True
            )
        return CaptureReport(tuple(self._without_strangers(watch, answers)), tuple(problems))

    def _without_strangers(
        self, watch: Watch, answers: Iterable[CapturedAnswer]
    ) -> Iterator[CapturedAnswer]:
        """The answers, with committees that name only watched members where everybody's are not
        needed: on a large network."""
        whole = self._whole or watch.network_state
        for answer in answers:
            if whole or self._watched is None or _COMMITTEES not in answer.request:
                yield answer
                continue
            exchange = answer.exchange
            body = named_committees(committees(exchange.content), self._watched)
            kept = msgspec.structs.replace(exchange, body=msgspec.Raw(body))
            yield CapturedAnswer.of(answer.epoch, kept, answer.node, answer.block_root)

    def _questions(
        self, client: BeaconClient, spec: ChainSpec, watch: Watch
    ) -> Iterator[_Question]:
        """The questions, each made when the one before has been answered."""
        epoch = self._epoch
        first = spec.first_slot(epoch)

        async def all_committees() -> None:
            found = await client.committees("head", epoch)
            self._whole = watch.network or len(found.validator_index) <= watch.registry_limit

        async def registry() -> None:
            found = await client.validators(first, EVERYONE if self._whole else watch.ids)
            self._watched = _watched(watch, found, self._whole)

        async def rewards() -> None:
            watched = self._watched
            if watched is None:
                return
            many = watch.network or len(watched) > MANY_VALIDATORS
            await client.attestation_rewards(epoch - 2, EVERYONE if many else watched)

        yield _Question("committees", epoch, all_committees)
        yield _Question("registry", epoch, registry)
        yield _Question("sync committee", epoch, lambda: client.sync_committee("head", epoch))
        yield _Question("finality", epoch, lambda: client.finality_checkpoints(first))
        yield _Question("proposers", epoch, lambda: client.proposer_duties(epoch))
        if epoch >= 2:
            yield _Question("attestation rewards", epoch - 2, rewards)


_NAMES: Final = (
    "committees",
    "registry",
    "sync committee",
    "finality",
    "proposers",
    "attestation rewards",
)


async def capture_blocks(
    client: BeaconClient,
    spec: ChainSpec,
    headers: Iterable[BlockHeader],
    watched: Int64Array | None,
) -> CaptureReport:
    """Ask for blocks by their roots, and for the rewards of those by ``watched`` (None: all)."""
    answers: list[CapturedAnswer] = []
    problems: list[str] = []
    for header in headers:
        if header.slot == 0:
            continue  # nobody proposed the genesis block
        with capturing() as captured:
            try:
                await client.block(header.root)
                if watched is None or np.isin(header.proposer_index, watched):
                    await client.block_rewards(header.root)
            except (BeaconApiError, UnsupportedForkError) as error:
                problems.append(f"block of slot {header.slot}: {error}")
                logger.info("not captured: %s", problems[-1])
        answers += captured.answers(
            spec.epoch_of(header.slot), client.name, header.root, is_kept=lambda path: True
        )
    return CaptureReport(tuple(answers), tuple(problems))


def _watched(watch: Watch, registry: ValidatorRegistry, whole: bool) -> Int64Array:
    return resolve_watched(watch, registry, whole)[0]
