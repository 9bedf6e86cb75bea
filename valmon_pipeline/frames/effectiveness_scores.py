"""How well each validator did, by the facts of one epoch alone."""

from __future__ import annotations

from valmon_pipeline.frames.columns import gwei, integer, ratio
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "effectiveness_scores",
    "Scores of each validator in one epoch; NULL where nothing was due.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch."),
        "validator_index": integer("The validator."),
        "attestation_effectiveness": ratio(
            "How promptly the attestation was included: best possible over actual distance; 0 when "
            "missed."
        ),
        # Not bounded by 1: some nodes round a gwei up, and that is for the checks to say, not a
        # reason to refuse everybody's epoch.
        "reward_effectiveness": ratio(
            "Attestation reward earned over the ideal one; negative after penalties.",
            minimum=None,
            maximum=None,
        ),
        "attainable_effectiveness": ratio(
            "Attestation reward earned over the most that the blocks allowed, so that what others "
            "cost is not held against the validator; negative after penalties, NULL where nothing "
            "could be earned.",
            minimum=None,
            maximum=None,
        ),
        "proposer_effectiveness": ratio("Blocks proposed over blocks due."),
        "sync_effectiveness": ratio("Sync signatures given over those due."),
        "percentile_rank": ratio("Mid-rank of reward effectiveness among the watched validators."),
        "network_percentile_rank": ratio(
            "Mid-rank of reward effectiveness among all validators; NULL unless the registry was "
            "read as a whole, or a state."
        ),
        "formula_version": integer("Version of the formulas the scores were computed with."),
        "effective_balance_band": gwei(
            "Lower bound of the band of its effective balance, see network_bands; NULL where no "
            "reward was due.",
            nullable=True,
        ),
        "band_percentile_rank": ratio(
            "Mid-rank of reward effectiveness among all validators of the band; NULL unless the "
            "registry was read as a whole, or a state."
        ),
    },
)
