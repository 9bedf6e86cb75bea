"""Labels that operators give their validators."""

from __future__ import annotations

from valmon_pipeline.frames.columns import integer, text
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "validator_labels",
    "Labels of validators (operator, region, client …) and the epochs they hold for: "
    "from_epoch ≤ epoch < until_epoch.",
    key=["validator_index", "category", "from_epoch"],
    partitioned=False,
    columns={
        "validator_index": integer("The validator."),
        "category": text("Kind of label, e.g. operator."),
        "from_epoch": integer("First epoch the label holds for."),
        "value": text("The label itself, e.g. the operator's name."),
        "until_epoch": integer(
            "First epoch the label no longer holds for; NULL while it holds.", nullable=True
        ),
    },
    checks=[
        rows_are(
            "label_holds_for_some_epoch",
            "until_epoch is after from_epoch",
            lambda frame: (frame["until_epoch"] > frame["from_epoch"]).fillna(True).astype(bool),
        )
    ],
)
