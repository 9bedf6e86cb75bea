"""Which standings are still to be made."""

from __future__ import annotations

from valmon_pipeline.frames.columns import flag, integer, long_integer, text
from valmon_pipeline.frames.contract import table

CONTRACT = table(
    "standings_due",
    "Epochs whose validator_standings are to be made, or made again: a to-do list that is written "
    "in the transaction that stores an epoch, and worked off right after it. Empty when all is "
    "done.",
    key=["epoch"],
    partitioned=False,
    columns={
        "epoch": integer("The epoch."),
        "spreads": flag(
            "True: its facts were stored, so that every later epoch whose window contains it is "
            "due, too, and not listed yet. False: only its own standings are due."
        ),
        "reason": text("Why; entered in corrections with final standings that change."),
        "mark": long_integer(
            "The transaction that listed it. Standings are stored only if the mark is still the "
            "one that was there before their facts were read."
        ),
    },
)
