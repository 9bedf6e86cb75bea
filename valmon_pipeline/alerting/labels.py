"""Which labels validators have in an epoch, and which of them fail as a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from valmon_pipeline.alerting.rule import BoolArray, Int64Array, ObjectArray

NO_LABEL = "(none)"


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels as they hold in one epoch: columns ``validator_index`` and ``label``."""

    frame: pd.DataFrame
    group_by: str

    @classmethod
    def in_epoch(cls, stored: pd.DataFrame, epoch: int, group_by: str) -> Labels:
        """From frame ``validator_labels``."""
        until = stored["until_epoch"].to_numpy(np.int64, na_value=2**62)
        holds = (stored["from_epoch"].to_numpy(np.int64) <= epoch) & (epoch < until)
        held = stored[holds]
        label = held["category"].astype(str) + ":" + held["value"].astype(str)
        return cls(
            pd.DataFrame({"validator_index": held["validator_index"], "label": label}), group_by
        )

    def have(self, validators: Int64Array, label: str) -> BoolArray:
        """Which of ``validators`` have ``label``."""
        whose = self.frame.loc[self.frame["label"] == label, "validator_index"]
        return np.isin(validators, whose.to_numpy(np.int64))

    def common(self, validators: Int64Array) -> tuple[str, ...]:
        """The labels that all of ``validators`` have, sorted."""
        theirs = self.frame[self.frame["validator_index"].isin(validators)]
        counts = theirs["label"].value_counts()
        return tuple(sorted(counts[counts == len(validators)].index))

    def groups(self, validators: Int64Array) -> ObjectArray:
        """The group of each of ``validators``, as ``category:value``."""
        prefix = f"{self.group_by}:"
        ours = self.frame[self.frame["label"].str.startswith(prefix)]
        group_of = ours.set_index("validator_index")["label"]
        groups = group_of.astype(object).reindex(validators)
        return groups.fillna(prefix + NO_LABEL).to_numpy(dtype=object)
