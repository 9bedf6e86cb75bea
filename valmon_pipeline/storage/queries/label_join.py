"""The SQL that says which label of a category a validator had in an epoch."""

from __future__ import annotations

from typing import Final

LABEL_JOIN: Final = """
    LEFT JOIN {validator_labels} AS labels
      ON labels.validator_index = facts.validator_index AND labels.category = %(category)s
     AND labels.from_epoch <= facts.epoch
     AND (labels.until_epoch IS NULL OR facts.epoch < labels.until_epoch)
"""
"""Joins ``facts`` (epoch, validator_index) with ``labels``; read through the key of the labels."""
