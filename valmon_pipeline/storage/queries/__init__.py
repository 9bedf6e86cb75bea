"""What the command line, checks, reports and dashboards ask the database, and change in it.

Each question has an index behind it, see docs/schema.md and the plans in the tests; amounts are
exact gwei. One module per subject:

- ``status``: what is stored. ``histories``: one validator epoch by epoch.
- ``series``: time series by validator, group and network, in epochs, hours, days or months.
- ``losses``: what was missed by cause. ``ledgers``: the balance ledger over a range.
- ``events``: penalties and block events of a validator.
- ``validators`` and ``labels``: who they are, and which groups they belong to.
- ``alerts``: what is or was wrong, and what happened to it.
- ``network_validators``: any validator of the network, and how the network is distributed.
- ``incomplete_epochs``: which facts are missing, and why. ``node_deviations``: where nodes differ
  from the specification.
- ``group_summary``: totals of groups over any set of epochs.
- ``figures`` and ``newest_epoch``: what is exported as metrics.

Facts are written by ``storage.warehouse`` alone.
"""

from valmon_pipeline.storage.queries.alerts import (
    alert_deliveries,
    alert_history,
    alert_validators,
    count_dead_deliveries,
    list_alerts,
)
from valmon_pipeline.storage.queries.buckets import Granularity, Span
from valmon_pipeline.storage.queries.events import (
    validator_events,
    validator_penalties,
)
from valmon_pipeline.storage.queries.group_summary import group_summary
from valmon_pipeline.storage.queries.histories import validator_history
from valmon_pipeline.storage.queries.incomplete_epochs import (
    IncompleteEpoch,
    Incompleteness,
    Lack,
    MissingFact,
    StoredSource,
    epoch_sources,
    incomplete_epochs,
    incompleteness,
    lacks_of,
    missing_facts,
)
from valmon_pipeline.storage.queries.labels import (
    Label,
    close_label,
    label_history,
    labels_of,
    set_label,
)
from valmon_pipeline.storage.queries.ledgers import (
    ledger_by_epoch,
    ledger_of_validators,
    ledger_over_epochs,
    validator_ledger,
)
from valmon_pipeline.storage.queries.losses import losses_by_cause
from valmon_pipeline.storage.queries.network_validators import (
    network_distribution,
    network_epochs,
    network_validator_history,
)
from valmon_pipeline.storage.queries.node_deviations import NodeDeviation, node_deviations
from valmon_pipeline.storage.queries.series import group_series, network_series, validator_series
from valmon_pipeline.storage.queries.status import (
    StorageStatus,
    TableStatus,
    storage_status,
    stored_epochs,
)
from valmon_pipeline.storage.queries.validators import find_validators

__all__ = [
    "Granularity",
    "IncompleteEpoch",
    "Incompleteness",
    "Label",
    "Lack",
    "MissingFact",
    "NodeDeviation",
    "Span",
    "StorageStatus",
    "StoredSource",
    "TableStatus",
    "alert_deliveries",
    "alert_history",
    "alert_validators",
    "close_label",
    "count_dead_deliveries",
    "epoch_sources",
    "find_validators",
    "group_series",
    "group_summary",
    "incomplete_epochs",
    "incompleteness",
    "label_history",
    "labels_of",
    "lacks_of",
    "ledger_by_epoch",
    "ledger_of_validators",
    "ledger_over_epochs",
    "list_alerts",
    "losses_by_cause",
    "missing_facts",
    "network_distribution",
    "network_epochs",
    "network_series",
    "network_validator_history",
    "node_deviations",
    "set_label",
    "storage_status",
    "stored_epochs",
    "validator_events",
    "validator_history",
    "validator_ledger",
    "validator_penalties",
    "validator_series",
]
