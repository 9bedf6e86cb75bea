"""How groups of validators did in the newest stored epoch.

Names that start with ``eth_`` are those of Kiln's eth-validator-watcher and mean the same. No label
names a validator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from valmon_pipeline.observability.families import gauges
from valmon_pipeline.storage.queries.newest_epoch import EVERYBODY, Group, StoredEpoch

Sums = Mapping[str, Any]
_LABELS: Final = ["scope"]

_SUMS: Final[Mapping[str, tuple[str, Callable[[Sums], float | None]]]] = {
    "eth_suboptimal_sources_rate": (
        "Attestations without TIMELY_SOURCE, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["source_timely"], sums["duties"]),
    ),
    "eth_suboptimal_targets_rate": (
        "Attestations without TIMELY_TARGET, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["target_timely"], sums["duties"]),
    ),
    "eth_suboptimal_heads_rate": (
        "Attestations without TIMELY_HEAD, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["head_timely"], sums["duties"]),
    ),
    "eth_ideal_consensus_rewards_gwei": (
        "Attestation rewards of perfect attestations.",
        lambda sums: sums["ideal_reward"],
    ),
    "eth_actual_consensus_rewards_gwei": (
        "Attestation rewards earned.",
        lambda sums: sums["reward"] if sums["rewards_known"] else None,
    ),
    "eth_consensus_rewards_rate": (
        "Attestation rewards in percent of the ideal, where the ideal is known.",
        lambda sums: _percent(sums["scored_reward"], sums["scored_ideal_reward"]),
    ),
    "eth_missed_attestations": (
        "Attestations that no block carries, although one could have.",
        lambda sums: sums["missed"],
    ),
    "valmon_attestation_effectiveness": (
        "Mean attestation effectiveness, 0 to 1.",
        lambda sums: _share(
            sums["attestation_effectiveness_sum"], sums["attestation_effectiveness_duties"]
        ),
    ),
    "valmon_proposals_due": ("Blocks due in the epoch.", lambda sums: sums["proposals_due"]),
    "valmon_proposals_proposed": (
        "Blocks of these that are on the chain.",
        lambda sums: sums["proposals_proposed"],
    ),
    "valmon_sync_participation": (
        "Sync committee signatures that blocks carry, of those due, 0 to 1.",
        lambda sums: _share(sums["sync_participated"], sums["sync_due"]),
    ),
    "valmon_missed_reward_gwei": (
        "Ideal less earned attestation rewards.",
        lambda sums: sums["missed_reward"] if sums["rewards_known"] else None,
    ),
    "valmon_ledger_residual_validators": (
        "Validators whose balance moved by something unexplained.",
        lambda sums: sums["ledger_residual_rows"],
    ),
    "valmon_balance_gwei": (
        "Sum of the balances at the end of the epoch.",
        lambda sums: sums["closing_balance"],
    ),
}


_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "eth_missed_attestations": frozenset({"committees"}),
    "eth_missed_consecutive_attestations": frozenset({"committees"}),
    "valmon_proposals_due": frozenset({"proposers"}),
    "valmon_ledger_residual_validators": frozenset({"registry_at_start", "registry_at_end"}),
}
"""The facts without which a count would be too low: while one is missing, it is not exported."""


class GroupMetrics:
    """The metrics of one epoch.

    ``watches_network``: the watched validators are all of the network's, and are exported as
    ``scope:all-network``, too.
    """

    def __init__(self, network: str, *, watches_network: bool) -> None:
        self._network = network
        self._everybody = ["scope:watched", *(["scope:all-network"] if watches_network else [])]

    def collect(self, newest: StoredEpoch) -> Iterator[Metric]:
        """Every family of the epoch's groups. What is not known has no samples."""
        hidden = {name for name, facts in _NEEDED.items() if facts & newest.missing}
        for name, (meaning, figure) in _SUMS.items():
            if name in hidden:
                continue
            values = {group: figure(sums) for group, sums in newest.sums.items()}
            yield self._family(name, meaning, values)
        yield self._family("eth_slashed_validators", "Slashed validators.", newest.slashed)
        streaks = "eth_missed_consecutive_attestations"
        if newest.repeatedly_missed is not None and streaks not in hidden:
            yield self._family(
                streaks,
                "Validators that missed two or more attestations in a row.",
                newest.repeatedly_missed,
            )
        yield gauges(
            "eth_validator_status_count",
            "Validators by status at the start of the newest stored epoch.",
            self._network,
            [*_LABELS, "status"],
            {
                (scope, status): count
                for group, counts in newest.statuses.items()
                for scope in self._scopes(group)
                for status, count in counts.items()
            },
        )

    def future_proposals(self, counts: Mapping[Group, int]) -> Metric:
        """Blocks that are due later in this epoch or in the next one, groups without any: 0."""
        return self._family(
            "eth_future_block_proposals",
            "Blocks due after the slot of the clock, in this epoch or the next one.",
            {EVERYBODY: 0, **counts},
        )

    def _family(self, name: str, meaning: str, values: Mapping[Group, float | None]) -> Metric:
        samples: dict[tuple[str, ...], float | None] = {
            (scope,): value for group, value in values.items() for scope in self._scopes(group)
        }
        return gauges(name, meaning, self._network, _LABELS, samples)

    def _scopes(self, group: Group) -> list[str]:
        """The scopes a group is exported under; none for those without a label."""
        if group == EVERYBODY:
            return self._everybody
        category, value = group
        return [f"{category}:{value}"] if value else []


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
