"""What the Dagster UI shows beside each stored epoch: counts, sums, cost, and plots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import dagster as dg
import numpy as np
import pandas as pd

from valmon_pipeline.assets.plots import Series, stacked_bars
from valmon_pipeline.frames.balance_ledger import COMPONENTS
from valmon_pipeline.ledger.residuals import ResidualClass
from valmon_pipeline.scoring.health import Health

_GREEN: Final = "#3a9d5d"
_AMBER: Final = "#e0a030"
_RED: Final = "#c8443c"
_GROUPS_SHOWN: Final = 50
Metadata = dict[str, Any]


def describe_epoch(
    tables: Mapping[str, pd.DataFrame], described: Collection[str] | None = None
) -> dict[str, Metadata]:
    """Metadata of each table of an epoch, or of those ``described``, from the frames of all."""
    return {
        table: {
            "dagster/partition_row_count": len(frame),
            **(describe(frame, tables) if (describe := _DESCRIPTIONS.get(table)) else {}),
        }
        for table, frame in tables.items()
        if described is None or table in described
    }


def _blocks(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    missed = frame.loc[frame["status"] == "missed", "slot"].tolist()
    return {
        "blocks_proposed": len(frame) - len(missed),
        "blocks_missed": len(missed),
        "missed_slots": str(missed),
    }


def _attestation_outcomes(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    included = frame["included"].to_numpy(np.bool_)
    late = (
        included
        & (frame["inclusion_slot"] > frame["earliest_inclusion_slot"]).fillna(False).to_numpy()
    )
    slots, at = np.unique(frame["slot"].to_numpy(np.int64), return_inverse=True)

    def per_slot(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> list[int]:
        counted: list[int] = np.bincount(at[mask], minlength=len(slots)).tolist()
        return counted

    delay = frame["inclusion_delay"].mean()
    return {
        "duties": len(frame),
        "missed": int((~included).sum()),
        "late": int(late.sum()),
        "mean_inclusion_delay": None if pd.isna(delay) else round(float(delay), 4),
        "cost_gwei": _total(frame["cost"]),
        **{
            f"missed_by_{name}": int(count)
            for name, count in frame["miss_cause"].value_counts().items()
            if count
        },
        "head_wrong": int((included & ~frame["head_correct"].to_numpy(np.bool_)).sum()),
        "by_slot": dg.MetadataValue.md(
            stacked_bars(
                "Attestations by duty slot",
                [str(slot) for slot in slots.tolist()],
                [
                    Series("on time", _GREEN, per_slot(included & ~late)),
                    Series("late", _AMBER, per_slot(late)),
                    Series("missed", _RED, per_slot(~included)),
                ],
            )
        ),
    }


def _attestation_rewards(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    ideal = frame["ideal_total"]
    return {
        "earned_gwei": _total(frame["total_reward"]),
        "ideal_gwei": _total(ideal),
        "missed_gwei": _total(ideal - frame["total_reward"]),
        "inactivity_penalty_gwei": _total(frame["inactivity_penalty"]),
        **_partly(frame, "total_reward", "rewards_unknown"),
    }


def _balance_ledger(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    moved = {name: _total(frame[name]) for name in COMPONENTS}
    classes = frame["residual_class"].value_counts()
    lines = ["| | gwei |", "|---|---|", f"| opening | {int(frame['opening_balance'].sum()):,} |"]
    moved["residual"] = _total(frame["residual"])
    lines += [
        f"| {name.replace('_', ' ')} | {'not known' if gwei is None else f'{gwei:+,}'} |"
        for name, gwei in moved.items()
        if gwei or gwei is None or name == "residual"
    ]
    lines.append(f"| closing | {int(frame['closing_balance'].sum()):,} |")
    return {
        "ledger": dg.MetadataValue.md("\n".join(lines)),
        **_partly(frame, "residual", "rows_with_unknown_components"),
        "unexplained": int(classes[ResidualClass.UNEXPLAINED.value]),
        **{f"residual_{name}": int(count) for name, count in classes.items() if count},
    }


def _block_events(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    counts = frame["event_type"].value_counts()
    return {str(name): int(count) for name, count in counts.items() if count}


def _validator_penalties(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    sums = frame.groupby("penalty_type", observed=True)["penalty_gwei"].sum()
    return {f"{name}_gwei": int(gwei) for name, gwei in sums.items()}


def _block_rewards(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    return {
        "earned_gwei": _total(frame["total"]),
        "missed_estimate_gwei": int(frame["missed_estimate"].fillna(0).sum()),
        **_partly(frame, "total", "rewards_unknown"),
    }


def _sync_duties(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    return {"due": int(frame["due"].sum()), "missed": int(frame["missed"].sum())}


def _sync_rewards(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    return {
        "earned_gwei": _total(frame["reward"]),
        **_partly(frame, "reward", "rewards_unknown"),
    }


def _network_epochs(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    row = frame.iloc[0]
    total = row["total_active_balance"]
    metadata: Metadata = {"finalized": bool(row["finalized"])}
    if not pd.isna(row["leak"]):
        metadata["leak"] = bool(row["leak"])
    metadata |= _sources(tables["fact_sources"])
    if not pd.isna(total):
        metadata["total_active_balance_gwei"] = int(total)
        for component in ("source", "target", "head"):
            participating = row[f"{component}_participating_balance"]
            if not pd.isna(participating):
                share = round(int(participating) / int(total), 6)
                metadata[f"{component}_participation"] = share
    return metadata


def _sources(frame: pd.DataFrame) -> Metadata:
    """Where the facts of the epoch came from, the missing ones first."""
    lines = ["| fact | source | node | deviates | reason |", "|---|---|---|---|---|"]
    missing = frame["source"].isna()
    for row in pd.concat([frame[missing], frame[~missing]]).to_dict("records"):
        source = "**not known**" if pd.isna(row["source"]) else row["source"]
        deviates = "" if pd.isna(row["compared"]) else f"{row['deviating']}/{row['compared']}"
        cells = [row["fact"], source, row["node"], deviates, row["reason"]]
        shown = ("" if pd.isna(cell) else str(cell).replace("|", "\\|") for cell in cells)
        lines.append(f"| {' | '.join(shown)} |")
    metadata: Metadata = {"missing_facts": int(missing.sum())}
    if missing.any():
        metadata["missing"] = ", ".join(frame.loc[missing, "fact"].astype(str))
    if len(frame):
        metadata["sources"] = dg.MetadataValue.md("\n".join(lines))
    return metadata


def _total(column: pd.Series) -> int | None:
    """The sum of what is known; None where there are rows and nothing is known of them."""
    known = column.dropna()
    return None if len(column) and known.empty else int(known.sum())


def _partly(frame: pd.DataFrame, column: str, name: str) -> Metadata:
    """How many rows are not part of a sum, if any."""
    unknown = int(frame[column].isna().sum())
    return {name: unknown} if unknown else {}


def _effectiveness_scores(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    effectiveness = frame["attestation_effectiveness"].dropna().to_numpy(np.float64)
    rewards = tables["attestation_rewards"]
    known = rewards.dropna(subset=["ideal_total", "total_reward"])
    ideal_sum = int(known["ideal_total"].sum())
    edges = np.linspace(0.0, 1.0, 11)
    counts: list[int] = np.histogram(effectiveness, edges)[0].tolist()
    metadata: Metadata = {
        "validators": len(frame),
        "distribution": dg.MetadataValue.md(
            stacked_bars(
                "Validators by attestation effectiveness",
                [f"{edge:.1f}" for edge in edges[:-1].tolist()],
                [Series("validators", _GREEN, counts)],
            )
        ),
    }
    if len(effectiveness):
        metadata["mean_attestation_effectiveness"] = round(float(effectiveness.mean()), 6)
    if ideal_sum:
        earned = int(known["total_reward"].sum())
        metadata["reward_effectiveness"] = round(earned / ideal_sum, 6)
    return metadata


def _epoch_summaries(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    """The groups by category, best reward effectiveness first, those without any at the end."""
    # The table has far more columns than are shown, and is copied and sorted here.
    shown = frame[["category", "value", "validators", "missed"]].assign(
        effectiveness=frame["attestation_effectiveness_sum"]
        / frame["attestation_effectiveness_duties"],
        of_ideal=frame["scored_reward"] / frame["scored_ideal_reward"].replace(0, np.nan),
    )
    shown = shown.sort_values(["category", "of_ideal"], ascending=[True, False], na_position="last")
    lines = ["| group | validators | missed | effectiveness | of ideal |", "|---|---|---|---|---|"]
    for row in shown.head(_GROUPS_SHOWN).itertuples():
        name = f"{row.category!s}: {str(row.value) or '(no label)'}".replace("|", "\\|")
        lines.append(
            f"| {name} | {row.validators} | {row.missed} | "
            f"{_percent(row.effectiveness)} | {_percent(row.of_ideal)} |"
        )
    return {"groups": len(frame), "by_group": dg.MetadataValue.md("\n".join(lines))}


def _network_bands(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Metadata:
    lines = ["| from gwei | validators | p05 | median | p95 |", "|---|---|---|---|---|"]
    for row in frame.to_dict("records"):
        shares = (_percent(row[f"reward_effectiveness_{name}"]) for name in ("p05", "p50", "p95"))
        band, validators = row["effective_balance_band"], row["validators"]
        lines.append(f"| {band:,} | {validators} | {' | '.join(shares)} |")
    return {
        "validators": int(frame["validators"].sum()),
        "reward_effectiveness": dg.MetadataValue.md("\n".join(lines)),
    }


def _percent(share: Any) -> str:
    return "–" if pd.isna(share) else f"{share:.2%}"


def standings_metadata(frame: pd.DataFrame) -> Metadata:
    """Metadata of the standings of one epoch."""
    score = frame["time_weighted_score"].to_numpy(np.float64)
    health = frame["health"].to_numpy(dtype=object)
    known = ~np.isnan(score)
    edges = np.linspace(0.0, 1.0, 11)

    def by_score(verdict: Health) -> list[int]:
        whose = known & (health == verdict.value)
        # Negative after penalties: shown with the lowest.
        counts: list[int] = np.histogram(np.clip(score[whose], 0.0, 1.0), edges)[0].tolist()
        return counts

    metadata: Metadata = {
        "dagster/partition_row_count": len(frame),
        **{verdict.value: int((health == verdict.value).sum()) for verdict in Health},
        "longest_missed_streak": int(frame["missed_streak"].max()) if len(frame) else 0,
        "by_score": dg.MetadataValue.md(
            stacked_bars(
                "Validators by time-weighted score",
                [f"{edge:.1f}" for edge in edges[:-1].tolist()],
                [
                    Series(verdict.value, colour, by_score(verdict))
                    for verdict, colour in (
                        (Health.HEALTHY, _GREEN),
                        (Health.DEGRADED, _AMBER),
                        (Health.CRITICAL, _RED),
                    )
                ],
            )
        ),
    }
    if len(frame):
        metadata["window_epochs"] = int(frame["window_epochs"].iloc[0])
        metadata["window_complete"] = bool(frame["window_complete"].iloc[0])
    return metadata


Describe = Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], Metadata]
_DESCRIPTIONS: Final[Mapping[str, Describe]] = {
    "blocks": _blocks,
    "attestation_outcomes": _attestation_outcomes,
    "attestation_rewards": _attestation_rewards,
    "block_rewards": _block_rewards,
    "block_events": _block_events,
    "balance_ledger": _balance_ledger,
    "validator_penalties": _validator_penalties,
    "sync_duties": _sync_duties,
    "sync_rewards": _sync_rewards,
    "network_epochs": _network_epochs,
    "effectiveness_scores": _effectiveness_scores,
    "epoch_summaries": _epoch_summaries,
    "network_bands": _network_bands,
}
