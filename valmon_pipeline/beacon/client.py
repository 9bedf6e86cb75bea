"""Typed access to one beacon node: a method per endpoint, columns out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, SupportsIndex, TypeVar

import httpx
import msgspec
import numpy as np

from valmon_pipeline.beacon import decode
from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    AttesterDuties,
    BlockRewards,
    FinalityCheckpoints,
    Genesis,
    ProposerDuties,
    SyncCommitteeRewards,
    SyncStatus,
)
from valmon_pipeline.beacon.archive import ArchiveWriter, read_exchanges
from valmon_pipeline.beacon.redact import redact_url
from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.transports.archive import (
    NotInArchiveError,
    RecordingTransport,
    ReplayTransport,
)
from valmon_pipeline.beacon.transports.node_address import PLACEHOLDER, NodeAddressTransport
from valmon_pipeline.beacon.transports.rate_limit import RateLimitTransport
from valmon_pipeline.beacon.transports.retry import (
    ATTEMPTS,
    DEADLINE,
    RetryPolicy,
    RetryTransport,
)
from valmon_pipeline.beacon.transports.whole_body import OversizedAnswerError, WholeBodyTransport
from valmon_pipeline.beacon.validator_ids import (
    EVERYONE,
    Everyone,
    chunks,
    split_ids,
    unique_indices,
)
from valmon_pipeline.chain.blocks import Block, BlockHeader
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    MalformedAnswerError,
    ObjectUnavailableError,
    RequestRefusedError,
)

T = TypeVar("T")
StateId = int | str
BlockId = int | str | bytes

POST_IDS: Final = 10_000
"""Most ids in one POST; nodes do not document their limits."""
GET_IDS: Final = 64
"""Most ids in one GET that the Beacon API promises to take."""
MAX_ANSWER_BYTES: Final = 2 << 30
"""A whole mainnet registry as JSON is about 1 GB."""
_NO_SUCH_ENDPOINT: Final = frozenset({404, 405, 501})
_UNREACHABLE: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How to talk to one node. ``url`` may hold credentials; they are never shown."""

    url: str
    timeout_seconds: float = 10.0
    max_idle_connections: int = 20
    requests_per_second: float = 50.0
    burst: int = 100
    worker_pool_size: int = 10
    max_answer_bytes: int = MAX_ANSWER_BYTES
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __repr__(self) -> str:
        return f"NodeOptions({redact_url(self.url)})"


class BeaconClient:
    """Asynchronous client of one beacon node; use it with ``async with``, in one event loop.

    All methods raise the same errors (all ``BeaconApiError``), naming the request:

    - ``BeaconUnreachableError``: no usable answer, after the retries or at the deadline.
    - ``ObjectUnavailableError``: the node does not have the object (404, or 400 for pruned or
      future objects, which some clients answer).
    - ``RequestRefusedError``: any other refusal (401, 403, 413, 501 …).
    - ``MalformedAnswerError``: truncated, not JSON, a field missing, of a wrong type or value.
    - ``NodeNotReadyError``: the answer is optimistic and must not be stored.

    State and block ids are slots, names (``head``, ``finalized``, ``genesis``, ``justified``) or
    ``0x…`` roots; block ids may be the root's bytes.
    """

    def __init__(self, http: httpx.AsyncClient, name: str, statistics: ClientStatistics) -> None:
        self.name = name
        self.statistics = statistics
        self._http = http
        self._spec: ChainSpec | None = None
        self._posts_validators = True
        self._deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

    @classmethod
    def open(
        cls,
        options: NodeOptions,
        *,
        archive: ArchiveWriter | None = None,
        phase: str = "live",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> BeaconClient:
        """Return a client; nothing is sent yet.

        ``archive`` records every answer, as of ``phase``; it stays the caller's to close.
        ``transport`` stands in for the network connection, e.g. an ``httpx.ASGITransport``.
        """
        statistics = ClientStatistics()
        if transport is None:
            transport = httpx.AsyncHTTPTransport(
                limits=httpx.Limits(
                    max_connections=options.worker_pool_size,
                    max_keepalive_connections=options.max_idle_connections,
                )
            )
        transport = NodeAddressTransport(options.url, transport)
        transport = WholeBodyTransport(transport, statistics, options.max_answer_bytes)
        transport = RateLimitTransport(
            transport,
            statistics,
            requests_per_second=options.requests_per_second,
            burst=options.burst,
            in_flight=options.worker_pool_size,
        )
        transport = RetryTransport(transport, statistics, options.retry)
        if archive is not None:
            transport = RecordingTransport(transport, archive, phase=phase)
        http = _http_client(transport, options.timeout_seconds)
        return cls(http, redact_url(options.url), statistics)

    @classmethod
    def replay(cls, archive: Path) -> BeaconClient:
        """Return a client that answers from an archive; nothing is ever sent.

        What the archive does not hold is an ``ObjectUnavailableError``.
        """
        statistics = ClientStatistics()
        transport = WholeBodyTransport(
            ReplayTransport(read_exchanges(archive)), statistics, MAX_ANSWER_BYTES
        )
        return cls(_http_client(transport, timeout=None), archive.name, statistics)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Bound everything asked within, retries and waiting included.

        Of nested deadlines the earliest counts. Tasks started within inherit it.
        """
        ends = time.monotonic() + seconds
        outer = self._deadline.get()
        token = self._deadline.set(ends if outer is None else min(ends, outer))
        try:
            yield
        finally:
            self._deadline.reset(token)

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
        return await self._get("/eth/v1/node/version", decode.node_version)

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
        response = await self._ask("GET", path, tolerated=frozenset({404}))
        if response.status_code != httpx.codes.OK:
            return None
        header = decode.decoded(decode.header, response.content, self._where("GET", path))
        self._require_slot(block_id, header.slot, "headers")
        return header

    async def block(self, block_id: BlockId) -> Block:
        """Return a block; ``ObjectUnavailableError`` for a missed slot."""
        path = f"/eth/v2/beacon/blocks/{_block_id(block_id)}"
        response = await self._ask("GET", path)
        version = response.headers.get("eth-consensus-version")
        block = decode.decoded(
            lambda content: decode.block(content, version),
            response.content,
            self._where("GET", path),
        )
        self._require_slot(block_id, block.slot, "blocks")
        return block

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

    async def sync_committee(self, state_id: StateId, epoch: int) -> Int64Array:
        """Return the validator of each seat of the sync committee at ``epoch``.

        A validator can hold several seats. ``epoch`` lies in the state's period or the next.
        """
        path = f"/eth/v1/beacon/states/{state_id}/sync_committees"
        seats = await self._get(path, decode.sync_committee, params=[("epoch", str(epoch))])
        size = (await self.spec()).sync_committee_size
        if len(seats) != size:
            raise MalformedAnswerError(
                f"{self._where('GET', path)}: {len(seats)} seats in the sync committee of epoch "
                f"{epoch}, but SYNC_COMMITTEE_SIZE is {size}. Ask another node."
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
            response = await self._ask("GET", path, tolerated=_NO_SUCH_ENDPOINT)
        if response is None or response.status_code != httpx.codes.OK:
            path = f"/eth/v1/validator/duties/proposer/{epoch}"
            response = await self._ask("GET", path)
        duties = decode.decoded(decode.proposer_duties, response.content, self._where("GET", path))
        first = max(spec.first_slot(epoch), 1)
        slots = np.arange(first, spec.last_slot(epoch) + 1, dtype=np.int64)
        if not np.array_equal(duties.slot, slots):
            raise MalformedAnswerError(
                f"{self._where('GET', path)}: the proposers of epoch {epoch} are for slots "
                f"{duties.slot.tolist()}, expected {first} to {spec.last_slot(epoch)}. "
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
        return AttestationRewards(
            *_joined(parts, names[:5], wanted), *_joined(parts, names[5:], EVERYONE)
        )

    async def block_rewards(self, block_id: BlockId) -> BlockRewards:
        """Return what a block paid its proposer."""
        return await self._get(
            f"/eth/v1/beacon/rewards/blocks/{_block_id(block_id)}", decode.block_rewards
        )

    async def sync_committee_rewards(
        self, block_id: BlockId, indices: Iterable[SupportsIndex] | Everyone
    ) -> SyncCommitteeRewards:
        """Return a block's rewards for members of the sync committee, all seats summed."""
        path = f"/eth/v1/beacon/rewards/sync_committee/{_block_id(block_id)}"
        if isinstance(indices, Everyone):
            return await self._post(path, [], decode.sync_committee_rewards)
        wanted = unique_indices(indices)
        parts = [
            decode.sync_committee_rewards(b'{"data":[]}'),
            *await self._post_chunks(path, wanted, decode.sync_committee_rewards),
        ]
        return SyncCommitteeRewards(
            *_joined(parts, SyncCommitteeRewards.__dataclass_fields__, wanted)
        )

    async def _validators_by_id(self, path: str, ids: Sequence[str]) -> ValidatorRegistry:
        """Ask by POST, or by GET where the node does not know the POST."""
        if self._posts_validators:
            response = await self._ask("POST", path, body={"ids": ids}, tolerated=_NO_SUCH_ENDPOINT)
            if response.status_code == httpx.codes.OK:
                return decode.decoded(
                    decode.validators, response.content, self._where("POST", path)
                )
        requests = (
            self._get(path, decode.validators, params=[("id", name) for name in chunk])
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
    ) -> T:
        response = await self._ask("GET", path, params=params)
        return decode.decoded(decoder, response.content, self._where("GET", path, params))

    async def _post(self, path: str, body: object, decoder: Callable[[bytes], T]) -> T:
        response = await self._ask("POST", path, body=body)
        return decode.decoded(decoder, response.content, self._where("POST", path))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        body: object = None,
        tolerated: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Send a request; answers other than 200 and the ``tolerated`` statuses are raised."""
        where = self._where(method, path, params)
        extensions: dict[str, Any] = {}
        if (deadline := self._deadline.get()) is not None:
            extensions[DEADLINE] = deadline
        request = self._http.build_request(
            method,
            path,
            params=list(params) or None,
            content=None if body is None else msgspec.json.encode(body),
            headers=None if body is None else {"Content-Type": "application/json"},
        )
        request.extensions.update(extensions)
        try:
            response = await self._http.send(request)
        except (TimeoutError, httpx.TransportError, httpx.DecodingError) as error:
            raise BeaconUnreachableError(
                f"{where}: no answer after {_attempts(request)} "
                f"({type(error).__name__}{f': {error}' if str(error) else ''}). "
                "Is the node running, and is beacon_node_url right?"
            ) from error
        except OversizedAnswerError as error:
            raise MalformedAnswerError(f"{where}: {error}") from error
        except NotInArchiveError as error:
            raise ObjectUnavailableError(f"{where}: {error}") from error
        if response.status_code != httpx.codes.OK and response.status_code not in tolerated:
            raise _refusal(response, where, _attempts(request))
        return response

    def _where(self, method: str, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        shown = "&".join(f"{name}={value}" for name, value in params[:3])
        if len(params) > 3:
            shown += "&…"
        return f"{method} {path}{'?' + shown if shown else ''} of {self.name}"

    def _require_slot(self, block_id: BlockId, slot: int, endpoint: str) -> None:
        if isinstance(block_id, int) and slot != block_id:
            raise MalformedAnswerError(
                f"{endpoint}/{block_id} of {self.name}: the node answered with the block of slot "
                f"{slot}. Ask another node."
            )


def _http_client(transport: httpx.AsyncBaseTransport, timeout: float | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=PLACEHOLDER,
        transport=transport,
        timeout=timeout,
        trust_env=False,  # neither a netrc nor a proxy may answer for the node
        headers={"Accept": "application/json", "User-Agent": "valmon"},
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


def _attempts(request: httpx.Request) -> str:
    attempts = request.extensions.get(ATTEMPTS, 1)
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _refusal(response: httpx.Response, where: str, attempts: str) -> BeaconApiError:
    status = response.status_code
    answer = f"{where}: HTTP {status}{_message(response)}"
    if status in (400, 404):
        return ObjectUnavailableError(
            f"{answer}. The node does not have it: pruned, not there yet, or never proposed."
        )
    if status in _UNREACHABLE:
        return BeaconUnreachableError(
            f"{answer}, after {attempts}. The node is overloaded, or cannot serve this object."
        )
    return RequestRefusedError(f"{answer}. Does the node allow this request?")


def _message(response: httpx.Response) -> str:
    """The node's own words, for people; their meaning is never relied on."""
    try:
        body = msgspec.json.decode(response.content)
        text = str(body.get("message", "")) if isinstance(body, dict) else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = response.text
    text = " ".join(text.split())[:200]
    return f" ({text})" if text else ""
