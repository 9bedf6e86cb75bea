"""A recording in memory: which answer belongs to which request, and the chain it shows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

import msgspec

from valmon_pipeline.beacon.archive import Exchange, RequestKey, read_exchanges, request_key
from valmon_pipeline.devnet.recorded_states import RecordedStates
from valmon_pipeline.devnet.recording_error import RecordingError

# History is what was asked after finality; the other phases fill what was never asked then.
_PHASES: Final = (
    "final",
    "recent",
    "orphan_final",
    "live",
    "orphan_live",
    "slot",
    "head",
    "static",
    "error",
)
_PHASE_RANK: Final = {phase: rank for rank, phase in enumerate(_PHASES)}
_HISTORY: Final = frozenset({"final", "recent"})
# A recording without history can still be replayed when its chain links: then these were asked by
# slot while the slot was current, and what they name is canonical.
_CURRENT: Final = frozenset({"live", "slot"})
# Clients refuse duties and liveness of past epochs: there the answers given at the time count.
_DUTIES_PREFIX: Final = "/eth/v1/validator/"

HEADERS_PATH: Final = "/eth/v1/beacon/headers"
_HEADER_PATH: Final = re.compile(rf"{HEADERS_PATH}/(\d+|0x[0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class RecordedBlock:
    """Slot and roots of a block whose header was recorded."""

    slot: int
    root: str
    parent_root: str
    state_root: str


class Recording:
    """The answers of one recording, indexed by request.

    Answers stay undecoded JSON until they are asked for. Loading the recorded devnet (50 MB of
    JSON) takes well under a second.
    """

    def __init__(
        self,
        exchanges: Iterable[Exchange],
        *,
        name: str = "recording",
        states: RecordedStates | None = None,
    ) -> None:
        self.name = name
        self.states = states or RecordedStates({})
        self._exchanges: dict[RequestKey, list[Exchange]] = defaultdict(list)
        for exchange in exchanges:
            if not _has_unusual_headers(exchange):
                self._exchanges[exchange.key].append(exchange)
        for key, answers in self._exchanges.items():
            answers.sort(key=_duty_preference if _is_duty(key) else _preference)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recording (``.jsonl.zst``) and the SSZ states in the folder ``states`` beside it.

        Raises :class:`~valmon_pipeline.beacon.archive.ArchiveError` when it cannot be read, and
        :class:`RecordingError` for an index of states that cannot be read.
        """
        return cls(
            read_exchanges(path),
            name=str(path),
            states=RecordedStates.of_folder(path.parent / "states"),
        )

    def __len__(self) -> int:
        return sum(map(len, self._exchanges.values()))

    def best(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        *,
        phases: frozenset[str] | None = None,
    ) -> Exchange | None:
        """Return the recorded answer to exactly this request, or None.

        Of several the one asked latest in the most final phase is taken; for duties and liveness
        the latest successful one given while the epoch was current. ``phases`` narrows the choice.
        """
        for exchange in self._exchanges.get(request_key(method, path, query, body), ()):
            if phases is None or exchange.phase in phases:
                return exchange
        return None

    def largest(self, method: str, path: str) -> Exchange | None:
        """Return the preferred answer to ``path`` whatever the body, that with the longest first.

        Duties were asked for all validators known at the time: the latest request is the longest.
        """
        found = [
            answers[0]
            for key, answers in self._by_path.get((method, path), {}).items()
            if not key.query and answers[0].status == 200
        ]
        return max(found, key=lambda exchange: (len(exchange.body), exchange.t), default=None)

    def require(self, path: str) -> Exchange:
        """Return the recorded answer to a plain GET; raises :class:`RecordingError` without one."""
        exchange = self.best("GET", path)
        if exchange is None:
            raise RecordingError(
                f"{self.name}: no answer to GET {path}; a replay node needs it. Record it as well."
            )
        return exchange

    @cached_property
    def spec(self) -> Mapping[str, object]:
        """The chain's ``config/spec`` as recorded."""
        answer = msgspec.json.decode(self.require("/eth/v1/config/spec").content)
        spec = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(spec, dict):
            raise RecordingError(f"{self.name}: GET /eth/v1/config/spec has no data object")
        return spec

    @cached_property
    def slots_per_epoch(self) -> int:
        """SLOTS_PER_EPOCH of the recorded chain."""
        return self._spec_integer("SLOTS_PER_EPOCH")

    @cached_property
    def slot_duration_ms(self) -> int:
        """Duration of a slot in milliseconds, from either key of the specification."""
        if "SLOT_DURATION_MS" in self.spec:
            return self._spec_integer("SLOT_DURATION_MS")
        return 1000 * self._spec_integer("SECONDS_PER_SLOT")

    @cached_property
    def epochs_per_sync_committee_period(self) -> int:
        """EPOCHS_PER_SYNC_COMMITTEE_PERIOD of the recorded chain."""
        return self._spec_integer("EPOCHS_PER_SYNC_COMMITTEE_PERIOD")

    def _spec_integer(self, name: str) -> int:
        value = self.spec.get(name)
        if not isinstance(value, str | int) or not str(value).isdigit():
            raise RecordingError(
                f"{self.name}: GET /eth/v1/config/spec: {name} is {value!r}, an integer is needed"
            )
        return int(value)

    @cached_property
    def blocks(self) -> Mapping[int, RecordedBlock]:
        """The canonical blocks by slot, ascending; genesis included.

        Those recorded after finality. Without any, those asked by slot while it was current, if
        they form a chain: each names the one before it as its parent. Raises
        :class:`RecordingError` naming the slot where they do not.
        """
        canonical = {block.slot: block for block in self._canonical_blocks()}
        genesis = self.best("GET", f"{HEADERS_PATH}/genesis")
        if genesis is not None and genesis.status == 200:
            canonical[0] = _block_of(genesis)
        in_order = dict(sorted(canonical.items()))
        if not self.has_history:
            self._require_chain(list(in_order.values()))
        return in_order

    @cached_property
    def has_history(self) -> bool:
        """Whether headers were asked for after finality."""
        return any(exchange.phase in _HISTORY for _, exchange in self._header_answers())

    def _require_chain(self, blocks: Sequence[RecordedBlock]) -> None:
        for parent, child in pairwise(blocks):
            if child.parent_root != parent.root:
                raise RecordingError(
                    f"{self.name}: the headers were asked for while they were current, and the "
                    f"block of slot {child.slot} has the parent {child.parent_root}, not the block "
                    f"of slot {parent.slot}. Record the headers after finality (phase final)."
                )

    @cached_property
    def blocks_by_root(self) -> Mapping[str, RecordedBlock]:
        """The canonical blocks by root."""
        return {block.root: block for block in self.blocks.values()}

    @cached_property
    def orphans(self) -> Mapping[str, RecordedBlock]:
        """Blocks that were reorged away, by root, as seen while they were part of a fork."""
        found = (
            _block_of(exchange)
            for _, exchange in self._header_answers()
            if exchange.phase == "orphan_live" and exchange.status == 200
        )
        return {block.root: block for block in found if block.root not in self.blocks_by_root}

    @cached_property
    def slots_by_state_root(self) -> Mapping[str, int]:
        """Slots of the states whose root was recorded, by root."""
        return {block.state_root: block.slot for block in self.blocks.values()}

    @cached_property
    def slots(self) -> range:
        """The slots whose block, or lack of one, was recorded, see :attr:`blocks`."""
        phases = self._canonical_phases
        known = {slot for slot, exchange in self._header_answers() if exchange.phase in phases}
        numbered = sorted(slot for slot in known if slot is not None)
        if not numbered:
            raise RecordingError(
                f"{self.name}: no header was asked for after finality, nor by slot while it was "
                f"current ({HEADERS_PATH}/<slot>)"
            )
        return range(numbered[0], numbered[-1] + 1)

    @cached_property
    def epochs(self) -> range:
        """The epochs E that can be processed: blocks of E and E+1, states at S_E, S_E+1, S_E+2.

        Empty when there is no such epoch.
        """
        spe = self.slots_per_epoch
        first = -(-self.slots.start // spe)
        complete = [
            epoch
            for epoch in range(first, self.slots.stop // spe)
            if (epoch + 2) * spe <= self.slots.stop
            and all(self.has_state((epoch + ahead) * spe) for ahead in range(3))
        ]
        return range(complete[0], complete[-1] + 1) if complete else range(0)

    def has_state(self, slot: int) -> bool:
        """Whether the whole validator registry of the state at ``slot`` was recorded."""
        exchange = self.best("GET", f"/eth/v1/beacon/states/{slot}/validators")
        return exchange is not None and exchange.status == 200

    @cached_property
    def validator_indices(self) -> Mapping[str, str]:
        """Validator indices by public key (both as text) of the newest recorded registry."""
        for slot in reversed(self.slots):
            exchange = self.best("GET", f"/eth/v1/beacon/states/{slot}/validators")
            if exchange is not None and exchange.status == 200:
                rows = _registry_decoder.decode(exchange.content).data
                return {row.validator.pubkey.lower(): row.index for row in rows}
        return {}

    @cached_property
    def fork_schedule(self) -> Sequence[Mapping[str, str]]:
        """The forks of ``config/fork_schedule``, ascending by epoch; empty if not recorded."""
        exchange = self.best("GET", "/eth/v1/config/fork_schedule")
        if exchange is None or exchange.status != 200:
            return ()
        forks = msgspec.json.decode(exchange.content, type=_ForkSchedule).data
        return sorted(forks, key=lambda fork: int(fork["epoch"]))

    def block_at_or_before(self, slot: int) -> RecordedBlock | None:
        """Return the canonical block of ``slot`` or the last one before it."""
        for candidate in range(min(slot, self.slots.stop - 1), self.slots.start - 1, -1):
            if candidate in self.blocks:
                return self.blocks[candidate]
        return self.blocks.get(0)

    @cached_property
    def _by_path(self) -> Mapping[tuple[str, str], Mapping[RequestKey, list[Exchange]]]:
        grouped: dict[tuple[str, str], dict[RequestKey, list[Exchange]]] = defaultdict(dict)
        for key, answers in self._exchanges.items():
            grouped[key.method, key.path][key] = answers
        return grouped

    def _canonical_blocks(self) -> Iterator[RecordedBlock]:
        phases = self._canonical_phases
        for slot, exchange in self._header_answers():
            if slot is not None and exchange.phase in phases and exchange.status == 200:
                yield _block_of(exchange)

    @property
    def _canonical_phases(self) -> frozenset[str]:
        return _HISTORY if self.has_history else _CURRENT

    def _header_answers(self) -> Iterator[tuple[int | None, Exchange]]:
        """Yield every answer about a header asked for by slot, or by root (then slot is None)."""
        for key, answers in self._exchanges.items():
            match = _HEADER_PATH.fullmatch(key.path) if key.method == "GET" else None
            if match and not key.query:
                block_id = match[1]
                slot = None if block_id.startswith("0x") else int(block_id)
                yield from ((slot, exchange) for exchange in answers)


class _HeaderMessage(msgspec.Struct):
    slot: str
    parent_root: str
    state_root: str


class _SignedHeader(msgspec.Struct):
    message: _HeaderMessage


class _HeaderData(msgspec.Struct):
    root: str
    header: _SignedHeader


class _HeaderAnswer(msgspec.Struct):
    data: _HeaderData


class _ForkSchedule(msgspec.Struct):
    data: list[dict[str, str]]


class _Validator(msgspec.Struct):
    pubkey: str


class _RegistryRow(msgspec.Struct):
    index: str
    validator: _Validator


class _RegistryAnswer(msgspec.Struct):
    data: list[_RegistryRow]


_registry_decoder: Final = msgspec.json.Decoder(_RegistryAnswer)
_header_decoder: Final = msgspec.json.Decoder(_HeaderAnswer)


def _block_of(exchange: Exchange) -> RecordedBlock:
    try:
        data = _header_decoder.decode(exchange.content)
        message = data.data.header.message
        return RecordedBlock(
            int(message.slot), data.data.root, message.parent_root, message.state_root
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise RecordingError(f"GET {exchange.path}: not a block header: {error}") from error


def _is_duty(key: RequestKey) -> bool:
    return key.method == "POST" and key.path.startswith(_DUTIES_PREFIX)


def _preference(exchange: Exchange) -> tuple[int, float]:
    return _PHASE_RANK.get(exchange.phase, len(_PHASES)), -exchange.t


def _duty_preference(exchange: Exchange) -> tuple[bool, bool, float]:
    return exchange.status != 200, exchange.phase != "live", -exchange.t


def _has_unusual_headers(exchange: Exchange) -> bool:
    """Whether the answer was provoked by its headers, which a request's key does not hold."""
    headers = {name.lower(): value for name, value in (exchange.request_headers or {}).items()}
    content_type = headers.get("content-type")
    return (
        headers.get("accept", "*/*") != "*/*"
        or content_type not in (None, "application/json")
        or (content_type is not None and not exchange.request_content)
    )
