"""Typed access to one beacon node: a method per endpoint, columns out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from math import isqrt
from pathlib import Path
from typing import Final, Self, SupportsIndex, TypeVar

import httpx
import numpy as np

from valmon_pipeline.beacon import decode
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    AttesterDuties,
    BlockRewards,
    Genesis,
    PendingConsolidations,
    PendingDeposit,
    ProposerDuties,
    SyncCommitteeRewards,
    SyncStatus,
)
from valmon_pipeline.beacon.archive import ExchangeSink
from valmon_pipeline.beacon.block_ssz.signed_block import BlockDecoder
from valmon_pipeline.beacon.captured_answers import Shelf
from valmon_pipeline.beacon.columns import INT64_MAX
from valmon_pipeline.beacon.connection import JSON, SSZ, Connection, NodeOptions, deadline, is_ssz
from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state, fork_of_version
from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.validator_ids import (
    EVERYONE,
    Everyone,
    chunks,
    split_ids,
    unique_indices,
)
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.blocks import Block, BlockHeader
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.finality import FinalityCheckpoints
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.weights import SYNC_REWARD_WEIGHT, WEIGHT_DENOMINATOR
from valmon_pipeline.errors import (
    BeaconApiError,
    MalformedAnswerError,
    NodeNotReadyError,
    ObjectUnavailableError,
    UnsupportedForkError,
)

__all__ = ["EVERYONE", "BeaconClient", "BlockId", "NodeOptions", "StateId"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
StateId = int | str
BlockId = int | str | bytes

POST_IDS: Final = 10_000
"""Most ids in one POST; nodes do not document their limits."""
GET_IDS: Final = 64
"""Most ids in one GET that the Beacon API promises to take."""
_ACCEPT_SSZ: Final = {"Accept": f"{SSZ};q=1,{JSON};q=0.9"}
_NOT_IN_THIS_FORMAT: Final = frozenset({406, 415})
_NO_SUCH_ENDPOINT: Final = frozenset({404, 405, 501})
_NO_POST: Final = _NO_SUCH_ENDPOINT | {400, 403, 413, 415}
"""Gateways forbid POST by 403, or drop its body, so that the node answers 400."""
_NO_SUCH_QUEUE: Final = _NO_SUCH_ENDPOINT | {400}
"""400: the state is of before Electra, or pruned at some clients."""


class BeaconClient:
    """Asynchronous client of one beacon node; use it with ``async with``, in one event loop.

    All methods raise the same errors (all ``BeaconApiError``), naming the request:

    - ``BeaconUnreachableError``: no usable answer, after the retries or at the deadline.
    - ``ObjectUnavailableError``: the node does not have the object, or does not offer it; its
      ``kind`` says which, by client and route (see ``beacon.refusals``).
    - ``RequestRefusedError``: any other refusal (401, 403, 413, 501, a redirect …).
    - ``MalformedAnswerError``: truncated, not JSON, too long, a field missing, of a wrong type or
      value; or the address is no beacon node's.
    - ``NodeNotReadyError``: the node is syncing, or the answer is optimistic and must not be
      stored.

    State and block ids are slots, names (``head``, ``finalized``, ``genesis``, ``justified``) or
    ``0x…`` roots; block ids may be the root's bytes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.archive: ExchangeSink | None = None
        self._spec: ChainSpec | None = None
        self._block_decoder: BlockDecoder | None = None
        self._posts_validators = True
        self._asks_ssz_blocks = True
        self._registry_seen: tuple[int, int] | None = None

    @classmethod
    def open(
        cls,
        options: NodeOptions,
        *,
        archive: ExchangeSink | None = None,
        phase: str = "live",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> BeaconClient:
        """Return a client; nothing is sent yet.

        ``archive`` records every answer, as of ``phase``; it stays the caller's to close.
        ``transport`` stands in for the network connection, e.g. an ``httpx.ASGITransport``.
        """
        connection = Connection.open(options, archive=archive, phase=phase, transport=transport)
        client = cls(connection)
        client.archive = archive
        return client

    @classmethod
    def replay(cls, archive: Path) -> BeaconClient:
        """Return a client that answers from an archive; nothing is ever sent.

        What the archive does not hold is an ``ObjectUnavailableError``.
        """
        return cls(Connection.replay(archive))

    @classmethod
    def archived(cls, archive: AnswerArchive, otherwise: str) -> BeaconClient:
        """Return a client that answers from what is archived; nothing is ever sent.

        It goes by the name of the node that was asked. What is asked about no subject (see
        ``beacon.subject``) is answered from that of ``otherwise``; what is not archived is an
        ``ObjectUnavailableError``.
        """
        return cls(Connection.archived(archive, otherwise))

    @property
    def name(self) -> str:
        """The node's address without secrets, or the archive's file name."""
        return self._connection.name

    @property
    def shelf(self) -> Shelf:
        """The captured answers that this client looks through before it asks its node."""
        return self._connection.shelf

    @property
    def statistics(self) -> ClientStatistics:
        """Running totals of everything this client asked."""
        return self._connection.statistics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Bound everything asked within, retries and waiting included.

        Of nested deadlines the earliest counts. Tasks started within inherit it.
        """
        return deadline(seconds)

    async def spec(self) -> ChainSpec:
        """Return the chain's parameters; asked once per client."""
        if self._spec is None:
            self._spec = await self._get("/eth/v1/config/spec", decode.spec)
        return self._spec

    async def genesis(self) -> Genesis:
        """Return the network's identity."""
        return await self._get("/eth/v1/beacon/genesis", decode.genesis)

    async def node_version(self) -> str:
        """Return the name and version of the node's software."""
        version = await self._get("/eth/v1/node/version", decode.node_version)
        return self._connection.learn(version)

    def remember_version(self, version: str) -> None:
        """Take over what the node said of its version earlier: refusals are judged by it."""
        self._connection.learn(version)

    async def syncing(self) -> SyncStatus:
        """Return how far the node is."""
        return await self._get("/eth/v1/node/syncing", decode.syncing)

    async def finality_checkpoints(self, state_id: StateId) -> FinalityCheckpoints:
        """Return the checkpoints of a state."""
        return await self._get(
            f"/eth/v1/beacon/states/{state_id}/finality_checkpoints", decode.finality_checkpoints
        )

    async def header(self, block_id: BlockId) -> BlockHeader | None:
        """Return a canonical block's header; None if there is no such block (a missed slot).

        Near the head None can also mean "not yet": a gap is proved by a later block.
        """
        path = f"/eth/v1/beacon/headers/{_block_id(block_id)}"
        response = await self._connection.ask("GET", path, tolerated=frozenset({404}))
        if response.status_code != httpx.codes.OK:
            return None
        header = self._connection.read(decode.header, response, "GET", path)
        self._require_slot(block_id, header.slot, path)
        return header

    async def head(self) -> BlockHeader:
        """Return the head block's header.

        Raises, apart from what all methods raise:
            NodeNotReadyError: the node has no head block yet.
        """
        header = await self.header("head")
        if header is None:
            raise NodeNotReadyError(
                f"{self._connection.where('GET', '/eth/v1/beacon/headers/head')}: HTTP 404: the "
                "node has no head block yet: it is starting, or before genesis; valmon asks again "
                "later"
            )
        return header

    async def block(self, block_id: BlockId) -> Block:
        """Return a block; ``ObjectUnavailableError`` for a missed slot."""
        path = f"/eth/v2/beacon/blocks/{_block_id(block_id)}"
        block = await self._block_as_served(path, blinded=False)
        self._require_slot(block_id, block.slot, path)
        return block

    async def blinded_block(self, block_id: BlockId) -> Block:
        """Return a block without its execution payload, for which no execution client is needed.

        It equals :meth:`block` but for the withdrawals, which are None since Capella.
        ``ObjectUnavailableError`` for a missed slot.
        """
        path = f"/eth/v1/beacon/blinded_blocks/{_block_id(block_id)}"
        block = await self._block_as_served(path, blinded=True)
        self._require_slot(block_id, block.slot, path)
        return block

    async def block_at(self, slot: int) -> Block | None:
        """Return the canonical block of ``slot``; None if the node has none there.

        None can also mean "not any more" or "not yet": a gap is proved by a later block.
        """
        try:
            return await self.full_or_blinded_block(slot)
        except ObjectUnavailableError as error:
            if error.status not in (None, httpx.codes.NOT_FOUND):
                raise
            return None

    async def full_or_blinded_block(self, block_id: BlockId) -> Block:
        """Return a block, without its withdrawals where the node cannot put its payload together.

        Some clients keep blocks without their payloads and need an execution client that still has
        them.
        """
        try:
            return await self.block(block_id)
        except ObjectUnavailableError as error:
            if error.status in (None, httpx.codes.NOT_FOUND):
                raise
            logger.info("asked for without its payload: %s", error)
            try:
                return await self.blinded_block(block_id)
            except BeaconApiError:
                raise error from None

    async def validators(
        self, state_id: StateId, ids: Iterable[SupportsIndex | str] | Everyone
    ) -> ValidatorRegistry:
        """Return validators of a state by index or public key, ascending by index, each once.

        Unknown ids are left out. No ids: an empty registry, and nothing is asked. ``EVERYONE``
        asks for the whole registry (about 0.5 kB per validator).
        """
        path = f"/eth/v1/beacon/states/{state_id}/validators"
        if isinstance(ids, Everyone):
            return await self._get(path, decode.validators)
        indices, pubkeys = split_ids(ids)
        # Apart, because one validator named both ways is a duplicate, which some nodes refuse.
        requests = [*chunks(map(str, indices), POST_IDS), *chunks(pubkeys, POST_IDS)]
        parts = await _all(self._validators_by_id(path, request) for request in requests)
        registry = decode.concatenate([decode.validators(b'{"data":[]}'), *parts])
        requested = np.isin(registry.validator_index, np.array(indices, np.int64))
        if pubkeys:
            keys = {bytes.fromhex(pubkey[2:]) for pubkey in pubkeys}
            requested |= np.fromiter(
                (key.tobytes() in keys for key in registry.pubkey), np.bool_, len(registry)
            )
        return decode.select_rows(registry, np.flatnonzero(requested))

    async def committees(self, state_id: StateId, epoch: int) -> Committees:
        """Return all committees of ``epoch``; portable for the state of its first slot."""
        return await self._get(
            f"/eth/v1/beacon/states/{state_id}/committees",
            decode.committees,
            params=[("epoch", str(epoch))],
        )

    async def beacon_state(self, slot: int, genesis: Genesis) -> BeaconState:
        """Return the whole state after ``slot`` as views of one buffer, from the debug endpoint.

        About 139 bytes per validator, at most ``NodeOptions.max_state_bytes``. States are not
        archived: from an archive they are unavailable.

        Raises, apart from what all methods raise:
            UnsupportedForkError: valmon cannot read the states of that fork.
        """
        spec = await self.spec()
        path = f"/eth/v2/debug/beacon/states/{slot}"
        headers, content = await self._connection.ask_state(path)
        known_at, known = self._registry_seen or (slot, None)
        expected = ExpectedState(
            slot=slot,
            genesis_validators_root=genesis.genesis_validators_root,
            least_validators=known if known is not None and known_at <= slot else 1,
            most_validators=known if known_at >= slot else None,
        )

        def read() -> BeaconState:
            if headers.get("eth-execution-optimistic", "").lower() == "true":
                raise decode.OptimisticAnswerError
            fork = fork_of_version(headers.get("eth-consensus-version"))
            return decode_state(spec, fork, content, expected)

        state = decode.checked(read, self._connection.where("GET", path))
        self._registry_seen = slot, len(state)
        return state

    async def require_state(self, slot: int) -> None:
        """Make sure that the node serves the whole state after ``slot``; it is not read.

        The node still has to put the state together, which can mean to replay blocks.
        """
        await self._connection.require_state(f"/eth/v2/debug/beacon/states/{slot}")

    async def sync_committee(self, state_id: StateId, epoch: int) -> Int64Array:
        """Return the validator of each seat of the sync committee at ``epoch``.

        A validator can hold several seats. ``epoch`` lies in the state's period or the next.
        """
        path = f"/eth/v1/beacon/states/{state_id}/sync_committees"
        seats = await self._get(path, decode.sync_committee, params=[("epoch", str(epoch))])
        size = (await self.spec()).sync_committee_size
        if len(seats) != size:
            raise MalformedAnswerError(
                f"{self._connection.where('GET', path)}: {len(seats)} seats in the sync committee "
                f"of epoch {epoch}, but SYNC_COMMITTEE_SIZE is {size}. Ask another node."
            )
        return seats

    async def proposer_duties(self, epoch: int) -> ProposerDuties:
        """Return the proposer of each slot of ``epoch``, ascending (slot 0 has none).

        Since Fulu the current version of the endpoint is tried first; not all nodes have it.
        """
        spec = await self.spec()
        path = f"/eth/v2/validator/duties/proposer/{epoch}"
        response: httpx.Response | None = None
        if spec.fork_at_epoch(epoch) >= Fork.FULU:
            response = await self._connection.ask("GET", path, tolerated=_NO_SUCH_ENDPOINT)
        if response is None or response.status_code != httpx.codes.OK:
            path = f"/eth/v1/validator/duties/proposer/{epoch}"
            response = await self._connection.ask("GET", path)
        duties = self._connection.read(decode.proposer_duties, response, "GET", path)
        first = max(spec.first_slot(epoch), 1)
        slots = np.arange(first, spec.last_slot(epoch) + 1, dtype=np.int64)
        if not np.array_equal(duties.slot, slots):
            raise MalformedAnswerError(
                f"{self._connection.where('GET', path)}: the proposers of epoch {epoch} are for "
                f"slots {duties.slot.tolist()}, expected {first} to {spec.last_slot(epoch)}. "
                "Ask another node."
            )
        return duties

    async def attester_duties(self, epoch: int, indices: Iterable[SupportsIndex]) -> AttesterDuties:
        """Return the attestation duties of validators active in ``epoch``.

        No indices: no duties, and nothing is asked. Many nodes refuse past epochs: committees are
        the portable source.
        """
        wanted = unique_indices(indices)
        path = f"/eth/v1/validator/duties/attester/{epoch}"
        parts = [
            decode.attester_duties(b'{"data":[]}'),
            *await self._post_chunks(path, wanted, decode.attester_duties),
        ]
        return AttesterDuties(*_joined(parts, AttesterDuties.__dataclass_fields__, wanted))

    async def attestation_rewards(
        self, epoch: int, indices: Iterable[SupportsIndex] | Everyone
    ) -> AttestationRewards:
        """Return the rewards for attestations with target ``epoch``.

        Available once the last slot of ``epoch`` + 1 is behind the head. Ask only for indices
        that exist in that epoch: some nodes refuse the whole request otherwise.
        """
        path = f"/eth/v1/beacon/rewards/attestations/{epoch}"
        if isinstance(indices, Everyone):
            return await self._post(path, [], decode.attestation_rewards)
        wanted = unique_indices(indices)
        empty = decode.attestation_rewards(b'{"data":{"ideal_rewards":[],"total_rewards":[]}}')
        parts = [empty, *await self._post_chunks(path, wanted, decode.attestation_rewards)]
        names = list(AttestationRewards.__dataclass_fields__)
        index, source, target, head, inactivity = _joined(parts, names[:5], wanted)
        balance, *ideal = _joined(parts, names[5:9], EVERYONE)
        return AttestationRewards(
            index, source, target, head, inactivity, balance, ideal[0], ideal[1], ideal[2]
        )

    async def block_rewards(self, block_id: BlockId) -> BlockRewards:
        """Return what a block paid its proposer."""
        return await self._get(
            f"/eth/v1/beacon/rewards/blocks/{_block_id(block_id)}", decode.block_rewards
        )

    async def sync_committee_rewards(
        self, block_id: BlockId, indices: Iterable[SupportsIndex] | Everyone
    ) -> SyncCommitteeRewards:
        """Return a block's rewards for members of the sync committee, all seats summed.

        Amounts that cannot be rewards (old Lodestar versions answer with balances) are refused.
        """
        path = f"/eth/v1/beacon/rewards/sync_committee/{_block_id(block_id)}"
        if isinstance(indices, Everyone):
            rewards = await self._post(path, [], decode.sync_committee_rewards)
            await self._require_possible(rewards, path)
            return rewards
        wanted = unique_indices(indices)
        parts = [
            decode.sync_committee_rewards(b'{"data":[]}'),
            *await self._post_chunks(path, wanted, decode.sync_committee_rewards),
        ]
        rewards = SyncCommitteeRewards(
            *_joined(parts, SyncCommitteeRewards.__dataclass_fields__, wanted)
        )
        await self._require_possible(rewards, path)
        return rewards

    async def pending_deposits(self, state_id: StateId) -> tuple[PendingDeposit, ...] | None:
        """Return the queue of deposits of a state; None if the node cannot tell it.

        About 0.5 kB per deposit.
        """
        return await self._queue(state_id, "pending_deposits", decode.pending_deposits)

    async def pending_consolidations(self, state_id: StateId) -> PendingConsolidations | None:
        """Return the queue of consolidations of a state; None if the node cannot tell it."""
        return await self._queue(state_id, "pending_consolidations", decode.pending_consolidations)

    async def _block_as_served(self, path: str, *, blinded: bool) -> Block:
        """A block in SSZ, or in JSON if the node prefers that or its SSZ cannot be used."""
        if self._asks_ssz_blocks:
            response = await self._connection.ask(
                "GET", path, headers=_ACCEPT_SSZ, tolerated=_NOT_IN_THIS_FORMAT
            )
            if response.status_code != httpx.codes.OK:
                reason = f"HTTP {response.status_code}"
            elif not is_ssz(response):
                return await self._decoded_block(response, path, blinded=blinded)
            else:
                try:
                    return await self._decoded_block(response, path, blinded=blinded)
                except (MalformedAnswerError, UnsupportedForkError) as error:
                    reason = str(error.__cause__)
            if self._asks_ssz_blocks:
                logger.warning(
                    "%s: %s. Blocks are asked for in JSON from now on, not in SSZ",
                    self._connection.where("GET", path),
                    reason,
                )
            self._asks_ssz_blocks = False
        response = await self._connection.ask("GET", path)
        return await self._decoded_block(response, path, blinded=blinded)

    async def _decoded_block(self, response: httpx.Response, path: str, *, blinded: bool) -> Block:
        version = response.headers.get("eth-consensus-version")
        if not is_ssz(response):
            return self._connection.read(
                lambda content: decode.block(content, version, blinded=blinded),
                response,
                "GET",
                path,
            )
        if self._block_decoder is None:
            self._block_decoder = BlockDecoder(await self.spec())
        decoder = self._block_decoder

        def read(content: bytes) -> Block:
            # Most clients do not send this header with SSZ.
            if response.headers.get("eth-execution-optimistic", "").lower() == "true":
                raise decode.OptimisticAnswerError
            return decoder.block(decode.block_fork(version), content, blinded=blinded)

        return self._connection.read(read, response, "GET", path)

    async def _queue(self, state_id: StateId, name: str, decoder: Callable[[bytes], T]) -> T | None:
        path = f"/eth/v1/beacon/states/{state_id}/{name}"
        try:
            response = await self._connection.ask("GET", path, tolerated=_NO_SUCH_QUEUE)
        except ObjectUnavailableError:
            return None
        if response.status_code != httpx.codes.OK:
            return None
        return self._connection.read(decoder, response, "GET", path)

    async def _validators_by_id(self, path: str, ids: Sequence[str]) -> ValidatorRegistry:
        """Ask by POST, or by GET where the node or a gateway does not take the POST."""
        if self._posts_validators:
            response = await self._connection.ask(
                "POST", path, body={"ids": ids}, named=len(ids), tolerated=_NO_POST
            )
            if response.status_code == httpx.codes.OK:
                return self._connection.read(decode.validators, response, "POST", path)
        requests = (
            self._get(
                path, decode.validators, params=[("id", name) for name in chunk], named=len(chunk)
            )
            for chunk in chunks(ids, GET_IDS)
        )
        registries = [await next(requests)]  # alone: it tells whether the state is there at all
        registries += await _all(requests)
        # A 404 to the POST could also mean an unknown state, but GET found the state.
        self._posts_validators = False
        return decode.concatenate(registries)

    async def _post_chunks(
        self, path: str, indices: list[int], decoder: Callable[[bytes], T]
    ) -> list[T]:
        return await _all(
            self._post(path, chunk, decoder) for chunk in chunks(map(str, indices), POST_IDS)
        )

    async def _get(
        self,
        path: str,
        decoder: Callable[[bytes], T],
        params: Sequence[tuple[str, str]] = (),
        named: int | None = None,
    ) -> T:
        response = await self._connection.ask("GET", path, params=params, named=named)
        return self._connection.read(decoder, response, "GET", path, params)

    async def _post(self, path: str, ids: Sequence[str], decoder: Callable[[bytes], T]) -> T:
        """``ids`` names validators; none of them: everyone."""
        named = len(ids) or None
        response = await self._connection.ask("POST", path, body=ids, named=named)
        return self._connection.read(decoder, response, "POST", path)

    async def _require_possible(self, rewards: SyncCommitteeRewards, path: str) -> None:
        """Refuse more than a whole sync committee earns in a slot, were every gwei staked."""
        if not len(rewards):
            return
        spec = await self.spec()
        most = spec.base_reward_factor * (isqrt(INT64_MAX) + 1) * SYNC_REWARD_WEIGHT
        most //= WEIGHT_DENOMINATOR * spec.slots_per_epoch
        impossible = np.flatnonzero((rewards.reward > most) | (rewards.reward < -most))
        if len(impossible):
            row = impossible[0]
            raise MalformedAnswerError(
                f"{self._connection.where('POST', path)}: reward {int(rewards.reward[row])} of "
                f"validator {int(rewards.validator_index[row])} is not a sync committee reward (at "
                f"most {most} gwei). Nothing was stored; the node's rewards are wrong, perhaps "
                "balances: upgrade it or ask another one."
            )

    def _require_slot(self, block_id: BlockId, slot: int, path: str) -> None:
        if isinstance(block_id, int) and slot != block_id:
            raise MalformedAnswerError(
                f"{self._connection.where('GET', path)}: the node answered with the block of slot "
                f"{slot}. Ask another node."
            )


async def _all(requests: Iterable[Awaitable[T]]) -> list[T]:
    """Run requests side by side; the first failure cancels the others and is raised as it is."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _joined(
    parts: Sequence[object], names: Iterable[str], wanted: list[int] | Everyone
) -> list[Int64Array]:
    """Join columns of several answers by the first, each key once, and only the wanted keys."""
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    keys, rows = np.unique(columns[0], return_index=True)
    if not isinstance(wanted, Everyone):
        rows = rows[np.isin(keys, np.array(wanted, np.int64))]
    return [column[rows] for column in columns]


def _block_id(block_id: BlockId) -> str:
    return f"0x{block_id.hex()}" if isinstance(block_id, bytes) else str(block_id)
